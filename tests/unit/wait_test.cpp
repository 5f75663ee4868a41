// SPDX-License-Identifier: BSL-1.0

// wait_any(): what it is not given, and that whoever sleeps in it is woken. As it looks again by itself after each
// slice of sleep, a wake-up that is lost shows in the time only: a round that took a whole slice was not woken.
// The rest is in tests/conformance, wait_test.cpp and wait_future_test.cpp.
//
// Fails when:
//   ring_after_commit() does not ring: "put() wakes whoever sleeps"
//   Wait::ask_kernel() does not see POLLNVAL, or is not called before bells are made: "a descriptor that
//     is not open"
//   wait_any_until() does not look again behind ask_for_bells(): "whoever is about to sleep", in some runs

#include <kin/connection.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/unique_fd.hpp>
#include <kin/wait.hpp>

#include "arena_frame.hpp"
#include "support/bystander.hpp"
#include "support/shared_page.hpp"
#include "waiting/futex.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <initializer_list>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using kin::SimplexPipe;
using kin::UniqueFd;
using kin::Waitable;
using kin::detail::Deadline;
using namespace std::chrono_literals;

namespace {

using Indices = std::vector<std::size_t>;

// The number of the SystemError that each way to wait for them throws; 0 if one throws none.
int error_of_wait(std::span<const Waitable> things) {
  try {
    static_cast<void>(kin::wait_any(things, 0s));
    return 0;
  } catch (const kin::SystemError&) {
  }
  try {
    static_cast<void>(kin::wait_any(things, unit::patience));
    return 0;
  } catch (const kin::SystemError&) {
  }
  try {
    static_cast<void>(kin::wait_any(things));
    return 0;
  } catch (const kin::SystemError& error) {
    return error.code().value();
  }
}
int error_of_wait(std::initializer_list<Waitable> things) {
  return error_of_wait(std::span(things.begin(), things.size()));
}

int closed_number() {
  const int number = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(number);
  return number;
}

// Threads and processes that wait, round after round, for what others then do.
class Rounds {
 public:
  explicit Rounds(int count) : count_(count) {}

  /// In the waiter: how often it was woken late. A busy machine may hold it up once.
  std::string wait(const std::function<bool(int)>& is_woken) const {
    int late = 0;
    for (int round = 0; round < count_; ++round) {
      const std::int64_t begin = Deadline::now();
      page_->waiter = ::gettid();
      page_->begun = round + 1;
      if (!is_woken(round)) return "not woken in round " + std::to_string(round);
      if (Deadline::now() - begin >= kin::detail::slice_nanoseconds) ++late;
    }
    return late <= 1 ? "woken" : "late in " + std::to_string(late) + " rounds";
  }
  /// By others: each time that the waiter sleeps.
  void wake_sleepers(const std::function<void(int)>& wake) const {
    each([&](int round) {
      if (sleeps()) wake(round);
    });
  }
  /// By others: at any moment between its first look and its sleep.
  void wake_at_any_moment(const std::function<void(int)>& wake) const {
    std::minstd_rand random(1);
    std::uniform_int_distribution<std::int64_t> nanoseconds(0, 20'000);
    each([&](int round) {
      const std::int64_t end = Deadline::now() + nanoseconds(random);
      while (Deadline::now() < end) {
      }
      wake(round);
    });
  }

 private:
  struct Page {
    std::atomic<int> begun;
    std::atomic<pid_t> waiter;
  };

  void each(const std::function<void(int)>& act) const {
    for (int round = 0; round < count_; ++round) {
      if (!unit::eventually([&] { return page_->begun == round + 1 || has_ended(); })) return;
      act(round);
    }
  }
  [[nodiscard]] bool has_ended() const {
    if (page_->waiter == 0) return false;
    const char state = crash::process_state(page_->waiter);
    return state == 'Z' || state == '?';
  }
  [[nodiscard]] bool sleeps() const {
    return unit::eventually([&] {
      const char state = crash::process_state(page_->waiter);
      return state == 'S' || state == 'Z' || state == '?';
    });
  }

  int count_;
  crash::SharedPage<Page> page_;
};

constexpr int sleeps = 100;
constexpr int moments = 3000;
constexpr std::size_t many = 20;  // where the wait does not spin before it sleeps

// Another process waits for items of a queue, and for so many others to which nothing comes.
template <typename Queue>
std::string outcome_of_puts(int count, std::size_t others,
                            void (Rounds::*wake)(const std::function<void(int)>&) const) {
  const std::vector<Queue> queues(1 + others);
  const Rounds rounds(count);
  unit::Relative waiter([&] {
    const std::vector<Waitable> things(queues.begin(), queues.end());
    return rounds.wait([&](int round) {
      return kin::wait_any(things, unit::patience) == Indices{0} && queues[0].try_get() == round;
    });
  });
  (rounds.*wake)([&](int round) { queues[0].put(round); });
  return waiter.answer();
}

}  // namespace

TEST_SUITE("wait") {
  TEST_CASE_FIXTURE(unit::ArenaFrame, "there is nothing to wait for") {
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({})), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({}, 1h)), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({}, 0s)), std::invalid_argument);
    const std::span<const Waitable> none;
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any(none)), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any(none, 1h)), std::invalid_argument);
    const std::vector<Waitable> empty;
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any(empty)), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any(empty, -1s)), std::invalid_argument);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a descriptor that is not open") {
    const kin::Queue<int> queue;
    const SimplexPipe<int> pipe;
    for (const bool is_ready : {false, true}) {
      CAPTURE(is_ready);
      if (is_ready) {
        queue.put(1);
        pipe.writer.send(2);
      }
      for (const int number : {closed_number(), -1, -7, 1'000'000}) {
        CAPTURE(number);
        CHECK(error_of_wait({number}) == EBADF);
        CHECK(error_of_wait({queue, number}) == EBADF);  // the queue's bell did not get that number
        CHECK(error_of_wait({number, pipe.reader}) == EBADF);
      }
      const UniqueFd none;
      CHECK(error_of_wait({none}) == EBADF);
      CHECK(error_of_wait({queue, none, pipe.reader}) == EBADF);
    }
    CHECK(kin::wait_any({queue, pipe.reader}) == Indices{0, 1});  // nothing was taken
    CHECK(queue.get() == 1);
    CHECK(pipe.reader.recv() == 2);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "what this process has closed") {
    const kin::Queue<int> open;
    open.put(1);
    const kin::Queue<int> queue;
    queue.put(1);
    const SimplexPipe<int> pipe;
    const auto [first, second] = kin::Pipe<int>();
    pipe.writer.send(1);
    const std::array<Waitable, 4> made_before{open, queue, pipe.reader, first};
    queue.close();
    pipe.reader.close();
    first.close();
    for (const Waitable& closed : {Waitable(queue), Waitable(pipe.reader), Waitable(first),
                                   made_before[1], made_before[2], made_before[3]}) {
      CHECK_THROWS_AS(static_cast<void>(kin::wait_any({closed})), std::logic_error);
      CHECK_THROWS_AS(static_cast<void>(kin::wait_any({open, closed}, 1h)), std::logic_error);
      CHECK_THROWS_AS(static_cast<void>(kin::wait_any({closed, open}, 0s)), std::logic_error);
    }
    CHECK(kin::wait_any({open, second}) == Indices{0, 1});  // the other's stream has ended
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({kin::Reader<int>()}, 0s)), std::logic_error);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "what another thread closes during the wait") {
    const kin::Queue<int> queue;
    const SimplexPipe<int> pipe;
    const auto [first, second] = kin::Pipe<int>();
    const SimplexPipe<int> silent;  // which would wait for ever
    const auto check_throws = [&](const Waitable& thing, const auto& close) {
      std::atomic<pid_t> id = 0;
      auto waiter = std::async(std::launch::async, [&] {
        id = ::gettid();
        static_cast<void>(kin::wait_any({silent.reader, thing}));
      });
      CHECK(unit::eventually([&] { return id != 0 && crash::process_state(id) == 'S'; }));
      close();
      REQUIRE(waiter.wait_for(unit::patience) == std::future_status::ready);
      CHECK_THROWS_AS(waiter.get(), std::logic_error);
    };
    check_throws(pipe.reader, [&] { pipe.reader.close(); });
    check_throws(first, [&] { first.close(); });
    check_throws(queue, [&] { queue.close(); });
    // It had held its end open, as others saw; not any more.
    CHECK_THROWS_AS(pipe.writer.send(1), kin::BrokenPipe);
    CHECK_THROWS_AS(second.send(1), kin::BrokenPipe);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a process that was not started") {
    kin::Process process([] {});
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({process}, 0s)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(Waitable(process)), std::logic_error);
    process.start();
    CHECK(kin::wait_any({process}, unit::patience) == Indices{0});
    process.join();
    CHECK(kin::wait_any({process}, 0s) == Indices{0});
    process.close();
    CHECK_THROWS_AS(static_cast<void>(kin::wait_any({process}, 0s)), std::logic_error);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a negative limit looks once") {
    const kin::Queue<int> queue;
    const SimplexPipe<int> pipe;
    for (const auto limit : {-1s, std::chrono::seconds::min()}) {
      CHECK(kin::wait_any({queue, pipe.reader}, limit).empty());
    }
    CHECK(kin::wait_any({queue}, std::chrono::duration<double>(-0.5)).empty());
    queue.put(1);
    for (const auto limit : {-1s, std::chrono::seconds::min()}) {
      CHECK(kin::wait_any({queue, pipe.reader}, limit) == Indices{0});
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "put() wakes whoever sleeps") {
    CHECK(outcome_of_puts<kin::Queue<int>>(sleeps, 0, &Rounds::wake_sleepers) == "woken");
    CHECK(outcome_of_puts<kin::JoinableQueue<int>>(sleeps, 0, &Rounds::wake_sleepers) == "woken");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "put() wakes whoever is about to sleep") {
    CHECK(outcome_of_puts<kin::Queue<int>>(moments, many, &Rounds::wake_at_any_moment) == "woken");
    CHECK(outcome_of_puts<kin::JoinableQueue<int>>(moments, many, &Rounds::wake_at_any_moment) ==
          "woken");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "put() wakes a thread of the same process") {
    const kin::Queue<int> queue;
    const SimplexPipe<int> silent;
    const Rounds rounds(sleeps);
    auto waiter = std::async(std::launch::async, [&] {
      return rounds.wait([&](int round) {
        return kin::wait_any({silent.reader, queue}, unit::patience) == Indices{1} &&
               queue.try_get() == round;
      });
    });
    rounds.wake_sleepers([&](int round) { queue.put(round); });
    CHECK(waiter.get() == "woken");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "one of many wakes whoever sleeps") {
    const std::vector<kin::Queue<int>> queues(40);
    const Rounds rounds(sleeps);
    unit::Relative waiter([&] {
      const std::vector<Waitable> things(queues.begin(), queues.end());
      return rounds.wait([&](int round) {
        const std::size_t index = static_cast<std::size_t>(round) % queues.size();
        return kin::wait_any(things, unit::patience) == Indices{index} &&
               queues[index].try_get() == round;
      });
    });
    rounds.wake_sleepers(
        [&](int round) { queues[static_cast<std::size_t>(round) % queues.size()].put(round); });
    CHECK(waiter.answer() == "woken");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "shutdown() wakes whoever sleeps") {
    const std::vector<kin::Queue<int>> queues(sleeps);
    const std::vector<kin::JoinableQueue<int>> joinable(sleeps);
    const SimplexPipe<int> silent;
    const Rounds rounds(sleeps);
    unit::Relative waiter([&] {
      return rounds.wait([&](int round) {
        const auto index = static_cast<std::size_t>(round);
        const kin::Queue<int>& queue = round % 2 == 0 ? queues[index] : joinable[index];
        return kin::wait_any({silent.reader, queue}, unit::patience) == Indices{1};
      });
    });
    rounds.wake_sleepers([&](int round) {
      const auto index = static_cast<std::size_t>(round);
      round % 2 == 0 ? queues[index].shutdown() : joinable[index].shutdown();
    });
    CHECK(waiter.answer() == "woken");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "send() and close() wake whoever sleeps") {
    const std::vector<SimplexPipe<int>> pipes(sleeps);
    const Rounds rounds(sleeps);
    unit::Relative waiter([&] {
      for (const auto& pipe : pipes) pipe.writer.close();
      return rounds.wait([&](int round) {
        const auto& end = pipes[static_cast<std::size_t>(round)].reader;
        if (kin::wait_any({end}, unit::patience) != Indices{0}) return false;
        try {
          return end.try_recv() == round && round % 2 == 0;
        } catch (const kin::EndOfStream&) {
          return round % 2 == 1;
        }
      });
    });
    rounds.wake_sleepers([&](int round) {
      const auto& end = pipes[static_cast<std::size_t>(round)].writer;
      round % 2 == 0 ? end.send(round) : end.close();
    });
    CHECK(waiter.answer() == "woken");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "the end of a process wakes whoever sleeps") {
    constexpr std::size_t count = 50;
    const std::vector<kin::Queue<bool>> gates(count);
    const kin::Queue<int> silent;
    std::vector<kin::Process> children;
    for (const auto& gate : gates) {
      children.emplace_back([gate] { static_cast<void>(gate.get_for(unit::patience)); });
      children.back().start();
    }
    const Rounds rounds(count);
    auto waiter = std::async(std::launch::async, [&] {
      return rounds.wait([&](int round) {
        const kin::Process& child = children[static_cast<std::size_t>(round)];
        const Waitable thing = round % 2 == 0 ? Waitable(child) : Waitable(child.handle());
        return kin::wait_any({silent, thing}, unit::patience) == Indices{1};
      });
    });
    rounds.wake_sleepers([&](int round) { gates[static_cast<std::size_t>(round)].put(true); });
    CHECK(waiter.get() == "woken");
    for (auto& child : children) {
      child.join();
      CHECK(child.exit_code() == 0);
    }
  }
}
