// SPDX-License-Identifier: BSL-1.0

// One round, as the test process conducts it. Those around the traced process come first and are
// asked last whether they got on; the traced one is dead, or stopped, in between.

#include "round.hpp"

#include "kill_points.hpp"

#include <cerrno>
#include <vector>

#include <signal.h>
#include <sys/wait.h>

namespace crash {

namespace {

std::set<pid_t> children() {
  const std::vector<pid_t> all = children_of_this_process();
  return {all.begin(), all.end()};
}

}  // namespace

NobodyLeft::NobodyLeft() : before_(children()) {}

NobodyLeft::~NobodyLeft() {
  // Each one killed may leave orphans of its own.
  for (bool found = true; found;) {
    found = false;
    for (const pid_t child : children()) {
      if (!before_.contains(child)) {
        kill(child, SIGKILL);
        while (waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
        }
        found = true;
      }
    }
  }
}

std::string Round::play() {
  begin_sleeper();
  if (scenario_.partner) {
    partner_ = std::make_unique<Partner>(scenario_.partner, scenario_.partner_every);
  }
  if (scenario_.recovery) {
    die_first();
  }
  Stepper victim(scenario_.recovery ? scenario_.recovery : scenario_.operation,
                 scenario_.follows_fork ? Stepper::Whom::forked_by_child : Stepper::Whom::child);
  scenario_.let_go();
  if (scenario_.waker) {
    fall_asleep(victim);
    scenario_.once_asleep();
  }
  if (scenario_.waker && point_.step > 0) {
    begin_waker();
  }
  if (scenario_.lead.word) {
    lead_in(victim);
  }
  walk(victim, scenario_.at, way_, point_.step, moment_.step);
  moment_.completed = victim.state() == Stepper::State::finished;
  reached_end_ = moment_.step < point_.step;
  if (scenario_.with == With::kill) {
    victim.kill();
    place_ = victim.program_counter();
    if (!scenario_.zombie) {
      victim.reap();
    }
  } else {
    victim.stop();
    place_ = victim.program_counter();
  }
  if (scenario_.waker && point_.step == 0) {
    begin_waker();
  }
  if (scenario_.with == With::stop) {
    go_on(victim);
  }
  return aftermath();
}

void Round::begin_sleeper() {
  if (!scenario_.sleeper) {
    return;
  }
  sleeper_ = std::make_unique<Bystander>(scenario_.sleeper);
  moment_.sleeper = sleeper_.get();
  require(sleeper_->sleeps_by(deadline()), "the sleeper does not fall asleep");
}

void Round::begin_waker() {
  waker_ = std::make_unique<Bystander>([this] {
    scenario_.waker();
    return std::string();
  });
}

void Round::die_first() {
  Stepper first(scenario_.operation);
  const At at = scenario_.watch ? At::every_change : At::every_instruction;
  walk(first, at, first_way_, point_.first, moment_.first_step);
  moment_.first_completed = first.state() == Stepper::State::finished;
  first.kill();
  first.reap();
}

void Round::fall_asleep(Stepper& victim) {
  const Stepper::CloseUp watching(victim);
  const auto until = deadline();
  do {
    victim.run_to_system_call();
    require(victim.state() == Stepper::State::stepping && Clock::now() < until,
            "the operation does not fall asleep");
  } while (victim.step() != Stepper::State::asleep);
}

void Round::lead_in(Stepper& victim) {
  const Stepper::CloseUp watching(victim);
  StepPatience patience(scenario_.patience);
  // Out of the sleep that it may be in, which is no store.
  while (victim.state() == Stepper::State::asleep) {
    victim.step();
    give_up_after(patience, victim);
  }
  const void* const word = scenario_.lead.word();
  for (std::size_t stores = 0; stores < scenario_.lead.stores;) {
    switch (victim.run_to_store(word)) {
      case Stepper::State::stepping:
        ++stores;
        patience.step_taken();
        break;
      case Stepper::State::asleep: give_up_after(patience, victim); break;
      default: throw std::runtime_error("the operation ended before its kill points");
    }
  }
  victim.run_to_store(nullptr);
}

/// Brings a traced process to the kill point `goal`, or to the end of these if that comes first, and
/// counts those it passes.
void Round::walk(Stepper& victim, At at, Way way, std::size_t goal, std::size_t& passed) {
  const Stepper::CloseUp watching(victim);
  if (way.known != nullptr && way.known->has(goal)) {
    if (follow(victim, *way.known, goal)) {
      passed = goal;
    } else {
      strayed_ = true;
    }
    return;
  }
  if (way.note != nullptr) {
    way.note->begin_at(victim.program_counter());
  }
  KillPoints points(scenario_, at, victim);
  StepPatience patience(scenario_.patience);
  while (passed < goal) {
    switch (victim.step()) {
      case Stepper::State::finished:
        require(victim.failure().empty(), "the operation " + victim.failure());
        require(!scenario_.lead.until, "the operation ended before its kill points did");
        return;
      case Stepper::State::dead: throw std::runtime_error("the operation " + victim.failure());
      case Stepper::State::running:
      case Stepper::State::asleep:
        if (scenario_.blocks) {
          return;
        }
        give_up_after(patience, victim);
        break;
      case Stepper::State::stepping: {
        const bool at_kill_point = points.passed(victim);
        passed += at_kill_point ? 1U : 0U;
        if (way.note != nullptr) {
          way.note->step_to(victim.program_counter(), at_kill_point);
        }
        if (partner_) {
          partner_->step_passed();
        }
        patience.step_taken();
        if (++steps_ % 256 == 0) {
          give_up_after(patience, victim);
        }
        if (scenario_.lead.until && scenario_.lead.until()) {
          return;
        }
      }
    }
  }
}

/// Brings a traced process to a kill point of a known way. False if it went another and is over.
bool Round::follow(Stepper& victim, const Trail& trail, std::size_t goal) {
  Trail::Shortcut shortcut = trail.shortcut_to(goal);
  if (shortcut.times > 0 && !victim.set_mark(shortcut.place)) {
    shortcut = {.steps = trail.steps_to(goal)};
  }
  if (!run_to_landmark(victim, shortcut.times)) {
    return false;
  }
  StepPatience patience(scenario_.patience);
  for (std::size_t step = 0; step < shortcut.steps;) {
    switch (victim.step()) {
      case Stepper::State::finished:
        require(victim.failure().empty(), "the operation " + victim.failure());
        return false;
      case Stepper::State::dead: throw std::runtime_error("the operation " + victim.failure());
      case Stepper::State::running:
      case Stepper::State::asleep: give_up_after(patience, victim); break;
      case Stepper::State::stepping:
        ++steps_;
        ++step;
        patience.step_taken();
    }
  }
  return true;
}

bool Round::run_to_landmark(Stepper& victim, std::size_t times) {
  StepPatience patience(scenario_.patience);
  for (std::size_t seen = 0; seen < times;) {
    switch (victim.run_to_mark()) {
      case Stepper::State::finished:
        require(victim.failure().empty(), "the operation " + victim.failure());
        victim.clear_mark();
        return false;
      case Stepper::State::dead: throw std::runtime_error("the operation " + victim.failure());
      case Stepper::State::running:
      case Stepper::State::asleep: give_up_after(patience, victim); break;
      case Stepper::State::stepping:
        ++steps_;
        ++seen;
        patience.step_taken();
    }
  }
  if (times > 0) {
    victim.clear_mark();
  }
  return true;
}

void Round::give_up_after(const StepPatience& patience, Stepper& victim) {
  if (patience.is_over()) {
    victim.kill();
    place_ = victim.program_counter();
    throw Hang("the operation hangs by itself");
  }
}

void Round::go_on(Stepper& victim) {
  Bystander other([this] {
    scenario_.while_stopped();
    return std::string();
  });
  expect_end(other, "somebody beside a stopped process");
  if (!victim.ends_by(deadline())) {
    throw Hang("the process that was stopped hangs, " + describe_whereabouts(victim.pid()));
  }
  require(victim.failure().empty(), "the process that was stopped " + victim.failure());
  moment_.completed = true;
}

std::string Round::aftermath() {
  if (partner_) {
    expect_end(partner_->retire(), "the partner");
    moment_.partner_turns = partner_->turns();
  }
  if (waker_) {
    expect_end(*waker_, "the waker");
  }
  Bystander survivor([this] { return scenario_.check(moment_); });
  expect_end(survivor, "the check");
  if (sleeper_) {
    expect_end(*sleeper_, "the sleeper");
  }
  return *survivor.answer();
}

void Round::expect_end(Bystander& process, const std::string& who) const {
  if (!process.ends_by(deadline())) {
    throw Hang(who + " hangs, " + describe_whereabouts(process.pid()));
  }
  require(process.failure().empty(), who + ": " + process.failure());
}

}  // namespace crash
