// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/exposed.hpp>
#include <kin/detail/hosted_calls.hpp>
#include <kin/error.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace kin {

namespace detail {

/// The answers to the calls of a batch, in their order.
class KIN_EXPORT BatchAnswers {
 public:
  [[nodiscard]] bool are_here() const noexcept { return are_here_; }
  /// Reads them; one behind the other in these bytes.
  void take(std::span<const std::byte> bytes, IncomingCargo cargo);

  /// The result of one, and what came with it. Throws InvalidStateError before the batch was run, and what
  /// the function threw.
  template <typename R>
  [[nodiscard]] R read(std::size_t at) const {
    IncomingCargo cargo;
    const std::span<const std::byte> result = find(at, cargo);
    if constexpr (std::is_void_v<R>) {
      return;
    } else if constexpr (Plain<R>) {
      if (result.size() != sizeof(R)) InArchive::complain_short();
      return from_bytes<R>(result.data());
    } else {
      InArchive in(result, cargo);
      return decode<R>(in);
    }
  }

 private:
  struct Answer {
    std::size_t offset;
    std::size_t size;
    std::size_t first_handle;
    std::size_t handles;
    bool is_exception;
  };
  [[nodiscard]] std::span<const std::byte> find(std::size_t at, IncomingCargo& cargo) const;

  bool are_here_ = false;
  std::vector<std::byte> bytes_;
  std::vector<Handle> handles_;
  std::vector<Answer> answers_;
};

/// Calls that travel together.
class KIN_EXPORT BatchMessage {
 public:
  BatchMessage();
  /// Its place among the answers. Throws std::logic_error for descriptors.
  std::size_t add(HostedCode code, std::span<const std::byte> arguments,
                  const OutgoingCargo& cargo);
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  /// Makes all calls; afterwards it is empty.
  void run(Object& hosted);
  [[nodiscard]] const std::shared_ptr<BatchAnswers>& answers() const noexcept { return answers_; }

 private:
  void clear();

  std::vector<std::byte> bytes_;
  std::vector<Handle> handles_;
  std::size_t count_ = 0;
  std::shared_ptr<BatchAnswers> answers_;
};

}  // namespace detail

template <typename T>
class Batch;
template <typename T>
class Proxy;

/// What a call of a Batch returns, once the batch was run.
template <typename R>
class BatchResult {
 public:
  /// Throws what the function threw; InvalidStateError before the batch was run.
  R get() const { return answers_->template read<R>(at_); }

 private:
  template <typename T>
  friend class Batch;
  BatchResult(std::shared_ptr<detail::BatchAnswers> answers, std::size_t at)
      : answers_(std::move(answers)), at_(at) {}

  std::shared_ptr<detail::BatchAnswers> answers_;
  std::size_t at_;
};

/// Calls of one object's functions that travel together: a thousand cost little more than one.
///
///     auto batch = numbers.batch();
///     auto size = batch.call(&Numbers::size);
///     for (int n = 0; n < 1000; ++n) batch.call(&Numbers::add, n);
///     batch.run();
///     std::size_t before = size.get();
///
/// They run one after the other, with no call of another client's in between. One that throws concerns
/// itself only. None can wait.
/// Sharing: one thread at a time.
/// Throws: run() as Proxy; std::logic_error for arguments with descriptors.
template <typename T>
class Batch {
 public:
  explicit Batch(Proxy<T> proxy) : proxy_(std::move(proxy)) {}

  template <typename Method, typename... Arguments>
    requires std::is_member_pointer_v<Method>
  auto call(Method method, Arguments&&... arguments) {
    return add(method, std::forward<Arguments>(arguments)...);
  }
  template <typename Function, typename... Arguments>
  auto apply(const Function& function, Arguments&&... arguments) {
    return add(function, std::forward<Arguments>(arguments)...);
  }
  [[nodiscard]] std::size_t size() const noexcept { return message_.size(); }
  /// Makes the calls, and waits until all are done. Afterwards it is empty, and can be filled again.
  void run() { message_.run(proxy_.shared()); }

 private:
  template <typename Function, typename... Arguments>
  auto add(const Function& function, Arguments&&... arguments) {
    using F = std::decay_t<const Function&>;
    return detail::with_parameters<F, Arguments...>([&]<typename... As>() {
      using Call = detail::SimpleCall<T, F, As...>;
      const F decayed = function;
      const std::size_t at = Call::with_message(
          [&](std::span<std::byte> message, const detail::OutgoingCargo& cargo) {
            return message_.add(Call::run, message.subspan(detail::request_head_size), cargo);
          },
          decayed, std::forward<Arguments>(arguments)...);
      return BatchResult<typename Call::Result>(message_.answers(), at);
    });
  }

  Proxy<T> proxy_;
  detail::BatchMessage message_;
};

}  // namespace kin
