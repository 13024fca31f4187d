# SPDX-License-Identifier: GPL-2.0-or-later
"""Tokens that end while mail is read: renewed in time, once, and never lost; readers notice nothing."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import time

import pytest
from lab import mailboxes, maildir, rules
from lab.leaks import find_leaks
from persons import sign_in, token_file

LIFE_S = 3
# Renewed after 80 % of the life.
RENEWAL_S = LIFE_S * 0.8


def refreshes(place):
    return place.authority.counters().get("token:refresh_token", 0)


def all_files(mount, truth):
    """[(path, bytes)] of every message in the folders that are called as on the server."""
    return [(mount / folder / f"{uid}.eml", maildir.served_bytes(message.content))
            for folder, messages in sorted(truth.items()) if (mount / folder).is_dir()
            for uid, message in sorted(messages.items())]


def read_everything(files, threads=8):
    """How many were read; fails at the first that is wrong or can't be read."""
    def check(item):
        path, expected = item
        assert path.read_bytes() == expected, path
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return sum(1 for _ in pool.map(check, files))


@pytest.fixture
def person(home, place):
    """Signed in as Olena; person(**keys) changes the account's keys."""
    def do(**keys):
        home.set_account("work", place.person_account("work", **keys))
    do()
    sign_in(home)
    return do


def expire(home):
    """The stored access token has ended."""
    file = token_file(home)
    tokens = json.loads(file.read_text())
    tokens["access_issued_at"] = tokens["access_expires_at"] = 1
    file.write_text(json.dumps(tokens))


@pytest.mark.plain
@pytest.mark.slow
def test_two_thousand_messages_with_tokens_of_three_seconds(home, place, truth, person, proxy, proxy_tls):
    """Sessions end with their tokens, in the middle of whatever they do; two mounts share the tokens."""
    lifetime = rules.SessionLifetime(LIFE_S)
    total = sum(len(message.content) for messages in truth.values() for message in messages.values())
    line = proxy(tls=proxy_tls, rules=[lifetime], bits_per_s=total * 8 * 2 / 12)
    person(port=line.port, timeout=60)
    place.authority.set_lifetime(LIFE_S)
    expire(home)
    mounts = [home.mount("work", cache_dir=home.path / "cache" / str(number)) for number in range(2)]
    before, start = refreshes(place), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda mount: read_everything(all_files(mount, truth)), mounts))
    took = time.monotonic() - start
    assert min(counts) >= mailboxes.MANY
    assert lifetime.ended >= 3, "it was long enough to mean something"
    for mount in mounts:
        assert [line for line in mount.errors() if "sign" in line] == []
    assert place.authority.sign_ins.most_uses() == 1, "each refresh token was shown once"
    assert place.authority.sign_ins.counters["reused"] == 0
    assert refreshes(place) - before <= took / RENEWAL_S + 2, "and not by each mount, or each connection"


def test_however_many_ask_one_refresh(home, place, person):
    expire(home)
    before = refreshes(place)
    place.authority.set_delay(0.3)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tokens = {result.stdout for result in pool.map(lambda _: home.run("token", "work", check=True), range(8))}
    assert len(tokens) == 1 and refreshes(place) == before + 1


@pytest.mark.parametrize("threads", [1, 8])
def test_token_revoked_in_mid_session(home, place, truth, person, proxy, threads):
    """Every connection finds out by itself, several of them by being refused."""
    line = proxy()
    person(port=line.port)
    mount = home.mount("work", noprefetch=threads == 1)
    files = all_files(mount, {"INBOX": dict(list(truth["INBOX"].items())[:90])})
    read_everything(files[:30], threads)
    before = refreshes(place)
    for number, part in enumerate((files[30:60], files[60:]), 1):
        place.authority.revoke_all()
        line.cut_all()
        read_everything(part, threads)
        if threads == 1:
            assert refreshes(place) == before + number
    assert place.authority.sign_ins.most_uses() <= 1


def test_authority_down_the_token_serves_to_its_end(home, place, truth, person, proxy, wait_for):
    line = proxy()
    person(port=line.port, timeout=5)
    place.authority.set_lifetime(6)
    expire(home)
    mount = home.mount("work", noprefetch=True)
    files = all_files(mount, {"INBOX": dict(list(truth["INBOX"].items())[:60])})
    read_everything(files[:5], 1)
    born = time.monotonic()
    place.authority.set_fault("503")
    wait_for(lambda: time.monotonic() - born > 4.9, what="the time when it should be renewed")
    line.cut_all()
    read_everything(files[5:10], 1)
    assert place.authority.counters().get("fault:503"), "renewing was tried"
    wait_for(lambda: time.monotonic() - born > 6.5, what="the end of the token")
    line.cut_all()
    with pytest.raises(OSError) as caught:
        read_everything(files[10:15], 1)
    assert caught.value.errno in (13, 101)
    assert "HTTP 503" in mount.status()["last_error"]["text"] or "90033" in mount.status()["last_error"]["text"]
    place.authority.set_fault(None)

    def works():
        try:
            return read_everything(files[15:20], 1)
        except OSError:
            return False
    assert wait_for(works, what="recovery without anybody's help") == 5


def test_sign_in_that_was_revoked(home, place, truth, person, wait_for):
    """The refresh token is good no more: a person is told, once, and commands end with status 3."""
    notes = home.path / "notes"
    person(notify_command=f'printf "%s\\n" "$1" >> {notes}; exit 0;')
    expire(home)
    place.authority.sign_ins.revoke_all()
    mount = home.mount("work")
    for _ in range(3):
        with pytest.raises(PermissionError):
            os.listdir(mount / "INBOX")
    error = mount.status()["last_error"]
    assert "AADSTS50173" in error["text"] and error["hint"] == "run `mailtree login work`"
    wait_for(notes.exists, what="notify_command")
    result = home.run("ls", "work")
    assert result.returncode == 3
    sign_in(home)
    assert os.listdir(mount / "INBOX")
    assert len(notes.read_text().splitlines()) == 1


@pytest.mark.parametrize("skew_s", [-400, 400])
def test_clocks_that_differ(mount, place, truth, skew_s):
    """What counts is how long a token lives, not what its claims or clocks say."""
    place.authority.clock_skew_s = skew_s
    place.authority.set_lifetime(300)
    before = place.authority.counters().get("token", 0)
    point = mount()
    for folder in ("INBOX", "Sent"):
        os.listdir(point / folder)
    assert place.authority.counters()["token"] == before + 1


# No refresh token is lost

def killed_at(home, syscalls, number):
    """Whether `mailtree token` was killed at its number-th call of these, during a refresh."""
    expire(home)
    trace = home.path / "trace"
    result = subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={syscalls}", "-e", f"inject={syscalls}:signal=KILL:when={number}",
         home.binary, "token", "work"], env=home.environment(), capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    was_killed = "INJECTED" in trace.read_text() or "killed by SIGKILL" in trace.read_text()
    assert (result.returncode == 0) != was_killed, result.stderr
    return was_killed


def still_signed_in(home):
    expire(home)
    result = home.run("token", "work")
    assert result.returncode == 0, result.stderr
    return True


@pytest.mark.plain
@pytest.mark.parametrize("syscalls", [
    "flock,unlink,fsync,rename,pwrite64,write,close", "socket,connect,sendto,recvfrom,poll,openat"], ids=["store", "network"])
@pytest.mark.slow
def test_kill_at_any_point_of_a_refresh(home, place, person, syscalls):
    """An authority as usual: the old refresh token is good until its successor is used."""
    file = token_file(home)
    kills = 0
    while killed_at(home, syscalls, kills + 1):
        kills += 1
        assert still_signed_in(home)
    # Calls are counted by each thread, and the one that refreshes has the most of them.
    assert kills >= 8
    assert place.authority.sign_ins.counters["reused"] == 0
    assert sorted(path.name for path in file.parent.iterdir()) == ["work.lock", "work.token"]


@pytest.mark.plain
@pytest.mark.parametrize("syscall, number", [("fsync", 1), ("rename", 1), ("fsync", 2)])
def test_kill_between_writing_and_replacing(home, place, person, syscall, number):
    """An authority that takes a refresh token once: what was written counts, though it wasn't in place yet."""
    place.authority.sign_ins.rotation = "strict"
    assert killed_at(home, syscall, number)
    assert still_signed_in(home)
    assert place.authority.sign_ins.counters["reused"] == 0


def test_disk_that_takes_no_token(home, place, truth, person, proxy, wait_for):
    """The process goes on with what it has in memory, and stores it when it can."""
    place.authority.sign_ins.rotation = "strict"
    place.authority.set_lifetime(2)
    expire(home)
    line = proxy()
    person(port=line.port)
    mount = home.mount("work", noprefetch=True)
    files = all_files(mount, {"INBOX": dict(list(truth["INBOX"].items())[:40])})
    read_everything(files[:5], 1)
    folder = token_file(home).parent
    folder.chmod(0o500)
    try:
        for part in (files[5:10], files[10:15], files[15:20]):
            before = refreshes(place)
            wait_for(lambda: token_ended(mount), what="the token's end")
            line.cut_all()
            read_everything(part, 1)
            assert refreshes(place) > before
        assert "can't be stored" in home.log()
    finally:
        folder.chmod(0o700)
    wait_for(lambda: token_ended(mount), what="the token's end")
    line.cut_all()
    read_everything(files[20:25], 1)
    mount.unmount()
    assert still_signed_in(home)


def token_ended(mount):
    return not mount.status()["token_expires"]


# Secrets

def test_secrets_stay_where_they_belong(home, place, truth, person):
    mount = home.mount("work", debug=True)
    assert os.listdir(mount / "INBOX")
    secrets = home.secrets()
    assert len(secrets) > 5
    for path in home.path.rglob("*"):
        if path.is_file() and not path.is_relative_to(mount.path):
            leaks = find_leaks(path.read_bytes(), secrets)
            assert not leaks or (path == token_file(home) and path.stat().st_mode & 0o077 == 0), (path, leaks)
    limits = pathlib.Path(f"/proc/{mount.process.pid}/limits").read_text()
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core")] == ["0"]
