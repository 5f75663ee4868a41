// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/log.hpp>
#include <kin/unique_fd.hpp>

#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

using kin::LogLevel;

namespace {

// Collects what is logged, for the length of a case.
class Collected : unit::Frame {
 public:
  Collected() {
    kin::set_log_sink([this](LogLevel level, std::string_view line) {
      levels.push_back(level);
      lines.emplace_back(line);
    });
  }
  Collected(const Collected&) = delete;
  Collected& operator=(const Collected&) = delete;
  ~Collected() {
    kin::set_log_sink({});
    kin::set_log_level(LogLevel::warning);
  }

  std::vector<LogLevel> levels;
  std::vector<std::string> lines;
};

std::string mark() { return "kin[" + std::to_string(::getpid()) + "] "; }

}  // namespace

TEST_SUITE("log") {
  TEST_CASE_FIXTURE(Collected, "a line tells process and level") {
    kin::log(LogLevel::warning, "beware");
    kin::log(LogLevel::error, "too late");
    CHECK(lines ==
          std::vector<std::string>{mark() + "warning: beware", mark() + "error: too late"});
    CHECK(levels == std::vector{LogLevel::warning, LogLevel::error});
  }

  TEST_CASE_FIXTURE(Collected, "a level shows itself and what is more urgent") {
    CHECK(kin::log_level() == LogLevel::warning);
    const auto shown_at = [&](LogLevel level) {
      lines.clear();
      kin::set_log_level(level);
      for (const auto one :
           {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error, LogLevel::off}) {
        kin::log(one, "x");
      }
      return lines.size();
    };
    CHECK(shown_at(LogLevel::debug) == 4);
    CHECK(shown_at(LogLevel::info) == 3);
    CHECK(shown_at(LogLevel::warning) == 2);
    CHECK(shown_at(LogLevel::error) == 1);
    CHECK(shown_at(LogLevel::off) == 0);
  }

  TEST_CASE_FIXTURE(Collected, "what a sink throws harms nobody, and the log goes on") {
    kin::set_log_sink([](LogLevel, std::string_view) { throw std::runtime_error("no"); });
    CHECK_NOTHROW(kin::log(LogLevel::error, "lost"));
    kin::set_log_sink([this](LogLevel, std::string_view line) { lines.emplace_back(line); });
    kin::log(LogLevel::error, "kept");
    CHECK(lines == std::vector<std::string>{mark() + "error: kept"});
  }

  TEST_CASE_FIXTURE(Collected, "without a sink lines go to stderr, whole") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    kin::UniqueFd reading(ends[0]);
    kin::UniqueFd writing(ends[1]);
    unit::Relative child([&] {
      ::dup2(writing.get(), STDERR_FILENO);
      kin::set_log_sink({});
      kin::log(LogLevel::warning, "first");
      kin::log(LogLevel::info, "not shown");
      kin::log(LogLevel::error, "second");
      return mark();
    });
    writing.reset();
    const std::string its_mark = child.answer();
    std::string text(1000, '\0');
    text.resize(static_cast<std::size_t>(::read(reading.get(), text.data(), text.size())));
    CHECK(text == its_mark + "warning: first\n" + its_mark + "error: second\n");
  }

  TEST_CASE_FIXTURE(Collected, "a stderr that is closed, or that nobody reads, harms nobody") {
    CHECK(unit::answer_of([] {
            kin::set_log_sink({});
            ::close(STDERR_FILENO);
            kin::log(LogLevel::error, "lost");
            return "alive";
          }) == "alive");
    CHECK(unit::answer_of([] {
            kin::set_log_sink({});
            int ends[2];
            if (::pipe(ends) != 0) return "no pipe";
            ::dup2(ends[1], STDERR_FILENO);
            ::close(ends[0]);
            ::close(ends[1]);
            kin::log(LogLevel::error, "lost");
            return "alive";
          }) == "alive");
  }

  TEST_CASE_FIXTURE(Collected,
                    "a child has its parent's level and sink, and changes its own only") {
    kin::set_log_level(LogLevel::debug);
    CHECK(unit::answer_of([this] {
            if (kin::log_level() != LogLevel::debug) return std::string("another level");
            kin::log(LogLevel::debug, "mine");
            kin::set_log_level(LogLevel::off);
            kin::set_log_sink({});
            const bool same = lines == std::vector<std::string>{mark() + "debug: mine"};
            return std::string(same ? "same" : "another sink");
          }) == "same");
    CHECK(kin::log_level() == LogLevel::debug);
    CHECK(lines.empty());
    kin::log(LogLevel::debug, "still here");
    CHECK(lines.size() == 1);
  }
}
