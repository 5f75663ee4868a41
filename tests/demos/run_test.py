#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""demos/run from outside: what it lists, and that a second call builds nothing.

Usage: run_test.py DIRECTORY_OF_DEMOS. Prints what failed, and last "N passed, N failed", and ", N skipped" if any.
"""

import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(sys.argv[1]).resolve()
PATIENCE = 60


def run(*arguments):
    return subprocess.run([ROOT / "demos/run", *arguments], capture_output=True, text=True, timeout=PATIENCE,
                          check=False)


class Run(unittest.TestCase):
    def test_list_has_a_sentence_for_each_demo(self):
        sources = sorted(source.stem for source in (ROOT / "demos").glob("*.cpp"))
        ended = run("--list")
        self.assertEqual((ended.stderr, ended.returncode), ("", 0))
        lines = [re.fullmatch(r"(\w+) +(\S.*\S)", line) for line in ended.stdout.splitlines()]
        self.assertNotIn(None, lines)
        self.assertEqual(sorted(line[1] for line in lines), sources)
        sentences = [line[2] for line in lines]
        self.assertEqual(len(set(sentences)), len(sources))
        self.assertEqual({line.start(2) for line in lines}, {lines[0].start(2)})

    def test_a_demo_that_there_is_not(self):
        for name in ("no_such_demo", "../demos/hello", "word_count/count", ""):
            ended = run(name)
            self.assertEqual((ended.stdout, ended.returncode), ("", 2))
            self.assertIn(f"there is no demo called '{name}'. There are:\n", ended.stderr)
            self.assertIn("\nhello ", ended.stderr)

    @unittest.skipUnless(BUILT == ROOT / "build/release/demos", "builds elsewhere")
    def test_a_second_call_builds_nothing(self):
        run("hello")  # what others have changed
        program = BUILT / "hello"
        before = program.stat().st_mtime_ns
        ended = run("hello")
        self.assertEqual((ended.stderr, ended.returncode), ("", 0))
        self.assertEqual(ended.stdout, subprocess.run([program], capture_output=True, text=True, check=True).stdout)
        self.assertEqual(program.stat().st_mtime_ns, before)


if __name__ == "__main__":
    program = unittest.main(argv=sys.argv[:1] + sys.argv[2:], exit=False)
    failed = len(program.result.failures) + len(program.result.errors)
    skipped = program.result.skipped
    for case, reason in skipped:
        print(f"skipped: {case.id()}: {reason}")
    print(f"{max(0, program.result.testsRun - failed - len(skipped))} passed, {failed} failed"
          + (f", {len(skipped)} skipped" if skipped else ""))
    sys.exit(failed != 0)
