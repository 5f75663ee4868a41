// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "bystander.hpp"
#include "crash_run.hpp"
#include "partner.hpp"
#include "stepper.hpp"
#include "trail.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include <sys/types.h>

namespace crash {

/// Someone does not get on: ends the scenario, since whoever touches the objects next might hang
/// too.
struct Hang : std::runtime_error {
  using runtime_error::runtime_error;
};

/// Kills and reaps, when it goes, the children of this process that were not there when it came.
class NobodyLeft {
 public:
  NobodyLeft();
  NobodyLeft(const NobodyLeft&) = delete;
  NobodyLeft& operator=(const NobodyLeft&) = delete;
  ~NobodyLeft();

 private:
  std::set<pid_t> before_;
};

/// A kill point of a scenario: of the operation, or of the recovery after the operation was killed
/// at `first`.
struct Point {
  std::size_t first = 0;
  std::size_t step = 0;
};

/// What is known of the way of a traced process, and where to note it.
struct Way {
  const Trail* known = nullptr;  ///< nullptr: it is stepped
  Trail* note = nullptr;         ///< nullptr: it is not noted
};

/// How long a traced process may take: so long for one step, and for all as many steps as that time has room
/// for where nothing else runs. So a busy machine does not make it look as if it hung.
class StepPatience {
 public:
  explicit StepPatience(Clock::duration patience)
      : patience_(patience), until_(Clock::now() + patience), steps_left_(patience / usual_step) {}

  void step_taken() {
    until_ = Clock::now() + patience_;
    --steps_left_;
  }
  [[nodiscard]] bool is_over() const { return steps_left_ < 0 || Clock::now() > until_; }

 private:
  static constexpr std::chrono::microseconds usual_step{10};
  Clock::duration patience_;
  Clock::time_point until_;
  Clock::duration::rep steps_left_;
};

/// One life and death, after `prepare`.
///
/// Lifetime: owns every process of the round; however it is left, they are killed and reaped.
class Round {
 public:
  /// `way` is of the process whose every kill point is tried, `first_way` of the one before a recovery.
  Round(const Scenario& scenario, Point point, Way way = {}, Way first_way = {})
      : scenario_(scenario), point_(point), way_(way), first_way_(first_way) {}

  /// The outcome; throws what was wrong.
  std::string play();

  const Moment& moment() const { return moment_; }
  /// The operation was over before it came to the kill point.
  bool reached_end() const { return reached_end_; }
  /// It went another way than the known one, and was over before it came to the kill point.
  bool strayed() const { return strayed_; }
  /// Single steps that it took.
  std::size_t steps() const { return steps_; }
  /// Where the traced process was killed or stopped, or hangs; 0 if it came to neither.
  std::uintptr_t place() const { return place_; }

 private:
  const Scenario& scenario_;
  const Point point_;
  const Way way_;
  const Way first_way_;
  Moment moment_;
  bool reached_end_ = false;
  bool strayed_ = false;
  std::size_t steps_ = 0;
  std::uintptr_t place_ = 0;

  const NobodyLeft afterwards_;  // before those below, so that they have gone when it looks around
  std::unique_ptr<Bystander> sleeper_;
  std::unique_ptr<Bystander> waker_;
  std::unique_ptr<Partner> partner_;

  Clock::time_point deadline() const { return Clock::now() + scenario_.patience; }

  void begin_sleeper();
  void begin_waker();
  void die_first();
  void fall_asleep(Stepper& victim);
  void lead_in(Stepper& victim);
  void walk(Stepper& victim, At at, Way way, std::size_t goal, std::size_t& passed);
  bool follow(Stepper& victim, const Trail& trail, std::size_t goal);
  bool run_to_landmark(Stepper& victim, std::size_t times);
  void give_up_after(const StepPatience& patience, Stepper& victim);
  void go_on(Stepper& victim);
  std::string aftermath();
  void expect_end(Bystander& process, const std::string& who) const;
};

}  // namespace crash
