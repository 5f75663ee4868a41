// SPDX-License-Identifier: BSL-1.0

// Connections over a socket, as between strangers: with both kinds of sockets.

#include "frame.hpp"
#include "support/object_of.hpp"
#include "support/socket_ends.hpp"

#include <kin/queue.hpp>
#include <kin/wait.hpp>

#include <cstdint>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using kin::detail::End;
using kin::detail::IncomingCargo;
using support::SocketConnections;
using support::SocketKind;
using Bytes = std::vector<std::byte>;

constexpr SocketKind kinds[] = {SocketKind::unix_domain, SocketKind::tcp};

Bytes bytes_of_size(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + size);
  return bytes;
}

Bytes head_that_says(std::uint64_t size) {
  Bytes head(8);
  for (std::size_t i = 0; i < 8; ++i) head[i] = static_cast<std::byte>(size >> (8 * i));
  return head;
}

void write_all(const kin::UniqueFd& socket, const Bytes& bytes) {
  REQUIRE(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
}

Bytes receive(const End& end) {
  Bytes bytes;
  IncomingCargo cargo;
  static_cast<void>(end.receive(bytes, cargo, unit::last_moment()));
  return bytes;
}

// An end, and the other side's bare socket.
struct HalfBare {
  End end;
  kin::UniqueFd bare;

  explicit HalfBare(SocketKind kind, std::size_t max_message = 1 << 28) {
    auto [one, other] = support::socket_pair(kind);
    end = support::end_over(std::move(one), max_message);
    bare = std::move(other);
  }
};

TEST_SUITE("socket end") {
  TEST_CASE("a peer that is not heard of any more is at its end") {
    const unit::Frame frame;
    const auto vanish = [](HalfBare& sides) {
      const int limit = 100;  // ms, until what nobody acknowledges is given up
      REQUIRE(::setsockopt(sides.end.fileno(), IPPROTO_TCP, TCP_USER_TIMEOUT, &limit,
                           sizeof limit) == 0);
      // Whatever comes to the other side is lost from here on.
      sock_filter drop{BPF_RET | BPF_K, 0, 0, 0};
      const sock_fprog program{1, &drop};
      REQUIRE(::setsockopt(sides.bare.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program,
                           sizeof program) == 0);
      sides.end.send(Bytes(1), {});
    };
    {
      HalfBare receives(SocketKind::tcp);
      vanish(receives);
      CHECK_THROWS_AS(receive(receives.end), kin::EndOfStream);
      CHECK_THROWS_AS(receive(receives.end), kin::EndOfStream);
    }
    {
      HalfBare receives(SocketKind::tcp);
      write_all(receives.bare, head_that_says(5000));
      vanish(receives);
      CHECK_THROWS_AS(receive(receives.end), kin::EndOfStream);
    }
    HalfBare sends(SocketKind::tcp);
    vanish(sends);
    CHECK_THROWS_AS(while (true) sends.end.send(Bytes(1), {}), kin::BrokenPipe);
  }

  TEST_CASE("messages of any size arrive whole, and in order") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const SocketConnections<std::string> sides(kind);
      std::vector<std::size_t> sizes{0, 1, 7, 8, 4087, 4088, 4089, 5000, 1 << 20, 0, 3};
      std::thread sender([&] {
        for (const std::size_t size : sizes) sides.first.send_bytes(bytes_of_size(size));
      });
      for (const std::size_t size : sizes) CHECK(sides.second.recv_bytes() == bytes_of_size(size));
      sender.join();
      CHECK(!sides.second.try_recv());
      CHECK(!sides.first.poll());
    }
  }

  TEST_CASE("values travel in both directions, plain ones and others") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const SocketConnections<std::vector<std::string>, int> sides(kind);
      sides.first.send({"one", "two"});
      CHECK(sides.second.recv() == std::vector<std::string>{"one", "two"});
      sides.second.send(42);
      CHECK(sides.first.poll_for(unit::patience));
      CHECK(sides.first.recv() == 42);
      CHECK(!sides.first.recv_for(std::chrono::milliseconds(1)));
    }
  }

  TEST_CASE("the stream ends when the last copy of the other end is closed, behind what was sent") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const SocketConnections<int> sides(kind);
      unit::Relative child([other = sides.second] {
        for (int i = 0; i < 1000; ++i) other.send(i);
        return "";
      });
      sides.second.close();
      int expected = 0;
      for (const int number : sides.first) CHECK(number == expected++);
      CHECK(expected == 1000);
      CHECK(child.answer() == "");
      CHECK(sides.first.poll());
      CHECK_THROWS_AS(static_cast<void>(sides.first.try_recv()), kin::EndOfStream);
      CHECK(unit::eventually([&] {
        try {
          sides.first.send(1);
          return false;
        } catch (const kin::BrokenPipe&) {
          return true;
        }
      }));
    }
  }

  TEST_CASE("threads and processes that send and receive at the same ends get whole messages") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      constexpr int each = 200;
      const SocketConnections<std::string, int> sides(kind);
      const auto send = [&](char letter) {
        for (int i = 0; i < each; ++i) {
          // Some in one piece, some in several.
          sides.first.send(std::string(static_cast<std::size_t>(i * 97 % 9000), letter));
        }
      };
      const auto count_whole = [&](int messages) {
        int whole = 0;
        for (int i = 0; i < messages; ++i) {
          const std::string text = sides.second.recv();
          whole +=
              text.find_first_not_of(text.empty() ? 'x' : text[0]) == std::string::npos ? 1 : 0;
        }
        return whole;
      };
      unit::Relative sender([&] {
        send('a');
        return "";
      });
      unit::Relative receiver([&] { return std::to_string(count_whole(each)); });
      std::thread thread([&] { send('b'); });
      std::thread other_thread([&] { send('c'); });
      CHECK(count_whole(2 * each) == 2 * each);
      CHECK(receiver.answer() == std::to_string(each));
      CHECK(sender.answer() == "");
      thread.join();
      other_thread.join();
    }
  }

  TEST_CASE("a message that is too large for the caller's buffer stays") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const SocketConnections<int> sides(kind);
      for (const std::size_t size : {100u, 100'000u}) {
        sides.first.send_bytes(bytes_of_size(size));
        Bytes small(size - 1);
        CHECK_THROWS_AS(static_cast<void>(sides.second.recv_bytes_into(small)),
                        kin::BufferTooShort);
        Bytes large(size);
        CHECK(sides.second.recv_bytes_into(large) == size);
        CHECK(large == bytes_of_size(size));
      }
    }
  }

  TEST_CASE("a message of another size than its type has is told, and gone") {
    const unit::Frame frame;
    const SocketConnections<std::int64_t> sides(SocketKind::tcp);
    sides.first.send_bytes(bytes_of_size(7));
    sides.first.send(9);
    CHECK_THROWS_AS(static_cast<void>(sides.second.recv()), kin::SerializationError);
    CHECK(sides.second.recv() == 9);
  }

  TEST_CASE("handles and descriptors do not travel over a socket, and nothing was sent") {
    const unit::Frame frame;
    const SocketConnections<kin::Queue<int>> queues(SocketKind::unix_domain);
    CHECK_THROWS_AS(queues.first.send(kin::Queue<int>()), kin::SerializationError);
    const SocketConnections<kin::Connection<int>> ends(SocketKind::unix_domain);
    const kin::Pipe<int> pipe;
    CHECK_THROWS_AS(ends.first.send(pipe.first), kin::SerializationError);
    CHECK(!ends.second.poll());
    CHECK(!queues.second.poll());
  }

  TEST_CASE("a message that says it is too large ends the connection, and costs no memory") {
    for (const SocketKind kind : kinds) {
      for (const std::uint64_t size : {std::uint64_t{1001}, std::uint64_t{1} << 63, UINT64_MAX}) {
        const unit::Frame frame;
        const HalfBare sides(kind, 1000);
        write_all(sides.bare, head_that_says(size));
        CHECK_THROWS_AS(receive(sides.end), kin::SerializationError);
        CHECK_THROWS_AS(receive(sides.end), kin::EndOfStream);
        CHECK_THROWS_AS(sides.end.send(Bytes(1), {}), kin::BrokenPipe);
        // The peer sees it, too.
        std::byte byte{};
        CHECK(::recv(sides.bare.get(), &byte, 1, 0) <= 0);
      }
    }
  }

  TEST_CASE("of a message that is cut off there is nothing but the end of the stream") {
    for (const SocketKind kind : kinds) {
      for (const std::size_t sent : {1u, 7u, 8u, 9u, 5007u}) {
        const unit::Frame frame;
        HalfBare sides(kind);
        Bytes bytes = head_that_says(5000);
        bytes.resize(sent);
        write_all(sides.bare, bytes);
        sides.bare.reset();
        CHECK_THROWS_AS(receive(sides.end), kin::EndOfStream);
        CHECK_THROWS_AS(receive(sides.end), kin::EndOfStream);
      }
    }
  }

  TEST_CASE("a message that comes byte by byte is one message") {
    const unit::Frame frame;
    const HalfBare sides(SocketKind::tcp);
    std::thread writer([&] {
      Bytes bytes = head_that_says(20);
      const Bytes body = bytes_of_size(20);
      bytes.insert(bytes.end(), body.begin(), body.end());
      for (const std::byte one : bytes) write_all(sides.bare, {one});
    });
    CHECK(receive(sides.end) == bytes_of_size(20));
    writer.join();
  }

  TEST_CASE("who waits in recv() is told that another thread closed the end") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const SocketConnections<int> sides(kind);
      std::atomic<pid_t> id = 0;
      std::thread closer([&] {
        CHECK(unit::eventually([&] { return id.load() != 0; }));
        sides.first.close();
      });
      id = ::gettid();
      CHECK_THROWS_AS(static_cast<void>(sides.first.recv()), std::logic_error);
      closer.join();
      CHECK(sides.first.closed());
      CHECK_THROWS_AS(sides.first.send(1), std::logic_error);
    }
  }

  TEST_CASE("wait_any and fileno tell of messages, and of the end") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const SocketConnections<int> one(kind);
      const SocketConnections<int> other(kind);
      CHECK(kin::wait_any({one.first, other.first}, std::chrono::milliseconds(1)).empty());
      other.second.send(3);
      CHECK(kin::wait_any({one.first, other.first}, unit::patience) == std::vector<std::size_t>{1});
      pollfd about{other.first.fileno(), POLLIN, 0};
      CHECK(::poll(&about, 1, 0) == 1);
      CHECK(other.first.recv() == 3);
      CHECK(::poll(&about, 1, 0) == 0);
      one.second.close();
      CHECK(kin::wait_any({one.first, other.first}, unit::patience) == std::vector<std::size_t>{0});
    }
  }

  TEST_CASE("an end travels to a relative, who shares it") {
    const unit::Frame frame;
    const SocketConnections<std::string> sides(SocketKind::tcp);
    const kin::Queue<kin::Connection<std::string>> queue;
    unit::Relative child([&] {
      const auto end = queue.get();
      end.send("from the child");
      return end.recv();
    });
    queue.put(sides.first);
    CHECK(sides.second.recv() == "from the child");
    sides.second.send("to whom it was sent");
    CHECK(child.answer() == "to whom it was sent");
    sides.first.send("from the parent");
    CHECK(sides.second.recv() == "from the parent");
  }

  TEST_CASE("a sender that is killed in the middle of a message ends the stream, and tears none") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const SocketConnections<std::string> sides(kind);
      unit::Relative child([&] {
        sides.first.send("whole");
        sides.first.send(std::string(std::size_t{1} << 26, 'x'));  // more than any socket takes
        return "";
      });
      CHECK(sides.second.recv() == "whole");
      CHECK(child.falls_asleep());
      ::kill(child.pid(), SIGKILL);
      CHECK(child.answer() != "");
      CHECK_THROWS_AS(sides.first.send("next"), kin::BrokenPipe);
      CHECK_THROWS_AS(static_cast<void>(sides.second.recv()), kin::EndOfStream);
      CHECK_THROWS_AS(static_cast<void>(sides.second.recv()), kin::EndOfStream);
    }
  }

  TEST_CASE("whoever waits for a message at that end sees to it that the peer is told of a death") {
    const unit::Frame frame;
    const SocketConnections<std::string> sides(SocketKind::tcp);
    unit::Relative child([&] {
      sides.first.send(std::string(std::size_t{1} << 26, 'x'));
      return "";
    });
    CHECK(child.falls_asleep());
    ::kill(child.pid(), SIGKILL);
    CHECK(child.answer() != "");
    std::thread waiting(
        [&] { CHECK_THROWS_AS(static_cast<void>(sides.first.recv()), kin::EndOfStream); });
    CHECK_THROWS_AS(static_cast<void>(sides.second.recv()), kin::EndOfStream);
    sides.second.close();
    waiting.join();
  }

  TEST_CASE("whoever waits sees deaths that the kernel did not mark") {
    const unit::Frame frame;
    const SocketConnections<std::string> sides(SocketKind::tcp);
    const pid_t gone = [&] {
      unit::Relative child([] { return ""; });
      return child.pid();
    }();
    // The lock of the sending direction stands first behind what all objects have; behind it stands the note
    // that a message is half way: as a sender leaves them that is killed for want of memory.
    auto* sending = reinterpret_cast<std::byte*>(&crash::object_of(sides.first)) + 128;
    __atomic_store_n(reinterpret_cast<int*>(sending), gone, __ATOMIC_SEQ_CST);
    __atomic_store_n(reinterpret_cast<int*>(sending + sizeof(kin::detail::RobustLock)), 1,
                     __ATOMIC_SEQ_CST);
    std::thread waiting(
        [&] { CHECK_THROWS_AS(static_cast<void>(sides.first.recv()), kin::EndOfStream); });
    CHECK(sides.second.poll_for(unit::patience));
    CHECK_THROWS_AS(static_cast<void>(sides.second.try_recv()), kin::EndOfStream);
    sides.second.close();
    waiting.join();
  }

  TEST_CASE("a receiver that is killed in the middle of a message ends the stream") {
    for (const SocketKind kind : kinds) {
      const unit::Frame frame;
      const HalfBare sides(kind);
      unit::Relative child([&] {
        receive(sides.end);
        return "";
      });
      write_all(sides.bare, head_that_says(5000));
      write_all(sides.bare, bytes_of_size(4000));
      // It has them, and waits for the rest.
      CHECK(unit::eventually([&] {
        pollfd about{sides.end.fileno(), POLLIN, 0};
        return ::poll(&about, 1, 0) == 0;
      }));
      CHECK(child.falls_asleep());
      ::kill(child.pid(), SIGKILL);
      CHECK(child.answer() != "");
      CHECK_THROWS_AS(receive(sides.end), kin::EndOfStream);
      CHECK_THROWS_AS(sides.end.send(Bytes(1), {}), kin::BrokenPipe);
      std::byte byte{};
      CHECK(::recv(sides.bare.get(), &byte, 1, 0) <= 0);
    }
  }

  TEST_CASE("a receiver that is killed while it waits for a message takes nothing with it") {
    const unit::Frame frame;
    const SocketConnections<int> sides(SocketKind::tcp);
    unit::Relative child([&] {
      static_cast<void>(sides.first.recv());
      return "";
    });
    CHECK(child.falls_asleep());
    ::kill(child.pid(), SIGKILL);
    CHECK(child.answer() != "");
    sides.second.send(5);
    CHECK(sides.first.recv() == 5);
  }
}

}  // namespace
