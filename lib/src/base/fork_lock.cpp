// SPDX-License-Identifier: BSL-1.0
//
// The list of all ForkLocks of this process. New ones join at the front under the list's own mutex,
// which a fork holds first and releases last.

#include "base/fork_lock.hpp"

#include "base/immortal.hpp"

namespace kin::detail {
namespace {

struct List {
  std::mutex mutex;
  ForkLock* first = nullptr;
};

List& list() {
  static Immortal<List> all;
  return *all;
}

[[maybe_unused]] const bool list_is_made = made_at_load(list);

}  // namespace

ForkLock::ForkLock() { enter_list(); }

void ForkLock::enter_list() {
  const std::scoped_lock lock(list().mutex);
  next_ = list().first;
  list().first = this;
}

void ForkLock::lock_all() {
  list().mutex.lock();
  for (ForkLock* one = list().first; one != nullptr; one = one->next_) one->lock();
}

void ForkLock::unlock_all() {
  for (ForkLock* one = list().first; one != nullptr; one = one->next_) one->unlock();
  list().mutex.unlock();
}

int ForkLock::count() {
  const std::scoped_lock lock(list().mutex);
  int number = 0;
  for (const ForkLock* one = list().first; one != nullptr; one = one->next_) ++number;
  return number;
}

}  // namespace kin::detail
