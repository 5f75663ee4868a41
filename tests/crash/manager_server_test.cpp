// SPDX-License-Identifier: BSL-1.0

// A manager's server is killed: in a call, while it answers a parked one, while it buries a dead client, in its
// end. Each call of each client comes to its end all the same, with an answer or with ManagerDied, and what they
// shared is free.

#include "crash/household.hpp"
#include "manager/server.hpp"
#include "waiting/futex.hpp"

#include <kin/error.hpp>
#include <kin/process.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <climits>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using crash::Moment;
using crash::require;
using kin::detail::HostedOf;
using kin::detail::HostRoot;
using kin::detail::ManagerState;
using namespace std::chrono_literals;

namespace {

const std::string served = "served to the end";
const std::string told = "told that it died";

using Items = kin::detail::QueueStore<int, kin::detail::QueueOrder::first_in>;

/// What a manager is made of. Its server is the traced process.
class Server {
 public:
  void prepare() {
    crash::sweep_the_dead();
    memory_.emplace();
    // The lines are there, for scenarios that watch one.
    state().line(kin::detail::take_line(state())).owner.store(0);
  }
  void let_go() { memory_.reset(); }
  [[nodiscard]] ManagerState& state() const { return memory_->state(); }
  [[nodiscard]] const void* commits() const { return &state().requests->head; }

  /// As ManagerEngine::live().
  void live() const {
    const kin::detail::ManagerMemory memory(*memory_);
    state().server.store(kin::detail::this_process());
    state().pid.store(getpid());
    kin::detail::Server server(state());
    state().phase.store(ManagerState::open);
    kin::detail::futex_wake(state().phase, INT_MAX);
    server.run();
  }

  /// A client, for a sleeper: its script, and then the end of the server. Whether there was anything left of that.
  [[nodiscard]] std::string after(
      const std::function<void(const kin::Proxy<HostRoot>& root)>& script) const {
    crash::sleep_lightly();
    while (state().phase.load() == ManagerState::starting) {
      if (state().server.load() != 0 && kin::detail::is_gone(state().server.load())) return told;
      kin::detail::futex_wait_slice(state().phase, ManagerState::starting,
                                    kin::detail::Deadline::never());
    }
    try {
      const kin::Proxy<HostRoot> root(kin::detail::Handle(
          kin::detail::make_hosted(state(), 0, 0, kin::detail::type_number(typeid(HostRoot)))));
      script(root);
    } catch (const kin::ManagerDied&) {
      return told;
    }
    return served;
  }
  void end() const {
    kin::detail::NoLine no_line;
    kin::detail::shut_down(*state().requests, no_line);
  }

 private:
  std::optional<kin::detail::ManagerMemory> memory_;
};

template <typename T, typename... As>
kin::Proxy<T> make(const kin::Proxy<HostRoot>& root, As... arguments) {
  return root.apply(
      [](HostRoot& it, As... given) {
        return kin::Proxy<T>(it.host(std::make_unique<HostedOf<T>>(given...), typeid(T)));
      },
      arguments...);
}

/// Whether a call was answered; else its server died.
template <typename Call>
bool is_answered(Call&& call) {
  try {
    std::forward<Call>(call)();
  } catch (const kin::ManagerDied&) {
    return false;
  }
  return true;
}

void wait_until_parked(const kin::Proxy<HostRoot>& root) {
  while (root.call(&HostRoot::statistics).parked == 0) {
  }
}

/// Killed is the server, from so many stores to a word on, at so many instructions.
crash::Scenario scenario_of(Server& server, const std::string& name,
                            std::function<const void*()> word, std::size_t stores,
                            std::size_t window) {
  return {
      .name = name,
      .prepare = [&] { server.prepare(); },
      .operation = [&] { server.live(); },
      .check =
          [](const Moment& moment) {
            const std::string answer = crash::rouse(moment);
            require(answer == served || !moment.completed, "told of a death that was none");
            return answer;
          },
      .possible = {served},
      .lead = {.word = std::move(word), .stores = stores, .window = window},
      .patience = 20s,
      .budget = 2s,
  };
}

void prove(Server& server, const crash::Scenario& scenario) {
  const crash::Balance balance;
  crash::prove(scenario);
  server.let_go();
  CHECK_NOTHROW(balance.require_unchanged());
}

}  // namespace

TEST_SUITE("manager server") {
  TEST_CASE("killed in a call") {
    Server server;
    // Behind the taking of the second request.
    crash::Scenario scenario = scenario_of(
        server, "a manager's server calls a function", [&] { return server.commits(); }, 2, 1500);
    scenario.sleeper = [&] {
      return server.after([&](const kin::Proxy<HostRoot>& root) {
        const auto number = make<int>(root, 0);
        require(number.apply([](int& it) { return ++it; }) == 1, "it was not called once");
        server.end();
      });
    };
    scenario.expected = {told};
    prove(server, scenario);
  }

  TEST_CASE("killed while it answers a call that was parked") {
    Server server;
    // The waiter has the second line. The server parks its call, begins it again, answers it.
    crash::Scenario scenario = scenario_of(
        server, "a manager's server gives an item to one who waits",
        [&] { return &server.state().line(1).word; }, 2, 1500);
    scenario.sleeper = [&] {
      return server.after([&](const kin::Proxy<HostRoot>& root) {
        const kin::managed::Queue<int> queue(make<Items>(root, std::size_t{0}, false));
        int item = 0;
        bool was_put = false;
        std::thread waiter([&] { static_cast<void>(is_answered([&] { item = queue.get(); })); });
        was_put = is_answered([&] {
          wait_until_parked(root);
          queue.put(7);
        });
        waiter.join();
        require(item == 7 || !was_put, "it was lost, and nobody died");
        if (!was_put) throw kin::ManagerDied("in the call that gave it");
        server.end();
      });
    };
    scenario.expected = {told};
    prove(server, scenario);
  }

  TEST_CASE("killed in its end, while a call is parked") {
    Server server;
    // Open, ended by itself.
    crash::Scenario scenario = scenario_of(
        server, "a manager's server ends", [&] { return &server.state().phase; }, 2, 4000);
    scenario.sleeper = [&] {
      return server.after([&](const kin::Proxy<HostRoot>& root) {
        const kin::managed::Queue<int> queue(make<Items>(root, std::size_t{0}, false));
        bool has_item = false;
        std::thread waiter([&] { has_item = is_answered([&] { queue.get(); }); });
        const bool has_begun = is_answered([&] { wait_until_parked(root); });
        server.end();
        waiter.join();
        require(has_begun && !has_item, "it died too early, or gave what there was not");
        require(!is_answered([&] { static_cast<void>(queue.size()); }), "it went on");
      });
    };
    scenario.expected = {served};
    prove(server, scenario);
  }

  TEST_CASE("killed while it buries a client") {
    Server server;
    // Behind the last call before the first question for the statistics.
    crash::Scenario scenario = scenario_of(
        server, "a manager's server buries a client that held a lock",
        [&] { return server.commits(); }, 6, 6000);
    scenario.sleeper = [&] {
      return server.after([&](const kin::Proxy<HostRoot>& root) {
        const kin::managed::Lock lock(make<kin::detail::LockStore>(root, false));
        const auto number = make<int>(root, 0);
        const pid_t victim = fork();
        if (victim == 0) {
          if (is_answered([&] {
                lock.lock();
                const auto more = make<int>(root, 0);
                number.apply([](int& it) { it = 1; });
              })) {
            raise(SIGKILL);
          }
          _exit(0);
        }
        waitpid(victim, nullptr, 0);
        require(number.copy() == 1, "it died too early");
        static_cast<void>(root.call(&HostRoot::statistics));
        require(lock.try_lock(), "a dead process's lock is not free");
        require(root.call(&HostRoot::statistics).objects == 2, "what it had is not gone");
        server.end();
      });
    };
    scenario.expected = {told};
    prove(server, scenario);
  }
}
