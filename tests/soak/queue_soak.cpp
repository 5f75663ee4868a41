// SPDX-License-Identifier: BSL-1.0

// Queues under fire: plain messages through a queue without a bound and through one of 16 items, and
// strings of all lengths, which are serialized and make the ring grow.

#include "string_load.hpp"
#include "traffic.hpp"

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

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("queue_soak", options, [&] {
    soak::Traffic<PlainLoad>("plain", 0, 10'000).run(options, 0.4);
    soak::Traffic<PlainLoad>("bounded", 16, 0).run(options, 0.3);
    soak::Traffic<soak::StringLoad<2000>>("strings", 0, 500).run(options, 0.3);
  });
}
