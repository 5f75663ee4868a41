// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "crash/family.hpp"
#include "crash/pipes.hpp"
#include "memory/arena.hpp"
#include "memory/descriptor_store.hpp"

#include <kin/connection.hpp>
#include <kin/queue.hpp>
#include <kin/unique_fd.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace crash {

/// One of each that may travel, and ballast, so that the message may be a large one.
struct Luggage {
  int number;
  kin::UniqueFd descriptor;  // writes into a pipe of the kernel's
  kin::Writer<int> end;
  kin::Queue<int> queue;
  std::vector<std::byte> ballast;
};

using QueueRoad = kin::Queue<Luggage>;
using PipeRoad = kin::SimplexPipe<Luggage>;

inline void put_on(const QueueRoad& road, const Luggage& luggage) { road.put(luggage); }
inline void put_on(const PipeRoad& road, const Luggage& luggage) { road.writer.send(luggage); }
inline Luggage take_off(const QueueRoad& road) { return road.get(); }
inline Luggage take_off(const PipeRoad& road) { return road.reader.recv(); }
inline auto look_on(const QueueRoad& road) { return road.try_get(); }
inline auto look_on(const PipeRoad& road) { return road.reader.try_recv(); }
inline auto& channel_under(const QueueRoad& road) { return channel_of(road); }
inline auto& channel_under(const PipeRoad& road) { return channel_of(road.reader); }

/// Luggage, and the other ends, which tell whether anybody has it.
class Packed {
 public:
  Packed(int number, std::size_t ballast) : number_(number), ballast_(ballast) {
    std::array<int, 2> fds{};
    require(::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) == 0, "no pipe");
    kernel_reader_.reset(fds[0]);
    const kin::SimplexPipe<int> pipe;
    reader_ = pipe.reader;
    luggage_.emplace(number, kin::UniqueFd(fds[1]), pipe.writer, kin::Queue<int>(),
                     std::vector<std::byte>(ballast, std::byte{7}));
  }
  const Luggage& luggage() const { return *luggage_; }
  void let_go() { luggage_.reset(); }

  void require_to_work(const Luggage& got) const {
    char sign = 'x';
    require(::write(got.descriptor.get(), &sign, 1) == 1, "the descriptor can't be used");
    sign = 0;
    require(::read(kernel_reader_.get(), &sign, 1) == 1 && sign == 'x', "it is another one");
    got.end.send(7);
    require(reader_->recv() == 7, "the end is another one");
    got.queue.put(8);
    require(got.queue.get() == 8, "the queue does not work");
    require(got.number == number_, "it is of other luggage");
    require(got.ballast == std::vector<std::byte>(ballast_, std::byte{7}), "it is torn");
  }

  /// Nobody has the descriptor, and it is not on its way.
  bool is_closed() const {
    char any = 0;
    while (::read(kernel_reader_.get(), &any, 1) == 1) continue;
    return ::read(kernel_reader_.get(), &any, 1) == 0;
  }

 private:
  kin::UniqueFd kernel_reader_;
  std::optional<kin::Reader<int>> reader_;
  std::optional<Luggage> luggage_;
  int number_;
  std::size_t ballast_;
};

/// Luggage on a road, or on its way onto it.
template <typename Road>
class Shipment {
 public:
  explicit Shipment(std::size_t ballast = 0) : ballast_(ballast) {}

  void prepare() {
    forget();
    sweep_the_dead();
    if (packed_ && !packed_->is_closed()) complaint_ = "something of the round before is left open";
    packed_.emplace(ours, ballast_);
    road_.emplace();
    note_changes();
  }
  void prepare_sent() {
    prepare();
    send();
    let_go();
    note_changes();
  }
  /// The test process has its luggage no longer; those it has forked do.
  void let_go() { packed_->let_go(); }
  void forget() {
    road_.reset();
    if (packed_) packed_->let_go();
  }

  void send() { put_on(*road_, packed_->luggage()); }
  /// What is received stays open until the process ends.
  void receive() { received_.emplace(take_off(*road_)); }
  void receive_and_drop() { static_cast<void>(take_off(*road_)); }

  /// Takes what is there now; returns how often the luggage was. It must work each time.
  [[nodiscard]] int arrivals() {
    require(complaint_.empty(), complaint_);
    int count = 0;
    for (; const auto got = look_on(*road_); ++count) packed_->require_to_work(*got);
    return count;
  }
  /// The same, and nobody looks at it.
  void take_all() {
    while (look_on(*road_)) continue;
  }
  [[nodiscard]] bool arrives() {
    const int count = arrivals();
    require(count <= 1, "more arrives than was sent");
    return count == 1;
  }
  /// For when all was taken, nobody who lives was forked with the luggage, and the store was used: that closes
  /// what somebody was storing.
  void require_closed() const {
    require(packed_->is_closed(), "it was taken, or never sent, and stays open");
  }
  /// Other luggage goes the same way. Whether ours came before it.
  [[nodiscard]] bool arrives_before_other() const {
    Packed packed(other, ballast_);
    put_on(*road_, packed.luggage());
    packed.let_go();
    auto got = look_on(*road_);
    const bool arrives = got && got->number == ours;
    if (arrives) {
      packed_->require_to_work(*got);
      got = look_on(*road_);
    }
    require(got.has_value(), "what comes next does not arrive");
    packed.require_to_work(*got);
    got.reset();
    require(packed.is_closed(), "what comes next stays open");
    return arrives;
  }
  void require_to_work() const { require(!arrives_before_other(), "it came twice"); }

  [[nodiscard]] bool stays_open() { return !complaint_.empty(); }
  /// For Scenario::watch, and Scenario::Lead; also when the test process has left the road.
  [[nodiscard]] const Ranges& changes() const { return changes_; }
  [[nodiscard]] const kin::detail::ByteChannel& channel() const { return *channel_; }

 private:
  static constexpr int ours = 1;
  static constexpr int other = 2;

  std::size_t ballast_;
  std::optional<Packed> packed_;
  std::optional<Road> road_;
  std::optional<Luggage> received_;
  std::string complaint_;
  const kin::detail::ByteChannel* channel_ = nullptr;
  Ranges changes_;

  void note_changes() {
    channel_ = &channel_under(*road_);
    changes_ = memory_of_family();
    if (channel_->most_units != 0) changes_.push_back(ring_of(*channel_));
    changes_.push_back(memory_of(*kin::detail::arena().descriptors));
  }
};

}  // namespace crash
