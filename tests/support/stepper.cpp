// SPDX-License-Identifier: BSL-1.0

// One traced child. The test process forks it (with fork(), so that the fork handlers of what is
// tested run) and is both its parent and its tracer: a kill is exact, and nobody else reaps it.
//
// The operation stands between two marks in a page of the harness: the child stops itself, is
// stepped until it sets `begun`, and is done as soon as it sets `finished`. The marks are read
// directly, a step costs two system calls here and nothing else. That is dominated by switching
// between two processes, which is several times cheaper if they stay on one core.
//
// A child that blocks would keep the tracer in waitpid for ever. So a timer interrupts the tracer
// now and then, and it looks whether the child sleeps.
//
// Programs should be linked with -z now or run with LD_BIND_NOW=1: otherwise each first call of a
// function is a walk of thousands of instructions through the dynamic linker, in every child anew.

#include "stepper.hpp"

#include "machine.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>

#include <malloc.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace crash {

namespace {

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// What the test process has freed before makes no difference to a child's malloc() from here on: it gets its
/// memory from the end of the heap, but for a few blocks of each small size. Or no two children would go the
/// same way.
void even_out_free_memory() {
  const void* const end = static_cast<std::byte*>(sbrk(0)) - mallinfo2().keepcost;
  const auto take_all = [&](std::size_t size) {
    const void* block = nullptr;
    do {
      block = std::malloc(size);
    } while (block != nullptr && block < end);
  };
  // The C library keeps smaller ones at hand for a thread, seven of each size.
  constexpr std::size_t largest = 1032;
  for (std::size_t size = std::size_t{1} << 16; size > largest; size /= 2) {
    take_all(size);
  }
  for (std::size_t size = largest; size >= 24; size -= 16) {
    take_all(size);
    std::array<void*, 4> blocks{};
    for (void*& block : blocks) {
      block = std::malloc(size);
    }
    for (void* block : blocks) {
      std::free(block);
    }
  }
}

}  // namespace

int wait_for(pid_t pid, int flags) {
  int status = 0;
  while (waitpid(pid, &status, flags) < 0) {
    if (errno != EINTR) {
      throw_errno("waitpid");
    }
  }
  return status;
}

/// Interrupts the system calls of this thread every few milliseconds.
struct Stepper::CloseUp::Heartbeat {
  Heartbeat() {
    struct sigaction ignore_but_interrupt {};
    ignore_but_interrupt.sa_handler = [](int) {};
    sigaction(SIGALRM, &ignore_but_interrupt, &before_);

    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGALRM;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) {
      throw_errno("timer_create");
    }
    constexpr timespec period{.tv_sec = 0, .tv_nsec = 3'000'000};
    const itimerspec every{.it_interval = period, .it_value = period};
    timer_settime(timer_, 0, &every, nullptr);
  }
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;
  ~Heartbeat() {
    timer_delete(timer_);
    sigaction(SIGALRM, &before_, nullptr);
  }

 private:
  struct sigaction before_ {};
  timer_t timer_{};
};

Stepper::CloseUp::CloseUp(const Stepper& stepper)
    : child_(stepper.pid_), heartbeat_(std::make_unique<Heartbeat>()) {
  sched_getaffinity(0, sizeof cpus_, &cpus_);
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(static_cast<std::size_t>(sched_getcpu()), &here);
  sched_setaffinity(0, sizeof here, &here);
  sched_setaffinity(child_, sizeof here, &here);
}

Stepper::CloseUp::~CloseUp() {
  sched_setaffinity(child_, sizeof cpus_, &cpus_);
  sched_setaffinity(0, sizeof cpus_, &cpus_);
}

Stepper::Stepper(const std::function<void()>& operation, Whom whom)
    : tracer_(getpid()), pid_(fork()) {
  if (pid_ < 0) {
    throw_errno("fork of a child to be traced");
  }
  if (pid_ == 0) {
    run_child(operation);
  }
  try {
    take_charge();
    if (whom == Whom::forked_by_child) {
      follow_fork();
    }
  } catch (...) {
    kill();
    reap();
    throw;
  }
}

Stepper::~Stepper() {
  if (getpid() == tracer_) {
    kill();
    reap();
  }
}

void Stepper::run_child(const std::function<void()>& operation) const {
  die_with(tracer_);
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
    _exit(errno);
  }
  even_out_free_memory();
  syscall(SYS_kill, getpid(), SIGSTOP);
  note_->begun.store(true, std::memory_order_relaxed);
  try {
    operation();
  } catch (const std::exception& error) {
    note_->threw = true;
    std::strncpy(note_->text.data(), error.what(), note_->text.size() - 1);
  } catch (...) {
    note_->threw = true;
    std::strcpy(note_->text.data(), "something that is no std::exception");
  }
  note_->finished.store(true, std::memory_order_relaxed);
  _exit(0);
}

void Stepper::take_charge() {
  const int status = wait_for(pid_, __WALL);
  if (!WIFSTOPPED(status)) {
    reaped_ = true;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
    throw_errno("the kernel refuses to trace a child");
  }
  if (ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL) != 0) {
    throw_errno("PTRACE_SETOPTIONS");
  }
  std::size_t length = 0;
  syscall(SYS_get_robust_list, pid_, &robust_list_, &length);
  while (!note_->begun) {
    resume(PTRACE_SINGLESTEP);
    if (stands(wait_for(pid_, __WALL)) == State::dead) {
      throw std::system_error(ECHILD, std::generic_category(),
                              "a traced child died before its operation");
    }
  }
}

/// Lets the child go, and has the first process that it forks instead, before its first instruction.
void Stepper::follow_fork() {
  const auto set_options = [&](int options) {
    if (ptrace(PTRACE_SETOPTIONS, pid_, nullptr, options) != 0) {
      throw_errno("PTRACE_SETOPTIONS");
    }
  };
  set_options(PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK);
  for (int status = 0; status >> 8 != (SIGTRAP | PTRACE_EVENT_FORK << 8);) {
    resume(PTRACE_CONT);
    status = wait_for(pid_, __WALL);
    if (stands(status) != State::stepping) {
      throw std::system_error(ECHILD, std::generic_category(),
                              "an operation that was to fork ended");
    }
  }
  unsigned long forked = 0;
  ptrace(PTRACE_GETEVENTMSG, pid_, nullptr, &forked);
  const pid_t child = std::exchange(pid_, static_cast<pid_t>(forked));
  has_left_operation_ = true;
  stands(wait_for(pid_, __WALL));
  signal_ = 0;  // the stop with which the kernel hands it over
  set_options(PTRACE_O_EXITKILL);
  ptrace(PTRACE_DETACH, child, nullptr, nullptr);
}

void Stepper::resume(int request) {
  if (ptrace(static_cast<__ptrace_request>(request), pid_, nullptr, signal_) != 0) {
    throw_errno("ptrace");
  }
  signal_ = 0;
  in_flight_ = true;
}

/// Notes where the child stands now. A signal other than the trap of a step is kept, to be
/// delivered with the next.
Stepper::State Stepper::stands(int status) {
  in_flight_ = false;
  if (!WIFSTOPPED(status)) {
    reaped_ = true;
    status_ = status;
    const bool has_finished = has_left_operation_ && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return state_ = has_finished ? State::finished : State::dead;
  }
  signal_ = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
  if (has_left_operation_) {
    return state_ = State::stepping;
  }
  return state_ =
             note_->finished.load(std::memory_order_relaxed) ? State::finished : State::stepping;
}

Stepper::State Stepper::step() { return advance(PTRACE_SINGLESTEP); }

Stepper::State Stepper::run_to_system_call() { return advance(PTRACE_SYSCALL); }

Stepper::State Stepper::run_to_store(const void* word) {
  if (in_flight_) {
    return advance(PTRACE_CONT);
  }
  if (machine::watch(pid_, word)) {
    return word == nullptr ? state_ : advance(PTRACE_CONT);
  }
  if (word == nullptr) {
    return state_;
  }
  std::uint64_t before = 0;
  std::uint64_t now = 0;
  std::memcpy(&before, word, sizeof before);
  do {
    if (step() != State::stepping) {
      return state_;
    }
    std::memcpy(&now, word, sizeof now);
  } while (now == before);
  return state_;
}

bool Stepper::set_mark(std::uintptr_t place) {
  return machine::mark(pid_, place, &note_->finished);
}

void Stepper::clear_mark() { machine::mark(pid_, 0, nullptr); }

Stepper::State Stepper::run_to_mark() { return advance(PTRACE_CONT); }

Stepper::State Stepper::advance(int request) {
  if (!in_flight_) {
    resume(request);
  }
  constexpr int long_enough = 100;
  for (int asleep = 0, looks = 0;;) {
    int status = 0;
    if (waitpid(pid_, &status, __WALL) == pid_) {
      if (stands(status) == State::stepping && signal_ != 0) {
        resume(request);
        continue;
      }
      return state_;
    }
    if (errno != EINTR) {
      throw_errno("waitpid of a traced child");
    }
    asleep = process_state(pid_) == 'S' ? asleep + 1 : 0;
    if (asleep == 2) {
      return state_ = State::asleep;
    }
    if (++looks == long_enough && request == PTRACE_CONT) {
      return state_ = State::running;
    }
  }
}

std::uintptr_t Stepper::program_counter() const {
  return in_flight_ || reaped_ ? last_seen_ : machine::program_counter(pid_);
}

void Stepper::note_place() {
  last_seen_ = state_ == State::asleep ? blocked_at(pid_) : program_counter();
}

Stepper::Glance Stepper::glance() const {
  Glance glance;
  machine::Instruction code{};
  std::array<iovec, 2> ours{
      {{glance.robust_list.data(), sizeof glance.robust_list}, {code.data(), code.size()}}};
  std::array<iovec, 2> theirs{{{reinterpret_cast<void*>(robust_list_), sizeof glance.robust_list},
                               {reinterpret_cast<void*>(program_counter()), code.size()}}};
  process_vm_readv(pid_, ours.data(), ours.size(), theirs.data(), theirs.size(), 0);
  glance.before_system_call = machine::is_system_call(code);
  return glance;
}

void Stepper::kill() {
  if (reaped_) {
    return;
  }
  note_place();
  ::kill(pid_, SIGKILL);
  siginfo_t end{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &end, WEXITED | WNOWAIT | __WALL) != 0 &&
         errno == EINTR) {
  }
  in_flight_ = true;  // never to be seen standing again
}

void Stepper::reap() {
  if (!reaped_) {
    status_ = wait_for(pid_, __WALL);
    reaped_ = true;
  }
}

void Stepper::stop() {
  note_place();
  if (in_flight_) {
    ::kill(pid_, SIGSTOP);
    stands(wait_for(pid_, __WALL));
  }
  if (ptrace(PTRACE_DETACH, pid_, nullptr, SIGSTOP) != 0) {
    throw_errno("PTRACE_DETACH");
  }
  wait_for(pid_, WUNTRACED);
  in_flight_ = true;
}

bool Stepper::ends_by(Clock::time_point deadline) {
  ::kill(pid_, SIGCONT);
  while (waitpid(pid_, &status_, WNOHANG) == 0) {
    if (Clock::now() > deadline) {
      return false;
    }
    const timespec moment{.tv_sec = 0, .tv_nsec = 50'000};
    nanosleep(&moment, nullptr);
  }
  reaped_ = true;
  state_ = WIFEXITED(status_) && note_->finished ? State::finished : State::dead;
  return true;
}

std::string Stepper::failure() const {
  if (note_->threw && note_->finished) {
    return std::string("threw: ") + note_->text.data();
  }
  if (state_ == State::dead) {
    return WIFSIGNALED(status_) ? "died of signal " + std::to_string(WTERMSIG(status_))
                                : "ended with exit code " + std::to_string(WEXITSTATUS(status_));
  }
  return {};
}

}  // namespace crash
