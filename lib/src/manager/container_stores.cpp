// SPDX-License-Identifier: BSL-1.0
//
// What name spaces and lists are in the server, where that does not depend on the types of their elements.

#include "base/readable_type.hpp"

#include <kin/detail/list_store.hpp>
#include <kin/detail/managed_name_space.hpp>
#include <kin/error.hpp>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace kin::detail {

// ---- NameSpaceStore

NameSpaceStore::Held::~Held() = default;

std::vector<std::string> NameSpaceStore::names() const {
  std::vector<std::string> names;
  names.reserve(values_.size());
  for (const auto& [name, value] : values_) names.push_back(name);
  return names;
}

std::string NameSpaceStore::type_name(const std::string& name) const {
  return readable_type(any(name).type());
}

std::string NameSpaceStore::text_of(const std::string& name) const {
  std::ostringstream out;
  any(name).print(out);
  return out.str();
}

std::string NameSpaceStore::text() const {
  std::ostringstream out;
  out << '{';
  const char* separator = "";
  for (const auto& [name, value] : values_) {
    out << std::exchange(separator, ", ") << name << ": ";
    value->print(out);
  }
  out << '}';
  return out.str();
}

NameSpaceStore::Held* NameSpaceStore::find_any(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : found->second.get();
}

const NameSpaceStore::Held& NameSpaceStore::any(const std::string& name) const {
  const Held* const held = find_any(name);
  if (held == nullptr) complain_missing(name);
  return *held;
}

void NameSpaceStore::complain_missing(const std::string& name) {
  throw std::out_of_range("kin: the name space has no \"" + name + '"');
}

void NameSpaceStore::complain_type(const std::string& name, const std::type_info& held,
                                   const std::type_info& wanted) {
  throw Error("the name space's \"" + name + "\" is of type " + readable_type(held) + ", not " +
              readable_type(wanted));
}

// ---- lists

SlicePlaces::SlicePlaces(const managed::Slice& slice, std::size_t size)
    : first(0), step(slice.step), count(0) {
  if (step == 0) throw std::invalid_argument("kin: a slice has no step of 0");
  // As far as a step goes at most; so that it can be negated.
  const auto length = static_cast<std::ptrdiff_t>(size);
  step = std::clamp(step, -length - 1, length + 1);
  const std::ptrdiff_t lowest = step < 0 ? -1 : 0;
  const std::ptrdiff_t highest = step < 0 ? length - 1 : length;
  const auto bound = [&](std::optional<std::ptrdiff_t> given, std::ptrdiff_t otherwise) {
    if (!given) return otherwise;
    return std::clamp(*given < 0 ? *given + length : *given, lowest, highest);
  };
  first = bound(slice.first, step < 0 ? highest : lowest);
  const std::ptrdiff_t last = bound(slice.last, step < 0 ? lowest : highest);
  const std::ptrdiff_t distance = step < 0 ? first - last : last - first;
  if (distance > 0) count = (distance - 1) / (step < 0 ? -step : step) + 1;
}

void complain_slice(std::ptrdiff_t given, std::ptrdiff_t there) {
  throw std::invalid_argument("kin: the slice has " + std::to_string(there) + " elements, and " +
                              std::to_string(given) + " were given");
}

}  // namespace kin::detail
