// SPDX-License-Identifier: BSL-1.0
//
// The bytes behind Value and Array: an object of the family that owns them, and how a value of many bytes
// is changed by one store.
//
// Small blocks lie in the object itself. Larger ones are a block of the heap by themselves: to populate a
// large one takes long, and is done with no lock held.

#include <kin/detail/shared_array.hpp>
#include <kin/detail/shared_block.hpp>

#include "memory/object.hpp"
#include "os/fork.hpp"

#include <kin/error.hpp>

#include <atomic>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

/// Writers: its maker, before anybody else knows it.
struct BlockObject : Object {
  std::atomic<std::uint64_t> size;
  Place separate;  // empty: the bytes lie behind this

  [[nodiscard]] std::byte* bytes() noexcept {
    return separate ? separate.address() : reinterpret_cast<std::byte*>(this + 1);
  }
};
static_assert(sizeof(BlockObject) % 64 == 0);

BlockObject& block_of(const Handle& handle) { return static_cast<BlockObject&>(handle.object()); }

// Under the sweep lock; again, if it was killed.
bool end_block(Object& object) {
  Heap::free_from(static_cast<BlockObject&>(object).separate);
  return true;
}

[[maybe_unused]] const bool destroyer_is_set = [] {
  set_destroyer(ObjectKind::block, end_block);
  return true;
}();

Handle new_block(std::size_t size) {
  // Objects lie where nothing but objects does, in cells of one size.
  const bool is_separate = size > Heap::lock_size - sizeof(BlockObject);
  Handle handle(make_object(ObjectKind::block, sizeof(BlockObject) + (is_separate ? 0 : size),
                            [](Object& /*object*/) {}));
  BlockObject& block = block_of(handle);
  block.size.store(size);
  if (!is_separate) return handle;
  // If killed, or out of memory, from here on: the object goes with its last claim, and its block with it.
  // Cells of such sizes begin at cache lines, as what lies behind the object does.
  std::byte* bytes = Heap::allocate_into(block.separate, (size + 63) / 64 * 64);
  if (!Heap::is_run(size)) return handle;
  populate(bytes, size);
  // Freed runs are discarded, but the kernel may refuse that.
  std::memset(bytes, 0, size);
  return handle;
}

using Word = std::uint64_t;

// Relaxed, both ways: the version says whether what was read counts.
void copy_words(std::byte* shared, const void* from, std::size_t size) {
  const auto* next = static_cast<const std::byte*>(from);
  for (; size >= sizeof(Word); size -= sizeof(Word)) {
    Word word = 0;
    std::memcpy(&word, next, sizeof word);
    std::atomic_ref(*reinterpret_cast<Word*>(shared)).store(word, std::memory_order_relaxed);
    next += sizeof word;
    shared += sizeof word;
  }
  if (size == 0) return;
  Word word = 0;
  std::memcpy(&word, next, size);
  std::atomic_ref(*reinterpret_cast<Word*>(shared)).store(word, std::memory_order_relaxed);
}

void copy_words(void* to, std::byte* shared, std::size_t size) {
  auto* next = static_cast<std::byte*>(to);
  for (; size >= sizeof(Word); size -= sizeof(Word)) {
    const Word word =
        std::atomic_ref(*reinterpret_cast<Word*>(shared)).load(std::memory_order_relaxed);
    std::memcpy(next, &word, sizeof word);
    next += sizeof word;
    shared += sizeof word;
  }
  if (size == 0) return;
  const Word word =
      std::atomic_ref(*reinterpret_cast<Word*>(shared)).load(std::memory_order_relaxed);
  std::memcpy(next, &word, size);
}

}  // namespace

SharedBlock::SharedBlock(std::size_t size)
    : handle_(new_block(size)), bytes_(block_of(handle_).bytes()), size_(size) {}

void SharedBlock::travel(InArchive& archive) {
  handle_ = read_handle(archive, ObjectKind::block);
  bytes_ = block_of(handle_).bytes();
  size_ = block_of(handle_).size.load();
}

void SharedBlock::require_size(std::size_t size) const {
  if (size_ == size) return;
  throw SerializationError("the message holds a value or an array of another type");
}

void SharedBlock::complain_moved_from() {
  throw std::logic_error("kin: used after it was moved from");
}

void complain_out_of_range(std::size_t index, std::size_t size) {
  throw std::out_of_range("kin: there is no element " + std::to_string(index) + " in an array of " +
                          std::to_string(size));
}

void require_room(std::size_t count, std::size_t room) {
  if (count <= room) return;
  throw std::length_error("kin: " + std::to_string(count) +
                          " elements are too many for an array of " + std::to_string(room));
}

std::size_t bytes_of(std::size_t count, std::size_t size_of_each) {
  constexpr auto most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
  if (count > most / size_of_each) {
    throw std::length_error("kin: an array can't have " + std::to_string(count) + " elements");
  }
  return count * size_of_each;
}

// Copies are made of whole words, so that to read one while it is written has a meaning: what was read is
// thrown away then.

bool TwoCopies::try_load(void* to) const {
  constexpr int tries = 16;
  for (int i = 0; i < tries; ++i) {
    const std::uint64_t version = version_->load();
    copy_words(to, copy_of(version), size_);
    // SYNC copies: pairs with the fence in store(). Who has read a word of a later value sees here that
    // the version is another.
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version_->load() == version) return true;
  }
  return false;
}

void TwoCopies::store(const void* from) const {
  const std::uint64_t version = version_->load();
  // SYNC copies: who reads a word that is written below sees the version above, or a later one.
  std::atomic_thread_fence(std::memory_order_release);
  copy_words(copy_of(version + 1), from, size_);
  // If killed before this: the value is the old one. Behind it: the new one.
  // SYNC copies: release, so that who loads the version sees the words. The unlock of the value's lock
  // comes behind it, so a store that has returned is seen by all.
  version_->store(version + 1, std::memory_order_release);
}

}  // namespace kin::detail
