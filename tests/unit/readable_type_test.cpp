// SPDX-License-Identifier: BSL-1.0

#include "base/readable_type.hpp"

#include <doctest/doctest.h>

#include <exception>
#include <filesystem>
#include <ios>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using kin::detail::describe_exception;
using kin::detail::readable_type;

namespace {

template <typename Action>
std::string line_of(Action action) {
  try {
    action();
  } catch (...) {
    return describe_exception();
  }
  return "nothing";
}

struct Odd {};

struct WordlessError : std::exception {
  const char* what() const noexcept override { return nullptr; }
};

struct Template {
  template <typename T>
  struct Of : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
};

}  // namespace

TEST_SUITE("readable_type") {
  TEST_CASE("a type is called as in a program") {
    CHECK(readable_type(typeid(std::out_of_range)) == "std::out_of_range");
    CHECK(readable_type(typeid(std::string)) == "std::string");
    CHECK(readable_type(typeid(std::filesystem::filesystem_error)) ==
          "std::filesystem::filesystem_error");
    CHECK(readable_type(typeid(std::ios_base::failure)) == "std::ios_base::failure");
    CHECK(readable_type(typeid(Odd)) == "(anonymous namespace)::Odd");
  }

  TEST_CASE("an exception is described by its type and message") {
    CHECK(line_of([] { throw std::out_of_range("no such key"); }) ==
          "std::out_of_range: no such key");
    CHECK(line_of([] { throw std::string("text"); }) == "std::string: text");
    CHECK(line_of([] { throw "text"; }) == "char const*: text");
    CHECK(line_of([] { throw -7; }) == "int: -7");
    CHECK(line_of([] { throw 7UL; }) == "unsigned long: 7");
  }

  TEST_CASE("where there is no message the type is all") {
    CHECK(line_of([] { throw Odd(); }) == "(anonymous namespace)::Odd");
    CHECK(line_of([] { throw WordlessError(); }) == "(anonymous namespace)::WordlessError");
    CHECK(line_of([] { throw std::runtime_error(""); }) == "std::runtime_error");
    CHECK(line_of([] { throw static_cast<const char*>(nullptr); }) == "char const*");
  }

  TEST_CASE("what std::throw_with_nested() throws is called what it was given") {
    CHECK(line_of([] { std::throw_with_nested(std::logic_error("outer")); }) ==
          "std::logic_error: outer");
    CHECK(line_of([] { std::throw_with_nested(Template::Of<std::vector<int>>("outer")); }) ==
          "(anonymous namespace)::Template::Of<std::vector<int, std::allocator<int> > >: outer");
  }

  TEST_CASE("a failure of a stream is one by its usual name") {
    const auto read_nothing = [] {
      std::istringstream stream;
      stream.exceptions(std::ios::failbit);
      int number = 0;
      stream >> number;
    };
    CHECK(line_of(read_nothing).starts_with("std::ios_base::failure: "));
  }
}
