// SPDX-License-Identifier: BSL-1.0

// Pipes beside what the kernel and Python have.
//
// Round trip: 64 bytes there and back through one Pipe, beside the limit of the machine and Python's
// multiprocessing.Pipe.
// Large messages: send_bytes() and recv_bytes_into() of 1 MiB, beside a kernel pipe (as it is made, and with its
// largest buffer), and beside one memcpy of as much. And what no pipe in shared memory can be faster than: two
// processes that do nothing but copy, through a ring as large as a pipe's.
// Waking through epoll: two processes that sleep in epoll_wait() on fileno() and answer each other,
// beside two that do so with eventfds.
// A thousand pipes: wait_any() over all of them, one of which has a message, beside poll() over as many
// kernel pipes.

#include "bare_stream.hpp"
#include "hand_over.hpp"
#include "python.hpp"
#include "rounds.hpp"
#include "table.hpp"

#include <kin/connection.hpp>
#include <kin/wait.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

using bench::Contestant;
using bench::Placement;
using bench::Table;
using Message = std::array<std::byte, 64>;

constexpr std::size_t large = std::size_t{1} << 20;

// All rounds use the same pipe; nobody closes an end.
double round_trip(const kin::Pipe<Message>& pipe, int trips) {
  return bench::time_together(Placement::apart, {[&] {
                                                   const Message message{};
                                                   for (int i = 0; i < trips; ++i) {
                                                     pipe.first.send(message);
                                                     static_cast<void>(pipe.first.recv());
                                                   }
                                                 },
                                                 [&] {
                                                   for (int i = 0; i < trips; ++i) {
                                                     pipe.second.send(pipe.second.recv());
                                                   }
                                                 }}) /
         trips;
}

// Nanoseconds; 0 where there is no python3.
double round_trip_of_python(int trips) {
  const std::string script = R"(
import multiprocessing, sys, time
context = multiprocessing.get_context("fork")
count = int(sys.argv[1])
ours, theirs = context.Pipe()
def answer():
    for _ in range(count + 1):
        theirs.send_bytes(theirs.recv_bytes())
process = context.Process(target=answer)
process.start()
message = bytes(64)
ours.send_bytes(message); ours.recv_bytes()
begin = time.monotonic()
for _ in range(count):
    ours.send_bytes(message)
    ours.recv_bytes()
print((time.monotonic() - begin) * 1e9 / count)
process.join()
)";
  return bench::run_python(script, std::to_string(trips));
}

double large_messages(const kin::SimplexPipe<int>& pipe, int messages) {
  return bench::time_together(Placement::apart,
                              {[&] {
                                 const std::vector<std::byte> message(large, std::byte{1});
                                 for (int i = 0; i < messages; ++i) {
                                   pipe.writer.send_bytes(message);
                                 }
                               },
                               [&] {
                                 std::vector<std::byte> buffer(large);
                                 for (int i = 0; i < messages; ++i) {
                                   if (pipe.reader.recv_bytes_into(buffer) != large) std::abort();
                                 }
                               }}) /
         messages;
}

void must(bool good) {
  if (!good) throw std::system_error(errno, std::generic_category(), "bench");
}

struct KernelPipe {
  kin::UniqueFd reader;
  kin::UniqueFd writer;

  explicit KernelPipe(int size = 0) {
    int ends[2];
    must(::pipe2(ends, O_CLOEXEC) == 0);
    reader = kin::UniqueFd(ends[0]);
    writer = kin::UniqueFd(ends[1]);
    if (size != 0) must(::fcntl(writer.get(), F_SETPIPE_SZ, size) >= size);
  }
};

template <typename Call>
void move_all(Call&& call) {
  for (std::size_t done = 0; done < large;) {
    const ssize_t count = call(done, large - done);
    must(count > 0);
    done += static_cast<std::size_t>(count);
  }
}

double large_messages(const KernelPipe& pipe, int messages) {
  return bench::time_together(Placement::apart,
                              {[&] {
                                 const std::vector<std::byte> message(large, std::byte{1});
                                 for (int i = 0; i < messages; ++i) {
                                   move_all([&](std::size_t from, std::size_t size) {
                                     return ::write(pipe.writer.get(), message.data() + from, size);
                                   });
                                 }
                               },
                               [&] {
                                 std::vector<std::byte> buffer(large);
                                 for (int i = 0; i < messages; ++i) {
                                   move_all([&](std::size_t from, std::size_t size) {
                                     return ::read(pipe.reader.get(), buffer.data() + from, size);
                                   });
                                 }
                               }}) /
         messages;
}

double copy(int messages) {
  return bench::time_together(Placement::apart, {[&] {
                                const std::vector<std::byte> from(large, std::byte{1});
                                std::vector<std::byte> to(large);
                                for (int i = 0; i < messages; ++i) {
                                  std::memcpy(to.data(), from.data(), large);
                                  asm volatile("" : : "r"(to.data()) : "memory");
                                }
                              }}) /
         messages;
}

class Watch {
 public:
  explicit Watch(int descriptor) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{};
    event.events = EPOLLIN;
    must(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) == 0);
  }
  void wait() const {
    epoll_event event{};
    while (::epoll_wait(epoll_.get(), &event, 1, -1) != 1) {
    }
  }

 private:
  kin::UniqueFd epoll_;
};

double wakes_of_kin(const kin::Pipe<int>& pipe, int trips) {
  const auto take = [](const Watch& watch, const kin::Connection<int>& end) {
    while (true) {
      if (const auto message = end.try_recv()) return *message;
      watch.wait();
    }
  };
  return bench::time_together(Placement::apart, {[&] {
                                                   const Watch watch(pipe.first.fileno());
                                                   for (int i = 0; i < trips; ++i) {
                                                     pipe.first.send(i);
                                                     if (take(watch, pipe.first) != i) std::abort();
                                                   }
                                                 },
                                                 [&] {
                                                   const Watch watch(pipe.second.fileno());
                                                   for (int i = 0; i < trips; ++i) {
                                                     pipe.second.send(take(watch, pipe.second));
                                                   }
                                                 }}) /
         trips;
}

double wakes_of_eventfd(int trips) {
  const kin::UniqueFd there(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const kin::UniqueFd back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const auto take = [](const Watch& watch, const kin::UniqueFd& from) {
    eventfd_t count = 0;
    while (::eventfd_read(from.get(), &count) != 0) watch.wait();
  };
  return bench::time_together(Placement::apart, {[&] {
                                                   const Watch watch(back.get());
                                                   for (int i = 0; i < trips; ++i) {
                                                     must(::eventfd_write(there.get(), 1) == 0);
                                                     take(watch, back);
                                                   }
                                                 },
                                                 [&] {
                                                   const Watch watch(there.get());
                                                   for (int i = 0; i < trips; ++i) {
                                                     take(watch, there);
                                                     must(::eventfd_write(back.get(), 1) == 0);
                                                   }
                                                 }}) /
         trips;
}

constexpr std::size_t many = 1000;

double thousand_of_kin(const std::vector<kin::SimplexPipe<int>>& pipes, int rounds) {
  const std::vector<kin::Waitable> waitables = [&] {
    std::vector<kin::Waitable> all;
    for (const auto& pipe : pipes) all.emplace_back(pipe.reader);
    return all;
  }();
  const double begin = bench::now();
  for (int i = 0; i < rounds; ++i) {
    const std::size_t one = static_cast<std::size_t>(i) * 7919 % many;
    pipes[one].writer.send(i);
    const auto ready = kin::wait_any(waitables);
    if (ready != std::vector{one} || pipes[one].reader.recv() != i) std::abort();
  }
  return (bench::now() - begin) / rounds;
}

double thousand_of_poll(const std::vector<KernelPipe>& pipes, int rounds) {
  std::vector<pollfd> all;
  for (const auto& pipe : pipes) all.push_back({pipe.reader.get(), POLLIN, 0});
  const double begin = bench::now();
  for (int i = 0; i < rounds; ++i) {
    const std::size_t one = static_cast<std::size_t>(i) * 7919 % many;
    must(::write(pipes[one].writer.get(), &i, sizeof i) == sizeof i);
    must(::poll(all.data(), all.size(), -1) == 1);
    int got = 0;
    must(::read(pipes[one].reader.get(), &got, sizeof got) == sizeof got);
    if ((all[one].revents & POLLIN) == 0 || got != i) std::abort();
  }
  return (bench::now() - begin) / rounds;
}

void allow_many_descriptors() {
  rlimit limit{};
  must(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = limit.rlim_max;
  must(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

std::string time_of(double nanoseconds) { return Table::number("%.3f us", nanoseconds / 1e3); }

void measure_round_trip(Table& table) {
  const kin::Pipe<Message> pipe;
  Contestant kin{[&] { return round_trip(pipe, 50'000); }};
  bench::HandOver beside_bare("round trip, 64 bytes",
                              [&](int trips) { return round_trip(pipe, trips); });
  Contestant python{[] { return round_trip_of_python(3'000); }};
  const bool has_python = round_trip_of_python(10) > 0;
  for (int i = 0; i < 25; ++i) beside_bare.take_turn(20'000);
  if (has_python) bench::take_turns(3, {&kin, &python});
  const auto turn = beside_bare.middle();
  table.add({.figure = beside_bare.figure(),
             .measured = time_of(turn.measured),
             .peer = "spinning on two cache lines " + time_of(turn.bare),
             .ratio = turn.ratio,
             .want = Table::Want::at_most,
             .limit = 3.5});
  table.add({.figure = "round trip, beside Python",
             .measured = time_of(kin.best),
             .peer = has_python ? "Python multiprocessing.Pipe " + time_of(python.best)
                                : "Python: no python3 in the PATH",
             .ratio = has_python ? python.best / kin.best : 0,
             .want = Table::Want::at_least,
             .limit = 50});
}

void measure_large_messages(Table& table) {
  const kin::SimplexPipe<int> pipe;
  const KernelPipe usual;
  const KernelPipe largest(1 << 20);
  constexpr int messages = 200;
  Contestant kin{[&] { return large_messages(pipe, messages); }};
  Contestant kernel_usual{[&] { return large_messages(usual, messages); }};
  Contestant kernel_largest{[&] { return large_messages(largest, messages); }};
  Contestant memory{[] { return copy(messages); }};
  Contestant bare{[] { return bench::bare_stream(large, messages); }};
  bench::take_turns(10, {&kin, &kernel_usual, &memory, &kernel_largest, &bare});
  table.add({.figure = "1 MiB, beside the kernel's pipe",
             .measured = time_of(kin.best),
             .peer = "a pipe as pipe() makes it " + time_of(kernel_usual.best),
             .ratio = kernel_usual.best / kin.best,
             .want = Table::Want::at_least,
             .limit = 15});
  // A single copy is not 15 times faster than this one.
  const std::string widest = "pipe with a buffer of 1 MiB " + time_of(kernel_largest.best);
  table.add({.figure = "1 MiB, beside its largest",
             .measured = time_of(kin.best),
             .peer = widest,
             .ratio = kernel_largest.best / kin.best});
  table.add({.figure = "  one bare copy beside that",
             .measured = time_of(memory.best),
             .peer = widest,
             .ratio = kernel_largest.best / memory.best});
  table.add({.figure = "1 MiB, beside two bare copies",
             .measured = time_of(kin.best),
             .peer = "two processes that only copy " + time_of(bare.best),
             .ratio = bare.best / kin.best});
  table.add({.figure = "1 MiB, beside a copy",
             .measured = time_of(kin.best),
             .peer = "memcpy of 1 MiB " + time_of(memory.best),
             .ratio = memory.best / kin.best,
             .want = Table::Want::at_least,
             .limit = 0.25});
}

void measure_wakes(Table& table) {
  const kin::Pipe<int> pipe;
  bench::HandOver beside_eventfds(
      "there and back through epoll", [&](int trips) { return wakes_of_kin(pipe, trips); },
      wakes_of_eventfd);
  for (int i = 0; i < 15; ++i) beside_eventfds.take_turn(2'000);
  const auto turn = beside_eventfds.middle();
  table.add({.figure = beside_eventfds.figure(),
             .measured = time_of(turn.measured),
             .peer = "with eventfds " + time_of(turn.bare),
             .ratio = turn.ratio,
             .want = Table::Want::at_most,
             .limit = 1.3});
}

void measure_a_thousand(Table& table) {
  allow_many_descriptors();
  const std::vector<kin::SimplexPipe<int>> pipes(many);
  const std::vector<KernelPipe> kernel_pipes(many);
  Contestant kin{[&] { return thousand_of_kin(pipes, 500); }};
  Contestant kernel{[&] { return thousand_of_poll(kernel_pipes, 500); }};
  bench::take_turns(5, {&kin, &kernel});
  table.add({.figure = "wait_any over 1000 pipes",
             .measured = time_of(kin.best),
             .peer = "poll over 1000 kernel pipes " + time_of(kernel.best),
             .ratio = kin.best / kernel.best});
}

}  // namespace

int main() {
  Table table("pipe: best of several rounds taken in turns; there and back, the middle one");
  measure_round_trip(table);
  measure_large_messages(table);
  measure_wakes(table);
  measure_a_thousand(table);
  table.note("ratios are of times, the slower's to the quicker's where more is wanted");
  return table.print();
}
