// SPDX-License-Identifier: BSL-1.0
//
// When nothing is left of the shared memory: each task of a pool ends, by std::bad_alloc where it needs some, and
// nobody dies of it; no lock is made, and no handle taken. In processes of their own, with a small arena.
//
// Fails when:
//   give_exception() has one attempt: "an exception for which there is no memory …"
//   allocate_into() in TaskContext::give() is not inside of the try: the first two

#include "frame.hpp"
#include "memory/heap.hpp"

#include "support/again.hpp"
#include "support/shared_page.hpp"

#include <kin/pool.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/sync.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

using namespace unit;

// Takes what is left of the arena, down to the smallest cells.
class FullArena {
 public:
  FullArena() {
    for (std::size_t size = std::size_t{1} << 30; size > 65536; size /= 2) take_all(size);
    for (std::size_t size = 65536; size != 0; size -= 8) take_all(size);  // cells of each size
  }
  ~FullArena() {
    for (kin::detail::Place& place : places_) kin::detail::Heap::free_from(place);
  }
  FullArena(const FullArena&) = delete;
  FullArena& operator=(const FullArena&) = delete;

 private:
  void take_all(std::size_t size) {
    try {
      while (true) kin::detail::Heap::allocate_into(places_.emplace_back(), size);
    } catch (const std::bad_alloc&) {
      places_.pop_back();
    }
  }

  std::deque<kin::detail::Place> places_;
};

// What workers wait for; made before them.
using Gate = crash::SharedPage<std::atomic<bool>>;

// A call whose worker began before the arena was full, and goes on then.
template <typename F>
auto call_in_full_arena(kin::Pool& pool, const Gate& goes_on, F function) {
  const auto future = pool.apply_async([page = &*goes_on, function] {
    while (!page->load()) ::usleep(1000);
    return function();
  });
  REQUIRE(eventually([&] { return future.running(); }));
  const FullArena full;
  goes_on->store(true);
  REQUIRE(future.wait_for(patience));
  return future;
}

// The case once more, in a process with a small arena; false in that one.
bool runs_again(const char* name) {
  if (support::is_again()) return false;
  CHECK(support::again(name, "33554432") == "");
  return true;
}

void require_unharmed(kin::Pool& pool) {
  CHECK(pool.apply(::abs, -7) == 7);
  CHECK(pool.apply([] { return std::string(100'000, 'x'); }).size() == 100'000);
  CHECK(pool.statistics().workers[0].restarts == 0);
}

}  // namespace

TEST_SUITE("full arena") {
  TEST_CASE("a result for which there is no memory is a bad_alloc") {
    if (runs_again("a result for which there is no memory is a bad_alloc")) return;
    const Frame frame;
    const Gate goes_on;
    kin::Pool pool(1);
    const auto future = call_in_full_arena(pool, goes_on, [] { return std::string(100'000, 'x'); });
    CHECK_THROWS_AS(static_cast<void>(future.get()), std::bad_alloc);
    require_unharmed(pool);
  }

  TEST_CASE("an exception for which there is no memory is a bad_alloc") {
    if (runs_again("an exception for which there is no memory is a bad_alloc")) return;
    const Frame frame;
    const Gate goes_on;
    kin::Pool pool(1);
    const auto future = call_in_full_arena(
        pool, goes_on, []() -> int { throw std::invalid_argument(std::string(100'000, 'x')); });
    CHECK_THROWS_AS(static_cast<void>(future.get()), std::bad_alloc);
    require_unharmed(pool);
  }

  TEST_CASE("what is small needs no memory") {
    if (runs_again("what is small needs no memory")) return;
    const Frame frame;
    const Gate goes_on;
    kin::Pool pool(1);
    CHECK(call_in_full_arena(pool, goes_on, [] { return 7; }).get() == 7);
    require_unharmed(pool);
  }

  TEST_CASE("what a task has no memory to send it may do without") {
    if (runs_again("what a task has no memory to send it may do without")) return;
    const Frame frame;
    const Gate goes_on;
    kin::Pool pool(1);
    const auto future = call_in_full_arena(pool, goes_on, [] {
      try {
        const kin::Queue<std::string> queue;
        queue.put(std::string(100'000, 'x'));
      } catch (const std::bad_alloc&) {
        return 1;
      }
      return 0;
    });
    CHECK(future.get() == 1);
    require_unharmed(pool);
  }

  TEST_CASE("a task for which there is no memory is not submitted") {
    if (runs_again("a task for which there is no memory is not submitted")) return;
    const Frame frame;
    kin::Pool pool(1);
    const auto size = [](const std::string& text) { return static_cast<int>(text.size()); };
    CHECK(pool.apply(size, std::string(10, 'x')) == 10);
    {
      const FullArena full;
      CHECK_THROWS_AS(static_cast<void>(pool.apply(size, std::string(100'000, 'x'))),
                      std::bad_alloc);
      CHECK_THROWS_AS(static_cast<void>(pool.map(size, std::vector(9, std::string(100'000, 'x')))),
                      std::bad_alloc);
    }
    CHECK(pool.apply(size, std::string(100'000, 'x')) == 100'000);
    require_unharmed(pool);
  }

  TEST_CASE("a lock for which there is no memory is not made") {
    if (runs_again("a lock for which there is no memory is not made")) return;
    const Frame frame;
    const Gate goes_on;
    const kin::Lock lock;
    const kin::Queue<int> queue;
    queue.put(1);
    kin::Process child([&] {
      while (!goes_on->load()) ::usleep(1000);
      const std::scoped_lock guard(lock);
      queue.put(queue.get() + 1);
    });
    child.start();
    std::size_t most = 0;
    for (int round = 0; round < 3; ++round) {
      std::deque<kin::Lock> locks;
      const FullArena full;
      CHECK_THROWS_AS(while (locks.size() < 100'000) locks.emplace_back(), std::bad_alloc);
      CHECK_THROWS_AS(kin::Lock(), std::bad_alloc);
      CHECK_THROWS_AS(kin::RLock(), std::bad_alloc);
      CHECK(locks.size() >= most);  // those of the round before were given back
      most = locks.size();
      for (const kin::Lock& one : locks) CHECK(one.try_lock());
      for (const kin::Lock& one : locks) one.unlock();
      // Others are as they were, here and elsewhere.
      if (round == 0) {
        *goes_on = true;
        REQUIRE(child.join_for(patience));
        CHECK(child.exit_code() == 0);
      }
      CHECK(lock.try_lock());
      lock.unlock();
    }
    CHECK(queue.get() == 2);
    const kin::Lock after;
    CHECK(after.try_lock());
    after.unlock();
  }

  TEST_CASE("a handle for which there is no memory is not taken") {
    if (runs_again("a handle for which there is no memory is not taken")) return;
    const Frame frame;
    constexpr int count = 900;
    struct Page {
      std::atomic<bool> is_full, is_free, has_failed;
      std::atomic<int> taken;
    };
    const crash::SharedPage<Page> page;
    const kin::Queue<kin::Queue<int>> queues;
    const kin::Queue<int> last;
    for (int i = 0; i < count; ++i) {
      const kin::Queue<int> queue;
      queue.put(i);
      queues.put(queue);
    }
    // Its list of what it has must grow.
    kin::Process child([&] {
      std::vector<kin::Queue<int>> taken;
      const auto take_all = [&] {
        while (auto queue = queues.try_get()) taken.push_back(*std::move(queue));
      };
      while (!page->is_full) ::usleep(1000);
      try {
        take_all();
      } catch (const std::bad_alloc&) {
        page->has_failed = true;
      }
      page->taken = static_cast<int>(taken.size());
      last.put(1);
      while (!page->is_free) ::usleep(1000);
      take_all();
      // The one that was being read may be gone.
      if (taken.size() < count - 1) std::exit(2);
      int before = -1;
      for (const auto& queue : taken) {
        const int number = queue.get();
        if (number <= before || number > before + 2) std::exit(3);
        before = number;
      }
    });
    child.start();
    {
      const FullArena full;
      page->is_full = true;
      CHECK(last.get_for(patience) == 1);
      CHECK(page->has_failed);
      CHECK(page->taken < count);
    }
    page->is_free = true;
    REQUIRE(child.join_for(patience));
    CHECK(child.exit_code() == 0);
    CHECK(queues.empty());
  }

  TEST_CASE("callbacks are called though there is no memory left") {
    if (runs_again("callbacks are called though there is no memory left")) return;
    const Frame frame;
    constexpr int calls = 3000;
    std::atomic<int> called = 0;
    const Gate goes_on;
    kin::Pool pool(1);
    std::vector<kin::Future<int>> all;
    for (int i = 0; i < calls; ++i) {
      all.push_back(pool.apply_async({.callback = [&](int) { ++called; }}, [page = &*goes_on] {
        while (!page->load()) ::usleep(1000);
        return 0;
      }));
    }
    const FullArena full;
    goes_on->store(true);
    CHECK(eventually([&] { return called == calls; }));
    CHECK(pool.statistics().workers[0].restarts == 0);
  }
}
