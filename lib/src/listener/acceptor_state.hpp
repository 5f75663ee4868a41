// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/guarded.hpp"
#include "listener/address.hpp"
#include "listener/listening_socket.hpp"
#include "listener/meeting.hpp"
#include "listener/pending.hpp"

#include <kin/detail/deadline.hpp>
#include <kin/listener.hpp>
#include <kin/unique_fd.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/types.h>

namespace kin::detail {

/// All listeners of this process. The lock is for all that is in them.
struct Listeners {
  Acceptor::State* first = nullptr;
};

Guarded<Listeners>& all_listeners();

// In the epoll set; clients have numbers behind these.
constexpr std::uint64_t listening_id = 0;
constexpr std::uint64_t bell_id = 1;

/// What all handles of a listener in a process share.
/// Sharing: thread-safe. After fork: the child has the socket, and none of the clients.
struct Acceptor::State {
  State(ListenerOptions given, const NetworkAddress& where, MessageTypes types);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void close() noexcept;
  // In a child of kin's own: the address is not its.
  void close_inherited() noexcept;
  // Lets all clients go on, and drops those whose time is up.
  void progress();
  std::optional<Outcome> take_finished();
  // Until there is news, or a client's time is up, a slice at most.
  void wait(Deadline deadline);

  // With the lock held.
  void require_open() const {
    if (is_closed.load()) throw std::logic_error("kin: this listener was closed in this process");
  }
  void ensure_watch();
  void close_descriptors() noexcept;

  // In a child, with nobody else there.
  void forget_clients_of_parent() noexcept;

  const ListenerOptions options;
  const Layout layout;
  const bool is_unix;
  const pid_t maker;
  std::string address;
  std::atomic<bool> is_closed = false;

  // Guarded by all_listeners().
  ListeningSocket listening;
  UniqueFd watch;  // the epoll set, and the bell; of this process only, made when they are needed
  UniqueFd bell;
  std::uint64_t last_id = bell_id;
  std::vector<std::shared_ptr<Pending>> pending;  // the oldest first
  std::deque<Outcome> finished;
  std::optional<std::string> last_accepted;
  // Threads that sleep on the descriptors. The last closes them, if they are to be closed.
  int users = 0;
  State* next = nullptr;
  State* before = nullptr;

 private:
  /// Who was dropped, to be told with no lock held.
  struct Dropped {
    std::shared_ptr<Pending> client;
    std::string why;
  };

  // With the lock held.
  bool drop_oldest(std::vector<Dropped>& dropped, const char* why);
  void take_clients(std::vector<Dropped>& dropped);
  void add_client(UniqueFd socket, std::string peer);
  void settle(const std::shared_ptr<Pending>& client, std::optional<Outcome>& outcome,
              std::vector<Dropped>& dropped);
  std::vector<std::shared_ptr<Pending>> clients_to_serve();

  void tell_dropped(const std::string& peer, const std::string& why) const noexcept;
};

/// The descriptors of a listener, kept open for a scope though another thread may close it.
class UseOfListener {
 public:
  explicit UseOfListener(std::shared_ptr<Acceptor::State> state);
  ~UseOfListener();
  UseOfListener(const UseOfListener&) = delete;
  UseOfListener& operator=(const UseOfListener&) = delete;

 private:
  std::shared_ptr<Acceptor::State> state_;
};

}  // namespace kin::detail
