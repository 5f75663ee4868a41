// SPDX-License-Identifier: BSL-1.0
//
// demo: counts the words of a directory's files with several processes; the larger example
//
// A walker finds the files and puts them on a queue, in batches. Counters take batches, read the
// files, and put tallies on a queue of news. The parent reads the news and adds up.
//
// Any of them may be killed at any moment, and the total is still right. It rests on two things that
// a kin::Queue promises: what put() returned from is in the queue, and what a dying process was
// putting is there whole or not at all. A tally and the numbers of the batches that it covers are
// one message, so a batch is counted exactly when such a message arrives. A *round* ends when all is
// counted, or when all counters have ended and the queue is empty: then what is still open was in the
// hands of the dead, and is given out again in the next round.
//
// Here is the parent. What its children do is in word_count/workers.cpp; most of the rest of that
// folder has nothing to do with processes.

#include "word_count/crew.hpp"
#include "word_count/interrupt.hpp"
#include "word_count/options.hpp"
#include "word_count/report.hpp"
#include "word_count/tally.hpp"
#include "word_count/workers.hpp"

#include <kin/kin.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using namespace word_count;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Amount {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Bytes are what it goes by. The total is known when the walker has found all files.
void show(const kin::ProgressBar& bar, Clock::time_point begin, Amount done,
          const std::optional<Amount>& total) {
  const std::chrono::nanoseconds elapsed = Clock::now() - begin;
  if (elapsed < 200ms) return;  // what is done by then needs no bar
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const double speed = static_cast<double>(done.bytes) / seconds;
  const std::string text = with_commas(done.files) + " files  " + megabytes(done.bytes) + "  " +
                           megabytes_per_second(speed) + (total ? "" : "  still looking for files");
  kin::Progress now{.done = done.bytes, .elapsed = elapsed};
  if (total) {
    // Files grow, and those of a counter that died are counted again.
    now.total = std::max(total->bytes, done.bytes);
    const double left = static_cast<double>(now.total - now.done) / std::max(speed, 1.0);
    now.left = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(std::min(left, 1e9)));
  }
  bar.show(now, text);
}

class Count {
 public:
  Count(const Options& options, const kin::ProgressBar& bar) : options_(&options), bar_(&bar) {}

  [[nodiscard]] Tally run();

  /// The walker died, and nobody knows what it had not found yet.
  class WalkerDied : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
  };

 private:
  void first_round();
  void next_round();
  void read_news(Crew& crew, const kin::Process* walker);
  void take_back();
  void give_again(const File& file);

  void note(Batch&& batch);
  void note(WalkEnded&& end);
  void note(const Progress& progress);
  void note(const Delivery& delivery);
  void note(const CountedAlone& /*never sent here*/) {}
  void take(News&& news) {
    std::visit([this](auto&& one) { note(std::forward<decltype(one)>(one)); }, std::move(news));
  }

  const Options* options_;
  const kin::ProgressBar* bar_;
  Clock::time_point begin_ = Clock::now();
  kin::Queue<News> news_;
  kin::Queue<Batch> paths_;  // of this round
  Tally total_;
  bool found_all_ = false;
  Amount found_;
  std::uint64_t next_number_ = 0;
  std::map<std::uint64_t, std::vector<File>> open_;  // handed out and not counted, by batch
  std::map<pid_t, Amount> underway_;                 // counted and not delivered
  bool got_on_ = false;                              // in this round
  int vain_rounds_ = 0;
};

Tally Count::run() {
  first_round();
  while (!open_.empty()) next_round();
  return std::move(total_);
}

void Count::first_round() {
  kin::Process walker({.name = "the walker", .daemon = true}, walk, options_->directory, paths_,
                      news_);
  walker.start();
  // Seldom, as tallies repeat most of their words; often enough that a death costs little, that the
  // parent adds up while others count, and that a counter's map stays in its cache.
  constexpr std::uint64_t deliver_after = 32'000'000;
  Crew crew(static_cast<std::size_t>(options_->processes), paths_, news_, deliver_after, *bar_);
  read_news(crew, &walker);
}

/// Counts what the round before left. Each batch is delivered at once, and each file that was in the
/// hands of the dead is a batch of its own: one that kills its counters takes nothing else with it.
void Count::next_round() {
  paths_ = {};
  for (const auto& [number, files] : open_) paths_.put({number, files});
  paths_.shutdown();
  Crew crew(std::min(static_cast<std::size_t>(options_->processes), open_.size()), paths_, news_, 0,
            *bar_);
  read_news(crew, nullptr);
}

/// Reads the news until all is counted or all counters have ended.
void Count::read_news(Crew& crew, const kin::Process* walker) {
  got_on_ = false;
  auto next_look = Clock::now();
  while (!found_all_ || !open_.empty()) {
    stop_if_interrupted();
    if (auto news = news_.get_for(50ms)) take(std::move(*news));
    Amount done{total_.totals.files, total_.totals.bytes};
    for (const auto& [counter, amount] : underway_) {
      done.files += amount.files;
      done.bytes += amount.bytes;
    }
    show(*bar_, begin_, done, found_all_ ? std::optional(found_) : std::nullopt);

    if (Clock::now() < next_look) continue;
    next_look = Clock::now() + 50ms;
    const bool walker_ended = walker != nullptr && has_ended(*walker);
    crew.look_after([this](pid_t dead) { underway_.erase(dead); });
    const bool crew_ended = crew.all_ended();
    if (!walker_ended && !crew_ended) continue;
    // What the dead had put is in the queue: first that.
    while (auto news = news_.try_get()) take(std::move(*news));
    if (walker_ended && !found_all_) throw WalkerDied(describe_end(*walker));
    if (crew_ended && found_all_) return take_back();
  }
  crew.look_after([](pid_t /*dead*/) {});  // who died last is reported too
}

/// After a round that ended with open batches. None of its counters lives, and all that they had
/// delivered has been read: batches that are not in the queue any more were in the hands of the dead.
void Count::take_back() {
  std::map<std::uint64_t, std::vector<File>> lost;
  lost.swap(open_);
  try {
    while (auto batch = paths_.try_get()) open_.insert(lost.extract(batch->number));
  } catch (const kin::QueueShutDown&) {  // that was all
  }
  if (!lost.empty() || got_on_) {
    vain_rounds_ = 0;
  } else if (++vain_rounds_ == 3) {
    throw std::runtime_error("the counters die before they do anything; giving up");
  }
  for (auto& [number, files] : lost) {
    for (File& file : files) {
      ++file.deaths;
      give_again(file);
    }
  }
}

void Count::give_again(const File& file) {
  if (file.deaths < 3) {
    open_[next_number_++] = {file};
  } else {
    total_.totals.unreadable.push_back({file.path, "three counters died while they had it"});
  }
}

void Count::note(Batch&& batch) {
  found_.files += batch.files.size();
  for (const File& file : batch.files) found_.bytes += file.size;
  next_number_ = batch.number + 1;
  open_[batch.number] = std::move(batch.files);
}

void Count::note(WalkEnded&& end) {
  found_all_ = true;
  paths_.shutdown();  // the counters end when they have drained it
  total_.totals.add({.unreadable = std::move(end.unreadable)});
}

void Count::note(const Progress& progress) {
  underway_[progress.counter] = {progress.files, progress.bytes};
}

void Count::note(const Delivery& delivery) {
  got_on_ = true;
  for (const std::uint64_t number : delivery.batches) open_.erase(number);
  total_.totals.add(delivery.totals);
  total_.counts.add(delivery.words);
  underway_.erase(delivery.counter);
}

Tally count_together(const Options& options, const kin::ProgressBar& bar) {
  constexpr int most_attempts = 10;
  for (int attempt = 1;; ++attempt) {
    try {
      return Count(options, bar).run();
    } catch (const Count::WalkerDied& death) {
      bar.say(std::string("word_count: ") + death.what() +
              (attempt < most_attempts ? "; starting all over again" : "; giving up"));
      if (attempt == most_attempts) throw std::runtime_error("not all files were found");
    }
  }
}

CountedAlone check_alone(const Options& options, Amount total, const kin::ProgressBar& bar) {
  const kin::Queue<News> news;
  kin::Process process({.name = "the one process of --check", .daemon = true}, count_alone,
                       options.directory, news);
  process.start();
  const auto begin = Clock::now();
  while (true) {
    stop_if_interrupted();
    const bool ended = has_ended(process);
    auto one = ended ? news.try_get() : news.get_for(50ms);
    if (!one && ended) throw std::runtime_error(describe_end(process));
    if (!one) continue;
    if (auto* const result = std::get_if<CountedAlone>(&*one)) return std::move(*result);
    if (const auto* const done = std::get_if<Progress>(&*one)) {
      show(bar, begin, {done->files, done->bytes}, total);
    }
  }
}

bool is_same(const Tally& tally, const CountedAlone& alone) {
  const Totals& left = tally.totals;
  const Totals& right = alone.totals;
  WordCounts counts;
  counts.add(alone.words);
  return left.files == right.files && left.bytes == right.bytes && left.words == right.words &&
         left.unreadable.size() == right.unreadable.size() && tally.counts == counts;
}

int run(const Options& options, const kin::ProgressBar& bar) {
  const auto begin = Clock::now();
  const Tally tally = count_together(options, bar);
  const double seconds = seconds_since(begin);
  bar.clear();
  for (const auto& [path, reason] : tally.totals.unreadable) {
    bar.say("word_count: can't read " + shown(path) + ": " + reason);
  }
  if (options.json) {
    print_json(std::cout, tally);
  } else {
    print_report(std::cout, tally, seconds, options.processes);
  }

  bool good = true;
  if (options.check) {
    std::cout.flush();
    const CountedAlone alone = check_alone(options, {tally.totals.files, tally.totals.bytes}, bar);
    bar.clear();
    good = is_same(tally, alone);
    (options.json ? std::cerr : std::cout)
        << "check: one process counted " << (good ? "the same" : "something else") << " in "
        << fixed(alone.seconds, 2) << " s; speed-up with " << number_of_counters(options.processes)
        << ": " << fixed(alone.seconds / seconds, 2) << '\n';
  }
  std::cout.flush();
  if (!std::cout) throw std::runtime_error("the result can't be written to stdout");
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  try {
    options = parse_options(argc, argv);
  } catch (const UsageError& error) {
    std::cerr << "word_count: " << error.what() << '\n';
    return 2;
  }
  if (options.help) {
    std::cout << help_text;
    return 0;
  }
  const kin::UniqueFd directory(
      ::open(options.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) {
    std::cerr << "word_count: " << shown(options.directory) << ": " << std::strerror(errno) << '\n';
    return 2;
  }

  catch_signals();
  const kin::ProgressBar bar;
  try {
    return run(options, bar);
  } catch (const Interrupted& interruption) {
    bar.say(interruption.signal == SIGINT ? "word_count: interrupted" : "word_count: terminated");
    return 128 + interruption.signal;
  } catch (const std::exception& error) {
    bar.say(std::string("word_count: ") + error.what());
    return 1;
  }
}
