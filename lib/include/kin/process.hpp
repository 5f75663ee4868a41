// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/deadline.hpp>
#include <kin/detail/export.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace kin {

namespace detail {
class Child;
class Gateway;
class ManagerEngine;
class WorkerPool;
template <typename Signature>
class FunctionRef;

/// What a process is to run: a callable with its arguments.
struct Target {
  Target() = default;
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  virtual ~Target() = default;
  virtual void run() = 0;
};

template <typename Function, typename... Arguments>
struct BoundTarget final : Target {
  template <typename F, typename... As>
  explicit BoundTarget(F&& f, As&&... as)
      : function(std::forward<F>(f)), arguments(std::forward<As>(as)...) {}
  void run() override {
    std::apply([&](auto&... each) { std::invoke(std::move(function), std::move(each)...); },
               arguments);
  }
  Function function;
  std::tuple<Arguments...> arguments;
};

template <typename Function, typename... Arguments>
concept Startable = std::is_invocable_v<std::decay_t<Function>, std::decay_t<Arguments>...>;

}  // namespace detail

/// A copyable view of a process: of a child, of the parent, of this one.
///
/// Lifetime: keeps the kernel's handle of the process, never the process itself.
/// Sharing: thread-safe.
/// After fork: a child's copy of a handle to one of its parent's children is empty: asking it throws
/// std::logic_error. A copy of any other handle goes on naming the process that it named.
/// Throws: SystemError where the kernel refuses; std::logic_error after Process::close(), and when a
/// process would join itself.
class KIN_EXPORT ProcessHandle {
 public:
  explicit ProcessHandle(std::shared_ptr<detail::Child> child) noexcept;

  [[nodiscard]] pid_t pid() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] bool daemon() const noexcept;
  [[nodiscard]] bool is_alive() const;
  /// None while it runs, and for a process that is not a child of this one. See Process::exit_code().
  [[nodiscard]] std::optional<int> exit_code() const;
  /// A descriptor, owned by the handle, that poll() shows as readable when the process is dead.
  [[nodiscard]] int sentinel() const;

  /// Waits for its death.
  /// Waits for its end. `where` is told to people, should it come to a deadlock.
  void join(std::source_location where = std::source_location::current()) const;
  /// False when it lives on after that time. A negative duration means zero.
  template <typename Rep, typename Period>
  bool join_for(std::chrono::duration<Rep, Period> limit) const {
    return join_until(detail::Deadline::after(limit), {});
  }
  /// Sends SIGTERM, SIGKILL, SIGINT; nothing happens when it is dead.
  void terminate() const;
  void kill() const;
  void interrupt() const;

 private:
  friend class Process;
  [[nodiscard]] bool join_until(detail::Deadline deadline, std::source_location where) const;
  std::shared_ptr<detail::Child> child_;
};

/// How a Process differs from the usual.
struct ProcessOptions {
  /// Shown in messages; "Process-1" and so on if empty, "Process-1:2" for a child's second child.
  std::string name = {};
  /// A daemon is killed when its creator ends, however it ends; another is waited for. As its creator
  /// if not given.
  std::optional<bool> daemon = std::nullopt;
};

/// A child process that runs a function.
///
///     kin::Queue<int> queue;
///     kin::Process child({.name = "adder"}, [queue](int a, int b) { queue.put(a + b); }, 1, 2);
///     child.start();
///     int sum = queue.get();  // 3
///     child.join();
///
/// Any callable and any movable arguments do, as for std::thread: fork carries them, nothing is
/// serialized. A subclass may override run() instead. The child is a fork: it has a copy of all
/// memory, but only the thread that called start(). Other threads' locks stay locked in it; so start
/// processes before threads, or see docs/fork_safety.md. When the function returns the child flushes
/// its streams, ends its own children as described below, and leaves by _exit: no destructors of
/// static objects, no std::atexit handlers, and std::threads that still run end with it.
///
/// Lifetime: movable. One that is destroyed while its child runs waits for it; a daemon is terminated
/// first, and during stack unwinding any child. Where a child does not end within a second of being
/// terminated so, it is killed. When its creator ends (returns from main, calls exit, or is a child
/// whose function returns), its daemons are terminated and all others joined. When its creator is
/// killed, daemons are killed by the kernel and others go on; parent_process() shows it to them.
/// Sharing: one thread at a time; the ProcessHandle of it is thread-safe.
/// After fork: parent-only; another process's copy throws std::logic_error, its destructor does nothing.
/// If a process dies: exit_code() tells how.
/// Throws: SystemError where the kernel refuses; DeadlockError from join(), see docs/deadlock.md;
/// std::logic_error for a second start(), for join() before start(), and for use after close().
/// Python: multiprocessing.Process.
class KIN_EXPORT Process {
 public:
  /// For subclasses that override run().
  Process();
  explicit Process(ProcessOptions options);

  template <typename Function, typename... Arguments>
    requires(detail::Startable<Function, Arguments...> &&
             !std::is_base_of_v<Process, std::decay_t<Function>> &&
             !std::is_same_v<ProcessOptions, std::decay_t<Function>>)
  explicit Process(Function&& function, Arguments&&... arguments)
      : Process(ProcessOptions{}, std::forward<Function>(function),
                std::forward<Arguments>(arguments)...) {}

  template <typename Function, typename... Arguments>
    requires detail::Startable<Function, Arguments...>
  Process(ProcessOptions options, Function&& function, Arguments&&... arguments)
      : Process(std::move(options)) {
    // Behind a delegation. NOLINTNEXTLINE(cppcoreguidelines-prefer-member-initializer)
    target_ =
        std::make_unique<detail::BoundTarget<std::decay_t<Function>, std::decay_t<Arguments>...>>(
            std::forward<Function>(function), std::forward<Arguments>(arguments)...);
  }

  Process(Process&& other) noexcept;
  /// First ends what it was, as the destructor does.
  Process& operator=(Process&& other) noexcept;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  virtual ~Process();

  /// Forks. The function and its arguments are destroyed in this process before it returns.
  void start();

  /// Waits for its end.
  void join(std::source_location where = std::source_location::current());
  /// False when it runs on after that time. A negative duration means zero.
  template <typename Rep, typename Period>
  bool join_for(std::chrono::duration<Rep, Period> limit) {
    return join_until(detail::Deadline::after(limit), {});
  }

  /// False before start() and when it has ended.
  [[nodiscard]] bool is_alive() const;
  /// None before it has ended. n for `exit(n)`, 0 when the function returned, 1 when it let an exception
  /// out (which is printed to stderr with its type), -s when signal s ended it. None as well where the
  /// application reaped the child with a wait of its own, the child left no code, and the kernel
  /// (before 6.15) does not tell.
  [[nodiscard]] std::optional<int> exit_code() const;
  /// 0 before start().
  [[nodiscard]] pid_t pid() const;
  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] bool daemon() const;
  /// A descriptor, owned by this object, that poll() shows as readable when the child is dead, even
  /// while children of its own live on.
  [[nodiscard]] int sentinel() const;

  /// Sends SIGTERM, SIGKILL, SIGINT; nothing happens when it has ended.
  void terminate();
  void kill();
  void interrupt();

  /// Gives up what is kept of an ended process; std::logic_error while it runs. Again: nothing.
  void close();

  /// For who wants to watch it from elsewhere. After start().
  [[nodiscard]] ProcessHandle handle() const;

 protected:
  /// What the child does: calls the function.
  virtual void run();

 private:
  friend class detail::Gateway;
  friend class detail::ManagerEngine;
  friend class detail::WorkerPool;
  struct State;
  [[nodiscard]] State& state() const;
  /// Before start(): it is none of the active_children().
  void hide();
  [[nodiscard]] const ProcessHandle& started() const;
  [[nodiscard]] bool join_until(detail::Deadline deadline, std::source_location where);
  void abandon() noexcept;
  [[noreturn]] void live(detail::FunctionRef<void()> settle_in);

  std::unique_ptr<detail::Target> target_;
  std::unique_ptr<State> state_;
};

/// This process.
[[nodiscard]] KIN_EXPORT ProcessHandle current_process();
/// The process that forked this one. None in the first process of a family, and in one that other code
/// forked. If it is dead the handle says so.
[[nodiscard]] KIN_EXPORT std::optional<ProcessHandle> parent_process();
/// The children of this process that run, but for those of kin's own: a pool's nursery is its pool's to
/// wait for, and its workers are the nursery's children. Those that have ended are reaped on the way.
[[nodiscard]] KIN_EXPORT std::vector<ProcessHandle> active_children();
/// How many processors this process may use: its affinity and its control group's quota count. At
/// least 1.
[[nodiscard]] KIN_EXPORT int cpu_count();

}  // namespace kin
