// SPDX-License-Identifier: BSL-1.0

// Threads and processes that wait for one another in a ring: one of them is told, the others go on. And
// nobody is told who is in none.

#include <kin/lock.hpp>
#include <kin/sync.hpp>

#include "deadlock/waiting.hpp"
#include "frame.hpp"
#include "waiting/robust_lock.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using kin::DeadlockError;
using kin::Lock;
using kin::LockGuard;
using kin::RLock;
using kin::detail::LockHandle;
using kin::detail::RobustLock;
using kin::detail::Waiting;
using namespace std::chrono_literals;

namespace {

/// Rings are looked for all the time, so that a case takes milliseconds; children inherit that.
class Impatient {
 public:
  explicit Impatient(std::chrono::nanoseconds slice = 2ms,
                     std::chrono::nanoseconds patience = 0ns) {
    RobustLock::slice = slice.count();
    Waiting::patience = patience.count();
  }
  Impatient(const Impatient&) = delete;
  Impatient& operator=(const Impatient&) = delete;
  ~Impatient() {
    RobustLock::slice = slice_;
    Waiting::patience = patience_;
  }

 private:
  std::int64_t slice_ = RobustLock::slice;
  std::int64_t patience_ = Waiting::patience;
};

/// What became of the members of a ring; in memory that they share.
struct Outcome {
  std::atomic<std::size_t> ready;
  std::atomic<std::size_t> told;
  std::atomic<std::size_t> went_on;
  std::atomic<std::size_t> size_told;  // of the ring in the error
  std::atomic<bool> let_go;

  [[nodiscard]] std::size_t done() const { return told + went_on; }
};

bool wait_until_all_are(std::atomic<std::size_t>& count, std::size_t all) {
  return unit::eventually([&] { return count >= all; });
}

/// Takes its own lock, and when all have theirs the next one's.
struct Member {
  const LockHandle& own;
  const LockHandle& next;
  Outcome& outcome;
  std::size_t size;

  void run() const {
    const LockGuard guard(own);
    ++outcome.ready;
    if (!wait_until_all_are(outcome.ready, size)) return;
    try {
      const LockGuard second(next);
      ++outcome.went_on;
    } catch (const DeadlockError& error) {
      outcome.size_told = error.ring().size();
      ++outcome.told;
    }
  }
};

/// A ring of so many processes, of so many threads each.
struct Shape {
  std::size_t processes;
  std::size_t threads;
};

void run_ring(const Shape& shape, const std::vector<LockHandle>& locks) {
  const crash::SharedPage<Outcome> outcome;
  const std::size_t size = shape.processes * shape.threads;
  std::vector<std::unique_ptr<unit::Relative>> processes;
  for (std::size_t p = 0; p < shape.processes; ++p) {
    processes.push_back(std::make_unique<unit::Relative>([&, p] {
      std::vector<std::jthread> threads;
      for (std::size_t t = 0; t < shape.threads; ++t) {
        // Neighbours in the ring are of different processes.
        const std::size_t at = t * shape.processes + p;
        threads.emplace_back([&, at] {
          Member{locks[at], locks[(at + 1) % size], *outcome, size}.run();
        });
      }
      return "";
    }));
  }
  for (auto& process : processes) REQUIRE(process->answer() == "");
  CHECK(outcome->told == 1);
  CHECK(outcome->went_on == size - 1);
  CHECK(outcome->size_told == size);
}

std::vector<LockHandle> make_locks(std::size_t count) {
  std::vector<LockHandle> locks;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 2 == 0) {
      locks.emplace_back(Lock());
    } else {
      locks.emplace_back(RLock());
    }
  }
  return locks;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Whether that process's main thread comes to say that it waits for such a thing.
bool says(pid_t pid, kin::detail::WaitKind kind) {
  return unit::eventually([&] {
    return std::ranges::any_of(kin::detail::all_waits(), [&](const auto& record) {
      const auto wait = kin::detail::read_wait(record);
      return wait && wait->thread == pid && wait->kind == kind;
    });
  });
}

/// A child that holds a lock, and then takes another one: "told", "went on".
class Rival {
 public:
  Rival(const LockHandle& first, const LockHandle& second)
      : process_([this, &first, &second] {
          const LockGuard guard(first);
          *has_it_ = true;
          if (!unit::eventually([&] { return go_on_->load(); })) return "never went on";
          try {
            const LockGuard both(second);
            return "went on";
          } catch (const DeadlockError&) {
            return "told";
          }
        }) {
    REQUIRE(unit::eventually([&] { return has_it_->load(); }));
  }
  void go_on() { *go_on_ = true; }
  unit::Relative& process() { return process_; }
  std::string answer() { return process_.answer(); }

 private:
  crash::SharedPage<std::atomic<bool>> has_it_;
  crash::SharedPage<std::atomic<bool>> go_on_;
  unit::Relative process_;
};

}  // namespace

TEST_SUITE("deadlock") {
  TEST_CASE("of a ring exactly one is told, and the others go on") {
    const unit::Frame frame;
    const Impatient impatient;
    for (const Shape& shape :
         {Shape{2, 1}, Shape{3, 1}, Shape{1, 2}, Shape{1, 3}, Shape{4, 4}, Shape{2, 8}}) {
      CAPTURE(shape.processes);
      CAPTURE(shape.threads);
      for (int again = 0; again < 5; ++again) {
        run_ring(shape, make_locks(shape.processes * shape.threads));
      }
    }
  }

  TEST_CASE("it is told without any help of a test's") {
    const unit::Frame frame;
    run_ring({2, 1}, make_locks(2));
  }

  TEST_CASE("the error tells who waits for what, and where") {
    const unit::Frame frame;
    const Impatient impatient;
    const Lock accounts({.name = "accounts"});
    const RLock nameless;
    const Lock journal({.name = "journal"});
    Rival rival(journal, accounts);
    const std::scoped_lock outer(nameless);
    const auto taken = std::source_location::current();
    const LockGuard guard(accounts);
    rival.go_on();
    REQUIRE(rival.process().falls_asleep());
    try {
      const LockGuard both(journal);
      FAIL("it has both");
    } catch (const DeadlockError& error) {
      const std::string text = error.what();
      CAPTURE(text);
      REQUIRE(error.ring().size() == 2);
      const kin::DeadlockMember& own = error.ring()[0];
      CHECK(own.pid == ::getpid());
      CHECK(own.thread == ::gettid());
      CHECK(own.process_name == kin::current_process().name());
      CHECK(own.waits_for == "lock \"journal\"");
      CHECK(contains(own.taken_at,
                     std::string(taken.file_name()) + ':' + std::to_string(taken.line() + 1)));
      const kin::DeadlockMember& other = error.ring()[1];
      CHECK(other.pid == rival.process().pid());
      CHECK(other.waits_for == "lock \"accounts\"");
      CHECK(contains(other.waits_at, "deadlock_test.cpp:"));
      CHECK(contains(other.taken_at, "deadlock_test.cpp:"));
      for (const auto& part : {own.waits_at, own.taken_at, other.waits_at, other.taken_at,
                               own.waits_for, other.waits_for, std::to_string(other.pid)}) {
        CHECK(contains(text, part));
      }
    }
    CHECK(rival.process().falls_asleep());
    accounts.unlock();
    CHECK(rival.answer() == "went on");
    accounts.lock();
  }

  TEST_CASE("guards of the standard library's are told by their names") {
    const unit::Frame frame;
    const Lock lock({.name = "seldom"});
    const std::scoped_lock guard(lock);
    try {
      lock.lock();
      FAIL("it has it twice");
    } catch (const DeadlockError& error) {
      REQUIRE(error.ring().size() == 1);
      CHECK(contains(error.ring()[0].taken_at, "through std::scoped_lock"));
      CHECK(contains(error.ring()[0].waits_at, "deadlock_test.cpp:"));
      CHECK(contains(error.what(), "took lock \"seldom\" through std::scoped_lock"));
      CHECK(contains(error.what(), "lock \"seldom\""));
    }
  }

  TEST_CASE("a join is part of a ring") {
    const unit::Frame frame;
    const Impatient impatient;
    const Lock lock({.name = "wanted"});
    const crash::SharedPage<Outcome> outcome;
    const auto count = [&](const auto& wait) {
      try {
        wait();
        ++outcome->went_on;
      } catch (const DeadlockError& error) {
        outcome->size_told = error.ring().size();
        ++outcome->told;
      }
    };
    kin::Process child([&] { count([&] { const LockGuard guard(lock); }); });
    {
      const LockGuard guard(lock);
      child.start();
      // Whichever came later is told; where it is the join, the lock is given back here.
      count([&] { child.join(); });
    }
    child.join();
    CHECK(outcome->told == 1);
    CHECK(outcome->went_on == 1);
    CHECK(outcome->size_told == 2);
  }

  TEST_CASE("a destructor that joins is never told, and so the other is") {
    const unit::Frame frame;
    const Impatient impatient;
    const Lock lock;
    const crash::SharedPage<Outcome> outcome;
    {
      const LockGuard guard(lock);
      kin::Process child([&] {
        try {
          const LockGuard second(lock);
        } catch (const DeadlockError&) {
          ++outcome->told;
        }
      });
      child.start();
    }
    CHECK(outcome->told == 1);
  }

  TEST_CASE("who takes its lock again behind a condition is never told, and so the other is") {
    const unit::Frame frame;
    const Impatient impatient;
    const Lock lock({.name = "of the condition"});
    const Lock other;
    const kin::Condition condition;
    const kin::Event waits;
    unit::Relative waiter([&] {
      const LockGuard first(other);
      const LockGuard guard(lock);
      waits.set();
      condition.wait(lock);
      return "has it again";
    });
    waits.wait();
    const pid_t own = ::getpid();
    // So that the one that can't be told is the one that came last.
    unit::Relative notifier([&] {
      if (!says(own, kin::detail::WaitKind::lock)) return "it does not wait";
      condition.notify_one();
      return "notified";
    });
    {
      const LockGuard guard(lock);
      CHECK_THROWS_AS(other.lock(), DeadlockError);
    }
    CHECK(notifier.answer() == "notified");
    CHECK(waiter.answer() == "has it again");
  }

  TEST_CASE("where nobody of a ring can be told it is logged") {
    const unit::Frame frame;
    const Impatient impatient;
    const crash::SharedPage<std::atomic<bool>> logged;
    kin::set_log_sink([&](kin::LogLevel level, std::string_view line) {
      if (level == kin::LogLevel::warning && contains(std::string(line), "deadlock: 2 threads")) {
        *logged = true;
      }
    });
    {
      const Lock lock;
      const kin::Condition condition;
      const kin::Event waits;
      std::jthread rescuer;
      std::optional<LockGuard> guard;
      kin::Process child([&] {
        const LockGuard own(lock);
        waits.set();
        condition.wait(lock);
      });
      child.start();
      waits.wait();
      guard.emplace(lock);  // so it waits by now
      condition.notify_one();
      rescuer = std::jthread([&, handle = child.handle()] {
        unit::eventually([&] { return logged->load(); });
        handle.kill();
      });
      // Here the child is waited for, with the lock held that it must have to end.
    }
    kin::set_log_sink({});
    CHECK(*logged);
  }

  TEST_CASE("a wait that will end by itself is part of no ring") {
    const unit::Frame frame;
    const Impatient impatient;
    const Lock first;
    const Lock second;
    Rival rival(first, second);
    {
      const LockGuard guard(second);
      rival.go_on();
      REQUIRE(rival.process().falls_asleep());
      CHECK_FALSE(first.try_lock());
      CHECK_FALSE(first.try_lock_for(50ms));
      const kin::detail::SoftLimit limit(50, kin::detail::Deadline::now());
      CHECK_THROWS_AS(first.lock(), kin::TimeoutError);
    }
    CHECK(rival.answer() == "went on");
  }

  TEST_CASE("who does not come to what it waited for says who has it") {
    const unit::Frame frame;
    const Lock lock({.name = "busy"});
    const Lock free;
    Rival rival(lock, free);
    const std::string pid = "(pid " + std::to_string(rival.process().pid()) + ")";
    std::string lines;
    kin::set_log_sink([&](kin::LogLevel, std::string_view line) { lines += line; });
    CHECK_FALSE(lock.try_lock_for(1ms));
    CHECK(lines == "");
    kin::set_log_level(kin::LogLevel::info);
    CHECK_FALSE(lock.try_lock());
    CHECK(lines == "");
    CHECK_FALSE(lock.try_lock_for(1ms));
    kin::set_log_level(kin::LogLevel::warning);
    kin::set_log_sink({});
    CAPTURE(lines);
    for (const auto& part :
         {std::string("lock \"busy\""), pid, std::string("deadlock_test.cpp:")}) {
      CHECK(contains(lines, part));
    }
    const kin::detail::SoftLimit limit(1, kin::detail::Deadline::now());
    try {
      lock.lock();
      FAIL("it has the lock");
    } catch (const kin::TimeoutError& error) {
      const std::string text = error.what();
      CAPTURE(text);
      CHECK(contains(text, "lock \"busy\""));
      CHECK(contains(text, pid));
    }
    rival.go_on();
    CHECK(rival.answer() == "went on");
  }

  TEST_CASE("who does not come to a permit says who has them") {
    const unit::Frame frame;
    const kin::BoundedSemaphore permits(1);
    const kin::Event taken;
    unit::Relative holder([&] {
      permits.acquire();
      taken.set();
      ::pause();
      return "";
    });
    taken.wait();
    std::string lines;
    kin::set_log_sink([&](kin::LogLevel, std::string_view line) { lines += line; });
    kin::set_log_level(kin::LogLevel::info);
    CHECK_FALSE(permits.try_acquire_for(1ms));
    kin::set_log_level(kin::LogLevel::warning);
    kin::set_log_sink({});
    CAPTURE(lines);
    CHECK(contains(lines, "a permit of a semaphore, held by "));
    CHECK(contains(lines, "(pid " + std::to_string(holder.pid()) + ")"));
  }

  TEST_CASE("when a member of a ring is killed the others go on") {
    const unit::Frame frame;
    const Impatient impatient(2ms, 1h);  // nobody is told in time
    kin::set_log_level(kin::LogLevel::off);
    const auto locks = make_locks(3);
    Rival first(locks[0], locks[1]);
    Rival second(locks[1], locks[2]);
    Rival third(locks[2], locks[0]);
    for (Rival* one : {&first, &second, &third}) {
      one->go_on();
      REQUIRE(one->process().falls_asleep());
    }
    third.process().end();
    CHECK(second.answer() == "went on");
    CHECK(first.answer() == "went on");
    kin::set_log_level(kin::LogLevel::warning);
  }

  TEST_CASE("locks of the dead are no part of a ring") {
    const unit::Frame frame;
    kin::set_log_level(kin::LogLevel::off);
    const Lock first;
    const Lock second;
    for (int again = 0; again < 10; ++again) {
      // The one that is killed waits for what the survivor holds, and that one asks all the time.
      const Impatient impatient;
      std::optional<Rival> rival;
      rival.emplace(first, second);
      const LockGuard guard(second);
      rival->go_on();
      REQUIRE(rival->process().falls_asleep());
      rival->process().end();
      CHECK_NOTHROW(first.lock());
      CHECK(first.owner_died());
      first.unlock();
    }
    kin::set_log_level(kin::LogLevel::warning);
  }

  TEST_CASE("a member that is stopped still is one") {
    const unit::Frame frame;
    const Impatient impatient;
    const Lock first;
    const Lock second;
    Rival rival(first, second);
    const LockGuard guard(second);
    rival.go_on();
    REQUIRE(rival.process().falls_asleep());
    ::kill(rival.process().pid(), SIGSTOP);
    CHECK_THROWS_AS(first.lock(), DeadlockError);
    ::kill(rival.process().pid(), SIGCONT);
    second.unlock();
    CHECK(rival.answer() == "went on");
    second.lock();
  }

  TEST_CASE("who waits for other things around a ring is told of") {
    const unit::Frame frame;
    const Impatient impatient;
    const kin::Queue<int> queue;
    const kin::Event event;
    unit::Relative reader([&] { return std::to_string(queue.get()); });
    unit::Relative watcher([&] {
      event.wait();
      return "set";
    });
    const Lock first;
    const Lock second;
    REQUIRE(says(reader.pid(), kin::detail::WaitKind::message));
    REQUIRE(says(watcher.pid(), kin::detail::WaitKind::event));
    Rival rival(first, second);
    {
      const LockGuard guard(second);
      rival.go_on();
      REQUIRE(rival.process().falls_asleep());
      try {
        first.lock();
        FAIL("it has both");
      } catch (const DeadlockError& error) {
        const std::string text = error.what();
        CAPTURE(text);
        CHECK(contains(text, "(pid " + std::to_string(reader.pid()) + ") waits for a message"));
        CHECK(contains(text, "(pid " + std::to_string(watcher.pid()) + ") waits for an event"));
      }
    }
    CHECK(rival.answer() == "went on");
    queue.put(7);
    event.set();
    CHECK(reader.answer() == "7");
    CHECK(watcher.answer() == "set");
  }

  TEST_CASE("whoever takes locks in one order is never told") {
    const unit::Frame frame;
    const Impatient impatient(100us);
    const auto locks = make_locks(6);
    const crash::SharedPage<std::atomic<std::size_t>> waits;
    const auto work = [&](unsigned seed) {
      std::mt19937 random(seed);
      for (int round = 0; round < 300; ++round) {
        std::vector<std::unique_ptr<LockGuard>> held;
        for (const LockHandle& lock : locks) {
          if (random() % 2 == 0) held.push_back(std::make_unique<LockGuard>(lock));
        }
        if (std::ranges::any_of(kin::detail::all_waits(), [](const auto& record) {
              return kin::detail::read_wait(record).has_value();
            })) {
          ++*waits;
        }
        if (random() % 16 == 0) std::this_thread::sleep_for(500us);
      }
    };
    std::vector<std::unique_ptr<unit::Relative>> processes;
    for (unsigned p = 0; p < 3; ++p) {
      processes.push_back(std::make_unique<unit::Relative>([&, p]() -> std::string {
        std::atomic<int> told = 0;
        {
          std::vector<std::jthread> threads;
          for (unsigned t = 0; t < 2; ++t) {
            threads.emplace_back([&, t] {
              try {
                work(p * 8 + t);
              } catch (const DeadlockError&) {
                ++told;
              }
            });
          }
        }
        return "told " + std::to_string(told);
      }));
    }
    for (auto& process : processes) CHECK(process->answer() == "told 0");
    CHECK(*waits > 0);
  }
}
