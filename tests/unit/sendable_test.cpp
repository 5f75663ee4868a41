// SPDX-License-Identifier: BSL-1.0

// What is plain and what is sendable is decided by the compiler; so these tests are static_asserts,
// and the one case below says that they were compiled.

#include <kin/serialize.hpp>

#include <boost/serialization/access.hpp>
#include <boost/serialization/split_free.hpp>
#include <doctest/doctest.h>

#include <any>
#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>

using kin::Plain;
using kin::Sendable;

namespace {

struct Point {
  int x;
  double y;
};
struct Named {
  char name[4096];
  Point where[2];
};
struct Flags {
  unsigned low : 3;
  unsigned high : 5;
};
struct Empty {};
struct WithPointer {
  int size;
  char* data;
};
struct Deeper {
  std::array<WithPointer, 2> inner;
};
struct WithView {
  std::string_view text;
};
struct WithReference {
  int& number;
};
struct WithText {
  int id;
  std::string text;
};
struct WithMutex {
  std::mutex mutex;
};
struct Derived : Point {
  int z;
};
struct WithUnion {
  union {
    int number;
    float fraction;
  };
};
struct Tree {
  int value;
  std::vector<Tree> children;
};
struct BadTree {
  int* value;
  std::vector<BadTree> children;
};
enum Unscoped { first, second };
enum class Scoped : std::uint64_t { first };

class Hidden {
 public:
  int get() const { return value_; }

 private:
  int value_ = 0;
};
class Declared {
 public:
  int get() const { return value_; }

 private:
  int value_ = 0;
};
class DeclaredButNot {
 private:
  std::string text_;
};

class PrivateSerialize {
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};
class Inherits : public PrivateSerialize {};
class FinalPublic final {
 public:
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};
class FinalPrivate final {
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};
// An explicit way is preferred over the bytes.
struct PointWithSerialize {
  int x;
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};
class NoDefault {
 public:
  explicit NoDefault(int) {}
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};
class MadeByData {
 public:
  explicit MadeByData(int) {}
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};
struct Abstract {
  virtual ~Abstract() = default;
  virtual void run() = 0;
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};

}  // namespace

namespace outside {
class Free {};
template <typename Archive>
void serialize(Archive&, Free&, unsigned) {}
class SplitFree {};
}  // namespace outside
BOOST_SERIALIZATION_SPLIT_FREE(outside::SplitFree)

namespace boost::serialization {
template <typename Archive>
void load_construct_data(Archive&, MadeByData* object, unsigned) {
  ::new (object) MadeByData(1);
}
}  // namespace boost::serialization

template <>
inline constexpr bool kin::is_plain<Declared> = true;
template <>
inline constexpr bool kin::is_plain<DeclaredButNot> = true;
template <>
inline constexpr bool kin::is_sendable<FinalPrivate> = true;

// --- plain
static_assert(Plain<bool> && Plain<char> && Plain<wchar_t> && Plain<long> && Plain<long double>);
static_assert(Plain<std::byte> && Plain<Unscoped> && Plain<Scoped>);
static_assert(Plain<int[3]> && Plain<std::array<int, 3>> && Plain<std::array<Point, 3>>);
static_assert(Plain<Point> && Plain<Named> && Plain<Flags> && Plain<Empty> &&
              Plain<std::monostate>);
static_assert(Plain<const int> && Plain<const Point>);
static_assert(Plain<std::complex<float>> && Plain<std::chrono::nanoseconds>);
static_assert(Plain<std::chrono::steady_clock::time_point>);
static_assert(Plain<Declared>);

static_assert(!Plain<int*> && !Plain<int&> && !Plain<void*> && !Plain<std::nullptr_t>);
static_assert(!Plain<int (*)(int)> && !Plain<int Point::*>);
static_assert(!Plain<int* [2]> && !Plain<std::array<int*, 2>>);
static_assert(!Plain<std::string_view> && !Plain<std::span<int>>);
static_assert(!Plain<std::vector<int>::iterator> && !Plain<std::reference_wrapper<int>>);
static_assert(!Plain<std::function<void()>>);
static_assert(!Plain<WithPointer> && !Plain<Deeper> && !Plain<WithView> && !Plain<WithReference>);
static_assert(!Plain<WithText> && !Plain<Derived> && !Plain<WithUnion> && !Plain<Hidden>);
static_assert(!Plain<PointWithSerialize> && !Plain<DeclaredButNot>);
static_assert(!Plain<std::string> && !Plain<std::bitset<8>> && !Plain<std::optional<int>>);

// --- sendable: plain, standard, and made of them
static_assert(Sendable<int> && Sendable<Point> && Sendable<Named> && Sendable<Flags>);
static_assert(Sendable<std::string> && Sendable<std::wstring> && Sendable<std::filesystem::path>);
static_assert(Sendable<std::vector<std::string>> && Sendable<std::vector<bool>>);
static_assert(Sendable<std::deque<int>> && Sendable<std::list<int>>);
static_assert(Sendable<std::forward_list<int>> && Sendable<std::array<std::string, 2>>);
static_assert(Sendable<std::map<std::string, int>> && Sendable<std::multimap<int, int>>);
static_assert(Sendable<std::set<int>> && Sendable<std::multiset<int>>);
static_assert(Sendable<std::unordered_map<std::string, int>>);
static_assert(Sendable<std::unordered_multimap<int, int>>);
static_assert(Sendable<std::unordered_set<int>> && Sendable<std::unordered_multiset<int>>);
static_assert(Sendable<std::pair<int, std::string>> && Sendable<std::tuple<int, std::string>>);
static_assert(Sendable<std::tuple<>> && Sendable<std::bitset<8>> && Sendable<std::monostate>);
static_assert(Sendable<std::optional<std::string>> && Sendable<std::variant<int, std::string>>);
static_assert(Sendable<std::unique_ptr<int>> && Sendable<std::shared_ptr<const std::string>>);
static_assert(Sendable<std::weak_ptr<int>> && Sendable<std::vector<std::unique_ptr<Point>>>);
static_assert(Sendable<WithText> && Sendable<Tree> && Sendable<const WithText>);

// addresses of functions and members
static_assert(Sendable<int (*)(int)> && Sendable<int (*)() noexcept> && Sendable<int Point::*>);
static_assert(Sendable<void (Abstract::*)()> && Sendable<std::vector<int (*)(int)>>);

// --- classes
static_assert(Sendable<PrivateSerialize> && Sendable<Inherits> && Sendable<PointWithSerialize>);
static_assert(Sendable<FinalPublic> && Sendable<FinalPrivate>);
static_assert(Sendable<outside::Free> && Sendable<outside::SplitFree>);
static_assert(Sendable<std::unique_ptr<MadeByData>> && !Sendable<MadeByData>);
static_assert(Sendable<std::shared_ptr<Abstract>> && !Sendable<Abstract>);
static_assert(!Sendable<NoDefault> && !Sendable<std::unique_ptr<NoDefault>>);
static_assert(!Sendable<Hidden> && !Sendable<Derived> && !Sendable<DeclaredButNot>);

// --- not sendable
static_assert(!Sendable<int*> && !Sendable<int&> && !Sendable<const char*> && !Sendable<void*>);
static_assert(!Sendable<std::nullptr_t> && !Sendable<void> && !Sendable<void()>);
static_assert(!Sendable<std::string_view> && !Sendable<std::span<int>>);
static_assert(!Sendable<std::vector<int>::iterator> && !Sendable<std::reference_wrapper<int>>);
static_assert(!Sendable<std::function<void()>> && !Sendable<std::any> && !Sendable<std::mutex>);
static_assert(!Sendable<std::vector<int*>> && !Sendable<std::map<int, std::vector<int*>>>);
static_assert(!Sendable<std::map<std::string_view, int>> && !Sendable<std::pair<int, int*>>);
static_assert(!Sendable<std::tuple<int, int&>> && !Sendable<std::optional<int*>>);
static_assert(!Sendable<std::variant<int, int*>> && !Sendable<std::array<int*, 2>>);
static_assert(!Sendable<std::unique_ptr<int*>> && !Sendable<std::shared_ptr<void>>);
static_assert(!Sendable<std::unique_ptr<int[]>> && !Sendable<std::list<Hidden>>);
static_assert(!Sendable<WithPointer> && !Sendable<Deeper> && !Sendable<WithView>);
static_assert(!Sendable<WithReference> && !Sendable<WithMutex> && !Sendable<WithUnion>);
static_assert(!Sendable<BadTree>);

// --- what can't come from another program

using Code = int (*)(int);
struct WithCode {
  int number;
  Code code;
};
struct WithNested {
  std::vector<std::optional<WithCode>> all;
};
struct TreeWithCode {
  std::vector<TreeWithCode> children;
  std::array<Code, 2> codes;
};
struct HidesCode {
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& code;
  }
  Code code = nullptr;
};
// Closures with a number, and with something else as large as an address.
using WithNumber = decltype([number = 1] { return number; });
using WithWord = decltype([word = 1L] { return word; });

template <typename T>
inline constexpr bool holds_address = kin::detail::holds_address<T>();
static_assert(holds_address<Code> && holds_address<int WithCode::*> && holds_address<WithCode>);
static_assert(holds_address<void (HidesCode::*)()> && holds_address<const WithCode>);
static_assert(holds_address<std::vector<Code>> && holds_address<std::map<int, WithCode>>);
static_assert(holds_address<std::variant<int, Code>> && holds_address<WithNested>);
static_assert(holds_address<std::unique_ptr<WithCode>> && holds_address<TreeWithCode>);
static_assert(holds_address<kin::Partial<Code, int>> &&
              holds_address<kin::Partial<WithNumber, Code>>);
static_assert(holds_address<kin::Partial<kin::Partial<Code>>> && holds_address<Code[3]>);
static_assert(holds_address<std::tuple<int, std::vector<kin::Partial<WithWord>>>>);
static_assert(!holds_address<void> && !holds_address<int> && !holds_address<std::string>);
static_assert(!holds_address<std::map<std::string, std::vector<int>>> && !holds_address<Tree>);
static_assert(!holds_address<std::shared_ptr<int>> && !holds_address<kin::UniqueFd>);
static_assert(!holds_address<kin::Partial<WithNumber, std::string>>);
static_assert(!holds_address<kin::Partial<std::plus<>, int>>);
static_assert(!holds_address<HidesCode>);  // seen when it is read

TEST_SUITE("sendable") {
  TEST_CASE("the compiler knows what may travel") {
    int captured = 0;
    auto closure = [&captured] { return captured; };
    CHECK_FALSE(Plain<decltype(closure)>);
    CHECK_FALSE(Sendable<decltype(closure)>);
  }
}
