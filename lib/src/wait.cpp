// SPDX-License-Identifier: BSL-1.0
//
// Waiting for several things at once. What is in shared memory is looked at there; sleeping is one
// poll() for all: queues and pipes have a descriptor that rings when it was asked to.

#include <kin/wait.hpp>

#include "waiting/futex.hpp"
#include "waiting/parking.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include <poll.h>

namespace kin::detail {
namespace {

/// Calls it with the queue or the end that a Waitable is made from; not for a descriptor.
template <typename Use>
void with_channel(const Waitable& thing, Use&& use) {
  if (const auto* queue = std::get_if<Channel>(&thing.source())) use(*queue);
  if (const auto* end = std::get_if<End>(&thing.source())) use(*end);
}

class Wait {
 public:
  explicit Wait(std::span<const Waitable> things) : things_(things), ready_(things.size()) {
    for (const Waitable& thing : things) {
      const int* plain = std::get_if<int>(&thing.source());
      int descriptor = plain != nullptr ? *plain : -1;
      with_channel(thing, [&](const auto& channel) {
        descriptor = channel.descriptor();
        ++channels_;
      });
      if (descriptor < 0) throw SystemError("poll", EBADF);
      polled_.push_back({descriptor, POLLIN, 0});
    }
  }

  /// What can be seen without the kernel.
  bool look() {
    bool found = false;
    for (std::size_t i = 0; i < things_.size(); ++i) {
      with_channel(things_[i], [&](const auto& channel) {
        if (!channel.is_ready()) return;
        ready_[i] = true;
        found = true;
      });
    }
    return found;
  }

  /// Before sleeping: from now on no thread of this process closes what is polled.
  void hold_descriptors() {
    for (const Waitable& thing : things_) {
      const auto* end = std::get_if<End>(&thing.source());
      if (end != nullptr) held_.push_back(end->hold());
    }
  }

  void ask_for_bells() const {
    for (const Waitable& thing : things_) {
      with_channel(thing, [](const auto& channel) { channel.ask_for_bell(); });
    }
  }

  /// Asks the kernel; waits until there is news, or so long. Whether something is ready.
  bool poll(int milliseconds) {
    const int count = ::poll(polled_.data(), polled_.size(), milliseconds);
    if (count == -1 && errno != EINTR) throw SystemError("poll", errno);
    if (count <= 0) return false;
    bool found = false;
    for (std::size_t i = 0; i < things_.size(); ++i) {
      if (polled_[i].revents == 0) continue;
      if ((polled_[i].revents & POLLNVAL) != 0) throw SystemError("poll", EBADF);
      if (is_news(i)) {
        ready_[i] = true;
        found = true;
      }
    }
    return found;
  }

  /// Whether to spin for what shows in shared memory: many take too long to look at.
  [[nodiscard]] bool is_worth_spinning() const { return channels_ > 0 && channels_ <= 16; }

  [[nodiscard]] std::vector<std::size_t> ready() const {
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < ready_.size(); ++i) {
      if (ready_[i]) indices.push_back(i);
    }
    return indices;
  }

 private:
  // A bell may have rung for what another has taken since.
  bool is_news(std::size_t i) {
    bool news = true;
    with_channel(things_[i], [&](const auto& channel) {
      // Asked in this order: what was sent before the end came is there now.
      news = (polled_[i].revents & POLLHUP) != 0 || channel.is_ready();
      if (!news) channel.silence();
    });
    return news;
  }

  std::span<const Waitable> things_;
  std::vector<pollfd> polled_;
  std::vector<bool> ready_;
  std::vector<std::shared_ptr<const void>> held_;
  std::size_t channels_ = 0;
};

int milliseconds_for(Deadline deadline) {
  const std::int64_t left = std::min(deadline.nanoseconds() - Deadline::now(), slice_nanoseconds);
  return static_cast<int>((std::max<std::int64_t>(left, 0) + 999'999) / 1'000'000);
}

}  // namespace

std::vector<std::size_t> wait_any_until(std::span<const Waitable> things, Deadline deadline) {
  if (things.empty()) throw std::invalid_argument("kin: wait_any() on nothing");
  Wait wait(things);
  bool found = wait.look();
  found = wait.poll(0) || found;
  if (!found && !deadline.is_passed_from_start() && wait.is_worth_spinning()) {
    found = spin([&] { return wait.look(); }, deadline, nullptr);
  }
  if (!found && !deadline.has_passed()) wait.hold_descriptors();
  while (!found && !deadline.has_passed()) {
    wait.ask_for_bells();
    found = wait.look() || wait.poll(milliseconds_for(deadline));
  }
  return wait.ready();
}

}  // namespace kin::detail
