// SPDX-License-Identifier: BSL-1.0
//
// Pipes, against CPython's _TestConnection.
//
// Fails when:
//   End::closed() is always false: test_context
//   End::poll() waits with Deadline::passed(): test_connection
//   peer_is_gone() is always true: test_connection, test_spawn_close

#include "trial.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace trial;

namespace {

using Bytes = std::vector<std::byte>;
using Objects = std::vector<std::optional<double>>;

Bytes bytes_of(const std::string& text) {
  Bytes bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

template <typename End>
concept Sends =
    requires(const End& end) { end.send(1); } || requires(const End& end) { end.send_bytes({}); };
template <typename End>
concept Receives =
    requires(const End& end) { end.recv(); } || requires(const End& end) { end.poll(); };

// Lets the child of a case write into a file that it has only by a message; what is in the file then.
std::string written_by_child(const kin::UniqueFd& sent, const std::function<void()>& before) {
  const auto [conn, child_conn] = kin::Pipe<kin::UniqueFd>();
  kin::Process child([&before, own = child_conn] {
    before();
    const kin::UniqueFd received = own.recv();
    expect(::write(received.get(), "foo", 3) == 3);
  });
  child.start();
  conn.send(sent);
  CHECK(end_of(child) == 0);
  std::array<char, 10> text{};
  CHECK(::pread(sent.get(), text.data(), text.size() - 1, 0) >= 0);
  return text.data();
}

// Sends back what comes, until there comes a message of no bytes.
template <typename End>
void echo(const End& end) {
  for (Bytes bytes = end.recv_bytes(); !bytes.empty(); bytes = end.recv_bytes()) {
    end.send_bytes(bytes);
  }
  end.close();
}

}  // namespace

TEST_SUITE("connection") {
  // BufferTooShort does not carry the message, which can be received with a larger buffer instead.
  TEST_CASE_FIXTURE(Trial, "test_connection") {
    const Kind kind = each_kind();
    const auto [conn, child_conn] = kin::Pipe<Objects>();
    Companion companion(kind, [theirs = child_conn] { echo(theirs); });
    const std::string message = "hello world";
    std::string long_message;
    for (int i = 0; i < 10; ++i) long_message += message;
    CHECK(conn.fileno() >= 0);

    const Objects objects{1, 2.25, std::nullopt};
    conn.send(objects);
    CHECK(conn.recv_for(patience) == objects);
    conn.send_bytes(bytes_of(message));
    CHECK((conn.recv_bytes() == bytes_of(message)));

    const std::array<int, 4> numbers{0, 1, 2, 3};
    for (const std::size_t offset : {0U, 3U}) {
      std::array<int, 10> buffer{};
      std::array<int, 10> expected{};
      std::ranges::copy(numbers, expected.begin() + offset);
      conn.send_bytes(std::as_bytes(std::span(numbers)));
      CHECK(conn.recv_bytes_into(std::as_writable_bytes(std::span(buffer).subspan(offset))) ==
            sizeof numbers);
      CHECK(buffer == expected);
    }
    Bytes buffer(40);
    conn.send_bytes(bytes_of(long_message));
    try {
      static_cast<void>(conn.recv_bytes_into(buffer));
      FAIL("nothing was thrown");
    } catch (const kin::BufferTooShort& error) {
      buffer.resize(error.message_size());
    }
    CHECK(conn.recv_bytes_into(buffer) == long_message.size());
    CHECK((buffer == bytes_of(long_message)));

    CHECK_FALSE(conn.poll());
    CHECK_FALSE(conn.poll_for(-1s));
    const auto start = std::chrono::steady_clock::now();
    CHECK_FALSE(conn.poll_for(100ms));
    CHECK(std::chrono::steady_clock::now() - start >= 100ms);
    conn.send({});
    CHECK(eventually([&] { return conn.poll(); }));
    CHECK(conn.poll_for(patience));
    CHECK(conn.recv_for(0s) == Objects{});

    const Bytes really_big(std::size_t{16} << 20, std::byte{'X'});
    conn.send_bytes(really_big);
    CHECK((conn.recv_bytes() == really_big));

    conn.send_bytes({});  // it quits
    CHECK(companion.ends_well());
    child_conn.close();
    CHECK(conn.readable());
    CHECK(conn.writable());
    CHECK_THROWS_AS(static_cast<void>(conn.recv()), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(conn.recv_bytes()), kin::EndOfStream);
  }

  // A wrong direction does not compile.
  TEST_CASE_FIXTURE(Trial, "test_duplex_false") {
    const Kind kind = each_kind();
    const auto [reader, writer] = kin::SimplexPipe<int>();
    CHECK(Companion(kind, [own = writer] { own.send(1); }).ends_well());
    CHECK(reader.recv_for(patience) == 1);
    CHECK(reader.readable());
    CHECK_FALSE(reader.writable());
    CHECK_FALSE(writer.readable());
    CHECK(writer.writable());
    static_assert(Receives<kin::Reader<int>> && !Sends<kin::Reader<int>>);
    static_assert(!Receives<kin::Writer<int>> && Sends<kin::Writer<int>>);
    static_assert(Receives<kin::Connection<int>> && Sends<kin::Connection<int>>);
  }

  TEST_CASE_FIXTURE(Trial, "test_spawn_close") {
    const auto [conn, child_conn] = kin::Pipe<int>();
    // A companion's thread would lose it.
    kin::Process child([theirs = child_conn] { echo(theirs); });
    child.start();
    child_conn.close();
    conn.send_bytes(bytes_of("hello"));
    CHECK((conn.recv_bytes() == bytes_of("hello")));
    conn.send_bytes({});
    conn.close();
    CHECK(end_of(child) == 0);
  }

  // A slice is a span here; one that is out of range can't be made.
  TEST_CASE_FIXTURE(Trial, "test_sendbytes") {
    const Bytes letters = bytes_of("abcdefghijklmnopqrstuvwxyz");
    const std::span<const std::byte> all(letters);
    const auto [a, b] = kin::Pipe<int>();
    kin::Process child([theirs = b, own = a] {
      own.close();
      echo(theirs);
    });
    child.start();
    for (const auto& slice : {all, all.subspan(5), all.subspan(7, 8), all.subspan(25)}) {
      a.send_bytes(slice);
      CHECK(std::ranges::equal(a.recv_bytes(), slice));
    }
    a.send_bytes(all.subspan(26));
    CHECK(end_of(child) == 0);
    b.send_bytes(all.subspan(26, 0));
    CHECK(a.recv_bytes().empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_fd_transfer") {
    const kin::UniqueFd file(::memfd_create("transfer", MFD_CLOEXEC));
    CHECK(written_by_child(file, [] {}) == "foo");
  }

  TEST_CASE_FIXTURE(Trial, "test_large_fd_transfer") {
    const kin::UniqueFd file(::memfd_create("transfer", MFD_CLOEXEC));
    const kin::UniqueFd large(::fcntl(file.get(), F_DUPFD_CLOEXEC, 300));
    REQUIRE(large.get() >= 300);
    CHECK(written_by_child(large, [] {
            // All low ones are taken.
            for (int fd = 0; fd <= 256;) {
              fd = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
              expect(fd >= 0);
            }
          }) == "foo");
  }

  TEST_CASE_FIXTURE(Trial, "test_missing_fd_transfer") {
    const auto [conn, child_conn] = kin::Pipe<kin::UniqueFd>();
    CHECK(outcome([own = child_conn] { own.send(kin::UniqueFd(::dup(STDIN_FILENO))); }) == 0);
    // The bytes of a message, without what came with them.
    const Bytes bytes = conn.recv_bytes();
    CHECK(outcome([&, own = child_conn] { own.send_bytes(bytes); }) == 0);
    CHECK_THROWS_AS(static_cast<void>(conn.recv()), kin::SerializationError);
  }

  // The last end of its kind closes what it leaves; what was closed by name says so.
  TEST_CASE_FIXTURE(Trial, "test_context") {
    const Kind kind = each_kind();
    kin::Connection<int> kept;
    {
      const auto [a, b] = kin::Pipe<int>();
      kept = a;
      CHECK(Companion(kind, [=, ours = a] { ours.send(1729); }).ends_well());
      CHECK(b.recv_for(patience) == 1729);
      CHECK_FALSE(a.closed());
      CHECK_FALSE(b.closed());
    }
    CHECK_THROWS_AS(static_cast<void>(kept.recv()), kin::EndOfStream);
    CHECK_THROWS_AS(kept.send(1), kin::BrokenPipe);
    const kin::Pipe<int> pipe;
    pipe.first.close();
    pipe.second.close();
    CHECK(pipe.first.closed());
    CHECK(pipe.second.closed());
    CHECK_THROWS_AS(static_cast<void>(pipe.first.recv()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(pipe.second.recv()), std::logic_error);
  }
}
