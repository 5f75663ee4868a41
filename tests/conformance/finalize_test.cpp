// SPDX-License-Identifier: BSL-1.0
//
// What is called at the end, against CPython's _TestFinalize. There something is registered that is called
// when an object goes, or at exit and with a priority. Here that is what C++ has: destructors; and
// std::atexit, whose priority is the order, in a child that ends by std::exit. See at_exit_test.cpp for
// those that don't.
//
// Fails when:
//   live() ends by std::exit: test_finalize
//   BorrowedBuffers uses what its thread has destroyed: test_finalize, with a sanitizer

#include "trial.hpp"

#include <cstdlib>
#include <optional>

#include <csignal>
#include <unistd.h>

using namespace trial;

namespace {

// Tells its name when it goes.
class Finalizer {
 public:
  Finalizer(kin::Queue<std::string> told, std::string name)
      : told_(std::move(told)), name_(std::move(name)) {}
  Finalizer(const Finalizer&) = delete;
  Finalizer& operator=(const Finalizer&) = delete;
  ~Finalizer() { told_.put(name_); }

 private:
  kin::Queue<std::string> told_;
  std::string name_;
};

// What `body` and the end of its process tell, in that order.
std::vector<std::string> told_by(
    const std::function<void(const kin::Queue<std::string>& told)>& body) {
  const kin::Queue<std::string> told;
  CHECK(outcome([&] { body(told); }) == 0);
  std::vector<std::string> all;
  while (auto one = told.try_get()) all.push_back(*one);
  return all;
}

void finalize(const kin::Queue<std::string>& queue, bool exits) {
  static kin::Queue<std::string> told;
  told = queue;
  { const Finalizer a(told, "a: its scope is over"); }

  std::optional<Finalizer> b(std::in_place, told, "b: dropped by hand");
  b.reset();
  b.reset();

  // Nobody asks for the end of it. Static, so that it is no leak; volatile, so that it is not left out.
  [[maybe_unused]] static const Finalizer* volatile c = nullptr;
  c = new Finalizer(told, "c: never destroyed");

  // Lowest first, as what is registered last is called first.
  static const Finalizer e(told, "e: static");
  expect(std::atexit([] { told.put("d01"); }) == 0);
  expect(std::atexit([] { told.put("d02"); }) == 0);
  expect(std::atexit([] { told.put("d03"); }) == 0);
  static const Finalizer f(told, "f: static, and last");
  expect(std::atexit([] { told.put("d10"); }) == 0);

  // A child of it has all of these, and calls none.
  expect(outcome([] {}) == 0);
  const Finalizer in_the_function(told, "g: of the function");
  if (exits) std::exit(0);
}

}  // namespace

TEST_SUITE("finalize") {
  TEST_CASE_FIXTURE(Trial, "test_finalize") {
    const std::vector<std::string> of_scopes{"a: its scope is over", "b: dropped by hand"};
    std::vector<std::string> expected = of_scopes;
    expected.insert(expected.end(),
                    {"d10", "f: static, and last", "d03", "d02", "d01", "e: static"});
    CHECK(told_by([](const auto& told) { finalize(told, true); }) == expected);

    // By the end of its function a child leaves its scopes, and no more is called.
    expected = of_scopes;
    expected.emplace_back("g: of the function");
    CHECK(told_by([](const auto& told) { finalize(told, false); }) == expected);
  }

  // A child that is killed calls none; that is why kin relies on none.
  TEST_CASE_FIXTURE(Trial, "test_finalize_of_the_killed") {
    const kin::Queue<std::string> told;
    const kin::Event ready;
    kin::Process child([=] {
      const Finalizer scope(told, "scope");
      ready.set();
      while (true) ::pause();
    });
    child.start();
    CHECK(ready.wait_for(patience));
    child.kill();
    CHECK(end_of(child) == -SIGKILL);
    CHECK_FALSE(told.try_get());
  }
}
