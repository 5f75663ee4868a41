// SPDX-License-Identifier: BSL-1.0
//
// The tracker itself: a list of names, and what is done with it at the end. It runs in a stranger, so it
// has only bare system calls, its stack, and a list in memory that it maps itself; see os/stranger.hpp.
//
// Killed at any moment it harms nobody: its list is gone, and who makes the next block starts another.

#include "shared/tracker_note.hpp"

#include "os/stranger.hpp"

#include <cerrno>
#include <cstddef>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kin::detail {
namespace {

/// The names that are tracked, in no order.
class Names {
 public:
  /// False where there is no memory for it: that one name stays.
  void add(const TrackerNote& note) {
    if (size_ == capacity_ && !grow()) return;
    notes_[size_++] = note;
  }
  void remove(const TrackerNote& note) {
    for (std::size_t i = 0; i < size_; ++i) {
      if (!is_same(notes_[i], note)) continue;
      notes_[i] = notes_[--size_];
      return;
    }
  }
  TrackerNote* begin() { return notes_; }
  TrackerNote* end() { return notes_ + size_; }

 private:
  static bool is_same(const TrackerNote& left, const TrackerNote& right) {
    if (!(left.file == right.file)) return false;
    const char* a = left.name;
    const char* b = right.name;
    for (; *a != '\0' && *a == *b; ++a) ++b;
    return *a == *b;
  }
  bool grow() {
    const std::size_t capacity = capacity_ == 0 ? 64 : 2 * capacity_;
    const long memory = capacity_ == 0
                            ? syscall(SYS_mmap, nullptr, capacity * sizeof(TrackerNote),
                                      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                            : syscall(SYS_mremap, notes_, capacity_ * sizeof(TrackerNote),
                                      capacity * sizeof(TrackerNote), MREMAP_MAYMOVE);
    if (memory == -1) return false;
    notes_ = reinterpret_cast<TrackerNote*>(memory);
    capacity_ = capacity;
    return true;
  }

  TrackerNote* notes_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

/// Text of limited length; what does not fit is left out.
// NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): text_ is filled as far as it is used
class Line {
 public:
  void add(char letter) {
    if (size_ < sizeof text_ - 1) text_[size_++] = letter;
  }
  void add(const char* text) {
    for (; *text != '\0'; ++text) add(*text);
  }
  /// A name, in which control characters would make lines of their own.
  void add_name(const char* name) {
    for (; *name != '\0'; ++name) add(*name >= '\0' && *name < ' ' ? '?' : *name);
  }
  void add(std::size_t number) {
    if (number >= 10) add(number / 10);
    add(static_cast<char>('0' + number % 10));
  }
  [[nodiscard]] std::size_t room() const { return sizeof text_ - 1 - size_; }
  void print() {
    text_[size_++] = '\n';
    syscall(SYS_write, STDERR_FILENO, text_, size_);
  }

 private:
  char text_[2048];
  std::size_t size_ = 0;
};

/// Whether the name was there, and was of the file.
bool remove_name(const TrackerNote& note) {
  char path[shared_memory_folder.size() + sizeof note.name];
  std::size_t size = 0;
  for (const char letter : shared_memory_folder) path[size++] = letter;
  for (const char* name = note.name; *name != '\0'; ++name) path[size++] = *name;
  path[size] = '\0';
  struct stat about {};
  if (syscall(SYS_newfstatat, AT_FDCWD, path, &about, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if (!(FileId{about.st_dev, about.st_ino} == note.file)) return false;
  return syscall(SYS_unlinkat, AT_FDCWD, path, 0) == 0;
}

void remove_all(Names& names, bool warns) {
  std::size_t removed = 0;
  for (TrackerNote& note : names) {
    if (remove_name(note)) {
      ++removed;
    } else {
      note.name[0] = '\0';
    }
  }
  if (removed == 0 || !warns) return;
  Line line;
  line.add("kin[");
  line.add(static_cast<std::size_t>(syscall(SYS_getpid)));
  line.add(
      "] warning: shared memory that nobody unlinked was removed, as all who had it are gone: ");
  const char* between = "";
  for (const TrackerNote& note : names) {
    if (note.name[0] == '\0') continue;
    if (line.room() < longest_name + 50) break;
    line.add(between);
    line.add_name(note.name);
    between = ", ";
    --removed;
  }
  if (removed != 0) {
    line.add(" and ");
    line.add(removed);
    line.add(" more");
  }
  line.print();
}

}  // namespace

void tracker_life(int notes) {
  Names names;
  bool warns = true;
  while (true) {
    TrackerNote note;
    const long size = syscall(SYS_recvfrom, notes, &note, sizeof note, 0, nullptr, nullptr);
    if (size == -1 && errno == EINTR) continue;
    if (size <= 0) break;
    if (size != sizeof note) continue;
    note.name[longest_name] = '\0';
    warns = note.warns;
    if (note.kind == TrackerNote::Kind::track) {
      names.add(note);
    } else {
      names.remove(note);
    }
  }
  remove_all(names, warns);
  leave_unseen(0);
}

}  // namespace kin::detail
