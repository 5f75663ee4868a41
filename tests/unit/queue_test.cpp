// SPDX-License-Identifier: BSL-1.0

// The templates; what is below them has its own tests: byte_channel, ledger, serialize.

#include <kin/queue.hpp>

#include "frame.hpp"

#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <chrono>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

using kin::JoinableQueue;
using kin::Queue;
using namespace std::chrono_literals;

namespace {

static_assert(std::is_copy_constructible_v<Queue<int>> && std::is_copy_assignable_v<Queue<int>>);
static_assert(std::is_nothrow_move_constructible_v<Queue<int>>);
static_assert(std::input_iterator<Queue<int>::Iterator>);
static_assert(std::sentinel_for<std::default_sentinel_t, Queue<int>::Iterator>);
static_assert(std::ranges::input_range<const Queue<std::string>>);
static_assert(std::is_same_v<kin::SimpleQueue<int>, Queue<int>>);
static_assert(!std::is_convertible_v<int, Queue<int>>);

struct Point {
  int x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
};

enum class Color : std::uint64_t { red = 1, far = std::numeric_limits<std::uint64_t>::max() };

class Account {
 public:
  Account() = default;
  Account(std::string owner, long balance) : owner_(std::move(owner)), balance_(balance) {}
  bool operator==(const Account&) const = default;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& owner_& balance_;
  }
  std::string owner_;
  long balance_ = 0;
};

// Its serialize() uses another queue in the midst of a message.
struct Gossip {
  static std::optional<Queue<std::string>> others;
  std::string text;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& text;
    if (Archive::is_saving::value) {
      others->put("sent " + text);
    } else {
      others->put("received " + text);
    }
    archive& text;
  }
};
std::optional<Queue<std::string>> Gossip::others;

// What deepest_nesting in archive.hpp refuses.
struct Nested {
  std::vector<Nested> inner;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& inner;
  }
};

Nested nested(int depth) {
  Nested one;
  if (depth > 0) one.inner.push_back(nested(depth - 1));
  return one;
}

template <typename T>
void check_travels(const T& item) {
  const Queue<T> queue;
  queue.put(item);
  queue.put(item);
  CHECK(queue.size() == 2);
  CHECK(queue.get() == item);
  CHECK(queue.try_get().value() == item);
  CHECK(queue.empty());
  CHECK(unit::answer_of([&] {
          queue.put(item);
          return "put";
        }) == "put");
  CHECK(queue.get_for(unit::patience).value() == item);
}

std::vector<char> noise(std::size_t size) {
  std::vector<char> bytes(size);
  std::uint32_t state = 1;
  for (char& one : bytes) one = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

}  // namespace

TEST_SUITE("queue") {
  TEST_CASE_FIXTURE(unit::Frame, "what is put comes out, of every kind of type") {
    check_travels(42);
    check_travels(-1.5);
    check_travels('x');
    check_travels(true);
    check_travels(Color::far);
    check_travels(Point{3, 0.5});
    check_travels(std::array<std::array<int, 2>, 2>{{{1, 2}, {3, 4}}});
    check_travels(std::chrono::nanoseconds(5));
    check_travels(std::string("text"));
    check_travels(std::vector<int>{1, 2, 3});
    check_travels(std::map<std::string, std::vector<Point>>{{"a", {{1, 2}}}, {"b", {}}});
    check_travels(std::optional<std::string>("maybe"));
    check_travels(std::variant<int, std::string>("either"));
    check_travels(std::tuple<int, std::string, Point>(1, "two", {3, 4}));
    check_travels(Account("Ada", 1815));
  }

  TEST_CASE_FIXTURE(unit::Frame, "what is empty comes out empty") {
    check_travels(std::string());
    check_travels(std::vector<int>());
    check_travels(std::vector<std::string>());
    check_travels(std::vector<std::string>(3));
    check_travels(std::map<int, int>());
    check_travels(std::optional<int>());
    check_travels(std::tuple<>());
  }

  TEST_CASE_FIXTURE(unit::Frame, "what can only be moved is put by its value") {
    const Queue<std::unique_ptr<std::string>> queue;
    const auto original = std::make_unique<std::string>("owned");
    queue.put(original);
    queue.put(nullptr);
    CHECK(*original == "owned");
    CHECK(*queue.get() == "owned");
    CHECK(queue.get() == nullptr);
    queue.put(std::make_unique<std::string>("a temporary"));
    const auto received = queue.try_get();
    REQUIRE(received);
    CHECK(**received == "a temporary");
  }

  TEST_CASE_FIXTURE(unit::Frame, "messages of many MiB") {
    for (const std::size_t size :
         {std::size_t{1} << 20, (std::size_t{5} << 20) + 3, std::size_t{64} << 20}) {
      CAPTURE(size);
      const std::vector<char> bytes = noise(size);
      const Queue<std::vector<char>> queue;
      unit::Relative child([&] {
        queue.put(bytes);
        return "put";
      });
      CHECK((queue.get_for(unit::patience) == bytes));
      CHECK(child.answer() == "put");
    }
    const Queue<std::string> mixed;
    const std::string large(3'000'000, 'x');
    for (int i = 0; i < 5; ++i) {
      mixed.put("small");
      mixed.put(large);
      mixed.put("");
    }
    for (int i = 0; i < 5; ++i) {
      CHECK(mixed.get() == "small");
      CHECK((mixed.get() == large));
      CHECK(mixed.get().empty());
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "a large plain type goes without Boost") {
    struct Page {
      std::array<std::uint32_t, 25'000> words;
    };
    const Queue<Page> queue;
    auto page = std::make_unique<Page>();
    page->words.back() = 7;
    queue.put(*page);
    CHECK(std::make_unique<Page>(queue.get())->words.back() == 7);
  }

  TEST_CASE_FIXTURE(unit::Frame, "each way to wait comes three times") {
    const Queue<int> queue(1);
    CHECK_FALSE(queue.try_get());
    CHECK_FALSE(queue.get_for(1ms));
    CHECK_FALSE(queue.get_for(-1s));
    CHECK(queue.try_put(1));
    CHECK(queue.full());
    CHECK_FALSE(queue.try_put(2));
    CHECK_FALSE(queue.put_for(2, 1ms));
    CHECK_FALSE(queue.put_for(2, -1s));
    CHECK(queue.get() == 1);
    CHECK_FALSE(queue.full());
    CHECK(queue.put_for(3, unit::patience));
    CHECK(queue.get_for(unit::patience) == 3);
    queue.put(4);
    CHECK(queue.try_get() == 4);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a size of zero, or one that is never reached, is no bound") {
    CHECK_THROWS_AS(Queue<int>(-1), std::invalid_argument);
    CHECK_THROWS_AS(JoinableQueue<int>(std::numeric_limits<std::ptrdiff_t>::min()),
                    std::invalid_argument);
    for (const std::ptrdiff_t size :
         {std::ptrdiff_t{0}, std::numeric_limits<std::ptrdiff_t>::max()}) {
      const Queue<int> queue(size);
      for (int i = 0; i < 1000; ++i) CHECK(queue.try_put(i));
      CHECK_FALSE(queue.full());
      CHECK(queue.size() == 1000);
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "a loop over it ends with the shutdown") {
    const Queue<std::string> words;
    for (const char* word : {"one", "two", "three"}) words.put(word);
    unit::Relative reader([&] {
      std::string all;
      for (std::string& word : words) all += std::move(word) + " ";
      return all;
    });
    CHECK(unit::eventually([&] { return words.empty(); }));
    words.put("four");
    words.shutdown();
    CHECK(reader.answer() == "one two three four ");
    for (const auto& word : words) FAIL(word);
    CHECK_THROWS_AS(words.put("late"), kin::QueueShutDown);
    CHECK_THROWS_AS(static_cast<void>(words.get()), kin::QueueShutDown);
    CHECK_THROWS_AS(static_cast<void>(words.try_get()), kin::QueueShutDown);
  }

  TEST_CASE_FIXTURE(unit::Frame, "it is a range for the standard's algorithms") {
    const Queue<int> numbers;
    for (int i = 1; i <= 10; ++i) numbers.put(i);
    numbers.shutdown();
    int sum = 0;
    std::ranges::for_each(numbers | std::views::filter([](int n) { return n % 2 == 0; }),
                          [&](int n) { sum += n; });
    CHECK(sum == 30);
  }

  TEST_CASE_FIXTURE(unit::Frame, "copies name the same queue, others another") {
    const Queue<int> first;
    const Queue<int> second = first;
    Queue<int> third;
    CHECK(first == second);
    CHECK_FALSE(first == third);
    third = second;
    CHECK(first == third);
    first.put(1);
    CHECK(third.get() == 1);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a moved-from handle says so, and may be assigned to") {
    Queue<std::string> queue;
    const Queue<std::string> taken = std::move(queue);
    // NOLINTBEGIN(bugprone-use-after-move): what is left is what is tested
    CHECK_THROWS_AS(queue.put("x"), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(queue.get()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(queue.size()), std::logic_error);
    CHECK_THROWS_AS(queue.shutdown(), std::logic_error);
    CHECK_THROWS_AS(queue.close(), std::logic_error);
    CHECK_FALSE(queue == taken);
    // NOLINTEND(bugprone-use-after-move)
    queue = taken;
    queue.put("x");
    CHECK(taken.get() == "x");
  }

  TEST_CASE_FIXTURE(unit::Frame, "close ends the use in this process, not in others") {
    const Queue<int> queue;
    const Queue<int> copy = queue;
    const Queue<int> results;
    unit::Relative child([&] {
      const auto number = queue.get_for(unit::patience);
      results.put(number.value_or(0) + 1);
      return "done";
    });
    queue.put(41);
    queue.close();
    queue.close();
    CHECK_THROWS_AS(copy.put(1), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(copy.try_get()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(copy.empty()), std::logic_error);
    CHECK(results.get_for(unit::patience) == 42);
    CHECK(child.answer() == "done");
  }

  TEST_CASE_FIXTURE(unit::Frame, "a queue travels through a queue, alone and inside other items") {
    const Queue<Queue<std::string>> queues;
    const Queue<std::pair<int, std::vector<JoinableQueue<int>>>> more;
    unit::Relative child([&] {
      const auto answers = queues.get_for(unit::patience);
      if (!answers) return "nothing came";
      answers->put("hello");
      const auto item = more.get_for(unit::patience);
      if (!item || item->second.size() != 2 || !(item->second[0] == item->second[1]))
        return "other";
      item->second[0].put(item->first);
      return "done";
    });
    const Queue<std::string> answers;
    queues.put(answers);
    CHECK(answers.get_for(unit::patience) == "hello");
    const JoinableQueue<int> numbers;
    more.put({7, {numbers, numbers}});
    CHECK(numbers.get_for(unit::patience) == 7);
    CHECK(child.answer() == "done");

    queues.put(answers);
    CHECK(queues.get() == answers);
    // A closed handle may still be sent, and works where it arrives.
    const Queue<std::string> closed;
    closed.close();
    queues.put(closed);
    CHECK_NOTHROW(queues.get().put("open here"));
  }

  TEST_CASE_FIXTURE(unit::Frame, "an item that can't be written is not put, and the next one is") {
    const Queue<Nested> queue;
    queue.put(nested(10));
    CHECK_THROWS_AS(queue.put(nested(5000)), kin::SerializationError);
    CHECK(queue.size() == 1);
    queue.put(nested(1));
    CHECK(queue.get().inner.size() == 1);
    CHECK(queue.get().inner.size() == 1);
    CHECK(queue.empty());
  }

  TEST_CASE_FIXTURE(unit::Frame, "a serialize of the user's may use another queue") {
    Gossip::others.emplace();
    const Queue<Gossip> queue;
    queue.put(Gossip{"news"});
    CHECK(queue.get().text == "news");
    CHECK(Gossip::others->get() == "sent news");
    CHECK(Gossip::others->get() == "received news");
    Gossip::others.reset();
  }

  TEST_CASE_FIXTURE(unit::Frame, "join waits for task_done of all that was put") {
    const JoinableQueue<std::string> tasks;
    CHECK(tasks.join_for(0s));
    CHECK_THROWS_AS(tasks.task_done(), std::logic_error);
    tasks.put("one");
    tasks.put("two");
    CHECK_FALSE(tasks.join_for(1ms));
    unit::Relative worker([&] {
      for (const auto& task : tasks) {
        if (task.empty()) return "an empty task";
        tasks.task_done();
      }
      return "done";
    });
    tasks.join();
    CHECK(tasks.empty());
    tasks.shutdown();
    CHECK(worker.answer() == "done");
    CHECK(tasks.join_for(0s));
  }

  TEST_CASE_FIXTURE(unit::Frame, "join tells who died over an item") {
    const JoinableQueue<int> tasks;
    tasks.put(1);
    unit::Relative worker([&] { return std::to_string(tasks.get()); });
    CHECK(worker.answer() == "1");
    try {
      tasks.join();
      FAIL("nothing was thrown");
    } catch (const kin::OwnerDied& error) {
      CHECK(error.count() == 1);
    }
    CHECK(tasks.join_for(0s));
  }

  TEST_CASE_FIXTURE(unit::Frame, "a joinable queue is a queue") {
    const JoinableQueue<int> tasks(2);
    const Queue<int>& queue = tasks;
    queue.put(1);
    CHECK(tasks.size() == 1);
    CHECK(queue.get() == 1);
    tasks.task_done();
    CHECK(tasks.join_for(0s));
  }
}
