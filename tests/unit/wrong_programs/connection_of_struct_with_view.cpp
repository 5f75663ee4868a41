// SPDX-License-Identifier: BSL-1.0
// error: kin: this struct can't travel in a message: one of its members can't
#include <kin/connection.hpp>

#include <string_view>

struct Word {
  int id;
  std::string_view text;
};

void answer(const kin::Connection<Word, int>& questions) {
  questions.send({questions.recv(), "?"});
}

int main() { answer({}); }
