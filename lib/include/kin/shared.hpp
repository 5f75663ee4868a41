// SPDX-License-Identifier: BSL-1.0
#pragma once

/// What processes share: values, arrays, and objects that are made of containers.

#include <kin/array.hpp>
#include <kin/shared_allocator.hpp>
#include <kin/shared_object.hpp>
#include <kin/value.hpp>
