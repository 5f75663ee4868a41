// SPDX-License-Identifier: BSL-1.0
#pragma once

// Chunks of a map as messages to a worker and back.
//
// A chunk's message is a ChunkHead, the function if it is bytes only, and the items: as an array where
// they are plain, else in an archive. A function that needs an archive is written once, as the
// arguments of a task that is held and never run; its chunks name that one.

#include <kin/detail/outcomes.hpp>
#include <kin/detail/process_tasks.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace kin::detail {

struct ChunkHead {
  std::uint64_t count;
  void* function;  // the address of the held task's context; null: it follows
};

/// The chunks of one map. With `star` an item is a tuple of the function's arguments.
template <typename F, typename T, bool star>
class ProcessChunks {
 public:
  using Item = T;
  using Result = ItemResult<star, F, T>;

  ProcessChunks(ProcessEngine& engine, const TaskLimits& limits, const F& function)
      : engine_(engine), limits_(limits), function_(function) {
    engine.check(function);
    if constexpr (!is_bytes_only<F>) {
      const BorrowedBuffers buffers;
      save_function(buffers->out, function);
      shared_ = engine.hold(nullptr, buffers->out.bytes(), buffers->out.cargo(), {}, typeid(F));
    }
  }

  /// A chunk whose first exception is the whole chunk's; see append().
  [[nodiscard]] TaskRef hold(std::span<const T> items) const {
    TaskRef task = hold_for(run_whole, items);
    if constexpr (is_in_place && !std::is_void_v<Result>) {
      engine_.make_result(*task, items.size() * sizeof(Result));
    }
    return task;
  }
  /// A chunk of items that go their own ways; see outcomes().
  [[nodiscard]] TaskRef hold_each(std::span<const T> items) const {
    TaskRef task = hold_for(run_each_item, items);
    if constexpr (is_in_place) {
      engine_.make_result(*task, each_front + items.size() * sizeof(ValueOf<Result>));
    }
    return task;
  }
  /// Items are copied, so they may be given where they stand.
  static constexpr bool takes_items = false;

  /// Adds the results of a chunk that finished.
  template <typename Results>
  static void append(Task& chunk, Results& results) {
    if constexpr (!std::is_void_v<Result>) {
      IncomingCargo cargo;
      const std::span<const std::byte> bytes = chunk.message(cargo);
      if constexpr (Plain<Result>) {
        const auto* first = reinterpret_cast<const Result*>(bytes.data());
        results.insert(results.end(), first, first + count_in<Result>(bytes));
      } else {
        InArchive in(bytes, cargo);
        for (std::size_t left = in.load_length(1); left != 0; --left) {
          results.push_back(decode_next<Result>(in));
        }
        in.finish();
      }
    }
  }

  /// What the items of a chunk that finished came to.
  static TakenOutcomes<Result> outcomes(const TaskRef& chunk) {
    using Value = ValueOf<Result>;
    IncomingCargo cargo;
    const std::span<const std::byte> bytes = chunk->message(cargo);
    if (bytes.size() < each_front) InArchive::complain_short();
    Outcomes<Result> all;
    if constexpr (Plain<Value>) {
      if (from_bytes<std::uint64_t>(bytes.data()) == 0) {
        // No archive where nothing went wrong.
        const std::span<const std::byte> values = bytes.subspan(each_front);
        const std::size_t count = count_in<Value>(values);
        if constexpr (alignof(Value) <= alignment) {
          // Nobody else reads them any more.
          auto* first = reinterpret_cast<Value*>(const_cast<std::byte*>(values.data()));
          return TakenOutcomes<Result>(chunk, {first, count});
        } else {
          all.values.resize(count);
          std::memcpy(all.values.data(), values.data(), count * sizeof(Value));
          return TakenOutcomes<Result>(std::move(all));
        }
      }
    }
    InArchive in(bytes, cargo);
    all.failures.resize(in.load_length(1));
    for (auto& [place, exception] : all.failures) {
      place = in.load_length(1);
      exception = load_exception(in);
    }
    if constexpr (Plain<Value>) {
      all.values.resize(in.remaining() / sizeof(Value));
      in.load_binary(all.values.data(), all.values.size() * sizeof(Value));
    } else {
      for (std::size_t left = in.load_length(1); left != 0; --left) {
        all.values.push_back(decode_next<Result>(in));
      }
    }
    in.finish();
    return TakenOutcomes<Result>(std::move(all));
  }

 private:
  // From the message straight into the result.
  static constexpr bool is_in_place = Plain<T> && Plain<ValueOf<Result>>;
  static constexpr std::size_t alignment = 16;
  static constexpr std::size_t aligned(std::size_t size) {
    return (size + alignment - 1) / alignment * alignment;
  }
  static constexpr std::size_t front =
      aligned(sizeof(ChunkHead)) + (is_bytes_only<F> ? aligned(function_size<F>) : 0);
  // What stands before the plain values of items that go their own ways, if none of them threw: zeros.
  // A small result is in one cache line with what else of a slot its worker writes.
  static constexpr std::size_t each_front = alignof(ValueOf<Result>) <= 8 ? 8 : alignment;

  // How many of them these bytes are. Throws SerializationError for a part of one.
  template <typename Each>
  static std::size_t count_in(std::span<const std::byte> bytes) {
    if (bytes.size() % sizeof(Each) != 0) InArchive::complain_short();
    return bytes.size() / sizeof(Each);
  }

  void write_front(std::byte* to, std::size_t count) const {
    ChunkHead head{count, nullptr};
    if (shared_) head.function = ProcessEngine::context_of(*shared_).address();
    std::memcpy(to, &head, sizeof head);
    if constexpr (is_bytes_only<F> && function_size<F> != 0) {
      std::memcpy(to + aligned(sizeof head), std::addressof(function_), function_size<F>);
    }
  }

  [[nodiscard]] TaskRef hold_for(TaskCode code, std::span<const T> items) const {
    TaskRef task = hold_items(code, items);
    // Whoever dropped the map's future: its chunks are run.
    if (shared_) ProcessEngine::lend(*task, shared_);
    return task;
  }

  [[nodiscard]] TaskRef hold_items(TaskCode code, std::span<const T> items) const {
    if constexpr (Plain<T>) {
      TaskRef task = engine_.hold(code, {}, {}, limits_, typeid(F));
      std::byte* to = engine_.make_arguments(*task, front + items.size_bytes());
      write_front(to, items.size());
      if (!items.empty()) std::memcpy(to + front, items.data(), items.size_bytes());
      return task;
    } else {
      std::array<std::byte, front> bytes{};
      write_front(bytes.data(), items.size());
      const BorrowedBuffers buffers;
      buffers->out.save_binary(bytes.data(), bytes.size());
      for (const T& item : items) encode(buffers->out, item);
      return engine_.hold(code, buffers->out.bytes(), buffers->out.cargo(), limits_, typeid(F));
    }
  }

  // ---- in the worker

  // Of a message with plain items: that they are there, as many as it says.
  static std::size_t count_of_plain(std::span<const std::byte> bytes) {
    const std::size_t count = from_bytes<ChunkHead>(bytes.data()).count;
    if (count != count_in<T>(bytes.subspan(front))) InArchive::complain_short();
    return count;
  }

  // The first to read the message.
  static F read_function(TaskContext& context) {
    if (context.arguments().size() < front) InArchive::complain_short();
    const std::byte* bytes = context.arguments().data();
    if constexpr (is_bytes_only<F>) {
      if constexpr (function_size<F> == 0) {
        return std::bit_cast<F>(std::array<std::byte, sizeof(F)>{});
      } else {
        return from_bytes<F>(bytes + aligned(sizeof(ChunkHead)));
      }
    } else {
      const TaskContext shared = TaskContext::shared(from_bytes<ChunkHead>(bytes).function);
      IncomingCargo cargo;
      shared.claim_cargo(cargo);
      InArchive in(shared.arguments(), cargo);
      return load_function<F>(in);
    }
  }

  static Items<T> read_items(TaskContext& context) {
    const std::span<const std::byte> bytes = context.arguments();
    Items<T> items;
    if constexpr (Plain<T>) {
      const std::size_t count = count_of_plain(bytes);
      const auto* first = reinterpret_cast<const T*>(bytes.data() + front);
      items.assign(first, first + count);
    } else {
      IncomingCargo cargo;
      context.claim_cargo(cargo);
      InArchive in(bytes, cargo);
      in.take(front);
      const std::size_t count = from_bytes<ChunkHead>(bytes.data()).count;
      items.reserve(std::min(count, in.remaining()));
      for (std::size_t i = 0; i < count; ++i) items.push_back(decode_next<T>(in));
      in.finish();
    }
    return items;
  }

  static void run_whole(TaskContext& context) {
    F function = read_function(context);
    if constexpr (is_in_place) {
      run_in_place(context, function);
    } else {
      Items<T> items = read_items(context);
      Items<ValueOf<Result>> results;
      results.reserve(items.size());
      for (std::size_t i = 0; i < items.size(); ++i) {
        if constexpr (std::is_void_v<Result>) {
          invoke_item<star>(function, std::move(items[i]));
        } else {
          results.push_back(invoke_item<star>(function, std::move(items[i])));
        }
        if (context.has_limits()) context.next_item(i + 1);
      }
      give_values(context, results);
    }
  }

  // From the message straight into the result, item by item. What a worker before this one has done, and
  // died, is not done again.
  static void run_in_place(TaskContext& context, F& function) {
    const std::span<const std::byte> bytes = context.arguments();
    const std::size_t count = count_of_plain(bytes);
    const std::byte* items = bytes.data() + front;
    const bool tells = context.keeps_progress();
    std::byte* results = nullptr;
    if constexpr (!std::is_void_v<Result>) results = context.make_result(count * sizeof(Result));
    for (std::size_t i = context.progress(); i < count; ++i) {
      T item = from_bytes<T>(items + i * sizeof(T));
      if constexpr (std::is_void_v<Result>) {
        invoke_item<star>(function, std::move(item));
      } else {
        const Result result = invoke_item<star>(function, std::move(item));
        context.leave_if_copy();
        std::memcpy(results + i * sizeof(Result), std::addressof(result), sizeof(Result));
      }
      if (tells) context.next_item(i + 1);
    }
  }

  static void run_each_item(TaskContext& context) {
    F function = read_function(context);
    if constexpr (is_in_place) {
      run_each_in_place(context, function);
    } else {
      Items<T> items = read_items(context);
      const bool has_limits = context.has_limits();
      const Outcomes<Result> outcomes = run_each<star>(function, items, [&](std::size_t done) {
        if (has_limits) context.next_item(done);
      });
      give_outcomes(context, outcomes.failures, outcomes.values);
    }
  }

  // As run_in_place(); if one throws all that was written moves into an archive behind the exceptions.
  static void run_each_in_place(TaskContext& context, F& function) {
    using Value = ValueOf<Result>;
    const std::span<const std::byte> bytes = context.arguments();
    const std::size_t count = count_of_plain(bytes);
    const std::byte* items = bytes.data() + front;
    const bool has_limits = context.has_limits();
    // If killed from here on: who runs it again begins with the first item.
    std::byte* to = context.make_result(each_front + count * sizeof(Value));
    std::memset(to, 0, each_front);
    std::byte* values = to + each_front;
    Failures failures;
    for (std::size_t i = 0; i < count; ++i) {
      try {
        T item = from_bytes<T>(items + i * sizeof(T));
        if constexpr (std::is_void_v<Result>) {
          invoke_item<star>(function, std::move(item));
        } else {
          const Result result = invoke_item<star>(function, std::move(item));
          context.leave_if_copy();
          std::memcpy(values + i * sizeof(Value), std::addressof(result), sizeof(Value));
        }
      } catch (...) {
        context.leave_if_copy();
        failures.emplace_back(i, std::current_exception());
        std::memset(values + i * sizeof(Value), 0, sizeof(Value));
      }
      if (has_limits) context.next_item(i + 1);
    }
    if (!failures.empty()) {
      const auto* first = reinterpret_cast<const Value*>(values);
      give_outcomes(context, failures, std::span(first, count));
    }
  }

  template <typename Values>
  static void give_outcomes(TaskContext& context, const Failures& failures, const Values& values) {
    context.begin_giving();
    const BorrowedBuffers buffers;
    OutArchive& out = buffers->out;
    if constexpr (Plain<ValueOf<Result>>) {
      if (failures.empty()) {
        constexpr std::array<std::byte, each_front> nothing_wrong{};
        out.save_binary(nothing_wrong.data(), nothing_wrong.size());
        save_values(out, values);
        context.give(out.bytes(), out.cargo());
        return;
      }
    }
    out.save_length(failures.size());
    for (const auto& [place, exception] : failures) {
      out.save_length(place);
      save_exception(out, exception);
    }
    save_values(out, values);
    context.give(out.bytes(), out.cargo());
  }

  template <typename Values>
  static void save_values(OutArchive& out, const Values& values) {
    if constexpr (Plain<ValueOf<Result>>) {
      out.save_binary(values.data(), values.size() * sizeof(ValueOf<Result>));
    } else {
      out.save_length(values.size());
      for (const auto& value : values) encode(out, value);
    }
  }

  template <typename Values>
  static void give_values(TaskContext& context, const Values& values) {
    context.begin_giving();
    if constexpr (std::is_void_v<Result>) {
      context.give({}, {});
    } else {
      const BorrowedBuffers buffers;
      save_values(buffers->out, values);
      context.give(buffers->out.bytes(), buffers->out.cargo());
    }
  }

  ProcessEngine& engine_;
  TaskLimits limits_;
  F function_;
  TaskRef shared_;
};

}  // namespace kin::detail
