// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace kin::detail {

struct DescriptorStoreState;
struct FamilyDescriptorState;
struct HeapState;
struct ProcessTable;
struct SpinPermits;
struct WaitTable;

/// The one mapping that all kin share, at the same address in each.
///
/// A sparse memfd without a name (nothing can be left in /dev/shm), close-on-exec, left out of core
/// dumps, mapped before the first fork. It begins with the states of the layers that live in it;
/// after these come the chunks that the heap hands out.
/// After fork: the child uses the same mapping. It is never unmapped.
struct Arena {
  HeapState* heap;
  ProcessTable* processes;
  SpinPermits* spin_permits;
  DescriptorStoreState* descriptors;
  FamilyDescriptorState* family_descriptor;
  WaitTable* waits;
  // Random bytes. Who knows them is of the family.
  std::span<const std::byte> secret;
  std::byte* chunks;         // the first chunk
  std::size_t chunk_count;   // how many fit
  std::span<std::byte> all;  // the whole mapping
};

inline constexpr std::size_t chunk_size = std::size_t{64} << 10;

/// The arena; the first call makes it. Its size is 64 GiB, or KIN_ARENA_BYTES; where so much address
/// space is refused (ulimit -v, valgrind) half of it is tried, and so on down to 16 MiB.
/// Throws SystemError when there is none to be had.
const Arena& arena();

/// Whether the process with that folder in /proc has the arena mapped. One whose mappings can't be read
/// belongs to another user, which kin do not.
bool maps_arena(const std::filesystem::path& process);

/// Gives the pages behind the range memory now, so that running out is std::bad_alloc here and not
/// SIGBUS at some later write. About 1 s a GiB: not under a lock that others wait for.
void populate(std::byte* begin, std::size_t size);

/// Gives the whole pages of the range back to the kernel; they read as zero afterwards.
void discard(std::byte* begin, std::size_t size) noexcept;

}  // namespace kin::detail
