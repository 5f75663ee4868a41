// SPDX-License-Identifier: BSL-1.0
//
// A bar for terminals. Runs in the process that asked for it, in whichever thread is told of progress.

#include <kin/progress.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

namespace kin {
namespace {

using Clock = std::chrono::steady_clock;

// The cursor to the start of the line; what stands behind it goes.
constexpr std::string_view erase_line = "\r\033[K";

bool is_terminal(int fd) {
  const char* const kind = std::getenv("TERM");
  return ::isatty(fd) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

void write_whole(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written == -1 && errno == EINTR) continue;
    if (written <= 0) return;  // nobody reads it; the work goes on
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::size_t columns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string clock_time(std::chrono::nanoseconds time) {
  const auto seconds = std::chrono::round<std::chrono::seconds>(time).count();
  const std::string rest = std::to_string(seconds % 60);
  return std::to_string(seconds / 60) + (rest.size() < 2 ? ":0" : ":") + rest;
}

std::string text_of(const Progress& now, std::string_view given) {
  std::string text(given);
  if (given.empty()) {
    text = std::to_string(now.done);
    if (now.total != 0) text += " of " + std::to_string(now.total);
  }
  if (now.failed != 0) text += ", " + std::to_string(now.failed) + " failed";
  if (now.total != 0 && now.done >= now.total) {
    text += "  " + clock_time(now.elapsed);
  } else if (now.total != 0 && now.done != 0) {
    text += "  " + clock_time(now.left) + " left";
  }
  return text;
}

// "[####....]  45%", in so many columns.
std::string bar_of(const Progress& now, std::size_t width) {
  const double part = std::min(1.0, static_cast<double>(now.done) / static_cast<double>(now.total));
  const std::size_t cells = width - 7;
  std::string percent = std::to_string(static_cast<int>(part * 100)) + "%";
  percent.insert(0, 5 - percent.size(), ' ');
  std::string bar(cells, '.');
  const auto full = static_cast<std::size_t>(part * static_cast<double>(cells));
  bar.replace(0, full, full, '#');
  return "[" + bar + "]" + percent;
}

}  // namespace

class ProgressBar::Line {
 public:
  Line(std::string what, const ProgressBarOptions& options)
      : what_(std::move(what)),
        fd_(options.fd),
        draws_(options.draws ? *options.draws : is_terminal(options.fd)) {}

  void show(const Progress& now, std::string_view given) {
    if (!draws_ || ::getpid() != maker_) return;
    const bool is_done = now.total != 0 && now.done >= now.total;
    with_state([&](State& state) {
      const auto time = Clock::now();
      if (state.is_ended || (time < state.next_draw && !is_done)) return;
      state.next_draw = time + std::chrono::milliseconds(100);
      state.is_drawn = true;
      write_whole(fd_, std::string(erase_line) + line(now, given));
    });
  }

  void clear() {
    if (::getpid() != maker_) return;
    with_state([&](State& state) {
      if (std::exchange(state.is_drawn, false)) write_whole(fd_, erase_line);
    });
  }

  void say(std::string_view text) {
    if (::getpid() != maker_) return;
    with_state([&](State& state) {
      // One write, since others write there too.
      std::string whole(std::exchange(state.is_drawn, false) ? erase_line : "");
      write_whole(fd_, whole.append(text).append("\n"));
    });
  }

  void end() {
    if (::getpid() != maker_) return;
    with_state([&](State& state) {
      state.is_ended = true;
      if (std::exchange(state.is_drawn, false)) write_whole(fd_, "\n");
    });
  }

 private:
  struct State {
    bool is_drawn = false;
    bool is_ended = false;
    Clock::time_point next_draw;
  };

  template <typename Use>
  void with_state(Use use) {
    const std::scoped_lock lock(mutex_);
    use(state_);
  }

  [[nodiscard]] std::string line(const Progress& now, std::string_view given) const {
    // In the last column some terminals begin a new line.
    const std::size_t width = columns(fd_) - 1;
    std::string front = what_.empty() ? what_ : what_ + "  ";
    const std::string text = text_of(now, given);
    constexpr std::size_t least = 15;
    constexpr std::size_t most = 47;
    if (now.total != 0 && front.size() + least + 2 + text.size() <= width) {
      front += bar_of(now, std::min(most, width - front.size() - 2 - text.size())) + "  ";
    }
    return (front + text).substr(0, width);
  }

  std::string what_;
  int fd_;
  bool draws_;
  pid_t maker_ = ::getpid();
  // No ForkLock, which would have to live as long as the process; a child never gets this far.
  std::mutex mutex_;
  State state_;  // guarded
};

ProgressBar::Observer::Observer(std::shared_ptr<Line> line) noexcept : line_(std::move(line)) {}
void ProgressBar::Observer::operator()(const Progress& now) const { line_->show(now, {}); }

ProgressBar::ProgressBar(std::string what, ProgressBarOptions options)
    : line_(std::make_shared<Line>(std::move(what), options)) {}
ProgressBar::~ProgressBar() { line_->end(); }

ProgressBar::Observer ProgressBar::observer() const { return Observer(line_); }
void ProgressBar::show(const Progress& now, std::string_view text) const { line_->show(now, text); }
void ProgressBar::clear() const { line_->clear(); }
void ProgressBar::say(std::string_view text) const { line_->say(text); }

}  // namespace kin
