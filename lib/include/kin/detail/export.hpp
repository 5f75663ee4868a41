// SPDX-License-Identifier: BSL-1.0
#pragma once

/// Marks what the library exports; everything else is hidden. Exception classes need it too: their
/// type information must be one and the same in the library and in the program that catches them.
#define KIN_EXPORT __attribute__((visibility("default")))
