// SPDX-License-Identifier: BSL-1.0

#include "outside/exposed.hpp"

#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "manager/batch.hpp"

#include <kin/detail/hosted_calls.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace kin::detail {
namespace {

struct Known {
  std::vector<ExposedCall> calls;
  std::unordered_set<std::uint64_t> ready_types;
};

Guarded<Known>& known() {
  static Immortal<Guarded<Known>> all;
  return *all;
}
[[maybe_unused]] const bool known_is_made = made_at_load(known);

// Though the manager's program itself never asks.
[[maybe_unused]] const bool statistics_are_exposed =
    own_call_is_added<SimpleCall<HostRoot, Method<&HostRoot::statistics>>, HostRoot>;

// FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv: the same in every program, whatever its library is.
std::uint64_t hash(std::string_view text, std::uint64_t value = 0xcbf29ce484222325) {
  for (const char letter : text) {
    value = (value ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  }
  return value;
}

// Smaller ones mean something else.
constexpr std::uint64_t first_number = 16;
constexpr std::uint64_t batch_number = 1;

std::uint64_t number_of(const ExposedCall& call) noexcept {
  return std::max(hash(call.function->name(), hash(call.call->name())), first_number);
}

// Who called knows its name; see name_refused().
std::string described(std::size_t part) {
  return part == 0 ? "this call" : "call " + std::to_string(part) + " of the batch";
}

}  // namespace

void add_exposed(const ExposedCall& call) {
  known().with([&](Known& all) {
    const bool is_known = std::ranges::any_of(all.calls, [&](const ExposedCall& one) {
      return one.code == call.code && one.which == call.which;
    });
    if (!is_known) all.calls.push_back(call);
  });
}

void expose_type(std::uint64_t type) {
  known().with([&](Known& all) { all.ready_types.insert(type); });
}

ExposedCalls::ExposedCalls() {
  known().with([&](const Known& all) {
    for (const ExposedCall& call : all.calls) {
      const bool is_for_all = !call.is_own || call.type == type_number(typeid(HostRoot));
      if (!is_for_all && !all.ready_types.contains(call.type)) continue;
      by_number_.emplace(number_of(call), call);
      by_code_.emplace(call.code, call);
    }
  });
}

std::vector<std::uint64_t> ExposedCalls::numbers() const {
  std::vector<std::uint64_t> numbers;
  numbers.reserve(by_number_.size());
  for (const auto& [number, call] : by_number_) numbers.push_back(number);
  return numbers;
}

std::uint64_t ExposedCalls::number_for(HostedCode code, std::span<std::byte> arguments) const {
  if (code != batch_code()) return one_number(code, arguments, 0);
  std::size_t part = 0;
  for_each_call(arguments, [&](std::uint64_t& part_code, std::span<std::byte> its_arguments) {
    part_code = one_number(reinterpret_cast<HostedCode>(part_code), its_arguments, ++part);
  });
  return batch_number;
}

std::uint64_t ExposedCalls::one_number(HostedCode code, std::span<std::byte> arguments,
                                       std::size_t part) const {
  const auto [first, last] = by_code_.equal_range(code);
  for (auto at = first; at != last; ++at) {
    const ExposedCall& call = at->second;
    if (arguments.size() < call.which_size) continue;
    const auto function = arguments.first(call.which_size);
    if (!std::ranges::equal(function, std::span(call.which).first(call.which_size))) continue;
    std::ranges::fill(function, std::byte{});
    return number_of(call);
  }
  throw NotExposed("kin: " + described(part) +
                   " is not exposed, so it can't go to another program's manager");
}

HostedCode ExposedCalls::code_for(std::uint64_t number, std::span<std::byte> arguments,
                                  std::uint64_t type) const {
  if (number != batch_number) return one_code(number, arguments, type, 0);
  std::size_t part = 0;
  for_each_call(arguments, [&](std::uint64_t& part_code, std::span<std::byte> its_arguments) {
    part_code = reinterpret_cast<std::uint64_t>(one_code(part_code, its_arguments, type, ++part));
  });
  return batch_code();
}

HostedCode ExposedCalls::one_code(std::uint64_t number, std::span<std::byte> arguments,
                                  std::uint64_t type, std::size_t part) const {
  const auto found = by_number_.find(number);
  if (found == by_number_.end() || found->second.type != type) {
    throw NotExposed("kin: " + described(part) + " is not exposed in the manager's program");
  }
  const ExposedCall& call = found->second;
  if (arguments.size() < call.which_size) InArchive::complain_short();
  std::ranges::copy(std::span(call.which).first(call.which_size), arguments.begin());
  return call.code;
}

}  // namespace kin::detail
