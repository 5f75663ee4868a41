// SPDX-License-Identifier: BSL-1.0
#pragma once

// What a manager's root is called with: to make objects, and to find those that have a name.

#include <kin/detail/hosted.hpp>
#include <kin/detail/managed_list.hpp>
#include <kin/proxy.hpp>

#include <memory>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace kin::detail {

/// A manager's root. What is its own() every program may ask for.
class Root : public Proxy<HostRoot> {
 public:
  using Proxy<HostRoot>::Proxy;
  using Proxy<HostRoot>::own;
};

/// Made in the server, of arguments that came there.
template <typename T>
struct MakeHosted {
  template <typename... As>
  Proxy<T> operator()(HostRoot& root, As&&... arguments) const {
    auto object = std::make_unique<HostedOf<T>>(std::forward<As>(arguments)...);
    return Proxy<T>(root.host(std::move(object), typeid(T)));
  }
};

template <typename T>
struct MakeList {
  Proxy<ListStore<T>> operator()(HostRoot& root, std::vector<T> items) const {
    auto object = std::make_unique<HostedOf<ListStore<T>>>();
    object->value.items = std::move(items);
    return Proxy<ListStore<T>>(root.host(std::move(object), typeid(ListStore<T>)));
  }
};

/// A name's value as the server keeps it: a message that is read again and again.
template <typename P>
struct Publish {
  void operator()(HostRoot& root, const std::string& name, const P& value) const {
    OutArchive out;
    encode(out, value);
    root.publish(name, typeid(P), out.bytes(), out.cargo());
  }
};
template <typename P>
struct Find {
  P operator()(HostRoot& root, const std::string& name) const {
    IncomingCargo cargo;
    const std::span<const std::byte> message = root.find(name, typeid(P), cargo);
    InArchive in(message, cargo);
    return decode<P>(in);
  }
};

}  // namespace kin::detail
