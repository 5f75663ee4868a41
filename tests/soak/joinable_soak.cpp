// SPDX-License-Identifier: BSL-1.0

// A JoinableQueue under fire: what the killed had taken and not finished is what join() tells of.

#include "traffic.hpp"

namespace {

struct NoteLoad {
  struct Message {
    soak::Note note;
    std::uint64_t check;
  };
  static Message make(soak::Note note) { return {note, note.check()}; }
  static std::optional<soak::Note> read(const Message& message) {
    if (message.check != message.note.check()) return std::nullopt;
    return message.note;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const soak::Options options = soak::parse(argc, argv);
  kin::set_log_level(kin::LogLevel::error);  // there will be owners that died
  return soak::watch("joinable_soak", options, [&] {
    soak::Traffic<NoteLoad, kin::JoinableQueue>("joinable", 0, 10'000).run(options, 0.6);
    soak::Traffic<NoteLoad, kin::JoinableQueue>("joinable, bounded", 16, 0).run(options, 0.4);
  });
}
