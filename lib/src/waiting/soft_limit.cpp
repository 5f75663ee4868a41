// SPDX-License-Identifier: BSL-1.0

#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>

#include <exception>
#include <string>

namespace kin::detail {

SoftLimit::SoftLimit(std::uint32_t milliseconds, std::int64_t start) noexcept : before_(own_) {
  own_ = {milliseconds, fork_depth, std::uncaught_exceptions(), start};
  own_.until += own_.nanoseconds();
}

bool SoftLimit::gives_up() noexcept {
  return has_passed() && std::uncaught_exceptions() <= own_.exceptions;
}

Deadline SoftLimit::deadline_of_set() noexcept {
  if (std::uncaught_exceptions() > own_.exceptions) return Deadline::never();
  return Deadline::at(own_.until);
}

void SoftLimit::give_up_if_passed(FunctionRef<std::string()> what) {
  if (gives_up()) give_up_for(what());
}

void SoftLimit::give_up_for(const std::string& what) {
  throw TimeoutError("the task's soft limit of " + std::to_string(own_.milliseconds) +
                     " ms has passed, and this call would wait: return from the task with what "
                     "there is, or give it a longer soft_timeout" +
                     (what.empty() ? "" : ". It waits for " + what));
}

}  // namespace kin::detail
