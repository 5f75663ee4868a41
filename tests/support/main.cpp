// SPDX-License-Identifier: BSL-1.0
// What runs the cases: doctest, without its signal handlers, which would stay active in forked children.
// Each case is named before it runs, on a stdout that holds nothing back: so the output of a program
// that hung or crashed ends with the case that did it, and a forked child inherits no unwritten text.
// And each has to end with the descriptors and the children with which it began.
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#include "again.hpp"
#include "belongings.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <optional>

namespace {

bool something_is_left = false;

struct LooksAfterCases : doctest::IReporter {
  explicit LooksAfterCases(const doctest::ContextOptions& /*options*/) {}
  void test_case_start(const doctest::TestCaseData& data) override {
    std::printf("case: %s\n", data.m_name);
    before_.emplace();
  }
  void test_case_end(const doctest::CurrentTestCaseStats& /*stats*/) override {
    // What the first use of shared memory takes, stays; and so does all in a program that a case runs.
    if (!before_->include("/memfd:kin-arena") &&
        support::Belongings().include("/memfd:kin-arena")) {
      return;
    }
    if (support::is_again()) return;
    const std::string difference = before_->difference_now();
    if (difference.empty()) return;
    std::printf("the case did not end with what it began with: %s\n", difference.c_str());
    something_is_left = true;
  }

  void report_query(const doctest::QueryData& /*data*/) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& /*stats*/) override {}
  void test_case_reenter(const doctest::TestCaseData& /*data*/) override {}
  void test_case_exception(const doctest::TestCaseException& /*exception*/) override {}
  void subcase_start(const doctest::SubcaseSignature& /*subcase*/) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& /*data*/) override {}
  void log_message(const doctest::MessageData& /*data*/) override {}
  void test_case_skipped(const doctest::TestCaseData& /*data*/) override {}

 private:
  std::optional<support::Belongings> before_;
};

REGISTER_LISTENER("looks_after_cases", 1, LooksAfterCases);

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  const int result = doctest::Context(argc, argv).run();
  return something_is_left ? EXIT_FAILURE : result;
}
