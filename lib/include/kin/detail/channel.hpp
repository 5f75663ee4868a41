// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/handle.hpp>

#include <cstddef>
#include <span>
#include <vector>

namespace kin::detail {

/// What the queue templates are thin over: messages as bytes. See Queue for what each does.
class KIN_EXPORT Channel {
 public:
  enum class Kind { plain, joinable };

  Channel(std::ptrdiff_t max_size, Kind kind);

  bool put(std::span<const std::byte> bytes, const OutgoingCargo& cargo, Deadline deadline) const;
  /// Fills exactly `size` bytes; a message of another size is a SerializationError, and is gone.
  bool get_plain(void* to, std::size_t size, Deadline deadline) const;
  /// Replaces the contents of both.
  bool get(std::vector<std::byte>& bytes, IncomingCargo& cargo, Deadline deadline) const;

  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] bool full() const;
  [[nodiscard]] bool is_shut_down() const;
  [[nodiscard]] int fileno() const;
  void shutdown() const;
  void close() const { handle_.close(); }

  /// For wait_any: whether a get would not wait; a descriptor that becomes readable when that changes,
  /// if it was asked for since; and its being readable without a cause.
  [[nodiscard]] bool is_ready() const;
  [[nodiscard]] int descriptor() const;
  void ask_for_bell() const;
  void silence() const;

  void task_done() const;
  bool join(Deadline deadline) const;

  friend bool operator==(const Channel&, const Channel&) = default;

  void travel(OutArchive& archive) const { archive.add_handle(handle_); }
  void travel(InArchive& archive);

 private:
  Handle handle_;
};

/// This thread's buffers for messages, borrowed: a serialize() of the user's may use another queue.
class KIN_EXPORT BorrowedBuffers {
 public:
  struct Buffers {
    OutArchive out;
    std::vector<std::byte> bytes;
    IncomingCargo cargo;
  };

  BorrowedBuffers();
  ~BorrowedBuffers();
  BorrowedBuffers(const BorrowedBuffers&) = delete;
  BorrowedBuffers& operator=(const BorrowedBuffers&) = delete;

  Buffers* operator->() const noexcept { return buffers_.get(); }

 private:
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace kin::detail
