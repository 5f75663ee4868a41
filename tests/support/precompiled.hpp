// SPDX-License-Identifier: BSL-1.0

// What most sources of the doctest programs include, compiled once for each program: more than half of the time
// that they take to compile. Nothing of POSIX, whose functions would hide what a test lacks. Each source
// includes what it uses all the same: -Db_pch=false builds without this.

#include <kin/kin.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <random>
#include <ranges>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>
