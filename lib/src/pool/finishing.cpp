// SPDX-License-Identifier: BSL-1.0

#include "pool/finishing.hpp"

#include "base/fork_depth.hpp"
#include "base/guarded.hpp"
#include "base/immortal.hpp"

#include <cstdlib>
#include <utility>
#include <vector>

namespace kin::detail {
namespace {

struct One {
  std::weak_ptr<void> engine;
  void (*finish)(void*);
};

struct Registry {
  int process = fork_depth;  // a fork begins anew
  std::vector<One> all;
};

Guarded<Registry>& registry() {
  static Immortal<Guarded<Registry>> executors;
  return *executors;
}

[[maybe_unused]] const bool registry_is_made = made_at_load(registry);

// Registered anew for each: so it runs before the ends of whatever was started before the executor.
void finish_all() {
  const std::vector<One> all = registry().with([](Registry& one) {
    if (one.process != fork_depth) one.all.clear();
    return std::exchange(one.all, {});
  });
  for (const One& one : all) {
    if (const std::shared_ptr<void> engine = one.engine.lock()) one.finish(engine.get());
  }
}

}  // namespace

void Finishing::add(const std::shared_ptr<void>& engine, void (*finish)(void*)) {
  registry().with([&](Registry& one) {
    if (one.process != fork_depth) one = {fork_depth, {}};
    std::erase_if(one.all, [](const One& each) { return each.engine.expired(); });
    one.all.push_back({engine, finish});
  });
  std::atexit(finish_all);
}

}  // namespace kin::detail
