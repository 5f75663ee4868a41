// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kin::detail {

/// Asks for a cache line that will be written soon. Without -mprfchw the compiler's own builtin asks for it to be
/// read, which is of no use where another processor has it; a processor that does not know this one does nothing.
inline void prefetch_to_write(const void* place) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(place)));
#else
  __builtin_prefetch(place, 1);
#endif
}

/// Whether a line that another processor has only read is much slower to write to than one that it has written to, and
/// prefetch_to_write() changes nothing about it. So it was found on AMD's EPYC; elsewhere the prefetch helps.
inline const bool reading_slows_the_writer =
#if defined(__x86_64__)
    __builtin_cpu_is("amd") != 0;
#else
    false;
#endif

/// Writes into each cache line of a place, which is not empty, what it holds: so that this processor has it alone, and
/// hands it over as a whole to the next that writes there. Only for who may write there itself.
inline void write_back(std::span<std::uint64_t> words) noexcept {
  constexpr std::size_t line = 64 / sizeof(std::uint64_t);
  const auto again = [](std::uint64_t& place) {
    const std::atomic_ref<std::uint64_t> word(place);
    word.store(word.load(std::memory_order_relaxed), std::memory_order_relaxed);
  };
  for (std::size_t at = 0; at < words.size(); at += line) again(words[at]);
  again(words.back());
}

}  // namespace kin::detail
