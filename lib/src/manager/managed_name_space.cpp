// SPDX-License-Identifier: BSL-1.0
//
// The calls of a name space in a manager's server, as far as they are of no type of the user's; and those that
// are exposed with it.

#include <kin/detail/managed_name_space.hpp>

#include <kin/detail/exposed_ready.hpp>

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

namespace kin::managed {

using detail::method;

bool NameSpace::contains(const std::string& name) const {
  return own(method<&Store::contains>, name);
}
bool NameSpace::erase(const std::string& name) const { return own(method<&Store::erase>, name); }
void NameSpace::clear() const { own(method<&Store::clear>); }
std::size_t NameSpace::size() const { return own(method<&Store::size>); }
std::vector<std::string> NameSpace::names() const { return own(method<&Store::names>); }
std::string NameSpace::type_name(const std::string& name) const {
  return own(method<&Store::type_name>, name);
}

std::ostream& operator<<(std::ostream& out, const NameSpace& names) {
  return out << names.own(method<&detail::NameSpaceStore::text>);
}

std::ostream& operator<<(std::ostream& out, const Attribute& attribute) {
  return out << attribute.names_.call(&detail::NameSpaceStore::text_of, attribute.name_);
}

}  // namespace kin::managed

namespace kin::detail {
namespace {

// Never run: the compiler sees which calls they are.
template <typename T>
void use_as(const managed::NameSpace& names) {
  names.set("", T());
  static_cast<void>(names.get<T>(""));
  static_cast<void>(names.try_get<T>(""));
  names.pop<T>("");
}

}  // namespace

void Ready<managed::NameSpace>::expose_making() {
  detail::expose_making<NameSpaceStore>();
  static_cast<void>(&use_as<bool>);
  static_cast<void>(&use_as<int>);
  static_cast<void>(&use_as<long>);
  static_cast<void>(&use_as<double>);
  static_cast<void>(&use_as<std::string>);
}

}  // namespace kin::detail
