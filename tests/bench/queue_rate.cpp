// SPDX-License-Identifier: BSL-1.0

// How many 64-byte messages a second go through one queue: one putter and one getter beside
// Boost.Interprocess and Python, then more putters and getters beside one of each.
//
// A round is the time from the moment when all processes are let go until the last has ended its
// share. Each putter and each getter has an equal share. kin's queue is a Queue<Message> without a
// bound, one for all rounds: where the putter is ahead, its rounds include the memory for that.
// Beside it stands a queue with the bound that Boost's has.
//
// With one putter and one getter each is bound to a processor of its own, kin's and Boost's alike.
// Not rated, both on one processor: then each runs alone for a while, and nobody contends.
//
// Boost's message_queue runs in its best configuration: messages of at most 64 bytes, all of one
// priority, deep; as the best depth depends on the machine, two are measured, right before kin's round
// and right after it, and the better counts; so does the better of two of kin's. Of these turns, which lie a third each
// before, between and behind the other figures, the one of the middle ratio is told.
// Python's multiprocessing.Queue carries bytes objects of 64 bytes, by fork; a round begins in its
// script when both processes run.

#include "hand_over.hpp"
#include "python.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <kin/queue.hpp>

#include <boost/interprocess/ipc/message_queue.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

namespace {

using bench::Contestant;
using bench::HandOver;
using bench::Placement;
using bench::Table;
using Message = std::array<std::byte, 64>;

constexpr int deep_enough = 16'384;

// Nanoseconds a message.
double round_of_kin(Placement placement, const kin::Queue<Message>& queue, int pairs,
                    int messages) {
  const int share = messages / pairs;
  std::vector<std::function<void()>> roles;
  for (int i = 0; i < pairs; ++i) {
    roles.emplace_back([&queue, share] {
      const Message message{};
      for (int k = 0; k < share; ++k) queue.put(message);
    });
    roles.emplace_back([&queue, share] {
      for (int k = 0; k < share; ++k) static_cast<void>(queue.get());
    });
  }
  return bench::time_together(placement, roles) / (share * pairs);
}

// Its name goes before the first message; the mapping stays, and the children inherit it.
class BoostQueue {
 public:
  explicit BoostQueue(std::size_t depth)
      : name_("kin-bench-" + std::to_string(getpid()) + "-" + std::to_string(depth)),
        queue_(boost::interprocess::create_only, name_.c_str(), depth, sizeof(Message)) {
    boost::interprocess::message_queue::remove(name_.c_str());
  }

  double round(Placement placement, int messages) {
    const auto putter = [this, messages] {
      const Message message{};
      for (int k = 0; k < messages; ++k) queue_.send(message.data(), message.size(), 0);
    };
    const auto getter = [this, messages] {
      Message message;
      boost::interprocess::message_queue::size_type size = 0;
      unsigned priority = 0;
      for (int k = 0; k < messages; ++k) {
        queue_.receive(message.data(), message.size(), size, priority);
      }
    };
    return bench::time_together(placement, {putter, getter}) / messages;
  }

 private:
  std::string name_;
  boost::interprocess::message_queue queue_;
};

// Nanoseconds a message; 0 where there is no python3.
double round_of_python(int messages) {
  const std::string script = R"(
import multiprocessing, sys, time
context = multiprocessing.get_context("fork")
count = int(sys.argv[1])
def put(queue, ready, go):
    message = bytes(64)
    ready.release()
    go.acquire()
    for _ in range(count):
        queue.put(message)
queue, ready, go = context.Queue(), context.Semaphore(0), context.Semaphore(0)
putter = context.Process(target=put, args=(queue, ready, go))
putter.start()
ready.acquire()
begin = time.monotonic()
go.release()
for _ in range(count):
    queue.get()
print((time.monotonic() - begin) * 1e9 / count)
putter.join()
)";
  return bench::run_python(script, std::to_string(messages));
}

std::string rate(double nanoseconds) { return Table::number("%.3f M/s", 1e3 / nanoseconds); }

}  // namespace

int main() {
  const kin::Queue<Message> queue;
  BoostQueue shallow(1024);
  BoostQueue deep(deep_enough);

  const kin::Queue<Message> bounded(deep_enough);
  constexpr int few = 500'000;
  const auto boost = [&](int messages) {
    return std::min(shallow.round(Placement::apart, messages / 4),
                    deep.round(Placement::apart, messages / 4));
  };
  const auto better_of_two = [](const kin::Queue<Message>& of) {
    return [&of](int messages) {
      return std::min(round_of_kin(Placement::apart, of, 1, messages),
                      round_of_kin(Placement::apart, of, 1, messages));
    };
  };
  HandOver beside_boost("1:1, beside Boost", better_of_two(queue), boost);
  HandOver bounded_beside_boost("1:1, bounded, beside Boost", better_of_two(bounded), boost);
  const auto take_turns_beside_boost = [&] {
    for (int i = 0; i < 11; ++i) {
      for (HandOver* each : {&beside_boost, &bounded_beside_boost}) each->take_turn(few);
    }
  };
  take_turns_beside_boost();

  Contestant one{[&] { return round_of_kin(Placement::apart, queue, 1, few); }};
  Contestant together{[&] { return round_of_kin(Placement::together, bounded, 1, few); }};
  Contestant boost_together{[&] { return deep.round(Placement::together, few); }};
  bench::take_turns(12, {&together, &boost_together});
  take_turns_beside_boost();
  Contestant two{[&] { return round_of_kin(Placement::anywhere, queue, 2, 2 * few); }};
  Contestant many{[&] { return round_of_kin(Placement::anywhere, queue, 32, 4 * few); }};
  bench::take_turns(12, {&two, &one, &many});

  take_turns_beside_boost();
  Contestant python{[&] { return round_of_python(30'000); }};
  const bool has_python = round_of_python(10) > 0;
  if (has_python) bench::take_turns(3, {&python, &one});

  Table table(
      "queue_rate: 64-byte messages through one queue, beside Boost the middle one of 33 turns, "
      "else the best of 12 rounds or more");
  for (const HandOver* each : {&beside_boost, &bounded_beside_boost}) {
    const auto turn = each->middle();
    table.add({.figure = each->figure(),
               .measured = rate(turn.measured),
               .peer = "Boost message_queue " + rate(turn.bare),
               .ratio = 1 / turn.ratio,
               .want = Table::Want::at_least,
               .limit = 5});
  }
  table.add({.figure = "1:1, beside Python",
             .measured = rate(one.best),
             .peer = has_python ? "Python multiprocessing.Queue " + rate(python.best)
                                : "Python: no python3 in the PATH",
             .ratio = has_python ? python.best / one.best : 0,
             .want = Table::Want::at_least,
             .limit = 100});
  table.add({.figure = "2:2",
             .measured = rate(two.best),
             .peer = "1:1 " + rate(one.best),
             .ratio = one.best / two.best,
             .want = Table::Want::at_least,
             .limit = 0.4});
  table.add({.figure = "32:32",
             .measured = rate(many.best),
             .peer = "1:1 " + rate(one.best),
             .ratio = one.best / many.best,
             .want = Table::Want::at_least,
             .limit = 0.2});
  table.add({.figure = "1:1, bounded, on one processor",
             .measured = rate(together.best),
             .peer = "Boost message_queue, depth 16384 " + rate(boost_together.best),
             .ratio = boost_together.best / together.best});
  table.note("N:N is N putters and N getters, and the whole queue's rate; ratios are of rates");
  return table.print();
}
