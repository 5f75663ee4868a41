// SPDX-License-Identifier: BSL-1.0
//
// Fails when:
//   take_all() does not turn the list round: "in the order …"
//   take_all() reads the next one behind use(): "a slot may be used again …"
//   post() stores instead of exchanging: "several post at once …"
//   wait() does not look for it: "who waits sees …" (that it is woken at once no test says: it sleeps in slices)

#include "nursery/notice_board.hpp"

#include "frame.hpp"
#include "memory/heap.hpp"

#include <array>
#include <cstddef>
#include <thread>
#include <vector>

namespace {

using kin::detail::Deadline;
using kin::detail::NoticeBoard;
using kin::detail::TaskSlot;

// A board, and slots that tasks could stand in.
class BoardFrame : public unit::Frame {
 public:
  static constexpr std::size_t most = 64;

  BoardFrame() {
    using kin::detail::Heap;
    slots_ = reinterpret_cast<TaskSlot*>(Heap::allocate_into(place_, most * sizeof(TaskSlot)));
    for (std::size_t i = 0; i < most; ++i) {
      ::new (&slots_[i]) TaskSlot{};
      slots_[i].number = static_cast<std::uint32_t>(i);
    }
  }
  ~BoardFrame() { kin::detail::Heap::free_from(place_); }
  BoardFrame(const BoardFrame&) = delete;
  BoardFrame& operator=(const BoardFrame&) = delete;

  TaskSlot& slot(std::size_t number) { return slots_[number]; }
  std::vector<std::size_t> taken() {
    std::vector<std::size_t> numbers;
    board->take_all([&](TaskSlot& over) {
      numbers.push_back(over.number);
      return true;
    });
    return numbers;
  }

  crash::SharedPage<NoticeBoard> board;

 private:
  kin::detail::Place place_;
  TaskSlot* slots_ = nullptr;
};

using Numbers = std::vector<std::size_t>;

}  // namespace

TEST_SUITE("notice board") {
  TEST_CASE_FIXTURE(BoardFrame, "notices are taken in the order in which they were posted") {
    CHECK(taken().empty());
    for (const std::size_t i : {3U, 1U, 2U}) board->post(slot(i));
    CHECK(taken() == Numbers{3, 1, 2});
    CHECK(taken().empty());
    board->post(slot(1));
    CHECK(taken() == Numbers{1});
  }

  TEST_CASE_FIXTURE(BoardFrame, "a slot may be used again before the others are taken") {
    for (const std::size_t i : {1U, 2U, 3U}) board->post(slot(i));
    Numbers numbers;
    CHECK(board->take_all([&](TaskSlot& over) {
      numbers.push_back(over.number);
      if (numbers.size() == 1) board->post(over);
      return true;
    }));
    CHECK(numbers == Numbers{1, 2, 3});
    CHECK(taken() == Numbers{1});
  }

  TEST_CASE_FIXTURE(BoardFrame, "the reader may leave it at one") {
    board->post(slot(1));
    board->post(slot(2));
    int calls = 0;
    CHECK(board->take_all([&](TaskSlot&) { return ++calls < 1; }));
    CHECK(calls == 1);
    CHECK(taken().empty());
  }

  TEST_CASE_FIXTURE(BoardFrame, "who asks is heard once, and says of which task") {
    CHECK_FALSE(board->was_asked());
    board->post_for_dead(slot(5), 7);
    CHECK(slot(5).untold == 7);
    CHECK(board->was_asked());
    CHECK_FALSE(board->was_asked());
    CHECK(taken().empty());
    board->ask_to_look();
    CHECK(board->was_asked());
  }

  TEST_CASE_FIXTURE(BoardFrame, "who waits sees each kind of news") {
    CHECK_FALSE(board->wait(Deadline::passed()));
    const std::vector<std::function<void()>> kinds{
        [&] { board->post(slot(1)); }, [&] { board->ask_to_look(); }, [&] { board->shut(); }};
    for (const auto& tell : kinds) {
      unit::Relative reader(
          [&] { return board->wait(unit::last_moment()) ? "woken" : "not woken"; });
      CHECK(reader.falls_asleep());
      tell();
      CHECK(reader.answer() == "woken");
      static_cast<void>(taken());
      static_cast<void>(board->was_asked());
    }
    CHECK(board->is_shut());
  }

  TEST_CASE_FIXTURE(BoardFrame, "several post at once, and nothing is lost or told twice") {
    constexpr std::size_t threads = 4;
    constexpr std::size_t each = most / threads;
    constexpr int rounds = 300;
    std::array<std::atomic<int>, most> times{};
    std::vector<std::thread> writers;
    for (std::size_t from = 0; from < most; from += each) {
      writers.emplace_back([&, from] {
        for (int round = 0; round < rounds; ++round) {
          for (std::size_t i = from; i < from + each; ++i) {
            // As in a pool: its life ends behind its notice.
            const bool was_told = unit::eventually([&] { return times[i] == round; });
            if (!was_told) return;
            board->post(slot(i));
          }
        }
      });
    }
    std::size_t told = 0;
    while (told < most * rounds && board->wait(unit::last_moment())) {
      board->take_all([&](TaskSlot& over) {
        ++told;
        ++times[over.number];
        return true;
      });
    }
    for (std::thread& writer : writers) writer.join();
    CHECK(told == most * rounds);
    CHECK(taken().empty());
  }
}
