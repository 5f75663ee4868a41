// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace bench {

/// What a program measured: each figure beside its peer, of the same run, and the ratio that is wanted.
class Table {
 public:
  enum class Want { at_least, at_most, nothing };

  struct Row {
    std::string figure;
    std::string measured;
    std::string peer;
    double ratio = 0;  // 0: could not be had
    Want want = Want::nothing;
    double limit = 0;
    const char* ratio_format = "%.2f";
  };

  explicit Table(std::string title) : title_(std::move(title)) {}

  /// A line of explanation under the table.
  void note(std::string line) { notes_.push_back(std::move(line)); }
  void add(Row row) { rows_.push_back(std::move(row)); }

  /// Prints it all. The exit status: a failure where a figure falls short, or could not be had; which may be what
  /// else the machine does, so look at its load.
  [[nodiscard]] int print() const {
    std::printf("%s\n", title_.c_str());
    std::printf("  %-34s %20s  %-46s %9s  %9s\n", "figure", "measured", "peer", "ratio", "wanted");
    std::string short_ones;
    for (const Row& row : rows_) {
      const std::string verdict = verdict_of(row);
      std::printf("  %-34s %20s  %-46s %9s  %9s  %s\n", row.figure.c_str(), row.measured.c_str(),
                  row.peer.c_str(),
                  row.ratio > 0 ? number(row.ratio_format, row.ratio).c_str() : "-",
                  wanted(row).c_str(), verdict.c_str());
      if (!verdict.empty() && verdict != "ok")
        short_ones += (short_ones.empty() ? "" : ", ") + row.figure;
    }
    for (const std::string& line : notes_) std::printf("  %s\n", line.c_str());
    double load = 0;
    if (getloadavg(&load, 1) == 1) {
      std::printf("  load of the machine over the last minute: %.1f on %ld processors\n", load,
                  sysconf(_SC_NPROCESSORS_ONLN));
    }
    std::printf("  summary: %s\n",
                short_ones.empty() ? "no figure falls short" : ("short: " + short_ones).c_str());
    return short_ones.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
  }

  static std::string number(const char* format, double value) {
    char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    std::snprintf(text, sizeof text, format, value);
#pragma GCC diagnostic pop
    return text;
  }

 private:
  static std::string wanted(const Row& row) {
    if (row.want == Want::nothing) return "";
    return (row.want == Want::at_least ? ">= " : "<= ") + number("%g", row.limit);
  }
  static std::string verdict_of(const Row& row) {
    if (row.want == Want::nothing) return "";
    if (row.ratio <= 0) return "not measured";
    const bool ok = row.want == Want::at_least ? row.ratio >= row.limit : row.ratio <= row.limit;
    return ok ? "ok" : "short";
  }

  std::string title_;
  std::vector<Row> rows_;
  std::vector<std::string> notes_;
};

}  // namespace bench
