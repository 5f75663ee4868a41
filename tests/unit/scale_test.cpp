// SPDX-License-Identifier: BSL-1.0

// Much of everything, and the end of memory: what was given back is there again.

#include "memory/heap.hpp"

#include "frame.hpp"
#include "support/again.hpp"
#include "support/sanitizer.hpp"
#include "support/shared_page.hpp"

#include <kin/log.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/sync.hpp>

#include <array>
#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <sys/stat.h>

using kin::detail::Heap;
using kin::detail::HeapState;

namespace {

using Message = std::array<std::uint64_t, 8>;  // 64 bytes

// Of a sanitized build or under valgrind everything takes many times as long.
constexpr int share = support::is_sanitized ? 50 : 1;

/// What the kernel has given for the arena.
std::size_t resident_bytes() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone).string().starts_with("/memfd:kin-arena")) {
      struct stat status {};
      if (::stat(entry.path().c_str(), &status) == 0) {
        return static_cast<std::size_t>(status.st_blocks) * 512;
      }
    }
  }
  return 0;
}

constexpr std::size_t mebibyte = std::size_t{1} << 20;

// Each class of the heap may keep one empty chunk.
constexpr std::size_t spare_chunks = HeapState::classes;

void put_while_there_is_room(const kin::Queue<Message>& queue, std::uint64_t& next) {
  for (;; ++next) {
    try {
      queue.put({next});
    } catch (const std::bad_alloc&) {
      return;
    }
  }
}

bool takes_in_order(const kin::Queue<Message>& queue, std::uint64_t from, std::uint64_t to) {
  for (; from < to; ++from) {
    const std::optional<Message> message = queue.try_get();
    if (!message || message->front() != from) return false;
  }
  return queue.empty();
}

}  // namespace

TEST_SUITE("scale") {
  TEST_CASE_FIXTURE(unit::Frame, "a million messages at once, and their memory comes back") {
    constexpr std::uint64_t count = 1'000'000;
    const kin::Queue<Message> queue;
    const auto before = Heap::statistics();
    const std::size_t resident_before = resident_bytes();
    REQUIRE(resident_before > 0);
    for (std::uint64_t i = 0; i < count; ++i) queue.put({i});
    CHECK(queue.size() == count);
    CHECK(resident_bytes() - resident_before >= count * sizeof(Message));
    CHECK(takes_in_order(queue, 0, count));
    // The queue keeps its last ring, but none of the pages of a large one.
    CHECK(resident_bytes() <= resident_before + 2 * mebibyte);
    CHECK(Heap::statistics().cells <= before.cells + 2);
  }

  TEST_CASE_FIXTURE(unit::Frame, "five hundred processes on one queue") {
    constexpr int pairs = 250;
    constexpr int each = 100;
    const kin::Queue<int> queue;
    const kin::Queue<std::int64_t> sums;
    const crash::SharedPage<std::atomic<int>> arrived;
    const kin::Event all_are_there;
    const auto wait_for_all = [&] {
      ++*arrived;
      all_are_there.wait();
    };
    std::deque<kin::Process> processes;
    const kin::ProcessOptions daemon{.daemon = true};
    for (int i = 0; i < pairs; ++i) {
      processes.emplace_back(daemon, [&] {
        wait_for_all();
        std::int64_t sum = 0;
        for (int k = 0; k < each; ++k) sum += queue.get();
        sums.put(sum);
      });
      processes.back().start();
      processes.emplace_back(daemon, [&] {
        wait_for_all();
        for (int k = 0; k < each; ++k) queue.put(k);
      });
      processes.back().start();
    }
    REQUIRE(unit::eventually([&] { return *arrived == 2 * pairs; }));
    for (kin::Process& process : processes) REQUIRE(process.is_alive());
    all_are_there.set();
    for (kin::Process& process : processes) {
      REQUIRE(process.join_for(unit::patience * 2));
      CHECK(process.exit_code() == 0);
    }
    std::int64_t sum = 0;
    while (const std::optional<std::int64_t> part = sums.try_get()) sum += *part;
    CHECK(sum == std::int64_t{pairs} * each * (each - 1) / 2);
    CHECK(queue.empty());
  }

  TEST_CASE_FIXTURE(unit::Frame, "a million queues made and dropped do not grow the arena") {
    constexpr int count = 1'000'000 / share;
    const auto make_and_drop = [](int i) {
      const kin::Queue<int> queue;
      if (i % 4 == 0) queue.put(i);
    };
    for (int i = 0; i < count / 100; ++i) make_and_drop(i);
    const auto settled = Heap::statistics();
    const std::size_t resident = resident_bytes();
    for (int i = 0; i < count; ++i) make_and_drop(i);
    CHECK(Heap::statistics().cells == settled.cells);
    CHECK(Heap::statistics().chunks == settled.chunks);
    CHECK(resident_bytes() <= resident + mebibyte);
  }

  TEST_CASE_FIXTURE(unit::Frame, "ten thousand processes killed do not grow the arena") {
    constexpr int rounds = 1250 / share;
    constexpr int at_once = 8;
    const kin::Queue<int> queue;
    const kin::JoinableQueue<int> tasks;
    const kin::Queue<kin::Queue<int>> queues;
    const kin::Lock lock;
    std::minstd_rand random(1);  // NOLINT(cert-msc51-cpp): the same each time is what is wanted

    // Makes, sends, receives and drops, until it is killed.
    const auto live = [&] {
      for (;;) {
        const kin::Queue<int> own;
        own.put(1);
        queues.put(own);
        static_cast<void>(queues.try_get());
        tasks.put(2);
        static_cast<void>(tasks.try_get());
        const std::scoped_lock guard(lock);
        queue.put(3);
        static_cast<void>(queue.try_get());
      }
    };
    const auto round = [&] {
      std::deque<kin::Process> processes;
      for (int i = 0; i < at_once; ++i) {
        processes.emplace_back(kin::ProcessOptions{.daemon = true}, live);
        processes.back().start();
      }
      for (kin::Process& process : processes) {
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
        process.kill();
      }
      for (kin::Process& process : processes) process.join();
      // What they left is taken, and what they had not finished is told of.
      while (queue.try_get()) {
      }
      while (queues.try_get()) {
      }
      while (tasks.try_get()) tasks.task_done();
      try {
        tasks.join();
      } catch (const kin::OwnerDied&) {  // NOLINT(bugprone-empty-catch)
      }
    };
    kin::set_log_level(kin::LogLevel::error);  // owners of the lock die
    for (int i = 0; i < rounds / 10; ++i) round();
    Heap::recover();
    const auto settled = Heap::statistics();
    const std::size_t resident = resident_bytes();
    for (int i = 0; i < rounds; ++i) round();
    kin::set_log_level(kin::LogLevel::warning);
    Heap::recover();
    const auto now = Heap::statistics();
    MESSAGE("after ", rounds * at_once, " deaths: ", now.cells, " cells, ", now.chunks,
            " chunks; before: ", settled.cells, ", ", settled.chunks);
    CHECK(now.cells <= settled.cells + 2 * at_once);
    CHECK(now.chunks <= settled.chunks + spare_chunks);
    CHECK(resident_bytes() <= resident + spare_chunks * kin::detail::chunk_size + mebibyte);
  }
}

TEST_SUITE("out of memory") {
  constexpr const char* small_arena = "33554432";

  TEST_CASE("puts until there is no memory: all that was put can be got and puts work again") {
    if (!support::is_again()) {
      CHECK(
          support::again("puts until there is no memory: all that was put can be got and puts work "
                         "again",
                         small_arena) == "");
      return;
    }
    const kin::Queue<Message> other;
    other.put({7});
    const kin::Lock lock;
    const kin::Queue<Message> queue;
    std::uint64_t end = 0;
    std::uint64_t begin = 0;
    for (int round = 0; round < 3; ++round) {
      put_while_there_is_room(queue, end);
      // At least a quarter of the arena holds messages: rings double.
      CHECK((end - begin) * sizeof(Message) > 8 * mebibyte);
      CHECK(queue.size() == end - begin);
      CHECK_THROWS_AS(queue.put({0}), std::bad_alloc);

      // Nothing else is harmed, here or in a child.
      kin::Process child([&] {
        std::scoped_lock guard(lock);
        other.put({other.get().front() + 1});
      });
      child.start();
      child.join();
      CHECK(child.exit_code() == 0);
      CHECK(other.size() == 1);
      CHECK_FALSE(lock.locked());

      CHECK(takes_in_order(queue, begin, end));
      begin = end;
    }
    CHECK(other.get().front() == 10);
  }

  TEST_CASE("a child that finds no memory harms nobody else") {
    if (!support::is_again()) {
      CHECK(support::again("a child that finds no memory harms nobody else", small_arena) == "");
      return;
    }
    const kin::Queue<Message> full;
    const kin::Queue<std::string> queue;
    queue.put("before");
    kin::Process child([&] {
      std::uint64_t end = 0;
      put_while_there_is_room(full, end);
      full.put({end});  // throws
    });
    std::fclose(stderr);  // that is printed there
    child.start();
    child.join();
    CHECK(child.exit_code() == 1);
    CHECK_THROWS_AS(queue.put(std::string(mebibyte * 16, 'x')), std::bad_alloc);
    CHECK(queue.get() == "before");
    CHECK(takes_in_order(full, 0, full.size()));
    queue.put("after");
    CHECK(queue.get() == "after");
  }

  TEST_CASE("queues until there is no memory: those that are made work and others again") {
    if (!support::is_again()) {
      CHECK(support::again(
                "queues until there is no memory: those that are made work and others again",
                small_arena) == "");
      return;
    }
    const kin::Queue<int> first;
    std::size_t most = 0;
    Heap::Statistics settled;
    for (int round = 0; round < 4; ++round) {
      // What held locks is kept for other locks, and the list of a process's objects keeps its length.
      // So the first round shows what stays.
      if (round == 1) settled = Heap::statistics();
      first.put(1);
      std::vector<kin::Queue<int>> queues;
      const auto fill = [&] {
        CHECK_THROWS_AS(
            for (;;) {
              const kin::Queue<int> queue;
              queue.put(static_cast<int>(queues.size()));
              queues.push_back(queue);
            },
            std::bad_alloc);
      };
      fill();
      CHECK(queues.size() > 1000);
      if (round > 0) CHECK(queues.size() >= most);
      most = queues.size();
      for (std::size_t i = 0; i < queues.size(); ++i) {
        if (queues[i].size() != 1 || queues[i].get() != static_cast<int>(i)) FAIL("queue ", i);
      }
      queues.resize(most / 2, first);
      fill();
      CHECK(queues.size() >= most);
      CHECK(first.get() == 1);
    }
    CHECK(Heap::statistics().cells == settled.cells);
    CHECK(Heap::statistics().chunks <= settled.chunks + spare_chunks);
  }

  TEST_CASE("a bad KIN_ARENA_BYTES is told by who first uses kin") {
    if (!support::is_again()) {
      for (const char* text :
           {"", "much", "-1", "4096", "33554432 bytes", "1e9", "99999999999999999999"}) {
        CHECK(support::again("a bad KIN_ARENA_BYTES is told by who first uses kin", text) == "");
      }
      return;
    }
    const auto complains = [](auto&& use) {
      try {
        use();
      } catch (const kin::Error& error) {
        return std::string(error.what()).find("KIN_ARENA_BYTES") != std::string::npos;
      }
      return false;
    };
    CHECK(complains([] { const kin::Queue<int> queue; }));
    CHECK(complains([] { const kin::Lock lock; }));
    CHECK(complains([] {
      kin::Process process([] {});
      process.start();
    }));
  }
}
