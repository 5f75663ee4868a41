// SPDX-License-Identifier: BSL-1.0
// error: kin: this class can't travel in a message by value: give it a default constructor
#include <kin/serialize.hpp>

struct Call {
  explicit Call(std::string given) : text(std::move(given)) {}
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& text;
  }
  void operator()() const {}
  std::string text;
};

int main() { kin::detail::require_portable_function<Call>(); }
