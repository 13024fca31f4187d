# SPDX-License-Identifier: GPL-2.0-or-later
"""What the end-to-end tests ask of a mount when they expect failures, waits, or the same names again.

    failure(os.listdir, mount)                     # "EACCES", …; None when it succeeded
    with within(3): …                              # fails when it takes longer (SLOWNESS counts)
    with Blocked("cat", path, ready=…) as child:   # a program that waits for the server by then
        child.end(signal.SIGINT)                   # it ends within seconds, or the test fails
    snapshot(mount)                                # {path: (inode, …)} of everything that is listed
    until_works(os.listdir, mount)                 # what it returns once it no longer fails
    metric(mount, "open_fds")                      # a number of .mailtree/metrics
"""

import contextlib
import errno
import os
import re
import signal
import subprocess
import time

from lab import net
from witness import NAME

PROGRAM_ENDS_S = 5


def failure(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)
    return None


def until_works(function, *arguments, timeout_s=20):
    """Its result; whatever error is over."""
    found, errors = [], []

    def works():
        try:
            found.append(function(*arguments))
        except OSError as error:
            errors[:] = [error]
            return False
        return True
    try:
        net.wait_until(works, timeout_s, f"{function.__name__}{arguments} to work", interval_s=0.1)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {errors[0]}") from errors[0]
    return found[0]


@contextlib.contextmanager
def within(seconds, at_least=0.0):
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert at_least <= took <= seconds * net.SLOWNESS, f"took {took:.1f} s, not {at_least:g} to {seconds:g}"


class Blocked:
    """A program, started; ready() turns true when the server has been asked for what it waits for."""

    def __init__(self, *command, ready):
        self._command = [os.fspath(word) for word in command]
        self._ready = ready

    def __enter__(self):
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        try:
            net.wait_until(self._ready, 20, f"the server to be asked by {self._command[0]}")
            assert self.process.poll() is None, "it didn't wait"
        except (TimeoutError, AssertionError):
            self.__exit__()
            raise
        return self

    def end(self, number):
        """Its status after this signal."""
        self.process.send_signal(number)
        return self.process.wait(PROGRAM_ENDS_S * net.SLOWNESS)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(60)


def uids(folder):
    """{uid: path} of the messages that a folder lists."""
    return {int(match[1]): os.path.join(folder, name) for name in os.listdir(folder) if (match := NAME.fullmatch(name))}


def snapshot(root):
    """{path: inode} of what is listed, and of the root's own; the inode that readdir gives is that of stat."""
    found = {".": os.stat(root).st_ino}
    todo = [""]
    while todo:
        at = todo.pop()
        with os.scandir(os.path.join(root, at)) as entries:
            for entry in entries:
                path = os.path.join(at, entry.name)
                found[path] = entry.inode()
                assert entry.stat(follow_symlinks=False).st_ino == entry.inode(), path
                if entry.is_dir(follow_symlinks=False):
                    todo.append(path)
    return found


def error_lines(mount, pattern):
    return [line for line in mount.errors() if re.search(pattern, line)]


def metric(mount, name):
    text = (mount / ".mailtree" / "metrics").read_text()
    return float(re.search(rf"^mailtree_{name} (\S+)$", text, re.MULTILINE)[1])
