// SPDX-License-Identifier: BSL-1.0
//
// Waiting for several things, against CPython's TestWait.
//
// Fails when:
//   wait_any_until() looks once and does not wait: test_wait_timeout, test_wait_integer, both slow
//     ones
//   is_news() does not look for POLLHUP: test_wait, test_wait_slow

#include "trial.hpp"

#include "support/bystander.hpp"

#include <algorithm>
#include <array>
#include <list>

#include <sys/socket.h>
#include <unistd.h>

using namespace trial;

namespace {

constexpr int senders = 4;
constexpr int messages = 10;

// Slowly: each message when its receiver sleeps.
void pause_before_sending(bool slowly, pid_t receiver) {
  if (!slowly) return;
  expect(eventually([receiver] { return crash::process_state(receiver) == 'S'; }));
}

void receive_from_pipes(bool slowly) {
  using Message = std::pair<int, pid_t>;
  std::vector<kin::Reader<Message>> readers;
  std::vector<kin::Process> children;
  for (int i = 0; i < senders; ++i) {
    const auto [reader, writer] = kin::SimplexPipe<Message>();
    children.emplace_back([slowly, own = writer, receiver = ::getpid()] {
      for (int number = 0; number < messages; ++number) {
        pause_before_sending(slowly, receiver);
        own.send({number, ::getpid()});
      }
      own.close();
    });
    children.back().start();
    writer.close();
    readers.push_back(reader);
  }
  std::vector<Message> received;
  while (!readers.empty()) {
    const std::vector<kin::Waitable> things(readers.begin(), readers.end());
    auto ready = kin::wait_any(things, patience);
    REQUIRE_FALSE(ready.empty());
    std::ranges::reverse(ready);
    for (const std::size_t index : ready) {
      try {
        received.push_back(readers[index].recv());
      } catch (const kin::EndOfStream&) {
        readers[index].close();
        readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(index));
      }
    }
  }
  std::vector<Message> expected;
  for (int number = 0; number < messages; ++number) {
    for (const auto& child : children) expected.emplace_back(number, child.pid());
  }
  std::ranges::sort(received);
  std::ranges::sort(expected);
  CHECK((received == expected));
  for (auto& child : children) CHECK(end_of(child) == 0);
}

void receive_from_sockets(bool slowly) {
  struct Source {
    kin::UniqueFd socket;
    std::string text;
  };
  std::list<Source> sources;
  std::vector<Source*> open;
  std::vector<kin::Process> children;
  std::string expected;
  for (int number = 0; number < messages; ++number) expected += std::to_string(number) + "\n";
  for (int i = 0; i < senders; ++i) {
    std::array<int, 2> both{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both.data()) == 0);
    sources.push_back({kin::UniqueFd(both[0]), ""});
    open.push_back(&sources.back());
    const kin::UniqueFd other(both[1]);
    children.emplace_back([slowly, fd = other.get(), receiver = ::getpid()] {
      for (int number = 0; number < messages; ++number) {
        pause_before_sending(slowly, receiver);
        const std::string line = std::to_string(number) + "\n";
        expect(::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
      }
    });
    children.back().start();
  }
  while (!open.empty()) {
    std::vector<kin::Waitable> things;
    for (const Source* source : open) things.emplace_back(source->socket);
    auto ready = kin::wait_any(things, patience);
    REQUIRE_FALSE(ready.empty());
    std::ranges::reverse(ready);
    for (const std::size_t index : ready) {
      std::array<char, 32> part{};
      const ssize_t length = ::read(open[index]->socket.get(), part.data(), part.size());
      REQUIRE(length >= 0);
      if (length == 0) open.erase(open.begin() + static_cast<std::ptrdiff_t>(index));
      if (length > 0) open[index]->text.append(part.data(), static_cast<std::size_t>(length));
    }
  }
  for (const Source& source : sources) CHECK(source.text == expected);
  for (auto& child : children) CHECK(end_of(child) == 0);
}

using Indices = std::vector<std::size_t>;

}  // namespace

TEST_SUITE("wait") {
  TEST_CASE_FIXTURE(Trial, "test_wait") { receive_from_pipes(false); }
  TEST_CASE_FIXTURE(Trial, "test_wait_slow") { receive_from_pipes(true); }
  TEST_CASE_FIXTURE(Trial, "test_wait_socket") { receive_from_sockets(false); }
  TEST_CASE_FIXTURE(Trial, "test_wait_socket_slow") { receive_from_sockets(true); }

  TEST_CASE_FIXTURE(Trial, "test_wait_timeout") {
    const auto [a, b] = kin::Pipe<int>();
    for (const auto limit : {50ms, 400ms}) {
      const auto start = std::chrono::steady_clock::now();
      CHECK(kin::wait_any({a, b}, limit).empty());
      CHECK(std::chrono::steady_clock::now() - start >= limit);
    }
    b.send(1);
    CHECK(kin::wait_any({a, b}, patience) == Indices{0});
    CHECK(kin::wait_any({a, b}) == Indices{0});
  }

  TEST_CASE_FIXTURE(Trial, "test_wait_integer") {
    const kin::Queue<bool> go_on;
    const auto [a, b] = kin::Pipe<int>();
    kin::Process child([go_on] { expect(go_on.get_for(patience) == true); });
    child.start();
    const int sentinel = child.sentinel();
    CHECK(kin::wait_any({a, sentinel, b}, 0s).empty());
    go_on.put(true);
    CHECK(kin::wait_any({a, sentinel, b}, patience) == Indices{1});
    a.send(1);
    CHECK(kin::wait_any({a, sentinel, b}, patience) == Indices{1, 2});
    b.send(1);
    CHECK(kin::wait_any({a, child, b}, patience) == Indices{0, 1, 2});
    CHECK(end_of(child) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "test_neg_timeout") {
    const auto [a, b] = kin::Pipe<int>();
    CHECK(kin::wait_any({a}, -1s).empty());
    b.send(1);
    CHECK(kin::wait_any({a}, -1s) == Indices{0});
  }
}
