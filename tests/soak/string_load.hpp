// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "traffic.hpp"

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

namespace soak {

/// Strings of all lengths, one in so many of up to 300 KB.
template <std::uint64_t large_one_in>
struct StringLoad {
  using Message = std::string;
  static Message make(Note note) {
    std::string message(sizeof note, '\0');
    std::memcpy(message.data(), &note, sizeof note);
    message.resize(sizeof note + tail_of(note), static_cast<char>(note.check()));
    return message;
  }
  static std::optional<Note> read(const Message& message) {
    Note note{};
    if (message.size() < sizeof note) return std::nullopt;
    std::memcpy(&note, message.data(), sizeof note);
    if (message != make(note)) return std::nullopt;
    return note;
  }

 private:
  static std::size_t tail_of(Note note) {
    const std::uint64_t check = note.check();
    if (check % large_one_in == 0) return check / 7 % 300'000;
    if (check % 50 == 0) return check / 7 % 20'000;
    return check / 7 % 200;
  }
};

}  // namespace soak
