# SPDX-License-Identifier: GPL-2.0-or-later
"""`mailtree warm`, and the limits on what is fetched: bwlimit and daily_bytes."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import time

import pytest

from lab import generator, rules
from lab.maildir import Maildir, served_bytes
from lab.place import OLENA

DONE = re.compile(r"^(\d+) messages \(.*\) are cached; (\d+) \(.*\) were fetched in [\d:]+$", re.MULTILINE)


@pytest.fixture
def filled(place, fresh_user):
    """filled(count) → (address, {uid: bytes} of INBOX)."""
    def do(count):
        user = fresh_user()
        messages = [generator.make_message(11, number) for number in range(1, count + 1)]
        with Maildir(place.dovecot.maildir(user).root).folder("INBOX") as box:
            return user, {box.add(one.content, one.internal_date, one.flags): served_bytes(one.content)
                          for one in messages}
    return do


@pytest.fixture
def counted(place, home, proxy, proxy_tls):
    """counted(user, *rules, **keys): the account `work` behind a proxy; returns the count of what was sent."""
    def do(user, *more, **keys):
        count = rules.Count()
        line = proxy(tls=proxy_tls, rules=[*more, count])
        home.set_account("work", place.account("work", user, port=line.port, **keys))
        return count
    return do


@contextlib.contextmanager
def mounted(home, **options):
    mount = home.mount("work", **options)
    yield mount
    mount.unmount()


def numbers(result):
    assert result.returncode == 0, result.stderr
    cached, fetched = DONE.search(result.stdout).groups()
    return int(cached), int(fetched)


def assert_readable(mount, expected):
    for name in os.listdir(mount / "INBOX"):
        assert (mount / "INBOX" / name).read_bytes() == expected[int(name.split(".")[-2])]


def test_fills_the_cache_alone_and_then_fetches_nothing(home, counted, filled):
    user, expected = filled(300)
    count = counted(user)
    assert numbers(home.run("warm", "work")) == (300, 300)
    assert sum(count.bodies.values()) == 300 and max(count.bodies.values()) == 1
    assert count.commands["UID FETCH"] < 60, "in bulk, not one by one"
    assert numbers(home.run("warm", "work")) == (300, 0)
    with mounted(home, offline=True) as mount:
        assert_readable(mount, expected)
    assert sum(count.bodies.values()) == 300


def test_through_a_mount(home, counted, filled):
    user, expected = filled(120)
    count = counted(user)
    with mounted(home) as mount:
        assert numbers(home.run("warm", "work")) == (120, 120)
        assert mount.status()["counters"]["bodies_fetched"] == 120
        assert_readable(mount, expected)
        assert numbers(home.run("warm", "work", "INBOX")) == (120, 0)
    assert sum(count.bodies.values()) == 120


def test_of_chosen_folders(home, place, truth):
    home.set_account("work", place.account("work", OLENA))
    folders = [name for name in truth if name == "Projects" or name.startswith("Projects/")]
    count = sum(len(truth[name]) for name in folders)
    assert count and numbers(home.run("warm", "work", "Projects")) == (count, count)
    result = home.run("warm", "work", "Nowhere")
    assert result.returncode != 0 and "Nowhere" in result.stderr


def test_is_interrupted_and_goes_on(home, counted, filled, wait_for):
    user, _ = filled(400)
    counted(user, bwlimit="400K")
    process = subprocess.Popen([str(home.binary), "warm", "work"], env=home.environment(), cwd=home.path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # What the server has sent may still be on its way.
    wait_for(lambda: int(re.search(r"messages +(\d+)", home.run("cache", "work", "stats").stdout)[1]) > 60)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0
    cached, fetched = numbers(home.run("warm", "work", timeout_s=120))
    assert cached == 400 and fetched < 400, "what had come wasn't fetched again"


def test_a_bar_on_a_terminal(home, counted, filled):
    user, _ = filled(200)
    counted(user, bwlimit="600K")
    master, slave = pty.openpty()
    process = subprocess.Popen([str(home.binary), "warm", "work"], env=home.environment(TERM="xterm"), cwd=home.path,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    assert process.wait(30) == 0
    assert DONE.search(process.stdout.read().decode())
    process.stdout.close()
    text = seen.decode()
    assert re.search(r"\r\[#*\.*\] \d+ of 200 messages, .* of .*, .*/s, [\d:-]+ left", text), text[-300:]


def test_a_message_that_fails_is_told_at_the_end(home, counted, filled):
    user, _ = filled(50)
    counted(user, rules.OmitBodies({7}))
    result = home.run("warm", "work")
    assert result.returncode == 1
    assert "1 messages couldn't be fetched" in result.stderr
    assert DONE.search(result.stdout).groups() == ("49", "49")


@pytest.mark.plain
def test_bwlimit_holds(home, counted, filled):
    user, expected = filled(200)
    counted(user, bwlimit="300K")
    size = sum(map(len, expected.values()))
    began = time.monotonic()
    assert numbers(home.run("warm", "work", timeout_s=120)) == (200, 200)
    took = time.monotonic() - began
    # A second's worth may come at once.
    assert took > size / (300 * 1024) - 1.5, f"{size} octets in {took:.1f} s"


def test_daily_bytes_hold_over_a_remount(home, counted, filled):
    user, expected = filled(100)
    limit = sum(map(len, expected.values())) // 3
    count = counted(user, daily_bytes=limit)
    result = home.run("warm", "work")
    assert result.returncode != 0 and "fetched today" in result.stderr
    sent = sum(len(expected[uid]) for (_, uid), times in count.bodies.items() for _ in range(times))
    assert 0 < sent <= limit
    with mounted(home) as mount:
        refused = 0
        for name in os.listdir(mount / "INBOX"):
            try:
                (mount / "INBOX" / name).read_bytes()
            except OSError as error:
                assert error.errno == 122, error
                refused += 1
        assert refused > 20
