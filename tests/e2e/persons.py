# SPDX-License-Identifier: GPL-2.0-or-later
"""`mailtree login` as a person runs it, for the tests of sign-in.

    Login(home, "work", "--device", BROWSER=…)     runs until .wait(); .url() is the address that it wants opened
    sign_in(home, "work")                          the quick way: opens the address, and is signed in
"""

import re
import subprocess
import threading
import urllib.error
import urllib.request

from lab import net
from lab.leaks import find_leaks

# In the background as a browser is: what it is given to open, it opens, and what it sees, it keeps.
BROWSER = """#!/usr/bin/python3
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
        status, headers, page = answer.status, answer.headers, answer.read()
except urllib.error.HTTPError as error:
    status, headers, page = error.code, error.headers, error.read()
with open({out!r}, "wb") as file:
    file.write(b"%d\\n%s\\n%s" % (status, bytes(headers), page))
"""


class Login:
    """A `mailtree login` that runs."""

    def __init__(self, home, *arguments, **environment):
        self._home = home
        self.process = subprocess.Popen([home.binary, "login", *arguments], env=home.environment(**environment),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._lines = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(iter(self.process.stdout.readline, "")))
        self._reader.start()

    @property
    def output(self):
        return "".join(self._lines)

    def url(self):
        """The address that it asks to be opened."""
        net.wait_until(lambda: "Waiting for" in self.output or self.process.poll() is not None, what="the prompt")
        assert self.process.poll() is None, self.process.stderr.read()
        return re.search(r"^  (http\S+)$", self.output, re.MULTILINE)[1]

    def wait(self, timeout_s=30):
        """(exit status, standard error); secrets in what it printed fail the test."""
        status = self.process.wait(timeout_s * net.SLOWNESS)
        self._reader.join()
        error = self.process.stderr.read()
        assert find_leaks(self.output + error, self._home.secrets()) == []
        return status, error

    def end(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()


def token_file(home, account="work"):
    return home.path / "state" / "mailtree" / f"{account}.token"


def open_url(url):
    """(status, page)"""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def sign_in(home, account="work"):
    running = Login(home, account)
    try:
        status, page = open_url(running.url())
        assert status == 200, page
        assert running.wait() == (0, "")
    finally:
        running.end()
