// SPDX-License-Identifier: BSL-1.0

#include "channel/ledger.hpp"

#include "channel/byte_channel.hpp"

#include "frame.hpp"
#include "quiet_line.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using kin::detail::ByteChannel;
using kin::detail::Cursor;
using kin::detail::Deadline;
using kin::detail::Handle;

namespace {

// A JoinableQueue, as bytes.
class Book : unit::Frame {
  Handle handle_{kin::detail::make_channel({.joinable = true})};

 public:
  ByteChannel& channel = static_cast<ByteChannel&>(handle_.object());

  void put(int count) const {
    for (int i = 0; i < count; ++i) {
      CHECK(kin::detail::put(channel, {}, {}, unit::quiet_line, unit::last_moment()));
    }
  }
  void take(int count) const {
    kin::detail::IncomingCargo cargo;
    for (int i = 0; i < count; ++i) {
      if (!kin::detail::get(
              channel, [](const kin::detail::Part&) {}, &cargo, unit::quiet_line,
              unit::last_moment())) {
        throw std::runtime_error("nothing to take");
      }
    }
  }
  void finish(int count) const {
    for (int i = 0; i < count; ++i) kin::detail::task_done(channel);
  }
  [[nodiscard]] bool is_all_done() const { return kin::detail::join(channel, Deadline::passed()); }

  // A process that takes some, finishes some of these, and dies. Not swept: join() has to see it.
  [[nodiscard]] pid_t let_one_die(int takes, int finishes) const {
    crash::Bystander taker([&] {
      take(takes);
      finish(finishes);
      return "";
    });
    CHECK(taker.ends_by(crash::Clock::now() + unit::patience));
    CHECK(taker.answer() == "");
    return taker.pid();
  }
  // What the next join() says is lost.
  struct Losses {
    std::size_t count;
    std::vector<pid_t> pids;
  };
  [[nodiscard]] std::optional<Losses> losses() const {
    try {
      const bool in_time = kin::detail::join(channel, unit::last_moment());
      CHECK(in_time);
    } catch (const kin::OwnerDied& error) {
      return Losses{error.count(), error.pids()};
    }
    return std::nullopt;
  }
};

}  // namespace

TEST_SUITE("ledger") {
  TEST_CASE_FIXTURE(Book, "where nothing was put all is done") {
    CHECK(is_all_done());
    CHECK_THROWS_AS(finish(1), std::logic_error);
    CHECK(is_all_done());
  }

  TEST_CASE_FIXTURE(Book, "what was put is unfinished, taken or not, until it is done") {
    put(2);
    CHECK_FALSE(is_all_done());
    take(2);
    CHECK_FALSE(is_all_done());
    finish(1);
    CHECK_FALSE(is_all_done());
    CHECK_FALSE(kin::detail::join(channel, Deadline::after(std::chrono::milliseconds(5))));
    finish(1);
    CHECK(is_all_done());
    CHECK_THROWS_AS(finish(1), std::logic_error);
    put(1);
    CHECK_FALSE(is_all_done());
    take(1);
    finish(1);
    CHECK(is_all_done());
  }

  TEST_CASE_FIXTURE(Book, "as many as were put may be finished, by whoever has taken how many") {
    put(3);
    finish(1);  // taken by nobody yet
    take(3);
    CHECK(unit::answer_of([&] {
            finish(2);  // taken by another
            return "done";
          }) == "done");
    CHECK_FALSE(losses());
  }

  TEST_CASE_FIXTURE(Book, "counts begin again behind their largest") {
    const std::uint32_t count = Cursor::count_mask - 2;
    const std::uint64_t word = std::uint64_t{count} << 32;
    for (auto* one : {&channel.tail, &channel.own_tail, &channel.head, &channel.head_seen,
                      &channel.tail_seen}) {
      one->store(word);
    }
    channel.ledger.finished.store(count);
    CHECK(is_all_done());
    for (int i = 0; i < 3; ++i) {
      put(2);
      CHECK_FALSE(is_all_done());
      take(2);
      finish(2);
      CHECK(is_all_done());
    }
    CHECK_THROWS_AS(finish(1), std::logic_error);
  }

  TEST_CASE_FIXTURE(Book, "who waits is told when the last is done") {
    put(2);
    unit::Relative waiter(
        [&] { return kin::detail::join(channel, unit::last_moment()) ? "told" : "gave up"; });
    CHECK(waiter.falls_asleep());
    take(2);
    finish(2);
    CHECK(waiter.answer() == "told");
  }

  TEST_CASE_FIXTURE(Book, "what a dead taker had not finished is lost, and told of once") {
    put(5);
    const pid_t dead = let_one_die(3, 1);
    take(2);
    finish(2);
    const auto lost = losses();
    REQUIRE(lost);
    CHECK(lost->count == 2);
    CHECK(lost->pids == std::vector{dead});
    CHECK_FALSE(losses());
    put(1);
    take(1);
    finish(1);
    CHECK_FALSE(losses());
  }

  TEST_CASE_FIXTURE(Book, "who waits already notices a taker's death") {
    put(1);
    unit::Relative taker([&] {
      take(1);
      while (true) ::pause();
      return "";
    });
    CHECK(unit::eventually([&] { return kin::detail::size_of(channel) == 0; }));
    unit::Relative waiter([&] {
      const auto lost = losses();
      return std::to_string(lost ? lost->count : 0);
    });
    CHECK(waiter.falls_asleep());
    taker.end();
    CHECK(waiter.answer() == "1");
  }

  TEST_CASE_FIXTURE(Book, "a taker that had finished all, or what others took, leaves no loss") {
    put(4);
    static_cast<void>(let_one_die(2, 2));
    take(2);
    static_cast<void>(let_one_die(0, 2));
    CHECK_FALSE(losses());
  }

  TEST_CASE_FIXTURE(Book, "more takers than a page of the book has") {
    constexpr int takers = 40;
    std::vector<std::unique_ptr<unit::Relative>> children;
    put(2 * takers);
    for (int i = 0; i < takers; ++i) {
      children.push_back(std::make_unique<unit::Relative>([&] {
        take(2);
        finish(1);
        while (true) ::pause();
        return "";
      }));
    }
    CHECK(unit::eventually(
        [&] { return kin::detail::size_of(channel) == 0 && channel.ledger.finished == takers; }));
    CHECK_FALSE(is_all_done());
    for (const auto& child : children) child->end();
    const auto lost = losses();
    REQUIRE(lost);
    CHECK(lost->count == takers);
    CHECK(lost->pids.size() == kin::detail::Ledger::most_pids);
    for (const pid_t pid : lost->pids) {
      CHECK(std::ranges::count_if(children, [&](const auto& one) { return one->pid() == pid; }) ==
            1);
    }
  }

  TEST_CASE_FIXTURE(Book, "the places of dead takers are used again") {
    const auto pages = [&] {
      int count = 0;
      for (auto* page = channel.ledger.takers.get(); page != nullptr; page = page->next.get()) {
        ++count;
      }
      return count;
    };
    for (int i = 0; i < 100; ++i) {
      put(1);
      static_cast<void>(let_one_die(1, 1));
    }
    CHECK(pages() == 1);
    CHECK_FALSE(losses());
  }
}
