// SPDX-License-Identifier: BSL-1.0

// Whoever makes or unlinks a block of shared memory is killed: once its family is gone nothing is left of it in
// /dev/shm, and nobody else's block is touched.

#include "crash/prove.hpp"

#include "shared/tracker.hpp"
#include "support/bystander.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/shareable_list.hpp>
#include <kin/shared_memory.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include <unistd.h>

using crash::At;
using crash::Moment;
using crash::require;
using kin::SharedMemory;
using namespace std::chrono_literals;

namespace {

const std::string theirs = "kin-crash-" + std::to_string(::getpid()) + "-theirs";
const std::string ours = "kin-crash-" + std::to_string(::getpid()) + "-ours";

bool is_there(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

// Until the tracker of the killed one has come to it; the harness has patience for that long.
void wait_until_gone(const std::string& name) {
  while (is_there(name)) std::this_thread::sleep_for(100us);
}

// A round that strays ends without a check, and the harness kills whatever it left running, the tracker too:
// then its name stays.
void remove_what_a_round_left() { std::filesystem::remove("/dev/shm/" + theirs); }

// A block of the test's own, that all must leave alone.
class OurBlock {
 public:
  OurBlock() : block_(SharedMemory::create(ours, 64)) { block_.as<long>()[0] = 42; }
  OurBlock(const OurBlock&) = delete;
  OurBlock& operator=(const OurBlock&) = delete;
  ~OurBlock() {
    remove_what_a_round_left();
    block_.unlink();
  }

  static void require_untouched() {
    require(is_there(ours) && SharedMemory::open(ours).as<long>()[0] == 42,
            "our block was touched");
  }

 private:
  SharedMemory block_;
};

// It may be gone by now, but not half there.
void require_whole(const std::string& name) {
  try {
    const auto list = kin::ShareableList::open(name);
    require(list.get(0) == kin::ShareableList::Item(42), "a list that is not whole");
  } catch (const kin::SystemError& error) {
    require(error.code().value() == ENOENT, error.what());
  }
}

}  // namespace

TEST_SUITE("shared memory") {
  TEST_CASE("a list is made, by a family of its own") {
    const OurBlock ours_stays;
    crash::Scenario scenario{
        .name = "ShareableList: create, and the start of the tracker",
        .prepare = remove_what_a_round_left,
        .operation =
            [] {
              // This one has a tracker of its own, and nobody else holds its socket.
              kin::detail::leave_tracker();
              kin::set_log_level(kin::LogLevel::off);
              const kin::ShareableList list({42, "text"}, theirs);
            },
        .check = [](const Moment& moment) -> std::string {
          const bool was_there = is_there(theirs);
          if (was_there) require_whole(theirs);
          wait_until_gone(theirs);
          OurBlock::require_untouched();
          require(moment.completed || !was_there || moment.step > 0, "made before it began");
          SharedMemory::create(theirs, 64).unlink();
          return was_there ? "removed by the tracker" : "gone when looked for";
        },
        .expected = {"gone when looked for"},
        .possible = {"removed by the tracker"},
        .at = At::every_change,
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 4s;
    crash::prove(scenario);
  }

  TEST_CASE("a block is made and unlinked") {
    const OurBlock ours_stays;
    crash::Scenario scenario{
        .name = "SharedMemory: create and unlink",
        .prepare = remove_what_a_round_left,
        .operation =
            [] {
              kin::detail::leave_tracker();
              kin::set_log_level(kin::LogLevel::off);
              SharedMemory::create(theirs, 64).unlink();
            },
        .check = [](const Moment& moment) -> std::string {
          require(!moment.completed || !is_there(theirs), "unlinked, and there");
          wait_until_gone(theirs);
          OurBlock::require_untouched();
          SharedMemory::create(theirs, 64).unlink();
          return "gone";
        },
        .expected = {"gone"},
        .at = At::every_change,
    };
    crash::prove(scenario);
  }

  TEST_CASE("a block is unlinked by another than the one that made it") {
    const OurBlock ours_stays;
    std::optional<SharedMemory> block;
    crash::Scenario scenario{
        .name = "SharedMemory: unlink",
        .prepare = [&] { block = SharedMemory::create(64); },
        .operation = [&] { block->unlink(); },
        .check = [&](const Moment& moment) -> std::string {
          const bool was_there = is_there(block->name());
          require(!was_there || !moment.completed, "unlinked, and there");
          if (was_there) {
            SharedMemory::open(block->name()).as<long>()[0] = 1;
            require(block->as<long>()[0] == 1, "it is another block");
            block->unlink();
          }
          OurBlock::require_untouched();
          return was_there ? "still there" : "unlinked";
        },
        .expected = {"still there", "unlinked"},
        .at = At::every_change,
    };
    crash::prove(scenario);

    scenario.at = At::every_instruction;
    scenario.budget = 4s;
    crash::prove(scenario);
  }

  TEST_CASE("an item of a list is set") {
    const OurBlock ours_stays;
    std::optional<kin::ShareableList> list;
    crash::Scenario scenario{
        .name = "ShareableList: set",
        .prepare =
            [&] {
              if (list) list->shm().unlink();
              list = kin::ShareableList({1, "old", 2});
            },
        .operation = [&] { list->set(1, 12345); },
        .check = [&](const Moment& moment) -> std::string {
          require(list->get(0) == kin::ShareableList::Item(1), "the item before it was changed");
          require(list->get(2) == kin::ShareableList::Item(2), "the item behind it was changed");
          std::string outcome = "damaged";
          try {
            const auto item = list->get(1);
            if (item == kin::ShareableList::Item("old")) outcome = "old";
            if (item == kin::ShareableList::Item(12345)) outcome = "new";
          } catch (const kin::SerializationError&) {
          }
          require(outcome == "new" || !moment.completed, "set, and not there");
          list->set(1, "again");
          require(list->get(1) == kin::ShareableList::Item("again"), "it can't be set again");
          return outcome;
        },
        .expected = {"old", "new", "damaged"},
    };
    crash::prove(scenario);
    list->shm().unlink();
  }
}
