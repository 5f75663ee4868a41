// SPDX-License-Identifier: BSL-1.0

// Pointers in messages: whose object it is, what is shared, and of which class it is; and that nobody is
// given an object of another, whatever a message says.
//
// Fails when:
//   load_shared() makes the shared_ptr of a raw pointer: "where memory runs out every object goes once"
//   load_shared() does not delete what was read: the same

#include "encoding.hpp"
#include "scarce_memory.hpp"

#include <boost/serialization/base_object.hpp>
#include <boost/serialization/export.hpp>
#include <boost/serialization/vector.hpp>

#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

using kin::SerializationError;
using kin::detail::InArchive;
using kin::detail::OutArchive;
using unit::Account;
using unit::check_survives_damage;
using unit::decoded;
using unit::encoded;
using unit::sent;

namespace {

struct Point {
  int x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
};

struct Shape {
  Shape() = default;
  Shape(const Shape&) = default;
  Shape& operator=(const Shape&) = default;
  virtual ~Shape() = default;
  virtual double area() const = 0;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& name;
  }
  std::string name;
};

struct Square : Shape {
  double area() const override { return side * side; }
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Shape>(*this) & side;
  }
  double side = 0;
};

struct Circle : Shape {
  explicit Circle(double start) : radius(start) {}
  double area() const override { return 3 * radius * radius; }
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Shape>(*this);
  }
  double radius;
};

struct Unnamed : Shape {
  double area() const override { return 0; }
};

// Another family, with a name of its own.
struct Animal {
  Animal() = default;
  Animal(const Animal&) = default;
  Animal& operator=(const Animal&) = default;
  virtual ~Animal() = default;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& legs;
  }
  int legs = 4;
};

struct Dog : Animal {
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Animal>(*this);
  }
};

// Has no default constructor: made by load_construct_data.
struct Named {
  explicit Named(std::string start) : name(std::move(start)) {}
  std::string name;
  int count = 0;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& count;
  }
};

}  // namespace

namespace boost::serialization {

template <typename Archive>
void save_construct_data(Archive& archive, const Named* named, unsigned) {
  archive << named->name;
}
template <typename Archive>
void load_construct_data(Archive& archive, Named* named, unsigned) {
  std::string name;
  archive >> name;
  ::new (named) Named(name);
}
template <typename Archive>
void save_construct_data(Archive& archive, const Circle* circle, unsigned) {
  archive << circle->radius;
}
template <typename Archive>
void load_construct_data(Archive& archive, Circle* circle, unsigned) {
  double radius = 0;
  archive >> radius;
  ::new (circle) Circle(radius);
}

}  // namespace boost::serialization

BOOST_CLASS_EXPORT(Square)
BOOST_CLASS_EXPORT(Circle)
BOOST_CLASS_EXPORT(Dog)

namespace {

// Owns its successor through a raw pointer, and knows its predecessor, as Boost's manual allows.
struct Link {
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() { delete next; }
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& value& next& previous;
  }
  int value = 0;
  Link* next = nullptr;
  Link* previous = nullptr;
};

// A tree that owns downwards and looks upwards.
struct Node {
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& value& children& parent;
  }
  int value = 0;
  std::vector<std::unique_ptr<Node>> children;
  Node* parent = nullptr;
};

struct Chain {
  std::unique_ptr<Chain> next;
};

struct Self : std::enable_shared_from_this<Self> {
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& friends& self;
  }
  std::vector<std::shared_ptr<Self>> friends;
  std::weak_ptr<Self> self;
};

// Counted, and shared in a ring.
struct Member {
  Member() { ++alive; }
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;
  virtual ~Member() { --alive; }
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& next& seen;
  }
  std::shared_ptr<Member> next;
  Member* seen = nullptr;
  static inline int alive = 0;
};

struct Leader : Member {
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Member>(*this);
  }
};

// How often memory can run out while such a ring is read, until it does not.
template <typename T>
int count_shortages() {
  const std::shared_ptr<Member> first = std::make_shared<T>();
  first->next = std::make_shared<T>();
  first->next->next = first;  // whose first owner is found while it is read
  first->next->seen = first.get();
  const auto bytes = encoded(first);
  first->next->next = nullptr;
  const int before = Member::alive;
  for (int times = 0; times < 1000; ++times) {
    std::shared_ptr<Member> arrived;
    try {
      const unit::ScarceMemory scarce(times);
      arrived = decoded<std::shared_ptr<Member>>(bytes);
    } catch (const std::bad_alloc&) {
      CHECK(Member::alive == before);
      continue;
    }
    CHECK(Member::alive == before + 2);
    CHECK(arrived->next->next == arrived);
    CHECK(arrived->next->seen == arrived.get());
    arrived->next->next = nullptr;
    return times;
  }
  return -1;
}

}  // namespace

BOOST_CLASS_EXPORT(Leader)

TEST_SUITE("serialize pointer") {
  TEST_CASE("addresses of functions and of members arrive as they are") {
    using Function = double (*)(double);
    const Function function = std::sqrt;
    CHECK((sent(function) == function));
    CHECK((sent(&Point::x) == &Point::x));
    CHECK((sent(&Shape::area) == &Shape::area));
    CHECK((sent(std::pair<int, Function>(1, function)).second == function));
  }

  TEST_CASE("a unique_ptr arrives with its object") {
    CHECK(*sent(std::make_unique<int>(5)) == 5);
    CHECK(sent(std::unique_ptr<int>()) == nullptr);
    std::vector<std::unique_ptr<std::string>> texts;
    texts.push_back(std::make_unique<std::string>("a"));
    texts.push_back(nullptr);
    const auto arrived = sent(texts);
    CHECK(*arrived.at(0) == "a");
    CHECK(arrived.at(1) == nullptr);
  }

  TEST_CASE("one shared object stays one, and two stay two") {
    const auto object = std::make_shared<Account>("ada", 1);
    const auto other = std::make_shared<Account>("ada", 1);
    const auto arrived = sent(std::vector{object, object, other});
    CHECK(*arrived[0] == *object);
    CHECK(arrived[0] == arrived[1]);
    CHECK(arrived[0] != arrived[2]);
    CHECK(arrived[0].use_count() == 2);
  }

  TEST_CASE("shared objects of the standard types keep their identity too") {
    const auto number = std::make_shared<int>(5);
    const auto text = std::make_shared<const std::string>("a");
    const auto arrived = sent(std::tuple(number, text, number, text));
    CHECK(std::get<0>(arrived) == std::get<2>(arrived));
    CHECK(std::get<1>(arrived) == std::get<3>(arrived));
    CHECK(*std::get<1>(arrived) == "a");
  }

  TEST_CASE("identity reaches over all values of one message and ends with it") {
    const auto object = std::make_shared<int>(5);
    OutArchive out;
    encode(out, object);
    encode(out, object);
    const std::size_t both = out.size();
    InArchive in(out.bytes());
    const auto first = kin::detail::decode_next<std::shared_ptr<int>>(in);
    CHECK(first == kin::detail::decode<std::shared_ptr<int>>(in));
    out.clear();
    encode(out, object);
    CHECK(out.size() > both / 2);
    InArchive again(out.bytes());
    CHECK(*kin::detail::decode<std::shared_ptr<int>>(again) == 5);
  }

  TEST_CASE("an object can hold itself, and be shared from this") {
    const auto object = std::make_shared<Self>();
    object->friends.push_back(object);
    object->self = object;
    const auto arrived = sent(object);
    CHECK(arrived->friends.at(0) == arrived);
    CHECK(arrived->self.lock() == arrived);
    CHECK(arrived->shared_from_this() == arrived);
    object->friends.clear();
    arrived->friends.clear();
  }

  TEST_CASE("objects behind raw pointers of a serialize are linked as they were") {
    auto list = std::make_unique<Link>();
    list->value = 1;
    list->next = new Link;
    list->next->value = 2;
    list->next->previous = list.get();
    const auto arrived = sent(list);
    CHECK(arrived->next->value == 2);
    CHECK(arrived->next->previous == arrived.get());
    CHECK(arrived->next->next == nullptr);
  }

  TEST_CASE("a tree knows its parents again") {
    auto root = std::make_unique<Node>();
    for (int i = 0; i < 3; ++i) {
      root->children.push_back(std::make_unique<Node>());
      root->children.back()->value = i;
      root->children.back()->parent = root.get();
    }
    const auto arrived = sent(root);
    CHECK(arrived->children.at(2)->value == 2);
    CHECK(arrived->children.at(2)->parent == arrived.get());
  }

  TEST_CASE("a derived object arrives through a pointer to its base") {
    std::vector<std::unique_ptr<Shape>> shapes;
    auto square = std::make_unique<Square>();
    square->name = "square";
    square->side = 2;
    shapes.push_back(std::move(square));
    shapes.push_back(std::make_unique<Circle>(1.0));
    shapes.push_back(nullptr);
    const auto arrived = sent(shapes);
    CHECK(arrived.at(0)->name == "square");
    CHECK(arrived.at(0)->area() == 4);
    CHECK(dynamic_cast<const Circle&>(*arrived.at(1)).radius == 1);
    CHECK(arrived.at(2) == nullptr);
  }

  TEST_CASE("a base and a derived pointer to one object stay one") {
    const auto square = std::make_shared<Square>();
    const auto arrived =
        sent(std::pair<std::shared_ptr<Shape>, std::shared_ptr<Square>>(square, square));
    CHECK(arrived.first == arrived.second);
    const auto turned =
        sent(std::pair<std::shared_ptr<Square>, std::shared_ptr<Shape>>(square, square));
    CHECK(turned.first == turned.second);
    const std::shared_ptr<Animal> animal = std::make_shared<Animal>();
    CHECK(sent(animal)->legs == 4);
  }

  TEST_CASE("a derived class without a name is an error that says what to do") {
    const std::shared_ptr<Shape> shape = std::make_shared<Unnamed>();
    CHECK_THROWS_WITH_AS(encoded(shape), doctest::Contains("BOOST_CLASS_EXPORT"),
                         SerializationError);
  }

  TEST_CASE("an object without default constructor arrives behind a pointer") {
    auto named = std::make_unique<Named>("ada");
    named->count = 3;
    const auto arrived = sent(named);
    CHECK(arrived->name == "ada");
    CHECK(arrived->count == 3);
  }

  TEST_CASE("nesting has a limit, in both directions") {
    Chain chain;
    Chain* last = &chain;
    for (unsigned i = 0; i < kin::detail::deepest_nesting; ++i) {
      last->next = std::make_unique<Chain>();
      last = last->next.get();
    }
    const std::vector<std::byte> deepest = encoded(chain);
    CHECK(decoded<Chain>(deepest).next != nullptr);
    last->next = std::make_unique<Chain>();
    CHECK_THROWS_WITH_AS(encoded(chain), doctest::Contains("too deep"), SerializationError);
    // numbers of ever new objects, as the writer would never write them
    OutArchive out;
    for (std::uint64_t id = 1; id < 100000; ++id) encode(out, id);
    CHECK_THROWS_WITH_AS(decoded<Chain>(out.bytes()), doctest::Contains("too deep"),
                         SerializationError);
  }

  TEST_CASE("an object is not taken for one of another class, and has one owner") {
    const auto number = std::make_shared<int>(5);
    const auto square = std::make_shared<Square>();
    const auto base = [&] { return std::shared_ptr<Shape>(square); }();
    using Integer = std::shared_ptr<int>;
    using Text = std::shared_ptr<std::string>;
    CHECK_THROWS_AS((decoded<std::pair<Integer, Text>>(encoded(std::pair(number, number)))),
                    SerializationError);
    CHECK_THROWS_AS(decoded<std::shared_ptr<Animal>>(encoded(base)), SerializationError);
    CHECK_THROWS_AS(decoded<std::unique_ptr<Animal>>(encoded(base)), SerializationError);
    CHECK_THROWS_AS((decoded<std::pair<std::shared_ptr<Shape>, std::shared_ptr<Animal>>>(
                        encoded(std::pair(base, base)))),
                    SerializationError);
    using Unique = std::unique_ptr<int>;
    CHECK_THROWS_AS((decoded<std::pair<Unique, Unique>>(encoded(std::pair(number, number)))),
                    SerializationError);
    CHECK_THROWS_AS((decoded<std::pair<Unique, Integer>>(encoded(std::pair(number, number)))),
                    SerializationError);
    CHECK_THROWS_AS((decoded<std::pair<Integer, Unique>>(encoded(std::pair(number, number)))),
                    SerializationError);
  }

  TEST_CASE("where memory runs out every object goes once") {
    if (!unit::ScarceMemory::is_possible) {
      MESSAGE(unit::ScarceMemory::is_impossible);
      return;
    }
    CHECK(count_shortages<Member>() > 4);
    CHECK(count_shortages<Leader>() > 4);
  }

  TEST_CASE("damaged messages with owned and derived objects leak nothing and crash nothing") {
    std::vector<std::unique_ptr<Shape>> shapes;
    shapes.push_back(std::make_unique<Square>());
    shapes.push_back(std::make_unique<Circle>(1.0));
    check_survives_damage(shapes);
    std::vector<std::unique_ptr<Named>> named;
    named.push_back(std::make_unique<Named>("ada"));
    named.push_back(std::make_unique<Named>("bob"));
    check_survives_damage(named);
    Chain chain{std::make_unique<Chain>()};
    check_survives_damage(chain);
    const std::shared_ptr<Shape> shape = std::make_shared<Square>();
    check_survives_damage(std::vector{shape, shape});
  }
}
