// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/executor.hpp>
#include <kin/pool.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

// Could be serialized, and says that it need not be.
struct Sample {
  double value = 0;
  static inline int serialized = 0;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    ++serialized;
    archive& value;
  }
};
// The same, and does not say so.
struct SlowSample : Sample {};

template <>
inline constexpr bool kin::is_plain<Sample> = true;

TEST_SUITE("pool") {
  using namespace unit;

  template <typename T>
  T make() {
    T sample;
    sample.value = 2.5;
    return sample;
  }
  // How often one was serialized, here and in the worker, on its way there and back.
  template <typename T>
  int serialized_on_the_way() {
    Sample::serialized = 0;
    kin::Pool pool(1);
    const std::vector<T> samples(100'000, make<T>());
    const auto [same, there] = pool.apply(
        [](const std::vector<T>& all) { return std::pair(all, Sample::serialized); }, samples);
    CHECK(same.size() == samples.size());
    CHECK(same.back().value == 2.5);
    return Sample::serialized + there;
  }

  int square(int x) { return x * x; }
  std::string greet(const std::string& word, const std::string& name) { return word + ", " + name; }
  int die(int signal) {
    std::raise(signal);
    return 0;
  }
  int own_pid() { return ::getpid(); }

  // Seen by the workers of pools that are made later.
  std::atomic<int>& throws() {
    static const crash::SharedPage<std::atomic<int>> page;
    return *page;
  }
  // It is destroyed when its text stands where the results had stood.
  struct Deadly : std::runtime_error {
    Deadly() : std::runtime_error(std::string(100, '!')) {}
    Deadly(const Deadly&) = default;
    Deadly& operator=(const Deadly&) = delete;
    ~Deadly() override { std::raise(SIGKILL); }
  };
  int throw_at_nine_once(int x) {
    if (x == 9 && throws()++ == 0) throw Deadly();
    return x;
  }

  // The copy goes on when all but the last item are done, and the last waits for its end.
  int fork_at_three(int x) {
    static pid_t copy = -1;
    static int ends[2];
    if (x == 3) {
      if (::pipe2(ends, O_CLOEXEC) != 0) return -2;
      copy = ::fork();
      if (copy == 0) {
        char go = 0;
        ::close(ends[1]);
        static_cast<void>(::read(ends[0], &go, 1));
      } else {
        ::close(ends[0]);
      }
    }
    if (x == 9 && copy > 0) {
      ::close(ends[1]);
      if (::waitpid(copy, nullptr, 0) != copy) return -3;
    }
    return copy == 0 ? -1 : x;
  }

  TEST_CASE("a call is run in another process") {
    const Frame frame;
    kin::Pool pool(2);
    CHECK(pool.apply(square, 3) == 9);
    CHECK(pool.apply(greet, "hello", "Ada") == "hello, Ada");
    CHECK(pool.apply(own_pid) != ::getpid());
  }

  TEST_CASE("a map gives its results in order") {
    const Frame frame;
    kin::Pool pool(2);
    const std::vector<int> squares = pool.map(square, std::views::iota(0, 100));
    REQUIRE(squares.size() == 100);
    for (int i = 0; i < 100; ++i) CHECK(squares[static_cast<std::size_t>(i)] == i * i);
    const std::vector<std::string> names{"Ada", "Grace"};
    CHECK(pool.map(kin::partial(greet, "hi"), names) ==
          std::vector<std::string>{"hi, Ada", "hi, Grace"});
  }

  TEST_CASE("a large array of plain values is an argument and a result without serialization") {
    const Frame frame;
    CHECK(serialized_on_the_way<Sample>() == 0);
    CHECK(serialized_on_the_way<SlowSample>() == 300'000);  // the worker counts before it writes
  }

  TEST_CASE("a descriptor is an argument and a result") {
    const Frame frame;
    kin::Pool pool(2);
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const kin::UniqueFd reader(ends[0]);
    const auto write_to = [](const kin::UniqueFd& writer, const std::string& text) {
      return ::write(writer.get(), text.data(), text.size()) == 2;
    };
    CHECK(pool.apply(write_to, kin::UniqueFd(ends[1]), "hi"));
    char text[3] = {};
    CHECK(::read(reader.get(), text, 2) == 2);
    CHECK(std::string(text) == "hi");
    CHECK(::read(reader.get(), text, 1) == 0);  // nobody has the writer any more
    const kin::UniqueFd null =
        pool.apply([] { return kin::UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)); });
    CHECK(::write(null.get(), "x", 1) == 1);
  }

  TEST_CASE("a worker that is killed costs the one task that it ran") {
    const Frame frame;
    kin::Pool pool(2);
    std::vector<kin::Future<int>> before;
    for (int i = 0; i < 100; ++i) before.push_back(pool.apply_async(square, i));
    kin::Future<int> killed = pool.apply_async(die, SIGKILL);
    std::vector<kin::Future<int>> after;
    for (int i = 0; i < 100; ++i) after.push_back(pool.apply_async(square, i));
    try {
      static_cast<void>(killed.get());
      FAIL("a killed task has a result");
    } catch (const kin::WorkerDied& death) {
      CHECK(death.exit_code() == -SIGKILL);
      CHECK(std::string(death.what()).find("SIGKILL") != std::string::npos);
    }
    for (int i = 0; i < 100; ++i) {
      CHECK(before[static_cast<std::size_t>(i)].get() == i * i);
      CHECK(after[static_cast<std::size_t>(i)].get() == i * i);
    }
  }

  TEST_CASE("a task with retries runs again when its worker is killed") {
    const Frame frame;
    kin::Pool pool(2);
    const kin::Queue<int> runs;
    const auto twice = kin::partial(
        [](const kin::Queue<int>& told, int value) {
          told.put(value);
          if (told.size() == 1) std::raise(SIGKILL);
          return value;
        },
        runs);
    CHECK(pool.apply({.retries = 1}, twice, 7) == 7);
    CHECK(runs.size() == 2);
  }

  TEST_CASE("a chunk that threw, and whose worker died behind that, runs again as a whole") {
    const Frame frame;
    static_cast<void>(throws());  // made before the pool
    kin::Pool pool(1);
    for (const int count : {10, 100, 10'000}) {
      throws() = 0;
      std::vector<int> items(static_cast<std::size_t>(count));
      std::iota(items.begin(), items.end(), 0);
      CHECK(pool.map({.chunk_size = count, .retries = 1}, throw_at_nine_once, items) == items);
      CHECK(throws() == 2);
    }
  }

  TEST_CASE("the copy of a worker that an item forked writes none of the results") {
    const Frame frame;
    kin::Pool pool(1);
    std::vector<int> items(10);
    std::iota(items.begin(), items.end(), 0);
    CHECK(pool.map({.chunk_size = 10}, fork_at_three, items) == items);
    std::vector<int> results;
    for (const int one : pool.imap({.chunk_size = 10}, fork_at_three, items))
      results.push_back(one);
    CHECK(results == items);
  }

  TEST_CASE("a task that takes too long is ended with its worker") {
    const Frame frame;
    kin::Pool pool(1);
    const auto forever = [](int seconds) {
      return static_cast<int>(::sleep(static_cast<unsigned>(seconds)));
    };
    CHECK_THROWS_AS(static_cast<void>(pool.apply({.timeout = 50ms}, forever, 600)),
                    kin::TimeoutError);
    CHECK(pool.apply(square, 5) == 25);
  }

  TEST_CASE("when the nursery is killed everything that is pending fails") {
    const Frame frame;
    kin::Pool pool(2);
    const auto forever = [](int seconds) {
      return static_cast<int>(::sleep(static_cast<unsigned>(seconds)));
    };
    const auto parent_of_worker = pool.apply([] { return static_cast<int>(::getppid()); });
    std::vector<kin::Future<int>> pending;
    for (int i = 0; i < 10; ++i) pending.push_back(pool.apply_async(forever, 600));
    ::kill(parent_of_worker, SIGKILL);
    for (auto& future : pending) CHECK_THROWS_AS(static_cast<void>(future.get()), kin::BrokenPool);
    CHECK_THROWS_AS(static_cast<void>(pool.apply(square, 1)), kin::BrokenPool);
    CHECK(pool.worker_pids().empty());
  }
}
