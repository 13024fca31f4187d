# SPDX-License-Identifier: GPL-2.0-or-later
"""A home for mailtree of its own: config, cache, state, runtime folder, mounts; nothing of the user's is touched.

    with Home(binary) as home:
        home.write_config(place.account("work"))
        root = home.mount("work")                       # pathlib.Path; foreground process, log in home.log()
        root = home.mount("work", "-o", "sizes=exact", debug=True)
        root = home.mount("work", daemon=True)          # as a person does: returns when mailtree returns
        result = home.run("ls", "work", "--json")       # CompletedProcess: returncode, stdout, stderr (text)
        home.umount(root)                               # mailtree umount, and waits for the process to end
    # leaving unmounts what is mounted, by force if it must, and asserts that no process is left

The binary is `binary`, else $MAILTREE_BIN, else build/mailtree. Reports of sanitizers become errors on leaving.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

from . import net

PROJECT = pathlib.Path(__file__).resolve().parents[2]


def default_binary():
    return pathlib.Path(os.environ.get("MAILTREE_BIN") or PROJECT / "build" / "mailtree").resolve()


def is_mounted(path):
    wanted = os.fsencode(path)
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.split()[4] == wanted for line in file)


class Home:
    def __init__(self, binary=None, keep=bool(os.environ.get("MAILTREE_TEST_KEEP"))):
        self.binary = pathlib.Path(binary or default_binary())
        # Short: Unix sockets lie below it, and their paths may have 107 bytes.
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="mt-"))
        self._keep = keep
        self._mounts = {}
        self._logs = 0
        for name in ("config", "cache", "state", "run", "mnt"):
            (self.path / name).mkdir(mode=0o700)

    # Config and commands

    @property
    def config_file(self):
        return self.path / "config" / "mailtree" / "config"

    def write_config(self, *texts):
        self.config_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.config_file.touch(mode=0o600)
        self.config_file.write_text("\n".join(texts))

    def environment(self, **more):
        names = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        sanitizers = f"log_path={self.path}/sanitizer:exitcode=99"
        return kept | {
            "PATH": kept.get("PATH", "/usr/bin:/bin"), "HOME": str(self.path),
            "XDG_CONFIG_HOME": str(self.path / "config"), "XDG_CACHE_HOME": str(self.path / "cache"),
            "XDG_STATE_HOME": str(self.path / "state"), "XDG_RUNTIME_DIR": str(self.path / "run"),
            "ASAN_OPTIONS": f"{sanitizers}:detect_leaks=1", "UBSAN_OPTIONS": f"{sanitizers}:print_stacktrace=1",
            "LSAN_OPTIONS": sanitizers, "TSAN_OPTIONS": sanitizers,
        } | more

    def run(self, *arguments, timeout_s=60, check=False, text=True, **more):
        env = self.environment(**more.pop("env", {}))
        result = subprocess.run([str(self.binary), *map(str, arguments)], env=env, capture_output=True, text=text,
                                timeout=timeout_s, stdin=more.pop("stdin", subprocess.DEVNULL), **more)
        if check and result.returncode != 0:
            raise AssertionError(f"{shlex.join(map(str, arguments))} ended with {result.returncode}: {result.stderr}")
        return result

    # Mounts

    def mount(self, account, *options, name=None, debug=False, daemon=False, timeout_s=20, env=None):
        point = self.path / "mnt" / (name or f"m{len(list((self.path / 'mnt').iterdir()))}")
        point.mkdir(exist_ok=True)
        arguments = ["mount", account, str(point), *options]
        if daemon:
            result = self.run(*arguments, timeout_s=timeout_s, env=env or {})
            if result.returncode != 0:
                raise AssertionError(f"mount ended with {result.returncode}: {result.stderr}")
            assert is_mounted(point), "mailtree mount returned before the mount was there"
            self._mounts[point] = None
            return point
        arguments += ["-f"] + (["-d"] if debug else [])
        self._logs += 1
        with open(self.path / f"log.{self._logs}", "wb") as log:
            child = subprocess.Popen([str(self.binary), *arguments], env=self.environment(**(env or {})),
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._mounts[point] = child
        try:
            net.wait_until(lambda: is_mounted(point) or child.poll() is not None, timeout_s, "the mount")
            assert child.poll() is None, f"mailtree mount ended with {child.returncode}"
        except (TimeoutError, AssertionError) as error:
            self._end(point)
            raise AssertionError(f"{error}\n{self.log()[-4000:]}") from None
        return point

    def process(self, point):
        """The subprocess.Popen of a foreground mount."""
        return self._mounts[point]

    def umount(self, point, timeout_s=20):
        """The clean way; fails when mailtree's process doesn't end."""
        child = self._mounts.pop(point)
        result = self.run("umount", point, timeout_s=timeout_s)
        assert result.returncode == 0, f"umount: {result.stderr}"
        if child:
            assert child.wait(timeout_s) == 0, f"the mount ended with {child.returncode}:\n{self.log()[-4000:]}"
        else:
            net.wait_until(lambda: not self.processes(), timeout_s, "the mount's process to end")

    def log(self):
        """What all foreground mounts wrote, in the order of their start."""
        files = sorted(self.path.glob("log.*"), key=lambda path: int(path.suffix[1:]))
        return "".join(path.read_text(errors="replace") for path in files)

    def wipe_cache(self):
        for name in ("cache", "state"):
            shutil.rmtree(self.path / name)
            (self.path / name).mkdir(mode=0o700)

    def processes(self):
        """{pid: arguments} of mailtree processes that were started for this home's mounts."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.path.basename(words[0]) == os.fsencode(self.binary.name) and any(
                    os.fsencode(self.path) in word for word in words[1:]):
                found[int(entry.name)] = words
        return found

    def _end(self, point):
        """By any means; returns what had to be complained about."""
        child = self._mounts.pop(point)
        complaints = []
        for command in (["fusermount3", "-u"], ["fusermount3", "-u", "-z"]):
            if not is_mounted(point):
                break
            try:
                subprocess.run([*command, str(point)], capture_output=True, timeout=20)
            except subprocess.TimeoutExpired:
                complaints.append(f"{' '.join(command)} hung")
        if child:
            try:
                status = child.wait(10)
                if status not in (0, -9):
                    complaints.append(f"the mount's process ended with {status}")
            except subprocess.TimeoutExpired:
                complaints.append("the mount's process outlived its mount")
                child.kill()
                child.wait()
        return complaints

    def close(self):
        complaints = []
        for point in list(self._mounts):
            complaints += self._end(point)
        try:
            net.wait_until(lambda: not self.processes(), 10, "processes")
        except TimeoutError:
            for pid, words in self.processes().items():
                complaints.append(f"process {pid} was left: {b' '.join(words).decode(errors='replace')}")
                os.kill(pid, 9)
        for report in sorted(self.path.glob("sanitizer.*")):
            complaints.append(report.read_text(errors="replace")[-6000:])
        log = self.log()
        if not self._keep:
            shutil.rmtree(self.path, ignore_errors=True)
        assert not complaints, "\n".join([*complaints, log[-4000:]])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
