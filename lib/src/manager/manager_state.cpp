// SPDX-License-Identifier: BSL-1.0
//
// A manager's shared memory: how it is made and freed, and how lines are taken, answered, and set free.

#include "manager/manager_state.hpp"

#include <algorithm>
#include <climits>
#include <cstring>
#include <new>

namespace kin::detail {
namespace {

// Under the sweep lock; again, if it was killed.
bool destroy_manager(Object& object) {
  auto& manager = static_cast<ManagerState&>(object);
  for (auto& block : manager.line_blocks) {
    if (!block) continue;
    for (CallLine& line : block->lines) {
      unload_cargo_while_destroying(line.cargo);
      Heap::free_from(line.block);
    }
    Heap::free_from(block);
  }
  for (auto& block : manager.drop_blocks) Heap::free_from(block);
  return true;
}

// In whatever process finds that nobody refers to it any more. The server ends what it holds.
bool destroy_hosted(Object& object) {
  const HostedObject& hosted = HostedObject::of(object);
  // The server lives, or was not swept: so its state is there.
  if (hosted.manager == nullptr || was_swept_while_destroying(hosted.server)) return true;
  ManagerState& manager = *hosted.manager;
  DropBlock& block = *manager.drop_blocks[hosted.index / DropBlock::size];
  // If killed behind this: it is done again; the server looks at the generation only.
  block.generations[hosted.index % DropBlock::size].store(hosted.generation);
  manager.drops.fetch_add(1);
  return true;
}

// Any process of the family may be the one that sweeps.
[[maybe_unused]] const bool has_destroyers = [] {
  set_destroyer(ObjectKind::manager, destroy_manager);
  set_destroyer(ObjectKind::hosted, destroy_hosted);
  return true;
}();

}  // namespace

void ManagerState::tell_why(std::string_view why) noexcept {
  for (std::size_t i = 0; i < std::min(why.size(), why_failed.size() - 1); ++i) {
    why_failed[i].store(why[i]);
  }
}

std::string ManagerState::why() const {
  std::string why;
  for (const auto& letter : why_failed) {
    if (letter.load() == '\0') break;
    why += letter.load();
  }
  return why;
}

ManagerMemory::ManagerMemory() : requests_claim(make_channel({})) {
  state_claim = make_object(ObjectKind::manager, sizeof(ManagerState), [&](Object& object) {
    static_cast<ManagerState&>(object).requests =
        static_cast<ByteChannel*>(&requests_claim->object());
  });
}

ManagerMemory::ManagerMemory(const ManagerMemory& other)
    : state_claim(claim(other.state_claim->object())),
      requests_claim(claim(other.requests_claim->object())) {}

std::uint32_t take_line(ManagerState& manager, std::uint32_t most) {
  const Stamp own = this_process();
  for (std::uint32_t index = 0; index < most; ++index) {
    if (index == manager.lines.load()) {
      auto& block = manager.line_blocks[index / LineBlock::size];
      // Where two add a block at once, the second is given that of the first.
      Heap::allocate_into(block, sizeof(LineBlock));
      // If killed here: the next who finds no line free finds the block.
      std::uint32_t before = index;
      manager.lines.compare_exchange_strong(before, index + LineBlock::size);
    }
    // Looked at first, as those that are taken are other processors' too.
    auto& owner = manager.line(index).owner;
    Stamp nobody = owner.load();
    // If killed behind this: the server sees whose it was.
    if (nobody == 0 && owner.compare_exchange_strong(nobody, own)) return index;
  }
  throw std::bad_alloc();
}

std::shared_ptr<Claim> make_hosted(ManagerState& manager, std::uint32_t index,
                                   std::uint32_t generation, std::uint64_t type,
                                   std::uint64_t outside) {
  if (index >= ManagerState::most_blocks * DropBlock::size) throw std::bad_alloc();
  auto& block = manager.drop_blocks[index / DropBlock::size];
  if (!block) Heap::allocate_into(block, sizeof(DropBlock));
  return make_object(ObjectKind::hosted, sizeof(HostedObject), [&](Object& object) {
    HostedObject& hosted = HostedObject::of(object);
    hosted.server = manager.server.load();
    hosted.index = index;
    hosted.generation = generation;
    hosted.type = type;
    hosted.outside = outside;
    hosted.manager = &manager;
  });
}

namespace {

// Blocks that are larger are given back when the next answer does not need them.
constexpr std::size_t most_kept = std::size_t{256} << 10;

std::byte* make_room(CallLine& line, std::size_t size) {
  if (line.block) {
    const std::size_t room = Heap::room_in(line.block);
    if (room < size || (room > most_kept && size < room / 4)) Heap::free_from(line.block);
  }
  if (line.block) return line.block.address();
  std::byte* to = Heap::allocate_into(line.block, size);
  if (!Heap::is_run(size)) return to;
  try {
    populate(to, size);
  } catch (...) {
    Heap::free_from(line.block);
    throw;
  }
  return to;
}

}  // namespace

void answer(ManagerState& manager, CallLine& line, std::uint32_t sequence,
            std::span<const std::byte> bytes, const OutgoingCargo& cargo, std::uint8_t flags) {
  LineWord word = LineWord(sequence, CallState::answered).with(LineWord::Flag{flags});
  if (bytes.size() <= CallLine::result_size) {
    if (!bytes.empty()) std::memcpy(line.result.data(), bytes.data(), bytes.size());
    word = word.with_length(bytes.size());
  } else {
    std::memcpy(make_room(line, bytes.size()), bytes.data(), bytes.size());
    line.length.store(bytes.size(), std::memory_order_relaxed);
    word = word.with(LineWord::in_block);
  }
  if (!cargo.empty()) {
    // One that failed half way may have left some.
    // If killed here: the line has it, and recycle_line() unloads it.
    if (line.cargo) unload_cargo(line.cargo);
    load_cargo_once(line.cargo, cargo);
    word = word.with(LineWord::cargo);
  }
  // SYNC answer: publishes the answer; pairs with the load of the client that sees it is there.
  const LineWord before(line.word.exchange(word.bits()));
  // If killed here: the client looks again at the end of its slice, and hears of the death.
  if (before.has(LineWord::awaited)) futex_wake(line.sleepers_word(), INT_MAX);
  if (before.has(LineWord::observed)) {
    FutexWord& bell = manager.line(line.bell_line.load()).bell;
    bell.fetch_add(1);
    futex_wake(bell, INT_MAX);
  }
}

void recycle_line(CallLine& line) {
  unload_cargo(line.cargo);
  Heap::free_from(line.block);
  const LineWord word = line.now();
  line.outsider.store(0);
  line.word.store(LineWord(word.sequence(), CallState::idle).bits());
  line.owner.store(0);
}

}  // namespace kin::detail
