// SPDX-License-Identifier: BSL-1.0

// Writers are killed at random, and whoever waits for their messages misses none of those that they sent.

#include <kin/connection.hpp>

#include "arena_frame.hpp"
#include "event_loop.hpp"
#include "support/sanitizer.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <sys/time.h>

using kin::Reader;
using kin::SimplexPipe;
using unit::all_loops;
using unit::Loop;
using unit::Watch;

namespace {

struct Note {
  std::uint32_t writer;
  std::uint32_t number;  // 1, 2, …
};

// What a writer tells beside the pipe: it was sending so many, had sent so many. And the reader: how many it has,
// and that the writer's time has come.
struct Progress {
  std::atomic<std::uint32_t> begun;
  std::atomic<std::uint32_t> sent;
  std::atomic<std::uint32_t> received;
  std::atomic<bool> is_doomed;
};

constexpr std::uint32_t most_kills = support::is_sanitized ? 20 : 1000;

constexpr int messages_of_a_storm = support::is_sanitized ? 1000 : 25'000;
// A hundredth of the messages ends with a kill; so far fewer than half of what is likely.
constexpr std::uint32_t least_kills = support::is_sanitized ? 4 : 100;

void idle(unsigned rounds) {
  for (unsigned i = 0; i < rounds; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

// By a timer of its own: so it is killed at any instruction also where a reader gets the processor only when the
// writer has nothing to do.
void die_within(unsigned microseconds) {
  const itimerval moment{{}, {.tv_sec = 0, .tv_usec = 1 + microseconds}};
  ::setitimer(ITIMER_REAL, &moment, nullptr);  // SIGALRM kills who does not handle it
}

// Sends bursts of random length after random pauses, each when all before it was received: so the reader
// is woken for the first message of a burst, or nobody goes on.
void send_bursts(const kin::Writer<Note>& writer, std::uint32_t name, Progress& progress) {
  std::mt19937 random(name);
  std::uint32_t number = 0;
  while (true) {
    if (progress.is_doomed) die_within(static_cast<unsigned>(random() % 20));
    const unsigned burst = 1 + static_cast<unsigned>(random() % 4 * (random() % 2));
    for (unsigned i = 0; i < burst; ++i) {
      ++number;
      progress.begun.store(number);
      writer.send({name, number});
      progress.sent.store(number);
    }
    while (progress.received.load() < number) {
      if (progress.is_doomed) die_within(0);
      if (random() % 4 == 0) std::this_thread::yield();
    }
    idle(static_cast<unsigned>(random() % 2000));
  }
}

// Writers that are killed at random, and one reader.
class Storm {
 public:
  explicit Storm(std::size_t writers) : writers_(writers) {}
  /// Receives so many messages; false as soon as something is wrong. `is_told` asks what the reader
  /// goes by, right after a kill, whether there is something.
  template <typename Receive>
  [[nodiscard]] bool blows(int messages, Receive receive, const std::function<bool()>& is_told) {
    for (auto& writer : writers_) start(writer);
    bool right = true;
    while (right && messages > 0) {
      const int count = receive(pipe_.reader, [&](Note note) { right = right && is_right(note); });
      if (count < 0) return false;
      messages -= count;
      if (random_() % 100 < static_cast<unsigned>(count)) {
        Writer& writer = writers_[random_() % writers_.size()];
        right = right && killed(writer, is_told);
        if (kills_ < most_kills) start(writer);
      }
    }
    for (auto& writer : writers_) right = right && killed(writer, is_told);
    return right;
  }
  [[nodiscard]] const Reader<Note>& reader() const { return pipe_.reader; }
  [[nodiscard]] std::uint32_t kills() const { return kills_; }
  /// Messages of the killed that nobody had received when they died.
  [[nodiscard]] std::uint32_t last_words() const { return last_words_; }

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
  // What it had sent arrives, and what it was sending is whole or never comes. And the reader is told of
  // it: another writer may send after the question, but whatever is of the dead one was there before.
  bool killed(Writer& writer, const std::function<bool()>& is_told) {
    if (writer.process == nullptr) return true;
    Progress& progress = (*progress_)[writer.name];
    progress.is_doomed = true;
    if (writer.process->answer().find("signal 14") == std::string::npos) return false;
    ++kills_;
    bool right = true;
    const bool told = is_told();
    while (const auto note = pipe_.reader.try_recv()) {
      const bool is_of_the_dead = note->writer == writer.name;
      if (is_of_the_dead) ++last_words_;
      right = right && is_right(*note) && (told || !is_of_the_dead);
    }
    right = right && progress.received >= progress.sent && progress.received <= progress.begun;
    writer.process.reset();
    return right;
  }

  SimplexPipe<Note> pipe_;
  crash::SharedPage<std::array<Progress, most_kills + 4>> progress_;
  std::vector<Writer> writers_;
  std::mt19937 random_{7};
  std::uint32_t started_ = 0;
  std::uint32_t kills_ = 0;
  std::uint32_t last_words_ = 0;
};

}  // namespace

TEST_SUITE("fileno") {
  // 100 000 messages of one writer, whom nobody else wakes for, and 100 000 of four.
  TEST_CASE_FIXTURE(unit::ArenaFrame, "it never misses a message, whoever is killed") {
    for (const std::size_t writers : {1U, 4U}) {
      CAPTURE(writers);
      for (const Loop loop : all_loops) {
        CAPTURE(static_cast<int>(loop));
        Storm storm(writers);
        const Watch watch(storm.reader().fileno(), loop);
        const auto receive = [&](const Reader<Note>& reader, const auto& take) {
          if (!watch.sees_soon()) return -1;
          int count = 0;
          while (const auto note = reader.try_recv()) {
            take(*note);
            ++count;
          }
          return count;
        };
        CHECK(storm.blows(messages_of_a_storm, receive, [&] { return watch.sees_now(); }));
        CHECK(storm.kills() > least_kills);
        if (!support::is_sanitized) CHECK(storm.last_words() > least_kills);
      }
    }
  }

  TEST_CASE_FIXTURE(unit::ArenaFrame, "who sleeps in recv never misses one either") {
    for (const std::size_t writers : {1U, 4U}) {
      CAPTURE(writers);
      Storm storm(writers);
      const auto receive = [](const Reader<Note>& reader, const auto& take) {
        const auto note = reader.recv_for(unit::patience);
        if (!note) return -1;
        take(*note);
        return 1;
      };
      CHECK(storm.blows(messages_of_a_storm, receive, [&] { return storm.reader().poll(); }));
      CHECK(storm.kills() > least_kills);
    }
  }
}
