// SPDX-License-Identifier: BSL-1.0

#include <kin/shared_memory.hpp>

#include "frame.hpp"
#include "tracked_family.hpp"

#include "shared/named_block.hpp"
#include "shared/tracker.hpp"
#include "support/sanitizer.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/queue.hpp>
#include <kin/shared_memory_manager.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

using kin::SharedMemory;
using unit::TrackedFamily;

namespace {

static_assert(kin::Sendable<SharedMemory> && !kin::Plain<SharedMemory>);

// This process keeps the socket to its tracker from its first block on.
struct BlockFrame {
  BlockFrame() { SharedMemory::create(1).unlink(); }
  ~BlockFrame() = default;
  BlockFrame(const BlockFrame&) = delete;
  BlockFrame& operator=(const BlockFrame&) = delete;
};
struct TrackedFrame : BlockFrame, unit::Frame {};

const pid_t this_run = ::getpid();

// A name that no other run of this test has; the same in its children.
std::string own_name(std::string_view of) {
  return "kin-test-" + std::to_string(this_run) + "-" + std::string(of);
}

bool is_there(const std::string& name) {
  return std::filesystem::exists(std::filesystem::symlink_status("/dev/shm/" + name));
}

// The errno of a SystemError; 0 where there is none.
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
std::string text_of(const SharedMemory& block) { return block.as<char>().data(); }

std::ptrdiff_t open_files(pid_t pid) {
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd");
  return std::distance(begin(files), end(files));
}

// One letter for each signal.
std::string blocked_signals() {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  std::string all;
  for (int signal = 1; signal < 65; ++signal) all += sigismember(&mask, signal) == 1 ? 'x' : '.';
  return all;
}

}  // namespace

TEST_SUITE("shared_memory") {
  TEST_CASE_FIXTURE(TrackedFrame, "a block has a name, its size, and zeroes") {
    const auto block = SharedMemory::create(own_name("a"), 1000);
    CHECK(block.name() == own_name("a"));
    CHECK(block.size() == 1000);
    CHECK(std::ranges::all_of(block.bytes(), [](std::byte one) { return one == std::byte(); }));
    CHECK(block.as<int>().size() == 250);
    CHECK(block.as<std::array<char, 300>>().size() == 3);
    CHECK(std::filesystem::file_size("/dev/shm/" + block.name()) == 1000);
    const auto mode = std::filesystem::status("/dev/shm/" + block.name()).permissions();
    CHECK(static_cast<int>(mode) == 0600);
    block.unlink();
    CHECK_FALSE(is_there(block.name()));
  }

  TEST_CASE_FIXTURE(TrackedFrame, "who opens it has the same bytes") {
    const auto here = SharedMemory::create(100);
    const auto there = SharedMemory::open(here.name());
    CHECK(there.size() == 100);
    CHECK(here.bytes().data() != there.bytes().data());
    set_text(there, "hello");
    CHECK(text_of(here) == "hello");
    CHECK(here == there);
    const auto other = SharedMemory::create(100);
    CHECK_FALSE(here == other);
    other.unlink();
    there.unlink();
    set_text(here, "goodbye");
    CHECK(text_of(there) == "goodbye");
  }

  TEST_CASE_FIXTURE(TrackedFrame, "one that was made by shm_open() is opened") {
    const std::string name = own_name("theirs");
    const kin::UniqueFd fd(::shm_open(("/" + name).c_str(), O_CREAT | O_EXCL | O_RDWR, 0600));
    REQUIRE(fd);
    CHECK(refusal_of([&] { SharedMemory::open(name); }) == EINVAL);  // it has no bytes yet
    REQUIRE(::ftruncate(fd.get(), 10) == 0);
    const auto block = SharedMemory::open("/" + name);
    CHECK(block.name() == name);
    block.as<char>()[0] = 'x';
    char first = '\0';
    CHECK(::pread(fd.get(), &first, 1, 0) == 1);
    CHECK(first == 'x');
    block.unlink();
    CHECK(::shm_unlink(("/" + name).c_str()) == -1);
  }

  TEST_CASE_FIXTURE(TrackedFrame, "what can't be is refused, and leaves nothing") {
    CHECK_THROWS_AS(SharedMemory::create(0), std::invalid_argument);
    CHECK_THROWS_AS(SharedMemory::create(-1), std::invalid_argument);
    CHECK_THROWS_AS(SharedMemory::create(own_name("size"), 0), std::invalid_argument);
    CHECK_FALSE(is_there(own_name("size")));
    using namespace std::string_view_literals;
    for (const auto name : {""sv, "/"sv, "a/b"sv, "//a"sv, "."sv, ".."sv, "/.."sv, "a\0b"sv}) {
      CHECK_THROWS_AS(SharedMemory::create(name, 1), std::invalid_argument);
      CHECK_THROWS_AS(SharedMemory::open(name), std::invalid_argument);
    }
    CHECK_THROWS_AS(SharedMemory::create(std::string(256, 'n'), 1), std::invalid_argument);

    CHECK(refusal_of([] { SharedMemory::open(own_name("nowhere")); }) == ENOENT);
    const auto block = SharedMemory::create(own_name("once"), 1);
    CHECK(refusal_of([] { SharedMemory::create(own_name("once"), 1); }) == EEXIST);
    CHECK(refusal_of([&] { block.unlink(); }) == 0);
    CHECK(refusal_of([&] { block.unlink(); }) == ENOENT);
  }

  TEST_CASE_FIXTURE(TrackedFrame, "more than there is memory for is refused") {
    struct statvfs about {};
    REQUIRE(::statvfs("/dev/shm", &about) == 0);
    if (about.f_blocks == 0) {
      std::puts("skipped: /dev/shm has no limit here");
      return;
    }
    const auto most = static_cast<std::ptrdiff_t>(about.f_blocks * about.f_frsize);
    CHECK(refusal_of([&] { SharedMemory::create(own_name("large"), most + 100'000); }) == ENOSPC);
    CHECK_FALSE(is_there(own_name("large")));
  }

  TEST_CASE_FIXTURE(TrackedFrame, "a name may have any other bytes, up to 255") {
    for (std::string name : {own_name("a:b:c"), own_name("two\nlines"), own_name("\x01\xff"),
                             own_name(std::string(300, 'x')).substr(0, 255)}) {
      const auto block = SharedMemory::create(name, 5);
      set_text(block, "text");
      CHECK(text_of(SharedMemory::open(name)) == "text");
      block.unlink();
      CHECK_FALSE(is_there(name));
    }
  }

  TEST_CASE_FIXTURE(TrackedFrame, "a name that is taken is followed by another") {
    const auto first = SharedMemory::create(own_name("1"), 1);
    int asked = 0;
    const auto second = kin::detail::NamedBlock::create_unnamed(
        7, [&] { return own_name(std::to_string(++asked / 3 + 1)); }, [](auto) {});
    CHECK(asked == 3);
    CHECK(second->name() == own_name("2"));
    CHECK(second->size() == 7);
    second->unlink();
    first.unlink();
    const std::string name = kin::detail::random_name();
    CHECK(name.starts_with("psm_"));
    CHECK(name.size() == 12);
    CHECK(name.find_first_not_of("0123456789abcdef", 4) == std::string::npos);
    CHECK(name != kin::detail::random_name());
  }

  TEST_CASE_FIXTURE(TrackedFrame, "to close it concerns all copies of a handle, and not its name") {
    const auto block = SharedMemory::create(own_name("closed"), 8);
    const auto other = SharedMemory::open(block.name());
    const auto copy = block;
    block.close();
    copy.close();
    CHECK_THROWS_AS(static_cast<void>(copy.bytes()), std::logic_error);
    CHECK(copy.size() == 8);
    set_text(other, "open");
    CHECK(is_there(block.name()));
    copy.unlink();
    CHECK_FALSE(is_there(block.name()));
    CHECK(text_of(other) == "open");
  }

  TEST_CASE_FIXTURE(TrackedFrame, "the last handle unmaps it, and leaves its name") {
    const auto blocks = [] {
      std::ifstream maps("/proc/self/maps");
      int count = 0;
      for (std::string line; std::getline(maps, line);)
        count += line.find("/dev/shm/") != line.npos ? 1 : 0;
      return count;
    };
    const int before = blocks();
    {
      const auto block = SharedMemory::create(own_name("left"), 8);
      CHECK(blocks() == before + 1);
      const auto copy = block;
      const auto other = SharedMemory::open(block.name());
      CHECK(blocks() == before + 2);
    }
    CHECK(blocks() == before);
    CHECK(is_there(own_name("left")));
    SharedMemory::open(own_name("left")).unlink();
  }

  TEST_CASE("a handle that names nothing") {
    const unit::Frame frame;
    const SharedMemory none;
    CHECK_THROWS_AS(static_cast<void>(none.name()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(none.size()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(none.bytes()), std::logic_error);
    CHECK_THROWS_AS(none.close(), std::logic_error);
    CHECK_THROWS_AS(none.unlink(), std::logic_error);
    CHECK(none == SharedMemory());
  }

  TEST_CASE_FIXTURE(TrackedFrame, "it travels as its name") {
    const kin::Queue<SharedMemory> queue;
    const auto block = SharedMemory::create(100);
    queue.put(block);
    queue.put(SharedMemory());
    const SharedMemory arrived = queue.get();
    CHECK(arrived == block);
    CHECK(arrived.bytes().data() != block.bytes().data());
    set_text(arrived, "both ways");
    CHECK(text_of(block) == "both ways");
    CHECK(queue.get() == SharedMemory());

    queue.put(block);
    queue.put(block);
    block.unlink();
    CHECK(refusal_of([&] { static_cast<void>(queue.get()); }) == ENOENT);
    const auto heir = SharedMemory::create(block.name(), 100);
    CHECK(refusal_of([&] { static_cast<void>(queue.get()); }) ==
          ENOENT);  // another block, that has its name
    CHECK(refusal_of([&] { block.unlink(); }) == ENOENT);
    CHECK(is_there(heir.name()));
    heir.unlink();
    CHECK(queue.empty());
  }

  TEST_CASE_FIXTURE(TrackedFrame, "a child has its parent's block, and closes it for itself") {
    const auto block = SharedMemory::create(100);
    CHECK(unit::answer_of([&] {
            set_text(block, "from the child");
            block.close();
            return std::string("closed");
          }) == "closed");
    CHECK(text_of(block) == "from the child");
    CHECK(is_there(block.name()));
    CHECK(unit::answer_of([&] {
            block.unlink();
            return std::string("unlinked");
          }) == "unlinked");
    CHECK(refusal_of([&] { block.unlink(); }) == ENOENT);
  }
}

TEST_SUITE("shared_memory_manager") {
  TEST_CASE_FIXTURE(TrackedFrame, "it unlinks its blocks where no descriptor is left") {
    kin::SharedMemoryManager blocks;
    std::vector<std::string> names;
    for (int i = 0; i < 3; ++i) names.push_back(blocks.shared_memory(100).name());
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const rlimit none{0, limit.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK_THROWS_AS(static_cast<void>(SharedMemory::open(names.front())), kin::SystemError);
    blocks.shutdown();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (const std::string& name : names) CHECK_FALSE(is_there(name));
  }

  TEST_CASE_FIXTURE(TrackedFrame,
                    "it lets be what was unlinked before, and one that has its name") {
    const std::string name = [] {
      const kin::SharedMemoryManager blocks;
      const SharedMemory block = blocks.shared_memory(100);
      block.unlink();
      const SharedMemory other = SharedMemory::create(block.name(), 100);
      return other.name();
    }();
    CHECK(is_there(name));
    SharedMemory::open(name).unlink();
  }
}

TEST_SUITE("tracker") {
  TEST_CASE_FIXTURE(TrackedFrame, "what a family leaves is removed when it ends, and it is said") {
    const std::string name = own_name("two\nlines");
    TrackedFamily family([&] {
      SharedMemory::create(name, 1);
      SharedMemory::create(own_name("unlinked"), 1).unlink();
      return std::string("made");
    });
    CHECK(family.answer() == "made");
    const std::string said = family.said_to_the_end();
    CHECK_FALSE(is_there(name));
    CHECK(said.starts_with("kin["));
    CHECK(said.find("] warning: shared memory that nobody unlinked was removed") != said.npos);
    CHECK(said.ends_with(": " + own_name("two?lines") + "\n"));
  }

  TEST_CASE_FIXTURE(TrackedFrame, "and when it is killed") {
    TrackedFamily family([&] {
      SharedMemory::create(own_name("left"), 1);
      for (;;) ::pause();
      return std::string();
    });
    REQUIRE(unit::eventually([] { return is_there(own_name("left")); }));
    CHECK(family.tracker() != 0);
    family.kill();
    CHECK(family.said_to_the_end().find(own_name("left")) != std::string::npos);
    CHECK_FALSE(is_there(own_name("left")));
  }

  TEST_CASE_FIXTURE(TrackedFrame, "nothing is said where the log is off, or nothing is left") {
    TrackedFamily quiet([&] {
      kin::set_log_level(kin::LogLevel::error);
      SharedMemory::create(own_name("left"), 1);
      return std::string("made");
    });
    CHECK(quiet.answer() == "made");
    CHECK(quiet.said_to_the_end() == "");
    CHECK_FALSE(is_there(own_name("left")));

    TrackedFamily tidy([&] {
      SharedMemory::create(own_name("unlinked"), 1).unlink();
      return std::string("made");
    });
    CHECK(tidy.answer() == "made");
    CHECK(tidy.said_to_the_end() == "");
  }

  TEST_CASE_FIXTURE(TrackedFrame, "as many as there are, and a line that is not too long") {
    constexpr int many = 300;
    const auto name = [](int i) { return own_name(std::string(100, 'x') + std::to_string(i)); };
    TrackedFamily family([&] {
      for (int i = 0; i < many; ++i) SharedMemory::create(name(i), 1);
      for (int i = 0; i < many; i += 2) SharedMemory::open(name(i)).unlink();
      return std::string("made");
    });
    CHECK(family.answer() == "made");
    const std::string said = family.said_to_the_end();
    for (int i = 0; i < many; ++i) CHECK_FALSE(is_there(name(i)));
    CHECK(said.size() < 2048);
    const auto named = std::ranges::count(said, ',');  // there is another in the text
    CHECK(said.ends_with(" and " + std::to_string(many / 2 - named) + " more\n"));
  }

  TEST_CASE_FIXTURE(TrackedFrame, "the last of a family may be a child of the one that made it") {
    const kin::Queue<bool> go_on;
    TrackedFamily family([&] {
      SharedMemory::create(own_name("left"), 1);
      if (::fork() == 0) {
        static_cast<void>(go_on.get_for(unit::patience));
        ::_exit(0);
      }
      return std::string("made");
    });
    CHECK(family.answer() == "made");
    const pid_t tracker = family.tracker();
    CHECK(tracker != 0);
    CHECK(is_there(own_name("left")));
    go_on.put(true);
    CHECK(family.said_to_the_end() != "");
    CHECK_FALSE(is_there(own_name("left")));
  }

  TEST_CASE_FIXTURE(TrackedFrame, "who only opens a block does not take it away") {
    const auto block = SharedMemory::create(own_name("here"), 100);
    TrackedFamily guests([&] {
      SharedMemory::create(own_name("theirs"), 1);
      set_text(SharedMemory::open(own_name("here")), "hello");
      return std::string("opened");
    });
    CHECK(guests.answer() == "opened");
    CHECK(guests.said_to_the_end().ends_with(": " + own_name("theirs") + "\n"));
    CHECK(text_of(SharedMemory::open(own_name("here"))) == "hello");
    block.unlink();
  }

  TEST_CASE_FIXTURE(TrackedFrame, "a name that is another block's by now stays") {
    const kin::Queue<bool> go_on;
    TrackedFamily family([&] {
      SharedMemory::create(own_name("name"), 1);
      go_on.put(true);
      for (;;) ::pause();
      return std::string();
    });
    REQUIRE(go_on.get_for(unit::patience) == true);
    REQUIRE(::shm_unlink(('/' + own_name("name")).c_str()) == 0);
    const auto block = SharedMemory::create(own_name("name"), 1);
    family.kill();
    CHECK(family.said_to_the_end() == "");
    CHECK(is_there(own_name("name")));
    block.unlink();
  }

  TEST_CASE_FIXTURE(TrackedFrame,
                    "the tracker is nobody's child, and keeps nothing of the family") {
    constexpr std::size_t large = 64 << 20;
    TrackedFamily family([&] {
      std::vector<char> memory(large, 'x');
      SharedMemory::create(own_name("left"), 1);
      if (::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) return std::string("a child");
      std::ranges::fill(memory, 'y');  // what the tracker had of it would be its own from here on
      for (;;) ::pause();
      return std::string();
    });
    REQUIRE(unit::eventually([] { return is_there(own_name("left")); }));
    const pid_t tracker = family.tracker();
    REQUIRE(tracker != 0);
    const std::string proc = "/proc/" + std::to_string(tracker) + "/";
    REQUIRE(unit::eventually([&] { return crash::process_state(tracker) == 'S'; }));
    CHECK(::getpgid(tracker) == tracker);
    CHECK(open_files(tracker) == 4);
    CHECK(std::filesystem::read_symlink(proc + "fd/0") == "/dev/null");
    CHECK(std::filesystem::read_symlink(proc + "fd/1") == "/dev/null");
    CHECK(std::filesystem::read_symlink(proc + "cwd") == "/");
    CHECK_FALSE(unit::has_line(proc + "maps", "kin-arena"));
    if (!support::is_sanitized) {
      CHECK(unit::number_in(proc + "smaps_rollup", "Anonymous:") < 2048);  // KiB
    }
    // It does not think of leaving before the family does.
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::kill(tracker, signal);
    CHECK(unit::has_line(proc + "status", "SigBlk:\tfffffffe7ffbfeff"));
    family.kill();
    CHECK(family.said_to_the_end().find(own_name("left")) != std::string::npos);
    CHECK_FALSE(is_there(own_name("left")));
    CHECK(unit::eventually([&] { return ::kill(tracker, 0) == -1; }));
  }

  TEST_CASE_FIXTURE(TrackedFrame,
                    "who makes blocks that others unlink does not remember them all") {
    const SharedMemory kept = SharedMemory::create(1);
    for (int i = 0; i < 1000; ++i) {
      const std::string path = "/" + SharedMemory::create(1).name();
      REQUIRE(::shm_unlink(path.c_str()) == 0);
    }
    CHECK(kin::detail::blocks_made_here() >= 1);
    CHECK(kin::detail::blocks_made_here() <= 64);
    kept.unlink();
  }

  TEST_CASE_FIXTURE(TrackedFrame, "if the tracker is killed there is another") {
    const kin::Queue<bool> go_on;
    const kin::Queue<bool> ready;
    TrackedFamily family([&] {
      SharedMemory::create(own_name("before"), 1);
      ready.put(true);
      static_cast<void>(go_on.get_for(unit::patience));
      sigset_t mask;
      sigemptyset(&mask);
      sigaddset(&mask, SIGUSR2);
      pthread_sigmask(SIG_BLOCK, &mask, nullptr);
      const std::string before = blocked_signals();
      SharedMemory::create(own_name("behind"), 1);
      if (blocked_signals() != before) return std::string("other signals");
      SharedMemory::create(own_name("last"), 1);
      return std::string("made");
    });
    REQUIRE(ready.get_for(unit::patience) == true);
    const pid_t first = family.tracker();
    REQUIRE(first != 0);
    ::kill(first, SIGKILL);
    REQUIRE(unit::eventually([&] { return ::kill(first, 0) == -1; }));
    go_on.put(true);
    CHECK(family.answer() == "made");
    const std::string said = family.said_to_the_end();
    for (const auto* name : {"before", "behind", "last"}) {
      CHECK_FALSE(is_there(own_name(name)));
      CHECK(said.find(own_name(name)) != std::string::npos);
    }
    const auto warning =
        said.find("warning: the process that removes left shared memory was killed");
    CHECK(warning != said.npos);
    CHECK(said.find("was killed", warning + 80) == said.npos);  // once
  }

  TEST_CASE_FIXTURE(TrackedFrame, "who closes all descriptors gets another") {
    TrackedFamily family([&] {
      SharedMemory::create(own_name("before"), 1);
      // Somebody else's descriptor has the number by then.
      const kin::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
      int sockets = 0;
      for (const auto& one : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        const std::string what = std::filesystem::read_symlink(one.path(), gone);
        if (!what.starts_with("socket:")) continue;
        ::dup2(null.get(), std::stoi(one.path().filename()));
        ++sockets;
      }
      if (sockets == 0) return std::string("no socket");
      SharedMemory::create(own_name("behind"), 1);
      return std::string("made");
    });
    CHECK(family.answer() == "made");
    CHECK(family.said_to_the_end() != "");
    CHECK_FALSE(is_there(own_name("before")));
    CHECK_FALSE(is_there(own_name("behind")));
  }

  TEST_CASE_FIXTURE(TrackedFrame, "one that is made by another thread than the first") {
    TrackedFamily family([&] {
      std::thread([] { SharedMemory::create(own_name("left"), 1); }).join();
      return std::string("made");
    });
    CHECK(family.answer() == "made");
    CHECK(family.said_to_the_end() != "");
    CHECK_FALSE(is_there(own_name("left")));
  }
}

// A suite, and so a process, of its own: no block was made before.
TEST_SUITE("first block") {
  TEST_CASE("that of a child is the family's, as those behind it") {
    const unit::Frame frame;
    const kin::Queue<SharedMemory> blocks;
    const auto make = [&](const char* name) {
      unit::Relative child([&] {
        blocks.put(SharedMemory::create(own_name(name), 1));
        return std::string("made");
      });
      CHECK(child.answer() == "made");
      const auto block = blocks.get_for(unit::patience);
      REQUIRE(block);
      return *block;
    };
    const SharedMemory first = make("first");
    const SharedMemory second = make("second");
    // A tracker of the child's own would have removed it by then.
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    CHECK(is_there(own_name("first")));
    CHECK(is_there(own_name("second")));
    first.unlink();
    second.unlink();
  }
}
