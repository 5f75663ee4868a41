// SPDX-License-Identifier: BSL-1.0
//
// operator new, and the aligned_alloc() that Boost.Asio takes the memory of its handlers from, for the whole
// program: those of the standard library, unless a ScarceMemory is in force.

#include "scarce_memory.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

#include <malloc.h>

namespace unit {
namespace {

constexpr long none_fails = -1;
constexpr long has_come = -2;
// How many come before the one that fails.
thread_local constinit long left = none_fails;

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
bool fails_now() noexcept {
  if (left < 0) return false;
  if (left-- != 0) return false;
  left = has_come;
  return true;
}
#endif

}  // namespace

bool ScarceMemory::has_failed() noexcept { return left == has_come; }
void ScarceMemory::begin(long before) noexcept { left = before; }
void ScarceMemory::end() noexcept { left = none_fails; }

}  // namespace unit

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
void* operator new(std::size_t size) {
  void* const memory = unit::fails_now() ? nullptr : std::malloc(size != 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return unit::fails_now() ? nullptr : ::memalign(alignment, size);
}
#endif
