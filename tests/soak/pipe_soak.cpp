// SPDX-License-Identifier: BSL-1.0

// Pipes under fire. A crowd: four senders and four receivers on one pipe, with small messages, with ones
// that pass in pieces, and with descriptors in transit, each of a file that only the right one is. And pairs,
// each alone on a pipe of its own, where the death of one is what the other has to be told: by the end of
// the stream, behind all that was sent, or by BrokenPipe.

#include "string_load.hpp"
#include "traffic.hpp"

#include <kin/connection.hpp>
#include <kin/unique_fd.hpp>

#include <string>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace {

using soak::Chance;
using soak::Clock;
using soak::violation;

/// A pipe with the words of a queue, for Traffic. Whoever has one has both ends.
template <typename T>
class PipeQueue {
 public:
  explicit PipeQueue(std::ptrdiff_t /*max_size*/) {}
  void put(const T& message) const { pipe_.writer.send(message); }
  [[nodiscard]] bool try_put(const T& message) const {
    put(message);
    return true;
  }
  template <typename Duration>
  [[nodiscard]] bool put_for(const T& message, Duration /*limit*/) const {
    return try_put(message);
  }
  [[nodiscard]] T get() const { return pipe_.reader.recv(); }
  [[nodiscard]] std::optional<T> try_get() const { return pipe_.reader.try_recv(); }
  template <typename Duration>
  [[nodiscard]] std::optional<T> get_for(Duration limit) const {
    return pipe_.reader.recv_for(limit);
  }
  /// Whether there is one.
  [[nodiscard]] std::size_t size() const { return pipe_.reader.poll() ? 1 : 0; }

 private:
  kin::SimplexPipe<T> pipe_;
};

struct FileLoad {
  struct Message {
    soak::Note note;
    kin::UniqueFd file;
  };
  static Message make(soak::Note note) {
    Message message{note, kin::UniqueFd(::memfd_create("soak", MFD_CLOEXEC))};
    const std::uint64_t check = note.check();
    if (::pwrite(message.file.get(), &check, sizeof check, 0) != sizeof check) {
      violation("a file could not be written");
    }
    return message;
  }
  static std::optional<soak::Note> read(const Message& message) {
    std::uint64_t check = 0;
    if (message.note.is_farewell()) return message.note;
    if (::pread(message.file.get(), &check, sizeof check, 0) != sizeof check) return std::nullopt;
    if (check != message.note.check()) return std::nullopt;
    return message.note;
  }
};

// ---- pairs

struct Side {
  std::atomic<std::uint32_t> tried;
  std::atomic<std::uint32_t> done;
  std::atomic<bool> told;  // that the other is gone
};

struct Pair {
  Side sender;
  Side receiver;
};

class Pairs {
 public:
  void run(const soak::Options& options, double share) {
    const auto begin = Clock::now();
    const auto end = begin + std::chrono::duration<double>(options.seconds * share);
    Chance chance(options.seed);
    round(chance);
    const soak::Holdings before = soak::Holdings::now();
    while (Clock::now() < end) round(chance);
    before.compare(soak::Holdings::now(), 0);
    std::printf(
        "pairs: %.1f s, %u rounds of 4, %u senders and %u receivers killed; %llu messages sent, "
        "%llu "
        "received; %u times the end of the stream, %u times a broken pipe\n",
        std::chrono::duration<double>(Clock::now() - begin).count(), rounds_, killed_senders_,
        killed_receivers_, static_cast<unsigned long long>(sent_),
        static_cast<unsigned long long>(received_), ends_, broken_);
  }

 private:
  static constexpr std::size_t pair_count = soak::worker_count / 2;
  using Load = soak::StringLoad<20>;
  struct Shared {
    std::array<Pair, pair_count> pairs;
    std::array<std::atomic<bool>, pair_count> over;
  };

  void round(Chance& chance) {
    soak::enter("pairs");
    const crash::SharedPage<Shared> shared;
    std::vector<std::pair<kin::Process, kin::Process>> processes;
    for (std::size_t i = 0; i < pair_count; ++i) {
      const kin::SimplexPipe<std::string> pipe;
      kin::Process sender(kin::ProcessOptions{.daemon = true}, [&shared, &pipe, i] {
        pipe.reader.close();
        send_all(pipe.writer, *shared, i);
      });
      sender.start();
      kin::Process receiver(kin::ProcessOptions{.daemon = true}, [&shared, &pipe, i] {
        pipe.writer.close();
        receive_all(pipe.reader, *shared, i);
      });
      receiver.start();
      processes.emplace_back(std::move(sender), std::move(receiver));
    }
    for (std::size_t i = 0; i < pair_count; ++i) {
      std::this_thread::sleep_for(chance.microseconds(0, 4000));
      const std::uint32_t fate = chance.up_to(3);
      if (fate == 0 || fate == 1) processes[i].first.kill();
      if (fate == 1 || fate == 2) processes[i].second.kill();
      // One whose receiver is killed goes on until it is told.
      if (fate == 3) shared->over[i].store(true);
    }
    for (std::size_t i = 0; i < pair_count; ++i) {
      processes[i].first.join();
      processes[i].second.join();
      settle(shared->pairs[i], processes[i].first.exit_code() == -SIGKILL,
             processes[i].second.exit_code() == -SIGKILL);
    }
    for (soak::Desk& desk : soak::board().desks) desk.pid.store(0);
    ++rounds_;
  }

  static soak::Desk& sit_down(std::size_t index) {
    soak::Desk& desk = soak::board().desks[index];
    desk.pid.store(getpid());
    return desk;
  }

  static void send_all(const kin::Writer<std::string>& writer, Shared& shared, std::size_t pair) {
    soak::Desk& desk = sit_down(2 * pair);
    Side& side = shared.pairs[pair].sender;
    desk.does.store("send");
    try {
      for (std::uint32_t i = 0; !shared.over[pair].load(); ++i) {
        side.tried.store(i + 1);
        writer.send(Load::make({static_cast<std::uint32_t>(pair), i}));
        side.done.store(i + 1);
        desk.progress.fetch_add(1);
      }
      writer.close();
    } catch (const kin::BrokenPipe&) {
      side.told.store(true);
    }
  }

  static void receive_all(const kin::Reader<std::string>& reader, Shared& shared,
                          std::size_t pair) {
    soak::Desk& desk = sit_down(2 * pair + 1);
    Side& side = shared.pairs[pair].receiver;
    desk.does.store("recv");
    for (const std::string& message : reader) {
      const std::optional<soak::Note> note = Load::read(message);
      if (!note || note->producer != pair || note->sequence != side.done.load()) {
        violation("another message than number %u", side.done.load());
      }
      side.done.fetch_add(1);
      desk.progress.fetch_add(1);
    }
    side.told.store(true);
  }

  void settle(const Pair& pair, bool sender_killed, bool receiver_killed) {
    const std::uint32_t tried = pair.sender.tried.load();
    const std::uint32_t sent = pair.sender.done.load();
    const std::uint32_t received = pair.receiver.done.load();
    if (received > tried) violation("%u received, and %u sent at most", received, tried);
    if (!receiver_killed) {
      if (received < sent) violation("%u sent, and %u received", sent, received);
      if (!pair.receiver.told.load()) violation("the end of the stream did not come");
    }
    if (!sender_killed && !receiver_killed && pair.sender.told.load()) {
      violation("a broken pipe with a receiver");
    }
    if (receiver_killed && !sender_killed && !pair.sender.told.load()) {
      violation("the sender was not told that nobody receives");
    }
    killed_senders_ += sender_killed ? 1U : 0U;
    killed_receivers_ += receiver_killed ? 1U : 0U;
    ends_ += pair.receiver.told.load() ? 1U : 0U;
    broken_ += pair.sender.told.load() ? 1U : 0U;
    sent_ += sent;
    received_ += received;
  }

  std::uint32_t rounds_ = 0;
  std::uint32_t killed_senders_ = 0;
  std::uint32_t killed_receivers_ = 0;
  std::uint32_t ends_ = 0;
  std::uint32_t broken_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("pipe_soak", options, [&] {
    soak::Traffic<soak::StringLoad<20>, PipeQueue>("crowd", 1, 0).run(options, 0.4);
    soak::Traffic<FileLoad, PipeQueue>("crowd with descriptors", 1, 0).run(options, 0.3);
    Pairs().run(options, 0.3);
  });
}
