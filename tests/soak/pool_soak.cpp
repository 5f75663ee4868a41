// SPDX-License-Identifier: BSL-1.0

// Pools under fire: calls of all kinds are given away while workers are killed, stopped, and kill
// themselves, and each pool ends in another way. Every future has to end as the documentation says,
// nobody is blamed who had nothing to do with a death, and nothing grows.
//
// A worker that dies costs one task: so no two futures tell of one death, and they tell of no more deaths
// than there were. What a call returns is checked; what it throws is counted by what it is.

#include "hunt.hpp"
#include "support/sweep.hpp"

#include <kin/pool.hpp>

#include <deque>
#include <set>
#include <stdexcept>

#include <sys/resource.h>

namespace {

using namespace std::chrono_literals;
using soak::Chance;
using soak::Clock;
using soak::violation;

constexpr int patient = 1'000'000;  // retries that are never used up

// ---- what workers do

int square(int x) { return x * x; }

int nap(int microseconds) {
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
  return microseconds;
}

int refuse(int x) { throw std::out_of_range("refused " + std::to_string(x)); }

int crash(int how) {
  if (how % 3 == 0) ::_exit(3);
  ::raise(how % 3 == 1 ? SIGSEGV : SIGABRT);
  return 0;
}

std::string letters(int size) {
  return std::string(static_cast<std::size_t>(size), static_cast<char>('a' + size % 26));
}

int until_asked(int x) {
  while (!kin::stop_requested()) std::this_thread::sleep_for(100us);
  return x;
}

// ---- accounts

struct Totals {
  std::uint64_t pools = 0;
  std::uint64_t submitted = 0;
  std::uint64_t dropped = 0;
  std::uint64_t finished = 0;
  std::uint64_t failed = 0;  // by what the call itself threw
  std::uint64_t died = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t over_limit = 0;
  std::uint64_t broken = 0;   // the nursery was killed
  std::uint64_t killed = 0;   // workers, by us
  std::uint64_t crashed = 0;  // by their own
  std::uint64_t called_back = 0;
};

/// What a call may end with, beside WorkerDied while there are kills.
struct Ends {
  bool may_finish = true;
  bool may_fail = false;
  bool may_die = true;
  bool may_be_cancelled = false;
  bool may_be_over_limit = false;
};

/// A pool's life: calls, kills, and its end.
class Life {
 public:
  Life(Chance& chance, Totals& totals) : chance_(chance), totals_(totals), pool_(make(chance)) {
    ++totals_.pools;
    nursery_ = pool_->apply({.retries = patient}, [] { return static_cast<int>(::getppid()); });
  }

  void run_until(Clock::time_point end) {
    soak::enter("calls");
    auto next_kill = Clock::now() + 1ms;
    while (Clock::now() < end) {
      submit();
      if (Clock::now() > next_kill) {
        hunt();
        next_kill = Clock::now() + chance_.microseconds(500, 8000);
      }
      while (open_.size() > chance_.up_to(200)) settle_one();
    }
  }

  void end() {
    switch (chance_.up_to(3)) {
      case 0: close(); break;
      case 1: terminate(); break;
      case 2: kill_nursery(); break;
      default: let_go(); break;
    }
    soak::enter("accounts");
    if (owed_ != called_back_.load()) {
      violation("%llu callbacks were called, of %llu",
                static_cast<unsigned long long>(called_back_.load()),
                static_cast<unsigned long long>(owed_));
    }
    totals_.called_back += called_back_.load();
    if (deaths_.size() > killed_ + crashed_) {
      violation("%zu calls died with their workers, and only %llu were killed", deaths_.size(),
                static_cast<unsigned long long>(killed_ + crashed_));
    }
    totals_.killed += killed_;
    totals_.crashed += crashed_;
    require_nobody_lives();
  }

 private:
  static std::optional<kin::Pool> make(Chance& chance) {
    kin::PoolOptions options{.processes = 1 + static_cast<std::ptrdiff_t>(chance.up_to(3))};
    if (chance.one_in(3)) options.max_tasks_per_child = 50;
    return kin::Pool(std::move(options));
  }

  // ---- calls

  void submit() {
    const auto number = static_cast<int>(chance_.up_to(30'000));
    switch (chance_.up_to(15)) {
      case 0:
      case 1:
      case 2: return expect(pool_->apply_async(square, number), number * number, {});
      case 3: return expect(pool_->apply_async(nap, number / 100), number / 100, {});
      case 4:
        return expect(pool_->apply_async(refuse, number), 0,
                      {.may_finish = false, .may_fail = true});
      case 5:
        if (!chance_.one_in(4)) return;
        ++crashed_;
        return expect(pool_->apply_async(crash, number), 0, {.may_finish = false});
      case 6: {
        const auto size = static_cast<int>(chance_.up_to(chance_.one_in(4) ? 300'000 : 3000));
        return expect(pool_->apply_async(letters, size), letters(size), {});
      }
      case 7:
        if (!chance_.one_in(4)) return;
        return expect(
            pool_->apply_async({.timeout = chance_.microseconds(1000, 20'000)}, nap, 60'000'000), 0,
            {.may_finish = false, .may_be_over_limit = true});
      case 8:
        return expect(pool_->apply_async({.timeout = 60s}, square, number), number * number, {});
      case 9:
        return expect(pool_->apply_async({.soft_timeout = chance_.microseconds(1000, 3000)},
                                         until_asked, number),
                      number, {});
      case 10: return cancel(pool_->apply_async(nap, number / 30), number / 30);
      case 11: return drop(number);
      case 12:
        return expect(pool_->apply_async({.retries = patient}, nap, number / 100), number / 100,
                      {.may_die = false});
      case 13: return map(static_cast<int>(1 + chance_.up_to(300)));
      case 14: return call_back(number);
      default: return lazy_map(static_cast<int>(chance_.up_to(100)));
    }
  }

  void cancel(const kin::Future<int>& future, int result) {
    if (chance_.one_in(2)) settle_one();
    const bool is_cancelled = future.cancel({.kill = chance_.one_in(2)});
    // It may have ended, or died, before it was called off: then cancel() has said so.
    expect(future, result, {.may_finish = !is_cancelled, .may_be_cancelled = is_cancelled});
  }

  void drop(int number) {
    ++totals_.dropped;
    switch (chance_.up_to(3)) {
      case 0: static_cast<void>(pool_->apply_async(square, number)); break;
      case 1: static_cast<void>(pool_->apply_async(letters, number)); break;
      case 2: static_cast<void>(pool_->apply_async(refuse, number)); break;
      default:
        static_cast<void>(pool_->apply_async({.timeout = 5ms, .retries = 1}, nap, number * 3));
        break;
    }
  }

  void map(int items) {
    const bool again = chance_.one_in(2);
    std::vector<int> squares;
    for (int i = 0; i < items; ++i) squares.push_back(square(i));
    expect(pool_->map_async({.retries = again ? patient : 0}, square, std::views::iota(0, items)),
           std::move(squares), {.may_die = !again});
  }

  void call_back(int number) {
    const auto count = [this](const auto&) { ++called_back_; };
    ++owed_;
    if (chance_.one_in(2)) {
      expect(pool_->apply_async({.callback = count, .error_callback = count}, square, number),
             number * number, {});
    } else {
      expect(pool_->map_async({.callback = count, .error_callback = count}, refuse,
                              std::views::iota(0, 10)),
             {}, {.may_finish = false, .may_fail = true});
    }
  }

  void lazy_map(int items) {
    ++totals_.submitted;
    int next = 0;
    auto results = pool_->imap({.retries = patient}, square, std::views::iota(0, items));
    // Now and then it is left behind half-way.
    const int enough = chance_.one_in(3) ? items / 2 : items;
    for (; next < enough; ++next) {
      if (results.next() != square(next)) violation("imap() gives another result");
      tick();
    }
    if (enough == items && results.next()) violation("imap() gives too many results");
    ++totals_.finished;
  }

  template <typename T>
  void expect(kin::Future<T> future, T result, Ends ends) {
    ++totals_.submitted;
    open_.push_back([this, future = std::move(future), result = std::move(result), ends] {
      settle(future, result, ends);
    });
  }

  // ---- how they ended

  void settle_one() {
    if (open_.empty()) return;
    const auto first = std::move(open_.front());
    open_.pop_front();
    first();
    tick();
  }
  void settle_all() {
    while (!open_.empty()) settle_one();
  }

  template <typename T>
  void settle(const kin::Future<T>& future, const T& result, const Ends& ends) {
    try {
      if (future.get() != result) violation("a call has another result");
      ++totals_.finished;
      if (!ends.may_finish) violation("a call finished that can't");
    } catch (const kin::WorkerDied& death) {
      ++totals_.died;
      if (!ends.may_die) violation("a call died: %s", death.what());
      if (!deaths_.insert(death.pid()).second) {
        violation("two calls died with worker %d", static_cast<int>(death.pid()));
      }
    } catch (const kin::CancelledError& error) {
      ++totals_.cancelled;
      if (!ends.may_be_cancelled && !is_terminated_) violation("cancelled: %s", error.what());
    } catch (const kin::TimeoutError& error) {
      ++totals_.over_limit;
      if (!ends.may_be_over_limit) violation("over its limit: %s", error.what());
    } catch (const kin::BrokenPool& error) {
      ++totals_.broken;
      if (!is_broken_) violation("broken: %s", error.what());
    } catch (const std::out_of_range& error) {
      ++totals_.failed;
      if (!ends.may_fail) violation("failed: %s", error.what());
    } catch (const std::exception& error) {
      violation("a call ended as is not documented: %s", error.what());
    }
    if (!future.ready()) violation("a future that was waited for is not ready");
  }

  // ---- kills

  void hunt() {
    const std::vector<pid_t> workers = pool_->worker_pids();
    if (workers.empty()) return;
    const pid_t one = workers[chance_.up_to(static_cast<std::uint32_t>(workers.size() - 1))];
    if (chance_.one_in(6)) {
      ::kill(one, SIGSTOP);
      std::this_thread::sleep_for(chance_.microseconds(0, 5000));
      ::kill(one, SIGCONT);
      return;
    }
    ++killed_;
    ::kill(one, SIGKILL);
  }

  // ---- the four ends

  void close() {
    soak::enter("close");
    pool_->close();
    if (chance_.one_in(2)) hunt();
    pool_->join();
    settle_all();
    pool_.reset();
  }

  void terminate() {
    soak::enter("terminate");
    pool_->terminate();
    is_terminated_ = true;
    if (chance_.one_in(2)) settle_all();
    pool_->join();
    settle_all();
    pool_.reset();
  }

  void kill_nursery() {
    soak::enter("the nursery is killed");
    for (int i = 0; i < 50; ++i) submit();
    // What dies with its worker now was killed with the nursery, or before.
    is_broken_ = true;
    ::kill(nursery_, SIGKILL);
    settle_all();
    // Its workers may do something yet until they are killed as well.
    while (takes_a_call()) std::this_thread::sleep_for(100us);
    pool_.reset();
  }

  bool takes_a_call() {
    try {
      return pool_->apply(square, 3) == 9;
    } catch (const kin::BrokenPool&) {
      return false;
    }
  }

  void let_go() {
    soak::enter("let go of");
    is_terminated_ = true;
    pool_.reset();
    settle_all();
  }

  void require_nobody_lives() {
    if (!crash::children_of_this_process().empty()) violation("a pool's process is left");
  }

  static void tick() { soak::board().steps.fetch_add(1); }

  Chance& chance_;
  Totals& totals_;
  std::atomic<std::uint64_t> called_back_ = 0;
  std::uint64_t owed_ = 0;
  std::uint64_t killed_ = 0;
  std::uint64_t crashed_ = 0;
  std::set<pid_t> deaths_;
  std::deque<std::function<void()>> open_;
  bool is_terminated_ = false;
  bool is_broken_ = false;
  std::optional<kin::Pool> pool_;
  pid_t nursery_ = 0;
};

unsigned long long ull(std::uint64_t number) { return number; }

void print(const Totals& all, const soak::Holdings& before, const soak::Holdings& now) {
  std::printf(
      "pools: %llu, %llu calls: %llu finished, %llu failed, %llu died, %llu cancelled, %llu over "
      "their limit, %llu broken; %llu dropped, %llu called back; %llu workers killed, %llu "
      "crashed; "
      "arena %zu chunks, %zu cells (%zu, %zu after the first), descriptors %d\n",
      ull(all.pools), ull(all.submitted), ull(all.finished), ull(all.failed), ull(all.died),
      ull(all.cancelled), ull(all.over_limit), ull(all.broken), ull(all.dropped),
      ull(all.called_back), ull(all.killed), ull(all.crashed), now.chunks, now.cells, before.chunks,
      before.cells, now.descriptors);
}

// What killed workers held is swept; those of a killed nursery die a moment later.
soak::Holdings holdings_at_rest(const std::optional<soak::Holdings>& before) {
  const auto patience = Clock::now() + 5s;
  while (true) {
    support::sweep_the_dead();
    const soak::Holdings now = soak::Holdings::now();
    if (!before || now.cells == before->cells || Clock::now() > patience) return now;
    std::this_thread::sleep_for(1ms);
  }
}

void hunt(const soak::Options& options) {
  const auto end = Clock::now() + std::chrono::duration<double>(options.seconds);
  Chance chance(options.seed);
  Totals totals;
  std::optional<soak::Holdings> settled;
  soak::Holdings now;
  while (totals.pools < 2 || Clock::now() < end) {
    {
      Life life(chance, totals);
      life.run_until(Clock::now() + chance.microseconds(50'000, 400'000));
      life.end();
    }
    now = holdings_at_rest(settled);
    if (!settled) settled = now;
    settled->compare(now, 0);
    if (now.cells != settled->cells) violation("a pool that has ended left cells in the arena");
  }
  const std::uint64_t ended = totals.finished + totals.failed + totals.died + totals.cancelled +
                              totals.over_limit + totals.broken;
  if (ended != totals.submitted) {
    violation("%llu calls ended, of %llu", ull(ended), ull(totals.submitted));
  }
  print(totals, *settled, now);
}

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // workers will have died
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  return soak::watch("pool_soak", options, [&] { hunt(options); });
}
