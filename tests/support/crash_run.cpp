// SPDX-License-Identifier: BSL-1.0

// The loop over kill points: a `Round` for each, and the counts.
//
// Kill points are numbered by what the traced process does (the n-th instruction, the n-th change),
// and each round counts anew. So an operation whose length varies is killed at each of its points
// all the same: a first round tells about how many there are, and the tour goes on behind them
// until the operation completes first.
//
// Most rounds need not be stepped from the beginning. The first ones are, and note the way that the
// operation goes; if two of them went the same way, all others run along it at full speed up to a few
// instructions before their kill point. One that goes another way is over before it comes there; then it is
// played again, and stepped. What has others beside it is always stepped, so that they get on with it.

#include "crash_run.hpp"

#include "address.hpp"
#include "round.hpp"
#include "unforked.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iomanip>
#include <limits>
#include <map>
#include <numeric>
#include <ostream>
#include <stdexcept>
#include <thread>
#include <utility>

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
UnforkedVector<std::size_t> even_order(std::size_t count) {
  auto stride = static_cast<std::size_t>(std::lround(static_cast<double>(count) * 0.618034));
  stride = std::max<std::size_t>(stride, 1);
  while (std::gcd(stride, count) != 1) {
    ++stride;
  }
  UnforkedVector<std::size_t> order(count);
  for (std::size_t i = 1; i < count; ++i) {
    order[i] = (order[i - 1] + stride) % count;
  }
  return order;
}

std::chrono::duration<double> limit(const Scenario& scenario) {
  const bool everything = std::getenv("KIN_CRASH_FULL") != nullptr;
  const char* share = std::getenv("KIN_CRASH_SHARE");
  const char* most = std::getenv("KIN_CRASH_SECONDS");
  double seconds = std::numeric_limits<double>::infinity();
  if (scenario.budget.count() > 0 && !everything) {
    seconds = scenario.budget.count() * (share != nullptr ? std::atof(share) : 1);
  }
  if (most != nullptr) seconds = std::min(seconds, std::atof(most));
  return std::chrono::duration<double>(seconds);
}

/// Which of the points are this process's: one in so many.
struct Part {
  std::size_t number = 0;
  std::size_t of = 1;

  bool has(std::size_t index) const { return index % of == number; }
};

Part part_of_this_process() {
  Part part;
  const char* text = std::getenv("KIN_CRASH_PART");
  if (text != nullptr &&
      (std::sscanf(text, "%zu/%zu", &part.number, &part.of) != 2 || part.number >= part.of)) {
    throw std::invalid_argument("KIN_CRASH_PART is not like 0/2: " + std::string(text));
  }
  return part;
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
    UnforkedVector<Point> points;
    for (const Point& end : ends) {
      for (std::size_t step = 0; step <= end.step; ++step) {
        points.push_back({end.first, step});
      }
    }
    const Part part = part_of_this_process();
    report_.left_out = points.size();
    for (const std::size_t i : even_order(points.size())) {
      if (tired()) {
        break;
      }
      if (!part.has(i)) {
        continue;
      }
      visit(points[i]);
      --report_.left_out;
    }
    for (std::size_t i = 0; i < ends.size(); ++i) {
      if (ends[i].step != last_step() && part.has(i)) {
        go_behind(ends[i]);
      }
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
    bool strayed;
  };

  const Scenario& scenario_;
  Report report_;
  Clock::time_point start_ = Clock::now();
  bool hung_ = false;
  bool knows_way_ = false;
  bool has_found_another_ = false;
  std::size_t guided_ = 0;             // rounds along the known way
  std::size_t strays_ = 0;             // and those of them that went another
  Trail first_way_;                    // of the operation before the recovery
  std::map<std::size_t, Trail> ways_;  // of the other, by the kill point of that

  std::chrono::duration<double> elapsed() const { return Clock::now() - start_; }
  bool gave_up() const { return hung_ || report_.failures.size() >= failures_enough; }
  std::size_t last_step() const {
    return scenario_.lead.window == 0 ? never : scenario_.lead.window;
  }
  bool tired() const { return gave_up() || elapsed() > limit(scenario_); }

  /// The last kill points: one, or one for each kill point of the operation before the recovery.
  /// Found by letting the traced process come to its end.
  std::vector<Point> find_ends() {
    if (!scenario_.recovery && last_step() == never) {
      return {{0, find_way().step}};
    }
    const std::size_t firsts = scenario_.recovery ? find_way().first_step : 0;
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

  /// An operation may take longer than in the round that measured it. (One that reads a /proc file does, when
  /// pids have become longer.) What is behind its end is visited as well, until it completes first.
  void go_behind(Point end) {
    while (!tired() && !visit({end.first, ++end.step}).reached_end) {
      if (!scenario_.recovery || !knows_way_) {
        continue;  // each is stepped
      }
      // The way as it is now: along that they are reached sooner.
      ways_.erase(end.first);
      const std::size_t last = visit({end.first, last_step()}).moment.step;
      while (end.step < last && !tired()) {
        visit({end.first, ++end.step});
      }
    }
  }

  /// Nothing beside it needs its steps, and nothing but its steps leads to its kill points.
  bool goes_alone() const {
    const bool is_led_part_way =
        scenario_.lead.word && (scenario_.lead.window != 0 || scenario_.recovery);
    return !scenario_.partner && !scenario_.sleeper && !scenario_.waker && !scenario_.blocks &&
           !scenario_.follows_fork && !is_led_part_way;
  }

  /// Lets the operation, the first of two if there is a recovery, come to its end until it has gone one
  /// way twice.
  Moment find_way() {
    constexpr std::size_t tries = 5;
    Trail& way = scenario_.recovery ? first_way_ : ways_[0];
    std::vector<Trail> others;
    Moment moment = visit({never, never}).moment;
    while (goes_alone() && !knows_way_ && others.size() + 1 < tries && !tired()) {
      others.push_back(std::exchange(way, {}));
      moment = visit({never, never}).moment;
      knows_way_ = std::find(others.begin(), others.end(), way) != others.end();
    }
    return moment;
  }

  Way first_way_to(Point point) {
    if (knows_way_) {
      return {.known = &first_way_};
    }
    return {.note = point.first == never && goes_alone() ? &first_way_ : nullptr};
  }

  Way way_to(Point point) {
    if (scenario_.recovery && knows_way_) {
      const auto [way, is_new] = ways_.try_emplace(point.first);
      return is_new ? Way{.note = &way->second} : Way{.known = &way->second};
    }
    if (knows_way_) {
      return {.known = &ways_[0]};
    }
    return {.note = point.first == never && goes_alone() ? &ways_[0] : nullptr};
  }

  /// After a stray: the way may be one that is seldom gone. Once another is found; then all is stepped.
  void look_for_another_way() {
    constexpr std::size_t many = 16;
    if (++strays_ < many || 4 * strays_ < guided_) {
      return;
    }
    knows_way_ = false;
    ways_.clear();
    if (!std::exchange(has_found_another_, true)) {
      strays_ = guided_ = 0;
      find_way();
    }
  }

  /// Plays a round, and once more if it strayed: then it is stepped.
  Visited visit(Point point) {
    const Way way = way_to(point);
    guided_ += knows_way_ ? 1U : 0U;
    const Visited visited = play(point, way, first_way_to(point));
    if (!visited.strayed) {
      return visited;
    }
    if (way.note != nullptr) {
      ways_.erase(point.first);
    }
    const Visited stepped = play(point, {}, {});
    look_for_another_way();
    return stepped;
  }

  /// Plays a round and counts it.
  Visited play(Point point, Way way, Way first_way) {
    scenario_.prepare();
    Round round(scenario_, point, way, first_way);
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
    return {round.moment(), round.reached_end(), round.strayed()};
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
