// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "shared_page.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace crash {

using Clock = std::chrono::steady_clock;

/// The state letter of a process in /proc ('S' asleep, 'R' running, 'T' stopped, …), '?' when it is
/// gone.
char process_state(pid_t pid);

/// The program counter of a process that is blocked in a system call; 0 of one that is not.
std::uintptr_t blocked_at(pid_t pid);

/// Where a process is: "in system call 202 at pthread_mutex_lock (…)", or its state.
std::string describe_whereabouts(pid_t pid);

/// The children of this process, those of all its threads.
std::vector<pid_t> children_of_this_process();

/// A forked child that runs `body` at full speed and answers with a string: a survivor, a sleeper,
/// a partner.
///
///     crash::Bystander survivor([&] { return queue.get() == 1 ? "whole" : "torn"; });
///     if (survivor.ends_by(crash::Clock::now() + 5s)) std::cout << *survivor.answer();
///
/// Lifetime: killed and reaped by the destructor. Dies with the test process.
/// Sharing: `answer` and `failure` also by processes forked while it lives; the rest parent-only.
class Bystander {
 public:
  explicit Bystander(const std::function<std::string()>& body);
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;
  ~Bystander();

  pid_t pid() const { return pid_; }

  /// True when it has ended; false when it still lives at the deadline.
  bool ends_by(Clock::time_point deadline);

  /// True as soon as it sleeps in its body, and goes on sleeping for a while; false at the deadline
  /// or at its end.
  bool sleeps_by(Clock::time_point deadline) const;

  /// What its body returned; nothing while it runs or when it failed.
  std::optional<std::string> answer() const;

  /// Why it failed: the text of an exception, or the signal it died of. Empty while it runs or when
  /// it answered.
  std::string failure() const;

 private:
  enum Progress { starting, in_body, answered, threw };
  struct Note {
    std::atomic<int> progress;
    std::array<char, 1000> text;
  };

  SharedPage<Note> note_;
  pid_t creator_;
  pid_t pid_;
  int pidfd_ = -1;
  bool reaped_ = false;
  int status_ = 0;

  void run(const std::function<std::string()>& body) const;
  void leave(Progress progress, const std::string& text) const;
  void reap();
};

/// Makes a freshly forked child die with the thread that forked it.
void die_with(pid_t creator);

}  // namespace crash
