# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to the server fails in every way that we know: the errno within its deadline, right bytes or none, one clear
line, and all is well again when the cause is gone, without a remount."""

import errno
import os
import re
import signal
import threading
import time

import pytest
from lab import generator, mailboxes, net, rules, scripted as scripts
from lab.imapmodel import Message, Model
from lab.maildir import Maildir, served_bytes
from probe import Blocked, error_lines, failure, uids, until_works, within
from witness import assert_same, read, read_or_errno, read_tree

DATE = 1_700_000_000
TIMEOUT_S = 2
# What a wait may take beyond its deadline.
SLACK_S = 2.5
# A connection that was idle for so long and is silent then is suspected before `timeout`.
DOUBT_S = 5


def mails(count, size=0):
    return {uid: Message("plain", b"From: Ada <ada@engine.example>\r\nSubject: mail %d\r\n\r\n%b\r\n" % (uid, b"%d " % uid * (size // 4)),
                         DATE + uid * 60) for uid in range(1, count + 1)}


def bodies(messages):
    return {uid: message.content for uid, message in messages.items()}


@pytest.fixture
def filled(place, fresh_user):
    def do(count=30):
        user = fresh_user()
        messages = [generator.make_message(1, number) for number in range(1, count + 1)]
        mailboxes.fill_messages(Maildir(place.dovecot.maildir(user).root), "INBOX", messages)
        return user, {uid: served_bytes(message.content) for uid, message in enumerate(messages, 1)}
    return do


# Nobody there

def test_no_server(mount, filled, proxy, home):
    user, expected = filled()
    line = proxy()
    line.refuse()
    mounted = mount(user, keys={"port": line.port})
    with within(SLACK_S):
        assert failure(os.listdir, mounted) == "ENETUNREACH"
    status = mounted.status()
    assert status["state"] == "unreachable" and status["last_error"]["kind"] == "unreachable"
    assert str(line.port) in status["last_error"]["text"] or "127.0.0.1" in status["last_error"]["text"]
    assert len(error_lines(mounted, r" unreachable: ")) == 1 == home.log().count("warning: ")
    line.listen()
    assert_same({"INBOX": expected}, until_works(read_tree, mounted))
    status = mounted.status()
    assert status["state"] == "connected"


def test_a_name_that_isnt_there(mount):
    mounted = mount(keys={"host": "nowhere.invalid"})
    with within(10):
        assert failure(os.listdir, mounted) == "ENETUNREACH"
    assert "nowhere.invalid" in mounted.status()["last_error"]["text"]


def test_the_server_goes_away_and_comes_back(mount, filled, proxy):
    user, expected = filled()
    line = proxy()
    mounted = mount(user, keys={"port": line.port}, noprefetch=True)
    paths = uids(mounted / "INBOX")
    assert read(paths[1]) == expected[1]
    for reset in (False, True):
        line.refuse()
        line.cut_all(reset)
        uid = 2 + 2 * reset
        with within(10):
            assert failure(read, paths[uid]) == "ENETUNREACH"
        assert read(paths[1]) == expected[1] and len(os.listdir(mounted / "INBOX")) == len(expected)
        line.listen()
        assert until_works(read, paths[uid]) == expected[uid]


def test_dovecot_is_restarted(place, mount, filled):
    user, expected = filled()
    mounted = mount(user, noprefetch=True)
    paths = uids(mounted / "INBOX")
    assert read(paths[1]) == expected[1]
    place.dovecot.restart()
    assert read(paths[2]) == expected[2], "a lost connection is replaced without a word"
    assert_same({"INBOX": expected}, read_tree(mounted))


# Silence

SILENT_AT = ["greeting", "CAPABILITY", "AUTHENTICATE", "NAMESPACE", "LIST", "EXAMINE", "UID FETCH"]


@pytest.mark.parametrize("where", SILENT_AT)
def test_a_silent_server(scripted, mount, home, where):
    server = scripted(Model({"INBOX": mails(3)}), {where: scripts.silent})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    with within(TIMEOUT_S + SLACK_S, at_least=TIMEOUT_S - 0.5):
        assert failure(os.listdir, mounted / "INBOX") == "ETIMEDOUT"
    assert mounted.status()["last_error"]["kind"] == "timeout"
    assert 1 <= len(error_lines(mounted, " timeout: ")) <= 2
    server.handlers.clear()
    assert_same({"INBOX": bodies(mails(3))}, until_works(read_tree, mounted))


@pytest.mark.parametrize("sizes", ["auto", "trust"])
def test_a_server_silent_about_bodies(scripted, mount, sizes):
    server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": scripts.for_bodies(scripts.silent)})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S), sizes=sizes)
    path = uids(mounted / "INBOX")[1]
    with within(TIMEOUT_S + SLACK_S, at_least=TIMEOUT_S - 0.5):
        assert failure(read, path) == "ETIMEDOUT"
    server.handlers.clear()
    assert until_works(read, path) == mails(3)[1].content


def test_a_server_that_falls_silent_in_a_body(scripted, mount):
    def half(session, command):
        session.send(b"* 1 FETCH (UID 1 BODY[] {1000}\r\nSubject: half\r\n\r\n")
        session.silent()
    server = scripted(Model({"INBOX": mails(1)}), {"UID FETCH": scripts.for_bodies(half)})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    path = uids(mounted / "INBOX")[1]
    with within(4 * TIMEOUT_S + SLACK_S, at_least=TIMEOUT_S - 0.5):
        assert failure(read, path) == "ETIMEDOUT"
    server.handlers.clear()
    assert until_works(read, path) == mails(1)[1].content


def test_a_port_that_never_speaks_tls(scripted, mount):
    server = scripted(greeting=b"", handlers={"greeting": scripts.silent})
    mounted = mount(text=server.account("work", tls="implicit", timeout=TIMEOUT_S))
    with within(TIMEOUT_S + SLACK_S, at_least=TIMEOUT_S - 0.5):
        assert failure(os.listdir, mounted) == "ENETUNREACH", "no connection was ever had"


def test_a_line_that_stalls_and_resumes(mount, filled, proxy):
    user, expected = filled()
    line = proxy()
    mounted = mount(user, keys={"port": line.port, "timeout": TIMEOUT_S}, noprefetch=True)
    paths = uids(mounted / "INBOX")
    assert read(paths[1]) == expected[1]
    line.stall()
    with within(TIMEOUT_S / 3 + TIMEOUT_S + SLACK_S):
        # The latter where the machine was so busy that the connection had been idle for DOUBT_S: then a new one is tried
        # after a third of the time, for all of it.
        assert failure(read, paths[2]) in ("ETIMEDOUT", "ENETUNREACH")
    line.resume()
    assert until_works(read, paths[2]) == expected[2]
    assert_same({"INBOX": expected}, read_tree(mounted))


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "just used"])
def test_connections_that_are_dead_without_a_word(mount, filled, proxy, idle):
    """The address is another one now, or the network has forgotten them: no answer, and no end either. New ones are fine."""
    user, expected = filled()
    line = proxy()
    mounted = mount(user, keys={"port": line.port, "timeout": TIMEOUT_S * 3}, noprefetch=True)
    paths = uids(mounted / "INBOX")
    assert read(paths[1]) == expected[1]
    net.wait_until(lambda: mounted.status()["watching"] == "INBOX", what="a second connection that idles")
    if idle:
        time.sleep(DOUBT_S + 0.2)
        line.lose_all()
        with within(TIMEOUT_S + 1.5, at_least=TIMEOUT_S - 0.5):
            assert read(paths[2]) == expected[2]
        assert mounted.status()["last_error"] is None and mounted.errors() == []
    else:
        line.lose_all()
        with within(TIMEOUT_S * 3 + SLACK_S, at_least=TIMEOUT_S * 3 - 0.5):
            assert failure(read, paths[2]) == "ETIMEDOUT"
    with within(1.5):
        assert read(paths[3]) == expected[3]
    assert_same({"INBOX": expected}, read_tree(mounted))


def test_a_slow_body_isnt_silence(scripted, mount):
    """It takes longer than `timeout`, but never stops."""
    content = b"From: a@b.example\r\nSubject: slow\r\n\r\n" + b"0123456789abcdef" * 1_000

    def slowly(session, command):
        session.send(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % len(content))
        for start in range(0, len(content), 1_000):
            session.send(content[start:start + 1_000])
            time.sleep(0.25)
        session.send(b")\r\n" + session.done(command))
    server = scripted(Model({"INBOX": [content]}), {"UID FETCH": scripts.for_bodies(slowly)})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    with within(20, at_least=TIMEOUT_S):
        assert read(uids(mounted / "INBOX")[1]) == content


@pytest.mark.long
def test_a_trickle_is_silence(scripted, mount):
    def trickle(session, command):
        session.send(b"* 1 FETCH (UID 1 BODY[] {100000}\r\n")
        while True:
            session.send(b"x")
            time.sleep(0.5)
    server = scripted(Model({"INBOX": mails(1)}), {"UID FETCH": scripts.for_bodies(trickle)})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    with within(240):
        assert failure(read, uids(mounted / "INBOX")[1]) == "ETIMEDOUT"


# Cut lines

@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_line_cut_anywhere_is_made_good(mount, filled, proxy, reset):
    user, expected = filled()
    line = proxy()
    for after in (0, 100, 1_500, 4_000, 6_000, 9_000, 15_000, 40_000):
        line.cut_next(after, reset)
    mounted = mount(user, keys={"port": line.port, "connections": 1})
    assert_same({"INBOX": expected}, until_works(read_tree, mounted))


def test_a_server_that_says_goodbye_in_a_body(scripted, mount):
    def goodbye(session, command):
        content = session.selected.messages[1].content
        session.send(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b\r\n* BYE Connection closed. 14\r\n" % (len(content), content[:10]))
        session.close()
    server = scripted(Model({"INBOX": mails(4, size=400)}), {"UID FETCH": [None, goodbye, None]})
    mounted = mount(text=server.account("work", timeout=5))
    assert_same({"INBOX": bodies(mails(4, size=400))}, read_tree(mounted))


def test_a_big_body_cut_in_its_middle_goes_on(place, mount, proxy, fresh_user):
    user = fresh_user()
    big = generator.make_big(5 << 20)
    mailboxes.fill_messages(place.dovecot.maildir(user), "INBOX", [big])
    line = proxy()
    mounted = mount(user, keys={"port": line.port, "connections": 1})
    path = uids(mounted / "INBOX")[1]
    line.cut_all()
    for after in (1 << 20, 3 << 20):
        line.cut_next(after)
    assert read(path) == big.content


@pytest.mark.parametrize("difference", [-3, 3, 1_000])
def test_a_wrong_length_is_never_read_as_a_message(scripted, mount, difference):
    server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": scripts.wrong_literal(difference)})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    path = uids(mounted / "INBOX")[1]
    with within(8 * TIMEOUT_S):
        assert failure(read, path) in ("EIO", "ETIMEDOUT", "ENETUNREACH")
    assert error_lines(mounted, "INBOX")


def test_byte_by_byte(scripted, mount):
    messages = mails(4, size=400)
    server = scripted(Model({"INBOX": messages, "Архів": messages}), split=1)
    mounted = mount(text=server.account("work"))
    assert_same({"INBOX": bodies(messages), "Архів": bodies(messages)}, read_tree(mounted))


@pytest.mark.parametrize("where", ["greeting", "CAPABILITY", "LIST", "EXAMINE", "UID FETCH"])
@pytest.mark.slow
def test_an_endless_line(scripted, mount, where):
    server = scripted(Model({"INBOX": mails(3)}), {where: scripts.endless_line})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    with within(20):
        assert failure(os.listdir, mounted / "INBOX") in ("EIO", "ENETUNREACH")
    server.handlers.clear()
    assert_same({"INBOX": bodies(mails(3))}, until_works(read_tree, mounted))


def test_unasked_data_at_any_point(scripted, mount):
    def noisy(session, command):
        session.send(b"* 3 FETCH (FLAGS (\\Seen))\r\n* OK [ALERT] maintenance at noon\r\n* 2 RECENT\r\n* 4 EXISTS\r\n* FLAGS (\\Seen)\r\n")
        session.answer(command)
    server = scripted(Model({"INBOX": mails(4)}), {"UID FETCH": noisy, "LIST": noisy, "EXAMINE": noisy})
    mounted = mount(text=server.account("work"))
    assert_same({"INBOX": bodies(mails(4))}, read_tree(mounted))


# Limits of servers

def test_a_pause_that_the_server_asks_for(scripted, mount):
    server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": [None, scripts.THROTTLED, None]})
    mounted = mount(text=server.account("work", timeout=5))
    path = uids(mounted / "INBOX")[1]
    with within(10, at_least=0.4):
        assert read(path) == mails(3)[1].content
    assert mounted.status()["counters"]["throttled"] == 1


def test_a_pause_longer_than_throttle_wait(scripted, mount):
    handler = scripts.for_bodies(b"{tag} BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds\r\n")
    server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": handler})
    mounted = mount(text=server.account("work", throttle_wait=1))
    path = uids(mounted / "INBOX")[1]
    with within(SLACK_S):
        assert failure(read, path) == "ETIMEDOUT"
    assert mounted.status()["state"] == "throttled"
    server.handlers.clear()
    assert until_works(read, path) == mails(3)[1].content


LIMITED = {
    "one command at a time": lambda: [rules.DepthLimit(1)],
    "short commands": lambda: [rules.CommandLimit(1_000)],
    "one connection": lambda: [rules.ConnectionLimit(1)],
    "one connection, told in the greeting": lambda: [rules.ConnectionLimit(1, b"BYE Too many simultaneous connections")],
    "few bodies a connection": lambda: [rules.CloseAfter(7)],
    "throttled twice": lambda: [rules.Throttle(after=10, backoff_ms=400, times=2)],
    "throttled, with a goodbye": lambda: [rules.Throttle(after=12, backoff_ms=400, bye=True)],
    "Exchange": lambda: rules.exchange_like(connections=2, throttle_ms=300, throttle_after=15),
    "no extensions": lambda: [rules.HideCapabilities({"CONDSTORE", "QRESYNC", "ESEARCH", "LIST-*", "ENABLE", "NAMESPACE", "SASL-IR", "ID",
                                                      "LITERAL*", "UNSELECT", "IDLE", "SPECIAL-USE", "NOTIFY", "BINARY", "MOVE"})],
}


@pytest.mark.parametrize("limit", LIMITED)
def test_a_limited_server(mount, filled, proxy, proxy_tls, limit):
    user, expected = filled(80)
    line = proxy(tls=proxy_tls, rules=LIMITED[limit]())
    mounted = mount(user, keys={"port": line.port})
    assert_same({"INBOX": expected}, read_tree(mounted, readers=3))
    assert not error_lines(mounted, r"UID \d"), "no message was blamed"


# The mount's own end

def test_the_mount_ends_while_programs_wait(scripted, mount):
    server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": scripts.for_bodies(scripts.silent)})
    mounted = mount(text=server.account("work", timeout=600))
    path = uids(mounted / "INBOX")[1]
    with Blocked("cat", path, ready=lambda: any(b"BODY.PEEK[]" in line for line in server.lines)) as child:
        mounted.process.send_signal(signal.SIGTERM)
        assert child.process.wait(10 * net.SLOWNESS) != 0
        assert mounted.process.wait(10 * net.SLOWNESS) == 0
    net.wait_until(lambda: not mounted.is_mounted, 5, "the mount to be gone")


def test_a_killed_mount_is_cleared_away_and_loses_nothing(mount, filled):
    user, expected = filled()
    mounted = mount(user)
    assert_same({"INBOX": expected}, read_tree(mounted))
    net.wait_until(lambda: mounted.status()["cache"]["messages"] == len(expected), what="the cache")
    mounted.process.kill()
    mounted.process.wait()
    assert failure(os.listdir, mounted) in ("ENOTCONN", "ECONNABORTED")
    result = mounted.home.run("umount", mounted)
    assert result.returncode == 0, result.stderr
    mounted.process = None
    mounted.start()
    fetched = mounted.status()["counters"]["bodies_fetched"]
    assert_same({"INBOX": expected}, read_tree(mounted))
    assert mounted.status()["counters"]["bodies_fetched"] == fetched, "what was in the cache still is"


def test_many_readers_of_a_failing_server(mount, filled, proxy):
    """Faults come and go while eight threads read: each read gives the right bytes or an errno of the contract."""
    user, expected = filled(60)
    line = proxy()
    mounted = mount(user, keys={"port": line.port, "timeout": TIMEOUT_S})
    paths = uids(mounted / "INBOX")
    ended = threading.Event()

    def trouble():
        while not ended.wait(0.15):
            line.cut_all(reset=True)
    troubling = threading.Thread(target=trouble)
    troubling.start()
    try:
        found = read_tree(mounted, read_or_errno, readers=8)["INBOX"]
    finally:
        ended.set()
        troubling.join()
    assert {content for content in found.values() if isinstance(content, int)} <= {errno.ENETUNREACH, errno.ETIMEDOUT, errno.EIO}
    assert all(content == expected[uid] for uid, content in found.items() if isinstance(content, bytes))
    assert not error_lines(mounted, r" broken: ")
    assert {uid: until_works(read, path) for uid, path in paths.items()} == expected


def test_a_failure_is_told_once_and_clearly(mount, filled, proxy, home):
    user, _ = filled()
    line = proxy()
    line.refuse()
    mounted = mount(user, keys={"port": line.port})
    for _ in range(30):
        assert failure(os.listdir, mounted / "INBOX") == "ENETUNREACH"
    lines = [text for text in home.log().splitlines() if "warning" in text]
    assert 1 <= len(lines) <= 5 and len(mounted.errors()) <= 5, "not a line for each program that asks"
    assert all(re.match(r"mailtree: warning: .+: .+", text) for text in lines)
