// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/task.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

namespace kin::detail {

/// Tasks in the order in which they end.
///
/// Sharing: one thread at a time waits; tasks end in any.
class KIN_EXPORT Arrivals {
 public:
  Arrivals();
  ~Arrivals();
  Arrivals(Arrivals&&) noexcept;
  Arrivals& operator=(Arrivals&&) noexcept;
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  /// From now on this one is waited for, under that number.
  void expect(const TaskRef& task, std::size_t number);
  [[nodiscard]] std::size_t expected() const noexcept { return expected_.size(); }
  /// The number of the next that is over; none when the time is up, or none is expected.
  std::optional<std::size_t> next(Deadline deadline);

 private:
  struct Inbox;
  struct Expected {
    TaskRef task;
    std::uint64_t observer;  // 0: nobody tells yet
  };
  using ExpectedMap = std::map<std::size_t, Expected>;
  std::size_t take(ExpectedMap::iterator at);
  std::optional<std::size_t> look();

  std::shared_ptr<Inbox> inbox_;
  ExpectedMap expected_;
};

}  // namespace kin::detail
