// SPDX-License-Identifier: BSL-1.0

#include "wire/mac.hpp"

#include <kin/error.hpp>

#include <limits>
#include <vector>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace kin::detail {

Mac mac_of(std::span<const std::byte> key,
           std::initializer_list<std::span<const std::byte>> parts) {
  std::vector<unsigned char> text;
  for (const auto part : parts) {
    const auto* first = reinterpret_cast<const unsigned char*>(part.data());
    text.insert(text.end(), first, first + part.size());
  }
  if (key.size() > std::numeric_limits<int>::max()) throw Error("the authkey is too long");
  // No key at all means to OpenSSL that an earlier one is used again.
  const void* start = key.empty() ? "" : static_cast<const void*>(key.data());
  Mac mac{};
  unsigned size = 0;
  if (HMAC(EVP_sha256(), start, static_cast<int>(key.size()), text.data(), text.size(),
           reinterpret_cast<unsigned char*>(mac.data()), &size) == nullptr ||
      size != mac.size()) {
    throw Error("OpenSSL has no HMAC-SHA256");
  }
  return mac;
}

bool is_same(const Mac& one, std::span<const std::byte, 32> other) noexcept {
  return CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

}  // namespace kin::detail
