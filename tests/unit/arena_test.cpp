// SPDX-License-Identifier: BSL-1.0

#include "memory/arena.hpp"

#include "memory/descriptor_store.hpp"
#include "memory/heap.hpp"
#include "waiting/parking.hpp"

#include "frame.hpp"
#include "support/again.hpp"
#include "support/refused_call.hpp"
#include "support/sanitizer.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

using kin::detail::Arena;
using kin::detail::arena;
using kin::detail::chunk_size;
using kin::detail::Heap;
using kin::detail::Place;

namespace {

// Where a part of the arena begins, as an offset in it.
template <typename T>
std::size_t offset_of(const T* part) {
  return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(part) - arena().all.data());
}

// In the arena, so that other processes see it. Ends with the case.
class Block {
 public:
  explicit Block(std::size_t size) : size_(size) {
    kin::detail::populate(Heap::allocate_into(place_, size), size);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { Heap::free_from(place_); }
  [[nodiscard]] std::span<std::byte> bytes() const { return {place_.address(), size_}; }

 private:
  std::size_t size_;
  Place place_{};
};

// The number of its one descriptor, -1 where there is another number of them.
int descriptor_of_arena() {
  int found = -1;
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (target.find("kin-arena") == std::string::npos) continue;
    found = std::stoi(entry.path().filename());
    ++count;
  }
  return count == 1 ? found : -1;
}

}  // namespace

TEST_SUITE("arena") {
  TEST_CASE_FIXTURE(unit::Frame, "what it is made of lies in it, apart from one another") {
    const Arena& here = arena();
    CHECK(&arena() == &here);
    const std::size_t heap = offset_of(here.heap);
    const std::size_t processes = offset_of(here.processes);
    const std::size_t permits = offset_of(here.spin_permits);
    const std::size_t descriptors = offset_of(here.descriptors);
    const std::size_t chunks = offset_of(here.chunks);
    CHECK(heap + kin::detail::HeapState::size_for(here.chunk_count) <= processes);
    CHECK(processes + sizeof(kin::detail::ProcessTable) <= permits);
    CHECK(permits + sizeof(kin::detail::SpinPermits) <= descriptors);
    CHECK(descriptors + sizeof(kin::detail::DescriptorStoreState) <= chunks);
    CHECK(chunks % chunk_size == 0);
    CHECK(chunks + here.chunk_count * chunk_size <= here.all.size());
  }

  TEST_CASE_FIXTURE(unit::Frame, "it has no name, and one descriptor that exec closes") {
    const int fd = descriptor_of_arena();
    REQUIRE(fd > 2);
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_FALSE(std::filesystem::exists("/dev/shm/kin-arena"));
  }

  TEST_CASE_FIXTURE(unit::Frame, "a child sees it at the same address, and what others write") {
    const Block block(100'000);
    block.bytes()[99'999] = std::byte{1};
    unit::Relative child([&] {
      if (block.bytes()[99'999] != std::byte{1}) return "does not see it";
      block.bytes()[0] = std::byte{2};
      return "sees it";
    });
    CHECK(child.answer() == "sees it");
    CHECK(block.bytes()[0] == std::byte{2});
  }

  TEST_CASE_FIXTURE(unit::Frame, "only whole pages are discarded, and these read as zero") {
    const Block block(3 * chunk_size);
    const auto bytes = block.bytes();
    std::ranges::fill(bytes, std::byte{7});
    kin::detail::discard(bytes.data() + 1, bytes.size() - 2);
    CHECK(bytes.front() == std::byte{7});
    CHECK(bytes[4095] == std::byte{7});
    CHECK(std::ranges::all_of(bytes.subspan(4096, bytes.size() - 2 * 4096),
                              [](std::byte one) { return one == std::byte{0}; }));
    CHECK(bytes.back() == std::byte{7});
    kin::detail::discard(bytes.data() + 10, 100);  // no whole page
    CHECK(bytes[10] == std::byte{7});
  }

  TEST_CASE_FIXTURE(unit::Frame, "populating changes nothing that is there") {
    const Block block(2 * chunk_size);
    block.bytes()[5000] = std::byte{9};
    kin::detail::populate(block.bytes().data() + 4000, 3000);
    CHECK(block.bytes()[5000] == std::byte{9});
  }

  // MADV_POPULATE_WRITE came with Linux 5.14.
  TEST_CASE_FIXTURE(unit::Frame, "an older kernel gives pages too, in the midst of signals") {
    const std::string answer = unit::answer_of([] {
      if (!support::refuse_call(SYS_madvise, {2, MADV_POPULATE_WRITE}, EINVAL)) return "no filter";
      struct sigaction nothing {};
      nothing.sa_handler = [](int) {};
      if (::sigaction(SIGALRM, &nothing, nullptr) != 0) return "no handler";
      itimerval often{};
      often.it_interval.tv_usec = often.it_value.tv_usec = 200;
      if (::setitimer(ITIMER_REAL, &often, nullptr) != 0) return "no timer";
      constexpr std::size_t size = std::size_t{256} << 20;
      {
        const Block block(size);
        block.bytes()[size - 1] = std::byte{7};
      }
      // It is closed by the application, and another file gets its number.
      const int number = descriptor_of_arena();
      const kin::UniqueFd another(memfd_create("another", MFD_CLOEXEC));
      if (number == -1 || ::dup2(another.get(), number) != number) return "no descriptor";
      try {
        const Block refused(size);
        return "pages from nowhere";
      } catch (const std::bad_alloc&) {
      }
      struct stat about {};
      return ::fstat(another.get(), &about) == 0 && about.st_size == 0 ? "well"
                                                                       : "another file grew";
    });
    if (answer == "no filter") {
      std::puts(support::takes_no_filter);
      return;
    }
    CHECK(answer == "well");
  }

  TEST_CASE("a size that is none is refused and another may be tried") {
    if (!support::is_again()) {
      CHECK(support::again("a size that is none is refused and another may be tried", "") == "");
      return;
    }
    for (const char* wrong : {"", "x", "1e9", "16777216 ", " 16777216", "-16777216", "16777215",
                              "0x1000000", "99999999999999999999", "9999999999999999999"}) {
      CAPTURE(wrong);
      ::setenv("KIN_ARENA_BYTES", wrong, 1);
      CHECK_THROWS_WITH_AS(arena(),
                           ("KIN_ARENA_BYTES is \"" + std::string(wrong) +
                            "\": it must be a number of bytes, 16777216 at least")
                               .c_str(),
                           kin::Error);
    }
    ::setenv("KIN_ARENA_BYTES", "16777216", 1);
    CHECK(arena().all.size() == 16777216);
    CHECK(arena().chunk_count > 0);
  }

  TEST_CASE("where address space is short it is smaller") {
    if (support::is_sanitized) {
      std::puts("skipped: a sanitizer needs more address space than that");
      return;
    }
    if (!support::is_again()) {
      // In KiB: 4 GiB.
      CHECK(support::again("where address space is short it is smaller", "68719476736",
                           "ulimit -v 4194304") == "");
      return;
    }
    const std::size_t size = arena().all.size();
    CHECK(size < std::size_t{4} << 30);
    CHECK(size >= std::size_t{1} << 30);
    const Block block(1'000'000);
    CHECK(block.bytes()[0] == std::byte{0});
  }
}
