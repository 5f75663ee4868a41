// SPDX-License-Identifier: BSL-1.0

// Pipes, and what their ends promise. It is one header's promises, so it is one file, however long; the
// descriptors for event loops have fileno_test.cpp.

#include <kin/connection.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include "arena_frame.hpp"
#include "support/sanitizer.hpp"

#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <array>
#include <cstring>
#include <future>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <csignal>
#include <unistd.h>

using kin::Connection;
using kin::Pipe;
using kin::Reader;
using kin::SimplexPipe;
using kin::Writer;
using namespace std::chrono_literals;

namespace {

static_assert(std::is_copy_constructible_v<Connection<int>>);
static_assert(std::is_nothrow_move_constructible_v<Connection<int>>);
static_assert(std::is_default_constructible_v<Reader<int>>);
static_assert(std::input_iterator<Reader<int>::Iterator>);
static_assert(std::ranges::input_range<const Reader<std::string>>);
static_assert(std::ranges::input_range<const Connection<int, std::string>>);
static_assert(!std::ranges::range<Writer<int>>);
static_assert(std::is_same_v<Connection<int>, Connection<int, int>>);

constexpr std::size_t KiB = 1024;
constexpr std::size_t MiB = 1024 * KiB;

using Bytes = std::vector<std::byte>;

Bytes noise(std::size_t size, std::uint32_t state = 1) {
  Bytes bytes(size);
  for (auto& one : bytes) {
    one = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  }
  return bytes;
}

std::string text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Account {
 public:
  Account() = default;
  Account(std::string owner, long balance) : owner_(std::move(owner)), balance_(balance) {}
  bool operator==(const Account&) const = default;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& owner_& balance_;
  }
  std::string owner_;
  long balance_ = 0;
};

// Throws where it is asked to.
struct Fragile {
  enum When : int { never, written, read };
  int when = never;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    if (Archive::is_saving::value && when == written) throw std::domain_error("not written");
    archive& when;
    if (Archive::is_loading::value && when == read) throw std::domain_error("not read");
  }
};

struct Point {
  int x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
};

template <typename T>
void check_travels(const T& message) {
  const Pipe<T> pipe;
  pipe.first.send(message);
  pipe.first.send(message);
  pipe.second.send(message);
  CHECK(pipe.second.recv() == message);
  CHECK(pipe.second.try_recv().value() == message);
  CHECK(pipe.first.recv_for(unit::patience).value() == message);
  CHECK(unit::answer_of([&] {
          pipe.second.send(message);
          return "sent";
        }) == "sent");
  CHECK(pipe.first.recv() == message);
  const SimplexPipe<T> simplex;
  simplex.writer.send(message);
  CHECK(simplex.reader.recv() == message);
}

// Whether using it is misuse, in each way there is.
template <typename End>
void check_refuses_to_receive(const End& end) {
  CHECK_THROWS_AS(static_cast<void>(end.recv()), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.try_recv()), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.recv_for(1ms)), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.poll()), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.poll_for(1ms)), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.recv_bytes()), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.recv_bytes_into({})), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.begin()), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.fileno()), std::logic_error);
}

template <typename End>
void check_refuses_to_send(const End& end) {
  CHECK_THROWS_AS(end.send({}), std::logic_error);
  CHECK_THROWS_AS(end.send_bytes({}), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(end.fileno()), std::logic_error);
}

// Sends until it is refused: how many were sent, -1 if it never was.
template <typename Send>
int sends_until_broken(Send send, int most) {
  for (int sent = 0; sent < most; ++sent) {
    try {
      send();
    } catch (const kin::BrokenPipe&) {
      return sent;
    }
  }
  return -1;
}

}  // namespace

TEST_SUITE("connection") {
  TEST_CASE_FIXTURE(unit::ArenaFrame, "what is sent arrives, of every kind of type") {
    check_travels(42);
    check_travels(-1.5);
    check_travels(true);
    check_travels(Point{3, 0.5});
    check_travels(std::array<int, 3>{1, 2, 3});
    check_travels(std::string("text"));
    check_travels(std::string());
    check_travels(std::vector<int>());
    check_travels(std::map<std::string, std::vector<Point>>{{"a", {{1, 2}}}, {"b", {}}});
    check_travels(std::tuple<int, std::string>(1, "two"));
    check_travels(std::tuple<>());
    check_travels(Account("Ada", 1815));
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "each direction has its own type") {
    const auto [ours, theirs] = Pipe<std::string, int>();
    ours.send("seven");
    theirs.send(7);
    CHECK(theirs.recv() == "seven");
    CHECK(ours.recv() == 7);
    CHECK_FALSE(ours.poll());
    CHECK_FALSE(theirs.poll());
    CHECK((ours.readable() && ours.writable() && theirs.readable() && theirs.writable()));
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a simplex pipe has one direction") {
    const auto [reader, writer] = SimplexPipe<std::string>();
    CHECK((reader.readable() && !reader.writable()));
    CHECK((!writer.readable() && writer.writable()));
    writer.send("one way");
    CHECK(reader.recv() == "one way");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a pipe is passed on by its two ends") {
    auto [produce, consume] = Pipe<int>();
    const kin::Queue<int> eaten;
    kin::Process eater(
        [eaten](const Pipe<int>& pipe) {
          pipe.first.close();
          for (const int bun : pipe.second) eaten.put(bun);
        },
        Pipe<int>{produce, consume});
    eater.start();
    consume.close();
    for (int bun = 0; bun < 10; ++bun) produce.send(bun);
    produce.close();
    REQUIRE(eater.join_for(unit::patience));
    CHECK(eater.exit_code() == 0);
    for (int bun = 0; bun < 10; ++bun) CHECK(eaten.try_get() == bun);

    const auto [reader, writer] = SimplexPipe<std::string>();
    const SimplexPipe<std::string> both{reader, writer};
    CHECK(both.reader == reader);
    CHECK(both.writer == writer);
    kin::Process teller(
        [](const SimplexPipe<std::string>& pipe) { pipe.writer.send("from a child"); }, both);
    teller.start();
    CHECK(reader.recv_for(unit::patience) == "from a child");
    REQUIRE(teller.join_for(unit::patience));
    CHECK(teller.exit_code() == 0);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "copies name the same end, and close closes all of them") {
    const Pipe<int> pipe;
    const Connection<int> copy = pipe.first;
    Connection<int> assigned;
    assigned = copy;
    CHECK(copy == pipe.first);
    CHECK(assigned == pipe.first);
    CHECK_FALSE(copy == pipe.second);
    assigned.send(1);
    CHECK(pipe.second.recv() == 1);
    CHECK_FALSE(pipe.first.closed());
    copy.close();
    for (const auto& one : {pipe.first, copy, assigned}) {
      CHECK(one.closed());
      CHECK_NOTHROW(one.close());
      check_refuses_to_receive(one);
      check_refuses_to_send(one);
      CHECK((one.readable() && one.writable()));  // it had both ways
    }
    CHECK(copy == pipe.first);
    CHECK_FALSE(pipe.second.closed());
    CHECK_THROWS_AS(static_cast<void>(pipe.second.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "an end that goes away with its last copy is closed") {
    Reader<int> reader;
    {
      auto [one, writer] = SimplexPipe<int>();
      reader = one;
      std::optional<Writer<int>> copy = writer;
      writer = Writer<int>();
      copy->send(1);
      CHECK(reader.recv() == 1);
      CHECK_FALSE(reader.poll());
      copy.reset();
      CHECK(reader.poll());
      CHECK_THROWS_AS(static_cast<void>(reader.recv()), kin::EndOfStream);
    }
    CHECK_FALSE(reader.closed());
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "what names nothing says so, and may be assigned to") {
    Pipe<std::string> pipe;
    Connection<std::string> nothing;
    const auto check_names_nothing = [](const Connection<std::string>& end) {
      CHECK(end.closed());
      CHECK_FALSE(end.readable());
      CHECK_FALSE(end.writable());
      CHECK_THROWS_AS(end.close(), std::logic_error);
      check_refuses_to_receive(end);
      check_refuses_to_send(end);
    };
    check_names_nothing(nothing);
    CHECK_FALSE(nothing == pipe.first);
    nothing = std::move(pipe.first);
    check_names_nothing(pipe.first);  // NOLINT(bugprone-use-after-move): that is what is tested
    nothing.send("moved");
    CHECK(pipe.second.recv() == "moved");
    pipe.first = nothing;
    pipe.first.send("back");
    CHECK(pipe.second.recv() == "back");
    CHECK_THROWS_AS(Writer<int>().send(1), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(Reader<int>().recv()), std::logic_error);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "messages of each size, as bytes and as strings") {
    const Pipe<std::string> pipe;
    for (const std::size_t around : {std::size_t{0}, 16 * KiB, 32 * KiB, 128 * KiB, MiB}) {
      for (const long off : {-9L, -8L, -1L, 0L, 1L, 8L}) {
        if (static_cast<long>(around) + off < 0) continue;
        const std::size_t size = around + static_cast<std::size_t>(off);
        CAPTURE(size);
        const Bytes bytes = noise(size);
        const std::string text = text_of(bytes);
        unit::Relative child([&] {
          pipe.first.send_bytes(bytes);
          pipe.first.send(text);
          pipe.first.send_bytes(bytes);
          return pipe.first.recv_bytes() == bytes ? "whole" : "torn";
        });
        CHECK((pipe.second.recv_bytes() == bytes));
        CHECK((pipe.second.recv_for(unit::patience) == text));
        Bytes buffer(size + 1);
        CHECK(pipe.second.recv_bytes_into(buffer) == size);
        buffer.pop_back();
        CHECK((buffer == bytes));
        pipe.second.send_bytes(bytes);
        CHECK(child.answer() == "whole");
      }
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a message of 64 MiB") {
    const Pipe<std::vector<std::byte>> pipe;
    const Bytes bytes = noise(64 * MiB);
    unit::Relative child([&] {
      pipe.first.send(pipe.first.recv());
      return "sent";
    });
    pipe.second.send(bytes);
    CHECK((pipe.second.recv_for(unit::patience) == bytes));
    CHECK(child.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a plain type larger than the pipe") {
    using Page = std::array<std::uint32_t, 100'000>;
    const SimplexPipe<Page> pipe;
    unit::Relative child([&] {
      const auto page = std::make_unique<Page>();
      std::iota(page->begin(), page->end(), 7U);
      pipe.writer.send(*page);
      return "sent";
    });
    const auto page = std::make_unique<std::optional<Page>>(pipe.reader.recv_for(unit::patience));
    REQUIRE(*page);
    auto expected = std::make_unique<Page>();
    std::iota(expected->begin(), expected->end(), 7U);
    CHECK((**page == *expected));
    CHECK(child.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "messages of no bytes are messages") {
    const SimplexPipe<std::string> pipe;
    for (int i = 0; i < 3; ++i) pipe.writer.send_bytes({});
    for (int i = 0; i < 3; ++i) {
      CHECK(pipe.reader.poll());
      CHECK(pipe.reader.recv_bytes().empty());
    }
    CHECK_FALSE(pipe.reader.poll());
    pipe.writer.send_bytes({});
    CHECK(pipe.reader.recv_bytes_into({}) == 0);
    pipe.writer.send_bytes({});
    pipe.writer.send("");
    pipe.writer.close();
    CHECK(pipe.reader.recv_bytes().empty());
    CHECK(pipe.reader.recv().empty());
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv_bytes()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "each way to wait for a message comes three times") {
    const SimplexPipe<int> pipe;
    CHECK_FALSE(pipe.reader.try_recv());
    CHECK_FALSE(pipe.reader.recv_for(-1s));
    CHECK_FALSE(pipe.reader.recv_for(0s));
    CHECK_FALSE(pipe.reader.poll());
    CHECK_FALSE(pipe.reader.poll_for(-1s));
    for (const auto limit : {1ms, 300ms}) {  // within a slice of sleep, and beyond
      auto start = std::chrono::steady_clock::now();
      CHECK_FALSE(pipe.reader.recv_for(limit));
      CHECK(std::chrono::steady_clock::now() - start >= limit);
      start = std::chrono::steady_clock::now();
      CHECK_FALSE(pipe.reader.poll_for(limit));
      CHECK(std::chrono::steady_clock::now() - start >= limit);
    }
    pipe.writer.send(1);
    CHECK(pipe.reader.poll());
    CHECK(pipe.reader.poll_for(-1s));
    CHECK(pipe.reader.poll_for(unit::patience));
    CHECK(pipe.reader.try_recv() == 1);
    pipe.writer.send(2);
    CHECK(pipe.reader.recv_for(-1s) == 2);
    pipe.writer.send(3);
    CHECK(pipe.reader.recv_for(unit::patience) == 3);
    pipe.writer.send(4);
    CHECK(pipe.reader.recv() == 4);
    CHECK_FALSE(pipe.reader.poll());
    pipe.writer.close();
    CHECK(pipe.reader.poll());
    CHECK(pipe.reader.poll_for(-1s));
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.try_recv()), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv_for(-1s)), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv_for(unit::patience)), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "who sleeps for a message is woken by it") {
    const SimplexPipe<int> pipe;
    const SimplexPipe<int> answers;
    unit::Relative child([&] {
      for (int round = 0; round < 100; ++round) {
        if (round % 3 == 0 && !pipe.reader.poll_for(unit::patience)) return "not polled";
        const auto number =
            round % 2 == 0 ? pipe.reader.recv() : pipe.reader.recv_for(unit::patience);
        if (number != round) return "another";
        answers.writer.send(round);
      }
      return "done";
    });
    for (int round = 0; round < 100; ++round) {
      if (round % 10 == 0) CHECK(child.falls_asleep());
      pipe.writer.send(round);
      REQUIRE(answers.reader.recv_for(unit::patience) == round);
    }
    CHECK(child.answer() == "done");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a buffer that is too short is told the size") {
    const SimplexPipe<std::string> pipe;
    for (const std::size_t size :
         {std::size_t{1}, 100 * std::size_t{1}, 32 * KiB, 32 * KiB + 1, 2 * MiB}) {
      CAPTURE(size);
      const Bytes bytes = noise(size);
      unit::Relative child([&] {
        pipe.writer.send_bytes(bytes);
        pipe.writer.send("next");
        return "sent";
      });
      Bytes buffer(size - 1, std::byte{0x55});
      const Bytes untouched = buffer;
      for (int again = 0; again < 2; ++again) {
        try {
          static_cast<void>(pipe.reader.recv_bytes_into(buffer));
          FAIL("nothing was thrown");
        } catch (const kin::BufferTooShort& error) {
          CHECK(error.message_size() == size);
        }
        CHECK((buffer == untouched));
        CHECK(pipe.reader.poll());
      }
      buffer.resize(size);
      CHECK(pipe.reader.recv_bytes_into(buffer) == size);
      CHECK((buffer == bytes));
      CHECK(pipe.reader.recv_for(unit::patience) == "next");
      CHECK(child.answer() == "sent");
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a loop over it ends with the stream") {
    const SimplexPipe<std::string> words;
    unit::Relative child([&] {
      words.writer.close();
      std::string all;
      for (std::string& word : words.reader) all += std::move(word) + " ";
      return all;
    });
    for (const char* word : {"one", "two", "three"}) words.writer.send(word);
    CHECK(child.falls_asleep());
    words.writer.send("four");
    words.writer.close();
    CHECK(child.answer() == "one two three four ");

    const SimplexPipe<int> numbers;
    for (int i = 1; i <= 10; ++i) numbers.writer.send(i);
    numbers.writer.close();
    int sum = 0;
    std::ranges::for_each(numbers.reader | std::views::filter([](int n) { return n % 2 == 0; }),
                          [&](int n) { sum += n; });
    CHECK(sum == 30);
    for (const int number : numbers.reader) FAIL(number);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "the stream ends behind the last message, with the last holder") {
    const SimplexPipe<int> pipe;
    const kin::Queue<bool> go_on;
    unit::Relative closes([&] {
      pipe.writer.send(1);
      pipe.writer.close();
      return go_on.get_for(unit::patience) ? "closed" : "late";
    });
    unit::Relative lives([&] {
      if (!go_on.get_for(unit::patience)) return "late";
      pipe.writer.send(2);
      return "sent";  // and ends with its end open
    });
    pipe.writer.close();
    CHECK(pipe.reader.recv_for(unit::patience) == 1);
    CHECK_FALSE(pipe.reader.try_recv());  // the other has it
    CHECK_FALSE(pipe.reader.poll());
    go_on.put(true);
    go_on.put(true);
    CHECK(closes.answer() == "closed");
    CHECK(lives.answer() == "sent");
    CHECK(pipe.reader.poll());
    CHECK(pipe.reader.recv() == 2);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a reader that sleeps sees the end of a killed writer") {
    const SimplexPipe<int> pipe;
    unit::Relative writer([&]() -> std::string {
      pipe.writer.send(1);
      while (true) ::pause();
    });
    pipe.writer.close();
    CHECK(pipe.reader.recv_for(unit::patience) == 1);
    auto rest = std::async(std::launch::async, [&] {
      int count = 0;
      for ([[maybe_unused]] const int number : pipe.reader) ++count;
      return count;
    });
    CHECK_FALSE(pipe.reader.try_recv());
    writer.end();
    REQUIRE(rest.wait_for(unit::patience) == std::future_status::ready);
    CHECK(rest.get() == 0);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "sending is refused at once where the other end was closed") {
    {
      const Pipe<int> pipe;
      pipe.first.send(1);
      pipe.second.send(2);
      pipe.second.close();
      CHECK_THROWS_AS(pipe.first.send(3), kin::BrokenPipe);
      CHECK_THROWS_AS(pipe.first.send_bytes(noise(2 * MiB)), kin::BrokenPipe);
      CHECK(pipe.first.recv() == 2);  // what was sent before is received
      CHECK_THROWS_AS(static_cast<void>(pipe.first.recv()), kin::EndOfStream);
      CHECK_THROWS_AS(pipe.first.send(3), kin::BrokenPipe);
    }
    // By another process, which has it last.
    const SimplexPipe<int> pipe;
    const kin::Queue<bool> closed;
    unit::Relative reader([&]() -> std::string {
      if (pipe.reader.recv() != 1) return "another";
      pipe.reader.close();
      closed.put(true);
      while (true) ::pause();
    });
    pipe.reader.close();
    pipe.writer.send(1);
    CHECK(closed.get_for(unit::patience) == true);
    CHECK_THROWS_AS(pipe.writer.send(2), kin::BrokenPipe);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "sending is refused some messages after a reader was killed") {
    for (const std::size_t size : {std::size_t{1}, 1 * KiB, 32 * KiB, 33 * KiB}) {
      CAPTURE(size);
      const SimplexPipe<int> pipe;
      unit::Relative reader([&]() -> std::string {
        while (true) ::pause();
      });
      pipe.reader.close();
      pipe.writer.send(1);
      reader.end();
      const Bytes bytes = noise(size);
      const int sent = sends_until_broken([&] { pipe.writer.send_bytes(bytes); }, 257);
      CHECK(sent >= 0);
      if (size >= 32 * KiB) CHECK(sent <= 16);  // the pipe is full
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "who waits in a full pipe is told that the reader is gone") {
    for (const bool killed : {false, true}) {
      for (const std::size_t size : {std::size_t{8}, 32 * KiB, 1 * MiB}) {
        CAPTURE(killed);
        CAPTURE(size);
        const SimplexPipe<int> pipe;
        const kin::Queue<bool> go_on;
        unit::Relative reader([&]() -> std::string {
          if (!go_on.get_for(unit::patience)) return "late";
          pipe.reader.close();
          return "closed";
        });
        unit::Relative writer([&]() -> std::string {
          pipe.reader.close();
          const Bytes bytes = noise(size);
          const int sent = sends_until_broken([&] { pipe.writer.send_bytes(bytes); }, 1'000'000);
          return sent >= 0 ? "broken" : "never";
        });
        pipe.reader.close();
        CHECK(writer.falls_asleep());
        if (killed) {
          reader.end();
        } else {
          go_on.put(true);
        }
        CHECK(writer.answer() == "broken");
      }
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "what a killed process was sending never arrives") {
    const SimplexPipe<std::string> pipe;
    const std::string large(8 * MiB, 'x');
    // Stuck in the middle: its reader does not go on.
    unit::Relative killed([&] {
      pipe.writer.send("whole");
      pipe.writer.send(large);
      return "sent";
    });
    CHECK(killed.falls_asleep());
    CHECK(pipe.reader.recv() == "whole");
    unit::Relative other([&] {
      pipe.writer.send("after");
      pipe.writer.send(large);
      return "sent";
    });
    CHECK(other.falls_asleep());
    killed.end();
    CHECK(pipe.reader.recv_for(unit::patience) == "after");
    CHECK((pipe.reader.recv_for(unit::patience) == large));
    CHECK(other.answer() == "sent");

    unit::Relative last([&] {
      pipe.writer.send(large);
      return "sent";
    });
    CHECK(last.falls_asleep());
    last.end();
    pipe.writer.close();
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a large message goes with whoever began to receive it") {
    const SimplexPipe<std::string> pipe;
    unit::Relative writer([&] {
      pipe.writer.send(std::string(64 * MiB, 'x'));
      pipe.writer.send("next");
      return "sent";
    });
    CHECK(writer.falls_asleep());
    // Stopped, so that its reader waits in the middle.
    REQUIRE(::kill(writer.pid(), SIGSTOP) == 0);
    CHECK(unit::eventually([&] { return crash::process_state(writer.pid()) == 'T'; }));
    unit::Relative killed([&] { return std::to_string(pipe.reader.recv().size()); });
    CHECK(killed.falls_asleep());
    killed.end();
    CHECK_FALSE(pipe.reader.try_recv());
    CHECK_FALSE(pipe.reader.poll());
    REQUIRE(::kill(writer.pid(), SIGCONT) == 0);
    CHECK(pipe.reader.recv_for(unit::patience) == "next");
    CHECK(writer.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "many at one end: each message is whole, and received once") {
    constexpr int writers = 3;
    constexpr int each = support::is_sanitized ? 100 : 400;
    // {number, noise by that number}; some come in pieces
    const auto bytes_of = [](int number) {
      constexpr std::array sizes{4UL, 100UL, 20 * KiB, 32 * KiB, 33 * KiB, 150 * KiB};
      Bytes bytes = noise(sizes[static_cast<std::size_t>(number) % sizes.size()],
                          static_cast<std::uint32_t>(number));
      std::memcpy(bytes.data(), &number, sizeof number);
      return bytes;
    };
    const auto send_all = [&](const auto& writer, int from) {
      for (int i = 0; i < each; ++i) writer.send_bytes(bytes_of(from + i));
    };
    // The numbers; -1 for one that was torn.
    const auto receive_all = [&](const auto& reader) {
      std::vector<int> numbers;
      try {
        while (true) {
          const Bytes bytes = reader.recv_bytes();
          int number = 0;
          std::memcpy(&number, bytes.data(), sizeof number);
          numbers.push_back(bytes == bytes_of(number) ? number : -1);
        }
      } catch (const kin::EndOfStream&) {
      }
      return numbers;
    };
    const auto check_each_once = [](std::vector<int> numbers) {
      std::ranges::sort(numbers);
      std::vector<int> expected(static_cast<std::size_t>(writers * each));
      std::iota(expected.begin(), expected.end(), 0);
      CHECK((numbers == expected));
    };

    SUBCASE("threads") {
      const SimplexPipe<std::string> pipe;
      std::vector<std::future<std::vector<int>>> receivers;
      for (int i = 0; i < 2; ++i) {
        receivers.push_back(
            std::async(std::launch::async, [&] { return receive_all(pipe.reader); }));
      }
      std::vector<std::future<void>> senders;
      for (int i = 0; i < writers; ++i) {
        senders.push_back(
            std::async(std::launch::async, [&, i] { send_all(pipe.writer, i * each); }));
      }
      for (auto& sender : senders) sender.get();
      pipe.writer.close();
      std::vector<int> numbers;
      for (auto& receiver : receivers) {
        const auto some = receiver.get();
        numbers.insert(numbers.end(), some.begin(), some.end());
      }
      check_each_once(numbers);
    }
    SUBCASE("processes") {
      const SimplexPipe<std::string> pipe;
      const kin::Queue<std::vector<int>> received;
      std::vector<std::unique_ptr<unit::Relative>> processes;
      for (int i = 0; i < 2; ++i) {
        processes.push_back(std::make_unique<unit::Relative>([&] {
          pipe.writer.close();
          received.put(receive_all(pipe.reader));
          return "done";
        }));
      }
      for (int i = 0; i < writers; ++i) {
        processes.push_back(std::make_unique<unit::Relative>([&, i] {
          pipe.reader.close();
          send_all(pipe.writer, i * each);
          return "done";
        }));
      }
      pipe.writer.close();
      for (auto& process : processes) CHECK(process->answer() == "done");
      std::vector<int> numbers;
      for (int i = 0; i < 2; ++i) {
        const auto some = received.try_get();
        REQUIRE(some);
        numbers.insert(numbers.end(), some->begin(), some->end());
      }
      check_each_once(numbers);
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "messages of one sender stay in their order") {
    const Pipe<int> pipe;
    constexpr int many = support::is_sanitized ? 2000 : 30'000;
    unit::Relative child([&] {
      for (int i = 0; i < many; ++i) {
        if (pipe.second.recv() != i) return "another";
        if (i % 3 == 0) pipe.second.send(i);
      }
      return "done";
    });
    bool in_order = true;
    for (int i = 0; i < many; ++i) {
      pipe.first.send(i);
      if (i % 3 == 0 && i % 2 == 0) in_order = in_order && pipe.first.recv() == i;
      if (i % 3 == 0 && i % 2 == 1) in_order = in_order && pipe.first.recv_for(unit::patience) == i;
    }
    CHECK(in_order);
    CHECK(child.answer() == "done");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "close by another thread ends the sleep of who receives") {
    for (int way = 0; way < 4; ++way) {
      CAPTURE(way);
      const Pipe<int> pipe;
      // In a process of its own, whose main thread is seen asleep.
      unit::Relative child([&] {
        auto closing = std::async(std::launch::async, [&] {
          unit::eventually([] { return crash::process_state(::getpid()) == 'S'; });
          pipe.first.close();
        });
        try {
          if (way == 0) static_cast<void>(pipe.first.recv());
          if (way == 1) static_cast<void>(pipe.first.recv_for(unit::patience));
          if (way == 2) static_cast<void>(pipe.first.poll_for(unit::patience));
          if (way == 3) {
            while (true) pipe.first.send_bytes(noise(40 * KiB));
          }
        } catch (const std::logic_error&) {
          closing.get();
          return "told";
        }
        return "not told";
      });
      CHECK(child.answer() == "told");
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "close while others send and receive closes for all of them") {
    for (int round = 0; round < 20; ++round) {
      const Pipe<int> pipe;
      const auto until_closed = [](const auto& act) {
        try {
          while (true) act();
        } catch (const std::logic_error&) {
          return true;
        } catch (const kin::Error&) {
          return false;
        }
      };
      // The other end stays, so that nothing else ends these.
      auto sender =
          std::async(std::launch::async, [&] { return until_closed([&] { pipe.first.send(1); }); });
      auto receiver = std::async(std::launch::async, [&] {
        return until_closed([&] { static_cast<void>(pipe.first.recv()); });
      });
      std::vector<int> got;
      for (int i = 0; i < 100; ++i) {
        got.push_back(pipe.second.recv());
        pipe.second.send(i);
      }
      pipe.first.close();
      CHECK(unit::eventually([&] {
        try {
          while (pipe.second.try_recv()) {
          }
        } catch (const kin::EndOfStream&) {
          return true;
        }
        return false;
      }));
      CHECK(sender.get());
      CHECK(receiver.get());
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a child has the ends, and its own close") {
    const Pipe<std::string> pipe;
    unit::Relative child([&] {
      pipe.first.close();
      pipe.first.close();
      if (!pipe.first.closed()) return "open";
      pipe.second.send(pipe.second.recv() + " back");
      pipe.second.close();
      try {
        pipe.second.send("late");
      } catch (const std::logic_error&) {
        return "closed";
      }
      return "open";
    });
    CHECK(unit::eventually([&] { return child.stamp() != 0; }));
    pipe.first.send("there and");
    CHECK(pipe.first.recv_for(unit::patience) == "there and back");
    CHECK(child.answer() == "closed");
    CHECK_FALSE(pipe.first.closed());
    CHECK_FALSE(pipe.second.closed());
    pipe.second.send("still here");
    CHECK(pipe.first.recv() == "still here");

    // What the parent closes is open in a child that has it already.
    const kin::Queue<bool> go_on;
    unit::Relative keeps([&] {
      if (!go_on.get_for(unit::patience)) return "late";
      pipe.second.send("from the child");
      return "sent";
    });
    pipe.second.close();
    go_on.put(true);
    CHECK(pipe.first.recv_for(unit::patience) == "from the child");
    CHECK(keeps.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "what can't be written is not sent, what can't be read is gone") {
    const SimplexPipe<Fragile> pipe;
    CHECK_THROWS_AS(pipe.writer.send({Fragile::written}), std::domain_error);
    CHECK_FALSE(pipe.reader.poll());
    pipe.writer.send({Fragile::read});
    pipe.writer.send({Fragile::never});
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), std::domain_error);
    CHECK(pipe.reader.recv().when == Fragile::never);

    const SimplexPipe<std::string> words;
    words.writer.send_bytes(std::as_bytes(std::span("no string")));
    words.writer.send("a string");
    CHECK_THROWS_AS(static_cast<void>(words.reader.recv()), kin::SerializationError);
    CHECK(words.reader.recv() == "a string");

    const SimplexPipe<int> numbers;
    for (const std::size_t size : {std::size_t{3}, std::size_t{5}}) {
      numbers.writer.send_bytes(noise(size));
      CHECK_THROWS_AS(static_cast<void>(numbers.reader.recv()), kin::SerializationError);
    }
    unit::Relative child([&] {
      numbers.writer.send_bytes(noise(MiB));
      numbers.writer.send(7);
      return "sent";
    });
    CHECK_THROWS_AS(static_cast<void>(numbers.reader.recv()), kin::SerializationError);
    CHECK(numbers.reader.recv_for(unit::patience) == 7);
    CHECK(child.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "queues travel through a pipe, in small and large messages") {
    using Message = std::pair<std::string, std::vector<kin::Queue<int>>>;
    for (const std::size_t size : {std::size_t{0}, 20 * KiB, MiB}) {
      CAPTURE(size);
      const SimplexPipe<Message> pipe;
      unit::Relative child([&] {
        const Message message = pipe.reader.recv();
        if (message.first.size() != size) return "another";
        for (const auto& queue : message.second) queue.put(5);
        return "put";
      });
      {
        const kin::Queue<int> queue;
        pipe.writer.send({std::string(size, 'x'), {queue, queue}});
        CHECK(queue.get_for(unit::patience) == 5);
        CHECK(queue.get_for(unit::patience) == 5);
      }
      CHECK(child.answer() == "put");
      // Never received: it goes with the pipe.
      if (size < MiB) pipe.writer.send({std::string(size, 'x'), {kin::Queue<int>()}});
      // Received as bytes: the queue is dropped.
      unit::Relative sender([&] {
        pipe.writer.send({std::string(size, 'x'), {kin::Queue<int>()}});
        return "sent";
      });
      CHECK(pipe.reader.recv_bytes().size() > size);
      Bytes buffer(size + 200);
      if (size < MiB) CHECK(pipe.reader.recv_bytes_into(buffer) > size);
      CHECK(sender.answer() == "sent");
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "an end travels in a message, and keeps the stream open meanwhile") {
    const SimplexPipe<Writer<int>> carrier;
    {
      const SimplexPipe<int> pipe;
      carrier.writer.send(pipe.writer);
      pipe.writer.close();
      CHECK_FALSE(pipe.reader.poll());
      CHECK(unit::answer_of([&] {
              const Writer<int> writer = carrier.reader.recv();
              writer.send(1);
              return "sent";
            }) == "sent");
      CHECK(pipe.reader.recv() == 1);
      CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
      CHECK_THROWS_AS(carrier.writer.send(pipe.writer), std::logic_error);  // it was closed
      CHECK_FALSE(carrier.reader.poll());
    }
    // To itself: a second one, with its own close.
    const SimplexPipe<int> pipe;
    carrier.writer.send(pipe.writer);
    const Writer<int> second = carrier.reader.recv();
    CHECK_FALSE(second == pipe.writer);
    pipe.writer.close();
    second.send(2);
    CHECK(pipe.reader.recv() == 2);
    // Never received: it goes with the pipe that it is in.
    {
      const SimplexPipe<std::pair<std::string, Writer<int>>> dropped;
      dropped.writer.send({"first", second});
      dropped.writer.send({"second", second});
      second.close();
      CHECK(dropped.reader.recv().first == "first");
      CHECK_FALSE(pipe.reader.poll());
    }
    CHECK(unit::eventually([&] { return pipe.reader.poll(); }));
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a thousand pipes") {
    std::vector<Pipe<int>> pipes(1000);
    unit::Relative child([&] {
      for (const auto& pipe : pipes) pipe.second.send(pipe.second.recv() + 1);
      return "done";
    });
    for (int i = 0; i < 1000; ++i) pipes[static_cast<std::size_t>(i)].first.send(i);
    bool right = true;
    for (int i = 0; i < 1000; ++i) {
      const auto answer = pipes[static_cast<std::size_t>(i)].first.recv_for(unit::patience);
      right = right && answer == i + 1;
    }
    CHECK(right);
    CHECK(child.answer() == "done");
    for (const auto& pipe : pipes) pipe.second.close();
    CHECK_THROWS_AS(static_cast<void>(pipes[500].first.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "pipes that come and go leave no memory behind") {
    const std::size_t before = kin::detail::Heap::statistics().chunks;
    const Bytes bytes = noise(100 * KiB);
    for (int i = 0; i < 50; ++i) {
      const Pipe<int> pipe;
      for (int small = 0; small < 10; ++small) pipe.first.send(small);
      auto sender = std::async(std::launch::async, [&] { pipe.second.send_bytes(bytes); });
      CHECK((pipe.first.recv_bytes() == bytes));
      sender.get();
    }
    CHECK(kin::detail::Heap::statistics().chunks <= before + 2);
  }
}
