// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/detail/task.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace kin::detail {

/// A task of this process: its result is an object, not a message.
class KIN_EXPORT LocalTask : public Task {
 public:
  LocalTask(const LocalTask&) = delete;
  LocalTask& operator=(const LocalTask&) = delete;

  [[nodiscard]] Stage stage() const override { return stage_.load(); }
  [[nodiscard]] bool wait_until_over(Deadline deadline) override;
  bool cancel(bool kill) override;
  [[nodiscard]] std::exception_ptr failure() override;
  [[nodiscard]] std::string name() const override;

  /// Whether it may run: it is pending no more then. False when it was cancelled before.
  [[nodiscard]] bool begin();
  /// Once, by who began it. Wakes who waits, and calls the observers, here.
  void finish(std::unique_ptr<Box> box);
  void fail(std::exception_ptr exception);

 protected:
  explicit LocalTask(const std::type_info& function) : function_(&function) {}
  ~LocalTask() override;
  bool want_notice() override { return !is_over(stage()); }
  void forget_notice() noexcept override {}
  void dispose() noexcept override { delete this; }

 private:
  void end(Stage stage);

  std::atomic<Stage> stage_{Stage::pending};
  std::atomic<std::uint32_t> ends_{0};  // sleepers sleep on it
  std::exception_ptr exception_;        // before `failed`
  const std::type_info* function_;
};

/// One that a thread of a ThreadPool runs.
class KIN_EXPORT ThreadTask : public LocalTask {
 public:
  ThreadTask(const ThreadTask&) = delete;
  ThreadTask& operator=(const ThreadTask&) = delete;

  /// Runs it, if it was not cancelled.
  void run();
  /// Refuses in a child that was forked meanwhile: the thread that would end it is not there.
  [[nodiscard]] bool wait_until_over(Deadline deadline) override;

 protected:
  /// `soft_limit` in milliseconds; 0: none.
  ThreadTask(const std::type_info& function, std::uint32_t soft_limit);
  bool want_notice() override;
  ~ThreadTask() override;
  virtual std::unique_ptr<Box> call() = 0;
  /// What the call needed is gone when it is over.
  virtual void let_go() noexcept = 0;
  /// Of a chunk: one more item is done, and the next has the whole time.
  void next_item() const noexcept {
    if (soft_limit_ != 0) begin_anew();
  }

 private:
  void check_process() const;
  static void begin_anew() noexcept;

  int fork_depth_;
  std::uint32_t soft_limit_;
};

/// Several tasks that are one to whoever waits: over when all are.
class KIN_EXPORT GroupTask : public Task {
 public:
  GroupTask(const GroupTask&) = delete;
  GroupTask& operator=(const GroupTask&) = delete;

  [[nodiscard]] Stage stage() const override;
  [[nodiscard]] bool wait_until_over(Deadline deadline) override;
  void look_around() override;
  bool cancel(bool kill) override;
  [[nodiscard]] std::exception_ptr failure() override;
  [[nodiscard]] std::string name() const override;

 protected:
  explicit GroupTask(std::vector<TaskRef> members) : members_(std::move(members)) {}
  ~GroupTask() override;
  [[nodiscard]] const std::vector<TaskRef>& members() const noexcept { return members_; }
  bool want_notice() override;
  void forget_notice() noexcept override {}
  void dispose() noexcept override { delete this; }

 private:
  std::vector<TaskRef> members_;
  mutable std::atomic<std::size_t> over_{0};  // so many from the first on are
  std::atomic<bool> is_observing_{false};
  std::atomic<std::size_t> left_{0};
};

}  // namespace kin::detail
