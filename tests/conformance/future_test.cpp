// SPDX-License-Identifier: BSL-1.0
//
// Futures, against CPython's FutureTests. Each state is made by hand, with a Promise; those of the
// executors' futures stand in the other files.
//
// Fails when:
//   PromisedTask::claim() does not throw: test_multiple_set_result, …_exception

#include "workers.hpp"

#include <kin/log.hpp>

#include <mutex>
#include <string_view>

using namespace trial;

namespace {

// One future in each state. That of Python that is cancelled without its waiters knowing is none here.
struct EachState {
  kin::Promise<int> promised;
  kin::Promise<int> begun;
  kin::Promise<int> called_off;
  kin::Promise<int> thrown;
  kin::Promise<int> kept;
  kin::Future<int> pending = promised.get_future();
  kin::Future<int> running = begun.get_future();
  kin::Future<int> cancelled = called_off.get_future();
  kin::Future<int> failed = thrown.get_future();
  kin::Future<int> successful = kept.get_future();

  EachState() {
    expect(begun.begin());
    expect(cancelled.cancel());
    thrown.set_exception(std::domain_error("no"));
    kept.set_result(42);
  }
};

// Waits are for others, so that a case that hangs ends.
template <typename T>
kin::Future<T> of(const kin::Promise<T>& promise) {
  return promise.get_future();
}

// What is written to the log meanwhile.
class Log {
 public:
  Log() {
    kin::set_log_sink([this](kin::LogLevel, std::string_view line) {
      const std::scoped_lock lock(mutex_);
      lines_ += line;
    });
  }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  ~Log() { kin::set_log_sink({}); }
  [[nodiscard]] bool has(const std::string& text) const {
    const std::scoped_lock lock(mutex_);
    return lines_.find(text) != std::string::npos;
  }

 private:
  mutable std::mutex mutex_;
  std::string lines_;
};

}  // namespace

TEST_SUITE("future") {
  TEST_CASE_FIXTURE(Trial, "test_done_callback_with_result") {
    const kin::Promise<int> promise;
    int seen = 0;
    of(promise).add_done_callback([&](const kin::Future<int>& future) { seen = future.result(); });
    CHECK(seen == 0);
    promise.set_result(5);
    CHECK(seen == 5);
  }

  TEST_CASE_FIXTURE(Trial, "test_done_callback_with_exception") {
    const kin::Promise<int> promise;
    std::exception_ptr seen;
    of(promise).add_done_callback(
        [&](const kin::Future<int>& future) { seen = future.exception(); });
    promise.set_exception(std::domain_error("no"));
    REQUIRE(seen);
    CHECK_THROWS_WITH_AS(std::rethrow_exception(seen), "no", std::domain_error);
  }

  TEST_CASE_FIXTURE(Trial, "test_done_callback_with_cancel") {
    const kin::Promise<int> promise;
    bool seen = false;
    of(promise).add_done_callback(
        [&](const kin::Future<int>& future) { seen = future.cancelled(); });
    CHECK(of(promise).cancel());
    CHECK(seen);
  }

  TEST_CASE_FIXTURE(Trial, "test_done_callback_raises") {
    const Log log;
    const kin::Promise<int> promise;
    std::string called;
    of(promise).add_done_callback([&](const auto& /*future*/) {
      called += "first ";
      throw std::domain_error("thrown by a callback");
    });
    of(promise).add_done_callback([&](const auto& /*future*/) { called += "second"; });
    promise.set_result(5);
    CHECK(called == "first second");
    CHECK(log.has("thrown by a callback"));
    CHECK(of(promise).result() == 5);
  }

  TEST_CASE_FIXTURE(Trial, "test_done_callback_already_successful") {
    const EachState each;
    int seen = 0;
    each.successful.add_done_callback([&](const auto& future) { seen = future.result(); });
    CHECK(seen == 42);
  }

  TEST_CASE_FIXTURE(Trial, "test_done_callback_already_failed") {
    const EachState each;
    std::exception_ptr seen;
    each.failed.add_done_callback([&](const auto& future) { seen = future.exception(); });
    CHECK(seen);
  }

  TEST_CASE_FIXTURE(Trial, "test_done_callback_already_cancelled") {
    const EachState each;
    bool seen = false;
    each.cancelled.add_done_callback([&](const auto& future) { seen = future.cancelled(); });
    CHECK(seen);
  }

  // There is no text of a future; what it would say is asked for.
  TEST_CASE_FIXTURE(Trial, "test_repr") {
    const EachState each;
    const auto state_of = [](const kin::Future<int>& future) -> std::string {
      if (future.running()) return "running";
      if (future.cancelled()) return "cancelled";
      if (!future.done()) return "pending";
      if (future.successful()) return "finished returned " + std::to_string(future.result());
      try {
        std::rethrow_exception(future.exception());
      } catch (const std::exception& error) {
        return "finished raised " + std::string(error.what());
      }
    };
    CHECK(state_of(each.pending) == "pending");
    CHECK(state_of(each.running) == "running");
    CHECK(state_of(each.cancelled) == "cancelled");
    CHECK(state_of(each.failed) == "finished raised no");
    CHECK(state_of(each.successful) == "finished returned 42");
  }

  TEST_CASE_FIXTURE(Trial, "test_cancel") {
    const EachState each;
    CHECK(each.pending.cancel());
    CHECK(each.pending.cancelled());
    CHECK(each.cancelled.cancel());
    CHECK(each.cancelled.cancelled());
    CHECK_FALSE(each.running.cancel());
    CHECK(each.running.running());
    CHECK_FALSE(each.failed.cancel());
    CHECK(each.failed.done());
    CHECK_FALSE(each.successful.cancel());
    CHECK(each.successful.result() == 42);
  }

  TEST_CASE_FIXTURE(Trial, "test_cancelled") {
    const EachState each;
    CHECK_FALSE(each.pending.cancelled());
    CHECK_FALSE(each.running.cancelled());
    CHECK(each.cancelled.cancelled());
    CHECK_FALSE(each.failed.cancelled());
    CHECK_FALSE(each.successful.cancelled());
  }

  TEST_CASE_FIXTURE(Trial, "test_done") {
    const EachState each;
    CHECK_FALSE(each.pending.done());
    CHECK_FALSE(each.running.done());
    CHECK(each.cancelled.done());
    CHECK(each.failed.done());
    CHECK(each.successful.done());
  }

  TEST_CASE_FIXTURE(Trial, "test_running") {
    const EachState each;
    CHECK_FALSE(each.pending.running());
    CHECK(each.running.running());
    CHECK_FALSE(each.cancelled.running());
    CHECK_FALSE(each.failed.running());
    CHECK_FALSE(each.successful.running());
  }

  // A time-out is an empty optional here.
  TEST_CASE_FIXTURE(Trial, "test_result_with_timeout") {
    const EachState each;
    for (const auto limit : {0ms, -5ms, 1ms}) {
      CHECK_FALSE(each.pending.get_for(limit));
      CHECK_FALSE(each.running.get_for(limit));
      CHECK_THROWS_AS(static_cast<void>(each.cancelled.get_for(limit)), kin::CancelledError);
      CHECK_THROWS_AS(static_cast<void>(each.failed.get_for(limit)), std::domain_error);
      CHECK(each.successful.get_for(limit) == 42);
    }
    CHECK_FALSE(each.pending.try_get());
    CHECK(each.successful.try_get() == 42);
  }

  TEST_CASE_FIXTURE(Trial, "test_result_with_success") {
    const kin::Promise<int> promise;
    const std::jthread other([&] { promise.set_result(42); });
    CHECK(of(promise).get_for(patience) == 42);
  }

  TEST_CASE_FIXTURE(Trial, "test_result_with_cancel") {
    const kin::Promise<int> promise;
    const std::jthread other([&] { static_cast<void>(of(promise).cancel()); });
    CHECK_THROWS_AS(static_cast<void>(of(promise).get_for(patience)), kin::CancelledError);
  }

  // exception() waits; up to a limit, wait_for() does before it.
  TEST_CASE_FIXTURE(Trial, "test_exception_with_timeout") {
    const EachState each;
    CHECK_FALSE(each.pending.wait_for(0s));
    CHECK_FALSE(each.running.wait_for(0s));
    CHECK(each.cancelled.wait_for(0s));
    CHECK_THROWS_AS(static_cast<void>(each.cancelled.exception()), kin::CancelledError);
    CHECK(each.failed.wait_for(0s));
    CHECK_THROWS_AS(std::rethrow_exception(each.failed.exception()), std::domain_error);
    CHECK(each.successful.wait_for(0s));
    CHECK(each.successful.exception() == nullptr);
  }

  TEST_CASE_FIXTURE(Trial, "test_exception_with_success") {
    const kin::Promise<int> promise;
    const std::jthread other([&] { promise.set_exception(std::domain_error("no")); });
    CHECK_THROWS_AS(std::rethrow_exception(why_it_failed(of(promise))), std::domain_error);
  }

  TEST_CASE_FIXTURE(Trial, "test_multiple_set_result") {
    const kin::Promise<int> promise;
    promise.set_result(1);
    CHECK_THROWS_AS(promise.set_result(2), kin::InvalidStateError);
    CHECK(of(promise).result() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "test_multiple_set_exception") {
    const kin::Promise<int> promise;
    promise.set_exception(std::domain_error("first"));
    CHECK_THROWS_AS(promise.set_exception(std::domain_error("second")), kin::InvalidStateError);
    CHECK_THROWS_WITH_AS(static_cast<void>(of(promise).result()), "first", std::domain_error);
  }

  // A future's state is one word that changes once to its last value: who has seen that it is over sees
  // the same from then on, in any thread.
  TEST_CASE_FIXTURE(Trial, "test_get_snapshot") {
    for (int round = 0; round < 100; ++round) {
      const kin::Promise<int> promise;
      std::atomic<int> right{0};
      {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i) {
          threads.emplace_back([&] {
            const auto future = of(promise);
            while (!future.done()) std::this_thread::yield();
            if (future.successful() && !future.cancelled() && !future.running() &&
                future.try_get() == round && future.exception() == nullptr) {
              ++right;
            }
          });
        }
        promise.set_result(round);
      }
      CHECK(right == 4);
    }
  }
}
