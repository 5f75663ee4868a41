#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""House rules that are tests. Prints a line for each, what breaks it, and "N passed, N failed"."""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The architecture: layers, lowest first. A file includes its own layer and those below it.
# lib/src/X/… and lib/src/X.cpp and lib/include/kin/X.hpp belong to the part X.
# docs/architecture.md changes in the same commit as this table.
LAYERS = [
    ["error", "log", "unique_fd", "version", "base"],
    ["waiting"],
    ["memory"],
    ["deadlock"],
    ["channel"],
    ["os"],
    ["serialize", "wire"],
    ["connection", "listener", "sync", "shared", "queue"],
    ["process"],
    ["progress", "future", "nursery", "wait"],
    ["pool"],
    ["executor", "manager", "outside"],
    ["kin"],
]

# lib/include/kin/detail/ is flat, as users' compilers see it; each header in it is of some part.
DETAIL = {
    "archive.hpp": "serialize",
    "arrivals.hpp": "future",
    "batch.hpp": "manager",
    "call_bytes.hpp": "queue",
    "callable.hpp": "serialize",
    "callback.hpp": "base",
    "cargo.hpp": "memory",
    "channel.hpp": "queue",
    "codec.hpp": "serialize",
    "codec_containers.hpp": "serialize",
    "codec_pointers.hpp": "serialize",
    "codec_values.hpp": "serialize",
    "deadline.hpp": "base",
    "end.hpp": "connection",
    "engine.hpp": "pool",
    "exception_type.hpp": "serialize",
    "export.hpp": "base",
    "exposed.hpp": "manager",
    "exposed_ready.hpp": "outside",
    "handle.hpp": "memory",
    "handle_of.hpp": "serialize",
    "hosted.hpp": "manager",
    "hosted_calls.hpp": "manager",
    "initializer.hpp": "nursery",
    "list_store.hpp": "manager",
    "local_task.hpp": "future",
    "make_hosted.hpp": "manager",
    "managed_contents.hpp": "manager",
    "managed_dict.hpp": "manager",
    "managed_element.hpp": "manager",
    "managed_list.hpp": "manager",
    "managed_name_space.hpp": "manager",
    "managed_pool.hpp": "manager",
    "managed_pool_options.hpp": "manager",
    "managed_queue.hpp": "manager",
    "managed_set.hpp": "manager",
    "managed_sync.hpp": "manager",
    "managed_value.hpp": "manager",
    "manager_engine.hpp": "manager",
    "members.hpp": "serialize",
    "ordered_dict.hpp": "manager",
    "outcomes.hpp": "future",
    "partial.hpp": "serialize",
    "pool_store.hpp": "manager",
    "portable.hpp": "serialize",
    "process_chunks.hpp": "pool",
    "process_engine.hpp": "pool",
    "process_tasks.hpp": "pool",
    "remote_call.hpp": "manager",
    "result_range.hpp": "pool",
    "save_load.hpp": "serialize",
    "sendable.hpp": "serialize",
    "sent_function.hpp": "serialize",
    "shared_array.hpp": "shared",
    "shared_block.hpp": "shared",
    "shared_hold.hpp": "shared",
    "shared_parts.hpp": "shared",
    "sync_stores.hpp": "manager",
    "task.hpp": "future",
    "task_context.hpp": "nursery",
    "thread_engine.hpp": "pool",
    "zip.hpp": "pool",
}

# What a part is called when its file's name is not its own.
PART_OF = {
    "array": "shared",
    "expose": "outside",
    "local_task": "future",
    "lock": "sync",
    "promise": "future",
    "proxy": "manager",
    "worker": "nursery",
    "server": "manager",
    "shareable_list": "shared",
    "shared_allocator": "shared",
    "shared_memory": "shared",
    "shared_memory_manager": "shared",
    "shared_object": "shared",
    "value": "shared",
}

# Who may call what. A call is a plain or a :: call; os::fork() and child.kill() are our own.
ONLY = {
    "os/fork.cpp": ["fork", "_Fork", "vfork", "clone", "clone3", "posix_spawn", "SYS_clone", "SYS_clone3"],
    "os/child.cpp": [
        "waitid", "waitpid", "wait3", "wait4", "kill", "killpg", "tgkill", "pidfd_send_signal",
        "SYS_waitid", "SYS_wait4", "SYS_kill", "SYS_tgkill", "SYS_pidfd_send_signal",
    ],
}

FORBIDDEN_NAMES = {"util", "utils", "common", "helper", "helpers", "types"}
SPDX = "SPDX-License-Identifier: BSL-1.0"
PAGE_WIDTH = 120
SOURCES = {".cpp", ".hpp"}

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "lib/include"
SRC = ROOT / "lib/src"


def tracked_files():
    """The files of the project, with those that are about to be: not ignored, not yet added."""
    git = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False,
    ) if (ROOT / ".git").exists() else None
    if git is not None and git.returncode == 0:
        files = [ROOT / name for name in git.stdout.split("\0") if name]
    else:  # an unpacked archive, or a checkout that git does not trust
        files = [path for path in ROOT.rglob("*") if path.relative_to(ROOT).parts[0] not in ("build", ".git")]
    return sorted(path for path in files if path.is_file())


def name_of(path):
    return str(path.relative_to(ROOT))


def jobs(function, items):
    with ThreadPoolExecutor(max_workers=2) as executor:
        return [problem for problems in executor.map(function, items) for problem in problems]


def code_of(path):
    """The text without comments and literals; lines keep their numbers."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
    return pattern.sub(lambda match: "\n" * match.group().count("\n"), path.read_text())


# ---- the checks: each yields its problems --------------------------------------------------------


def headers_compile_alone(files):
    compiler = os.environ.get("CXX", "g++").split()
    headers = [path for path in files if INCLUDE in path.parents]

    def compile_alone(header):
        result = subprocess.run(
            [*compiler, "-fsyntax-only", "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}",
             "-x", "c++", "-"],
            input=f"#include <{header.relative_to(INCLUDE)}>\n", capture_output=True, text=True, check=False,
        )
        return [f"{name_of(header)}:\n{result.stderr}"] if result.returncode else []

    return jobs(compile_alone, headers)


def part_of(path):
    """The part that a file of the library belongs to, or None."""
    if INCLUDE / "kin/detail" in path.parents:
        return DETAIL.get(path.name)
    if SRC in path.parents:
        part = path.relative_to(SRC).parts[0].split(".")[0]
    else:
        part = path.stem
    return PART_OF.get(part, part)


def includes_point_down(files):
    level = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    library = [path for path in files
               if path.suffix in SOURCES and (INCLUDE in path.parents or SRC in path.parents)]
    for path in library:
        if part_of(path) not in level:
            yield f"{name_of(path)}: not in the table of layers (tests/house/check.py)"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not match:
                continue
            quoted, name = match[1] == '"', match[2]
            places = [path.parent, SRC, INCLUDE] if quoted else [INCLUDE]
            target = next((place / name for place in places if (place / name).is_file()), None)
            where = f"{name_of(path)}:{number}"
            if target is None:
                if quoted or name.startswith("kin/"):
                    yield f"{where}: includes {name}, which is not there"
                continue
            target = target.resolve()
            if INCLUDE in path.parents and SRC in target.parents:
                yield f"{where}: a public header includes {name}, which is not installed"
            elif part_of(target) in level and level[part_of(target)] > level[part_of(path)]:
                yield f"{where}: {part_of(path)} includes {name}, of the higher layer of {part_of(target)}"


def formatted(files):
    for page in pages_of(files):
        is_code = False
        for number, line in enumerate(page.read_text().splitlines(), 1):
            is_code ^= line.startswith("```")
            if len(line) > PAGE_WIDTH and not is_code and not line.startswith("|"):
                yield f"{name_of(page)}:{number}: {len(line)} columns, and {PAGE_WIDTH} are the most beside tables and code"

    sources = [str(path) for path in files if path.suffix in SOURCES]
    if not sources:
        return
    result = subprocess.run(
        ["clang-format-16", "--dry-run", "-Werror", *sources], capture_output=True, text=True, check=False, cwd=ROOT)
    if result.returncode:
        lines = Counter(re.findall(r"^(\S+?):\d+:\d+: error", result.stderr, re.MULTILINE))
        if not lines:
            yield result.stderr
            return
        names = {name: name_of(Path(name)) for name in sorted(lines)}
        yield from (f"{names[name]}: {lines[name]} lines" for name in names)
        yield "to format: clang-format-16 -i " + " ".join(names.values())


def names_and_licenses(files):
    for path in files:
        if path.stem.lower() in FORBIDDEN_NAMES:
            yield f"{name_of(path)}: say what is in it; no file is called {path.stem}"
        if path.suffix in SOURCES or path.name == "meson.build":
            lines = path.read_text().splitlines()
            comment = "//" if path.suffix in SOURCES else "#"
            if not lines or lines[0] != f"{comment} {SPDX}":
                yield f"{name_of(path)}: its first line is not '{comment} {SPDX}'"


def one_place_for_each_power(files):
    for owner, calls in ONLY.items():
        # not after a name and :: (another scope), not after . or -> (a member), not inside a word
        pattern = re.compile(
            r"(?<![\w.])(?<!->)(?<!\w::)(?:::\s*)?\b(" + "|".join(calls) + r")\b(?=\s*\(|\s*,)")
        for path in files:
            if SRC not in path.parents and INCLUDE not in path.parents:
                continue
            if SRC in path.parents and str(path.relative_to(SRC)) == owner:
                continue
            text = code_of(path)
            for match in pattern.finditer(text):
                before = re.search(r"(\w+)[\s*&]+$", text[: match.start()])
                declared = before and before[1] not in ("return", "else", "do", "throw", "co_return")
                is_number = match[1].startswith("SYS_")
                if (declared or text[match.end()] == ",") and not is_number:
                    continue
                line = text.count("\n", 0, match.start()) + 1
                yield f"{name_of(path)}:{line}: {match[1]}() belongs in {owner} alone"


# ---- the pages: README.md and docs/*.md

# What a block of code may take for granted.
PAGE_FRONT = """
#include <kin/kin.hpp>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <poll.h>
#include <unistd.h>
using namespace std::chrono_literals;
"""


def pages_of(files):
    return [path for path in files if path.suffix == ".md" and (path.parent == ROOT or ROOT / "docs" in path.parents)]


def translation_units(page):
    """The C++ of a page, as the reader meets it: yields sources to compile.

    A block with an `int main` is a program, and compiled as it stands. All others make one source,
    where each sees what those before it declared. After ```cpp may follow `namespace` for code that stands
    outside of functions, or `fragment` for what is not compiled."""
    includes, outside, inside = [], [], []
    for match in re.finditer(r"^```cpp *(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        kind, code = match[1], match[2]
        line = page.read_text().count("\n", 0, match.start()) + 2
        place = f'#line {line} "{name_of(page)}"\n'
        if kind == "fragment":
            continue
        if "int main(" in code:
            yield place + code
            continue
        includes += re.findall(r"^#include .*\n", code, re.MULTILINE)
        code = place + re.sub(r"^#include .*", "", code, flags=re.MULTILINE)
        (outside if kind == "namespace" else inside).append(code)
    if outside or inside:
        # one inside the other: a name may be declared again, and means the last
        yield "".join([PAGE_FRONT, *includes, *outside, "[[maybe_unused]] static void page() {\n",
                       "{\n".join(inside), "}" * max(len(inside), 1), "\n"])


def code_in_pages_compiles(files):
    compiler = [*os.environ.get("CXX", "g++").split(), "-std=c++20", "-Wall", "-Wextra",
                "-Wno-unused-variable", "-Wno-unused-but-set-variable"]

    def compile_source(source):
        result = subprocess.run(
            [*compiler, "-Werror", "-fsyntax-only", f"-I{ready}", f"-I{INCLUDE}", "-x", "c++", "-"],
            input=source, capture_output=True, text=True, check=False,
        )
        return [result.stderr] if result.returncode else []

    with tempfile.TemporaryDirectory() as ready:
        # g++ takes it for <kin/kin.hpp>; another compiler does without.
        (Path(ready) / "kin").mkdir()
        subprocess.run([*compiler, f"-I{INCLUDE}", "-x", "c++-header", INCLUDE / "kin/kin.hpp",
                        "-o", Path(ready) / "kin/kin.hpp.gch"], capture_output=True, check=False)
        return jobs(compile_source, [source for page in pages_of(files) for source in translation_units(page)])


def anchors_of(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links_lead_somewhere(files):
    for page in pages_of(files):
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if re.match(r"\w+:", target):
                    continue
                name, _, anchor = target.partition("#")
                file = (page.parent / name).resolve() if name else page
                if not file.exists():
                    yield f"{name_of(page)}:{number}: there is no {target}"
                elif anchor and file.suffix == ".md" and anchor not in anchors_of(file):
                    yield f"{name_of(page)}:{number}: there is no heading for {target}"


def architecture_shows_the_layers(files):
    page = ROOT / "docs/architecture.md"
    rows = re.findall(r"^\| \d+ \| ([^|]*) \|", page.read_text(), re.MULTILINE) if page in files else []
    if [re.findall(r"`(\w+)`", row) for row in rows] != LAYERS:
        yield "docs/architecture.md: its table of layers is not the one in tests/house/check.py"


CHECKS = {
    "every public header compiles alone": headers_compile_alone,
    "includes point down": includes_point_down,
    "sources are formatted": formatted,
    "names say something, sources carry their license": names_and_licenses,
    "one file forks, one waits and kills": one_place_for_each_power,
    "the pages' code compiles": code_in_pages_compiles,
    "the pages' links lead somewhere": links_lead_somewhere,
    "docs/architecture.md shows the layers": architecture_shows_the_layers,
}


def main():
    files = tracked_files()
    failed = 0
    for title, check in CHECKS.items():
        problems = list(check(files))
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok    '}  {title}")
        for problem in problems:
            print("    " + problem.rstrip().replace("\n", "\n    "))
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
