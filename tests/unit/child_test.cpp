// SPDX-License-Identifier: BSL-1.0

#include "os/child.hpp"

#include "os/fork.hpp"

#include "frame.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

using kin::UniqueFd;
using kin::detail::Child;
using kin::detail::Deadline;
using kin::detail::LifeLine;

namespace {

std::shared_ptr<Child> start(const std::function<int()>& body) {
  const auto forked = kin::detail::fork_process();
  if (forked.pid == 0) ::_exit(body());
  return kin::detail::add_child({forked.pid, forked.stamp, "child", false, Child::Kind::child},
                                kin::detail::open_pidfd(forked.pid));
}

std::shared_ptr<Child> start_idle() {
  return start([]() -> int {
    while (true) ::pause();
  });
}

bool is_readable(int fd) {
  pollfd about{fd, POLLIN, 0};
  return ::poll(&about, 1, 0) == 1;
}

}  // namespace

TEST_SUITE("child") {
  TEST_CASE_FIXTURE(unit::Frame, "an exit code is what the child returned, or minus its signal") {
    const auto returns = start([] { return 7; });
    CHECK(returns->join(unit::last_moment()));
    CHECK(returns->exit_code() == 7);

    const auto killed = start_idle();
    CHECK(killed->is_alive());
    CHECK_FALSE(killed->exit_code());
    killed->send_signal(SIGTERM);
    CHECK(killed->join(unit::last_moment()));
    CHECK(killed->exit_code() == -SIGTERM);
    CHECK_FALSE(killed->is_alive());
    CHECK(killed->join(Deadline::passed()));  // again
  }

  TEST_CASE_FIXTURE(unit::Frame, "a join ends with its deadline") {
    const auto child = start_idle();
    CHECK_FALSE(child->join(Deadline::passed()));
    CHECK_FALSE(child->join(Deadline::after(std::chrono::milliseconds(3))));
    CHECK(child->is_alive());
    child->send_signal(SIGKILL);
    CHECK(child->join(unit::last_moment()));
  }

  TEST_CASE_FIXTURE(unit::Frame, "its descriptor shows its end") {
    const auto child = start_idle();
    CHECK_FALSE(is_readable(child->descriptor()));
    child->send_signal(SIGKILL);
    CHECK(unit::eventually([&] { return is_readable(child->descriptor()); }));
    CHECK_FALSE(child->is_alive());
  }

  TEST_CASE_FIXTURE(unit::Frame, "signals to the dead do nothing, reaped or not") {
    const auto child = start([] { return 0; });
    CHECK(unit::eventually([&] { return is_readable(child->descriptor()); }));
    CHECK_NOTHROW(child->send_signal(SIGKILL));
    CHECK(child->exit_code() == 0);
    CHECK_NOTHROW(child->send_signal(SIGKILL));
  }

  TEST_CASE_FIXTURE(unit::Frame, "one that the application reaped has the code that it left") {
    const auto child = start([] {
      kin::detail::leave_exit_code(9);
      return 9;
    });
    const pid_t pid = child->about().pid;
    CHECK(::waitpid(pid, nullptr, 0) == pid);
    CHECK_FALSE(child->is_alive());
    CHECK(child->exit_code() == 9);
    CHECK(child->join(unit::last_moment()));
  }

  TEST_CASE_FIXTURE(unit::Frame, "those that live are told apart from those that ended") {
    const auto before = kin::detail::living_children().size();
    const auto idle = start_idle();
    const auto quick = start([] { return 0; });
    CHECK(unit::eventually([&] { return is_readable(quick->descriptor()); }));
    const auto living = kin::detail::living_children();
    CHECK(living.size() == before + 1);
    CHECK(std::ranges::count(living, idle) == 1);
    idle->send_signal(SIGKILL);
    CHECK(idle->join(unit::last_moment()));
    CHECK(kin::detail::living_children().size() == before);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a closed one has no descriptor any more") {
    const auto child = start([] { return 3; });
    CHECK(child->join(unit::last_moment()));
    child->close();
    CHECK_THROWS_AS(static_cast<void>(child->descriptor()), std::logic_error);
    CHECK(child->exit_code() == 3);
    child->close();
  }

  TEST_CASE_FIXTURE(unit::Frame, "one that does not heed SIGTERM is killed") {
    const crash::SharedPage<std::atomic<bool>> deaf;
    const auto child = start([&]() -> int {
      std::signal(SIGTERM, SIG_IGN);
      *deaf = true;
      while (true) ::pause();
    });
    CHECK(unit::eventually([&] { return deaf->load(); }));
    child->terminate_and_join();
    CHECK(child->exit_code() == -SIGKILL);
    child->terminate_and_join();
  }

  TEST_CASE_FIXTURE(unit::Frame, "threads may wait for the same child, one of them reaps it") {
    const auto child = start_idle();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        if (child->join(unit::last_moment()) && child->exit_code() == -SIGKILL) ++right;
      });
    }
    child->send_signal(SIGKILL);
    for (auto& thread : threads) thread.join();
    CHECK(right == 4);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a process sees another that is no child of its own") {
    const auto idle = start_idle();
    CHECK(unit::answer_of([&] {
            Child other({idle->about().pid, 0, "sibling", false, Child::Kind::other},
                        kin::detail::open_pidfd(idle->about().pid));
            if (!other.is_alive()) return "dead";
            other.send_signal(SIGKILL);
            if (!other.join(unit::last_moment())) return "lives on";
            return other.exit_code() ? "knows a code" : "knows no code";
          }) == "knows no code");
    CHECK(idle->exit_code() == -SIGKILL);
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "one whose descriptor the application closed is not taken for dead") {
    const auto idle = start_idle();
    const int number = idle->descriptor();
    const auto check_lives = [&] {
      // Or else what belongs to it were swept while it works.
      CHECK_THROWS_AS(static_cast<void>(idle->is_alive()), kin::SystemError);
      CHECK_THROWS_AS(idle->join(unit::last_moment()), kin::SystemError);
      CHECK(kin::detail::living_children().size() == 1);
      CHECK_FALSE(kin::detail::is_gone(idle->about().stamp));
    };
    const UniqueFd mine(::fcntl(number, F_DUPFD_CLOEXEC, 0));
    ::close(number);
    check_lives();
    SUBCASE("another file has its number") {
      const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      CHECK(::dup2(file.get(), number) == number);
      check_lives();
    }
    SUBCASE("the pidfd of another that is dead has its number") {
      const pid_t another = ::fork();
      if (another == 0) ::_exit(0);
      const UniqueFd dead = kin::detail::open_pidfd(another);
      CHECK(::waitpid(another, nullptr, 0) == another);
      CHECK(::dup2(dead.get(), number) == number);
      check_lives();
    }
    CHECK(::dup3(mine.get(), number, O_CLOEXEC) == number);
    CHECK(idle->is_alive());
    idle->terminate_and_join();
  }

  TEST_CASE_FIXTURE(unit::Frame, "threads may signal and watch one that another closes") {
    for (int round = 0; round < 50; ++round) {
      const auto child = start([] { return 0; });
      CHECK(child->join(unit::last_moment()));
      const auto use = [&](const std::function<void()>& once) {
        return std::thread([&child, once] {
          try {
            while (true) once();
          } catch (const std::logic_error&) {  // closed
          }
        });
      };
      std::thread asking = use([&] { static_cast<void>(child->descriptor()); });
      std::thread closing([&] { child->close(); });
      asking.join();
      closing.join();
    }
    const auto idle = start_idle();
    Child other({idle->about().pid, 0, "sibling", false, Child::Kind::other},
                kin::detail::open_pidfd(idle->about().pid));
    std::thread signalling([&] {
      CHECK_THROWS_AS(
          [&] {
            while (true) other.send_signal(0);
          }(),
          std::logic_error);
    });
    CHECK_FALSE(other.join(kin::detail::Deadline::after(std::chrono::milliseconds(10))));
    other.close();
    signalling.join();
    idle->terminate_and_join();
  }

  TEST_CASE_FIXTURE(unit::Frame, "a life-line that is cut kills who holds it, busy or not") {
    const crash::SharedPage<std::atomic<bool>> holding;
    auto line = std::make_unique<LifeLine>();
    const auto child = start([&]() -> int {
      line->hold();
      *holding = true;
      while (true) {  // never in the kernel
      }
    });
    CHECK(unit::eventually([&] { return holding->load(); }));
    CHECK(child->is_alive());
    SUBCASE("by its end") { line.reset(); }
    SUBCASE("by hand") { LifeLine::cut(line->write_end); }
    CHECK(child->join(unit::last_moment()));
    CHECK(child->exit_code() == -SIGKILL);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a life-line that was cut before it is held kills at once") {
    const crash::SharedPage<std::atomic<bool>> cut;
    LifeLine line;
    const auto child = start([&]() -> int {
      unit::eventually([&] { return cut->load(); });
      line.hold();
      while (true) ::pause();
    });
    LifeLine::cut(line.write_end);
    *cut = true;
    CHECK(child->join(unit::last_moment()));
    CHECK(child->exit_code() == -SIGKILL);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a sibling does not keep a life-line whole") {
    const crash::SharedPage<std::atomic<bool>> holding;
    auto line = std::make_unique<LifeLine>();
    const auto child = start([&]() -> int {
      line->hold();
      *holding = true;
      while (true) ::pause();
    });
    CHECK(unit::eventually([&] { return holding->load(); }));
    const auto sibling = start_idle();  // forked while the line exists
    line.reset();
    CHECK(child->join(unit::last_moment()));
    CHECK(child->exit_code() == -SIGKILL);
    sibling->terminate_and_join();
  }
}
