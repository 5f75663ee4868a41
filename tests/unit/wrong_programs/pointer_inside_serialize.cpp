// SPDX-License-Identifier: BSL-1.0
// error: kin: a raw pointer in a serialize() stands for an object of a class
#include <kin/detail/archive.hpp>

struct Text {
  const char* text = nullptr;

  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& text;
  }
};

int main() {
  kin::detail::OutArchive out;
  kin::detail::encode(out, Text());
}
