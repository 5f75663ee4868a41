// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <span>
#include <vector>

/// What a fuzzer is made of: a source that defines `try_bytes` and `seeds`. fuzzing.cpp turns
/// these into what libFuzzer calls, and writes the seeds for `--seeds DIRECTORY`.
namespace fuzz {

using Bytes = std::vector<std::byte>;

/// Tries one input. It is wrong if it throws, if a sanitizer complains, or if `require` does.
void try_bytes(std::span<const std::byte> input);

/// A few inputs to begin with: what well-behaved peers say.
std::vector<Bytes> seeds();

/// Ends the fuzzer, which keeps the input, unless it is true.
void require(bool condition, const char* what,
             std::source_location where = std::source_location::current());

/// Watches how much memory is taken, and not given back yet, while it exists. One at a time.
class MemoryWatch {
 public:
  MemoryWatch() noexcept;
  ~MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  /// The most bytes at any moment so far.
  [[nodiscard]] std::size_t most() const noexcept;
};

/// Takes an input apart: numbers from its front, that decide what is done with the rest.
class Choices {
 public:
  explicit Choices(std::span<const std::byte> input) noexcept : rest_(input) {}

  /// Below `count`. 0 when the input is used up.
  [[nodiscard]] std::size_t below(std::size_t count) noexcept {
    if (rest_.empty()) return 0;
    const auto byte = std::to_integer<std::size_t>(rest_.front());
    rest_ = rest_.subspan(1);
    return byte % count;
  }
  /// The next bytes, fewer if there are no more.
  [[nodiscard]] std::span<const std::byte> take(std::size_t count) noexcept {
    const auto taken = rest_.first(count < rest_.size() ? count : rest_.size());
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  [[nodiscard]] std::span<const std::byte> rest() const noexcept { return rest_; }
  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace fuzz
