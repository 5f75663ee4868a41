// SPDX-License-Identifier: BSL-1.0

#include "waiting/robust_lock.hpp"

#include "frame.hpp"

#include <kin/error.hpp>

#include <mutex>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using kin::detail::Deadline;
using kin::detail::RobustGuard;
using kin::detail::RobustLock;
using Found = RobustLock::Found;

namespace {

// A lock that the processes of a case share.
class LockFrame : unit::Frame {
 public:
  LockFrame() { lock->initialize(); }
  crash::SharedPage<RobustLock> lock;

  // Ends while it holds the lock, as if it had been killed.
  void die_with_lock() const {
    CHECK(unit::answer_of([&] {
            static_cast<void>(lock->lock());
            return "held";
          }) == "held");
  }
  [[nodiscard]] bool is_free_for_others() const {
    return unit::answer_of([&] { return lock->try_lock() ? "free" : "held"; }) == "free";
  }
};

}  // namespace

TEST_SUITE("robust_lock") {
  TEST_CASE_FIXTURE(LockFrame, "one holds it, and nobody else") {
    CHECK_FALSE(lock->is_held());
    CHECK(lock->lock() == Found::clean);
    CHECK(lock->is_held());
    CHECK(unit::answer_of([&] { return lock->try_lock() ? "free" : "held"; }) == "held");
    bool other_thread = true;
    std::thread([&] { other_thread = lock->try_lock().has_value(); }).join();
    CHECK_FALSE(other_thread);
    CHECK(lock->unlock());
    CHECK_FALSE(lock->is_held());
    CHECK(lock->try_lock() == Found::clean);
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "who does not hold it can't unlock it") {
    CHECK_FALSE(lock->unlock());
    static_cast<void>(lock->lock());
    bool unlocked = true;
    std::thread([&] { unlocked = lock->unlock(); }).join();
    CHECK_FALSE(unlocked);
    CHECK(unit::answer_of([&] { return lock->unlock() ? "unlocked" : "refused"; }) == "refused");
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "a wait ends with its deadline, or with the lock") {
    unit::Relative holder([&] {
      static_cast<void>(lock->lock());
      while (true) ::pause();
      return "";
    });
    CHECK(unit::eventually([&] { return lock->is_held(); }));
    const Deadline soon = Deadline::after(std::chrono::milliseconds(5));
    CHECK_FALSE(lock->lock_until(soon));
    CHECK(soon.has_passed());
    CHECK_FALSE(lock->lock_until(Deadline::passed()));

    unit::Relative waiter([&] {
      const auto found = lock->lock_until(unit::last_moment());
      return found == Found::owner_died ? "told" : found ? "not told" : "gave up";
    });
    CHECK(waiter.falls_asleep());
    holder.end();
    CHECK(waiter.answer() == "told");
  }

  TEST_CASE_FIXTURE(LockFrame, "who waits looks around before each slice, and may give up") {
    struct Enough {};
    int looks = 0;
    const auto look = [&] {
      if (++looks % 3 == 0) throw Enough();
    };
    CHECK(lock->lock_until(unit::last_moment(), look) == Found::clean);
    CHECK(lock->unlock());
    CHECK(looks == 0);
    unit::Relative holder([&] {
      static_cast<void>(lock->lock());
      while (true) ::pause();
      return "";
    });
    CHECK(unit::eventually([&] { return lock->is_held(); }));
    // Its end is the deadline: nothing is left to look for.
    CHECK_FALSE(lock->lock_until(Deadline::after(std::chrono::milliseconds(5)), look));
    CHECK(looks == 0);
    CHECK_THROWS_AS(static_cast<void>(lock->lock_until(unit::last_moment(), look)), Enough);
    CHECK(looks == 3);
    CHECK_THROWS_AS(RobustGuard(*lock, unit::last_moment(), look, [] {}), Enough);
    CHECK(looks == 6);
    holder.end();
    CHECK(lock->lock_until(unit::last_moment(), look) == Found::owner_died);
    lock->make_consistent();
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "who waits asleep gets it when it is unlocked") {
    static_cast<void>(lock->lock());
    unit::Relative waiter([&] {
      const auto found = lock->lock_until(unit::last_moment());
      if (!found) return "gave up";
      lock->unlock();
      return found == Found::clean ? "clean" : "told of a death";
    });
    CHECK(waiter.falls_asleep());
    CHECK(lock->unlock());
    CHECK(waiter.answer() == "clean");
  }

  TEST_CASE_FIXTURE(LockFrame, "a thread that waits for itself is told, or waits out its time") {
    static_cast<void>(lock->lock());
    CHECK_THROWS_AS(lock->lock(), kin::DeadlockError);
    CHECK_FALSE(lock->try_lock());
    const Deadline soon = Deadline::after(std::chrono::milliseconds(5));
    CHECK_FALSE(lock->lock_until(soon));
    CHECK(soon.has_passed());
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "after a holder's death the next is told, once") {
    die_with_lock();
    CHECK_FALSE(lock->is_held());
    CHECK(lock->lock() == Found::owner_died);
    lock->make_consistent();
    CHECK(lock->unlock());
    CHECK(lock->lock() == Found::clean);
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "who dies before it has repaired leaves the next one told as well") {
    die_with_lock();
    for (int i = 0; i < 3; ++i) {
      CHECK(unit::answer_of(
                [&] { return lock->lock() == Found::owner_died ? "told" : "not told"; }) == "told");
    }
    CHECK(lock->lock() == Found::owner_died);
    lock->make_consistent();
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "a thread that ends while it holds it counts as dead") {
    std::thread([&] { static_cast<void>(lock->lock()); }).join();
    CHECK(lock->lock() == Found::owner_died);
    lock->make_consistent();
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "nothing is taken from a holder that is stopped") {
    unit::Relative holder([&] {
      static_cast<void>(lock->lock());
      ::raise(SIGSTOP);
      return lock->unlock() ? "still mine" : "taken";
    });
    CHECK(unit::eventually([&] { return crash::process_state(holder.pid()) == 'T'; }));
    // Longer than a slice, after which a waiter asks whether the holder exists.
    CHECK_FALSE(lock->lock_until(Deadline::after(std::chrono::milliseconds(600))));
    ::kill(holder.pid(), SIGCONT);
    CHECK(holder.answer() == "still mine");
    CHECK(lock->lock() == Found::clean);
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame,
                    "a dead holder's lock that the kernel did not mark is had after a slice") {
    const pid_t gone = [&] {
      unit::Relative child([] { return ""; });
      return child.pid();
    }();
    // The lock's word stands first: as the kernel leaves it when it kills for want of memory.
    __atomic_store_n(reinterpret_cast<int*>(&*lock), gone, __ATOMIC_SEQ_CST);
    CHECK(lock->is_held());
    CHECK(lock->lock_until(unit::last_moment()) == Found::owner_died);
    lock->make_consistent();
    CHECK(lock->unlock());
    CHECK(is_free_for_others());
  }

  TEST_CASE_FIXTURE(LockFrame, "so is that of one that nobody has reaped") {
    const pid_t zombie = ::fork();
    if (zombie == 0) ::_exit(0);
    CHECK(unit::eventually([&] { return crash::process_state(zombie) == 'Z'; }));
    __atomic_store_n(reinterpret_cast<int*>(&*lock), zombie, __ATOMIC_SEQ_CST);
    SUBCASE("by who waits for it") {}
    SUBCASE("by who only looks at it") {
      lock->recover_unmarked();
      CHECK_FALSE(lock->is_held());
      CHECK_FALSE(lock->is_at_rest());
    }
    CHECK(lock->lock_until(unit::last_moment()) == Found::owner_died);
    CHECK(::waitpid(zombie, nullptr, 0) == zombie);
    lock->make_consistent();
    CHECK(lock->unlock());
  }

  TEST_CASE_FIXTURE(LockFrame, "a guard repairs what a death left, and only then") {
    int repairs = 0;
    const auto repair = [&] { ++repairs; };
    {
      const RobustGuard guard(*lock, repair);
      CHECK(guard.holds());
      CHECK(lock->is_held());
    }
    CHECK(repairs == 0);
    die_with_lock();
    { const RobustGuard guard(*lock, repair); }
    CHECK(repairs == 1);
    { const RobustGuard guard(*lock, repair); }
    CHECK(repairs == 1);
    CHECK_FALSE(lock->is_held());
  }

  TEST_CASE_FIXTURE(LockFrame, "a guard that only tries does not wait, and repairs what it gets") {
    int repairs = 0;
    const auto repair = [&] { ++repairs; };
    static_cast<void>(lock->lock());
    bool held = true;
    std::thread([&] { held = RobustGuard(std::try_to_lock, *lock, repair).holds(); }).join();
    CHECK_FALSE(held);
    CHECK(lock->is_held());
    CHECK(lock->unlock());
    die_with_lock();
    CHECK(RobustGuard(std::try_to_lock, *lock, repair).holds());
    CHECK(repairs == 1);
  }

  TEST_CASE_FIXTURE(LockFrame, "processes that count under it lose nothing") {
    const crash::SharedPage<int> number;
    const auto count = [&] {
      for (int i = 0; i < 2000; ++i) {
        static_cast<void>(lock->lock());
        ++*number;
        lock->unlock();
      }
      return "done";
    };
    unit::Relative first(count);
    unit::Relative second(count);
    unit::Relative third(count);
    CHECK(first.answer() == "done");
    CHECK(second.answer() == "done");
    CHECK(third.answer() == "done");
    CHECK(*number == 6000);
  }
}
