// SPDX-License-Identifier: BSL-1.0
// error: kin: this type can't travel in a message: pointers, references, iterators and views mean nothing in another process
#include <kin/detail/archive.hpp>

#include <string_view>

struct Text {
  std::string_view text;

  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& text;
  }
};

int main() {
  kin::detail::OutArchive out;
  kin::detail::encode(out, Text());
}
