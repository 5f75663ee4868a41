// SPDX-License-Identifier: BSL-1.0

#include "word_count/count.hpp"

#include <chrono>
#include <functional>
#include <utility>

namespace word_count {
namespace {

/// Adds what is new in a tally.
class Teller {
 public:
  Teller(const kin::Value<Amount>& done, const Tally& tally) : done_(done), tally_(tally) {}

  void operator()() {
    const Amount now{tally_.totals.files, tally_.totals.bytes};
    done_.with([&](Amount& all) {
      all.files += now.files - told_.files;
      all.bytes += now.bytes - told_.bytes;
    });
    told_ = now;
  }

 private:
  const kin::Value<Amount>& done_;
  const Tally& tally_;
  Amount told_;
};

}  // namespace

Delivery count(const kin::Value<Amount>& done, const Batch& batch) {
  FileReader reader;
  Tally tally;
  Teller tell(done, tally);
  for (const File& file : batch.files) reader.count(file.path, tally, std::ref(tell));
  tell();
  return {batch.number, std::move(tally.totals), tally.counts.list()};
}

CountedAlone count_alone(const kin::Value<Amount>& done, const std::string& directory) {
  const auto begin = std::chrono::steady_clock::now();
  done.store({});
  FileReader reader;
  Tally tally;
  Teller tell(done, tally);
  std::vector<Unreadable> unreadable;
  find_files(
      directory, [&](const File& file) { reader.count(file.path, tally, std::ref(tell)); },
      unreadable);
  tally.totals.add({.unreadable = std::move(unreadable)});
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  return {std::move(tally.totals), tally.counts.list(), elapsed.count()};
}

}  // namespace word_count
