// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {

/// A program that lies beside this one in bench/, asked through two pipes: for what must not be linked into this
/// one. For a number of times on its stdin it prints the nanoseconds of one.
class PeerProgram {
 public:
  explicit PeerProgram(const std::string& name) {
    int questions[2];
    int answers[2];
    if (pipe2(questions, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, questions[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answers[1], STDOUT_FILENO);
    std::string path = path_of(name);
    char* arguments[] = {path.data(), nullptr};
    const int error = posix_spawn(&pid_, path.c_str(), &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      std::fprintf(stderr, "can't run %s\n", path.c_str());
      std::exit(EXIT_FAILURE);
    }
    close(questions[0]);
    close(answers[1]);
    to_ = fdopen(questions[1], "w");
    from_ = fdopen(answers[0], "r");
  }
  PeerProgram(const PeerProgram&) = delete;
  PeerProgram& operator=(const PeerProgram&) = delete;
  ~PeerProgram() {
    std::fclose(to_);
    std::fclose(from_);
    waitpid(pid_, nullptr, 0);
  }

  double round(int count) {
    std::fprintf(to_, "%d\n", count);
    std::fflush(to_);
    double nanoseconds = 0;
    if (std::fscanf(from_, "%lf", &nanoseconds) != 1) std::abort();
    return nanoseconds;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  static std::string path_of(const std::string& name) {
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    if (length < 0) std::abort();
    const std::string own(path, static_cast<std::size_t>(length));
    return own.substr(0, own.rfind('/')) + "/bench/" + name;
  }

  pid_t pid_ = 0;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

}  // namespace bench
