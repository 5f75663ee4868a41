// SPDX-License-Identifier: BSL-1.0
#pragma once

// Four producers and four consumers on one queue, hunted, with every message accounted for.
//
// A producer notes the number of a message before its put and after the put has returned; a consumer
// sets the message's bit right after its get. At the end of a phase, with all of them gone and the
// queue empty:
//   - a message whose put returned has its bit, or was in the hand of a consumer that was killed
//     between the moments before its get and after its note: at most one for each of these. None in
//     every second phase, where only producers are hunted;
//   - a message whose producer was killed in the put may have arrived, whole, or not;
//   - no other has arrived, none twice (its bit was set already), and each consumer saw the messages
//     of one producer in their order.

#include "hunt.hpp"

#include <kin/queue.hpp>

#include <cerrno>
#include <memory>
#include <system_error>

#include <sys/mman.h>

namespace soak {

/// What identifies a message.
struct Note {
  std::uint32_t producer;
  std::uint32_t sequence;

  [[nodiscard]] std::uint64_t check() const {
    std::uint64_t mixed = (std::uint64_t{producer} << 32 | sequence) + 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }
  /// For consumers: the last message of a phase.
  [[nodiscard]] bool is_farewell() const { return producer == farewell; }
  static constexpr std::uint32_t farewell = 0xffff'ffff;
};

/// The accounts of a phase. Large, so made by mmap() alone, which gives zeroes: pages are had as they
/// are touched.
struct Accounts {
  static constexpr std::uint32_t most_messages = 1U << 20;  // of one producer

  struct Producer {
    std::atomic<std::uint32_t> tried;  // numbers below were given to a put
    std::atomic<std::uint32_t> put;    // numbers below were put: put() returned
  };
  struct Consumer {
    std::atomic<bool> getting;  // from before a get to after its note
    std::atomic<std::uint32_t> got;
    // of a JoinableQueue: calls of task_done() that began, that returned
    std::atomic<std::uint32_t> finishing;
    std::atomic<std::uint32_t> finished;
  };
  std::array<Producer, Herd::most_incarnations> producers;
  std::array<Consumer, Herd::most_incarnations> consumers;
  // A bit a message.
  std::array<std::array<std::atomic<std::uint64_t>, most_messages / 64>, Herd::most_incarnations>
      arrived;

  bool mark(const Note& note) {
    const std::uint64_t bit = std::uint64_t{1} << (note.sequence % 64);
    return (arrived[note.producer][note.sequence / 64].fetch_or(bit) & bit) == 0;
  }
  [[nodiscard]] bool has_arrived(const Note& note) const {
    return (arrived[note.producer][note.sequence / 64].load() >> (note.sequence % 64) & 1) != 0;
  }
};

class SharedAccounts {
 public:
  SharedAccounts() {
    void* place = mmap(nullptr, sizeof(Accounts), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    accounts_.reset(static_cast<Accounts*>(place));
  }
  Accounts& operator*() const { return *accounts_; }

 private:
  struct Unmap {
    void operator()(Accounts* accounts) const { munmap(accounts, sizeof(Accounts)); }
  };
  std::unique_ptr<Accounts, Unmap> accounts_;
};

struct Totals {
  std::uint64_t phases = 0;
  std::uint64_t killed = 0;
  std::uint64_t killed_consumers = 0;
  std::uint64_t put = 0;
  std::uint64_t arrived = 0;
  std::uint64_t in_hand = 0;           // of killed consumers
  std::uint64_t most_in_hand = 0;      // as many as that could have been
  std::uint64_t put_at_death = 0;      // arrived although the producer was killed in the put
  std::uint64_t unfinished = 0;        // that OwnerDied told of
  std::uint64_t least_unfinished = 0;  // by the consumers' notes
  std::uint64_t most_unfinished = 0;
};

/// How one kind of queue is driven. `Load` says what the messages are:
///   using Message; static Message make(Note); static std::optional<Note> read(const Message&),
///   which is none where the message is not whole.
template <typename Load, template <typename> class QueueOf = kin::Queue>
class Traffic {
 public:
  using Message = typename Load::Message;
  // A drained queue keeps its last ring. No backlog here needs one of more than 4 MiB.
  static constexpr std::size_t most_ring_chunks = (std::size_t{4} << 20) / kin::detail::chunk_size;
  static constexpr bool joinable = std::is_same_v<QueueOf<int>, kin::JoinableQueue<int>>;

  Traffic(const char* name, std::ptrdiff_t max_size, std::size_t backlog)
      : name_(name), max_size_(max_size), backlog_(backlog) {}

  void run(const Options& options, double share) {
    const auto begin = Clock::now();
    const auto end = begin + std::chrono::duration<double>(options.seconds * share);
    Chance chance(options.seed);
    {
      const QueueOf<Message> queue(max_size_);
      // The first phase finds out what it takes; what comes later must do with that.
      phase(queue, chance, milliseconds(300));
      settled_ = Holdings::now();
      while (Clock::now() < end) {
        phase(queue, chance, milliseconds(200 + chance.up_to(800)));
        now_ = Holdings::now();
        settled_.compare(now_, most_ring_chunks);
      }
    }
    print(std::chrono::duration<double>(Clock::now() - begin).count());
  }

 private:
  using Queue = QueueOf<Message>;

  void phase(const Queue& queue, Chance& chance, milliseconds length) {
    enter("hunt");
    const SharedAccounts accounts;
    std::atomic<bool>& over = *over_;
    over.store(false);
    const std::uint32_t seed = chance.up_to(1'000'000'000);
    Herd herd(chance, [&](std::size_t desk, std::uint32_t incarnation) {
      Chance own(seed + incarnation);
      const int descriptors = open_descriptors();
      if (desk % 2 == 0) {
        produce(queue, *accounts, own, board().desks[desk], incarnation);
      } else {
        consume(queue, *accounts, own, board().desks[desk], incarnation);
      }
      if (const int now = open_descriptors(); now > descriptors) {
        violation("a worker ends with %d descriptors, and began with %d", now, descriptors);
      }
    });
    // Producers have the even desks.
    herd.hunt_until(Clock::now() + length, totals_.phases % 2 == 0 ? 1 : 2);
    enter("producers end");
    over.store(true);
    for (std::size_t desk = 0; desk < worker_count; desk += 2) herd.finish(desk);
    enter("farewell");
    for (std::size_t desk = 1; desk < worker_count; desk += 2) {
      queue.put(Load::make({Note::farewell, 0}));
    }
    enter("consumers end");
    for (std::size_t desk = 1; desk < worker_count; desk += 2) herd.finish(desk);
    enter("accounts");
    if (queue.size() != 0) violation("%zu messages are left in the queue", queue.size());
    settle(*accounts, herd);
    if constexpr (joinable) settle_unfinished(queue, *accounts, herd);
    ++totals_.phases;
  }

  void produce(const Queue& queue, Accounts& accounts, Chance& chance, Desk& desk,
               std::uint32_t incarnation) {
    Accounts::Producer& self = accounts.producers[incarnation];
    for (std::uint32_t i = 0; i < Accounts::most_messages && !over_->load();) {
      if (chance.one_in(500)) pause(desk, chance);
      while (max_size_ == 0 && queue.size() > backlog_ && !over_->load()) pause(desk, chance);
      const Message message = Load::make({incarnation, i});
      self.tried.store(i + 1);
      if (put(queue, message, chance, desk)) {
        self.put.store(++i);
        desk.progress.fetch_add(1, std::memory_order_relaxed);
      }
    }
  }

  // Killed in here: the message may be in the queue or not, and the account says so.
  bool put(const Queue& queue, const Message& message, Chance& chance, Desk& desk) {
    if (chance.one_in(4)) {
      desk.does.store("try_put");
      return queue.try_put(message);
    }
    if (chance.one_in(4)) {
      desk.does.store("put_for");
      return queue.put_for(message, chance.microseconds(0, 3000));
    }
    desk.does.store("put");
    queue.put(message);
    return true;
  }

  void consume(const Queue& queue, Accounts& accounts, Chance& chance, Desk& desk,
               std::uint32_t incarnation) {
    Accounts::Consumer& self = accounts.consumers[incarnation];
    std::vector<std::int64_t> last(Herd::most_incarnations, -1);
    std::uint32_t open = 0;
    const auto finish_all = [&] {
      for (; open > 0; --open) finish(queue, self, desk);
    };
    for (;;) {
      if (chance.one_in(500)) pause(desk, chance);
      self.getting.store(true);
      const std::optional<Message> message = get(queue, chance, desk);
      if (!message) {
        self.getting.store(false);
        continue;
      }
      const std::optional<Note> note = Load::read(*message);
      desk.progress.fetch_add(1, std::memory_order_relaxed);
      if (note && note->is_farewell()) break;
      if (!note || note->producer >= Herd::most_incarnations ||
          note->sequence >= Accounts::most_messages) {
        violation("a message is not whole");
      } else {
        if (!accounts.mark(*note)) {
          violation("message %u of producer %u came twice", note->sequence, note->producer);
        }
        if (last[note->producer] >= note->sequence) {
          violation("message %u of producer %u came after %lld", note->sequence, note->producer,
                    static_cast<long long>(last[note->producer]));
        }
        last[note->producer] = note->sequence;
      }
      self.got.fetch_add(1);
      self.getting.store(false);
      ++open;
      if (open > chance.up_to(3)) finish_all();
    }
    self.got.fetch_add(1);
    self.getting.store(false);
    ++open;
    finish_all();
  }

  std::optional<Message> get(const Queue& queue, Chance& chance, Desk& desk) {
    if (chance.one_in(4)) {
      desk.does.store("try_get");
      return queue.try_get();
    }
    if (chance.one_in(4)) {
      desk.does.store("get_for");
      return queue.get_for(chance.microseconds(0, 3000));
    }
    desk.does.store("get");
    return queue.get();
  }

  void finish([[maybe_unused]] const Queue& queue, [[maybe_unused]] Accounts::Consumer& self,
              [[maybe_unused]] Desk& desk) {
    if constexpr (joinable) {
      desk.does.store("task_done");
      self.finishing.fetch_add(1);
      queue.task_done();
      self.finished.fetch_add(1);
    }
  }

  static void pause(Desk& desk, Chance& chance) {
    desk.does.store("sleep of its own");
    std::this_thread::sleep_for(chance.microseconds(50, 1000));
  }

  void settle(const Accounts& accounts, const Herd& herd) {
    std::uint64_t missing = 0;
    for (std::uint32_t i = 0; i < herd.incarnations(); ++i) {
      const std::uint32_t put = accounts.producers[i].put.load();
      const std::uint32_t tried = accounts.producers[i].tried.load();
      totals_.put += put;
      for (std::uint32_t k = 0; k < Accounts::most_messages; ++k) {
        if (k % 64 == 0 && k > tried && accounts.arrived[i][k / 64].load() == 0) {
          if (k > tried + 4096) break;  // no more pages of nothing
          k += 63;
          continue;
        }
        const bool arrived = accounts.has_arrived({i, k});
        totals_.arrived += arrived ? 1 : 0;
        if (k < put && !arrived) ++missing;
        if (k >= put && k < tried && arrived) ++totals_.put_at_death;
        if (k >= tried && arrived) violation("message %u of producer %u was never put", k, i);
      }
    }
    std::uint64_t hands = 0;
    for (const Herd::Killed& killed : herd.killed()) {
      if (accounts.consumers[killed.incarnation].getting.load()) ++hands;
      if (killed.desk % 2 != 0) ++totals_.killed_consumers;
    }
    if (missing > hands) {
      violation("%llu messages are lost, and only %llu killed consumers can have had one in hand",
                static_cast<unsigned long long>(missing), static_cast<unsigned long long>(hands));
    }
    totals_.in_hand += missing;
    totals_.most_in_hand += hands;
    totals_.killed += herd.killed().size();
  }

  // Everything was taken, so what is unfinished was taken by the killed: join() must tell of that.
  void settle_unfinished(const Queue& queue, const Accounts& accounts, const Herd& herd) {
    enter("join of the queue");
    std::uint64_t least = 0;
    std::uint64_t most = 0;
    for (const Herd::Killed& killed : herd.killed()) {
      const Accounts::Consumer& consumer = accounts.consumers[killed.incarnation];
      const std::uint32_t got = consumer.got.load();
      const std::uint32_t finishing = consumer.finishing.load();
      least += got > finishing ? got - finishing : 0;
      most += got + (consumer.getting.load() ? 1 : 0) - consumer.finished.load();
    }
    std::uint64_t told = 0;
    try {
      queue.join();
    } catch (const kin::OwnerDied& died) {
      told = died.count();
    }
    if (told < least || told > most) {
      violation("join() told of %llu unfinished messages of the dead; by their notes %llu to %llu",
                static_cast<unsigned long long>(told), static_cast<unsigned long long>(least),
                static_cast<unsigned long long>(most));
    }
    totals_.unfinished += told;
    totals_.least_unfinished += least;
    totals_.most_unfinished += most;
  }

  void print(double length) const {
    std::printf(
        "%s: %.1f s, %llu phases, %llu killed (%llu consumers); %llu messages put, %llu arrived, "
        "%llu in the hands of killed consumers (%llu could be), %llu put by the killed in their "
        "last put",
        name_, length, ull(totals_.phases), ull(totals_.killed), ull(totals_.killed_consumers),
        ull(totals_.put), ull(totals_.arrived), ull(totals_.in_hand), ull(totals_.most_in_hand),
        ull(totals_.put_at_death));
    if (joinable) {
      std::printf("; %llu unfinished by the dead (%llu to %llu by their notes)",
                  ull(totals_.unfinished), ull(totals_.least_unfinished),
                  ull(totals_.most_unfinished));
    }
    std::printf("; arena %zu chunks, %zu cells (%zu, %zu after the first phase), descriptors %d\n",
                now_.chunks, now_.cells, settled_.chunks, settled_.cells, now_.descriptors);
  }
  static unsigned long long ull(std::uint64_t number) { return number; }

  const char* name_;
  std::ptrdiff_t max_size_;
  std::size_t backlog_;
  crash::SharedPage<std::atomic<bool>> over_;
  Totals totals_;
  Holdings settled_;
  Holdings now_;
};

}  // namespace soak
