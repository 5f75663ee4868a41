// SPDX-License-Identifier: BSL-1.0
//
// The log, against CPython's _TestLogging.
//
// Fails when:
//   log() does not ask for the level: test_enable_logging, test_level

#include "trial.hpp"

using namespace trial;

namespace {

using Lines = kin::Queue<std::string>;

// Puts what is logged meanwhile on a queue; then all is as before.
class Captured {
 public:
  Captured() {
    kin::set_log_sink(
        [lines = lines_](kin::LogLevel, std::string_view line) { lines.put(std::string(line)); });
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() {
    kin::set_log_sink({});
    kin::set_log_level(kin::LogLevel::warning);
  }
  // The next line, empty if there is none.
  std::string next() { return lines_.try_get().value_or(""); }

 private:
  Lines lines_;
};

}  // namespace

TEST_SUITE("logging") {
  TEST_CASE_FIXTURE(Trial, "test_enable_logging") {
    CHECK(kin::log_level() == kin::LogLevel::warning);
    Captured captured;
    kin::set_log_level(kin::LogLevel::info);
    CHECK(kin::log_level() == kin::LogLevel::info);
    kin::log(kin::LogLevel::debug, "this will not be printed");
    kin::log(kin::LogLevel::info, "nor will this be lost");
    CHECK(captured.next().ends_with("info: nor will this be lost"));
    kin::set_log_level(kin::LogLevel::off);
    kin::log(kin::LogLevel::error, "nor this printed");
    CHECK(captured.next().empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_level") {
    Captured captured;
    for (const auto level : {kin::LogLevel::debug, kin::LogLevel::error}) {
      kin::set_log_level(level);
      CHECK(outcome([level] {
              expect(kin::log_level() == level);
              kin::log(kin::LogLevel::info, "from the child");
              kin::set_log_level(kin::LogLevel::off);
            }) == 0);
      CHECK(kin::log_level() == level);
      const bool shown = level == kin::LogLevel::debug;
      CHECK(captured.next().ends_with("from the child") == shown);
    }
  }
}
