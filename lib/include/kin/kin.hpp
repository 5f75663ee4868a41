// SPDX-License-Identifier: BSL-1.0
#pragma once

/// All of kin.

#include <kin/array.hpp>
#include <kin/connection.hpp>
#include <kin/error.hpp>
#include <kin/executor.hpp>
#include <kin/expose.hpp>
#include <kin/future.hpp>
#include <kin/listener.hpp>
#include <kin/lock.hpp>
#include <kin/log.hpp>
#include <kin/manager.hpp>
#include <kin/pool.hpp>
#include <kin/process.hpp>
#include <kin/progress.hpp>
#include <kin/promise.hpp>
#include <kin/proxy.hpp>
#include <kin/queue.hpp>
#include <kin/serialize.hpp>
#include <kin/shareable_list.hpp>
#include <kin/shared.hpp>
#include <kin/shared_allocator.hpp>
#include <kin/shared_memory.hpp>
#include <kin/shared_memory_manager.hpp>
#include <kin/shared_object.hpp>
#include <kin/sync.hpp>
#include <kin/unique_fd.hpp>
#include <kin/value.hpp>
#include <kin/version.hpp>
#include <kin/wait.hpp>
