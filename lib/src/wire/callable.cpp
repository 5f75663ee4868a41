// SPDX-License-Identifier: BSL-1.0
//
// The checks of functions that are sent: what stands behind an address of this process. Runs in the
// sender, before it writes a message.
//
// A closure is bytes; what its captures were is gone. But an address that is good for this process
// alone points into memory that is private and writable: a stack, the heap, the data of a library.
// Constants and code are the same in all kin, and so is the arena. /proc/self/maps tells them apart;
// it is read only for words that are in neither, as the kernel takes long to write it.
//
// Where /proc is not mounted nothing can be told of such words, and they pass.

#include <kin/detail/callable.hpp>

#include "base/fork_lock.hpp"
#include "base/immortal.hpp"
#include "base/readable_type.hpp"
#include "base/syscall.hpp"
#include "memory/arena.hpp"

#include <kin/unique_fd.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string_view>

#include <cxxabi.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

namespace kin::detail {
namespace {

// The loader's list has a lock that fork does not look after: a child must not inherit it taken.
ForkLock& loader_lock() {
  static Immortal<ForkLock> lock;
  return *lock;
}

[[maybe_unused]] const bool loader_lock_is_made = made_at_load(loader_lock);

// The program or library that an address is in, if any.
std::string image_of(const void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  return info.dli_fname;
}

struct Region {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool is_own = false;    // private to this process, and writable
  std::string_view name;  // as the kernel writes it: a path, "[stack]", or nothing

  [[nodiscard]] bool holds(std::uintptr_t address) const {
    return begin <= address && address < end;
  }
};

// A line: 7f1c3a400000-7f1c3a428000 rw-p 00000000 00:1a 1835   /usr/lib/libc.so.6
std::optional<Region> parse(std::string_view line) {
  Region region;
  const char* const last = line.data() + line.size();
  const auto begin = std::from_chars(line.data(), last, region.begin, 16);
  if (begin.ec != std::errc() || begin.ptr == last) return std::nullopt;
  const auto end = std::from_chars(begin.ptr + 1, last, region.end, 16);
  if (end.ec != std::errc() || last - end.ptr < 5) return std::nullopt;
  const std::string_view permissions(end.ptr + 1, 4);
  region.is_own = permissions[1] == 'w' && permissions[3] == 'p';
  const std::size_t name =
      line.find_first_of("/[", static_cast<std::size_t>(end.ptr - line.data()));
  if (name != std::string_view::npos) region.name = line.substr(name);
  return region;
}

std::string read_maps() {
  const UniqueFd file(
      retry_interrupted([] { return ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC); }));
  std::string text;
  std::size_t size = 0;
  for (ssize_t count = file ? 1 : 0; count > 0; size += static_cast<std::size_t>(count)) {
    text.resize(size + (std::size_t{16} << 10));
    count = retry_interrupted(
        [&] { return ::read(file.get(), text.data() + size, text.size() - size); });
    if (count < 0) break;
  }
  text.resize(size);
  return text;
}

// Calls `look(Region)` for each mapping of this process.
template <typename Look>
void for_each_region(Look look) {
  const std::string maps = read_maps();
  std::string_view rest = maps;
  while (!rest.empty()) {
    const std::size_t length = std::min(rest.find('\n'), rest.size());
    if (const auto region = parse(rest.substr(0, length))) look(*region);
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
}

std::string place_of(const Region& region) {
  if (region.name == "[stack]") return "on the stack";
  if (region.name == "[heap]") return "on the heap";
  if (region.name.starts_with('/')) return "in the data of " + std::string(region.name);
  return "on the heap or a thread's stack";
}

[[noreturn]] void refuse_capture(const std::type_info& type, const std::string& place) {
  throw std::invalid_argument(
      "kin: the function " + describe_function(type, nullptr) +
      " captured an address in this process's own memory (" + place +
      "): by a capture by reference, `this`, a pointer, an iterator or a view. In the other "
      "process it "
      "would read stale memory. Capture a copy, or bind the value with kin::partial");
}

[[noreturn]] void refuse_image(const std::string& what, const std::string& image) {
  throw std::invalid_argument(
      "kin: " + what + " in " + image +
      ", which was loaded after the other process was made, and is not there. Load it before");
}

[[noreturn]] void refuse_code(const void* code, const std::string& name) {
  const std::string image = image_of(code);
  if (!image.empty()) refuse_image("the function " + name + " lies", image);
  throw std::invalid_argument(
      "kin: the function " + name +
      " lies in no program or library that the other process has: code that "
      "was made at run time can't be called there");
}

bool is_in_arena(std::uintptr_t address) {
  const std::span<const std::byte> all = arena().all;
  return address - reinterpret_cast<std::uintptr_t>(all.data()) < all.size();
}

}  // namespace

LoadedImages::LoadedImages() {
  const auto add = [](dl_phdr_info* image, std::size_t /*size*/, void* list) {
    for (ElfW(Half) i = 0; i < image->dlpi_phnum; ++i) {
      const ElfW(Phdr)& header = image->dlpi_phdr[i];
      if (header.p_type != PT_LOAD) continue;
      const std::uintptr_t begin = image->dlpi_addr + header.p_vaddr;
      static_cast<std::vector<Segment>*>(list)->push_back({begin, begin + header.p_memsz,
                                                           (header.p_flags & PF_W) != 0,
                                                           (header.p_flags & PF_X) != 0});
    }
    return 0;
  };
  const std::scoped_lock lock(loader_lock());
  ::dl_iterate_phdr(add, &segments_);
  // The program comes before its libraries.
  const auto first_code = std::ranges::find_if(segments_, &Segment::is_code);
  if (first_code != segments_.end()) program_ = *first_code;
  std::sort(segments_.begin(), segments_.end(),
            [](const Segment& left, const Segment& right) { return left.begin < right.begin; });
}

const LoadedImages::Segment* LoadedImages::find(std::uintptr_t address) const noexcept {
  const auto behind = std::upper_bound(
      segments_.begin(), segments_.end(), address,
      [](std::uintptr_t wanted, const Segment& segment) { return wanted < segment.begin; });
  if (behind == segments_.begin()) return nullptr;
  const Segment& segment = *(behind - 1);
  return address < segment.end ? &segment : nullptr;
}

bool LoadedImages::is_code(std::uintptr_t address) const noexcept {
  const Segment* const segment = find(address);
  return segment != nullptr && segment->is_code;
}

bool LoadedImages::holds_constant(std::uintptr_t address) const noexcept {
  const Segment* const segment = find(address);
  return segment != nullptr && !segment->is_writable;
}

bool LoadedImages::holds_any(std::uintptr_t address) const noexcept {
  return find(address) != nullptr;
}

std::string describe_function(const std::type_info& type, const void* code) {
  Dl_info info{};
  // dladdr() answers with the nearest symbol before the address, whatever that is
  if (code == nullptr || ::dladdr(code, &info) == 0 || info.dli_saddr != code)
    return readable_type(type);
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), &std::free);
  return text ? text.get() : info.dli_sname;
}

void check_code(const void* code, const std::type_info& type, const LoadedImages* images) {
  if (code == nullptr)
    throw std::invalid_argument("kin: the function is a null pointer, of type " +
                                readable_type(type));
  if (images == nullptr || images->holds(code)) return;
  refuse_code(code, describe_function(type, code));
}

void check_calling_code(const void* code, const std::type_info& type, const LoadedImages& images) {
  if (images.holds(code)) return;
  refuse_code(code, describe_function(type, nullptr));
}

void check_captures(std::span<const std::uintptr_t> words, const std::type_info& type,
                    const LoadedImages* images) {
  std::vector<std::uintptr_t> suspects;
  for (const std::uintptr_t word : words) {
    if (images != nullptr && images->holds_constant(word)) continue;
    if (!is_in_arena(word)) suspects.push_back(word);
  }
  if (suspects.empty()) return;
  for_each_region([&](const Region& region) {
    for (const std::uintptr_t word : suspects) {
      if (!region.holds(word)) continue;
      if (region.is_own) refuse_capture(type, place_of(region));
      if (images == nullptr || images->holds_any(word)) continue;
      const std::string image = image_of(reinterpret_cast<const void*>(word));
      if (!image.empty())
        refuse_image("the function " + describe_function(type, nullptr) + " captured an address",
                     image);
    }
  });
}

}  // namespace kin::detail
