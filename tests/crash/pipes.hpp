// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "channel/stream.hpp"
#include "crash/family.hpp"

#include <kin/connection.hpp>

#include <optional>
#include <string>
#include <vector>

namespace crash {

/// A pipe in one direction, made anew for each round.
///
/// The test process has both ends, and its children with it. close_sending() in the test process, when
/// the traced process is forked, leaves the sending end to that one alone: its death is the end of the
/// stream.
template <typename T>
class FreshPipe {
 public:
  const kin::Reader<T>& reader() const { return pipe_->reader; }
  const kin::Writer<T>& writer() const { return pipe_->writer; }

  /// Also when an end is closed.
  const kin::detail::ByteChannel& channel() const { return *channel_; }

  void prepare(const std::vector<T>& items = {}) {
    sweep_the_dead();
    pipe_.emplace();
    channel_ = &channel_of(reader());
    for (const T& item : items) writer().send(item);
  }
  void close_sending() const { writer().close(); }
  void close_receiving() const { reader().close(); }
  void forget() { pipe_.reset(); }

 private:
  std::optional<kin::SimplexPipe<T>> pipe_;
  const kin::detail::ByteChannel* channel_ = nullptr;
};

/// The fields of the ring that a pipe has for messages in pieces, or will have: they are where the next run
/// of the heap is.
inline std::span<const std::byte> ring_of(const kin::detail::ByteChannel& channel) {
  using kin::detail::Segment;
  const Segment* segment = channel.tail_segment.load();
  if (segment->units() < kin::detail::pipe_units) {
    kin::detail::Owned<Segment> place{};
    const std::size_t ring = std::size_t{kin::detail::pipe_units} * kin::detail::Cursor::unit;
    kin::detail::Heap::allocate_into(place, Segment::header_size + ring);
    segment = place.get();
    kin::detail::Heap::free_from(place);
  }
  return memory_of(*segment);
}

/// Whether a call says that the stream is at its end.
template <typename Call>
bool ends(Call&& call) {
  try {
    static_cast<void>(call());
    return false;
  } catch (const kin::EndOfStream&) {
    return true;
  }
}

/// Everything up to the end of the stream; waits for that. Then the stream must stay at its end.
template <typename T>
std::vector<T> receive_to_end(const kin::Reader<T>& reader) {
  std::vector<T> items;
  while (ends([&] { items.push_back(reader.recv()); }) == false) {
  }
  require(reader.poll(), "at the end of the stream poll() says that recv() would wait");
  require(ends([&] { return reader.try_recv(); }), "behind its end there is more of the stream");
  return items;
}

/// Everything that is there now.
template <typename T>
std::vector<T> receive_all(const kin::Reader<T>& reader) {
  std::vector<T> items;
  while (auto item = reader.try_recv()) items.push_back(*std::move(item));
  return items;
}

/// "1 2 end": what a sleeper answers.
inline std::string receive_to_end_in_words(const kin::Reader<int>& reader) {
  std::string words;
  for (const int item : receive_to_end(reader)) words += std::to_string(item) + ' ';
  return words + "end";
}

/// Sends numbers from 0 on until the next one would have to wait; returns how many.
inline int fill(const kin::Writer<int>& writer, const kin::Reader<int>& reader) {
  // A message in pieces gives the pipe its full ring.
  constexpr std::size_t large = std::size_t{40} << 10;
  writer.send_bytes(std::vector<std::byte>(large));
  static_cast<void>(reader.recv_bytes());
  const kin::detail::ByteChannel& channel = channel_of(reader);
  const kin::detail::Segment& ring = *channel.tail_segment.load();
  constexpr std::uint32_t units_of_one = 2;
  const std::uint32_t head = kin::detail::Cursor(channel.head.load()).position();
  for (int count = 0;; ++count) {
    const std::uint32_t tail = kin::detail::Cursor(channel.tail.load()).position();
    const std::uint32_t rest = ring.units() - ((tail - ring.base) & ring.mask);
    const std::uint32_t wanted = rest < units_of_one ? rest + units_of_one : units_of_one;
    if (tail - head + wanted > ring.units()) return count;
    writer.send(count);
  }
}

/// What was found is one of two: throws if it is neither, or if it is the first though the operation
/// had returned. Tells whether it is the second.
template <typename T>
bool is_done(const Moment& moment, const std::vector<T>& found, const std::vector<T>& undone,
             const std::vector<T>& done) {
  require(found == undone || found == done, "messages are lost, torn, or came twice");
  require(found == done || !moment.completed, "it returned and did not do it");
  return found == done;
}

}  // namespace crash
