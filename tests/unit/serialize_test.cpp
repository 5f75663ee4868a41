// SPDX-License-Identifier: BSL-1.0

// What is written into a message is what comes out of it; and whatever a message holds, reading it
// gives a value or a SerializationError. The second half is worth most under the address and
// undefined behaviour sanitizers. Pointers have serialize_pointer_test.cpp.

#include "encoding.hpp"

#include <boost/serialization/array_wrapper.hpp>
#include <boost/serialization/binary_object.hpp>
#include <boost/serialization/split_free.hpp>
#include <boost/serialization/split_member.hpp>
#include <boost/serialization/valarray.hpp>
#include <boost/serialization/vector.hpp>
#include <boost/serialization/version.hpp>

#include <limits>
#include <string>
#include <valarray>

using kin::SerializationError;
using kin::detail::InArchive;
using kin::detail::OutArchive;
using std::chrono_literals::operator""ms;
using unit::Account;
using unit::check_survives_damage;
using unit::check_travels;
using unit::decoded;
using unit::encoded;
using unit::sent;

namespace {

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
}
