// SPDX-License-Identifier: BSL-1.0
//
// Trouble at each step of a task's way, against CPython's ExecutorDeadlockTest. There the executor is
// broken then, and must not hang; here it goes on as well, and no other task is concerned.
//
// Fails when:
//   give_exception() does not ask for as_failed_result(): test_error_during_result_pickle_on_worker
//   settle() does not end the task: all with "crash" or "exit"

#include "support/bystander.hpp"
#include "workers.hpp"

#include <csignal>
#include <cstdlib>
#include <string>

using namespace trial;

namespace {

enum class What { error, crash, exit };

constexpr int exit_code = 99;

int make_trouble(What what) {
  switch (what) {
    case What::error: throw std::domain_error("trouble");
    case What::crash:
      std::signal(SIGSEGV, SIG_DFL);
      std::raise(SIGSEGV);
      break;
    case What::exit: std::exit(exit_code);
  }
  return 0;
}

// Makes trouble when it is written into a message, or read from one.
class Troublemaker {
 public:
  enum class When { written, read };

  Troublemaker() = default;
  Troublemaker(When when, What what) : when_(when), what_(what) {}

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    constexpr bool is_read = Archive::is_loading::value;
    archive& when_& what_;
    if ((when_ == When::read) == is_read) make_trouble(what_);
  }

 private:
  When when_ = When::read;
  What what_ = What::error;
};
using When = Troublemaker::When;

int take(const Troublemaker& /*trouble*/) { return 1; }
Troublemaker give(When when, What what) { return {when, what}; }
Troublemaker give_behind(const Gate& gate, When when, What what) {
  gate.pass();
  return {when, what};
}

// All that may be waited for, with others before and behind it; the workers, when it is over, are as
// many as before.
class Surroundings {
 public:
  explicit Surroundings(kin::ProcessPoolExecutor& executor)
      : executor_(executor), workers_(executor.worker_pids()) {
    add();
  }
  void add() {
    for (int i = 0; i < 5; ++i) others_.push_back(executor_.submit(square, i));
  }
  void require_whole() {
    add();
    for (std::size_t i = 0; i < others_.size(); ++i) {
      const int number = static_cast<int>(i % 5);
      CHECK(others_[i].get_for(patience) == number * number);
    }
    CHECK(eventually([&] { return executor_.worker_pids().size() == workers_.size(); }));
  }
  // The same workers, too.
  void require_unchanged() {
    require_whole();
    CHECK(executor_.worker_pids() == workers_);
  }

 private:
  kin::ProcessPoolExecutor& executor_;
  std::vector<pid_t> workers_;
  std::vector<kin::Future<int>> others_;
};

// The exit code of the worker that died of it.
template <typename T>
int code_of_death(const kin::Future<T>& future) {
  try {
    std::rethrow_exception(why_it_failed(future));
  } catch (const kin::WorkerDied& death) {
    return death.exit_code();
  }
}

// Stops processes that sleep; they go on when it is over.
class Stopped {
 public:
  explicit Stopped(std::vector<pid_t> pids) : pids_(std::move(pids)) {
    for (const pid_t pid : pids_) {
      CHECK(eventually([&] { return crash::process_state(pid) == 'S'; }));
      CHECK(::kill(pid, SIGSTOP) == 0);
      CHECK(eventually([&] { return crash::process_state(pid) == 'T'; }));
    }
  }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;
  ~Stopped() {
    for (const pid_t pid : pids_) CHECK(::kill(pid, SIGCONT) == 0);
  }

 private:
  std::vector<pid_t> pids_;
};

}  // namespace

TEST_SUITE("executor_deadlock") {
  // Arguments are written by submit() itself, which throws: there is no future that might.
  TEST_CASE_FIXTURE(Trial, "test_error_at_task_pickle") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_WITH_AS(
          static_cast<void>(executor.submit(take, Troublemaker(When::written, What::error))),
          "trouble", std::domain_error);
    }
    others.require_unchanged();
  }

  TEST_CASE_FIXTURE(Trial, "test_error_at_task_unpickle") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    const auto future = executor.submit(take, Troublemaker(When::read, What::error));
    CHECK_THROWS_WITH_AS(std::rethrow_exception(why_it_failed(future)), "trouble",
                         std::domain_error);
    others.require_unchanged();
  }

  TEST_CASE_FIXTURE(Trial, "test_crash_at_task_unpickle") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    const auto future = executor.submit(take, Troublemaker(When::read, What::crash));
    CHECK(code_of_death(future) == -SIGSEGV);
    others.require_whole();
  }

  TEST_CASE_FIXTURE(Trial, "test_crash_during_func_exec_on_worker") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    CHECK(code_of_death(executor.submit(make_trouble, What::crash)) == -SIGSEGV);
    others.require_whole();
  }

  // exit() throws nothing in C++: it ends the worker.
  TEST_CASE_FIXTURE(Trial, "test_exit_during_func_exec_on_worker") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    CHECK(code_of_death(executor.submit(make_trouble, What::exit)) == exit_code);
    others.require_whole();
  }

  TEST_CASE_FIXTURE(Trial, "test_error_during_func_exec_on_worker") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    const auto future = executor.submit(make_trouble, What::error);
    CHECK_THROWS_WITH_AS(std::rethrow_exception(why_it_failed(future)), "trouble",
                         std::domain_error);
    others.require_unchanged();
  }

  TEST_CASE_FIXTURE(Trial, "test_crash_during_result_pickle_on_worker") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    CHECK(code_of_death(executor.submit(give, When::written, What::crash)) == -SIGSEGV);
    others.require_whole();
  }

  TEST_CASE_FIXTURE(Trial, "test_exit_during_result_pickle_on_worker") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    CHECK(code_of_death(executor.submit(give, When::written, What::exit)) == exit_code);
    others.require_whole();
  }

  // Arrives with the word that it is the result that could not be sent.
  TEST_CASE_FIXTURE(Trial, "test_error_during_result_pickle_on_worker") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    const auto future = executor.submit(give, When::written, What::error);
    CHECK_THROWS_WITH_AS(std::rethrow_exception(why_it_failed(future)),
                         "the task's result can't be sent: trouble", kin::SerializationError);
    others.require_unchanged();
  }

  // There a thread reads all results, and breaks the executor. Here who asks for a result reads it, and may
  // ask again.
  TEST_CASE_FIXTURE(Trial, "test_error_during_result_unpickle_in_result_handler") {
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    const auto future = executor.submit(give, When::read, What::error);
    REQUIRE(ends(future));
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_WITH_AS(static_cast<void>(future.result()), "trouble", std::domain_error);
    }
    others.require_unchanged();
  }

  // It is the program that ends then, with all that it has.
  TEST_CASE_FIXTURE(Trial, "test_exit_during_result_unpickle_in_result_handler") {
    const kin::Queue<pid_t> workers;
    CHECK(outcome([&] {
            kin::ProcessPoolExecutor executor(2);
            for (const pid_t worker : executor.worker_pids()) workers.put(worker);
            const auto future = executor.submit(give, When::read, What::exit);
            expect(ends(future));
            static_cast<void>(future.result());
          }) == exit_code);
    CHECK(workers.size() == 2);
    while (const auto worker = workers.try_get()) CHECK(is_gone(*worker));
  }

  // An argument fails in submit(), before shutdown(); a result that fails behind it is told.
  TEST_CASE_FIXTURE(Trial, "test_shutdown_deadlock_pickle") {
    const Gate gate;
    kin::Future<Troublemaker> future;
    std::vector<pid_t> workers;
    {
      kin::ProcessPoolExecutor executor(2);
      workers = executor.worker_pids();
      CHECK_THROWS_AS(
          static_cast<void>(executor.submit(take, Troublemaker(When::written, What::error))),
          std::domain_error);
      future = executor.submit(give_behind, gate, When::written, What::error);
      static_cast<void>(gate.await_one());
      executor.shutdown({.wait = false});
    }
    gate.open();
    CHECK_THROWS_AS(std::rethrow_exception(why_it_failed(future)), kin::SerializationError);
    future = {};
    CHECK(eventually([&] { return std::ranges::all_of(workers, is_gone); }));
  }

  // There the data goes through a pipe while the worker reads it. Here it lies in shared memory before
  // anybody reads it; the worker dies in the middle of it, and in the middle of a large result.
  TEST_CASE_FIXTURE(Trial, "test_crash_big_data") {
    constexpr std::size_t size = 10 << 16;
    using Data = std::pair<std::string, std::vector<Troublemaker>>;
    kin::ProcessPoolExecutor executor(2);
    Surroundings others(executor);
    const auto with = [](When when) {
      return Data(std::string(size, 'x'), {Troublemaker(when, What::crash)});
    };
    const auto length = [](const Data& data) { return data.first.size(); };
    std::vector<kin::Future<std::size_t>> crashing;
    std::vector<kin::Future<std::size_t>> whole;
    for (int i = 0; i < 4; ++i) {
      crashing.push_back(executor.submit(length, with(When::read)));
      whole.push_back(executor.submit(length, Data(std::string(size, 'x'), {})));
    }
    for (const auto& future : crashing) CHECK(code_of_death(future) == -SIGSEGV);
    for (const auto& future : whole) CHECK(future.get_for(patience) == size);
    CHECK(code_of_death(executor.submit(with, When::written)) == -SIGSEGV);
    others.require_whole();
  }

  // Nothing wakes up a thread here, and nobody has to be awake to be given work: all others are stopped.
  TEST_CASE_FIXTURE(Trial, "test_gh105829_should_not_deadlock_if_wakeup_pipe_full") {
    constexpr int count = 10'000;
    kin::ProcessPoolExecutor executor(2);
    const pid_t nursery = executor.submit(parent_pid).get();
    const Gate gate;
    std::vector<kin::Future<int>> futures;
    std::atomic<int> calls = 0;
    const auto behind_gate =
        std::vector{executor.submit(pass, gate, 1), executor.submit(pass, gate, 2)};
    std::vector<pid_t> processes{nursery, gate.await_one(), gate.await_one()};
    {
      const Stopped stopped(processes);
      for (int i = 0; i < count; ++i) {
        futures.push_back(executor.submit(square, i));
        futures.back().add_done_callback([&](const auto&) { ++calls; });
      }
      CHECK_FALSE(futures.front().try_get());
      CHECK(executor.submit(square, 2).cancel());
    }
    gate.open(2);
    for (int i = 0; i < count; ++i) {
      REQUIRE(futures[static_cast<std::size_t>(i)].get_for(patience) == i * i);
    }
    CHECK(eventually([&] { return calls == count; }));
    for (const auto& future : behind_gate) CHECK(ends(future));
    futures.clear();
  }
}
