// SPDX-License-Identifier: BSL-1.0

#include "wire/handshake.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

using kin::detail::Handshake;
using kin::detail::Layout;
using kin::detail::Mac;
using kin::detail::Meeting;
using kin::detail::Nonce;
using Bytes = std::vector<std::byte>;
using Failure = Handshake::Failure;
using Role = Handshake::Role;
using State = Handshake::State;

// Where its frames begin, in the bytes that each side says.
constexpr std::size_t head = 5;
constexpr std::size_t challenge_size = head + 32;
constexpr std::size_t answer_size = head + 32 + 20 + 16 + 32 + 32;
constexpr std::size_t proof_size = head + 20 + 1 + 32;
constexpr std::size_t agreed_size = head + 32;

Nonce nonce_of(int number) {
  Nonce nonce{};
  nonce.fill(static_cast<std::byte>(number));
  return nonce;
}

Mac secret_of(int number) {
  Mac secret{};
  secret.fill(static_cast<std::byte>(number));
  return secret;
}

Handshake listener(std::string key, int nonce = 1, int family = 1, Layout layout = {}) {
  return Handshake({.role = Role::listener,
                    .key = std::move(key),
                    .layout = layout,
                    .nonce = nonce_of(nonce),
                    .family_secret = secret_of(family)});
}

constexpr Meeting meeting{.holder = 0x0102030405060708, .address = 0x7f0011223344};

Handshake client(std::string key, int nonce = 2, int family = 2, Layout layout = {}) {
  return Handshake({.role = Role::client,
                    .key = std::move(key),
                    .layout = layout,
                    .nonce = nonce_of(nonce),
                    .family_secret = secret_of(family),
                    .meeting = meeting});
}

struct Said {
  Bytes by_listener;
  Bytes by_client;
};

void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }

// Passes on what each says, in pieces of that size, until neither says more. The listener settles with
// relatives at once.
Said talk(Handshake& one, Handshake& other, std::size_t piece = 1000) {
  Said said;
  const auto pass = [piece](const Bytes& bytes, Handshake& to) {
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t count =
          to.feed(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
      if (count == 0) break;
      at += count;
    }
  };
  bool is_settled = false;
  while (true) {
    if (one.state() == State::done && one.relative() && !std::exchange(is_settled, true)) {
      one.settle(true);
    }
    const Bytes from_listener = one.take_output();
    append(said.by_listener, from_listener);
    pass(from_listener, other);
    const Bytes from_client = other.take_output();
    append(said.by_client, from_client);
    pass(from_client, one);
    if (from_listener.empty() && from_client.empty()) return said;
  }
}

TEST_SUITE("handshake") {
  TEST_CASE("who has the same key is let in, in however small pieces it speaks") {
    for (const std::size_t piece : {1u, 2u, 7u, 64u, 1000u}) {
      for (const std::string& key :
           {std::string("open sesame"), std::string(), std::string(1000, '\0')}) {
        Handshake one = listener(key);
        Handshake other = client(key);
        const Said said = talk(one, other, piece);
        CHECK(one.state() == State::done);
        CHECK(other.state() == State::done);
        CHECK(!one.relative());
        CHECK(!other.leaves_socket());
        CHECK(said.by_listener.size() == challenge_size + proof_size);
        CHECK(said.by_client.size() == answer_size + agreed_size);
        CHECK(one.missing() == 0);
        CHECK(one.feed(Bytes(1)) == 0);
      }
    }
  }

  TEST_CASE("who has another key is not, and both are told") {
    Handshake one = listener("open sesame");
    Handshake other = client("open barley");
    talk(one, other);
    CHECK(one.state() == State::failed);
    CHECK(one.failure() == Failure::wrong_key);
    CHECK(other.state() == State::failed);
    CHECK(other.failure() == Failure::refused_by_peer);
  }

  TEST_CASE("a listener that lets anybody in, but does not know the key, is found out") {
    Handshake real = listener("key");
    Handshake victim = client("key");
    victim.feed(real.take_output());
    real.feed(victim.take_output());
    Bytes proof = real.take_output();
    REQUIRE(proof.size() == proof_size);
    proof.back() ^= std::byte{1};
    victim.feed(proof);
    CHECK(victim.failure() == Failure::wrong_key);
    // And is told.
    real.feed(victim.take_output());
    CHECK(real.failure() == Failure::refused_by_peer);
  }

  TEST_CASE("no bit of what a side says may change on its way") {
    Handshake one = listener("key");
    Handshake other = client("key");
    const Said said = talk(one, other);
    for (std::size_t bit = 0; bit < said.by_client.size() * 8; ++bit) {
      Bytes changed = said.by_client;
      changed[bit / 8] ^= std::byte{1} << bit % 8;
      Handshake again = listener("key");
      again.feed(std::span(changed).subspan(again.feed(changed)));
      CHECK(again.state() != State::done);
    }
    for (std::size_t bit = 0; bit < said.by_listener.size() * 8; ++bit) {
      Bytes changed = said.by_listener;
      changed[bit / 8] ^= std::byte{1} << bit % 8;
      Handshake again = client("key");
      again.feed(std::span(changed).subspan(again.feed(changed)));
      CHECK(again.state() != State::done);
    }
    // While what was said does let it in, as the nonces are the same in this test.
    Handshake again = listener("key");
    again.feed(said.by_client);
    CHECK(again.state() == State::done);
  }

  TEST_CASE("an answer that was heard in another conversation is none in this") {
    Handshake one = listener("key", 1);
    Handshake other = client("key", 2);
    const Said said = talk(one, other);
    Handshake again = listener("key", 3);
    again.feed(said.by_client);
    CHECK(again.failure() == Failure::wrong_key);
    Handshake another = client("key", 4);
    another.feed(said.by_listener);
    CHECK(another.failure() == Failure::wrong_key);
  }

  TEST_CASE("what a side says itself is no answer to it") {
    Handshake one = listener("key");
    one.feed(one.take_output());
    CHECK(one.failure() == Failure::wrong_order);

    // A client to whom its answer comes back as the proof.
    Handshake real = listener("key");
    Handshake other = client("key");
    other.feed(real.take_output());
    Bytes answer = other.take_output();
    Handshake same = other;
    same.feed(answer);
    CHECK(same.failure() == Failure::wrong_order);
    answer[head - 1] = std::byte{3};
    other.feed(answer);
    CHECK(other.failure() == Failure::wrong_key);
  }

  TEST_CASE("nothing may be said before its turn") {
    Handshake one = listener("key");
    Handshake other = client("key");
    const Said said = talk(one, other);
    const auto agreed = std::span(said.by_client).subspan(answer_size);
    const auto proof = std::span(said.by_listener).subspan(challenge_size);
    Handshake early = listener("key");
    early.feed(agreed);
    CHECK(early.failure() == Failure::wrong_order);
    Handshake eager = client("key");
    eager.feed(proof);
    CHECK(eager.failure() == Failure::wrong_order);
    // The answer twice.
    Handshake twice = listener("key");
    twice.feed(std::span(said.by_client).first(answer_size));
    twice.feed(std::span(said.by_client).first(answer_size));
    CHECK(twice.failure() == Failure::wrong_order);
  }

  TEST_CASE("who speaks something else is seen at the first bytes, and gets no answer") {
    for (const std::string text :
         {"GET / HTTP/1.1\r\n\r\n", "kin2\x02", "\x16\x03\x01", "x", "kin"}) {
      Handshake one = listener("key");
      static_cast<void>(one.take_output());
      one.feed(std::as_bytes(std::span(text)));
      const bool is_front = text == "kin";
      CHECK(one.state() == (is_front ? State::talking : State::failed));
      CHECK(one.failure() == (is_front ? Failure::none : Failure::not_kin));
      CHECK(one.take_output().empty());
    }
  }

  TEST_CASE("messages of other types are told to both, once they know each other") {
    const Layout ours = Layout::of_this_program(1, 2);
    Handshake one = listener("key", 1, 1, ours);
    Handshake other = client("key", 2, 1, ours);  // it sends what we send
    talk(one, other);
    CHECK(one.failure() == Failure::other_layout);
    CHECK(other.failure() == Failure::other_layout);

    Handshake fitting = listener("key", 1, 2, ours);
    Handshake peer = client("key", 2, 1, Layout::of_this_program(2, 1));
    talk(fitting, peer);
    CHECK(fitting.state() == State::done);
    CHECK(peer.state() == State::done);

    // With another key nobody learns anything of that.
    Handshake strange = listener("other key", 1, 1, ours);
    Handshake guest = client("key", 2, 1, ours);
    talk(strange, guest);
    CHECK(strange.failure() == Failure::wrong_key);
    CHECK(guest.failure() == Failure::refused_by_peer);
  }

  TEST_CASE("a layout fits its mirror image only") {
    const Layout one = Layout::of_this_program(1, 2);
    const Layout mirrored = Layout::of_this_program(2, 1);
    CHECK(one.fits(mirrored));
    CHECK(!one.fits(one));
    for (auto change : {+[](Layout& layout) { layout.byte_order ^= 3; },
                        +[](Layout& layout) { layout.word_size = 4; },
                        +[](Layout& layout) { ++layout.series; }}) {
      Layout other = mirrored;
      change(other);
      CHECK(!one.fits(other));
    }
  }

  TEST_CASE("relatives meet, and others see nothing of where") {
    Handshake one = listener("key", 1, 7);
    Handshake other = client("key", 2, 7);
    const Said said = talk(one, other);
    CHECK(one.relative() == meeting);
    CHECK(other.state() == State::done);
    CHECK(other.leaves_socket());
    const auto has = [&](std::uint64_t number) {
      Bytes bytes(sizeof number);
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(number >> (8 * i));
      }
      return !std::ranges::search(said.by_client, bytes).empty();
    };
    CHECK(!has(meeting.holder));
    CHECK(!has(meeting.address));
  }

  TEST_CASE("a listener that can't leave the socket says so") {
    Handshake one = listener("key", 1, 7);
    Handshake other = client("key", 2, 7);
    other.feed(one.take_output());
    one.feed(other.take_output());
    other.feed(one.take_output());
    CHECK(other.state() == State::talking);  // it waits for that word
    one.feed(other.take_output());
    REQUIRE(one.relative().has_value());
    one.settle(false);
    other.feed(one.take_output());
    CHECK(other.state() == State::done);
    CHECK(!other.leaves_socket());
  }
}

}  // namespace
