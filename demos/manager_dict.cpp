// SPDX-License-Identifier: BSL-1.0
//
// demo: fifty processes take from a count that a manager keeps: wrong without a lock, right with modify()
//
// docs/lessons/read_change_write.md goes with it. Each call of a dictionary is atomic, but
// `counts["count"] -= 1` is two of them: one that reads, and one that writes.

#include <kin/kin.hpp>

#include <chrono>
#include <iostream>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

namespace {

using Counts = kin::managed::Dict<std::string, int>;

constexpr int processes = 50;

// Each process calls take_one() so many times. Returns what is left.
template <typename TakeOne>
int take_away(const Counts& counts, int from, int times, TakeOne take_one) {
  counts["count"] = from;
  const kin::Queue<bool> start;
  std::vector<kin::Process> takers;
  for (int i = 0; i < processes; ++i) {
    takers
        .emplace_back([=] {
          static_cast<void>(start.get());
          for (int time = 0; time < times; ++time) take_one();
        })
        .start();
  }
  for (int i = 0; i < processes; ++i) start.put(true);
  for (kin::Process& taker : takers) taker.join();
  return counts["count"];
}

void report(std::string_view how, int left, int right) {
  std::cout << "  " << how << ": " << left << " are left, "
            << (left == right ? "as it should be" : "and it should be " + std::to_string(right))
            << std::endl;
}

void take(const kin::Manager& manager, const Counts& counts, int from, int times) {
  const int right = from - processes * times;
  std::cout << "from " << from << ", " << processes << " processes take 1, " << times
            << (times == 1 ? " time" : " times") << " each\n";

  const auto moment = std::chrono::steady_clock::now() + 10s;
  int left = 0;
  do {  // if it is to go wrong, and by chance does not, once more
    left = take_away(counts, from, times, [counts] { counts["count"] -= 1; });
  } while (left == right && times > 1 && std::chrono::steady_clock::now() < moment);
  report("without a lock", left, right);
  if (left != right && times > 1) std::cout << "  some were lost, and nobody was told\n";

  const kin::managed::Lock lock = manager.lock();
  left = take_away(counts, from, times, [counts, lock] {
    const std::scoped_lock guard(lock);  // around both calls
    counts["count"] -= 1;
  });
  report("with a lock", left, right);

  left = take_away(counts, from, times,
                   [counts] { counts.modify("count", [](int& count) { --count; }); });
  report("with modify()", left, right);
}

}  // namespace

int main() {
  const kin::Manager manager;
  const Counts counts = manager.dict<std::string, int>({{"count", 100}});
  std::cout << counts << '\n';
  take(manager, counts, 100, 1);
  take(manager, counts, 20'000, 200);
  std::cout << counts << '\n';
}
