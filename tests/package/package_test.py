#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""kin as others meet it: installed, or as a subproject, and used from a directory outside of the tree.

Usage: package_test.py DIRECTORY. What is built there is kept, so that the next run is quick. Commands
and projects are the blocks of docs/install.md. Prints what failed, and last "N passed, N failed".
"""

import fcntl
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(sys.argv[1]).resolve()
PATIENCE = 500  # seconds until a command is given up; they compile
VERSION = re.search(r"^  version: '([\d.]+)'", (ROOT / "meson.build").read_text(), re.MULTILINE)[1]
NUMBERS = VERSION.split(".")
SERIES = ".".join(NUMBERS[:2]) if NUMBERS[0] == "0" else NUMBERS[0]
GREETING = f"hello from a child, with kin {VERSION}\n"
DERIVED = ROOT / "tests/package/derived.cpp"


def blocks(language):
    """The blocks of the page in this language, from its first line to its last."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs/install.md").read_text(),
                      re.DOTALL | re.MULTILINE)


def block_with(language, text):
    return next(block for block in blocks(language) if text in block)


def run(command, cwd=None, **environment):
    """What the command wrote to stdout. A command that is a string goes to a shell."""
    ended = attempt(command, cwd, **environment)
    if ended.returncode:
        raise AssertionError(f"{command}: exit status {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def attempt(command, cwd=None, **environment):
    kept = {name: value for name, value in os.environ.items()
            if name not in ("PKG_CONFIG_PATH", "LD_LIBRARY_PATH", "CMAKE_PREFIX_PATH")}
    return subprocess.run(command, cwd=cwd, env={**kept, "CMAKE_GENERATOR": "Ninja", **environment}, text=True,
                          shell=isinstance(command, str), capture_output=True, timeout=PATIENCE, check=False)


def install(prefix):
    """As the page says, below a prefix of its own."""
    setup, command = (shlex.split(line.replace("build/install", shlex.quote(str(BUILD))))
                      for line in block_with("sh", "meson install").splitlines())
    known = (BUILD / "build.ninja").exists()
    BUILD.parent.mkdir(parents=True, exist_ok=True)
    # another run in this tree would change the prefix
    with open(f"{BUILD}.turn", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        run([*setup, *(["--reconfigure"] if known else []), f"--prefix={prefix}"], cwd=ROOT)
        run(command, cwd=ROOT)
    return Installed(prefix)


class Installed:
    def __init__(self, prefix):
        self.prefix = prefix
        self.pkg_config_path = str(next(prefix.rglob("kin.pc")).parent)
        self.libraries = Path(self.pkg_config("--variable=libdir").strip())

    def pkg_config(self, *arguments):
        return run(["pkg-config", *arguments, "kin"], PKG_CONFIG_PATH=self.pkg_config_path)


def dynamic(file, tag):
    return re.findall(rf"\({tag}\).*\[(.*)\]", run(["readelf", "-d", str(file)]))


def marked():
    """The classes and functions that public headers mark for export, without their namespaces."""
    names = set()
    for header in (ROOT / "lib/include/kin").rglob("*.hpp"):
        text = re.sub(r"//[^\n]*", "", header.read_text())
        names.update(re.findall(r"(?:class|struct) KIN_EXPORT (\w+)", text))
        names.update(re.findall(r"(?<!class )(?<!struct )KIN_EXPORT [^;{(]*?(operator\W+|\w+)\(", text))
    return names


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = Path(tempfile.mkdtemp(prefix="package-")).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.scratch)
        if ROOT in cls.scratch.parents:
            raise AssertionError(f"{cls.scratch} is inside of the tree")
        cls.shared = install(cls.scratch / "shared")

    @classmethod
    def project(cls, name, **files):
        """A directory with the page's program, and these files."""
        directory = cls.scratch / name
        directory.mkdir()
        (directory / "hello.cpp").write_text(block_with("cpp", "int main("))
        for file, text in files.items():
            (directory / file.replace("__", ".")).write_text(text)
        return directory

    def cmake(self, installed, project):
        """Configures, builds, and runs without any word to the loader."""
        run(["cmake", "-S", ".", "-B", "build"], cwd=project, CMAKE_PREFIX_PATH=str(installed.prefix))
        run(["cmake", "--build", "build"], cwd=project)
        return run(["build/hello"], cwd=project)

    @classmethod
    @functools.cache
    def subproject(cls):
        """A built project of which kin is a part. A static one: there the project has to be told what
        the library needs. And without optimization: that is the quickest to build."""
        project = cls.project("meson", meson__build=block_with("meson", "dependency('kin')"))
        shutil.copytree(ROOT, project / "subprojects/kin",
                        ignore=shutil.ignore_patterns("build", ".git", ".cache", "__pycache__"))
        # the fallback even if a kin is installed here
        run(["meson", "setup", "build", "--force-fallback-for=kin", "-Dkin:default_library=static",
             "--buildtype=plain", f"--prefix={cls.scratch / 'static'}"], cwd=project)
        run(["meson", "compile", "-C", "build"], cwd=project)
        return project

    def compile(self, installed, project):
        """The page's line, for hello.cpp; and for derived.cpp."""
        command = block_with("sh", "pkg-config")
        run(command, cwd=project, PKG_CONFIG_PATH=installed.pkg_config_path)
        shutil.copy(DERIVED, project)
        run(command.replace("hello", "derived"), cwd=project, PKG_CONFIG_PATH=installed.pkg_config_path)

    # ---- the three ways

    def test_pkg_config(self):
        project = self.project("pkg-config")
        self.compile(self.shared, project)
        libraries = str(self.shared.libraries)
        self.assertEqual(run(["./hello"], cwd=project, LD_LIBRARY_PATH=libraries), GREETING)
        self.assertEqual(run(["./derived"], cwd=project, LD_LIBRARY_PATH=libraries),
                         f"the same, in kin {VERSION}\n")
        self.assertIn(f"libkin.so.{SERIES}", dynamic(project / "hello", "NEEDED"))

    def test_cmake(self):
        project = self.project("cmake", CMakeLists__txt=block_with("cmake", "find_package"))
        self.assertEqual(self.cmake(self.shared, project), GREETING)
        self.assertIn(f"libkin.so.{SERIES}", dynamic(project / "build/hello", "NEEDED"))

    def test_meson_subproject(self):
        project = self.subproject()
        targets = json.loads(run(["meson", "introspect", "--targets", "build"], cwd=project))
        self.assertEqual({target["name"] for target in targets if target["build_by_default"]}, {"hello", "kin"})
        self.assertEqual(run(["build/hello"], cwd=project), GREETING)

    def test_static(self):
        run(["meson", "install", "-C", "build", "--no-rebuild"], cwd=self.subproject())
        static = Installed(self.scratch / "static")
        self.assertEqual([path.name for path in static.libraries.glob("libkin*")], ["libkin.a"])
        project = self.project("static-pkg-config")
        self.compile(static, project)
        self.assertEqual(run(["./hello"], cwd=project), GREETING)
        self.assertEqual(run(["./derived"], cwd=project), f"the same, in kin {VERSION}\n")
        project = self.project("static-cmake", CMakeLists__txt=block_with("cmake", "find_package"))
        self.assertEqual(self.cmake(static, project), GREETING)

    # ---- two programs

    def test_two_programs_meet_at_a_manager(self):
        """Each built by itself: with other flags, and where there is clang by another compiler."""
        project = self.project("shop")
        for file in ("shop.hpp", "shop_server.cpp", "shop_client.cpp"):
            shutil.copy(ROOT / "tests/package" / file, project)
        command = block_with("sh", "pkg-config")
        other = next((name for name in ("clang++-16", "clang++") if shutil.which(name)), "g++")
        self.assertIn("g++", command)
        run(command.replace("hello", "shop_server"), cwd=project, PKG_CONFIG_PATH=self.shared.pkg_config_path)
        run(command.replace("hello", "shop_client").replace("g++", f"{other} -O1", 1), cwd=project,
            PKG_CONFIG_PATH=self.shared.pkg_config_path)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.shared.libraries)}
        with subprocess.Popen(["./shop_server"], cwd=project, env=environment, text=True,
                              stdout=subprocess.PIPE) as server:
            try:
                address = server.stdout.readline().strip()
                said = run(["./shop_client", address], cwd=project, LD_LIBRARY_PATH=str(self.shared.libraries))
                self.assertEqual(said, "12 20\nso many there are not\n")
                heard, _ = server.communicate(timeout=PATIENCE)
                self.assertEqual(heard, 'four pears, said Grüße {"pears": 3, "plums": 7}\n')
            finally:
                server.kill()
        self.assertEqual(server.returncode, 0)

    # ---- versions

    def test_pkg_config_tells_the_version(self):
        self.assertEqual(self.shared.pkg_config("--modversion"), VERSION + "\n")

    def test_cmake_refuses_other_versions(self):
        text = block_with("cmake", "find_package")
        self.assertIn(f"find_package(kin {SERIES} ", text)
        project = self.project("cmake-99", CMakeLists__txt=text.replace(f"kin {SERIES} ", "kin 99 "))
        ended = attempt(["cmake", "-S", ".", "-B", "build"], cwd=project,
                        CMAKE_PREFIX_PATH=str(self.shared.prefix))
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn(f"version: {VERSION}", ended.stderr)  # it was found, and not accepted

        major, minor, patch = map(int, NUMBERS)
        expected = {
            "": True, SERIES: True, VERSION: True, f"{VERSION};EXACT": True,
            f"{major}.{minor}.{patch + 1}": False, f"{major}.{minor + 1}": False, f"{major + 1}": False,
            f"{SERIES}0": False, "0.0.1": False,
            f"0.0.1...{VERSION}": True, f"0.0.1...<{VERSION}": False,
            f"{SERIES}...<99": True, "98...99": False,
        }
        asked = "".join(f'find_package(kin {version.replace(";", " ")} QUIET)\n'
                        f'message("|{version}|${{kin_FOUND}}|")\nunset(kin_DIR CACHE)\n' for version in expected)
        project = self.project("cmake-versions", CMakeLists__txt="cmake_minimum_required(VERSION 3.20)\n"
                               "project(versions LANGUAGES CXX)\n" + asked)
        said = attempt(["cmake", "-S", ".", "-B", "build"], cwd=project,
                       CMAKE_PREFIX_PATH=str(self.shared.prefix)).stderr
        self.assertEqual({version: found in ("1", "TRUE")
                          for version, found in re.findall(r"^\|(.*)\|(.*)\|$", said, re.MULTILINE)}, expected)

    # ---- what is in the package

    def test_soname(self):
        library = self.shared.libraries / f"libkin.so.{VERSION}"
        self.assertEqual(dynamic(library, "SONAME"), [f"libkin.so.{SERIES}"])
        self.assertFalse(library.is_symlink())
        for link in ("libkin.so", f"libkin.so.{SERIES}"):
            self.assertEqual((self.shared.libraries / link).resolve(), library)

    def test_exports_are_what_public_headers_mark(self):
        symbols = run(["nm", "-D", "-C", "--defined-only", str(self.shared.libraries / "libkin.so")]).splitlines()
        names = [line.split(" ", 2)[2] for line in symbols]
        self.assertGreater(len(names), 100)
        tables = r"boost::archive::detail::archive_serializer_map<kin::detail::(In|Out)Archive>::"
        allowed = "|".join(map(re.escape, sorted(marked())))
        # nm says what a template returns, as host() of the manager, which the makers of locks call.
        before = r"(typeinfo|typeinfo name|vtable) for |kin::Proxy<[\w:]+> "
        allowed = rf"({before})?kin::((detail|managed)::)?({allowed})(?!\w)"
        self.assertEqual([name for name in names if not re.match(f"{tables}|{allowed}", name)], [])

    def test_headers(self):
        def headers(directory):
            return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
        self.assertEqual(headers(self.shared.prefix / "include"), headers(ROOT / "lib/include"))


if __name__ == "__main__":
    program = unittest.main(argv=sys.argv[:1] + sys.argv[2:], exit=False)
    failed = len(program.result.failures) + len(program.result.errors)
    print(f"{max(0, program.result.testsRun - failed)} passed, {failed} failed")
    sys.exit(failed != 0)
