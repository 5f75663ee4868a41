// SPDX-License-Identifier: BSL-1.0
//
// Batches whose handles and calls would not belong together.
//
// Fails when:
//   BatchMessage::add() keeps the handles when the bytes throw: a call for which there is no memory …
//   PartOfBatch::give() does: an answer for which there is no memory …
//   run_batch() or take() leaves handles that nobody names: handles that no call …

#include "manager/batch.hpp"
#include "channel/byte_channel.hpp"
#include "frame.hpp"
#include "scarce_memory.hpp"

#include <kin/detail/batch.hpp>
#include <kin/error.hpp>
#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace unit;
using Number = kin::managed::Value<int>;
using Numbers = std::vector<Number>;

std::vector<int> values_of(const kin::Proxy<Numbers>& holder) {
  std::vector<int> values;
  for (const Number& one : holder.apply([](Numbers& all) { return all; })) {
    values.push_back(one.load());
  }
  return values;
}

// What a call came to: its value, or -1 where there was no memory.
int value_of(const kin::BatchResult<Number>& result) {
  try {
    return result.get().load();
  } catch (const std::bad_alloc&) {
    return -1;
  }
}

}  // namespace

TEST_SUITE("batch") {
  TEST_CASE("a call for which there is no memory leaves nothing in its batch") {
    if (!ScarceMemory::is_possible) {
      std::puts(ScarceMemory::is_impossible);
      return;
    }
    const Frame frame;
    const kin::Manager manager;
    const auto holder = manager.make<Numbers>();
    const std::array<Number, 3> numbers{manager.value<int>(1), manager.value<int>(2),
                                        manager.value<int>(3)};
    const auto push = [](Numbers& all, Number one) { all.push_back(std::move(one)); };
    int failures = 0;
    for (bool has_failed = true; has_failed;) {
      auto batch = holder.batch();
      batch.apply(push, numbers[0]);
      {
        const ScarceMemory scarce(failures);
        try {
          batch.apply(push, numbers[1]);
        } catch (const std::bad_alloc&) {
          ++failures;
        }
        has_failed = ScarceMemory::has_failed();
      }
      batch.apply(push, numbers[2]);
      CHECK(batch.size() == (has_failed ? 2 : 3));
      batch.run();
      CHECK(values_of(holder) == (has_failed ? std::vector{1, 3} : std::vector{1, 2, 3}));
      holder.apply([](Numbers& all) { all.clear(); });
    }
    CHECK(failures >= 2);  // handles, bytes
  }

  TEST_CASE("an answer for which there is no memory leaves nothing in its batch") {
    if (!ScarceMemory::is_possible) {
      std::puts(ScarceMemory::is_impossible);
      return;
    }
    const Frame frame;
    const kin::Manager manager;
    const auto holder = manager.make<Numbers>();
    for (int i = 1; i <= 3; ++i) {
      holder.apply([](Numbers& all, Number one) { all.push_back(std::move(one)); },
                   manager.value<int>(i));
    }
    int failures = 0;
    for (bool has_failed = true; has_failed;) {
      auto batch = holder.batch();
      const auto first = batch.apply([](Numbers& all) { return all[0]; });
      const auto second = batch.apply(
          [](Numbers& all, int before) {
            ScarceMemory::begin(before);
            return all[1];
          },
          failures);
      const auto told = batch.apply([](Numbers& /*all*/) {
        const bool has = ScarceMemory::has_failed();
        ScarceMemory::end();
        return has;
      });
      const auto third = batch.apply([](Numbers& all) { return all[2]; });
      batch.run();
      has_failed = told.get();
      if (has_failed) ++failures;
      CHECK(value_of(first) == 1);
      CHECK(value_of(second) == (has_failed ? -1 : 2));
      CHECK(value_of(third) == 3);
    }
    CHECK(failures >= 2);  // handles, bytes
  }

  TEST_CASE("handles that no call and no answer names are refused") {
    const Frame frame;
    const kin::Manager manager;
    const auto holder = manager.make<Numbers>();
    const kin::detail::Handle handle(kin::detail::make_channel({}));
    {
      // A batch with no calls.
      std::array<std::byte, kin::detail::request_head_size> message{};
      kin::detail::RemoteCall call(kin::detail::ObjectOf()(holder), typeid(void));
      CHECK_THROWS_AS(call.make(kin::detail::batch_code(), message,
                                {.handles = std::span(&handle, 1), .descriptors = {}}),
                      kin::SerializationError);
    }
    kin::detail::IncomingCargo cargo;
    cargo.handles.push_back(handle);
    kin::detail::BatchAnswers answers;
    CHECK_THROWS_AS(answers.take({}, std::move(cargo)), kin::SerializationError);
    CHECK_FALSE(answers.are_here());
  }
}
