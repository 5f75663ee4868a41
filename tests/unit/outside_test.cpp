// SPDX-License-Identifier: BSL-1.0
//
// Managers that other programs reach. The other program is tests/support/outsider.cpp.
//
// Fails when:
//   LineCall or PartOfBatch don't tell that a stranger calls: "another program calls what is exposed"
//   Session::read_answer() does not write an exception without its cargo: the same
//   ExposedCalls has a ready type's calls for a class that was exposed by its functions: "of a class no more …"
//   end_sessions() kills them at once, or Session::wait_for_answers() does not look again behind the server's end:
//     "what the server has answered arrives, though the manager ends"

#include "frame.hpp"

#include "manager/manager_state.hpp"
#include "memory/process_table.hpp"
#include "outside/call_frame.hpp"
#include "support/bystander.hpp"
#include "support/object_of.hpp"
#include "support/outside_account.hpp"
#include "support/sanitizer.hpp"
#include "unit/outsider_path.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>
#include <kin/expose.hpp>
#include <kin/listener.hpp>
#include <kin/log.hpp>
#include <kin/manager.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace {

using kin::detail::SoftLimit;
using outside::Account;

std::string own_address() { return "@kin-outside-" + std::to_string(::getpid()); }

struct Purse {
  int coins = 0;
  [[nodiscard]] int look() const { return coins; }
};
[[maybe_unused]] const bool purse_is_exposed = kin::expose<Purse, &Purse::look>();

kin::ManagerOptions open_to_all() { return {.address = own_address(), .authkey = outside::key}; }

/// Another program that runs.
class Outsider {
 public:
  Outsider(const std::string& address, const char* deed) {
    std::array<int, 2> out{};
    std::array<int, 2> in{};
    REQUIRE(::pipe2(out.data(), O_CLOEXEC) == 0);
    REQUIRE(::pipe2(in.data(), O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    const char* const words[] = {KIN_OUTSIDER, address.c_str(), deed, nullptr};
    REQUIRE(::posix_spawn(&pid_, KIN_OUTSIDER, &actions, nullptr, const_cast<char**>(words),
                          environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    said_ = ::fdopen(out[0], "r");
    told_ = in[1];
  }
  Outsider(const Outsider&) = delete;
  Outsider& operator=(const Outsider&) = delete;
  ~Outsider() {
    kill();
    std::fclose(said_);
    ::close(told_);
  }

  /// Its next line; empty when there are no more.
  std::string line() {
    std::array<char, 500> text{};
    if (std::fgets(text.data(), text.size(), said_) == nullptr) return "";
    std::string line(text.data());
    if (line.ends_with('\n')) line.pop_back();
    return line;
  }
  std::string last_line() {
    std::string last;
    for (std::string next = line(); !next.empty(); next = line()) last = next;
    return last;
  }
  void tell(const std::string& what) const {
    CHECK(::write(told_, what.data(), what.size()) == static_cast<ssize_t>(what.size()));
  }
  void kill() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  std::FILE* said_ = nullptr;
  int told_ = -1;
};

// Of the one client that is not this process.
template <typename Proxy>
pid_t only_session(const Proxy& proxy) {
  using namespace kin::detail;
  const HostedObject& hosted = HostedObject::of(crash::object_of(proxy));
  const ManagerState& state = *hosted.manager;
  for (std::uint32_t index = 0; index < state.lines.load(); ++index) {
    const Stamp owner = state.line(index).owner.load();
    if (owner == 0 || owner == this_process() || owner == hosted.server) continue;
    return pid_of(owner);
  }
  FAIL("nobody else calls");
  return 0;
}

/// A process that does not run for a while.
class Stopped {
 public:
  explicit Stopped(pid_t pid) : pid_(pid) {
    CHECK(::kill(pid_, SIGSTOP) == 0);
    CHECK(unit::eventually([&] { return crash::process_state(pid_) == 'T'; }));
  }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;
  ~Stopped() { go_on(); }
  void go_on() const { ::kill(pid_, SIGCONT); }

 private:
  pid_t pid_;
};

// Frames that are almost right, and bytes that are none.
std::vector<std::byte> nonsense(std::minstd_rand& random) {
  using namespace kin::detail;
  const auto below = [&](std::uint32_t count) {
    return static_cast<std::uint32_t>(random()) % count;
  };
  std::vector<std::byte> bytes(below(64));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  if (below(20) == 0) return bytes;
  // The kinds that end it at once come seldom.
  constexpr std::array kinds{FrameKind::call, FrameKind::over, FrameKind::drop, FrameKind::bury};
  CallFrame frame{.kind = below(40) == 0 ? FrameKind::answer : kinds[below(kinds.size())],
                  .slot = below(4) == 0 ? static_cast<std::uint32_t>(random()) % 20000 : below(3),
                  .sequence = below(5),
                  .flags = below(16),
                  .limit = below(3),
                  .outsider = below(4),
                  .number = below(4) == 0 ? 1 : (std::uint64_t{random()} << 32) | random(),
                  .object = {.index = below(4), .generation = below(3), .type = random()},
                  .objects = std::vector<ObjectRef>(below(3)),
                  .bytes = bytes};
  std::vector<std::byte> message = write_frame(frame);
  if (below(10) == 0) message.resize(below(static_cast<std::uint32_t>(message.size())));
  if (below(10) == 0) message[below(32)] = static_cast<std::byte>(random());
  return message;
}

}  // namespace

TEST_SUITE("outside") {
  using namespace unit;

  TEST_CASE("another program calls what is exposed") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto account = manager.make<Account>(100);
    manager.publish("account", account);
    Outsider outsider(manager.address(), "methods");
    CHECK(outsider.last_line() == "ok");
    CHECK(account.call(&Account::balance) == 210);
    // What it had made goes with it.
    CHECK(eventually([&] { return manager.statistics().objects == 1; }));
  }

  TEST_CASE("all ready types work from there") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    Outsider outsider(manager.address(), "ready types");
    CHECK(outsider.last_line() == "ok");
    CHECK(eventually([&] { return manager.statistics().objects == 0; }));
    CHECK(eventually([&] { return manager.statistics().clients == 1; }));
  }

  TEST_CASE("what is not exposed is refused, and so is what can't go there") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto account = manager.make<Account>(100);
    manager.publish("motto", std::string("honest"));
    manager.publish("number", 3);
    manager.publish("account", account);
    const auto jobs = manager.queue<outside::Job>();
    jobs.put({1, {kin::Queue<int>()}});
    manager.publish("jobs", jobs);
    Outsider outsider(manager.address(), "too much");
    CHECK(outsider.last_line() == "ok");
    // What can't be handed over stays.
    CHECK(jobs.get_for(patience).value_or(outside::Job()).number == 1);
  }

  TEST_CASE("a task's soft limit ends its waiting calls at a manager of another program") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto jobs = manager.queue<std::string>();
    manager.publish("jobs", jobs);
    const auto far = kin::Manager::connect(manager.address(), std::string(outside::key));
    const auto same = far.find<kin::managed::Queue<std::string>>("jobs");
    {
      const SoftLimit limit(20, kin::detail::Deadline::now());
      CHECK_THROWS_AS(static_cast<void>(same.get_for(patience)), kin::TimeoutError);
      CHECK(SoftLimit::has_passed());
      CHECK(manager.statistics().parked == 0);
      // Whatever need not wait succeeds all the same.
      CHECK_FALSE(same.try_get());
      jobs.put("one");
      CHECK(same.try_get() == "one");
    }
    const SoftLimit limit(60'000, kin::detail::Deadline::now());
    CHECK_FALSE(same.get_for(1ms));
    jobs.put("two");
    CHECK(same.get() == "two");
  }

  TEST_CASE("what it held is free when it is killed") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto lock = manager.lock();
    manager.publish("lock", lock);
    Outsider outsider(manager.address(), "hold lock");
    CHECK(outsider.line() == "held");
    CHECK_FALSE(lock.try_lock());
    outsider.kill();
    CHECK(lock.try_lock_for(patience));
    CHECK(lock.owner_died());
    lock.unlock();
  }

  TEST_CASE("each of its processes holds what it holds") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    manager.publish("lock", manager.lock());
    Outsider outsider(manager.address(), "child holds lock");
    CHECK(outsider.last_line() == "ok");
  }

  TEST_CASE("nothing is handed to a dead program") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto jobs = manager.queue<std::string>();
    manager.publish("jobs", jobs);
    Outsider outsider(manager.address(), "park");
    CHECK(outsider.line() == "parking");
    CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    outsider.kill();
    CHECK(eventually([&] { return manager.statistics().parked == 0; }));
    jobs.put("one");
    CHECK(jobs.get() == "one");
    Outsider other(manager.address(), "park");
    CHECK(other.line() == "parking");
    jobs.put("two");
    CHECK(other.line() == "two");
  }

  TEST_CASE("one of its processes that is killed in a call takes no other along") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto account = manager.make<Account>(1);
    manager.publish("account", account);
    Outsider outsider(manager.address(), "killed in a long call");
    CHECK(outsider.last_line() == "ok");
    CHECK(account.call(&Account::balance) == 2);
  }

  // Whether it had told that it read the item is a matter of milliseconds.
  TEST_CASE("what it was handed is taken back in its name, or counts as lost") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto tasks = manager.joinable_queue<int>();
    manager.publish("tasks", tasks);
    for (int round = 0; round < 8; ++round) {
      tasks.put(round);
      Outsider outsider(manager.address(), "take a task");
      CHECK(outsider.line() == std::to_string(round));
      outsider.kill();
      CHECK(eventually([&] { return manager.statistics().clients == 1; }));
      if (const auto item = tasks.try_get()) {
        CHECK(item == round);
        tasks.task_done();
        CHECK(tasks.join_for(patience));
      } else {
        CHECK_THROWS_AS(static_cast<void>(tasks.join_for(patience)), kin::OwnerDied);
      }
    }
  }

  TEST_CASE("references from outside are counted") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    Outsider outsider(manager.address(), "objects");
    CHECK(outsider.line() == "made");
    CHECK(manager.statistics().objects == 20);
    outsider.tell("go on\n");
    CHECK(outsider.line() == "dropped");
    CHECK(eventually([&] { return manager.statistics().objects == 5; }));
    outsider.kill();
    CHECK(eventually([&] { return manager.statistics().objects == 0; }));
  }

  TEST_CASE("it is told when the manager ends, or its server is killed") {
    const Frame frame;
    for (const bool is_killed : {false, true}) {
      kin::Manager manager(open_to_all());
      manager.publish("account", manager.make<Account>(1));
      manager.publish("jobs", manager.queue<std::string>());
      Outsider outsider(manager.address(), "until it ends");
      CHECK(outsider.line() == "there");
      CHECK(eventually([&] { return manager.statistics().parked == 1; }));
      if (is_killed) {
        manager.process().kill();
      } else {
        manager.shutdown();
      }
      CHECK(outsider.line().find("manager") != std::string::npos);
      CHECK(outsider.line().find("manager") != std::string::npos);
      CHECK(outsider.line() == "ok");
    }
  }

  // Who puts the last order need not fear for it, though the shop closes as soon as it has it.
  TEST_CASE("what the server has answered arrives, though the manager ends") {
    const Frame frame;
    for (const bool is_killed : {false, true}) {
      CAPTURE(is_killed);
      kin::Manager manager({.address = "127.0.0.1:0", .authkey = outside::key});
      const auto jobs = manager.queue<std::string>();
      manager.publish("jobs", jobs);
      const auto server = kin::detail::HostedObject::of(crash::object_of(jobs)).server;
      Outsider outsider(manager.address(), "take the last");
      CHECK(outsider.line() != "");
      CHECK(eventually([&] { return manager.statistics().parked == 1; }));
      const Stopped session(only_session(jobs));
      jobs.put("the last");
      CHECK(manager.statistics().parked == 0);
      if (is_killed) {
        manager.process().kill();
        session.go_on();
      } else {
        std::thread later([&] {
          eventually([&] { return kin::detail::is_gone(server); });
          session.go_on();
        });
        manager.shutdown();
        later.join();
      }
      CHECK(outsider.line() == "the last");
      CHECK(outsider.line() == "ok");
    }
  }

  TEST_CASE("a program that does not take its last answers does not hold the manager's end up") {
    const Frame frame;
    kin::Manager manager(open_to_all());
    const auto jobs = manager.queue<std::string>();
    manager.publish("jobs", jobs);
    Outsider outsider(manager.address(), "take the last");
    const pid_t relay_pid = std::stoi(outsider.line());
    CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    const pid_t session = only_session(jobs);
    const Stopped relay(relay_pid);
    jobs.put(std::string(std::size_t{8} << 20, 'x'));  // more than sockets hold
    CHECK(manager.statistics().parked == 0);
    const auto begin = std::chrono::steady_clock::now();
    manager.shutdown();
    CHECK(std::chrono::steady_clock::now() - begin >= 900ms);
    CHECK(::kill(session, 0) == -1);
  }

  TEST_CASE("a relative may come in by the address, too") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto account = manager.make<Account>(1);
    manager.publish("account", account);
    {
      const auto far = kin::Manager::connect(manager.address(), std::string(outside::key));
      const auto same = far.find<kin::Proxy<Account>>("account");
      same.call(&Account::deposit, 1);
      CHECK(far.statistics().objects == 1);
      CHECK(far.address().empty());
    }
    CHECK(account.call(&Account::balance) == 2);
    CHECK(eventually([&] { return manager.statistics().clients == 1; }));
  }

  TEST_CASE("of a class no more is exposed than what is named, whatever its program does with it") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const kin::managed::Value<Purse> own = manager.value<Purse>({5});
    own.store({6});
    manager.publish("purse", static_cast<const kin::Proxy<Purse>&>(own));
    const auto far = kin::Manager::connect(manager.address(), std::string(outside::key));
    const auto purse = far.find<kin::Proxy<Purse>>("purse");
    CHECK(purse.call(&Purse::look) == 6);
    const kin::managed::Value<Purse> value(purse);
    CHECK_THROWS_WITH_AS(value.store({1000}), doctest::Contains("not exposed"),
                         std::invalid_argument);
    CHECK(own.load().coins == 6);
  }

  TEST_CASE("who does not know the key, and what can't be an address") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    CHECK_THROWS_AS(static_cast<void>(kin::Manager::connect(manager.address(), std::string("no"))),
                    kin::AuthenticationError);
    CHECK_THROWS_AS(kin::Manager({.address = "127.0.0.1:0"}), std::invalid_argument);
    CHECK_THROWS_AS(kin::Manager({.address = "nonsense", .authkey = "k"}), std::invalid_argument);
    CHECK_THROWS_AS(kin::Manager({.authkey = "k"}), std::invalid_argument);
    CHECK_THROWS_AS(kin::Manager({.address = own_address(), .authkey = "k"}), kin::SystemError);
    // Something else listens there.
    const kin::Listener<int> other({.address = own_address() + "-other", .authkey = "k"});
    CHECK_THROWS_AS(static_cast<void>(kin::Manager::connect(
                        other.address(), {.authkey = "k", .handshake_limit = 100ms})),
                    kin::Error);
  }

  TEST_CASE(
      "nonsense from who knows the key ends its connection, or is refused, and nothing else") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto account = manager.make<Account>(7);
    manager.publish("account", account);
    std::minstd_rand random(20261122);
    const std::vector<std::byte> goodbye =
        kin::detail::write_frame({.kind = kin::detail::FrameKind::end});
    for (int connection = 0; connection < 40; ++connection) {
      const kin::detail::End end =
          kin::detail::connect_to_manager(manager.address(), {.authkey = outside::key});
      const auto talk = [&] {
        for (int message = 0; message < 50; ++message) end.send(nonsense(random), {});
        end.send(goodbye, {});
        std::vector<std::byte> answer;
        kin::detail::IncomingCargo none;
        while (end.receive(answer, none, last_moment())) {
          CHECK(kin::detail::read_frame(answer).kind == kin::detail::FrameKind::answer);
        }
        return "it is still open";
      };
      CHECK_THROWS_AS(static_cast<void>(talk()), kin::Error);
    }
    CHECK(account.call(&Account::balance) == 7);
    const auto far = kin::Manager::connect(manager.address(), std::string(outside::key));
    CHECK(far.find<kin::Proxy<Account>>("account").call(&Account::balance) == 7);
    CHECK(eventually([&] { return manager.statistics().objects == 1; }));
  }

  TEST_CASE("other programs' calls leave half of the lines to the manager's family") {
    if (support::is_thread_sanitized) {
      std::puts("skipped: the thread sanitizer takes a minute for half a billion looks at lines");
      return;
    }
    const Frame frame;
    const kin::Manager manager;
    const auto number = manager.value<int>(7);
    using kin::detail::ManagerState;
    ManagerState& state = *kin::detail::HostedObject::of(crash::object_of(number)).manager;
    // As sessions take them.
    CHECK(answer_of([&] {
            std::uint32_t taken = 0;
            try {
              while (true) {
                static_cast<void>(kin::detail::take_line(state, ManagerState::lines_for_outsiders));
                ++taken;
              }
            } catch (const std::bad_alloc&) {
              // One is the test's.
              return std::to_string(ManagerState::most_lines - taken - 1) + " left, " +
                     std::to_string(number.load());
            }
          }) == std::to_string(ManagerState::most_lines / 2) + " left, 7");
    CHECK(eventually([&] { return manager.statistics().clients == 1; }));
  }

  TEST_CASE("arguments beyond the limit end the connection") {
    const Frame frame;
    kin::ManagerOptions options = open_to_all();
    options.max_message = 100'000;
    const kin::Manager manager(std::move(options));
    manager.publish("account", manager.make<Account>(7));
    Outsider outsider(manager.address(), "large arguments");
    CHECK(outsider.last_line() == "ok");
  }

  TEST_CASE("when the relay is killed its family is told, and the manager goes on") {
    const Frame frame;
    const kin::Manager manager(open_to_all());
    const auto account = manager.make<Account>(7);
    manager.publish("account", account);
    const auto far = kin::Manager::connect(manager.address(), std::string(outside::key));
    const auto same = far.find<kin::Proxy<Account>>("account");
    far.process().kill();
    CHECK_THROWS_AS(static_cast<void>(same.call(&Account::balance)), kin::ManagerDied);
    Outsider outsider(manager.address(), "until it ends");
    CHECK(outsider.line().find("failed") == 0);  // there is no queue
    CHECK(account.call(&Account::balance) == 7);
    CHECK(eventually([&] { return manager.statistics().clients == 1; }));
  }

  TEST_CASE("a socket's path goes with the manager, and a port is free again at once") {
    const Frame frame;
    const std::string path = "/tmp/kin-outside-" + std::to_string(::getpid());
    {
      const kin::Manager manager({.address = path});
      CHECK(std::filesystem::exists(path));
      const auto far = kin::Manager::connect(path);
      CHECK(far.statistics().objects == 0);
    }
    CHECK_FALSE(std::filesystem::exists(path));
    std::string address = "127.0.0.1:0";
    for (int i = 0; i < 3; ++i) {
      kin::Manager manager({.address = address, .authkey = outside::key});
      address = manager.address();
      const auto far = kin::Manager::connect(address, std::string(outside::key));
      CHECK(far.statistics().objects == 0);
      manager.shutdown();
      CHECK_THROWS_AS(static_cast<void>(far.statistics()), kin::ManagerDied);
    }
  }
}
