// SPDX-License-Identifier: BSL-1.0

#include "memory/process_table.hpp"

#include "os/fork.hpp"

#include "frame.hpp"

#include "support/again.hpp"
#include "support/sanitizer.hpp"
#include "support/sweep.hpp"

#include <kin/error.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using kin::detail::arena;
using kin::detail::ProcessSlot;
using kin::detail::Stamp;

namespace {

// A child that ends when it is told to, and is reaped then, but not swept.
class Idle {
 public:
  Idle()
      : process_([this] {
          *stamp_ = kin::detail::this_process();
          while (true) ::pause();
          return "";
        }) {
    CHECK(unit::eventually([&] { return *stamp_ != 0; }));
  }
  [[nodiscard]] Stamp stamp() const { return *stamp_; }
  [[nodiscard]] pid_t pid() const { return process_.pid(); }
  void kill() {
    ::kill(process_.pid(), SIGKILL);
    CHECK(process_.ends_by(crash::Clock::now() + unit::patience));
  }

 private:
  crash::SharedPage<std::atomic<Stamp>> stamp_;
  crash::Bystander process_;
};

// Whether this process had no slot when it was born.
bool is_refused() {
  try {
    kin::detail::this_process();
  } catch (const kin::SystemError& error) {
    return error.code().value() == EAGAIN;
  }
  return false;
}

}  // namespace

TEST_SUITE("process_table") {
  TEST_CASE_FIXTURE(unit::Frame, "this process has a stamp, and lives") {
    const Stamp own = kin::detail::this_process();
    CHECK(own != 0);
    CHECK(kin::detail::this_process() == own);
    CHECK(kin::detail::this_process_or_none() == own);
    CHECK_FALSE(kin::detail::is_gone(own));
    CHECK(kin::detail::pid_of(own) == ::getpid());
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child of plain fork has a stamp of its own, from the start") {
    const std::string own = std::to_string(kin::detail::this_process());
    CHECK(unit::answer_of([&] {
            const Stamp stamp = kin::detail::this_process_or_none();
            if (stamp == 0) return std::string("none");
            return std::string(std::to_string(stamp) == own ? "its parent's" : "its own");
          }) == "its own");
  }

  TEST_CASE_FIXTURE(unit::Frame, "a process is gone when it is dead, reaped or not") {
    Idle child;
    CHECK_FALSE(kin::detail::is_gone(child.stamp()));
    CHECK(kin::detail::pid_of(child.stamp()) == child.pid());
    CHECK_FALSE(kin::detail::sweep_if_gone(child.stamp()));
    SUBCASE("a zombie") {
      ::kill(child.pid(), SIGKILL);
      CHECK(unit::eventually([&] { return crash::process_state(child.pid()) == 'Z'; }));
      // Its first thread is one before its last is dead, and the thread sanitizer gives it a second.
      if (support::is_thread_sanitized)
        unit::eventually([&] { return kin::detail::is_gone(child.stamp()); });
      CHECK(kin::detail::is_gone(child.stamp()));
    }
    SUBCASE("one that was reaped") {}
    child.kill();
    CHECK(kin::detail::is_gone(child.stamp()));
    CHECK(kin::detail::sweep_if_gone(child.stamp()));
    CHECK(kin::detail::sweep_if_gone(child.stamp()));
    CHECK(kin::detail::is_gone(child.stamp()));
  }

  TEST_CASE_FIXTURE(unit::Frame, "a stopped process lives") {
    Idle child;
    ::kill(child.pid(), SIGSTOP);
    CHECK(unit::eventually([&] { return crash::process_state(child.pid()) == 'T'; }));
    CHECK_FALSE(kin::detail::is_gone(child.stamp()));
    child.kill();
    kin::detail::sweep(child.stamp());
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "a process lives, too, where no descriptor is left to read of it") {
    const Stamp own = kin::detail::this_process();
    CHECK(unit::answer_of([&] {
            const int next = ::dup(STDIN_FILENO);
            ::close(next);
            // One, for the first question.
            const rlimit one_more{static_cast<rlim_t>(next) + 1, static_cast<rlim_t>(next) + 1};
            if (::setrlimit(RLIMIT_NOFILE, &one_more) != 0) return "not limited";
            return kin::detail::is_gone(own) ? "gone" : "lives";
          }) == "lives");
  }

  TEST_CASE_FIXTURE(unit::Frame, "slots are used again, stamps never") {
    const auto used = [] { return arena().processes->slots_used.load(); };
    const auto before = used();
    std::set<Stamp> stamps;
    constexpr int lives = 200;
    for (int i = 0; i < lives; ++i) {
      unit::Relative child([] { return ""; });
      CHECK(unit::eventually([&] { return child.stamp() != 0; }));
      stamps.insert(child.stamp());
    }
    CHECK(stamps.size() == lives);
    CHECK(used() <= before + 1);
  }

  TEST_CASE_FIXTURE(unit::Frame, "the slots of those whom nobody sweeps are found by later forks") {
    const auto used = [] { return arena().processes->slots_used.load(); };
    for (int i = 0; i < 20; ++i) Idle().kill();
    const auto settled = used();
    for (int i = 0; i < 100; ++i) Idle().kill();
    CHECK(used() <= settled + 8);
  }

  TEST_CASE_FIXTURE(unit::Frame, "zombies that nobody reaps are swept, whichever slots they have") {
    const auto used = [] { return arena().processes->slots_used.load(); };
    std::deque<Idle> zombies(16);
    while (used() % 16 != 0) zombies.emplace_back();
    for (const Idle& zombie : zombies) {
      ::kill(zombie.pid(), SIGKILL);
      CHECK(unit::eventually([&] { return kin::detail::is_gone(zombie.stamp()); }));
    }
    for (std::uint32_t i = 0; i < 8 * used(); ++i) kin::detail::sweep_some();
    for (const Idle& zombie : zombies) {
      CHECK(kin::detail::was_swept_while_destroying(zombie.stamp()));
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "a name is kept as far as it fits, and goes with its slot") {
    const Stamp own = kin::detail::this_process();
    const std::string before = kin::detail::name_of(own);
    kin::detail::set_process_name(own, "short");
    CHECK(kin::detail::name_of(own) == "short");
    kin::detail::set_process_name(own, std::string(200, 'x'));
    CHECK(kin::detail::name_of(own) == std::string(ProcessSlot::name_size - 1, 'x'));
    kin::detail::set_process_name(own, "");
    CHECK(kin::detail::name_of(own).empty());
    kin::detail::set_process_name(own, before);

    Idle child;
    const Stamp stamp = child.stamp();
    kin::detail::set_process_name(stamp, "child");
    CHECK(kin::detail::name_of(stamp) == "child");
    child.kill();
    CHECK(kin::detail::name_of(stamp) == "child");
    kin::detail::sweep(stamp);
    CHECK(unit::eventually([&] {  // the slot is another's some time
      Idle other;
      other.kill();
      kin::detail::sweep(other.stamp());
      return kin::detail::name_of(stamp).empty();
    }));
    CHECK(kin::detail::pid_of(stamp) == 0);
    CHECK(kin::detail::exit_code_of(stamp) == ProcessSlot::no_exit_code);
  }

  TEST_CASE_FIXTURE(unit::Frame, "an exit code that was left is found after death and sweep") {
    Idle silent;
    CHECK(kin::detail::exit_code_of(silent.stamp()) == ProcessSlot::no_exit_code);
    silent.kill();
    CHECK(kin::detail::exit_code_of(silent.stamp()) == ProcessSlot::no_exit_code);
    kin::detail::sweep(silent.stamp());

    const crash::SharedPage<Stamp> stamp;
    CHECK(unit::answer_of([&] {
            *stamp = kin::detail::this_process();
            kin::detail::leave_exit_code(7);
            return "left";
          }) == "left");
    CHECK(kin::detail::exit_code_of(*stamp) == 7);
  }

  TEST_CASE_FIXTURE(unit::Frame, "how a process ended is known when others have had its slot") {
    const crash::SharedPage<Stamp> stamp;
    const auto end_with = [&](std::optional<int> code) {
      CHECK(unit::answer_of([&] {
              *stamp = kin::detail::this_process();
              if (code) kin::detail::leave_exit_code(*code);
              return "";
            }) == "");
      return *stamp;
    };
    // The lowest free slot: all of them have the same, when nobody is left to be swept.
    support::sweep_the_dead();
    std::vector<std::pair<Stamp, bool>> lives;
    const auto live = [&](std::optional<int> code) {
      lives.emplace_back(end_with(code), code == 0);
      CHECK(kin::detail::slot_of(lives.back().first) == kin::detail::slot_of(lives.front().first));
      for (const auto& [life, well] : lives) CHECK(kin::detail::ended_well(life) == well);
    };
    for (int i = 0; i < 20; ++i) live(i % 3 == 0 ? 7 : 0);
    live(std::nullopt);
    // The ends before this one are forgotten some time, and count as bad ones; its own is not.
    const std::size_t last_bad = lives.size() - 1;
    for (int i = 0; i < 11; ++i) live(0);
    for (int i = 0; i < 60; ++i) lives.emplace_back(end_with(0), true);
    for (std::size_t i = 0; i < lives.size(); ++i) {
      CHECK(kin::detail::ended_well(lives[i].first) == (i > last_bad));
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "a slot that was reserved in vain is given back") {
    const auto count = [] { return arena().processes->slots_used.load(); };
    const Stamp reserved = kin::detail::reserve_slot();
    REQUIRE(reserved != 0);
    CHECK_FALSE(kin::detail::is_gone(reserved));  // somebody is about to be born
    kin::detail::cancel_slot(reserved);
    CHECK(kin::detail::is_gone(reserved));
    const auto used = count();
    for (int i = 0; i < 10; ++i) kin::detail::cancel_slot(kin::detail::reserve_slot());
    CHECK(count() == used);
    kin::detail::cancel_slot(0);
    kin::detail::cancel_slot(reserved);  // it is nobody's any more
  }

  TEST_CASE_FIXTURE(unit::Frame, "the last slot is the last: then there is none") {
    CHECK(unit::answer_of([] {
            std::vector<Stamp> taken;
            while (const Stamp one = kin::detail::reserve_slot()) taken.push_back(one);
            const bool most = taken.size() <= kin::detail::ProcessTable::most;
            // A child is born all the same, and says what it lacks when it needs it.
            int status = -1;
            const pid_t pid = ::fork();
            if (pid == 0) {
              if (kin::detail::this_process_or_none() != 0) ::_exit(1);
              if (!is_refused()) ::_exit(2);
              // For good, also where there is room by now: nobody knows what it has inherited.
              for (const Stamp one : taken) kin::detail::cancel_slot(one);
              if (!is_refused()) ::_exit(3);
              const pid_t own = ::fork();
              if (own == 0) ::_exit(is_refused() ? 0 : 1);
              int of_own = -1;
              ::waitpid(own, &of_own, 0);
              ::_exit(of_own == 0 ? 0 : 4);
            }
            ::waitpid(pid, &status, 0);
            for (const Stamp one : taken) kin::detail::cancel_slot(one);
            return "most " + std::to_string(most) + " status " + std::to_string(status);
          }) == "most 1 status 0");
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "an heir is who was born after the making, not after the release") {
    auto& births = arena().processes->births;
    const auto before = births.load();
    CHECK_FALSE(kin::detail::heir_lives(before, before));
    Idle heir;
    const auto after = births.load();
    CHECK(after > before);
    CHECK(kin::detail::heir_lives(before, after));
    CHECK_FALSE(kin::detail::heir_lives(after, after));
    Idle late;
    CHECK_FALSE(kin::detail::heir_lives(after, after));
    heir.kill();
    CHECK(kin::detail::heir_lives(before, after));  // until it is swept
    kin::detail::sweep(heir.stamp());
    CHECK_FALSE(kin::detail::heir_lives(before, after));
    late.kill();
    kin::detail::sweep(late.stamp());
  }

  TEST_CASE_FIXTURE(unit::Frame, "in another pid namespace there is no family") {
    const std::string answer = unit::answer_of([] {
      if (::unshare(CLONE_NEWPID) != 0) return "not permitted";
      int status = -1;
      const pid_t pid = ::fork();
      if (pid == 0) {
        try {
          kin::detail::this_process();
        } catch (const kin::SystemError& error) {
          if (error.code().value() != EXDEV) ::_exit(2);
          // From there all others look dead.
          for (int i = 0; i < 20; ++i) {
            const pid_t grandchild = ::fork();
            if (grandchild == 0) ::_exit(0);
            ::waitpid(grandchild, nullptr, 0);
          }
          ::_exit(0);
        }
        ::_exit(3);
      }
      ::waitpid(pid, &status, 0);
      return status == 0 ? "refused" : "not refused";
    });
    if (answer == "not permitted") {
      std::puts("skipped: this process may not make a pid namespace");
      return;
    }
    CHECK(answer == "refused");
    CHECK_FALSE(kin::detail::was_swept_while_destroying(kin::detail::this_process()));
  }

  TEST_CASE_FIXTURE(unit::Frame, "a sweep may be tried without waiting for another's") {
    std::optional<kin::detail::SweepGuard> guard(std::in_place);
    crash::Bystander other([] {
      return kin::detail::SweepGuard(std::try_to_lock).holds() ? "had it" : "did not wait";
    });
    CHECK(other.ends_by(crash::Clock::now() + unit::patience));
    guard.reset();
    CHECK(other.answer() == "did not wait");
    CHECK(kin::detail::SweepGuard(std::try_to_lock).holds());
  }

  // A process that reserved a slot for a child, and was killed before it forked.
  struct Reserver {
    crash::SharedPage<std::atomic<Stamp>> reserved;
    Stamp own = 0;

    Reserver() {
      const crash::SharedPage<std::atomic<Stamp>> stamp;
      crash::Bystander process([&] {
        *stamp = kin::detail::this_process();
        *reserved = kin::detail::reserve_slot();
        ::raise(SIGKILL);
        return "";
      });
      CHECK(process.ends_by(crash::Clock::now() + unit::patience));
      own = *stamp;
    }
  };

  TEST_CASE_FIXTURE(unit::Frame,
                    "who sweeps one that was killed before it forked frees its slots") {
    const Reserver dead;
    REQUIRE(*dead.reserved != 0);
    CHECK_FALSE(kin::detail::is_gone(*dead.reserved));
    kin::detail::sweep(dead.own);
    CHECK(kin::detail::is_gone(*dead.reserved));
  }

  TEST_CASE("the same when the first of the family has shared nothing itself") {
    if (!support::is_again()) {
      CHECK(support::again("the same when the first of the family has shared nothing itself",
                           "67108864") == "");
      return;
    }
    // This process forks, and has the arena, but never asked for a slot.
    const Reserver dead;
    REQUIRE(*dead.reserved != 0);
    crash::Bystander sweeper([&] {
      kin::detail::sweep(dead.own);
      return kin::detail::is_gone(*dead.reserved) ? "freed" : "kept";
    });
    CHECK(sweeper.ends_by(crash::Clock::now() + unit::patience));
    CHECK(sweeper.answer() == "freed");
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "a slot that this process reserves is not taken for a dead one's") {
    Idle dead;
    dead.kill();
    // As if this process had been given its number.
    auto& life = arena().processes->slots[(dead.stamp() & 0xffffffff) >> 1].life;
    life = (life & ~std::uint64_t{0xfffffffc}) | (static_cast<std::uint64_t>(::getpid()) << 2);
    const Stamp reserved = kin::detail::reserve_slot();
    kin::detail::sweep(dead.stamp());
    CHECK_FALSE(kin::detail::is_gone(reserved));
    kin::detail::cancel_slot(reserved);
  }
}
