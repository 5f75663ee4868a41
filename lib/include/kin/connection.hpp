// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/end.hpp>
#include <kin/error.hpp>
#include <kin/serialize.hpp>

#include <boost/serialization/access.hpp>

#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

/// Pipes between processes: messages with an end.
///
///     auto [produce, consume] = kin::Pipe<int>();
///     kin::Process eater([](kin::Pipe<int> pipe) {
///       pipe.first.close();                        // it will not produce
///       for (int bun : pipe.second) eat(bun);      // ends when nobody produces any more
///     }, kin::Pipe<int>{produce, consume});
///     eater.start();
///     consume.close();
///     for (int bun = 0; bun < 10; ++bun) produce.send(bun);
///     produce.close();
///     eater.join();
///
/// The stream ends when the last process that has the other end has closed it, or has died; a process
/// forked meanwhile has it too. What was sent before that is received first.
///
/// An end is a handle: copies name the same end of this process, and close() closes it for all of
/// them. It may be sent in a message itself; the receiver has it then, too.
///
/// Messages have any size, and stay whole however many send or receive at the same end. A small one is
/// a copy in memory and no system call, as long as the other side keeps up; about 1 MiB is on its way at
/// most, then send() waits. A larger message passes in pieces, while others wait their turn.
///
/// Sharing: process-safe and thread-safe; every operation is const.
/// After fork: the child has the ends that its parent had; it closes those that it does not need, or the
/// stream would not end before the child does.
/// If a process dies: what it had sent arrives; what it was sending never does. A message that it was
/// receiving is still there, or went with it; one of more than 32 KiB goes with whoever began to
/// receive it. Others go on.
/// Throws: EndOfStream from what receives; BrokenPipe from what sends when nobody has the other end any
/// more (noticed at once if it was closed by close(); if its last process died, at the latest when the
/// pipe is full or after some hundred messages); SerializationError for a message that can't be written
/// (nothing is sent then) or read (it is gone); std::logic_error after close(), on an end that names
/// nothing, and for a direction that the end does not have; std::bad_alloc; SystemError when the kernel
/// gives no descriptor.
namespace kin {

class Waitable;
template <typename Out, typename In>
class Listener;
template <typename Out, typename In>
class Client;

namespace detail {

/// What every end has.
template <typename Self>
class AnyEnd {
 public:
  /// This process gives up the end, in all copies of it. Again: nothing.
  void close() const { end_.close(); }
  [[nodiscard]] bool closed() const { return end_.closed(); }
  /// Whether it can receive.
  [[nodiscard]] bool readable() const { return end_.has(End::reads); }
  /// Whether it can send.
  [[nodiscard]] bool writable() const { return end_.has(End::writes); }
  /// A descriptor for select, poll and epoll, edge-triggered too: readable while there is a message,
  /// and at the end of the stream. Only a hint, as another may be quicker: use try_recv(). It belongs to
  /// this end; don't read from it, and don't close it. (Of an end that only sends: it shows POLLHUP
  /// when nobody has the other end any more.)
  [[nodiscard]] int fileno() const { return end_.fileno(); }

  /// Whether both name the same end of this process.
  friend bool operator==(const Self& left, const Self& right) { return left.end_ == right.end_; }

 protected:
  AnyEnd() = default;
  explicit AnyEnd(End end) : end_(std::move(end)) {}

 private:
  friend class boost::serialization::access;
  friend class kin::Waitable;
  template <typename, typename>
  friend class Sends;
  template <typename, typename>
  friend class Receives;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    end_.travel(archive);
  }

  End end_;
};

/// What an end has that sends.
template <typename Self, typename T>
class Sends {
 public:
  /// Waits while the pipe is full.
  void send(const T& message) const {
    if constexpr (!Sendable<T>) {
      require_sendable<T>();
    } else if constexpr (Plain<T>) {
      own().send(std::as_bytes(std::span(std::addressof(message), 1)), {});
    } else {
      const BorrowedBuffers buffers;
      encode(buffers->out, message);
      own().send(buffers->out.bytes(), buffers->out.cargo());
    }
  }
  /// Sends bytes as they are, for recv_bytes().
  void send_bytes(std::span<const std::byte> bytes) const { own().send(bytes, {}); }

 private:
  [[nodiscard]] const End& own() const {
    return static_cast<const AnyEnd<Self>&>(static_cast<const Self&>(*this)).end_;
  }
};

template <typename Self, typename T>
class Receives {
 public:
  class Iterator;

  /// Waits for a message.
  [[nodiscard]] T recv() const { return *recv_until(Deadline::never()); }  // NOLINT: never empty
  /// None when there is none.
  [[nodiscard]] std::optional<T> try_recv() const { return recv_until(Deadline::passed()); }
  /// None when none began to arrive for that long. A negative duration means zero.
  template <typename Rep, typename Period>
  [[nodiscard]] std::optional<T> recv_for(std::chrono::duration<Rep, Period> limit) const {
    return recv_until(Deadline::after(limit));
  }

  /// Whether recv() would not wait: there is a message, or the stream is at its end.
  [[nodiscard]] bool poll() const { return own().poll(Deadline::passed()); }
  /// The same, and waits for that up to a limit.
  template <typename Rep, typename Period>
  [[nodiscard]] bool poll_for(std::chrono::duration<Rep, Period> limit) const {
    return own().poll(Deadline::after(limit));
  }

  /// Receives what was sent by send_bytes().
  [[nodiscard]] std::vector<std::byte> recv_bytes() const {
    std::vector<std::byte> bytes;
    IncomingCargo none;
    own().receive(bytes, none, Deadline::never());
    return bytes;
  }
  /// The same into the caller's memory; returns how many bytes. Throws BufferTooShort when that is too
  /// small, and the message stays.
  [[nodiscard]] std::size_t recv_bytes_into(std::span<std::byte> buffer) const {
    return own().receive_into(buffer);
  }

  /// `for (auto& message : end)` receives until the end of the stream.
  [[nodiscard]] Iterator begin() const { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  [[nodiscard]] const End& own() const {
    return static_cast<const AnyEnd<Self>&>(static_cast<const Self&>(*this)).end_;
  }

  std::optional<T> recv_until(Deadline deadline) const {
    std::optional<T> message;
    if constexpr (!Sendable<T>) {
      require_sendable<T>();
    } else if constexpr (Plain<T>) {
      message.emplace();
      if (!own().receive_plain(std::addressof(*message), sizeof(T), deadline)) message.reset();
    } else {
      const BorrowedBuffers buffers;
      if (own().receive(buffers->bytes, buffers->cargo, deadline)) {
        InArchive in(buffers->bytes, buffers->cargo);
        if (own().has_stranger()) in.distrust();
        message.emplace(decode<T>(in));
      }
    }
    return message;
  }
};

/// An input iterator over the messages of a stream: each goes to one reader only.
template <typename Self, typename T>
class Receives<Self, T>::Iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  explicit Iterator(const Receives& from) : from_(&from) { ++*this; }

  [[nodiscard]] T& operator*() const { return *message_; }
  Iterator& operator++() {
    try {
      message_ = from_->recv_until(Deadline::never());
    } catch (const EndOfStream&) {
      message_.reset();
    }
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) {
    return !iterator.message_;
  }

 private:
  const Receives* from_;
  mutable std::optional<T> message_;
};

}  // namespace detail

/// An end that receives.
/// Python: the first of multiprocessing.Pipe(duplex=False).
template <typename T>
class Reader : public detail::AnyEnd<Reader<T>>, public detail::Receives<Reader<T>, T> {
 public:
  /// Names nothing.
  Reader() = default;

 private:
  template <typename>
  friend struct SimplexPipe;
  explicit Reader(detail::End end) : detail::AnyEnd<Reader<T>>(std::move(end)) {}
};

/// An end that sends.
/// Python: the second of multiprocessing.Pipe(duplex=False).
template <typename T>
class Writer : public detail::AnyEnd<Writer<T>>, public detail::Sends<Writer<T>, T> {
 public:
  /// Names nothing.
  Writer() = default;

 private:
  template <typename>
  friend struct SimplexPipe;
  explicit Writer(detail::End end) : detail::AnyEnd<Writer<T>>(std::move(end)) {}
};

/// An end that sends `Out` and receives `In`: of a Pipe, or made by a Listener or a Client (see
/// kin/listener.hpp).
/// Python: multiprocessing.connection.Connection.
template <typename Out, typename In = Out>
class Connection : public detail::AnyEnd<Connection<Out, In>>,
                   public detail::Sends<Connection<Out, In>, Out>,
                   public detail::Receives<Connection<Out, In>, In> {
 public:
  /// Names nothing.
  Connection() = default;

 private:
  template <typename, typename>
  friend struct Pipe;
  template <typename, typename>
  friend class Listener;
  template <typename, typename>
  friend class Client;
  explicit Connection(detail::End end) : detail::AnyEnd<Connection<Out, In>>(std::move(end)) {}
};

/// Two ends; what one sends the other receives.
///
///     auto [ours, theirs] = kin::Pipe<std::string, int>();  // ours sends strings
///
/// Throws: SystemError, std::bad_alloc.
/// Python: multiprocessing.Pipe().
template <typename Out, typename In = Out>
struct Pipe {
  Connection<Out, In> first;
  Connection<In, Out> second;

  /// A new one.
  Pipe() : Pipe(detail::End::make_pair(detail::End::reads | detail::End::writes)) {}
  /// These two, to pass both on.
  Pipe(Connection<Out, In> one, Connection<In, Out> other)
      : first(std::move(one)), second(std::move(other)) {}

 private:
  explicit Pipe(std::pair<detail::End, detail::End> ends)
      : first(Connection<Out, In>(std::move(ends.first))),
        second(Connection<In, Out>(std::move(ends.second))) {}
};

/// The same in one direction.
///
///     auto [reader, writer] = kin::SimplexPipe<std::string>();
///
/// Throws: SystemError, std::bad_alloc.
/// Python: multiprocessing.Pipe(duplex=False).
template <typename T>
struct SimplexPipe {
  Reader<T> reader;
  Writer<T> writer;

  /// A new one.
  SimplexPipe() : SimplexPipe(detail::End::make_pair(detail::End::reads)) {}
  /// These two, to pass both on.
  SimplexPipe(Reader<T> one, Writer<T> other) : reader(std::move(one)), writer(std::move(other)) {}

 private:
  explicit SimplexPipe(std::pair<detail::End, detail::End> ends)
      : reader(Reader<T>(std::move(ends.first))), writer(Writer<T>(std::move(ends.second))) {}
};

}  // namespace kin
