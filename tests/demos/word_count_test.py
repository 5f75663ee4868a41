#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""word_count from outside: right totals, whatever is killed; nothing left behind; bad input.

Usage: word_count_test.py DIRECTORY_OF_DEMOS. Prints what failed, and last "N passed, N failed", and ", N skipped" if any.
"""

import collections
import fcntl
import json
import os
import platform
import pty
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM = os.path.join(os.path.abspath(sys.argv[1]), "word_count")
PATIENCE = 60  # seconds until a test gives up on what should come at once
BLOCK = 256 * 1024  # what the program reads at a time


def expected(tree):
    """The result, computed by other means."""
    counts = collections.Counter()
    files = size = 0
    for directory, _, names in os.walk(os.fsencode(tree)):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                text = file.read()
            files += 1
            size += len(text)
            counts.update(re.findall(rb"[A-Za-z0-9_]+", text))
    return result(files, size, counts)


def result(files, size, counts, unreadable=0):
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
    return json.dumps({
        "files": files, "bytes": size, "words": sum(counts.values()), "distinct": len(counts),
        "unreadable": unreadable, "top": [[word.decode(), count] for word, count in top],
    }, separators=(",", ":")) + "\n"


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True,
                          errors="surrogateescape", timeout=PATIENCE, check=False)


def start(*arguments, **options):
    return subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True, **options)


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    """The pool's nursery, and the workers, which are its children."""
    return [found for child in children(pid) for found in [child, *descendants(child)]]


def wait_for(condition, process=None):
    """The first true value of the condition; None when the process ended before there was one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        if process is not None and process.poll() is not None:
            return None
        time.sleep(0.002)
    raise AssertionError("waited in vain")


def reader_of(pid, path):
    """Which worker has the file open."""
    for worker in descendants(pid):
        try:
            for fd in Path(f"/proc/{worker}/fd").iterdir():
                if os.readlink(fd) == str(path):
                    return worker
        except OSError:
            pass
    return None


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class WordCount(unittest.TestCase):
    def setUp(self):
        self.tree = Path(tempfile.mkdtemp(prefix="word-count-"))
        self.addCleanup(shutil.rmtree, self.tree)

    def write(self, name, text):
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        return path

    def write_text(self, files, size):
        random.seed(7)
        words = [b"word_%d" % number for number in range(20_000)]
        for number in range(files):
            self.write(f"{number % 10}/{number}.txt",
                       b" ".join(random.choices(words, k=size // 10)) + b"\n")

    def write_slow(self, name="slow", gigabytes=1):
        """A file that takes a while to read, and no space: a hole."""
        path = self.tree / name
        with open(path, "wb") as file:
            file.truncate(gigabytes << 30)
        return path

    def kill_reader(self, process, path):
        victim = wait_for(lambda: reader_of(process.pid, path))
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: gone(victim))
        return victim

    def check_ended(self, process, pids, status, lines):
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, status, err)
        self.assertEqual(out, "")
        self.assertEqual(err.splitlines(), lines)
        wait_for(lambda: all(map(gone, pids)))


class Totals(WordCount):
    def test_of_all_kinds_of_files(self):
        self.write("empty", b"")
        self.write("one", b"a")
        self.write("no_newline", b"two words")
        self.write("case", b"Word word WORD w0rd _w_ 007 na\xc3\xafve it's")
        self.write("bytes", bytes(range(256)) * 50)
        self.write("random", random.Random(1).randbytes(300_000))
        for distance in range(-2, 3):
            self.write(f"boundary/{distance}", b"x" * (BLOCK + distance) + b" y")
            self.write(f"boundary/space{distance}", b" " * (BLOCK + distance) + b"word z")
        self.write("longest", b"w" * (3 * BLOCK + 5))
        self.write("large", b"the quick brown fox " * 500_000)
        self.write("\n", b"a name that is a newline")
        self.write(os.fsdecode(b"\xff\xfe name"), b"a name that is no text")
        self.write("/".join(["deep"] * 100) + "/file", b"deep")
        (self.tree / "nothing").mkdir()
        outside = tempfile.mkdtemp(prefix="word-count-")
        self.addCleanup(shutil.rmtree, outside)
        Path(outside, "file").write_bytes(b"not below the directory")
        (self.tree / "link_to_directory").symlink_to(outside)
        (self.tree / "link_to_file").symlink_to(Path(outside, "file"))
        (self.tree / "link_to_nothing").symlink_to("nothing/here")
        (self.tree / "link_around").symlink_to(".")
        os.link(self.tree / "one", self.tree / "hard_link")
        os.mkfifo(self.tree / "fifo")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.tree / "socket"))
            right = expected(self.tree)
            for processes in (1, 2, 7):
                with self.subTest(processes=processes):
                    ended = run("--json", "--processes", processes, self.tree)
                    self.assertEqual((ended.stdout, ended.stderr, ended.returncode), (right, "", 0))

    def test_where_many_words_are_delivered_more_than_once(self):
        # 32 MB are enough for a batch
        sizes = [20_000_000] * 4
        for number, size in enumerate(sizes):
            self.write(str(number), (b"%d " % number) * (size // 2))
        counts = collections.Counter({b"%d" % number: size // 2 for number, size in enumerate(sizes)})
        self.assertEqual(run("--json", "--processes", 1, self.tree).stdout, result(4, sum(sizes), counts))

    def test_of_an_empty_directory(self):
        self.assertEqual(run("--json", self.tree).stdout, result(0, 0, {}))

    def test_through_a_link_on_the_command_line(self):
        self.write("tree/file", b"word")
        (self.tree / "link").symlink_to("tree")
        self.assertEqual(run("--json", self.tree / "link").stdout, result(1, 4, {b"word": 1}))

    def test_of_the_current_directory(self):
        self.write("file", b"word")
        ended = subprocess.run([PROGRAM, "--json"], cwd=self.tree, capture_output=True, text=True, check=True)
        self.assertEqual(ended.stdout, result(1, 4, {b"word": 1}))

    def test_name_what_can_not_be_read(self):
        # A path that is too long for the kernel can't be opened, by root neither.
        self.write("good", b"word")
        directory = os.open(self.tree, os.O_RDONLY)
        length = len(str(self.tree))
        while length < 3900:
            name = "d" * min(200, 3950 - length)
            os.mkdir(name, dir_fd=directory)
            directory, above = os.open(name, os.O_RDONLY, dir_fd=directory), directory
            os.close(above)
            length += 1 + len(name)
        os.close(os.open("f" * 250, os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        os.mkdir("e" * 250, dir_fd=directory)
        os.close(directory)
        ended = run("--json", self.tree)
        self.assertEqual((ended.stdout, ended.returncode), (result(1, 4, {b"word": 1}, unreadable=2), 0))
        self.assertRegex(ended.stderr, r"can't read '.*/f{250}': File name too long\n")
        self.assertRegex(ended.stderr, r"can't read '.*/e{250}': File name too long\n")

    def test_are_told_to_people(self):
        long = b"long" * 20
        words = [(b"word_%d" % number, 3000 - number) for number in range(30)] + [(long, 2999)]
        for word, count in words:
            self.write(word.decode(), (word + b" ") * count)
        right = json.loads(expected(self.tree))
        shown = [f"{right[name]:>14,}  {name}" for name in ("files", "bytes", "words")]
        shown += [f"{31:>14}  distinct words", "", "The most frequent:"]
        shown += [f"{count:>14,}  " + (word if len(word) <= 60 else word[:60] + "...") for word, count in right["top"]]
        self.assertEqual(len(right["top"]), 20)
        for processes, counters in (1, "1 counter"), (2, "2 counters"):
            with self.subTest(processes=processes):
                ended = run("--processes", processes, self.tree)
                self.assertEqual((ended.stderr, ended.returncode), ("", 0))
                *report, empty, last = ended.stdout.splitlines()
                self.assertEqual((report, empty), (shown, ""))
                self.assertRegex(last, rf"\A\d+\.\d\d s with {counters}, (\d{{1,2}}\.\d|\d{{3,}}) MB/s\Z")

    def test_agree_with_check(self):
        self.write_text(20, 10_000)
        ended = run("--check", self.tree)
        self.assertEqual((ended.stderr, ended.returncode), ("", 0))
        self.assertRegex(ended.stdout, r"check: one process counted the same in .* speed-up with \d+ counters?: ")
        ended = run("--check", "--json", self.tree)
        self.assertEqual(ended.stdout, expected(self.tree))

    def check_after(self, change, *options):
        """What --check says of files that are changed when it has counted them and not yet again."""
        reading, writing = os.pipe()
        # The pipe is full, so it waits when it prints its result.
        junk = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writing, b"-" * junk)
        process = subprocess.Popen([PROGRAM, "--check", *options, str(self.tree)], stdout=writing,
                                   stderr=subprocess.PIPE, text=True)
        os.close(writing)
        is_printing = re.compile(r"1 0x1 ").match  # write(1, …)
        self.assertTrue(wait_for(lambda: is_printing(Path(f"/proc/{process.pid}/syscall").read_text()), process))
        change()
        with open(reading, encoding="ascii") as file:
            out = file.read()[junk:]
        _, err = process.communicate(timeout=PATIENCE)
        return out, err, process.returncode

    @unittest.skipUnless(platform.machine() == "x86_64", "knows the number of write() there only")
    def test_that_check_does_not_find_again_are_an_error(self):
        self.write_text(20, 10_000)
        file = self.write("file", b"word")
        found = r"check: one process counted something else in [\d.]+ s; speed-up with \d+ counters?: [\d.]+\n\Z"
        for change in (lambda: file.write_bytes(b"lord"), lambda: file.write_bytes(b"word word"), file.unlink,
                       lambda: file.write_bytes(b"")):
            file.write_bytes(b"word")
            right = expected(self.tree)
            out, err, status = self.check_after(change)
            self.assertEqual((err, status), ("", 1))
            self.assertRegex(out, found)
            file.write_bytes(b"word")
            out, err, status = self.check_after(change, "--json")
            self.assertEqual((out, status), (right, 1))
            self.assertRegex(err, r"\A" + found)
        file.write_bytes(b"word")
        out, err, status = self.check_after(lambda: None)
        self.assertEqual((err, status), ("", 0))
        self.assertIn("check: one process counted the same in ", out)


class Killed(WordCount):
    def test_counter_is_reported_and_its_files_are_counted_once(self):
        self.write_text(50, 100_000)
        right = json.loads(expected(self.tree))
        slow = self.write_slow()
        right["files"] += 1
        right["bytes"] += 1 << 30
        for processes in (1, 2, 3):
            with self.subTest(processes=processes):
                process = start("--json", "--processes", processes, self.tree)
                victim = self.kill_reader(process, slow)
                out, err = process.communicate(timeout=PATIENCE)
                self.assertEqual(process.returncode, 0)
                self.assertEqual(json.loads(out), right)
                self.assertEqual(err, f"word_count: a counter (pid {victim}) was killed by signal 9 (Killed); "
                                      "its files will be counted again\n")

    def test_counters_are_in_the_report(self):
        slow = self.write_slow()
        process = start("--processes", 1, self.tree)
        for _ in range(2):
            self.kill_reader(process, slow)
        out, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0)
        self.assertIn(" 2  counters that died and were replaced\n", out)

    def test_nursery_is_reported_and_all_starts_over_again(self):
        self.write_text(20, 10_000)
        right = json.loads(expected(self.tree))
        slow = self.write_slow()
        right["files"] += 1
        right["bytes"] += 1 << 30
        process = start("--json", "--processes", 2, self.tree)
        wait_for(lambda: reader_of(process.pid, slow))
        before = descendants(process.pid)
        [nursery] = children(process.pid)
        os.kill(nursery, signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((json.loads(out), process.returncode), (right, 0))
        self.assertRegex(err, rf"\Aword_count: .*nursery \(pid {nursery}\).*; starting all over again\n\Z")
        wait_for(lambda: all(map(gone, before)))

    def test_at_random_moments_anyone_may_be(self):
        self.write_text(200, 100_000)
        right = expected(self.tree)
        for seed in range(15):
            with self.subTest(seed=seed):
                dice = random.Random(seed)
                process = start("--json", "--processes", 3, self.tree)
                wait_for(lambda: descendants(process.pid), process)
                while process.poll() is None:
                    time.sleep(dice.random() * 0.1)
                    victims = descendants(process.pid)
                    if victims and dice.random() < 0.7:
                        os.kill(dice.choice(victims), signal.SIGKILL)
                    if dice.random() < 0.5:
                        break
                out, err = process.communicate(timeout=PATIENCE)
                self.assertEqual((out, process.returncode), (right, 0), err)

    def test_three_times_by_one_file_it_is_named(self):
        self.write_text(20, 10_000)
        right = json.loads(expected(self.tree))
        right["unreadable"] = 1
        slow = self.write_slow("poison")
        process = start("--json", "--processes", 2, self.tree)
        for _ in range(3):
            self.kill_reader(process, slow)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(json.loads(out), right)
        self.assertEqual(err.count("was killed by signal 9"), 1, err)
        self.assertIn(f"can't read '{slow}': three counters died while they had it\n", err)

    def test_parent_takes_all_with_it(self):
        slow = self.write_slow(gigabytes=100)
        process = start("--processes", 2, self.tree)
        wait_for(lambda: reader_of(process.pid, slow))
        pids = descendants(process.pid)
        process.kill()
        self.check_ended(process, pids, -signal.SIGKILL, [])


class Interrupted(WordCount):
    def interrupt(self, send, status, line, *options):
        slow = self.write_slow(gigabytes=100)
        process = start("--processes", 2, *options, self.tree)
        wait_for(lambda: reader_of(process.pid, slow))
        pids = descendants(process.pid)
        self.assertTrue(pids)
        send(process.pid)
        self.check_ended(process, pids, status, [line])

    def test_with_its_whole_group(self):
        for _ in range(5):
            self.interrupt(lambda pid: os.killpg(pid, signal.SIGINT), 130, "word_count: interrupted")

    def test_alone(self):
        self.interrupt(lambda pid: os.kill(pid, signal.SIGINT), 130, "word_count: interrupted")

    def test_by_sigterm(self):
        self.interrupt(lambda pid: os.kill(pid, signal.SIGTERM), 143, "word_count: terminated")

    def test_at_any_moment(self):
        self.write_text(50, 100_000)
        for tick in range(20):
            process = start("--check", self.tree)
            time.sleep(tick * 0.005)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
            if process.returncode == -signal.SIGINT:  # before it could know
                self.assertEqual((out, err), ("", ""))
            elif process.returncode == 130:
                self.assertEqual(err, "word_count: interrupted\n")
            else:
                self.assertEqual((process.returncode, err), (0, ""))
            with self.assertRaises(ProcessLookupError):
                os.killpg(process.pid, 0)


class OnTerminal(WordCount):
    """What appears on a terminal, as bytes; a screen of one line is enough to understand it."""

    def run_on_terminal(self, *arguments, on_bar=None):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(PROGRAM, [PROGRAM, *map(str, arguments)])
        shown = b""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                some = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
            shown += some
            if on_bar and b" MB/s" in shown:
                os.write(terminal, on_bar)
                on_bar = None
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    def lines_left(self, shown):
        """What is on the screen in the end."""
        return [re.split(r"\r\x1b\[K|\r", line)[-1] for line in re.sub(r"\r+\n", "\n", shown).split("\n")]

    def test_a_bar_comes_and_goes(self):
        self.write_slow(gigabytes=2)
        status, shown = self.run_on_terminal("--json", "--processes", 2, self.tree)
        self.assertEqual(status, 0)
        self.assertRegex(shown, r"\[#*\.+\] +\d+%  \d+ files  [\d.]+ MB  [\d.]+ MB/s  \d+:\d\d left")
        self.assertEqual(self.lines_left(shown), [result(1, 2 << 30, {}).strip(), ""])

    def test_control_c_leaves_one_line(self):
        self.write_slow(gigabytes=100)
        status, shown = self.run_on_terminal("--processes", 2, self.tree, on_bar=b"\x03")
        self.assertEqual(status, 130)
        self.assertEqual(self.lines_left(shown), ["word_count: interrupted", ""])


class BadInput(WordCount):
    def test_is_told_in_a_line(self):
        file = self.write("file", b"word")
        for arguments, message in [
            (["--bogus"], "unknown option '--bogus'"),
            (["-x"], "unknown option '-x'"),
            (["--processes"], "--processes needs a number"),
            (["--processes", "0"], "not '0'"),
            (["--processes", "-1"], "not '-1'"),
            (["--processes", "1.5"], "not '1.5'"),
            (["--processes", "99999999999999999999"], "from 1 to 1000"),
            (["--processes", ""], "not ''"),
            ([self.tree, self.tree], "more than one directory"),
            ([""], "No such file or directory"),
            ([self.tree / "missing"], "No such file or directory"),
            ([file], "Not a directory"),
        ]:
            with self.subTest(arguments=arguments):
                ended = run(*arguments)
                self.assertEqual((ended.returncode, ended.stdout), (2, ""))
                self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
                self.assertTrue(ended.stderr.startswith("word_count: "), ended.stderr)
                self.assertIn(message, ended.stderr)

    def test_stdout_that_takes_nothing_is_an_error(self):
        with open("/dev/full", "w") as full:
            ended = subprocess.run([PROGRAM, str(self.tree)], stdout=full, stderr=subprocess.PIPE, text=True,
                                   timeout=PATIENCE, check=False)
        self.assertEqual((ended.returncode, ended.stderr),
                         (1, "word_count: the result can't be written to stdout\n"))

    def test_help(self):
        ended = run("--help")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertTrue(ended.stdout.startswith("Usage: word_count "))


if __name__ == "__main__":
    program = unittest.main(argv=sys.argv[:1] + sys.argv[2:], exit=False)
    failed = len(program.result.failures) + len(program.result.errors)
    skipped = program.result.skipped
    for case, reason in skipped:
        print(f"skipped: {case.id()}: {reason}")
    print(f"{max(0, program.result.testsRun - failed - len(skipped))} passed, {failed} failed"
          + (f", {len(skipped)} skipped" if skipped else ""))
    sys.exit(failed != 0)
