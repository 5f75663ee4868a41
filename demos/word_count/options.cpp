// SPDX-License-Identifier: BSL-1.0
//
// The command line, by getopt_long.

#include "word_count/options.hpp"

#include <kin/process.hpp>

#include <charconv>
#include <cstring>
#include <string_view>

#include <getopt.h>

namespace word_count {

const char* const help_text =
    R"(Usage: word_count [--processes N] [--json] [--check] [DIRECTORY]

Counts the words of all files below DIRECTORY, or below the current directory, with several
processes. A word is a longest run of A-Z, a-z, 0-9 and _.

  --processes N  how many processes count, 1 to 1000; as many as there are processors if not given
  --json         print the result as one JSON object and nothing else
  --check        count again in one process, compare, and print how much faster several were
  --help         print this

Symbolic links below DIRECTORY are not followed; DIRECTORY itself may be one. Devices, pipes and
sockets are left alone. Files and directories that can't be read are named on stderr and counted as
unreadable; what could be read of a file before it failed counts.

Exit status: 0, also if something was unreadable; 1 if the count failed, or --check found a
difference; 2 for a command line that makes no sense; 130 after Ctrl-C.
)";

namespace {

int parse_processes(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > 1000) {
    throw UsageError("--processes takes a number from 1 to 1000, not '" + std::string(text) + "'");
  }
  return number;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  static const option known[] = {{"processes", required_argument, nullptr, 'p'},
                                 {"json", no_argument, nullptr, 'j'},
                                 {"check", no_argument, nullptr, 'c'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  Options options;
  opterr = 0;  // the messages are ours
  int found = 0;
  while ((found = getopt_long(argc, argv, ":h", known, nullptr)) != -1) {
    switch (found) {
      case 'p': options.processes = parse_processes(optarg); break;
      case 'j': options.json = true; break;
      case 'c': options.check = true; break;
      case 'h': options.help = true; return options;
      case ':': throw UsageError(std::string(argv[optind - 1]) + " needs a number");
      default:
        throw UsageError(
            "unknown option '" +
            (optopt > ' ' && optopt < 127 && std::strncmp(argv[optind - 1], "--", 2) != 0
                 ? std::string("-") + static_cast<char>(optopt)
                 : std::string(argv[optind - 1])) +
            "'; see --help");
    }
  }
  if (argc - optind > 1) throw UsageError("more than one directory; see --help");
  if (optind < argc) options.directory = argv[optind];
  if (options.processes == 0) options.processes = kin::cpu_count();
  return options;
}

}  // namespace word_count
