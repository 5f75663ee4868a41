// SPDX-License-Identifier: BSL-1.0

// The descriptor of an end of a pipe in event loops: readable while there is something, and never
// silent about it.

#include <kin/connection.hpp>
#include <kin/queue.hpp>

#include "arena_frame.hpp"
#include "event_loop.hpp"
#include "support/object_of.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

using kin::Reader;
using kin::SimplexPipe;
using unit::all_loops;
using unit::Loop;
using unit::Watch;

namespace {

// Takes all there is: how many.
template <typename T>
int drain(const Reader<T>& reader) {
  int count = 0;
  while (reader.try_recv()) ++count;
  return count;
}

// Rings at its first put, and is stopped then, with the lock; killed when it would ring once more.
class FatefulLine final : public kin::detail::Line {
 public:
  explicit FatefulLine(std::function<void()> ring) : ring_(std::move(ring)) {}
  void ring() noexcept override {
    if (has_rung_) static_cast<void>(::raise(SIGKILL));
    has_rung_ = true;
    ring_();
    static_cast<void>(::raise(SIGSTOP));
  }
  void silence() noexcept override {}
  void ring_here() noexcept override {}
  bool wait_for_piece(kin::detail::ByteChannel& /*channel*/) override { return false; }

 private:
  std::function<void()> ring_;
  bool has_rung_ = false;
};

template <typename T, typename Try>
void require_not_to_miss(const T& handle, const std::function<void()>& ring, const Watch& watch,
                         Try try_to_take) {
  unit::Relative writer([&]() -> std::string {
    FatefulLine line(ring);
    const int item = 7;
    kin::detail::put(crash::channel_of(handle), std::as_bytes(std::span(&item, 1)), {}, line,
                     unit::last_moment());
    return "sent";
  });
  REQUIRE(unit::eventually([&] { return crash::process_state(writer.pid()) == 'T'; }));
  CHECK(watch.sees_now());
  // Gives up waiting for the sender: there is nothing, as far as anybody can tell.
  CHECK_FALSE(try_to_take());
  ::kill(writer.pid(), SIGCONT);
  CHECK(writer.answer().find("signal 9") != std::string::npos);
  REQUIRE(watch.sees_soon());
  CHECK(try_to_take() == 7);
  CHECK_FALSE(try_to_take());
  CHECK_FALSE(watch.sees_now());
}

}  // namespace

TEST_SUITE("fileno") {
  TEST_CASE_FIXTURE(unit::ArenaFrame, "who can't ring, having no descriptor, puts nothing") {
    const kin::Queue<int> queue;
    const crash::SharedPage<std::atomic<bool>> is_watched;
    unit::Relative child([&]() -> std::string {
      unit::eventually([&] { return is_watched->load(); });
      const int next = ::dup(STDIN_FILENO);
      ::close(next);
      const rlimit no_more{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
      if (::setrlimit(RLIMIT_NOFILE, &no_more) != 0) return "not limited";
      try {
        queue.put(1);
      } catch (const kin::SystemError& error) {
        return "refused";
      }
      return "put";
    });
    pollfd watched{queue.fileno(), POLLIN, 0};
    is_watched->store(true);
    CHECK(child.answer() == "refused");
    CHECK(queue.empty());
    CHECK(::poll(&watched, 1, 0) == 0);
    queue.put(2);
    CHECK(::poll(&watched, 1, 0) == 1);
    CHECK(queue.get() == 2);
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "it is readable while there is a message, and then quiet") {
    for (const Loop loop : all_loops) {
      CAPTURE(static_cast<int>(loop));
      const SimplexPipe<std::string> pipe;
      const Watch watch(pipe.reader.fileno(), loop);
      CHECK_FALSE(watch.sees_now());
      for (int round = 0; round < 50; ++round) {
        for (int i = 0; i <= round % 3; ++i) pipe.writer.send("message");
        CHECK(watch.sees_now());
        // Edge-triggered: once.
        CHECK(watch.sees_now() == (loop != Loop::edge));
        CHECK(drain(pipe.reader) == round % 3 + 1);
        CHECK_FALSE(watch.sees_now());
      }
      // Also where nobody looked again after the last.
      pipe.writer.send("one");
      pipe.writer.send("two");
      CHECK(watch.sees_now());
      CHECK(pipe.reader.recv() == "one");
      if (loop != Loop::edge) CHECK(watch.sees_now());
      CHECK(pipe.reader.recv() == "two");
      CHECK_FALSE(watch.sees_now());
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "it is readable at the end of the stream") {
    for (const Loop loop : all_loops) {
      CAPTURE(static_cast<int>(loop));
      for (const bool killed : {false, true}) {
        CAPTURE(killed);
        const SimplexPipe<int> pipe;
        const Watch watch(pipe.reader.fileno(), loop);
        unit::Relative writer([&]() -> std::string {
          pipe.writer.send(1);
          if (!killed) return "sent";
          while (true) ::pause();
        });
        pipe.writer.close();
        int messages = 0;
        for (bool is_over = false; !is_over;) {
          REQUIRE(watch.sees_soon());
          try {
            while (pipe.reader.try_recv()) ++messages;
            if (killed) {
              CHECK_FALSE(watch.sees_now());
              writer.end();
            }
          } catch (const kin::EndOfStream&) {
            is_over = true;
          }
        }
        CHECK(messages == 1);
        if (loop != Loop::edge) CHECK(watch.sees_now());
      }
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame,
                    "asked for when messages are already there, it tells of them") {
    for (const Loop loop : all_loops) {
      CAPTURE(static_cast<int>(loop));
      for (const bool ended : {false, true}) {
        CAPTURE(ended);
        const SimplexPipe<int> pipe;
        for (int i = 0; i < 3; ++i) pipe.writer.send(i);
        if (ended) pipe.writer.close();
        const Watch watch(pipe.reader.fileno(), loop);
        CHECK(watch.sees_now());
        CHECK(pipe.reader.recv() == 0);
        if (loop != Loop::edge) CHECK(watch.sees_now());
        CHECK(pipe.reader.recv() == 1);
        CHECK(pipe.reader.recv() == 2);
        if (ended) {
          CHECK_THROWS_AS(static_cast<void>(pipe.reader.try_recv()), kin::EndOfStream);
          if (loop != Loop::edge) CHECK(watch.sees_now());
          continue;
        }
        CHECK_FALSE(watch.sees_now());
        CHECK_FALSE(pipe.reader.try_recv());
        CHECK_FALSE(watch.sees_now());
        pipe.writer.send(3);
        CHECK(watch.sees_now());
        CHECK(pipe.reader.fileno() == pipe.reader.fileno());
        CHECK(drain(pipe.reader) == 1);
      }
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "large messages, and others' readers") {
    for (const Loop loop : all_loops) {
      CAPTURE(static_cast<int>(loop));
      const SimplexPipe<std::string> pipe;
      const Watch watch(pipe.reader.fileno(), loop);
      const std::string large(3'000'000, 'x');
      unit::Relative writer([&] {
        for (int i = 0; i < 5; ++i) pipe.writer.send(large);
        return "sent";
      });
      for (int i = 0; i < 5;) {
        REQUIRE(watch.sees_soon());
        while (const auto message = pipe.reader.try_recv()) {
          CHECK((*message == large));
          ++i;
        }
      }
      CHECK(writer.answer() == "sent");
      CHECK_FALSE(watch.sees_now());
      // Another process takes what this one was woken for.
      pipe.writer.send("taken");
      CHECK(watch.sees_now());
      CHECK(unit::answer_of([&] { return pipe.reader.recv(); }) == "taken");
      CHECK_FALSE(pipe.reader.try_recv());
      CHECK_FALSE(watch.sees_now());
      pipe.writer.send("next");
      CHECK(watch.sees_now());
      CHECK(pipe.reader.recv() == "next");
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "a child of its own makes one for the end that it has") {
    const kin::Pipe<std::string> pipe;
    unit::Relative child([&] {
      pipe.first.close();
      const Watch watch(pipe.second.fileno(), Loop::edge);
      std::string all;
      while (true) {
        if (!watch.sees_soon()) return std::string("nothing came");
        try {
          while (const auto text = pipe.second.try_recv()) {
            all += *text;
            pipe.second.send(*text);
          }
        } catch (const kin::EndOfStream&) {
          return all;
        }
      }
    });
    pipe.second.close();
    const Watch watch(pipe.first.fileno(), Loop::edge);
    for (const char* text : {"a", "b", "c"}) {
      pipe.first.send(text);
      REQUIRE(watch.sees_soon());
      CHECK(pipe.first.recv() == text);
    }
    pipe.first.close();
    CHECK(child.answer() == "abc");
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "of an end that only sends, it tells that nobody receives") {
    const SimplexPipe<int> pipe;
    pollfd about{pipe.writer.fileno(), 0, 0};
    pipe.writer.send(1);
    CHECK(::poll(&about, 1, 0) == 0);
    pipe.reader.close();
    CHECK(::poll(&about, 1, 0) == 1);
    CHECK((about.revents & POLLHUP) != 0);
  }

  TEST_CASE_FIXTURE(
      unit::ArenaFrame,
      "a sender that was stopped for long and then killed behind its commit is not missed") {
    for (const Loop loop : all_loops) {
      CAPTURE(static_cast<int>(loop));
      const kin::Queue<int> queue;
      const int bell = queue.fileno();
      const Watch queue_watch(bell, loop);
      require_not_to_miss(
          queue, [&] { ::eventfd_write(bell, 1); }, queue_watch, [&] { return queue.try_get(); });
      const SimplexPipe<int> pipe;
      const Watch pipe_watch(pipe.reader.fileno(), loop);
      require_not_to_miss(
          pipe.reader, [&] { static_cast<void>(::send(pipe.writer.fileno(), "", 1, 0)); },
          pipe_watch, [&] { return pipe.reader.try_recv(); });
    }
  }
}
