// SPDX-License-Identifier: BSL-1.0
//
// demo: two consumers at one end: of a pipe of bytes, without and with a lock, and of a pipe of messages
//
//   1. A pipe of the operating system carries bytes. A consumer reads how long a message is, and then the
//      message; another that reads in between gets what was not meant for it.
//   2. The same with a lock around both reads; and sentinels, one for each consumer, to end.
//   3. A kin pipe carries messages. They stay whole however many read, and the stream has an end.

#include <kin/kin.hpp>

#include <array>
#include <cctype>
#include <cerrno>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace {

constexpr int consumers = 2;
constexpr int buns = 5000;

// They differ in length, and from all that is torn.
std::string bun_number(int number) {
  return "bun " + std::to_string(number) + (number % 2 == 0 ? " with raisins." : ".");
}

bool is_bun(std::string_view text) {
  return text.starts_with("bun ") && text.ends_with('.') && text.find('.') == text.size() - 1;
}

struct Meal {
  int whole = 0;
  int torn = 0;
  std::string first_torn;
};

// Runs the consumers, bakes when all are at the table, and returns what they ate together.
template <typename Eat, typename Bake>
Meal dine(const Eat& eat, const Bake& bake) {
  const kin::Queue<Meal> meals;
  const kin::Barrier table(consumers + 1);
  std::vector<kin::Process> eaters;
  for (int i = 0; i < consumers; ++i) {
    const auto come_and_eat = [eat, meals, table] {
      table.wait();
      meals.put(eat());
    };
    eaters.emplace_back(come_and_eat).start();
  }
  table.wait();
  bake();
  for (kin::Process& eater : eaters) eater.join();
  Meal together;
  while (const std::optional<Meal> meal = meals.try_get()) {
    together.whole += meal->whole;
    together.torn += meal->torn;
    if (together.first_torn.empty()) together.first_torn = meal->first_torn;
  }
  return together;
}

void note(Meal& meal, const std::string& text) {
  if (is_bun(text)) {
    ++meal.whole;
    return;
  }
  if (++meal.torn > 1) return;
  for (const char letter : text) {
    meal.first_torn += std::isprint(static_cast<unsigned char>(letter)) != 0 ? letter : '?';
  }
}

// ---- a pipe of the operating system; each message is a byte that says how long, and so many bytes

struct BytePipe {
  kin::UniqueFd reader;
  kin::UniqueFd writer;
};

BytePipe make_byte_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) == -1) throw kin::SystemError("pipe2", errno);
  return {kin::UniqueFd(ends[0]), kin::UniqueFd(ends[1])};
}

// Less than `size` only at the end.
std::string read_bytes(int fd, std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t now = ::read(fd, bytes.data() + done, size - done);
    if (now <= 0) break;
    done += static_cast<std::size_t>(now);
  }
  bytes.resize(done);
  return bytes;
}

void write_message(int fd, const std::string& text) {
  const std::string message = static_cast<char>(text.size()) + text;
  if (::write(fd, message.data(), message.size()) == -1) throw kin::SystemError("write", errno);
}

// None at the end of the stream.
std::optional<std::string> read_message(int fd) {
  const std::string length = read_bytes(fd, 1);
  if (length.empty()) return std::nullopt;
  std::this_thread::
      yield();  // as if another process were to run just now, which may happen at any time
  return read_bytes(fd, static_cast<unsigned char>(length[0]));
}

void without_a_lock() {
  BytePipe pipe = make_byte_pipe();
  const int reader = pipe.reader.get();
  const auto eat = [reader, &pipe] {
    pipe.writer.reset();
    Meal meal;
    while (const std::optional<std::string> text = read_message(reader)) note(meal, *text);
    return meal;
  };
  const Meal meal = dine(eat, [&] {
    for (int number = 0; number < buns; ++number)
      write_message(pipe.writer.get(), bun_number(number));
    pipe.writer.reset();
  });
  std::cout << "bytes, no lock:   " << meal.whole << " of " << buns << " buns came whole, and "
            << meal.torn << " pieces, such as \"" << meal.first_torn.substr(0, 40) << "\"\n"
            << (meal.torn > 0 && meal.whole < buns
                    ? "                  two readers tore messages to pieces\n"
                    : "                  luck: nothing was torn this time\n");
}

void with_a_lock_and_sentinels() {
  const BytePipe pipe = make_byte_pipe();
  const kin::Lock lock;
  const auto eat = [&pipe, lock] {
    Meal meal;
    while (true) {
      std::unique_lock guard(lock);
      const std::string text = read_message(pipe.reader.get()).value_or("");
      guard.unlock();
      if (text.empty()) return meal;  // the sentinel: here nobody has closed anything
      note(meal, text);
    }
  };
  const Meal meal = dine(eat, [&] {
    for (int number = 0; number < buns; ++number)
      write_message(pipe.writer.get(), bun_number(number));
    for (int i = 0; i < consumers; ++i) write_message(pipe.writer.get(), "");
  });
  std::cout << "bytes, a lock:    " << meal.whole << " of " << buns << " buns came whole, "
            << meal.torn << " torn; " << consumers << " sentinels ended it\n";
}

// ---- a kin pipe

void messages() {
  const kin::SimplexPipe<std::string> pipe;
  const auto eat = [pipe] {
    pipe.writer.close();
    Meal meal;
    for (const std::string& text : pipe.reader) note(meal, text);
    return meal;
  };
  const Meal meal = dine(eat, [&] {
    for (int number = 0; number < buns; ++number) pipe.writer.send(bun_number(number));
    pipe.writer.close();
  });
  std::cout << "messages, no lock: " << meal.whole << " of " << buns << " buns came whole, "
            << meal.torn << " torn; the end of the stream ended it\n";
}

}  // namespace

int main() {
  without_a_lock();
  with_a_lock_and_sentinels();
  messages();
}
