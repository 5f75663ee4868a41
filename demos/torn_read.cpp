// SPDX-License-Identifier: BSL-1.0
//
// demo: the torn read: what another process is changing is seen half changed; a Value never is
//
// docs/lessons/torn_read.md goes with it. Eight numbers are always stored together, all the same. To store
// them takes several steps, and who reads in between sees some of the old ones and some of the new.

#include <kin/kin.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

namespace {

using Row = std::array<long, 8>;

Row row_of(long number) {
  Row row{};
  row.fill(number);
  return row;
}

bool is_torn(const Row& row) {
  return std::ranges::any_of(row, [&](long number) { return number != row[0]; });
}

void print(const Row& row) {
  for (const long number : row) std::cout << ' ' << number;
  std::cout << (is_torn(row) ? "   torn" : "") << std::endl;
}

// ---- once, in slow motion: the writer stops in the middle, and is killed there

void show_slowly() {
  std::cout << "a process changes all ones to twos, and is killed in the middle\n";
  const kin::RawValue<Row> raw(row_of(1));
  const kin::Value<Row> value(row_of(1));
  const kin::Queue<bool> half_done;
  kin::Process writer([=] {
    value.with([&](Row& row) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (i == 5) {
          half_done.put(true);
          std::this_thread::sleep_for(1h);
        }
        row[i] = 2;
        raw.get()[i] = 2;
      }
    });
  });
  writer.start();
  static_cast<void>(half_done.get());
  std::cout << "  in memory without a lock:";
  print(raw.get());
  std::cout << "  in a Value:";
  print(value.load());
  writer.kill();
  writer.join();
  std::cout << "  the Value when it was killed:";
  print(value.load());
}

// ---- at full speed

// Another process calls store() again and again. Is one of the rows torn that load() returns in this time?
template <typename Store, typename Load>
bool sees_torn(std::chrono::seconds limit, Store store, Load load) {
  const kin::RawValue<bool> stop(false);
  kin::Process writer([=] {
    for (long number = 0; !stop.atomic().load(); ++number) store(row_of(number));
  });
  writer.start();
  bool torn = false;
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!torn && std::chrono::steady_clock::now() < end) torn = is_torn(load());
  stop.atomic().store(true);
  writer.join();
  return torn;
}

}  // namespace

int main() {
  // The log would tell of the killed process; here it is part of the plan.
  kin::set_log_level(kin::LogLevel::error);
  show_slowly();

  std::cout << "one process stores, another reads, both as fast as they can\n";
  const kin::RawValue<Row> raw(row_of(0));
  const bool without = sees_torn(
      20s, [raw](const Row& row) { raw.get() = row; }, [raw] { return raw.get(); });
  std::cout << "  without a lock: " << (without ? "a torn row" : "none is torn, by chance") << '\n';
  const kin::Value<Row> value(row_of(0));
  const bool with = sees_torn(
      1s, [value](const Row& row) { value.store(row); }, [value] { return value.load(); });
  std::cout << "  in a Value: " << (with ? "a torn row" : "none is torn") << '\n';
}
