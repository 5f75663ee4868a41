// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/arrivals.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/outcomes.hpp>
#include <kin/detail/task.hpp>
#include <kin/error.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <utility>

namespace kin::detail {

enum class Order { as_given, as_done };

struct ResultRangeOptions {
  Order order = Order::as_given;
  std::size_t chunk_size = 1;
  /// Chunks that are given away and whose results were not taken yet, at most.
  std::size_t window = 1;
  /// Whether that many are given away whenever a result is taken. Else it is filled when it is half
  /// empty, and only as long as reading the items keeps no result waiting: so one of a range that is
  /// slow to read comes at once.
  bool is_always_full = false;
  Deadline deadline = Deadline::never();
};

/// How far a lazy map reads ahead: enough that no worker waits for the one who takes the results.
[[nodiscard]] constexpr std::size_t usual_window(std::size_t workers) noexcept {
  return workers * 4 < 64 ? 64 : workers * 4;
}

/// What imap() and an executor's map() return: an input range of results. Chunks whose results nobody
/// took are cancelled with it.
template <typename Engine, typename Chunks, typename View>
class ResultRange {
  struct State;

 public:
  using Result = ValueOf<typename Chunks::Result>;

  ResultRange(std::shared_ptr<Engine> engine, Chunks chunks, View items, ResultRangeOptions options)
      : state_(std::make_unique<State>(std::move(engine), std::move(chunks), std::move(items),
                                       options)) {}

  class Iterator {
   public:
    using value_type = Result;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(ResultRange& range) : state_(range.state_.get()) {
      if (!state_->has_begun) ++*this;
    }
    /// Throws what the item threw.
    [[nodiscard]] Result& operator*() const { return state_->current(); }
    Iterator& operator++() {
      state_->advance(state_->options.deadline);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) {
      return iterator.state_->is_at_end();
    }

   private:
    State* state_;
  };

  [[nodiscard]] Iterator begin() { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// Waits for the next result; none at the end. Throws what the item threw.
  std::optional<Result> next() { return next_until(Deadline::never()); }
  /// Throws TimeoutError when it takes longer; it is the next one still.
  template <typename Rep, typename Period>
  std::optional<Result> next_for(std::chrono::duration<Rep, Period> limit) {
    return next_until(Deadline::after(limit));
  }
  /// Gives away as much as the window holds, without being asked for a result.
  /// Throws what reading the items throws.
  void prefetch() {
    state_->fill(false);
    state_->complain_of_input();
  }

 private:
  std::optional<Result> next_until(Deadline deadline) {
    state_->advance(deadline);
    if (state_->is_at_end()) return std::nullopt;
    return std::move(state_->current());
  }

  std::unique_ptr<State> state_;
};

template <typename Engine, typename Chunks, typename View>
struct ResultRange<Engine, Chunks, View>::State {
  State(std::shared_ptr<Engine> the_engine, Chunks the_chunks, View the_items,
        ResultRangeOptions the_options)
      : engine(std::move(the_engine)),
        chunks(std::move(the_chunks)),
        items(std::move(the_items)),
        options(the_options) {}
  ~State() {
    for (const auto& [number, task] : pending) task->cancel(false);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  [[nodiscard]] bool is_at_end() const noexcept { return has_begun && place >= outcomes.size(); }

  Result& current() { return outcomes.at(place); }

  void advance(Deadline deadline) {
    if (++place < outcomes.size()) return;
    advance_to_next_chunk(deadline);
  }

  void advance_to_next_chunk(Deadline deadline) {
    has_begun = true;
    outcomes = {};
    place = 0;
    if (pending.size() <= options.window / 2) fill(!options.is_always_full);
    while (outcomes.size() == 0 && !pending.empty()) {
      const TaskRef chunk = take_chunk(deadline);
      // One that was cancelled, or whose worker died, has one outcome.
      outcomes = chunk->stage() == Task::Stage::finished
                     ? Chunks::outcomes(chunk)
                     : TakenOutcomes<typename Chunks::Result>(chunk->failure());
      if (options.is_always_full) fill(false);
    }
    if (outcomes.size() == 0) complain_of_input();
  }

  void fill(bool is_in_a_hurry) {
    const std::int64_t began = is_in_a_hurry ? Deadline::now() : 0;
    for (std::size_t read = 1; pending.size() < options.window; ++read) {
      const auto next = read_part();
      if (next.empty()) return;
      const TaskRef task = chunks.hold_each(next);
      engine->queue(*task);
      pending.emplace_back(number_of_chunks, task);
      if (options.order == Order::as_done) arrivals.expect(task, number_of_chunks);
      ++number_of_chunks;
      // The clock is dear beside a chunk of one item.
      if (is_in_a_hurry && std::has_single_bit(read) && pending.front().second->is_ready() &&
          Deadline::now() - began > patience) {
        return;
      }
    }
  }

  // The next items; where they stand, if they may be copied from there.
  auto read_part() {
    if constexpr (stands) {
      std::span<const Item> next;
      if (!at) at.emplace(std::ranges::begin(items));
      const auto left = static_cast<std::size_t>(std::ranges::end(items) - *at);
      if (left == 0) return next;
      next = {std::to_address(*at), std::min(left, options.chunk_size)};
      *at += static_cast<std::ranges::range_difference_t<View>>(next.size());
      return next;
    } else {
      part.clear();
      if (!has_bad_end) read_items();
      return std::span<Item>(part.data(), part.size());
    }
  }

  // What reading throws ends the range, behind the results of what was read before.
  void read_items() {
    try {
      if (!at) at.emplace(std::ranges::begin(items));
      for (; part.size() < options.chunk_size && *at != std::ranges::end(items); ++*at) {
        part.push_back(Item(**at));
      }
    } catch (...) {
      has_bad_end = true;
      input_failure = std::current_exception();
    }
  }

  void complain_of_input() {
    if (input_failure) std::rethrow_exception(std::exchange(input_failure, nullptr));
  }

  TaskRef take_chunk(Deadline deadline) {
    auto found = pending.begin();
    if (options.order == Order::as_done) {
      const auto number = arrivals.next(deadline);
      if (!number) throw TimeoutError("no result within the time limit");
      while (found->first != *number) ++found;
    } else if (!found->second->wait(deadline)) {
      throw TimeoutError("no result within the time limit");
    }
    TaskRef chunk = std::move(found->second);
    pending.erase(found);
    return chunk;
  }

  using Item = typename Chunks::Item;
  static constexpr bool stands =
      !Chunks::takes_items && std::ranges::contiguous_range<View> &&
      std::sized_sentinel_for<std::ranges::sentinel_t<View>, std::ranges::iterator_t<View>> &&
      std::same_as<std::ranges::range_value_t<View>, Item>;
  // Nanoseconds that reading may take while there is a result.
  static constexpr std::int64_t patience = 100'000;

  std::shared_ptr<Engine> engine;
  Chunks chunks;
  View items;
  ResultRangeOptions options;
  std::optional<std::ranges::iterator_t<View>> at;
  std::deque<std::pair<std::size_t, TaskRef>> pending;
  std::size_t number_of_chunks = 0;
  Arrivals arrivals;
  Items<Item> part;  // unless the items stand somewhere
  bool has_bad_end = false;
  std::exception_ptr input_failure;
  bool has_begun = false;
  TakenOutcomes<typename Chunks::Result> outcomes;
  std::size_t place = 0;
};

}  // namespace kin::detail
