// SPDX-License-Identifier: BSL-1.0

// Here a channel is compared with a std::deque that holds the same. What deaths do to it is in
// tests/crash.

#include "channel/byte_channel.hpp"

#include "arena_frame.hpp"
#include "channel/writer.hpp"
#include "frame.hpp"
#include "quiet_line.hpp"
#include "support/again.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/mman.h>

using kin::detail::ByteChannel;
using kin::detail::Claim;
using kin::detail::Cursor;
using kin::detail::Deadline;
using kin::detail::Handle;
using kin::detail::Heap;
using kin::detail::IncomingCargo;
using kin::detail::Part;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t fresh_units = 256;  // of a new channel's ring

// Bytes that tell where they belong.
Bytes message(std::size_t size, std::size_t number) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(number * 31 + i);
  return bytes;
}

// A channel of this process, and what should be in it.
class Pipe {
 public:
  explicit Pipe(std::uint32_t most = 0, bool joinable = false, std::uint32_t most_units = 0)
      : handle_(kin::detail::make_channel(
            {.most_items = most, .most_units = most_units, .joinable = joinable})) {}

  [[nodiscard]] ByteChannel& channel() const {
    return static_cast<ByteChannel&>(handle_.object_even_closed());
  }
  [[nodiscard]] const Handle& handle() const { return handle_; }

  bool put(std::size_t size) {
    Bytes bytes = message(size, ++number_);
    if (!kin::detail::put(channel(), bytes, {}, unit::quiet_line, Deadline::passed())) return false;
    expected_.push_back(std::move(bytes));
    return true;
  }
  // Takes one and tells whether it is the right one; also where it should be empty.
  bool get() {
    Bytes bytes;
    IncomingCargo cargo;
    const bool got = kin::detail::get(
        channel(), [&](const Part& part) { bytes.assign(part.bytes.begin(), part.bytes.end()); },
        &cargo, unit::quiet_line, Deadline::passed());
    if (got != !expected_.empty()) return false;
    if (!got) return true;
    const Bytes expected = std::move(expected_.front());
    expected_.pop_front();
    return bytes == expected && cargo.handles.empty();
  }
  bool get_all() {
    while (!expected_.empty()) {
      if (!get()) return false;
    }
    return get();
  }
  [[nodiscard]] bool size_is_right() const {
    return kin::detail::size_of(channel()) == expected_.size();
  }
  [[nodiscard]] std::size_t size() const { return expected_.size(); }

  // As if so many units and messages had been through it.
  void set_cursors(std::uint32_t position, std::uint32_t count) const {
    ByteChannel& fresh = channel();
    const std::uint64_t word = (std::uint64_t{count} << 32) | position;
    for (auto* one :
         {&fresh.tail, &fresh.own_tail, &fresh.head, &fresh.head_seen, &fresh.tail_seen}) {
      one->store(word);
    }
    fresh.head_segment->base = position;
    fresh.room_ends = position;
    fresh.ledger.finished.store(count);
  }

 private:
  Handle handle_;
  std::deque<Bytes> expected_;
  std::size_t number_ = 0;
};

// Puts and gets by chance, with up to `most` messages in it; true if all was right.
bool traffic(Pipe& pipe, int rounds, std::size_t longest, std::size_t most, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<std::size_t> any_size(0, longest);
  for (int i = 0; i < rounds; ++i) {
    const bool puts = pipe.size() == 0 || (pipe.size() < most && random() % 2 == 0);
    if (puts ? !pipe.put(any_size(random)) : !pipe.get()) return false;
    if (!pipe.size_is_right()) return false;
  }
  return pipe.get_all();
}

class ChannelFrame : unit::ArenaFrame {
 public:
  [[nodiscard]] static std::size_t chunks() { return Heap::statistics().chunks; }
  [[nodiscard]] long more_cells() const {
    return static_cast<long>(Heap::statistics().cells) - static_cast<long>(cells_before_);
  }

 private:
  std::size_t cells_before_ = Heap::statistics().cells;
};

bool put_text(const ByteChannel& channel, const std::string& text,
              std::span<const Handle> handles = {}, Deadline deadline = unit::last_moment()) {
  return kin::detail::put(const_cast<ByteChannel&>(channel), std::as_bytes(std::span(text)),
                          {.handles = handles, .descriptors = {}}, unit::quiet_line, deadline);
}

// What came, "none" when the time was up.
std::string get_text(ByteChannel& channel, std::vector<Handle>& handles,
                     Deadline deadline = unit::last_moment()) {
  std::string text = "none";
  IncomingCargo cargo;
  kin::detail::get(
      channel,
      [&](const Part& part) {
        text.assign(reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size());
      },
      &cargo, unit::quiet_line, deadline);
  handles = std::move(cargo.handles);
  return text;
}

std::string get_text(ByteChannel& channel, Deadline deadline = unit::last_moment()) {
  std::vector<Handle> handles;
  return get_text(channel, handles, deadline);
}

}  // namespace

TEST_SUITE("byte_channel") {
  TEST_CASE_FIXTURE(ChannelFrame, "a new one is empty") {
    Pipe pipe;
    CHECK(pipe.size_is_right());
    CHECK(pipe.get());
    CHECK_FALSE(kin::detail::is_shut_down(pipe.channel()));
  }

  TEST_CASE_FIXTURE(ChannelFrame, "messages of every size come out whole, in their order") {
    Pipe pipe;
    for (std::size_t size = 0; size < 400; ++size) CHECK(pipe.put(size));
    CHECK(pipe.size_is_right());
    CHECK(pipe.get_all());
    for (std::size_t size = 0; size < 400; ++size) {
      CHECK(pipe.put(size));
      CHECK(pipe.get());
    }
  }

  TEST_CASE_FIXTURE(ChannelFrame, "odd sizes go round and round without growth") {
    Pipe pipe;
    for (int i = 0; i < 5000; ++i) {
      CHECK(pipe.put(static_cast<std::size_t>(i * 37 % 250)));
      if (pipe.size() > 3) CHECK(pipe.get());
    }
    CHECK(pipe.get_all());
    CHECK(pipe.channel().head_segment->units() == fresh_units);
    CHECK(pipe.channel().head_segment->base == 0);
  }

  TEST_CASE_FIXTURE(ChannelFrame, "whatever the traffic, what goes in comes out") {
    for (unsigned seed = 0; seed < 20; ++seed) {
      CAPTURE(seed);
      Pipe pipe;
      CHECK(traffic(pipe, 2000, 200, 5, seed));
      CHECK(traffic(pipe, 2000, 2000, 40, seed));
      CHECK(traffic(pipe, 100, 100'000, 10, seed));
    }
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a pad stands wherever the rest of the ring is too small") {
    for (std::uint32_t offset = 0; offset < fresh_units; ++offset) {
      for (const std::uint32_t units : {2U, 3U, 17U, 128U, 255U, 256U}) {
        CAPTURE(offset);
        CAPTURE(units);
        Pipe pipe;
        for (std::uint32_t i = 0; i < offset; ++i) {
          REQUIRE(pipe.put(0));  // a unit each
          REQUIRE(pipe.get());
        }
        REQUIRE(pipe.put((units - 1) * Cursor::unit));
        REQUIRE(pipe.put(0));
        REQUIRE(pipe.size_is_right());
        REQUIRE(pipe.get_all());
        REQUIRE(pipe.put((units - 1) * Cursor::unit - 3));
        REQUIRE(pipe.get_all());
      }
    }
  }

  TEST_CASE_FIXTURE(ChannelFrame, "it grows as it must, and its readers follow") {
    Pipe pipe;
    for (std::size_t i = 0; i < 20'000; ++i) CHECK(pipe.put(i % 100));
    CHECK(pipe.size_is_right());
    CHECK(pipe.channel().head_segment->units() == fresh_units);
    CHECK(pipe.channel().tail_segment.load()->units() > 16 * fresh_units);
    CHECK(pipe.get_all());
    CHECK(pipe.channel().head_segment.get() == pipe.channel().tail_segment.load());
  }

  TEST_CASE_FIXTURE(ChannelFrame, "it grows while it is read") {
    Pipe pipe;
    for (std::size_t i = 0; i < 3000; ++i) {
      CHECK(pipe.put(i));
      CHECK(pipe.put(i / 2));
      if (i % 4 != 0) CHECK(pipe.get());
    }
    CHECK(pipe.get_all());
  }

  TEST_CASE_FIXTURE(ChannelFrame, "one that had to grow large gives its memory back when empty") {
    const std::size_t before = chunks();
    Pipe pipe;
    for (int i = 0; i < 8; ++i) CHECK(pipe.put(std::size_t{3} << 20));
    CHECK(chunks() > before + 300);
    CHECK(pipe.get_all());
    CHECK(chunks() < before + 5);
    CHECK(pipe.channel().head_segment->units() * Cursor::unit == std::size_t{16} << 10);
    CHECK(pipe.channel().head_segment.get() == pipe.channel().tail_segment.load());
    // What writers knew of the room was of the large one.
    CHECK(pipe.channel().room_ends == Cursor(pipe.channel().tail.load()).position());
    for (int i = 0; i < 40; ++i) CHECK(pipe.put(1000));
    CHECK(pipe.get_all());
    CHECK(traffic(pipe, 1000, 1000, 5, 1));
  }

  TEST_CASE_FIXTURE(ChannelFrame, "positions and counts begin again behind their largest") {
    for (const std::uint32_t units_before : {0U, 1U, 100U, 256U, 3000U}) {
      for (const std::uint32_t messages_before : {0U, 1U, 200U}) {
        CAPTURE(units_before);
        CAPTURE(messages_before);
        Pipe pipe;
        pipe.set_cursors(0 - units_before, (0 - messages_before) & Cursor::count_mask);
        CHECK(traffic(pipe, 500, 100, 3, 1));
        CHECK(traffic(pipe, 2000, 900, 30, 2));  // with growth
      }
    }
  }

  TEST_CASE_FIXTURE(ChannelFrame, "nothing depends on the sign of a position or a count") {
    for (const std::uint32_t units_before : {0U, 1U, 100U, 3000U}) {
      Pipe pipe;
      pipe.set_cursors(0x80000000U - units_before, 0x40000000U - 100);
      CHECK(traffic(pipe, 500, 100, 3, 1));
      CHECK(traffic(pipe, 2000, 900, 30, 2));
    }
  }

  TEST_CASE_FIXTURE(ChannelFrame,
                    "a ring that is never left goes on, however much went through it") {
    constexpr std::uint32_t units = 2048;
    Pipe pipe(0, false, units);
    while (pipe.put(100)) continue;
    CHECK(pipe.get_all());
    CHECK(traffic(pipe, 500, 300, 20, 1));
    const ByteChannel& channel = pipe.channel();
    kin::detail::Segment& ring = *channel.tail_segment.load();
    REQUIRE(ring.units() == units);
    REQUIRE(channel.head_segment.get() == &ring);
    for (unsigned i = 0; i < 12; ++i) {
      CAPTURE(i);
      // As if so many units more had been through it: 4 GiB.
      ring.base -= std::uint32_t{1} << 29;
      CHECK(traffic(pipe, 500, 300, 20, i));
      CHECK(Cursor(channel.tail.load()).position() - ring.base < std::uint32_t{1} << 30);
    }
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a bounded one is full behind the wrap-around of its count") {
    Pipe pipe(3);
    pipe.set_cursors(0xfffffff0, Cursor::count_mask - 1);
    for (int i = 0; i < 3; ++i) CHECK(pipe.put(10));
    CHECK_FALSE(pipe.put(10));
    CHECK(pipe.size_is_right());
    CHECK(pipe.get_all());
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a bounded one takes no more than its bound") {
    Pipe pipe(2);
    for (int round = 0; round < 3; ++round) {
      CHECK(pipe.put(1));
      CHECK(pipe.put(2));
      CHECK_FALSE(pipe.put(3));
      CHECK(pipe.size_is_right());
      CHECK(pipe.get());
      CHECK(pipe.put(4));
      CHECK_FALSE(pipe.put(5));
      CHECK(pipe.get_all());
    }
  }

  TEST_CASE_FIXTURE(ChannelFrame, "who waits for room is told of it, who waits for messages too") {
    Pipe pipe(1);
    ByteChannel& channel = pipe.channel();
    REQUIRE(put_text(channel, "first"));
    unit::Relative writer([&] { return put_text(channel, "second") ? "put" : "gave up"; });
    CHECK(writer.falls_asleep());
    CHECK(get_text(channel) == "first");
    CHECK(writer.answer() == "put");
    CHECK(get_text(channel) == "second");
    unit::Relative reader([&] { return get_text(channel); });
    CHECK(reader.falls_asleep());
    REQUIRE(put_text(channel, "third"));
    CHECK(reader.answer() == "third");
  }

  TEST_CASE_FIXTURE(ChannelFrame, "waits end with their deadlines") {
    Pipe pipe(1);
    const auto soon = [] { return Deadline::after(std::chrono::milliseconds(5)); };
    CHECK(get_text(pipe.channel(), soon()) == "none");
    CHECK(put_text(pipe.channel(), "one", {}, soon()));
    CHECK_FALSE(put_text(pipe.channel(), "two", {}, soon()));
    CHECK(get_text(pipe.channel(), soon()) == "one");
    CHECK(get_text(pipe.channel(), Deadline::passed()) == "none");
  }

  TEST_CASE_FIXTURE(ChannelFrame,
                    "after a shutdown what is there can be taken, and nothing be put") {
    Pipe pipe;
    CHECK(pipe.put(1));
    CHECK(pipe.put(2));
    kin::detail::shut_down(pipe.channel(), unit::quiet_line);
    kin::detail::shut_down(pipe.channel(), unit::quiet_line);
    CHECK(kin::detail::is_shut_down(pipe.channel()));
    CHECK_THROWS_AS(pipe.put(3), kin::QueueShutDown);
    CHECK(pipe.size_is_right());
    CHECK(pipe.get());
    CHECK(pipe.get());
    CHECK_THROWS_AS(pipe.get(), kin::QueueShutDown);
    CHECK_THROWS_AS(get_text(pipe.channel()), kin::QueueShutDown);
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a shutdown reaches all who wait") {
    Pipe empty;
    Pipe full(1);
    REQUIRE(full.put(1));
    const auto said = [](auto&& call) -> std::string {
      try {
        call();
      } catch (const kin::QueueShutDown&) {
        return "shut down";
      }
      return "not told";
    };
    std::vector<std::unique_ptr<unit::Relative>> waiters;
    for (int i = 0; i < 3; ++i) {
      waiters.push_back(std::make_unique<unit::Relative>(
          [&] { return said([&] { get_text(empty.channel()); }); }));
      waiters.push_back(std::make_unique<unit::Relative>(
          [&] { return said([&] { put_text(full.channel(), ""); }); }));
    }
    for (const auto& one : waiters) CHECK(one->falls_asleep());
    kin::detail::shut_down(empty.channel(), unit::quiet_line);
    kin::detail::shut_down(full.channel(), unit::quiet_line);
    for (const auto& one : waiters) CHECK(one->answer() == "shut down");
  }

  TEST_CASE_FIXTURE(ChannelFrame, "what the reader's function throws leaves the message there") {
    Pipe pipe;
    CHECK(pipe.put(100));
    IncomingCargo refused;
    CHECK_THROWS_AS(kin::detail::get(
                        pipe.channel(), [](const Part&) { throw 1; }, &refused, unit::quiet_line,
                        Deadline::passed()),
                    int);
    CHECK(pipe.size_is_right());
    CHECK(pipe.get_all());
  }

  TEST_CASE_FIXTURE(ChannelFrame, "several writers and readers in several processes lose nothing") {
    Pipe numbers(100);
    Pipe results;
    constexpr int count = 3000;
    constexpr int writers = 3;
    std::vector<std::unique_ptr<unit::Relative>> children;
    for (int i = 0; i < writers; ++i) {
      children.push_back(std::make_unique<unit::Relative>([&, i] {
        for (int number = 0; number < count; ++number) {
          if (!put_text(numbers.channel(), std::to_string(i * count + number))) return "gave up";
        }
        return "done";
      }));
    }
    for (int i = 0; i < 2; ++i) {
      children.push_back(std::make_unique<unit::Relative>([&] {
        try {
          while (true) {
            std::string text = get_text(numbers.channel());
            text.append(text.size() % 7, ' ');
            put_text(results.channel(), text);
          }
        } catch (const kin::QueueShutDown&) {
        }
        return "done";
      }));
    }
    for (int i = 0; i < writers; ++i)
      CHECK(children[static_cast<std::size_t>(i)]->answer() == "done");
    kin::detail::shut_down(numbers.channel(), unit::quiet_line);
    for (const auto& child : children) CHECK(child->answer() == "done");
    std::vector<int> seen(writers * count);
    for (int i = 0; i < writers * count; ++i) {
      ++seen.at(static_cast<std::size_t>(std::stoi(get_text(results.channel()))));
    }
    CHECK(std::ranges::all_of(seen, [](int times) { return times == 1; }));
    CHECK(get_text(results.channel(), Deadline::passed()) == "none");
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a handle travels, and its object lives on the way") {
    Pipe pipe;
    {
      const Pipe cargo;
      REQUIRE(put_text(cargo.channel(), "inside"));
      const std::vector<Handle> handles = {cargo.handle(), cargo.handle()};
      REQUIRE(put_text(pipe.channel(), "with two", handles));
    }
    REQUIRE(put_text(pipe.channel(), "without"));
    std::vector<Handle> received;
    CHECK(get_text(pipe.channel(), received) == "with two");
    REQUIRE(received.size() == 2);
    CHECK(received[0] == received[1]);
    CHECK(get_text(static_cast<ByteChannel&>(received[0].object())) == "inside");
    CHECK(get_text(pipe.channel(), received) == "without");
    CHECK(received.empty());
  }

  TEST_CASE_FIXTURE(ChannelFrame, "more handles than an object has cells, in many messages") {
    Pipe pipe;
    pipe.set_cursors(0 - 500U, Cursor::count_mask - 10);  // behind the wrap-around as well
    const Pipe cargo;
    const std::vector<Handle> handles(40, cargo.handle());
    for (int i = 0; i < 50; ++i) {
      REQUIRE(put_text(pipe.channel(), std::string(static_cast<std::size_t>(i), 'x'), handles));
    }
    for (int i = 0; i < 50; ++i) {
      std::vector<Handle> received;
      CHECK(get_text(pipe.channel(), received) == std::string(static_cast<std::size_t>(i), 'x'));
      CHECK(received == handles);
    }
    CHECK(pipe.channel().loading.get() == nullptr);
    CHECK(pipe.channel().unloading.get() == nullptr);
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a channel that ends takes what is on its way with it") {
    {
      Pipe pipe;
      for (int i = 0; i < 100; ++i) {
        const Pipe cargo;
        const Pipe inner;
        REQUIRE(put_text(cargo.channel(), "inner", std::vector{inner.handle()}));
        REQUIRE(put_text(pipe.channel(), std::string(static_cast<std::size_t>(i), 'x'),
                         std::vector{cargo.handle()}));
        REQUIRE(put_text(pipe.channel(), "plain"));
      }
      CHECK(more_cells() > 300);
    }
    CHECK(more_cells() == 0);
  }

  TEST_CASE_FIXTURE(ChannelFrame, "cargo that the reader's function refused is still on its way") {
    Pipe pipe;
    {
      const Pipe cargo;
      REQUIRE(put_text(pipe.channel(), "x", std::vector{cargo.handle()}));
    }
    IncomingCargo refused;
    CHECK_THROWS_AS(kin::detail::get(
                        pipe.channel(), [](const Part&) { throw 1; }, &refused, unit::quiet_line,
                        Deadline::passed()),
                    int);
    CHECK(refused.handles.empty());
    std::vector<Handle> handles;
    CHECK(get_text(pipe.channel(), handles) == "x");
    REQUIRE(handles.size() == 1);
    CHECK(kin::detail::size_of(static_cast<ByteChannel&>(handles[0].object())) == 0);
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a channel that only a message names is received by a child") {
    Pipe pipe;
    unit::Relative child([&] {
      std::vector<Handle> received;
      if (get_text(pipe.channel(), received) != "take it" || received.size() != 1) return "nothing";
      return put_text(static_cast<ByteChannel&>(received[0].object()), "hello") ? "sent"
                                                                                : "not sent";
    });
    Pipe cargo;
    REQUIRE(put_text(pipe.channel(), "take it", std::vector{cargo.handle()}));
    CHECK(get_text(cargo.channel()) == "hello");
    CHECK(child.answer() == "sent");
  }

  TEST_CASE_FIXTURE(ChannelFrame, "a message longer than any can be is refused") {
    Pipe pipe;
    constexpr std::size_t size = (std::size_t{4} << 30) + 1;
    void* place =
        ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(place != MAP_FAILED);
    const std::span bytes(static_cast<const std::byte*>(place), size);
    CHECK_THROWS_AS(
        kin::detail::put(pipe.channel(), bytes, {}, unit::quiet_line, Deadline::never()),
        std::bad_alloc);
    ::munmap(place, size);
    CHECK(pipe.size_is_right());
    CHECK(traffic(pipe, 100, 100, 3, 1));
  }

  TEST_CASE("when the arena is full a put throws and what was put before is kept") {
    if (!support::is_again()) {
      CHECK(support::again("when the arena is full a put throws and what was put before is kept",
                           "16777216") == "");
      return;
    }
    const ChannelFrame frame;
    Pipe pipe;
    CHECK_THROWS_AS(pipe.put(std::size_t{20} << 20), std::bad_alloc);
    CHECK(pipe.size_is_right());
    CHECK_THROWS_AS(
        [&] {
          while (true) pipe.put(10'000);
        }(),
        std::bad_alloc);
    CHECK(pipe.size() > 500);
    CHECK(pipe.size_is_right());
    CHECK_THROWS_AS(
        [] {
          std::vector<std::unique_ptr<Pipe>> pipes;
          while (true) pipes.push_back(std::make_unique<Pipe>());
        }(),
        std::bad_alloc);
    CHECK(pipe.get());
    CHECK(pipe.get_all());
    CHECK(traffic(pipe, 500, 1000, 10, 1));
    {
      // With cargo, where the channel's own place is enough but the cargo's is not to be had.
      const Pipe cargo;
      Pipe filler;
      CHECK_THROWS_AS(
          [&] {
            while (true) filler.put(30);
          }(),
          std::bad_alloc);
      const std::vector<Handle> many(100'000, cargo.handle());
      CHECK_THROWS_AS(put_text(pipe.channel(), "x", many), std::bad_alloc);
      CHECK(pipe.size_is_right());
      CHECK(pipe.channel().loading.get() == nullptr);
    }
    CHECK(traffic(pipe, 500, 1000, 10, 1));
  }

  TEST_CASE_FIXTURE(ChannelFrame,
                    "who waits for room looks again when an end is closed somewhere") {
    Pipe pipe(1);
    REQUIRE(pipe.put(8));
    kin::detail::Obstacle obstacle{.head_position = 0, .closings = 7};
    pipe.channel().closings.store(7);
    CHECK_FALSE(kin::detail::has_room(pipe.channel(), obstacle));
    pipe.channel().closings.fetch_add(1);
    CHECK(kin::detail::has_room(pipe.channel(), obstacle));
    CHECK(pipe.get_all());
  }
}
