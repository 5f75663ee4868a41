// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/cargo.hpp>
#include <kin/detail/channel.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>
#include <kin/unique_fd.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace kin::detail {

/// What the templates of connection.hpp are thin over: an end of a pipe, or of a connection over a socket,
/// with messages as bytes. See Connection for what each does.
class KIN_EXPORT End {
 public:
  /// What an end can do.
  enum Ways : unsigned { reads = 1, writes = 2 };

  /// Names nothing.
  End() noexcept = default;
  End(const End& other);
  End(End&& other) noexcept;
  End& operator=(const End&) = default;
  End& operator=(End&&) noexcept = default;
  ~End() = default;

  /// The two ends of a new pipe. The first has `ways`, the second the counterparts.
  static std::pair<End, End> make_pair(unsigned ways);
  /// This side of a connection over a socket, whose peer was authenticated. It refuses messages of more
  /// bytes than that.
  static End over(UniqueFd socket, std::size_t max_message);

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
  /// Whether the other side may be another program: over a socket.
  [[nodiscard]] bool has_stranger() const noexcept;
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

  /// In a process of kin's own, right after it was forked: closes all ends that it inherited, but for
  /// these. Else a stream would not end before that process does, which nobody sees. What is received
  /// later is not concerned.
  static void close_inherited(std::span<const End> kept);

  struct State;

 private:
  explicit End(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  [[nodiscard]] State& open() const;

  std::shared_ptr<State> state_;
};

/// While it lives it notes every end that this thread copies or moves: so what holds ends tells which, when
/// it is put in its place. Those in a container that is moved, or behind a pointer, it does not see.
class KIN_EXPORT EndsNoted {
 public:
  EndsNoted() noexcept;
  ~EndsNoted();
  EndsNoted(const EndsNoted&) = delete;
  EndsNoted& operator=(const EndsNoted&) = delete;

  /// Throws std::bad_alloc where there was no memory to note one.
  [[nodiscard]] std::vector<End> take();

 private:
  friend class End;
  void note(const End& end) noexcept;

  std::vector<End> ends_;
  bool is_complete_ = true;
  EndsNoted* outer_;
};

}  // namespace kin::detail
