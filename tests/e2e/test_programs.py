# SPDX-License-Identifier: GPL-2.0-or-later
"""Real programs on a whole mailbox of more than 2,000 messages: what they read is what imaplib reads."""

import collections
import hashlib
import os
import re
import shutil
import subprocess

import pytest

import programs
import witness
from lab import mailboxes
from lab.maildir import served_bytes
from lab.place import OLENA, Place
from witness import tool

STEP = 37  # one message in so many, where a program is started for each


@pytest.fixture(scope="module")
def client(place, truth):
    client = place.imap(OLENA)
    yield client
    client.logout()


@pytest.fixture(scope="module")
def expected(client, truth):
    return witness.served(client, truth)


@pytest.fixture(scope="module")
def tree(place, expected, module_home):
    """One mount for all tests here, cold at the first."""
    module_home.set_account("work", place.account("work"))
    return module_home.mount("work")


@pytest.fixture
def cold(tree):
    """The same mount with nothing in its cache."""
    tree.unmount()
    tree.home.wipe_cache()
    return tree.start()


@pytest.fixture
def scratch(tmp_path):
    yield tmp_path
    # Copies of directories that can't be written.
    subprocess.run(["chmod", "-R", "u+rwX", tmp_path], check=True)
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def flat(tree, expected):
    """[(path, content)] of every message."""
    found = witness.paths(tree)
    return [(path, expected[folder][uid]) for folder, messages in found.items() for uid, path in messages.items()]


def directories(root):
    return {os.path.relpath(directory, root) for directory, _, _ in os.walk(root)}


def test_the_witness_reads_what_was_stored(expected, truth):
    stored = witness.Tree((witness.mount_path(folder), {
        uid: served_bytes(message.content) for uid, message in messages.items()}) for folder, messages in truth.items())
    witness.assert_same(stored, expected, "what imaplib reads")
    assert witness.count(expected) >= mailboxes.MANY


def test_every_message_is_what_imaplib_fetches_and_nothing_changes(client, cold, expected, truth):
    before = {folder: Place.flags(client, folder) for folder in truth}
    witness.assert_same(expected, witness.read_tree(cold, readers=4))
    assert {folder: Place.flags(client, folder) for folder in truth} == before
    assert cold.errors() == []
    # … and from the cache, once more, and after a remount without the server's help
    witness.assert_same(expected, witness.read_tree(cold))
    cold.unmount()
    cold.options["offline"] = True
    try:
        witness.assert_same(expected, witness.read_tree(cold.start(), readers=4), "the mount offline")
    finally:
        cold.remount(offline=None)


def test_every_folder_is_there(tree, expected):
    wanted = {"."}
    for folder in expected:
        parts = folder.split("/")
        wanted |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    assert directories(tree) == wanted


@pytest.mark.parametrize("program", programs.EACH_COPIER)
def test_copies_are_equal(program, tree, expected, scratch):
    copy = programs.COPIERS[program](tree, scratch)
    witness.assert_same(expected, witness.read_tree(copy), f"the copy by {program}")
    assert directories(copy) == directories(tree)


@pytest.mark.parametrize("program", ["tar", "cp -a", "rsync -a"])
def test_copies_keep_times(program, tree, truth, scratch):
    copy = programs.COPIERS[program](tree / "Projects", scratch)
    dates = {int(os.stat(path).st_mtime) for path in witness.paths(copy)["Alpha"].values()}
    assert dates == {message.internal_date for message in truth["Projects/Alpha"].values()}


def test_a_cold_tar(cold, expected, scratch):
    copy = programs.copy_tar(cold, scratch)
    witness.assert_same(expected, witness.read_tree(copy), "a cold tar")


@pytest.mark.variant
def test_restic_restores_all_and_finds_nothing_changed_after_a_remount(tree, expected, scratch):
    restic = programs.Restic(scratch)
    witness.paths(tree)  # the time of a directory is known once it was listed
    assert restic.backup(tree)["files_new"] == witness.count(expected)
    restic.check()
    witness.assert_same(expected, witness.read_tree(restic.restore()), "restic's copy")
    device = os.stat(tree).st_dev
    tree.remount()
    found = restic.backup(tree)
    if os.stat(tree).st_dev != device:
        # The kernel gave the new mount another number: restic stores it with each directory's entries.
        found.pop("dirs_changed", None)
    assert found == {}
    restic.check()


@pytest.mark.variant
def test_borg_extracts_all_and_finds_nothing_changed_after_a_remount(tree, expected, flat, scratch):
    borg = programs.Borg(scratch)
    borg.backup(tree)
    witness.assert_same(expected, witness.read_tree(borg.restore()), "borg's copy")
    tree.remount()
    # borg never remembers the newest file of all: one that changed again in the same instant would look alike.
    newest = max(int(os.stat(path).st_mtime) for path, _ in flat)
    allowed = {os.path.relpath(path, tree) for path, _ in flat if int(os.stat(path).st_mtime) == newest}
    assert set(borg.backup(tree)) - allowed == set()
    assert len(allowed) < 10


def test_find_tells_stable_inodes_one_link_and_true_sizes(tree, flat):
    lines = tool("find", tree, "-type", "f", "-printf", r"%i %n %s %p\0").split(b"\0")[:-1]
    found = {}
    for line in lines:
        inode, links, size, path = line.split(b" ", 3)
        assert links == b"1"
        found[os.fsdecode(path)] = (int(inode), int(size))
    assert {path: size for path, (_, size) in found.items()} == {path: len(content) for path, content in flat}
    assert len({inode for inode, _ in found.values()}) == len(flat)
    tree.remount()
    again = tool("find", tree, "-type", "f", "-printf", r"%i %n %s %p\0").split(b"\0")[:-1]
    assert sorted(again) == sorted(lines)


def test_grep_finds_what_is_in_the_bytes(tree, flat):
    needles = (b"X-Needle: needle-1", b"Content-Transfer-Encoding: quoted-printable", b"\xd0\xb3\xd0\xbe\xd0\xbb\xd0\xba\xd0\xb0")
    for needle in needles:
        found = tool("grep", "-rlaFZ", needle, tree, env=programs.PLAIN_ENV | {"LC_ALL": "C"}).split(b"\0")[:-1]
        wanted = sorted(path for path, content in flat if needle in content)
        assert sorted(map(os.fsdecode, found)) == wanted
        assert wanted


def test_wc_counts_the_bytes(tree, flat):
    names = b"".join(os.fsencode(path) + b"\0" for path, _ in flat)
    lines = tool("xargs", "-0", "wc", "-c", input=names, stdin=None).splitlines()
    counted = {os.fsdecode(path): int(size) for size, path in (line.split(None, 1) for line in lines) if path != b"total"}
    assert counted == {path: len(content) for path, content in flat}


@pytest.mark.parametrize("command, wanted", [
    (("tail", "-c", "100"), lambda content: content[-100:]), (("head", "-c", "100"), lambda content: content[:100]),
    (("head", "-n", "2"), lambda content: b"".join(re.findall(rb"[^\n]*\n|[^\n]+", content)[:2])),
    (("dd", "bs=7", "skip=3", "count=5", "status=none"), lambda content: content[21:56]), (("cat",), lambda content: content),
])
def test_parts_of_files(command, wanted, tree, flat):
    for path, content in flat[::STEP]:
        if command[0] == "dd":
            assert tool(*command, f"if={path}") == wanted(content)
        else:
            assert tool(*command, path) == wanted(content)


def test_xargs_with_eight_readers_on_a_cold_cache(cold, expected):
    found = tool("sh", "-c", "find . -type f -print0 | xargs -0 -P8 -n20 sha256sum -z", cwd=cold).split(b"\0")[:-1]
    got = collections.defaultdict(dict)
    for line in found:
        digest, path = line.decode("utf-8", "surrogateescape").split("  ./", 1)
        folder, name = os.path.split(path)
        got[folder][int(witness.NAME.fullmatch(name)[1])] = digest
    witness.assert_same(witness.digests(expected), got,
                        "sha256sum by eight readers")


def test_reads_at_any_offset(tree, flat):
    for path, content in flat[::STEP]:
        file = os.open(path, os.O_RDONLY)
        try:
            size = len(content)
            assert os.fstat(file).st_size == size
            for offset in {0, 1, size // 3, 4095, 4096, 4097, size - 1, size, size + 1, size + 10_000}:
                if offset >= 0:
                    assert os.pread(file, 5_000, offset) == content[offset:offset + 5_000]
            assert os.lseek(file, -1, os.SEEK_END) == size - 1 if size else True
        finally:
            os.close(file)


def test_sendfile(tree, flat, scratch):
    path, content = max(flat, key=lambda item: len(item[1]))
    with open(path, "rb") as source, open(scratch / "out", "wb") as target:
        sent = 0
        while count := os.sendfile(target.fileno(), source.fileno(), sent, 10_000):
            sent += count
    assert hashlib.sha256((scratch / "out").read_bytes()).digest() == hashlib.sha256(content).digest()


def test_du_counts_blocks_of_512(tree, flat):
    sizes = tool("find", tree, "-type", "f", "-printf", r"%b %s\n").split(b"\n")[:-1]
    assert len(sizes) == len(flat)
    for line in sizes:
        blocks, size = map(int, line.split())
        assert blocks == -(-size // 512)
