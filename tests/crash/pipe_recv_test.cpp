// SPDX-License-Identifier: BSL-1.0

// Whoever receives a message from a pipe is killed, or stopped, at every instruction: the message is still
// there, or went with its receiver, and all others go on. The end of the stream waits for all of them,
// and who sends hears of the death of the last that could receive.
//
// Fails when take_whole() does not store the head, and when put() does not look for readers while it waits.

#include "crash/pipes.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using crash::At;
using crash::FreshPipe;
using crash::is_done;
using crash::Moment;
using crash::Notes;
using crash::receive_all;
using crash::receive_to_end;
using crash::require;
using crash::rouse;
using crash::sweep_the_dead;
using crash::wait_until_asleep;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string still_there = "still there";
const std::string taken = "taken";

/// The first and the second of a pipe's messages; the traced process receives the first.
template <typename T>
struct Recv {
  T first;
  T second;
  FreshPipe<T> pipe = {};
  crash::SharedPage<Notes> notes = {};

  void prepare() {
    notes->clear();
    pipe.prepare({first, second});
  }
  void receive() const { (pipe.reader().recv() == first ? notes->got_it : notes->got_junk) = true; }
  std::string outcome(const Moment& moment) const {
    require(!notes->got_junk, "it received another message");
    const bool was_taken =
        is_done(moment, receive_to_end(pipe.reader()), {first, second}, {second});
    require(was_taken || !notes->got_it, "the message came twice");
    return was_taken ? taken : still_there;
  }
};

template <typename T>
void prove_recv(const std::string& name, const T& first, const T& second) {
  const crash::Balance balance;
  {
    Recv<T> recv{first, second};
    crash::prove({
        .name = name,
        .prepare = [&] { recv.prepare(); },
        .operation = [&] { recv.receive(); },
        .check = [&](const Moment& moment) { return recv.outcome(moment); },
        .expected = {still_there, taken},
        .let_go = [&] { recv.pipe.close_sending(); },
        .budget = 3s,
    });
  }
  CHECK_NOTHROW(balance.require_unchanged());
}

/// What became of a send into a pipe that nobody may read any more.
std::string send_in_words(const kin::Writer<int>& writer, int item) {
  try {
    writer.send(item);
    return "sent";
  } catch (const kin::BrokenPipe&) {
    return "broken";
  }
}

}  // namespace

TEST_SUITE("pipe recv") {
  TEST_CASE("a number is received") { prove_recv<int>("recv of an int", 1, 2); }

  TEST_CASE("a string is received") {
    prove_recv<std::string>("recv of a string", "a message that does not fit into the string",
                            "next");
  }

  TEST_CASE("another receives at the same time") {
    constexpr int most = 4000;
    struct Got {
      std::atomic<int> by_victim;
      std::atomic<int> count;
      std::array<int, most> by_other;
    };
    const crash::SharedPage<Got> got;
    FreshPipe<int> pipe;
    std::vector<int> all(200);
    std::iota(all.begin(), all.end(), 1);
    crash::prove({
        .name = "recv beside recvs",
        .prepare =
            [&] {
              got->by_victim = got->count = 0;
              pipe.prepare(all);
            },
        .operation = [&] { got->by_victim = pipe.reader().recv(); },
        .check = [&](const Moment& moment) -> std::string {
          std::vector<int> seen(got->by_other.begin(), got->by_other.begin() + got->count);
          for (const int item : receive_all(pipe.reader())) seen.push_back(item);
          require(std::is_sorted(seen.begin(), seen.end()), "out of order");
          if (got->by_victim != 0) seen.push_back(got->by_victim);
          std::sort(seen.begin(), seen.end());
          require(std::adjacent_find(seen.begin(), seen.end()) == seen.end(), "one came twice");
          require(seen.size() + 1 >= all.size(), "the messages of others are lost");
          const bool was_taken = seen.size() < all.size() || got->by_victim != 0;
          require(was_taken || !moment.completed, "recv() returned nothing");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .partner =
            [&] {
              if (const auto item = pipe.reader().try_recv()) {
                got->by_other[static_cast<std::size_t>(got->count)] = *item;
                ++got->count;
              }
            },
        .partner_every = 4,
    });
  }

  TEST_CASE("a send sleeps in a full pipe, and gets on or hears that nobody is left") {
    FreshPipe<int> pipe;
    crash::Scenario scenario{
        .name = "recv that makes room",
        .prepare =
            [&] {
              pipe.prepare();
              crash::fill(pipe.writer(), pipe.reader());
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv()); },
        .check = [&](const Moment& moment) -> std::string {
          // One that was received made room, and so do we.
          require(pipe.reader().poll(), "messages are lost");
          const bool was_taken = pipe.reader().recv() == 1;
          require(was_taken || !moment.completed, "recv() returned too early");
          require(rouse(moment) == "sent", "the sleeper did not send");
          require(receive_all(pipe.reader()).back() == -1, "the sleeper's message is lost");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              return send_in_words(pipe.writer(), -1);
            },
        .budget = 2s,
    };
    crash::prove(scenario);

    scenario.name = "recv of the only receiver";
    scenario.check = [&](const Moment& moment) -> std::string {
      const std::string outcome = rouse(moment);
      // Who comes later hears of it, too, when the pipe is full at the latest.
      std::string later;
      while ((later = send_in_words(pipe.writer(), 0)) == "sent") {
      }
      require(!moment.completed || later == "broken", "nobody is told");
      return outcome;
    };
    scenario.expected = {"broken"};
    scenario.possible = {"sent"};  // there was room before it died
    scenario.let_go = [&] { pipe.close_receiving(); };
    scenario.sleeper = [&] {
      pipe.close_receiving();
      crash::sleep_lightly();
      return send_in_words(pipe.writer(), -1);
    };
    crash::prove(scenario);
  }

  TEST_CASE("a reader sleeps, is woken and killed") {
    FreshPipe<int> pipe;
    crash::prove({
        .name = "recv that is woken",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { static_cast<void>(pipe.reader().recv()); },
        .check = [&](const Moment& moment) -> std::string {
          const bool was_taken = is_done(moment, receive_all(pipe.reader()), {2}, {});
          pipe.writer().send(3);
          require(pipe.reader().recv_for(5s) == 3, "the pipe does not work");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .waker = [&] { pipe.writer().send(2); },
    });
  }

  TEST_CASE("a reader is woken and killed, and another slept behind it") {
    const crash::SharedPage<Notes> notes;
    FreshPipe<int> pipe;
    crash::prove({
        .name = "recv that is woken before another's",
        .prepare =
            [&] {
              notes->clear();
              pipe.prepare();
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv()); },
        .check = [&](const Moment& moment) -> std::string {
          // If the woken one did not take it, the other does, at the end of its slice at the latest.
          crash::end_slice(moment);
          while (crash::gets_from(pipe.reader()) == 0) std::this_thread::sleep_for(100us);
          pipe.writer().send(3);
          const bool was_taken = rouse(moment) == "3";
          require(receive_all(pipe.reader()).size() == (was_taken ? 0 : 1),
                  "a message is lost, or came twice");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there},
        .possible = {taken},  // a step takes longer than all that the other does
        .sleeper =
            [&] {
              crash::sleep_lightly();
              while (!notes->sleeps) std::this_thread::sleep_for(100us);
              notes->other = getpid();
              return std::to_string(pipe.reader().recv());
            },
        .waker = [&] { pipe.writer().send(2); },
        .once_asleep =
            [&] {
              notes->sleeps = true;
              wait_until_asleep(notes->other);
            },
        .blocks = true,
        .budget = 2s,
    });
  }

  TEST_CASE("whoever receives the end of the stream is killed, and the others receive it") {
    FreshPipe<int> pipe;
    const crash::SharedPage<Notes> notes;
    crash::prove({
        .name = "recv of the end",
        .prepare =
            [&] {
              notes->clear();
              pipe.prepare({1});
            },
        .operation =
            [&] {
              pipe.close_sending();
              // The end itself is asked for by poll(): to step through what throws takes too long.
              notes->got_it = pipe.reader().recv() == 1 && pipe.reader().poll_for(1h);
              notes->got_junk = !notes->got_it;
            },
        .check = [&](const Moment& moment) -> std::string {
          require(!notes->got_junk, "the stream ended too early, or too late");
          const bool was_taken = is_done(moment, receive_to_end(pipe.reader()), {1}, {});
          require(moment.sleeper_answer() == "end", "the sleeper got something else");
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .let_go = [&] { pipe.close_sending(); },
        .sleeper =
            [&] {
              pipe.close_sending();
              while (crash::gets_from(pipe.reader()) == 0) std::this_thread::sleep_for(3ms);
              return crash::receive_to_end_in_words(pipe.reader());
            },
        .budget = 2s,
    });
  }

  TEST_CASE("whoever receives is stopped, and goes on later") {
    Recv<int> recv{1, 2};
    crash::prove({
        .name = "recv",
        .prepare = [&] { recv.prepare(); },
        .operation = [&] { recv.receive(); },
        .check = [&](const Moment& moment) { return recv.outcome(moment); },
        .expected = {taken},
        .with = With::stop,
        .let_go = [&] { recv.pipe.close_sending(); },
        .while_stopped = [&] { require(recv.pipe.reader().poll(), "messages are lost"); },
    });
  }

  TEST_CASE("whoever receives next is killed too") {
    FreshPipe<int> pipe;
    crash::Scenario scenario{
        .name = "recv after a killed recv",
        .prepare =
            [&] {
              pipe.prepare({1, 2, 3});
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv()); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<int> items = receive_to_end(pipe.reader());
          require(!items.empty() && items.back() == 3, "another message is lost");
          require(items.size() == 1 || !(moment.first_completed && moment.completed),
                  "both returned and a message is still there");
          std::string outcome;
          for (const int item : items) outcome += std::to_string(item);
          return outcome;
        },
        .expected = {"123", "23", "3"},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery = [&] { static_cast<void>(pipe.reader().recv()); },
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 3s;
    crash::prove(scenario);
  }
}
