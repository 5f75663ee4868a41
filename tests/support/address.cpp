// SPDX-License-Identifier: BSL-1.0

// Turns an address into words, in the test process. A forked child has the same image at the same
// addresses, so the program counter of a child that is long dead can be looked up here. dladdr
// names the object and, if the symbol is exported, the function; addr2line knows the static ones
// and the line.

#include "address.hpp"

#include <array>
#include <cstdio>
#include <sstream>

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

namespace crash {

namespace {

std::string hexadecimal(std::uintptr_t number) {
  std::ostringstream out;
  out << "0x" << std::hex << number;
  return out.str();
}

std::string file_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string first_output_line(std::FILE* stream) {
  std::array<char, 1024> buffer{};
  if (std::fgets(buffer.data(), buffer.size(), stream) == nullptr) {
    return {};
  }
  std::string line(buffer.data());
  return line.substr(0, line.find_last_not_of("\n") + 1);
}

/// Function and place as addr2line prints them, "??" or empty where it does not know.
std::pair<std::string, std::string> ask_addr2line(const std::string& object,
                                                  std::uintptr_t offset) {
  const std::string command =
      "addr2line -C -f -e '" + object + "' " + hexadecimal(offset) + " 2>/dev/null";
  std::FILE* stream = popen(command.c_str(), "r");
  if (stream == nullptr) {
    return {};
  }
  std::string function = first_output_line(stream);
  std::string place = first_output_line(stream);
  pclose(stream);
  return {function, place};
}

}  // namespace

std::string describe_address(std::uintptr_t address) {
  Dl_info info{};
  link_map* map = nullptr;
  if (dladdr1(reinterpret_cast<void*>(address), &info, reinterpret_cast<void**>(&map),
              RTLD_DL_LINKMAP) == 0) {
    return hexadecimal(address);
  }
  const bool is_main_program = map->l_name == nullptr || *map->l_name == '\0';
  std::string object = map->l_name;
  if (is_main_program) {
    std::array<char, 4096> path{};
    object =
        readlink("/proc/self/exe", path.data(), path.size() - 1) > 0 ? path.data() : info.dli_fname;
  }
  const std::uintptr_t offset = address - map->l_addr;

  auto [function, place] = ask_addr2line(object, offset);
  if (function.empty() || function.starts_with("??")) {
    function = info.dli_sname != nullptr ? info.dli_sname : "?";
  }
  if (place.empty() || place.starts_with("??")) {
    place = file_of(object) + "+" + hexadecimal(offset);
  }
  return function + " (" + file_of(place) + ")";
}

}  // namespace crash
