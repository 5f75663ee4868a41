// SPDX-License-Identifier: BSL-1.0

#include "word_count/progress_bar.hpp"

#include "word_count/report.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

#include <sys/ioctl.h>
#include <unistd.h>

namespace word_count {
namespace {

using std::chrono::duration;
using std::chrono::milliseconds;

// The cursor to the start of the line; what stands behind it goes.
constexpr std::string_view erase_line = "\r\033[K";

bool can_draw() {
  const char* const terminal = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

void write_whole(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;  // nobody reads it; the count goes on
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::size_t columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  const std::string rest = std::to_string(whole % 60);
  return std::to_string(whole / 60) + (rest.size() < 2 ? ":0" : ":") + rest;
}

}  // namespace

ProgressBar::ProgressBar() : on_terminal_(can_draw()) { begin(); }

void ProgressBar::begin() {
  begin_ = Clock::now();
  next_draw_ = begin_ + milliseconds(200);  // what is done by then needs no bar
}

void ProgressBar::show(Amount done, Amount total, bool found_all) {
  const auto now = Clock::now();
  if (!on_terminal_ || now < next_draw_) return;
  next_draw_ = now + milliseconds(100);

  const double seconds = duration<double>(now - begin_).count();
  const double speed = static_cast<double>(done.bytes) / seconds;
  // Files grow, and those of a counter that died are counted again.
  const double part =
      total.bytes == 0
          ? 0
          : std::min(1.0, static_cast<double>(done.bytes) / static_cast<double>(total.bytes));

  std::string text = with_commas(done.files) + " files  " + megabytes(done.bytes) + "  " +
                     megabytes_per_second(speed);
  if (!found_all) {
    text += "  still looking for files";
  } else {
    if (speed > 0) {
      const auto left = static_cast<double>(total.bytes - std::min(done.bytes, total.bytes));
      text += "  " + clock_time(left / speed) + " left";
    }
    const std::size_t wide = columns() - 1;  // in the last column some terminals begin a new line
    if (text.size() + 16 < wide) {
      const std::size_t cells = std::min<std::size_t>(40, wide - text.size() - 9);
      const auto full = static_cast<std::size_t>(part * static_cast<double>(cells));
      std::string percent = std::to_string(static_cast<int>(part * 100)) + "%";
      percent.insert(0, 5 - percent.size(), ' ');
      std::string bar(cells, '.');
      bar.replace(0, full, full, '#');
      text.insert(0, "[" + bar + "]" + percent + "  ");
    }
  }
  text.resize(std::min(text.size(), columns() - 1));
  write_whole(std::string(erase_line) + text);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (drawn_) write_whole(erase_line);
  drawn_ = false;
}

void ProgressBar::say(std::string_view line) {
  // One write, since others write to stderr too.
  std::string text = drawn_ ? std::string(erase_line) : std::string();
  text.append(line).append("\n");
  write_whole(text);
  drawn_ = false;
}

}  // namespace word_count
