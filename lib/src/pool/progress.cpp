// SPDX-License-Identifier: BSL-1.0
//
// What a pool tells of its work: how far a map is, and what its workers have done. And the checks of
// options, which are as much for people.

#include <kin/progress.hpp>

#include "nursery/pool_state.hpp"
#include "pool/worker_pool.hpp"

#include <kin/detail/engine.hpp>

#include <algorithm>
#include <stdexcept>

namespace kin::detail {

std::uint32_t limit_from(std::optional<std::chrono::nanoseconds> limit) {
  if (!limit) return 0;
  if (*limit <= std::chrono::nanoseconds(0)) {
    throw std::invalid_argument("kin: a task's time limit has to be above zero");
  }
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(*limit).count();
  return static_cast<std::uint32_t>(std::min<std::int64_t>(milliseconds, UINT32_MAX));
}

std::uint32_t retries_from(int retries) {
  if (retries < 0) throw std::invalid_argument("kin: a task's retries can't be negative");
  return static_cast<std::uint32_t>(retries);
}

std::size_t chunk_size_for(std::optional<std::ptrdiff_t> wanted, std::size_t items,
                           std::size_t workers) {
  if (wanted) {
    if (*wanted < 1) throw std::invalid_argument("kin: a chunk_size has to be at least 1");
    return static_cast<std::size_t>(*wanted);
  }
  return std::max<std::size_t>((items + workers * 4 - 1) / (workers * 4), 1);
}

void follow(Callback<void(const Progress&)>& progress, std::span<const TaskRef> chunks,
            std::size_t items, std::size_t size_of_each) {
  if (!progress) return;
  struct Followed {
    std::mutex mutex;
    Callback<void(const Progress&)> tell;  // guarded, as what follows
    Progress now;
    std::int64_t begun = Deadline::now();
  };
  auto followed = std::make_shared<Followed>();
  followed->tell = std::move(progress);
  followed->now.total = items;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const std::size_t size = std::min(size_of_each, items - i * size_of_each);
    chunks[i]->call_first([followed, size](Task& chunk) {
      const bool failed = chunk.stage() != Task::Stage::finished;
      const std::scoped_lock lock(followed->mutex);
      Progress& now = followed->now;
      now.done += size;
      if (failed) now.failed += size;
      now.elapsed = std::chrono::nanoseconds(Deadline::now() - followed->begun);
      now.left = std::chrono::nanoseconds(static_cast<std::int64_t>(
          static_cast<double>(now.elapsed.count()) / static_cast<double>(now.done) *
          static_cast<double>(now.total - now.done)));
      followed->tell(now);
    });
  }
}

namespace {

// The upper end of the power of two in which that many of a hundred are.
std::chrono::nanoseconds quantile(const Histogram& histogram, std::uint64_t count,
                                  std::uint64_t of_hundred) {
  std::uint64_t seen = 0;
  for (std::size_t bits = 0; bits < histogram.counts.size(); ++bits) {
    seen += histogram.counts[bits].load(std::memory_order_relaxed);
    if (seen * 100 >= count * of_hundred && seen != 0) {
      return std::chrono::nanoseconds(std::int64_t{1} << bits);
    }
  }
  return std::chrono::nanoseconds(0);
}

Quantiles quantiles_of(const Histogram& histogram) {
  Quantiles found;
  for (const auto& count : histogram.counts) found.count += count.load(std::memory_order_relaxed);
  found.half = quantile(histogram, found.count, 50);
  found.nine_of_ten = quantile(histogram, found.count, 90);
  found.longest = quantile(histogram, found.count, 100);
  return found;
}

}  // namespace

PoolStatistics ProcessEngine::statistics() const {
  pool_->check_process();
  PoolStatistics all;
  for (const Seat& seat : pool_->state().seats()) {
    all.workers.push_back({.pid = seat.pid.load(),
                           .tasks = seat.tasks_done.load(),
                           .failed = seat.tasks_failed.load(),
                           .restarts = seat.restarts.load(),
                           .waiting = quantiles_of(seat.waiting),
                           .running = quantiles_of(seat.running)});
  }
  return all;
}

}  // namespace kin::detail
