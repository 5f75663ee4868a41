// SPDX-License-Identifier: BSL-1.0
//
// The byte-level side of the queue templates: from handles to channels, and the buffers of each thread.

#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "channel/byte_channel.hpp"
#include "memory/descriptor_store.hpp"
#include "os/fork.hpp"

#include <kin/detail/channel.hpp>
#include <kin/detail/handle_of.hpp>
#include <kin/error.hpp>

#include <cstring>
#include <stdexcept>
#include <utility>

#include <sys/eventfd.h>

namespace kin::detail {
namespace {

[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

ByteChannel& channel_of(const Handle& handle) {
  // Throws where this process is refused: its thread ids may be others', and locks with them.
  if (this_process_or_none() == 0) this_process();
  return static_cast<ByteChannel&>(handle.object());
}

// This process's descriptor of a queue's bell, -1 where it has none yet. All have their eventfd from the
// descriptor store, and keep it with their claim.
int known_bell(const Handle& handle) { return handle.claim().descriptor.load(); }

int keep_bell(const Handle& handle, UniqueFd bell) {
  int none = -1;
  // Another thread may have been quicker.
  if (!handle.claim().descriptor.compare_exchange_strong(none, bell.get())) return none;
  return bell.release();
}

int fetch_bell(const Handle& handle, std::uint64_t id) {
  return keep_bell(handle, std::move(DescriptorStore::fetch(id).at(0)));
}

int make_bell(const Handle& handle) {
  ByteChannel& channel = channel_of(handle);
  const RobustGuard guard(channel.tail_lock, [&] { recover_tail(channel); });
  std::uint64_t id = channel.bell.descriptor.load();
  if (id != 0) {
    try {
      return fetch_bell(handle, id);
    } catch (const SystemError&) {
      throw;
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): its maker died before it was stored
    }
  } else {
    id = DescriptorStore::new_id();
    channel.bell.descriptor.store(id);
  }
  // If killed here: the next finds nothing stored by that id.
  UniqueFd bell =
      away_from_stdio(UniqueFd(checked("eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))));
  const int descriptors[] = {bell.get()};
  if (!DescriptorStore::store(id, descriptors)) {
    throw SystemError("kin: no room among the descriptors on their way", ENOSPC);
  }
  return keep_bell(handle, std::move(bell));
}

int bell_of(const Handle& handle) {
  const int known = known_bell(handle);
  return known != -1 ? known : make_bell(handle);
}

// A queue has no ends, and its messages come in one piece.
class QueueLine final : public Line {
 public:
  explicit QueueLine(const Handle& handle) noexcept : handle_(handle) {}

  // Whoever waits made the bell before. Throws SystemError where no descriptor is to be had.
  void ring() override {
    const int known = known_bell(handle_);
    const std::uint64_t id = channel_of(handle_).bell.descriptor.load();
    ::eventfd_write(known != -1 ? known : fetch_bell(handle_, id), 1);
  }
  void silence() noexcept override {
    eventfd_t count = 0;
    const int known = known_bell(handle_);
    if (known != -1) ::eventfd_read(known, &count);
  }
  void ring_here() noexcept override {
    const int known = known_bell(handle_);
    if (known != -1) ::eventfd_write(known, 1);
  }
  bool wait_for_piece(ByteChannel& /*channel*/) override { return false; }

 private:
  const Handle& handle_;
};

Handle new_channel(std::ptrdiff_t max_size, Channel::Kind kind) {
  if (max_size < 0) throw std::invalid_argument("kin: a queue's max_size can't be negative");
  if (static_cast<std::size_t>(max_size) > Cursor::count_mask / 4) max_size = 0;  // never reached
  return Handle(make_channel({.most_items = static_cast<std::uint32_t>(max_size),
                              .joinable = kind == Channel::Kind::joinable}));
}

}  // namespace

Channel::Channel(std::ptrdiff_t max_size, Kind kind) : handle_(new_channel(max_size, kind)) {}

bool Channel::put(std::span<const std::byte> bytes, const OutgoingCargo& cargo,
                  Deadline deadline) const {
  QueueLine line(handle_);
  return detail::put(channel_of(handle_), bytes, cargo, line, deadline);
}

bool Channel::get_plain(void* to, std::size_t size, Deadline deadline) const {
  std::size_t found = size;
  const auto fill = [&](const Part& part) {
    found = part.total;
    if (found == size) std::memcpy(to, part.bytes.data(), size);
  };
  QueueLine line(handle_);
  if (!detail::get(channel_of(handle_), fill, nullptr, line, deadline)) return false;
  if (found != size) throw SerializationError("a message of another size than its type has");
  return true;
}

bool Channel::get(std::vector<std::byte>& bytes, IncomingCargo& cargo, Deadline deadline) const {
  const auto fill = [&](const Part& part) { bytes.assign(part.bytes.begin(), part.bytes.end()); };
  cargo.clear();
  QueueLine line(handle_);
  return detail::get(channel_of(handle_), fill, &cargo, line, deadline);
}

std::size_t Channel::size() const { return size_of(channel_of(handle_)); }

bool Channel::full() const {
  const ByteChannel& channel = channel_of(handle_);
  return channel.most_items != 0 && size_of(channel) >= channel.most_items;
}

bool Channel::is_shut_down() const { return detail::is_shut_down(channel_of(handle_)); }
void Channel::shutdown() const {
  QueueLine line(handle_);
  shut_down(channel_of(handle_), line);
}
int Channel::fileno() const {
  const int descriptor = bell_of(handle_);
  if (want_bell_always(channel_of(handle_)) || is_shut_down()) ::eventfd_write(descriptor, 1);
  return descriptor;
}

bool Channel::is_ready() const {
  const ByteChannel& channel = channel_of(handle_);
  return has_items(channel) || detail::is_shut_down(channel);
}

int Channel::descriptor() const { return bell_of(handle_); }
void Channel::ask_for_bell() const { want_bell_once(channel_of(handle_)); }

void Channel::silence() const {
  QueueLine line(handle_);
  silence_false_alarm(channel_of(handle_), line);
}

void Channel::task_done() const { detail::task_done(channel_of(handle_)); }
bool Channel::join(Deadline deadline) const { return detail::join(channel_of(handle_), deadline); }

void Channel::travel(InArchive& archive) { handle_ = read_handle(archive, ObjectKind::channel); }

namespace {

// Whether this thread's objects are destroyed: in static destructors, and at exit. Has no destructor itself.
[[gnu::tls_model("initial-exec")]] thread_local bool is_over = false;

struct Kept {
  std::unique_ptr<BorrowedBuffers::Buffers> buffers;
  Kept() = default;
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  ~Kept() { is_over = true; }
};
thread_local Kept kept;

// A message that was larger than this costs its memory anew each time.
constexpr std::size_t most_kept = std::size_t{4} << 20;

}  // namespace

BorrowedBuffers::BorrowedBuffers() {
  if (!is_over) buffers_ = std::move(kept.buffers);
  if (!buffers_) buffers_ = std::make_unique<Buffers>();
}

BorrowedBuffers::~BorrowedBuffers() {
  if (is_over || buffers_->bytes.capacity() > most_kept || buffers_->out.size() > most_kept) return;
  buffers_->out.clear();
  buffers_->cargo.clear();
  kept.buffers = std::move(buffers_);
}

}  // namespace kin::detail
