// SPDX-License-Identifier: BSL-1.0

// The descriptor of an end of a pipe in event loops: readable while there is something, and never
// silent about it.

#include <kin/connection.hpp>
#include <kin/queue.hpp>

#include "arena_frame.hpp"
#include "support/object_of.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

using kin::Reader;
using kin::SimplexPipe;
using namespace std::chrono_literals;

namespace {

enum class Loop { select, poll, level, edge };
constexpr std::array all_loops{Loop::select, Loop::poll, Loop::level, Loop::edge};

// An event loop of the application's, over one descriptor.
class Watch {
 public:
  Watch(int fd, Loop loop) : fd_(fd), loop_(loop) {
    if (loop == Loop::level || loop == Loop::edge) {
      epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
      epoll_event event{};
      event.events = EPOLLIN | (loop == Loop::edge ? static_cast<std::uint32_t>(EPOLLET) : 0U);
      REQUIRE(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
    }
  }
  /// Whether it became readable within that time.
  [[nodiscard]] bool sees(std::chrono::milliseconds limit) const {
    const int milliseconds = static_cast<int>(limit.count());
    if (loop_ == Loop::select) {
      fd_set set;
      FD_ZERO(&set);
      FD_SET(fd_, &set);
      timeval time{milliseconds / 1000, (milliseconds % 1000) * 1000};
      return ::select(fd_ + 1, &set, nullptr, nullptr, &time) == 1;
    }
    if (loop_ == Loop::poll) {
      pollfd about{fd_, POLLIN, 0};
      return ::poll(&about, 1, milliseconds) == 1 && (about.revents & POLLIN) != 0;
    }
    epoll_event event{};
    return ::epoll_wait(epoll_.get(), &event, 1, milliseconds) == 1 &&
           (event.events & EPOLLIN) != 0;
  }
  [[nodiscard]] bool sees_now() const { return sees(0ms); }
  [[nodiscard]] bool sees_soon() const { return sees(unit::patience); }

 private:
  int fd_;
  Loop loop_;
  kin::UniqueFd epoll_;
};

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

struct Note {
  std::uint32_t writer;
  std::uint32_t number;  // 1, 2, …
};

// What a writer tells beside the pipe: it was sending so many, had sent so many, and how many the
// reader has.
struct Progress {
  std::atomic<std::uint32_t> begun;
  std::atomic<std::uint32_t> sent;
  std::atomic<std::uint32_t> received;
};

constexpr std::uint32_t most_kills = support::is_sanitized ? 20 : 1000;

constexpr int messages_of_a_storm = support::is_sanitized ? 1000 : 25'000;

void idle(unsigned rounds) {
  for (unsigned i = 0; i < rounds; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Sends bursts of random length after random pauses, each when all before it was received: so the reader
// is woken for the first message of a burst, or nobody goes on.
void send_bursts(const kin::Writer<Note>& writer, std::uint32_t name, Progress& progress) {
  std::mt19937 random(name);
  std::uint32_t number = 0;
  while (true) {
    const unsigned burst = 1 + static_cast<unsigned>(random() % 4 * (random() % 2));
    for (unsigned i = 0; i < burst; ++i) {
      ++number;
      progress.begun.store(number);
      writer.send({name, number});
      progress.sent.store(number);
    }
    while (progress.received.load() < number) {
      if (random() % 4 == 0) std::this_thread::yield();
    }
    idle(static_cast<unsigned>(random() % 2000));
  }
}

// Several writers that are killed at random, and one reader.
class Storm {
 public:
  /// Receives so many messages; false as soon as something is wrong.
  template <typename Receive>
  [[nodiscard]] bool blows(int messages, Receive receive) {
    for (auto& writer : writers_) start(writer);
    bool right = true;
    while (right && messages > 0) {
      const int count = receive(pipe_.reader, [&](Note note) { right = right && is_right(note); });
      if (count < 0) return false;
      messages -= count;
      if (random_() % 100 < static_cast<unsigned>(count)) {
        Writer& writer = writers_[random_() % writers_.size()];
        right = right && killed(writer);
        if (kills_ < most_kills) start(writer);
      }
    }
    for (auto& writer : writers_) right = right && killed(writer);
    return right;
  }
  [[nodiscard]] const Reader<Note>& reader() const { return pipe_.reader; }
  [[nodiscard]] std::uint32_t kills() const { return kills_; }

 private:
  struct Writer {
    std::uint32_t name = 0;
    std::unique_ptr<unit::Relative> process;
  };

  bool is_right(Note note) {
    Progress& progress = (*progress_)[note.writer];
    return progress.received.fetch_add(1) + 1 == note.number && note.number <= progress.begun;
  }
  void start(Writer& writer) {
    writer.name = started_++;
    writer.process = std::make_unique<unit::Relative>([this, name = writer.name]() -> std::string {
      send_bursts(pipe_.writer, name, (*progress_)[name]);
      return "never";
    });
  }
  // What it had sent arrives, and what it was sending is whole or never comes.
  bool killed(Writer& writer) {
    if (writer.process == nullptr) return true;
    writer.process->end();
    ++kills_;
    bool right = true;
    while (const auto note = pipe_.reader.try_recv()) right = right && is_right(*note);
    const Progress& progress = (*progress_)[writer.name];
    right = right && progress.received >= progress.sent && progress.received <= progress.begun;
    writer.process.reset();
    return right;
  }

  SimplexPipe<Note> pipe_;
  crash::SharedPage<std::array<Progress, most_kills + 4>> progress_;
  std::array<Writer, 4> writers_;
  std::mt19937 random_{7};
  std::uint32_t started_ = 0;
  std::uint32_t kills_ = 0;
};

}  // namespace

TEST_SUITE("fileno") {
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

  // With the next case 100 000 messages in all.
  TEST_CASE_FIXTURE(unit::ArenaFrame, "it never misses a message, whoever is killed") {
    for (const Loop loop : all_loops) {
      CAPTURE(static_cast<int>(loop));
      Storm storm;
      const Watch watch(storm.reader().fileno(), loop);
      CHECK(storm.blows(messages_of_a_storm, [&](const Reader<Note>& reader, const auto& take) {
        if (!watch.sees_soon()) return -1;
        int count = 0;
        while (const auto note = reader.try_recv()) {
          take(*note);
          ++count;
        }
        return count;
      }));
      CHECK(storm.kills() > 4);
    }
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

  TEST_CASE_FIXTURE(unit::ArenaFrame, "who sleeps in recv never misses one either") {
    Storm storm;
    CHECK(storm.blows(messages_of_a_storm, [](const Reader<Note>& reader, const auto& take) {
      const auto note = reader.recv_for(unit::patience);
      if (!note) return -1;
      take(*note);
      return 1;
    }));
    CHECK(storm.kills() > 4);
  }
}
