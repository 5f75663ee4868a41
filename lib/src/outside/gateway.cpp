// SPDX-License-Identifier: BSL-1.0

#include "outside/gateway.hpp"

#include "base/log_text.hpp"
#include "manager/link.hpp"
#include "nursery/house_process.hpp"
#include "outside/call_frame.hpp"
#include "outside/session.hpp"
#include "waiting/futex.hpp"
#include "wire/exception.hpp"

#include <kin/detail/end.hpp>
#include <kin/error.hpp>
#include <kin/log.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstring>
#include <exception>
#include <list>
#include <span>
#include <utility>

#include <poll.h>

namespace kin::detail {
namespace {

// What the gateway says when it has begun: the address, or why there is none.
constexpr char listens = 'a';
constexpr char failed = 'f';

// Each is a process, and two descriptors here.
constexpr std::size_t most_sessions = 400;

// So long the programs at their other ends have to take the last answers, once the server is gone.
constexpr std::chrono::seconds patience_with_sessions(1);

// For a process that is to keep nothing else.
std::vector<End> ends_of(const Connection<std::string>& connection) {
  EndsNoted noted;
  // Notes its ends. NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const Connection<std::string> copy(connection);
  return noted.take();
}

// The server is gone.
void end_sessions(ManagerState& manager, std::list<Process>& sessions) {
  const Deadline deadline = Deadline::after(patience_with_sessions);
  std::uint32_t open = ManagerState::open;
  manager.phase.compare_exchange_strong(open, ManagerState::died);
  // Whoever waits for answers looks now, and not only at the next slice.
  for (std::uint32_t index = 0; index < manager.lines.load(); ++index) {
    CallLine& line = manager.line(index);
    line.bell.fetch_add(1);
    futex_wake(line.bell, INT_MAX);
  }
  for (Process& session : sessions) {
    const std::chrono::nanoseconds left(deadline.nanoseconds() - Deadline::now());
    session.join_for(std::max(left, std::chrono::nanoseconds(0)));
  }
  for (Process& session : sessions) session.kill();
  for (Process& session : sessions) session.join();
}

void wait_for_either(int one, int other) {
  std::array<pollfd, 2> both{{{one, POLLIN, 0}, {other, POLLIN, 0}}};
  ::poll(both.data(), both.size(), static_cast<int>(slice_nanoseconds / 1'000'000));
}

std::string failure_text(const std::exception_ptr& exception) {
  std::string text(1, failed);
  give_exception(exception, nullptr, [&](std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  return text;
}

void run_session(const ManagerMemory& inherited, const End& connection) {
  End::close_inherited({&connection, 1});
  Acceptor::close_inherited();
  leave_interrupts_to_parent();
  // A claim of our own. NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const ManagerMemory memory(inherited);
  Handle root(make_hosted(memory.state(), 0, 0, type_number(typeid(HostRoot))));
  Session(std::move(root), connection).run();
}

}  // namespace

Gateway::Gateway(const std::string& name, const ManagerMemory& memory,
                 const ListenerOptions& options)
    : name_(name) {
  const Pipe<std::string> pipe;
  own_end_ = pipe.first;
  process_.emplace(ProcessOptions{.name = name + "-gateway", .daemon = true},
                   [&, end = pipe.second] { live(memory, options, end); });
  process_->hide();
  process_->start();
  pipe.second.close();
  const std::string said = own_end_.recv();
  if (said.front() == listens) {
    address_ = said.substr(1);
    return;
  }
  process_->join();
  IncomingCargo none;
  std::rethrow_exception(take_exception(std::as_bytes(std::span(said).subspan(1)), none));
}

Gateway::~Gateway() {
  if (!process_) return;
  constexpr auto patience = patience_with_sessions + std::chrono::seconds(1);
  try {
    own_end_.send("end");
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): it has ended
  }
  try {
    if (!process_->join_for(patience)) {
      process_->kill();
      process_->join();
    }
  } catch (const std::exception& error) {
    log_text(LogLevel::error,
             [&] { return name_ + "'s gateway could not be ended: " + error.what(); });
  }
}

void Gateway::forget() noexcept { process_.reset(); }

// In the gateway.
void Gateway::live(const ManagerMemory& inherited, const ListenerOptions& options,
                   const Connection<std::string>& maker) const {
  End::close_inherited(ends_of(maker));
  Acceptor::close_inherited();
  leave_interrupts_to_parent();
  const ManagerMemory memory(inherited);
  const Stamp server = memory.state().server.load();
  std::optional<Acceptor> acceptor;
  try {
    acceptor.emplace(options, frames_of_managers());
  } catch (...) {
    maker.send(failure_text(std::current_exception()));
    return;
  }
  maker.send(listens + acceptor->address());
  std::list<Process> sessions;
  int number = 0;
  const auto is_over = [&] { return is_gone(server) || maker.poll(); };
  while (!is_over()) {
    wait_for_either(acceptor->fileno(), maker.fileno());
    try {
      std::erase_if(sessions, [](Process& one) { return one.join_for(std::chrono::seconds(0)); });
      const std::optional<End> connection = acceptor->accept(Deadline::passed());
      if (!connection) continue;
      if (sessions.size() >= most_sessions) {
        connection->close();
        throw Error("there are " + std::to_string(most_sessions) + " already");
      }
      Process session(ProcessOptions{.name = name_ + "-session-" + std::to_string(++number)},
                      [&memory, connection] { run_session(memory, *connection); });
      try {
        session.start();
      } catch (...) {
        connection->close();
        throw;
      }
      connection->close();
      sessions.push_back(std::move(session));
    } catch (const SystemError& error) {
      log_text(LogLevel::warning,
               [&] { return name_ + " let a client from outside not in: " + error.what(); });
      // No descriptor or no process is left: others have to end first.
      static_cast<void>(maker.poll_for(std::chrono::nanoseconds(slice_nanoseconds)));
    } catch (const std::exception& error) {
      // Who did not know the key, or spoke of something else.
      log_text(LogLevel::warning,
               [&] { return name_ + " let a client from outside not in: " + error.what(); });
    }
  }
  acceptor.reset();  // nobody waits to be let in, and another may listen there
  end_sessions(memory.state(), sessions);
}

}  // namespace kin::detail
