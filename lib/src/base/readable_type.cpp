// SPDX-License-Identifier: BSL-1.0

// What an exception says to people, its type and its message: for what is printed when a child ends
// by one, and for what is told to another process.

#include "base/readable_type.hpp"

#include <array>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>
#include <cxxabi.h>

namespace kin::detail {

namespace {

std::string demangled(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  return text ? text.get() : type.name();
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
}

// How the standard library spells out, or calls inside, what programs call otherwise.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> other_names{{
    {"__cxx11::", ""},
    {"[abi:cxx11]", ""},
    {"std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string"},
    {"std::__ios_failure", "std::ios_base::failure"},
}};

// std::throw_with_nested() throws a class of the library's own around what it was given.
std::string without_nesting(std::string name) {
  constexpr std::string_view around = "std::_Nested_exception<";
  if (!name.starts_with(around) || !name.ends_with('>')) return name;
  name.erase(0, around.size());
  name.pop_back();
  if (name.ends_with(' ')) name.pop_back();
  return name;
}

std::string message_of_current() {
  try {
    throw;
  } catch (const std::exception& error) {
    const char* const text = error.what();
    return text == nullptr ? "" : text;
  } catch (const std::string& text) {
    return text;
  } catch (const char* text) {
    return text == nullptr ? "" : text;
  } catch (int number) {
    return std::to_string(number);
  } catch (unsigned number) {
    return std::to_string(number);
  } catch (long number) {
    return std::to_string(number);
  } catch (unsigned long number) {
    return std::to_string(number);
  } catch (long long number) {
    return std::to_string(number);
  } catch (unsigned long long number) {
    return std::to_string(number);
  } catch (...) {  // the type is all that is known
    return {};
  }
}

}  // namespace

std::string readable_type(const std::type_info& type) {
  std::string name = demangled(type);
  for (const auto& [inside, outside] : other_names) replace_all(name, inside, outside);
  return name;
}

ExceptionText text_of_exception() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  return {type == nullptr ? "unknown" : without_nesting(readable_type(*type)),
          message_of_current()};
}

std::string describe_exception() {
  const ExceptionText text = text_of_exception();
  return text.message.empty() ? text.type_name : text.type_name + ": " + text.message;
}

}  // namespace kin::detail
