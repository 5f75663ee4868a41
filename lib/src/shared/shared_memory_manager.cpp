// SPDX-License-Identifier: BSL-1.0
//
// What was made is in a queue, as that outlives whoever put it there: blocks of a child that was killed are
// unlinked, too. Runs in any process and thread; the end in the maker's process only.

#include <kin/shared_memory_manager.hpp>

#include "memory/process_table.hpp"

#include "base/log_text.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/queue.hpp>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>

namespace kin {
namespace {

void unlink_if_there(const SharedMemory& block) {
  try {
    block.unlink();
  } catch (const SystemError& error) {
    if (error.code().value() != ENOENT) throw;
  }
}

}  // namespace

/// The blocks, as the family knows them.
class SharedMemoryManager::Made {
 public:
  [[nodiscard]] bool is_own_process() const noexcept {
    return maker_ == detail::this_process_or_none();
  }
  void add(const SharedMemory& block) const {
    // If killed here: the tracker knows of the block.
    try {
      blocks_.put(block);
    } catch (const QueueShutDown& over) {
      unlink_if_there(block);
      throw std::logic_error("kin: a SharedMemoryManager that was shut down");
    } catch (...) {
      unlink_if_there(block);
      throw;
    }
  }
  void unlink_all() const {
    blocks_.shutdown();
    while (unlink_one()) {
    }
  }

 private:
  [[nodiscard]] bool unlink_one() const {
    try {
      // If killed behind it: as above.
      const SharedMemory block = blocks_.get();
      unlink_if_there(block);
    } catch (const QueueShutDown& empty) {
      return false;
    } catch (const SystemError& error) {
      // It was unlinked before.
      if (error.code().value() != ENOENT) {
        detail::log_text(LogLevel::error, [&] {
          return std::string("shared memory could not be unlinked: ") + error.what();
        });
      }
    }
    return true;
  }

  detail::Stamp maker_ = detail::this_process();
  Queue<SharedMemory> blocks_;
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
