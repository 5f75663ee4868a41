// SPDX-License-Identifier: BSL-1.0

// A message there and one back through two queues, beside the limit of the machine: a cache line
// that two spinning processes pass to and fro.
//
// Both sides of either contest are two processes that do nothing else, each bound to a processor of
// its own.

#include "hand_over.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <kin/queue.hpp>

#include <array>
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

std::string time_of(double nanoseconds) { return Table::number("%.3f us", nanoseconds / 1e3); }

}  // namespace

int main() {
  const kin::Queue<Message> there;
  const kin::Queue<Message> back;
  const kin::Queue<int> small_there;
  const kin::Queue<int> small_back;
  bench::HandOver large("two queues, 64 bytes",
                        [&](int trips) { return round_of_kin(there, back, trips); });
  bench::HandOver small("two queues, an int",
                        [&](int trips) { return round_of_kin(small_there, small_back, trips); });
  for (int i = 0; i < 25; ++i) {
    for (bench::HandOver* one : {&large, &small}) one->take_turn(20'000);
  }

  Table table("queue_round_trip: there and back, the middle one of 25 rounds taken in turns");
  for (const bench::HandOver* one : {&large, &small}) {
    const auto turn = one->middle();
    table.add({.figure = one->figure(),
               .measured = time_of(turn.measured),
               .peer = "spinning on two cache lines " + time_of(turn.bare),
               .ratio = turn.ratio,
               .want = one == &large ? Table::Want::at_most : Table::Want::nothing,
               .limit = one == &large ? 3.5 : 0.0});
  }
  table.note("the ratio is of times, kin's to the peer's");
  return table.print();
}
