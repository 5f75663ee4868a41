// SPDX-License-Identifier: BSL-1.0
// error: kin: this class can't travel in a message by value: give it a default constructor
#include <kin/serialize.hpp>

#include <stdexcept>

class ParseError : public std::runtime_error {
 public:
  ParseError(const std::string& text, int line) : std::runtime_error(text), line_(line) {}

  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& line_;
  }

 private:
  int line_;
};

int main() { kin::register_exception<ParseError>(); }
