// SPDX-License-Identifier: BSL-1.0

// A descriptor, the end of a pipe and a queue travel through a pipe, alone and beside so many bytes that the
// message goes in pieces: then they go with the first of these. Whoever sends or receives is killed, or
// stopped: they arrive with the whole message and work, or nobody ever has them, and nothing stays open.
//
// Fails when try_get() keeps what came with a message that was aborted, when take_with_more() does not name the
// cargo that it unloads, and when recover_head() or recover_tail() leaves that to others.

#include "crash/prove.hpp"
#include "crash/shipment.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <string>

using crash::At;
using crash::Moment;
using crash::require;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";
const std::string still_there = "still there";
const std::string taken = "taken";

using Shipment = crash::Shipment<crash::PipeRoad>;

/// In one record, and in pieces.
struct Load {
  std::size_t ballast;
  std::string name;
};
const Load small{0, "luggage"};
const Load medium{std::size_t{33} << 10, "luggage in 2 pieces"};
const Load large{std::size_t{66} << 10, "luggage in 3 pieces"};

/// A scenario whose end finds nothing of it left.
void prove_balanced(Shipment& shipment, const crash::Scenario& scenario) {
  shipment.prepare_sent();
  shipment.forget();
  const crash::Balance balance;
  crash::prove(scenario);
  shipment.prepare();
  CHECK_FALSE(shipment.stays_open());
  shipment.forget();
  CHECK_NOTHROW(balance.require_unchanged());
}

/// Whoever sends drops its luggage when it dies; that of the test process went before.
crash::Scenario sending(Shipment& shipment, const std::string& name) {
  return {
      .name = name,
      .prepare = [&] { shipment.prepare(); },
      .operation = [&] { shipment.send(); },
      .check = [&](const Moment& moment) -> std::string {
        const bool arrives = shipment.arrives();
        require(arrives || !moment.completed, "send() returned, and it does not arrive");
        shipment.require_to_work();
        shipment.require_closed();
        return arrives ? sent_whole : never_sent;
      },
      .expected = {never_sent, sent_whole},
      .at = At::every_change,
      .watch = [&] { return shipment.changes(); },
      .let_go = [&] { shipment.let_go(); },
      .budget = 2s,
  };
}

crash::Scenario receiving(Shipment& shipment, const std::string& name) {
  return {
      .name = name,
      .prepare = [&] { shipment.prepare_sent(); },
      .operation = [&] { shipment.receive(); },
      .check = [&](const Moment& moment) -> std::string {
        const bool arrives = shipment.arrives();
        require(!arrives || !moment.completed, "recv() returned, and it is still there");
        shipment.require_to_work();
        shipment.require_closed();
        return arrives ? still_there : taken;
      },
      .expected = {still_there, taken},
      .at = At::every_change,
      .watch = [&] { return shipment.changes(); },
      .budget = 2s,
  };
}

/// Only deaths behind the first piece, with which the cargo goes.
crash::Scenario behind_the_first(const Shipment& shipment, crash::Scenario scenario) {
  scenario.name += ", behind the first";
  scenario.lead = {.word = [&] { return &shipment.channel().head; }, .stores = 1};
  scenario.expected = {taken};
  return scenario;
}

/// What a partner that receives has seen.
struct Seen {
  std::atomic<int> whole;
};

}  // namespace

TEST_SUITE("pipe cargo") {
  TEST_CASE("whoever sends is killed, and a reader takes over") {
    for (const Load& load : {small, large}) {
      Shipment shipment(load.ballast);
      prove_balanced(shipment, sending(shipment, "send of " + load.name));
    }
    Shipment shipment;
    crash::Scenario scenario = sending(shipment, "send of luggage");
    scenario.at = At::every_instruction;
    crash::prove(scenario);
  }

  TEST_CASE("whoever sends pieces is killed, and the next sender takes over") {
    Shipment shipment(large.ballast);
    crash::Scenario scenario = sending(shipment, "send of luggage in 3 pieces before another's");
    scenario.check = [&](const Moment& moment) -> std::string {
      const bool arrives = shipment.arrives_before_other();
      require(arrives || !moment.completed, "send() returned, and it does not arrive");
      shipment.require_closed();
      return arrives ? sent_whole : never_sent;
    };
    prove_balanced(shipment, scenario);
  }

  TEST_CASE("whoever receives is killed") {
    for (const Load& load : {small, medium, large}) {
      Shipment shipment(load.ballast);
      crash::Scenario scenario = receiving(shipment, "recv of " + load.name);
      if (load.ballast == large.ballast) scenario = behind_the_first(shipment, scenario);
      scenario.budget = load.ballast == 0 ? 2s : 3s;
      prove_balanced(shipment, scenario);
    }
    Shipment shipment;
    crash::Scenario scenario = receiving(shipment, "recv of luggage, that is dropped");
    scenario.operation = [&] { shipment.receive_and_drop(); };
    scenario.at = At::every_instruction;
    crash::prove(scenario);
  }

  // Nobody takes its lock over, so nobody hears of what it has left.
  TEST_CASE("the last receiver is killed") {
    Shipment shipment(medium.ballast);
    crash::Scenario scenario = receiving(shipment, "recv of luggage in 2 pieces by the last one");
    scenario.let_go = [&] { shipment.forget(); };
    scenario.check = [&](const Moment&) -> std::string {
      crash::sweep_the_dead();
      shipment.require_closed();
      return taken;
    };
    prove_balanced(shipment, behind_the_first(shipment, scenario));
  }

  TEST_CASE("another receives while it is sent") {
    for (const Load& load : {small, medium}) {
      Shipment shipment(load.ballast);
      const crash::SharedPage<Seen> seen;
      crash::Scenario scenario = sending(shipment, "send of " + load.name + " beside a receiver");
      scenario.prepare = [&] {
        seen->whole = 0;
        shipment.prepare();
      };
      scenario.check = [&](const Moment& moment) -> std::string {
        const int count = seen->whole + shipment.arrivals();
        require(count == 1 || (count == 0 && !moment.completed), "it is lost, or came twice");
        shipment.require_to_work();
        return count == 1 ? sent_whole : never_sent;
      };
      scenario.partner = [&] { seen->whole += shipment.arrivals(); };
      scenario.partner_every = 64;
      crash::prove(scenario);
    }
  }

  TEST_CASE("another sends while it is received") {
    constexpr int most = 5;  // so that the pipe has room for all
    for (const Load& load : {small, medium}) {
      Shipment shipment(load.ballast);
      crash::Scenario scenario = receiving(shipment, "recv of " + load.name + " beside a sender");
      scenario.prepare = [&] {
        shipment.prepare();
        shipment.send();
      };
      scenario.let_go = [&] { shipment.let_go(); };
      scenario.check = [&](const Moment& moment) -> std::string {
        const int sent = 1 + std::min(static_cast<int>(moment.partner_turns), most);
        const int count = shipment.arrivals();
        require(count == sent - 1 || (count == sent && !moment.completed),
                "luggage is lost, or came twice");
        shipment.require_closed();
        return count == sent ? still_there : taken;
      };
      scenario.partner = [&, turns = 0]() mutable {
        if (++turns <= most) shipment.send();
      };
      scenario.partner_every = 1024;
      crash::prove(scenario);
    }
  }

  TEST_CASE("whoever sends is stopped, and goes on later") {
    for (const Load& load : {small, medium}) {
      Shipment shipment(load.ballast);
      crash::Scenario scenario = sending(shipment, "send of " + load.name);
      scenario.expected = {sent_whole};
      scenario.with = With::stop;
      crash::prove(scenario);
    }
  }

  TEST_CASE("whoever receives is stopped, and goes on later") {
    for (const Load& load : {small, medium}) {
      Shipment shipment(load.ballast);
      crash::Scenario scenario = receiving(shipment, "recv of " + load.name);
      scenario.expected = {taken};
      scenario.with = With::stop;
      crash::prove(load.ballast == 0 ? scenario : behind_the_first(shipment, scenario));
    }
  }

  TEST_CASE("whoever comes next is killed too") {
    for (const Load& load : {small, medium}) {
      Shipment shipment(load.ballast);
      crash::Scenario scenario = sending(shipment, "send of " + load.name + " after a killed one");
      scenario.recovery = [&] { shipment.send(); };
      scenario.check = [&](const Moment& moment) -> std::string {
        const int count = shipment.arrivals();
        const int least = (moment.first_completed ? 1 : 0) + (moment.completed ? 1 : 0);
        require(least <= count && count <= 2, "luggage is lost, or came twice");
        shipment.require_to_work();
        shipment.require_closed();
        return std::to_string(count);
      };
      scenario.expected = {"0", "1", "2"};
      crash::prove(scenario);

      scenario = receiving(shipment, "recv of " + load.name + " after a killed one");
      scenario.recovery = [&] { shipment.take_all(); };
      scenario.check = [&](const Moment& moment) -> std::string {
        const bool arrives = shipment.arrives();
        require(!arrives || !(moment.first_completed || moment.completed), "it came twice");
        shipment.require_to_work();
        shipment.require_closed();
        return arrives ? still_there : taken;
      };
      crash::prove(scenario);
    }
    Shipment shipment(medium.ballast);
    crash::Scenario scenario = sending(shipment, "recv of luggage in 2 pieces after a killed send");
    scenario.recovery = [&] { shipment.take_all(); };
    scenario.check = [&](const Moment& moment) -> std::string {
      const bool arrives = shipment.arrives();
      require(!arrives || !moment.completed, "it came twice");
      shipment.require_closed();
      shipment.require_to_work();
      return arrives ? sent_whole : "taken, or never sent";
    };
    scenario.expected = {sent_whole, "taken, or never sent"};
    crash::prove(scenario);
  }
}
