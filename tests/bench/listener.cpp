// SPDX-License-Identifier: BSL-1.0

// Connections by address beside what they stand on.
//
// Round trip between strangers: 64 bytes there and back through a Client and a Listener that stay at their
// socket, beside bare blocking read() and write() at such a socket (TCP_NODELAY).
// Round trip between relatives, who have left the socket, beside a Pipe's.
// Connecting: from the constructor of a Client to what accept() returns, with the proofs of both sides.

#include "rounds.hpp"
#include "table.hpp"

#include "support/socket_ends.hpp"

#include <kin/connection.hpp>
#include <kin/listener.hpp>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <utility>

#include <netinet/tcp.h>
#include <unistd.h>

namespace {

using bench::Contestant;
using bench::Placement;
using bench::Table;
using support::SocketKind;
using Message = std::array<std::byte, 64>;
using Sockets = std::pair<kin::UniqueFd, kin::UniqueFd>;

Sockets sockets_without_delay(SocketKind kind) {
  Sockets sockets = support::socket_pair(kind);
  const int on = 1;
  for (const kin::UniqueFd* one : {&sockets.first, &sockets.second}) {
    if (kind == SocketKind::tcp) {
      ::setsockopt(one->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
  }
  return sockets;
}

double round_trip(const kin::Connection<Message>& one, const kin::Connection<Message>& other,
                  int trips) {
  return bench::time_together(Placement::apart, {[&] {
                                                   const Message message{};
                                                   for (int i = 0; i < trips; ++i) {
                                                     one.send(message);
                                                     static_cast<void>(one.recv());
                                                   }
                                                 },
                                                 [&] {
                                                   for (int i = 0; i < trips; ++i) {
                                                     other.send(other.recv());
                                                   }
                                                 }}) /
         trips;
}

double bare_round_trip(const Sockets& sockets, int trips) {
  const auto send = [](const kin::UniqueFd& socket, const Message& message) {
    if (::write(socket.get(), &message, sizeof message) != sizeof message) std::abort();
  };
  const auto receive = [](const kin::UniqueFd& socket, Message& message) {
    if (::read(socket.get(), &message, sizeof message) != sizeof message) std::abort();
  };
  return bench::time_together(Placement::apart, {[&] {
                                                   Message message{};
                                                   for (int i = 0; i < trips; ++i) {
                                                     send(sockets.first, message);
                                                     receive(sockets.first, message);
                                                   }
                                                 },
                                                 [&] {
                                                   Message message{};
                                                   for (int i = 0; i < trips; ++i) {
                                                     receive(sockets.second, message);
                                                     send(sockets.second, message);
                                                   }
                                                 }}) /
         trips;
}

std::string time_of(double nanoseconds) { return Table::number("%.2f us", nanoseconds / 1e3); }

void measure_strangers(Table& table, SocketKind kind, const std::string& name) {
  constexpr int trips = 5'000;
  using Maker = kin::Pipe<support::EndMaker, support::EndMaker>;
  Sockets ours = sockets_without_delay(kind);
  const auto one = Maker::connection<Message>(support::end_over(std::move(ours.first)));
  const auto other = Maker::connection<Message>(support::end_over(std::move(ours.second)));
  const Sockets sockets = sockets_without_delay(kind);
  Contestant kin{[&] { return round_trip(one, other, trips); }};
  Contestant bare{[&] { return bare_round_trip(sockets, trips); }};
  bench::take_turns(10, {&kin, &bare});
  table.add({.figure = "round trip over " + name,
             .measured = time_of(kin.best),
             .peer = "bare " + name + " " + time_of(bare.best),
             .ratio = kin.best / bare.best,
             .want = Table::Want::at_most,
             .limit = 1.3});
}

struct Met {
  kin::Connection<Message> client;
  kin::Connection<Message> accepted;

  explicit Met(const kin::Listener<Message>& listener) {
    const kin::SimplexPipe<kin::Connection<Message>> pipe;
    kin::Process process(
        [&] { pipe.writer.send(kin::Client<Message>(listener.address(), {.authkey = "key"})); });
    process.start();
    accepted = listener.accept();
    client = pipe.reader.recv();
    process.join();
  }
};

void measure_relatives(Table& table) {
  constexpr int trips = 50'000;
  const kin::Listener<Message> listener({.address = "127.0.0.1:0", .authkey = "key"});
  const Met met(listener);
  const kin::Pipe<Message> pipe;
  bench::Duel beside_pipe([&] { return round_trip(met.client, met.accepted, trips); },
                          [&] { return round_trip(pipe.first, pipe.second, trips); });
  beside_pipe.take_turns(21);
  const auto turn = beside_pipe.middle();
  table.add({.figure = "round trip between relatives",
             .measured = time_of(turn.ours),
             .peer = "Pipe, the middle one of 21 turns " + time_of(turn.theirs),
             .ratio = turn.ours / turn.theirs,
             .want = Table::Want::at_most,
             .limit = 1.1});
}

void measure_connecting(Table& table) {
  constexpr int clients = 200;
  const kin::Listener<Message> listener({.address = "127.0.0.1:0", .authkey = "key"});
  Contestant kin{[&] {
    return bench::time_together(Placement::apart, {[&] {
                                                     for (int i = 0; i < clients; ++i) {
                                                       const kin::Client<Message> client(
                                                           listener.address(), {.authkey = "key"});
                                                     }
                                                   },
                                                   [&] {
                                                     for (int i = 0; i < clients; ++i) {
                                                       static_cast<void>(listener.accept());
                                                     }
                                                   }}) /
           clients;
  }};
  bench::take_turns(5, {&kin});
  table.add({.figure = "connecting, with the proofs",
             .measured = time_of(kin.best),
             .peer = "",
             .ratio = 0});
}

}  // namespace

int main() {
  Table table("listener: best of several rounds taken in turns");
  measure_strangers(table, SocketKind::tcp, "TCP");
  measure_strangers(table, SocketKind::unix_domain, "a Unix socket");
  measure_relatives(table);
  measure_connecting(table);
  table.note("the processes of a round run on processors of their own");
  return table.print();
}
