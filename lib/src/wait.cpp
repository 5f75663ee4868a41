// SPDX-License-Identifier: BSL-1.0
//
// Waiting for several things at once. What is in shared memory is looked at there; sleeping is one
// poll() for all: queues and pipes have a descriptor that rings when it was asked to, and futures ring
// one that the wait makes for all of them.

#include <kin/wait.hpp>

#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "waiting/futex.hpp"
#include "waiting/parking.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>

namespace kin::detail {
namespace {

/// Calls it with the queue, the end or the listener that a Waitable is made from; not for a descriptor.
template <typename Use>
void with_channel(const Waitable& thing, Use&& use) {
  if (const auto* queue = std::get_if<Channel>(&thing.source())) use(*queue);
  if (const auto* end = std::get_if<End>(&thing.source())) use(*end);
  if (const auto* listener = std::get_if<Acceptor>(&thing.source())) use(*listener);
}

const TaskRef* task_of(const Waitable& thing) { return std::get_if<TaskRef>(&thing.source()); }

/// A descriptor that the futures of a wait make readable when they are over. They may do so when nobody
/// waits any more.
class FutureBell {
 public:
  FutureBell()
      : bell_(std::make_shared<UniqueFd>(away_from_stdio(
            UniqueFd(checked("eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)))))) {}
  ~FutureBell() {
    for (const auto& [task, number] : observed_) task->unobserve(number);
  }
  FutureBell(const FutureBell&) = delete;
  FutureBell& operator=(const FutureBell&) = delete;

  void observe(const TaskRef& task) {
    observed_.reserve(observed_.size() + 1);
    const auto number = task->observe([bell = bell_] { ::eventfd_write(bell->get(), 1); });
    observed_.emplace_back(task, number);
  }
  [[nodiscard]] int descriptor() const noexcept { return bell_->get(); }
  void silence() const noexcept {
    eventfd_t count = 0;
    ::eventfd_read(bell_->get(), &count);
  }
  /// A pool whose nursery is dead tells nobody: who asks finds out.
  void look_around() const {
    for (const auto& [task, number] : observed_) task->look_around();
  }

 private:
  std::shared_ptr<UniqueFd> bell_;
  std::vector<std::pair<TaskRef, std::uint64_t>> observed_;
};

class Wait {
 public:
  explicit Wait(std::span<const Waitable> things) : things_(things), ready_(things.size()) {
    for (std::size_t i = 0; i < things.size(); ++i) {
      if (const int* plain = std::get_if<int>(&things[i].source())) add(*plain, i);
    }
    seen_in_memory_ = things.size() - polled_.size();
    // A channel may make its bell now, which must not get a number that the caller takes for open.
    if (seen_in_memory_ > 0) ask_kernel(0);
    for (std::size_t i = 0; i < things.size(); ++i) {
      with_channel(things[i], [&](const auto& channel) { add(channel.descriptor(), i); });
    }
  }

  /// What can be seen without the kernel.
  bool look() {
    bool found = look_at_futures();
    for (std::size_t i = 0; i < things_.size(); ++i) {
      with_channel(things_[i], [&](const auto& channel) {
        if (!channel.is_ready()) return;
        ready_[i] = true;
        found = true;
      });
    }
    return found;
  }

  /// Before sleeping. From now on no thread of this process closes what is polled, and futures ring.
  void prepare_to_sleep() {
    for (const Waitable& thing : things_) {
      if (const auto* end = std::get_if<End>(&thing.source())) held_.push_back(end->hold());
      if (const auto* listener = std::get_if<Acceptor>(&thing.source())) {
        held_.push_back(listener->hold());
      }
      if (const TaskRef* task = task_of(thing)) {
        if (!futures_) polled_.push_back({futures_.emplace().descriptor(), POLLIN, 0});
        futures_->observe(*task);
      }
    }
  }

  void ask_for_bells() const {
    for (const Waitable& thing : things_) {
      with_channel(thing, [](const auto& channel) { channel.ask_for_bell(); });
    }
  }

  /// Asks the kernel; waits until there is news, or so long. Whether something is ready.
  bool poll(int milliseconds) {
    if (!ask_kernel(milliseconds)) return false;
    bool found = false;
    for (std::size_t at = 0; at < polled_things_.size(); ++at) {
      if (polled_[at].revents == 0) continue;
      const std::size_t i = polled_things_[at];
      if (is_news(things_[i], polled_[at].revents)) {
        ready_[i] = true;
        found = true;
      }
    }
    if (futures_ && polled_.back().revents != 0) {
      futures_->silence();
      found = look_at_futures() || found;
    }
    return found;
  }

  /// Between slices of sleep: deaths of which nobody tells.
  void look_around() const {
    if (futures_) futures_->look_around();
  }

  /// Whether to spin for what shows in memory: many take too long to look at.
  [[nodiscard]] bool is_worth_spinning() const {
    return seen_in_memory_ > 0 && seen_in_memory_ <= 16;
  }

  [[nodiscard]] std::vector<std::size_t> ready() const {
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < ready_.size(); ++i) {
      if (ready_[i]) indices.push_back(i);
    }
    return indices;
  }

 private:
  void add(int descriptor, std::size_t thing) {
    if (descriptor < 0) throw SystemError("poll", EBADF);
    polled_.push_back({descriptor, POLLIN, 0});
    polled_things_.push_back(thing);
  }

  bool ask_kernel(int milliseconds) {
    if (polled_.empty()) return false;  // futures, which have no bell yet
    const int count = ::poll(polled_.data(), polled_.size(), milliseconds);
    if (count == -1 && errno != EINTR) throw SystemError("poll", errno);
    const auto is_closed = [](const pollfd& one) { return (one.revents & POLLNVAL) != 0; };
    if (count > 0 && std::ranges::any_of(polled_, is_closed)) throw SystemError("poll", EBADF);
    return count > 0;
  }

  bool look_at_futures() {
    bool found = false;
    for (std::size_t i = 0; i < things_.size(); ++i) {
      const TaskRef* task = task_of(things_[i]);
      if (task == nullptr || !(*task)->is_ready()) continue;
      ready_[i] = true;
      found = true;
    }
    return found;
  }

  // A bell may have rung for what another has taken since.
  static bool is_news(const Waitable& thing, short events) {
    bool news = true;
    with_channel(thing, [&](const auto& channel) {
      // Asked in this order: what was sent before the end came is there now.
      news = (events & POLLHUP) != 0 || channel.is_ready();
      if (!news) channel.silence();
    });
    return news;
  }

  std::span<const Waitable> things_;
  // poll() takes no more entries than a process may have descriptors: so futures have none each.
  std::vector<pollfd> polled_;              // behind all others the bell of the futures
  std::vector<std::size_t> polled_things_;  // of which thing each of the others is
  std::vector<bool> ready_;
  std::vector<std::shared_ptr<const void>> held_;
  std::optional<FutureBell> futures_;
  std::size_t seen_in_memory_ = 0;
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
  if (!found && !deadline.has_passed()) wait.prepare_to_sleep();
  while (!found && !deadline.has_passed()) {
    SoftLimit::check();
    wait.ask_for_bells();
    found = wait.look() || wait.poll(milliseconds_for(deadline));
    if (!found) wait.look_around();
  }
  // Again, so that whatever was ready before what was found is told of, too.
  if (found) wait.look();
  return wait.ready();
}

}  // namespace kin::detail
