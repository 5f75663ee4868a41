// SPDX-License-Identifier: BSL-1.0

// All meeting points under fire at once: eight workers take permits, hand tokens over, set events, wait on
// a condition, meet at a barrier, change a value and shared objects, and are killed in the midst of it.
//
// What a worker adds or takes away it notes before and after, so that every number is right to one for each
// of the killed: tokens that were released and not acquired are in the semaphore, items that were put and
// not taken are there, and value and object have been changed as often as was noted. The permits of the bounded
// semaphore are all free when nobody is left.

#include "tally.hpp"

#include <kin/error.hpp>
#include <kin/shared.hpp>
#include <kin/sync.hpp>

#include <mutex>

namespace {

using soak::Chance;
using soak::Desk;
using soak::Herd;
using soak::Note;
using soak::Tally;
using soak::ull;
using soak::violation;

constexpr int permits = 3;
constexpr int parties = 3;

struct Notes {
  Tally released;
  Tally acquired;
  Tally put;
  Tally taken;
  Tally changed;
  Tally changed_object;
  Tally passes;
  std::atomic<std::uint64_t> items;  // guarded by the lock of the condition
};

struct Pair {
  std::uint64_t first;
  std::uint64_t second;
};

using Numbers = kin::SharedVector<std::uint64_t>;

/// What the workers meet at.
struct Places {
  kin::BoundedSemaphore resource{permits};
  kin::Semaphore tokens{0};
  kin::Event event;
  kin::Lock lock;
  kin::Condition changed;
  kin::Barrier barrier{parties};
  kin::Value<Pair> value{Pair{0, 0}};
  kin::SharedObject<Pair> object;
  kin::SharedObject<Numbers> numbers;
};

class Worker {
 public:
  Worker(const Places& places, Notes& notes, Chance& chance, Desk& desk, std::uint32_t incarnation)
      : places_(places), notes_(notes), chance_(chance), desk_(desk), self_(incarnation) {}

  void turn() {
    switch (chance_.up_to(8)) {
      case 0: use_resource(); break;
      case 1: release_token(); break;
      case 2: acquire_token(); break;
      case 3: signal(); break;
      case 4: put_or_take(); break;
      case 5: meet(); break;
      case 6: change_object(); break;
      case 7: change_numbers(); break;
      default: change_value(); break;
    }
    desk_.progress.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  std::chrono::microseconds moment() { return chance_.microseconds(0, 2000); }

  void use_resource() {
    desk_.does.store("resource");
    if (!places_.resource.try_acquire_for(moment())) return;
    if (const int free = places_.resource.value(); free >= permits) {
      violation("%d permits are free while one is held", free);
    }
    if (chance_.one_in(8)) std::this_thread::sleep_for(chance_.microseconds(0, 300));
    places_.resource.release();
  }

  void release_token() {
    desk_.does.store("release");
    const Note note(notes_.released, self_);
    places_.tokens.release();
  }
  void acquire_token() {
    desk_.does.store("acquire");
    Note note(notes_.acquired, self_);
    if (!places_.tokens.try_acquire_for(moment())) note.take_back();
  }

  void signal() {
    desk_.does.store("event");
    if (chance_.one_in(3)) {
      places_.event.set();
    } else if (chance_.one_in(2)) {
      places_.event.clear();
    } else {
      static_cast<void>(places_.event.wait_for(moment()));
    }
  }

  void put_or_take() {
    desk_.does.store("condition");
    const std::scoped_lock guard(places_.lock);
    if (chance_.one_in(2)) {
      const Note note(notes_.put, self_);
      notes_.items.fetch_add(1);
      places_.changed.notify_one();
      return;
    }
    const auto is_there = [&] { return notes_.items.load() > 0; };
    if (!places_.changed.wait_for(places_.lock, moment(), is_there)) return;
    if (places_.lock.owner()->pid != getpid()) violation("the lock is not held after a wait");
    const Note note(notes_.taken, self_);
    notes_.items.fetch_sub(1);
  }

  void meet() {
    desk_.does.store("barrier");
    try {
      const std::size_t index = places_.barrier.wait_for(moment());
      if (index >= parties) violation("party number %zu of %d", index, parties);
      const Note note(notes_.passes, self_);
    } catch (const kin::BrokenBarrierError&) {
      if (chance_.one_in(2)) places_.barrier.reset();
    }
  }

  void change_value() {
    desk_.does.store("value");
    const Pair seen = places_.value.load();
    if (seen.first != seen.second)
      violation("half a value: %llu %llu", ull(seen.first), ull(seen.second));
    const Note note(notes_.changed, self_);
    places_.value.with([](Pair& pair) {
      ++pair.first;
      ++pair.second;
    });
  }

  // Who is killed in it may have changed one half.
  void change_object() {
    desk_.does.store("object");
    Note note(notes_.changed_object, self_);
    try {
      places_.object.with([](Pair& pair) {
        if (pair.first != pair.second) violation("half an object, and nobody was told");
        ++pair.first;
        ++pair.second;
      });
    } catch (const kin::OwnerDied&) {
      note.take_back();
      places_.object.repair([](Pair& pair) { pair.second = pair.first; });
    }
  }

  // A container that somebody was changing is made anew.
  void change_numbers() {
    desk_.does.store("numbers");
    try {
      places_.numbers.with([&](Numbers& numbers) {
        if (chance_.one_in(100)) numbers.clear();
        numbers.push_back(numbers.size());
      });
      places_.numbers.read([](const Numbers& numbers) {
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          if (numbers[i] != i) violation("%llu stands at %zu", ull(numbers[i]), i);
        }
      });
    } catch (const kin::OwnerDied&) {
      places_.numbers.replace();
    }
  }

  const Places& places_;
  Notes& notes_;
  Chance& chance_;
  Desk& desk_;
  std::uint32_t self_;
};

struct Totals {
  std::uint64_t phases = 0;
  std::uint64_t killed = 0;
  std::uint64_t tokens = 0;
  std::uint64_t items = 0;
  std::uint64_t changes = 0;
  std::uint64_t passes = 0;
  std::uint64_t objects = 0;
};

void phase(Chance& chance, soak::milliseconds length, Totals& totals) {
  soak::enter("hunt");
  const crash::SharedPage<std::atomic<bool>> over;
  const crash::SharedPage<Notes> notes;
  const Places places;
  const std::uint32_t seed = chance.up_to(1'000'000'000);
  Herd herd(chance, [&](std::size_t desk, std::uint32_t incarnation) {
    Chance own(seed + incarnation);
    Worker worker(places, *notes, own, soak::board().desks[desk], incarnation);
    while (!over->load()) worker.turn();
  });
  herd.hunt_until(soak::Clock::now() + length);
  soak::enter("workers end");
  over->store(true);
  for (std::size_t desk = 0; desk < soak::worker_count; ++desk) herd.finish(desk);

  soak::enter("accounts");
  soak::require_left("tokens", static_cast<std::uint64_t>(places.tokens.value()), notes->released,
                     notes->acquired);
  soak::require_left("items", notes->items.load(), notes->put, notes->taken);
  const Pair pair = places.value.load();
  soak::require_times("changes", pair.first, notes->changed);
  if (pair.first != pair.second) violation("half a value in the end");
  places.object.repair([](Pair& half) { half.second = half.first; });
  const Pair object = places.object.read([](const Pair& whole) { return whole; });
  soak::require_times("changes of the object", object.first, notes->changed_object);
  if (object.first != object.second) violation("half an object in the end");
  int taken = 0;
  while (taken <= permits &&
         places.resource.try_acquire_for(soak::milliseconds(taken < permits ? 5000 : 0))) {
    ++taken;
  }
  if (taken != permits) violation("%d of %d permits are left", taken, permits);
  if (places.lock.locked()) violation("locked, and nobody is left");
  places.barrier.reset();
  if (places.barrier.n_waiting() != 0)
    violation("somebody waits at the barrier, and nobody is left");

  ++totals.phases;
  totals.killed += herd.killed().size();
  totals.tokens += notes->released.least();
  totals.items += notes->put.least();
  totals.changes += pair.first;
  totals.passes += notes->passes.least();
  totals.objects += object.first;
}

void hunt(const soak::Options& options) {
  const auto end = soak::Clock::now() + std::chrono::duration<double>(options.seconds);
  Chance chance(options.seed);
  Totals totals;
  phase(chance, soak::milliseconds(300), totals);
  const soak::Holdings settled = soak::Holdings::now();
  while (soak::Clock::now() < end) {
    phase(chance, soak::milliseconds(200 + chance.up_to(800)), totals);
    settled.compare(soak::Holdings::now(), 0);
  }
  std::printf(
      "%llu phases, %llu killed; %llu tokens, %llu items, %llu changes, %llu passes, "
      "%llu objects\n",
      ull(totals.phases), ull(totals.killed), ull(totals.tokens), ull(totals.items),
      ull(totals.changes), ull(totals.passes), ull(totals.objects));
}

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("sync_soak", options, [&] { hunt(options); });
}
