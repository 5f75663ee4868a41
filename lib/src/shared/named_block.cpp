// SPDX-License-Identifier: BSL-1.0
//
// Blocks of shared memory that have a name in /dev/shm, where shm_open(), and so Python, looks for them.
// Runs in any process and thread.
//
// A block is made without a name, with all its memory, and gets its name in the end: nobody sees one that is
// not whole, and SIGBUS for want of memory comes to nobody.
//
//   made, without a name   killed here: the kernel frees it
//   told to the tracker    killed here: there is no such name, which the tracker finds
//   linked                 killed here: the tracker removes it

#include "shared/named_block.hpp"

#include "base/file_memory.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"

#include <cstdio>
#include <random>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace kin::detail {
namespace {

// The name without the one '/' that may lead it.
std::string_view checked_name(std::string_view name) {
  const std::string_view bare = name.starts_with('/') ? name.substr(1) : name;
  if (bare.empty() || bare.size() > longest_name || bare == "." || bare == ".." ||
      bare.find('/') != std::string_view::npos || bare.find('\0') != std::string_view::npos) {
    throw std::invalid_argument(
        "kin: a name of shared memory has 1 to 255 bytes, and no '/' and no zero among them");
  }
  return bare;
}

std::string path_of(std::string_view name) {
  return std::string(shared_memory_folder) + std::string(name);
}

UniqueFd open_in_folder(const std::string& path, int flags) {
  constexpr mode_t only_this_user = 0600;
  const int fd =
      retry_interrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, only_this_user); });
  if (fd == -1) throw SystemError("open " + path, errno);
  return away_from_stdio(UniqueFd(fd));
}

// Zeroed; the kernel has set its memory aside.
UniqueFd make_file(std::ptrdiff_t size) {
  if (size <= 0) throw std::invalid_argument("kin: shared memory has one byte at least");
  UniqueFd fd = open_in_folder(std::string(shared_memory_folder), O_TMPFILE | O_RDWR);
  const int why = set_memory_aside(fd.get(), 0, static_cast<std::size_t>(size));
  if (why != 0) throw SystemError("posix_fallocate of shared memory", why);
  return fd;
}

}  // namespace

std::shared_ptr<NamedBlock> NamedBlock::create(std::string_view name, std::ptrdiff_t size,
                                               Fill fill) {
  const std::string bare(checked_name(name));
  const UniqueFd fd = make_file(size);
  auto block = std::make_shared<NamedBlock>("", fd);
  fill(block->bytes());
  if (!block->take_name(bare, fd)) throw SystemError("linkat " + path_of(bare), EEXIST);
  return block;
}

std::shared_ptr<NamedBlock> NamedBlock::create_unnamed(std::ptrdiff_t size,
                                                       FunctionRef<std::string()> next_name,
                                                       Fill fill) {
  const UniqueFd fd = make_file(size);
  auto block = std::make_shared<NamedBlock>("", fd);
  fill(block->bytes());
  while (!block->take_name(next_name(), fd)) {
  }
  return block;
}

std::shared_ptr<NamedBlock> NamedBlock::open(std::string_view name) {
  const std::string bare(checked_name(name));
  return std::make_shared<NamedBlock>(bare, open_in_folder(path_of(bare), O_RDWR | O_NOFOLLOW));
}

NamedBlock::NamedBlock(std::string name, const UniqueFd& fd) : name_(std::move(name)) {
  struct stat about {};
  checked("fstat", ::fstat(fd.get(), &about));
  file_ = {about.st_dev, about.st_ino};
  size_ = static_cast<std::size_t>(about.st_size);
  void* const begin = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (begin == MAP_FAILED) throw SystemError("mmap of shared memory " + name_, errno);
  begin_.store(static_cast<std::byte*>(begin));
}

// False where there is such a name.
bool NamedBlock::take_name(std::string name, const UniqueFd& fd) {
  const std::string from = "/proc/self/fd/" + std::to_string(fd.get());
  const std::string to = path_of(name);
  name_ = std::move(name);
  return track(name_, file_, [&] {
    if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
    const int why = errno;
    if (why != EEXIST) throw SystemError("linkat " + to, why);
    return false;
  });
}

std::span<std::byte> NamedBlock::bytes() const {
  std::byte* const begin = begin_.load();
  if (begin == nullptr) throw std::logic_error("kin: shared memory " + name_ + " was closed");
  return {begin, size_};
}

void NamedBlock::close() noexcept {
  if (std::byte* const begin = begin_.exchange(nullptr)) ::munmap(begin, size_);
}

void NamedBlock::unlink(const std::string& name, FileId file) {
  const std::string path = path_of(name);
  struct stat about {};
  if (::lstat(path.c_str(), &about) != 0) throw SystemError("unlink " + path, errno);
  // Somebody else's by now, who made one of that name anew.
  if (!(FileId{about.st_dev, about.st_ino} == file)) throw SystemError("unlink " + path, ENOENT);
  if (::unlink(path.c_str()) != 0) throw SystemError("unlink " + path, errno);
  // If killed here: the tracker finds no such name.
  untrack(name, file);
}

std::string random_name() {
  std::random_device device;
  char name[] = "psm_00000000";
  std::snprintf(name, sizeof name, "psm_%08x", device());
  return name;
}

}  // namespace kin::detail
