// SPDX-License-Identifier: BSL-1.0
//
// demo: a shared map: processes count words in it; one is killed in the middle, and the others are told
//
// The map lies in shared memory, and its lock belongs to it: there is no way to it but through with() and
// read(). Who is killed in with() may leave it half changed, and so nobody gets to see it until it is replaced.

#include <kin/kin.hpp>

#include <csignal>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Counts = kin::SharedObject<kin::SharedMap<kin::SharedString, int>>;

const std::vector<std::string> texts{
    "the quick brown fox jumps over the lazy dog",
    "the dog sleeps and the fox runs",
    "a fox and a dog and the rest",
};

void count(const Counts& counts, const std::string& text) {
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    counts.with([&](auto& map) { ++map[kin::SharedString(word)]; });
  }
}

void count_all(const Counts& counts) {
  std::vector<kin::Process> processes;
  for (const std::string& text : texts) processes.emplace_back(count, counts, text).start();
  for (kin::Process& process : processes) process.join();
}

void print(const Counts& counts) {
  counts.read([](const auto& map) {
    for (const auto& [word, count] : map) {
      if (count > 1) std::cout << "  " << word << ' ' << count << '\n';
    }
  });
}

}  // namespace

int main() {
  const Counts counts;
  std::cout << "three processes count words in one map\n";
  count_all(counts);
  print(counts);

  std::cout << "a process is killed while it changes the map\n";
  kin::Process careless([counts] {
    counts.with([](auto& map) {
      map.erase(map.begin());
      std::raise(SIGKILL);
    });
  });
  careless.start();
  careless.join();
  try {
    print(counts);
  } catch (const kin::OwnerDied&) {
    std::cout << "  OwnerDied: nobody gets to see what may be half changed\n";
  }

  std::cout << "it is replaced, and they count again\n";
  counts.replace();
  count_all(counts);
  print(counts);
}
