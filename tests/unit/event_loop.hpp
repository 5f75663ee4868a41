// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "frame.hpp"

#include <kin/unique_fd.hpp>

#include <array>
#include <chrono>
#include <cstdint>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

namespace unit {

/// How it waits for a descriptor; the last two are epoll's modes.
enum class Loop { select, poll, level, edge };
inline constexpr std::array all_loops{Loop::select, Loop::poll, Loop::level, Loop::edge};

/// An event loop of the application's, over one descriptor.
class Watch {
 public:
  Watch(int fd, Loop loop) : fd_(fd), loop_(loop) {
    if (loop == Loop::level || loop == Loop::edge) {
      epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
      epoll_event event{};
      event.events = EPOLLIN | (loop == Loop::edge ? static_cast<std::uint32_t>(EPOLLET) : 0U);
      REQUIRE(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
    }
  }
  /// Whether it became readable within that time.
  [[nodiscard]] bool sees(std::chrono::milliseconds limit) const {
    const int milliseconds = static_cast<int>(limit.count());
    if (loop_ == Loop::select) {
      fd_set set;
      FD_ZERO(&set);
      FD_SET(fd_, &set);
      timeval time{milliseconds / 1000, (milliseconds % 1000) * 1000};
      return ::select(fd_ + 1, &set, nullptr, nullptr, &time) == 1;
    }
    if (loop_ == Loop::poll) {
      pollfd about{fd_, POLLIN, 0};
      return ::poll(&about, 1, milliseconds) == 1 && (about.revents & POLLIN) != 0;
    }
    epoll_event event{};
    return ::epoll_wait(epoll_.get(), &event, 1, milliseconds) == 1 &&
           (event.events & EPOLLIN) != 0;
  }
  [[nodiscard]] bool sees_now() const { return sees(0ms); }
  [[nodiscard]] bool sees_soon() const { return sees(patience); }

 private:
  int fd_;
  Loop loop_;
  kin::UniqueFd epoll_;
};

}  // namespace unit
