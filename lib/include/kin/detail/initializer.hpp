// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/callback.hpp>
#include <kin/detail/end.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin::detail {

/// What each worker of a pool does first, and the ends of pipes that it holds: of what they inherit,
/// workers keep these and no others.
class Initializer {
 public:
  Initializer() noexcept = default;
  Initializer(std::nullptr_t) noexcept {}  // NOLINT: converts, as std::function does

  template <typename Callable>
    requires(!std::is_same_v<std::remove_cvref_t<Callable>, Initializer> &&
             std::is_invocable_v<std::decay_t<Callable>&>)
  Initializer(Callable&& callable) {  // NOLINT: converts
    EndsNoted noted;
    call_ = Callback<void()>(std::forward<Callable>(callable));
    ends_ = noted.take();
  }

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(call_); }
  void operator()() { call_(); }
  [[nodiscard]] const std::vector<End>& ends() const noexcept { return ends_; }

 private:
  Callback<void()> call_;
  std::vector<End> ends_;
};

}  // namespace kin::detail
