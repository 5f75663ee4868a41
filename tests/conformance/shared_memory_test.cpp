// SPDX-License-Identifier: BSL-1.0
//
// SharedMemory, against CPython's _TestSharedMemory and TestSharedMemoryNames, and what TestResourceTracker asks
// of blocks that are left. That a random name which is taken is followed by another
// (test_shared_memory_recreate) is in tests/unit: nobody can choose them here.
//
// Another family is this program, run again for the one case.
//
//   test_shared_memory_tracking: the opposite. In Python whoever attaches takes the block away when it ends
//     (gh-82300); see test_shared_memory_untracking
//
// Fails when:
//   remove_name() removes nothing: test_shared_memory_cleaned_after_process_termination
//   attach() does not compare the files: test_shared_memory_pickle_unpickle_dead_object
//   checked_name() lets a zero pass: test_shared_memory_name_with_embedded_null

#include "trial.hpp"

#include "support/again.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <unistd.h>

using kin::SharedMemory;
using namespace trial;
using namespace std::string_view_literals;

namespace {

// Its first block starts the tracker, to which this process keeps a socket.
struct Tracked {
  Tracked() { SharedMemory::create(1).unlink(); }
};
struct BlockTrial : Tracked, Trial {};

// Of this run, and of the programs that it runs.
std::string own_name(const std::string& of) {
  const char* given = std::getenv("KIN_TEST_BLOCKS");
  return (given != nullptr ? given : "kin-trial-" + std::to_string(::getpid())) + "-" + of;
}

// Runs the case again, as a program that is no relative; what it printed where it did not pass.
std::string in_another_family(const std::string& name) {
  return support::again(name, "16777216", "export KIN_TEST_BLOCKS=" + own_name("again"));
}

bool is_there(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

template <typename Call>
int refusal_of(Call&& call) {
  try {
    call();
  } catch (const kin::SystemError& error) {
    return error.code().value();
  }
  return 0;
}

void set_text(const SharedMemory& block, std::string_view text) {
  std::ranges::copy(text, block.as<char>().begin());
}
std::string text_of(const SharedMemory& block, std::size_t size) {
  const auto all = block.as<char>();
  return {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size)};
}

bool has_python() { return std::system("python3 -c 'import multiprocessing.shared_memory'") == 0; }

}  // namespace

TEST_SUITE("shared_memory") {
  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_name_with_embedded_null") {
    CHECK_THROWS_AS(SharedMemory::open("test\0suffix"sv), std::invalid_argument);
    CHECK_THROWS_AS(SharedMemory::create("test\0suffix"sv, 1), std::invalid_argument);
  }

  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_basics") {
    const auto sms = SharedMemory::create(own_name("basics"), 512);
    CHECK(sms.name() == own_name("basics"));
    CHECK(sms.size() >= 512);
    CHECK(sms.bytes().size() >= 512);
    sms.as<unsigned char>()[0] = 42;
    CHECK(sms.as<unsigned char>()[0] == 42);

    const auto also_sms = SharedMemory::open(own_name("basics"));
    CHECK(also_sms.as<unsigned char>()[0] == 42);
    also_sms.as<unsigned char>()[1] = 24;
    CHECK(sms.as<unsigned char>()[1] == 24);
    also_sms.close();

    const auto same_sms = SharedMemory::open(own_name("basics"));
    CHECK(same_sms.size() == sms.size());

    CHECK(refusal_of([] { SharedMemory::create(own_name("basics"), 512); }) == EEXIST);
    CHECK(refusal_of([] { SharedMemory::open(own_name("missing")); }) == ENOENT);
    CHECK_THROWS_AS(SharedMemory::open(""), std::invalid_argument);
    CHECK_THROWS_AS(SharedMemory::create(own_name("none"), -2), std::invalid_argument);
    sms.unlink();
    CHECK(refusal_of([&] { sms.unlink(); }) == ENOENT);
    CHECK(refusal_of([&] { same_sms.unlink(); }) == ENOENT);
    CHECK(same_sms.as<unsigned char>()[1] == 24);
  }

  TEST_CASE_FIXTURE(BlockTrial, "test_invalid_shared_memory_creation") {
    CHECK_THROWS_AS(SharedMemory::create(-1), std::invalid_argument);
    CHECK_THROWS_AS(SharedMemory::create(0), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(SharedMemory().bytes()), std::logic_error);
  }

  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_pickle_unpickle") {
    const auto sms = SharedMemory::create(own_name("pickled"), 512);
    set_text(sms, "pickle");
    const kin::Queue<SharedMemory> queue;
    queue.put(sms);
    const SharedMemory sms2 = queue.get();
    CHECK(sms2.name() == sms.name());
    CHECK(text_of(sms2, 6) == "pickle");
    set_text(sms2, "unpick");
    CHECK(text_of(sms, 6) == "unpick");
    set_text(sms, "thrice");
    CHECK(text_of(sms2, 6) == "thrice");
    sms.unlink();
  }

  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_pickle_unpickle_dead_object") {
    const auto sms = SharedMemory::create(own_name("dead"), 512);
    const kin::Queue<SharedMemory> queue;
    queue.put(sms);
    queue.put(sms);
    sms.unlink();
    CHECK(refusal_of([&] { static_cast<void>(queue.get()); }) == ENOENT);
    const auto heir = SharedMemory::create(own_name("dead"), 512);
    CHECK(refusal_of([&] { static_cast<void>(queue.get()); }) == ENOENT);
    heir.unlink();
  }

  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_across_processes") {
    const Kind kind = each_kind();
    const auto sms = SharedMemory::create(100);
    Companion by_name(kind, [name = sms.name()] {
      const auto local = SharedMemory::open(name);
      set_text(local, "howdy");
      local.close();
    });
    CHECK(by_name.ends_well());
    CHECK(text_of(sms, 5) == "howdy");

    const kin::Queue<SharedMemory> queue;
    Companion by_handle(kind, [queue] {
      const SharedMemory local = queue.get();
      set_text(local, "HOWDY");
      local.close();
    });
    queue.put(sms);
    CHECK(by_handle.ends_well());
    CHECK(text_of(sms, 5) == "HOWDY");
    sms.unlink();
  }

  TEST_CASE("test_shared_memory_cleaned_after_process_termination") {
    if (support::is_again()) {
      SharedMemory::create(own_name("left"), 10);
      static_cast<void>(std::raise(SIGTERM));
    }
    const Trial frame;
    const std::string output =
        in_another_family("test_shared_memory_cleaned_after_process_termination");
    CHECK_FALSE(is_there(own_name("again-left")));
    CHECK(output.starts_with("status 36608:"));  // 128 + SIGTERM, of the shell in between
    CHECK(output.find("warning: shared memory that nobody unlinked was removed") != output.npos);
    CHECK(output.find(own_name("again-left")) != output.npos);
  }

  TEST_CASE("test_shared_memory_untracking") {
    if (support::is_again()) {
      SharedMemory::create(1).unlink();  // it has a tracker
      set_text(SharedMemory::open(own_name("")), "a guest");
      return;
    }
    const BlockTrial frame;
    const auto block = SharedMemory::create(own_name("again-"), 100);
    CHECK(in_another_family("test_shared_memory_untracking") == "");
    CHECK(is_there(block.name()));
    CHECK(text_of(block, 7) == "a guest");
    block.unlink();
  }

  TEST_CASE_FIXTURE(BlockTrial, "with Python") {
    if (!has_python()) {
      std::puts("skipped: no python3 with multiprocessing.shared_memory");
      return;
    }
    // Before 3.13 its tracker takes away what it only opened; and it is to leave what it makes, too.
    const std::string script = R"(
import sys
from multiprocessing import resource_tracker, shared_memory
ours = shared_memory.SharedMemory(name=sys.argv[1])
resource_tracker.unregister(ours._name, "shared_memory")
assert ours.size == 100 and bytes(ours.buf[:5]) == b"hello"
ours.buf[:5] = b"HELLO"
theirs = shared_memory.SharedMemory(name=sys.argv[2], create=True, size=50)
resource_tracker.unregister(theirs._name, "shared_memory")
theirs.buf[:6] = b"python"
ours.close()
theirs.close()
)";
    const auto ours = SharedMemory::create(own_name("ours"), 100);
    set_text(ours, "hello");
    const std::string command =
        "python3 -c '" + script + "' '" + ours.name() + "' '" + own_name("theirs") + "'";
    REQUIRE(std::system(command.c_str()) == 0);
    CHECK(text_of(ours, 5) == "HELLO");
    const auto theirs = SharedMemory::open(own_name("theirs"));
    CHECK(theirs.size() == 50);
    CHECK(text_of(theirs, 6) == "python");
    theirs.unlink();
    ours.unlink();
  }
}

TEST_SUITE("shared_memory_names") {
  TEST_CASE("test_that_shared_memory_name_with_colons_has_no_resource_tracker_errors") {
    if (support::is_again()) {
      for (const auto* name : {"a:b:c", "two\nlines", ":", "\n"}) {
        const auto block = SharedMemory::create(own_name(name), 10);
        CHECK(is_there(own_name(name)));
        block.unlink();
      }
      // The output of a case is seen only where it failed.
      FAIL("to be seen");
    }
    const Trial frame;
    const std::string output = in_another_family(
        "test_that_shared_memory_name_with_colons_has_no_resource_tracker_errors");
    CHECK(output.find("to be seen") != output.npos);
    CHECK(output.find(" 1 failed") != output.npos);
    CHECK(output.find("kin[") == output.npos);
  }
}
