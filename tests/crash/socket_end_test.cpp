// SPDX-License-Identifier: BSL-1.0

// Whoever sends or receives at an end over a socket, which it shares with others, is killed or stopped at
// every instruction: a message is whole or was never sent, and still there or gone with its taker. At
// worst the stream is at its end for all, and the peer sees that too; nobody waits for ever.
//
// Fails when try_receive() does not peek.

#include "crash/family.hpp"
#include "crash/pipes.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"
#include "support/socket_ends.hpp"

#include <kin/listener.hpp>
#include <kin/process.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using namespace std::chrono_literals;

namespace {

using Bytes = std::vector<std::byte>;
using Connections = support::SocketConnections<int>;

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";
const std::string stream_ended = "the stream ended";
const std::string still_there = "still there";
const std::string gone = "gone with its taker";

Bytes message_of(std::size_t size, int filling) { return Bytes(size, std::byte(filling)); }

/// Both sides, made anew for each round.
struct FreshConnections {
  support::SocketKind kind;
  std::optional<Connections> sides = {};

  void prepare() {
    sweep_the_dead();
    sides.emplace(kind);
  }
};

// All messages up to the end of the stream.
std::vector<Bytes> receive_to_end(const kin::Connection<int>& end) {
  std::vector<Bytes> messages;
  while (!crash::ends([&] { messages.push_back(end.recv_bytes()); })) {
  }
  return messages;
}

std::vector<Bytes> receive_up_to(const kin::Connection<int>& end, const Bytes& last) {
  std::vector<Bytes> messages;
  do {
    messages.push_back(end.recv_bytes());
  } while (messages.back() != last);
  return messages;
}

struct Send {
  FreshConnections fresh;
  Bytes item;
  Bytes before = message_of(10, 1);
  Bytes after = message_of(20, 3);

  void prepare() {
    fresh.prepare();
    fresh.sides->first.send_bytes(before);
  }
  std::string among_others(const Moment& moment) const {
    const auto& [first, second] = *fresh.sides;
    bool is_torn = false;
    try {
      first.send_bytes(after);
    } catch (const kin::BrokenPipe&) {
      is_torn = true;
    }
    // The test process has that end, too: so the stream has an end only if it is torn.
    const auto found = is_torn ? receive_to_end(second) : receive_up_to(second, after);
    std::vector<Bytes> without{before};
    std::vector<Bytes> with{before, item};
    if (!is_torn) {
      without.push_back(after);
      with.push_back(after);
    }
    const bool was_sent = crash::is_done(moment, found, without, with);
    require(!is_torn || !moment.completed, "send() returned, and the stream is torn");
    return is_torn ? stream_ended : was_sent ? sent_whole : never_sent;
  }
  std::string by_itself(const Moment& moment) const {
    const auto found = receive_to_end(fresh.sides->second);
    return crash::is_done(moment, found, {before}, {before, item}) ? sent_whole : never_sent;
  }
};

void prove_send(const std::string& name, support::SocketKind kind, std::size_t size) {
  Send send{.fresh = {.kind = kind, .sides = {}}, .item = message_of(size, 2)};
  crash::Scenario scenario{
      .name = name,
      .prepare = [&] { send.prepare(); },
      .operation = [&] { send.fresh.sides->first.send_bytes(send.item); },
      .check = [&](const Moment& moment) { return send.among_others(moment); },
      .expected = {never_sent, stream_ended, sent_whole},
      .budget = 2s,
  };
  crash::prove(scenario);
  scenario.name = name + ", and then the end";
  scenario.check = [&](const Moment& moment) { return send.by_itself(moment); };
  scenario.expected = {never_sent, sent_whole};
  scenario.let_go = [&] { send.fresh.sides->first.close(); };
  crash::prove(scenario);
}

struct Receive {
  FreshConnections fresh;
  Bytes item;
  Bytes after = message_of(20, 3);

  void prepare() {
    fresh.prepare();
    fresh.sides->first.send_bytes(item);
    fresh.sides->first.send_bytes(after);
    fresh.sides->first.close();
  }
  std::string check(const Moment& moment) const {
    const auto found = receive_to_end(fresh.sides->second);
    if (found.empty() && !moment.completed) return stream_ended;
    const bool was_taken = crash::is_done(moment, found, {item, after}, {after});
    return was_taken ? gone : still_there;
  }
};

void prove_receive(const std::string& name, support::SocketKind kind, std::size_t size,
                   std::vector<std::string> expected, crash::At at = crash::At::every_instruction) {
  Receive receive{.fresh = {.kind = kind, .sides = {}}, .item = message_of(size, 2)};
  crash::prove({
      .name = name,
      .prepare = [&] { receive.prepare(); },
      .operation = [&] { static_cast<void>(receive.fresh.sides->second.recv_bytes()); },
      .check = [&](const Moment& moment) { return receive.check(moment); },
      .expected = std::move(expected),
      .at = at,
      // Of the changes there are few.
      .budget = at == crash::At::every_change ? 0s : 2s,
  });
}

/// A listener of the test process's, which all others inherit.
struct Door {
  kin::Listener<int> listener{kin::ListenerOptions{.authkey = "key"}};

  [[nodiscard]] kin::Client<int> knock(std::chrono::milliseconds limit) const {
    return kin::Client<int>(listener.address(), {.authkey = "key", .handshake_limit = limit});
  }
  // Others are served, whatever a client has left behind.
  std::string serve_others() const {
    std::thread client([&] { knock(5s).send(42); });
    std::string found = "nobody is served any more";
    while (auto connection = listener.accept_for(4s)) {
      try {
        if (connection->recv_for(0s) || connection->recv() == 42) {
          found = "others are served";
          break;
        }
      } catch (
          const kin::EndOfStream&) {  // NOLINT(bugprone-empty-catch): of the one that was killed
      }
    }
    client.join();
    return found;
  }
};

}  // namespace

TEST_SUITE("socket end") {
  TEST_CASE("a message is sent that fits the socket") {
    prove_send("send over a Unix socket", support::SocketKind::unix_domain, 100);
    prove_send("send over TCP", support::SocketKind::tcp, 100);
  }

  TEST_CASE("a sender is stopped, and goes on") {
    Send send{.fresh = {.kind = support::SocketKind::unix_domain, .sides = {}},
              .item = message_of(100, 2)};
    crash::prove({
        .name = "send over a Unix socket, stopped",
        .prepare = [&] { send.prepare(); },
        .operation = [&] { send.fresh.sides->first.send_bytes(send.item); },
        .check =
            [&](const Moment& /*moment*/) {
              const auto found = receive_up_to(send.fresh.sides->second, send.item);
              require(found == std::vector{send.before, send.item}, "the message is lost");
              return sent_whole;
            },
        .expected = {sent_whole},
        .with = crash::With::stop,
        .budget = 2s,
    });
  }

  TEST_CASE("a message is received in one piece") {
    prove_receive("recv from a Unix socket", support::SocketKind::unix_domain, 100,
                  {still_there, gone});
    prove_receive("recv from TCP", support::SocketKind::tcp, 100, {still_there, gone});
  }

  TEST_CASE("a message is received in pieces") {
    prove_receive("recv of 5 kB from a Unix socket", support::SocketKind::unix_domain, 5'000,
                  {still_there, stream_ended, gone}, crash::At::every_change);
  }

  TEST_CASE("clients and those who accept are killed, again and again") {
    const Door door;
    struct Progress {
      std::atomic<int> met;
    };
    const crash::SharedPage<Progress> progress;
    const auto connect = [&] {
      while (true) {
        static_cast<void>(door.knock(5s));
        ++progress->met;
      }
    };
    const auto accept = [&] {
      while (true) {
        if (door.listener.accept_for(5s)) ++progress->met;
      }
    };
    constexpr int rounds = 40;
    for (int round = 0; round < rounds; ++round) {
      sweep_the_dead();
      kin::Process client(connect);
      kin::Process acceptor(accept);
      kin::Process other_acceptor(accept);
      const int before = progress->met;
      for (kin::Process* each : {&client, &acceptor, &other_acceptor}) each->start();
      const auto end = std::chrono::steady_clock::now() + 60s;
      while (progress->met < before + 3 && std::chrono::steady_clock::now() < end) {
        std::this_thread::yield();
      }
      CHECK(progress->met >= before + 3);
      // At some other instruction each time.
      for (int turn = 0; turn < round * 997; ++turn) {
        asm volatile("");
      }
      for (kin::Process* each : {&client, &acceptor, &other_acceptor}) {
        each->kill();
        each->join();
      }
      CHECK(door.serve_others() == "others are served");
    }
  }
}
