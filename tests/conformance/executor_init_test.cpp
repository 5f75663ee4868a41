// SPDX-License-Identifier: BSL-1.0
//
// Initializers of executors, against CPython's InitializerMixin and FailingInitializerMixin.
//
// Fails when:
//   the executors drop their option initializer: test_initializer

#include "workers.hpp"

#include <cstdio>

using namespace trial;

namespace {

thread_local int initialized = 0;
int is_initialized() { return initialized; }

}  // namespace

TEST_SUITE("executor_init") {
  TEST_CASE_TEMPLATE("test_initializer", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    const int value = 7;
    Executor executor({.max_workers = 2, .initializer = [value] { initialized += value; }});
    for (const int each :
         executor.map([](int) { return is_initialized(); }, std::views::iota(0, 20))) {
      CHECK(each == value);
    }
    CHECK(is_initialized() == 0);
  }

  // The pool of processes is broken when its initializer failed a few times in a row.
  TEST_CASE_TEMPLATE("test_initializer_fails", Executor, BOTH_EXECUTORS) {
    const Trial trial;
    const Gate gate;
    // Goes to stderr, of this process or of a worker.
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> log(std::tmpfile(), std::fclose);
    REQUIRE(log);
    const kin::UniqueFd before(::dup(STDERR_FILENO));
    REQUIRE(::dup2(::fileno(log.get()), STDERR_FILENO) != -1);
    {
      Executor executor({.max_workers = 2, .initializer = [gate] {
                           gate.pass();
                           throw std::domain_error("the initializer's own");
                         }});
      std::vector<kin::Future<int>> futures;
      for (int i = 0; i < 3; ++i) futures.push_back(executor.submit(square, i));
      gate.open(100);
      for (const auto& future : futures) {
        CHECK_THROWS_AS(std::rethrow_exception(why_it_failed(future)), kin::BrokenPool);
      }
      CHECK_THROWS_AS(static_cast<void>(executor.submit(square, 2)), kin::BrokenPool);
      executor.shutdown();
    }
    ::dup2(before.get(), STDERR_FILENO);
    std::rewind(log.get());
    std::string text;
    for (int c = 0; (c = std::fgetc(log.get())) != EOF;) text += static_cast<char>(c);
    CHECK(text.find("the initializer's own") != std::string::npos);
  }
}
