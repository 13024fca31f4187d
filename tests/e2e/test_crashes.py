# SPDX-License-Identifier: GPL-2.0-or-later
"""Killed at any moment, a disk that is full, files of the cache damaged: the next mount comes up and never gives a byte
that the server didn't send. Each round follows from its number, which a failure prints; MAILTREE_TEST_SEED is where
they begin."""

import concurrent.futures
import contextlib
import dataclasses
import errno
import os
import pathlib
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import time

import pytest
import witness
from lab import generator, mailboxes
from lab.imapmodel import Folder, Model
from lab.maildir import Maildir, served_bytes
from lab.scripted import CAPABILITIES
from probe import failure, uids, until_works
from witness import read, read_or_errno

SEED = int(os.environ.get("MAILTREE_TEST_SEED") or 0)
MESSAGES = 24
LARGE_EVERY = 5
SPOT_BYTES = 64
# As scripts/test has it mounted, as root, for the ordinary user: a file system of 12 MB.
SMALL_DISK = os.environ.get("MAILTREE_TEST_SMALL_DISK")
# When the process is killed, counted from the first byte of work.
KILLED_WITHIN_S = 0.5


def rounds(in_ci, in_long):
    return pytest.mark.parametrize("count", [in_ci, pytest.param(in_long, marks=pytest.mark.long)])


@pytest.fixture
def folders(place, fresh_user):
    """folders(count) → (user, {folder: {uid: bytes}}): mail that is nobody else's, a folder a round."""
    def fill(count, has_large=True):
        user = fresh_user()
        store = Maildir(place.dovecot.maildir(user).root)
        truth = {}
        for number in range(count):
            messages = [generator.make_bulk(number, index, 12_000) for index in range(1, MESSAGES)]
            if has_large and number % LARGE_EVERY == 0:
                messages.append(generator.make_big(1_300_000))
            name = f"round{number}"
            truth[name] = {uid: served_bytes(message.content)
                           for uid, message in mailboxes.fill_messages(store, name, messages).items()}
        return user, truth
    return fill


def check(mount, folder, expected):
    """Every message is the server's; one that can't be had is an error of its own."""
    found = until_works(uids, mount / folder)
    assert found.keys() == expected.keys(), f"{folder}: {len(found)} of {len(expected)} are listed"
    wrong = [uid for uid, path in found.items() if until_works(read, path) != expected[uid]]
    assert wrong == [], f"{folder}: UIDs {wrong} are wrong"


def verify(home):
    """How many were damaged."""
    result = home.run("cache", "work", "verify", check=True)
    return int(re.search(r"checked \d+ messages: (\d+) were damaged", result.stdout)[1])


def fetched(mount):
    return mount.status()["counters"]["bodies_fetched"]


@contextlib.contextmanager
def told(number, mount):
    try:
        yield
    except (AssertionError, OSError, TimeoutError) as error:
        raise AssertionError(f"round {number}: {error}; {mount.home.log().splitlines()[-8:]}") from error


def kill(mount):
    mount.process.kill()
    mount.process.wait()
    mount.process = None
    subprocess.run(["fusermount3", "-uz", str(mount)], check=True, capture_output=True)


# Killed

def read_all(mount, folder):
    """Until it is done, or the mount dies."""
    with contextlib.suppress(OSError):
        for path in uids(mount / folder).values():
            read_or_errno(path)


@rounds(10, 200)
@pytest.mark.slow
def test_killed_at_any_moment(count, folders, mount):
    user, truth = folders(count)
    tree = mount(user, sizes="exact")
    reused = 0
    for number, folder in enumerate(truth):
        rng = random.Random(f"kill/{SEED + number}")
        with told(SEED + number, tree), concurrent.futures.ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read_all, tree, name) for name in (folder, folder, rng.choice(list(truth)))]
            # That it is any moment is what is tested.
            time.sleep(rng.uniform(0, KILLED_WITHIN_S))
            kill(tree)
            for reader in readers:
                reader.result()
            if rng.random() < 0.2:
                assert verify(tree.home) == 0
            tree.start()
            check(tree, folder, truth[folder])
            reused += fetched(tree) < MESSAGES
    assert reused, "what had come before the kill is used"
    tree.unmount()
    assert verify(tree.home) == 0
    tree.start()
    witness.assert_same(truth, witness.read_tree(tree, readers=3))


@rounds(10, 200)
def test_killed_while_a_folder_is_numbered_anew(count, scripted, mount):
    messages = [dataclasses.replace(generator.make_bulk(3, index, 12_000), emailid=f"M{index}") for index in range(1, MESSAGES + 1)]
    server = scripted(Model({"INBOX": messages}), capabilities=f"{CAPABILITIES} OBJECTID")
    tree = mount(text=server.account("work", sizes="exact"))
    check(tree, "INBOX", {uid: message.content for uid, message in enumerate(messages, 1)})
    asked = 0
    for number in range(count):
        rng = random.Random(f"anew/{SEED + number}")
        with told(SEED + number, tree), concurrent.futures.ThreadPoolExecutor(2) as pool:
            rng.shuffle(messages)
            box = server.model.folders["INBOX"]
            new = dict(zip(sorted(rng.sample(range(1, 3 * MESSAGES), MESSAGES)), messages, strict=True))
            server.model.folders["INBOX"] = Folder(box.raw, new, uidvalidity=box.uidvalidity + 1)
            refresh = pool.submit(read_or_errno, tree / ".mailtree" / "refresh")
            reader = pool.submit(read_all, tree, "INBOX")
            time.sleep(rng.uniform(0, KILLED_WITHIN_S))
            kill(tree)
            refresh.result()
            reader.result()
            asked_before = sum(b"BODY.PEEK[]" in line for line in server.lines)
            tree.start()
            check(tree, "INBOX", {uid: message.content for uid, message in new.items()})
            asked += sum(b"BODY.PEEK[]" in line for line in server.lines) > asked_before
    assert asked < count, "where it wasn't killed in between, nothing is asked for again"
    tree.unmount()
    assert verify(tree.home) == 0


# No room

class Disk:
    """Where the cache lies: full() and free() as a disk is, or a limit on files' sizes where there is none to spare."""

    def __init__(self, mount, folder):
        self.folder, self._mount = folder, mount
        self._filler = folder / "filler"

    def full(self, rng):
        slack = rng.choice([0, 4_096, rng.randrange(1 << 20)])
        if SMALL_DISK:
            free = shutil.disk_usage(self.folder).free
            with open(self._filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), file.tell(), max(1, free - slack))
        else:
            self._limit(slack)

    def free(self):
        if SMALL_DISK:
            self._filler.unlink(missing_ok=True)
        elif self._mount.process:
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, size):
        hard = resource.prlimit(self._mount.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self._mount.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@rounds(4, 50)
def test_a_disk_that_is_full(count, folders, mount, tmp_path):
    # What is too large for memory needs a file somewhere; a limit of the process leaves none.
    user, truth = folders(count, has_large=SMALL_DISK is not None)
    cache = pathlib.Path(SMALL_DISK or tmp_path) / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    tree = mount(user, sizes="exact", keys={"cache_dir": cache, "cache_size": "8M"})
    disk = Disk(tree, cache)
    try:
        for number, folder in enumerate(truth):
            rng = random.Random(f"disk/{SEED + number}")
            with told(SEED + number, tree), concurrent.futures.ThreadPoolExecutor(2) as pool:
                readers = [pool.submit(check, tree, name, truth[name]) for name in (folder, rng.choice(list(truth)))]
                time.sleep(rng.uniform(0, KILLED_WITHIN_S))
                disk.full(rng)
                for reader in readers:
                    reader.result()
                if rng.random() < 0.5:
                    # Begins, and ends, while there is no room.
                    tree.unmount()
                    tree.start()
                check(tree, folder, truth[folder])
                disk.free()
                assert verify(tree.home) == 0
        tree.unmount()
        tree.start()
        witness.assert_same(truth, witness.read_tree(tree, readers=3))
        tree.unmount()
    finally:
        disk.free()
        shutil.rmtree(cache, ignore_errors=True)


def test_a_folder_that_the_index_lost_isnt_gone(folders, mount):
    """Its row didn't get there while the disk was full, what came after did: the tree is asked for again, or it fails."""
    user, truth = folders(3)
    tree = mount(user, sizes="exact")
    os.listdir(tree)
    tree.unmount()
    [index] = (tree.home.path / "cache").rglob("index.db")
    with sqlite3.connect(index) as connection:
        assert connection.execute("DELETE FROM folder WHERE name = 'round1'").rowcount == 1
    connection.close()
    tree.remount(offline=True)
    assert failure(os.listdir, tree) == "ENETUNREACH"
    tree.remount(offline=False)
    assert set(truth) <= set(os.listdir(tree))
    check(tree, "round1", truth["round1"])


def test_a_cache_that_becomes_read_only(folders, mount):
    user, truth = folders(2)
    tree = mount(user, sizes="exact")
    check(tree, "round0", truth["round0"])
    directories = [pathlib.Path(top) for top, _, _ in os.walk(tree.home.path / "cache")]
    for directory in directories:
        directory.chmod(0o500)
    try:
        check(tree, "round1", truth["round1"])
        tree.unmount()
        tree.start()
        check(tree, "round0", truth["round0"])
        check(tree, "round1", truth["round1"])
    finally:
        for directory in directories:
            directory.chmod(0o700)
    tree.unmount()
    tree.start()
    witness.assert_same(truth, witness.read_tree(tree))
    tree.unmount()
    assert verify(tree.home) == 0


def test_a_cache_that_is_removed_under_way(folders, mount):
    user, truth = folders(2)
    tree = mount(user, sizes="exact")
    check(tree, "round0", truth["round0"])
    shutil.rmtree(tree.home.path / "cache" / "mailtree")
    check(tree, "round1", truth["round1"])
    check(tree, "round0", truth["round0"])
    tree.unmount()
    tree.start()
    witness.assert_same(truth, witness.read_tree(tree))
    tree.unmount()
    assert verify(tree.home) == 0


# Damage

def data_files(home):
    return sorted(path for path in (home.path / "cache").rglob("*") if path.is_file() and re.match(r"index\.db|seg-", path.name))


def damage(rng, path):
    size = path.stat().st_size
    kind = rng.choices(("bytes", "cut", "zeros", "gone"), (12, 2, 2, 1))[0]
    if kind == "gone":
        path.unlink()
    elif kind == "cut":
        os.truncate(path, rng.randrange(size + 1))
    else:
        with open(path, "r+b", buffering=0) as file:
            for _ in range(rng.randint(1, 4)):
                file.seek(rng.randrange(size or 1))
                length = rng.randint(1, SPOT_BYTES)
                file.write(bytes(4_096) if kind == "zeros" else rng.randbytes(length))


@rounds(10, 200)
@pytest.mark.slow
def test_files_of_the_cache_damaged(count, folders, mount):
    user, truth = folders(4)
    tree = mount(user, sizes="exact")
    for number in range(SEED, SEED + count):
        rng = random.Random(f"damage/{number}")
        with told(number, tree):
            witness.assert_same(truth, witness.read_tree(tree, readers=2))
            if rng.random() < 0.3:
                kill(tree)
            else:
                tree.unmount()
            files = data_files(tree.home)
            for path in rng.sample(files, k=min(len(files), rng.randint(1, 2))):
                damage(rng, path)
            if rng.random() < 0.2:
                verify(tree.home)
                assert verify(tree.home) == 0
            tree.start()
            witness.assert_same(truth, witness.read_tree(tree, readers=2))
    tree.unmount()
    assert verify(tree.home) == 0


def test_damage_costs_what_is_damaged(folders, mount):
    """One byte of one body: that one is fetched again, no other."""
    user, truth = folders(1)
    tree = mount(user, sizes="exact")
    check(tree, "round0", truth["round0"])
    tree.unmount()
    segment = next(path for path in data_files(tree.home) if truth["round0"][7] in path.read_bytes())
    content = bytearray(segment.read_bytes())
    content[content.index(truth["round0"][7]) + 5] ^= 1
    segment.write_bytes(content)
    tree.start()
    check(tree, "round0", truth["round0"])
    assert fetched(tree) == 1
    tree.unmount()
    tree.start()
    check(tree, "round0", truth["round0"])
    assert fetched(tree) == 0


def test_offline_after_damage_what_is_whole_is_read(folders, mount):
    user, truth = folders(1)
    tree = mount(user, sizes="exact")
    check(tree, "round0", truth["round0"])
    tree.unmount()
    for path in data_files(tree.home):
        if path.name.startswith("seg-"):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)
    tree.remount(offline=True)
    found = {uid: read_or_errno(path) for uid, path in uids(tree / "round0").items()}
    lost = [uid for uid, content in found.items() if content == errno.ENETUNREACH]
    assert 1 <= len(lost) <= 2
    assert all(found[uid] == content for uid, content in truth["round0"].items() if uid not in lost)
    assert failure(read, uids(tree / "round0")[lost[0]]) == "ENETUNREACH"
