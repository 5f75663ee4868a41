// SPDX-License-Identifier: BSL-1.0
//
// How a manager's server begins and ends, in its maker's process. The server is a daemon: the kernel kills
// it when its maker dies, however that ends.

#include <kin/detail/manager_engine.hpp>

#include "base/log_text.hpp"
#include "manager/link.hpp"
#include "manager/server.hpp"
#include "nursery/house_process.hpp"
#include "outside/call_frame.hpp"
#include "outside/gateway.hpp"
#include "outside/relay.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/detail/end.hpp>
#include <kin/error.hpp>
#include <kin/listener.hpp>
#include <kin/log.hpp>

#include <chrono>
#include <climits>
#include <stdexcept>

namespace kin::detail {
namespace {

std::string next_manager_name() {
  static std::atomic<int> managers{0};
  return "Manager-" + std::to_string(++managers);
}

void set_phase(ManagerState& state, ManagerState::Phase phase) {
  state.phase.store(phase);
  futex_wake(state.phase, INT_MAX);
}

}  // namespace

ManagerEngine::ManagerEngine(ManagerSettings settings)
    : creator_(this_process()),
      name_(settings.name.empty() ? next_manager_name() : std::move(settings.name)),
      memory_(std::make_unique<ManagerMemory>()) {
  if (settings.connection) {
    start("its relay is a fork", [this, &settings] { relay(*settings.connection); });
    settings.connection->close();  // the relay's
    return;
  }
  start("its server is a fork", [this, &settings] { serve(settings.initializer); });
  if (!settings.outside) return;
  try {
    gateway_ = std::make_unique<Gateway>(name_, *memory_, *settings.outside);
  } catch (...) {
    end();
    throw;
  }
}

End connect_to_manager(const std::string& address, const ClientOptions& options) {
  return connect_to(address, options, frames_of_managers());
}

std::string ManagerEngine::address() const { return gateway_ ? gateway_->address() : ""; }

ManagerEngine::~ManagerEngine() {
  if (is_own_process()) {
    end();
  } else if (process_) {
    // A copy in a child: the process is another's, and so are the claims.
    process_.reset();
    if (gateway_) gateway_->forget();
  }
}

bool ManagerEngine::is_own_process() const noexcept { return creator_ == this_process_or_none(); }

void ManagerEngine::start(const std::string& warning, const std::function<void()>& live) {
  warn_of_threads(name_, warning);
  process_.emplace(ProcessOptions{.name = name_ + "-server", .daemon = true}, live);
  // Who waits for all the children that it has started would wait for the end of the manager.
  process_->hide();
  process_->start();
  server_.emplace(process_->handle());
  ManagerState& state = memory_->state();
  while (state.phase.load() == ManagerState::starting && server_->is_alive()) {
    futex_wait_slice(state.phase, ManagerState::starting, Deadline::never());
  }
  if (state.phase.load() == ManagerState::open) {
    root_ = Handle(make_hosted(state, 0, 0, type_number(typeid(HostRoot))));
    return;
  }
  process_->join();
  const std::string why = state.why();
  throw ManagerDied(name_ + ": its server (pid " + std::to_string(server_->pid()) +
                    ") did not come to serve" + (why.empty() ? "" : ": " + why));
}

// In the server, or what stands for it.
ManagerMemory ManagerEngine::settle_in(std::span<const End> kept) const {
  // If killed in here: the kernel closes what is to be closed, and whoever waits sees that we are dead.
  End::close_inherited(kept);
  Acceptor::close_inherited();
  leave_interrupts_to_parent();
  // Of our own: so they stay until we were swept, whatever becomes of the maker.
  // Moved out. NOLINTNEXTLINE(misc-const-correctness)
  ManagerMemory memory(*memory_);
  ManagerState& state = memory.state();
  state.server.store(this_process());
  state.pid.store(current_process().pid());
  return memory;
}

void ManagerEngine::relay(const End& connection) {
  const ManagerMemory memory = settle_in({&connection, 1});
  Relay relay(memory.state(), connection);
  set_phase(memory.state(), ManagerState::open);
  relay.run();
}

void ManagerEngine::serve(Initializer& initializer) {
  const ManagerMemory memory = settle_in(initializer.ends());
  ManagerState& state = memory.state();
  try {
    if (initializer) initializer();
    Server server(state);
    set_phase(state, ManagerState::open);
    server.run();
  } catch (const std::exception& error) {
    if (state.phase.load() == ManagerState::starting) {
      state.tell_why(error.what());
      set_phase(state, ManagerState::failed);
    }
    throw;
  }
}

void ManagerEngine::shutdown() {
  if (!is_own_process()) {
    throw std::logic_error("kin: " + name_ + " is shut down by the process that made it");
  }
  end();
}

void ManagerEngine::end() noexcept {
  if (!process_) return;
  constexpr auto patience = std::chrono::seconds(1);
  const SoftLimit no_limit;
  try {
    ManagerState& state = memory_->state();
    NoLine no_line;
    if (state.phase.load() != ManagerState::lost) set_phase(state, ManagerState::ended);
    shut_down(*state.requests, no_line);
    if (!process_->join_for(patience)) {
      // It runs a call that does not end, or was stopped.
      process_->kill();
      process_->join();
    }
    process_.reset();
    gateway_.reset();
    forget_link(state.server.load());
    forget_async_lines(state.server.load());
  } catch (const std::exception& error) {
    log_text(LogLevel::error, [&] { return name_ + " could not be shut down: " + error.what(); });
  }
}

}  // namespace kin::detail
