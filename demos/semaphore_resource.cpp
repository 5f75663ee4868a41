// SPDX-License-Identifier: BSL-1.0
//
// demo: three connections for eight clients; and what becomes of the permit of a client that is killed
//
// A semaphore counts permits. Those of a kin::Semaphore belong to nobody, so a client that is killed takes
// its permit with it. A kin::BoundedSemaphore knows who has them.

#include <kin/kin.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int connections = 3;
constexpr int clients = 8;

void join_all(std::vector<kin::Process>& processes) {
  for (kin::Process& process : processes) process.join();
}

// ---- three at a time

struct Server {
  int connected = 0;
  int most = 0;
  int served = 0;
};

void show_three_at_a_time() {
  std::cout << clients << " clients, and a server that bears " << connections << " connections\n";
  const kin::BoundedSemaphore permits(connections);
  const kin::Value<Server> server;
  std::vector<kin::Process> processes;
  for (int i = 0; i < clients; ++i) {
    processes
        .emplace_back([=] {
          const std::scoped_lock permit(permits);  // waits while there is none
          server.with([](Server& s) { s.most = std::max(s.most, ++s.connected); });
          std::this_thread::sleep_for(30ms);  // the work
          server.with([](Server& s) {
            --s.connected;
            ++s.served;
          });
        })
        .start();
  }
  join_all(processes);
  const Server end = server.load();
  std::cout << "  at most " << end.most << " were connected at a time\n";
  std::cout << "  " << end.served << " were served, "
            << (end.most <= connections ? "never more than three at once" : "too many at once")
            << '\n';
}

// ---- clients are killed

// Three clients are killed while they are connected. Is there a connection for the next one?
template <typename Permits>
void three_are_killed(const Permits& permits) {
  std::vector<kin::Process> processes;
  for (int i = 0; i < connections; ++i) {
    processes
        .emplace_back([permits] {
          permits.acquire();
          std::raise(SIGKILL);  // and nobody calls release()
        })
        .start();
  }
  join_all(processes);
  std::cout << "  three clients were killed while they were connected\n";
  if (permits.try_acquire_for(1s)) {
    std::cout << "  the next client is connected, and there is room for " << permits.value()
              << " more\n";
  } else {  // without a time limit it would hang here
    std::cout << "  nobody is connected, and the next client still waits\n";
  }
}

}  // namespace

int main() {
  // The log goes to stderr unless told otherwise; here its lines stand among the others.
  kin::set_log_sink([](kin::LogLevel, std::string_view line) {
    std::cout << "  kin's log:" << line.substr(line.find(':') + 1) << std::endl;
  });

  show_three_at_a_time();
  std::cout << "wrong: a Semaphore, of which nobody knows who has its permits\n";
  three_are_killed(kin::Semaphore(connections));
  std::cout << "right: a BoundedSemaphore\n";
  three_are_killed(kin::BoundedSemaphore(connections));
}
