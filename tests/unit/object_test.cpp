// SPDX-License-Identifier: BSL-1.0

#include "memory/object.hpp"

#include "channel/byte_channel.hpp"

#include "frame.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

using kin::detail::arena;
using kin::detail::Claim;
using kin::detail::Handle;
using kin::detail::Heap;
using kin::detail::Object;
using kin::detail::ObjectKind;
using kin::detail::Place;
using kin::detail::Stamp;

namespace {

// What the cases make: an object with a number in it. Of a kind whose destroyer leaves all zero alone.
struct Thing : Object {
  std::atomic<int> number;
};

Handle make_thing() {
  return Handle(kin::detail::make_object(ObjectKind::none, sizeof(Thing), [](Object& object) {
    static_cast<Thing&>(object).number = 42;
  }));
}

std::atomic<int>& number_in(const Handle& handle) {
  return static_cast<Thing&>(handle.object_even_closed()).number;
}

int cells_in_use(const Handle& handle) {
  Object& object = handle.object_even_closed();
  int count = 0;
  for (const auto& cell : object.cells) count += cell.load() != 0 ? 1 : 0;
  for (auto* block = object.more_cells.get(); block != nullptr; block = block->next.get()) {
    for (const auto& cell : block->cells) count += cell.load() != 0 ? 1 : 0;
  }
  return count;
}

// The frame of a case that leaves no object behind.
class ObjectFrame : unit::Frame {
 public:
  ObjectFrame() = default;
  ObjectFrame(const ObjectFrame&) = delete;
  ObjectFrame& operator=(const ObjectFrame&) = delete;
  ~ObjectFrame() {
    CHECK(objects() == 0);
    CHECK(arena().processes->graveyard.limbo.load() == nullptr);
  }
  // How many cells of the heap are in use by now, beside those that were.
  [[nodiscard]] int objects() const {
    return static_cast<int>(Heap::statistics().cells) - static_cast<int>(before_);
  }

 private:
  // This process's list of claims grows, and stays as long as it was.
  static std::size_t cells_then() {
    std::vector<Handle> most(1000);
    for (Handle& handle : most) handle = make_thing();
    most.clear();
    return Heap::statistics().cells;
  }
  std::size_t before_ = cells_then();
};

// A child that does as it is told, one message at a time.
class Follower {
 public:
  explicit Follower(std::function<void(int)> act)
      : process_([this, does = std::move(act)] {
          for (int step = 1;; ++step) {
            if (!unit::eventually([&] { return *told_ >= step; })) return "was left alone";
            if (*told_ == last) return "done";
            does(step);
            *done_ = step;
          }
        }) {
    CHECK(unit::eventually([&] { return process_.stamp() != 0; }));
  }
  // Its next step, to the end.
  void step() {
    const int number = ++*told_;
    CHECK(unit::eventually([&] { return *done_ == number; }));
  }
  // Dies, and is swept.
  void end() { process_.end(); }
  [[nodiscard]] Stamp stamp() const { return process_.stamp(); }

 private:
  static constexpr int last = 1'000'000;
  crash::SharedPage<std::atomic<int>> told_;
  crash::SharedPage<std::atomic<int>> done_;
  unit::Relative process_;
};

}  // namespace

TEST_SUITE("object") {
  TEST_CASE_FIXTURE(ObjectFrame,
                    "copies of a handle share one claim; the last one ends the object") {
    Handle first = make_thing();
    CHECK(objects() == 1);
    std::optional<Handle> second = first;
    CHECK(*second == first);
    CHECK(cells_in_use(first) == 1);
    first = Handle();
    CHECK(number_in(*second) == 42);
    second.reset();
    CHECK(objects() == 0);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "a handle of nothing says so") {
    Handle handle = make_thing();
    const Handle taken = std::move(handle);
    CHECK(taken);
    CHECK_FALSE(handle);  // NOLINT(bugprone-use-after-move): what is left is what is tested
    CHECK_FALSE(Handle());
    CHECK(Handle() == handle);
    CHECK_FALSE(taken == handle);
    CHECK_THROWS_AS(static_cast<void>(handle.object()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(handle.object_even_closed()), std::logic_error);
    CHECK_THROWS_AS(handle.close(), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(handle.is_closed()), std::logic_error);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "close ends the use through every copy, in this process only") {
    const Handle handle = make_thing();
    const Handle copy = handle;
    Follower child([&](int) { number_in(handle).store(handle.is_closed() ? 1 : 0); });
    handle.close();
    handle.close();
    CHECK(copy.is_closed());
    CHECK_THROWS_AS(static_cast<void>(copy.object()), std::logic_error);
    CHECK_NOTHROW(static_cast<void>(copy.object_even_closed()));
    child.step();
    CHECK(number_in(copy) == 0);
  }

  TEST_CASE_FIXTURE(ObjectFrame,
                    "each claim has a cell of its own, and each lets the object live") {
    std::vector<Handle> handles = {make_thing()};
    Object& object = handles.front().object();
    for (int i = 0; i < 3; ++i) handles.emplace_back(kin::detail::claim(object));
    CHECK(handles[3] == handles[0]);
    CHECK(cells_in_use(handles[0]) == 4);
    handles.erase(handles.begin());
    CHECK(cells_in_use(handles[0]) == 3);
    CHECK(number_in(handles[0]) == 42);
    CHECK(objects() == 1);
  }

  TEST_CASE_FIXTURE(ObjectFrame,
                    "more claims than an object has cells, and again after these are free") {
    for (int round = 0; round < 3; ++round) {
      const Handle first = make_thing();
      std::vector<Handle> handles;
      for (int i = 0; i < 200; ++i) handles.emplace_back(kin::detail::claim(first.object()));
      CHECK(cells_in_use(first) == 201);
      const int most = objects();
      handles.clear();
      CHECK(cells_in_use(first) == 1);
      for (int i = 0; i < 200; ++i) handles.emplace_back(kin::detail::claim(first.object()));
      CHECK(objects() == most);  // the same cells once more
    }
  }

  TEST_CASE_FIXTURE(ObjectFrame, "a thousand objects at once, and once more in the same places") {
    for (int round = 0; round < 2; ++round) {
      std::vector<Handle> handles(1000);
      for (Handle& handle : handles) handle = make_thing();
      CHECK(std::ranges::all_of(handles, [](const Handle& one) { return number_in(one) == 42; }));
      CHECK(objects() == 1000);
    }
  }

  // Whoever sweeps asks the cells at the addresses that a dead process had claims on, however long ago.
  TEST_CASE_FIXTURE(ObjectFrame, "where an object was there will be objects only") {
    const auto chunk_at = [](const void* address) {
      return static_cast<std::size_t>(static_cast<const std::byte*>(address) - arena().chunks) /
             kin::detail::chunk_size;
    };
    std::set<std::size_t> chunks_of_objects;
    for (const ObjectKind kind : {ObjectKind::none, ObjectKind::channel, ObjectKind::pool,
                                  ObjectKind::manager, ObjectKind::lock, ObjectKind::event}) {
      const auto claim = kin::detail::make_object(kind, sizeof(Object), [](Object&) {});
      chunks_of_objects.insert(chunk_at(&claim->object()));
    }
    std::vector<Place> others(400);
    std::size_t size = 0;
    for (auto& other : others) {
      Heap::allocate_into(other, size += 25);
      CHECK_FALSE(chunks_of_objects.contains(chunk_at(other.address())));
    }
    for (auto& other : others) Heap::free_from(other);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "where the making fails nothing is left") {
    CHECK_THROWS_AS(kin::detail::make_object(ObjectKind::none, sizeof(Thing),
                                             [](Object&) { throw std::bad_alloc(); }),
                    std::bad_alloc);
    CHECK(objects() == 0);
    CHECK(number_in(make_thing()) == 42);
  }

  TEST_CASE_FIXTURE(ObjectFrame,
                    "a handle that a child inherited keeps the object, without a cell") {
    std::optional<Handle> handle = make_thing();
    std::atomic<int>& number = number_in(*handle);
    const Object* object = &handle->object();
    Follower child([&](int step) { number += step; });
    CHECK(cells_in_use(*handle) == 1);
    handle.reset();
    CHECK(objects() >= 1);
    CHECK(arena().processes->graveyard.limbo.load() == object);
    child.step();
    child.step();
    CHECK(number == 42 + 1 + 2);
    child.end();
    CHECK(objects() == 0);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "so do a grandchild's, after the child's death") {
    const crash::SharedPage<std::atomic<int>> state;
    std::optional<Handle> handle = make_thing();
    const int before = objects();
    unit::Relative child([&] {
      // Lives on when its parent is dead, and then ends by itself.
      if (::fork() == 0) {
        *state = 1;
        unit::eventually([&] { return *state == 2; });
        *state = number_in(*handle).load();
        ::_exit(0);
      }
      return "born";
    });
    CHECK(child.answer() == "born");
    CHECK(unit::eventually([&] { return *state == 1; }));
    handle.reset();
    CHECK(objects() == before);
    *state = 2;
    CHECK(unit::eventually([&] { return *state == 42; }));
    // An orphan: nobody sweeps it but who forks.
    CHECK(unit::eventually([&] {
      unit::answer_of([] { return ""; });
      return objects() == 0;
    }));
  }

  TEST_CASE_FIXTURE(ObjectFrame, "and those of a grandchild that is born when the object is left") {
    const crash::SharedPage<std::atomic<int>> state;
    std::optional<Handle> handle = make_thing();
    const int before = objects();
    unit::Relative child([&] {
      *state = 1;
      unit::eventually([&] { return *state == 2; });
      if (::fork() == 0) {
        *state = 3;
        unit::eventually([&] { return *state == 4; });
        *state = number_in(*handle).load();
        ::_exit(0);
      }
      return "born";
    });
    CHECK(unit::eventually([&] { return *state == 1; }));
    handle.reset();
    CHECK(objects() == before);
    *state = 2;
    CHECK(child.answer() == "born");
    CHECK(unit::eventually([&] { return *state == 3; }));
    CHECK(objects() == before);
    *state = 4;
    CHECK(unit::eventually([&] { return *state == 42; }));
    CHECK(unit::eventually([&] {
      unit::answer_of([] { return ""; });
      return objects() == 0;
    }));
  }

  TEST_CASE_FIXTURE(ObjectFrame,
                    "who was born before the object, or after its end, is not waited for") {
    Follower older([](int) {});
    Handle handle = make_thing();
    handle = Handle();
    CHECK(arena().processes->graveyard.limbo.load() == nullptr);
    handle = make_thing();
    const Object* object = &handle.object();
    Follower heir([](int) {});
    handle = Handle();
    CHECK(arena().processes->graveyard.limbo.load() == object);
    Follower younger([](int) {});
    heir.end();
    CHECK(arena().processes->graveyard.limbo.load() == nullptr);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "a child's copy of a claim gives up nothing") {
    const Handle handle = make_thing();
    std::optional<Handle> copy = handle;
    Follower child([&](int) { copy.reset(); });
    child.step();
    child.end();
    CHECK(cells_in_use(handle) == 1);
    CHECK(number_in(handle) == 42);
  }

  TEST_CASE_FIXTURE(ObjectFrame,
                    "a child's own claim outlives its parent's, and ends with the child") {
    std::optional<Handle> handle = make_thing();
    std::optional<Handle> own;
    Follower child([&](int step) {
      if (step == 1) own.emplace(kin::detail::claim(handle->object()));
      if (step == 2) number_in(*own) = 7;
    });
    child.step();
    CHECK(cells_in_use(*handle) == 2);
    std::atomic<int>& number = number_in(*handle);
    handle.reset();
    child.step();
    CHECK(number == 7);
    child.end();
    CHECK(objects() == 0);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "claims that the dead had are given up, however many") {
    const Handle handle = make_thing();
    std::vector<Handle> held;
    Follower child([&](int) {
      for (int i = 0; i < 300; ++i) held.emplace_back(kin::detail::claim(handle.object()));
      for (int i = 0; i < 300; ++i) held.push_back(make_thing());
    });
    child.step();
    CHECK(cells_in_use(handle) == 301);
    child.end();
    CHECK(cells_in_use(handle) == 1);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "cells are dropped by their stamp, and only these") {
    constexpr Stamp cargo = 0x1002;
    const Handle handle = make_thing();
    Object& object = handle.object();
    for (int i = 0; i < 20; ++i) kin::detail::take_cell(object, cargo);
    kin::detail::take_cell(object, cargo + 8);
    CHECK(cells_in_use(handle) == 22);
    {
      const kin::detail::SweepGuard guard;
      kin::detail::drop_cells(object, cargo, guard);
      CHECK(cells_in_use(handle) == 2);
      kin::detail::drop_cells(object, cargo, guard);  // nothing more
      kin::detail::drop_cells(object, cargo + 8, guard);
    }
    CHECK(cells_in_use(handle) == 1);
    CHECK(number_in(handle) == 42);
  }

  TEST_CASE_FIXTURE(ObjectFrame, "a cell alone keeps the object, until it is dropped") {
    constexpr Stamp cargo = 0x2002;
    Handle handle = make_thing();
    Object& object = handle.object();
    kin::detail::take_cell(object, cargo);
    handle = Handle();
    CHECK(objects() == 1);
    {
      const kin::detail::SweepGuard guard;
      kin::detail::drop_cells(object, cargo, guard);
    }
    CHECK(objects() == 0);
  }
}
