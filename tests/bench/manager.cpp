// SPDX-License-Identifier: BSL-1.0

// A dictionary in a manager's server, by clients that get and set: beside Python's manager, beside a Redis
// server on a Unix socket of its own, and beside two processes that do nothing but hand over a word.

#include "ping_pong.hpp"
#include "python.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <kin/expose.hpp>
#include <kin/manager.hpp>
#include <kin/process.hpp>
#include <kin/unique_fd.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

using bench::Table;
using namespace std::chrono_literals;
using Counts = kin::managed::Dict<std::string, int>;

constexpr int per_batch = 100;

/// A Redis server that nobody else can reach, as long as this lives.
class Redis {
 public:
  Redis() {
    std::string name = (std::filesystem::temp_directory_path() / "bench.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    folder_ = name;
    server_.emplace([socket = socket_name(), this] {
      ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket.c_str(),
               "--save", "", "--appendonly", "no", "--dir", folder_.c_str(), "--logfile",
               "/dev/null", nullptr);
      ::_exit(127);
    });
    server_->start();
  }
  Redis(const Redis&) = delete;
  Redis& operator=(const Redis&) = delete;
  ~Redis() {
    server_->kill();
    server_->join();
    std::filesystem::remove_all(folder_);
  }

  [[nodiscard]] std::string socket_name() const { return (folder_ / "socket").string(); }
  /// False where there is none.
  [[nodiscard]] bool answers() const {
    for (int tries = 0; tries < 200 && server_->is_alive(); ++tries) {
      if (std::filesystem::exists(socket_name())) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }

 private:
  std::filesystem::path folder_;
  std::optional<kin::Process> server_;
};

/// A client that sends commands, and counts the answers.
class RedisClient {
 public:
  explicit RedisClient(const std::string& socket_name)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_name.copy(static_cast<char*>(address.sun_path), sizeof address.sun_path - 1);
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
        0) {
      throw std::runtime_error("connect");
    }
  }
  void add_set(std::string_view key, int value) {
    const std::string text = std::to_string(value);
    commands_ += "*3\r\n$3\r\nSET\r\n$" + std::to_string(key.size()) + "\r\n";
    commands_.append(key).append("\r\n$" + std::to_string(text.size()) + "\r\n" + text + "\r\n");
    lines_ += 1;  // +OK
  }
  void add_get(std::string_view key) {
    commands_ += "*2\r\n$3\r\nGET\r\n$" + std::to_string(key.size()) + "\r\n";
    commands_.append(key).append("\r\n");
    lines_ += 2;  // $length, and the text
  }
  void run() {
    if (::write(socket_.get(), commands_.data(), commands_.size()) !=
        static_cast<ssize_t>(commands_.size())) {
      throw std::runtime_error("write");
    }
    commands_.clear();
    while (lines_ > 0) {
      char text[16384];
      const ssize_t length = ::read(socket_.get(), text, sizeof text);
      if (length <= 0) throw std::runtime_error("read");
      for (const char letter : std::string_view(text, static_cast<std::size_t>(length))) {
        if (letter == '\n') --lines_;
      }
    }
  }

 private:
  kin::UniqueFd socket_;
  std::string commands_;
  int lines_ = 0;
};

const std::string python = R"(
import sys, time, multiprocessing
with multiprocessing.Manager() as manager:
    counts = manager.dict({"a": 1})
    best = 1e9
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(int(sys.argv[1])):
            counts["a"] = 5
            counts["a"]
        best = min(best, (time.perf_counter() - begin) / int(sys.argv[1]) / 2)
    print(best * 1e9)
)";

std::string time_text(double nanoseconds) {
  return nanoseconds < 10'000 ? Table::number("%.0f ns", nanoseconds)
                              : Table::number("%.1f us", nanoseconds / 1000);
}

// ---- another program: this one, started anew

constexpr const char* key = "of the bench";
const bool values_are_exposed = kin::expose<kin::managed::Value<int>>();

int run_as_outsider(const std::string& address, int count) {
  const kin::Manager manager = kin::Manager::connect(address, key);
  const auto number = manager.find<kin::managed::Value<int>>("number");
  number.fetch_add(1);
  const double begin = bench::now();
  for (int i = 0; i < count; ++i) number.fetch_add(1);
  std::printf("%f\n", (bench::now() - begin) / count);
  return 0;
}

double time_outsider(const std::string& address, int count) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command =
      "'" + program + "' --outsider '" + address + "' " + std::to_string(count);
  std::FILE* const said = ::popen(command.c_str(), "r");
  if (said == nullptr) throw std::runtime_error("popen");
  double each = 0;
  const bool is_there = std::fscanf(said, "%lf", &each) == 1;
  if (::pclose(said) != 0 || !is_there) throw std::runtime_error("the other program failed");
  return each;
}

/// Nanoseconds for each of so many, in a process of its own.
double each(int count, const std::function<void()>& operation) {
  return bench::time_together(bench::Placement::anywhere, {[&] {
                                for (int i = 0; i < count; ++i) operation();
                              }}) /
         count;
}

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count == 4 && std::string_view(arguments[1]) == "--outsider") {
    return run_as_outsider(arguments[2], std::atoi(arguments[3]));
  }
  Table table("Managers: a dictionary of int by short text, one get or set");
  const kin::Manager manager({.address = "127.0.0.1:0", .authkey = key});
  const auto counts = manager.dict<std::string, int>({{"a", 1}});
  const auto number = manager.value<int>(1);
  manager.publish("number", number);
  const Redis redis;
  const bool has_redis = redis.answers();

  constexpr int calls = 100'000;
  bench::Contestant bare{[] { return bench::ping_pong(calls); }};
  bench::Contestant bare_call{
      [&] { return each(calls, [&] { number.modify([](int& it) { ++it; }); }); }};
  bench::Contestant one{[&] {
    return each(calls,
                [&] {
                  counts.set("a", 5);
                  static_cast<void>(counts.get("a"));
                }) /
           2;
  }};
  bench::Contestant four{[&] {
    constexpr int clients = 4;
    const auto client = [&] {
      for (int i = 0; i < calls / clients; ++i) {
        counts.set("a", 5);
        static_cast<void>(counts.get("a"));
      }
    };
    return bench::time_together(bench::Placement::anywhere,
                                std::vector<std::function<void()>>(clients, client)) /
           calls / 2;
  }};
  using Store = kin::detail::OrderedDict<std::string, int>;
  bench::Contestant batches{[&] {
    constexpr int rounds = 500;
    const std::string key = "a";
    return each(rounds,
                [&] {
                  auto batch = counts.batch();
                  std::optional<kin::BatchResult<int>> last;
                  for (int i = 0; i < per_batch / 2; ++i) {
                    batch.apply([](Store& all, const std::string& k, int v) { all.set(k, v); }, key,
                                i);
                    last = batch.apply([](Store& all, const std::string& k) { return all.at(k); },
                                       key);
                  }
                  batch.run();
                  static_cast<void>(last->get());
                }) /
           per_batch;
  }};
  bench::Contestant redis_one{[&] {
    if (!has_redis) return 0.0;
    return each(5000,
                [client = std::make_shared<RedisClient>(redis.socket_name())] {
                  client->add_set("a", 5);
                  client->run();
                  client->add_get("a");
                  client->run();
                }) /
           2;
  }};
  bench::Contestant redis_batches{[&] {
    if (!has_redis) return 0.0;
    return each(500,
                [client = std::make_shared<RedisClient>(redis.socket_name())] {
                  for (int i = 0; i < per_batch / 2; ++i) {
                    client->add_set("a", i);
                    client->add_get("a");
                  }
                  client->run();
                }) /
           per_batch;
  }};
  bench::Contestant outside{[&] { return time_outsider(manager.address(), 3000); }};
  bench::take_turns(
      5, {&bare, &bare_call, &one, &four, &batches, &redis_one, &redis_batches, &outside});
  const double pythons = bench::run_python(python, "2000");

  const auto add = [&](const std::string& figure, double measured, const std::string& peer,
                       double peers, double limit) {
    table.add({.figure = figure,
               .measured = time_text(measured),
               .peer = peer + " " + time_text(peers),
               .ratio = peers / measured,
               .want = Table::Want::at_least,
               .limit = limit});
  };
  table.add({.figure = "a call, server awake",
             .measured = time_text(bare_call.best),
             .peer = "two processes and a word " + time_text(bare.best),
             .ratio = bare_call.best / bare.best,
             .want = Table::Want::at_most,
             .limit = 8});
  add("get or set, one client", one.best, "Python's manager", pythons, 100);
  add("get or set, one client", one.best, "Redis, Unix socket", redis_one.best, 20);
  add("in batches of 100", batches.best, "Redis, pipelines of 100", redis_batches.best, 3);
  add("get or set, four clients, for all", four.best, "one client", one.best, 0.4);
  table.add({.figure = "a call from another program, TCP",
             .measured = time_text(outside.best),
             .peer = "Python's manager, one get or set " + time_text(pythons),
             .ratio = pythons / outside.best});
  if (!has_redis) table.note("there is no redis-server here");
  return table.print();
}
