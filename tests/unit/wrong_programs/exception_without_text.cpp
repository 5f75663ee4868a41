// SPDX-License-Identifier: BSL-1.0
// error: kin: this exception can't travel: give it a serialize, or derive it from std::exception with a constructor from const std::string&
#include <kin/serialize.hpp>

#include <exception>

class ParseError : public std::exception {
 public:
  ParseError(int line, int column) : line_(line), column_(column) {}

 private:
  int line_;
  int column_;
};

int main() { kin::register_exception<ParseError>(); }
