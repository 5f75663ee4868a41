// SPDX-License-Identifier: BSL-1.0

// Of the ends of pipes that there were when a pool was made, its processes keep those that its
// initializer holds, and no others: a stream ends though the pool lives.

#include "frame.hpp"

#include "support/sanitizer.hpp"

#include <kin/connection.hpp>
#include <kin/executor.hpp>
#include <kin/log.hpp>
#include <kin/pool.hpp>
#include <kin/queue.hpp>
#include <kin/wait.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

TEST_SUITE("pool pipe") {
  using namespace unit;

  // What comes next: a number, "end", or "nothing" where nothing comes in time.
  std::string next_of(const kin::Reader<int>& reader) {
    try {
      const std::optional<int> one = reader.recv_for(patience);
      return one ? std::to_string(*one) : "nothing";
    } catch (const kin::EndOfStream&) {
      return "end";
    }
  }

  // Whether the stream goes on without a message. That an end is closed shows at once.
  bool is_quiet(const kin::Reader<int>& reader) { return !reader.poll(); }

  TEST_CASE("a stream ends while a pool lives that was made behind the pipe") {
    const Frame frame;
    auto [reader, writer] = kin::SimplexPipe<int>();
    const kin::Pool pool(2);
    const kin::ProcessPoolExecutor executor(1);
    writer.send(1);
    writer.close();
    CHECK(next_of(reader) == "1");
    CHECK(next_of(reader) == "end");
  }

  TEST_CASE("who sends sees that nobody reads any more while a pool lives") {
    const Frame frame;
    auto [ours, theirs] = kin::Pipe<int>();
    const kin::Pool pool(1);
    theirs.close();
    CHECK_THROWS_AS(ours.send(1), kin::BrokenPipe);
  }

  TEST_CASE("an end on which a thread sleeps is closed in the pool's processes") {
    if (!support::can_fork_among_threads) {
      std::puts(support::cannot_fork_among_threads);
      return;
    }
    const Frame frame;
    kin::set_log_level(kin::LogLevel::error);  // that there are threads
    auto [ours, theirs] = kin::Pipe<int>();
    auto sleeper = std::async(std::launch::async, [&end = ours] {
      try {
        static_cast<void>(end.recv());
      } catch (const kin::EndOfStream&) {
        return true;
      }
      return false;
    });
    {
      const kin::Pool pool(1);
      theirs.close();
      CHECK(sleeper.wait_for(patience) == std::future_status::ready);
    }
    CHECK(sleeper.get());
    kin::set_log_level(kin::LogLevel::warning);
  }

  TEST_CASE("an initializer uses the ends that it captured, in each worker, until the pool ends") {
    const Frame frame;
    auto [reader, writer] = kin::SimplexPipe<int>();
    {
      kin::Pool pool({.processes = 1, .initializer = [writer = writer] { writer.send(7); }});
      writer.close();
      CHECK(next_of(reader) == "7");
      CHECK_THROWS_AS(static_cast<void>(pool.apply(std::raise, SIGKILL)), kin::WorkerDied);
      CHECK(next_of(reader) == "7");
      CHECK(is_quiet(reader));
    }
    CHECK(next_of(reader) == "end");
  }

  TEST_CASE("an executor's initializer keeps what it has bound or has in a container of its own") {
    const Frame frame;
    auto [first, to_first] = kin::SimplexPipe<int>();
    auto [second, to_second] = kin::SimplexPipe<int>();
    const auto send_all = [all = std::map<int, kin::Writer<int>>{{1, to_first}, {2, to_second}}] {
      for (const auto& [number, writer] : all) writer.send(number);
    };
    {
      const kin::ProcessPoolExecutor executor({.max_workers = 1, .initializer = send_all});
      CHECK(next_of(first) == "1");
      CHECK(next_of(second) == "2");
    }
    const auto send = [](const kin::Writer<int>& to, int number) { to.send(number); };
    const kin::Pool pool({.processes = 1, .initializer = kin::partial(send, to_first, 3)});
    CHECK(next_of(first) == "3");
    CHECK(is_quiet(second));
  }

  TEST_CASE("an end of which the pool does not know is closed in workers, and the text says why") {
    const Frame frame;
    auto [reader, writer] = kin::SimplexPipe<int>();
    kin::Queue<std::string> said;
    const kin::Pool pool({.processes = 1, .initializer = [said, &end = writer] {
                            try {
                              end.send(1);
                              said.put("sent");
                            } catch (const std::logic_error& error) {
                              said.put(error.what());
                            }
                          }});
    CHECK(said.get_for(patience).value_or("").find("captured by value") != std::string::npos);
  }

  TEST_CASE("ends that tasks are given, and pipes that they make, work") {
    const Frame frame;
    auto [reader, writer] = kin::SimplexPipe<int>();
    kin::Pool pool(1);
    const auto send = [](const kin::Writer<int>& to, int number) { to.send(number); };
    pool.apply(send, writer, 1);
    const kin::Reader<int> made = pool.apply([] {
      auto [here, there] = kin::SimplexPipe<int>();
      there.send(2);
      return here;
    });
    writer.close();
    CHECK(next_of(reader) == "1");
    CHECK(next_of(reader) == "end");
    CHECK(next_of(made) == "2");
    CHECK(next_of(made) == "end");
  }

  TEST_CASE("ends come and go in any order") {
    const Frame frame;
    std::vector<kin::SimplexPipe<int>> pipes(5);
    pipes.erase(pipes.begin());
    pipes.erase(pipes.begin() + 1);
    pipes.pop_back();
    const kin::Pool pool(1);
    for (auto& [reader, writer] : pipes) {
      writer.close();
      CHECK(next_of(reader) == "end");
    }
  }
}
