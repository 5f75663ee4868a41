// SPDX-License-Identifier: BSL-1.0

// Between libFuzzer and the fuzzers of this folder. Everything runs on one thread of one process.

#include "fuzzing.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>

#include <sanitizer/allocator_interface.h>

namespace fuzz {
namespace {

bool is_watching = false;
std::size_t taken = 0;
std::size_t most_taken = 0;

void note_allocation(const volatile void*, std::size_t size) {
  if (!is_watching) return;
  taken += size;
  if (taken > most_taken) most_taken = taken;
}

// What is older than the watch is given back meanwhile, too; it does not count.
void note_free(const volatile void* memory) {
  if (!is_watching || memory == nullptr) return;
  const std::size_t size = __sanitizer_get_allocated_size(const_cast<const void*>(memory));
  taken -= size < taken ? size : taken;
}

void write_seeds(const std::string& directory) {
  int number = 0;
  for (const Bytes& seed : seeds()) {
    std::ofstream file(directory + "/seed-" + std::to_string(number++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()),
               static_cast<std::streamsize>(seed.size()));
    if (!file.flush()) {
      std::fprintf(stderr, "cannot write seeds into %s\n", directory.c_str());
      std::exit(1);
    }
  }
}

}  // namespace

void require(bool condition, const char* what, std::source_location where) {
  if (condition) return;
  std::fprintf(stderr, "%s:%u: not so: %s\n", where.file_name(), where.line(), what);
  std::abort();  // libFuzzer writes the input down
}

MemoryWatch::MemoryWatch() noexcept {
  taken = 0;
  most_taken = 0;
  is_watching = true;
}

MemoryWatch::~MemoryWatch() { is_watching = false; }

std::size_t MemoryWatch::most() const noexcept { return most_taken; }

}  // namespace fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc == 3 && std::strcmp((*argv)[1], "--seeds") == 0) {
    fuzz::write_seeds((*argv)[2]);
    std::exit(0);
  }
  if (__sanitizer_install_malloc_and_free_hooks(fuzz::note_allocation, fuzz::note_free) == 0) {
    std::fprintf(stderr, "memory can't be watched\n");
    std::exit(1);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::try_bytes(std::as_bytes(std::span(data, size)));
  return 0;
}
