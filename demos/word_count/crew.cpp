// SPDX-License-Identifier: BSL-1.0

#include "word_count/crew.hpp"

#include "word_count/interrupt.hpp"

#include <cstring>
#include <utility>

namespace word_count {

Crew::Crew(std::size_t size, kin::Queue<Batch> paths, kin::Queue<News> news,
           std::uint64_t deliver_after, const kin::ProgressBar& bar)
    : paths_(std::move(paths)),
      news_(std::move(news)),
      deliver_after_(deliver_after),
      bar_(&bar),
      spare_(size) {
  for (std::size_t number = 1; number <= size; ++number) {
    start("counter " + std::to_string(number));
  }
}

void Crew::start(const std::string& name) {
  counters_.emplace_back(kin::ProcessOptions{.name = name, .daemon = true}, count, paths_, news_,
                         deliver_after_);
  counters_.back().start();
}

void Crew::look_after(const std::function<void(pid_t)>& on_death) {
  std::vector<std::string> to_replace;
  std::erase_if(counters_, [&](const kin::Process& counter) {
    if (!has_ended(counter)) return false;
    if (counter.exit_code() != 0) {
      bar_->say("word_count: " + describe_end(counter) +
                "; what it had not delivered will be counted again");
      on_death(counter.pid());
      to_replace.push_back(counter.name());
    }
    return true;
  });
  for (const std::string& name : to_replace) {
    if (spare_ == 0) return;
    --spare_;
    start(name);
  }
}

bool has_ended(const kin::Process& process) {
  if (process.is_alive()) return false;
  // Ctrl-C on a terminal is sent to all processes at once. Where it ended a child it has reached this
  // process too, and that child is nothing to talk about.
  stop_if_interrupted();
  return true;
}

std::string describe_end(const kin::Process& process) {
  const std::string who = process.name() + " (pid " + std::to_string(process.pid()) + ") ";
  const auto code = process.exit_code();
  if (!code) return who + "ended, nobody knows how";
  if (*code >= 0) return who + "ended with exit status " + std::to_string(*code);
  return who + "was killed by signal " + std::to_string(-*code) + " (" + ::strsignal(-*code) + ")";
}

}  // namespace word_count
