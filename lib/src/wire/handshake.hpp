// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "wire/mac.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kin::detail {

/// What both sides have to agree in, as values that are plain bytes travel as they lie in memory.
struct Layout {
  std::uint8_t byte_order = 0;
  std::uint8_t word_size = 0;
  std::uint16_t series = 0;    // of kin's versions
  std::uint64_t sends = 0;     // the type of the messages that this side sends
  std::uint64_t receives = 0;  // and of those that it receives

  /// Of this program, with messages of these types.
  [[nodiscard]] static Layout of_this_program(std::uint64_t sends, std::uint64_t receives) noexcept;
  /// Whether two sides understand each other.
  [[nodiscard]] bool fits(const Layout& other) const noexcept;
};

using Nonce = std::array<std::byte, 32>;

/// The object by which a relative can be given more than bytes: who has it, and where it is.
struct Meeting {
  std::uint64_t holder = 0;
  std::uint64_t address = 0;
  friend bool operator==(const Meeting&, const Meeting&) = default;
};

/// Two sides prove to each other that they know the same key, before anything else is read.
///
///     listener: challenge  its nonce
///     client:   answer     its nonce, its layout, what a relative would know; MAC
///     listener: proof      its layout, whether they are relatives; MAC
///     client:   agreed     MAC
///     listener: settled    only among relatives: whether they leave the socket; MAC
///     either:   refused    in place of any of these
///
/// A MAC is made with the key, of the role, and of all that was said before: so what one side said is no
/// answer of the other's, nor in another conversation. Frames have a fixed form, and 256 bytes at most; of
/// one that is not proven nothing is looked at but its kind.
///
/// Relatives (processes of one family, which share memory) know a secret that never travels. The client
/// says where they could meet, hidden by it and with a MAC made with it: to others, that is noise.
///
/// Pure: bytes in, bytes out. It knows no sockets and no time, and has no randomness of its own.
class Handshake {
 public:
  enum class Role : std::uint8_t { listener, client };
  enum class State : std::uint8_t { talking, done, failed };
  enum class Failure : std::uint8_t {
    none,
    not_kin,          // the peer does not speak this at all
    wrong_order,      // not what comes at this point
    wrong_key,        // or a replayed, reflected or damaged answer
    refused_by_peer,  // who found one of these
    other_layout      // the key is right, but the messages are of other types
  };
  struct Terms {
    Role role = Role::listener;
    std::string key = {};
    Layout layout = {};
    Nonce nonce = {};        // never used before
    Mac family_secret = {};  // the family's
    Meeting meeting = {};    // the client's
  };

  explicit Handshake(Terms terms);

  /// How many bytes to read next; 0 when it is over.
  [[nodiscard]] std::size_t missing() const noexcept;
  /// Takes bytes, none of those behind the handshake's end; returns how many. None when it is over.
  std::size_t feed(std::span<const std::byte> bytes);
  /// What is to be sent now: also when it has failed.
  [[nodiscard]] std::vector<std::byte> take_output() noexcept;

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] Failure failure() const noexcept { return failure_; }

  /// When the listener is done: set if the client is a relative, who waits for settle().
  [[nodiscard]] const std::optional<Meeting>& relative() const noexcept { return relative_; }
  /// The listener's last word to a relative: whether what it gets is at the meeting.
  void settle(bool leaves_socket);
  /// When the client is done.
  [[nodiscard]] bool leaves_socket() const noexcept { return leaves_socket_; }

 private:
  enum class Kind : std::uint8_t { none, challenge, answer, proof, agreed, settled, refused };
  static constexpr std::size_t most = 256;

  static std::size_t body_size(Kind kind) noexcept;
  [[nodiscard]] std::span<const std::byte> body() const noexcept;
  [[nodiscard]] Mac proof_of(Role role, std::span<const std::byte> frame) const;
  [[nodiscard]] Mac family_mac(std::string_view purpose, std::span<const std::byte> text) const;
  [[nodiscard]] Meeting hidden(const Meeting& meeting) const;
  [[nodiscard]] bool is_proven() const;
  void begin(Kind kind);
  [[nodiscard]] std::span<const std::byte> written() const noexcept;
  void add(std::span<const std::byte> bytes);
  void add_layout();
  void end_frame();
  void end_proven_frame();
  void fail(Failure failure);
  [[nodiscard]] bool has_front() const noexcept;
  void read_kind();
  void read_frame();
  void read_challenge();
  void read_answer();
  void read_proof();
  void read_agreed();
  void read_settled();

  Terms terms_;
  State state_ = State::talking;
  Failure failure_ = Failure::none;
  Kind expected_ = Kind::challenge;
  std::array<std::byte, most> frame_{};  // that comes
  std::size_t filled_ = 0;
  std::array<std::byte, most> written_{};  // a frame that is being written
  std::size_t written_size_ = 0;
  std::vector<std::byte> output_;      // frames that were not taken yet
  std::vector<std::byte> transcript_;  // all frames so far, of both
  Nonce listeners_nonce_{};
  Nonce clients_nonce_{};
  Layout peers_layout_;
  std::optional<Meeting> relative_;
  bool leaves_socket_ = false;
};

/// A failure in words, for errors and the log.
[[nodiscard]] const char* text_of(Handshake::Failure failure) noexcept;

}  // namespace kin::detail
