// SPDX-License-Identifier: BSL-1.0

// How much memory a message of 1 GiB takes on its way through a pipe, beside one of 1 MiB: of kin's shared memory,
// looked at all the while, and of its sender and its receiver.

#include "table.hpp"

#include "memory/heap.hpp"

#include <kin/connection.hpp>
#include <kin/process.hpp>
#include <kin/sync.hpp>
#include <kin/value.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using bench::Table;

// KiB that were in use while a message went through, at most: of shared memory; and by each of the two
// processes beside their buffers, with what they have mapped of the shared.
struct MemoryInUse {
  std::size_t shared = 0;
  std::size_t sender = 0;
  std::size_t receiver = 0;
};

// The most that this process has had since it last forgot that.
std::size_t peak_memory() {
  std::ifstream status("/proc/self/status");
  const std::string key = "VmHWM:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::stoul(line.substr(key.size()));
  }
  throw std::runtime_error("no VmHWM");
}

std::size_t peak_memory_more(const std::function<void()>& call) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak is now
  const std::size_t before = peak_memory();
  call();
  return peak_memory() - before;
}

MemoryInUse memory_for_message(std::size_t size) {
  const kin::SimplexPipe<int> pipe;
  const std::vector<std::byte> message(size, std::byte{1});
  const kin::Value<std::size_t> of_receiver(0);
  const kin::Value<std::size_t> most_chunks(0);
  const kin::Event is_ready;
  const kin::Event is_over;
  kin::Process reader({.daemon = true}, [&] {
    std::vector<std::byte> buffer(size);
    is_ready.set();
    of_receiver.store(peak_memory_more([&] {
      if (pipe.reader.recv_bytes_into(buffer) != size) std::abort();
    }));
    if (buffer != message) std::abort();
  });
  kin::Process watcher({.daemon = true}, [&] {
    std::size_t most = 0;
    while (!is_over.is_set()) {
      most = std::max(most, kin::detail::Heap::statistics().chunks);
      most_chunks.store(most);
    }
  });
  reader.start();
  is_ready.wait();
  const std::size_t before = kin::detail::Heap::statistics().chunks;
  watcher.start();
  while (most_chunks.load() == 0) std::this_thread::yield();
  const std::size_t of_sender = peak_memory_more([&] { pipe.writer.send_bytes(message); });
  reader.join();
  is_over.set();
  watcher.join();
  if (reader.exit_code() != 0) throw std::runtime_error("the message did not arrive whole");
  return {(most_chunks.load() - before) * 64, of_sender, of_receiver.load()};
}

void measure_memory(Table& table) {
  const MemoryInUse little = memory_for_message(std::size_t{1} << 20);
  const MemoryInUse much = memory_for_message(std::size_t{1} << 30);
  constexpr std::size_t some = 2048;
  const auto add = [&](const char* figure, std::size_t measured, std::size_t peer) {
    table.add({.figure = figure,
               .measured = std::to_string(measured) + " KiB",
               .peer = "for one of 1 MiB " + std::to_string(peer) + " KiB; 2048 more are right",
               .ratio = static_cast<double>(measured) / static_cast<double>(peer + some),
               .want = Table::Want::at_most,
               .limit = 1});
  };
  add("memory for a message of 1 GiB", much.shared, little.shared);
  add("... of its sender", much.sender, little.sender);
  add("... of its receiver", much.receiver, little.receiver);
}

}  // namespace

int main() {
  Table table("pipe_memory: while one message goes through");
  measure_memory(table);
  return table.print();
}
