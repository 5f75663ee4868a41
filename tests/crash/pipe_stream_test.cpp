// SPDX-License-Identifier: BSL-1.0

// A message that is too large for the ring of its pipe passes in pieces. Its sender or its receiver is
// killed, or stopped, in the middle of it: nobody receives a part, the next message is whole, and nobody
// waits for a piece, or for room, that will never come.
//
// Fails when settle_streaming() does not abort what a dead sender has begun, when find_message() does not
// drop what a dead receiver has left, and when wait_for_piece() does not look after the sender.

#include "crash/prove.hpp"
#include "crash/streams.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <time.h>

using crash::At;
using crash::Bystander;
using crash::Bytes;
using crash::four_rings;
using crash::is_done;
using crash::little;
using crash::mebi;
using crash::Moment;
using crash::next_large;
using crash::receive_bytes_to_end;
using crash::receive_bytes_up_to;
using crash::require;
using crash::rouse;
using crash::stream_around;
using crash::three_pieces;
using crash::With;
using Pipe = crash::BytesPipe;
using namespace std::chrono_literals;

namespace {

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";
const std::string still_there = "still there";
const std::string taken = "taken";

/// A large message, looked at closely behind so many of its pieces.
struct Stream {
  const Bytes& bytes;
  std::string name;
  std::vector<std::size_t> windows;

  [[nodiscard]] std::size_t pieces() const { return bytes.size() >> 15; }
};
const std::vector<Stream> streams{{mebi, "1 MiB", {0, 31}}, {four_rings, "4 MiB", {1, 63, 127}}};

/// At every change in its windows, and with KIN_CRASH_FULL at every change of 1 MiB.
void prove_in_windows(crash::Scenario scenario, const std::function<const void*()>& commit_word,
                      const Stream& stream) {
  constexpr std::size_t changes = 24;  // of two pieces
  std::vector<std::size_t> windows = stream.windows;
  if (std::getenv("KIN_CRASH_FULL") != nullptr && stream.pieces() == 32) {
    windows.resize(stream.pieces());
    std::iota(windows.begin(), windows.end(), 0);
  }
  const std::string name = scenario.name + " of " + stream.name + " after ";
  for (const std::size_t pieces : windows) {
    scenario.name = name + std::to_string(pieces) + " pieces";
    const std::size_t window = pieces + 1 == stream.pieces() ? 0 : changes;
    scenario.lead = {.word = commit_word, .stores = pieces, .window = window};
    crash::prove(scenario);
  }
}

/// At a sample of instructions, most of them in the copies.
void prove_in_copies(crash::Scenario scenario, const std::function<const void*()>& commit_word) {
  scenario.name += " of 4 MiB after 80 pieces";
  scenario.lead = {.word = commit_word, .stores = 80, .window = 5000};
  scenario.at = At::every_instruction;
  crash::prove(scenario);
}

/// What a partner that receives, or sends, all the time has seen.
struct Seen {
  std::atomic<int> whole;
  std::atomic<int> torn;
  std::atomic<int> ends;
  void clear() { whole = torn = ends = 0; }
};

}  // namespace

TEST_SUITE("pipe stream") {
  TEST_CASE("a sender of pieces is killed, and nobody receives meanwhile") {
    const crash::Balance balance;
    Pipe pipe;
    crash::Scenario scenario{
        .name = "send of 3 pieces",
        .prepare =
            [&] {
              pipe.prepare();
              pipe.writer().send_bytes(little);
            },
        .operation = [&] { pipe.writer().send_bytes(three_pieces); },
        .check = [&](const Moment& moment) -> std::string {
          pipe.writer().send_bytes(next_large);
          const bool was_sent = is_done(moment, receive_bytes_up_to(pipe, next_large),
                                        {little, next_large}, {little, three_pieces, next_large});
          return was_sent ? sent_whole : never_sent;
        },
        .expected = {never_sent, sent_whole},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.name = "send of 3 pieces, and then the end";
    scenario.check = [&](const Moment& moment) {
      const bool was_sent =
          is_done(moment, receive_bytes_to_end(pipe), {little}, {little, three_pieces});
      return was_sent ? sent_whole : never_sent;
    };
    scenario.let_go = [&] { pipe.close_sending(); };
    crash::prove(scenario);

    // A sample, in the copies above all.
    scenario.at = At::every_instruction;
    scenario.budget = 2s;
    crash::prove(scenario);
    pipe.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a receiver of pieces is killed") {
    Pipe pipe;
    crash::Scenario scenario{
        .name = "recv of 3 pieces",
        .prepare =
            [&] {
              pipe.prepare();
              pipe.writer().send_bytes(three_pieces);
              pipe.writer().send_bytes(little);
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .check = [&](const Moment& moment) -> std::string {
          pipe.writer().send_bytes(next_large);
          const bool was_taken = is_done(moment, receive_bytes_up_to(pipe, next_large),
                                         {three_pieces, little, next_large}, {little, next_large});
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 2s;
    crash::prove(scenario);
  }

  TEST_CASE("a sender of many pieces is killed, and a receiver is in the middle of it") {
    Pipe pipe;
    const crash::SharedPage<Seen> seen;
    const Bytes* message = nullptr;
    crash::Scenario scenario{
        .name = "send",
        .prepare =
            [&] {
              seen->clear();
              pipe.prepare();
            },
        .operation = [&] { pipe.writer().send_bytes(*message); },
        .check = [&](const Moment& moment) -> std::string {
          // The partner's last turn may have been its last before the end, or before the message.
          std::vector<Bytes> found = receive_bytes_to_end(pipe);
          require(found.empty() || seen->ends == 0, "a message comes behind the end");
          require(seen->torn == 0, "a part was received");
          found.resize(found.size() + static_cast<std::size_t>(seen->whole), *message);
          return is_done(moment, found, {}, {*message}) ? sent_whole : never_sent;
        },
        .expected = {never_sent},
        .possible = {sent_whole},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .partner =
            [&] {
              if (seen->ends != 0) return std::this_thread::sleep_for(100us);
              pipe.close_sending();
              const bool ended = crash::ends([&] {
                const bool is_whole = pipe.reader().recv_bytes() == *message;
                ++(is_whole ? seen->whole : seen->torn);
              });
              if (ended) ++seen->ends;
            },
        .partner_every = 0,
        .budget = 2s,
    };
    const auto commit_word = [&] { return &pipe.channel().tail; };
    for (const Stream& stream : streams) {
      message = &stream.bytes;
      prove_in_windows(scenario, commit_word, stream);
    }
    prove_in_copies(scenario, commit_word);
  }

  TEST_CASE(
      "a receiver of many pieces is killed, and the next drops the rest for the sender to go on") {
    Pipe pipe;
    const Bytes* message = nullptr;
    crash::Scenario scenario{
        .name = "recv",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .check = [&](const Moment& moment) -> std::string {
          const bool was_taken = is_done(moment, receive_bytes_up_to(pipe, next_large),
                                         {*message, little, next_large}, {little, next_large});
          require(rouse(moment) == "sent", "the sender does not get on");
          return was_taken ? taken : still_there;
        },
        .expected = {},
        .possible = {still_there, taken},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .sleeper =
            [&] {
              crash::sleep_lightly();
              pipe.writer().send_bytes(*message);
              pipe.writer().send_bytes(little);
              pipe.writer().send_bytes(next_large);
              return "sent";
            },
        .budget = 2s,
    };
    const auto commit_word = [&] { return &pipe.channel().head; };
    for (const Stream& stream : streams) {
      message = &stream.bytes;
      prove_in_windows(scenario, commit_word, stream);
    }
    prove_in_copies(scenario, commit_word);

    scenario.name = "recv of 4 MiB by the only receiver, after 63 pieces";
    scenario.lead = {.word = commit_word, .stores = 63, .window = 24};
    scenario.check = [&](const Moment& moment) -> std::string { return rouse(moment); };
    scenario.expected = {"broken"};
    scenario.let_go = [&] { pipe.close_receiving(); };
    scenario.sleeper = [&] {
      crash::sleep_lightly();
      pipe.close_receiving();
      try {
        while (true) pipe.writer().send_bytes(four_rings);
      } catch (const kin::BrokenPipe&) {
        return "broken";
      }
    };
    crash::prove(scenario);
  }

  TEST_CASE("a sender sleeps in the middle of a message, is woken and killed") {
    Pipe pipe;
    crash::prove({
        .name = "send of 4 MiB that is woken",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send_bytes(four_rings); },
        .check = [&](const Moment& moment) -> std::string {
          pipe.writer().send_bytes(little);
          require(receive_bytes_up_to(pipe, little).size() == 1, "a part was received");
          return moment.completed ? sent_whole : never_sent;
        },
        .expected = {never_sent},
        .waker =
            [&] {
              // As many bytes as a number has not.
              try {
                static_cast<void>(pipe.reader().try_recv());
              } catch (const kin::SerializationError&) {
              }
            },
        .lead = {.word = [&] { return &pipe.channel().tail; }, .stores = 0, .window = 600},
        .budget = 2s,
    });
  }

  TEST_CASE("a sender is stopped in the middle, and goes on later") {
    Pipe pipe;
    crash::prove({
        .name = "send of 4 MiB",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send_bytes(four_rings); },
        .check = [&](const Moment& moment) -> std::string {
          require(moment.sleeper_answer() == "whole", "it is torn");
          require(receive_bytes_to_end(pipe).empty(), "it came twice");
          return sent_whole;
        },
        .expected = {sent_whole},
        .with = With::stop,
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .sleeper =
            [&] {
              pipe.close_sending();
              return pipe.reader().recv_bytes() == four_rings ? "whole" : "torn";
            },
        .lead = {.word = [&] { return &pipe.channel().tail; }, .stores = 63, .window = 24},
        .budget = 2s,
    });
  }

  TEST_CASE("a receiver is stopped in the middle, and goes on later") {
    Pipe pipe;
    crash::Scenario scenario{
        .name = "recv of 3 pieces",
        .prepare =
            [&] {
              pipe.prepare();
              pipe.writer().send_bytes(three_pieces);
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .check = [&](const Moment&) -> std::string {
          require(pipe.reader().recv_bytes() == next_large, "the next one is lost");
          require(!pipe.reader().poll(), "it came twice");
          return taken;
        },
        .expected = {taken},
        .with = With::stop,
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .while_stopped = [&] { pipe.writer().send_bytes(next_large); },
        .budget = 2s,
    };
    crash::prove(scenario);

    scenario.name = "recv of 4 MiB after 63 pieces";
    scenario.prepare = [&] { pipe.prepare(); };
    scenario.operation = [&] { require(pipe.reader().recv_bytes() == four_rings, "it is torn"); };
    scenario.while_stopped = [] {};
    scenario.sleeper = [&] {
      pipe.writer().send_bytes(four_rings);
      pipe.writer().send_bytes(next_large);
      return "sent";
    };
    scenario.lead = {.word = [&] { return &pipe.channel().head; }, .stores = 63, .window = 24};
    crash::prove(scenario);
  }

  TEST_CASE("beside a sender that is stopped in the middle others sleep") {
    Pipe pipe;
    pipe.prepare();
    const Bytes large(std::size_t{64} << 20);
    const auto send_on = [&]() -> std::string {
      while (true) pipe.writer().send_bytes(large);
    };
    Bystander sender(send_on);
    Bystander receiver([&] {
      while (pipe.reader().recv_bytes() == large) {
      }
      return "torn";
    });
    std::this_thread::sleep_for(50ms);
    kill(sender.pid(), SIGSTOP);
    Bystander other_receiver([&] { return pipe.reader().recv_bytes() == large ? "" : "torn"; });
    Bystander other_sender(send_on);
    const auto deadline = crash::Clock::now() + 10s;
    const std::vector<const Bystander*> others{&receiver, &other_receiver, &other_sender};
    for (const Bystander* other : others) CHECK(other->sleeps_by(deadline));
    for (const Bystander* other : others) {
      clockid_t clock{};
      REQUIRE(clock_getcpuclockid(other->pid(), &clock) == 0);
      timespec before{};
      timespec after{};
      clock_gettime(clock, &before);
      std::this_thread::sleep_for(500ms);
      clock_gettime(clock, &after);
      const std::chrono::nanoseconds used =
          std::chrono::seconds(after.tv_sec - before.tv_sec) +
          std::chrono::nanoseconds(after.tv_nsec - before.tv_nsec);
      CHECK_MESSAGE(used < 25ms, used.count() << " ns of 0.5 s");
      std::cout << "beside a stopped sender: " << used.count() / 1000 << " µs of 0.5 s"
                << std::endl;
    }
    // And they get on when it is gone.
    kill(sender.pid(), SIGKILL);
    CHECK(other_receiver.ends_by(deadline));
    CHECK(other_receiver.failure() == "");
  }
}
