// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "crash/household.hpp"

#include <kin/error.hpp>
#include <kin/expose.hpp>
#include <kin/manager.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <sys/types.h>

// What the tests have in common that kill what stands between a manager and another program.

namespace crash {

using Number = kin::managed::Value<int>;
using Items = kin::managed::Queue<int>;

[[maybe_unused]] inline const bool shop_is_exposed =
    kin::expose<Number>() && kin::expose<Items>() && kin::expose<kin::managed::Lock>();

inline constexpr std::chrono::seconds shop_patience(10);

inline const std::string told = "told that the manager is not there";

template <typename Condition>
bool eventually(Condition condition) {
  const auto end = Clock::now() + shop_patience;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

/// What both programs use.
struct Shop {
  kin::Manager manager;
  Number number = manager.value<int>(0);
  Items queue = manager.queue<int>();
  kin::managed::Lock lock = manager.lock();
  std::size_t objects = 0;

  explicit Shop(kin::ManagerOptions options = {}) : manager(std::move(options)) {
    manager.publish("number", number);
    manager.publish("queue", queue);
    manager.publish("lock", lock);
    objects = manager.statistics().objects;
  }
  /// Nobody else is there, and no call waits.
  [[nodiscard]] bool has_clients(std::size_t clients) const {
    const kin::ManagerStatistics now = manager.statistics();
    return now.clients == clients && now.parked == 0;
  }
  [[nodiscard]] bool has_own_objects() const { return manager.statistics().objects == objects; }
  [[noreturn]] void complain() const {
    const kin::ManagerStatistics now = manager.statistics();
    throw std::runtime_error("left are " + std::to_string(now.clients) + " clients, " +
                             std::to_string(now.parked) + " calls that wait, and " +
                             std::to_string(now.objects - objects) + " objects");
  }
};

/// What another program's process has noted of what it did.
struct Diary {
  std::atomic<int> calls;  // that were answered
  std::array<std::atomic<bool>, 64> items;
  std::atomic<bool> was_put;
  std::atomic<pid_t> relay;

  void clear() {
    was_put = false;
    calls = 0;
    relay = 0;
    for (auto& item : items) item = false;
  }
};

}  // namespace crash
