// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/export.hpp>
#include <kin/detail/managed_contents.hpp>
#include <kin/proxy.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace kin::detail {

/// What a name space is in the server: values of any types, by name.
class KIN_EXPORT NameSpaceStore {
 public:
  template <typename T>
  void set(const std::string& name, T value) {
    // Of the same type as before: where it was.
    if (T* known = find_as<T>(name)) {
      *known = std::move(value);
    } else {
      values_.insert_or_assign(name, std::make_unique<HeldValue<T>>(std::move(value)));
    }
  }
  /// Throws std::out_of_range when there is none, and kin::Error when it is of another type.
  template <typename T>
  [[nodiscard]] T& get(const std::string& name) {
    if (T* value = find<T>(name)) return *value;
    complain_missing(name);
  }
  /// Null when there is none.
  template <typename T>
  [[nodiscard]] T* find(const std::string& name) {
    if (T* value = find_as<T>(name)) return value;
    if (const Held* other = find_any(name)) complain_type(name, other->type(), typeid(T));
    return nullptr;
  }
  [[nodiscard]] bool contains(const std::string& name) const { return values_.contains(name); }
  bool erase(const std::string& name) { return values_.erase(name) != 0; }
  void clear() noexcept { values_.clear(); }
  [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }
  [[nodiscard]] std::vector<std::string> names() const;
  /// Throws std::out_of_range when there is none.
  [[nodiscard]] std::string type_name(const std::string& name) const;
  [[nodiscard]] std::string text_of(const std::string& name) const;
  [[nodiscard]] std::string text() const;

 private:
  class KIN_EXPORT Held {
   public:
    Held() = default;
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    virtual ~Held();
    [[nodiscard]] virtual const std::type_info& type() const noexcept = 0;
    virtual void print(std::ostream& out) const = 0;
  };
  template <typename T>
  struct HeldValue final : Held {
    explicit HeldValue(T&& given) : value(std::move(given)) {}
    [[nodiscard]] const std::type_info& type() const noexcept override { return typeid(T); }
    void print(std::ostream& out) const override { print_value(out, value); }
    T value;
  };

  template <typename T>
  [[nodiscard]] T* find_as(const std::string& name) {
    Held* const held = find_any(name);
    if (held == nullptr || held->type() != typeid(T)) return nullptr;
    return &static_cast<HeldValue<T>*>(held)->value;
  }
  [[nodiscard]] Held* find_any(const std::string& name) const;
  [[nodiscard]] const Held& any(const std::string& name) const;
  [[noreturn]] static void complain_missing(const std::string& name);
  [[noreturn]] static void complain_type(const std::string& name, const std::type_info& held,
                                         const std::type_info& wanted);

  std::map<std::string, std::unique_ptr<Held>> values_;
};

template <typename T>
struct ModifyAttribute {
  template <typename F, typename... As>
  auto operator()(F& function, NameSpaceStore& all, const std::string& name,
                  As&&... arguments) const {
    return std::invoke(function, all.get<T>(name), std::forward<As>(arguments)...);
  }
};

}  // namespace kin::detail

namespace kin::managed {

class Attribute;

/// Values of differing types, by name, in a manager's server.
///
///     auto settings = manager.name_space();
///     settings["port"] = 8080;
///     settings.set("host", "localhost");         // a std::string
///     int port = settings["port"];               // or settings.get<int>("port")
///     settings.modify<int>("port", [](int& p) { ++p; });  // one call, atomic
///     std::cout << settings << '\n';             // {host: "localhost", port: 8081}
///
/// A value has the type as which it was set, and is read as that: an int is no long. It is an object in the
/// server; a proxy, a Queue, or any other handle that is stored keeps what it names alive. Each function is one
/// call.
/// Throws: as Proxy; std::out_of_range for a name that is not there; kin::Error for a value that is of another
/// type, with the names of both.
/// Python: manager.Namespace().
class KIN_EXPORT NameSpace : public Proxy<detail::NameSpaceStore> {
  using Store = detail::NameSpaceStore;

 public:
  NameSpace() noexcept = default;
  explicit NameSpace(Proxy<Store> proxy) : Proxy<Store>(std::move(proxy)) {}

  [[nodiscard]] Attribute operator[](std::string name) const;
  /// Of whatever type it was before. Text is stored as std::string.
  template <typename T>
  void set(const std::string& name, T&& value) const {
    store(name, detail::ArgumentOf<T>(std::forward<T>(value)));
  }
  template <typename T>
  [[nodiscard]] T get(const std::string& name) const {
    return this->own([](Store& all, const std::string& n) { return all.get<T>(n); }, name);
  }
  /// The same.
  template <typename T>
  [[nodiscard]] T at(const std::string& name) const {
    return get<T>(name);
  }
  template <typename T>
  [[nodiscard]] std::optional<T> try_get(const std::string& name) const {
    return this->own(
        [](Store& all, const std::string& n) {
          const T* value = all.find<T>(n);
          return value == nullptr ? std::optional<T>() : std::optional<T>(*value);
        },
        name);
  }
  template <typename T>
  [[nodiscard]] T get(const std::string& name, const T& otherwise) const {
    return try_get<T>(name).value_or(otherwise);
  }
  /// Calls function(T&, arguments...) in the server; gives its result.
  template <typename T, typename Function, typename... Arguments>
    requires std::invocable<Function&, T&, detail::ArgumentOf<Arguments>...>
  auto modify(const std::string& name, const Function& function, Arguments&&... arguments) const {
    return apply(
        detail::within<detail::ModifyAttribute<T>, std::decay_t<const Function&>>(function), name,
        std::forward<Arguments>(arguments)...);
  }

  [[nodiscard]] bool contains(const std::string& name) const;
  /// Takes it out.
  template <typename T>
  T pop(const std::string& name) const {
    return this->own(
        [](Store& all, const std::string& n) {
          T value = std::move(all.get<T>(n));
          all.erase(n);
          return value;
        },
        name);
  }
  /// Whether it was there.
  bool erase(const std::string& name) const;
  void clear() const;
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] bool empty() const { return size() == 0; }
  /// In their order.
  [[nodiscard]] std::vector<std::string> names() const;
  /// As it is written in a program: std::string.
  [[nodiscard]] std::string type_name(const std::string& name) const;

  KIN_EXPORT friend std::ostream& operator<<(std::ostream& out, const NameSpace& names);

 private:
  // By its type alone: so it is the same call wherever it is made.
  template <typename Value>
  void store(const std::string& name, const Value& value) const {
    this->own([](Store& all, const std::string& n, Value v) { all.set<Value>(n, std::move(v)); },
              name, value);
  }
};

/// What `settings["x"]` is: the value, where it is. To read it is a call, to assign to it another.
class Attribute {
 public:
  Attribute(const Attribute&) = delete;
  Attribute& operator=(const Attribute&) = delete;
  ~Attribute() = default;

  template <typename T>
  [[nodiscard]] T get() const {
    return names_.get<T>(name_);
  }
  /// `int x = settings["x"]`: it has to be an int.
  template <typename T>
  operator T() && {  // NOLINT: reads like the value
    return get<T>();
  }
  template <typename T>
    requires(!std::same_as<std::remove_cvref_t<T>, Attribute>)
  const Attribute& operator=(T&& value) const {  // NOLINT: assigns through
    names_.set(name_, std::forward<T>(value));
    return *this;
  }
  KIN_EXPORT friend std::ostream& operator<<(std::ostream& out, const Attribute& attribute);

 private:
  friend class NameSpace;
  Attribute(NameSpace names, std::string name) : names_(std::move(names)), name_(std::move(name)) {}

  NameSpace names_;
  std::string name_;
};

inline Attribute NameSpace::operator[](std::string name) const { return {*this, std::move(name)}; }

}  // namespace kin::managed
