// SPDX-License-Identifier: BSL-1.0

// The ends of a pipe: what is sent to the one arrives at the other, whoever holds them, until they are
// closed. What messages may be is in connection_message_test.cpp, what is left of a partner in
// connection_partner_test.cpp, and the descriptors for event loops are in fileno_test.cpp.

#include <kin/connection.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include "arena_frame.hpp"
#include "noise.hpp"

#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <iterator>
#include <map>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <poll.h>
#include <unistd.h>

using kin::Connection;
using kin::Pipe;
using kin::Reader;
using kin::SimplexPipe;
using kin::Writer;
using namespace std::chrono_literals;
using unit::Bytes;
using unit::KiB;
using unit::noise;

namespace {

static_assert(std::is_copy_constructible_v<Connection<int>>);
static_assert(std::is_nothrow_move_constructible_v<Connection<int>>);
static_assert(std::is_default_constructible_v<Reader<int>>);
static_assert(std::input_iterator<Reader<int>::Iterator>);
static_assert(std::ranges::input_range<const Reader<std::string>>);
static_assert(std::ranges::input_range<const Connection<int, std::string>>);
static_assert(!std::ranges::range<Writer<int>>);
static_assert(std::is_same_v<Connection<int>, Connection<int, int>>);

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

  TEST_CASE_FIXTURE(
      unit::ArenaFrame,
      "a child forked while a thread still sleeps on an end that was closed has none") {
    const SimplexPipe<int> pipe;
    std::atomic<pid_t> sleeper = 0;
    auto receiver = std::async(std::launch::async, [&] {
      sleeper = ::gettid();
      try {
        static_cast<void>(pipe.reader.recv());
      } catch (const std::logic_error&) {
        return true;
      }
      return false;
    });
    REQUIRE(unit::eventually([&] { return sleeper != 0 && crash::process_state(sleeper) == 'S'; }));
    pipe.reader.close();
    // The sleeper finds that out at the end of its slice.
    const unit::Relative child([]() -> std::string {
      while (true) ::pause();
    });
    CHECK(receiver.get());
    pollfd about{pipe.writer.fileno(), 0, 0};
    CHECK(unit::eventually([&] { return ::poll(&about, 1, 0) == 1; }));
    CHECK((about.revents & POLLHUP) != 0);
    CHECK_THROWS_AS(pipe.writer.send(1), kin::BrokenPipe);
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
