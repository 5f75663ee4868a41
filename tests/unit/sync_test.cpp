// SPDX-License-Identifier: BSL-1.0

// What Lock and RLock add to the robust lock below them, which has its own tests.

#include <kin/sync.hpp>

#include "deadlock/lock_object.hpp"

#include "frame.hpp"
#include "scarce_memory.hpp"
#include "support/again.hpp"
#include "support/object_of.hpp"
#include "support/sanitizer.hpp"

#include <kin/connection.hpp>
#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

using kin::Lock;
using kin::RLock;
using namespace std::chrono_literals;

namespace {

static_assert(std::is_copy_constructible_v<Lock> && std::is_copy_assignable_v<RLock>);
static_assert(!std::is_convertible_v<Lock, RLock>);

// Catches what is logged, for the length of a case.
class LockFrame : unit::Frame {
 public:
  LockFrame() {
    kin::set_log_sink([this](kin::LogLevel, std::string_view line) { lines.emplace_back(line); });
  }
  LockFrame(const LockFrame&) = delete;
  LockFrame& operator=(const LockFrame&) = delete;
  ~LockFrame() { kin::set_log_sink({}); }

  std::vector<std::string> lines;
};

template <typename Any>
std::string seen_by_others(const Any& lock) {
  return unit::answer_of([&] {
    if (!lock.try_lock()) return "held";
    lock.unlock();
    return "free";
  });
}

}  // namespace

TEST_SUITE("sync") {
  TEST_CASE_TEMPLATE("a lock is held by one, and told so", Any, Lock, RLock) {
    const LockFrame frame;
    const Any lock;
    CHECK_FALSE(lock.locked());
    CHECK_FALSE(lock.owner());
    lock.lock();
    CHECK(lock.locked());
    const auto owner = lock.owner();
    REQUIRE(owner);
    CHECK(owner->pid == ::getpid());
    CHECK(owner->thread == ::gettid());
    CHECK(owner->process_name == kin::current_process().name());
    CHECK(seen_by_others(lock) == "held");
    lock.unlock();
    CHECK_FALSE(lock.owner());
    CHECK(seen_by_others(lock) == "free");
  }

  TEST_CASE_TEMPLATE("each way to wait comes with a limit", Any, Lock, RLock) {
    const LockFrame frame;
    const Any lock;
    CHECK(lock.try_lock_for(-1s));
    lock.unlock();
    CHECK(lock.try_lock_until(std::chrono::steady_clock::now() - 1h));
    lock.unlock();
    CHECK(lock.try_lock_for(std::chrono::hours::max()));
    CHECK(unit::answer_of([&] {
            if (lock.try_lock()) return "try_lock had it";
            if (lock.try_lock_for(1ms)) return "try_lock_for had it";
            if (lock.try_lock_for(-1s)) return "try_lock_for had it";
            if (lock.try_lock_until(std::chrono::system_clock::now() + 1ms)) return "until had it";
            if (lock.try_lock_until(std::chrono::system_clock::time_point::min())) return "min";
            return "none";
          }) == "none");
    lock.unlock();
  }

  TEST_CASE_TEMPLATE("the standard's guards work with it", Any, Lock, RLock) {
    const LockFrame frame;
    Any first;
    Any second;
    {
      const std::scoped_lock both(first, second);
      CHECK(seen_by_others(first) == "held");
      CHECK(seen_by_others(second) == "held");
    }
    std::unique_lock guard(first, std::defer_lock);
    CHECK(guard.try_lock_for(1ms));
    guard.unlock();
    std::lock(first, second);
    first.unlock();
    second.unlock();
    CHECK_FALSE(first.locked());
  }

  TEST_CASE_TEMPLATE("only who holds it may unlock it", Any, Lock, RLock) {
    const LockFrame frame;
    const Any lock;
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
    lock.lock();
    const auto refused = [&] {
      try {
        lock.unlock();
      } catch (const std::logic_error&) {
        return "refused";
      }
      return "unlocked";
    };
    std::string by_thread;
    std::thread([&] { by_thread = refused(); }).join();
    CHECK(by_thread == "refused");
    CHECK(unit::answer_of(refused) == "refused");
    lock.unlock();
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
  }

  TEST_CASE_FIXTURE(LockFrame, "a lock that its thread holds can't be had again") {
    const Lock lock;
    lock.lock();
    CHECK_THROWS_AS(lock.lock(), kin::DeadlockError);
    CHECK_FALSE(lock.try_lock());
    CHECK_FALSE(lock.try_lock_for(1ms));
    lock.unlock();
    CHECK(seen_by_others(lock) == "free");
  }

  TEST_CASE_FIXTURE(LockFrame, "a recursive one is free after as many unlocks") {
    const RLock lock;
    CHECK(lock.depth() == 0);
    lock.lock();
    CHECK(lock.try_lock());
    CHECK(lock.try_lock_for(1ms));
    CHECK(lock.depth() == 3);
    CHECK(unit::answer_of([&] { return std::to_string(lock.depth()); }) == "0");
    lock.unlock();
    lock.unlock();
    CHECK(lock.depth() == 1);
    CHECK(seen_by_others(lock) == "held");
    lock.unlock();
    CHECK(lock.depth() == 0);
    CHECK(seen_by_others(lock) == "free");
  }

  TEST_CASE_TEMPLATE("the next holder after a death is told until it unlocks", Any, Lock, RLock) {
    LockFrame frame;
    const Any lock;
    CHECK_FALSE(lock.owner_died());
    unit::Relative holder([&] {
      kin::detail::set_process_name(kin::detail::this_process(), "careless");
      lock.lock();
      if constexpr (std::is_same_v<Any, RLock>) lock.lock();
      return "dies";
    });
    const pid_t pid = holder.pid();
    CHECK(holder.answer() == "dies");
    CHECK_FALSE(lock.locked());
    CHECK_FALSE(lock.owner());
    CHECK_FALSE(lock.owner_died());
    lock.lock();
    CHECK(lock.owner_died());
    if constexpr (std::is_same_v<Any, RLock>) CHECK(lock.depth() == 1);
    REQUIRE(frame.lines.size() == 1);
    CHECK(frame.lines[0].find("process careless (pid " + std::to_string(pid) + ")") !=
          std::string::npos);
    lock.unlock();
    lock.lock();
    CHECK_FALSE(lock.owner_died());
    lock.unlock();
    CHECK(frame.lines.size() == 1);
  }

  TEST_CASE_TEMPLATE("a thread that ends with it counts as dead", Any, Lock, RLock) {
    LockFrame frame;
    const Any lock;
    std::thread([&] { lock.lock(); }).join();
    CHECK_FALSE(lock.locked());
    lock.lock();
    CHECK(lock.owner_died());
    lock.unlock();
    CHECK(frame.lines.size() == 1);
  }

  // Fails when is_holder() goes by the notes alone.
  TEST_CASE_TEMPLATE("a later thread with the id of one that ended with it does not hold it", Any,
                     Lock, RLock) {
    const LockFrame frame;
    const Any lock;
    std::thread([&] { lock.lock(); }).join();
    auto& notes = static_cast<kin::detail::LockObject&>(crash::object_of(lock));
    notes.holder_thread = ::gettid();
    CHECK_FALSE(lock.owner_died());
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
    CHECK(lock.try_lock_for(unit::patience));
    CHECK(lock.owner_died());
    CHECK(seen_by_others(lock) == "held");
    lock.unlock();
    CHECK(seen_by_others(lock) == "free");
  }

  TEST_CASE_TEMPLATE("who gets a dead one's lock without memory to say so has it", Any, Lock,
                     RLock) {
    if (!unit::ScarceMemory::is_possible) {
      std::puts(unit::ScarceMemory::is_impossible);
      return;
    }
    const LockFrame frame;
    const Any lock;
    bool needs_more = true;
    for (int before = 0; needs_more; ++before) {
      std::thread([&] { lock.lock(); }).join();
      {
        const unit::ScarceMemory scarce(before);
        CHECK_NOTHROW(lock.lock());
        needs_more = scarce.has_failed();
      }
      CHECK(lock.owner_died());
      CHECK_NOTHROW(lock.unlock());
    }
    CHECK(lock.try_lock());
    lock.unlock();
  }

  TEST_CASE_FIXTURE(LockFrame, "a thread holds a thousand and no more") {
    // The thread sanitizer stops a program at the 65th lock, unless it need not watch their order.
    if (support::is_thread_sanitized && !support::is_again()) {
      CHECK(support::again("a thread holds a thousand and no more", "16777216",
                           "export TSAN_OPTIONS=die_after_fork=0:detect_deadlocks=0") == "");
      return;
    }
    std::vector<Lock> locks(1001);
    for (std::size_t i = 0; i < 1000; ++i) locks[i].lock();
    CHECK_THROWS_AS(locks[1000].lock(), std::logic_error);
    CHECK_FALSE(locks[1000].locked());
    bool by_another = false;
    std::thread([&] {
      by_another = locks[1000].try_lock();
      locks[1000].unlock();
    }).join();
    CHECK(by_another);
    // A child begins with none.
    CHECK(unit::answer_of([&] {
            locks[1000].lock();
            locks[1000].unlock();
            return "had it";
          }) == "had it");
    locks[500].unlock();
    locks[1000].lock();
    for (std::size_t i = 0; i < 1000; ++i) {
      if (i != 500) locks[i].unlock();
    }
    locks[1000].unlock();
    // One thousand of a recursive lock are one.
    const RLock again;
    for (int i = 0; i < 2000; ++i) again.lock();
    CHECK(again.depth() == 2000);
    for (int i = 0; i < 2000; ++i) again.unlock();
  }

  TEST_CASE_TEMPLATE("a lock travels through a queue", Any, Lock, RLock) {
    const LockFrame frame;
    const kin::Queue<Any> locks;
    unit::Relative child([&] {
      const auto received = locks.get_for(unit::patience);
      if (!received) return "nothing came";
      return received->try_lock() ? "free" : "held";
    });
    const Any lock;
    lock.lock();
    locks.put(lock);
    CHECK(child.answer() == "held");
    lock.unlock();
    locks.put(lock);
    CHECK(locks.get() == lock);
    CHECK_FALSE(lock == Any());
  }

  TEST_CASE_FIXTURE(LockFrame,
                    "each kind of lock travels through a pipe, in small and large messages") {
    struct Locks {
      Lock lock;
      RLock again;
      kin::Semaphore semaphore{0};
      kin::BoundedSemaphore bounded{2};
      kin::Condition condition;
      kin::Event event;
      kin::Barrier barrier{2};
      std::string rest;
    };
    for (const std::size_t size : {0U, 100'000U}) {
      CAPTURE(size);
      const auto [parent, other] = kin::Pipe<Locks>();
      unit::Relative child([&, end = other]() -> std::string {
        const auto got = end.recv_for(unit::patience);
        if (!got || got->rest.size() != size) return "nothing came";
        if (got->lock.try_lock() || got->again.try_lock()) return "they are not held";
        if (!got->bounded.try_acquire() || got->bounded.try_acquire()) return "another number";
        got->semaphore.release();
        if (!got->event.wait_for(unit::patience)) return "not set";
        got->barrier.wait_for(unit::patience);
        {
          if (!got->lock.try_lock_for(unit::patience)) return "not unlocked";
          const std::lock_guard guard(got->lock, std::adopt_lock);
          got->condition.notify_one();
        }
        end.send(*got);
        return "all work";
      });
      Locks locks;
      locks.rest.resize(size);
      locks.lock.lock();
      locks.again.lock();
      locks.bounded.acquire();
      parent.send(locks);
      CHECK(locks.semaphore.try_acquire_for(unit::patience));
      CHECK(locks.bounded.value() == 0);
      locks.event.set();
      locks.barrier.wait_for(unit::patience);
      CHECK(locks.condition.wait_for(locks.lock, unit::patience));
      locks.lock.unlock();
      locks.again.unlock();
      const auto back = parent.recv_for(unit::patience);
      CHECK(child.answer() == "all work");
      REQUIRE(back);
      CHECK(back->lock == locks.lock);
      CHECK(back->again == locks.again);
      CHECK(back->semaphore == locks.semaphore);
      CHECK(back->bounded == locks.bounded);
      CHECK(back->condition == locks.condition);
      CHECK(back->event == locks.event);
      CHECK(back->barrier == locks.barrier);
      CHECK_FALSE(back->lock == Lock());
    }
  }

  TEST_CASE_FIXTURE(LockFrame, "a moved-from one says so") {
    Lock lock;
    const Lock taken = std::move(lock);
    // NOLINTNEXTLINE(bugprone-use-after-move): what is left is what is tested
    CHECK_THROWS_AS(lock.lock(), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(lock.locked()), std::logic_error);
    taken.lock();
    taken.unlock();
  }

  TEST_CASE_FIXTURE(LockFrame, "the last handle of a lock that is held: a warning, no harm") {
    {
      const Lock lock;
      lock.lock();
    }
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("dropped while a thread holds it") != std::string::npos);
    // Its memory is nobody else's: the thread's other locks work on.
    std::vector<Lock> others(50);
    for (const Lock& one : others) one.lock();
    for (const Lock& one : others) one.unlock();
    CHECK(lines.size() == 1);
  }
}
