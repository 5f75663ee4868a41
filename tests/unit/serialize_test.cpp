// SPDX-License-Identifier: BSL-1.0

// What is written into a message is what comes out of it; and whatever a message holds, reading it
// gives a value or a SerializationError. The second half is worth most under the address and
// undefined behaviour sanitizers.

#include <kin/detail/archive.hpp>

#include <boost/serialization/array_wrapper.hpp>
#include <boost/serialization/base_object.hpp>
#include <boost/serialization/binary_object.hpp>
#include <boost/serialization/export.hpp>
#include <boost/serialization/nvp.hpp>
#include <boost/serialization/split_free.hpp>
#include <boost/serialization/split_member.hpp>
#include <boost/serialization/valarray.hpp>
#include <boost/serialization/vector.hpp>
#include <boost/serialization/version.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <valarray>

using kin::SerializationError;
using kin::detail::InArchive;
using kin::detail::OutArchive;
using std::chrono_literals::operator""ms;

namespace {

template <typename T>
std::vector<std::byte> encoded(const T& value) {
  OutArchive out;
  encode(out, value);
  return {out.bytes().begin(), out.bytes().end()};
}

template <typename T>
T decoded(std::span<const std::byte> bytes) {
  InArchive in(bytes);
  return kin::detail::decode<T>(in);
}

template <typename T>
T sent(const T& value) {
  return decoded<T>(encoded(value));
}

// Both where the message begins at an aligned address and where it does not.
template <typename T>
void check_travels(const T& value) {
  CHECK(sent(value) == value);
  const auto pair = sent(std::pair<char, T>('x', value));
  CHECK(pair.second == value);
}

// Every prefix, and every byte changed in several ways: a value or a SerializationError.
template <typename T>
void check_survives_damage(const T& value) {
  const std::vector<std::byte> bytes = encoded(value);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    // a copy of its own, so that the sanitizer sees a read behind its end
    const std::vector<std::byte> prefix(bytes.data(), bytes.data() + length);
    CHECK_THROWS_AS(decoded<T>(prefix), SerializationError);
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const unsigned change : {0x01U, 0x02U, 0x80U, 0xffU, 0x7fU}) {
      std::vector<std::byte> damaged = bytes;
      damaged[i] ^= static_cast<std::byte>(change);
      try {
        static_cast<void>(encoded(decoded<T>(damaged)));
      } catch (const SerializationError&) {
      }
    }
  }
}

struct Point {
  int x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
};

enum class Colour : std::uint64_t { red = 1, far = 0xfedcba9876543210 };

struct Record {
  Colour colour = Colour::red;
  char name[12] = {};
  bool valid = false;
  std::array<Point, 2> points;
  bool operator==(const Record&) const = default;
};

struct Flags {
  unsigned low : 3;
  unsigned high : 5;
};

struct Empty {
  bool operator==(const Empty&) const = default;
};

// No serialize: member by member.
struct Task {
  int id = 0;
  std::string name;
  std::vector<Task> parts;
  std::string aliases[2];
  bool operator==(const Task&) const = default;
};

class Account {
 public:
  Account() = default;
  Account(std::string owner, long balance) : owner_(std::move(owner)), balance_(balance) {}
  bool operator==(const Account&) const = default;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& owner_& BOOST_SERIALIZATION_NVP(balance_);
  }
  std::string owner_;
  long balance_ = 0;
};

class Nothing {
 public:
  bool operator==(const Nothing&) const = default;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};

struct Split {
  int written = 0;
  int version = 0;

  template <typename Archive>
  void save(Archive& archive, unsigned) const {
    archive << written * 2;
  }
  template <typename Archive>
  void load(Archive& archive, unsigned file_version) {
    archive >> written;
    version = static_cast<int>(file_version);
  }
  BOOST_SERIALIZATION_SPLIT_MEMBER()
};

}  // namespace

BOOST_CLASS_VERSION(Split, 7)

namespace outside {

class Free {
 public:
  int value = 0;
};

template <typename Archive>
void serialize(Archive& archive, Free& free, unsigned) {
  archive& free.value;
}

struct SplitFree {
  explicit SplitFree(int start = 0) : value(start) {}
  int value;
};

}  // namespace outside

BOOST_SERIALIZATION_SPLIT_FREE(outside::SplitFree)
namespace boost::serialization {
template <typename Archive>
void save(Archive& archive, const outside::SplitFree& object, unsigned) {
  archive << object.value;
}
template <typename Archive>
void load(Archive& archive, outside::SplitFree& object, unsigned) {
  archive >> object.value;
}
}  // namespace boost::serialization

namespace {

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

// Says how much memory it was asked for.
template <typename T>
struct Counting : std::allocator<T> {
  template <typename Other>
  struct rebind {
    using other = Counting<Other>;
  };
  Counting() = default;
  template <typename Other>
  explicit Counting(const Counting<Other>&) {}
  T* allocate(std::size_t count) {
    Counting<int>::made += count * sizeof(T);
    return std::allocator<T>::allocate(count);
  }
  static inline std::size_t made = 0;  // Counting<int>'s: of all
};

struct Nest {
  std::vector<Nest, Counting<Nest>> parts;
};

// Boost makes room for all parts, before it reads the first.
struct Layer {
  std::valarray<std::shared_ptr<Layer>> parts;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& parts;
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

// Uses what the archives offer beyond &.
struct Wrapped {
  std::vector<int> numbers;
  std::vector<std::string> texts;
  double raw[3] = {};
  std::valarray<float> floats;

  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    boost::serialization::collection_size_type length(numbers.size());
    archive& length;
    if constexpr (Archive::is_loading::value) {
      const std::size_t size =
          static_cast<const boost::serialization::collection_size_type&>(length);
      numbers.resize(size);
      texts.resize(size);
    }
    archive& boost::serialization::make_array(numbers.data(), numbers.size());
    archive& boost::serialization::make_array(texts.data(), texts.size());
    archive& boost::serialization::make_binary_object(raw, sizeof raw);
    archive& floats;
  }
};

// A variant that fails to make one is left without a value.
struct Fragile {
  Fragile() = default;
  explicit Fragile(const char* what) { throw std::length_error(what); }
  Fragile(const Fragile& other) noexcept(false) : text(other.text) {}
  Fragile& operator=(const Fragile&) = default;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& text;
  }
  std::string text;
};

struct Thrower {
  template <typename Archive>
  void serialize(Archive&, unsigned) {
    if (error == 0) throw std::out_of_range("from the user");
    throw boost::archive::archive_exception(boost::archive::archive_exception::other_exception);
  }
  int error = 0;
};

}  // namespace

TEST_SUITE("serialize") {
  TEST_CASE("plain values arrive unchanged") {
    check_travels(true);
    check_travels('x');
    check_travels(std::byte{200});
    check_travels(-1);
    check_travels(std::numeric_limits<std::uint64_t>::max());
    check_travels(1.5L);
    check_travels(Colour::far);
    check_travels(Point{3, 4.5});
    check_travels(Record{Colour::far, "a name", true, {{{1, 2}, {3, 4}}}});
    check_travels(Empty{});
    check_travels(std::monostate{});
    check_travels(std::complex<double>(1, -2));
    check_travels(1500ms);
    check_travels(std::chrono::system_clock::now());
    check_travels(std::chrono::steady_clock::now());
    const Flags flags = sent(Flags{5, 17});
    CHECK(flags.low == 5);
    CHECK(flags.high == 17);
  }

  TEST_CASE("a plain value takes its own bytes and no more") {
    CHECK(encoded(7).size() == sizeof(int));
    CHECK(encoded(Record{}).size() == sizeof(Record));
    CHECK(encoded(std::vector<double>(10)).size() == 8 + 10 * sizeof(double));
  }

  TEST_CASE("strings and sequences arrive unchanged") {
    check_travels(std::string());
    check_travels(std::string("hello"));
    check_travels(std::string(100000, 'x'));
    check_travels(std::string("a\0b", 3));
    check_travels(std::wstring(L"wide"));
    check_travels(std::u32string(U"wider"));
    check_travels(std::filesystem::path("/tmp/a b/c.txt"));
    check_travels(std::vector<int>{1, 2, 3});
    check_travels(std::vector<int>{});
    check_travels(std::vector<Point>{{1, 2}, {3, 4}});
    check_travels(std::vector<Record>(3));
    check_travels(std::vector<std::string>{"a", "", "c"});
    check_travels(std::deque<int>{1, 2, 3});
    check_travels(std::deque<bool>{true, false});
    check_travels(std::list<std::string>{"a", "b"});
    check_travels(std::forward_list<int>{1, 2, 3});
    check_travels(std::array<int, 3>{1, 2, 3});
    check_travels(std::array<std::string, 2>{"a", "b"});
    check_travels(std::array<std::string, 0>{});
  }

  TEST_CASE("sequences of bits arrive unchanged") {
    for (const std::size_t size : {0U, 1U, 7U, 8U, 9U, 64U, 100U}) {
      std::vector<bool> bits(size);
      for (std::size_t i = 0; i < size; i += 3) bits[i] = true;
      check_travels(bits);
    }
    CHECK(encoded(std::vector<bool>(800)).size() == 8 + 100);
    check_travels(std::bitset<70>("101100011"));
    check_travels(std::bitset<1>(1));
    check_travels(std::bitset<0>());
  }

  TEST_CASE("sets and maps arrive unchanged") {
    check_travels(std::set<std::string>{"b", "a"});
    check_travels(std::multiset<int>{1, 1, 2});
    check_travels(std::map<std::string, int>{{"one", 1}, {"two", 2}});
    check_travels(std::multimap<int, std::string>{{1, "a"}, {1, "b"}});
    check_travels(std::unordered_set<std::string>{"b", "a"});
    check_travels(std::unordered_multiset<int>{1, 1, 2});
    check_travels(std::unordered_map<std::string, int>{{"one", 1}, {"two", 2}});
    check_travels(std::unordered_multimap<int, int>{{1, 2}, {1, 3}});
  }

  TEST_CASE("pairs, tuples, optionals and variants arrive unchanged") {
    check_travels(std::pair<int, std::string>(1, "a"));
    check_travels(std::tuple<>());
    check_travels(std::tuple<int, std::string, double>(1, "a", 2.5));
    check_travels(std::optional<std::string>());
    check_travels(std::optional<std::string>("a"));
    using Variant = std::variant<std::monostate, int, std::string, std::vector<int>, int>;
    check_travels(Variant());
    check_travels(Variant(std::in_place_index<1>, 5));
    check_travels(Variant(std::in_place_index<4>, 5));
    check_travels(Variant("text"));
  }

  TEST_CASE("containers nest") {
    using Deep = std::map<std::string, std::vector<std::optional<std::pair<int, std::list<bool>>>>>;
    check_travels(Deep{{"a", {std::nullopt, std::pair(1, std::list<bool>{true})}}, {"b", {}}});
    check_travels(std::vector<std::vector<std::vector<Empty>>>{{{{}, {}}, {}}, {}});
  }

  TEST_CASE("what a container held before is replaced") {
    OutArchive out;
    encode(out, std::map<int, int>{{1, 2}});
    InArchive in(out.bytes());
    std::map<int, int> map{{5, 6}};
    in >> map;
    CHECK(map == std::map<int, int>{{1, 2}});
  }

  TEST_CASE("an aggregate of sendable members needs no serialize") {
    check_travels(Task{1, "a", {{2, "b", {}, {"", ""}}, {3, "c", {}, {"x", "y"}}}, {"p", "q"}});
  }

  TEST_CASE("classes travel by their serialize: private, split or beside the class") {
    check_travels(Account("ada", 100));
    check_travels(std::vector<Account>{{"ada", 100}, {"bob", -3}});
    const outside::Free free = sent(outside::Free{.value = 5});
    CHECK(free.value == 5);
    CHECK(sent(outside::SplitFree(6)).value == 6);
  }

  TEST_CASE("serialize is told the version of its class") {
    const Split split = sent(Split{21, 0});
    CHECK(split.written == 42);
    CHECK(split.version == 7);
  }

  TEST_CASE("wrappers and containers of Boost work inside a serialize") {
    const Wrapped wrapped = sent(Wrapped{{1, 2}, {"a", "b"}, {1, 2, 3}, {4.5F, 5.5F}});
    CHECK(wrapped.numbers == std::vector{1, 2});
    CHECK(wrapped.texts == std::vector<std::string>{"a", "b"});
    CHECK(wrapped.raw[2] == 3);
    CHECK(wrapped.floats.size() == 2);
    CHECK(wrapped.floats[1] == 5.5F);
  }

  TEST_CASE("elements that take no bytes are counted all the same") {
    check_travels(std::vector<Nothing>(1000));
    check_travels(std::list<Nothing>(10));
    check_travels(std::vector<std::array<std::string, 0>>(5));
    CHECK(encoded(std::vector<Nothing>(1000)).size() == 8 + 1000);
  }

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

  TEST_CASE("an archive is reusable and keeps its memory") {
    OutArchive out;
    encode(out, std::string(1000, 'x'));
    const std::byte* const memory = out.bytes().data();
    for (int i = 0; i < 3; ++i) {
      out.clear();
      CHECK(out.bytes().empty());
      encode(out, std::string("hello"));
      CHECK(out.bytes().data() == memory);
      InArchive in(out.bytes());
      CHECK(kin::detail::decode<std::string>(in) == "hello");
    }
  }

  TEST_CASE("handles travel beside the bytes, in their order") {
    OutArchive out;
    out.add_handle(kin::detail::Handle());
    out.add_handle(kin::detail::Handle());
    CHECK(out.cargo().handles.size() == 2);
    kin::detail::IncomingCargo cargo;
    cargo.handles.assign(out.cargo().handles.begin(), out.cargo().handles.end());
    InArchive in(out.bytes(), cargo);
    CHECK(!in.next_handle());
    CHECK_THROWS_AS(in.finish(), SerializationError);
    CHECK(!in.next_handle());
    in.finish();
    CHECK_THROWS_AS(static_cast<void>(in.next_handle()), SerializationError);
    out.clear();
    CHECK(out.cargo().empty());
  }

  TEST_CASE("what a serialize throws passes unchanged, what Boost throws is a SerializationError") {
    OutArchive out;
    CHECK_THROWS_AS(encode(out, Thrower{0}), std::out_of_range);
    CHECK_THROWS_AS(encode(out, Thrower{1}), SerializationError);
    CHECK_THROWS_AS(decoded<Thrower>({}), std::out_of_range);
  }

  TEST_CASE("a valueless variant is refused") {
    std::variant<int, Fragile> variant;
    CHECK_THROWS_AS(static_cast<void>(variant.emplace<1>("boom")), std::length_error);
    CHECK(variant.valueless_by_exception());
    CHECK_THROWS_AS(encoded(variant), SerializationError);
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

  TEST_CASE("bytes behind the value are an error") {
    std::vector<std::byte> bytes = encoded(std::string("a"));
    bytes.push_back(std::byte{0});
    CHECK_THROWS_AS(decoded<std::string>(bytes), SerializationError);
  }

  TEST_CASE("a length that the message can't hold is refused before room is made for it") {
    for (const std::uint64_t length :
         {std::uint64_t{9}, std::uint64_t{1} << 32, std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
      OutArchive out;
      encode(out, length);
      encode(out, std::uint64_t{0});
      CHECK_THROWS_AS(decoded<std::string>(out.bytes()), SerializationError);
      CHECK_THROWS_AS(decoded<std::u32string>(out.bytes()), SerializationError);
      CHECK_THROWS_AS(decoded<std::vector<int>>(out.bytes()), SerializationError);
      CHECK_THROWS_AS(decoded<std::vector<Record>>(out.bytes()), SerializationError);
      CHECK_THROWS_AS(decoded<std::vector<Empty>>(out.bytes()), SerializationError);
      CHECK_THROWS_AS(decoded<std::vector<Nothing>>(out.bytes()), SerializationError);
      CHECK_THROWS_AS(decoded<std::list<Nothing>>(out.bytes()), SerializationError);
      CHECK_THROWS_AS(decoded<std::vector<std::string>>(out.bytes()), SerializationError);
      CHECK_THROWS_AS((decoded<std::unordered_map<int, int>>(out.bytes())), SerializationError);
      CHECK_THROWS_AS(decoded<Wrapped>(out.bytes()), SerializationError);
      if (length > 64) CHECK_THROWS_AS(decoded<std::vector<bool>>(out.bytes()), SerializationError);
    }
  }

  TEST_CASE("lengths inside one another that claim the same bytes cost no room") {
    constexpr std::size_t size = 100000;
    constexpr std::uint64_t levels = 500;
    OutArchive out;
    for (std::uint64_t n = 1; n <= levels; ++n) encode(out, size - n * sizeof n);
    out.pad_to(size);
    Counting<int>::made = 0;
    CHECK_THROWS_AS(decoded<Nest>(out.bytes()), SerializationError);
    CHECK(Counting<int>::made > 0);
    CHECK(Counting<int>::made < 100 * size);

    out.clear();
    for (std::uint64_t n = 1; n <= levels; ++n) {
      encode(out, n);                         // a new object
      encode(out, size - 2 * n * sizeof(n));  // how many parts it has
    }
    out.pad_to(size);
    CHECK_THROWS_WITH_AS(decoded<std::shared_ptr<Layer>>(out.bytes()),
                         doctest::Contains("again and again"), SerializationError);
  }

  TEST_CASE("bools, tags and indices are checked") {
    const auto two = encoded(char{2});
    CHECK_THROWS_AS(decoded<bool>(two), SerializationError);
    CHECK_THROWS_AS((decoded<std::array<bool, 1>>(two)), SerializationError);
    CHECK_THROWS_AS(decoded<std::optional<Empty>>(two), SerializationError);
    CHECK_THROWS_AS((decoded<std::variant<Empty, int>>(encoded(2U))), SerializationError);
    Record record;
    std::vector<std::byte> bytes = encoded(record);
    bytes[offsetof(Record, valid)] = std::byte{2};
    CHECK_THROWS_AS(decoded<Record>(bytes), SerializationError);
    CHECK(decoded<std::bitset<3>>(encoded(~std::uint64_t{0})).count() == 3);
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

  TEST_CASE("damaged messages give a value or a SerializationError") {
    check_survives_damage(std::string("hello"));
    check_survives_damage(std::wstring(L"hello"));
    check_survives_damage(std::vector<int>{1, 2, 3});
    check_survives_damage(std::vector<bool>(20, true));
    check_survives_damage(std::vector<std::string>{"a", "bc", ""});
    check_survives_damage(std::vector<Nothing>(10));
    check_survives_damage(std::forward_list<std::string>{"a", "b"});
    check_survives_damage(std::map<std::string, int>{{"one", 1}, {"two", 2}});
    check_survives_damage(std::unordered_map<std::string, std::set<int>>{{"one", {1, 2}}});
    check_survives_damage(std::tuple<int, std::optional<std::string>, bool>(1, "a", true));
    check_survives_damage(std::variant<std::monostate, std::string, int>("a"));
    check_survives_damage(Record{});
    check_survives_damage(std::vector<Record>(2));
    check_survives_damage(Task{1, "a", {{2, "b", {}, {"", ""}}}, {"p", "q"}});
    check_survives_damage(std::vector<Account>{{"ada", 100}, {"bob", -3}});
    check_survives_damage(std::bitset<70>("101"));
    check_survives_damage(std::filesystem::path("/tmp/x"));
    check_survives_damage(std::vector{std::make_shared<int>(1), std::make_shared<int>(2)});
    const auto account = std::make_shared<Account>("ada", 1);
    check_survives_damage(std::pair(account, account));
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
