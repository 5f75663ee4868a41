// SPDX-License-Identifier: BSL-1.0
//
// Waiting for processes and signalling them. A pidfd names one process for ever; waiting is poll() on
// it, reaping is waitid(P_PIDFD), never for just any child, so the application's other children are
// its own. Where the application reaped ours, the kernel or the child's slot may still know the code.

#include "os/child.hpp"

#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "deadlock/waiting.hpp"
#include "waiting/futex.hpp"
#include "waiting/soft_limit.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace kin::detail {
namespace {

constexpr auto wait_by_pidfd = static_cast<idtype_t>(3);  // P_PIDFD, where the headers are older

// What this process knows of its children; made whole at once, so that no child has to make a part.
struct Family {
  // All of this process's Childs of kind `child`, dead or alive. The lock guards their reaping too.
  Guarded<std::vector<std::weak_ptr<Child>>> children;
  // The write ends of life-lines, from the moment they exist: another thread may fork.
  Guarded<std::vector<int>> life_line_ends;
};

Family& family() {
  static Immortal<Family> all;
  return *all;
}

[[maybe_unused]] const bool family_is_made = made_at_load(family);

int held_read_end = -1;  // of this process's own life-line

int code_from_status(int status) {
  if (WIFSIGNALED(status)) return -WTERMSIG(status);
  return WEXITSTATUS(status);
}

// PIDFD_GET_INFO of linux/pidfd.h, which Debian 12 does not have yet.
struct PidfdInfo {
  std::uint64_t mask;
  std::uint64_t cgroup;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
constexpr std::uint64_t pidfd_info_exit = 1U << 3;

// The exit code of a process that somebody else reaped; Linux 6.15 keeps it for holders of a pidfd.
std::optional<int> code_from_kernel(int pidfd) {
  PidfdInfo info{};
  info.mask = pidfd_info_exit;
  if (::ioctl(pidfd, _IOWR(0xFF, 11, PidfdInfo), &info) != 0) return std::nullopt;
  if ((info.mask & pidfd_info_exit) == 0) return std::nullopt;
  return code_from_status(info.exit_code);
}

}  // namespace

UniqueFd open_pidfd(pid_t pid) {
  return away_from_stdio(
      UniqueFd(static_cast<int>(checked("pidfd_open", syscall(SYS_pidfd_open, pid, 0)))));
}

bool kill_and_sweep(Stamp stamp, Deadline deadline) {
  constexpr std::int64_t slice = 250;
  while (true) {
    const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid_of(stamp), 0)));
    // Behind that: a process that is not gone is the one which the descriptor names.
    if (sweep_if_gone(stamp)) return true;
    if (process) syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    if (deadline.has_passed()) return false;
    pollfd about{process.get(), POLLIN, 0};
    const std::int64_t left = (deadline.nanoseconds() - Deadline::now()) / 1'000'000 + 1;
    // Without a descriptor, where the table is full: look again in a moment.
    const std::int64_t longest = process ? slice : 1;
    ::poll(&about, process ? 1 : 0, static_cast<int>(std::clamp<std::int64_t>(left, 0, longest)));
  }
}

void kill_and_reap(pid_t pid, Stamp stamp) noexcept {
  siginfo_t info{};
  const auto ask = [&](int options) {
    return retry_interrupted(
        [&] { return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | options); });
  };
  // Or somebody else has killed it, and the application reaped it: then the number is nobody's.
  const bool is_there = ask(WNOWAIT | WNOHANG) == 0;
  if (is_there) ::kill(pid, SIGKILL);
  if (is_there) ask(0);
  try {
    if (stamp != 0) sweep(stamp);
  } catch (...) {  // NOLINT(bugprone-empty-catch): whoever notices the death sweeps
  }
}

int reap_unseen(pid_t pid) noexcept {
  siginfo_t info{};
  const int result = retry_interrupted([&] {
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | static_cast<int>(__WCLONE));
  });
  return result == 0 && info.si_code == CLD_EXITED ? info.si_status : 0;
}

Child::~Child() { close(); }

Child::Child(About about, UniqueFd pidfd)
    : about_(std::move(about)), pidfd_(std::make_shared<UniqueFd>(std::move(pidfd))) {}

std::shared_ptr<const UniqueFd> Child::held_pidfd() const {
  auto held = family().children.with([&](auto& /*all*/) { return pidfd_; });
  if (!held || !*held) {
    throw std::logic_error("kin: process " + about_.name +
                           " was closed, or belongs to the process that started it");
  }
  return held;
}

int Child::descriptor() const { return held_pidfd()->get(); }

namespace {

Deadline end_of_slice(Deadline deadline) {
  return Deadline::at(std::min(deadline.nanoseconds(), Deadline::now() + slice_nanoseconds));
}

}  // namespace

bool Child::wait_for_death(Deadline deadline) const {
  const auto held = held_pidfd();
  pollfd about{held->get(), POLLIN, 0};
  while (true) {
    int milliseconds = -1;
    if (!deadline.is_never()) {
      const std::int64_t left =
          deadline.has_passed() ? 0 : deadline.nanoseconds() - Deadline::now();
      constexpr std::int64_t longest = 1'000'000'000'000;  // poll takes an int
      milliseconds =
          static_cast<int>((std::clamp<std::int64_t>(left, 0, longest) + 999'999) / 1'000'000);
    }
    const int ready = ::poll(&about, 1, milliseconds);
    // The application has closed it, with all that it did not know perhaps. That is nobody's death.
    if ((about.revents & POLLNVAL) != 0) throw SystemError("poll", EBADF);
    if (ready > 0) return true;
    if (ready == -1 && errno != EINTR) throw SystemError("poll", errno);
    if (deadline.has_passed()) return false;
  }
}

bool Child::reap() {
  const auto held = held_pidfd();
  family().children.with([&](auto& /*all*/) {
    if (reaped_ || about_.kind != Kind::child) return;
    siginfo_t info{};
    const int result = retry_interrupted([&] {
      return ::waitid(wait_by_pidfd, static_cast<id_t>(held->get()), &info, WEXITED | WNOHANG);
    });
    if (result == 0 && info.si_pid == 0) return;  // not for us yet
    if (result == 0) {
      exit_code_ = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    } else {
      if (errno != ECHILD) throw SystemError("waitid", errno);
      // Somebody else reaped it; or the descriptor is another's by now.
      const bool is_over = about_.stamp == 0 || is_gone(about_.stamp) ||
                           (::kill(about_.pid, 0) == -1 && errno == ESRCH);
      if (!is_over) throw SystemError("waitid", EBADF);
      exit_code_ = code_from_kernel(held->get());
      const int left = exit_code_of(about_.stamp);
      if (!exit_code_ && left != ProcessSlot::no_exit_code) exit_code_ = left;
    }
    reaped_ = true;
  });
  // If killed before this: whoever notices the death sweeps.
  if (!reaped_) return about_.kind != Kind::child;
  LifeLine::cut(life_line_);
  if (about_.stamp != 0) sweep(about_.stamp);
  return true;
}

bool Child::wait_and_reap(Deadline deadline) {
  if (reaped_) return true;
  if (!wait_for_death(deadline)) return false;
  while (!reap()) {
    if (deadline.has_passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

bool Child::is_alive() {
  if (reaped_ || about_.pid == 0) return false;
  return !wait_and_reap(Deadline::passed());
}

std::optional<int> Child::exit_code() {
  if (is_alive()) return std::nullopt;
  return exit_code_;
}

bool Child::join(Deadline deadline, const Joining& joining) {
  if (reaped_) return true;
  if (!wait_and_reap(Deadline::passed())) {
    if (deadline.is_passed_from_start()) return false;
    // Whoever waits for the end of a pool is none who could give up.
    const std::uint8_t may_throw =
        joining.may_throw && !about_.is_hidden ? WaitFlags::may_throw : 0;
    // One that the family does not know has no stamp, and is part of no ring.
    const std::uint8_t for_ever = about_.stamp != 0 ? WaitFlags::for_ever : 0;
    Waiting waiting({.kind = WaitKind::end_of_process,
                     .flags = static_cast<std::uint8_t>(may_throw | for_ever),
                     .target = about_.stamp,
                     .where = joining.where},
                    deadline);
    do {
      if (deadline.has_passed()) return false;
      if (joining.may_throw) {
        SoftLimit::check([&] {
          return "the end of " + about_.name + " (pid " + std::to_string(about_.pid) + ")";
        });
      }
      waiting.look_around();
    } while (!wait_and_reap(end_of_slice(deadline)));
  }
  return true;
}

void Child::send_signal(int signal) {
  if (reaped_) return;
  const auto held = held_pidfd();
  if (syscall(SYS_pidfd_send_signal, held->get(), signal, nullptr, 0) == -1 && errno != ESRCH) {
    throw SystemError("pidfd_send_signal", errno);
  }
}

void Child::close() noexcept {
  // Where a thread waits for it or signals it just now, it is closed by that one.
  family().children.with([&](auto& /*all*/) { pidfd_.reset(); });
  LifeLine::cut(life_line_);
}

void Child::terminate_and_join() noexcept {
  try {
    send_signal(SIGTERM);
    if (join(Deadline::after(std::chrono::seconds(1)))) return;
    send_signal(SIGKILL);
    join(Deadline::never());
  } catch (...) {  // NOLINT(bugprone-empty-catch): closed or already gone: nothing to end
  }
}

LifeLine::LifeLine() {
  family().life_line_ends.with([this](std::vector<int>& write_ends) {
    write_ends.reserve(write_ends.size() + 1);
    int ends[2];
    checked("pipe2", ::pipe2(ends, O_CLOEXEC));
    UniqueFd writing(ends[1]);
    read_end = away_from_stdio(UniqueFd(ends[0]));
    write_end = away_from_stdio(std::move(writing));
    write_ends.push_back(write_end.get());
  });
}

void LifeLine::cut(UniqueFd& write_end) noexcept {
  family().life_line_ends.with([&](std::vector<int>& write_ends) {
    if (!write_end) return;
    std::erase(write_ends, write_end.get());
    write_end.reset();
  });
}

void LifeLine::hold() {
  static_cast<void>(write_end.release());
  const int fd = read_end.release();
  held_read_end = fd;
  checked("fcntl", ::fcntl(fd, F_SETOWN, ::getpid()));
  checked("fcntl", ::fcntl(fd, F_SETSIG, SIGKILL));
  checked("fcntl", ::fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
  // Had it been cut before that?
  pollfd about{fd, POLLIN, 0};
  if (::poll(&about, 1, 0) > 0) ::kill(::getpid(), SIGKILL);
}

std::shared_ptr<Child> add_child(Child::About about, UniqueFd pidfd, LifeLine* life_line) {
  auto child = std::make_shared<Child>(std::move(about), std::move(pidfd));
  family().children.with([&](auto& all) {
    std::erase_if(all, [](const auto& one) { return one.expired(); });
    all.push_back(child);
    if (life_line != nullptr) child->life_line_ = std::move(life_line->write_end);
  });
  return child;
}

std::vector<std::shared_ptr<Child>> living_children() {
  std::vector<std::shared_ptr<Child>> living;
  family().children.with([&](auto& all) {
    living.reserve(all.size());
    for (const auto& one : all) {
      if (auto child = one.lock()) living.push_back(std::move(child));
    }
  });
  std::erase_if(living, [](const auto& child) {
    try {
      return !child->is_alive();
    } catch (const std::logic_error&) {
      return true;  // closed, so it was dead
    } catch (const SystemError&) {
      return false;  // nobody can tell
    }
  });
  return living;
}

void end_children() noexcept {
  // At the end nobody could act on what is thrown; and of one it must not keep the others.
  const auto in_any_case = [](auto action) {
    try {
      action();
    } catch (...) {  // NOLINT(bugprone-empty-catch)
    }
  };
  in_any_case([&] {
    const auto living = living_children();
    for (const auto& child : living) {
      if (child->about().daemon) in_any_case([&] { child->send_signal(SIGTERM); });
    }
    for (const auto& child : living) {
      if (child->about().daemon) {
        child->terminate_and_join();
      } else {
        in_any_case([&] { child->join(Deadline::never()); });
      }
    }
  });
}

void forget_children_of_parent() noexcept {
  family().children.with([](auto& all) {
    for (const auto& one : all) {
      if (const auto child = one.lock()) {
        if (child->pidfd_) child->pidfd_->reset();
        // Closed below. NOLINTNEXTLINE(bugprone-unused-return-value)
        static_cast<void>(child->life_line_.release());
      }
    }
    all.clear();
  });
  family().life_line_ends.with([](std::vector<int>& write_ends) {
    for (const int fd : write_ends) UniqueFd(fd).reset();
    write_ends.clear();
  });
  UniqueFd(std::exchange(held_read_end, -1)).reset();
}

}  // namespace kin::detail
