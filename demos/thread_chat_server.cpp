// SPDX-License-Identifier: BSL-1.0
//
// demo: the chat server with threads in place of processes: what they share, and what they would take along
//
// The same talks as in pool_chat_server, in a kin::ThreadPool. Threads see one memory: here they write all
// guests into one book, where workers that are processes would each have a book of their own. That is also
// what they pay: they need a lock, and a talk that crashes takes the whole server with it; in a kin::Pool it
// ends one worker, and the others talk on.
//
//   demos/run thread_chat_server         many clients at once, on a port of loopback that is free
//   demos/run thread_chat_server 7777    a server to talk to: nc 127.0.0.1 7777, end with an empty line

#include "chat/talk.hpp"

#include <algorithm>
#include <iostream>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <unistd.h>

int main(int argc, char** argv) {
  const std::uint16_t port = chat::port_argument(argc, argv);
  if (port != 0) {
    kin::ThreadPool pool(chat::workers);
    chat::serve_for_ever(pool, port);
  }

  kin::Pool others(chat::clients);  // before there are threads: each client is a process
  kin::ThreadPool pool(chat::workers);
  std::mutex book_lock;
  std::set<std::string> book;
  const auto talk_and_note = [&](const kin::UniqueFd& socket) {
    chat::Talk talk = chat::talk(socket);
    const std::scoped_lock guard(book_lock);
    book.insert(talk.name);
    return talk;
  };
  std::cout << chat::workers << " threads ";
  const std::vector<chat::Talk> talks = chat::serve_many(pool, others, talk_and_note);
  const bool was_parent =
      std::ranges::all_of(talks, [](const chat::Talk& one) { return one.server == ::getpid(); });
  std::cout << "all in " << (was_parent ? "this process" : "others") << ", whose book has "
            << book.size() << " guests\n";
}
