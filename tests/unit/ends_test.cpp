// SPDX-License-Identifier: BSL-1.0

// However a process ends: its daemons end with it, its other children are waited for or go on and can
// see it, and nothing is left.
//
// Here a head of family is forked, starts children, and ends. All of them inherit the write end of a
// pipe: when it shows end of file, nobody is left.

#include "frame.hpp"

#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/sync.hpp>
#include <kin/unique_fd.hpp>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Notes {
  std::atomic<int> ready;
  std::atomic<pid_t> head;
  std::atomic<bool> saw_the_end;  // a child that is no daemon
  std::atomic<bool> let_go;
  std::atomic<int> ended_by_themselves;
};

/// A family whose head ends by `end`.
class Family {
 public:
  using Body = std::function<void(Notes&)>;

  explicit Family(const Body& head) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    kin::UniqueFd read_end(ends[0]);
    kin::UniqueFd write_end(ends[1]);
    head_ = ::fork();
    REQUIRE(head_ >= 0);
    if (head_ == 0) {
      read_end = kin::UniqueFd();
      notes_->head.store(::getpid());
      int code = 0;
      try {
        head(*notes_);
      } catch (...) {
        code = 99;
      }
      std::exit(code);  // as main() that returns: handlers of kin run
    }
    everybody_ = std::move(read_end);
  }
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  ~Family() {
    ::kill(head_, SIGKILL);
    static_cast<void>(status());
  }

  [[nodiscard]] Notes& notes() const { return *notes_; }
  [[nodiscard]] pid_t head() const { return head_; }

  [[nodiscard]] bool is_ready(int children) const {
    return unit::eventually([&] { return notes_->ready.load() >= children; });
  }

  /// Whether within that time all have ended.
  [[nodiscard]] bool nobody_is_left(std::chrono::milliseconds limit = unit::patience) const {
    pollfd watch{.fd = everybody_.get(), .events = POLLIN, .revents = 0};
    int changed = 0;
    do {
      changed = ::poll(&watch, 1, static_cast<int>(limit.count()));
    } while (changed == -1 && errno == EINTR);
    return changed == 1 && (watch.revents & POLLHUP) != 0;
  }

  /// How the head ended.
  int status() {
    if (!status_) {
      int status = 0;
      if (::waitpid(head_, &status, 0) != head_) return -1;
      status_ = status;
    }
    return *status_;
  }

 private:
  crash::SharedPage<Notes> notes_;
  pid_t head_ = 0;
  std::optional<int> status_;
  kin::UniqueFd everybody_;
};

void sleep_for_ever() {
  for (;;) ::pause();
}

[[noreturn]] void be_busy() {
  for (volatile unsigned turns = 0;;) turns = turns + 1;
}

// Daemons in all walks of life: busy, asleep, in each of kin's waits, deaf to signals, stopped, and
// one with a daemon of its own.
constexpr int daemons = 9;

void start_daemons(Notes& notes, std::deque<kin::Process>& family) {
  static const kin::Queue<int> empty;
  static const kin::Queue<int> full(1);
  static const kin::Lock lock;
  static const kin::JoinableQueue<int> unfinished;
  full.put(1);
  lock.lock();
  unfinished.put(1);

  const auto start = [&](auto body) {
    family.emplace_back(kin::ProcessOptions{.daemon = true}, [&notes, body] {
      notes.ready.fetch_add(1);
      body();
      notes.ended_by_themselves.fetch_add(1);
    });
    family.back().start();
  };
  start([] { be_busy(); });
  start([] { sleep_for_ever(); });
  start([] { static_cast<void>(empty.get()); });
  start([] { full.put(2); });
  start([] {
    lock.lock();  // its holder may be killed: then this one has it, for the moment it has left
    sleep_for_ever();
  });
  start([] { unfinished.join(); });
  start([] {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
    be_busy();
  });
  start([&notes] {
    kin::Process grandchild({.daemon = true}, [&notes] {
      notes.ready.fetch_add(1);
      be_busy();
    });
    grandchild.start();
    sleep_for_ever();
  });
}

// One that is no daemon, and waits for the end of its parent.
void start_witness(Notes& notes, std::deque<kin::Process>& family) {
  family.emplace_back(kin::ProcessOptions{.daemon = false}, [&notes] {
    const kin::ProcessHandle parent = kin::parent_process().value();
    const bool lived = parent.is_alive() && parent.pid() == notes.head.load();
    notes.ready.fetch_add(1);
    parent.join();
    notes.saw_the_end.store(lived && !parent.is_alive());
  });
  family.back().start();
}

}  // namespace

TEST_SUITE("ends") {
  TEST_CASE_FIXTURE(unit::Frame, "a head that is killed takes its daemons with it") {
    Family family([](Notes& notes) {
      std::deque<kin::Process> children;
      start_daemons(notes, children);
      sleep_for_ever();
    });
    REQUIRE(family.is_ready(daemons));
    CHECK_FALSE(family.nobody_is_left(std::chrono::milliseconds(0)));
    ::kill(family.head(), SIGKILL);
    CHECK(family.nobody_is_left());
    CHECK(family.notes().ended_by_themselves.load() == 0);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a head that is killed while it is stopped, and stopped daemons") {
    Family family([](Notes& notes) {
      std::deque<kin::Process> children;
      start_daemons(notes, children);
      while (notes.ready.load() < daemons) ::usleep(1000);
      for (const kin::Process& child : children) ::kill(child.pid(), SIGSTOP);
      notes.ready.fetch_add(1);
      sleep_for_ever();
    });
    REQUIRE(family.is_ready(daemons + 1));
    ::kill(family.head(), SIGSTOP);
    ::kill(family.head(), SIGKILL);
    CHECK(family.nobody_is_left());
  }

  TEST_CASE_FIXTURE(unit::Frame, "children that are no daemons outlive a killed head and see it") {
    Family family([](Notes& notes) {
      std::deque<kin::Process> children;
      start_witness(notes, children);
      children.emplace_back([&notes] {
        notes.ready.fetch_add(1);
        while (!notes.let_go.load()) ::usleep(1000);
      });
      children.back().start();
      sleep_for_ever();
    });
    REQUIRE(family.is_ready(2));
    ::kill(family.head(), SIGKILL);
    CHECK(unit::eventually([&] { return family.notes().saw_the_end.load(); }));
    CHECK_FALSE(family.nobody_is_left(std::chrono::milliseconds(100)));
    family.notes().let_go.store(true);
    CHECK(family.nobody_is_left());
  }

  TEST_CASE_FIXTURE(unit::Frame,
                    "a head that exits terminates its daemons and waits for the others") {
    Family family([](Notes& notes) {
      static std::deque<kin::Process> children;  // alive when exit() begins
      start_daemons(notes, children);
      children.emplace_back([&notes] {
        notes.ready.fetch_add(1);
        while (!notes.let_go.load()) ::usleep(1000);
      });
      children.back().start();
      while (notes.ready.load() < daemons + 1) ::usleep(1000);
    });
    REQUIRE(family.is_ready(daemons + 1));
    CHECK_FALSE(family.nobody_is_left(std::chrono::milliseconds(100)));
    family.notes().let_go.store(true);
    CHECK(family.nobody_is_left());
    CHECK(family.status() == 0);
    CHECK(family.notes().ended_by_themselves.load() == 0);
  }

  TEST_CASE_FIXTURE(unit::Frame, "a head that leaves by a signal, _exit or abort") {
    const std::function<void()> ways[] = {
        [] { ::raise(SIGTERM); },
        [] { ::raise(SIGINT); },
        [] { ::_exit(3); },
        [] {
          constexpr rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
          ::setrlimit(RLIMIT_CORE, &no_core);
          std::abort();
        },
    };
    for (const auto& way : ways) {
      Family family([&way](Notes& notes) {
        std::signal(SIGINT, SIG_DFL);
        std::signal(SIGTERM, SIG_DFL);
        std::signal(SIGABRT, SIG_DFL);
        std::deque<kin::Process> children;
        start_daemons(notes, children);
        start_witness(notes, children);
        while (notes.ready.load() < daemons + 1) ::usleep(1000);
        way();
      });
      CHECK(family.nobody_is_left());
      CHECK(family.notes().saw_the_end.load());
      CHECK(family.notes().ended_by_themselves.load() == 0);
    }
  }

  TEST_CASE_FIXTURE(unit::Frame, "a family has no file, but for an arena without a name") {
    const kin::Queue<std::string> queue;
    kin::Process child([&queue] {
      std::string found;
      std::ifstream maps("/proc/self/maps");
      for (std::string line; std::getline(maps, line);) {
        // inode 0 is anonymous; shared mappings of files have an s
        if (line.find("s ") != line.find(' ') + 4 || line.find('/') == std::string::npos) continue;
        const std::string path = line.substr(line.find('/'));
        if (!path.starts_with("/memfd:kin-arena") && !path.starts_with("/dev/zero")) {
          found += path + "\n";
        }
      }
      queue.put(found);
    });
    child.start();
    CHECK(queue.get() == "");
    child.join();
  }
}
