// SPDX-License-Identifier: BSL-1.0

#include "frame.hpp"
#include "support/sanitizer.hpp"

#include <kin/error.hpp>
#include <kin/manager.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

struct Account {
  explicit Account(int start) : balance(start) {}
  int deposit(int sum) { return balance += sum; }
  [[nodiscard]] int get() const { return balance; }
  int withdraw(int sum) {
    if (sum > balance) throw std::range_error("not so much");
    return balance -= sum;
  }
  int balance;
};

// Has a function that is called as one of kin's own objects' is.
class Cemetery {
 public:
  void bury(std::uint64_t /*who*/) { ++buried_; }
  [[nodiscard]] int buried() const { return buried_; }

 private:
  int buried_ = 0;
};

int doubled(Account& account) { return account.balance *= 2; }

pid_t own_pid(int& /*unused*/) { return ::getpid(); }

// Dropped proxies are seen by the server at the latest when it is asked.
std::size_t objects_of(const kin::Manager& manager) { return manager.statistics().objects; }

}  // namespace

TEST_SUITE("manager") {
  using namespace unit;

  TEST_CASE("functions of an object run in the server") {
    const Frame frame;
    kin::Manager manager;
    const kin::Proxy<Account> account = manager.make<Account>(100);
    CHECK(account.call(&Account::deposit, 5) == 105);
    CHECK(account.call(&Account::get) == 105);
    CHECK(account.call(&Account::balance) == 105);
    CHECK(account.apply(doubled) == 210);
    CHECK(account.apply([](Account& it, int sum) { return it.deposit(sum); }, -10) == 200);
    const int factor = 3;
    account.apply([factor](Account& it) { it.balance *= factor; });
    CHECK(account.call(&Account::get) == 600);
    const auto number = manager.make<int>(7);
    CHECK(number.copy() == 7);
    CHECK(number.apply(own_pid) == manager.process().pid());
    CHECK(number.apply(own_pid) != ::getpid());
  }

  TEST_CASE("arguments and results are values of their own, of any size") {
    const Frame frame;
    kin::Manager manager;
    const auto text = manager.make<std::string>("abc");
    CHECK(text.apply([](std::string& it, const std::string& more) { return it += more; }, "def") ==
          "abcdef");
    for (const std::size_t size : {std::size_t{0}, std::size_t{55}, std::size_t{56},
                                   std::size_t{57}, std::size_t{5000}, std::size_t{3} << 20}) {
      const std::string value(size, 'x');
      text.apply([](std::string& it, std::string given) { it = std::move(given); }, value);
      CHECK(text.copy() == value);
    }
  }

  TEST_CASE("what a function throws arrives") {
    const Frame frame;
    kin::Manager manager;
    const auto account = manager.make<Account>(1);
    CHECK_THROWS_AS(account.call(&Account::withdraw, 2), std::range_error);
    CHECK_THROWS_AS(account.apply([](Account& /*it*/) { throw 5; }), kin::RemoteError);
    CHECK(account.call(&Account::withdraw, 1) == 0);
    CHECK_THROWS_AS(static_cast<void>(kin::Proxy<int>().copy()), std::logic_error);
  }

  TEST_CASE("addresses of this process do not travel") {
    const Frame frame;
    kin::Manager manager;
    const auto number = manager.make<int>(0);
    int local = 5;
    CHECK_THROWS_AS(number.apply([&local](int& it) { it = local; }), std::invalid_argument);
    CHECK(number.copy() == 0);
  }

  TEST_CASE("processes that were forked before and after call it") {
    const Frame frame;
    const kin::Queue<kin::Proxy<int>> proxies;
    Relative earlier([proxies] {
      const kin::Proxy<int> number = proxies.get();
      return std::to_string(number.apply([](int& it) { return ++it; }));
    });
    kin::Manager manager;
    const auto number = manager.make<int>(41);
    proxies.put(number);
    CHECK(earlier.answer() == "42");
    CHECK(answer_of([&] { return std::to_string(number.apply([](int& it) { return ++it; })); }) ==
          "43");
    CHECK(answer_of([&] { return std::to_string(manager.make<int>(5).copy()); }) == "5");
    CHECK(number.copy() == 43);
  }

  TEST_CASE("many threads call at once") {
    const Frame frame;
    constexpr int threads = 8;
    constexpr int calls = 500;
    kin::Manager manager;
    const auto number = manager.make<int>(0);
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) {
      all.emplace_back([&] {
        for (int n = 0; n < calls; ++n) number.apply([](int& it) { ++it; });
      });
    }
    for (std::thread& thread : all) thread.join();
    CHECK(number.copy() == threads * calls);
  }

  TEST_CASE("an object lives as long as somebody refers to it") {
    const Frame frame;
    kin::Manager manager;
    CHECK(objects_of(manager) == 0);
    auto first = manager.make<int>(1);
    {
      const auto second = manager.make<int>(2);
      const auto same = first;  // NOLINT(performance-unnecessary-copy-initialization)
      CHECK(same == first);
      CHECK_FALSE(second == first);
      CHECK(objects_of(manager) == 2);
    }
    CHECK(objects_of(manager) == 1);
    kin::Queue<kin::Proxy<int>> on_its_way;
    on_its_way.put(std::exchange(first, {}));
    CHECK(objects_of(manager) == 1);
    first = on_its_way.get();
    CHECK(first.copy() == 1);
    first = {};
    CHECK(objects_of(manager) == 0);
  }

  TEST_CASE("objects refer to objects") {
    const Frame frame;
    kin::Manager manager;
    using Inner = kin::Proxy<std::vector<int>>;
    auto outer = manager.make<std::vector<Inner>>();
    {
      const auto inner = manager.make<std::vector<int>>();
      outer.apply([](std::vector<Inner>& all, Inner one) { all.push_back(std::move(one)); }, inner);
    }
    CHECK(objects_of(manager) == 2);
    outer.apply([](std::vector<Inner>& all) {
      // In the server: the object itself is called.
      all.at(0).apply([](std::vector<int>& it) { it.push_back(7); });
    });
    CHECK(outer.copy().at(0).copy() == std::vector{7});
    outer = {};
    CHECK(objects_of(manager) == 0);
  }

  TEST_CASE("a proxy of another type is not taken for one") {
    const Frame frame;
    kin::Manager manager;
    const auto number = manager.make<int>(0);
    kin::detail::OutArchive out;
    kin::detail::encode(out, number);
    kin::detail::IncomingCargo cargo{
        .handles = {out.cargo().handles.begin(), out.cargo().handles.end()}, .descriptors = {}};
    kin::detail::InArchive in(out.bytes(), cargo);
    CHECK_THROWS_AS(kin::detail::decode<kin::Proxy<long>>(in), kin::SerializationError);
  }

  TEST_CASE("a client that dies leaves nothing behind") {
    const Frame frame;
    kin::Manager manager;
    Relative client([&] {
      const auto number = manager.make<int>(0);
      number.apply([](int& it) { ++it; });
      while (true) ::pause();
      return "";
    });
    CHECK(eventually([&] { return objects_of(manager) == 1; }));
    client.end();
    CHECK(eventually([&] { return objects_of(manager) == 0; }));
    CHECK(manager.statistics().clients == 1);
  }

  TEST_CASE("when the server is killed every call says so") {
    const Frame frame;
    kin::Manager manager;
    const auto number = manager.make<int>(0);
    Relative client([&] {
      try {
        while (true) number.apply([](int& it) { ++it; });
      } catch (const kin::ManagerDied&) {
        return "told";
      }
    });
    CHECK(eventually([&] { return number.copy() > 100; }));
    manager.process().kill();
    CHECK(client.answer() == "told");
    CHECK_THROWS_AS(static_cast<void>(number.copy()), kin::ManagerDied);
    CHECK_THROWS_AS(static_cast<void>(manager.make<int>(1)), kin::ManagerDied);
    CHECK_NOTHROW(manager.shutdown());
  }

  // Fails when the server ends with what was thrown as it took the call.
  TEST_CASE("a call whose descriptors the server has no room for fails, and the server goes on") {
    const Frame frame;
    kin::Manager manager;
    const auto number = manager.make<int>(0);
    const auto limit = [](int& /*it*/, rlim_t most) {
      rlimit now{};
      ::getrlimit(RLIMIT_NOFILE, &now);
      now.rlim_cur = most != 0 ? most : now.rlim_max;
      ::setrlimit(RLIMIT_NOFILE, &now);
    };
    const auto take = [](int& it, const kin::UniqueFd& /*descriptor*/) { ++it; };
    const auto null = [] { return kin::UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)); };
    number.apply(take, null());
    number.apply(limit, rlim_t{3});
    CHECK_THROWS_AS(number.apply(take, null()), kin::SystemError);
    CHECK_THROWS_AS(number.apply(take, null()), kin::SystemError);
    CHECK(number.copy() == 1);
    number.apply(limit, rlim_t{0});
    number.apply(take, null());
    CHECK(number.copy() == 2);
  }

  TEST_CASE("a call that the server has no memory for fails, and the server goes on") {
    if (support::is_sanitized) {
      std::puts("skipped: a sanitizer's memory can't be limited");
      return;
    }
    const Frame frame;
    const kin::Manager manager({.initializer = [] {
      const rlimit little{std::size_t{64} << 20, std::size_t{64} << 20};
      ::setrlimit(RLIMIT_DATA, &little);
    }});
    const auto text = manager.make<std::string>("before");
    const auto assign = [](std::string& it, const std::string& other) { it = other; };
    for (int i = 0; i < 2; ++i) {
      CHECK_THROWS_AS(text.apply(assign, std::string(std::size_t{100} << 20, 'x')), std::bad_alloc);
      CHECK(text.copy() == "before");
    }
    text.apply(assign, std::string("after"));
    CHECK(text.copy() == "after");
  }

  TEST_CASE("only objects of kin's own are told of a client's death") {
    const Frame frame;
    const kin::Manager manager;
    const auto cemetery = manager.make<Cemetery>();
    const auto lock = manager.lock();
    Relative client([&] {
      cemetery.call(&Cemetery::bury, 1U);
      lock.lock();
      lock.unlock();
      return "done";
    });
    CHECK(client.answer() == "done");
    client.end();
    CHECK(eventually([&] { return manager.statistics().clients == 1; }));
    CHECK(cemetery.call(&Cemetery::buried) == 1);
  }

  TEST_CASE("a manager is shut down") {
    const Frame frame;
    kin::Proxy<int> number;
    std::optional<kin::ProcessHandle> server;
    {
      kin::Manager manager({.name = "Ledger"});
      number = manager.make<int>(0);
      server = manager.process();
      CHECK(server->name() == "Ledger-server");
      CHECK(kin::active_children().empty());
      CHECK(server->is_alive());
      manager.shutdown();
      CHECK_FALSE(server->is_alive());
      CHECK(server->exit_code() == 0);
      manager.shutdown();
      CHECK_THROWS_AS(static_cast<void>(manager.statistics()), kin::ManagerDied);
    }
    CHECK_THROWS_AS(static_cast<void>(number.copy()), kin::ManagerDied);
    {
      const kin::Manager manager;
      server = manager.process();
    }
    CHECK_FALSE(server->is_alive());
  }

  TEST_CASE("a manager whose server does not end is shut down all the same") {
    const Frame frame;
    kin::Manager manager;
    const auto number = manager.make<int>(0);
    Relative client([&] {
      try {
        number.apply([](int& it) {
          it = 1;
          while (true) ::pause();
        });
      } catch (const kin::ManagerDied&) {
        return "told";
      }
      return "it returned";
    });
    CHECK(client.falls_asleep());
    manager.shutdown();
    CHECK(manager.process().exit_code() == -SIGKILL);
    CHECK(client.answer() == "told");
  }

  TEST_CASE("the initializer runs first of all, in the server") {
    const Frame frame;
    const kin::Queue<int> ran;
    kin::Manager manager({.name = {}, .initializer = [ran] { ran.put(::getpid()); }});
    CHECK(ran.get() == manager.process().pid());
    CHECK(manager.make<int>(3).copy() == 3);
    CHECK_THROWS_WITH_AS(
        kin::Manager(
            {.name = "Broken", .initializer = [] { throw std::runtime_error("no such file"); }}),
        doctest::Contains("no such file"), kin::ManagerDied);
  }

  TEST_CASE("another process's copy does not shut it down") {
    const Frame frame;
    kin::Manager manager;
    const auto number = manager.make<int>(3);
    CHECK(answer_of([&] {
            try {
              manager.shutdown();
            } catch (const std::logic_error&) {
              const kin::Manager copy = std::move(manager);
              return "refused";
            }
            return "it did";
          }) == "refused");
    CHECK(number.copy() == 3);
  }
}
