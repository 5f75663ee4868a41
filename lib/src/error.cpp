// SPDX-License-Identifier: BSL-1.0
//
// The destructors stand here and not in the header, so that the type information of every
// exception exists once, in the library, and is found when a program catches what kin throws.

#include <kin/error.hpp>

#include <utility>

namespace kin {

Error::~Error() = default;

SystemError::SystemError(std::string call, int error_number)
    : Error(call + ": " + std::system_category().message(error_number)),
      call_(std::move(call)),
      code_(error_number, std::system_category()) {}

SystemError::~SystemError() = default;
QueueShutDown::~QueueShutDown() = default;
EndOfStream::~EndOfStream() = default;
BrokenPipe::~BrokenPipe() = default;

BufferTooShort::BufferTooShort(std::size_t message_size)
    : Error("the message has " + std::to_string(message_size) +
            " bytes, more than the buffer; it is still there"),
      message_size_(message_size) {}

BufferTooShort::~BufferTooShort() = default;

OwnerDied::OwnerDied(const std::string& what, std::vector<pid_t> pids, std::size_t count)
    : Error(what), pids_(std::move(pids)), count_(count) {}

OwnerDied::~OwnerDied() = default;
BrokenBarrierError::~BrokenBarrierError() = default;

DeadlockError::DeadlockError(const std::string& what, std::vector<DeadlockMember> ring)
    : Error(what), ring_(std::make_shared<const std::vector<DeadlockMember>>(std::move(ring))) {}

DeadlockError::~DeadlockError() = default;

std::span<const DeadlockMember> DeadlockError::ring() const noexcept {
  if (!ring_) return {};
  return *ring_;
}

AuthenticationError::~AuthenticationError() = default;
SerializationError::~SerializationError() = default;
TimeoutError::~TimeoutError() = default;
CancelledError::~CancelledError() = default;
InvalidStateError::~InvalidStateError() = default;

RemoteError::RemoteError(std::string type_name, std::string message, pid_t pid)
    : Error(type_name + (message.empty() ? "" : ": " + message) + " (in process " +
            std::to_string(pid) + ")"),
      type_name_(std::move(type_name)),
      message_(std::move(message)),
      pid_(pid) {}

RemoteError::~RemoteError() = default;

WorkerDied::WorkerDied(const std::string& what, pid_t pid, int exit_code)
    : Error(what), pid_(pid), exit_code_(exit_code) {}

WorkerDied::~WorkerDied() = default;
BrokenPool::~BrokenPool() = default;
ManagerDied::~ManagerDied() = default;

}  // namespace kin
