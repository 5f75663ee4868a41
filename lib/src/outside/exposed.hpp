// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/exposed.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <stdexcept>
#include <unordered_map>
#include <vector>

namespace kin::detail {

/// What comes of a call that is not exposed. It travels as a std::invalid_argument.
class NotExposed : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
  [[nodiscard]] std::exception_ptr to_be_sent() const {
    return std::make_exception_ptr(std::invalid_argument(what()));
  }
};

/// The calls that are exposed at this moment, and by which number each is known in other programs: a hash of its
/// names.
class ExposedCalls {
 public:
  ExposedCalls();

  /// What stands for a call in a message to another program. Wipes the addresses that its arguments begin with;
  /// those of a batch's calls become numbers. Throws NotExposed.
  [[nodiscard]] std::uint64_t number_for(HostedCode code, std::span<std::byte> arguments) const;
  /// The reverse, in the other program, of a call of an object of this type. Throws NotExposed,
  /// SerializationError.
  [[nodiscard]] HostedCode code_for(std::uint64_t number, std::span<std::byte> arguments,
                                    std::uint64_t type) const;

  [[nodiscard]] std::vector<std::uint64_t> numbers() const;

 private:
  // `part`: of a batch, from 1; 0: it is none.
  [[nodiscard]] std::uint64_t one_number(HostedCode code, std::span<std::byte> arguments,
                                         std::size_t part) const;
  [[nodiscard]] HostedCode one_code(std::uint64_t number, std::span<std::byte> arguments,
                                    std::uint64_t type, std::size_t part) const;

  std::unordered_map<std::uint64_t, ExposedCall> by_number_;
  std::unordered_multimap<HostedCode, ExposedCall> by_code_;
};

}  // namespace kin::detail
