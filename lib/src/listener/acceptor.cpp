// SPDX-License-Identifier: BSL-1.0
//
// Listeners, as users have them: what is asked of the options, and the waiting. The rest is in
// acceptor_state.cpp.

#include <kin/listener.hpp>

#include "listener/acceptor_state.hpp"
#include "os/fork.hpp"
#include "waiting/soft_limit.hpp"

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace kin::detail {

Acceptor::Acceptor(const ListenerOptions& options, MessageTypes types) {
  const NetworkAddress where =
      parse_address(options.address.empty() ? new_abstract_name() : options.address);
  if (options.authkey.empty() && !where.is_unix()) {
    throw std::invalid_argument("kin: a listener at " + options.address +
                                " needs an authkey: anybody may connect to it");
  }
  if (options.backlog < 1) throw std::invalid_argument("kin: a listener's backlog is 1 at least");
  if (options.handshake_limit.count() <= 0) {
    throw std::invalid_argument("kin: a listener's handshake_limit is more than zero");
  }
  state_ = std::make_shared<State>(options, where, types);
}

Acceptor::State& Acceptor::state() const {
  if (!state_) throw std::logic_error("kin: this listener was moved from");
  // Throws where this process is refused.
  if (this_process_or_none() == 0) this_process();
  return *state_;
}

std::optional<End> Acceptor::accept(Deadline deadline) const {
  State& listener = state();
  while (true) {
    listener.progress();
    if (auto outcome = listener.take_finished()) {
      if (outcome->refused) std::rethrow_exception(outcome->refused);
      return std::move(outcome->accepted);
    }
    if (deadline.has_passed()) return std::nullopt;
    SoftLimit::check();
    const UseOfListener use(state_);
    listener.wait(deadline);
  }
}

std::string Acceptor::address() const { return state().address; }

std::optional<std::string> Acceptor::last_accepted() const {
  State& listener = state();
  return all_listeners().with([&](Listeners&) { return listener.last_accepted; });
}

void Acceptor::close() const { state().close(); }
bool Acceptor::closed() const { return !state_ || state_->is_closed.load(); }

int Acceptor::fileno() const {
  State& listener = state();
  return all_listeners().with([&](Listeners&) {
    listener.require_open();
    listener.ensure_watch();
    return listener.watch.get();
  });
}

std::shared_ptr<const void> Acceptor::hold() const {
  return std::make_shared<UseOfListener>(state_);
}

bool Acceptor::is_ready() const {
  State& listener = state();
  listener.progress();
  return all_listeners().with([&](Listeners&) { return !listener.finished.empty(); });
}

void Acceptor::close_inherited() noexcept {
  State* one = all_listeners().with([](Listeners& all) { return all.first; });
  for (; one != nullptr; one = one->next) one->close_inherited();
}

}  // namespace kin::detail
