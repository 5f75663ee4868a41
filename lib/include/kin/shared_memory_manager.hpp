// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/shareable_list.hpp>
#include <kin/shared_memory.hpp>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <vector>

namespace kin {

/// Makes blocks of shared memory, and takes their names away when it ends.
///
///     {
///       kin::SharedMemoryManager blocks;
///       auto samples = blocks.shared_memory(4096);
///       auto settings = blocks.shareable_list({1, 2.5, "text"});
///       kin::Process child([&blocks] { auto more = blocks.shared_memory(100); });
///       child.start();
///       child.join();
///     }  // none of the three names is there any more
///
/// It has no server, as there is nothing that one would do: the blocks are memory that all share, and the
/// tracker sees to what is left.
///
/// Lifetime: movable. shutdown(), or the end of its scope, unlinks every block that was made here and was not
/// unlinked before. Who has one open keeps its memory.
/// Sharing: thread-safe; process-safe but for shutdown().
/// After fork: the child's copy makes blocks of the same manager; its end does nothing.
/// If a process dies: what it had made is unlinked with the rest. When the one that made the manager dies, its
/// blocks are like all others: they are there until the last of the family is gone.
/// Throws: what SharedMemory and ShareableList throw; std::logic_error after shutdown(), and on one that was moved
/// from.
/// Python: multiprocessing.managers.SharedMemoryManager.
class KIN_EXPORT SharedMemoryManager {
 public:
  SharedMemoryManager();
  SharedMemoryManager(SharedMemoryManager&& other) noexcept;
  SharedMemoryManager& operator=(SharedMemoryManager&& other) noexcept;
  SharedMemoryManager(const SharedMemoryManager&) = delete;
  SharedMemoryManager& operator=(const SharedMemoryManager&) = delete;
  ~SharedMemoryManager();

  /// A block of zeroes, with a name.
  [[nodiscard]] SharedMemory shared_memory(std::ptrdiff_t size) const;
  [[nodiscard]] ShareableList shareable_list(
      std::initializer_list<ShareableList::Item> items) const;
  [[nodiscard]] ShareableList shareable_list(const std::vector<ShareableList::Item>& items) const;

  /// Unlinks them all; from now on it makes none. Again: nothing. The maker's.
  void shutdown();

 private:
  class Made;
  [[nodiscard]] Made& made() const;
  void end() noexcept;

  std::unique_ptr<Made> made_;
};

}  // namespace kin
