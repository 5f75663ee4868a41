// SPDX-License-Identifier: BSL-1.0
//
// Makes the arena, once a family of processes: in the process that first asks, or in its first fork.
// Whoever comes later inherits the mapping.

#include "memory/arena.hpp"

#include "memory/descriptor_store.hpp"
#include "memory/family_descriptor.hpp"
#include "memory/heap.hpp"
#include "memory/process_table.hpp"
#include "memory/wait_table.hpp"
#include "waiting/parking.hpp"

#include "base/file_memory.hpp"
#include "base/random.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"

#include <kin/unique_fd.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <sstream>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE  // Linux 5.14
#define MADV_POPULATE_WRITE 23
#endif

namespace kin::detail {
namespace {

constexpr std::size_t usual_size = std::size_t{64} << 30;
constexpr std::size_t smallest_size = std::size_t{16} << 20;
constexpr std::size_t secret_size = 32;

constexpr std::size_t round_up(std::size_t size, std::size_t unit) {
  return (size + unit - 1) / unit * unit;
}

std::size_t wanted_size() {
  const char* text = std::getenv("KIN_ARENA_BYTES");
  if (text == nullptr) return usual_size;
  std::size_t bytes = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, bytes);
  if (error != std::errc{} || rest != end || bytes < smallest_size || bytes > usual_size * 1024) {
    throw Error("KIN_ARENA_BYTES is \"" + std::string(text) +
                "\": it must be a number of bytes, 16777216 at least");
  }
  return bytes;
}

int arena_fd = -1;  // kept for fallocate only; close-on-exec
ino_t arena_inode = 0;
dev_t arena_device = 0;

std::span<std::byte> map_arena() {
  for (std::size_t size = round_up(wanted_size(), chunk_size);; size /= 2) {
    UniqueFd fd =
        away_from_stdio(UniqueFd(checked("memfd_create", memfd_create("kin-arena", MFD_CLOEXEC))));
    void* address = MAP_FAILED;
    if (ftruncate(fd.get(), static_cast<off_t>(size)) == 0) {
      address =
          mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
    }
    if (address == MAP_FAILED && size / 2 >= smallest_size) continue;
    if (address == MAP_FAILED) throw SystemError("mmap", errno);
    madvise(address, size, MADV_DONTDUMP);
    struct stat about {};
    checked("fstat", ::fstat(fd.get(), &about));
    arena_inode = about.st_ino;
    arena_device = about.st_dev;
    arena_fd = fd.release();
    return {static_cast<std::byte*>(address), size};
  }
}

std::span<std::byte> mapping;

Arena make_arena() {
  mapping = map_arena();
  // The layout: HeapState with a word for each chunk, ProcessTable, SpinPermits,
  // DescriptorStoreState, WaitTable, the secret, chunks. Fresh pages are zero, and all zero is the
  // initial state of everything but locks.
  const std::size_t most_chunks = mapping.size() / chunk_size;
  const std::size_t heap_size = round_up(HeapState::size_for(most_chunks), 4096);
  const std::size_t table_size = round_up(sizeof(ProcessTable), 4096);
  const std::size_t permits_size = round_up(sizeof(SpinPermits), 4096);
  const std::size_t store_size = round_up(sizeof(DescriptorStoreState), 4096);
  const std::size_t before_waits = heap_size + table_size + permits_size + store_size;
  const std::size_t before_family = before_waits + round_up(sizeof(WaitTable), 64);
  const std::size_t before_secret = before_family + round_up(sizeof(FamilyDescriptorState), 64);
  const std::size_t front = round_up(before_secret + secret_size, chunk_size);
  std::byte* at = mapping.data();
  Arena made{};
  made.all = mapping;
  made.heap = reinterpret_cast<HeapState*>(at);
  made.processes = reinterpret_cast<ProcessTable*>(at + heap_size);
  made.spin_permits = reinterpret_cast<SpinPermits*>(at + heap_size + table_size);
  made.descriptors =
      reinterpret_cast<DescriptorStoreState*>(at + heap_size + table_size + permits_size);
  made.waits = reinterpret_cast<WaitTable*>(at + before_waits);
  made.family_descriptor = reinterpret_cast<FamilyDescriptorState*>(at + before_family);
  const std::span secret(at + before_secret, secret_size);
  fill_randomly(secret);
  made.secret = secret;
  made.chunks = at + front;
  made.chunk_count = (mapping.size() - front) / chunk_size;
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  // One processor: whoever spins keeps the one it waits for from running.
  made.spin_permits->count = processors < 2
                                 ? 0
                                 : static_cast<std::uint32_t>(std::min<long>(
                                       processors, static_cast<long>(SpinPermits::most)));
  SpinPermits::use(made.spin_permits);
  made.heap->initialize(made.chunk_count);
  made.processes->initialize();
  made.descriptors->initialize();
  made.family_descriptor->initialize();
  return made;
}

}  // namespace

const Arena& arena() {
  static const Arena the_arena = make_arena();
  return the_arena;
}

// A line is "addresses permissions offset device inode path".
bool maps_arena(const std::filesystem::path& process) {
  errno = 0;
  std::ifstream maps(process / "maps");
  // Nobody can tell, and so it may.
  if (!maps && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) return true;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:kin-arena") == std::string::npos) continue;
    std::istringstream parts(line);
    std::string skipped;
    ino_t inode = 0;
    parts >> skipped >> skipped >> skipped >> skipped >> inode;
    if (inode == arena_inode) return true;
  }
  return false;
}

namespace {

// Before Linux 5.14. False also where the application has closed the descriptor, which may be of a file of its
// own by now.
bool populate_by_descriptor(std::size_t from, std::size_t length) {
  struct stat about {};
  if (::fstat(arena_fd, &about) != 0 || about.st_ino != arena_inode ||
      about.st_dev != arena_device) {
    return false;
  }
  return set_memory_aside(arena_fd, from, length) == 0;
}

}  // namespace

void populate(std::byte* begin, std::size_t size) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<std::size_t>(begin - mapping.data());
  const std::size_t from = offset / page * page;
  const std::size_t length = round_up(offset + size, page) - from;
  if (madvise(mapping.data() + from, length, MADV_POPULATE_WRITE) == 0) return;
  if (errno == EINVAL && populate_by_descriptor(from, length)) return;
  throw std::bad_alloc();
}

void discard(std::byte* begin, std::size_t size) noexcept {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<std::size_t>(begin - mapping.data());
  const std::size_t from = round_up(offset, page);
  const std::size_t to = (offset + size) / page * page;
  if (to > from) madvise(mapping.data() + from, to - from, MADV_REMOVE);
}

}  // namespace kin::detail
