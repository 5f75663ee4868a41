// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "trial.hpp"

#include <exception>
#include <functional>
#include <iostream>
#include <optional>

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace trial {

/// The exit code of a process that is forked without kin; it ends with the body, 1 if that throws.
inline std::optional<int> outcome_of_plain_fork(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    int code = 0;
    try {
      body();
    } catch (const std::exception& error) {
      std::cerr << error.what() << std::endl;
      code = 1;
    }
    ::_exit(code);
  }
  int status = 0;
  if (!eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; })) ::kill(pid, SIGKILL);
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return std::nullopt;
}

}  // namespace trial
