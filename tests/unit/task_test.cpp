// SPDX-License-Identifier: BSL-1.0

// What all tasks have in common, whoever runs them.
//
// Fails when:
//   the locks of tasks are no ForkLocks: "a child may observe what a thread of its parent observes"
//   Task::call_logged() makes its text outside of a try: "a callback threw, and there is no memory to tell"

#include <kin/detail/task.hpp>
#include <kin/log.hpp>

#include "frame.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <new>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

namespace {

// Ends when it is told to.
class OwnTask final : public kin::detail::Task {
 public:
  using Task::call_observers;
  bool is_finished = false;
  bool has_name = true;

  [[nodiscard]] Stage stage() const override {
    return is_finished ? Stage::finished : Stage::running;
  }
  [[nodiscard]] bool wait_until_over(kin::detail::Deadline /*deadline*/) override {
    return is_finished;
  }
  bool cancel(bool /*kill*/) override { return false; }
  [[nodiscard]] std::exception_ptr failure() override { return nullptr; }
  [[nodiscard]] std::string name() const override {
    if (!has_name) throw std::bad_alloc();
    return "its own task";
  }

 private:
  bool want_notice() override { return !is_finished; }
  void forget_notice() noexcept override {}
  void dispose() noexcept override {}
};

}  // namespace

TEST_SUITE("task") {
  TEST_CASE_FIXTURE(unit::Frame, "a child may observe what a thread of its parent observes") {
    if (!support::can_fork_among_threads) {
      MESSAGE(support::cannot_fork_among_threads);
      return;
    }
    OwnTask task;
    const auto observe = [&task] { task.unobserve(task.observe([] {})); };
    std::atomic<bool> has_begun = false;
    const std::jthread busy([&](const std::stop_token& enough) {
      while (!enough.stop_requested()) {
        observe();
        has_begun = true;
      }
    });
    CHECK(unit::eventually([&] { return has_begun.load(); }));
    std::string answer = "observed";
    for (int i = 0; i < 50 && answer == "observed"; ++i) {
      answer = unit::answer_of([&] {
        observe();
        return "observed";
      });
    }
    CHECK(answer == "observed");
  }

  TEST_CASE_FIXTURE(unit::Frame, "a callback threw, and there is no memory to tell") {
    const auto told = [](bool has_name) {
      return unit::answer_of([has_name] {
        static std::string line;
        kin::set_log_sink([](kin::LogLevel /*level*/, std::string_view text) { line = text; });
        OwnTask task;
        task.has_name = has_name;
        bool is_next_called = false;
        task.observe([] { throw std::runtime_error("no"); });
        task.observe([&] { is_next_called = true; });
        task.is_finished = true;
        task.call_observers();
        if (!is_next_called) return std::string("the next was not called");
        return line.substr(std::min(line.find(' '), line.size()));
      });
    };
    CHECK(told(true) == " error: a callback of its own task threw: no");
    CHECK(told(false).empty());
  }
}
