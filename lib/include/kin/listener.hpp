// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/connection.hpp>
#include <kin/detail/deadline.hpp>
#include <kin/detail/end.hpp>
#include <kin/detail/export.hpp>
#include <kin/detail/sendable.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>

/// Connections by address, between any two programs that use kin.
///
///     kin::Listener<std::string> listener({.address = "127.0.0.1:0", .authkey = "open sesame"});
///     kin::Process greeter([address = listener.address()] {
///       kin::Client<std::string> client(address, {.authkey = "open sesame"});
///       client.send("hello");
///     });
///     greeter.start();
///     std::cout << listener.accept().recv() << '\n';
///     greeter.join();
///
/// An address is "host:port" (TCP; port 0: one that is free; "[::1]:5000" for IPv6), a path with a '/' in it
/// (a Unix socket), or "@name" (a Unix socket without a file; only on this machine and in this network
/// namespace).
///
/// Before anything else both sides prove to each other that they know the authkey, which does not travel
/// (HMAC-SHA256, with fresh random numbers of both sides). What is sent after that is neither encrypted nor
/// signed: who can change packets on their way needs to be kept away by other means.
///
/// What comes out is a Connection. Where both processes are of one family it is a Pipe's in all respects, and the
/// socket is closed. Between strangers it goes through the socket: values travel as they do in a Pipe, but
/// queues, locks, ends and descriptors do not, which send() refuses. Both sides have to have the same types
/// of messages and to be built for the same kind of machine, and are told if not. In a connection over a socket
/// a sender that is killed in the middle of a message, or a receiver in the middle of one that arrives in
/// pieces, ends the stream for those who share its end: whole messages or none.
namespace kin {

/// This process's key, to give to a Listener or a Client: 32 random bytes that all processes of a family
/// share, and nobody else knows, unless set_authkey() was called.
///
///     kin::Listener<int> listener({.address = "127.0.0.1:0", .authkey = kin::authkey()});
///
/// After fork: the child has its parent's.
/// Python: multiprocessing.current_process().authkey.
[[nodiscard]] KIN_EXPORT std::string authkey();
/// Another one, for this process and those that it forks from then on. To let strangers in.
/// Throws: std::invalid_argument for an empty one.
KIN_EXPORT void set_authkey(std::string key);

/// How a Listener is to be made.
struct ListenerOptions {
  /// Empty: an abstract Unix socket with a name that nobody else has.
  std::string address = {};
  /// Any bytes. Empty: none, only for Unix sockets, and only processes of the same user are let in.
  std::string authkey = {};
  /// How many clients may wait until accept() is called.
  int backlog = 128;
  /// How long a client has to prove itself.
  std::chrono::milliseconds handshake_limit{5000};
  /// Bytes of a message. One that says it has more ends its connection.
  std::size_t max_message = std::size_t{1} << 30;
};

/// How a Client is to be made.
struct ClientOptions {
  std::string authkey = {};
  /// How long it may take until the listener is reached. It waits where the backlog is full.
  std::chrono::milliseconds connect_limit{20000};
  /// How long the listener has to prove itself, once it was reached: until it calls accept(), too.
  std::chrono::milliseconds handshake_limit{20000};
  std::size_t max_message = std::size_t{1} << 30;
};

namespace detail {

/// What stands for the types of messages in a handshake.
struct MessageTypes {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
};

/// The same number for the same type in every program. `plain_size` of one that travels as it lies in
/// memory.
[[nodiscard]] KIN_EXPORT std::uint64_t mark_of(const std::type_info& type,
                                               std::size_t plain_size) noexcept;

template <typename T>
std::uint64_t mark_of() {
  static_assert(
      !holds_address<T>(),
      "kin: addresses of functions and members mean nothing in another program: this type "
      "is one, or has one in it; send a number or a name instead");
  return mark_of(typeid(T), Plain<T> ? sizeof(T) : 0);
}

/// What the template Listener is thin over. See there.
class KIN_EXPORT Acceptor {
 public:
  Acceptor(const ListenerOptions& options, MessageTypes types);

  /// None when the time is up.
  [[nodiscard]] std::optional<End> accept(Deadline deadline) const;
  [[nodiscard]] std::string address() const;
  [[nodiscard]] std::optional<std::string> last_accepted() const;
  void close() const;
  [[nodiscard]] bool closed() const;
  [[nodiscard]] int fileno() const;

  /// For wait_any, as in End.
  [[nodiscard]] std::shared_ptr<const void> hold() const;
  [[nodiscard]] bool is_ready() const;
  [[nodiscard]] int descriptor() const { return fileno(); }
  void ask_for_bell() const {}
  void silence() const {}

  friend bool operator==(const Acceptor&, const Acceptor&) = default;

  /// In a process of kin's own, right after it was forked: the addresses are not its.
  static void close_inherited() noexcept;

  struct State;

 private:
  [[nodiscard]] State& state() const;
  std::shared_ptr<State> state_;
};

/// What the template Client is thin over.
[[nodiscard]] KIN_EXPORT End connect_to(const std::string& address, const ClientOptions& options,
                                        MessageTypes types);

}  // namespace detail

/// An address at which clients are accepted.
///
///     kin::Listener<Answer, Question> listener({.address = "/run/oracle/socket"});
///     while (true) {
///       auto connection = listener.accept();
///       …
///
/// accept() lets several clients prove themselves at the same time, so that a silent one holds up nobody. One
/// that says nothing, or something else, is dropped with a line in the log; at most 64 are kept waiting, and
/// then the oldest is dropped. All that happens only while somebody is in accept(), try_accept(),
/// accept_for() or wait_any().
///
/// A path where a socket is left at which nobody listens any more is taken over; anything else there is
/// EADDRINUSE. The path goes with close(), and with the last handle in the process that made the listener.
///
/// Lifetime: a handle: copies name the same listener of this process, and close() closes it for all of them.
/// Sharing: thread-safe; every operation is const. wait_any() takes it: ready when accept() would not wait.
/// After fork: the child has it too, and may accept; the address is free when all have closed it. Clients
/// that are just proving themselves are the parent's. Processes of pools don't have it.
/// If a process dies: clients that it had not accepted see the end of the stream, or wait for another
/// process that listens. The path stays until the next listener is made there.
/// Throws: AuthenticationError from accept() for a client that does not know the authkey, or answers out
/// of turn; SerializationError for one whose types or machine are others. In both cases the listener goes on. SystemError
/// that names the address, std::invalid_argument for one that can't be, and for TCP without an authkey, Error
/// for a host that is unknown; std::logic_error after close().
/// Python: multiprocessing.connection.Listener.
template <typename Out, typename In = Out>
class Listener {
 public:
  explicit Listener(const ListenerOptions& options = {})
      : acceptor_(options, {detail::mark_of<Out>(), detail::mark_of<In>()}) {}
  /// Without an authkey: so of a Unix socket.
  // A template, as g++ 12 would take {.address = …} for a string as well.
  template <std::convertible_to<std::string> Text>
  explicit Listener(Text&& address)
      : Listener(ListenerOptions{.address = std::forward<Text>(address)}) {}

  /// Waits for a client that has proved itself.
  [[nodiscard]] Connection<Out, In> accept() const {
    return Connection<Out, In>(*acceptor_.accept(detail::Deadline::never()));
  }
  /// None when there is none that has.
  [[nodiscard]] std::optional<Connection<Out, In>> try_accept() const {
    return accept_until(detail::Deadline::passed());
  }
  /// None when there was none for that long. A negative duration means zero.
  template <typename Rep, typename Period>
  [[nodiscard]] std::optional<Connection<Out, In>> accept_for(
      std::chrono::duration<Rep, Period> limit) const {
    return accept_until(detail::Deadline::after(limit));
  }

  /// Where clients find it: with the port or the name that was chosen.
  [[nodiscard]] std::string address() const { return acceptor_.address(); }
  /// The address of the last client that was accepted in this process; empty for one of a Unix socket, which
  /// has none. None before the first.
  [[nodiscard]] std::optional<std::string> last_accepted() const {
    return acceptor_.last_accepted();
  }

  /// This process gives it up, in all copies of it. Again: nothing.
  void close() const { acceptor_.close(); }
  [[nodiscard]] bool closed() const { return acceptor_.closed(); }
  /// A descriptor for select, poll and epoll: readable when try_accept() should be called, which may find that
  /// there is nobody yet. It belongs to the listener, and is another one in a child.
  [[nodiscard]] int fileno() const { return acceptor_.fileno(); }

  friend bool operator==(const Listener&, const Listener&) = default;

 private:
  friend class Waitable;

  [[nodiscard]] std::optional<Connection<Out, In>> accept_until(detail::Deadline deadline) const {
    std::optional<Connection<Out, In>> connection;
    if (auto end = acceptor_.accept(deadline)) {
      connection.emplace(Connection<Out, In>(std::move(*end)));
    }
    return connection;
  }

  detail::Acceptor acceptor_;
};

/// A connection to a listener's address, made by its constructor. Usable wherever a Connection is.
///
///     kin::Client<std::string> client("127.0.0.1:5000", {.authkey = "open sesame"});
///     client.send("hello");
///
/// Throws: AuthenticationError when the listener does not know the authkey or says that this one is wrong;
/// SerializationError when its types or machine are others; TimeoutError; EndOfStream when it was closed
/// meanwhile, or dropped this client; SystemError that names the address; std::invalid_argument and Error as
/// Listener.
/// Python: multiprocessing.connection.Client.
template <typename Out, typename In = Out>
class Client : public Connection<Out, In> {
 public:
  /// Names nothing.
  Client() = default;
  explicit Client(const std::string& address, const ClientOptions& options = {})
      : Connection<Out, In>(detail::connect_to(address, options,
                                               {detail::mark_of<Out>(), detail::mark_of<In>()})) {}
};

}  // namespace kin
