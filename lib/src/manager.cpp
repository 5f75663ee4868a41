// SPDX-License-Identifier: BSL-1.0
//
// What a Manager makes whose type is no user's: compiled here, once.

#include <kin/manager.hpp>

#include <cstddef>
#include <utility>

namespace kin {
namespace detail {

struct MakePool {
  Proxy<PoolStore> operator()(HostRoot& /*root*/, managed::PoolOptions options) const {
    return Proxy<PoolStore>(host_pool(std::move(options), nullptr));
  }
};

}  // namespace detail

managed::NameSpace Manager::name_space() const {
  return managed::NameSpace(host<detail::NameSpaceStore>());
}

managed::Lock Manager::lock() const { return managed::Lock(host<detail::LockStore>(false)); }
managed::RLock Manager::rlock() const { return managed::RLock(host<detail::LockStore>(true)); }

managed::Semaphore Manager::semaphore(int value) const {
  return managed::Semaphore(host<detail::SemaphoreStore>(value, false));
}
managed::BoundedSemaphore Manager::bounded_semaphore(int value) const {
  return managed::BoundedSemaphore(host<detail::SemaphoreStore>(value, true));
}

managed::Event Manager::event() const { return managed::Event(host<detail::EventStore>()); }

managed::Barrier Manager::barrier(int parties) const { return barrier(BarrierOptions{}, parties); }
managed::Barrier Manager::barrier(const BarrierOptions& options, int parties) const {
  return managed::Barrier(host<detail::BarrierStore>(parties), options);
}

managed::Condition Manager::condition() const { return condition(rlock()); }
managed::Condition Manager::condition(const managed::Lock& lock) const {
  return {host<detail::ConditionStore>(), lock};
}

managed::Pool Manager::pool(std::ptrdiff_t processes) const {
  return pool(managed::PoolOptions{.processes = processes});
}
managed::Pool Manager::pool(const managed::PoolOptions& options) const {
  return managed::Pool(root().apply(detail::MakePool{}, options));
}

ManagerStatistics Manager::statistics() const {
  return root().own(detail::method<&detail::HostRoot::statistics>);
}

}  // namespace kin
