// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/kin.hpp>

#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <sys/types.h>

/// What the two chat servers have in common: lines of text on sockets of TCP, on loopback.
namespace chat {

constexpr int workers = 4;
constexpr int clients = 30;
constexpr int lines = 5;  // of each client

/// A port of 0: one that is free.
kin::UniqueFd listen_on(std::uint16_t port);
kin::UniqueFd accept_one(const kin::UniqueFd& listener);
std::uint16_t port_of(const kin::UniqueFd& listener);

/// What became of one client.
struct Talk {
  pid_t server = 0;
  std::string name;
  int lines = 0;
};

/// Greets, and answers each line until an empty one.
Talk talk(const kin::UniqueFd& socket);

/// The other side. Returns how many answers were right, of `lines` + 3.
int be_client(int number, std::uint16_t port);

/// The port that is the only argument, if there is one; 0 if there is none. Ends the program if it is not a
/// port.
std::uint16_t port_argument(int argc, char** argv);

/// Lets that many clients come, each a process of `others`, hands each to `pool`, and says what came of it.
template <typename AnyPool, typename Talking>
std::vector<Talk> serve_many(AnyPool& pool, kin::Pool& others, const Talking& talking) {
  const kin::UniqueFd listener = listen_on(0);
  const std::uint16_t port = port_of(listener);
  std::vector<kin::Future<int>> answers;
  for (int number = 0; number < clients; ++number) {
    answers.push_back(others.apply_async(be_client, number, port));
  }
  std::vector<kin::Future<Talk>> futures;
  for (int number = 0; number < clients; ++number) {
    futures.push_back(pool.apply_async(talking, accept_one(listener)));
  }
  std::vector<Talk> talks;
  talks.reserve(futures.size());
  for (const kin::Future<Talk>& one : futures) talks.push_back(one.get());

  int said = 0;
  for (const Talk& one : talks) said += one.lines;
  int right = 0;
  for (const kin::Future<int>& one : answers) right += one.get();
  std::cout << "talked with " << talks.size() << " clients, who said " << said << " lines\n";
  std::cout << "right answers: " << right << " of " << clients * (lines + 3) << '\n';
  return talks;
}

/// Serves whoever comes, until it is ended.
template <typename AnyPool>
[[noreturn]] void serve_for_ever(AnyPool& pool, std::uint16_t port) {
  const kin::UniqueFd listener = listen_on(port);
  std::cout << "listening on 127.0.0.1, port " << port << "; end me with Ctrl-C" << std::endl;
  while (true) {
    const auto complain = [](const std::exception& error) {
      std::cerr << "a talk ended badly: " << error.what() << '\n';
    };
    static_cast<void>(pool.apply_async({.error_callback = complain}, talk, accept_one(listener)));
  }
}

}  // namespace chat
