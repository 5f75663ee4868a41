// SPDX-License-Identifier: BSL-1.0
//
// The calls of a pool in a manager's server, as far as they are of no task's type.

#include <kin/detail/managed_pool.hpp>

#include <cstdint>
#include <vector>

namespace kin::detail {

struct JoinPool {
  bool operator()(PoolStore& store, std::uint64_t /*process*/) const { return store.join(); }
};

}  // namespace kin::detail

namespace kin::managed {

using detail::method;

void Pool::close() const { own(method<&Store::close>); }
void Pool::terminate() const { own(method<&Store::terminate>); }
bool Pool::join_until(detail::Deadline deadline) const { return wait<detail::JoinPool>(deadline); }
std::vector<pid_t> Pool::worker_pids() const { return own(method<&Store::worker_pids>); }

}  // namespace kin::managed
