// SPDX-License-Identifier: BSL-1.0

// An event loop has the descriptor of a pipe's end and looks at the pipe only when that is readable.
// Whatever instruction a sender or another receiver is killed at: while a message is in the pipe the
// descriptor is readable, and after try_recv() found nothing it is quiet, unless the stream has ended.
//
// Fails when put_record() rings behind its commit instead of before it, when silence_bell() does not wait
// for the tail lock, does not hold it to the end, or does not drain the socket, and when fileno() does not
// look at what is in the pipe.

#include "crash/pipes.hpp"
#include "crash/prove.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <vector>

#include <poll.h>

using crash::At;
using crash::FreshPipe;
using crash::is_done;
using crash::Moment;
using crash::require;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";
const std::string still_there = "still there";
const std::string taken = "taken";

/// Level-triggered. Waits for ever, or not at all.
bool is_readable(int descriptor, int milliseconds = 0) {
  pollfd about{descriptor, POLLIN, 0};
  return ::poll(&about, 1, milliseconds) == 1;
}

/// What an event loop receives until its descriptor is quiet, or the stream ends. It has asked for that before:
/// fileno() itself looks at what is in the pipe, and tells of it.
struct Harvest {
  std::vector<int> items;
  bool ended = false;
};
Harvest harvest(const kin::Reader<int>& reader, int descriptor) {
  Harvest harvest;
  while (is_readable(descriptor) && !harvest.ended) {
    harvest.ended = crash::ends([&] {
      if (const auto item = reader.try_recv()) {
        harvest.items.push_back(*item);
      } else {
        require(!is_readable(descriptor), "nothing was found, and the descriptor is not quiet");
      }
    });
  }
  require(is_readable(descriptor) == harvest.ended, "at the end the descriptor is quiet");
  require(!kin::detail::has_items(crash::channel_of(reader)),
          "a message is in the pipe, and the descriptor is quiet");
  return harvest;
}

/// An event loop that waits for a message, and looks nowhere else.
std::string wait_in_poll(const kin::Reader<int>& reader) {
  const int descriptor = reader.fileno();
  while (true) {
    is_readable(descriptor, -1);
    if (const auto item = reader.try_recv()) return std::to_string(*item);
  }
}

/// A pipe whose descriptor somebody has asked for, or will.
struct Watched {
  FreshPipe<int> pipe = {};
  int descriptor = -1;

  void prepare(const std::vector<int>& items = {}) {
    pipe.prepare();
    descriptor = pipe.reader().fileno();
    for (const int item : items) pipe.writer().send(item);
  }
  [[nodiscard]] Harvest harvest() const { return ::harvest(pipe.reader(), descriptor); }
  /// The pipe goes on as if nothing had been.
  void require_to_work() const {
    for (const int item : {8, 9}) {
      pipe.writer().send(item);
      require(harvest().items == std::vector{item}, "the next message is lost");
    }
  }
  std::string outcome_of_send(const Moment& moment, const std::vector<int>& before) const {
    std::vector<int> with = before;
    with.push_back(2);
    const bool was_sent = is_done(moment, harvest().items, before, with);
    require_to_work();
    return was_sent ? sent_whole : never_sent;
  }
};

}  // namespace

TEST_SUITE("pipe wake") {
  TEST_CASE("a sender is killed, and an event loop looks afterwards") {
    Watched watched;
    crash::Scenario scenario{
        .name = "send to an event loop",
        .prepare = [&] { watched.prepare(); },
        .operation = [&] { watched.pipe.writer().send(2); },
        .check = [&](const Moment& moment) { return watched.outcome_of_send(moment, {}); },
        .expected = {never_sent, sent_whole},
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.name = "send behind another's, to an event loop";
    scenario.prepare = [&] { watched.prepare({1}); };
    scenario.check = [&](const Moment& moment) { return watched.outcome_of_send(moment, {1}); };
    scenario.budget = 2s;
    crash::prove(scenario);

    scenario.name = "send to an event loop, and then the end";
    scenario.check = [&](const Moment& moment) {
      const Harvest found = watched.harvest();
      require(found.ended, "the end of the stream is lost");
      return is_done(moment, found.items, {1}, {1, 2}) ? sent_whole : never_sent;
    };
    scenario.let_go = [&] { watched.pipe.close_sending(); };
    crash::prove(scenario);
  }

  TEST_CASE("a sender is killed, and an event loop sleeps") {
    Watched watched;
    crash::prove({
        .name = "send that wakes an event loop",
        .prepare = [&] { watched.prepare(); },
        .operation = [&] { watched.pipe.writer().send(2); },
        .check = [&](const Moment& moment) -> std::string {
          // Nobody else wakes it if the message was sent, and no slice of sleep ends.
          const bool was_sent = crash::puts_into(watched.pipe.reader()) != 0;
          if (!was_sent) watched.pipe.writer().send(3);
          require(moment.sleeper_answer() == (was_sent ? "2" : "3"), "another message came");
          require(was_sent || !moment.completed, "send() returned too early");
          require(watched.harvest().items.empty(), "a message came twice");
          watched.require_to_work();
          return was_sent ? sent_whole : never_sent;
        },
        .expected = {never_sent, sent_whole},
        .sleeper = [&] { return wait_in_poll(watched.pipe.reader()); },
        .budget = 4s,
    });
  }

  // Who asks the bell to be quiet may hear it ring for a message that is not there yet, and never comes.
  TEST_CASE("a sender is killed, and another event loop receives meanwhile") {
    Watched watched;
    const crash::SharedPage<std::atomic<int>> received;
    crash::Scenario scenario{
        .name = "send beside an event loop",
        .prepare =
            [&] {
              *received = 0;
              watched.prepare();
            },
        .operation = [&] { watched.pipe.writer().send(2); },
        .check = [&](const Moment& moment) -> std::string {
          std::vector<int> found = watched.harvest().items;
          if (*received != 0) found.push_back(*received);
          const bool was_sent = is_done(moment, found, {}, {2});
          watched.require_to_work();
          return was_sent ? sent_whole : never_sent;
        },
        .expected = {never_sent, sent_whole},
        .partner =
            [&] {
              if (!is_readable(watched.descriptor)) return;
              if (const auto item = watched.pipe.reader().try_recv()) *received += *item;
            },
        .partner_every = 8,
        .budget = 3s,
    };
    crash::prove(scenario);
  }

  TEST_CASE("a receiver is killed in the middle of taking, and of making the descriptor quiet") {
    Watched watched;
    crash::Scenario scenario{
        .name = "recv in an event loop",
        .prepare =
            [&] {
              watched.prepare({1, 2});
            },
        .operation = [&] { static_cast<void>(watched.pipe.reader().try_recv()); },
        .check = [&](const Moment& moment) -> std::string {
          const bool was_taken = is_done(moment, watched.harvest().items, {1, 2}, {2});
          watched.require_to_work();
          return was_taken ? taken : still_there;
        },
        .expected = {still_there, taken},
        .budget = 2s,
    };
    crash::prove(scenario);

    scenario.name = "recv of the last one in an event loop";
    scenario.prepare = [&] { watched.prepare({1}); };
    scenario.check = [&](const Moment& moment) -> std::string {
      const bool was_taken = is_done(moment, watched.harvest().items, {1}, {});
      watched.require_to_work();
      return was_taken ? taken : still_there;
    };
    scenario.budget = 3s;
    crash::prove(scenario);

    scenario.name = "recv of the last one while others send";
    scenario.prepare = [&] { watched.prepare(); };
    scenario.check = [&](const Moment& moment) -> std::string {
      const auto received = static_cast<int>(crash::gets_from(watched.pipe.reader()));
      const std::vector<int> found = watched.harvest().items;
      for (std::size_t i = 0; i < found.size(); ++i) {
        require(found[i] == received + static_cast<int>(i), "out of order");
      }
      require(found.size() + static_cast<std::size_t>(received) == moment.partner_turns,
              "a message is lost");
      watched.require_to_work();
      return received == 0 ? still_there : taken;
    };
    scenario.possible = {still_there, taken};
    scenario.expected = {};
    scenario.partner = [&, next = 0]() mutable { watched.pipe.writer().send(next++); };
    scenario.partner_every = 16;
    crash::prove(scenario);
  }

  TEST_CASE("whoever asks for the descriptor is killed") {
    FreshPipe<int> pipe;
    crash::prove({
        .name = "fileno() with a message in the pipe",
        .prepare = [&] { pipe.prepare({1}); },
        .operation = [&] { static_cast<void>(pipe.reader().fileno()); },
        .check = [&](const Moment&) -> std::string {
          require(harvest(pipe.reader(), pipe.reader().fileno()).items == std::vector{1},
                  "the message was not told of");
          pipe.writer().send(2);
          require(harvest(pipe.reader(), pipe.reader().fileno()).items == std::vector{2},
                  "the next message is lost");
          return "told";
        },
        .expected = {"told"},
        .budget = 2s,
    });
  }

  TEST_CASE("a sender is stopped, and goes on later") {
    Watched watched;
    crash::prove({
        .name = "send to an event loop",
        .prepare = [&] { watched.prepare(); },
        .operation = [&] { watched.pipe.writer().send(2); },
        .check = [&](const Moment& moment) -> std::string {
          require(moment.sleeper_answer() == "2", "another message came");
          watched.require_to_work();
          return sent_whole;
        },
        .expected = {sent_whole},
        .with = With::stop,
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .sleeper = [&] { return wait_in_poll(watched.pipe.reader()); },
        .budget = 3s,
    });
  }

  TEST_CASE("a receiver is stopped, and goes on later") {
    Watched watched;
    crash::prove({
        .name = "recv of the last one in an event loop",
        .prepare = [&] { watched.prepare({1}); },
        .operation =
            [&] { require(watched.pipe.reader().try_recv() == 1, "another message came"); },
        .check = [&](const Moment&) -> std::string {
          const std::vector<int> found = watched.harvest().items;
          require(found.empty() || found == std::vector{2}, "a message came twice");
          require(found.size() == crash::puts_into(watched.pipe.reader()) - 1,
                  "the message that was sent meanwhile is lost");
          watched.require_to_work();
          return found.empty() ? "nothing was sent" : "sent meanwhile";
        },
        .expected = {"nothing was sent", "sent meanwhile"},
        .with = With::stop,
        .while_stopped =
            [&] {
              // Where it makes the descriptor quiet senders wait for it.
              auto& lock = crash::channel_of(watched.pipe.reader()).tail_lock;
              if (!lock.try_lock()) return;
              lock.unlock();
              watched.pipe.writer().send(2);
              require(is_readable(watched.descriptor),
                      "a message is in the pipe, and the descriptor is quiet");
            },
        .budget = 3s,
    });
  }

  TEST_CASE("whoever sends and receives next is killed too") {
    Watched watched;
    crash::prove({
        .name = "recv in an event loop after a killed send",
        .prepare = [&] { watched.prepare({1}); },
        .operation = [&] { watched.pipe.writer().send(2); },
        .check = [&](const Moment& moment) -> std::string {
          std::string outcome;
          for (const int item : watched.harvest().items) {
            outcome += std::to_string(item);
          }
          require(outcome.ends_with('2') || !moment.first_completed, "a message is lost");
          require(!outcome.starts_with('1') || !moment.completed, "a message came twice");
          watched.require_to_work();
          return outcome.empty() ? "none" : outcome;
        },
        .expected = {},
        .possible = {"none", "1", "2", "12"},
        .at = At::every_change,
        .watch = [&] { return crash::memory_of_family(); },
        .recovery = [&] { static_cast<void>(watched.pipe.reader().try_recv()); },
        .budget = 4s,
    });
  }
}
