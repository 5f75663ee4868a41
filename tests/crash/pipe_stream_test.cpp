// SPDX-License-Identifier: BSL-1.0

// A message that is too large for the ring of its pipe passes in pieces. Its sender or its receiver is
// killed, or stopped, in the middle of it: nobody receives a part, the next message is whole, and nobody
// waits for a piece, or for room, that will never come.
//
// Fails when settle_streaming() does not abort what a dead sender has begun, when find_message() does not
// drop what a dead receiver has left, and when wait_for_piece() does not look after the sender.

#include "crash/pipes.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <time.h>

using crash::At;
using crash::Bystander;
using crash::FreshPipe;
using crash::is_done;
using crash::Moment;
using crash::receive_to_end;
using crash::require;
using crash::rouse;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

using Bytes = std::vector<std::byte>;

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";
const std::string still_there = "still there";
const std::string taken = "taken";

/// No part of it is like another.
Bytes bytes_of(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>((i * 2654435761U + seed) >> 13);
  }
  return bytes;
}

/// Three pieces, which fit into a ring, and a message that fills it four times.
const Bytes three_pieces = bytes_of(std::size_t{80} << 10, 1);
const Bytes mebi = bytes_of(std::size_t{1} << 20, 2);
const Bytes little = bytes_of(100, 3);
const Bytes next_large = bytes_of(std::size_t{70} << 10, 4);

using Pipe = FreshPipe<int>;

std::vector<Bytes> receive_bytes_to_end(const Pipe& pipe) {
  std::vector<Bytes> all;
  while (!crash::ends([&] { all.push_back(pipe.reader().recv_bytes()); })) {
  }
  require(crash::ends([&] { return pipe.reader().try_recv(); }), "the end comes twice");
  return all;
}

/// Everything up to a message, which is not waited for in vain.
std::vector<Bytes> receive_bytes_up_to(const Pipe& pipe, const Bytes& last) {
  std::vector<Bytes> all;
  do all.push_back(pipe.reader().recv_bytes());
  while (all.back() != last);
  return all;
}

std::vector<std::span<const std::byte>> channel_around(const Pipe& pipe) {
  return {crash::memory_of(pipe.channel()), crash::memory_of(*kin::detail::arena().heap)};
}

/// A message of 1 MiB has 32 pieces. It is looked at closely from its begin on, in the middle, and at its
/// end: at every change, and then at a sample of instructions, most of them in the copies.
void prove_in_windows(crash::Scenario scenario, const std::function<const void*()>& commit_word) {
  constexpr std::size_t changes = 24;  // of two pieces
  constexpr std::size_t instructions = 5000;
  const std::string name = scenario.name;
  for (const std::size_t stores : {0U, 1U, 15U, 31U}) {
    scenario.name = name + " after " + std::to_string(stores) + " pieces";
    const std::size_t window = stores == 31 ? 0 : changes;
    scenario.lead = {.word = commit_word, .stores = stores, .window = window};
    scenario.at = At::every_change;
    crash::prove(scenario);
  }
  scenario.lead.stores = 20;
  scenario.lead.window = instructions;
  scenario.at = At::every_instruction;
  scenario.name = name + " after 20 pieces";
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
        .watch = [&] { return channel_around(pipe); },
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
        .watch = [&] { return channel_around(pipe); },
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 2s;
    crash::prove(scenario);
  }

  TEST_CASE("a sender of 1 MiB is killed, and a receiver is in the middle of it") {
    Pipe pipe;
    const crash::SharedPage<Seen> seen;
    crash::Scenario scenario{
        .name = "send of 1 MiB",
        .prepare =
            [&] {
              seen->clear();
              pipe.prepare();
            },
        .operation = [&] { pipe.writer().send_bytes(mebi); },
        .check = [&](const Moment& moment) -> std::string {
          // The partner's last turn may have been its last before the end, or before the message.
          std::vector<Bytes> found = receive_bytes_to_end(pipe);
          require(found.empty() || seen->ends == 0, "a message comes behind the end");
          require(seen->torn == 0, "a part was received");
          found.resize(found.size() + static_cast<std::size_t>(seen->whole), mebi);
          return is_done(moment, found, {}, {mebi}) ? sent_whole : never_sent;
        },
        .expected = {never_sent},
        .possible = {sent_whole},
        .at = At::every_change,
        .watch = [&] { return channel_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .partner =
            [&] {
              if (seen->ends != 0) return std::this_thread::sleep_for(100us);
              pipe.close_sending();
              const bool ended = crash::ends([&] {
                const bool is_whole = pipe.reader().recv_bytes() == mebi;
                ++(is_whole ? seen->whole : seen->torn);
              });
              if (ended) ++seen->ends;
            },
        .partner_every = 0,
        .budget = 2s,
    };
    prove_in_windows(scenario, [&] { return &pipe.channel().tail; });
  }

  TEST_CASE("a receiver of 1 MiB is killed, and the next drops the rest for the sender to go on") {
    Pipe pipe;
    crash::Scenario scenario{
        .name = "recv of 1 MiB",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .check = [&](const Moment& moment) -> std::string {
          const bool was_taken = is_done(moment, receive_bytes_up_to(pipe, next_large),
                                         {mebi, little, next_large}, {little, next_large});
          require(rouse(moment) == "sent", "the sender does not get on");
          return was_taken ? taken : still_there;
        },
        .expected = {},
        .possible = {still_there, taken},
        .at = At::every_change,
        .watch = [&] { return channel_around(pipe); },
        .sleeper =
            [&] {
              crash::sleep_lightly();
              pipe.writer().send_bytes(mebi);
              pipe.writer().send_bytes(little);
              pipe.writer().send_bytes(next_large);
              return "sent";
            },
        .budget = 2s,
    };
    prove_in_windows(scenario, [&] { return &pipe.channel().head; });

    scenario.name = "recv of 1 MiB by the only receiver, after 15 pieces";
    scenario.at = At::every_change;
    scenario.lead.stores = 15;
    scenario.lead.window = 24;
    scenario.check = [&](const Moment& moment) -> std::string { return rouse(moment); };
    scenario.expected = {"broken"};
    scenario.let_go = [&] { pipe.close_receiving(); };
    scenario.sleeper = [&] {
      crash::sleep_lightly();
      pipe.close_receiving();
      try {
        while (true) pipe.writer().send_bytes(mebi);
      } catch (const kin::BrokenPipe&) {
        return "broken";
      }
    };
    crash::prove(scenario);
  }

  TEST_CASE("a sender sleeps in the middle of a message, is woken and killed") {
    Pipe pipe;
    crash::prove({
        .name = "send of 1 MiB that is woken",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send_bytes(mebi); },
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
        .lead = {.word = [&] { return &pipe.channel().tail; }, .stores = 1, .window = 600},
        .budget = 2s,
    });
  }

  TEST_CASE("whoever sends next is killed too") {
    Pipe pipe;
    crash::prove({
        .name = "send of 3 pieces after a killed one",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send_bytes(three_pieces); },
        .check = [&](const Moment& moment) -> std::string {
          std::string outcome;
          for (const Bytes& bytes : receive_bytes_to_end(pipe)) {
            require(bytes == three_pieces || bytes == next_large, "a part was received");
            outcome += bytes == three_pieces ? '1' : '2';
          }
          require(outcome.size() == 2 || !(moment.first_completed && moment.completed),
                  "both returned and a message is lost");
          return outcome.empty() ? "none" : outcome;
        },
        .expected = {"none", "1", "2", "12"},
        .at = At::every_change,
        .watch = [&] { return channel_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery = [&] { pipe.writer().send_bytes(next_large); },
        .budget = 3s,
    });
  }

  TEST_CASE("whoever receives next is killed too") {
    Pipe pipe;
    crash::prove({
        .name = "recv of 3 pieces after a killed one",
        .prepare =
            [&] {
              pipe.prepare();
              pipe.writer().send_bytes(three_pieces);
              pipe.writer().send_bytes(next_large);
              pipe.writer().send_bytes(little);
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<Bytes> found = receive_bytes_to_end(pipe);
          const std::vector<Bytes> all{three_pieces, next_large, little};
          require(!found.empty() && std::equal(found.rbegin(), found.rend(), all.rbegin()),
                  "messages are lost, or torn");
          require(found.size() == 1 || !(moment.first_completed && moment.completed),
                  "both returned and a message is still there");
          return std::to_string(found.size());
        },
        .expected = {"1", "2", "3"},
        .at = At::every_change,
        .watch = [&] { return channel_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .budget = 3s,
    });
  }

  TEST_CASE("a sender is stopped in the middle, and goes on later") {
    Pipe pipe;
    crash::prove({
        .name = "send of 1 MiB",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send_bytes(mebi); },
        .check = [&](const Moment& moment) -> std::string {
          require(moment.sleeper_answer() == "whole", "it is torn");
          require(receive_bytes_to_end(pipe).empty(), "it came twice");
          return sent_whole;
        },
        .expected = {sent_whole},
        .with = With::stop,
        .at = At::every_change,
        .watch = [&] { return channel_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .sleeper =
            [&] {
              pipe.close_sending();
              return pipe.reader().recv_bytes() == mebi ? "whole" : "torn";
            },
        .lead = {.word = [&] { return &pipe.channel().tail; }, .stores = 15, .window = 24},
        .budget = 2s,
    });
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
