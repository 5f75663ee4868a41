// SPDX-License-Identifier: BSL-1.0
//
// SharedMemory and ShareableList, against CPython's _TestSharedMemory and TestSharedMemoryNames, and what TestResourceTracker asks
// of blocks that are left. That a random name which is taken is followed by another
// (test_shared_memory_recreate) is in tests/unit: nobody can choose them here.
//
// Another family is this program, run again for the one case.
//
//   test_shared_memory_ShareableList_basics: slices and negative indices are not there, and sl.format is
//     what Python reads
//   test_shared_memory_tracking: the opposite. In Python whoever attaches takes the block away when it ends
//     (gh-82300); see test_shared_memory_untracking
//
// Fails when:
//   remove_name() removes nothing: test_shared_memory_cleaned_after_process_termination
//   attach() does not compare the files: test_shared_memory_pickle_unpickle_dead_object
//   ShareableList::set() does not look how long a text is: test_shared_memory_ShareableList_basics
//   checked_name() lets a zero pass: test_shared_memory_name_with_embedded_null
//   SharedMemoryManager's end() does nothing: test_shared_memory_SharedMemoryManager_…

#include "trial.hpp"

#include "support/again.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

using Item = kin::ShareableList::Item;
using Bytes = kin::ShareableList::Bytes;

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// The bytes of a message that is a handle of such a list.
std::size_t message_size(const std::vector<Item>& items) {
  const auto [reader, writer] = kin::SimplexPipe<kin::ShareableList>();
  const kin::ShareableList list(items, own_name("size"));
  writer.send(list);
  list.shm().unlink();
  return reader.recv_bytes().size();
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

  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_ShareableList_basics") {
    const std::vector<Item> items = {
        "howdy", bytes_of("HoWdY"), -273.154, 100, std::monostate(), true, 42};
    const kin::ShareableList sl(items);
    CHECK(sl.size() == 7);
    CHECK(sl.get(0) == Item("howdy"));
    CHECK(sl.get(1) == Item(bytes_of("HoWdY")));
    CHECK(sl.get(6) == Item(42));
    CHECK_THROWS_AS(static_cast<void>(sl.get(7)), std::out_of_range);
    CHECK_THROWS_AS(sl.set(7, 2), std::out_of_range);
    CHECK(sl.count(42) == 1);
    CHECK(sl.count(100) == 1);
    CHECK(sl.count("adios") == 0);
    CHECK(sl.index(std::monostate()) == 4);
    CHECK(sl.index(100) == 3);
    CHECK(sl.index("nothing") == std::nullopt);
    CHECK(std::ranges::equal(sl, items));

    sl.set(3, 42);
    CHECK(sl.get(3) == Item(42));
    sl.set(4, "some");  // another type, in a place of 8 bytes
    CHECK(sl.get(4) == Item("some"));
    CHECK_THROWS_AS(sl.set(4, "far too many"), std::length_error);
    CHECK(sl.get(4) == Item("some"));
    sl.set(0, "encodés");  // of 8 bytes
    CHECK(sl.get(0) == Item("encodés"));
    CHECK(sl.get(1) == Item(bytes_of("HoWdY")));
    CHECK_THROWS_AS(sl.set(0, "encodées"), std::length_error);
    CHECK(sl.get(1) == Item(bytes_of("HoWdY")));

    const auto copy = sl.copy(own_name("copy"));
    CHECK(copy.shm().name() == own_name("copy"));
    CHECK(copy.shm().name() != sl.shm().name());
    const auto tethered = kin::ShareableList::open(copy.shm().name());
    tethered.set(6, "changed");
    CHECK(copy.get(6) == Item("changed"));
    CHECK(sl.get(6) == Item(42));
    copy.shm().unlink();
    sl.shm().unlink();

    const kin::ShareableList empty({});
    CHECK(empty.empty());
    CHECK(empty.index(1) == std::nullopt);
    empty.shm().unlink();
  }

  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_ShareableList_pickling") {
    const kin::Queue<kin::ShareableList> queue;
    const kin::ShareableList list({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    queue.put(list);
    const kin::ShareableList same = queue.get();
    same.set(0, -1);
    CHECK(list.get(0) == Item(-1));
    list.set(1, 0);
    CHECK(same.get(1) == Item(0));
    list.shm().unlink();
    CHECK(message_size(std::vector<Item>(10, Item(1))) ==
          message_size(std::vector<Item>(400, Item(1))));
  }

  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_ShareableList_pickling_dead_object") {
    const kin::Queue<kin::ShareableList> queue;
    const kin::ShareableList list({1, 2, 3});
    queue.put(list);
    list.shm().unlink();
    CHECK(refusal_of([&] { static_cast<void>(queue.get()); }) == ENOENT);
  }

  // Here there is nothing to start: what is not started in Python is one that was shut down, or moved from.
  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_SharedMemoryManager_basics") {
    kin::SharedMemoryManager smm1;
    const auto lst = smm1.shareable_list(std::vector<Item>(4, Item(0)));
    const auto doppleganger_lst = kin::ShareableList::open(lst.shm().name());
    CHECK(lst.size() == doppleganger_lst.size());
    const auto held = smm1.shared_memory(128);
    const auto doppleganger_shm0 = SharedMemory::open(held.name());
    CHECK(doppleganger_shm0.size() == held.size());
    CHECK(held.name() != smm1.shared_memory(128).name());
    // A name that is gone by then is nobody's business.
    smm1.shared_memory(16).unlink();
    smm1.shutdown();
    smm1.shutdown();
    CHECK_THROWS_AS(static_cast<void>(smm1.shared_memory(16)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(smm1.shareable_list({1})), std::logic_error);
    CHECK(refusal_of([&] { SharedMemory::open(held.name()); }) == ENOENT);
    CHECK(refusal_of([&] { kin::ShareableList::open(lst.shm().name()); }) == ENOENT);
    // Who has it open keeps it.
    set_text(doppleganger_shm0, "held");
    CHECK(text_of(held, 4) == "held");

    std::string name;
    {
      kin::SharedMemoryManager smm2;
      const auto sl = smm2.shareable_list({1, 2.5, "text"});
      CHECK(kin::ShareableList::open(sl.shm().name()).size() == 3);
      name = sl.shm().name();
      const kin::SharedMemoryManager smm3(std::move(smm2));
      CHECK(is_there(name));
      CHECK_THROWS_AS(static_cast<void>(smm2.shared_memory(16)), std::logic_error);
      CHECK_THROWS_AS(smm2.shutdown(), std::logic_error);
    }
    CHECK(refusal_of([&] { kin::ShareableList::open(name); }) == ENOENT);
  }

  // The blocks of children are its own, too, however these end. What is left when all are gone is the tracker's,
  // as ever: see test_shared_memory_cleaned_after_process_termination.
  TEST_CASE_FIXTURE(BlockTrial, "test_shared_memory_SharedMemoryManager_reuses_resource_tracker") {
    std::vector<std::string> names;
    {
      kin::SharedMemoryManager smm;
      const kin::Queue<std::string> made;
      made.put(smm.shared_memory(16).name());
      CHECK(outcome([&smm, made] {
              made.put(smm.shared_memory(16).name());
              try {
                smm.shutdown();
                expect(false);
              } catch (const std::logic_error&) {
              }
            }) == 0);
      CHECK(outcome([&smm, made] {
              made.put(smm.shareable_list({1, 2}).shm().name());
              static_cast<void>(std::raise(SIGKILL));
            }) == -SIGKILL);
      while (const auto name = made.try_get()) names.push_back(*name);
      CHECK(names.size() == 3);
      CHECK(std::ranges::all_of(names, is_there));
    }
    CHECK(std::ranges::none_of(names, is_there));
  }

  TEST_CASE("test_shared_memory_cleaned_after_process_termination") {
    if (support::is_again()) {
      SharedMemory::create(own_name("left"), 10);
      const kin::SharedMemoryManager manager;
      std::fprintf(stderr, "made %s\n", manager.shared_memory(10).name().c_str());
      static_cast<void>(std::raise(SIGTERM));
    }
    const Trial frame;
    const std::string output =
        in_another_family("test_shared_memory_cleaned_after_process_termination");
    CHECK_FALSE(is_there(own_name("again-left")));
    CHECK(output.starts_with("status 36608:"));  // 128 + SIGTERM, of the shell in between
    CHECK(output.find("warning: shared memory that nobody unlinked was removed") != output.npos);
    CHECK(output.find(own_name("again-left")) != output.npos);
    // What a manager had made as well: it printed the name, and so did the tracker.
    REQUIRE(output.find("made psm_") != output.npos);
    const std::string name = output.substr(output.find("made ") + 5, std::strlen("psm_00000000"));
    CHECK_FALSE(is_there(name));
    CHECK(output.find(name) != output.rfind(name));
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

  TEST_CASE_FIXTURE(BlockTrial, "lists with Python") {
    if (!has_python()) {
      std::puts("skipped: no python3 with multiprocessing.shared_memory");
      return;
    }
    const std::string script = R"(
import sys
from multiprocessing import resource_tracker, shared_memory
ours = shared_memory.ShareableList(name=sys.argv[1])
resource_tracker.unregister(ours.shm._name, "shared_memory")
assert list(ours) == [1, 2.5, True, "text", None, b"bytes"], list(ours)
ours[0] = "one"
ours[3] = None
theirs = shared_memory.ShareableList([7, "python", None, -0.5, b"b", False], name=sys.argv[2])
resource_tracker.unregister(theirs.shm._name, "shared_memory")
ours.shm.close()
theirs.shm.close()
)";
    const kin::ShareableList ours({1, 2.5, true, "text", std::monostate(), bytes_of("bytes")});
    const std::string command =
        "python3 -c '" + script + "' '" + ours.shm().name() + "' '" + own_name("theirs") + "'";
    REQUIRE(std::system(command.c_str()) == 0);
    CHECK(ours.get(0) == Item("one"));
    CHECK(ours.get(3) == Item());
    const auto theirs = kin::ShareableList::open(own_name("theirs"));
    const std::vector<Item> expected = {7, "python", std::monostate(), -0.5, bytes_of("b"), false};
    CHECK(std::ranges::equal(theirs, expected));
    theirs.shm().unlink();
    ours.shm().unlink();
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
