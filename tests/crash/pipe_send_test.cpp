// SPDX-License-Identifier: BSL-1.0

// Whoever sends a message through a pipe is killed, or stopped, at every instruction: the message is
// received whole, or it was never sent, and all others go on. Where nobody else could send, the end of the
// stream comes behind it.
//
// Fails when put_record() stores the tail before it writes the record.

#include "crash/pipes.hpp"
#include "crash/prove.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

using crash::At;
using crash::FreshPipe;
using crash::is_done;
using crash::Moment;
using crash::receive_all;
using crash::receive_to_end;
using crash::require;
using crash::rouse;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";

/// `before` was sent before; the traced process sends `item`.
template <typename T>
struct Send {
  T before;
  T item;
  T after;
  FreshPipe<T> pipe = {};

  std::string by_itself(const Moment& moment) const {
    const bool was_sent = is_done(moment, receive_to_end(pipe.reader()), {before}, {before, item});
    return was_sent ? sent_whole : never_sent;
  }
  std::string among_others(const Moment& moment) const {
    pipe.writer().send(after);
    const bool was_sent =
        is_done(moment, receive_all(pipe.reader()), {before, after}, {before, item, after});
    sweep_the_dead();
    pipe.writer().send(before);
    require(receive_all(pipe.reader()) == std::vector{before}, "the pipe does not work");
    return was_sent ? sent_whole : never_sent;
  }
};

template <typename T>
void prove_send(const std::string& name, Send<T> send) {
  const crash::Balance balance;
  crash::Scenario scenario{
      .name = name,
      .prepare = [&] { send.pipe.prepare({send.before}); },
      .operation = [&] { send.pipe.writer().send(send.item); },
      .check = [&](const Moment& moment) { return send.among_others(moment); },
      .expected = {never_sent, sent_whole},
      .budget = 3s,
  };
  crash::prove(scenario);

  scenario.name = name + ", and then the end";
  scenario.check = [&](const Moment& moment) { return send.by_itself(moment); };
  scenario.let_go = [&] { send.pipe.close_sending(); };
  crash::prove(scenario);
  send.pipe.forget();
  CHECK_NOTHROW(balance.require_unchanged());
}

std::string by_sends(const FreshPipe<int>& pipe) {
  return crash::puts_into(pipe.reader()) == 0 ? never_sent : sent_whole;
}

}  // namespace

TEST_SUITE("pipe send") {
  TEST_CASE("a number is sent") { prove_send<int>("send of an int", {1, 2, 3}); }

  TEST_CASE("a string is sent") {
    prove_send<std::string>("send of a string",
                            {"before", "a message that does not fit into the string", "after"});
  }

  TEST_CASE("another sends at the same time") {
    constexpr int ours = -1;
    FreshPipe<int> pipe;
    crash::Scenario scenario{
        .name = "send beside sends",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send(ours); },
        .check = [&](const Moment& moment) -> std::string {
          std::vector<int> items = receive_to_end(pipe.reader());
          const bool was_sent = std::erase(items, ours) == 1;
          require(items.size() == moment.partner_turns, "the other's messages are not all there");
          for (std::size_t i = 0; i < items.size(); ++i) {
            require(items[i] == static_cast<int>(i), "the other's messages are out of order");
          }
          require(was_sent || !moment.completed, "send() returned and the message is lost");
          return was_sent ? sent_whole : never_sent;
        },
        .expected = {never_sent, sent_whole},
        .let_go = [&] { pipe.close_sending(); },
        .partner = [&, next = 0]() mutable { pipe.writer().send(next++); },
        .partner_every = 4,
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.name = "send beside sends without a pause";
    scenario.partner = [&, next = 0]() mutable {
      pipe.writer().send(next++);
      if (next > 1000) std::this_thread::sleep_for(1ms);
    };
    scenario.partner_every = 0;
    scenario.budget = 2s;
    crash::prove(scenario);
  }

  TEST_CASE("a reader sleeps, and gets the message and the end, or the end") {
    FreshPipe<int> pipe;
    crash::prove({
        .name = "send that wakes a reader, and then the end",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send(2); },
        .check = [&](const Moment& moment) -> std::string {
          const std::string outcome = by_sends(pipe);
          require(moment.sleeper_answer() == (outcome == never_sent ? "end" : "2 end"),
                  "the sleeper got something else");
          require(outcome == sent_whole || !moment.completed, "send() returned too early");
          return outcome;
        },
        .expected = {never_sent, sent_whole},
        .let_go = [&] { pipe.close_sending(); },
        .sleeper =
            [&] {
              pipe.close_sending();
              return crash::receive_to_end_in_words(pipe.reader());
            },
        .budget = 2s,
    });
  }

  TEST_CASE("a reader sleeps, and others could still send") {
    FreshPipe<int> pipe;
    crash::prove({
        .name = "send that wakes a reader",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send(2); },
        .check = [&](const Moment& moment) -> std::string {
          const std::string outcome = by_sends(pipe);
          // The sleeper gets on by itself if there is something for it.
          if (outcome == never_sent) pipe.writer().send(3);
          require(rouse(moment) == (outcome == never_sent ? "3" : "2"),
                  "the sleeper has another's message");
          require(!pipe.reader().poll(), "a message came twice");
          require(outcome == sent_whole || !moment.completed, "send() returned too early");
          return outcome;
        },
        .expected = {never_sent, sent_whole},
        .sleeper =
            [&] {
              crash::sleep_lightly();
              return std::to_string(pipe.reader().recv());
            },
        .budget = 2s,
    });
  }

  TEST_CASE("a send sleeps in a full pipe, is woken and killed") {
    FreshPipe<int> pipe;
    int filled = 0;
    crash::prove({
        .name = "send that is woken",
        .prepare =
            [&] {
              pipe.prepare();
              filled = crash::fill(pipe.writer(), pipe.reader());
            },
        .operation = [&] { pipe.writer().send(-1); },
        .check = [&](const Moment& moment) -> std::string {
          std::vector<int> without;
          for (int i = 1; i < filled; ++i) without.push_back(i);
          std::vector<int> with = without;
          with.push_back(-1);
          const bool was_sent = is_done(moment, receive_to_end(pipe.reader()), without, with);
          return was_sent ? sent_whole : never_sent;
        },
        .expected = {never_sent, sent_whole},
        .let_go = [&] { pipe.close_sending(); },
        .waker = [&] { require(pipe.reader().recv() == 0, "the message before is lost"); },
        .budget = 2s,
    });
  }

  TEST_CASE("whoever sends is stopped, and goes on later") {
    FreshPipe<int> pipe;
    crash::prove({
        .name = "send",
        .prepare = [&] { pipe.prepare({1}); },
        .operation = [&] { pipe.writer().send(2); },
        .check = [&](const Moment&) -> std::string {
          require(receive_to_end(pipe.reader()) == std::vector{2},
                  "its message is lost, or came twice");
          return sent_whole;
        },
        .expected = {sent_whole},
        .with = With::stop,
        .let_go = [&] { pipe.close_sending(); },
        .while_stopped =
            [&] {
              require(pipe.reader().try_recv() == 1,
                      "a message can't be received beside a stopped process");
            },
        .budget = 2s,
    });
  }

  TEST_CASE("whoever sends next is killed too") {
    FreshPipe<int> pipe;
    crash::Scenario scenario{
        .name = "send after a killed send",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send(2); },
        .check = [&](const Moment& moment) -> std::string {
          std::string outcome;
          for (const int item : receive_to_end(pipe.reader())) outcome += std::to_string(item);
          require(outcome.size() == 2 || !(moment.first_completed && moment.completed),
                  "both returned and a message is lost");
          return outcome.empty() ? "none" : outcome;
        },
        .expected = {"none", "2", "3", "23"},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery = [&] { pipe.writer().send(3); },
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 3s;
    crash::prove(scenario);
  }
}
