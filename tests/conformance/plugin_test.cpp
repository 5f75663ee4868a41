// SPDX-License-Identifier: BSL-1.0
//
// Functions of a plugin that was opened when the pool was there: its workers do not have it, and would jump
// to where nothing is.
//
// Fails when:
//   hold() does not check_code_of_task(): lambdas of a plugin that came after the pool

#include "trial.hpp"

#include <array>
#include <cstdlib>
#include <filesystem>

#include <dlfcn.h>

using namespace trial;

namespace {

/// Opened while it exists.
class Plugin {
 public:
  using Function = int (*)(kin::Pool&, int);

  Plugin() : library_(::dlopen(path().c_str(), RTLD_NOW | RTLD_LOCAL)) {
    REQUIRE_MESSAGE(library_ != nullptr, ::dlerror());
  }
  ~Plugin() {
    if (library_ != nullptr) ::dlclose(library_);
  }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  [[nodiscard]] Function function(const char* name) const {
    auto* const found = reinterpret_cast<Function>(::dlsym(library_, name));
    REQUIRE((found != nullptr));
    return found;
  }

 private:
  static std::string path() {
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
    return program.parent_path() / "conformance" / "libtest_plugin.so";
  }

  void* library_;
};

std::string complaint_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "none";
}

constexpr std::array names{"call_lambda", "call_closure", "map_lambda"};

}  // namespace

TEST_SUITE("plugin") {
  TEST_CASE_FIXTURE(Trial, "lambdas of a plugin that came after the pool are refused by its path") {
    kin::Pool pool(1);
    const Plugin plugin;
    for (const char* name : names) {
      CAPTURE(name);
      const auto function = plugin.function(name);
      const std::string complaint = complaint_of([&] { static_cast<void>(function(pool, 1)); });
      CAPTURE(complaint);
      CHECK(complaint.find("plugin") != std::string::npos);
      CHECK(complaint.find("Load it before") != std::string::npos);
    }
    CHECK(pool.apply(::abs, -1) == 1);
  }

  TEST_CASE_FIXTURE(Trial, "those of a plugin that came before the pool are called") {
    const Plugin plugin;
    kin::Pool pool(1);
    for (const char* name : names) {
      CAPTURE(name);
      CHECK(plugin.function(name)(pool, 1) == 2);
    }
  }
}
