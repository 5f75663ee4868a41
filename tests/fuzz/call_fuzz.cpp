// SPDX-License-Identifier: BSL-1.0

// What another program says to a manager, once it has proved that it knows the key: any bytes are a frame, or
// are told to be none; any frame is a call that was exposed, or is refused; and any arguments are those of the
// call, or make it throw. A server in this process runs what comes through.
//
// The input is a row of frames, each behind a byte that is its length and one that says how it is made: of bytes as
// they are, or a call of one of the exposed ones with the bytes as its arguments.

#include "fuzzing.hpp"

#include "manager/server.hpp"
#include "outside/call_frame.hpp"
#include "outside/exposed.hpp"

#include <kin/expose.hpp>
#include <kin/manager.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace kin::detail;

namespace {

class Account {
 public:
  explicit Account(int balance = 0) : balance_(balance) {}
  void deposit(int amount) {
    balance_ = static_cast<int>(static_cast<unsigned>(balance_) + static_cast<unsigned>(amount));
  }
  [[nodiscard]] std::string note(
      const std::map<std::string, std::vector<std::optional<bool>>>& notes, double of) const {
    return std::to_string(notes.size()) + std::to_string(of);
  }
  [[nodiscard]] int balance() const { return balance_; }

 private:
  int balance_;
};
int add_all(Account& account, const std::vector<int>& amounts) {
  for (const int amount : amounts) account.deposit(amount);
  return account.balance();
}

using Counts = kin::managed::Dict<std::string, unsigned>;
using Words = kin::managed::Array<std::string>;
using Shelves = kin::managed::Dict<int, std::vector<bool>>;
using Jobs = kin::managed::JoinableQueue<std::pair<int, std::string>>;

const bool all_are_exposed =
    kin::expose<Account, kin::constructor<int>, &Account::deposit, &Account::note,
                &Account::balance, &add_all>() &&
    kin::expose<Counts>() && kin::expose<Words>() && kin::expose<Shelves>() &&
    kin::expose<Jobs>() && kin::expose<kin::managed::Set<std::string>>() &&
    kin::expose<kin::managed::PriorityQueue<unsigned>>() &&
    kin::expose<kin::managed::NameSpace>() && kin::expose<kin::managed::RLock>() &&
    kin::expose<kin::managed::BoundedSemaphore>() && kin::expose<kin::managed::Event>() &&
    kin::expose<kin::managed::Barrier>();

// A server, and its root, without anybody to call.
struct Host {
  ManagerMemory memory;
  std::optional<Server> server;
  Handle root;

  Host() {
    memory.state().server.store(this_process());
    server.emplace(memory.state());
    root = Handle(make_hosted(memory.state(), 0, 0, type_number(typeid(HostRoot))));
  }
};

Host& host() {
  static Host host;
  return host;
}

const ExposedCalls& exposed() {
  static const ExposedCalls calls;
  return calls;
}

const std::vector<std::uint64_t>& numbers() {
  static const std::vector<std::uint64_t> sorted = [] {
    std::vector<std::uint64_t> all = exposed().numbers();
    std::ranges::sort(all);  // the same in each run
    return all;
  }();
  return sorted;
}

// What the other side may have been lent; one of each.
class Objects {
 public:
  Objects() {
    const Root root(host().root);
    add(root.apply(MakeHosted<Account>{}, 1));
    add(root.apply(MakeHosted<OrderedDict<std::string, unsigned>>{},
                   std::vector<std::pair<std::string, unsigned>>{{"a", 1}}));
    add(root.apply(MakeList<std::string>{}, std::vector<std::string>{"x", "y"}));
    add(root.apply(MakeHosted<OrderedDict<int, std::vector<bool>>>{},
                   std::vector<std::pair<int, std::vector<bool>>>()));
    add(root.apply(MakeHosted<QueueStore<std::pair<int, std::string>, QueueOrder::first_in>>{},
                   std::size_t{2}, true));
    add(root.apply(MakeHosted<QueueStore<unsigned, QueueOrder::smallest>>{}, std::size_t{0},
                   false));
    add(root.apply(MakeHosted<std::set<std::string>>{}, std::set<std::string>{"s"}));
    add(root.apply(MakeHosted<NameSpaceStore>{}));
    add(root.apply(MakeHosted<LockStore>{}, true));
    add(root.apply(MakeHosted<SemaphoreStore>{}, 1, true));
    add(root.apply(MakeHosted<EventStore>{}));
    add(root.apply(MakeHosted<BarrierStore>{}, 2));
    handles_.push_back(host().root);
  }
  ~Objects() {
    handles_.clear();
    static_cast<void>(host().server->statistics());  // which ends those that nobody refers to
  }
  Objects(const Objects&) = delete;
  Objects& operator=(const Objects&) = delete;

  [[nodiscard]] const Handle& at(std::size_t number) const {
    return handles_[number % handles_.size()];
  }

 private:
  template <typename T>
  void add(const kin::Proxy<T>& proxy) {
    handles_.push_back(HandleIn(proxy).handle());
  }
  // A proxy's own.
  struct HandleIn : HandleOf<ObjectKind::hosted> {
    explicit HandleIn(const HandleOf<ObjectKind::hosted>& proxy) : HandleOf(proxy) {}
    using HandleOf::handle;
  };

  std::vector<Handle> handles_;
};

void try_call(const CallFrame& frame, const Handle& object) {
  const HostedObject& hosted = HostedObject::of(object.object());
  // a copy of its own size, so that the sanitizer sees a read behind its end
  fuzz::Bytes arguments(frame.bytes.begin(), frame.bytes.end());
  try {
    const HostedCode code = exposed().code_for(frame.number, arguments, hosted.type);
    IncomingCargo cargo;
    Server::call_here(hosted, code, arguments, cargo, true,
                      [](std::span<const std::byte> /*bytes*/, const OutgoingCargo& /*cargo*/) {});
  } catch (const std::exception& error) {
    fuzz::require(std::strlen(error.what()) > 0, "who is refused is told why");
  }
}

}  // namespace

namespace fuzz {

void try_bytes(std::span<const std::byte> input) {
  const Objects objects;
  Choices choices(input);
  while (!choices.empty()) {
    const std::size_t size = choices.below(256);
    const std::size_t form = choices.below(256);
    const Bytes bytes = [&] {
      const auto taken = choices.take(size);
      return Bytes(taken.begin(), taken.end());
    }();
    if (form == 0) {
      try {
        const CallFrame frame = read_frame(bytes);
        const Bytes again = write_frame(frame);
        require(std::ranges::equal(again, bytes), "a frame that was read is written the same");
        try_call(frame, objects.at(frame.object.index));
      } catch (const kin::SerializationError&) {
        continue;
      }
    } else {
      // With most numbers only one of the objects goes on.
      CallFrame frame{.number = form == 1 ? 1 : numbers()[form % numbers().size()], .bytes = bytes};
      for (std::size_t number = 0; number < 13; ++number) try_call(frame, objects.at(number));
    }
  }
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  const auto add = [&](std::size_t form, std::span<const std::byte> message) {
    Bytes seed{static_cast<std::byte>(message.size()), static_cast<std::byte>(form)};
    seed.insert(seed.end(), message.begin(), message.end());
    all.push_back(std::move(seed));
  };
  OutArchive out;
  encode(out, std::string("a"));
  for (std::size_t form = 1; form < 256; ++form) add(form, out.bytes());
  encode(out, 7);
  for (std::size_t form = 1; form < 256; ++form) add(form, out.bytes());
  const std::array<std::byte, 24> zeros{};
  for (std::size_t form = 1; form < 256; ++form) add(form, zeros);
  const Bytes frame = write_frame(
      {.kind = FrameKind::call, .number = numbers().front(), .objects = {{}}, .bytes = zeros});
  add(0, frame);
  return all;
}

}  // namespace fuzz
