// SPDX-License-Identifier: BSL-1.0
//
// Ends of pipes and sockets in messages, against CPython's _TestPicklingConnections.
//
// Fails when:
//   End::travel() adds no descriptor: test_pickling, test_access

#include "trial.hpp"

#include <array>
#include <cctype>
#include <variant>

#include <sys/socket.h>
#include <unistd.h>

using namespace trial;

namespace {

std::string in_capitals(std::string text) {
  for (char& letter : text) letter = static_cast<char>(std::toupper(letter));
  return text;
}

struct Sockets {
  kin::UniqueFd one;
  kin::UniqueFd other;
  Sockets() {
    std::array<int, 2> both{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both.data()) == 0);
    one.reset(both[0]);
    other.reset(both[1]);
  }
};

}  // namespace

TEST_SUITE("pickling_connections") {
  // A process accepts connections and sends them to one that was there before.
  TEST_CASE_FIXTURE(Trial, "test_pickling") {
    const kin::Pipe<kin::Connection<std::string>> connections;
    const kin::Pipe<kin::UniqueFd> sockets;
    kin::Process remote([=] {
      connections.first.close();
      sockets.first.close();
      for (const auto& connection : connections.second) {
        connection.send(in_capitals(connection.recv()));
      }
      for (const kin::UniqueFd& socket : sockets.second) {
        std::array<char, 100> text{};
        expect(::read(socket.get(), text.data(), text.size()) > 0);
        const std::string answer = in_capitals(text.data());
        expect(::write(socket.get(), answer.data(), answer.size()) ==
               static_cast<ssize_t>(answer.size()));
      }
    });
    remote.start();
    connections.second.close();
    sockets.second.close();
    const std::string message = "This connection uses a pipe";
    for (int i = 0; i < 3; ++i) {
      const kin::Listener<std::string> listener;
      auto connecting = std::async(std::launch::async,
                                   [&] { return kin::Client<std::string>(listener.address()); });
      const auto accepted = listener.accept_for(patience);
      REQUIRE(accepted);
      const kin::Client<std::string> client = connecting.get();
      connections.first.send(*accepted);
      accepted->close();
      client.send(message);
      CHECK(client.recv_for(patience) == in_capitals(message));
      // It has let go of the end by the time that it receives the next.
      if (i == 2) connections.first.close();
    }
    const Sockets pair;
    sockets.first.send(pair.other);
    const std::string text = "This connection uses a normal socket";
    REQUIRE(::write(pair.one.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    std::array<char, 100> answer{};
    CHECK(::read(pair.one.get(), answer.data(), answer.size()) ==
          static_cast<ssize_t>(text.size()));
    CHECK(std::string(answer.data()) == in_capitals(text));
    sockets.first.close();
    CHECK(end_of(remote) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "test_access") {
    using End = std::variant<kin::Writer<std::string>, kin::Reader<std::string>>;
    const auto [conn, child_conn] = kin::Pipe<End, std::string>();
    kin::Process child([parents = conn, own = child_conn] {
      parents.close();
      {
        const End end = own.recv();
        std::get<kin::Writer<std::string>>(end).send("all is well");
      }
      const End end = own.recv();
      const std::string message = std::get<kin::Reader<std::string>>(end).recv();
      own.send(message + message);
    });
    child.start();
    child_conn.close();

    const auto [first_reader, first_writer] = kin::SimplexPipe<std::string>();
    conn.send(first_writer);
    first_writer.close();
    CHECK(first_reader.recv_for(patience) == "all is well");
    CHECK_THROWS_AS(static_cast<void>(first_reader.recv()), kin::EndOfStream);
    first_reader.close();

    const auto [reader, writer] = kin::SimplexPipe<std::string>();
    conn.send(reader);
    reader.close();
    writer.send("foobar");
    CHECK(conn.recv_for(patience) == "foobarfoobar");
    CHECK(end_of(child) == 0);
    CHECK_THROWS_AS(static_cast<void>(conn.recv()), kin::EndOfStream);
  }
}
