// SPDX-License-Identifier: BSL-1.0

#include "memory/wait_table.hpp"

#include "frame.hpp"
#include "memory/process_table.hpp"
#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <vector>

#include <unistd.h>

TEST_SUITE("wait table") {
  using kin::detail::WaitKind;

  TEST_CASE("a wait is read as long as it lasts, and no longer") {
    const unit::Frame frame;
    kin::detail::WaitRecord* record =
        kin::detail::begin_wait({.kind = WaitKind::event, .target = 5, .since = 6});
    REQUIRE(record != nullptr);
    const auto wait = kin::detail::read_wait(*record);
    REQUIRE(wait);
    CHECK(wait->process == kin::detail::this_process());
    CHECK(wait->thread == ::gettid());
    CHECK(wait->kind == WaitKind::event);
    CHECK(wait->target == 5);
    CHECK(wait->since == 6);
    // The child's copy is not the child's.
    CHECK(unit::answer_of([&] {
            kin::detail::end_wait(*record);
            return kin::detail::read_wait(*record) ? "there" : "ended by the child";
          }) == "there");
    kin::detail::end_wait(*record);
    CHECK_FALSE(kin::detail::read_wait(*record));
  }

  TEST_CASE("the sweep ends the waits of the dead") {
    const unit::Frame frame;
    const crash::SharedPage<kin::detail::WaitRecord*> record;
    unit::Relative child([&] {
      *record = kin::detail::begin_wait({.kind = WaitKind::event});
      ::pause();
      return "";
    });
    REQUIRE(child.falls_asleep());
    REQUIRE(kin::detail::read_wait(**record));
    child.end();
    CHECK_FALSE(kin::detail::read_wait(**record));
  }

  TEST_CASE("a table that is full of the dead is not full") {
    const unit::Frame frame;
    const crash::SharedPage<std::atomic<bool>> is_full;
    std::vector<kin::detail::WaitRecord*> own;
    {
      crash::Bystander child([&] {
        for (int i = 0; i < 4096; ++i) kin::detail::begin_wait({.kind = WaitKind::event});
        *is_full = kin::detail::begin_wait({.kind = WaitKind::event}) == nullptr;
        return "";
      });
      REQUIRE(child.ends_by(crash::Clock::now() + unit::patience));
    }
    REQUIRE(*is_full);
    // Nobody has swept it.
    kin::detail::WaitRecord* record = kin::detail::begin_wait({.kind = WaitKind::event});
    REQUIRE(record != nullptr);
    kin::detail::end_wait(*record);
  }
}
