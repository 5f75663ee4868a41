// SPDX-License-Identifier: BSL-1.0
//
// demo: a chat server: the parent accepts, and hands each accepted socket to a worker of a pool
//
// A socket is a descriptor, and a kin::UniqueFd travels as an argument: the worker gets a descriptor of its
// own of the same connection. It was forked long before the client came. A few workers serve any number of
// clients, one each at a time; the others wait for their turn. thread_chat_server has threads in their place.
//
//   demos/run pool_chat_server         many clients at once, on a port of loopback that is free
//   demos/run pool_chat_server 7777    a server to talk to: nc 127.0.0.1 7777, end with an empty line

#include "chat/talk.hpp"

#include <algorithm>
#include <iostream>
#include <vector>

#include <unistd.h>

int main(int argc, char** argv) {
  const std::uint16_t port = chat::port_argument(argc, argv);
  kin::Pool pool(chat::workers);
  if (port != 0) chat::serve_for_ever(pool, port);

  kin::Pool others(chat::clients);  // the clients: each a process, all at once
  std::cout << chat::workers << " processes ";
  // The parent's copy of a socket is closed when it has handed it over.
  const std::vector<chat::Talk> talks = chat::serve_many(pool, others, chat::talk);
  const bool was_parent =
      std::ranges::any_of(talks, [](const chat::Talk& one) { return one.server == ::getpid(); });
  std::cout << "the parent, which accepted them all, talked with "
            << (was_parent ? "some" : "nobody") << '\n';
}
