# SPDX-License-Identifier: GPL-2.0-or-later
"""Many readers, large messages, little memory, sudden ends and bad lines: right bytes, or an error; never a hang."""

import concurrent.futures
import errno
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest

import witness
from lab import generator, mailboxes, net, rules

READERS, LISTERS = 16, 4
MEMORY_LIMIT_KB = 64 << 10
MIB = 1 << 20
BIG_BYTES = 30 * MIB
CUT_AT = (3_000, 20_000, 60_000, 150_000, 400_000, 700_000)
LINE_ERRORS = {errno.ENETUNREACH, errno.ETIMEDOUT}


@pytest.fixture(scope="module")
def content(place, truth):
    client = place.imap()
    found = witness.served(client, truth)
    client.logout()
    return found


@pytest.fixture
def expected_file(tmp_path):
    """expected_file(mount, content): the JSON file for random_reader.py."""
    def write(mount, content):
        path = tmp_path / "expected.json"
        path.write_text(json.dumps({
            message: hashlib.sha256(content[folder][uid]).hexdigest()
            for folder, messages in witness.paths(mount).items() for uid, message in messages.items()}))
        return path
    return write


@pytest.fixture
def start_readers():
    """start_readers(expected, readers, count, listers=0, times=0) → the processes; they are ended with the test."""
    started = []

    def start(expected, readers, count, listers=0, times=0):
        script = pathlib.Path(__file__).with_name("random_reader.py")
        for seed in range(readers + listers):
            mode = [str(count)] if seed < readers else [str(times), "list"]
            started.append(subprocess.Popen([sys.executable, str(script), str(expected), str(seed), *mode],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True))
        return started
    yield start
    for process in started:
        process.stdout.close()
        net.end_child(process)


def finish(processes, timeout_s=90):
    wrong = []
    for process in processes:
        try:
            output = process.communicate(timeout=timeout_s * net.SLOWNESS)[0]
        except subprocess.TimeoutExpired:
            wrong.append("a reader hangs")
            continue
        wrong += output.splitlines()
        if process.returncode not in (0, 1):
            wrong.append(f"a reader ended with {process.returncode}")
    assert wrong == []


def peak_kb(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def kill(mount):
    """As the out-of-memory killer does it; the dead mount point is cleared away, nothing else."""
    mount.process.kill()
    mount.process.wait()
    mount.process = None
    subprocess.run(["fusermount3", "-uz", str(mount)], check=True, capture_output=True)


@pytest.fixture
def big(place, fresh_user):
    """A mailbox with one message of 30 MB: (user, content)."""
    user = fresh_user()
    message = generator.make_big(BIG_BYTES)
    mailboxes.fill_messages(place.dovecot.maildir(user), "INBOX", [message])
    return user, message.content


def path_of_big(mount):
    return witness.paths(mount)["INBOX"][1]


# Many at once

def test_sixteen_read_at_random_while_four_list(mount, content, expected_file, start_readers):
    expected = expected_file(mount(), content)
    finish(start_readers(expected, READERS, 120, LISTERS, 6))


def test_what_came_ahead_of_its_reader_is_with_the_kernel(mount, content, wait_for):
    folder = max(content, key=lambda name: len(content[name]))
    view = mount()

    def counters():
        return view.status()["counters"]

    def asked_nothing():
        path, expected = messages.pop(0)
        before = counters()["cache_hits"]
        assert path.read_bytes() == expected
        return counters()["cache_hits"] == before
    messages = [(pathlib.Path(path), content[folder][uid]) for uid, path in sorted(witness.paths(view)[folder].items())]
    for path, expected in [messages.pop(0), messages.pop(0)]:
        assert path.read_bytes() == expected
    wait_for(lambda: counters()["bodies_prefetched"] >= 20, what="bodies ahead of the reader")
    # Some may be on their way to the kernel still.
    assert any(asked_nothing() for _ in range(15))


def test_a_cold_folder_is_right_for_all_who_come_at_once(mount, content):
    tree = mount()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        listings = list(pool.map(lambda _: sorted(os.listdir(tree / "INBOX")), range(8)))
    assert len(listings[0]) == len(content["INBOX"]) + 1  # and one folder
    assert all(listing == listings[0] for listing in listings)


@pytest.mark.slow
def test_two_mounts_of_one_account_at_once(home, place, proxy, proxy_tls, content):
    counter = rules.Count()
    home.set_account("work", place.account("work", port=proxy(tls=proxy_tls, rules=[counter]).port))
    first, second = home.mount("work"), home.mount("work")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        readings = [pool.submit(witness.read_tree, mount, readers=2) for mount in (first, second)]
        for reading in readings:
            witness.assert_same(content, reading.result())
    assert [os.stat(path).st_ino for path in witness.paths(first)["INBOX"].values()] == \
        [os.stat(path).st_ino for path in witness.paths(second)["INBOX"].values()]
    # What one has fetched, the other has.
    fetched = sum(counter.bodies.values())
    third = home.mount("work")
    witness.assert_same(content, witness.read_tree(third))
    assert sum(counter.bodies.values()) == fetched
    for mount in (first, second, third):
        mount.unmount()
    assert home.run("cache", "work", "verify").returncode == 0


# A large message

def test_one_large_message_is_fetched_once_for_all_its_readers(mount, big, proxy, proxy_tls):
    user, content = big
    counter = rules.Count()
    tree = mount(user, keys={"port": proxy(tls=proxy_tls, rules=[counter]).port})
    path = path_of_big(tree)
    digest = hashlib.sha256(content).hexdigest().encode()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        sums = [pool.submit(witness.tool, "sha256sum", path) for _ in range(4)]
        tails = [pool.submit(witness.tool, "tail", "-c", "100000", path) for _ in range(2)]
        assert {job.result()[:64] for job in sums} == {digest}
        assert {job.result() for job in tails} == {content[-100_000:]}
    assert sum(counter.bodies.values()) == 1


def test_a_large_message_is_read_while_it_comes(mount, big, proxy):
    user, content = big
    line = proxy(bits_per_s=80e6)
    tree = mount(user, keys={"port": line.port})
    with open(path_of_big(tree), "rb", buffering=0) as file:
        assert file.read(4096) == content[:4096]
        assert line.counters.bytes_down < BIG_BYTES // 2
        assert file.read(MIB) == content[4096:4096 + MIB]
    assert witness.read(path_of_big(tree)) == content


def test_a_large_message_cut_off_in_the_middle(mount, big, proxy):
    user, content = big
    line = proxy()
    tree = mount(user, keys={"port": line.port})
    path = path_of_big(tree)
    line.cut_all()
    for at in (2 * MIB, 9 * MIB, 20 * MIB):
        line.cut_next(after_bytes=at)
    found = witness.read_or_errno(path)
    assert found == content or found in LINE_ERRORS | {errno.EIO}
    assert witness.read(path) == content


# Memory

def read_mailbox(tree, readers):
    """Reads all with little memory of our own; returns (messages, bytes)."""
    def read_one(path):
        size = 0
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(MIB):
                size += len(piece)
        return size
    sizes = [size for messages in witness.read_tree(tree, read_one, readers).values() for size in messages.values()]
    return len(sizes), sum(sizes)


def bounded_memory(place, user, mount, messages, readers=4):
    total = mailboxes.fill_bulk(place.dovecot.maildir(user), messages, mean_bytes=MIB)
    try:
        tree = mount(user)
        assert read_mailbox(tree, readers) == (messages, total)
        assert peak_kb(tree.process) < MEMORY_LIMIT_KB
        assert tree.status()["cache"]["bytes"] <= 2 << 30
        tree.unmount()
    finally:
        place.dovecot.forget_mail(user)


@pytest.mark.plain
def test_memory_while_200_mb_are_read(place, fresh_user, mount):
    bounded_memory(place, fresh_user(), mount, 200)


@pytest.mark.plain
@pytest.mark.long
def test_memory_while_2_gb_are_read(place, fresh_user, mount):
    bounded_memory(place, fresh_user(), mount, 2_048)


@pytest.mark.plain
def test_memory_while_a_large_message_is_read(mount, big):
    user, content = big
    tree = mount(user)
    assert witness.read(path_of_big(tree)) == content
    assert peak_kb(tree.process) < MEMORY_LIMIT_KB


# Sudden ends

def test_killed_in_mid_read_and_mounted_again(mount, content, wait_for):
    tree = mount(sizes="exact")
    total = witness.count(content)
    stop = threading.Event()

    def read_on():
        while not stop.is_set():
            for messages in witness.paths(tree).values():
                for path in messages.values():
                    witness.read_or_errno(path)

    for share in (0.1, 0.5):
        stop.clear()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read_on) for _ in range(3)]
            wait_for(lambda: tree.status()["cache"]["messages"] > total * share, what="a part of the mailbox")
            kill(tree)
            stop.set()
            for reader in readers:
                # It saw its mount die.
                assert isinstance(reader.exception(), (OSError, type(None)))
        tree.start()
    witness.assert_same(content, witness.read_tree(tree, readers=4))
    tree.unmount()
    assert tree.home.run("cache", "work", "verify").returncode == 0
    witness.assert_same(content, witness.read_tree(tree.start()))


def test_killed_while_a_large_message_comes(mount, big, proxy, wait_for):
    user, content = big
    line = proxy(bits_per_s=160e6)
    tree = mount(user, keys={"port": line.port})
    path = path_of_big(tree)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(witness.read_or_errno, path)
        wait_for(lambda: line.counters.bytes_down > BIG_BYTES // 3, what="a third of the message")
        kill(tree)
        assert reading.result() != content
    tree.start()
    line.bits_per_s = None
    assert witness.read(path) == content


# Bad lines

@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_connections_cut_in_mid_literal(reset, mount, content, proxy):
    """Each round all connections end while nothing is asked, and the next one in the middle of something."""
    line = proxy()
    tree = mount(keys={"port": line.port}, noprefetch=True)
    jobs = [(folder, uid, path) for folder, messages in witness.paths(tree).items() for uid, path in messages.items()]
    share = -(-len(jobs) // len(CUT_AT))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number, after_bytes in enumerate(CUT_AT):
            line.cut_next(after_bytes=after_bytes, reset=reset)
            line.cut_all(reset=reset)
            part = jobs[number * share:(number + 1) * share]
            read = [(folder, uid, pool.submit(witness.read, path)) for folder, uid, path in part]
            assert [(folder, uid) for folder, uid, job in read if job.result() != content[folder][uid]] == []
    assert line.counters.connections > 2 * len(CUT_AT)


@pytest.mark.slow
def test_a_line_that_breaks_again_and_again(mount, content, proxy, wait_for):
    """Errors are allowed then, wrong bytes are not; all is well afterwards, without a remount."""
    line = proxy()
    tree = mount(keys={"port": line.port, "timeout": 5})
    found = witness.paths(tree)
    stop = threading.Event()

    def storm():
        while not stop.is_set():
            seen = line.counters.bytes_down
            try:
                wait_for(lambda: stop.is_set() or line.counters.bytes_down > seen + 200_000, what="bytes")
            except TimeoutError:
                return
            line.cut_all(reset=True)

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        storming = pool.submit(storm)
        jobs = {(folder, uid): pool.submit(witness.read_or_errno, path)
                for folder, messages in found.items() for uid, path in messages.items()}
        results = {key: job.result() for key, job in jobs.items()}
        stop.set()
        storming.result()
    for (folder, uid), result in results.items():
        assert result == content[folder][uid] or result in LINE_ERRORS, f"{folder}, UID {uid}: {result!r:.40}"
    wait_for(lambda: isinstance(witness.read_or_errno(found["INBOX"][1]), bytes), what="the line to be used again")
    witness.assert_same(content, witness.read_tree(tree, readers=2))


def test_a_server_that_hangs_up_at_once_is_not_hammered(mount, proxy, wait_for):
    line = proxy()
    tree = mount(keys={"port": line.port, "timeout": 4})
    for _ in range(1000):
        line.cut_next(after_bytes=1, reset=True)
    for _ in range(3):
        with pytest.raises(OSError) as failure:
            os.listdir(tree / "INBOX")
        assert failure.value.errno in LINE_ERRORS
    assert line.counters.connections < 40
