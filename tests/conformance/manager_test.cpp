// SPDX-License-Identifier: BSL-1.0
//
// Managers of the user's own classes, and managers that others reach by an address, against CPython's
// _TestMyManager, _TestRemoteManager and _TestManagerRestart.
//
// Fails when:
//   end() of the engine kills the server at once: test_mymanager, test_mymanager_context
//   one_number() of the exposed calls does not compare the function: test_mymanager_exposed
//   the gateway is not ended with the manager: test_rapid_restart

#include "trial.hpp"

#include <kin/expose.hpp>
#include <kin/listener.hpp>
#include <kin/manager.hpp>

#include <cerrno>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

using namespace trial;

namespace {

class FooBar {
 public:
  [[nodiscard]] std::string f() const { return "f()"; }
  [[nodiscard]] std::string g() const { throw std::domain_error("g()"); }
  [[nodiscard]] std::string h() const { return "h()"; }
};

class Squares {
 public:
  explicit Squares(int last) : last_(last) {}
  std::optional<int> next() {
    if (number_ == last_) return std::nullopt;
    const int number = number_++;
    return number * number;
  }

 private:
  int last_;
  int number_ = 0;
};

using Words = kin::managed::Queue<std::string>;

const bool are_exposed =
    kin::expose<FooBar, kin::constructor<>, &FooBar::f, &FooBar::g>() && kin::expose<Words>();

constexpr const char* key = "a key of the test";

void use(const kin::Manager& manager) {
  const auto foo = manager.make<FooBar>();
  CHECK(foo.call(&FooBar::f) == "f()");
  CHECK_THROWS_WITH_AS(static_cast<void>(foo.call(&FooBar::g)), "g()", std::domain_error);
  CHECK(foo.call(&FooBar::h) == "h()");
  const auto squares = manager.make<Squares>(10);
  std::vector<int> all;
  while (const auto square = squares.call(&Squares::next)) all.push_back(*square);
  CHECK(all == std::vector<int>{0, 1, 4, 9, 16, 25, 36, 49, 64, 81});
}

}  // namespace

TEST_SUITE("manager") {
  // All that is public can be called, as whatever calls it is compiled with it.
  TEST_CASE_FIXTURE(Trial, "test_mymanager") {
    kin::Manager manager;
    use(manager);
    const kin::ProcessHandle server = manager.process();
    manager.shutdown();
    CHECK_FALSE(server.is_alive());
    CHECK(server.exit_code() == 0);
    manager.shutdown();
  }

  // What is exposed is a list for other programs: one that comes by the address.
  TEST_CASE_FIXTURE(Trial, "test_mymanager_exposed") {
    const kin::Manager manager({.address = "127.0.0.1:0", .authkey = key});
    const auto far = kin::Manager::connect(manager.address(), std::string(key));
    const auto foo = far.make<FooBar>();
    CHECK(foo.call(&FooBar::f) == "f()");
    CHECK_THROWS_WITH_AS(static_cast<void>(foo.call(&FooBar::g)), "g()", std::domain_error);
    CHECK_THROWS_AS(static_cast<void>(foo.call(&FooBar::h)), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(far.make<Squares>(10)), std::invalid_argument);
  }

  TEST_CASE_FIXTURE(Trial, "test_mymanager_context") {
    std::optional<kin::ProcessHandle> server;
    {
      const kin::Manager manager;
      use(manager);
      server = manager.process();
    }
    CHECK(server->exit_code() == 0);
  }

  // There is no other: a manager has been started when it is made.
  TEST_CASE_FIXTURE(Trial, "test_mymanager_context_prestarted") {
    kin::Manager started;
    use(started);
    const kin::ProcessHandle server = started.process();
    {
      const kin::Manager manager(std::move(started));
      use(manager);
      CHECK(server.is_alive());
    }
    CHECK(server.exit_code() == 0);
  }

  // What can't be sent is an error of the compiler's, but for values that it can't know.
  TEST_CASE_FIXTURE(Trial, "test_remote") {
    const std::vector<std::string> values{"hello world", "", "Grüße", std::string("\0zero", 5),
                                          std::string(100'000, 'x')};
    const kin::Manager manager({.address = "127.0.0.1:0", .authkey = key});
    const auto queue = manager.queue<std::string>();
    manager.publish("queue", queue);
    kin::Process putter([address = manager.address(), values] {
      const auto far = kin::Manager::connect(address, std::string(key));
      const auto words = far.find<Words>("queue");
      for (const std::string& value : values) words.put(value);
      try {
        static_cast<void>(far.find<kin::Proxy<FooBar>>("queue"));
      } catch (const std::invalid_argument&) {
        return;
      }
      std::_Exit(3);
    });
    putter.start();
    for (const std::string& value : values) CHECK(queue.get_for(patience) == value);
    CHECK(putter.join_for(patience));
    CHECK(putter.exit_code() == 0);
    CHECK_THROWS_AS(
        static_cast<void>(kin::Manager::connect(manager.address(), std::string("another key"))),
        kin::AuthenticationError);
  }

  TEST_CASE_FIXTURE(Trial, "test_rapid_restart") {
    std::string address = "127.0.0.1:0";
    for (int i = 0; i < 3; ++i) {
      kin::Manager manager({.address = address, .authkey = key});
      address = manager.address();
      const auto queue = manager.queue<std::string>();
      manager.publish("queue", queue);
      kin::Process putter([&] {
        kin::Manager::connect(address, std::string(key)).find<Words>("queue").put("hello world");
      });
      putter.start();
      CHECK(queue.get_for(patience) == "hello world");
      CHECK(putter.join_for(patience));
      try {
        const kin::Manager second({.address = address, .authkey = key});
        CHECK_MESSAGE(false, "two managers have one address");
      } catch (const kin::SystemError& error) {
        CHECK(error.code().value() == EADDRINUSE);
      }
      manager.shutdown();
    }
  }
}
