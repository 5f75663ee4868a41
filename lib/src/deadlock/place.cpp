// SPDX-License-Identifier: BSL-1.0
//
// Places in sources, as other processes noted them. A std::source_location is an address of constants in
// the program or in a library. What was loaded when kin was is at the same address in all kin; for the
// rest this process asks the kernel for the memory of the one that noted it, and may be refused.

#include "deadlock/place.hpp"

#include "base/immortal.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <link.h>
#include <sys/uio.h>

namespace kin::detail {
namespace {

// A place is one address, so that noting it is one store.
static_assert(sizeof(std::source_location) == sizeof(std::uintptr_t));

struct Segment {
  std::uintptr_t begin;
  std::uintptr_t end;
};

/// The program and its libraries, as they were when kin was loaded.
struct FirstImages {
  std::vector<Segment> segments;

  FirstImages() {
    const auto add = [](dl_phdr_info* image, std::size_t /*size*/, void* list) {
      for (ElfW(Half) i = 0; i < image->dlpi_phnum; ++i) {
        const ElfW(Phdr)& header = image->dlpi_phdr[i];
        const std::uintptr_t begin = image->dlpi_addr + header.p_vaddr;
        if (header.p_type != PT_LOAD) continue;
        static_cast<std::vector<Segment>*>(list)->push_back({begin, begin + header.p_memsz});
      }
      return 0;
    };
    ::dl_iterate_phdr(add, &segments);
  }
};

FirstImages& first_images() {
  static Immortal<FirstImages> images;
  return *images;
}

[[maybe_unused]] const bool first_images_are_known = made_at_load(first_images);

bool is_everywhere(std::source_location where) {
  const auto address = std::bit_cast<std::uintptr_t>(where);
  return std::ranges::any_of(first_images().segments, [=](const Segment& segment) {
    return segment.begin <= address && address < segment.end;
  });
}

// Never faults; false where the kernel refuses, or there is no such memory.
bool read_memory_of(Stamp process, std::uintptr_t from, void* to, std::size_t size) {
  const iovec here{to, size};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address of the other process
  const iovec there{reinterpret_cast<void*>(from), size};
  return ::process_vm_readv(pid_of(process), &here, 1, &there, 1, 0) == static_cast<ssize_t>(size);
}

// As far as it can be read, and 255 bytes at most.
std::string read_text_of(Stamp process, const char* from) {
  std::string text;
  char letter = '\0';
  const auto address = reinterpret_cast<std::uintptr_t>(from);
  while (text.size() < 255 && read_memory_of(process, address + text.size(), &letter, 1) &&
         letter != '\0') {
    text += letter;
  }
  return text;
}

struct Place {
  std::string file;
  unsigned line;
  std::string function;
};

std::optional<Place> place_of(std::source_location where, Stamp process) {
  const auto address = std::bit_cast<std::uintptr_t>(where);
  if (address == 0) return std::nullopt;
  if (process == this_process_or_none() || is_everywhere(where)) {
    return Place{where.file_name(), where.line(), where.function_name()};
  }
  // What it points to: two addresses and two numbers.
  alignas(std::uintptr_t) std::array<std::byte, 2 * sizeof(char*) + 2 * sizeof(unsigned)> copy{};
  if (!read_memory_of(process, address, copy.data(), copy.size())) return std::nullopt;
  const auto there = std::bit_cast<std::source_location>(copy.data());
  return Place{read_text_of(process, there.file_name()), there.line(),
               read_text_of(process, there.function_name())};
}

// "std::scoped_lock", of a function of the standard library's.
std::string_view name_of_guard(std::string_view function) {
  const std::size_t begin = function.find("std::");
  if (begin == std::string_view::npos) return "the standard library";
  function.remove_prefix(begin);
  return function.substr(0, function.find_first_of("<( "));
}

// "Bank::transfer()", of "void Bank::transfer(const Account&, int) [with …]" as compilers tell it.
std::string short_name_of(std::string function) {
  function = function.substr(0, function.find(" [with "));
  for (const std::string_view unnamed : {"{anonymous}::", "(anonymous namespace)::"}) {
    for (std::size_t at = 0; (at = function.find(unnamed)) != std::string::npos;) {
      function.erase(at, unnamed.size());
    }
  }
  if (function.find("lambda") != std::string::npos) return function;
  int depth = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
  for (; end < function.size(); ++end) {
    const char one = function[end];
    if (one == '<') ++depth;
    if (one == '>') --depth;
    if (one == ' ' && depth == 0) begin = end + 1;
    if (one == '(' && depth == 0) break;
  }
  return function.substr(begin, end - begin) + "()";
}

bool is_of_the_system(std::string_view file) {
  return file.find("/include/c++/") != std::string_view::npos || file.starts_with("/usr/include/");
}

}  // namespace

std::string place_text(std::source_location where, Stamp process) {
  const auto place = place_of(where, process);
  if (!place || place->file.empty()) return "";
  if (is_of_the_system(place->file)) {
    return "through " + std::string(name_of_guard(place->function)) +
           " (a kin::LockGuard would tell the line)";
  }
  return place->file + ':' + std::to_string(place->line) + ", in " + short_name_of(place->function);
}

}  // namespace kin::detail
