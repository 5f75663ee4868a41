// SPDX-License-Identifier: BSL-1.0
#pragma once

// What kin::expose() lets another program do: with a class of the user's what it names, with a ready type what
// its own functions do. Which calls these make knows the compiler; see own_call_is_added.

#include <kin/detail/export.hpp>
#include <kin/detail/exposed.hpp>
#include <kin/detail/hosted_calls.hpp>
#include <kin/detail/make_hosted.hpp>
#include <kin/detail/managed_dict.hpp>
#include <kin/detail/managed_list.hpp>
#include <kin/detail/managed_name_space.hpp>
#include <kin/detail/managed_queue.hpp>
#include <kin/detail/managed_set.hpp>
#include <kin/detail/managed_sync.hpp>
#include <kin/detail/managed_value.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <set>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace kin::detail {

template <typename... As>
struct Constructor {};
template <auto call>
struct Exposed {};

template <typename Call, typename T>
void add_call(const std::type_info& function = typeid(void)) {
  add_exposed({.code = Call::run,
               .type = type_number(typeid(T)),
               .call = &typeid(Call),
               .function = &function,
               .which = {},
               .which_size = 0,
               .is_own = false});
}

/// The one readable error for what another program must not say.
template <typename... As>
consteval void require_no_address() {
  static_assert((!holds_address<As>() && ...),
                "kin: an address of code can't come from another program: what is exposed here is "
                "one, or takes, gives or has one (a function pointer, a member pointer, a "
                "kin::partial of one)");
}

/// That a T can be made of these.
template <typename T, typename... As>
void expose_making() {
  static_assert(std::is_constructible_v<T, As&&...>, "kin: a T can't be made of these arguments");
  (require_sendable<As>(), ...);
  require_no_address<As...>();
  add_call<SimpleCall<HostRoot, MakeHosted<T>, As...>, HostRoot>();
}
/// That what has a name can be had as a P.
template <typename P>
void expose_name() {
  add_call<SimpleCall<HostRoot, Find<P>, std::string>, HostRoot>();
}

/// That a T can be called with this; or made, if it is a Constructor.
template <typename T, auto call>
void expose_call() {
  using F = std::remove_const_t<decltype(call)>;
  if constexpr (!Address<F>) {
    []<typename... As>(Constructor<As...>) { expose_making<T, As...>(); }(call);
  } else {
    []<typename... Ps>(Parameters<Ps...>*) {
      static_assert(std::is_invocable_v<F, T&, typename Parameter<Ps, Ps>::Type...>,
                    "kin: this function can't be called with the object, as a T&, and arguments "
                    "that are values of their own");
      using Call = SimpleCall<T, F, typename Parameter<Ps, Ps>::Type...>;
      require_no_address<typename Call::Result, typename Parameter<Ps, Ps>::Type...>();
      ExposedCall exposed{.code = Call::run,
                          .type = type_number(typeid(T)),
                          .call = &typeid(Call),
                          .function = &typeid(Exposed<call>),
                          .which = {},
                          .which_size = sizeof(F),
                          .is_own = false};
      static_assert(sizeof(F) <= sizeof exposed.which);
      const F address = call;
      std::memcpy(exposed.which.data(), &address, sizeof address);
      add_exposed(exposed);
    }(static_cast<typename ParametersOf<F>::Type*>(nullptr));
  }
}

// ---- ready types

template <typename T>
concept IsReady = requires(const T& proxy) {
  typename T::element_type;
  []<typename E>(const Proxy<E>&) {}(proxy);
} && !std::same_as<T, Proxy<typename T::element_type>>;

/// What is exposed together with a ready type: how it is made, and its calls. use() is never run. What has none
/// makes its calls in the library.
template <typename P>
struct Ready;

template <template <typename...> typename P, typename... Elements>
consteval void require_no_address_in(const P<Elements...>* /*ready*/) {
  require_no_address<Elements...>();
}
template <typename T, QueueOrder order>
consteval void require_no_address_in(const managed::Queue<T, order>* /*ready*/) {
  require_no_address<T>();
}

template <typename P>
void expose_ready() {
  if constexpr (requires { require_no_address_in(static_cast<const P*>(nullptr)); }) {
    require_no_address_in(static_cast<const P*>(nullptr));
  }
  if constexpr (requires { &Ready<P>::use; }) static_cast<void>(&Ready<P>::use);
  Ready<P>::expose_making();
  expose_type(type_number(typeid(typename P::element_type)));
}

template <typename K, typename V>
struct Ready<managed::Dict<K, V>> {
  static void expose_making() {
    detail::expose_making<OrderedDict<K, V>, std::vector<std::pair<K, V>>>();
  }
  static void use(const managed::Dict<K, V>& all, const K& key, V value) {
    const auto& other = all;
    static_cast<void>(all.get(key));
    static_cast<void>(all.get(key, value));
    all.set(key, value);
    static_cast<void>(all.contains(key));
    static_cast<void>(all.size());
    static_cast<void>(all.erase(key));
    static_cast<void>(all.pop(key));
    static_cast<void>(all.pop(key, value));
    static_cast<void>(all.popitem());
    static_cast<void>(all.setdefault(key, value));
    all.clear();
    static_cast<void>(all.items());
    static_cast<void>(all.keys());
    static_cast<void>(all.values());
    all.update(other);
    static_cast<void>(all | other);
    static_cast<void>(all.items() | other);
    if constexpr (requires {
                    { value + value } -> std::convertible_to<V>;
                  })
      static_cast<void>(all.fetch_add(key, value));
    if constexpr (std::equality_comparable<V>) {
      static_cast<void>(all.compare_exchange(key, value, value));
    }
  }
};

template <typename T>
struct Ready<managed::Array<T>> {
  static void expose_making() {
    add_call<SimpleCall<HostRoot, MakeList<T>, std::vector<T>>, HostRoot>();
  }
  static void use(const managed::Array<T>& all, T value) {
    static_cast<void>(all.get(0));
    all.set(0, value);
    static_cast<void>(all.size());
    static_cast<void>(all.copy());
    static_cast<void>(all.slice(0, 0));
    all.set_slice({}, all.copy());
    if constexpr (std::equality_comparable<T>) {
      static_cast<void>(all.count(value));
      static_cast<void>(all.index(value));
      static_cast<void>(all.compare_exchange(0, value, value));
    }
    if constexpr (requires {
                    { value + value } -> std::convertible_to<T>;
                  })
      static_cast<void>(all.fetch_add(0, value));
    all.reverse();
    if constexpr (std::totally_ordered<T>) all.sort();
  }
};

template <typename T>
struct Ready<managed::List<T>> {
  static void expose_making() { Ready<managed::Array<T>>::expose_making(); }
  static void use(const managed::List<T>& all, const T& value) {
    Ready<managed::Array<T>>::use(all, value);
    all.append(value);
    all.extend(all);
    all *= 2;
    static_cast<void>(all + all);
    static_cast<void>(all * 2);
    all.erase(0);
    all.erase(managed::Slice{});
    all.insert(0, value);
    static_cast<void>(all.pop());
    if constexpr (std::equality_comparable<T>) static_cast<void>(all.remove(value));
    all.clear();
  }
};

template <typename T>
struct Ready<managed::Set<T>> {
  static void expose_making() { detail::expose_making<std::set<T>, std::set<T>>(); }
  static void use(const managed::Set<T>& all, const T& value) {
    const auto& other = all;
    all.add(value);
    all.discard(value);
    static_cast<void>(all.pop());
    all.clear();
    static_cast<void>(all.contains(value));
    static_cast<void>(all.size());
    static_cast<void>(all.copy());
    all |= other;
    all &= other;
    all -= other;
    all ^= other;
    static_cast<void>(all | other);
    static_cast<void>(all & other);
    static_cast<void>(all - other);
    static_cast<void>(all ^ other);
    static_cast<void>(all.copy() - other);
    static_cast<void>(all.isdisjoint(other));
    static_cast<void>(all.issubset(other));
  }
};

/// With attributes of the types that most have; of another type where both programs compile its use.
template <>
struct KIN_EXPORT Ready<managed::NameSpace> {
  static void expose_making();
};

template <typename T>
struct Ready<managed::Value<T>> {
  static void expose_making() { detail::expose_making<T, T>(); }
  static void use(const managed::Value<T>& it, T value) {
    static_cast<void>(it.load());
    it.store(value);
    if constexpr (requires {
                    { value + value } -> std::convertible_to<T>;
                  })
      static_cast<void>(it.fetch_add(value));
    if constexpr (std::equality_comparable<T>) static_cast<void>(it.compare_exchange(value, value));
  }
};

template <typename T, QueueOrder order>
struct Ready<managed::Queue<T, order>> {
  static void expose_making() { detail::expose_making<QueueStore<T, order>, std::size_t, bool>(); }
  static void use(const managed::Queue<T, order>& queue, const T& item) {
    queue.put(item);
    static_cast<void>(queue.get());
    static_cast<void>(queue.size());
    static_cast<void>(queue.full());
    queue.shutdown();
  }
};

template <typename T>
struct Ready<managed::JoinableQueue<T>> {
  static void expose_making() { Ready<managed::Queue<T>>::expose_making(); }
  static void use(const managed::JoinableQueue<T>& queue, const T& item) {
    Ready<managed::Queue<T>>::use(queue, item);
    queue.task_done();
    queue.join();
  }
};

KIN_EXPORT void expose_locks();
KIN_EXPORT void expose_semaphores();

template <std::derived_from<managed::Lock> P>
struct Ready<P> {
  static void expose_making() { expose_locks(); }
};
template <std::derived_from<managed::Semaphore> P>
struct Ready<P> {
  static void expose_making() { expose_semaphores(); }
};
template <>
struct KIN_EXPORT Ready<managed::Event> {
  static void expose_making();
};
template <>
struct KIN_EXPORT Ready<managed::Barrier> {
  static void expose_making();
};
template <>
struct KIN_EXPORT Ready<managed::Condition> {
  static void expose_making();
};

}  // namespace kin::detail
