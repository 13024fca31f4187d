# SPDX-License-Identifier: GPL-2.0-or-later
"""What a mount, or a copy of one, should hold, and the comparison: by folder and UID, never by a message's text.

    expected = served(client, folders)             # a Tree {path in the mount: {uid: bytes}}, as imaplib fetches it
    assert_same(expected, read_tree(mount))        # every message of every folder, and nothing else
    tool("tar", "-C", mount, "-cf", archive, ".")  # runs a program that must end with 0 and complain of nothing
"""

import concurrent.futures
import hashlib
import os
import re
import subprocess

from lab import net
from lab.place import Place

NAME = re.compile(r"(?:.*\.)?(\d+)\.eml")
ESCAPED = re.compile(r"[\x00-\x1f\x7f/]|%(?=[0-9A-Fa-f]{2})")
DIFFERENCES_SHOWN = 10
TOOL_TIMEOUT_S = 100


class Tree(dict):
    """{folder: {uid: bytes}} that a failed test doesn't print: it may be somebody's mail."""

    def __repr__(self):
        return f"<{count(self)} messages in {len(self)} folders>"


def mount_path(folder, delimiter="/"):
    """Where a folder lies in the mount."""
    return "/".join(ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", part) for part in folder.split(delimiter))


def served(client, folders):
    return Tree((mount_path(folder), Place.fetch_all(client, folder)) for folder in folders)


def paths(root):
    """{folder: {uid: path}} of all messages below a directory; fails on any other file."""
    found = {}
    for directory, _, names in os.walk(root, onerror=_raise):
        messages = found.setdefault(os.path.relpath(directory, root), {})
        for name in names:
            match = NAME.fullmatch(name)
            assert match, f"{name!r} is no message's name"
            assert int(match[1]) not in messages, f"UID {match[1]} is in {directory!r} twice"
            messages[int(match[1])] = os.path.join(directory, name)
    return {folder: messages for folder, messages in found.items() if messages}


def _raise(error):
    raise error


def read(path):
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def read_or_errno(path):
    """The bytes, or the error's number."""
    try:
        return read(path)
    except OSError as error:
        return error.errno


def read_tree(root, read_one=read, readers=1):
    """{folder: {uid: bytes}}, by so many threads."""
    found = paths(root)
    with concurrent.futures.ThreadPoolExecutor(readers) as pool:
        reading = {folder: {uid: pool.submit(read_one, path) for uid, path in messages.items()}
                   for folder, messages in found.items()}
        return Tree((folder, {uid: job.result() for uid, job in messages.items()}) for folder, messages in reading.items())


def assert_same(expected, found, what="the mount"):
    """Says which messages differ, and by how much: not what is in them. Folders without messages don't count."""
    __tracebackhide__ = True
    wrong = []
    for folder in sorted(expected.keys() | found.keys()):
        theirs, ours = expected.get(folder, {}), found.get(folder, {})
        for uid in sorted(theirs.keys() | ours.keys()):
            if theirs.get(uid) != ours.get(uid):
                wrong.append(f"{folder}, UID {uid}: {_describe(theirs.get(uid))} expected, {_describe(ours.get(uid))} found")
    assert not wrong, "\n".join([f"{len(wrong)} messages of {what} differ:", *wrong[:DIFFERENCES_SHOWN]])


def _describe(content):
    if isinstance(content, bytes):
        return f"{len(content)} bytes ({hashlib.sha256(content).hexdigest()[:12]})"
    return "nothing" if content is None else f"{content}"


def digests(expected):
    return Tree((folder, {uid: hashlib.sha256(content).hexdigest() for uid, content in messages.items()})
                for folder, messages in expected.items())


def count(expected):
    return sum(map(len, expected.values()))


def tool(*command, statuses=(0,), **options):
    """Its standard output as bytes. Standard error must be empty, unless it is made a part of that."""
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options
    result = subprocess.run([os.fspath(word) for word in command], stdout=subprocess.PIPE,
                            timeout=TOOL_TIMEOUT_S * net.SLOWNESS, **options)
    said = (result.stdout if result.stderr is None else result.stderr).decode(errors="replace")
    assert result.returncode in statuses, f"{command[0]} ended with {result.returncode}: {said[-2000:]}"
    assert result.stderr is None or not said, f"{command[0]} complains: {said[-2000:]}"
    return result.stdout
