// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "manager/manager_state.hpp"

#include <kin/manager.hpp>

#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <utility>

namespace crash {

/// A manager's server, whose clients are the test and, one round after the other, the one that is killed and
/// the one that checks.
struct Household {
  kin::Manager manager;
  kin::Proxy<int> number = manager.make<int>(0);
  kin::managed::Queue<int> queue = manager.queue<int>();

  void prepare() const {
    sweep_the_dead();
    number.apply([](int& it) { it = 0; });
    while (queue.try_get()) {
    }
  }
  /// The server has seen that it is dead, and has nothing of it any more.
  void require_settled() const {
    const kin::ManagerStatistics now = manager.statistics();
    require(now.clients == 2, "there are " + std::to_string(now.clients) + " clients, not two");
    require(now.parked == 0, "a call is parked");
  }
  [[nodiscard]] kin::detail::ManagerState& state() const {
    return *kin::detail::HostedObject::of(object_of(number)).manager;
  }
};

/// Killed is who has called before, and so has a line: in what comes after that call.
inline Scenario behind_first_call(const Household& house, Scenario scenario) {
  scenario.prepare = [&house, prepare = scenario.prepare] {
    prepare();
    // Sets free the line of the round before: the next is taken again.
    static_cast<void>(house.manager.statistics());
  };
  scenario.operation = [&house, operation = scenario.operation] {
    static_cast<void>(house.number.copy());
    operation();
  };
  // Behind the test's own.
  scenario.lead.word = [&house] { return &house.state().line(1).word; };
  scenario.lead.stores = 2;
  return scenario;
}

/// First at each change of what clients and server share, then at every instruction, as far as a second goes.
inline void prove_behind_first_call(const Household& house, Scenario scenario) {
  scenario.watch = [&house] {
    const kin::detail::ManagerState& state = house.state();
    return Ranges{std::as_bytes(std::span(state.line_blocks[0]->lines.data(), 8)),
                  memory_of(*state.requests), memory_of(kin::detail::arena().processes->graveyard)};
  };
  prove_at_changes_and_instructions(behind_first_call(house, std::move(scenario)),
                                    std::chrono::seconds(1));
}

}  // namespace crash
