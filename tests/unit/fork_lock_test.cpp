// SPDX-License-Identifier: BSL-1.0

#include "base/fork_lock.hpp"

#include "frame.hpp"

#include <mutex>

using kin::detail::ForkLock;

namespace {

ForkLock& the_lock() {
  static ForkLock lock;  // lives as long as the process, as the list of them asks
  return lock;
}

// Keeps a lock busy.
class Busy {
 public:
  explicit Busy(ForkLock& lock)
      : thread_([this, &lock] {
          while (!enough_) {
            const std::scoped_lock guard(lock);
            ++rounds_;
          }
        }) {}
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    enough_ = true;
    thread_.join();
  }
  [[nodiscard]] bool has_begun() const { return rounds_ > 0; }

 private:
  std::atomic<bool> enough_ = false;
  std::atomic<int> rounds_ = 0;
  std::thread thread_;
};

}  // namespace

TEST_SUITE("fork_lock") {
  TEST_CASE_FIXTURE(unit::Frame, "a child finds it free, although a thread of its parent held it") {
    ForkLock& lock = the_lock();
    const Busy busy(lock);
    CHECK(unit::eventually([&] { return busy.has_begun(); }));
    for (int i = 0; i < 20; ++i) {
      CHECK(unit::answer_of([&] {
              const std::scoped_lock guard(lock);
              return "free";
            }) == "free");
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "there are no more of them from generation to generation") {
    the_lock();
    const int before = ForkLock::count();
    CHECK(before > 0);
    CHECK(unit::answer_of([] {
            const int child = ForkLock::count();  // its fork handlers may be the first to use one
            const std::string grandchild =
                unit::answer_of([] { return std::to_string(ForkLock::count()); });
            return grandchild == std::to_string(child) ? "as many" : grandchild;
          }) == "as many");
    CHECK(ForkLock::count() == before);
  }
}
