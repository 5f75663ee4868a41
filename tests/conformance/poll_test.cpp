// SPDX-License-Identifier: BSL-1.0
//
// Polling for messages, against CPython's _TestPoll.
//
// Fails when:
//   End::poll() waits with Deadline::passed(): test_strings

#include "trial.hpp"

#include "support/bystander.hpp"

#include <array>

#include <unistd.h>

using namespace trial;

namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const std::string& text) {
  Bytes bytes;
  for (const char letter : text) bytes.push_back(static_cast<std::byte>(letter));
  return bytes;
}

// Of a process or of a thread.
bool falls_asleep(pid_t id) {
  return eventually([id] { return crash::process_state(id) == 'S'; });
}

}  // namespace

TEST_SUITE("poll") {
  TEST_CASE_FIXTURE(Trial, "test_empty_string") {
    const Kind kind = each_kind();
    const auto [a, b] = kin::Pipe<int>();
    CHECK_FALSE(a.poll());
    CHECK(Companion(kind, [sender = b] { sender.send_bytes({}); }).ends_well());
    CHECK(a.poll());
    CHECK(a.poll());
    CHECK(a.recv_bytes().empty());
    CHECK_FALSE(a.poll());
  }

  // Slowly: each when the reader sleeps.
  TEST_CASE_FIXTURE(Trial, "test_strings") {
    const Kind kind = each_kind();
    const std::array<std::string, 8> strings{"hello", "", "a", "b", "", "bye", "", "lop"};
    const auto [a, b] = kin::Pipe<int>();
    Companion sender(kind, [&strings, end = b, reader = ::gettid()] {
      for (const std::string& each : strings) {
        expect(falls_asleep(reader));
        end.send_bytes(bytes_of(each));
      }
      end.close();
    });
    for (const std::string& each : strings) {
      CHECK(a.poll_for(patience));
      CHECK((a.recv_bytes() == bytes_of(each)));
    }
    CHECK(sender.ends_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_boundaries") {
    const Kind kind = each_kind();
    // The larger ones come in pieces.
    for (const std::size_t more : {std::size_t{0}, std::size_t{100'000}}) {
      const auto [r, w] = kin::SimplexPipe<int>();
      const kin::Queue<pid_t> poller_id;
      Companion poller(kind, [=, own = r] {
        poller_id.put(::gettid());
        expect(own.poll_for(patience));
      });
      const auto id = poller_id.get_for(patience);
      REQUIRE(id);
      CHECK(falls_asleep(*id));
      Companion sender(kind, [=, own = w] {
        for (const char* text : {"first", "second"}) {
          own.send_bytes(bytes_of(text + std::string(more, '.')));
        }
      });
      CHECK(poller.ends_well());
      for (const char* text : {"first", "second"}) {
        CHECK((r.recv_bytes() == bytes_of(text + std::string(more, '.'))));
      }
      CHECK(sender.ends_well());
      CHECK_FALSE(r.poll());
      w.close();
      CHECK_THROWS_AS(static_cast<void>(r.recv()), kin::EndOfStream);
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_dont_merge") {
    const Kind kind = each_kind();
    const auto [a, b] = kin::Pipe<int>();
    CHECK_FALSE(a.poll_for(0s));
    CHECK_FALSE(a.poll_for(100ms));
    Companion sender(kind, [end = b] {
      for (const char* text : {"a", "b", "cd"}) end.send_bytes(bytes_of(text));
    });
    CHECK((a.recv_bytes() == bytes_of("a")));
    CHECK(a.poll_for(patience));
    CHECK(a.poll_for(patience));
    CHECK((a.recv_bytes() == bytes_of("b")));
    CHECK(a.poll_for(patience));
    CHECK(a.poll_for(patience));
    CHECK(a.poll_for(0s));
    CHECK((a.recv_bytes() == bytes_of("cd")));
    CHECK(sender.ends_well());
  }
}
