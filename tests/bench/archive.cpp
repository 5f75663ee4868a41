// SPDX-License-Identifier: BSL-1.0

// kin's archive beside Boost's stock binary archive: write a value into memory and read it back.
//
// Boost's side runs in its best configuration: no header, no codecvt facet, one stream that is kept
// and rewound. Its archives are made for each message, as its manual demands: object tracking and
// class information end with the archive. kin's OutArchive is kept and cleared, as a queue does.
// The larger a map, the more of either side's time is the tree itself: its nodes are allocated,
// compared and freed. So beside them stands a map that is filled in order with copies, without any message.

#include "rounds.hpp"

#include <kin/detail/archive.hpp>

#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/utility.hpp>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace {

constexpr unsigned flags = boost::archive::no_header | boost::archive::no_codecvt;

class BoostRoundTrip {
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

template <typename T>
void compare(const char* name, const T& value) {
  BoostRoundTrip by_boost;
  KinRoundTrip by_kin;
  Rebuild by_hand;
  bench::Contestant boost = contestant(by_boost, value);
  bench::Contestant kin = contestant(by_kin, value);
  bench::Contestant bare = contestant(by_hand, value);
  bench::take_turns(30, {&kin, &boost, &bare});
  std::printf(
      "%-28s kin %7.3f us   boost %7.3f us   ratio %5.1f   made anew %7.3f us, boost to that "
      "%5.1f\n",
      name, kin.best, boost.best, boost.best / kin.best, bare.best, boost.best / bare.best);
}

std::map<std::string, int> numbers(int count) {
  std::map<std::string, int> map;
  for (int i = 0; i < count; ++i) map.emplace("key " + std::to_string(i), i);
  return map;
}

}  // namespace

int main() {
  std::printf(
      "archive: write and read back; boost: binary archive, no_header | no_codecvt, "
      "stream reused; best of 30 rounds in turns\n");
  compare("string", std::string("hello, world"));
  compare("pair<string, int>", std::pair<std::string, int>("hello, world", 7));
  compare("map<string, int> of 4", numbers(4));
  compare("map<string, int> of 16", numbers(16));
  compare("map<string, int> of 100", numbers(100));
}
