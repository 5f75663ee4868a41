// SPDX-License-Identifier: BSL-1.0

// Queues under fire: plain messages through a queue without a bound and through one of 16 items, and
// strings of all lengths, which are serialized and make the ring grow.

#include "traffic.hpp"

#include <cstddef>
#include <string>

namespace {

struct PlainLoad {
  struct Message {
    soak::Note note;
    std::array<std::uint64_t, 7> checks;
  };
  static Message make(soak::Note note) {
    Message message{note, {}};
    message.checks.fill(note.check());
    return message;
  }
  static std::optional<soak::Note> read(const Message& message) {
    const std::uint64_t check = message.note.check();
    for (const std::uint64_t each : message.checks) {
      if (each != check) return std::nullopt;
    }
    return message.note;
  }
};

struct StringLoad {
  using Message = std::string;
  static Message make(soak::Note note) {
    std::string message(sizeof note, '\0');
    std::memcpy(message.data(), &note, sizeof note);
    message.resize(sizeof note + tail_of(note), static_cast<char>(note.check()));
    return message;
  }
  static std::optional<soak::Note> read(const Message& message) {
    soak::Note note{};
    if (message.size() < sizeof note) return std::nullopt;
    std::memcpy(&note, message.data(), sizeof note);
    if (message != make(note)) return std::nullopt;
    return note;
  }

 private:
  static std::size_t tail_of(soak::Note note) {
    const std::uint64_t check = note.check();
    if (check % 2000 == 0) return check / 7 % 300'000;
    if (check % 50 == 0) return check / 7 % 20'000;
    return check / 7 % 200;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("queue_soak", options, [&] {
    soak::Traffic<PlainLoad>("plain", 0, 10'000).run(options, 0.4);
    soak::Traffic<PlainLoad>("bounded", 16, 0).run(options, 0.3);
    soak::Traffic<StringLoad>("strings", 0, 500).run(options, 0.3);
  });
}
