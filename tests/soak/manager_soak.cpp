// SPDX-License-Identifier: BSL-1.0

// A manager under fire: eight clients use its dictionary, list, queues, locks and meeting points, make objects and
// drop them, call without waiting, and are killed in the midst of it. What they add and take away they note
// before and after, so that every number is right to one for each of the killed. In the end all locks are free, and
// the server holds what it held at first. In every third phase it is the server that is killed: then every client is
// told, and another manager is made.

#include "tally.hpp"

#include <kin/error.hpp>
#include <kin/manager.hpp>

#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

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
  Tally counted;
  Tally appended;
  Tally popped;
  Tally put;
  Tally taken;
  Tally job_put;
  Tally released;
  Tally acquired;
  Tally item_put;
  Tally item_taken;
  Tally pairs;
  Tally batches;
  Tally asynchronous;
  std::atomic<std::uint64_t> items;  // guarded by the lock of the condition
};

int count_up(int& number) { return ++number; }

/// What the server holds.
struct Places {
  using Inner = kin::managed::List<int>;
  kin::Manager manager;
  kin::managed::Dict<std::string, int> counts = manager.dict<std::string, int>();
  kin::managed::List<int> list = manager.list<int>();
  kin::managed::Queue<std::string> queue = manager.queue<std::string>();
  kin::managed::JoinableQueue<int> jobs = manager.joinable_queue<int>(8);
  kin::managed::Lock lock = manager.lock();
  kin::managed::Value<int> first = manager.value<int>(0);
  kin::managed::Value<int> second = manager.value<int>(0);
  kin::managed::BoundedSemaphore resource = manager.bounded_semaphore(permits);
  kin::managed::Semaphore tokens = manager.semaphore(0);
  kin::managed::Condition changed = manager.condition();
  kin::managed::Event event = manager.event();
  kin::managed::Barrier barrier = manager.barrier(parties);
  kin::managed::Dict<int, Inner> nests = manager.dict<int, Inner>();
  kin::Proxy<int> batched = manager.make<int>(0);
  kin::Proxy<int> called = manager.make<int>(0);
  std::size_t objects = manager.statistics().objects;
};

class Client {
 public:
  Client(const Places& places, Notes& notes, Chance& chance, Desk& desk, std::uint32_t incarnation)
      : places_(places), notes_(notes), chance_(chance), desk_(desk), self_(incarnation) {}

  void turn() {
    switch (chance_.up_to(11)) {
      case 0: count(); break;
      case 1: append_or_pop(); break;
      case 2: put_or_get(); break;
      case 3: do_jobs(); break;
      case 4: change_pair(); break;
      case 5: use_resource(); break;
      case 6: release_or_acquire(); break;
      case 7: put_or_take_item(); break;
      case 8: meet(); break;
      case 9: nest(); break;
      case 10: call_together(); break;
      default: call_without_waiting(); break;
    }
    desk_.progress.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  std::chrono::microseconds moment() { return chance_.microseconds(0, 2000); }

  void count() {
    desk_.does.store("dictionary");
    const Note note(notes_.counted, self_);
    const std::string key(1, static_cast<char>('a' + chance_.up_to(3)));
    if (chance_.one_in(2)) {
      places_.counts.modify(key, 0, [](int& number) { ++number; });
    } else {
      places_.counts.setdefault(key, 0);
      places_.counts.fetch_add(key, 1);
    }
  }

  void append_or_pop() {
    desk_.does.store("list");
    if (chance_.one_in(2)) {
      const Note note(notes_.appended, self_);
      places_.list.append(1);
      return;
    }
    Note note(notes_.popped, self_);
    try {
      places_.list.pop();
    } catch (const std::out_of_range&) {
      note.take_back();
    }
  }

  void put_or_get() {
    desk_.does.store("queue");
    if (chance_.one_in(2)) {
      const Note note(notes_.put, self_);
      places_.queue.put(std::string(1 + chance_.up_to(200), 'x'));
      return;
    }
    Note note(notes_.taken, self_);
    const auto item = places_.queue.get_for(moment());
    if (!item) {
      note.take_back();
    } else if (*item != std::string(item->size(), 'x')) {
      violation("another item came");
    }
  }

  void do_jobs() {
    desk_.does.store("jobs");
    if (chance_.one_in(2)) {
      Note note(notes_.job_put, self_);
      if (!places_.jobs.put_for(1, moment())) note.take_back();
    } else if (places_.jobs.get_for(moment())) {
      places_.jobs.task_done();
    }
  }

  // Two calls under the lock: half done only where the holder died in between, and then the next is told.
  void change_pair() {
    desk_.does.store("lock");
    if (!places_.lock.try_lock_for(soak::milliseconds(5))) return;
    const std::lock_guard guard(places_.lock, std::adopt_lock);
    const int first = places_.first.load();
    if (places_.second.load() != first && !places_.lock.owner_died()) {
      violation("half a change, and nobody died");
    }
    const Note note(notes_.pairs, self_);
    places_.first.store(first + 1);
    places_.second.store(first + 1);
  }

  void use_resource() {
    desk_.does.store("permits");
    if (!places_.resource.try_acquire_for(moment())) return;
    if (const int free = places_.resource.value(); free >= permits) {
      violation("%d permits are free while one is held", free);
    }
    places_.resource.release();
  }

  void release_or_acquire() {
    desk_.does.store("tokens");
    if (chance_.one_in(2)) {
      const Note note(notes_.released, self_);
      places_.tokens.release();
      return;
    }
    Note note(notes_.acquired, self_);
    if (!places_.tokens.try_acquire_for(moment())) note.take_back();
  }

  void put_or_take_item() {
    desk_.does.store("condition");
    const std::scoped_lock guard(places_.changed);
    if (chance_.one_in(2)) {
      const Note note(notes_.item_put, self_);
      notes_.items.fetch_add(1);
      places_.changed.notify_one();
      return;
    }
    const auto is_there = [&] { return notes_.items.load() > 0; };
    if (!places_.changed.wait_for(moment(), is_there)) return;
    const Note note(notes_.item_taken, self_);
    notes_.items.fetch_sub(1);
  }

  void meet() {
    desk_.does.store("event and barrier");
    if (chance_.one_in(4)) places_.event.set();
    if (chance_.one_in(4)) places_.event.clear();
    static_cast<void>(places_.event.wait_for(moment()));
    try {
      const int number = places_.barrier.wait_for(moment());
      if (number < 0 || number >= parties) violation("party number %d of %d", number, parties);
    } catch (const kin::BrokenBarrierError&) {
      if (chance_.one_in(2)) places_.barrier.reset();
    }
  }

  void nest() {
    desk_.does.store("proxies");
    const int key = static_cast<int>(chance_.up_to(3));
    switch (chance_.up_to(2)) {
      case 0: places_.nests[key] = places_.manager.list<int>({1}); break;
      case 1: places_.nests.erase(key); break;
      default:
        if (const auto inner = places_.nests.try_get(key)) {
          inner->append(2);
          if (inner->get(0) != 1) violation("another list");
        }
    }
  }

  void call_together() {
    desk_.does.store("batch");
    const Note note(notes_.batches, self_);
    auto batch = places_.batched.batch();
    for (int i = 0; i < 10; ++i) batch.apply(count_up);
    auto last = batch.apply([](int& number) { return number; });
    batch.run();
    if (last.get() % 10 != 0) violation("a batch was not whole");
  }

  void call_without_waiting() {
    desk_.does.store("calls that nobody waits for");
    const Note note(notes_.asynchronous, self_);
    const auto later = places_.called.apply_async(count_up);
    std::atomic<bool> was_called{false};
    const bool has_callback = chance_.one_in(3);
    if (has_callback) {
      later.add_done_callback([&](const kin::Future<int>& /*done*/) { was_called = true; });
    }
    static_cast<void>(later.get());
    while (has_callback && !was_called) std::this_thread::yield();
    // Dropped: it is called, too.
    const Note another(notes_.asynchronous, self_);
    static_cast<void>(places_.called.apply_async(count_up));
    places_.called.apply([](int& /*it*/) {});
  }

  const Places& places_;
  Notes& notes_;
  Chance& chance_;
  Desk& desk_;
  std::uint32_t self_;
};

struct Totals {
  std::uint64_t phases = 0;
  std::uint64_t servers_killed = 0;
  std::uint64_t killed = 0;
  std::uint64_t counted = 0;
  std::uint64_t taken = 0;
  std::uint64_t pairs = 0;
  std::uint64_t asynchronous = 0;
};

/// The server comes to rest: what the dead had is gone.
void require_base(const Places& places) {
  const auto end = soak::Clock::now() + std::chrono::seconds(10);
  while (true) {
    const kin::ManagerStatistics now = places.manager.statistics();
    const bool is_base = now.objects == places.objects && now.parked == 0 && now.clients == 1;
    if (is_base) return;
    if (soak::Clock::now() > end) {
      violation("%zu objects, %zu at first; %zu calls wait; %zu clients", now.objects,
                places.objects, now.parked, now.clients);
      return;
    }
    std::this_thread::sleep_for(soak::milliseconds(1));
  }
}

void require_accounts(const Places& places, const Notes& notes) {
  std::uint64_t counted = 0;
  for (const int count : places.counts.values()) counted += static_cast<std::uint64_t>(count);
  soak::require_times("counts", counted, notes.counted);
  soak::require_left("list", places.list.size(), notes.appended, notes.popped);
  soak::require_left("queue", places.queue.size(), notes.put, notes.taken);
  soak::require_left("tokens", static_cast<std::uint64_t>(places.tokens.value()), notes.released,
                     notes.acquired);
  soak::require_left("items", notes.items.load(), notes.item_put, notes.item_taken);
  soak::require_times("pairs", static_cast<std::uint64_t>(places.first.load()), notes.pairs);
  const auto batched = static_cast<std::uint64_t>(places.batched.copy());
  soak::require_times("batches", batched / 10, notes.batches);
  if (batched % 10 != 0) violation("a part of a batch ran");
  soak::require_times("calls", static_cast<std::uint64_t>(places.called.copy()),
                      notes.asynchronous);
  if (places.resource.value() != permits) violation("%d permits are free", places.resource.value());
  if (places.lock.locked()) violation("locked, and nobody is left");
  if (!places.changed.try_lock()) violation("a condition's lock is held, and nobody is left");
  places.barrier.reset();
  if (places.barrier.n_waiting() != 0) violation("somebody waits at the barrier");
  while (places.jobs.try_get()) places.jobs.task_done();
  try {
    if (!places.jobs.join_for(std::chrono::seconds(5))) violation("a job is never done");
  } catch (const kin::OwnerDied& error) {
    if (error.count() == 0) violation("no jobs were lost, it says");
  }
}

void phase(Chance& chance, soak::milliseconds length, bool kills_server, Totals& totals) {
  soak::enter("hunt");
  const crash::SharedPage<std::atomic<bool>> over;
  const crash::SharedPage<Notes> notes;
  const Places places;
  const std::uint32_t seed = chance.up_to(1'000'000'000);
  Herd herd(chance, [&](std::size_t desk, std::uint32_t incarnation) {
    Chance own(seed + incarnation);
    Client client(places, *notes, own, soak::board().desks[desk], incarnation);
    try {
      while (!over->load()) client.turn();
    } catch (const kin::ManagerDied& error) {
      if (!kills_server) violation("%s", error.what());
    }
  });
  herd.hunt_until(soak::Clock::now() + length);
  if (kills_server) {
    places.manager.process().kill();
    herd.hunt_until(soak::Clock::now() + soak::milliseconds(chance.up_to(20)));
  }
  soak::enter("clients end");
  if (!kills_server) over->store(true);
  for (std::size_t desk = 0; desk < soak::worker_count; ++desk) herd.finish(desk);

  if (!kills_server) {
    soak::enter("accounts");
    places.nests.clear();
    require_base(places);
    require_accounts(places, *notes);
  }
  ++totals.phases;
  totals.servers_killed += kills_server ? 1U : 0U;
  totals.killed += herd.killed().size();
  totals.counted += notes->counted.least();
  totals.taken += notes->taken.least();
  totals.pairs += notes->pairs.least();
  totals.asynchronous += notes->asynchronous.least();
}

void hunt(const soak::Options& options) {
  const auto end = soak::Clock::now() + std::chrono::duration<double>(options.seconds);
  Chance chance(options.seed);
  Totals totals;
  phase(chance, soak::milliseconds(300), false, totals);
  phase(chance, soak::milliseconds(100), true, totals);
  const soak::Holdings settled = soak::Holdings::now();
  for (int number = 0; soak::Clock::now() < end; ++number) {
    const bool kills_server = number % 3 == 0;
    phase(chance, soak::milliseconds(20 + chance.up_to(kills_server ? 80 : 800)), kills_server,
          totals);
    settled.compare(soak::Holdings::now(), 0);
  }
  std::printf(
      "%llu phases, %llu servers and %llu clients killed; %llu counts, %llu items, %llu pairs, "
      "%llu calls that nobody waited for\n",
      ull(totals.phases), ull(totals.servers_killed), ull(totals.killed), ull(totals.counted),
      ull(totals.taken), ull(totals.pairs), ull(totals.asynchronous));
}

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("manager_soak", options, [&] { hunt(options); });
}
