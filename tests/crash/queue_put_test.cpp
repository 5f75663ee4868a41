// SPDX-License-Identifier: BSL-1.0

// Whoever puts a message is killed, or stopped, at every instruction: the message is in the queue whole,
// or not at all, and all others go on.

#include "crash/family.hpp"
#include "crash/prove.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

using crash::At;
using crash::drain;
using crash::Moment;
using crash::require;
using crash::sweep_the_dead;
using crash::With;
using namespace std::chrono_literals;

namespace {

const std::string never_put = "never put";
const std::string put_whole = "put whole";

/// Holds what was in the queue before; the traced process puts `item`.
template <typename T>
struct Put {
  T before;
  T item;
  T after;
  std::optional<kin::Queue<T>> queue = std::nullopt;

  void prepare() {
    sweep_the_dead();
    queue.emplace();
    queue->put(before);
  }

  std::string outcome(const Moment& moment) const {
    queue->put(after);
    std::vector<T> items = drain(*queue);
    require(items.size() >= 2 && items.front() == before && items.back() == after,
            "a message of somebody else's is lost");
    const bool was_put = items.size() == 3;
    require(!was_put || items[1] == item, "the message is torn");
    require(items.size() <= 3, "put more than once");
    require(was_put || !moment.completed, "put() returned and the message is lost");
    sweep_the_dead();
    queue->put(before);
    require(queue->get() == before && queue->empty(), "the queue does not work after the sweep");
    return was_put ? put_whole : never_put;
  }
};

template <typename T>
void prove_put(const std::string& name, Put<T> put) {
  const crash::Balance balance;
  crash::prove({
      .name = name,
      .prepare = [&] { put.prepare(); },
      .operation = [&] { put.queue->put(put.item); },
      .check = [&](const Moment& moment) { return put.outcome(moment); },
      .expected = {never_put, put_whole},
  });
  put.queue.reset();
  CHECK_NOTHROW(balance.require_unchanged());
}

}  // namespace

TEST_SUITE("queue put") {
  TEST_CASE("a number is put") { prove_put<int>("put of an int", {1, 2, 3}); }

  TEST_CASE("a string is put") {
    prove_put<std::string>("put of a string",
                           {"before", "a message that does not fit into the string", "after"});
  }
}
