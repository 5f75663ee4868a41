// SPDX-License-Identifier: BSL-1.0

// Values in shared memory where nobody else wants them, beside what one would write by hand: a bare
// atomic, or a robust process-shared mutex with what it guards.

#include "bare_mutex.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <kin/shared.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace {

using bench::Table;

struct Record {
  std::array<long, 8> words;
};

struct Bare : bench::BareMutex {
  alignas(64) std::atomic<long> atomic{0};
  alignas(64) long guarded = 0;
  Record record{};
};

// The compiler must not take one round of the loop for another.
template <typename T>
void use(const T& value) {
  asm volatile("" : : "m"(value) : "memory");
}

// Nanoseconds for one.
template <typename Operation>
std::function<double()> rounds_of(Operation operation) {
  return [operation] {
    constexpr int count = 300'000;
    const double begin = bench::now();
    for (int i = 0; i < count; ++i) operation();
    return (bench::now() - begin) / count;
  };
}

std::string time_of(double nanoseconds) { return Table::number("%.1f ns", nanoseconds); }

class Duels {
 public:
  template <typename Own, typename Peer>
  void add(const std::string& figure, Own own, const std::string& peer, Peer peers,
           Table::Want want = Table::Want::at_most) {
    bench::Contestant kin{rounds_of(own)};
    bench::Contestant bare{rounds_of(peers)};
    bench::take_turns(25, {&kin, &bare});
    table_.add({.figure = figure,
                .measured = time_of(kin.best),
                .peer = peer + " " + time_of(bare.best),
                .ratio = kin.best / bare.best,
                .want = want,
                .limit = 2});
  }
  Table& table() { return table_; }

 private:
  Table table_{"value: one process alone, best of 25 rounds taken in turns"};
};

}  // namespace

int main() {
  const kin::Value<long> value(0);
  const kin::RawValue<long> raw(0);
  const kin::Value<Record> record;
  const kin::SharedObject<Record> object;
  const kin::SharedObject<kin::SharedMap<int, int>> map;
  std::map<int, int> own_map;
  const bench::Shared<Bare> bare;

  Duels duels;
  duels.add(
      "Value<long>: load", [&] { use(value.load()); }, "std::atomic load",
      [&] { use(bare->atomic.load()); });
  duels.add(
      "RawValue<long>: atomic fetch_add", [&] { use(raw.atomic().fetch_add(1)); },
      "std::atomic fetch_add", [&] { use(bare->atomic.fetch_add(1)); });
  const auto store = [&] {
    const std::scoped_lock guard(*bare);
    bare->guarded = 1;
    use(bare->guarded);
  };
  duels.add(
      "Value<long>: store", [&] { value.store(1); }, "robust mutex and a store", store);
  const auto add = [&] {
    const std::scoped_lock guard(*bare);
    use(bare->guarded++);
  };
  duels.add(
      "Value<long>: fetch_add", [&] { use(value.fetch_add(1)); }, "robust mutex and an addition",
      add);
  duels.add(
      "Value<long>: with", [&] { value.with([](long& number) { number += 1; }); },
      "robust mutex and an addition", add);
  duels.add(
      "Value of 64 B: load", [&] { use(record.load()); }, "robust mutex and a copy",
      [&] {
        const std::scoped_lock guard(*bare);
        const Record copy = bare->record;
        use(copy);
      });
  duels.add(
      "Value of 64 B: store", [&] { record.store(Record{}); }, "robust mutex and a copy",
      [&] {
        const std::scoped_lock guard(*bare);
        bare->record = Record{};
        use(bare->record);
      });
  duels.add(
      "SharedObject of 64 B: with", [&] { object.with([](Record& all) { all.words[0] += 1; }); },
      "robust mutex and an addition", add);
  duels.add(
      "SharedMap: insert and erase",
      [&] {
        map.with([](auto& all) {
          all[1] = 2;
          all.erase(1);
        });
      },
      "robust mutex and a std::map",
      [&] {
        const std::scoped_lock guard(*bare);
        own_map[1] = 2;
        own_map.erase(1);
        use(own_map);
      },
      bench::Table::Want::nothing);
  duels.table().note("the ratio is of times, kin's to the peer's; the mutex is process-shared");
  return duels.table().print();
}
