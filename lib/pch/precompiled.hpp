// SPDX-License-Identifier: BSL-1.0

// What most sources of the library include, compiled once: half of the time that they take to compile. Nothing of
// the system's, whose names would hide what a source lacks. Each source includes what it uses all the same:
// -Db_pch=false builds without this, and so does tests/run tidy.

#include <kin/error.hpp>
#include <kin/log.hpp>
#include <kin/serialize.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>
