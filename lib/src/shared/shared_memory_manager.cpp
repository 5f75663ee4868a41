// SPDX-License-Identifier: BSL-1.0
//
// What was made is in a queue, as that outlives whoever put it there: blocks of a child that was killed are
// unlinked, too. It has their names, and not the blocks: who unlinks one does not need a descriptor for it. Runs in
// any process and thread; the end in the maker's process only.

#include <kin/shared_memory_manager.hpp>

#include "memory/process_table.hpp"
#include "shared/named_block.hpp"

#include "base/log_text.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/queue.hpp>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>

namespace kin {

/// The blocks, as the family knows them.
class SharedMemoryManager::Made {
 public:
  [[nodiscard]] bool is_own_process() const noexcept {
    return maker_ == detail::this_process_or_none();
  }
  void add(const SharedMemory& block) const {
    // If killed here: the tracker knows of the block.
    try {
      blocks_.put(block.address());
    } catch (const QueueShutDown& over) {
      unlink(block.address());
      throw std::logic_error("kin: a SharedMemoryManager that was shut down");
    } catch (...) {
      unlink(block.address());
      throw;
    }
  }
  void unlink_all() const {
    blocks_.shutdown();
    // If killed behind get(): as above.
    for (const SharedMemory::Address& block : blocks_) unlink(block);
  }

 private:
  static void unlink(const SharedMemory::Address& block) {
    try {
      detail::NamedBlock::unlink(block.name, {block.device, block.inode});
    } catch (const SystemError& error) {
      if (error.code().value() == ENOENT) return;  // it was before
      detail::log_text(LogLevel::error, [&] {
        return std::string("shared memory could not be unlinked: ") + error.what();
      });
    }
  }

  detail::Stamp maker_ = detail::this_process();
  Queue<SharedMemory::Address> blocks_;
};

SharedMemoryManager::SharedMemoryManager() : made_(std::make_unique<Made>()) {}
SharedMemoryManager::SharedMemoryManager(SharedMemoryManager&& other) noexcept = default;
SharedMemoryManager& SharedMemoryManager::operator=(SharedMemoryManager&& other) noexcept {
  if (this != &other) {
    end();
    made_ = std::move(other.made_);
  }
  return *this;
}
SharedMemoryManager::~SharedMemoryManager() { end(); }

SharedMemoryManager::Made& SharedMemoryManager::made() const {
  if (!made_) throw std::logic_error("kin: used after it was moved from");
  return *made_;
}

SharedMemory SharedMemoryManager::shared_memory(std::ptrdiff_t size) const {
  const Made& all = made();
  SharedMemory block = SharedMemory::create(size);
  all.add(block);
  return block;
}

ShareableList SharedMemoryManager::shareable_list(
    std::initializer_list<ShareableList::Item> items) const {
  return shareable_list(std::vector<ShareableList::Item>(items));
}

ShareableList SharedMemoryManager::shareable_list(
    const std::vector<ShareableList::Item>& items) const {
  const Made& all = made();
  ShareableList list(items);
  all.add(list.shm());
  return list;
}

void SharedMemoryManager::shutdown() {
  if (!made().is_own_process()) {
    throw std::logic_error("kin: a SharedMemoryManager is shut down by the process that made it");
  }
  made_->unlink_all();
}

void SharedMemoryManager::end() noexcept {
  if (!made_ || !made_->is_own_process()) return;
  try {
    made_->unlink_all();
  } catch (const std::exception& error) {
    detail::log_text(LogLevel::error, [&] {
      return std::string("a SharedMemoryManager could not unlink its blocks: ") + error.what();
    });
  }
}

}  // namespace kin
