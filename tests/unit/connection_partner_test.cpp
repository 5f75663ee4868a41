// SPDX-License-Identifier: BSL-1.0

// Who is at the other end of a pipe: one that ended or was killed, or many at once.

#include <kin/connection.hpp>
#include <kin/queue.hpp>

#include "arena_frame.hpp"
#include "noise.hpp"
#include "support/object_of.hpp"
#include "support/sanitizer.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <future>
#include <memory>
#include <numeric>
#include <ranges>
#include <string>
#include <vector>

#include <csignal>

#include <sys/types.h>

using kin::Pipe;
using kin::SimplexPipe;
using namespace std::chrono_literals;
using unit::Bytes;
using unit::KiB;
using unit::MiB;
using unit::noise;

namespace {

// Sends until it is refused: how many were sent, -1 if it never was.
template <typename Send>
int sends_until_broken(Send send, int most) {
  for (int sent = 0; sent < most; ++sent) {
    try {
      send();
    } catch (const kin::BrokenPipe&) {
      return sent;
    }
  }
  return -1;
}

}  // namespace

TEST_SUITE("connection partner") {
  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "the stream ends behind the last message, with the last holder") {
    const SimplexPipe<int> pipe;
    const kin::Queue<bool> go_on;
    unit::Relative closes([&] {
      pipe.writer.send(1);
      pipe.writer.close();
      return go_on.get_for(unit::patience) ? "closed" : "late";
    });
    unit::Relative lives([&] {
      if (!go_on.get_for(unit::patience)) return "late";
      pipe.writer.send(2);
      return "sent";  // and ends with its end open
    });
    pipe.writer.close();
    CHECK(pipe.reader.recv_for(unit::patience) == 1);
    CHECK_FALSE(pipe.reader.try_recv());  // the other has it
    CHECK_FALSE(pipe.reader.poll());
    go_on.put(true);
    go_on.put(true);
    CHECK(closes.answer() == "closed");
    CHECK(lives.answer() == "sent");
    CHECK(pipe.reader.poll());
    CHECK(pipe.reader.recv() == 2);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a reader that sleeps sees the end of a killed writer") {
    const SimplexPipe<int> pipe;
    unit::Relative writer([&]() -> std::string {
      pipe.writer.send(1);
      while (true) ::pause();
    });
    pipe.writer.close();
    CHECK(pipe.reader.recv_for(unit::patience) == 1);
    auto rest = std::async(std::launch::async, [&] {
      int count = 0;
      for ([[maybe_unused]] const int number : pipe.reader) ++count;
      return count;
    });
    CHECK_FALSE(pipe.reader.try_recv());
    writer.end();
    REQUIRE(rest.wait_for(unit::patience) == std::future_status::ready);
    CHECK(rest.get() == 0);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "sending is refused at once where the other end was closed") {
    {
      const Pipe<int> pipe;
      pipe.first.send(1);
      pipe.second.send(2);
      pipe.second.close();
      CHECK_THROWS_AS(pipe.first.send(3), kin::BrokenPipe);
      CHECK_THROWS_AS(pipe.first.send_bytes(noise(2 * MiB)), kin::BrokenPipe);
      CHECK(pipe.first.recv() == 2);  // what was sent before is received
      CHECK_THROWS_AS(static_cast<void>(pipe.first.recv()), kin::EndOfStream);
      CHECK_THROWS_AS(pipe.first.send(3), kin::BrokenPipe);
    }
    // By another process, which has it last.
    const SimplexPipe<int> pipe;
    const kin::Queue<bool> closed;
    unit::Relative reader([&]() -> std::string {
      if (pipe.reader.recv() != 1) return "another";
      pipe.reader.close();
      closed.put(true);
      while (true) ::pause();
    });
    pipe.reader.close();
    pipe.writer.send(1);
    CHECK(closed.get_for(unit::patience) == true);
    CHECK_THROWS_AS(pipe.writer.send(2), kin::BrokenPipe);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "sending is refused some messages after a reader was killed") {
    for (const std::size_t size : {std::size_t{1}, 1 * KiB, 32 * KiB, 33 * KiB}) {
      CAPTURE(size);
      const SimplexPipe<int> pipe;
      unit::Relative reader([&]() -> std::string {
        while (true) ::pause();
      });
      pipe.reader.close();
      pipe.writer.send(1);
      reader.end();
      const Bytes bytes = noise(size);
      const int sent = sends_until_broken([&] { pipe.writer.send_bytes(bytes); }, 257);
      CHECK(sent >= 0);
      if (size >= 32 * KiB) CHECK(sent <= 64);  // the pipe is full
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "who waits in a full pipe is told that the reader is gone") {
    for (const bool killed : {false, true}) {
      for (const std::size_t size : {std::size_t{8}, 32 * KiB, 1 * MiB}) {
        CAPTURE(killed);
        CAPTURE(size);
        const SimplexPipe<int> pipe;
        const kin::Queue<bool> go_on;
        unit::Relative reader([&]() -> std::string {
          if (!go_on.get_for(unit::patience)) return "late";
          pipe.reader.close();
          return "closed";
        });
        unit::Relative writer([&]() -> std::string {
          pipe.reader.close();
          const Bytes bytes = noise(size);
          const int sent = sends_until_broken([&] { pipe.writer.send_bytes(bytes); }, 1'000'000);
          return sent >= 0 ? "broken" : "never";
        });
        pipe.reader.close();
        CHECK(writer.falls_asleep());
        if (killed) {
          reader.end();
        } else {
          go_on.put(true);
        }
        CHECK(writer.answer() == "broken");
      }
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "what a killed process was sending never arrives") {
    const SimplexPipe<std::string> pipe;
    const std::string large(8 * MiB, 'x');
    // Stuck in the middle: its reader does not go on.
    unit::Relative killed([&] {
      pipe.writer.send("whole");
      pipe.writer.send(large);
      return "sent";
    });
    CHECK(killed.falls_asleep());
    CHECK(pipe.reader.recv() == "whole");
    unit::Relative other([&] {
      pipe.writer.send("after");
      pipe.writer.send(large);
      return "sent";
    });
    CHECK(other.falls_asleep());
    killed.end();
    CHECK(pipe.reader.recv_for(unit::patience) == "after");
    CHECK((pipe.reader.recv_for(unit::patience) == large));
    CHECK(other.answer() == "sent");

    unit::Relative last([&] {
      pipe.writer.send(large);
      return "sent";
    });
    CHECK(last.falls_asleep());
    last.end();
    pipe.writer.close();
    CHECK_THROWS_AS(static_cast<void>(pipe.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a sender's death that the kernel did not mark is seen") {
    const SimplexPipe<std::string> pipe;
    const std::string large(8 * MiB, 'x');
    unit::Relative killed([&] {
      pipe.writer.send(large);
      return "sent";
    });
    CHECK(killed.falls_asleep());
    const pid_t gone = killed.pid();
    killed.end();
    // The lock's word stands first: as the kernel leaves it when it kills for want of memory.
    auto& lock = crash::channel_of(pipe.reader).tail_lock;
    __atomic_store_n(reinterpret_cast<int*>(&lock), gone, __ATOMIC_SEQ_CST);
    unit::Relative reader([&] { return pipe.reader.recv_for(1ms) ? "a message" : "nothing"; });
    CHECK(reader.answer() == "nothing");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a large message goes with whoever began to receive it") {
    const SimplexPipe<std::string> pipe;
    unit::Relative writer([&] {
      pipe.writer.send(std::string(64 * MiB, 'x'));
      pipe.writer.send("next");
      return "sent";
    });
    CHECK(writer.falls_asleep());
    // Stopped, so that its reader waits in the middle.
    REQUIRE(::kill(writer.pid(), SIGSTOP) == 0);
    CHECK(unit::eventually([&] { return crash::process_state(writer.pid()) == 'T'; }));
    unit::Relative killed([&] { return std::to_string(pipe.reader.recv().size()); });
    CHECK(killed.falls_asleep());
    killed.end();
    CHECK_FALSE(pipe.reader.try_recv());
    CHECK_FALSE(pipe.reader.poll());
    REQUIRE(::kill(writer.pid(), SIGCONT) == 0);
    CHECK(pipe.reader.recv_for(unit::patience) == "next");
    CHECK(writer.answer() == "sent");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "many at one end: each message is whole, and received once") {
    constexpr int writers = 3;
    constexpr int each = support::is_sanitized ? 100 : 400;
    // {number, noise by that number}; some come in pieces
    const auto bytes_of = [](int number) {
      constexpr std::array sizes{4UL, 100UL, 20 * KiB, 32 * KiB, 33 * KiB, 150 * KiB};
      Bytes bytes = noise(sizes[static_cast<std::size_t>(number) % sizes.size()],
                          static_cast<std::uint32_t>(number));
      std::memcpy(bytes.data(), &number, sizeof number);
      return bytes;
    };
    const auto send_all = [&](const auto& writer, int from) {
      for (int i = 0; i < each; ++i) writer.send_bytes(bytes_of(from + i));
    };
    // The numbers; -1 for one that was torn.
    const auto receive_all = [&](const auto& reader) {
      std::vector<int> numbers;
      try {
        while (true) {
          const Bytes bytes = reader.recv_bytes();
          int number = 0;
          std::memcpy(&number, bytes.data(), sizeof number);
          numbers.push_back(bytes == bytes_of(number) ? number : -1);
        }
      } catch (const kin::EndOfStream&) {
      }
      return numbers;
    };
    const auto check_each_once = [](std::vector<int> numbers) {
      std::ranges::sort(numbers);
      std::vector<int> expected(static_cast<std::size_t>(writers * each));
      std::iota(expected.begin(), expected.end(), 0);
      CHECK((numbers == expected));
    };

    SUBCASE("threads") {
      const SimplexPipe<std::string> pipe;
      std::vector<std::future<std::vector<int>>> receivers;
      for (int i = 0; i < 2; ++i) {
        receivers.push_back(
            std::async(std::launch::async, [&] { return receive_all(pipe.reader); }));
      }
      std::vector<std::future<void>> senders;
      for (int i = 0; i < writers; ++i) {
        senders.push_back(
            std::async(std::launch::async, [&, i] { send_all(pipe.writer, i * each); }));
      }
      for (auto& sender : senders) sender.get();
      pipe.writer.close();
      std::vector<int> numbers;
      for (auto& receiver : receivers) {
        const auto some = receiver.get();
        numbers.insert(numbers.end(), some.begin(), some.end());
      }
      check_each_once(numbers);
    }
    SUBCASE("processes") {
      const SimplexPipe<std::string> pipe;
      const kin::Queue<std::vector<int>> received;
      std::vector<std::unique_ptr<unit::Relative>> processes;
      for (int i = 0; i < 2; ++i) {
        processes.push_back(std::make_unique<unit::Relative>([&] {
          pipe.writer.close();
          received.put(receive_all(pipe.reader));
          return "done";
        }));
      }
      for (int i = 0; i < writers; ++i) {
        processes.push_back(std::make_unique<unit::Relative>([&, i] {
          pipe.reader.close();
          send_all(pipe.writer, i * each);
          return "done";
        }));
      }
      pipe.writer.close();
      for (auto& process : processes) CHECK(process->answer() == "done");
      std::vector<int> numbers;
      for (int i = 0; i < 2; ++i) {
        const auto some = received.try_get();
        REQUIRE(some);
        numbers.insert(numbers.end(), some->begin(), some->end());
      }
      check_each_once(numbers);
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "messages of one sender stay in their order") {
    const Pipe<int> pipe;
    constexpr int many = support::is_sanitized ? 2000 : 30'000;
    unit::Relative child([&] {
      for (int i = 0; i < many; ++i) {
        if (pipe.second.recv() != i) return "another";
        if (i % 3 == 0) pipe.second.send(i);
      }
      return "done";
    });
    bool in_order = true;
    for (int i = 0; i < many; ++i) {
      pipe.first.send(i);
      if (i % 3 == 0 && i % 2 == 0) in_order = in_order && pipe.first.recv() == i;
      if (i % 3 == 0 && i % 2 == 1) in_order = in_order && pipe.first.recv_for(unit::patience) == i;
    }
    CHECK(in_order);
    CHECK(child.answer() == "done");
  }
}
