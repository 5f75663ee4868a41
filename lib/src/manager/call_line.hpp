// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/cargo.hpp"
#include "memory/heap.hpp"
#include "memory/process_table.hpp"
#include "waiting/futex.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace kin::detail {

/// What becomes of the call that a line is about.
enum class CallState : std::uint8_t {
  idle,     // there is none: it was answered, and that was read, or it was withdrawn
  called,   // its request is on its way
  running,  // the server has it
  parked,   // the server keeps it until it can be answered
  answered
};

/// The state of a line: {sequence : 32, length : 16, flags : 8, state : 8}. The client writes *called* and
/// *idle*, the server *running* and *answered*; where both may want to, from *called* and *parked*, by
/// compare-and-swap. A sleeper sleeps on the lower half.
class LineWord {
 public:
  enum Flag : std::uint8_t {
    awaited = 1,    // the client sleeps, or is about to
    exception = 2,  // the answer is one
    in_block = 4,   // the answer is in the line's block, with its length beside it
    cargo = 8,      // and something came with it
    observed = 16,  // the client wants its bell rung
    not_now = 32,   // there is no answer, and the client did not want to wait for one
    refused = 64    // the exception: the call is not exposed, and its client knows its name
  };

  explicit constexpr LineWord(std::uint64_t bits) noexcept : bits_(bits) {}
  constexpr LineWord(std::uint32_t sequence, CallState state) noexcept
      : bits_((std::uint64_t{sequence} << 32) | static_cast<std::uint64_t>(state)) {}

  [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
  [[nodiscard]] constexpr std::uint32_t low() const noexcept {
    return static_cast<std::uint32_t>(bits_);
  }
  [[nodiscard]] constexpr std::uint32_t sequence() const noexcept {
    return static_cast<std::uint32_t>(bits_ >> 32);
  }
  [[nodiscard]] constexpr CallState state() const noexcept {
    return static_cast<CallState>(bits_ & 0xff);
  }
  [[nodiscard]] constexpr bool has(Flag flag) const noexcept {
    return (bits_ & (std::uint64_t{flag} << 8)) != 0;
  }
  [[nodiscard]] constexpr std::size_t length() const noexcept { return (bits_ >> 16) & 0xffff; }

  [[nodiscard]] constexpr LineWord with(CallState state) const noexcept {
    return LineWord((bits_ & ~std::uint64_t{0xff}) | static_cast<std::uint64_t>(state));
  }
  [[nodiscard]] constexpr LineWord with(Flag flag) const noexcept {
    return LineWord(bits_ | (std::uint64_t{flag} << 8));
  }
  [[nodiscard]] constexpr LineWord with_length(std::size_t length) const noexcept {
    return LineWord(bits_ | (std::uint64_t{length & 0xffff} << 16));
  }

 private:
  std::uint64_t bits_;
};

/// A client thread's line to the server: requests go through the channel, answers come here.
///
/// Writers: its owner, a process, while a call is idle, called, or answered; the server while it has the
/// call, and when the owner is dead. Only a living owner and the server set a line free.
struct alignas(64) CallLine {
  static constexpr std::size_t result_size = 56;

  // Word and result are one cache line: a small answer is one transfer.
  std::atomic<std::uint64_t> word;
  std::array<std::byte, result_size> result;

  alignas(64) std::atomic<Stamp> owner;  // 0: nobody
  Place block;                           // the server's: for answers that do not fit
  Owned<Cargo> cargo;                    // of the answer
  std::atomic<std::uint64_t> length;     // of an answer in the block
  FutexWord bell;                        // rung for other lines of the same owner
  std::atomic<std::uint32_t> bell_line;  // where this one rings; the owner's
  std::atomic<std::uint64_t> outsider;   // for whom the owner, a session, calls; 0: for itself

  [[nodiscard]] LineWord now() const noexcept { return LineWord(word.load()); }
  [[nodiscard]] FutexWord& sleepers_word() noexcept {
    static_assert(std::endian::native == std::endian::little);
    // The kernel's to look at, as four bytes; nothing here reads them.
    void* const lower_half = &word;
    return *static_cast<FutexWord*>(lower_half);
  }
};
static_assert(sizeof(CallLine) == 128);

}  // namespace kin::detail
