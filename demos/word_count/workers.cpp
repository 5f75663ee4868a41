// SPDX-License-Identifier: BSL-1.0

#include "word_count/workers.hpp"

#include <chrono>
#include <utility>

#include <unistd.h>

namespace word_count {

using namespace std::chrono_literals;

namespace {

using Clock = std::chrono::steady_clock;

void tell_progress(const kin::Queue<News>& news, const Totals& done) {
  static auto next = Clock::now();
  if (Clock::now() < next) return;
  next = Clock::now() + 100ms;
  news.put(Progress{::getpid(), done.files, done.bytes});
}

}  // namespace

void walk(const std::string& directory, const kin::Queue<Batch>& paths,
          const kin::Queue<News>& news) {
  constexpr std::uint64_t enough_bytes = 1'000'000;
  constexpr std::size_t enough_files = 100;
  WalkEnded end;
  Batch batch;
  std::uint64_t bytes = 0;
  const auto hand_out = [&] {
    news.put(batch);  // for the parent's books, before anyone can have counted it
    paths.put(batch);
    ++batch.number;
    batch.files.clear();
    bytes = 0;
  };
  find_files(
      directory,
      [&](File file) {
        bytes += file.size;
        batch.files.push_back(std::move(file));
        if (bytes >= enough_bytes || batch.files.size() >= enough_files) hand_out();
      },
      end.unreadable);
  if (!batch.files.empty()) hand_out();
  news.put(end);
}

void count(const kin::Queue<Batch>& paths, const kin::Queue<News>& news,
           std::uint64_t deliver_after) {
  FileReader reader;
  Tally tally;
  std::vector<std::uint64_t> batches;
  const auto deliver = [&] {
    news.put(Delivery{::getpid(), std::move(batches), tally.totals, tally.counts.list()});
    tally = {};
    batches.clear();
  };
  for (const Batch& batch : paths) {
    for (const File& file : batch.files) {
      reader.count(file.path, tally, [&] { tell_progress(news, tally.totals); });
    }
    batches.push_back(batch.number);
    if (tally.totals.bytes >= deliver_after) deliver();
  }
  if (!batches.empty()) deliver();
}

void count_alone(const std::string& directory, const kin::Queue<News>& news) {
  const auto begin = Clock::now();
  FileReader reader;
  Tally tally;
  std::vector<Unreadable> unreadable;
  find_files(
      directory,
      [&](const File& file) {
        reader.count(file.path, tally, [&] { tell_progress(news, tally.totals); });
      },
      unreadable);
  tally.totals.add({.unreadable = std::move(unreadable)});
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  news.put(CountedAlone{std::move(tally.totals), tally.counts.list(), seconds});
}

}  // namespace word_count
