// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <sys/types.h>

/// The whole vocabulary of failure.
///
/// Three kinds are kept apart. What is *expected* (nothing there yet, time limit reached) stands in
/// the return type: `std::optional` or `bool`. When *the world failed*, an exception below
/// kin::Error is thrown. When *the caller broke the contract* (a second start(), unlocking what
/// another thread holds, using what was closed), it is a `std::logic_error`. Memory that can't be
/// had, shared memory included, is `std::bad_alloc`.
namespace kin {

/// The base of every failure that kin reports.
class KIN_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
  ~Error() override;
};

/// A system call failed: `call()` is its name, `code()` what the kernel answered.
class KIN_EXPORT SystemError : public Error {
 public:
  SystemError(std::string call, int error_number);
  SystemError(const SystemError&) = default;
  SystemError& operator=(const SystemError&) = default;
  ~SystemError() override;

  [[nodiscard]] const std::string& call() const noexcept { return call_; }
  [[nodiscard]] const std::error_code& code() const noexcept { return code_; }

 private:
  std::string call_;
  std::error_code code_;
};

/// The queue was shut down: nothing more can be put, and what had been put was taken.
/// Python: queue.ShutDown.
class KIN_EXPORT QueueShutDown : public Error {
 public:
  using Error::Error;
  QueueShutDown(const QueueShutDown&) = default;
  QueueShutDown& operator=(const QueueShutDown&) = default;
  ~QueueShutDown() override;
};

/// All that was sent was received, and nobody has the other end of the pipe any more.
/// Python: EOFError.
class KIN_EXPORT EndOfStream : public Error {
 public:
  using Error::Error;
  EndOfStream(const EndOfStream&) = default;
  EndOfStream& operator=(const EndOfStream&) = default;
  ~EndOfStream() override;
};

/// Nobody has the other end of the pipe any more, so nobody would receive the message.
/// Python: BrokenPipeError.
class KIN_EXPORT BrokenPipe : public Error {
 public:
  using Error::Error;
  BrokenPipe(const BrokenPipe&) = default;
  BrokenPipe& operator=(const BrokenPipe&) = default;
  ~BrokenPipe() override;
};

/// The buffer is smaller than the message, which is still there: receive it with a larger one.
/// Python: BufferTooShort, which carries the message instead.
class KIN_EXPORT BufferTooShort : public Error {
 public:
  explicit BufferTooShort(std::size_t message_size);
  BufferTooShort(const BufferTooShort&) = default;
  BufferTooShort& operator=(const BufferTooShort&) = default;
  ~BufferTooShort() override;

  /// Bytes of the message.
  [[nodiscard]] std::size_t message_size() const noexcept { return message_size_; }

 private:
  std::size_t message_size_;
};

/// A process died in the middle of what was its own to finish.
/// Thrown by JoinableQueue::join() when takers died before their task_done(); and by a SharedObject that
/// one who died may have left half changed, until it is repaired.
class KIN_EXPORT OwnerDied : public Error {
 public:
  OwnerDied(const std::string& what, std::vector<pid_t> pids, std::size_t count);
  OwnerDied(const OwnerDied&) = default;
  OwnerDied& operator=(const OwnerDied&) = default;
  ~OwnerDied() override;

  /// The processes that died, in the order in which their death was noticed (at most 16 are kept).
  [[nodiscard]] const std::vector<pid_t>& pids() const noexcept { return pids_; }
  /// How many things they left unfinished.
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

 private:
  std::vector<pid_t> pids_;
  std::size_t count_;
};

/// The parties of a barrier can't meet: it was broken, before or while this one waited.
/// Python: threading.BrokenBarrierError.
class KIN_EXPORT BrokenBarrierError : public Error {
 public:
  using Error::Error;
  BrokenBarrierError(const BrokenBarrierError&) = default;
  BrokenBarrierError& operator=(const BrokenBarrierError&) = default;
  ~BrokenBarrierError() override;
};

/// A thread of a ring in which each waits for the next. Texts are empty where nothing is known.
struct DeadlockMember {
  std::string process_name;
  pid_t pid = 0;
  pid_t thread = 0;       ///< as gettid() tells
  std::string waits_for;  ///< lock "accounts"; or the end of a process
  std::string waits_at;   ///< bank.cpp:13, in void transfer(int)
  std::string taken_at;   ///< where it took the lock that the member before it waits for
};

/// Waiting would never have ended: the thread waits for a lock that it holds itself, or it is one of several
/// that wait for one another in a ring. One of them gets this error; the others go on when it lets go of
/// what it holds.
///
/// what() tells of each member, in lines of its own, and of who else waits.
class KIN_EXPORT DeadlockError : public Error {
 public:
  using Error::Error;
  DeadlockError(const std::string& what, std::vector<DeadlockMember> ring);
  DeadlockError(const DeadlockError&) = default;
  DeadlockError& operator=(const DeadlockError&) = default;
  ~DeadlockError() override;

  /// Each waits for the next, the last for the first, which is the thread that got the error. Empty in one that
  /// came from another process.
  [[nodiscard]] std::span<const DeadlockMember> ring() const noexcept;

 private:
  std::shared_ptr<const std::vector<DeadlockMember>> ring_;
};

/// The other side of a connection did not prove that it knows the authkey. Both sides are told.
/// Python: multiprocessing.AuthenticationError.
class KIN_EXPORT AuthenticationError : public Error {
 public:
  using Error::Error;
  AuthenticationError(const AuthenticationError&) = default;
  AuthenticationError& operator=(const AuthenticationError&) = default;
  ~AuthenticationError() override;
};

/// A message could not be written, or does not hold what the reader expects of it.
class KIN_EXPORT SerializationError : public Error {
 public:
  using Error::Error;
  SerializationError(const SerializationError&) = default;
  SerializationError& operator=(const SerializationError&) = default;
  ~SerializationError() override;
};

/// The time limit of a task, or of the next result of a range, is over. In a task: its soft limit is, and the
/// call would have to wait.
/// What a single call waits for at most stands in its return type instead: get_for().
/// Python: TimeoutError.
class KIN_EXPORT TimeoutError : public Error {
 public:
  using Error::Error;
  TimeoutError(const TimeoutError&) = default;
  TimeoutError& operator=(const TimeoutError&) = default;
  ~TimeoutError() override;
};

/// The task was cancelled, so there is no result.
/// Python: concurrent.futures.CancelledError.
class KIN_EXPORT CancelledError : public Error {
 public:
  using Error::Error;
  CancelledError(const CancelledError&) = default;
  CancelledError& operator=(const CancelledError&) = default;
  ~CancelledError() override;
};

/// A future can't do that in the state in which it is.
/// Python: concurrent.futures.InvalidStateError.
class KIN_EXPORT InvalidStateError : public Error {
 public:
  using Error::Error;
  InvalidStateError(const InvalidStateError&) = default;
  InvalidStateError& operator=(const InvalidStateError&) = default;
  ~InvalidStateError() override;
};

/// An exception that was thrown in another process.
///
/// It is nested in what arrives here as its own type, and tells where that comes from. What has no
/// type to arrive as (see register_exception() in kin/serialize.hpp) is a RemoteError itself.
///
///     try {
///       int answer = future.get();
///     } catch (const std::out_of_range& error) {
///       try {
///         std::rethrow_if_nested(error);
///       } catch (const kin::RemoteError& remote) {
///         std::cerr << remote.what() << '\n';  // std::out_of_range: ... (in process 4711)
///       }
///     }
///
/// Python: multiprocessing.pool.RemoteTraceback, which is the __cause__ of what arrives.
class KIN_EXPORT RemoteError : public Error {
 public:
  RemoteError(std::string type_name, std::string message, pid_t pid);
  RemoteError(const RemoteError&) = default;
  RemoteError& operator=(const RemoteError&) = default;
  ~RemoteError() override;

  /// As it is written in a program: std::out_of_range.
  [[nodiscard]] const std::string& type_name() const noexcept { return type_name_; }
  /// What what() said there, or the text or number that was thrown; empty if there is none.
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  std::string type_name_;
  std::string message_;
  pid_t pid_;
};

/// The worker that ran the task died of it, or was killed while it ran it.
/// Python: concurrent.futures.process.BrokenProcessPool; but here only its own task fails.
class KIN_EXPORT WorkerDied : public Error {
 public:
  WorkerDied(const std::string& what, pid_t pid, int exit_code);
  WorkerDied(const WorkerDied&) = default;
  WorkerDied& operator=(const WorkerDied&) = default;
  ~WorkerDied() override;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// n for exit(n), -s for signal s, as Process::exit_code().
  [[nodiscard]] int exit_code() const noexcept { return exit_code_; }

 private:
  pid_t pid_;
  int exit_code_;
};

/// The pool can't run tasks any more: its workers can't be started.
/// Python: concurrent.futures.BrokenExecutor.
class KIN_EXPORT BrokenPool : public Error {
 public:
  using Error::Error;
  BrokenPool(const BrokenPool&) = default;
  BrokenPool& operator=(const BrokenPool&) = default;
  ~BrokenPool() override;
};

/// The manager's server process was killed, or shut down: what it held is gone.
/// Python: ConnectionRefusedError, EOFError and others, from a proxy.
class KIN_EXPORT ManagerDied : public Error {
 public:
  using Error::Error;
  ManagerDied(const ManagerDied&) = default;
  ManagerDied& operator=(const ManagerDied&) = default;
  ~ManagerDied() override;
};

}  // namespace kin
