// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "waiting/robust_lock.hpp"

#include <kin/unique_fd.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace kin::detail {

/// The descriptor store's part of the arena's front.
/// Writers: whoever holds the lock; `last_id` anyone.
struct DescriptorStoreState {
  static constexpr std::size_t most = 1024;
  static constexpr std::uint32_t any_number = std::numeric_limits<std::uint32_t>::max();

  // The truth: an id that is stored sits here. A packet names its seat; where another id sits there, or
  // none, the packet is garbage. So one store begins and ends its time.
  struct Seat {
    std::atomic<std::uint64_t> id;     // 0: free
    std::atomic<std::uint64_t> place;  // a hint: `pushed` when its packet was
  };

  RobustLock lock;
  std::atomic<std::uint64_t> last_id;
  std::atomic<std::uint64_t> pushed;  // packets, ever; and those taken out
  std::atomic<std::uint64_t> popped;
  std::atomic<std::uint32_t> garbage;  // how many of those in the queue, at most
  std::uint32_t capacity;              // how many packets have room, and how many seats are used
  std::array<Seat, most> seats;

  void initialize() noexcept;
};

/// Descriptors on their way from process to process, kept by the kernel while nobody has them open.
///
///     const auto id = DescriptorStore::new_id();
///     DescriptorStore::store(id, descriptors);  // sender; the id goes into the message
///     auto copies = DescriptorStore::fetch(id);  // receiver; they stay in the store
///     DescriptorStore::discard(id);  // when the message is taken for good
///
/// They lie in the queue of a socket pair that is made with the arena, so that all kin inherit it.
/// Room: for `capacity` ids, of up to 253 descriptors each. That is 1024 where this process may have a
/// socket buffer of 1 MiB (CAP_NET_ADMIN, or net.core.wmem_max); with Debian's 208 KiB it is 553. Who is
/// not root may have about as many descriptors on their way, by all programs of the user, as
/// RLIMIT_NOFILE says (soft, often 1024); each id counts for one more.
///
/// Sharing: process-safe and thread-safe; not for signal handlers. Nothing waits but for the lock, that
/// is held for a few system calls, and now and then for some for each id that is stored.
/// Lifetime: what is stored lives until discard(), or until the last process of the family ends.
/// After fork: the child sees the same store. After exec: it is closed.
/// If a process dies: what it had stored stays. In store(): stored, or closed by the next who uses the
/// store. In fetch(): still there. In discard(): as before, or closed; the id has to be discarded again,
/// which does no harm when that was done.
/// If the application has closed or replaced the socket pair (daemonizing code does): store() and
/// fetch() throw SystemError EBADF, discard() leaves the closing to others; nothing foreign is touched.
class DescriptorStore {
 public:
  /// Never the same twice in one family.
  static std::uint64_t new_id() noexcept;

  /// Stores duplicates of at least one descriptor; an id is used once. False when there is no room now:
  /// wait for others to discard() and try again. Throws SystemError (EBADF: one is not open; EMFILE: two
  /// more are needed for a moment; ETOOMANYREFS: the user's limit; …), and SerializationError for more
  /// than 253.
  static bool store(std::uint64_t id, std::span<const int> descriptors);

  /// Duplicates of what is stored, close-on-exec. Throws SystemError (EMFILE: not all can be opened
  /// here, and none is), and Error when nothing is stored by that id.
  static std::vector<UniqueFd> fetch(std::uint64_t id);

  /// Closes what is stored by that id, if anything is. At once, where this process can open one more
  /// descriptor, and else when the next process uses the store.
  static void discard(std::uint64_t id) noexcept;
};

}  // namespace kin::detail
