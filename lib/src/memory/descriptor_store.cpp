// SPDX-License-Identifier: BSL-1.0
//
// Descriptors in transit. Runs in senders and receivers, and in whoever recovers a channel.
//
// The kernel holds a descriptor as long as it lies in the queue of a socket. So it needs no process to
// keep it, and none that could be killed.
//
// A packet in the queue has one descriptor: a *box*, a socket with one packet in its own queue, and that
// one has the descriptors that were stored. So who looks for a packet, or moves it out of another's
// way, has a box open and never a stranger's file. For to close a duplicate of a file takes away all
// fcntl() locks that the process has on it, and may wait for a device; and a pipe would stay open if
// another thread forks just then. What is discarded is closed by emptying its box, without the lock,
// whoever else may have that box open.
//
// A packet behind others can't be taken out of the queue: those before it go to the back. Each is
// copied there first, and taken out then.

#include "memory/descriptor_store.hpp"

#include "memory/arena.hpp"
#include "memory/descriptor_queue.hpp"

#include "base/descriptor_packet.hpp"
#include "base/stdio.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <bitset>
#include <cassert>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include <sys/socket.h>

namespace kin::detail {
namespace {

using Packet = DescriptorQueue::Packet;
using Scan = DescriptorQueue::Scan;

DescriptorStoreState& state() noexcept { return *arena().descriptors; }

// ---- boxes; without the lock ---------------------------------------------------------------------

// A box with duplicates of these in it. None where the kernel has no room.
UniqueFd fill_box(std::span<const int> descriptors) {
  auto [in, box] = make_packet_sockets();
  // Whoever names a descriptor that is not open may mean the next one that anybody gets: these.
  for (const int one : descriptors) {
    if (one == in.get() || one == box.get()) throw SystemError("sendmsg", EBADF);
  }
  const auto count = static_cast<std::uint32_t>(descriptors.size());
  const int error = send_packet(in.get(), bytes_of(count), descriptors);
  if (error == ENOBUFS) return {};
  if (error != 0) throw SystemError("sendmsg", error);
  return std::move(box);
}

// Duplicates of what is in a box; none if it is empty.
std::vector<UniqueFd> open_box(const UniqueFd& box) {
  std::uint32_t count = 0;
  if (receive_packet(box.get(), bytes_of(count), MSG_PEEK) != 0) return {};
  std::vector<UniqueFd> descriptors(count);
  if (receive_packet(box.get(), bytes_of(count), MSG_PEEK, descriptors) != 0) return {};
  if (!descriptors.back()) throw SystemError("recvmsg", EMFILE);
  for (UniqueFd& one : descriptors) one = away_from_stdio(std::move(one));
  return descriptors;
}

// Closes what is in a box, whoever has that open.
void empty_box(const UniqueFd& box) noexcept {
  std::uint32_t count = 0;
  if (box) receive_packet(box.get(), bytes_of(count), 0);
}

// ---- the queue; with the lock --------------------------------------------------------------------

using Seat = DescriptorStoreState::Seat;
constexpr std::uint32_t any_number = DescriptorStoreState::any_number;

class StoreGuard : RobustGuard {
 public:
  StoreGuard() : RobustGuard(state().lock, [] { state().garbage = any_number; }) {}
};

// The seat of an id, or null; with 0 a free one.
Seat* seat_of(std::uint64_t id) noexcept {
  const auto seats = std::span(state().seats).first(state().capacity);
  const auto found = std::ranges::find_if(seats, [&](const Seat& seat) { return seat.id == id; });
  return found == seats.end() ? nullptr : &*found;
}

bool is_stored(const Packet& packet) noexcept {
  return packet.seat < state().capacity && state().seats[packet.seat].id == packet.id;
}

// By our count, which may be wrong after a death until turn() has counted them.
std::uint64_t packets() noexcept { return state().pushed - state().popped; }

int push(const Packet& packet, const UniqueFd& box) noexcept {
  const int error = DescriptorQueue::push(packet, box);
  if (error == 0) state().seats[packet.seat].place = state().pushed++;
  return error;
}

void pop() noexcept {
  DescriptorQueue::pop();
  ++state().popped;
}

// Tells packets that are stored from garbage: those without their seat, and second copies.
class Sieve {
 public:
  bool keeps(const Packet& packet) noexcept {
    if (!is_stored(packet) || seen_[packet.seat]) return false;
    seen_.set(packet.seat);
    return true;
  }

 private:
  std::bitset<DescriptorStoreState::most> seen_;
};

// How many packets there are up to the last that is garbage; none when that can't be told.
std::optional<std::size_t> length_of_turn() noexcept {
  Sieve sieve;
  Scan scan;
  std::size_t length = 0;
  for (std::uint32_t missing = state().garbage; missing > 0;) {
    const auto packet = scan.next();
    if (!packet && !scan.saw_all()) return std::nullopt;
    if (!packet) {
      state().pushed = state().popped + scan.passed();
      break;
    }
    if (sieve.keeps(*packet)) continue;
    length = scan.passed();
    --missing;
  }
  return length;
}

// Takes out all garbage. Where this process can't, the next one will.
void turn() noexcept {
  const auto length = length_of_turn();
  if (!length) return;
  Sieve sieve;
  for (std::size_t i = 0; i < *length; ++i) {
    const auto [packet, box] = DescriptorQueue::peek(0);
    if (sieve.keeps(packet)) {
      if (!box || push(packet, box) != 0) return;
    } else if (!is_stored(packet)) {  // a second copy has the same box
      empty_box(box);
    }
    // If killed here: it is there twice; the next holder looks for that.
    pop();
  }
  // If killed before this: the next holder looks through all packets.
  state().garbage = 0;
}

// Takes out the garbage in front; and all of it when it is much, so that moving the others costs
// little for each.
void clean() noexcept {
  auto& garbage = state().garbage;
  while (garbage != 0 && garbage != any_number) {
    const auto front = Scan().next();
    if (!front || is_stored(*front)) break;
    pop();
    --garbage;
  }
  if (garbage > packets() / 4) turn();
}

// Where the packet is that has that seat.
std::size_t position_of(const Seat& seat) noexcept {
  Scan scan;
  auto packet = scan.next();
  while (packet && packet->id != seat.id) packet = scan.next();
  return packet ? scan.passed() - 1 : 0;
}

// The box of what has that seat; none if its packet is not there.
UniqueFd open_box_of(const Seat& seat) {
  auto found = DescriptorQueue::peek(seat.place - state().popped);
  // The count may be wrong.
  if (found.packet.id != seat.id) found = DescriptorQueue::peek(position_of(seat));
  if (found.packet.id != seat.id) return {};
  if (!found.descriptor) throw SystemError("recvmsg", EMFILE);
  return std::move(found.descriptor);
}

// Returns 0 or the error number.
int push_new(std::uint64_t id, const UniqueFd& box) noexcept {
  clean();
  if (packets() >= state().capacity) turn();
  // Garbage that can't be taken out now needs the room behind it.
  if (packets() >= state().capacity || state().garbage == any_number) return EAGAIN;
  Seat* seat = seat_of(0);
  if (seat == nullptr) return EAGAIN;
  const int error = push({id, static_cast<std::uint64_t>(seat - state().seats.data())}, box);
  // If killed here: it is garbage, as it has no seat.
  if (error == 0) seat->id = id;
  return error;
}

// The box of an id, if it has one that can be opened here.
UniqueFd box_to_empty(std::uint64_t id) noexcept {
  const StoreGuard guard;
  const Seat* seat = seat_of(id);
  if (seat == nullptr || !DescriptorQueue::is_usable()) return {};
  try {
    return open_box_of(*seat);
  } catch (const SystemError&) {
    return {};
  }
}

}  // namespace

void DescriptorStoreState::initialize() noexcept {
  lock.initialize();
  const std::size_t fit = DescriptorQueue::open();
  // Room for one is kept for the copy of a packet that moves.
  if (fit > 0) capacity = static_cast<std::uint32_t>(std::min(most, fit - 1));
}

std::uint64_t DescriptorStore::new_id() noexcept { return ++state().last_id; }

bool DescriptorStore::store(std::uint64_t id, std::span<const int> descriptors) {
  assert(id != 0 && !descriptors.empty());
  if (descriptors.size() > most_descriptors_in_packet) {
    throw SerializationError("more than 253 descriptors in one message");
  }
  DescriptorQueue::require_usable();
  const UniqueFd box = fill_box(descriptors);
  if (!box) return false;
  const int error = [&] {
    const StoreGuard guard;
    return push_new(id, box);
  }();
  if (error == 0) return true;
  empty_box(box);
  if (error == EAGAIN || error == ENOBUFS) return false;
  throw SystemError("sendmsg", error);
}

std::vector<UniqueFd> DescriptorStore::fetch(std::uint64_t id) {
  DescriptorQueue::require_usable();
  const UniqueFd box = [&] {
    const StoreGuard guard;
    clean();
    const Seat* seat = seat_of(id);
    return seat == nullptr ? UniqueFd() : open_box_of(*seat);
  }();
  auto descriptors = box ? open_box(box) : std::vector<UniqueFd>();
  if (descriptors.empty()) {
    throw Error("no descriptors are stored by the id " + std::to_string(id));
  }
  return descriptors;
}

void DescriptorStore::discard(std::uint64_t id) noexcept {
  const UniqueFd box = box_to_empty(id);
  empty_box(box);
  // If killed here: it has its seat still, and the next discard() goes on.
  const StoreGuard guard;
  if (Seat* seat = seat_of(id)) {
    // A box that was not opened is full: all that is garbage will be taken out soon, and emptied.
    state().garbage = box && state().garbage != any_number ? state().garbage + 1 : any_number;
    seat->id = 0;
  }
  if (DescriptorQueue::is_usable()) clean();
}

}  // namespace kin::detail
