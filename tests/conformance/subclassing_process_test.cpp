// SPDX-License-Identifier: BSL-1.0
//
// Subclasses of Process, and how a process ends, against CPython's _TestSubclassingProcess.
//
// Fails when:
//   live() leaves the code of an exception 0, or does not print_uncaught(): test_sys_exit,
//     test_stderr_flush
//   receive() in stream.cpp looks once and does not wait: test_subclassing

#include "trial.hpp"

#include <array>
#include <cstdlib>

#include <csignal>
#include <sys/mman.h>
#include <unistd.h>

using namespace trial;

namespace {

// Answers each text with the same in capitals, until it is stopped.
class Capitalizer : public kin::Process {
 public:
  std::optional<std::string> ask(const std::string& text) {
    pipe_.first.send(text);
    return pipe_.first.recv_for(patience);
  }
  void stop() {
    pipe_.first.send(std::nullopt);
    pipe_.first.close();
    pipe_.second.close();
  }

 private:
  void run() override {
    pipe_.first.close();
    while (auto text = pipe_.second.recv()) {
      for (char& letter : *text) letter = static_cast<char>(std::toupper(letter));
      pipe_.second.send(*text);
      ++answered_;
    }
    pipe_.second.close();
    if (answered_ != 2) throw std::runtime_error("asked another number of times");
  }

  kin::Pipe<std::optional<std::string>, std::string> pipe_;
  int answered_ = 0;
};

struct NotAnException {};

// What a child printed to stderr, with its exit code.
struct Ending {
  std::optional<int> code;
  std::string printed;
};

Ending ending_of(const std::function<void()>& body) {
  const kin::UniqueFd file(::memfd_create("stderr", MFD_CLOEXEC));
  Ending ending;
  ending.code = outcome([&] {
    expect(::dup2(file.get(), STDERR_FILENO) == STDERR_FILENO);
    body();
  });
  std::array<char, 4096> text{};
  const ssize_t length = ::pread(file.get(), text.data(), text.size(), 0);
  REQUIRE(length >= 0);
  ending.printed.assign(text.data(), static_cast<std::size_t>(length));
  return ending;
}

}  // namespace

TEST_SUITE("subclassing_process") {
  TEST_CASE_FIXTURE(Trial, "test_subclassing") {
    Capitalizer child;
    child.start();
    CHECK(child.ask("some text") == "SOME TEXT");
    CHECK(child.ask("more") == "MORE");
    child.stop();
    CHECK(end_of(child) == 0);
  }

  // C++ knows no location; the type is told, what() where there is one, and who it was.
  TEST_CASE_FIXTURE(Trial, "test_stderr_flush") {
    const Ending thrown = ending_of([] { throw std::out_of_range("far too far"); });
    CHECK(thrown.code == 1);
    CHECK(thrown.printed.find("std::out_of_range") != std::string::npos);
    CHECK(thrown.printed.find("far too far") != std::string::npos);
    CHECK(thrown.printed.find("Process-") != std::string::npos);
    CHECK(thrown.printed.ends_with('\n'));
  }

  TEST_CASE_FIXTURE(Trial, "test_sys_exit") {
    // Python's exit(object): an exception, which can be of any type.
    const Ending of_text = ending_of([] { throw std::string("ignore this"); });
    CHECK(of_text.code == 1);
    CHECK(of_text.printed.find("ignore this") != std::string::npos);
    const Ending of_number = ending_of([] { throw 5; });
    CHECK(of_number.code == 1);
    CHECK(of_number.printed.find("int") != std::string::npos);
    const Ending of_class = ending_of([] { throw NotAnException(); });
    CHECK(of_class.code == 1);
    CHECK(of_class.printed.find("NotAnException") != std::string::npos);

    for (const int code : {0, 1, 7, 255}) {
      const Ending exited = ending_of([code] { std::exit(code); });
      CHECK(exited.code == code);
      CHECK(exited.printed.empty());
      CHECK(ending_of([code] { ::_exit(code); }).code == code);
    }
    // What a function returns means nothing.
    CHECK(outcome([] { return 7; }) == 0);
    CHECK(ending_of([] { std::abort(); }).code == -SIGABRT);
  }
}
