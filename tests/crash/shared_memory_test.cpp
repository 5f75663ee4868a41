// SPDX-License-Identifier: BSL-1.0

// Whoever makes or unlinks a block of shared memory is killed: once its family is gone nothing is left of it in
// /dev/shm, and nobody else's block is touched.

#include "crash/prove.hpp"

#include "shared/tracker.hpp"
#include "support/bystander.hpp"

#include <kin/log.hpp>
#include <kin/shared_memory.hpp>

#include <doctest/doctest.h>

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

// A block of the test's own, that all must leave alone.
class OurBlock {
 public:
  OurBlock() : block_(SharedMemory::create(ours, 64)) { block_.as<long>()[0] = 42; }
  OurBlock(const OurBlock&) = delete;
  OurBlock& operator=(const OurBlock&) = delete;
  ~OurBlock() { block_.unlink(); }

  static void require_untouched() {
    require(is_there(ours) && SharedMemory::open(ours).as<long>()[0] == 42,
            "our block was touched");
  }

 private:
  SharedMemory block_;
};

}  // namespace

TEST_SUITE("shared memory") {
  TEST_CASE("a block is made, by a family of its own") {
    const OurBlock ours_stays;
    crash::Scenario scenario{
        .name = "SharedMemory: create, and the start of the tracker",
        .operation =
            [] {
              // This one has a tracker of its own, and nobody else holds its socket.
              kin::detail::leave_tracker();
              kin::set_log_level(kin::LogLevel::off);
              SharedMemory::create(theirs, 64).as<long>()[0] = 1;
            },
        .check = [](const Moment& moment) -> std::string {
          const bool was_there = is_there(theirs);
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
}
