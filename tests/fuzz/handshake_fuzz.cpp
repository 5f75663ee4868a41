// SPDX-License-Identifier: BSL-1.0

// Somebody without the key sits between clients and listeners. It has all that they ever said, and
// hands it on, to whomever it likes, as often and in what order it likes, changed or not, beside
// bytes of its own. Whoever agrees nevertheless has talked with one who has the key, and both have
// seen the same conversation, byte for byte.
//
// The input is what that one does: each step begins with a byte that says which.

#include "fuzzing.hpp"

#include "wire/handshake.hpp"
#include "wire/mac.hpp"

#include <algorithm>
#include <array>
#include <string>

using kin::detail::Handshake;
using kin::detail::Layout;
using Role = Handshake::Role;
using State = Handshake::State;

namespace {

constexpr std::size_t most_in_a_frame = 256;

// One side of a conversation.
class Party {
 public:
  explicit Party(Handshake::Terms terms)
      : role_(terms.role), key_(terms.key), family_(terms.family_secret), handshake_(terms) {
    collect();
  }

  void hear(std::span<const std::byte> bytes) {
    const fuzz::Bytes own(bytes.begin(), bytes.end());
    const bool was_over = handshake_.state() != State::talking;
    const std::size_t missing = handshake_.missing();
    const std::size_t taken = handshake_.feed(own);
    fuzz::require(taken <= own.size(), "it takes no more than there is");
    fuzz::require(!was_over || (taken == 0 && missing == 0), "nothing is read when it is over");
    fuzz::require(missing <= most_in_a_frame, "it asks for little");
    heard_.insert(heard_.end(), own.begin(), own.begin() + static_cast<std::ptrdiff_t>(taken));
    collect();
  }
  void settle(bool leaves) {
    if (!waits_to_settle()) return;
    is_settled_ = true;
    handshake_.settle(leaves);
    collect();
  }

  [[nodiscard]] Role role() const { return role_; }
  [[nodiscard]] bool agrees() const { return handshake_.state() == State::done; }
  [[nodiscard]] bool takes_for_relative() const { return handshake_.relative().has_value(); }
  [[nodiscard]] const Handshake& handshake() const { return handshake_; }
  [[nodiscard]] const std::vector<fuzz::Bytes>& said() const { return said_; }
  [[nodiscard]] std::size_t heard() const { return heard_.size(); }

  // Whether all that this one has heard is what the other has said, and whether the other had heard by then only
  // what this one has said. What the other hears later is its own affair.
  [[nodiscard]] bool has_talked_with(const Party& other) const {
    if (role_ == other.role_ || key_ != other.key_) return false;
    fuzz::Bytes theirs;
    std::size_t heard_by_then = 0;
    for (std::size_t i = 0; i < other.said_.size() && theirs.size() < heard_.size(); ++i) {
      theirs.insert(theirs.end(), other.said_[i].begin(), other.said_[i].end());
      heard_by_then = other.heard_before_[i];
    }
    const auto what_it_heard = std::span(other.heard_).first(heard_by_then);
    return begins_with(theirs, heard_) && begins_with(all_said(), what_it_heard);
  }
  [[nodiscard]] bool is_relative_of(const Party& other) const { return family_ == other.family_; }

 private:
  static bool begins_with(std::span<const std::byte> all, std::span<const std::byte> front) {
    return front.size() <= all.size() && std::equal(front.begin(), front.end(), all.begin());
  }
  [[nodiscard]] bool waits_to_settle() const {
    return role_ == Role::listener && agrees() && takes_for_relative() && !is_settled_;
  }
  [[nodiscard]] fuzz::Bytes all_said() const {
    fuzz::Bytes all;
    for (const fuzz::Bytes& frame : said_) all.insert(all.end(), frame.begin(), frame.end());
    return all;
  }
  void collect() {
    fuzz::Bytes output = handshake_.take_output();
    fuzz::require(output.size() <= most_in_a_frame, "it answers a frame with a frame");
    if (!output.empty()) {
      said_.push_back(std::move(output));
      heard_before_.push_back(heard_.size());
    }
    fuzz::require(said_.size() <= 4, "it says what the protocol says");
  }

  Role role_;
  std::string key_;
  kin::detail::Mac family_;
  Handshake handshake_;
  bool is_settled_ = false;
  fuzz::Bytes heard_;
  std::vector<fuzz::Bytes> said_;
  std::vector<std::size_t> heard_before_;  // each of these
};

// Who is there: two listeners, two of their clients, and a client with another key. The first of each
// are of one family.
std::vector<Party> everybody() {
  std::vector<Party> parties;
  unsigned char number = 0;
  const auto add = [&](Role role, const char* key, unsigned char family) {
    Handshake::Terms terms;
    terms.role = role;
    terms.key = key;
    terms.layout =
        role == Role::listener ? Layout::of_this_program(1, 2) : Layout::of_this_program(2, 1);
    terms.nonce.fill(std::byte{++number});
    terms.family_secret.fill(std::byte{family});
    terms.meeting = {.holder = number, .address = 64U * number};
    parties.emplace_back(std::move(terms));
  };
  add(Role::listener, "the key", 1);
  add(Role::client, "the key", 1);
  add(Role::listener, "the key", 2);
  add(Role::client, "the key", 3);
  add(Role::client, "another key", 1);
  return parties;
}

// ---- who sits in between

// A frame that somebody has said; none if there is none yet.
std::span<const std::byte> some_frame(fuzz::Choices& choices, const std::vector<Party>& parties) {
  const auto& said = parties[choices.below(parties.size())].said();
  if (said.empty()) return {};
  return said[choices.below(said.size())];
}

void take_step(fuzz::Choices& choices, std::vector<Party>& parties) {
  enum Step { hand_on, change, cut, make_up, settle, steps };
  const auto step = static_cast<Step>(choices.below(steps));
  Party& party = parties[choices.below(parties.size())];
  switch (step) {
    case hand_on: return party.hear(some_frame(choices, parties));
    case change: {
      const auto frame = some_frame(choices, parties);
      fuzz::Bytes changed(frame.begin(), frame.end());
      const std::size_t place = choices.below(256);
      if (place < changed.size()) changed[place] ^= static_cast<std::byte>(choices.below(256));
      return party.hear(changed);
    }
    case cut: {
      const auto frame = some_frame(choices, parties);
      const std::size_t from = std::min(choices.below(256), frame.size());
      return party.hear(
          frame.subspan(from).first(std::min(choices.below(256), frame.size() - from)));
    }
    case make_up: return party.hear(choices.take(choices.below(256)));
    case settle: return party.settle(choices.below(2) == 1);
    case steps: break;
  }
}

void check(const std::vector<Party>& parties) {
  for (const Party& party : parties) {
    if (!party.agrees()) {
      fuzz::require(!party.takes_for_relative() || party.role() == Role::listener,
                    "clients take nobody for a relative");
      continue;
    }
    const auto partner = std::ranges::find_if(
        parties, [&](const Party& other) { return party.has_talked_with(other); });
    fuzz::require(partner != parties.end(), "who agrees has talked with one who has the key");
    fuzz::require(!party.takes_for_relative() || party.is_relative_of(*partner),
                  "a relative is a relative");
  }
}

// Nobody changes anything: it has to end well, however the bytes are cut.
void talk_undisturbed(fuzz::Choices& choices, Party& listener, Party& client) {
  const auto hand_over = [&](const Party& from, Party& to) {
    fuzz::Bytes all;
    for (const fuzz::Bytes& frame : from.said()) all.insert(all.end(), frame.begin(), frame.end());
    while (to.heard() < all.size()) {
      const auto rest = std::span(all).subspan(to.heard());
      to.hear(rest.first(std::min(1 + choices.below(256), rest.size())));
    }
  };
  hand_over(listener, client);
  hand_over(client, listener);
  hand_over(listener, client);
  hand_over(client, listener);
  fuzz::require(listener.agrees(), "an undisturbed listener agrees");
  listener.settle(true);
  hand_over(listener, client);
  fuzz::require(client.agrees(), "an undisturbed client agrees");
  fuzz::require(listener.takes_for_relative() == listener.is_relative_of(client),
                "relatives find each other");
  fuzz::require(client.handshake().leaves_socket() == listener.takes_for_relative(),
                "and are told");
}

// What the one in between does to stay out of it.
void add_undisturbed(fuzz::Bytes& input, unsigned listener, unsigned client) {
  for (const auto& [to, from, frame] : {std::array{client, listener, 0U},
                                        {listener, client, 0U},
                                        {client, listener, 1U},
                                        {listener, client, 1U}}) {
    for (const unsigned choice : {0U, to, from, frame}) {
      input.push_back(static_cast<std::byte>(choice));
    }
  }
}

}  // namespace

namespace fuzz {

void try_bytes(std::span<const std::byte> input) {
  Choices choices(input);
  // OpenSSL makes itself ready when it is first used, and stays so.
  static const kin::detail::Mac first = kin::detail::mac_of({}, {});
  static_cast<void>(first);
  const MemoryWatch memory;
  {
    std::vector<Party> parties = everybody();
    if (choices.below(16) == 0) {
      talk_undisturbed(choices, parties[0], parties[1]);
      talk_undisturbed(choices, parties[2], parties[3]);
    } else {
      while (!choices.empty()) {
        take_step(choices, parties);
        check(parties);
      }
    }
  }
  require(memory.most() <= 65536, "memory is bounded, whatever is said");
}

std::vector<Bytes> seeds() {
  Bytes cut_small{std::byte{0}};
  cut_small.resize(1000, std::byte{3});
  Bytes handed_on{std::byte{1}};
  add_undisturbed(handed_on, 0, 1);
  add_undisturbed(handed_on, 2, 3);
  Bytes crossed{std::byte{1}};
  add_undisturbed(crossed, 0, 3);
  add_undisturbed(crossed, 2, 1);
  Bytes wrong{std::byte{1}};
  add_undisturbed(wrong, 0, 4);
  return {cut_small, handed_on, crossed, wrong};
}

}  // namespace fuzz
