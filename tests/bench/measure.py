# SPDX-License-Identifier: GPL-2.0-or-later
"""Time, processor and memory of a child, or of a daemon that runs."""

import os
import pathlib
import re
import subprocess
import threading
import time
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")
LIMIT_S = 1800
LOOK_S = 0.05


class Failed(Exception):
    """A contender didn't do its work: its time means nothing."""


@dataclass
class Ran:
    seconds: float
    cpu_s: float
    peak_bytes: int
    output: bytes = b""
    errors: bytes = b""


def run(command, allowed=(0,), stdin=None, env=None):
    """One child to its end."""
    begin = time.perf_counter()
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(env)) as child:
        try:
            output, errors = child.communicate(stdin, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            raise Failed(f"{command[0]} took more than {LIMIT_S} s") from None
    seconds = time.perf_counter() - begin
    if child.returncode not in allowed:
        raise Failed(f"{command[0]} ended with {child.returncode}: {errors[-500:].decode(errors='replace')}")
    return Ran(seconds, 0.0, 0, output, errors)


class _Peak(threading.Thread):
    """VmHWM of a child, looked at until it ends: its ru_maxrss is that of the bench, which it began as."""

    def __init__(self, pid):
        super().__init__()
        self.bytes = 0
        self._pid = pid
        self.start()

    def run(self):
        while True:
            try:
                self.bytes = process_memory_bytes(self._pid, "VmHWM")
            except (Failed, OSError):
                return  # it has ended, perhaps without having been waited for
            time.sleep(LOOK_S)


def run_counted(command, allowed=(0,), env=None):
    """As run(), for a child that says little: with its processor time and memory."""
    begin = time.perf_counter()
    with open(os.devnull, "r+b") as null, subprocess.Popen([str(word) for word in command], stdin=null, stdout=null,
                                                           stderr=subprocess.PIPE, env=_environment(env)) as child:
        peak = _Peak(child.pid)
        # Reading to the end first: a child that complains a lot must not block.
        errors = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    peak.join()
    if child.returncode not in allowed:
        raise Failed(f"{command[0]} ended with {child.returncode}: {errors[-500:].decode(errors='replace')}")
    return Ran(seconds, usage.ru_utime + usage.ru_stime, peak.bytes)


def _environment(more):
    # grep and ls by bytes: neither is measured here.
    return os.environ | {"LC_ALL": "C"} | (more or {})


def read_all(program, directory):
    """tar or grep over a directory; seconds, and for tar the bytes of the archive."""
    directory = pathlib.Path(directory)
    if program == "grep":
        # Nothing is found: each octet was looked at.
        return run(["grep", "-rF", "a-needle-that-is-nowhere", directory], allowed=(1,)).seconds, None
    ran = run(tar_command("-C", directory.parent, directory.name))
    return ran.seconds, archive_bytes(ran.errors)


def tar_command(*words):
    """To nothing, as the bare protocol reads. Not to /dev/null: GNU tar knows that, and reads nothing then."""
    return ["tar", "cf", "/dev/zero", "--totals", *words]


def archive_bytes(errors):
    """What tar says at its end."""
    return int(re.search(rb"Total bytes written: (\d+)", errors)[1])


def drop_page_cache():
    """Page, dentry and inode caches of the whole machine: root alone may."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def process_cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def process_memory_bytes(pid, name):
    """VmHWM: at most so far; VmRSS: now."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"no {name} of process {pid}")
