# SPDX-License-Identifier: GPL-2.0-or-later
"""Mixed work on a line that breaks at random, run after run, each from a seed that a failure prints.

What reads with success has the right SHA-256, nothing takes longer than its deadline, the mount recovers by itself
and keeps no descriptor. MAILTREE_TEST_SEED is where the seeds begin."""

import concurrent.futures
import errno
import hashlib
import io
import os
import random
import re
import subprocess
import tarfile
import time

import pytest
from lab import generator, mailboxes, net, rules
from lab.faults import KINDS_OF_LINES, Faults, Responses
from lab.maildir import Maildir, served_bytes
from probe import metric, uids, until_works
from witness import NAME, paths

SEED = int(os.environ.get("MAILTREE_TEST_SEED") or 0)
LANES = 5
MESSAGES = 12
TIMEOUT_S = 1
# One call: its own silence, that of what stood before it in the queue, and a connection that had to be made twice.
CALL_S = 4 * TIMEOUT_S + 4
RUN_S = 60
ALLOWED = {errno.ENETUNREACH, errno.ETIMEDOUT}
# A response that comes twice, or out of order, may be a server that can't deliver this message.
ALLOWED_OF_LIARS = ALLOWED | {errno.EIO}
# Connections, and the cache's files: it keeps 64 open, and a large message has one of its own.
FDS_OTHERS = 12
FDS_OF_CACHE = 64
LARGE_EVERY = 4


class Lane:
    """One mount, one line to the server, a folder for each run: nothing of it is cached yet."""

    def __init__(self, place, user, mount, proxy, runs, **proxy_options):
        self._store = Maildir(place.dovecot.maildir(user).root)
        self.folders = {f"run{number}": self._fill(number, f"run{number}") for number in range(runs)}
        self.line = proxy(**proxy_options)
        self.mounted = mount(user, keys={"port": self.line.port, "timeout": TIMEOUT_S})
        self.slowest_s = 0.0

    def _fill(self, number, folder):
        messages = [generator.make_bulk(number, index, 9_000) for index in range(1, MESSAGES)]
        if number % LARGE_EVERY == 0:
            messages.append(generator.make_big(1_300_000))
        return {uid: digest(served_bytes(message.content))
                for uid, message in mailboxes.fill_messages(self._store, folder, messages).items()}

    def call(self, function, *arguments):
        """Its result, or its errno; fails when it takes too long."""
        start = time.monotonic()
        try:
            return function(*arguments)
        except OSError as error:
            return error.errno
        finally:
            took = time.monotonic() - start
            self.slowest_s = max(self.slowest_s, took)
            assert took < CALL_S * net.SLOWNESS, f"{function.__name__}{arguments} took {took:.1f} s"

    def fds(self):
        return metric(self.mounted, "open_fds")


def digest(content):
    return hashlib.sha256(content).hexdigest()


def read_digest(path):
    with open(path, "rb", buffering=0) as file:
        return digest(file.readall())


def work_list(lane, folder, rng):
    found = lane.call(uids, lane.mounted / folder)
    if not isinstance(found, int):
        assert found.keys() == lane.folders[folder].keys(), "an incomplete listing"
        found = next((result for path in found.values() if isinstance(result := lane.call(os.stat, path), int)), found)
    return [found] if isinstance(found, int) else []


def work_read(lane, folder, rng):
    wanted = rng.sample(sorted(lane.folders[folder]), k=rng.randint(1, MESSAGES - 1))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda uid: lane.call(read_digest, lane.mounted / folder / f"{uid}.eml"), wanted))
    for uid, result in zip(wanted, results):
        assert isinstance(result, int) or result == lane.folders[folder][uid], f"{folder}, UID {uid} is wrong"
    return [result for result in results if isinstance(result, int)]


def work_tar(lane, folder, rng):
    result = subprocess.run(["tar", "-C", lane.mounted, "-cf", "-", folder], capture_output=True,
                            timeout=RUN_S * net.SLOWNESS, stdin=subprocess.DEVNULL)
    complaints = result.stderr.decode(errors="replace")
    if result.stdout:
        with tarfile.open(fileobj=io.BytesIO(result.stdout), mode="r:") as archive:
            for member in archive:
                name = os.path.basename(member.name)
                if member.isfile() and name not in complaints:
                    uid = int(NAME.fullmatch(name)[1])
                    assert digest(archive.extractfile(member).read()) == lane.folders[folder][uid], f"{folder}, UID {uid} is wrong"
    assert (result.returncode == 0) == (not complaints)
    told = {errno.ENETUNREACH: "Network is unreachable", errno.ETIMEDOUT: "Connection timed out", errno.EIO: "Input/output error"}
    lines = [line for line in complaints.splitlines() if not re.search(r"[Ee]xiting |padding with zeros", line)]
    return [next((number for number, text in told.items() if text in line), line) for line in lines]


WORK = [work_list, work_read, work_tar]


def one_run(lane, seed, folder, trouble, allowed):
    rng = random.Random(f"work/{seed}")
    faults = trouble(lane, seed)
    start = time.monotonic()
    errors = []
    try:
        for work in rng.sample(WORK, k=3):
            errors += work(lane, folder, rng)
        assert set(errors) <= allowed, errors
        assert time.monotonic() - start < RUN_S * net.SLOWNESS, "the run took too long"
        lane.line.faults = None
        found = until_works(paths, lane.mounted / folder)["."]
        assert {uid: until_works(read_digest, path, timeout_s=40) for uid, path in found.items()} == lane.folders[folder]
    except (AssertionError, TimeoutError, subprocess.TimeoutExpired) as error:
        raise AssertionError(f"seed {seed}: {error}; {faults}; {lane.mounted.errors()[-5:]}") from error
    return len(errors)


def run_lane(lane, seeds, trouble, allowed):
    failed = fds = 0
    for number, seed in enumerate(seeds):
        failed += one_run(lane, seed, f"run{number}", trouble, allowed)
        if number == 2:
            fds = lane.fds()
    allowed_fds = fds + FDS_OTHERS + min(FDS_OF_CACHE, len(lane.folders) // LARGE_EVERY)
    net.wait_until(lambda: lane.fds() <= allowed_fds, what=f"{lane.fds()} descriptors to be {allowed_fds}")
    return failed


def all_runs(lanes, runs, trouble, allowed=ALLOWED):
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
        seeds = [range(SEED + index * runs, SEED + (index + 1) * runs) for index in range(len(lanes))]
        results = [pool.submit(run_lane, lane, part, trouble, allowed) for lane, part in zip(lanes, seeds)]
        failed = sum(result.result() for result in results)
    print(f"{len(lanes) * runs} runs from seed {SEED}, {failed} calls failed, the slowest took "
          f"{max(lane.slowest_s for lane in lanes):.1f} s")
    assert failed, "the faults were felt"


def break_line(lane, seed, **options):
    lane.line.faults = faults = Faults(seed, stall_s=3 * TIMEOUT_S, **options)
    return faults.told


@pytest.fixture
def make_lanes(place, fresh_user, mount, proxy):
    def make(count, runs, **proxy_options):
        return [Lane(place, fresh_user(), mount, proxy, runs, **proxy_options) for _ in range(count)]
    return make


@pytest.mark.parametrize("runs", [8, pytest.param(160, marks=pytest.mark.long)])
@pytest.mark.slow
def test_a_line_with_faults_at_random(make_lanes, runs):
    """Cuts, silence, delays; bytes twice, in another order, changed: inside of TLS."""
    all_runs(make_lanes(LANES, runs), runs, break_line)


@pytest.mark.parametrize("runs", [5, pytest.param(100, marks=pytest.mark.long)])
def test_responses_twice_and_in_another_order(make_lanes, proxy_tls, runs):
    def shuffle(lane, seed):
        # The connections that come: those that stand are ended.
        lane.line.responses = lambda number: Responses(seed, number)
        lane.line.cut_all()
        return break_line(lane, seed, kinds=KINDS_OF_LINES) if seed % 2 else "no faults of the line"

    lanes = make_lanes(2, runs, tls=proxy_tls, rules=[rules.Rule()])
    all_runs(lanes, runs, shuffle, ALLOWED_OF_LIARS)
