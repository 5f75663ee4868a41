// SPDX-License-Identifier: BSL-1.0

#include <kin/detail/handle_of.hpp>

#include "memory/object.hpp"

#include <kin/error.hpp>

#include <string>

namespace kin::detail {
namespace {

const char* name_of(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::channel: return "a queue or a pipe";
    case ObjectKind::lock: return "a lock";
    case ObjectKind::semaphore: return "a semaphore";
    case ObjectKind::condition: return "a condition";
    case ObjectKind::event: return "an event";
    case ObjectKind::barrier: return "a barrier";
    case ObjectKind::block: return "a value or an array";
    case ObjectKind::shared_object: return "a shared object";
    case ObjectKind::hosted: return "an object of a manager's";
    case ObjectKind::stream: return "a connection";
    default: return "another object";
  }
}

}  // namespace

Handle read_handle(InArchive& archive, ObjectKind kind) {
  Handle handle = archive.next_handle();
  const ObjectKind found = handle.object_even_closed().kind;
  if (found != kind) {
    throw SerializationError(std::string("the message holds ") + name_of(found) + " where " +
                             name_of(kind) + " was expected");
  }
  return handle;
}

}  // namespace kin::detail
