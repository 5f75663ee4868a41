// SPDX-License-Identifier: BSL-1.0
//
// Descriptors are told by number and by what they are of, so that one that was closed and taken again
// for another thing is seen. Children are those of the kernel's list, zombies among them.

#include "belongings.hpp"

#include "bystander.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace support {
namespace {

std::map<int, std::string> descriptors_now() {
  std::map<int, std::string> open;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // the iterator's own is open in here, not outside
    const auto target = std::filesystem::read_symlink(entry.path(), gone);
    open[std::stoi(entry.path().filename())] = target;
  }
  std::erase_if(open, [](const auto& one) { return one.second.ends_with("/fd"); });
  return open;
}

std::set<pid_t> children_now() {
  const auto all = crash::children_of_this_process();
  return {all.begin(), all.end()};
}

// Names those of `these` that are not among `those`.
std::string beyond(const std::map<int, std::string>& these,
                   const std::map<int, std::string>& those) {
  std::string text;
  for (const auto& [fd, target] : these) {
    const auto same = those.find(fd);
    if (same != those.end() && same->second == target) continue;
    text += " descriptor " + std::to_string(fd) + " of " + target;
  }
  return text;
}

std::string beyond(const std::set<pid_t>& these, const std::set<pid_t>& those) {
  std::string text;
  for (const pid_t pid : these) {
    if (!those.contains(pid)) text += " child " + std::to_string(pid);
  }
  return text;
}

}  // namespace

Belongings::Belongings() : descriptors_(descriptors_now()), children_(children_now()) {}

std::string Belongings::difference_now() const {
  const Belongings now;
  const std::string more =
      beyond(now.descriptors_, descriptors_) + beyond(now.children_, children_);
  const std::string less =
      beyond(descriptors_, now.descriptors_) + beyond(children_, now.children_);
  return (more.empty() ? "" : "more:" + more) + (less.empty() ? "" : " less:" + less);
}

bool Belongings::include(std::string_view target) const {
  return std::ranges::any_of(descriptors_,
                             [&](const auto& one) { return one.second.starts_with(target); });
}

int open_descriptors() { return static_cast<int>(descriptors_now().size()); }

}  // namespace support
