// SPDX-License-Identifier: BSL-1.0

// Queues sent through a queue under fire: each message brings a queue made for it, with an item in it
// that only the right one has. Whoever is killed, with a queue just made, in a message, or just
// received, the arena does not grow.

#include "traffic.hpp"

#include <string>

namespace {

struct Parcel {
  soak::Note note;
  kin::Queue<std::uint64_t> inside;
  std::string padding;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& note.producer& note.sequence& inside& padding;
  }
};

struct ParcelLoad {
  using Message = Parcel;
  static Message make(soak::Note note) {
    Message message{note, {}, std::string(note.check() % 300, 'x')};
    message.inside.put(note.check());
    return message;
  }
  static std::optional<soak::Note> read(const Message& message) {
    const std::uint64_t check = message.note.check();
    if (message.padding.size() != check % 300) return std::nullopt;
    if (message.inside.try_get() != check || !message.inside.empty()) return std::nullopt;
    return message.note;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("handles_soak", options, [&] {
    soak::Traffic<ParcelLoad>("queues in a queue", 0, 200).run(options, 0.7);
    soak::Traffic<ParcelLoad>("queues in a bounded queue", 8, 0).run(options, 0.3);
  });
}
