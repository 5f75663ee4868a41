// SPDX-License-Identifier: BSL-1.0
#pragma once

// The options of a managed::Pool and of its calls, which go to the server: as those of a Pool, with callbacks
// that travel, too. The server's only thread calls them, between two calls of clients': so a
// callback may use what the manager holds, and there is nobody who comes in between.

#include <kin/detail/engine.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/portable.hpp>
#include <kin/detail/sent_function.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace kin::detail {

/// Throws std::invalid_argument, in a manager's server, for code that it has not loaded.
KIN_EXPORT void require_code_in_server(const void* code);

/// A callback that is called in a manager's server. A Target as in a Pool's options: which also says what it
/// is called with.
template <typename Target>
class SentCallback : public SentFunction<Target> {
 public:
  SentCallback() noexcept = default;
  SentCallback(std::nullptr_t) noexcept {}  // NOLINT: converts, as std::function does

  template <typename Callable>
    requires std::constructible_from<Target, std::decay_t<Callable>> &&
             (!std::same_as<std::remove_cvref_t<Callable>, SentCallback>)
  SentCallback(Callable&& callable)  // NOLINT: converts
      : SentFunction<Target>(std::decay_t<Callable>(std::forward<Callable>(callable))) {
    require_portable_function<std::decay_t<Callable>>();
  }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    if constexpr (std::same_as<Archive, InArchive>) {
      this->travel(archive, require_code_in_server);
    } else {
      this->travel(archive);
    }
  }
};

}  // namespace kin::detail

namespace kin::managed {

/// How a managed::Pool differs from the usual; as kin::PoolOptions.
struct PoolOptions {
  std::optional<std::ptrdiff_t> processes = std::nullopt;
  std::optional<std::ptrdiff_t> max_tasks_per_child = std::nullopt;
  std::optional<std::size_t> max_memory_per_child = std::nullopt;
  std::string name = {};
};

/// How one call of a managed::Pool differs from the usual; as kin::CallOptions. Callbacks are called in the
/// server, like what is given to Proxy::apply(), and have to be able to travel: functions, lambdas that
/// captured plain values, kin::partial of a proxy, say.
template <typename R>
struct CallOptions {
  /// Called with the result, `const R&`; without arguments where there is none.
  detail::SentCallback<detail::ResultCallback<R>> callback = nullptr;
  /// Called with what went wrong, as `const std::exception&` or as std::exception_ptr.
  detail::SentCallback<detail::ErrorCallback> error_callback = nullptr;
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
  std::optional<std::chrono::nanoseconds> soft_timeout = std::nullopt;
  int retries = 0;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& callback& error_callback& timeout& soft_timeout& retries;
  }
};

/// How a map of a managed::Pool differs from the usual; as kin::MapOptions. Callbacks as in CallOptions.
template <typename R>
struct MapOptions {
  /// Items that make one task. If not given, a quarter of each worker's share; 1 for imap().
  std::optional<std::ptrdiff_t> chunk_size = std::nullopt;
  /// Called once, with all results, `const std::vector<R>&`.
  detail::SentCallback<detail::ResultCallback<detail::ListOf<R>>> callback = nullptr;
  detail::SentCallback<detail::ErrorCallback> error_callback = nullptr;
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
  std::optional<std::chrono::nanoseconds> soft_timeout = std::nullopt;
  int retries = 0;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& chunk_size& callback& error_callback& timeout& soft_timeout& retries;
  }
};

}  // namespace kin::managed
