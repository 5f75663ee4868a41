// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callback.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kin::detail {

/// A result that was read: of which type, knows who reads it.
struct Box {
  Box() = default;
  Box(const Box&) = delete;
  Box& operator=(const Box&) = delete;
  virtual ~Box() = default;
};

template <typename T>
struct BoxOf final : Box {
  template <typename... Arguments>
  explicit BoxOf(Arguments&&... arguments) : value(std::forward<Arguments>(arguments)...) {}
  T value;
};

/// A call that runs elsewhere, in another process or thread, as the process that asked for it sees it:
/// what a Future is a handle of.
///
/// Counted by TaskRef. Sharing: thread-safe. After fork: the child's copy is of no use; letting go of it
/// does nothing.
class KIN_EXPORT Task {
 public:
  enum class Stage : std::uint8_t { pending, running, cancelled, failed, finished };
  using Observer = Callback<void()>;
  /// With room for a callback of the user's.
  using FirstObserver = Callback<void(Task&), sizeof(Observer)>;

  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  [[nodiscard]] virtual Stage stage() const = 0;
  /// Waits until it is over; false when the time is up.
  [[nodiscard]] virtual bool wait_until_over(Deadline deadline) = 0;
  /// For who waits for several: looks whether anybody is left to end it.
  virtual void look_around() {}
  /// Whether it is cancelled then. With `kill`, even one that runs.
  virtual bool cancel(bool kill) = 0;
  /// When it is over: why there is no result; null where there is one.
  [[nodiscard]] virtual std::exception_ptr failure() = 0;
  /// The message that the result is, of a finished task of another process. Takes the cargo out.
  [[nodiscard]] virtual std::span<const std::byte> message(IncomingCargo& cargo);
  [[nodiscard]] virtual bool is_message() const noexcept { return false; }
  /// The result of a finished task whose result is no message; null for others.
  [[nodiscard]] virtual std::unique_ptr<Box> make_box() { return nullptr; }
  /// What is called in error messages: the function.
  [[nodiscard]] virtual std::string name() const = 0;

  [[nodiscard]] static constexpr bool is_over(Stage stage) noexcept {
    return stage >= Stage::cancelled;
  }
  /// Over, and what has to be called before others see that was called.
  [[nodiscard]] bool is_ready() const;
  [[nodiscard]] bool wait(Deadline deadline);
  /// Until it is over, though a soft limit pass: for who has lent it what lies on the stack.
  void wait_out();

  /// Calls it once when the task is over; at once if it is. What it throws is logged. The number is
  /// for unobserve(). Throws SystemError, and never calls it, when there is no thread to be had for that.
  std::uint64_t observe(Observer observer);
  void unobserve(std::uint64_t number) noexcept;
  /// The same, and is_ready() and wait() wait for it. Before the task can be over; there can be one.
  void call_first(FirstObserver observer);
  /// Of a task that will never run: nobody is told.
  void drop_observers() noexcept;

  /// The result as it was read by the first who asked; null before that.
  [[nodiscard]] Box* box() noexcept;
  /// Keeps this one, unless another thread was quicker; returns the one that is kept.
  Box& keep(std::unique_ptr<Box> box) noexcept;
  [[nodiscard]] bool has_one_reference() const noexcept {
    return references_.load(std::memory_order_acquire) == 1;
  }

 protected:
  Task() noexcept;
  virtual ~Task();

  /// Somebody observes: whoever sees that it is over has to call observers_are_due(), once or more.
  /// False: it is over already.
  virtual bool want_notice() = 0;
  virtual void forget_notice() noexcept = 0;
  /// The first one, and then all others. By whom it is told that the task is over.
  void call_observers() noexcept;
  /// Nobody refers to it any more. Deletes it, or keeps it for another use.
  virtual void dispose() noexcept = 0;
  /// As a new one, for the next use.
  void renew() noexcept;

 private:
  friend class TaskRef;
  struct Observers;
  void call_later_observers() noexcept;
  template <typename Call>
  void call_logged(Call&& call) const noexcept;

  std::atomic<std::uint32_t> references_{0};
  // Called before others see that it is over. Flags; none of them: there is no such, or it was called.
  enum First : std::uint32_t { none = 0, due = 1, taken = 2, awaited = 4 };
  std::atomic<std::uint32_t> first_state_{none};
  FirstObserver first_;  // the submitter's until the task is queued, then who sets `taken`
  std::atomic<Box*> box_{nullptr};
  std::atomic<Observers*> observers_{nullptr};  // written with the task's lock
};

/// A counted reference to a Task.
class TaskRef {  // NOLINT(cppcoreguidelines-special-member-functions): one assignment does both
 public:
  TaskRef() noexcept = default;
  explicit TaskRef(Task& task) noexcept : task_(&task) { add(); }
  TaskRef(const TaskRef& other) noexcept : task_(other.task_) { add(); }
  TaskRef(TaskRef&& other) noexcept : task_(std::exchange(other.task_, nullptr)) {}
  TaskRef& operator=(TaskRef other) noexcept {
    std::swap(task_, other.task_);
    return *this;
  }
  ~TaskRef() {
    if (task_ != nullptr) drop();
  }

  /// Without a count of its own: for one that was released.
  [[nodiscard]] static TaskRef adopt(Task& task) noexcept {
    TaskRef reference;
    reference.task_ = &task;
    return reference;
  }
  /// Leaves the count to whoever adopts it.
  void release() noexcept { task_ = nullptr; }

  [[nodiscard]] Task* get() const noexcept { return task_; }
  Task* operator->() const noexcept { return task_; }
  Task& operator*() const noexcept { return *task_; }
  [[nodiscard]] explicit operator bool() const noexcept { return task_ != nullptr; }
  friend bool operator==(const TaskRef& left, const TaskRef& right) noexcept {
    return left.task_ == right.task_;
  }

 private:
  void add() const noexcept {
    // Relaxed: who copies a reference has one.
    if (task_ != nullptr) task_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  void drop() const noexcept {
    // One reference: nobody else can make a second meanwhile.
    if (task_->references_.load(std::memory_order_acquire) == 1 ||
        task_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      task_->references_.store(0, std::memory_order_relaxed);
      task_->dispose();
    }
  }

  Task* task_ = nullptr;
};

}  // namespace kin::detail
