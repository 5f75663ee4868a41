// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "word_count/workers.hpp"

#include <kin/process.hpp>
#include <kin/progress.hpp>
#include <kin/queue.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace word_count {

/// The counters of a round. The destructor ends those that still run.
class Crew {
 public:
  Crew(std::size_t size, kin::Queue<Batch> paths, kin::Queue<News> news,
       std::uint64_t deliver_after, const kin::ProgressBar& bar);

  /// Reports those that died and puts others in their place, though not without end. `on_death` is
  /// called with their pids.
  void look_after(const std::function<void(pid_t)>& on_death);
  [[nodiscard]] bool all_ended() const { return counters_.empty(); }

 private:
  void start(const std::string& name);

  kin::Queue<Batch> paths_;
  kin::Queue<News> news_;
  std::uint64_t deliver_after_;
  const kin::ProgressBar* bar_;
  std::size_t spare_;  // how many of the dead will be replaced
  std::vector<kin::Process> counters_;
};

/// Throws Interrupted where that is why it ended.
[[nodiscard]] bool has_ended(const kin::Process& process);
/// "the walker (pid 42) was killed by signal 9 (Killed)"
[[nodiscard]] std::string describe_end(const kin::Process& process);

}  // namespace word_count
