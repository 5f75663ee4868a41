// SPDX-License-Identifier: BSL-1.0

// The loop over kill points: a `Round` for each, and the counts.
//
// Kill points are numbered by what the traced process does (the n-th instruction, the n-th change),
// and each round counts anew. So an operation whose length varies is killed at each of its points
// all the same: a first round tells about how many there are, and the tour goes on behind them
// until the operation completes first.

#include "crash_run.hpp"

#include "address.hpp"
#include "round.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <limits>
#include <numeric>
#include <ostream>
#include <thread>

#include <sys/prctl.h>

namespace crash {

namespace {

constexpr std::size_t never = std::numeric_limits<std::size_t>::max();
constexpr std::size_t failures_enough = 3;

/// While it lives, orphans of the children of this process become its own children.
class Orphanage {
 public:
  Orphanage() {
    prctl(PR_GET_CHILD_SUBREAPER, &before_);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  Orphanage(const Orphanage&) = delete;
  Orphanage& operator=(const Orphanage&) = delete;
  ~Orphanage() { prctl(PR_SET_CHILD_SUBREAPER, before_); }

 private:
  int before_ = 0;
};

/// The order 0, s, 2s, … modulo n with s near n divided by the golden ratio: whenever it is broken
/// off, what it has visited lies evenly.
std::vector<std::size_t> even_order(std::size_t count) {
  auto stride = static_cast<std::size_t>(std::lround(static_cast<double>(count) * 0.618034));
  stride = std::max<std::size_t>(stride, 1);
  while (std::gcd(stride, count) != 1) {
    ++stride;
  }
  std::vector<std::size_t> order(count);
  for (std::size_t i = 1; i < count; ++i) {
    order[i] = (order[i - 1] + stride) % count;
  }
  return order;
}

std::chrono::duration<double> limit(const Scenario& scenario) {
  const bool everything = std::getenv("KIN_CRASH_FULL") != nullptr;
  double seconds = scenario.budget.count() > 0 && !everything
                       ? scenario.budget.count()
                       : std::numeric_limits<double>::infinity();
  if (const char* environment = std::getenv("KIN_CRASH_SECONDS"); environment != nullptr) {
    seconds = std::min(seconds, std::atof(environment));
  }
  return std::chrono::duration<double>(seconds);
}

/// Goes through the rounds of a scenario.
class Tour {
 public:
  explicit Tour(const Scenario& scenario) : scenario_(scenario) {
    report_.name = scenario.name;
    report_.kind = std::string(scenario.recovery ? "recovery " : "") +
                   (scenario.with == With::kill ? "killed" : "stopped") + " at every " +
                   (scenario.at == At::every_change ? "change" : "instruction");
  }

  Report report() {
    const Orphanage orphanage;
    const std::vector<Point> ends = find_ends();
    std::vector<Point> points;
    for (const Point& end : ends) {
      for (std::size_t step = 0; step <= end.step; ++step) {
        points.push_back({end.first, step});
      }
    }
    report_.left_out = points.size();
    for (const std::size_t i : even_order(points.size())) {
      if (tired()) {
        break;
      }
      visit(points[i]);
      --report_.left_out;
    }
    // An operation may take longer than in the round that measured it.
    for (Point point : ends) {
      if (point.step == last_step()) {
        continue;
      }
      do {
        ++point.step;
      } while (!tired() && !visit(point).reached_end);
    }
    if (!gave_up()) {
      expect_outcomes();
    }
    report_.seconds = elapsed().count();
    return report_;
  }

 private:
  struct Visited {
    Moment moment;
    bool reached_end;
  };

  const Scenario& scenario_;
  Report report_;
  Clock::time_point start_ = Clock::now();
  bool hung_ = false;

  std::chrono::duration<double> elapsed() const { return Clock::now() - start_; }
  bool gave_up() const { return hung_ || report_.failures.size() >= failures_enough; }
  std::size_t last_step() const {
    return scenario_.lead.window == 0 ? never : scenario_.lead.window;
  }
  bool tired() const { return gave_up() || elapsed() > limit(scenario_); }

  /// The last kill points: one, or one for each kill point of the operation before the recovery.
  /// Found by letting the traced process come to its end.
  std::vector<Point> find_ends() {
    const std::size_t firsts = scenario_.recovery ? visit({never, never}).moment.first_step : 0;
    std::vector<Point> ends;
    report_.firsts_left_out = firsts + 1;
    for (const std::size_t first : even_order(firsts + 1)) {
      if (gave_up() || (!ends.empty() && elapsed() > limit(scenario_) / 2)) {
        break;
      }
      ends.push_back({first, visit({first, last_step()}).moment.step});
      --report_.firsts_left_out;
    }
    return ends;
  }

  /// Plays a round and counts it.
  Visited visit(Point point) {
    scenario_.prepare();
    Round round(scenario_, point);
    try {
      const std::string outcome = round.play();
      if (is_right(outcome)) {
        ++report_.outcomes[outcome];
      } else {
        fail(round, "wrong outcome: " + outcome);
      }
    } catch (const Hang& hang) {
      hung_ = true;
      fail(round, hang.what());
    } catch (const std::exception& error) {
      fail(round, error.what());
    }
    report_.steps += round.steps();
    ++(round.reached_end() ? report_.completed : report_.kill_points);
    return {round.moment(), round.reached_end()};
  }

  bool is_right(const std::string& outcome) const {
    const auto listed_in = [&](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), outcome) != list.end();
    };
    return listed_in(scenario_.expected) || listed_in(scenario_.possible);
  }

  void fail(const Round& round, const std::string& what) {
    std::string where = scenario_.with == With::kill ? "killed after " : "stopped after ";
    where += std::to_string(round.moment().step);
    if (scenario_.recovery) {
      where += " of the recovery of " + std::to_string(round.moment().first_step);
    }
    where += round.moment().completed ? ", the operation had returned" : "";
    where += round.place() != 0 ? ", at " + describe_address(round.place()) : "";
    report_.failures.push_back(where + ": " + what);
  }

  void expect_outcomes() {
    if (report_.left_out > 0 || report_.firsts_left_out > 0) {
      return;  // it may have happened there
    }
    for (const std::string& outcome : scenario_.expected) {
      if (!report_.outcomes.contains(outcome)) {
        report_.failures.push_back("never happened: " + outcome);
      }
    }
  }
};

}  // namespace

std::string Moment::sleeper_answer() const {
  while (!sleeper->answer()) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return *sleeper->answer();
}

Report run(const Scenario& scenario) { return Tour(scenario).report(); }

std::ostream& operator<<(std::ostream& out, const Report& report) {
  out << report.name << ": " << report.kind << ", " << report.kill_points << " points";
  if (report.left_out > 0) {
    out << " (" << report.left_out << " left out)";
  }
  if (report.firsts_left_out > 0) {
    out << " (and those after " << report.firsts_left_out << " points of the first death)";
  }
  out << ", " << report.completed << " completed";
  const char* separator = " | ";
  for (const auto& [outcome, count] : report.outcomes) {
    out << separator << outcome << ' ' << count;
    separator = ", ";
  }
  out << " | " << std::fixed << std::setprecision(2) << report.seconds << " s, " << report.steps
      << " steps";
  for (const std::string& failure : report.failures) {
    out << "\n    " << failure;
  }
  return out;
}

}  // namespace crash
