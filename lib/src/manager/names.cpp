// SPDX-License-Identifier: BSL-1.0
//
// What a manager's root does: names, and what sessions ask it for.

#include "base/readable_type.hpp"
#include "manager/server.hpp"

#include <stdexcept>

namespace kin::detail {

void Server::publish(const std::string& name, const std::type_info& type,
                     std::span<const std::byte> message, const OutgoingCargo& cargo) {
  if (!cargo.descriptors.empty()) {
    throw std::logic_error("kin: what has a name in a manager can't hold descriptors");
  }
  names_.insert_or_assign(name, Name{.type = type_number(type),
                                     .type_name = readable_type(type),
                                     .message = {message.begin(), message.end()},
                                     .handles = {cargo.handles.begin(), cargo.handles.end()}});
}

std::span<const std::byte> Server::find_name(const std::string& name, const std::type_info& type,
                                             IncomingCargo& cargo) const {
  const auto found = names_.find(name);
  if (found == names_.end()) {
    throw std::out_of_range("kin: the manager has published nothing as \"" + name + "\"");
  }
  const Name& value = found->second;
  if (value.type != type_number(type)) {
    throw std::invalid_argument("kin: the manager has published \"" + name + "\" as a " +
                                value.type_name + ", not as a " + readable_type(type));
  }
  cargo.handles.assign(value.handles.begin(), value.handles.end());
  return value.message;
}

void HostRoot::publish(const std::string& name, const std::type_info& type,
                       std::span<const std::byte> message, const OutgoingCargo& cargo) {
  Server::here().publish(name, type, message, cargo);
}
std::span<const std::byte> HostRoot::find(const std::string& name, const std::type_info& type,
                                          IncomingCargo& cargo) {
  return Server::here().find_name(name, type, cargo);
}
std::uint64_t HostRoot::add_outsider(std::uint64_t session) {
  return Server::here().add_outsider(session);
}
void HostRoot::bury_outsider(std::uint64_t outsider) { Server::here().bury_outsider(outsider); }
void HostRoot::take_back(std::uint32_t line) { Server::here().take_back(line); }

}  // namespace kin::detail
