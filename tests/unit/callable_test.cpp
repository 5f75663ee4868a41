// SPDX-License-Identifier: BSL-1.0

// Functions are written by one process and called by another that was forked before. What would
// read the sender's memory there is refused before it is written.
//
// Fails when:
//   an address, or what may hold one, is read without require_trust(): "is not believed, wherever it hides"
//   load_function(), SentFunction::travel() don't ask for it: "is not read as a function either"
//   recv() does not distrust what came over a socket: "is not received over a socket"

#include <kin/connection.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/sent_function.hpp>
#include <kin/queue.hpp>

#include "frame.hpp"

#include "support/sanitizer.hpp"
#include "support/socket_ends.hpp"

#include <boost/serialization/access.hpp>
#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include <dlfcn.h>
#include <sys/mman.h>

namespace {

using kin::detail::ArgumentOf;
using kin::detail::check_function;
using kin::detail::function_name;
using kin::detail::InArchive;
using kin::detail::LoadedImages;
using kin::detail::OutArchive;
using kin::detail::PortableFunction;
using unit::Frame;

int square(int x) { return x * x; }
int quiet_square(int x) noexcept { return x * x; }

struct Account {
  int balance = 0;
  [[nodiscard]] int with(int more) const { return balance + more; }
};

struct Shape {
  virtual ~Shape() = default;
  [[nodiscard]] virtual int area(int side) const { return side; }
};

struct Square final : Shape {
  [[nodiscard]] int area(int side) const override { return side * side; }
};

struct Scale {  // plain
  int factor = 1;
  bool negative = false;
  int operator()(int x) const { return (negative ? -1 : 1) * factor * x; }
};

struct Repeat {  // an aggregate that is sendable
  std::string text;
  std::string operator()(int times) const {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
  }
};

class Adder {  // with serialize
 public:
  Adder() = default;
  explicit Adder(std::vector<int> numbers) : numbers_(std::move(numbers)) {}
  int operator()(int x) const { return std::accumulate(numbers_.begin(), numbers_.end(), x); }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& numbers_;
  }
  std::vector<int> numbers_;
};

struct Money {  // trivially copyable, neither an aggregate nor default constructible
  explicit Money(long given) : cents(given) {}
  long operator()(long more) const { return cents + more; }
  long cents;
};

struct HidesCode {  // as the compiler can't see
  int has_code = 0;
  int (*code)(int) = nullptr;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& has_code;
    if (has_code != 0) archive& code;
  }
};

std::string greet(const std::string& word, std::string name) { return word + ", " + name; }
int by_reference(int& x) { return x; }
void tell(kin::Queue<std::string> queue, const std::string& word, const std::string& name) {
  queue.put(greet(word, name));
}

template <typename F>
std::vector<std::byte> written(const F& function) {
  OutArchive out;
  check_function(function, LoadedImages());
  kin::detail::save_function(out, function);
  if (kin::detail::is_bytes_only<F>) CHECK(out.size() <= sizeof(F));
  return {out.bytes().begin(), out.bytes().end()};
}

template <typename F>
F read(std::span<const std::byte> bytes) {
  InArchive in(bytes);
  F function = kin::detail::load_function<F>(in);
  in.finish();
  return function;
}

template <typename T>
std::string text_of(const T& value) {
  if constexpr (std::is_convertible_v<T, std::string>) {
    return value;
  } else {
    return std::to_string(value);
  }
}

/// What the function returns in a process that was forked before the function was made.
template <typename Make, typename... Arguments>
std::string result_elsewhere(Make make, const Arguments&... arguments) {
  using F = decltype(make());
  static_assert(PortableFunction<F>);
  kin::Queue<std::vector<std::byte>> queue;
  unit::Relative child([=] { return text_of(std::invoke(read<F>(queue.get()), arguments...)); });
  const F function = make();
  queue.put(written(function));
  return child.answer();
}

/// Why it may not be sent; nothing if it may.
template <typename F>
std::string refusal_of(const F& function) {
  static_assert(PortableFunction<F>);
  std::string without_images;
  try {
    check_function(function);
  } catch (const std::invalid_argument& error) {
    without_images = error.what();
  }
  try {
    check_function(function, LoadedImages());
  } catch (const std::invalid_argument& error) {
    CHECK(without_images == error.what());
    return error.what();
  }
  CHECK(without_images.empty());
  return {};
}

bool is_own_memory(const std::string& refusal) {
  return refusal.find("captured an address in this process's own memory") != std::string::npos &&
         refusal.find("kin::partial") != std::string::npos;
}

const int constant = 3;
int variable = 3;

/// A library that this program does not use, opened while it exists.
class Plugin {
 public:
  Plugin() : library_(::dlopen("libthread_db.so.1", RTLD_NOW | RTLD_LOCAL)) {}
  ~Plugin() {
    if (library_ != nullptr) ::dlclose(library_);
  }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;
  explicit operator bool() const { return library_ != nullptr; }
  [[nodiscard]] auto function() const {
    return reinterpret_cast<int (*)()>(::dlsym(library_, "td_init"));
  }

 private:
  void* library_;
};

template <typename Call>
std::string complaint_of(Call call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("callable") {
  TEST_CASE("a process that was forked before calls each kind of function") {
    const Frame frame;
    CHECK(result_elsewhere([] { return &square; }, 7) == "49");
    CHECK(result_elsewhere([] { return &quiet_square; }, 7) == "49");
    CHECK(result_elsewhere([] { return &Account::with; }, Account{3}, 4) == "7");
    CHECK(result_elsewhere([] { return &Account::balance; }, Account{3}) == "3");
    CHECK(result_elsewhere([] { return &Shape::area; }, Square(), 4) == "16");
    CHECK(result_elsewhere([] { return [](int x) { return x + 1; }; }, 7) == "8");
    CHECK(result_elsewhere([] { return [=](auto x) { return x + 1; }; }, 7) == "8");
    CHECK(result_elsewhere([] { return std::plus<>(); }, 7, 2) == "9");
    CHECK(result_elsewhere([] { return Scale{3, true}; }, 7) == "-21");
    CHECK(result_elsewhere([] { return Repeat{"ab"}; }, 3) == "ababab");
    CHECK(result_elsewhere([] { return Adder({1, 2, 3}); }, 4) == "10");
    CHECK(result_elsewhere([] { return Money(5); }, 4) == "9");
    int n = 3;
    double half = 0.5;
    CHECK(result_elsewhere([=] { return [n](int x) { return n * x; }; }, 7) == "21");
    CHECK(result_elsewhere([=] { return [n, half](int x) { return n * x * half; }; }, 8) ==
          std::to_string(12.0));
    CHECK(result_elsewhere([] { return [f = &square](int x) { return f(f(x)); }; }, 2) == "16");
  }

  TEST_CASE("what needs no archive is no longer than itself") {
    using kin::detail::is_bytes_only;
    int n = 3;
    auto closure = [n](int x) { return n * x; };
    auto captureless = [](int x) { return x; };
    CHECK(is_bytes_only<int (*)(int)>);
    CHECK(is_bytes_only<decltype(&Account::with)>);
    CHECK(is_bytes_only<decltype(closure)>);
    CHECK(is_bytes_only<Scale>);
    CHECK(!is_bytes_only<Repeat>);
    CHECK(!is_bytes_only<Adder>);
    CHECK(!is_bytes_only<decltype(kin::partial(square, 3))>);
    CHECK(written(closure).size() == sizeof closure);
    CHECK(written(captureless).empty());
    CHECK(written(std::less<>()).empty());
  }

  TEST_CASE("what is no portable function") {
    std::string text = "text";
    kin::Queue<int> queue;
    auto with_string = [text] { return text; };
    auto with_queue = [queue] { return queue.get(); };
    CHECK(!PortableFunction<decltype(with_string)>);
    CHECK(!PortableFunction<decltype(with_queue)>);
    CHECK(!PortableFunction<std::function<int(int)>>);
    CHECK(!PortableFunction<std::reference_wrapper<int(int)>>);
    CHECK(!PortableFunction<decltype(std::bind(square, 3))>);
    CHECK(!PortableFunction<int>);
    CHECK(!PortableFunction<int*>);
    CHECK(!PortableFunction<Account>);
  }

  TEST_CASE("a captured address of the process's own memory is refused, and the text says why") {
    int local = 3;
    const auto on_heap = std::make_unique<int>(3);
    const std::string long_text(100, 'x');
    const std::string_view view = long_text;
    std::vector<int> numbers(5000, 1);
    const auto iterator = numbers.begin();

    struct Member {
      int value = 3;
      auto function() {
        return [this] { return value; };
      }
    } member;

    const std::string refusal = refusal_of([&local] { return local; });
    CHECK(is_own_memory(refusal));
    CHECK(contains(refusal, "lambda"));
    CHECK(contains(refusal, "stack"));
    CHECK(is_own_memory(refusal_of([&] { return local; })));
    CHECK(is_own_memory(refusal_of(member.function())));
    CHECK(is_own_memory(refusal_of([pointer = &variable] { return *pointer; })));
    CHECK(is_own_memory(refusal_of([&other = variable] { return other; })));
    CHECK(is_own_memory(refusal_of([pointer = on_heap.get()] { return *pointer; })));
    CHECK(is_own_memory(refusal_of([view] { return view.size(); })));
    CHECK(is_own_memory(refusal_of([iterator] { return *iterator; })));
    CHECK(is_own_memory(refusal_of([a = 1, b = 'x', &local] { return a + b + local; })));
  }

  TEST_CASE("memory of a thread and of a private mapping is the process's own") {
    std::string refusal;
    std::thread([&refusal] {
      int local = 3;
      refusal = refusal_of([&local] { return local; });
    }).join();
    CHECK(is_own_memory(refusal));

    void* const page =
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    CHECK(is_own_memory(refusal_of([page] { return page; })));
    ::munmap(page, 4096);
    CHECK(refusal_of([page] { return page; }).empty());
  }

  TEST_CASE("what is the same in all kin passes") {
    const Frame frame;
    const char* const literal = "a literal";
    CHECK(refusal_of([literal] { return literal; }).empty());
    CHECK(refusal_of([text = std::string_view("a literal")] { return text; }).empty());
    CHECK(refusal_of([&] { return constant; }).empty());
    CHECK(refusal_of([pointer = &constant] { return *pointer; }).empty());
    CHECK(refusal_of([f = &square] { return f(3); }).empty());
    const crash::SharedPage<std::atomic<int>> shared;
    CHECK(refusal_of([page = &*shared] { return page->load(); }).empty());
    CHECK(result_elsewhere(
              [] { return [t = std::string_view("text")] { return std::string(t); }; }) == "text");
  }

  TEST_CASE("numbers that are no addresses pass") {
    for (const long number : {0L, 1L, -1L, 4096L, 65'535L, 65'536L, 1L << 40, 1L << 62}) {
      if (support::is_thread_sanitized && number == 1L << 40) continue;  // there is its memory
      CHECK(refusal_of([number] { return number; }).empty());
    }
    for (const double number : {0.0, 1.0, -1.0, 1e-300, 5e-324, 3.25e300})
      CHECK(refusal_of([number] { return number; }).empty());
    CHECK(refusal_of([a = 5, b = 20'000] { return a + b; }).empty());
    CHECK(refusal_of([a = 'x', b = 1.0, c = short{3}] { return a + b + c; }).empty());
  }

  TEST_CASE("a class that was declared plain is taken at its word") {
    CHECK(refusal_of(Scale{1 << 30, true}).empty());
    CHECK(refusal_of(Money(12)).empty());
    int local = 3;
    CHECK(is_own_memory(refusal_of(Money(reinterpret_cast<long>(&local)))));
  }

  TEST_CASE("a null pointer is refused") {
    CHECK(contains(refusal_of(static_cast<int (*)(int)>(nullptr)), "null pointer"));
    CHECK(contains(refusal_of(static_cast<int (Account::*)(int) const>(nullptr)), "null pointer"));
    CHECK(
        contains(refusal_of(kin::partial(static_cast<int (*)(int)>(nullptr), 3)), "null pointer"));
  }

  TEST_CASE("code and constants of a plugin that was loaded later are refused by its path") {
    const LoadedImages before;
    CHECK(before.holds(reinterpret_cast<const void*>(&square)));
    CHECK(!before.holds(&variable));
    CHECK(!before.holds_constant(reinterpret_cast<std::uintptr_t>(&variable)));
    const Plugin plugin;
    if (!plugin) return;  // another libc
    auto* const function = plugin.function();
    REQUIRE((function != nullptr));
    const auto is_refused = [&before](const auto& one) {
      const std::string complaint = complaint_of([&] { check_function(one, before); });
      return contains(complaint, "libthread_db") &&
             contains(complaint, "loaded after the other process was made");
    };
    CHECK(is_refused(function));
    CHECK(contains(complaint_of([&] { check_function(function, before); }), "td_init"));
    CHECK(is_refused(kin::partial(kin::partial(function))));
    CHECK(is_refused([function] { return function(); }));
    CHECK_NOTHROW(check_function(function, LoadedImages()));
    CHECK_NOTHROW(check_function(&square, before));
  }

  TEST_CASE("code that was made at run time is refused") {
    const LoadedImages images;
    void* const page =
        ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    auto* const function = reinterpret_cast<int (*)()>(page);
    CHECK(contains(complaint_of([&] { check_function(function, images); }), "made at run time"));
    ::munmap(page, 4096);
  }

  TEST_CASE("names are readable") {
    CHECK(function_name(Scale()) == "(anonymous namespace)::Scale");
    CHECK(function_name(&::dlopen).find("dlopen") != std::string::npos);
    CHECK(function_name(&square) == "int (*)(int)");
    CHECK(function_name(kin::partial(Scale(), 3)) ==
          "kin::partial of (anonymous namespace)::Scale");
  }

  TEST_CASE("arguments travel by value, text as strings") {
    CHECK(std::is_same_v<ArgumentOf<const int&>, int>);
    CHECK(std::is_same_v<ArgumentOf<const char(&)[6]>, std::string>);
    CHECK(std::is_same_v<ArgumentOf<const char*&>, std::string>);
    CHECK(std::is_same_v<ArgumentOf<char*>, std::string>);
    CHECK(std::is_same_v<ArgumentOf<std::string_view>, std::string>);
    CHECK(std::is_same_v<ArgumentOf<const wchar_t*>, std::wstring>);
    CHECK(std::is_same_v<ArgumentOf<const std::string&>, std::string>);
    CHECK(std::is_same_v<ArgumentOf<std::unique_ptr<int>&&>, std::unique_ptr<int>>);
    CHECK(std::is_same_v<ArgumentOf<int (&)(int)>, int (*)(int)>);
    CHECK(!kin::Sendable<ArgumentOf<int*>>);
    // which require_sendable() refuses
    CHECK(std::is_same_v<ArgumentOf<int(&)[3]>, int[3]>);
    CHECK(!kin::Sendable<ArgumentOf<std::reference_wrapper<int>>>);
  }
}

TEST_SUITE("code from another program") {
  using Code = int (*)(int);

  // Has room for an address.
  constexpr auto with_word = [word = 1L] { return word; };

  // Reads it as if it came from there.
  template <typename T>
  std::string complaint_about(const T& value) {
    OutArchive out;
    encode(out, value);
    InArchive in(out.bytes());
    in.distrust();
    try {
      static_cast<void>(kin::detail::decode<T>(in));
      return "none";
    } catch (const kin::SerializationError& error) {
      return error.what();
    }
  }

  TEST_CASE("is not believed, wherever it hides") {
    const auto is_refused = [](const auto& value) {
      return contains(complaint_about(value), "an address of code");
    };
    CHECK(is_refused(Code(square)));
    CHECK(is_refused(std::vector<Code>{square}));
    CHECK(is_refused(HidesCode{1, square}));
    CHECK(is_refused(std::map<int, HidesCode>{{1, {1, square}}}));
    CHECK(is_refused(std::make_unique<HidesCode>(HidesCode{1, square})));
    CHECK(is_refused(kin::partial(square, 3)));
    CHECK(is_refused(kin::partial(with_word)));
    CHECK(complaint_about(kin::partial(std::plus<>(), 3)) == "none");
    CHECK(complaint_about(std::vector<std::string>{"a"}) == "none");
    CHECK(complaint_about(HidesCode{0, nullptr}) == "none");
  }

  TEST_CASE("is not read as a function either") {
    const auto is_refused = [](const auto& function) {
      OutArchive out;
      save_function(out, function);
      InArchive in(out.bytes());
      in.distrust();
      try {
        static_cast<void>(load_function<std::decay_t<decltype(function)>>(in));
        return false;
      } catch (const kin::SerializationError&) {
        return true;
      }
    };
    CHECK(is_refused(Code(square)));
    CHECK(is_refused(with_word));
    CHECK(!is_refused(std::plus<>()));
    CHECK(!is_refused([number = 3] { return number; }));

    OutArchive out;
    kin::detail::SentFunction<std::function<int()>>([number = 3] { return number; }).travel(out);
    kin::detail::SentFunction<std::function<int()>> arrives;
    InArchive from_kin(out.bytes());
    arrives.travel(from_kin);
    CHECK(arrives.target()() == 3);
    InArchive from_stranger(out.bytes());
    from_stranger.distrust();
    CHECK_THROWS_AS(arrives.travel(from_stranger), kin::SerializationError);
  }

  TEST_CASE("is not received over a socket") {
    const unit::Frame frame;
    for (const auto kind : {support::SocketKind::unix_domain, support::SocketKind::tcp}) {
      const support::SocketConnections<HidesCode> both(kind);
      both.first.send({1, square});
      CHECK_THROWS_AS(static_cast<void>(both.second.recv()), kin::SerializationError);
      both.first.send({0, nullptr});
      CHECK(both.second.recv().has_code == 0);
    }
    const auto [one, other] = kin::Pipe<HidesCode>();
    one.send({1, square});
    CHECK(other.recv().code(3) == 9);
  }
}

TEST_SUITE("partial") {
  TEST_CASE("the first arguments are bound") {
    CHECK(kin::partial(square, 3)() == 9);
    CHECK(kin::partial(square)(4) == 16);
    CHECK(kin::partial(greet, "hello")("Ada") == "hello, Ada");
    CHECK(kin::partial(greet, std::string_view("hello"), "Ada")() == "hello, Ada");
    CHECK(kin::partial(&Account::with, Account{3})(4) == 7);
    CHECK(kin::partial([](auto a, auto b) { return a - b; }, 10)(3) == 7);
    CHECK(std::is_same_v<
          decltype(kin::partial(greet, "hello")),
          kin::Partial<std::string (*)(const std::string&, std::string), std::string>>);
  }

  TEST_CASE("only calls that can succeed are calls") {
    using Hello = decltype(kin::partial(greet, "hello"));
    CHECK(std::is_invocable_v<const Hello&, std::string>);
    CHECK(!std::is_invocable_v<const Hello&, int>);
    CHECK(!std::is_invocable_v<const Hello&, std::string, int>);
    CHECK(!kin::detail::may_bind<int (*)(int&), int>());
    CHECK(!kin::detail::may_bind<int (*)(int), int, int>());
    CHECK(kin::detail::may_bind<int (*)(int, int&), int>());
    CHECK(!kin::detail::may_bind<int (*)(std::unique_ptr<int>), std::unique_ptr<int>>());
    int x = 3;
    CHECK(kin::partial([](int a, int& b) { return b += a; }, 4)(x) == 7);
    CHECK(x == 7);
    CHECK(kin::partial(by_reference)(x) == 7);
  }

  TEST_CASE("a process that was forked before calls it") {
    const Frame frame;
    int n = 4;
    CHECK(result_elsewhere([] { return kin::partial(greet, "hello"); }, "Ada") == "hello, Ada");
    CHECK(result_elsewhere([=] { return kin::partial([n](int a, int b) { return n * a - b; }, 5); },
                           3) == "17");
    CHECK(result_elsewhere([] { return kin::partial(Adder({1, 2})); }, 3) == "6");
    CHECK(result_elsewhere([] { return kin::partial(Scale{2, true}); }, 3) == "-6");
    CHECK(result_elsewhere([] { return kin::partial(&Account::with, Account{3}); }, 4) == "7");
    CHECK(result_elsewhere([] { return kin::partial(Money(5)); }, 4) == "9");
  }

  TEST_CASE("partials nest, as functions and as values") {
    const Frame frame;
    const auto add = [](int a, int b, int c) { return 100 * a + 10 * b + c; };
    CHECK(result_elsewhere([=] { return kin::partial(kin::partial(add, 1), 2); }, 3) == "123");
    const auto apply = [](const auto& function, int x) { return function(x); };
    CHECK(result_elsewhere([=] { return kin::partial(apply, kin::partial(add, 4, 5)); }, 6) ==
          "456");
  }

  TEST_CASE("it may be an item of a queue, and hold one") {
    const Frame frame;
    using Tell = decltype(kin::partial(tell, kin::Queue<std::string>(), "hello"));
    static_assert(kin::Sendable<Tell>);
    kin::Queue<Tell> calls;
    unit::Relative child([=] {
      calls.get()("Ada");
      return "done";
    });
    kin::Queue<std::string> answers;
    calls.put(kin::partial(tell, answers, "hello"));
    CHECK(answers.get_for(unit::patience) == "hello, Ada");
    CHECK(child.answer() == "done");
  }

  TEST_CASE("values that can only be moved are moved in") {
    auto number = std::make_unique<int>(3);
    const auto partial = kin::partial([](const std::unique_ptr<int>& a, int b) { return *a + b; },
                                      std::move(number));
    CHECK(number == nullptr);
    CHECK(partial(4) == 7);
    OutArchive out;
    kin::detail::save_function(out, partial);
    CHECK(read<std::remove_const_t<decltype(partial)>>(out.bytes())(5) == 8);
  }

  TEST_CASE("captures are looked at inside of partials, in queues as well") {
    const Frame frame;
    int local = 3;
    const auto adder = kin::partial([&local](int a) { return local + a; }, 4);
    CHECK(adder() == 7);
    CHECK(is_own_memory(refusal_of(adder)));
    CHECK(is_own_memory(refusal_of(kin::partial(adder))));
    const auto apply = [](const auto& function) { return function(); };
    CHECK(is_own_memory(refusal_of(kin::partial(apply, adder))));
    kin::Queue<std::remove_const_t<decltype(adder)>> queue;
    CHECK(is_own_memory(complaint_of([&] { queue.put(adder); })));
    CHECK(queue.empty());
  }

  TEST_CASE("a message that is cut short is a SerializationError") {
    const auto partial = kin::partial(Adder({1, 2, 3}), 4);
    using F = std::remove_const_t<decltype(partial)>;
    const auto bytes = written(partial);
    for (std::size_t length = 0; length < bytes.size(); ++length)
      CHECK_THROWS_AS(read<F>({bytes.data(), length}), kin::SerializationError);
    CHECK_THROWS_AS(read<int (*)(int)>({bytes.data(), 4}), kin::SerializationError);
    const std::array<std::byte, sizeof(Scale)> damaged{std::byte{}, {}, {}, {}, std::byte{7}};
    CHECK_THROWS_AS(read<Scale>(damaged), kin::SerializationError);
  }
}
