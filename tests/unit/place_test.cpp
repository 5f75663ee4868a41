// SPDX-License-Identifier: BSL-1.0

#include "deadlock/place.hpp"

#include "frame.hpp"
#include "memory/process_table.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>

#include <unistd.h>

TEST_SUITE("place") {
  // A source_location is the address of such a thing.
  struct Texts {
    const char* file;
    const char* function;
    unsigned line;
    unsigned column;
  };

  TEST_CASE("a place is told by file, line and function") {
    const unit::Frame frame;
    const auto here = std::source_location::current();
    const std::string text = kin::detail::place_text(here, kin::detail::this_process());
    CHECK(text.find("place_test.cpp:" + std::to_string(here.line())) != text.npos);
    CHECK(text.find(", in ") != text.npos);
    CHECK(kin::detail::place_text({}, kin::detail::this_process()) == "");
  }

  TEST_CASE("a place that only another process has is read there, or not known") {
    const unit::Frame frame;
    const crash::SharedPage<std::atomic<std::uintptr_t>> address;
    unit::Relative child([&] {
      const auto file = std::make_unique<std::string>("a_plugin_that_was_loaded_late.cpp");
      const auto function = std::make_unique<std::string>("int late::answer(int) [with T = int]");
      const auto texts = std::make_unique<Texts>(file->c_str(), function->c_str(), 42U, 1U);
      *address = reinterpret_cast<std::uintptr_t>(texts.get());
      ::pause();
      return "";
    });
    REQUIRE(child.falls_asleep());
    const auto there = std::bit_cast<std::source_location>(address->load());
    const std::string text = kin::detail::place_text(there, child.stamp());
    // Where the kernel forbids it (ptrace_scope) nothing is known.
    const bool is_right = text == "a_plugin_that_was_loaded_late.cpp:42, in late::answer()";
    CHECK((is_right || text.empty()));
    const auto nowhere = std::bit_cast<std::source_location>(std::uintptr_t{4096});
    CHECK(kin::detail::place_text(nowhere, child.stamp()) == "");
    child.end();
    CHECK(kin::detail::place_text(there, child.stamp()) == "");
  }
}
