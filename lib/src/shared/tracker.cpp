// SPDX-License-Identifier: BSL-1.0
//
// What members of the family tell the tracker, and how it is started. The family has the one end of a socket
// pair (see FamilyDescriptor), and the tracker the other: when it reads the end of the stream, nobody is left. A
// member that execs another program has left, too.
//
// Runs in any process and thread. The state is private to each process; a child begins with its parent's
// copy of the socket, and with nothing that it has made.

#include "shared/tracker.hpp"

#include "base/fork_depth.hpp"
#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "base/signal_mask.hpp"
#include "base/stdio.hpp"
#include "base/syscall.hpp"
#include "memory/family_descriptor.hpp"
#include "os/fork.hpp"
#include "shared/tracker_note.hpp"

#include <kin/log.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>

namespace kin::detail {
namespace {

FileId file_of(int fd) {
  struct stat about {};
  if (::fstat(fd, &about) != 0) return {};
  return {about.st_dev, about.st_ino};
}

class Tracker {
 public:
  enum class Said { yes, to_a_new_one };

  Said track(const TrackerNote& note) {
    forget_what_the_parent_made();
    forget_what_others_unlinked();
    made_.push_back(note);
    try {
      return tell_of_new();
    } catch (...) {
      made_.pop_back();
      throw;
    }
  }

  void untrack(const TrackerNote& note) {
    forget_what_the_parent_made();
    std::erase_if(made_, [&](const TrackerNote& one) {
      return one.file == note.file && std::strcmp(one.name, note.name) == 0;
    });
    static_cast<void>(tell(note));
  }

  [[nodiscard]] std::size_t blocks() const noexcept { return made_.size(); }

  void leave() {
    is_apart_ = true;
    socket_.reset();
    made_.clear();
  }

 private:
  /// The last of what this process made is not known to the tracker, and the others if it is another.
  Said tell_of_new() {
    if (tell(made_.back())) return Said::yes;
    constexpr int often = 3;  // somebody kills one after the other
    const bool was_there = static_cast<bool>(socket_);
    for (int i = 0; i < often; ++i) {
      find_or_start();
      if (std::ranges::all_of(made_, [this](const auto& one) { return tell(one); })) {
        return was_there ? Said::to_a_new_one : Said::yes;
      }
    }
    throw SystemError("kin: the tracker of shared memory", EPIPE);
  }

  /// False when there is no tracker. Who has closed all descriptors has none, either.
  bool tell(const TrackerNote& note) {
    if (!socket_ || !(file_of(socket_.get()) == socket_file_)) return false;
    const auto sent =
        retry_interrupted([&] { return ::send(socket_.get(), &note, sizeof note, MSG_NOSIGNAL); });
    return sent == static_cast<ssize_t>(sizeof note);
  }

  /// That of the family; if that is the one that does not answer, another.
  void find_or_start() {
    forget_socket_of_others();
    if (is_apart_) return start();
    const std::uint64_t id = FamilyDescriptor::id();
    if (id != 0 && (id != id_ || !socket_)) {
      try {
        use(FamilyDescriptor::fetch(id));
        id_ = id;
        return;
      } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): handled below
      }
      // There is another by now, and will be at the next attempt; or descriptors are not to be had here.
      if (FamilyDescriptor::id() != id) return;
    }
    bool has_started = false;
    try {
      const std::uint64_t next = FamilyDescriptor::replace(id, [&] {
        start();
        has_started = true;
        return socket_.get();
      });
      if (next != 0) id_ = next;
    } catch (const SystemError&) {
      // Then it is this process's, and of its children to come.
      if (!has_started) start();
    }
  }

  void use(UniqueFd socket) {
    socket_file_ = file_of(socket.get());
    socket_ = std::move(socket);
  }

  void forget_socket_of_others() {
    if (!(file_of(socket_.get()) == socket_file_)) {
      static_cast<void>(socket_.release());  // by now somebody else's descriptor, or none
    }
  }

  void start() {
    std::array<int, 2> ends{};
    checked("socketpair", ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()));
    UniqueFd far(ends[1]);
    UniqueFd near = away_from_stdio(UniqueFd(ends[0]));
    far = away_from_stdio(std::move(far));
    {
      const SignalsBlocked blocked;
      fork_stranger(far.get(), tracker_life);
    }
    // If killed here: the stream ends, and with it the tracker.
    use(std::move(near));
  }

  void forget_what_the_parent_made() {
    if (std::exchange(depth_, fork_depth) != fork_depth) made_.clear();
  }

  // Else it would know all that were ever made. Whatever it knows has its name, or has lost it: see track().
  void forget_what_others_unlinked() {
    if (made_.size() < looks_again_at_) return;
    std::erase_if(made_, [](const TrackerNote& one) { return !is_there(one); });
    looks_again_at_ = std::max(first_look, 2 * made_.size());
  }

  static bool is_there(const TrackerNote& note) {
    struct stat about {};
    const std::string path = std::string(shared_memory_folder) + note.name;
    if (::lstat(path.c_str(), &about) != 0) return errno != ENOENT;
    return FileId{about.st_dev, about.st_ino} == note.file;
  }

  static constexpr std::size_t first_look = 64;

  bool is_apart_ = false;
  std::uint64_t id_ = 0;  // what was found by it
  UniqueFd socket_;
  FileId socket_file_;
  std::vector<TrackerNote> made_;
  std::size_t looks_again_at_ = first_look;
  int depth_ = 0;  // of the process that made them
};

Guarded<Tracker>& tracker() {
  static Immortal<Guarded<Tracker>> one;
  return *one;
}

[[maybe_unused]] const bool tracker_is_made = made_at_load(tracker);

TrackerNote note_of(TrackerNote::Kind kind, std::string_view name, FileId file) {
  TrackerNote note{.file = file, .kind = kind, .warns = log_level() <= LogLevel::warning};
  name.copy(note.name, longest_name);
  return note;
}

}  // namespace

bool track(std::string_view name, FileId file, FunctionRef<bool()> make_name) {
  const TrackerNote note = note_of(TrackerNote::Kind::track, name, file);
  auto said = Tracker::Said::yes;
  bool is_made = false;
  tracker().with([&](Tracker& one) {
    said = one.track(note);
    // If killed here: the tracker finds no such name, or another file's, which it lets be.
    try {
      is_made = make_name();
    } catch (...) {
      one.untrack(note);
      throw;
    }
    if (!is_made) one.untrack(note);
  });
  if (said == Tracker::Said::to_a_new_one) {
    log(LogLevel::warning,
        "the process that removes left shared memory was killed; another one does it now");
  }
  return is_made;
}

void untrack(std::string_view name, FileId file) noexcept {
  const TrackerNote note = note_of(TrackerNote::Kind::untrack, name, file);
  tracker().with([&](Tracker& one) { one.untrack(note); });
}

std::size_t blocks_made_here() {
  return tracker().with([](const Tracker& one) { return one.blocks(); });
}

void leave_tracker() noexcept {
  tracker().with([](Tracker& one) { one.leave(); });
}

}  // namespace kin::detail
