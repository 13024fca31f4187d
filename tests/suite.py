#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs every check and test of the project, and counts: see scripts/test, which installs what this needs.

The last line is "N passed, N failed", with ", N skipped" when tests were; the exit status is 1 when anything failed
or couldn't run. A program's unit tests count one by one. Of a table that runs under sanitizers, the plain build runs
some rows; with --quick and --long it runs all. A test may be skipped for "needs --long" alone: any other
reason, a missing tool for one, counts as failed.

As root the end-to-end tests run as the user mailtree-test, on a copy of the project that this user can read; so
do they in CI. They have a HOME and a temporary folder of their own, and what they leave mounted or running there
is ended, and counts as failed.
"""

import argparse
import contextlib
import os
import pathlib
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from dataclasses import dataclass, field

import package

PROJECT = pathlib.Path(__file__).resolve().parents[1]
USER = "mailtree-test"
DATA_OF_ROOT = "/var/cache/mailtree-tests"
# Many tests wait for deadlines: two more at once than there are processors.
WORKERS = min(8, (os.cpu_count() or 1) + 2)
# Deadlines are longer there.
WORKERS_SANITIZED = WORKERS + 1
TEST_TIMEOUT_S = 180
TEST_TIMEOUT_LONG_S = 3600
STEP_TIMEOUT_S = 1800
STEP_TIMEOUT_LONG_S = 8 * 3600
FUZZ_S = 60
SMALL_DISK_BYTES = 12 << 20
MEMORY_DISK_BYTES = 6 << 30
# Of tests that damage things at random, for each kind of damage.
ROUNDS_LONG = "1000"
SLOWNESS_SANITIZED = 4
SKIP_ALLOWED = "needs --long"
OUTPUT_LINES_SHOWN = 60
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=16", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={PROJECT}/tests/tsan.supp",
}


class StepError(Exception):
    """The step couldn't run; its text says why."""


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    problems: list = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.problems += other.problems

    def fail(self, problem):
        self.failed += 1
        self.problems.append(problem)

    def __str__(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


# Reports

def count_junit(path):
    """Of pytest or meson. A meson test is a program: cmocka's own sums in its output are counted."""
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        raise StepError(f"no report of the tests: {error}") from None
    counts = Counts()
    for case in root.iter("testcase"):
        count_case(case, counts)
    if counts.passed + counts.failed + counts.skipped == 0:
        raise StepError("there are no tests")
    return counts


def count_case(case, counts):
    name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
    output = "".join(child.text or "" for child in case if child.tag in ("system-out", "system-err"))
    passed = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", output)))
    failed = sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", output)))
    skip = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        counts.passed += passed
        counts.failed += max(1, failed)
        counts.problems.append(name)
    elif skip is None:
        counts.passed += max(1, passed)
    elif SKIP_ALLOWED in (skip.get("message") or ""):
        counts.skipped += 1
    else:
        counts.fail(f"{name}: skipped: {skip.get('message')}")


# Running things

def run(command, what, **options):
    """Its output is shown when it fails."""
    try:
        result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", cwd=PROJECT, **options)
    except OSError as error:
        raise StepError(f"{what}: {error}") from None
    if result.returncode != 0:
        print("\n".join(result.stdout.splitlines()[-OUTPUT_LINES_SHOWN:]))
        raise StepError(f"{what} ended with {result.returncode}: {shlex.join(map(str, command))[:200]}")
    return result.stdout


def project_files(*patterns):
    """Those of the project; folders called build… are not its own."""
    found = set()
    for top in sorted(PROJECT.iterdir()):
        if top.name == ".git" or top.name.startswith("build"):
            continue
        for pattern in patterns:
            found.update(path for path in (top.rglob(pattern) if top.is_dir() else PROJECT.glob(pattern))
                         if path.is_file() and "__pycache__" not in path.parts)
    return sorted(found)


def first_line(path):
    with open(path, "rb") as file:
        return file.readline(200)


# Checks

def check_format():
    files = project_files("*.c", "*.h")
    result = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *map(str, files)], capture_output=True, text=True)
    wrong = sorted({line.split(":")[0] for line in result.stderr.splitlines() if ": error:" in line})
    counts = Counts(passed=len(files) - len(wrong))
    for path in wrong:
        counts.fail(f"{pathlib.Path(path).relative_to(PROJECT)}: run clang-format-14 -i on it")
    if result.returncode != 0 and not wrong:
        raise StepError(result.stderr[-1000:])
    return counts


def check_scripts():
    files = project_files("*")
    counts = lint("pyflakes3", [path for path in files if path.suffix == ".py"])
    counts.add(lint("shellcheck", [path for path in files if re.match(rb"#!\s*/bin/(ba)?sh\b", first_line(path))]))
    return counts


def lint(tool, files):
    """All at once; those with faults one by one, for the count."""
    if subprocess.run([tool, *files], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 0:
        return Counts(passed=len(files))
    counts = Counts()
    for path in files:
        try:
            run([tool, path], "lint")
            counts.passed += 1
        except StepError as error:
            counts.fail(str(error))
    return counts


def check_manuals():
    counts = Counts()
    for path in project_files("*.1", "*.5", "*.8"):
        output = run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path], "man", env=os.environ | {"MANWIDTH": "80"})
        warnings = [line for line in output.splitlines() if "warning" in line or "error" in line.split(":")[:4]]
        if warnings:
            counts.fail(f"{path.name}: {warnings[0]}")
        else:
            counts.passed += 1
    return counts


# Builds and their unit tests

def build(folder, *options, env=None):
    settled = (PROJECT / folder / "build.ninja").exists()
    run(["meson", "configure" if settled else "setup", folder, *options], "meson", env=env)
    run(["ninja", "-C", folder], f"the build in {folder}", env=env)
    return Counts(passed=1)


class BuildsAhead:
    """Builds folders while tests before them wait; only with what the processors have left. What goes wrong there shows again
    when the build's turn comes. Use with `with`."""

    def __init__(self, folders):
        self._child = None
        self._folders = folders

    def start(self):
        steps = []
        for folder in self._folders:
            steps.append(shlex.join(["meson", "setup", folder, *BUILD_OPTIONS[folder]]))
            steps.append(shlex.join(["ninja", "-C", folder]))
        if steps:
            self._child = subprocess.Popen(["chrt", "--idle", "0", "sh", "-c", "; ".join(steps)], cwd=PROJECT, start_new_session=True,
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        """Nothing more is written to the folders."""
        if self._child:
            os.killpg(self._child.pid, signal.SIGTERM)
            self._child.wait()
            self._child = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def unit_tests(folder, slowness=1, long=False):
    report = PROJECT / folder / "meson-logs" / "testlog.junit.xml"
    report.unlink(missing_ok=True)
    problem = None
    try:
        run(["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--num-processes", WORKERS, "--timeout-multiplier",
             slowness * (5 if long else 1)],
            "meson test", env=os.environ | SANITIZER_ENV | ({"MAILTREE_TEST_ROUNDS": ROUNDS_LONG} if long else {}))
    except StepError as error:
        problem = str(error)
    counts = count_junit(report)
    if problem and not counts.failed:
        counts.fail(problem)
    return counts


# What takes hours

def fuzz_targets():
    return sorted(path.name for path in (PROJECT / "tests" / "fuzz" / "corpus").iterdir())


def fuzz(folder):
    """Each target for a while, from its corpus on; what it finds is printed."""
    counts = Counts()
    for name in fuzz_targets():
        with tempfile.TemporaryDirectory(prefix="fuzz-") as found:
            try:
                output = run([PROJECT / folder / "tests" / "fuzz" / f"fuzz_{name}", f"-max_total_time={FUZZ_S}", "-timeout=25",
                              "-print_final_stats=1", f"-dict={PROJECT}/tests/fuzz/{name}.dict", f"-artifact_prefix={found}/",
                              found, PROJECT / "tests" / "fuzz" / "corpus" / name], f"fuzzing {name}",
                             env=os.environ | {"ASAN_OPTIONS": "quarantine_size_mb=16", "LC_ALL": "C.UTF-8"})
                print(name, *re.findall(r"stat::number_of_executed_units: +\d+", output))
                counts.passed += 1
            except StepError as error:
                counts.fail(str(error))
    return counts


def valgrind(folder):
    """The parsers over their corpora."""
    counts = Counts()
    for name in fuzz_targets():
        try:
            run(["valgrind", "-q", "--error-exitcode=9", f"--suppressions={PROJECT}/tests/valgrind.supp",
                 "--leak-check=full", "--errors-for-leak-kinds=definite",
                 PROJECT / folder / "tests" / "fuzz" / f"replay_{name}", PROJECT / "tests" / "fuzz" / "corpus" / name],
                f"valgrind of {name}", env=os.environ | {"G_SLICE": "always-malloc"})
            counts.passed += 1
        except StepError as error:
            counts.fail(str(error))
    return counts


# Installing

def installed(folder):
    with tempfile.TemporaryDirectory(prefix="mt-") as target:
        return package_check(package.check_install, PROJECT / folder, target)


def debian_package():
    with tempfile.TemporaryDirectory(prefix="mt-") as target:
        return package_check(package.check_deb, target)


def package_check(check, *arguments):
    try:
        check(*arguments)
    except package.PackageError as error:
        raise StepError(str(error)) from None
    return Counts(passed=1)


def clean_root():
    """As root only: an ordinary user can't make a system to try it in."""
    run([sys.executable, PROJECT / "tests" / "clean_root.py"], "the package in a fresh system")
    return Counts(passed=1)


# Python tests

@dataclass
class Stage:
    """Where the Python tests run, and as whom."""

    source: pathlib.Path
    folder: pathlib.Path
    data: pathlib.Path
    identity: list

    def small_disk(self):
        path = self.folder / "small"
        return str(path) if path.is_mount() else None

    def environment(self, home, temporary, **more):
        kept = {name: os.environ[name] for name in ("PATH", "TERM", "MAILTREE_TEST_KEEP", "MAILTREE_TEST_SEED") if name in os.environ}
        return kept | {"HOME": str(home), "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
                       "MAILTREE_TEST_DATA": str(self.data)} | more


def make_stage(folder):
    data = pathlib.Path(os.environ.get("MAILTREE_TEST_DATA") or (
        DATA_OF_ROOT if os.geteuid() == 0 else pathlib.Path.home() / ".cache" / "mailtree-tests")).absolute()
    data.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    places = [folder / "home", folder / "t", folder / "report", folder / "small"]
    for place in (*places, folder / "lab"):
        place.mkdir()
    if os.geteuid() != 0:
        return Stage(PROJECT, folder, data, [])
    user = make_user()
    # A disk that tests may fill. Where none may be mounted, they limit the size of files instead.
    mount_memory(folder / "small", SMALL_DISK_BYTES)
    for place in places:
        os.chown(place, user.pw_uid, user.pw_gid)
    source = folder / "src"

    def is_left_out(directory, names):
        top = pathlib.Path(directory) == PROJECT
        return [name for name in names if name == "__pycache__" or (top and (name == ".git" or name.startswith("build")))]
    shutil.copytree(PROJECT, source, symlinks=True, ignore=is_left_out)
    run(["chmod", "-R", "a+rX", source], "chmod")
    return Stage(source, folder, data, ["setpriv", "--reuid", USER, "--regid", str(user.pw_gid), "--init-groups"])


def mount_memory(folder, size):
    """Returns whether it could be: as root, on most machines."""
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tests", folder], timeout=30).returncode == 0


@contextlib.contextmanager
def in_memory(stage, wanted):
    """What tests write stays in memory. The plain build runs on the disk."""
    place = stage.folder / "t"
    mounted = wanted and stage.identity and mount_memory(place, MEMORY_DISK_BYTES)
    if mounted:
        shutil.chown(place, USER, USER)
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", place], timeout=30)


def make_user():
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        run(["useradd", "--system", "--user-group", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", USER],
            "useradd")
        return pwd.getpwnam(USER)


def prepare(stage):
    """What the tests need from outside; quick when it is there."""
    run([sys.executable, "-m", "lab", "prepare"], "fetching real-world mail and building the second server",
        env=os.environ | {"MAILTREE_TEST_DATA": str(stage.data), "PYTHONPATH": str(PROJECT / "tests")})
    if stage.identity:
        run(["chmod", "-R", "a+rX", stage.data], "chmod")
    return Counts(passed=1)


def tests_of_the_house(stage):
    """The lab, the layers, this file: as who we are."""
    return pytest(stage, PROJECT, [], stage.environment(os.environ.get("HOME", "/root"), stage.folder / "lab"),
                  ["-n", str(WORKERS), "tests/lab", *sorted(f"tests/{path.name}" for path in (PROJECT / "tests").glob("test_*.py"))],
                  TEST_TIMEOUT_S, STEP_TIMEOUT_S)


def binary_for(stage, folder):
    """Where the user of the tests can run it."""
    binary = PROJECT / folder / "mailtree"
    if not binary.exists():
        raise StepError(f"{folder}/mailtree isn't there")
    if not stage.identity:
        return binary
    # Where it was built, the user may not get to.
    copy = stage.folder / folder
    copy.mkdir(exist_ok=True)
    shutil.copy2(binary, copy)
    run(["chmod", "-R", "a+rX", copy], "chmod")
    return copy / "mailtree"


def isolation(stage, folder):
    """What one user gets of another's mount: as root."""
    env = stage.environment(os.environ.get("HOME", "/root"), stage.folder / "lab",
                            MAILTREE_BUILD=str(binary_for(stage, folder).parent))
    return pytest(stage, PROJECT, [], env, ["tests/isolation"], TEST_TIMEOUT_S, STEP_TIMEOUT_S)


def end_to_end(stage, folder, long=False, sanitized=False, thin=False):
    """`thin`: of tables every sixth row; all of them run under sanitizers."""
    binary = binary_for(stage, folder)
    slowness = SLOWNESS_SANITIZED if sanitized else 1
    env = stage.environment(stage.folder / "home", stage.folder / "t", MAILTREE_BUILD=str(binary.parent),
                            MAILTREE_TEST_SLOWNESS=str(slowness))
    if stage.small_disk():
        env["MAILTREE_TEST_SMALL_DISK"] = stage.small_disk()
    arguments = ["-n", str(WORKERS_SANITIZED if sanitized else WORKERS), "--dist", "loadgroup", "tests/e2e"]
    if long:
        arguments.append("--long")
    if thin:
        arguments.append("--thin")
    if sanitized:
        arguments += ["-m", "not plain" if long else "not plain and not variant"]
    with in_memory(stage, sanitized and not long):
        counts = pytest(stage, stage.source, stage.identity, env, arguments,
                        (TEST_TIMEOUT_LONG_S if long else TEST_TIMEOUT_S) * slowness,
                        STEP_TIMEOUT_LONG_S if long else STEP_TIMEOUT_S)
        for problem in sweep(stage.folder):
            counts.fail(problem)
    return counts


def pytest(stage, source, identity, env, arguments, test_timeout_s, step_timeout_s):
    report = stage.folder / "report" / "junit.xml"
    report.unlink(missing_ok=True)
    command = [*identity, sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--durations=5",
               f"--timeout={test_timeout_s}", f"--junit-xml={report}", *arguments]
    child = subprocess.Popen(command, cwd=source, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        status = child.wait(step_timeout_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        sweep(stage.folder)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise StepError(f"pytest was still running after {step_timeout_s} s") from None
    counts = count_junit(report)
    if status not in (0, 1) or (status == 1 and not counts.failed):
        counts.fail(f"pytest ended with {status}")
    return counts


def sweep(folder):
    """Unmounts what is mounted below the folder and ends what was started there; returns what it found."""
    found = []
    below = f"{folder}/"
    ours = {f"{below}small", f"{below}t"}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point.startswith(below) and point not in ours:
            found.append(f"left mounted: {point}")
            subprocess.run(["umount", "-l", point] if os.geteuid() == 0 else ["fusermount3", "-uz", point], timeout=30)
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                if below.encode() in words:
                    found.append(f"left running: {words[:200].replace(bytes(1), b' ').decode(errors='replace')}")
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
    return found


# All of it

class Suite:
    def __init__(self):
        self.total = Counts()
        self._lines = []

    def step(self, name, function, *arguments, **options):
        """Returns whether nothing failed."""
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        try:
            counts = function(*arguments, **options)
        except (StepError, OSError, subprocess.SubprocessError) as error:
            counts = Counts()
            counts.fail(str(error))
        for problem in counts.problems:
            print(f"failed: {problem}")
        self.total.add(counts)
        self._lines.append(f"{name:<34} {str(counts):<40} {time.monotonic() - start:7.1f} s")
        print(counts, flush=True)
        return counts.failed == 0

    def cannot(self, name, why):
        self.total.fail(f"{name}: {why}")
        self._lines.append(f"{name:<34} couldn't run: {why}")

    def summary(self):
        return "\n".join(["", *self._lines, *[f"failed: {problem}" for problem in self.total.problems], str(self.total)])


PLAIN, ASAN, TSAN = "build-test", "build-asan", "build-tsan"
LABELS = {PLAIN: "", ASAN: ", ASan + UBSan", TSAN: ", TSan"}
# Sanitized code is optimised less, reports need no more than lines, and gold links in a third of the time: it is built sooner,
# and what takes its time is the sanitizers' own.
SANITIZED_OPTIONS = ["-Dlibsecret=enabled", "-Doptimization=1"]
# At a fixed place a thousand pages of AddressSanitizer's descriptions needn't be relocated at each start.
FIXED_PLACE = ["-Dc_args=-g1 -fno-pie", "-Dc_link_args=-no-pie -fuse-ld=gold", "-Db_pie=false", "-Db_staticpic=false"]
BUILD_OPTIONS = {PLAIN: ["-Dlibsecret=enabled", "-Dwerror=true"],
                 ASAN: ["-Db_sanitize=address,undefined", *SANITIZED_OPTIONS, *FIXED_PLACE],
                 TSAN: ["-Db_sanitize=thread", *SANITIZED_OPTIONS, "-Dc_args=-g1", "-Dc_link_args=-fuse-ld=gold"]}


def run_builds(suite, stage, options):
    later = [] if options.quick else [ASAN, TSAN]
    with BuildsAhead(later) as ahead:
        run_build(suite, stage, options, PLAIN, ahead.start)
    for folder in later:
        run_build(suite, stage, options, folder)


def run_build(suite, stage, options, folder, when_built=lambda: None):
    label, is_sanitized = LABELS[folder], folder != PLAIN
    if not suite.step(f"build{label}", build, folder, *BUILD_OPTIONS[folder]):
        suite.cannot(f"tests{label}", "there is no build")
        return
    when_built()
    if not is_sanitized:
        suite.step("installed files", installed, folder)
    suite.step(f"unit tests{label}", unit_tests, folder, SLOWNESS_SANITIZED if is_sanitized else 1, options.long)
    if folder != TSAN:
        suite.step(f"end-to-end tests{label}", end_to_end, stage, folder, options.long, is_sanitized,
                   thin=not (is_sanitized or options.quick or options.long))
    if stage.identity and not is_sanitized:
        suite.step("isolation of users", isolation, stage, folder)


def run_long(suite):
    suite.step("valgrind of the parsers", valgrind, PLAIN)
    if suite.step("build, libFuzzer", build, "build-fuzz", "-Dfuzz=true", "-Dlibsecret=enabled", env=os.environ | {"CC": "clang-14"}):
        suite.step("fuzzing", fuzz, "build-fuzz")
    else:
        suite.cannot("fuzzing", "there is no build")


def main():
    parser = argparse.ArgumentParser(description="Every check and test: see scripts/test.")
    parser.add_argument("--quick", action="store_true", help="without the builds under sanitizers")
    parser.add_argument("--long", action="store_true", help="also the tests that take minutes each")
    options = parser.parse_args()
    os.umask(0o022)
    suite = Suite()
    # Short: Unix sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="mt-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        stage = make_stage(pathlib.Path(folder))
        try:
            suite.step("format", check_format)
            suite.step("lint", check_scripts)
            suite.step("manual pages", check_manuals)
            suite.step("what tests need from outside", prepare, stage)
            suite.step("lab, layers", tests_of_the_house, stage)
            suite.step("Debian package", debian_package)
            if options.long and os.geteuid() == 0:
                suite.step("Debian package in a fresh system", clean_root)
            run_builds(suite, stage, options)
            if options.long:
                run_long(suite)
        finally:
            if stage.small_disk():
                subprocess.run(["umount", stage.small_disk()], timeout=30)
    print(suite.summary())
    return 1 if suite.total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
