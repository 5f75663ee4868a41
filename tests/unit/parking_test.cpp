// SPDX-License-Identifier: BSL-1.0

#include "waiting/parking.hpp"

#include "frame.hpp"

#include <memory>
#include <vector>

using kin::detail::Deadline;
using kin::detail::ParkingSpot;

namespace {

struct Place {
  ParkingSpot spot;
  ParkingSpot answers;
  std::atomic<int> number;
  std::atomic<int> answer;
};

class PlaceFrame : unit::Frame {
 public:
  crash::SharedPage<Place> place;

  [[nodiscard]] bool wait_for(int number) const {
    return place->spot.wait([&] { return place->number >= number; }, unit::last_moment());
  }
  // Waits asleep, or about to, until the number is there.
  [[nodiscard]] std::unique_ptr<unit::Relative> sleeper(int number) const {
    auto child = std::make_unique<unit::Relative>(
        [this, number] { return wait_for(number) ? "awake" : "gave up"; });
    CHECK(child->falls_asleep());
    return child;
  }
};

}  // namespace

TEST_SUITE("parking") {
  TEST_CASE_FIXTURE(PlaceFrame, "who finds it ready does not wait, whatever the deadline") {
    int looks = 0;
    const auto ready = [&] { return ++looks > 0; };
    CHECK(place->spot.wait(ready, Deadline::never()));
    CHECK(place->spot.wait(ready, Deadline::passed()));
    CHECK(looks == 2);
  }

  TEST_CASE_FIXTURE(PlaceFrame, "a deadline that has passed means one look") {
    int looks = 0;
    CHECK_FALSE(place->spot.wait([&] { return ++looks > 1; }, Deadline::passed()));
    CHECK(looks == 1);
  }

  TEST_CASE_FIXTURE(PlaceFrame, "a wait ends with its deadline, and looks again at the end") {
    const Deadline soon = Deadline::after(std::chrono::milliseconds(20));
    CHECK_FALSE(place->spot.wait([] { return false; }, soon));
    CHECK(soon.has_passed());
    const Deadline later = Deadline::after(std::chrono::milliseconds(20));
    CHECK(place->spot.wait([&] { return later.has_passed(); }, later));
  }

  TEST_CASE_FIXTURE(PlaceFrame, "a sleeper in another process is woken by notify") {
    const auto child = sleeper(1);
    place->number = 1;
    place->spot.notify();
    CHECK(child->answer() == "awake");
  }

  TEST_CASE_FIXTURE(PlaceFrame, "notify_all wakes all sleepers") {
    std::vector<std::unique_ptr<unit::Relative>> children;
    for (int i = 0; i < 5; ++i) children.push_back(sleeper(1));
    place->number = 1;
    place->spot.notify_all();
    for (const auto& child : children) CHECK(child->answer() == "awake");
  }

  TEST_CASE_FIXTURE(PlaceFrame, "sleepers that wake one another all get through") {
    std::vector<std::unique_ptr<unit::Relative>> children;
    for (int i = 0; i < 5; ++i) {
      children.push_back(std::make_unique<unit::Relative>([this] {
        if (!wait_for(1)) return "gave up";
        place->spot.notify();  // it took what it wanted, and leaves the rest
        return "awake";
      }));
      CHECK(children.back()->falls_asleep());
    }
    place->number = 1;
    place->spot.notify();
    for (const auto& child : children) CHECK(child->answer() == "awake");
  }

  TEST_CASE_FIXTURE(PlaceFrame, "between slices a waiter looks around") {
    int rounds = 0;
    CHECK(place->spot.wait([&] { return rounds == 2; }, unit::last_moment(), [&] { ++rounds; }));
    CHECK(rounds == 2);
    CHECK_THROWS_AS(place->spot.wait([] { return false; }, unit::last_moment(), [] { throw 1; }),
                    int);
  }

  TEST_CASE_FIXTURE(PlaceFrame, "what nobody announced is seen after a slice") {
    const auto child = sleeper(1);
    place->number = 1;  // and its publisher died before notify()
    CHECK(child->answer() == "awake");
  }

  TEST_CASE_FIXTURE(PlaceFrame, "a waiter that is killed takes no wake-up with it") {
    for (int i = 0; i < 5; ++i) sleeper(1)->end();
    const auto child = sleeper(1);
    place->number = 1;
    place->spot.notify();
    CHECK(child->answer() == "awake");
  }

  TEST_CASE_FIXTURE(PlaceFrame, "two processes take turns, however the waits fall") {
    constexpr int turns = 3000;
    unit::Relative partner([this] {
      for (int turn = 1; turn <= turns; ++turn) {
        if (!wait_for(turn)) return "gave up";
        place->answer = turn;
        place->answers.notify();
      }
      return "done";
    });
    bool in_time = true;
    for (int turn = 1; turn <= turns && in_time; ++turn) {
      place->number = turn;
      place->spot.notify();
      in_time = place->answers.wait([&] { return place->answer >= turn; }, unit::last_moment());
    }
    CHECK(in_time);
    CHECK(partner.answer() == "done");
  }
}
