// SPDX-License-Identifier: BSL-1.0
//
// SharedMemory, as a handle of a NamedBlock. Runs in any process and thread.

#include "shared/named_block.hpp"

#include <kin/error.hpp>
#include <kin/shared_memory.hpp>

#include <cerrno>
#include <stdexcept>
#include <utility>

namespace kin {
namespace {

constexpr auto leave_zeroes = [](std::span<std::byte> /*block*/) {};

}  // namespace

SharedMemory::SharedMemory(std::shared_ptr<detail::NamedBlock> block) noexcept
    : block_(std::move(block)) {}

SharedMemory SharedMemory::create(std::ptrdiff_t size) {
  return SharedMemory(detail::NamedBlock::create_unnamed(
      size, [] { return detail::random_name(); }, leave_zeroes));
}

SharedMemory SharedMemory::create(std::string_view name, std::ptrdiff_t size) {
  return SharedMemory(detail::NamedBlock::create(name, size, leave_zeroes));
}

SharedMemory SharedMemory::open(std::string_view name) {
  return SharedMemory(detail::NamedBlock::open(name));
}

detail::NamedBlock& SharedMemory::block() const {
  if (!block_) throw std::logic_error("kin: a SharedMemory that names no block");
  return *block_;
}

const std::string& SharedMemory::name() const { return block().name(); }
std::size_t SharedMemory::size() const { return block().size(); }
std::span<std::byte> SharedMemory::bytes() const { return block().bytes(); }
void SharedMemory::close() const { block().close(); }
void SharedMemory::unlink() const { block().unlink(); }

SharedMemory::Address SharedMemory::address() const {
  if (!block_) return {};
  return {block_->name(), block_->file().device, block_->file().inode};
}

void SharedMemory::attach(const Address& address) {
  block_.reset();
  if (address.name.empty()) return;
  auto block = detail::NamedBlock::open(address.name);
  // Unlinked while it was on its way, and another one has its name.
  if (!(block->file() == detail::FileId{address.device, address.inode})) {
    throw SystemError("open shared memory " + address.name, ENOENT);
  }
  block_ = std::move(block);
}

bool SharedMemory::is_same_as(const SharedMemory& other) const noexcept {
  if (!block_ || !other.block_) return block_ == other.block_;
  return block_->file() == other.block_->file();
}

}  // namespace kin
