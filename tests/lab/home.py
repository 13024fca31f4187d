# SPDX-License-Identifier: GPL-2.0-or-later
"""A home for mailtree itself: config, cache, state, runtime folder, mounts; nothing of the user's is touched.

    with Home() as home:
        home.set_account("work", place.account("work"))   # a group of the config file
        mount = home.mount("work", sizes="exact", xattr=True)     # -o sizes=exact,xattr; -f, log in home.log()
        mount = home.mount("work", daemon=True)           # as a person does: returns when mailtree returns
        mount.path, mount / "INBOX", os.listdir(mount)    # a Mount is a path
        mount.status()                                    # .mailtree/status.json as data
        mount.remount(names="uid"); mount.unmount()       # the clean way; both wait for the process to end
        result = home.run("ls", "work", "--json")         # CompletedProcess: returncode, stdout, stderr (text)

Leaving unmounts what is mounted, by force if it must. It then fails for a process that is left, one that ended
badly, a sanitizer's report, and for a secret of home.secrets (name → value, or a callable that returns that) in
a log, in standard error of a command, or in a process's arguments. MAILTREE_TEST_KEEP keeps the folder.

The binary is $MAILTREE_BUILD/mailtree; MAILTREE_BUILD is build/ unless set.
"""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

from . import net
from .leaks import find_leaks

PROJECT = pathlib.Path(__file__).resolve().parents[2]
LOG_TAIL = 4_000


def default_binary():
    return pathlib.Path(os.environ.get("MAILTREE_BUILD") or PROJECT / "build").resolve() / "mailtree"


def is_mounted(path):
    wanted = os.fsencode(path)
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.split()[4] == wanted for line in file)


def running():
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


# None of ours: most are the kernel's, and looking at each costs more than a short command.
BEFORE = running()


def option_words(options):
    """{"sizes": "exact", "xattr": True, "poll": 0} → ["-o", "sizes=exact,xattr,poll=0"]; None leaves one out."""
    words = []
    for name, value in options.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            text = str(value).replace(",", "\\,")
            words.append(f"{name}={text}")
    return ["-o", ",".join(words)] if words else []


class Mount(os.PathLike):
    """A mount point of Home.mount(). Use it as a path."""

    def __init__(self, home, path, account, options, daemon, debug):
        self.home, self.path, self.account, self.options = home, path, account, options
        self.process = None  # subprocess.Popen of a foreground mount
        self._daemon, self._debug = daemon, debug

    def __fspath__(self):
        return str(self.path)

    def __truediv__(self, name):
        return self.path / name

    def __str__(self):
        return str(self.path)

    @property
    def is_mounted(self):
        return is_mounted(self.path)

    def status(self):
        return json.loads((self.path / ".mailtree" / "status.json").read_text())

    def errors(self):
        """The lines of errors.log."""
        return (self.path / ".mailtree" / "errors.log").read_text().splitlines()

    def refresh(self):
        return (self.path / ".mailtree" / "refresh").read_text()

    def remount(self, **options):
        """Unmounts and mounts again, with these options over those it had."""
        if self.is_mounted:
            self.unmount()
        self.options = self.options | options
        return self.start()

    def start(self, timeout_s=20):
        home = self.home
        arguments = ["mount", self.account, str(self.path), *option_words(self.options)]
        if self._debug:
            arguments.append("-d")
        if self._daemon:
            result = home.run(*arguments, timeout_s=timeout_s, leaks=home.looks_for_leaks)
            if result.returncode != 0:
                raise AssertionError(f"mount ended with {result.returncode}: {result.stderr}")
            assert self.is_mounted, "mailtree mount returned before the mount was there"
            return self
        with open(home.new_log(), "wb") as log:
            self.process = subprocess.Popen([str(home.binary), *arguments, "-f"], env=home.environment(home.looks_for_leaks), cwd=home.path,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            net.wait_until(lambda: self.is_mounted or self.process.poll() is not None, timeout_s, "the mount")
            assert self.process.poll() is None, f"mailtree mount ended with {self.process.returncode}"
        except (TimeoutError, AssertionError) as error:
            self.end()
            raise AssertionError(f"{error}\n{home.log()[-LOG_TAIL:]}") from None
        return self

    def unmount(self, timeout_s=20):
        """The clean way; fails when mailtree's process doesn't end, or ends badly."""
        home = self.home
        # `mailtree umount` has tests of its own, and under sanitizers takes longer than what is tested here.
        result = subprocess.run(["fusermount3", "-u", str(self.path)], capture_output=True, text=True, timeout=timeout_s * net.SLOWNESS)
        assert result.returncode == 0, f"fusermount3: {result.stderr}"
        assert not self.is_mounted, "fusermount3 returned while the mount was there"
        if self.process:
            process, self.process = self.process, None
            status = process.wait(timeout_s * net.SLOWNESS)
            assert status == 0, f"the mount ended with {status}:\n{home.log()[-LOG_TAIL:]}"
        else:
            net.wait_until(lambda: not home.processes(self.path), timeout_s, "the mount's process to end")

    def end(self):
        """By any means; returns what had to be complained about."""
        complaints = []
        for flags in ("-u", "-uz"):
            if not self.is_mounted:
                break
            try:
                subprocess.run(["fusermount3", flags, str(self.path)], capture_output=True, timeout=20)
            except subprocess.TimeoutExpired:
                complaints.append(f"fusermount3 {flags} hung")
        if self.process:
            try:
                status = self.process.wait(10 * net.SLOWNESS)
                # A test may have killed it.
                if status not in (0, -9):
                    complaints.append(f"the mount's process ended with {status}")
            except subprocess.TimeoutExpired:
                complaints.append("the mount's process outlived its mount")
                self.process.kill()
                self.process.wait()
            self.process = None
        return complaints


class Home:
    def __init__(self, binary=None, secrets=None, keep=bool(os.environ.get("MAILTREE_TEST_KEEP")), leaks=True):
        """`leaks`: under sanitizers, what a mount leaves in memory at its end is looked through, which takes as long as its start."""
        self.binary = pathlib.Path(binary or default_binary())
        self.secrets = secrets or {}
        # Short: Unix sockets lie below it, and their paths may have 107 bytes.
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="mt-"))
        self._keep, self.looks_for_leaks = keep, leaks
        self._accounts = {}
        self._mounts = []
        self._logs = 0
        self._complaints = []
        for name in ("config", "cache", "state", "run", "mnt"):
            (self.path / name).mkdir(mode=0o700)

    # Config and commands

    @property
    def config_file(self):
        return self.path / "config" / "mailtree" / "config"

    def set_account(self, group, text):
        """Adds or replaces one group of the config file; `text` begins with [group]."""
        self._accounts[group] = text
        self.write_config(*self._accounts.values())

    def write_config(self, *texts):
        self.config_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.config_file.touch(mode=0o600)
        self.config_file.write_text("\n".join(texts))

    def environment(self, leaks=True, **more):
        """`leaks`: as for Home. Short commands are run without."""
        names = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        sanitizers = f"log_path={self.path}/sanitizer:exitcode=99"
        # What is freed is kept to tell a late use of it: 16 MB of that, since new pages cost more than all else.
        address = f"{sanitizers}:quarantine_size_mb=16:detect_leaks={leaks:d}"
        return kept | {
            "PATH": kept.get("PATH", "/usr/bin:/bin"), "HOME": str(self.path),
            "XDG_CONFIG_HOME": str(self.path / "config"), "XDG_CACHE_HOME": str(self.path / "cache"),
            "XDG_STATE_HOME": str(self.path / "state"), "XDG_RUNTIME_DIR": str(self.path / "run"),
            "ASAN_OPTIONS": address, "UBSAN_OPTIONS": f"{sanitizers}:print_stacktrace=1",
            "LSAN_OPTIONS": sanitizers, "TSAN_OPTIONS": sanitizers,
        } | more

    def run(self, *arguments, timeout_s=60, check=False, text=True, env=None, leaks=False, stdin=subprocess.DEVNULL,
            **more):
        result = subprocess.run([str(self.binary), *map(str, arguments)], env=self.environment(leaks, **(env or {})),
                                capture_output=True, text=text, timeout=timeout_s * net.SLOWNESS, stdin=stdin, **more)
        self._look_for_secrets(f"standard error of mailtree {arguments[0]}", result.stderr)
        if check and result.returncode != 0:
            raise AssertionError(f"{shlex.join(map(str, arguments))} ended with {result.returncode}: {result.stderr}")
        return result

    # Mounts

    def mount(self, account, name=None, daemon=False, debug=False, timeout_s=20, **options):
        point = self.path / "mnt" / (name or f"m{len(list((self.path / 'mnt').iterdir()))}")
        point.mkdir(exist_ok=True)
        mount = Mount(self, point, account, options, daemon, debug)
        self._mounts.append(mount)
        return mount.start(timeout_s)

    def new_log(self):
        self._logs += 1
        return self.path / f"log.{self._logs}"

    def log(self):
        """What all foreground mounts wrote, in the order of their start."""
        files = sorted(self.path.glob("log.*"), key=lambda path: int(path.suffix[1:]))
        return "".join(path.read_text(errors="replace") for path in files)

    def wipe_cache(self):
        """The disk cache and the index; while nothing is mounted."""
        for name in ("cache", "state"):
            shutil.rmtree(self.path / name)
            (self.path / name).mkdir(mode=0o700)

    def processes(self, place=None):
        """{pid: arguments} of mailtree processes that were started for this home's mounts, or for one of them."""
        found = {}
        wanted = os.fsencode(place or self.path)
        for pid in running() - BEFORE:
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.path.basename(words[0]) == os.fsencode(self.binary.name) and any(wanted in word for word in words[1:]):
                found[pid] = words
        return found

    # The end

    def _look_for_secrets(self, where, text):
        secrets = self.secrets() if callable(self.secrets) else self.secrets
        self._complaints += [f"{leak}, in {where}" for leak in find_leaks(text, secrets)]

    def close(self):
        for words in self.processes().values():
            self._look_for_secrets("a process's arguments", b" ".join(words))
        complaints = self._complaints
        for mount in self._mounts:
            complaints += mount.end()
        try:
            net.wait_until(lambda: not self.processes(), 10, "processes")
        except TimeoutError:
            for pid, words in self.processes().items():
                complaints.append(f"process {pid} was left: {b' '.join(words).decode(errors='replace')}")
                os.kill(pid, 9)
        for report in sorted(self.path.glob("sanitizer.*")):
            complaints.append(report.read_text(errors="replace")[-6000:])
        log = self.log()
        self._look_for_secrets("the log", log)
        if not self._keep:
            shutil.rmtree(self.path, ignore_errors=True)
        assert not complaints, "\n".join([*complaints, "The log ends:", log[-LOG_TAIL:]])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
