// SPDX-License-Identifier: BSL-1.0

// kin's archive beside Boost's stock binary archive: write a value into memory and read it back.
//
// Boost's side runs in its best configuration: no header, no codecvt facet, one stream that is kept
// and rewound. Its archives are made for each message, as its manual demands: object tracking and
// class information end with the archive. kin's OutArchive is kept and cleared, as a queue does.
// The larger a map, the more of either side's time is the tree itself: its nodes are allocated,
// compared and freed.

#include <kin/detail/archive.hpp>

#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/utility.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace {

using Clock = std::chrono::steady_clock;

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

// Microseconds a round trip, best of several.
template <typename RoundTrip, typename T>
double measure(RoundTrip round_trip, const T& value) {
  if (round_trip(value) != value) std::abort();
  double best = std::numeric_limits<double>::max();
  for (int run = 0; run < 7; ++run) {
    constexpr int count = 20000;
    const auto start = Clock::now();
    for (int i = 0; i < count; ++i) static_cast<void>(round_trip(value));
    const std::chrono::duration<double, std::micro> time = Clock::now() - start;
    best = std::min(best, time.count() / count);
  }
  return best;
}

template <typename T>
void compare(const char* name, const T& value) {
  const double boost = measure(BoostRoundTrip(), value);
  const double kin = measure(KinRoundTrip(), value);
  std::printf("%-28s kin %7.3f us   boost %7.3f us   ratio %5.1f\n", name, kin, boost, boost / kin);
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
      "stream reused\n");
  compare("string", std::string("hello, world"));
  compare("pair<string, int>", std::pair<std::string, int>("hello, world", 7));
  compare("map<string, int> of 4", numbers(4));
  compare("map<string, int> of 16", numbers(16));
  compare("map<string, int> of 100", numbers(100));
}
