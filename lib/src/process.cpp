// SPDX-License-Identifier: BSL-1.0
//
// Process: from start() in the parent to _exit() in the child.
//
// start() runs in the creator. live() runs in the child, on the stack of the thread that called
// start(), and never returns. leave() runs at the end of every process of the family: in a child when
// its function returns, elsewhere from exit().

#include <kin/process.hpp>

#include "base/function_ref.hpp"
#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "base/log_text.hpp"
#include "base/readable_type.hpp"
#include "base/signal_mask.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "os/child.hpp"
#include "os/cpu_count.hpp"
#include "os/fork.hpp"

#include <kin/log.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <cxxabi.h>

#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace kin {

using detail::Child;
using detail::Deadline;

namespace {

// What this process knows of itself. Set in the child before anything of the user's runs.
struct Self {
  pid_t pid = ::getpid();
  std::string name{detail::main_process_name};
  bool daemon = false;
  int children_started = 0;
  std::shared_ptr<Child> parent;
};

Self& self() {
  static detail::Immortal<Self> me;
  return *me;
}

[[maybe_unused]] const bool self_is_made = detail::made_at_load(self);

std::string next_child_name() {
  Self& me = self();
  if (me.pid != ::getpid()) me = Self{};  // forked by other code
  // Atomic: several threads may make processes.
  const std::string number = std::to_string(++std::atomic_ref(me.children_started));
  return me.parent ? me.name + ":" + number : "Process-" + number;
}

// What the kernel does to a child's standard descriptors is the application's business; a child that
// opens a file must not get number 0, 1 or 2 by accident, though: closed ones would swallow it.
void fill_closed_stdio() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
      [[maybe_unused]] const int opened = ::open("/dev/null", O_RDWR);  // the lowest free: fd
    }
  }
}

void print_uncaught() noexcept {
  detail::flush_streams();  // what it had printed before comes before
  try {
    detail::print_to_stderr("Process " + self().name + " (pid " + std::to_string(::getpid()) +
                            "): uncaught exception of type " + detail::describe_exception() + "\n");
  } catch (...) {  // no memory
    detail::print_to_stderr("uncaught exception in a child process\n");
  }
}

// The end of a process, by exit() as well: `code` is known to who can't ask the kernel, and no child
// is left behind.
void leave(int code, void* /*unused*/) {
  detail::end_children();
  detail::leave_exit_code(code & 0xff);  // as the kernel tells it
}

detail::Guarded<bool>& is_registered() {
  static detail::Immortal<detail::Guarded<bool>> registered;
  return *registered;
}

[[maybe_unused]] const bool is_registered_is_made = detail::made_at_load(is_registered);

void leave_at_exit_too() {
  is_registered().with(
      [](bool& registered) { registered = registered || ::on_exit(leave, nullptr) == 0; });
}

// In the child, which must not end before its creator has its pidfd: nothing of it may be left then, not
// even its number, where SIGCHLD is ignored or the application reaps all that it finds. The creator opens
// the gate; so does its death, which closes its end. (Not its closing alone: who made a process past all fork
// handlers has given it the other end.)
void wait_until_open(detail::LifeLine& gate) {
  static_cast<void>(gate.write_end.release());  // closed by the fork handler
  char nothing = 0;
  detail::retry_interrupted([&] { return ::read(gate.read_end.get(), &nothing, 1); });
  gate.read_end.reset();
}

void open_gate(const detail::LifeLine& gate) noexcept {
  const char go = 0;
  // Never full, and both ends are held here.
  [[maybe_unused]] const ssize_t written = ::write(gate.write_end.get(), &go, 1);
}

}  // namespace

// ---- ProcessHandle

ProcessHandle::ProcessHandle(std::shared_ptr<Child> child) noexcept : child_(std::move(child)) {}

pid_t ProcessHandle::pid() const noexcept { return child_->about().pid; }
const std::string& ProcessHandle::name() const noexcept { return child_->about().name; }
bool ProcessHandle::daemon() const noexcept { return child_->about().daemon; }
bool ProcessHandle::is_alive() const { return child_->is_alive(); }
std::optional<int> ProcessHandle::exit_code() const { return child_->exit_code(); }
int ProcessHandle::sentinel() const { return child_->descriptor(); }
void ProcessHandle::join(std::source_location where) const {
  static_cast<void>(join_until(Deadline::never(), where));
}
void ProcessHandle::terminate() const { child_->send_signal(SIGTERM); }
void ProcessHandle::kill() const { child_->send_signal(SIGKILL); }
void ProcessHandle::interrupt() const { child_->send_signal(SIGINT); }

bool ProcessHandle::join_until(Deadline deadline, std::source_location where) const {
  if (child_->about().pid == ::getpid()) {
    throw std::logic_error("kin: a process can't join itself");
  }
  return child_->join(deadline, {.where = where, .may_throw = true});
}

// ---- Process

struct Process::State {
  pid_t creator = ::getpid();
  int exceptions = std::uncaught_exceptions();
  std::string name;
  bool daemon = false;
  bool closed = false;
  bool hidden = false;
  std::optional<ProcessHandle> handle;
};

Process::Process() : Process(ProcessOptions{}) {}

Process::Process(ProcessOptions options) : state_(std::make_unique<State>()) {
  state_->name = options.name.empty() ? next_child_name() : std::move(options.name);
  state_->daemon = options.daemon.value_or(self().daemon);
}

Process::Process(Process&& other) noexcept
    : target_(std::move(other.target_)), state_(std::move(other.state_)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    abandon();
    target_ = std::move(other.target_);
    state_ = std::move(other.state_);
  }
  return *this;
}

Process::~Process() { abandon(); }

void Process::hide() { state().hidden = true; }

void Process::abandon() noexcept {
  if (!state_ || state_->closed || state_->creator != ::getpid()) return;
  const auto& handle = state_->handle;
  if (!handle) return;
  try {
    Child& child = *handle->child_;
    if (!child.is_alive()) return;
    const bool unwinding = std::uncaught_exceptions() > state_->exceptions;
    if (state_->daemon || unwinding) {
      child.terminate_and_join();
    } else {
      child.join(Deadline::never());
    }
  } catch (const std::exception& error) {
    detail::log_text(LogLevel::error, [&] {
      return "process " + state_->name + " can't be waited for: " + error.what();
    });
  }
}

Process::State& Process::state() const {
  if (!state_) throw std::logic_error("kin: a Process was used after it was moved from");
  if (state_->closed) throw std::logic_error("kin: process " + state_->name + " was closed");
  return *state_;
}

const ProcessHandle& Process::started() const {
  const State& me = state();
  if (me.creator != ::getpid()) {
    throw std::logic_error("kin: process " + me.name + " belongs to the process that started it");
  }
  if (!me.handle) throw std::logic_error("kin: process " + me.name + " was not started");
  return *me.handle;
}

void Process::start() {
  State& me = state();
  if (me.creator != ::getpid()) {
    throw std::logic_error("kin: process " + me.name + " can be started only where it was made");
  }
  if (me.handle) throw std::logic_error("kin: process " + me.name + " was started before");
  leave_at_exit_too();
  std::optional<detail::LifeLine> life_line;
  if (me.daemon) life_line.emplace();
  std::optional<detail::LifeLine> gate(std::in_place);
  UniqueFd own_pidfd = detail::open_pidfd(::getpid());
  // While signals come: where stdout is a broken pipe, SIGPIPE is to come before there is a child.
  detail::flush_streams();
  std::optional<detail::SignalsBlocked> blocked(std::in_place);
  const detail::Stamp creator_stamp = detail::this_process();
  const detail::Forked forked = detail::fork_process();
  if (forked.pid == 0) {
    // If the creator is killed from here on: a daemon finds its life-line cut.
    live([&] {
      auto parent = std::make_shared<Child>(
          Child::About{me.creator, creator_stamp, self().name, self().daemon, Child::Kind::other},
          std::move(own_pidfd));
      self() = Self{::getpid(), me.name, me.daemon, 0, std::move(parent)};
      if (life_line) life_line->hold();
      wait_until_open(*gate);
      fill_closed_stdio();
      detail::set_process_name(detail::this_process_or_none(), me.name);
      blocked.reset();
    });
  }
  // Gives up a descriptor for the one that is needed now, where the table is full.
  own_pidfd.reset();
  try {
    me.handle.emplace(detail::add_child(
        {forked.pid, forked.stamp, me.name, me.daemon, Child::Kind::child, me.hidden},
        detail::open_pidfd(forked.pid), life_line ? &*life_line : nullptr));
  } catch (...) {
    // No descriptor or no memory for the child: then there is to be no child. It waits at the gate.
    detail::kill_and_reap(forked.pid, forked.stamp);
    throw;
  }
  open_gate(*gate);
  gate.reset();
  blocked.reset();
  target_.reset();
}

void Process::live(detail::FunctionRef<void()> settle_in) {
  int code = 0;
  try {
    settle_in();
    run();
    target_.reset();
  } catch (const abi::__forced_unwind&) {
    // pthread_exit(). Not past this: the frames below are the parent's.
    leave(0, nullptr);
    detail::flush_streams();
    ::_exit(0);
  } catch (...) {
    print_uncaught();
    code = 1;
  }
  leave(code, nullptr);
  detail::flush_streams();
  ::_exit(code);
}

void Process::run() {
  if (target_) target_->run();
}

void Process::join(std::source_location where) {
  static_cast<void>(join_until(Deadline::never(), where));
}

bool Process::join_until(Deadline deadline, std::source_location where) {
  return started().join_until(deadline, where);
}

bool Process::is_alive() const {
  const State& me = state();
  return me.handle && started().is_alive();
}

std::optional<int> Process::exit_code() const {
  const State& me = state();
  return me.handle ? started().exit_code() : std::nullopt;
}

pid_t Process::pid() const {
  const State& me = state();
  return me.handle ? me.handle->pid() : 0;
}
const std::string& Process::name() const { return state().name; }
bool Process::daemon() const { return state().daemon; }
int Process::sentinel() const { return started().sentinel(); }
void Process::terminate() { started().terminate(); }
void Process::kill() { started().kill(); }
void Process::interrupt() { started().interrupt(); }
ProcessHandle Process::handle() const { return started(); }

void Process::close() {
  if (!state_) throw std::logic_error("kin: a Process was used after it was moved from");
  if (state_->closed) return;
  if (const auto& handle = state_->handle; handle) {
    if (is_alive()) {
      throw std::logic_error("kin: process " + state_->name +
                             " runs; terminate() and join() it before close()");
    }
    handle->child_->close();
  }
  target_.reset();
  state_->handle.reset();
  state_->closed = true;
}

// ---- free functions

ProcessHandle current_process() {
  Self& me = self();
  if (me.pid != ::getpid()) me = Self{};
  return ProcessHandle(std::make_shared<Child>(
      Child::About{me.pid, detail::this_process_or_none(), me.name, me.daemon, Child::Kind::other},
      detail::open_pidfd(me.pid)));
}

std::optional<ProcessHandle> parent_process() {
  Self& me = self();
  if (me.pid != ::getpid()) me = Self{};
  if (!me.parent) return std::nullopt;
  return ProcessHandle(me.parent);
}

std::vector<ProcessHandle> active_children() {
  std::vector<ProcessHandle> handles;
  for (auto& child : detail::living_children()) {
    if (!child->about().is_hidden) handles.emplace_back(std::move(child));
  }
  return handles;
}

int cpu_count() { return detail::usable_cpus(); }

}  // namespace kin
