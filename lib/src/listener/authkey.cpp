// SPDX-License-Identifier: BSL-1.0
//
// The key of a process, which its children inherit. Without another one it is the family's: made of the
// secret in the arena, so that whoever asks first, all relatives have the same.

#include <kin/listener.hpp>

#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "memory/arena.hpp"
#include "wire/mac.hpp"

#include <stdexcept>
#include <string_view>

namespace kin {
namespace {

using detail::Guarded;
using detail::Immortal;

// Empty: the family's.
Guarded<std::string>& own_key() {
  static Immortal<Guarded<std::string>> key;
  return *key;
}

[[maybe_unused]] const bool own_key_is_made = detail::made_at_load(own_key);

// Not the secret itself, which proves that somebody is a relative.
std::string family_key() {
  constexpr std::string_view purpose = "kin: the authkey of a family";
  const detail::Mac mac =
      detail::mac_of(detail::arena().secret, {std::as_bytes(std::span(purpose))});
  return {reinterpret_cast<const char*>(mac.data()), mac.size()};
}

}  // namespace

std::string authkey() {
  const std::string key = own_key().with([](const std::string& own) { return own; });
  return key.empty() ? family_key() : key;
}

void set_authkey(std::string key) {
  if (key.empty()) throw std::invalid_argument("kin: an authkey has at least one byte");
  own_key().with([&](std::string& own) { own = std::move(key); });
}

}  // namespace kin
