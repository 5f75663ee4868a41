// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/crash_run.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <iostream>

namespace crash {

/// Goes through a scenario, prints its line, and fails the test case for each wrong outcome, each
/// hang, and each expected outcome that never happened.
///
///     crash::prove({
///         .name = "queue: put",
///         .prepare = [&] { queue = kin::Queue<int>(); },
///         .operation = [&] { queue.put(1); },
///         .check = [&](const crash::Moment&) -> std::string {
///             queue.put(2);
///             const bool is_there = queue.get() == 1;
///             return is_there ? "put whole" : "never put";
///         },
///         .expected = {"never put", "put whole"},
///     });
inline void prove(const Scenario& scenario) {
  const Report report = run(scenario);
  std::cout << report << std::endl;
  CHECK_MESSAGE(report.passed(), report);
}

/// The same for an operation of thousands of instructions: first at every change, all of them; then at
/// every instruction, as far as `budget` goes.
inline void prove_at_changes_and_instructions(Scenario scenario,
                                              std::chrono::duration<double> budget) {
  scenario.at = At::every_change;
  prove(scenario);
  scenario.at = At::every_instruction;
  scenario.budget = budget;
  prove(scenario);
}

}  // namespace crash
