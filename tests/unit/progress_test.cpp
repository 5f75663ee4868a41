// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"

#include <kin/pool.hpp>
#include <kin/progress.hpp>

#include <doctest/doctest.h>

#include <array>
#include <ranges>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_SUITE("progress") {
  using namespace unit;

  /// What is written into a pipe, once the writer is closed.
  struct Screen {
    Screen() {
      std::array<int, 2> ends{};
      REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
      reader = kin::UniqueFd(ends[0]);
      writer = kin::UniqueFd(ends[1]);
    }
    [[nodiscard]] kin::ProgressBarOptions drawn() const {
      return {.fd = writer.get(), .draws = true};
    }
    std::string all() {
      writer.reset();
      std::string text;
      std::array<char, 4096> some{};
      for (ssize_t size = 0; (size = ::read(reader.get(), some.data(), some.size())) > 0;) {
        text.append(some.data(), static_cast<std::size_t>(size));
      }
      return text;
    }
    kin::UniqueFd reader;
    kin::UniqueFd writer;
  };

  const std::string erased = "\r\033[K";

  TEST_CASE("a bar shows how far it is, and a last time when all is done") {
    const Frame frame;
    Screen screen;
    {
      const kin::ProgressBar bar("counting", screen.drawn());
      bar.show({.done = 1, .total = 4, .elapsed = 20s, .left = 60s});
      bar.show({.done = 2, .total = 4});  // too soon after the one before
      bar.show({.done = 4, .total = 4, .elapsed = 80s});
    }
    const std::string ten = "##########";
    CHECK(screen.all() == erased + "counting  [" + ten + std::string(30, '.') +
                              "]  25%  1 of 4  1:00 left" + erased + "counting  [" + ten + ten +
                              ten + ten + "] 100%  4 of 4  1:20\n");
  }

  TEST_CASE("failures, an unknown total and a text of one's own are shown") {
    const Frame frame;
    Screen screen;
    {
      const kin::ProgressBar bar({}, screen.drawn());
      bar.show({.done = 7, .failed = 2});
    }
    {
      const kin::ProgressBar bar({}, screen.drawn());
      bar.show({.done = 7}, "seven files");
      bar.say("a word about one of them");
      bar.clear();
    }
    CHECK(screen.all() == erased + "7, 2 failed\n" + erased + "seven files" + erased +
                              "a word about one of them\n");
  }

  TEST_CASE("where there is no terminal nothing is drawn, unless it is asked for") {
    const Frame frame;
    Screen screen;
    {
      const kin::ProgressBar bar("quiet", {.fd = screen.writer.get()});
      bar.show({.done = 1, .total = 1});
      bar.say("still said");
    }
    CHECK(screen.all() == "still said\n");
  }

  TEST_CASE("a map draws through an observer, which may outlive its bar") {
    const Frame frame;
    Screen screen;
    {
      kin::Pool pool(2);
      const auto twice = [](int x) { return 2 * x; };
      kin::ProgressBar bar("doubling", screen.drawn());
      const auto observer = bar.observer();
      pool.map({.chunk_size = 1, .progress = observer}, twice, std::views::iota(0, 20));
    }
    const std::string text = screen.all();
    CHECK(text.find("] 100%  20 of 20  0:00\n") == text.size() - 23);

    Screen nothing;
    const auto observer = kin::ProgressBar("gone", nothing.drawn()).observer();
    observer({.done = 1, .total = 1});
    CHECK(nothing.all().empty());
  }

  TEST_CASE("a child's copy of a bar draws nothing") {
    const Frame frame;
    Screen screen;
    {
      const kin::ProgressBar bar("mine", screen.drawn());
      kin::Process child([&bar] {
        bar.show({.done = 1, .total = 1});
        bar.say("not here");
      });
      child.start();
      child.join();
    }
    CHECK(screen.all().empty());
  }
}
