// SPDX-License-Identifier: BSL-1.0

// The processes around the one that is killed. They are made by plain fork(), so that the fork
// handlers of what is tested see them, and answer through a page of their own: what doctest counts
// in a child is lost with the child.

#include "bystander.hpp"

#include "address.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <thread>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace crash {

namespace {

/// Of /proc/…/syscall: "number arguments… stack-pointer program-counter", or "running".
std::string first_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

char process_state(pid_t pid) {
  // Read by hand: this is asked often, while a process falls asleep.
  std::array<char, 512> text{};
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return '?';
  }
  const ssize_t length = read(fd, text.data(), text.size() - 1);
  close(fd);
  const char* name_end = length > 0 ? std::strrchr(text.data(), ')') : nullptr;
  return name_end != nullptr ? name_end[2] : '?';
}

std::uintptr_t blocked_at(pid_t pid) {
  const std::string line = first_line_of("/proc/" + std::to_string(pid) + "/syscall");
  const std::size_t last = line.rfind(' ');
  return last == std::string::npos ? 0 : std::stoull(line.substr(last), nullptr, 16);
}

std::string describe_whereabouts(pid_t pid) {
  const std::string state = std::string(", state ") + process_state(pid);
  const std::string line = first_line_of("/proc/" + std::to_string(pid) + "/syscall");
  if (const std::uintptr_t place = blocked_at(pid); place != 0) {
    return "in system call " + line.substr(0, line.find(' ')) + " at " + describe_address(place) +
           state;
  }
  return "running" + state;
}

std::vector<pid_t> children_of_this_process() {
  std::vector<pid_t> children;
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) {
    return children;
  }
  while (const dirent* task = readdir(tasks)) {
    std::ifstream file("/proc/self/task/" + std::string(task->d_name) + "/children");
    for (pid_t child = 0; file >> child;) {
      children.push_back(child);
    }
  }
  closedir(tasks);
  return children;
}

void die_with(pid_t creator) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != creator) {
    _exit(1);
  }
}

Bystander::Bystander(const std::function<std::string()>& body) : creator_(getpid()), pid_(fork()) {
  if (pid_ < 0) {
    throw std::system_error(errno, std::generic_category(), "fork of a bystander");
  }
  if (pid_ == 0) {
    die_with(creator_);
    run(body);
    _exit(0);
  }
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0) {
    const int error = errno;
    kill(pid_, SIGKILL);
    reap();
    throw std::system_error(error, std::generic_category(), "pidfd_open of a bystander");
  }
}

Bystander::~Bystander() {
  if (getpid() == creator_) {
    if (!reaped_) {
      kill(pid_, SIGKILL);
      reap();
    }
    close(pidfd_);
  }
}

void Bystander::run(const std::function<std::string()>& body) const {
  note_->progress = in_body;
  try {
    leave(answered, body());
  } catch (const std::exception& error) {
    leave(threw, error.what());
  } catch (...) {
    leave(threw, "an exception that is no std::exception");
  }
}

void Bystander::leave(Progress progress, const std::string& text) const {
  const std::size_t length = std::min(text.size(), note_->text.size() - 1);
  std::copy_n(text.begin(), length, note_->text.begin());
  note_->progress = progress;
}

void Bystander::reap() {
  while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
}

bool Bystander::ends_by(Clock::time_point deadline) {
  while (!reaped_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd end{.fd = pidfd_, .events = POLLIN, .revents = 0};
    const int ready = poll(&end, 1, std::max(0, static_cast<int>(left.count())));
    if (ready > 0) {
      reap();
    } else if (ready == 0) {
      return false;
    }
  }
  return true;
}

bool Bystander::sleeps_by(Clock::time_point deadline) const {
  // A process that only passes through a short sleep is seen awake again by one of these looks.
  constexpr int looks = 6;
  for (int seen = 0; seen < looks;) {
    const char state = process_state(pid_);
    if (state == '?' || state == 'Z' || Clock::now() > deadline) {
      return false;
    }
    seen = note_->progress == in_body && state == 'S' ? seen + 1 : 0;
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  return true;
}

std::optional<std::string> Bystander::answer() const {
  if (note_->progress == answered) {
    return note_->text.data();
  }
  return std::nullopt;
}

std::string Bystander::failure() const {
  if (note_->progress == threw) {
    return note_->text.data();
  }
  if (reaped_ && WIFSIGNALED(status_)) {
    return "died of signal " + std::to_string(WTERMSIG(status_));
  }
  if (reaped_ && note_->progress != answered) {
    return "ended without an answer, with exit code " + std::to_string(WEXITSTATUS(status_));
  }
  return {};
}

}  // namespace crash
