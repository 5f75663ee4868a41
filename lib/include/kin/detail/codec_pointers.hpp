// SPDX-License-Identifier: BSL-1.0
#pragma once

// Pointers travel as the object that they own: its number in the message, and where it stands for
// the first time its contents, after the name of its class if that is derived from the pointer's.
// A class derived from T is known by name if BOOST_CLASS_EXPORT names it.
//
// Raw pointers come here from within the serialize() of users' classes only.

#include <kin/detail/codec.hpp>

#include <boost/archive/detail/iserializer.hpp>
#include <boost/archive/detail/oserializer.hpp>
#include <boost/serialization/extended_type_info.hpp>
#include <boost/serialization/extended_type_info_typeid.hpp>
#include <boost/serialization/serialization.hpp>
#include <boost/serialization/singleton.hpp>
#include <boost/serialization/type_info_implementation.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace kin::detail {

/// Boost's record of a polymorphic class; null for others.
template <typename T>
const boost::serialization::extended_type_info* class_record() {
  if constexpr (std::is_polymorphic_v<T>) {
    return &boost::serialization::singleton<
        typename boost::serialization::type_info_implementation<T>::type>::get_const_instance();
  } else {
    return nullptr;
  }
}

template <typename T>
void save_contents(OutArchive& out, const T& object) {
  boost::serialization::save_construct_data_adl(out, &object,
                                                boost::serialization::version<T>::value);
  detail::save(out, object);
}

template <typename T>
void save_pointer(OutArchive& out, const T* object) {
  if (object == nullptr) return out.save_null();
  if constexpr (!std::is_polymorphic_v<T>) {
    if (!out.save_object_id(object, typeid(T))) return;
    const Nesting nesting(out);
    save_contents(out, *object);
  } else {
    static_assert(std::has_virtual_destructor_v<T>,
                  "kin: a polymorphic class that is sent by pointer needs a virtual destructor");
    using Record = typename boost::serialization::type_info_implementation<T>::type;
    const void* const whole = dynamic_cast<const void*>(object);
    if (!out.save_object_id(whole, typeid(*object))) return;
    const Nesting nesting(out);
    if constexpr (!std::is_abstract_v<T>) {
      if (typeid(*object) == typeid(T)) {
        detail::save(out, std::string());
        return save_contents(out, *object);
      }
    }
    const auto* const record = static_cast<const Record*>(class_record<T>());
    out.save_derived(whole, record->get_derived_extended_type_info(*object));
  }
}

/// Makes an object, empty but constructed.
template <typename T>
std::unique_ptr<T> construct(InArchive& in) {
  if constexpr (std::is_default_constructible_v<T> && !HasLoadConstructData<T>) {
    return std::make_unique<T>();
  } else {
    boost::archive::detail::heap_allocation<T> memory;
    boost::serialization::load_construct_data_adl<InArchive, T>(
        in, memory.get(), boost::serialization::version<T>::value);
    return std::unique_ptr<T>(memory.release());
  }
}

template <typename T>
void load_contents(InArchive& in, std::uint64_t id) {
  in.expect_object();
  std::unique_ptr<T> object = construct<T>(in);
  in.note_object(id, object.get(), typeid(T), class_record<T>());
  try {
    detail::load(in, *object);
  } catch (...) {
    if (in.owner_of(id)) static_cast<void>(object.release());
    throw;
  }
  static_cast<void>(object.release());  // to whoever asked for it
  in.complete_object(id);
}

/// Reads an object's number, and the object where it is new.
template <typename T>
std::uint64_t load_object(InArchive& in) {
  const std::uint64_t id = in.load_object_id();
  if (!in.is_new(id)) return id;
  const Nesting nesting(in);
  if constexpr (std::is_polymorphic_v<T>) {
    std::string name;
    detail::load(in, name);
    if (!name.empty()) {
      in.load_derived(id, name.c_str(), *class_record<T>());
      return id;
    }
  }
  if constexpr (std::is_abstract_v<T>) {
    InArchive::complain("an object is said to be of an abstract class");
  } else {
    load_contents<T>(in, id);
    return id;
  }
}

template <typename T>
T* object_as(InArchive& in, std::uint64_t id) {
  return id == 0 ? nullptr : static_cast<T*>(in.object_as(id, typeid(T), class_record<T>()));
}

template <typename T>
std::shared_ptr<T> load_shared(InArchive& in) {
  const std::uint64_t id = load_object<T>(in);
  T* const object = object_as<T>(in, id);
  if (object == nullptr) return nullptr;
  std::shared_ptr<void>& owner = in.owner_of(id);
  if (owner) return std::shared_ptr<T>(owner, object);
  // Of a unique_ptr, from which it takes nothing where there is no memory for it.
  std::unique_ptr<T> nobodys(object);
  try {
    std::shared_ptr<T> first(std::move(nobodys));  // by this, so that it can be shared from `this`
    owner = first;
    return first;
  } catch (...) {
    // Who is still reading it has it. One that was read goes here.
    if (in.is_complete(id)) {
      in.forget_object(id);
    } else {
      static_cast<void>(nobodys.release());
    }
    throw;
  }
}

template <typename T>
struct Codec<std::shared_ptr<T>> {
  static void save(OutArchive& out, const std::shared_ptr<T>& pointer) {
    save_pointer<std::remove_cv_t<T>>(out, pointer.get());
  }
  static void load(InArchive& in, std::shared_ptr<T>& pointer) {
    pointer = load_shared<std::remove_cv_t<T>>(in);
  }
};

/// Keeps nothing alive where it arrives: something else in the message has to own the object.
template <typename T>
struct Codec<std::weak_ptr<T>> {
  static void save(OutArchive& out, const std::weak_ptr<T>& pointer) {
    save_pointer<std::remove_cv_t<T>>(out, pointer.lock().get());
  }
  static void load(InArchive& in, std::weak_ptr<T>& pointer) {
    pointer = load_shared<std::remove_cv_t<T>>(in);
  }
};

template <typename T>
struct Codec<std::unique_ptr<T>> {
  static void save(OutArchive& out, const std::unique_ptr<T>& pointer) {
    save_pointer<std::remove_cv_t<T>>(out, pointer.get());
  }
  static void load(InArchive& in, std::unique_ptr<T>& pointer) {
    pointer.reset();
    const std::uint64_t id = load_object<std::remove_cv_t<T>>(in);
    T* const object = object_as<std::remove_cv_t<T>>(in, id);
    if (object == nullptr) return;
    in.make_unique_owner(id);
    pointer.reset(object);
  }
};

template <typename T>
  requires std::is_object_v<T>
struct Codec<T*> {
  static_assert(std::is_class_v<T>,
                "kin: a raw pointer in a serialize() stands for an object of a class; archive what "
                "it points to instead, or use boost::serialization::make_array");

  static void save(OutArchive& out, T* pointer) { save_pointer<std::remove_cv_t<T>>(out, pointer); }
  static void load(InArchive& in, T*& pointer) {
    pointer = object_as<std::remove_cv_t<T>>(in, load_object<std::remove_cv_t<T>>(in));
  }
};

}  // namespace kin::detail
