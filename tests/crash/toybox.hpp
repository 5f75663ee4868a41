// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/crash_run.hpp"
#include "support/shared_page.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

// What the toy protocols have in common, on which the harness itself is tried.

namespace crash {

struct Toy {
  std::atomic<int> first;
  std::atomic<int> second;
  std::atomic<int> intent;
  std::atomic<int> flag;
  std::atomic<std::uint32_t> word;
  std::array<char, 4096> bulk;

  void clear() {
    for (std::atomic<int>* number : {&first, &second, &intent, &flag}) {
      number->store(0);
    }
    word = 0;
  }
};

/// A page of its own, watched as a whole.
struct Toybox {
  SharedPage<Toy> toy;

  void clear() const { toy->clear(); }
  std::vector<std::span<const std::byte>> watch() const {
    return {std::as_bytes(std::span(&*toy, 1))};
  }
  Toy* operator->() const { return &*toy; }
};

/// Sleeps while the word is zero, at most for a slice of time if there is one.
inline void sleep_while_zero(std::atomic<std::uint32_t>& word, const timespec* slice = nullptr) {
  while (word == 0) {
    syscall(SYS_futex, &word, FUTEX_WAIT, 0, slice, nullptr, 0);
  }
}

inline void wake_one(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

/// Runs and prints without a verdict, for scenarios that are meant to fail.
inline Report examine(const Scenario& scenario) {
  Report report = run(scenario);
  std::cout << "(on trial) " << report << std::endl;
  return report;
}

inline bool mentions(const Report& report, const std::string& what) {
  for (const std::string& failure : report.failures) {
    if (failure.find(what) != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace crash
