// SPDX-License-Identifier: BSL-1.0

// Descriptors and ends in messages of a pipe where something is wrong with them: there is no room for them, or
// they are not open. Whoever can't have one is told, nothing is lost, and nothing stays open.

#include <kin/connection.hpp>
#include <kin/queue.hpp>
#include <kin/unique_fd.hpp>
#include <kin/wait.hpp>

#include "arena_frame.hpp"
#include "descriptor_room.hpp"
#include "noise.hpp"
#include "support/shared_page.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <future>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using kin::Pipe;
using kin::SimplexPipe;
using kin::UniqueFd;
using unit::error_of;
using unit::KiB;
using unit::leave_room_for;
using unit::MiB;
using unit::open_numbers;
using namespace std::chrono_literals;

namespace {

/// Small messages, and such that go in pieces.
constexpr std::array sizes{std::size_t{0}, 100 * KiB, MiB};

struct Parcel {
  std::string wrapping;
  UniqueFd descriptor;
};

// A pipe of the kernel's.
struct Drain {
  UniqueFd out;
  UniqueFd in;

  Drain() {
    std::array<int, 2> fds{};
    if (::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) != 0) throw std::runtime_error("no pipe");
    out.reset(fds[0]);
    in.reset(fds[1]);
  }
  [[nodiscard]] bool leads_here(const UniqueFd& writer) const {
    char sign = 'x';
    if (::write(writer.get(), &sign, 1) != 1) return false;
    sign = 0;
    return ::read(out.get(), &sign, 1) == 1 && sign == 'x';
  }
  [[nodiscard]] bool is_closed() const {
    char sign = 0;
    return ::read(out.get(), &sign, 1) == 0;
  }
};

// Tries it with room for no descriptor, then for one, and so on. How many it needs: with fewer it was told so, and
// left none open.
template <typename Call>
std::size_t room_needed(Call&& call) {
  for (std::size_t room = 0; room < 20; ++room) {
    leave_room_for(room);
    const auto before = open_numbers();
    const int error = error_of(call);
    if (error == 0) return room;
    if (error != EMFILE) throw std::runtime_error("error " + std::to_string(error));
    if (open_numbers() != before) throw std::runtime_error("some are left open");
  }
  throw std::runtime_error("it never has enough");
}

// In a child: whoever runs out of descriptors leaves it with a table that is no good for anything else.
std::string needs_in_child(const std::function<std::size_t()>& body) {
  return unit::answer_of([&] { return "needs " + std::to_string(body()); });
}

// The number of a descriptor that was closed. As the lowest one that is free it is the next that anybody gets.
UniqueFd not_open() {
  const int number = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(number);
  return UniqueFd(number);
}

}  // namespace

TEST_SUITE("connection descriptor") {
  TEST_CASE_FIXTURE(unit::ArenaFrame, "no room to make a pipe") {
    CHECK(needs_in_child([] {
            std::optional<Pipe<int>> pipe;
            const std::size_t needed = room_needed([&] { pipe.emplace(); });
            pipe->first.send(1);
            if (pipe->second.recv() != 1) throw std::runtime_error("it does not work");
            return needed;
          }) == "needs 2");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "no room for fileno()") {
    CHECK(needs_in_child([] {
            const SimplexPipe<int> pipe;
            leave_room_for(0);
            pipe.writer.send(1);  // which needs none
            const std::size_t needed =
                room_needed([&] { static_cast<void>(pipe.reader.fileno()); });
            pipe.writer.send(2);
            if (pipe.reader.recv() != 1 || pipe.reader.recv() != 2)
              throw std::runtime_error("lost");
            return needed;
          }) == "needs 2");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "no room to wait for a queue") {
    const kin::Queue<int> queue;
    queue.put(1);
    CHECK(needs_in_child([&] {
            const std::size_t needed =
                room_needed([&] { static_cast<void>(kin::wait_any({queue})); });
            if (queue.get() != 1) throw std::runtime_error("lost");
            return needed;
          }) == "needs 3");
    queue.put(2);
    CHECK(kin::wait_any({queue}) == std::vector<std::size_t>{0});
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "no room to send a descriptor: nothing was sent") {
    for (const std::size_t size : {sizes[0], sizes[1]}) {
      CAPTURE(size);
      const SimplexPipe<Parcel> pipe;
      const Drain drain;
      CHECK(needs_in_child([&] {
              const Parcel parcel{std::string(size, 'x'), UniqueFd(::dup(drain.in.get()))};
              const std::size_t needed = room_needed([&] {
                if (pipe.reader.poll()) throw std::runtime_error("something was sent");
                pipe.writer.send(parcel);
              });
              leave_room_for(2);
              pipe.writer.send(parcel);
              return needed;
            }) == "needs 2");
      for (int i = 0; i < 2; ++i) {
        const auto got = pipe.reader.recv_for(unit::patience);
        REQUIRE(got);
        CHECK(got->wrapping == std::string(size, 'x'));
        CHECK(drain.leads_here(got->descriptor));
      }
      CHECK_FALSE(pipe.reader.poll());
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "no room to receive a descriptor: the message stays") {
    for (const std::size_t size : sizes) {
      CAPTURE(size);
      const SimplexPipe<Parcel> pipe;
      Drain drain;
      unit::Relative receiver([&] {
        drain.in.reset();
        std::optional<Parcel> got;
        const std::size_t needed = room_needed([&] { got.emplace(pipe.reader.recv()); });
        if (got->wrapping != std::string(size, 'x')) return std::string("another");
        if (!drain.leads_here(got->descriptor)) return std::string("another descriptor");
        got.reset();
        got.emplace(pipe.reader.recv());  // the one behind it
        return got->wrapping + " behind what needs " + std::to_string(needed);
      });
      pipe.writer.send({std::string(size, 'x'), std::move(drain.in)});
      pipe.writer.send({"message", {}});
      CHECK(receiver.answer() == "message behind what needs 2");
      drain.in.reset();
      CHECK(drain.is_closed());
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "no room to receive, for good: others do, or it is dropped") {
    for (const std::size_t size : {sizes[0], sizes[1]}) {
      CAPTURE(size);
      const SimplexPipe<Parcel> pipe;
      Drain drain;
      for (const auto* name : {"first", "second"}) {
        pipe.writer.send({name + std::string(size, 'x'), UniqueFd(::dup(drain.in.get()))});
      }
      CHECK(unit::answer_of([&] {
              leave_room_for(0);
              const auto try_recv = [&] { static_cast<void>(pipe.reader.try_recv()); };
              const auto recv_for = [&] { static_cast<void>(pipe.reader.recv_for(1h)); };
              if (error_of(try_recv) != EMFILE) return "it has tried something else";
              if (error_of(recv_for) != EMFILE) return "it has waited for something else";
              if (!pipe.reader.poll()) return "gone";
              // As bytes it has no descriptors: they are closed.
              unit::Bytes bytes(size + 200);
              return pipe.reader.recv_bytes_into(bytes) > size ? "dropped" : "another";
            }) == "dropped");
      const auto second = pipe.reader.recv_for(unit::patience);
      REQUIRE(second);
      CHECK(second->wrapping == "second" + std::string(size, 'x'));
      CHECK(drain.leads_here(second->descriptor));
      CHECK_FALSE(pipe.reader.poll());
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "no room to send and to receive an end") {
    const SimplexPipe<kin::Writer<int>> pipe;
    const SimplexPipe<int> sent;
    CHECK(needs_in_child([&] { return room_needed([&] { pipe.writer.send(sent.writer); }); }) ==
          "needs 2");
    CHECK(needs_in_child([&] {
            std::optional<kin::Writer<int>> got;
            const std::size_t needed = room_needed([&] { got.emplace(pipe.reader.recv()); });
            got->send(7);
            return needed;
          }) == "needs 2");
    CHECK(sent.reader.recv_for(unit::patience) == 7);
    CHECK_FALSE(pipe.reader.poll());
    sent.writer.close();
    CHECK_THROWS_AS(static_cast<void>(sent.reader.recv()), kin::EndOfStream);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a descriptor that is not open can't be sent") {
    for (const std::size_t size : sizes) {
      CAPTURE(size);
      const SimplexPipe<std::pair<std::string, std::vector<UniqueFd>>> pipe;
      Drain drain;
      auto receiver = std::async(std::launch::async, [&] { return pipe.reader.recv(); });
      for (const bool is_free : {true, false}) {
        std::vector<UniqueFd> descriptors;
        descriptors.emplace_back(::dup(drain.in.get()));
        descriptors.push_back(is_free ? not_open() : UniqueFd(100'000));
        const std::pair message{std::string(size, 'x'), std::move(descriptors)};
        CHECK(error_of([&] { pipe.writer.send(message); }) == EBADF);
      }
      std::vector<UniqueFd> descriptors;
      descriptors.push_back(std::move(drain.in));
      pipe.writer.send({std::string(size, 'y'), std::move(descriptors)});
      REQUIRE(receiver.wait_for(unit::patience) == std::future_status::ready);
      auto next = receiver.get();
      CHECK(next.first == std::string(size, 'y'));
      REQUIRE(next.second.size() == 1);
      CHECK(drain.leads_here(next.second[0]));
      CHECK_FALSE(pipe.reader.poll());
      next.second.clear();
      CHECK(drain.is_closed());  // none of those that were refused is kept
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a descriptor that is not open can't be put") {
    const kin::Queue<UniqueFd> queue;
    CHECK(error_of([&] { queue.put(not_open()); }) == EBADF);
    CHECK(error_of([&] { static_cast<void>(queue.try_put(UniqueFd(100'000))); }) == EBADF);
    CHECK(queue.empty());
    queue.put(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
    CHECK(queue.get());
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "an end whose descriptor was closed can't be sent") {
    const SimplexPipe<kin::Writer<int>> pipe;
    CHECK(unit::answer_of([&]() -> std::string {
            const SimplexPipe<int> sent;
            ::close(sent.writer.fileno());
            const int error = error_of([&] { pipe.writer.send(sent.writer); });
            return error == EBADF ? "told" : "error " + std::to_string(error);
          }) == "told");
    CHECK_FALSE(pipe.reader.poll());
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "an empty UniqueFd arrives as one") {
    for (const std::size_t size : sizes) {
      const SimplexPipe<Parcel> pipe;
      unit::Relative sender([&] {
        pipe.writer.send({std::string(size, 'x'), UniqueFd()});
        return "sent";
      });
      const auto got = pipe.reader.recv_for(unit::patience);
      REQUIRE(got);
      CHECK_FALSE(got->descriptor);
      CHECK(got->wrapping.size() == size);
      CHECK(sender.answer() == "sent");
    }
  }

  // As many as the descriptor store has room for; a user who is not root may have fewer on their way.
  TEST_CASE_FIXTURE(unit::ArenaFrame, "too many on their way: who sends one more waits") {
    const UniqueFd any(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const kin::Queue<UniqueFd> queue;
    int sent = 0;
    try {
      while (queue.try_put(any)) ++sent;
    } catch (const kin::SystemError& error) {
      CHECK(error.code().value() == ETOOMANYREFS);
      MESSAGE("not tested: this user's limit came first");
      return;
    }
    CHECK(sent > 500);
    CHECK(sent < 1100);
    CHECK_FALSE(queue.put_for(any, 20ms));
    CHECK_FALSE(kin::Queue<UniqueFd>().try_put(any));  // it is one room for all

    const SimplexPipe<Parcel> pipe;
    const SimplexPipe<Parcel> nobody_reads;
    nobody_reads.reader.close();
    CHECK_THROWS_AS(nobody_reads.writer.send({"", UniqueFd(::dup(any.get()))}), kin::BrokenPipe);
    for (const std::size_t size : {sizes[0], sizes[1]}) {
      CAPTURE(size);
      pipe.writer.send({"needs no room", {}});
      CHECK(pipe.reader.recv().wrapping == "needs no room");
      const crash::SharedPage<std::atomic<bool>> is_sent;
      unit::Relative sender([&] {
        pipe.writer.send({std::string(size, 'x'), UniqueFd(::dup(any.get()))});
        *is_sent = true;
        return "sent";
      });
      CHECK(sender.falls_asleep());
      CHECK_FALSE(*is_sent);
      CHECK_FALSE(pipe.reader.poll());
      CHECK(queue.get());
      CHECK(sender.answer() == "sent");
      CHECK(pipe.reader.recv().descriptor);
      CHECK(queue.try_put(any));
    }
    const crash::SharedPage<std::atomic<bool>> is_put;
    unit::Relative putter([&] {
      queue.put(any);
      *is_put = true;
      return "put";
    });
    CHECK(putter.falls_asleep());
    CHECK_FALSE(*is_put);
    for (int i = 0; i < sent; ++i) CHECK(queue.get());
    CHECK(putter.answer() == "put");
    CHECK(queue.get_for(unit::patience).has_value());
    CHECK(queue.empty());
  }
}
