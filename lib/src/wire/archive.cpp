// SPDX-License-Identifier: BSL-1.0

// The byte-level half of the archives: the growing buffer, the checks of what is read, and the
// objects that pointers stand for. The other half are templates, in kin/detail/codec.hpp.
//
// Archives are private to a thread of a process: a message is written before, and read after, the
// locks of a channel are held. Nothing here knows of other processes.
//
// Objects are numbered in the order in which the writer meets them, and the reader meets them in
// the same order: a number one above the last announces a new object. An entry of the reader's
// table goes through
//
//     expected -> constructed (address set) -> complete
//
// and has at most one kind of owner: the shared_ptrs, one unique_ptr, or (as long as it is being
// read, and for raw pointers) nobody that the archive knows. A message that asks for anything else
// is damaged.
//
// Boost's own tables would save this file a page. They index vectors with numbers from the message,
// and hand out an address without asking what it is the address of.

#include <kin/detail/archive.hpp>

#include <boost/archive/detail/basic_iserializer.hpp>
#include <boost/archive/detail/basic_pointer_iserializer.hpp>
#include <boost/archive/detail/basic_pointer_oserializer.hpp>
#include <boost/archive/impl/archive_serializer_map.ipp>
#include <boost/serialization/extended_type_info.hpp>
#include <boost/serialization/void_cast.hpp>

#include <algorithm>
#include <cassert>
#include <new>

template class boost::archive::detail::archive_serializer_map<kin::detail::OutArchive>;
template class boost::archive::detail::archive_serializer_map<kin::detail::InArchive>;

namespace kin::detail {

using boost::serialization::extended_type_info;

void rethrow(const boost::archive::archive_exception& problem) {
  throw SerializationError(problem.what());
}

// --- writing

OutArchive::OutArchive() : common_oarchive(boost::archive::no_header) {}

OutArchive::~OutArchive() = default;

void OutArchive::clear() noexcept {
  size_ = 0;
  depth_ = 0;
  handles_.clear();
  descriptors_.clear();
  if (!objects_.empty()) objects_.clear();
}

void OutArchive::grow(std::size_t count) {
  const std::size_t needed = size_ + count;
  if (needed < size_) throw std::bad_alloc();
  const std::size_t capacity = std::max({needed, capacity_ + capacity_ / 2, std::size_t{256}});
  void* const grown = std::realloc(buffer_.get(), capacity);
  if (grown == nullptr) throw std::bad_alloc();
  static_cast<void>(buffer_.release());  // realloc has taken it
  buffer_.reset(static_cast<std::byte*>(grown));
  capacity_ = capacity;
}

void OutArchive::pad_to(std::size_t size) {
  if (size > size_) {
    const std::size_t count = size - size_;
    std::memset(append(count), 0, count);
  }
}

void OutArchive::enter() {
  if (depth_ == deepest_nesting) {
    throw SerializationError("nested too deep to be sent: more than " +
                             std::to_string(deepest_nesting) + " containers or pointers");
  }
  ++depth_;
}

std::size_t OutArchive::HashObject::operator()(const ObjectKey& key) const noexcept {
  return std::hash<const void*>()(key.address) ^ (key.type.hash_code() << 1);
}

bool OutArchive::save_object_id(const void* object, const std::type_info& type) {
  const auto [entry, is_new] = objects_.try_emplace({object, type}, objects_.size() + 1);
  save_length(entry->second);
  return is_new;
}

void OutArchive::save_derived(const void* object, const extended_type_info* type) {
  using Serializers = boost::archive::detail::archive_serializer_map<OutArchive>;
  using PointerSerializer = boost::archive::detail::basic_pointer_oserializer;
  const auto* const serializer =
      type == nullptr ? nullptr : static_cast<const PointerSerializer*>(Serializers::find(*type));
  if (serializer == nullptr || type->get_key() == nullptr) {
    const char* const name = type == nullptr ? nullptr : type->get_debug_info();
    throw SerializationError(std::string("a derived class is sent by a pointer to its base: name "
                                         "it with BOOST_CLASS_EXPORT, after the kin headers") +
                             (name == nullptr ? "" : std::string(": ") + name));
  }
  detail::save(*this, std::string(type->get_key()));
  serializer->save_object_ptr(*this, object);
}

// --- reading

struct InArchive::Pending {
  std::uint64_t id;
  void* memory;
  const extended_type_info* type;
  bool constructed;
  Pending* outer;
};

InArchive::InArchive(std::span<const std::byte> bytes)
    : common_iarchive(boost::archive::no_header),
      bytes_(bytes),
      room_ahead_(16 * bytes.size()),
      unknown_elements_(4 * bytes.size()) {}

InArchive::InArchive(std::span<const std::byte> bytes, IncomingCargo& cargo) : InArchive(bytes) {
  cargo_ = &cargo;  // NOLINT(cppcoreguidelines-prefer-member-initializer): it delegates
}

InArchive::~InArchive() = default;

void InArchive::complain(std::string_view what) {
  throw SerializationError("damaged message: " + std::string(what));
}

void InArchive::complain_short() { complain("it ends too early"); }

Handle InArchive::next_handle() {
  if (cargo_ == nullptr || next_handle_ == cargo_->handles.size()) {
    complain("it has fewer handles than its values need");
  }
  return std::move(cargo_->handles[next_handle_++]);
}

UniqueFd InArchive::next_descriptor() {
  if (cargo_ == nullptr || next_descriptor_ == cargo_->descriptors.size()) {
    complain("it has fewer descriptors than its values need");
  }
  return std::move(cargo_->descriptors[next_descriptor_++]);
}

void InArchive::finish() const {
  if (remaining() != 0) complain("it goes on behind its value");
  if (cargo_ == nullptr) return;
  if (next_handle_ != cargo_->handles.size() || next_descriptor_ != cargo_->descriptors.size()) {
    complain("it has more handles or descriptors than its values need");
  }
}

// A message that tells the truth has at least a byte for each element, and 8 for each length.
std::size_t InArchive::load_unknown_length() {
  const std::size_t length = load_length(1);
  if (length > unknown_elements_) complain("its containers claim the same bytes again and again");
  unknown_elements_ -= length;
  return length;
}

void InArchive::skip_to(std::size_t position) {
  if (position > position_) take(position - position_);
}

void InArchive::enter() {
  if (depth_ == deepest_nesting) complain("it is nested too deep");
  ++depth_;
}

std::uint64_t InArchive::load_object_id() {
  std::uint64_t id = 0;
  detail::load(*this, id);
  if (id > objects_.size() + 1) complain("it refers to an object that it does not hold");
  return id;
}

void InArchive::note_object(std::uint64_t id, void* object, const std::type_info& exact,
                            const extended_type_info* type) {
  Object& entry = objects_[id - 1];
  entry.address = object;
  entry.exact = &exact;
  entry.type = type;
}

void* InArchive::object_as(std::uint64_t id, const std::type_info& exact,
                           const extended_type_info* type) const {
  const Object& entry = objects_[id - 1];
  if (entry.address == nullptr) complain("it refers to an object that is not constructed yet");
  if (entry.type == nullptr || type == nullptr) {
    if (entry.exact == nullptr || *entry.exact != exact) complain("an object is of another class");
    return entry.address;
  }
  if (*entry.type == *type) return entry.address;
  void* const base =
      const_cast<void*>(boost::serialization::void_upcast(*entry.type, *type, entry.address));
  if (base == nullptr) complain("an object is of another class");
  return base;
}

std::shared_ptr<void>& InArchive::owner_of(std::uint64_t id) {
  Object& entry = objects_[id - 1];
  if (entry.unique) complain("an object has two owners");
  return entry.owner;
}

void InArchive::make_unique_owner(std::uint64_t id) {
  Object& entry = objects_[id - 1];
  if (!entry.complete || entry.unique || entry.owner) complain("an object has two owners");
  entry.unique = true;
}

void InArchive::note_constructed(void* object) noexcept {
  if (pending_ == nullptr || pending_->memory != object) return;
  Object& entry = objects_[pending_->id - 1];
  entry.address = object;
  entry.type = pending_->type;
  pending_->constructed = true;
}

void InArchive::load_derived(std::uint64_t id, const char* name, const extended_type_info& base) {
  using Serializers = boost::archive::detail::archive_serializer_map<InArchive>;
  using PointerSerializer = boost::archive::detail::basic_pointer_iserializer;
  const extended_type_info* const type = extended_type_info::find(name);
  const auto* const serializer =
      type == nullptr ? nullptr : static_cast<const PointerSerializer*>(Serializers::find(*type));
  if (serializer == nullptr) complain("it holds an object of a class that is not known here");

  expect_object();
  Pending pending{id, serializer->heap_allocation(), type, false, pending_};
  pending_ = &pending;
  try {
    const auto version = serializer->get_basic_serializer().version();
    serializer->load_object_ptr(*this, pending.memory, version);
    pending_ = pending.outer;
    if (boost::serialization::void_upcast(*type, base, pending.memory) == nullptr)
      complain("an object is of another class");
    complete_object(id);
  } catch (...) {
    pending_ = pending.outer;
    if (!pending.constructed)
      ::operator delete(pending.memory);  // as Boost does in the same place
    else if (!objects_[id - 1].owner)
      serializer->get_basic_serializer().destroy(pending.memory);
    throw;
  }
}

}  // namespace kin::detail
