// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callback.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/local_task.hpp>
#include <kin/detail/outcomes.hpp>
#include <kin/detail/process_engine.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace kin::detail {

class ThreadCrew;

struct ThreadSettings {
  std::ptrdiff_t workers = 0;
  Callback<void()> initializer;
};

/// Threads and what they are given to do: what ThreadPool and ThreadPoolExecutor are thin over. The
/// same calls as ProcessEngine's.
///
/// After fork: parent-only; the child's copy does nothing when it is let go of.
class KIN_EXPORT ThreadEngine : public std::enable_shared_from_this<ThreadEngine> {
 public:
  [[nodiscard]] static std::shared_ptr<ThreadEngine> start(ThreadSettings settings);
  explicit ThreadEngine(ThreadSettings settings);
  ~ThreadEngine();
  ThreadEngine(const ThreadEngine&) = delete;
  ThreadEngine& operator=(const ThreadEngine&) = delete;

  [[nodiscard]] std::size_t workers() const noexcept;
  /// A task of TaskLimits that threads can't keep is a std::invalid_argument.
  static void check(const TaskLimits& limits);
  void queue(Task& task);

  void close();
  /// What runs runs on; what does not is cancelled.
  void terminate() noexcept;
  void cancel_pending() noexcept;
  bool join(Deadline deadline);
  void end() noexcept;
  void finish() noexcept;
  /// At the end of the program: closes, joins.
  void finish_at_end() noexcept;

 private:
  std::shared_ptr<ThreadCrew> crew_;
};

KIN_EXPORT void finish_at_exit(const std::shared_ptr<ThreadEngine>& engine);

/// One call of an F.
template <typename F, typename... As>
class ThreadCall final : public ThreadTask {
 public:
  using Result = std::decay_t<std::invoke_result_t<F&, As...>>;

  template <typename G, typename... Given>
  static TaskRef hold(ThreadEngine& /*engine*/, const TaskLimits& limits, G&& function,
                      Given&&... given) {
    ThreadEngine::check(limits);
    return TaskRef(
        *new ThreadCall(limits, std::forward<G>(function), std::forward<Given>(given)...));
  }

 private:
  struct What {
    F function;
    std::tuple<As...> arguments;
  };

  template <typename G, typename... Given>
  explicit ThreadCall(const TaskLimits& limits, G&& function, Given&&... given)
      : ThreadTask(typeid(F), limits.soft),
        what_(std::in_place,
              What{std::forward<G>(function), std::tuple<As...>(std::forward<Given>(given)...)}) {}

  std::unique_ptr<Box> call() override {
    const auto invoke = [this]() -> decltype(auto) {
      return std::apply(
          [this](As&... each) -> decltype(auto) {
            return std::invoke(what_->function, std::move(each)...);
          },
          what_->arguments);
    };
    if constexpr (std::is_void_v<Result>) {
      invoke();
      return std::make_unique<BoxOf<std::monostate>>();
    } else {
      return std::make_unique<BoxOf<Result>>(invoke());
    }
  }
  void let_go() noexcept override { what_.reset(); }

  std::optional<What> what_;
};

/// The chunks of one map. With `star` an item is a tuple of the function's arguments.
template <typename F, typename T, bool star>
class ThreadChunks {
 public:
  using Item = T;
  using Result = ItemResult<star, F, T>;

  template <typename G>
  ThreadChunks(ThreadEngine& /*engine*/, const TaskLimits& limits, G&& function)
      : function_(std::make_shared<F>(std::forward<G>(function))), soft_limit_(limits.soft) {
    ThreadEngine::check(limits);
  }

  [[nodiscard]] TaskRef hold(std::span<T> items) const {
    return TaskRef(*new Chunk<true>(function_, items, soft_limit_));
  }
  [[nodiscard]] TaskRef hold_each(std::span<T> items) const {
    return TaskRef(*new Chunk<false>(function_, items, soft_limit_));
  }

  template <typename Results>
  static void append(Task& chunk, Results& results) {
    if constexpr (!std::is_void_v<Result>) {
      auto& values = static_cast<BoxOf<Outcomes<Result>>&>(*chunk.box()).value.values;
      for (Result& value : values) {
        if constexpr (std::is_copy_constructible_v<Result>) {
          results.push_back(value);  // another copy of the future may want it as well
        } else {
          results.push_back(std::move(value));
        }
      }
    }
  }
  static TakenOutcomes<Result> outcomes(const TaskRef& chunk) {
    return TakenOutcomes<Result>(
        std::move(static_cast<BoxOf<Outcomes<Result>>&>(*chunk->box()).value));
  }
  /// Items are moved from.
  static constexpr bool takes_items = true;

 private:
  template <bool whole>
  class Chunk final : public ThreadTask {
   public:
    Chunk(std::shared_ptr<F> function, std::span<T> items, std::uint32_t soft_limit)
        : ThreadTask(typeid(F), soft_limit), function_(std::move(function)) {
      items_.reserve(items.size());
      for (T& item : items) items_.push_back(std::move(item));
    }

   private:
    std::unique_ptr<Box> call() override {
      auto box = std::make_unique<BoxOf<Outcomes<Result>>>();
      if constexpr (whole) {
        box->value.values.reserve(items_.size());
        for (T& item : items_) {
          if constexpr (std::is_void_v<Result>) {
            invoke_item<star>(*function_, std::move(item));
          } else {
            box->value.values.push_back(invoke_item<star>(*function_, std::move(item)));
          }
          next_item();
        }
      } else {
        box->value =
            run_each<star>(*function_, items_, [this](std::size_t /*done*/) { next_item(); });
      }
      return box;
    }
    void let_go() noexcept override {
      function_.reset();
      items_.clear();
    }

    std::shared_ptr<F> function_;
    Items<T> items_;
  };

  std::shared_ptr<F> function_;
  std::uint32_t soft_limit_;
};

}  // namespace kin::detail
