// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace kin::detail {

/// What the templates of connection.hpp are thin over: an end of a pipe, with messages as bytes. See
/// Connection for what each does.
class KIN_EXPORT End {
 public:
  /// What an end can do.
  enum Ways : unsigned { reads = 1, writes = 2 };

  /// Names nothing.
  End() noexcept = default;

  /// The two ends of a new pipe. The first has `ways`, the second the counterparts.
  static std::pair<End, End> make_pair(unsigned ways);

  void send(std::span<const std::byte> bytes, const OutgoingCargo& cargo) const;
  /// Replaces the contents of both.
  bool receive(std::vector<std::byte>& bytes, IncomingCargo& cargo, Deadline deadline) const;
  /// Fills exactly `size` bytes; a message of another size is a SerializationError, and is gone.
  bool receive_plain(void* to, std::size_t size, Deadline deadline) const;
  /// How long the message was. Throws BufferTooShort.
  [[nodiscard]] std::size_t receive_into(std::span<std::byte> buffer) const;
  [[nodiscard]] bool poll(Deadline deadline) const;

  void close() const;
  [[nodiscard]] bool closed() const;
  [[nodiscard]] bool has(Ways way) const;
  [[nodiscard]] int fileno() const;

  /// For wait_any, as in Channel. (At the end of the stream the descriptor shows POLLHUP.) The descriptors
  /// stay open as long as what hold() returns, though another thread may close the end.
  [[nodiscard]] std::shared_ptr<const void> hold() const;
  [[nodiscard]] bool is_ready() const;
  [[nodiscard]] int descriptor() const;
  void ask_for_bell() const;
  void silence() const;

  void travel(OutArchive& archive) const;
  void travel(InArchive& archive);

  friend bool operator==(const End&, const End&) = default;

  struct State;

 private:
  explicit End(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  [[nodiscard]] State& open() const;

  std::shared_ptr<State> state_;
};

}  // namespace kin::detail
