// SPDX-License-Identifier: BSL-1.0

// Lock and unlock where nobody else wants the lock, beside the bare mutex of the C library that
// gives the same promise: process-shared and robust. And beside a kin that does not look for deadlocks:
// for that, the same program was linked with both.

#include "bare_mutex.hpp"
#include "peer_program.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <kin/sync.hpp>

#include <mutex>

namespace {

using bench::Table;

// Nanoseconds for lock and unlock.
template <typename Lockable>
double round_of(Lockable& lock) {
  constexpr int count = 500'000;
  const double begin = bench::now();
  for (int i = 0; i < count; ++i) {
    const std::scoped_lock guard(lock);
  }
  return (bench::now() - begin) / count;
}

std::string time_of(double nanoseconds) { return Table::number("%.1f ns", nanoseconds); }

}  // namespace

int main() {
  const kin::Lock lock;
  const kin::RLock recursive_lock;
  const bench::Shared<bench::BareMutex> mutex;

  bench::Contestant kin{[&] { return round_of(lock); }};
  bench::Contestant recursive{[&] { return round_of(recursive_lock); }};
  bench::Contestant bare{[&] { return round_of(*mutex); }};
  bench::take_turns(25, {&kin, &bare, &recursive});

  bench::PeerProgram detecting("bench_lock_detecting");
  bench::PeerProgram undetecting("bench_lock_undetecting");
  constexpr int count = 500'000;
  bench::Contestant with{[&] { return detecting.round(count); }};
  bench::Contestant without{[&] { return undetecting.round(count); }};
  bench::Contestant recursive_with{[&] { return detecting.round(-count); }};
  bench::Contestant recursive_without{[&] { return undetecting.round(-count); }};
  bench::take_turns(25, {&with, &without, &recursive_with, &recursive_without});

  Table table("lock: lock and unlock, nobody else there, best of 25 rounds taken in turns");
  const std::string peer = "robust process-shared pthread_mutex " + time_of(bare.best);
  table.add({.figure = "Lock",
             .measured = time_of(kin.best),
             .peer = peer,
             .ratio = kin.best / bare.best,
             .want = Table::Want::at_most,
             .limit = 2});
  table.add({.figure = "RLock",
             .measured = time_of(recursive.best),
             .peer = peer,
             .ratio = recursive.best / bare.best});
  const auto add = [&](const char* figure, const bench::Contestant& one,
                       const bench::Contestant& other) {
    table.add({.figure = figure,
               .measured = time_of(one.best),
               .peer = "a kin that looks for no deadlocks " + time_of(other.best),
               .ratio = one.best / other.best,
               .want = Table::Want::at_most,
               .limit = 1.1});
  };
  add("Lock, looking for deadlocks", with, without);
  add("RLock, looking for deadlocks", recursive_with, recursive_without);
  table.note("the ratio is of times, kin's to the peer's");
  return table.print();
}
