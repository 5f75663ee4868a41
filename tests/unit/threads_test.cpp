// SPDX-License-Identifier: BSL-1.0

// The structures of shared memory, driven by the threads of one process: so the thread sanitizer sees
// both sides of each, which it can't between processes. (It knows pthread mutexes and atomics, so the
// happens-before that it checks is the one that holds between processes.)

#include "base/thread_id.hpp"
#include "channel/byte_channel.hpp"
#include "memory/heap.hpp"
#include "waiting/parking.hpp"
#include "waiting/robust_lock.hpp"

#include "frame.hpp"
#include "support/sanitizer.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/sync.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

using kin::detail::Heap;
using kin::detail::Place;

namespace {

// Runs `body(0)`, `body(1)` … at once, each in a thread of its own, and waits for all.
template <typename Body>
void together(int count, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (auto& thread : threads) thread.join();
}

// Several threads put, several take; each item is seen once.
template <typename T, typename Make, typename Number>
void check_exchange(const kin::Queue<T>& queue, Make make, Number number_of) {
  constexpr int writers = 3;
  constexpr int readers = 3;
  constexpr int each = 2000;
  std::vector<std::atomic<int>> seen(writers * each);
  std::atomic<int> writing = writers;
  together(writers + readers, [&](int i) {
    if (i < writers) {
      for (int n = 0; n < each; ++n) queue.put(make(i * each + n));
      if (--writing == 0) queue.shutdown();
    } else {
      for (const T& item : queue) ++seen.at(static_cast<std::size_t>(number_of(item)));
    }
  });
  bool all_once = true;
  for (const auto& times : seen) all_once = all_once && times == 1;
  CHECK(all_once);
  CHECK(queue.empty());
}

struct Job {
  int number;
  std::array<int, 7> copies;
};

}  // namespace

TEST_SUITE("threads") {
  TEST_CASE_FIXTURE(unit::Frame, "plain items between threads") {
    check_exchange(
        kin::Queue<Job>(),
        [](int n) {
          Job job{n, {}};
          job.copies.fill(n);
          return job;
        },
        [](const Job& job) { return job.copies.back() == job.number ? job.number : -1; });
  }

  TEST_CASE_FIXTURE(unit::Frame, "strings between threads, of all lengths") {
    check_exchange(
        kin::Queue<std::string>(),
        [](int n) {
          return std::to_string(n) + std::string(static_cast<std::size_t>(n % 700), ' ');
        },
        [](const std::string& text) { return std::stoi(text); });
  }

  TEST_CASE_FIXTURE(unit::Frame, "a bounded queue between threads") {
    check_exchange(
        kin::Queue<int>(3), [](int n) { return n; }, [](int n) { return n; });
  }

  TEST_CASE_FIXTURE(unit::Frame, "large items between threads: growing and shrinking") {
    const kin::Queue<std::vector<int>> queue;
    std::atomic<int> right = 0;
    together(4, [&](int i) {
      for (int n = 0; n < 10; ++n) {
        if (i < 2) {
          queue.put(std::vector<int>(300'000, n));
        } else {
          const auto item = queue.get();
          if (item.size() == 300'000 && item.front() == item.back()) ++right;
        }
      }
    });
    CHECK(right == 20);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a joinable queue between threads") {
    const kin::JoinableQueue<int> tasks;
    std::atomic<int> done = 0;
    std::vector<std::thread> workers;
    for (int i = 0; i < 3; ++i) {
      workers.emplace_back([&] {
        for (const int task : tasks) {
          done += task;
          tasks.task_done();
        }
      });
    }
    for (int round = 1; round <= 20; ++round) {
      for (int n = 0; n < 50; ++n) tasks.put(1);
      CHECK(tasks.join_for(unit::patience));
      CHECK(done == round * 50);
    }
    tasks.shutdown();
    for (auto& worker : workers) worker.join();
  }

  TEST_CASE_FIXTURE(unit::Frame, "questions and answers") {
    const kin::Queue<int> questions;
    const kin::Queue<int> answers;
    bool right = true;
    together(2, [&](int i) {
      for (int n = 0; n < 2000; ++n) {
        if (i == 0) {
          questions.put(n);
          right = right && answers.get() == n + 1;
        } else {
          answers.put(questions.get() + 1);
        }
      }
    });
    CHECK(right);
  }

  TEST_CASE_FIXTURE(unit::Frame, "waits with limits and a shutdown in the midst") {
    for (int round = 0; round < 20; ++round) {
      const kin::Queue<std::string> queue(1);
      std::atomic<int> told = 0;
      together(5, [&](int i) {
        try {
          while (true) {
            if (i < 2) static_cast<void>(queue.put_for("item", std::chrono::microseconds(50)));
            if (i == 2 || i == 3) static_cast<void>(queue.get_for(std::chrono::microseconds(50)));
            if (i == 4 && queue.size() == 1) queue.shutdown();
            if (i == 4) static_cast<void>(queue.try_get());
          }
        } catch (const kin::QueueShutDown&) {
          ++told;
        }
      });
      CHECK(told == 5);
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "handles are made, copied, sent and dropped") {
    const kin::Queue<std::vector<kin::Queue<int>>> mail;
    const kin::Queue<int> everyones;
    std::atomic<int> received = 0;
    constexpr int rounds = 200;
    together(4, [&](int i) {
      std::vector<kin::Queue<int>> kept;
      for (int n = 0; n < rounds; ++n) {
        kin::Queue<int> own;
        own.put(i);
        kept.push_back(own);
        mail.put({own, everyones, own});
        if (n % 3 == 0) kept.clear();
        const auto letter = mail.get();
        if (letter.size() == 3 && letter[0] == letter[2] && letter[1] == everyones &&
            letter[0].try_get()) {
          ++received;
        }
        const kin::Lock lock;
        const std::scoped_lock guard(lock);
      }
    });
    CHECK(received == 4 * rounds);
  }

  TEST_CASE_FIXTURE(unit::Frame, "handles in messages that nobody takes") {
    together(4, [&](int) {
      for (int n = 0; n < 50; ++n) {
        const kin::Queue<kin::Queue<int>> outer;
        for (int k = 0; k < 5; ++k) outer.put(kin::Queue<int>());
      }
    });
  }

  TEST_CASE_TEMPLATE("what a lock guards", Any, kin::Lock, kin::RLock) {
    const unit::Frame frame;
    const Any lock;
    int number = 0;
    std::string text;
    together(4, [&](int i) {
      for (int n = 0; n < 1000; ++n) {
        if (n % 10 == 0 && lock.try_lock_for(std::chrono::microseconds(1))) lock.unlock();
        const std::scoped_lock guard(lock);
        ++number;
        text = std::to_string(i);
        static_cast<void>(lock.owner());
      }
    });
    CHECK(number == 4000);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a lock that threads end with") {
    const crash::SharedPage<kin::detail::RobustLock> lock;
    lock->initialize();
    int number = 0;
    int repairs = 0;
    for (int round = 0; round < 20; ++round) {
      together(3, [&](int i) {
        {
          const kin::detail::RobustGuard guard(*lock, [&] { ++repairs; });
          ++number;
        }
        // One of them leaves it locked: the next repairs.
        if (i == 0 && lock->lock() == kin::detail::RobustLock::Found::owner_died) {
          lock->make_consistent();
        }
      });
    }
    CHECK(number == 60);
    CHECK(repairs > 0);
    const kin::detail::RobustGuard guard(*lock, [] {});
  }

  TEST_CASE_FIXTURE(unit::Frame, "a thread ends while others sleep for its lock") {
    const crash::SharedPage<kin::detail::RobustLock> lock;
    lock->initialize();
    constexpr int waiters = 3;
    std::array<std::atomic<pid_t>, waiters> ids{};
    int number = 0;
    int repairs = 0;
    together(waiters + 1, [&](int i) {
      if (i == waiters) {
        lock->lock();
        for (const auto& id : ids) {
          unit::eventually([&] { return id != 0 && crash::process_state(id) == 'S'; });
        }
        return;
      }
      unit::eventually([&] { return lock->is_held(); });
      ids.at(static_cast<std::size_t>(i)) = kin::detail::thread_id();
      const kin::detail::RobustGuard guard(*lock, [&] { ++repairs; });
      ++number;
    });
    CHECK(number == waiters);
    CHECK(repairs == 1);
  }

  TEST_CASE_FIXTURE(unit::Frame, "parking: what is published before the wake is seen behind it") {
    const crash::SharedPage<kin::detail::ParkingSpot> spot;
    std::atomic<int> published = 0;
    std::array<int, 2000> values{};
    std::atomic<int> right = 0;
    together(4, [&](int i) {
      for (int n = 0; n < static_cast<int>(values.size()); ++n) {
        const auto at = static_cast<std::size_t>(n);
        if (i == 0) {
          values.at(at) = n;
          published.store(n + 1, std::memory_order_release);
          if (n % 100 == 0) {
            spot->notify_all();
          } else {
            spot->notify();
          }
        } else {
          const auto ready = [&] { return published.load(std::memory_order_acquire) > n; };
          if (spot->wait(ready, unit::last_moment()) && values.at(at) == n) ++right;
          spot->notify();
        }
      }
    });
    CHECK(right == 3 * static_cast<int>(values.size()));
  }

  TEST_CASE_FIXTURE(unit::Frame, "the heap: each block is one thread's") {
    together(4, [](int i) {
      std::mt19937 random(static_cast<unsigned>(i));
      std::uniform_int_distribution<std::size_t> any_size(1, 30'000);
      std::array<Place, 20> places{};
      for (int n = 0; n < 1000; ++n) {
        Place& place = places.at(random() % places.size());
        Heap::free_from(place);
        const std::size_t size = any_size(random);
        std::byte* block = Heap::allocate_into(place, size);
        if (Heap::is_run(size)) kin::detail::populate(block, size);
        block[0] = block[size - 1] = static_cast<std::byte>(i);
      }
      for (Place& place : places) Heap::free_from(place);
    });
  }

  TEST_CASE_FIXTURE(unit::Frame, "the heap: a block that one allocates and another frees") {
    constexpr int rounds = 200;
    std::array<Place, 2> places{};
    std::atomic<int> turn = 0;
    together(2, [&](int i) {
      for (int n = 0; n < rounds; ++n) {
        unit::eventually([&] { return turn % 2 == i; });
        for (Place& place : places) {
          if (i == 0) {
            *Heap::allocate_into(place, 500) = std::byte{1};
          } else {
            Heap::free_from(place);
          }
        }
        ++turn;
      }
    });
    CHECK(turn == 2 * rounds);
  }

  TEST_CASE_FIXTURE(unit::Frame, "processes are started, asked and joined by several threads") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    const kin::Queue<int> queue;
    constexpr int threads = 3;
    constexpr int each = 5;
    std::atomic<int> ended_well = 0;
    together(threads, [&](int i) {
      for (int n = 0; n < each; ++n) {
        kin::Process child([&queue](int number) { queue.put(number); }, i * each + n);
        child.start();
        static_cast<void>(kin::active_children());
        static_cast<void>(child.is_alive());
        if (child.join_for(unit::patience) && child.exit_code() == 0) ++ended_well;
      }
    });
    CHECK(ended_well == threads * each);
    CHECK(queue.size() == threads * each);
  }

  TEST_CASE_FIXTURE(unit::Frame, "several threads watch one process") {
    kin::Process child([] {
      while (true) ::pause();
    });
    child.start();
    const kin::ProcessHandle handle = child.handle();
    std::atomic<int> right = 0;
    together(4, [&](int i) {
      if (i == 0) handle.kill();
      while (handle.is_alive()) {
      }
      handle.join();
      if (handle.exit_code() == -SIGKILL) ++right;
    });
    CHECK(right == 4);
    child.join();
  }

  TEST_CASE_FIXTURE(unit::Frame, "the log is told where to go while it is used") {
    std::atomic<int> lines = 0;
    together(3, [&](int i) {
      for (int n = 0; n < 500; ++n) {
        if (i == 0) kin::set_log_sink([&](kin::LogLevel, std::string_view) { ++lines; });
        kin::set_log_level(kin::LogLevel::error);
        if (i != 0 && lines > 0) kin::log(kin::LogLevel::error, "line");
        if (i == 0) kin::log(kin::LogLevel::error, "line");
      }
    });
    kin::set_log_sink({});
    kin::set_log_level(kin::LogLevel::warning);
    CHECK(lines >= 500);
  }
}
