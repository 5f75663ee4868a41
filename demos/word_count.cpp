// SPDX-License-Identifier: BSL-1.0
//
// demo: counts the words of a directory's files with a pool of processes; the larger example
//
// The parent finds the files and gives them to the workers of a kin::Pool, in batches; it adds up what they
// return, in the order in which it comes.
//
// Any worker may be killed at any moment, and the total is still right: a call's result is there whole
// or not at all, so a batch is counted exactly when its result came. A batch whose worker died is
// counted again, each file by itself: one that kills its workers takes nothing else with it. Should
// the pool's nursery be killed there is no pool any more, and all starts over again with another.
//
// What the workers do is in word_count/count.cpp; the rest of that folder has nothing to do with processes.

#include "word_count/count.hpp"
#include "word_count/interrupt.hpp"
#include "word_count/options.hpp"
#include "word_count/report.hpp"
#include "word_count/tally.hpp"

#include <kin/kin.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
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

/// Bytes are what it goes by. No total: nobody knows it yet.
void show(const kin::ProgressBar& bar, Clock::time_point begin, Amount done,
          const std::optional<Amount>& total) {
  const std::chrono::nanoseconds elapsed = Clock::now() - begin;
  if (elapsed < 200ms) return;  // what is done by then needs no bar
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const double speed = static_cast<double>(done.bytes) / seconds;
  kin::Progress now{.done = done.bytes, .elapsed = elapsed};
  if (!total) {
    bar.show(now, with_commas(done.files) + " files  still looking for files");
    return;
  }
  // Files grow, and those of a worker that died are counted again.
  now.total = std::max(total->bytes, done.bytes);
  const double left = static_cast<double>(now.total - now.done) / std::max(speed, 1.0);
  now.left = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(std::min(left, 1e9)));
  bar.show(now, with_commas(done.files) + " files  " + megabytes(done.bytes) + "  " +
                    megabytes_per_second(speed));
}

std::string how_it_died(const kin::WorkerDied& death) {
  const int code = death.exit_code();
  return "a counter (pid " + std::to_string(death.pid()) + ") " +
         (code < 0
              ? "was killed by signal " + std::to_string(-code) + " (" + ::strsignal(-code) + ")"
              : "ended with exit status " + std::to_string(code));
}

class Count {
 public:
  Count(const Options& options, const kin::ProgressBar& bar)
      : options_(options),
        bar_(bar),
        pool_({.processes = options.processes, .name = "the counters"}) {}

  [[nodiscard]] Result run();

 private:
  [[nodiscard]] std::vector<File> find();
  [[nodiscard]] std::vector<Batch> batches_of(std::vector<File> files) const;
  void count_batches(std::vector<Batch>& batches, int retries);

  const Options& options_;
  const kin::ProgressBar& bar_;
  Clock::time_point begin_ = Clock::now();
  kin::Pool pool_;
  kin::Value<Amount> done_;
  Amount found_;
  Tally total_;
};

/// The files of a batch may have killed its worker, or have nothing to do with it. So a batch has no second
/// try, but its files have.
Result Count::run() {
  std::vector<Batch> batches = batches_of(find());
  count_batches(batches, 0);
  std::vector<Batch> alone;
  for (Batch& lost : batches) {
    for (File& file : lost.files) alone.push_back({alone.size(), {std::move(file)}});
  }
  count_batches(alone, 1);
  for (const Batch& lost : alone) {
    for (const File& file : lost.files) {
      total_.totals.unreadable.push_back({file.path, "three counters died while they had it"});
    }
  }
  Result result{.tally = std::move(total_)};
  for (const auto& worker : pool_.statistics().workers) result.restarts += worker.restarts;
  return result;
}

std::vector<File> Count::find() {
  std::vector<File> files;
  find_files(
      options_.directory,
      [&](File file) {
        stop_if_interrupted();
        ++found_.files;
        found_.bytes += file.size;
        files.push_back(std::move(file));
        show(bar_, begin_, found_, std::nullopt);
      },
      total_.totals.unreadable);
  return files;
}

/// Large ones, as tallies repeat most of their words; but so many that no worker waits long for the others
/// at the end, that a death costs little, and that a worker's map stays in its cache.
std::vector<Batch> Count::batches_of(std::vector<File> files) const {
  constexpr std::uint64_t as_dear_as_opening = 10'000;  // bytes
  const std::uint64_t all = found_.bytes + found_.files * as_dear_as_opening;
  const auto workers = static_cast<std::uint64_t>(options_.processes);
  const std::uint64_t enough =
      std::clamp<std::uint64_t>(all / (16 * workers), 1'000'000, 32'000'000);
  std::vector<Batch> batches;
  std::uint64_t in_last = enough;
  for (File& file : files) {
    if (in_last >= enough) {
      batches.push_back({.number = batches.size()});
      in_last = 0;
    }
    in_last += file.size + as_dear_as_opening;
    batches.back().files.push_back(std::move(file));
  }
  return batches;
}

/// Adds up what is in them. A batch that was counted has no files any more; one that has them still was
/// in the hands of the dead.
void Count::count_batches(std::vector<Batch>& batches, int retries) {
  done_.store({total_.totals.files, total_.totals.bytes});
  auto results = pool_.imap_unordered({.retries = retries}, kin::partial(count, done_), batches);
  while (true) {
    stop_if_interrupted();
    show(bar_, begin_, done_.load(), found_);
    try {
      const auto delivery = results.next_for(50ms);
      if (!delivery) return;
      batches[delivery->number].files.clear();
      total_.totals.add(delivery->totals);
      total_.counts.add(delivery->words);
    } catch (const kin::TimeoutError&) {  // nothing yet
    } catch (const kin::WorkerDied& death) {
      stop_if_interrupted();  // if that is what it died of it is nothing to talk about
      if (retries == 0) {
        bar_.say("word_count: " + how_it_died(death) + "; its files will be counted again");
      }
    }
  }
}

Result count_together(const Options& options, const kin::ProgressBar& bar) {
  constexpr int most_attempts = 10;
  for (int attempt = 1;; ++attempt) {
    try {
      return Count(options, bar).run();
    } catch (const kin::BrokenPool& end) {
      stop_if_interrupted();
      if (attempt == most_attempts) throw;
      bar.say(std::string("word_count: ") + end.what() + "; starting all over again");
    }
  }
}

CountedAlone check_alone(const Options& options, Amount total, const kin::ProgressBar& bar) {
  const kin::Value<Amount> done;
  kin::Pool pool(1);
  const auto begin = Clock::now();
  const auto result = pool.apply_async({.retries = 2}, count_alone, done, options.directory);
  while (!result.wait_for(50ms)) {
    stop_if_interrupted();
    show(bar, begin, done.load(), total);
  }
  stop_if_interrupted();
  return result.get();
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
  const Result result = count_together(options, bar);
  const Tally& tally = result.tally;
  const double seconds = seconds_since(begin);
  bar.clear();
  for (const auto& [path, reason] : tally.totals.unreadable) {
    bar.say("word_count: can't read " + shown(path) + ": " + reason);
  }
  if (options.json) {
    print_json(std::cout, tally);
  } else {
    print_report(std::cout, result, seconds, options.processes);
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
