// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/connection.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/end.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/task.hpp>
#include <kin/future.hpp>
#include <kin/listener.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/unique_fd.hpp>

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <variant>
#include <vector>

/// Waiting for whatever comes first.
///
///     const auto ready = kin::wait_any({queue, connection, process, future, fd}, 5s);
///     if (ready.empty()) …                 // the time is up
///     for (std::size_t index : ready) …    // 0: the queue …
namespace kin {

/// Something to wait for. Made from
///
/// - a queue: ready when an item is there, or it was shut down: a get would not wait;
/// - an end of a pipe that receives: ready when a message is there, or the stream is at its end;
/// - a Listener: ready when a client has proved itself, or is to be told why it did not: an accept would not
///   wait;
/// - a Process or ProcessHandle: ready when it has ended;
/// - a Future: ready when it is over, however it ended;
/// - a descriptor: ready when it is readable, at its end, or broken.
///
/// Lifetime: keeps queues, ends and calls in use; a process or a descriptor has to outlive it.
/// Throws: std::logic_error when it is made from a Process that was not started, or from a Future that
/// names no call.
class Waitable {
 public:
  template <typename T>
  Waitable(const Queue<T>& queue) : source_(queue.channel_) {}  // NOLINT: converts
  template <typename Out, typename In>
  Waitable(const Connection<Out, In>& end) : source_(end.end_) {}  // NOLINT: converts
  template <typename T>
  Waitable(const Reader<T>& end) : source_(end.end_) {}  // NOLINT: converts
  template <typename Out, typename In>
  Waitable(const Listener<Out, In>& listener) : source_(listener.acceptor_) {}  // NOLINT: converts
  Waitable(const Process& process) : source_(process.sentinel()) {}             // NOLINT: converts
  Waitable(const ProcessHandle& process) : source_(process.sentinel()) {}       // NOLINT: converts
  template <typename T>
  Waitable(const Future<T>& future) : source_(future.task_ref()) {  // NOLINT: converts
    if (!future) detail::complain_no_task();
  }
  Waitable(const UniqueFd& descriptor) : source_(descriptor.get()) {}  // NOLINT: converts
  Waitable(int descriptor) noexcept : source_(descriptor) {}           // NOLINT: converts

  using Source = std::variant<int, detail::Channel, detail::End, detail::Acceptor, detail::TaskRef>;
  [[nodiscard]] const Source& source() const noexcept { return source_; }

 private:
  Source source_;
};

namespace detail {
KIN_EXPORT std::vector<std::size_t> wait_any_until(std::span<const Waitable> things,
                                                   Deadline deadline);
}

/// Waits until something is ready; returns the indices of all that are then, in rising order.
///
/// Ready is a hint where others receive from the same queue or end: use try_get() and try_recv().
/// Throws: std::invalid_argument when there is nothing to wait for; SystemError with EBADF for a
/// descriptor that is not open; std::logic_error for an end that was closed, also while this waits, and
/// for a future in another process than its own.
/// Python: multiprocessing.connection.wait().
[[nodiscard]] inline std::vector<std::size_t> wait_any(std::span<const Waitable> things) {
  return detail::wait_any_until(things, detail::Deadline::never());
}
[[nodiscard]] inline std::vector<std::size_t> wait_any(std::initializer_list<Waitable> things) {
  return wait_any(std::span(things.begin(), things.size()));
}

/// The same up to a limit: none when nothing became ready for that long. A negative duration means zero.
template <typename Rep, typename Period>
[[nodiscard]] std::vector<std::size_t> wait_any(std::span<const Waitable> things,
                                                std::chrono::duration<Rep, Period> limit) {
  return detail::wait_any_until(things, detail::Deadline::after(limit));
}
template <typename Rep, typename Period>
[[nodiscard]] std::vector<std::size_t> wait_any(std::initializer_list<Waitable> things,
                                                std::chrono::duration<Rep, Period> limit) {
  return wait_any(std::span(things.begin(), things.size()), limit);
}

}  // namespace kin
