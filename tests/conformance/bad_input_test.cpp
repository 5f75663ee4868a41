// SPDX-License-Identifier: BSL-1.0
//
// Misuse, and messages that were damaged: each has the documented outcome, and nothing that was delivered
// before is lost. What the surroundings may do is in bad_surroundings_test.cpp.
//
// Fails when:
//   new_channel() does not look for a negative size: "a negative size is an invalid argument"
//   Channel::get_plain() does not compare sizes: "a damaged record is told …"
//   Process::start() does not ask whether it was started: "a process is started once"

#include "plain_fork.hpp"
#include "trial.hpp"

#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include <unistd.h>

using namespace trial;

namespace {

void sleep_for_ever() {
  while (true) ::pause();
}

// A queue into which anything can be put.
template <typename T>
class Damaged : public kin::Queue<T> {
 public:
  using kin::Queue<T>::Queue;
  void put_bytes(const std::string& text) const {
    expect(
        this->channel().put(std::as_bytes(std::span(text)), {}, kin::detail::Deadline::passed()));
  }
  // A message as it is for another type.
  template <typename Other>
  void put_message_of(const Other& value) const {
    kin::detail::OutArchive out;
    kin::detail::encode(out, value);
    expect(this->channel().put(out.bytes(), out.cargo(), kin::detail::Deadline::passed()));
  }
};

template <typename T>
void expect_damage_is_told(const T& good, const std::function<void(const Damaged<T>&)>& put_bad) {
  const Damaged<T> queue(3);
  queue.put(good);
  put_bad(queue);
  queue.put(good);
  CHECK(queue.full());
  CHECK(queue.try_get() == good);
  CHECK_THROWS_AS(static_cast<void>(queue.try_get()), kin::SerializationError);
  CHECK(queue.size() == 1);
  CHECK(queue.get_for(patience) == good);
  CHECK(queue.empty());
}

}  // namespace

TEST_SUITE("bad_input") {
  TEST_CASE_FIXTURE(Trial, "a negative duration means zero") {
    const kin::JoinableQueue<int> queue(1);
    const kin::Lock lock;
    const auto all_give_up = [&](auto limit) {
      CHECK_FALSE(queue.put_for(2, limit));
      CHECK_FALSE(queue.join_for(limit));
      CHECK_FALSE(kin::Queue<int>().get_for(limit));
      CHECK_FALSE(kin::Queue<std::string>().get_for(limit));
      CHECK(outcome([=] { expect(!lock.try_lock_for(limit)); }) == 0);
    };
    queue.put(1);
    const std::scoped_lock guard(lock);
    all_give_up(-1ms);
    all_give_up(std::chrono::hours::min());
    all_give_up(std::chrono::nanoseconds::min());
    all_give_up(std::chrono::duration<double>(-std::numeric_limits<double>::infinity()));
    all_give_up(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN()));
    CHECK(outcome([=] {
            expect(!lock.try_lock_until(std::chrono::steady_clock::time_point::min()));
            expect(!lock.try_lock_until(std::chrono::system_clock::time_point()));
          }) == 0);
    kin::Process child(sleep_for_ever);
    child.start();
    CHECK_FALSE(child.join_for(-1ms));
    CHECK_FALSE(child.join_for(std::chrono::hours::min()));
    CHECK_FALSE(child.handle().join_for(-1ms));
    child.kill();
    CHECK(end_of(child) == -SIGKILL);
    CHECK(queue.get_for(std::chrono::hours::max()) ==
          1);  // and one too long to count means for ever
  }

  TEST_CASE_FIXTURE(Trial, "a negative size is an invalid argument") {
    CHECK_THROWS_AS(kin::Queue<int>(-1), std::invalid_argument);
    CHECK_THROWS_AS(kin::Queue<std::string>(std::numeric_limits<std::ptrdiff_t>::min()),
                    std::invalid_argument);
    CHECK_THROWS_AS(kin::JoinableQueue<int>(-5), std::invalid_argument);
    const kin::Queue<int> largest(std::numeric_limits<std::ptrdiff_t>::max());
    CHECK(largest.try_put(1));
    CHECK_FALSE(largest.full());
  }

  TEST_CASE_FIXTURE(Trial, "a process is started once") {
    const kin::Queue<int> runs;
    const kin::Queue<bool> go_on;
    kin::Process child([=] {
      runs.put(1);
      expect(go_on.get_for(patience) == true);
    });
    child.start();
    CHECK_THROWS_AS(child.start(), std::logic_error);
    CHECK(child.is_alive());
    go_on.put(true);
    CHECK(end_of(child) == 0);
    CHECK_THROWS_AS(child.start(), std::logic_error);
    CHECK(child.exit_code() == 0);
    CHECK(runs.size() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "a process belongs to the process that made it") {
    const kin::Queue<int> runs;
    kin::Process fresh([runs] { runs.put(1); });
    kin::Process running(sleep_for_ever);
    running.start();
    const auto try_from_elsewhere = [&] {
      const auto refused = [](const auto& call) {
        try {
          call();
        } catch (const std::logic_error&) {
          return true;
        }
        return false;
      };
      expect(refused([&] { fresh.start(); }));
      expect(refused([&] { running.start(); }));
      expect(refused([&] { running.join(); }));
      expect(refused([&] { running.kill(); }));
      expect(refused([&] { static_cast<void>(running.sentinel()); }));
      const kin::Process copy = std::move(running);  // its end must not end the original
    };
    CHECK(outcome(try_from_elsewhere) == 0);
    CHECK(outcome_of_plain_fork(try_from_elsewhere) == 0);
    CHECK(running.is_alive());
    running.terminate();
    CHECK(end_of(running) == -SIGTERM);
    fresh.start();
    CHECK(end_of(fresh) == 0);
    CHECK(runs.size() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "what was closed or moved from is not used") {
    kin::Process child([] {});
    child.start();
    CHECK(end_of(child) == 0);
    const kin::ProcessHandle handle = child.handle();
    child.close();
    CHECK_THROWS_AS(child.start(), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(child.exit_code()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(child.handle()), std::logic_error);
    CHECK(handle.exit_code() == 0);
    CHECK_FALSE(handle.is_alive());
    kin::Process moved = std::move(child);
    CHECK_THROWS_AS(child.start(), std::logic_error);  // NOLINT(bugprone-use-after-move)
    CHECK_THROWS_AS(child.close(), std::logic_error);

    const kin::JoinableQueue<int> queue;
    const kin::JoinableQueue<int> copy = queue;
    CHECK(outcome([queue] {
            queue.put(1);
            queue.close();
          }) == 0);
    CHECK(queue.try_get() == 1);
    queue.close();
    CHECK_THROWS_AS(copy.put(1), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(copy.get()), std::logic_error);
    CHECK_THROWS_AS(copy.task_done(), std::logic_error);
    CHECK_THROWS_AS(copy.shutdown(), std::logic_error);
  }

  TEST_CASE_FIXTURE(Trial, "a damaged record is told, and costs itself only") {
    for (const auto* bad : {"", "a", "many more bytes than an int has"}) {
      expect_damage_is_told<int>(7, [bad](const auto& queue) { queue.put_bytes(bad); });
    }
    const auto as_text = [](std::uint64_t length) {
      std::string text(sizeof length, '\0');
      std::memcpy(text.data(), &length, sizeof length);
      return text;
    };
    for (const std::string& bad :
         {std::string(), std::string("abc"), as_text(1), as_text(std::uint64_t{1} << 62),
          as_text(std::numeric_limits<std::uint64_t>::max()), as_text(1) + "ab"}) {
      expect_damage_is_told<std::string>("good", [&](const auto& queue) { queue.put_bytes(bad); });
      expect_damage_is_told<std::vector<std::string>>(
          {"good", "too"}, [&](const auto& queue) { queue.put_bytes(bad); });
    }
    const kin::Queue<int> good;
    good.put(42);
    expect_damage_is_told<kin::Queue<int>>(good, [](const auto& queue) { queue.put_bytes(""); });
    expect_damage_is_told<kin::Queue<int>>(good, [](const auto& queue) { queue.put_bytes("abc"); });
    expect_damage_is_told<kin::Queue<int>>(
        good, [](const auto& queue) { queue.put_message_of(kin::Lock()); });
    expect_damage_is_told<kin::Lock>(kin::Lock(),
                                     [&](const auto& queue) { queue.put_message_of(good); });
    expect_damage_is_told<int>(7, [&](const auto& queue) { queue.put_message_of(good); });
    CHECK(good.try_get() == 42);
  }
}
