// SPDX-License-Identifier: BSL-1.0
//
// What generation after generation inherits, against CPython's TestForkAwareThreadLock. There is no
// registry to look into from outside, so two things are seen: that descriptors do not add up, and
// that no generation inherits a lock of kin's that a thread of its parent was holding.
//
// Fails when:
//   forget_children_of_parent() keeps held_read_end open: test_lock
//   after_fork_in_child() does not unlock_all(): both

#include "trial.hpp"

#include "support/sanitizer.hpp"

#include <atomic>
#include <cstdio>

using namespace trial;

namespace {

constexpr int generations = 5;
// The thread sanitizer ends a child of a process with threads that makes one itself.
constexpr int generations_with_threads = support::is_thread_sanitized ? 2 : generations;

void descend(int generation, bool daemon, const kin::Queue<int>& counts) {
  counts.put(support::open_descriptors());
  if (generation == generations) return;
  expect(outcome(kin::ProcessOptions{.daemon = daemon}, descend, generation + 1, daemon, counts) ==
         0);
}

// Keeps kin's locks of this process busy.
class Busy {
 public:
  Busy()
      : thread_([this] {
          while (!enough_) {
            kin::log(kin::LogLevel::error, "busy");
            static_cast<void>(kin::active_children());
            const kin::Queue<int> queue;
            queue.put(1);
            static_cast<void>(queue.try_get());
          }
        }) {}
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    enough_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> enough_ = false;
  std::thread thread_;
};

void descend_in_the_midst_of_threads(int generation) {
  kin::log(kin::LogLevel::error, "one more");
  expect(kin::active_children().empty());
  if (generation == generations_with_threads) return;
  const Busy busy;
  for (int i = 0; i < 3; ++i) {
    expect(outcome(descend_in_the_midst_of_threads,
                   i == 2 ? generation + 1 : generations_with_threads) == 0);
  }
}

}  // namespace

TEST_SUITE("fork_aware_thread_lock") {
  TEST_CASE_FIXTURE(Trial, "test_lock") {
    for (const bool daemon : {false, true}) {
      const kin::Queue<int> counts;
      CHECK(outcome(kin::ProcessOptions{.daemon = daemon}, descend, 1, daemon, counts) == 0);
      const auto first = counts.try_get();
      REQUIRE(first);
      for (int generation = 2; generation <= generations; ++generation) {
        CHECK(counts.try_get() == first);
      }
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_lock_held_by_a_thread") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    kin::set_log_sink([](kin::LogLevel, std::string_view) {});
    descend_in_the_midst_of_threads(1);
    kin::set_log_sink({});
  }
}
