// SPDX-License-Identifier: BSL-1.0

// kin's archive beside Boost's stock binary archive: write a value into memory and read it back.
//
// Boost's side runs as its manual shows it, and in its best configuration: no header, no codecvt facet, one
// stream that is kept and rewound. Its archives are made for each message, as its manual demands: object tracking
// and class information end with the archive. kin's OutArchive is kept and cleared, as a queue does.
// The larger a map, the more of either side's time is the tree itself: its nodes are allocated,
// compared and freed. So beside them stands a map that is filled in order with copies, without any message: what
// no archive can be faster than.

#include "rounds.hpp"
#include "table.hpp"

#include <kin/detail/archive.hpp>

#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/utility.hpp>

#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace {

constexpr unsigned flags = boost::archive::no_header | boost::archive::no_codecvt;

using bench::Table;

struct StockRoundTrip {
  template <typename T>
  T operator()(const T& value) const {
    std::ostringstream out;
    boost::archive::binary_oarchive(out) << value;
    std::istringstream in(out.str());
    T result;
    boost::archive::binary_iarchive(in) >> result;
    return result;
  }
};

class BestRoundTrip {
 public:
  template <typename T>
  T operator()(const T& value) {
    stream_.seekp(0);
    boost::archive::binary_oarchive(stream_, flags) << value;
    stream_.seekg(0);
    T result;
    boost::archive::binary_iarchive(stream_, flags) >> result;
    return result;
  }

 private:
  std::stringstream stream_{std::ios::in | std::ios::out | std::ios::binary};
};

class KinRoundTrip {
 public:
  template <typename T>
  T operator()(const T& value) {
    out_.clear();
    kin::detail::encode(out_, value);
    kin::detail::InArchive in(out_.bytes());
    return kin::detail::decode<T>(in);
  }

 private:
  kin::detail::OutArchive out_;
};

// What any archive has to do at least: make the value anew.
struct Rebuild {
  std::map<std::string, int> operator()(const std::map<std::string, int>& value) const {
    std::map<std::string, int> result;
    for (const auto& [key, number] : value) result.emplace_hint(result.end(), key, number);
    return result;
  }
  template <typename T>
  T operator()(const T& value) const {
    return value;
  }
};

// Microseconds a round trip.
template <typename RoundTrip, typename T>
bench::Contestant contestant(RoundTrip& round_trip, const T& value) {
  if (round_trip(value) != value) std::abort();
  return {[&round_trip, &value] {
    constexpr int count = 5000;
    const double begin = bench::now();
    for (int i = 0; i < count; ++i) {
      const T result = round_trip(value);
      asm volatile("" : : "r"(&result) : "memory");
    }
    return (bench::now() - begin) / count / 1e3;
  }};
}

std::string time_of(double microseconds) { return Table::number("%.3f us", microseconds); }

// With a limit, how many times faster than the stock archive kin has to be.
template <typename T>
void compare(Table& table, const std::string& name, const T& value, double limit) {
  StockRoundTrip by_stock;
  BestRoundTrip by_best;
  KinRoundTrip by_kin;
  Rebuild by_hand;
  bench::Contestant stock = contestant(by_stock, value);
  bench::Contestant best = contestant(by_best, value);
  bench::Contestant kin = contestant(by_kin, value);
  bench::Contestant bare = contestant(by_hand, value);
  bench::take_turns(30, {&kin, &stock, &best, &bare});
  table.add({.figure = name,
             .measured = time_of(kin.best),
             .peer = "Boost's binary archive " + time_of(stock.best),
             .ratio = stock.best / kin.best,
             .want = limit > 0 ? Table::Want::at_least : Table::Want::nothing,
             .limit = limit});
  table.add({.figure = "  the same",
             .measured = time_of(kin.best),
             .peer = "at its best " + time_of(best.best),
             .ratio = best.best / kin.best});
  table.add({.figure = "  only made anew",
             .measured = time_of(bare.best),
             .peer = "Boost's binary archive " + time_of(stock.best),
             .ratio = stock.best / bare.best});
}

std::map<std::string, int> numbers(int count) {
  std::map<std::string, int> map;
  for (int i = 0; i < count; ++i) map.emplace("key " + std::to_string(i), i);
  return map;
}

}  // namespace

int main() {
  Table table("archive: write and read back; best of 30 rounds taken in turns");
  compare(table, "string", std::string("hello, world"), 5);
  compare(table, "pair<string, int>", std::pair<std::string, int>("hello, world", 7), 5);
  compare(table, "map<string, int> of 4", numbers(4), 5);
  compare(table, "map<string, int> of 16", numbers(16), 5);
  compare(table, "map<string, int> of 100", numbers(100), 0);
  table.note("ratios are of times, the peer's to the measured");
  return table.print();
}
