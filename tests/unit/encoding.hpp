// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>

#include <boost/serialization/access.hpp>
#include <boost/serialization/nvp.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// What becomes of a value in a message.
namespace unit {

template <typename T>
std::vector<std::byte> encoded(const T& value) {
  kin::detail::OutArchive out;
  encode(out, value);
  return {out.bytes().begin(), out.bytes().end()};
}

template <typename T>
T decoded(std::span<const std::byte> bytes) {
  kin::detail::InArchive in(bytes);
  return kin::detail::decode<T>(in);
}

template <typename T>
T sent(const T& value) {
  return decoded<T>(encoded(value));
}

/// Both where the message begins at an aligned address and where it does not.
template <typename T>
void check_travels(const T& value) {
  CHECK(sent(value) == value);
  const auto pair = sent(std::pair<char, T>('x', value));
  CHECK(pair.second == value);
}

/// Every prefix, and every byte changed in several ways: a value or a SerializationError.
template <typename T>
void check_survives_damage(const T& value) {
  const std::vector<std::byte> bytes = encoded(value);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    // a copy of its own, so that the sanitizer sees a read behind its end
    const std::vector<std::byte> prefix(bytes.data(), bytes.data() + length);
    CHECK_THROWS_AS(decoded<T>(prefix), kin::SerializationError);
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const unsigned change : {0x01U, 0x02U, 0x80U, 0xffU, 0x7fU}) {
      std::vector<std::byte> damaged = bytes;
      damaged[i] ^= static_cast<std::byte>(change);
      try {
        static_cast<void>(encoded(decoded<T>(damaged)));
      } catch (const kin::SerializationError&) {
      }
    }
  }
}

/// Has private members, and a serialize.
class Account {
 public:
  Account() = default;
  Account(std::string owner, long balance) : owner_(std::move(owner)), balance_(balance) {}
  bool operator==(const Account&) const = default;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& owner_& BOOST_SERIALIZATION_NVP(balance_);
  }
  std::string owner_;
  long balance_ = 0;
};

}  // namespace unit
