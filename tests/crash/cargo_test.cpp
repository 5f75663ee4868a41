// SPDX-License-Identifier: BSL-1.0

// Whoever sends or receives what goes beside the bytes of a message (handles, descriptors, ends of pipes) is
// killed where the cargo is loaded and unloaded: it arrives whole and works, or nobody ever hears of it, and
// nothing stays open.
//
// Fails when a run names its place before its front is zeroed, or when a handle of a cargo is counted
// before its address is there; when a cargo's descriptors are stored before their id is noted: "something of the
// round before is left open".

#include "channel/cargo.hpp"
#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "memory/arena.hpp"
#include "memory/descriptor_store.hpp"

#include <kin/connection.hpp>
#include <kin/unique_fd.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using crash::memory_of_family;
using crash::Moment;
using crash::Ranges;
using crash::require;
using crash::sweep_the_dead;
using kin::detail::Heap;
using namespace std::chrono_literals;

namespace {

using Inner = kin::Queue<int>;
using Outer = kin::Queue<std::vector<Inner>>;

const std::string never_sent = "never sent";
const std::string sent_whole = "sent whole";

/// Leaves rubbish where the next run will be, as if the kernel had refused to discard what was there.
void litter_the_next_run(std::size_t size) {
  kin::detail::Place place{};
  std::byte* const block = Heap::allocate_into(place, size);
  Heap::free_from(place);
  kin::detail::populate(block, size);
  std::fill_n(block, size, std::byte{0xff});
}

const std::string still_there = "still there";
const std::string taken = "taken";

/// One of each that may travel.
struct Luggage {
  kin::UniqueFd descriptor;  // writes into a pipe of the kernel's
  kin::Writer<int> end;
  Inner queue;
};

/// Luggage in a queue, or on its way into it. The test process keeps the other ends, which tell whether
/// anybody has these.
class Shipment {
 public:
  void prepare() {
    forget();
    sweep_the_dead();
    if (kernel_reader_ && !is_closed()) complaint_ = "something of the round before is left open";
    std::array<int, 2> fds{};
    require(::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) == 0, "no pipe");
    kernel_reader_.reset(fds[0]);
    kin::SimplexPipe<int> pipe;
    reader_ = pipe.reader;
    luggage_.emplace(kin::UniqueFd(fds[1]), pipe.writer, Inner());
    road_.emplace();
  }
  void prepare_sent() {
    prepare();
    send();
    luggage_.reset();
  }
  void forget() {
    road_.reset();
    luggage_.reset();
    reader_.reset();
  }

  void send() { road_->put(*luggage_); }
  void receive() { static_cast<void>(road_->get()); }

  [[nodiscard]] bool arrives() {
    require(complaint_.empty(), complaint_);
    require(road_->size() <= 1, "more arrives than was sent");
    const auto got = road_->try_get();
    if (!got) return false;
    char sign = 'x';
    require(::write(got->descriptor.get(), &sign, 1) == 1, "the descriptor can't be used");
    sign = 0;
    require(::read(kernel_reader_.get(), &sign, 1) == 1 && sign == 'x', "it is another one");
    got->end.send(7);
    require(reader_->recv() == 7, "the end is another one");
    got->queue.put(8);
    require(got->queue.get() == 8, "the queue does not work");
    return true;
  }
  [[nodiscard]] bool stays_open() { return !complaint_.empty(); }
  [[nodiscard]] Ranges changes() const {
    Ranges ranges = memory_of_family();
    ranges.push_back(crash::memory_of(*kin::detail::arena().descriptors));
    return ranges;
  }

 private:
  [[nodiscard]] bool is_closed() const {
    char any = 0;
    while (::read(kernel_reader_.get(), &any, 1) == 1) continue;
    return ::read(kernel_reader_.get(), &any, 1) == 0;
  }

  kin::UniqueFd kernel_reader_;
  std::optional<kin::Reader<int>> reader_;
  std::optional<Luggage> luggage_;
  std::optional<kin::Queue<Luggage>> road_;
  std::string complaint_;
};

}  // namespace

TEST_SUITE("cargo") {
  TEST_CASE("a descriptor, the end of a pipe and a queue are sent") {
    Shipment shipment;
    shipment.prepare_sent();
    shipment.forget();
    const crash::Balance balance;
    crash::prove({
        .name = "put of a descriptor, an end and a queue",
        .prepare = [&] { shipment.prepare(); },
        .operation = [&] { shipment.send(); },
        .check = [&](const Moment& moment) -> std::string {
          const bool arrives = shipment.arrives();
          require(arrives || !moment.completed, "put() returned, and it does not arrive");
          if (!arrives) {
            shipment.send();
            require(shipment.arrives(), "what comes next does not arrive");
          }
          return arrives ? sent_whole : never_sent;
        },
        .expected = {never_sent, sent_whole},
        .at = crash::At::every_change,
        .watch = [&] { return shipment.changes(); },
        .budget = 3s,
    });
    shipment.prepare();
    CHECK_FALSE(shipment.stays_open());
    shipment.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("a descriptor, the end of a pipe and a queue are received, and dropped") {
    Shipment shipment;
    shipment.prepare_sent();
    shipment.forget();
    const crash::Balance balance;
    crash::prove({
        .name = "get of a descriptor, an end and a queue",
        .prepare = [&] { shipment.prepare_sent(); },
        .operation = [&] { shipment.receive(); },
        .check = [&](const Moment& moment) -> std::string {
          const bool arrives = shipment.arrives();
          require(!arrives || !moment.completed, "get() returned, and it is still there");
          return arrives ? still_there : taken;
        },
        .expected = {still_there, taken},
        .at = crash::At::every_change,
        .watch = [&] { return shipment.changes(); },
        .budget = 3s,
    });
    shipment.prepare();
    CHECK_FALSE(shipment.stays_open());
    shipment.forget();
    CHECK_NOTHROW(balance.require_unchanged());
  }

  TEST_CASE("so many handles are sent that their cargo is a run, in memory that is not zero") {
    constexpr std::size_t count = 2100;
    constexpr std::size_t size = sizeof(kin::detail::Cargo) + count * sizeof(void*);
    REQUIRE(Heap::is_run(size));
    {
      // A process keeps the list of its claims as long as it ever was.
      const Outer first;
      first.put(std::vector<Inner>(count, Inner()));
      static_cast<void>(first.get());
    }
    const crash::Balance balance;
    std::optional<Inner> inner(std::in_place);
    std::vector<Inner> many(count, *inner);
    std::optional<Outer> queue(std::in_place);
    queue->put(many);  // so that its ring is no new run beside the cargo
    static_cast<void>(queue->get());
    crash::prove({
        .name = "put of 2100 handles, as it begins to load them",
        .prepare =
            [&] {
              sweep_the_dead();
              litter_the_next_run(size);
            },
        .operation = [&] { queue->put(many); },
        .check = [&](const Moment&) -> std::string {
          // Takes the tail lock, and with it what the dead one was loading.
          queue->put({*inner});
          const auto first = queue->get();
          if (first.size() == 1) return never_sent;
          require(first.size() == count && queue->get().size() == 1, "it is torn");
          return sent_whole;
        },
        .expected = {never_sent},
        .lead = {.word = [] { return &kin::detail::arena().heap->run_intent.block_and_action; },
                 .stores = 1,
                 .window = 400},
        .budget = 5s,
    });
    many.clear();
    inner.reset();
    queue.reset();
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
