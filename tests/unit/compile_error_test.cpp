// SPDX-License-Identifier: BSL-1.0

// A wrong program gets one readable error. Each file in wrong_programs is compiled, and the first
// error that the compiler prints must hold the text behind `// error: ` in the file. A new case is
// a new file.
//
// The build says how, in wrong_programs.hpp: KIN_TEST_CXX (the compiler, and flags, as for a shell),
// KIN_TEST_INCLUDE (the folder that holds kin/) and KIN_TEST_WRONG_PROGRAMS (the folder of the cases).
// All of kin is compiled once, and put before each: that is most of the time.

#include "unit/wrong_programs.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

namespace fs = std::filesystem;

std::string quoted(const std::string& text) { return "'" + text + "'"; }

std::string text_behind(const std::string& mark, const std::string& text) {
  const std::size_t start = text.find(mark);
  if (start == std::string::npos) return {};
  const std::size_t from = start + mark.size();
  return text.substr(from, text.find('\n', from) - from);
}

std::string contents(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string output_of(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(
      ::popen((command + " 2>&1").c_str(), "r"), ::pclose);
  REQUIRE(pipe != nullptr);
  std::string output;
  std::array<char, 4096> part;
  while (const std::size_t count = std::fread(part.data(), 1, part.size(), pipe.get()))
    output.append(part.data(), count);
  return output;
}

const std::string compiler = "LC_ALL=C " KIN_TEST_CXX " -std=c++20 -fno-diagnostics-color -I" +
                             quoted(KIN_TEST_INCLUDE) + " ";

/// kin.hpp, compiled, as long as it lives.
class Ready {
 public:
  Ready() {
    std::ofstream(header_) << "#include <kin/kin.hpp>\n";
    const std::string said = output_of(compiler + "-x c++-header " + quoted(header_.string()) +
                                       " -o " + quoted(header_.string() + ".gch"));
    REQUIRE_MESSAGE(said.empty(), said);
  }
  ~Ready() { fs::remove_all(folder_); }
  Ready(const Ready&) = delete;
  Ready& operator=(const Ready&) = delete;

  [[nodiscard]] std::string first_error(const fs::path& program) const {
    return text_behind(
        "error: ", output_of(compiler + "-fsyntax-only -include " + quoted(header_.string()) + " " +
                             quoted(program.string())));
  }

 private:
  static fs::path own_folder() {
    const auto folder =
        fs::temp_directory_path() / ("kin-wrong-programs-" + std::to_string(::getpid()));
    REQUIRE(fs::create_directory(folder));
    return folder;
  }

  fs::path folder_ = own_folder();
  fs::path header_ = folder_ / "ready.hpp";
};

struct Case {
  fs::path program;
  std::future<std::string> error;
};

}  // namespace

TEST_SUITE("compile_error") {
  TEST_CASE("a wrong program gets one readable error") {
    std::counting_semaphore<> free_cores(std::max(1U, std::thread::hardware_concurrency()));
    const Ready ready;
    std::vector<Case> cases;
    for (const auto& entry : fs::directory_iterator(KIN_TEST_WRONG_PROGRAMS)) {
      if (entry.path().extension() != ".cpp") continue;
      const auto compile = [&, program = entry.path()] {
        free_cores.acquire();
        std::string error = ready.first_error(program);
        free_cores.release();
        return error;
      };
      cases.push_back({entry.path(), std::async(std::launch::async, compile)});
    }
    CHECK(!cases.empty());
    for (Case& one : cases) {
      const std::string program = one.program.filename().string();
      CAPTURE(program);
      const std::string expected = text_behind("// error: ", contents(one.program));
      const std::string error = one.error.get();
      CHECK(!expected.empty());
      CHECK_MESSAGE(error.find(expected) != std::string::npos, "the first error is: ", error);
    }
  }
}
