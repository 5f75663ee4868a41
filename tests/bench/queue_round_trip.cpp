// SPDX-License-Identifier: BSL-1.0

// A message there and one back through two queues, beside the limit of the machine: a cache line
// that two spinning processes pass to and fro.
//
// Both sides of either contest are two processes that do nothing else, each bound to a processor of
// its own. The bare one keeps a word
// for each direction on a cache line of its own, and waits by loading it, with a pause between.

#include "rounds.hpp"
#include "table.hpp"

#include <kin/queue.hpp>

#include <array>
#include <atomic>
#include <cstddef>

namespace {

using bench::Table;
using Message = std::array<std::byte, 64>;

template <typename T>
double round_of_kin(const kin::Queue<T>& there, const kin::Queue<T>& back, int trips) {
  return bench::time_together(bench::Placement::apart, {[&there, &back, trips] {
                                                          const T message{};
                                                          for (int i = 0; i < trips; ++i) {
                                                            there.put(message);
                                                            static_cast<void>(back.get());
                                                          }
                                                        },
                                                        [&there, &back, trips] {
                                                          for (int i = 0; i < trips; ++i)
                                                            back.put(there.get());
                                                        }}) /
         trips;
}

struct Lines {
  alignas(64) std::atomic<int> there;
  alignas(64) std::atomic<int> back;
};

void wait_for(const std::atomic<int>& word, int value) {
  while (word.load(std::memory_order_acquire) != value) bench::pause();
}

double round_of_bare(int trips) {
  const bench::Shared<Lines> lines;
  return bench::time_together(bench::Placement::apart,
                              {[&lines, trips] {
                                 for (int i = 1; i <= trips; ++i) {
                                   lines->there.store(i, std::memory_order_release);
                                   wait_for(lines->back, i);
                                 }
                               },
                               [&lines, trips] {
                                 for (int i = 1; i <= trips; ++i) {
                                   wait_for(lines->there, i);
                                   lines->back.store(i, std::memory_order_release);
                                 }
                               }}) /
         trips;
}

std::string time_of(double nanoseconds) { return Table::number("%.3f us", nanoseconds / 1e3); }

}  // namespace

int main() {
  const kin::Queue<Message> there;
  const kin::Queue<Message> back;
  const kin::Queue<int> small_there;
  const kin::Queue<int> small_back;
  constexpr int trips = 50'000;

  bench::Contestant kin{[&] { return round_of_kin(there, back, trips); }};
  bench::Contestant small{[&] { return round_of_kin(small_there, small_back, trips); }};
  bench::Contestant bare{[&] { return round_of_bare(trips); }};
  bench::take_turns(25, {&kin, &bare, &small});

  Table table("queue_round_trip: there and back, best of 25 rounds taken in turns");
  const std::string peer = "spinning on two cache lines " + time_of(bare.best);
  table.add({.figure = "two queues, 64 bytes",
             .measured = time_of(kin.best),
             .peer = peer,
             .ratio = kin.best / bare.best,
             .want = Table::Want::at_most,
             .limit = 3.5});
  table.add({.figure = "two queues, an int",
             .measured = time_of(small.best),
             .peer = peer,
             .ratio = small.best / bare.best});
  table.note("the ratio is of times, kin's to the peer's");
  return table.print();
}
