// SPDX-License-Identifier: BSL-1.0
//
// Signals amid sending and receiving, against CPython's TestIgnoreEINTR.
//
// Fails when:
//   look() in connection/end.cpp does not except EINTR: test_ignore

#include "trial.hpp"

#include "support/bystander.hpp"
#include "support/shared_page.hpp"

#include <atomic>

#include <csignal>
#include <unistd.h>

using namespace trial;

namespace {

std::atomic<int>* signals_seen = nullptr;  // shared with the child

}  // namespace

TEST_SUITE("ignore_eintr") {
  TEST_CASE_FIXTURE(Trial, "test_ignore_listener") {
    const auto [conn, child_conn] = kin::Pipe<std::string>();
    const crash::SharedPage<std::atomic<int>> seen;
    signals_seen = &*seen;
    kin::Process child([=, parents = conn, own = child_conn] {
      parents.close();
      struct sigaction count {};
      count.sa_handler = [](int) { ++*signals_seen; };  // without SA_RESTART
      expect(::sigaction(SIGUSR1, &count, nullptr) == 0);
      const kin::Listener<std::string> listener;
      own.send(listener.address());
      listener.accept().send("welcome");
    });
    child.start();
    child_conn.close();
    const auto address = conn.recv_for(patience);
    REQUIRE(address);
    for (int i = 0; i < 3; ++i) {
      const int before = *seen;
      CHECK(eventually([&] { return crash::process_state(child.pid()) == 'S'; }));
      CHECK(::kill(child.pid(), SIGUSR1) == 0);
      CHECK(eventually([&] { return *seen > before; }));
    }
    const kin::Client<std::string> client(*address);
    CHECK(client.recv_for(patience) == "welcome");
    CHECK(end_of(child) == 0);
  }

  TEST_CASE_FIXTURE(Trial, "test_ignore") {
    constexpr std::size_t huge = std::size_t{16} << 20;
    const auto [conn, child_conn] = kin::Pipe<std::string>();
    const crash::SharedPage<std::atomic<int>> seen;
    signals_seen = &*seen;
    kin::Process child([=, parents = conn, own = child_conn] {
      parents.close();
      struct sigaction count {};
      count.sa_handler = [](int) { ++*signals_seen; };  // without SA_RESTART
      expect(::sigaction(SIGUSR1, &count, nullptr) == 0);
      own.send("ready");
      own.send(own.recv());
      own.send(std::string(huge, 'x'));
    });
    child.start();
    child_conn.close();
    const auto interrupt_its_sleep = [&] {
      for (int i = 0; i < 3; ++i) {
        const int before = *seen;
        CHECK(eventually([&] { return crash::process_state(child.pid()) == 'S'; }));
        CHECK(::kill(child.pid(), SIGUSR1) == 0);
        CHECK(eventually([&] { return *seen > before; }));
      }
    };
    CHECK(conn.recv_for(patience) == "ready");
    interrupt_its_sleep();
    conn.send("1234");
    CHECK(conn.recv_for(patience) == "1234");
    interrupt_its_sleep();
    CHECK((conn.recv_for(patience) == std::string(huge, 'x')));
    CHECK(end_of(child) == 0);
  }
}
