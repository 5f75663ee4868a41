// SPDX-License-Identifier: BSL-1.0
//
// The handshake as a machine of two roles. A frame is "kin1", its kind, and a body whose length the kind
// says; numbers have their lowest byte first. Listeners drive many of these at once, clients one.

#include "wire/handshake.hpp"

#include <kin/version.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <string_view>
#include <utility>

namespace kin::detail {
namespace {

// Another protocol has another front, and is not understood at all.
constexpr std::string_view front = "kin1";
constexpr std::size_t head_size = front.size() + 1;

constexpr std::size_t nonce_size = sizeof(Nonce);
constexpr std::size_t mac_size = sizeof(Mac);
constexpr std::size_t layout_size = 20;
constexpr std::size_t meeting_size = 16;

std::span<const std::byte> bytes_in(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <typename Number>
void put_number(std::byte*& to, Number number) {
  for (std::size_t i = 0; i < sizeof number; ++i) {
    *to++ = static_cast<std::byte>(static_cast<std::uint64_t>(number) >> (8 * i));
  }
}

template <typename Number>
void get_number(const std::byte*& from, Number& number) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof number; ++i) {
    value |= std::to_integer<std::uint64_t>(*from++) << (8 * i);
  }
  number = static_cast<Number>(value);
}

std::array<std::byte, layout_size> bytes_of(const Layout& layout) {
  std::array<std::byte, layout_size> bytes{};
  std::byte* to = bytes.data();
  put_number(to, layout.byte_order);
  put_number(to, layout.word_size);
  put_number(to, layout.series);
  put_number(to, layout.sends);
  put_number(to, layout.receives);
  return bytes;
}

Layout layout_in(std::span<const std::byte> bytes) {
  Layout layout;
  const std::byte* from = bytes.data();
  get_number(from, layout.byte_order);
  get_number(from, layout.word_size);
  get_number(from, layout.series);
  get_number(from, layout.sends);
  get_number(from, layout.receives);
  return layout;
}

std::array<std::byte, meeting_size> bytes_of(const Meeting& meeting) {
  std::array<std::byte, meeting_size> bytes{};
  std::byte* to = bytes.data();
  put_number(to, meeting.holder);
  put_number(to, meeting.address);
  return bytes;
}

Meeting meeting_in(std::span<const std::byte> bytes) {
  Meeting meeting;
  const std::byte* from = bytes.data();
  get_number(from, meeting.holder);
  get_number(from, meeting.address);
  return meeting;
}

}  // namespace

Layout Layout::of_this_program(std::uint64_t sends, std::uint64_t receives) noexcept {
  return {
      .byte_order = std::endian::native == std::endian::little ? std::uint8_t{1} : std::uint8_t{2},
      .word_size = sizeof(void*),
      .series = KIN_VERSION_MAJOR << 8 | KIN_VERSION_MINOR,
      .sends = sends,
      .receives = receives};
}

bool Layout::fits(const Layout& other) const noexcept {
  return byte_order == other.byte_order && word_size == other.word_size && series == other.series &&
         sends == other.receives && receives == other.sends;
}

const char* text_of(Handshake::Failure failure) noexcept {
  switch (failure) {
    case Handshake::Failure::none: break;
    case Handshake::Failure::not_kin: return "the peer does not speak kin's protocol";
    case Handshake::Failure::wrong_order: return "the peer said what was not its turn to say";
    case Handshake::Failure::wrong_key: return "the peer did not prove that it knows the authkey";
    case Handshake::Failure::refused_by_peer: return "the peer refused: its authkey is another";
    case Handshake::Failure::other_layout:
      return "the peer's messages are of other types, or it is another kind of machine or another "
             "version of kin";
  }
  return "nothing failed";
}

Handshake::Handshake(Terms terms) : terms_(std::move(terms)) {
  if (terms_.role == Role::client) {
    clients_nonce_ = terms_.nonce;
    return;
  }
  listeners_nonce_ = terms_.nonce;
  begin(Kind::challenge);
  add(listeners_nonce_);
  end_frame();
  expected_ = Kind::answer;
}

std::size_t Handshake::body_size(Kind kind) noexcept {
  static_assert(head_size + nonce_size + layout_size + meeting_size + 2 * mac_size <= most);
  switch (kind) {
    case Kind::none: break;
    case Kind::challenge: return nonce_size;
    case Kind::answer: return nonce_size + layout_size + meeting_size + 2 * mac_size;
    case Kind::proof: return layout_size + 1 + mac_size;
    case Kind::agreed: return mac_size;
    case Kind::settled: return 1 + mac_size;
    case Kind::refused: return 0;
  }
  return 0;
}

// ---- reading

std::span<const std::byte> Handshake::body() const noexcept {
  return std::span(frame_).first(filled_).subspan(head_size);
}

std::size_t Handshake::missing() const noexcept {
  if (state_ != State::talking) return 0;
  if (filled_ < head_size) return head_size - filled_;
  return head_size + body_size(static_cast<Kind>(frame_[head_size - 1])) - filled_;
}

std::size_t Handshake::feed(std::span<const std::byte> bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && state_ == State::talking) {
    const auto part = bytes.subspan(taken, std::min(missing(), bytes.size() - taken));
    std::ranges::copy(part, frame_.begin() + static_cast<std::ptrdiff_t>(filled_));
    filled_ += part.size();
    taken += part.size();
    if (!has_front()) {
      fail(Failure::not_kin);
    } else if (filled_ == head_size) {
      read_kind();
    }
    if (state_ == State::talking && filled_ >= head_size && missing() == 0) {
      read_frame();
      filled_ = 0;
    }
  }
  return taken;
}

// As much of it as came.
bool Handshake::has_front() const noexcept {
  const std::size_t size = std::min(filled_, front.size());
  return std::ranges::equal(std::span(frame_).first(size), bytes_in(front.substr(0, size)));
}

void Handshake::read_kind() {
  const auto kind = static_cast<Kind>(frame_[head_size - 1]);
  if (kind != expected_ && kind != Kind::refused) fail(Failure::wrong_order);
}

void Handshake::read_frame() {
  const auto kind = static_cast<Kind>(frame_[head_size - 1]);
  if (kind == Kind::refused) {
    state_ = State::failed;
    failure_ = Failure::refused_by_peer;
    return;
  }
  // But for the first, which has nothing to prove.
  if (kind != Kind::challenge && !is_proven()) return fail(Failure::wrong_key);
  const auto whole = std::span(frame_).first(filled_);
  transcript_.insert(transcript_.end(), whole.begin(), whole.end());
  switch (kind) {
    case Kind::challenge: return read_challenge();
    case Kind::answer: return read_answer();
    case Kind::proof: return read_proof();
    case Kind::agreed: return read_agreed();
    case Kind::settled: return read_settled();
    case Kind::none:
    case Kind::refused: break;
  }
}

void Handshake::read_challenge() {
  std::ranges::copy(body(), listeners_nonce_.begin());
  begin(Kind::answer);
  add(clients_nonce_);
  add_layout();
  const auto meeting = bytes_of(hidden(terms_.meeting));
  add(meeting);
  add(family_mac("kin family", meeting));
  end_proven_frame();
  expected_ = Kind::proof;
}

void Handshake::read_answer() {
  auto rest = body();
  std::ranges::copy(rest.first(nonce_size), clients_nonce_.begin());
  rest = rest.subspan(nonce_size);
  peers_layout_ = layout_in(rest);
  rest = rest.subspan(layout_size);
  const auto meeting = rest.first(meeting_size);
  if (is_same(family_mac("kin family", meeting), rest.subspan(meeting_size).first<sizeof(Mac)>()) &&
      terms_.layout.fits(peers_layout_)) {
    relative_ = hidden(meeting_in(meeting));
  }
  begin(Kind::proof);
  add_layout();
  const std::byte is_relative{relative_.has_value()};
  add(std::span(&is_relative, 1));
  end_proven_frame();
  expected_ = Kind::agreed;
}

void Handshake::read_proof() {
  peers_layout_ = layout_in(body());
  const bool is_relative = body()[layout_size] != std::byte{0};
  begin(Kind::agreed);
  end_proven_frame();
  expected_ = Kind::settled;
  if (!terms_.layout.fits(peers_layout_)) {
    // The listener, who finds the same, is to see that it was no stranger.
    state_ = State::failed;
    failure_ = Failure::other_layout;
  } else if (!is_relative) {
    state_ = State::done;
  }
}

void Handshake::read_agreed() {
  expected_ = Kind::none;
  if (terms_.layout.fits(peers_layout_)) {
    state_ = State::done;
  } else {
    state_ = State::failed;
    failure_ = Failure::other_layout;
  }
}

void Handshake::read_settled() {
  leaves_socket_ = body()[0] != std::byte{0};
  state_ = State::done;
}

// ---- writing

void Handshake::begin(Kind kind) {
  written_size_ = 0;
  add(bytes_in(front));
  const auto number = static_cast<std::byte>(kind);
  add(std::span(&number, 1));
}

std::span<const std::byte> Handshake::written() const noexcept {
  return std::span(written_).first(written_size_);
}

void Handshake::add(std::span<const std::byte> bytes) {
  assert(bytes.size() <= most - written_size_);
  std::ranges::copy(bytes, written_.begin() + static_cast<std::ptrdiff_t>(written_size_));
  written_size_ += bytes.size();
}

void Handshake::add_layout() { add(bytes_of(terms_.layout)); }

void Handshake::end_frame() {
  const auto frame = written();
  output_.insert(output_.end(), frame.begin(), frame.end());
  transcript_.insert(transcript_.end(), frame.begin(), frame.end());
}

void Handshake::end_proven_frame() {
  add(proof_of(terms_.role, written()));
  end_frame();
}

std::vector<std::byte> Handshake::take_output() noexcept { return std::exchange(output_, {}); }

void Handshake::settle(bool leaves_socket) {
  begin(Kind::settled);
  const std::byte answer{leaves_socket};
  add(std::span(&answer, 1));
  end_proven_frame();
}

void Handshake::fail(Failure failure) {
  state_ = State::failed;
  failure_ = failure;
  // Who speaks something else would not understand it.
  if (failure == Failure::not_kin) return;
  begin(Kind::refused);
  end_frame();
}

// ---- proving

// The key, the role, all that was said, and what is said now.
Mac Handshake::proof_of(Role role, std::span<const std::byte> frame) const {
  const std::string_view label = role == Role::listener ? "kin listener" : "kin client";
  return mac_of(bytes_in(terms_.key), {bytes_in(label), transcript_, frame});
}

bool Handshake::is_proven() const {
  const Role peer = terms_.role == Role::listener ? Role::client : Role::listener;
  const auto whole = std::span(frame_).first(filled_);
  return is_same(proof_of(peer, whole.first(filled_ - mac_size)), whole.last<sizeof(Mac)>());
}

Mac Handshake::family_mac(std::string_view purpose, std::span<const std::byte> text) const {
  return mac_of(terms_.family_secret, {bytes_in(purpose), listeners_nonce_, clients_nonce_, text});
}

// Twice: as it was.
Meeting Handshake::hidden(const Meeting& meeting) const {
  const Meeting pad = meeting_in(family_mac("kin meeting", {}));
  return {.holder = meeting.holder ^ pad.holder, .address = meeting.address ^ pad.address};
}

}  // namespace kin::detail
