#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The README's two commands where none of the packages is installed: they ask apt for them before anything else,
and where that can't help they say what is needed, and fail. Prints "N passed, N failed"."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [["tests/run"], ["tests/run", "package"], ["demos/run"]]
NEEDED = ["g++", "meson", "ninja-build", "libboost1.81-dev", "libboost-serialization1.81-dev", "libssl-dev"]
# A bare machine has none of these; what it has in their place writes down how it was called.
BUILDERS = ["meson", "ninja", "g++", "c++", "cc", "gcc", "clang++-16", "cmake", "pkg-config"]
APT = ["apt-get", "dpkg-query", "sudo"]


def program(path, *lines):
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    path.chmod(0o755)


def machine(directory, has_apt):
    """A PATH that is this machine's, but for the packages. Returns it with the file of calls."""
    programs, calls = directory / "bin", directory / "calls"
    programs.mkdir()
    calls.touch()
    absent = {*BUILDERS, *APT, "ccache"}
    for folder in ("/usr/bin", "/bin"):
        for source in Path(folder).iterdir():
            if source.name not in absent and not (programs / source.name).exists():
                (programs / source.name).symlink_to(source)
    note = f'echo "$(basename "$0") $*" >>{calls}'
    for name in BUILDERS:
        program(programs / name, note, "exit 127")
    if has_apt:
        program(programs / "dpkg-query", "exit 1")
        program(programs / "apt-get", note, "exit 100")
        program(programs / "sudo", '"$@"')
    return programs, calls


def problems_of(command, has_apt):
    with tempfile.TemporaryDirectory() as scratch:
        programs, calls = machine(Path(scratch), has_apt)
        run = subprocess.run([ROOT / command[0], *command[1:]], env={**os.environ, "PATH": str(programs)},
                             capture_output=True, text=True, check=False, timeout=60)
        called = calls.read_text().splitlines()
    if run.returncode == 0:
        yield "it says that all went well"
    missing = [package for package in NEEDED if f"  {package}\n" not in run.stderr]
    if missing:
        yield f"it does not say that these are needed: {' '.join(missing)}; but\n{run.stderr}{run.stdout}"
    if [call for call in called if not call.startswith("apt-get ")]:
        yield f"it builds before all is there: {called}"
    installs = [call for call in called if " install " in call]
    if has_apt and not (len(installs) == 1 and all(package in installs[0].split() for package in NEEDED)):
        yield f"it does not ask apt for all that is needed: {called}"


def main():
    failed = passed = 0
    for command in COMMANDS:
        for has_apt in (True, False):
            problems = list(problems_of(command, has_apt))
            failed += bool(problems)
            passed += not problems
            print(f"{'FAILED' if problems else 'ok    '}  {' '.join(command)}, "
                  f"{'apt that fails' if has_apt else 'no apt'}")
            for problem in problems:
                print("    " + problem.rstrip().replace("\n", "\n    "))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
