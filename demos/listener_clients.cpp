// SPDX-License-Identifier: BSL-1.0
//
// demo: a listener and its clients, which are programs of their own; one has the wrong key, and is refused
//
// Programs that are no relatives share no memory. They find each other by an address, prove to each other
// that they know the same key, which does not travel, and send each other values. Whoever does not know the
// key is told so, and costs the others nothing.
//
//   demos/run listener_clients                          a listener, which starts four clients
//   KEY=… demos/run listener_clients ADDRESS NAME       one client, also from elsewhere

#include <kin/kin.hpp>

#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Question {
  std::string from;
  std::vector<int> numbers;
};

int be_client(const std::string& address, const std::string& name) {
  const char* key = std::getenv("KEY");
  try {
    const kin::Client<Question, int> client(address, {.authkey = key == nullptr ? "" : key});
    client.send({.from = name, .numbers = {1, 2, 3, static_cast<int>(name.size())}});
    std::cout << name << " got " << client.recv() << std::endl;
    return 0;
  } catch (const kin::AuthenticationError&) {
    std::cout << name << " was refused" << std::endl;
    return 1;
  }
}

// This program once more, from its beginning: no child of kin's, and no relative.
pid_t start_program(const std::string& address, const std::string& name, const std::string& key) {
  // The environment, and not the command line, which everybody can read.
  ::setenv("KEY", key.c_str(), 1);
  std::string program = "/proc/self/exe";
  std::string address_argument = address;
  std::string name_argument = name;
  char* arguments[] = {program.data(), address_argument.data(), name_argument.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments, environ);
  if (error != 0) throw kin::SystemError("posix_spawn", error);
  return pid;
}

// One answer for whoever comes; false if it did not know the key.
bool serve_one(const kin::Listener<int, Question>& listener) {
  try {
    const kin::Connection<int, Question> connection = listener.accept();
    const Question question = connection.recv();
    connection.send(std::accumulate(question.numbers.begin(), question.numbers.end(), 0));
    return true;
  } catch (const kin::AuthenticationError&) {
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) return be_client(argv[1], argv[2]);

  const std::string key = "open sesame";
  // On this machine only, and any port that is free.
  const kin::Listener<int, Question> listener({.address = "127.0.0.1:0", .authkey = key});
  std::vector<pid_t> programs;
  for (const std::string name : {"ada", "grace", "barbara"}) {
    programs.push_back(start_program(listener.address(), name, key));
  }
  programs.push_back(start_program(listener.address(), "mallory", "open barley"));

  int served = 0;
  int refused = 0;
  while (served + refused < 4) ++(serve_one(listener) ? served : refused);
  for (const pid_t pid : programs) ::waitpid(pid, nullptr, 0);
  std::cout << served << " programs were served, " << refused << " was refused\n";
}
