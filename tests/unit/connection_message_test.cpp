// SPDX-License-Identifier: BSL-1.0

// Messages of a pipe: of all sizes and of none, waited for in three ways, and those that fail.

#include <kin/connection.hpp>
#include <kin/queue.hpp>

#include "arena_frame.hpp"
#include "channel/stream.hpp"
#include "noise.hpp"
#include "support/object_of.hpp"

#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using kin::Pipe;
using kin::SimplexPipe;
using namespace std::chrono_literals;
using unit::Bytes;
using unit::KiB;
using unit::MiB;
using unit::noise;

namespace {

std::string text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Throws where it is asked to.
struct Fragile {
  enum When : int { never, written, read };
  int when = never;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    if (Archive::is_saving::value && when == written) throw std::domain_error("not written");
    archive& when;
    if (Archive::is_loading::value && when == read) throw std::domain_error("not read");
  }
};

}  // namespace

TEST_SUITE("connection message") {
  TEST_CASE_FIXTURE(unit::ArenaFrame, "messages of each size, as bytes and as strings") {
    const Pipe<std::string> pipe;
    for (const std::size_t around : {std::size_t{0}, 16 * KiB, 32 * KiB, 128 * KiB, MiB}) {
      for (const long off : {-9L, -8L, -1L, 0L, 1L, 8L}) {
        if (static_cast<long>(around) + off < 0) continue;
        const std::size_t size = around + static_cast<std::size_t>(off);
        CAPTURE(size);
        const Bytes bytes = noise(size);
        const std::string text = text_of(bytes);
        unit::Relative child([&] {
          pipe.first.send_bytes(bytes);
          pipe.first.send(text);
          pipe.first.send_bytes(bytes);
          return pipe.first.recv_bytes() == bytes ? "whole" : "torn";
        });
        CHECK((pipe.second.recv_bytes() == bytes));
        CHECK((pipe.second.recv_for(unit::patience) == text));
        Bytes buffer(size + 1);
        CHECK(pipe.second.recv_bytes_into(buffer) == size);
        buffer.pop_back();
        CHECK((buffer == bytes));
        pipe.second.send_bytes(bytes);
        CHECK(child.answer() == "whole");
      }
    }
  }

  // As whoever takes over from a dead sender must not want for one: it aborts the message anywhere in the ring.
  TEST_CASE_FIXTURE(unit::ArenaFrame, "the ring has all its pages before a message in pieces") {
    const SimplexPipe<int> pipe;
    pipe.writer.send_bytes(noise(33 * KiB));
    const kin::detail::Segment& ring = *crash::channel_of(pipe.reader).tail_segment.load();
    CHECK(ring.populated == ring.units() * kin::detail::Cursor::unit);
    CHECK(ring.units() == kin::detail::pipe_units);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a message of 64 MiB") {
    const Pipe<std::vector<std::byte>> pipe;
    const Bytes bytes = noise(64 * MiB);
    unit::Relative child([&] {
      pipe.first.send(pipe.first.recv());
      return "sent";
    });
    pipe.second.send(bytes);
    CHECK((pipe.second.recv_for(unit::patience) == bytes));
    CHECK(child.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a plain type larger than the pipe") {
    using Page = std::array<std::uint32_t, 300'000>;
    static_assert(sizeof(Page) > std::size_t{kin::detail::pipe_units} * kin::detail::Cursor::unit);
    const SimplexPipe<Page> pipe;
    unit::Relative child([&] {
      const auto page = std::make_unique<Page>();
      std::iota(page->begin(), page->end(), 7U);
      pipe.writer.send(*page);
      return "sent";
    });
    const auto page = std::make_unique<std::optional<Page>>(pipe.reader.recv_for(unit::patience));
    REQUIRE(*page);
    auto expected = std::make_unique<Page>();
    std::iota(expected->begin(), expected->end(), 7U);
    CHECK((**page == *expected));
    CHECK(child.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "messages of no bytes are messages") {
    const SimplexPipe<std::string> pipe;
    for (int i = 0; i < 3; ++i) pipe.writer.send_bytes({});
    for (int i = 0; i < 3; ++i) {
      CHECK(pipe.reader.poll());
      CHECK(pipe.reader.recv_bytes().empty());
    }
    CHECK_FALSE(pipe.reader.poll());
    pipe.writer.send_bytes({});
    CHECK(pipe.reader.recv_bytes_into({}) == 0);
    pipe.writer.send_bytes({});
    pipe.writer.send("");
    pipe.writer.close();
    CHECK(pipe.reader.recv_bytes().empty());
    CHECK(pipe.reader.recv().empty());
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv_bytes()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "each way to wait for a message comes three times") {
    const SimplexPipe<int> pipe;
    CHECK_FALSE(pipe.reader.try_recv());
    CHECK_FALSE(pipe.reader.recv_for(-1s));
    CHECK_FALSE(pipe.reader.recv_for(0s));
    CHECK_FALSE(pipe.reader.poll());
    CHECK_FALSE(pipe.reader.poll_for(-1s));
    for (const auto limit : {1ms, 300ms}) {  // within a slice of sleep, and beyond
      auto start = std::chrono::steady_clock::now();
      CHECK_FALSE(pipe.reader.recv_for(limit));
      CHECK(std::chrono::steady_clock::now() - start >= limit);
      start = std::chrono::steady_clock::now();
      CHECK_FALSE(pipe.reader.poll_for(limit));
      CHECK(std::chrono::steady_clock::now() - start >= limit);
    }
    pipe.writer.send(1);
    CHECK(pipe.reader.poll());
    CHECK(pipe.reader.poll_for(-1s));
    CHECK(pipe.reader.poll_for(unit::patience));
    CHECK(pipe.reader.try_recv() == 1);
    pipe.writer.send(2);
    CHECK(pipe.reader.recv_for(-1s) == 2);
    pipe.writer.send(3);
    CHECK(pipe.reader.recv_for(unit::patience) == 3);
    pipe.writer.send(4);
    CHECK(pipe.reader.recv() == 4);
    CHECK_FALSE(pipe.reader.poll());
    pipe.writer.close();
    CHECK(pipe.reader.poll());
    CHECK(pipe.reader.poll_for(-1s));
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.try_recv()), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv_for(-1s)), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv_for(unit::patience)), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "who sleeps for a message is woken by it") {
    const SimplexPipe<int> pipe;
    const SimplexPipe<int> answers;
    unit::Relative child([&] {
      for (int round = 0; round < 100; ++round) {
        if (round % 3 == 0 && !pipe.reader.poll_for(unit::patience)) return "not polled";
        const auto number =
            round % 2 == 0 ? pipe.reader.recv() : pipe.reader.recv_for(unit::patience);
        if (number != round) return "another";
        answers.writer.send(round);
      }
      return "done";
    });
    for (int round = 0; round < 100; ++round) {
      if (round % 10 == 0) CHECK(child.falls_asleep());
      pipe.writer.send(round);
      REQUIRE(answers.reader.recv_for(unit::patience) == round);
    }
    CHECK(child.answer() == "done");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a buffer that is too short is told the size") {
    const SimplexPipe<std::string> pipe;
    for (const std::size_t size :
         {std::size_t{1}, 100 * std::size_t{1}, 32 * KiB, 32 * KiB + 1, 2 * MiB}) {
      CAPTURE(size);
      const Bytes bytes = noise(size);
      unit::Relative child([&] {
        pipe.writer.send_bytes(bytes);
        pipe.writer.send("next");
        return "sent";
      });
      Bytes buffer(size - 1, std::byte{0x55});
      const Bytes untouched = buffer;
      for (int again = 0; again < 2; ++again) {
        try {
          static_cast<void>(pipe.reader.recv_bytes_into(buffer));
          FAIL("nothing was thrown");
        } catch (const kin::BufferTooShort& error) {
          CHECK(error.message_size() == size);
        }
        CHECK((buffer == untouched));
        CHECK(pipe.reader.poll());
      }
      buffer.resize(size);
      CHECK(pipe.reader.recv_bytes_into(buffer) == size);
      CHECK((buffer == bytes));
      CHECK(pipe.reader.recv_for(unit::patience) == "next");
      CHECK(child.answer() == "sent");
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a loop over it ends with the stream") {
    const SimplexPipe<std::string> words;
    unit::Relative child([&] {
      words.writer.close();
      std::string all;
      for (std::string& word : words.reader) all += std::move(word) + " ";
      return all;
    });
    for (const char* word : {"one", "two", "three"}) words.writer.send(word);
    CHECK(child.falls_asleep());
    words.writer.send("four");
    words.writer.close();
    CHECK(child.answer() == "one two three four ");

    const SimplexPipe<int> numbers;
    for (int i = 1; i <= 10; ++i) numbers.writer.send(i);
    numbers.writer.close();
    int sum = 0;
    std::ranges::for_each(numbers.reader | std::views::filter([](int n) { return n % 2 == 0; }),
                          [&](int n) { sum += n; });
    CHECK(sum == 30);
    for (const int number : numbers.reader) FAIL(number);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "what can't be written is not sent, what can't be read is gone") {
    const SimplexPipe<Fragile> pipe;
    CHECK_THROWS_AS(pipe.writer.send({Fragile::written}), std::domain_error);
    CHECK_FALSE(pipe.reader.poll());
    pipe.writer.send({Fragile::read});
    pipe.writer.send({Fragile::never});
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), std::domain_error);
    CHECK(pipe.reader.recv().when == Fragile::never);

    const SimplexPipe<std::string> words;
    words.writer.send_bytes(std::as_bytes(std::span("no string")));
    words.writer.send("a string");
    CHECK_THROWS_AS(static_cast<void>(words.reader.recv()), kin::SerializationError);
    CHECK(words.reader.recv() == "a string");

    const SimplexPipe<int> numbers;
    for (const std::size_t size : {std::size_t{3}, std::size_t{5}}) {
      numbers.writer.send_bytes(noise(size));
      CHECK_THROWS_AS(static_cast<void>(numbers.reader.recv()), kin::SerializationError);
    }
    unit::Relative child([&] {
      numbers.writer.send_bytes(noise(MiB));
      numbers.writer.send(7);
      return "sent";
    });
    CHECK_THROWS_AS(static_cast<void>(numbers.reader.recv()), kin::SerializationError);
    CHECK(numbers.reader.recv_for(unit::patience) == 7);
    CHECK(child.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "queues travel through a pipe, in small and large messages") {
    using Message = std::pair<std::string, std::vector<kin::Queue<int>>>;
    for (const std::size_t size : {std::size_t{0}, 20 * KiB, MiB}) {
      CAPTURE(size);
      const SimplexPipe<Message> pipe;
      unit::Relative child([&] {
        const Message message = pipe.reader.recv();
        if (message.first.size() != size) return "another";
        for (const auto& queue : message.second) queue.put(5);
        return "put";
      });
      {
        const kin::Queue<int> queue;
        pipe.writer.send({std::string(size, 'x'), {queue, queue}});
        CHECK(queue.get_for(unit::patience) == 5);
        CHECK(queue.get_for(unit::patience) == 5);
      }
      CHECK(child.answer() == "put");
      // Never received: it goes with the pipe.
      if (size < MiB) pipe.writer.send({std::string(size, 'x'), {kin::Queue<int>()}});
      // Received as bytes: the queue is dropped.
      unit::Relative sender([&] {
        pipe.writer.send({std::string(size, 'x'), {kin::Queue<int>()}});
        return "sent";
      });
      CHECK(pipe.reader.recv_bytes().size() > size);
      Bytes buffer(size + 200);
      if (size < MiB) CHECK(pipe.reader.recv_bytes_into(buffer) > size);
      CHECK(sender.answer() == "sent");
    }
  }
}
