// SPDX-License-Identifier: BSL-1.0

// What it costs to have a function called by a worker process: beside a thread pool, beside Python's
// pool, and beside the same work without any pool.
//
// The thread pool is Boost.Asio's, with a future for each task (boost::asio::use_future), as many
// threads as kin has workers. Python's is multiprocessing.Pool, by fork.
//
// A round trip is one call at a time. A stream is 100 000 calls that are all submitted before the first
// result is asked for; arguments are 64 bytes. Maps are of a million ints, with what chunks the pools
// choose. Workers sleep when there is nothing to do: a round trip with all awake is what is measured,
// and the first one after a second's rest, beside the wake-up of a process.

#include "ping_pong.hpp"
#include "python.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include "memory/heap.hpp"
#include "waiting/futex.hpp"

#include <kin/pool.hpp>
#include <kin/process.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <malloc.h>

namespace {

using bench::Contestant;
using bench::Duel;
using bench::Table;
using Block = std::array<std::byte, 64>;

constexpr int streamed = 100'000;

int next_of(int x) { return x + 1; }
int size_of(Block block) { return static_cast<int>(block.size()); }

double first_call_after_rest(kin::Pool& pool) {
  static_cast<void>(pool.apply(next_of, 1));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const double begin = bench::now();
  static_cast<void>(pool.apply(next_of, 1));
  return bench::now() - begin;
}

// The limit of the machine: a process that has slept in the kernel for a second says that it is awake.
double wake_up_after_rest() {
  struct Words {
    kin::detail::FutexWord go;
    std::atomic<bool> is_awake;
  };
  const bench::Shared<Words> words;
  kin::Process sleeper([&] {
    while (words->go.load() == 0) {
      kin::detail::futex_wait_slice(words->go, 0, kin::detail::Deadline::never());
    }
    words->is_awake.store(true, std::memory_order_release);
  });
  sleeper.start();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const double begin = bench::now();
  words->go.store(1);
  kin::detail::futex_wake(words->go, 1);
  while (!words->is_awake.load(std::memory_order_acquire)) bench::pause();
  const double time = bench::now() - begin;
  sleeper.join();
  return time;
}

// About as long as it takes to look at a few thousand words. Not inlined: the pool calls it through a
// pointer, and the two processes beside it are to run the same instructions.
[[gnu::noinline]] int work_hard(int seed) {
  auto value = static_cast<std::uint32_t>(seed);
  for (int i = 0; i < 20'000; ++i) value = value * 1664525 + 1013904223;
  return static_cast<int>(value & 0xff);
}

double apply_round(kin::Pool& pool, int calls) {
  const double begin = bench::now();
  for (int i = 0; i < calls; ++i) {
    if (pool.apply(next_of, i) != i + 1) std::abort();
  }
  return (bench::now() - begin) / calls;
}

double apply_round(boost::asio::thread_pool& threads, int calls) {
  const double begin = bench::now();
  for (int i = 0; i < calls; ++i) {
    std::future<int> future =
        boost::asio::post(threads, boost::asio::use_future([i] { return next_of(i); }));
    if (future.get() != i + 1) std::abort();
  }
  return (bench::now() - begin) / calls;
}

double stream_round(kin::Pool& pool) {
  std::vector<kin::Future<int>> futures;
  futures.reserve(streamed);
  const double begin = bench::now();
  for (int i = 0; i < streamed; ++i) futures.push_back(pool.apply_async(size_of, Block{}));
  for (auto& future : futures) {
    if (std::move(future).get() != 64) std::abort();
  }
  return (bench::now() - begin) / streamed;
}

double stream_round(boost::asio::thread_pool& threads) {
  std::vector<std::future<int>> futures;
  futures.reserve(streamed);
  const double begin = bench::now();
  for (int i = 0; i < streamed; ++i) {
    futures.push_back(boost::asio::post(
        threads, boost::asio::use_future([block = Block{}] { return size_of(block); })));
  }
  for (auto& future : futures) {
    if (future.get() != 64) std::abort();
  }
  return (bench::now() - begin) / streamed;
}

// The same calls, each with a callback; over when the last was called.
double callback_round(kin::Pool& pool) {
  int called = 0;
  std::vector<kin::Future<int>> futures;
  futures.reserve(streamed);
  const double begin = bench::now();
  for (int i = 0; i < streamed; ++i) {
    futures.push_back(
        pool.apply_async({.callback = [&called](const int&) { ++called; }}, size_of, Block{}));
  }
  for (auto& future : futures) {
    if (std::move(future).get() != 64) std::abort();
  }
  if (called != streamed) std::abort();
  return (bench::now() - begin) / streamed;
}

double map_round(kin::Pool& pool, const std::vector<int>& numbers,
                 std::optional<std::ptrdiff_t> chunk_size = std::nullopt) {
  const double begin = bench::now();
  const std::vector<int> results = pool.map({.chunk_size = chunk_size}, next_of, numbers);
  if (results.back() != numbers.back() + 1) std::abort();
  return (bench::now() - begin) / static_cast<double>(numbers.size());
}

double imap_round(kin::Pool& pool, const std::vector<int>& numbers, std::ptrdiff_t chunk_size) {
  const double begin = bench::now();
  std::int64_t sum = 0;
  for (const int one : pool.imap({.chunk_size = chunk_size}, next_of, numbers)) sum += one;
  if (sum == 0) std::abort();
  return (bench::now() - begin) / static_cast<double>(numbers.size());
}

// Nanoseconds of processor time that the pool's processes have had.
double time_of_workers(const kin::Pool& pool) {
  double sum = 0;
  for (const pid_t pid : pool.worker_pids()) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/schedstat");
    double nanoseconds = 0;
    file >> nanoseconds;
    sum += nanoseconds;
  }
  return sum;
}

double python_round(const char* statement, int count, int workers) {
  const std::string script = std::string(R"(
import multiprocessing, sys, time
context = multiprocessing.get_context("fork")
count, workers = int(sys.argv[1]), int(sys.argv[2])
def next_of(x):
    return x + 1
pool = context.Pool(workers)
block = bytes(64)
pool.map(next_of, range(100))
begin = time.monotonic()
)") + statement + R"(
print((time.monotonic() - begin) * 1e9 / count)
pool.terminate()
)";
  return bench::run_python(script, std::to_string(count) + " " + std::to_string(workers));
}

std::string time_of(double nanoseconds) {
  return nanoseconds < 1e3   ? Table::number("%.0f ns", nanoseconds)
         : nanoseconds < 1e6 ? Table::number("%.2f us", nanoseconds / 1e3)
                             : Table::number("%.2f ms", nanoseconds / 1e6);
}

Table::Row beside(std::string figure, double ours, const std::string& peer, double theirs,
                  Table::Want want, double limit) {
  const bool less_is_wanted = want == Table::Want::at_most;
  return {.figure = std::move(figure),
          .measured = time_of(ours),
          .peer = theirs > 0 ? peer + " " + time_of(theirs) : peer + ": not here",
          .ratio = theirs <= 0      ? 0
                   : less_is_wanted ? ours / theirs
                                    : theirs / ours,
          .want = want,
          .limit = limit,
          .ratio_format = less_is_wanted && limit < 1 ? "%.4f" : "%.2f"};
}

}  // namespace

int main() {
  using enum Table::Want;
  Table table("pool: calls in worker processes, best of several rounds, in turns");

  // All before there are threads.
  std::array<kin::Pool, 3> pools{kin::Pool(1), kin::Pool(2), kin::Pool(4)};
  constexpr std::array<int, 3> workers{1, 2, 4};
  const bool has_python = python_round("pool.apply(next_of, (1,))", 1, 1) > 0;

  Contestant bare{[] { return bench::ping_pong(200'000); }};
  Contestant apply{[&] { return apply_round(pools[0], 50'000); }};
  bench::take_turns(10, {&bare, &apply});
  {
    boost::asio::thread_pool threads(1);
    Contestant asio{[&] { return apply_round(threads, 2'000); }};
    Contestant python{
        [] { return python_round("for i in range(count): pool.apply(next_of, (i,))", 1'000, 1); }};
    bench::take_turns(5, {&apply, &asio});
    if (has_python) bench::take_turns(3, {&apply, &python});
    table.add(beside("apply", apply.best, "bare ping-pong", bare.best, at_most, 10));
    table.add(beside("apply", apply.best, "asio thread_pool, future", asio.best, at_most, 0.1));
    table.add(beside("apply", apply.best, "Python Pool.apply", has_python ? python.best : 0,
                     at_most, 0.005));
  }

  std::array<double, 3> streams{};
  for (std::size_t i = 0; i < pools.size(); ++i) {
    boost::asio::thread_pool threads(static_cast<std::size_t>(workers[i]));
    Contestant ours{[&] { return stream_round(pools[i]); }};
    // Threads that contend for a lock have good rounds and bad ones.
    Duel beside_asio(ours.round, [&] { return stream_round(threads); });
    Contestant python{[&] {
      return python_round(
          "futures = [pool.apply_async(len, (block,)) for i in range(count)]\n"
          "for future in futures: future.get()",
          10'000, workers[i]);
    }};
    beside_asio.take_turns(9);
    bench::take_turns(5, {&ours});
    if (has_python) bench::take_turns(3, {&ours, &python});
    streams[i] = ours.best;
    const std::string figure =
        "apply_async, " + std::to_string(workers[i]) + (i == 0 ? " worker" : " workers");
    const Duel::Turn turn = beside_asio.middle();
    table.add(beside(figure, turn.ours, "asio thread_pool, futures, the middle one of 9 turns",
                     turn.theirs, at_least, 4));
    table.add(beside(figure, ours.best, "Python Pool.apply_async", has_python ? python.best : 0,
                     at_least, 200));
  }
  Contestant with_callback{[&] { return callback_round(pools[1]); }};
  Contestant without{[&] { return stream_round(pools[1]); }};
  bench::take_turns(5, {&with_callback, &without});
  table.add(beside("apply_async with a callback", with_callback.best, "without", without.best,
                   at_most, 2));

  std::vector<int> numbers(1'000'000);
  std::iota(numbers.begin(), numbers.end(), 0);
  {
    constexpr std::ptrdiff_t as_map = 125'000;  // what map() chooses for two workers
    Contestant map{[&] { return map_round(pools[1], numbers); }};
    Contestant imap{[&] { return imap_round(pools[1], numbers, as_map); }};
    Contestant python{[] { return python_round("pool.map(next_of, range(count))", 1'000'000, 2); }};
    bench::take_turns(10, {&map, &imap});
    if (has_python) bench::take_turns(3, {&map, &python});
    table.add(beside("map of a million ints, an item", map.best, "Python Pool.map",
                     has_python ? python.best : 0, at_least, 50));
    table.add(beside("imap, the same chunks, an item", imap.best, "map", map.best, at_least, 0.5));
  }
  {
    // What imap() chooses.
    const std::vector<int> few(numbers.begin(), numbers.begin() + streamed);
    Contestant map{[&] { return map_round(pools[1], few, 1); }};
    Contestant imap{[&] { return imap_round(pools[1], few, 1); }};
    bench::take_turns(10, {&map, &imap});
    table.add(beside("imap, chunks of one item", imap.best, "map, chunks of one item", map.best,
                     at_least, 0.5));
  }
  {
    constexpr int items = 20'000;
    const std::vector<int> seeds(numbers.begin(), numbers.begin() + items);
    const auto half = [&](std::size_t which) {
      int sum = 0;
      for (std::size_t i = which * items / 2; i < (which + 1) * items / 2; ++i) {
        sum += work_hard(seeds[i]);
      }
      if (sum == 0) std::abort();
    };
    Contestant split{[&] {
      return bench::time_together(bench::Placement::anywhere,
                                  {[&] { half(0); }, [&] { half(1); }}) /
             items;
    }};
    Contestant map{[&] {
      const double begin = bench::now();
      if (pools[1].map(work_hard, seeds).size() != items) std::abort();
      return (bench::now() - begin) / items;
    }};
    bench::take_turns(5, {&split, &map});
    table.add(beside("map that computes, 2 workers", map.best, "two processes that split it",
                     split.best, at_least, 0.93));
  }
  {
    // All are outstanding: the one worker sleeps in the first.
    kin::Pool pool(1);
    const auto heap_before = kin::detail::Heap::statistics();
    std::vector<kin::Future<int>> futures;
    futures.reserve(streamed);
    const auto vector_alone = mallinfo2();
    futures.push_back(pool.apply_async([] {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      return 0;
    }));
    for (int i = 1; i < streamed; ++i) futures.push_back(pool.apply_async(next_of, i));
    const auto heap = kin::detail::Heap::statistics();
    const auto malloc_now = mallinfo2();
    const auto all_of = [](const struct mallinfo2& info) { return info.uordblks + info.hblkhd; };
    const double shared = static_cast<double>(heap.chunks - heap_before.chunks) * 65536;
    const double own = static_cast<double>(all_of(malloc_now) - all_of(vector_alone));
    table.add({.figure = "memory of a task, 100 000 outstanding",
               .measured = Table::number("%.0f bytes", (shared + own) / streamed),
               .peer = "shared " + Table::number("%.0f", shared / streamed) + ", own " +
                       Table::number("%.0f", own / streamed),
               .ratio = (shared + own) / streamed,
               .want = at_most,
               .limit = 512,
               .ratio_format = "%.0f"});
    for (auto& future : futures) future.wait();
  }
  {
    kin::Pool& pool = pools[1];
    static_cast<void>(pool.apply(next_of, 1));
    const double before = time_of_workers(pool);
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const double used = time_of_workers(pool) - before;
    table.add({.figure = "two idle workers, for a second",
               .measured = time_of(used) + " of CPU",
               .peer = "a second",
               .ratio = used / 1e9,
               .want = at_most,
               .limit = 0.001,
               .ratio_format = "%.6f"});
    // No call is like another, and the best one would be the luck of either.
    Duel beside_wake_up([&] { return first_call_after_rest(pool); }, wake_up_after_rest);
    beside_wake_up.take_turns(9);
    const Duel::Turn turn = beside_wake_up.middle();
    table.add(
        {.figure = "the first call after a second's rest",
         .measured = time_of(turn.ours),
         .peer = "a process woken after one, the middle one of 9 turns " + time_of(turn.theirs),
         .ratio = turn.ours / turn.theirs,
         .want = at_most,
         .limit = 2});
  }
  table.note(
      "a ratio that is wanted low is measured / peer, one that is wanted high the other way");
  return table.print();
}
