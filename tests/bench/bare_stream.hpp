// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "rounds.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <vector>

namespace bench {

/// The limit of the machine for messages that two processes copy at once: one copies each into a ring of
/// shared memory, the other out of it, piece by piece, and two spinning counters are all that there is
/// beside. Nanoseconds a message.
inline double bare_stream(std::size_t size, int messages) {
  constexpr std::size_t piece = std::size_t{32} << 10;
  constexpr std::size_t pieces = 32;
  struct Ring {
    alignas(64) std::atomic<std::size_t> written;
    alignas(64) std::atomic<std::size_t> read;
    alignas(64) std::array<std::array<std::byte, piece>, pieces> places;
  };
  const Shared<Ring> ring;
  const std::size_t all = size / piece * static_cast<std::size_t>(messages);
  const auto offset_of = [size](std::size_t number) {
    return number * piece % (size / piece * piece);
  };
  return time_together(Placement::apart,
                       {[&] {
                          const std::vector<std::byte> message(size, std::byte{1});
                          for (std::size_t i = 0; i < all; ++i) {
                            while (i - ring->read.load(std::memory_order_acquire) == pieces)
                              pause();
                            std::memcpy(ring->places[i % pieces].data(),
                                        message.data() + offset_of(i), piece);
                            ring->written.store(i + 1, std::memory_order_release);
                          }
                        },
                        [&] {
                          std::vector<std::byte> buffer(size);
                          for (std::size_t i = 0; i < all; ++i) {
                            while (ring->written.load(std::memory_order_acquire) == i) pause();
                            std::memcpy(buffer.data() + offset_of(i),
                                        ring->places[i % pieces].data(), piece);
                            ring->read.store(i + 1, std::memory_order_release);
                          }
                          asm volatile("" : : "r"(buffer.data()) : "memory");
                        }}) /
         messages;
}

}  // namespace bench
