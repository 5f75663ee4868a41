// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <doctest/doctest.h>

#include <cstddef>

#include <pthread.h>

namespace support {

/// While it lives no thread can be started: its stack would be larger than all memory.
class NoMoreThreads {
 public:
  NoMoreThreads() {
    pthread_attr_t huge{};
    REQUIRE(::pthread_getattr_default_np(&huge) == 0);
    REQUIRE(::pthread_attr_getstacksize(&huge, &usual_) == 0);
    set(huge, std::size_t{1} << 46);
  }
  NoMoreThreads(const NoMoreThreads&) = delete;
  NoMoreThreads& operator=(const NoMoreThreads&) = delete;
  ~NoMoreThreads() {
    pthread_attr_t usual{};
    ::pthread_getattr_default_np(&usual);
    set(usual, usual_);
  }

 private:
  static void set(pthread_attr_t& attributes, std::size_t size) {
    CHECK(::pthread_attr_setstacksize(&attributes, size) == 0);
    CHECK(::pthread_setattr_default_np(&attributes) == 0);
    ::pthread_attr_destroy(&attributes);
  }
  std::size_t usual_ = 0;
};

}  // namespace support
