# SPDX-License-Identifier: GPL-2.0-or-later
"""What the server tells of the folder in use shows by itself; and servers that end, lie or say nothing while they are listened to."""

import dataclasses
import itertools
import os
import subprocess
import threading
import time

import pytest
from lab import generator, mailboxes, maildir, net, rules
from lab.imapmodel import Model, as_message
from lab.maildir import served_bytes
from lab.place import quote
from lab.scripted import CAPABILITIES
from probe import failure, uids, within
from witness import read

# `poll` never comes in these tests.
LONG_S = 36_000
# What the promise of "about a second" may take on a machine that does other things, too.
SHOWS_S = 4
DELIVERIES = itertools.count(1)


def text(number):
    return b"From: Ada <ada@engine.example>\r\nSubject: watched %d\r\n\r\n%d\r\n" % (number, number)


def until_watched(mounted, folder="INBOX"):
    net.wait_until(lambda: mounted.status()["watching"] == folder, what=f"{folder} to be watched")


def until_stat(path, wanted, timeout_s=SHOWS_S):
    """A name comes or goes, without any directory being opened."""
    net.wait_until(lambda: failure(os.stat, path) == wanted, timeout_s, f"{path} to be {wanted or 'there'}")


def assert_calm(mounted):
    assert mounted.status()["last_error"] is None and mounted.errors() == []


@pytest.fixture
def box(place, fresh_user):
    """A mailbox with 6 messages and a second client on it."""
    class Box:
        def __init__(self):
            self.user = fresh_user()
            messages = [generator.make_message(1, number) for number in range(1, 7)]
            mailboxes.fill_messages(place.dovecot.maildir(self.user), "INBOX", messages)
            self.content = {uid: served_bytes(message.content) for uid, message in enumerate(messages, 1)}
            self.client = place.imap(self.user)
            self.client.select("INBOX")

        def deliver(self, content, folder="INBOX"):
            inbox = place.dovecot.maildir(self.user).path(folder) / maildir.DIRNAME
            maildir.Folder.add_new(inbox, content, 1_700_000_000, next(DELIVERIES))

        def expunge(self, chosen):
            self.client.uid("STORE", chosen, "+FLAGS", "(\\Deleted)")
            self.client.expunge()
    made = Box()
    yield made
    # Not LOGOUT: the server may have been restarted.
    made.client.shutdown()


# Changes

def test_messages_come_and_go_without_a_directory_being_opened(mount, box):
    mounted = mount(box.user, poll=LONG_S)
    listed = uids(mounted / "INBOX")
    inode = os.stat(listed[2]).st_ino
    until_watched(mounted)
    box.deliver(text(7))
    until_stat(mounted / "INBOX" / "7.eml", None)
    assert sorted(uids(mounted / "INBOX")) == [1, 2, 3, 4, 5, 6, 7]
    assert read(mounted / "INBOX" / "7.eml") == text(7)
    changed = os.stat(mounted / "INBOX").st_mtime
    box.expunge("2")
    until_stat(listed[2], "ENOENT")
    until_stat(mounted / "INBOX" / "2.eml", "ENOENT")
    assert failure(open, listed[2]) == "ENOENT"
    assert sorted(uids(mounted / "INBOX")) == [1, 3, 4, 5, 6, 7]
    assert inode not in [os.stat(path).st_ino for path in uids(mounted / "INBOX").values()]
    assert os.stat(mounted / "INBOX").st_mtime >= changed
    assert_calm(mounted)


def test_flags_change(mount, box):
    mounted = mount(box.user, poll=LONG_S, xattr=True)
    path = uids(mounted / "INBOX")[4]
    until_watched(mounted)
    box.client.uid("STORE", "4", "FLAGS", "(\\Flagged \\Answered)")
    net.wait_until(lambda: set(os.getxattr(path, "user.mail.flags").split()) == {b"\\Flagged", b"\\Answered"}, SHOWS_S, "the flags")
    box.client.uid("STORE", "4", "-FLAGS", "(\\Answered)")
    net.wait_until(lambda: os.getxattr(path, "user.mail.flags") == b"\\Flagged", SHOWS_S, "the flag to go")


def test_flags_change_on_a_server_without_change_numbers(mount, box, proxy, proxy_tls):
    hidden = {"CONDSTORE", "QRESYNC", "ENABLE", "NOTIFY"}
    line = proxy(tls=proxy_tls, rules=[rules.HideCapabilities(hidden)])
    mounted = mount(box.user, keys={"port": line.port}, poll=LONG_S, xattr=True)
    path = uids(mounted / "INBOX")[4]
    until_watched(mounted)
    box.client.uid("STORE", "4", "FLAGS", "(\\Flagged)")
    net.wait_until(lambda: os.getxattr(path, "user.mail.flags") == b"\\Flagged", SHOWS_S, "the flags")


class NumbersLost(rules.Rule):
    """From some time on mailboxes have no change numbers any more, and don't say so: Dovecot's, once numbered anew."""

    def __init__(self):
        self.now = False

    def drop(self, _session, text):
        return self.now and text.startswith(b"* OK [HIGHESTMODSEQ")


def test_flags_change_where_the_change_numbers_are_lost(mount, box, proxy, proxy_tls):
    lost = NumbersLost()
    line = proxy(tls=proxy_tls, rules=[rules.HideCapabilities({"QRESYNC"}), lost])
    mounted = mount(box.user, keys={"port": line.port}, poll=LONG_S, xattr=True)
    path = uids(mounted / "INBOX")[4]
    until_watched(mounted)
    lost.now = True
    box.client.uid("STORE", "4", "FLAGS", "(\\Flagged)")
    net.wait_until(lambda: os.getxattr(path, "user.mail.flags") == b"\\Flagged", SHOWS_S, "the flags")


def test_the_folder_used_last_is_the_one_that_is_watched(mount, box):
    box.client.create("Other")
    mounted = mount(box.user, poll=LONG_S)
    os.listdir(mounted / "INBOX")
    until_watched(mounted)
    os.listdir(mounted / "Other")
    until_watched(mounted, "Other")
    box.client.append("Other", None, None, text(1))
    until_stat(mounted / "Other" / "1.eml", None)
    # What changes elsewhere meanwhile is found when it is looked at again: its state is told as soon as it is watched.
    box.deliver(text(7))
    read(uids(mounted / "INBOX")[1])
    until_stat(mounted / "INBOX" / "7.eml", None)


def test_what_changed_before_it_was_watched_shows_too(mount, box):
    mounted = mount(box.user, poll=LONG_S)
    assert len(uids(mounted / "INBOX")) == 6
    box.deliver(text(7))
    until_stat(mounted / "INBOX" / "7.eml", None)


def test_a_reader_goes_on_with_what_is_expunged(mount, place, box):
    big = generator.make_big(3 << 20)
    box.client.append("INBOX", None, None, big.content)
    expected = place.fetch_all(place.imap(box.user), "INBOX")[7]
    mounted = mount(box.user, poll=LONG_S)
    path = uids(mounted / "INBOX")[7]
    assert read(path) == expected
    until_watched(mounted)
    with open(path, "rb", buffering=0) as file:
        found = file.read(1_000)
        box.client.select("INBOX")
        box.expunge("7")
        until_stat(path, "ENOENT")
        # What the kernel has of it, and what is cached, serve this reader to the end.
        while piece := file.read(1 << 20):
            found += piece
    assert found == expected


PERL = r"""
opendir(D, $ARGV[0]) or die; $| = 1;
while (defined(my $line = <STDIN>)) {
    my ($word, $number) = split ' ', $line;
    if ($word eq 'read') { for (1 .. $number) { my $p = telldir D; my $n = readdir D; last unless defined $n; print "$p $n\n" } }
    else { seekdir(D, $number) }
    print "\n";
}
"""


def test_an_open_directory_neither_repeats_nor_skips_what_stayed(mount, place, fresh_user):
    """So many that the C library asks for the directory in many pieces."""
    user, count = fresh_user(), 3_000
    mailboxes.fill_bulk(place.dovecot.maildir(user), count, mean_bytes=300)
    mounted = mount(user, poll=LONG_S)
    client = place.imap(user)
    client.select("INBOX")
    os.listdir(mounted / "INBOX")
    until_watched(mounted)
    with subprocess.Popen(["perl", "-e", PERL, mounted / "INBOX"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        def say(word, number):
            child.stdin.write(f"{word} {number}\n")
            child.stdin.flush()
            lines = []
            while line := child.stdout.readline().rstrip("\n"):
                lines.append(line.split(" ", 1))
            return [(int(position), int(name.rsplit(".", 2)[-2])) for position, name in lines if name.endswith(".eml")]

        listed = say("read", 500)
        client.uid("STORE", "100:120,490:520,2000:2200", "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.append("INBOX", None, None, text(1))
        until_stat(mounted / "INBOX" / f"{count + 1}.eml", None)
        until_stat(mounted / "INBOX" / "2100.eml", "ENOENT")
        listed += say("read", 1_000)
        # Back to where it has been, in what is now another listing.
        again, position = listed[700:], listed[700][0]
        client.uid("STORE", "900", "+FLAGS", "(\\Deleted)")
        client.expunge()
        until_stat(mounted / "INBOX" / "900.eml", "ENOENT")
        listed += say("read", 2 * count)
        say("seek", position)
        repeated = say("read", 2 * count)
        child.stdin.close()
    found = [uid for _, uid in listed]
    assert len(set(found)) == len(found), "repeated"
    removed = {*range(100, 121), *range(490, 521), *range(2_000, 2_201), 900}
    assert set(range(1, count + 1)) - removed <= set(found)
    assert [uid for _, uid in repeated if uid <= count] == [
        uid for uid in range(again[0][1], count + 1) if uid not in removed]
    client.logout()


def test_folders_come_and_go_with_poll(mount, place, box):
    mounted = mount(box.user, poll=1)
    assert "Нова" not in os.listdir(mounted) and failure(os.stat, mounted / "Нова") == "ENOENT"
    box.client.create(quote("Нова"))
    net.wait_until(lambda: "Нова" in os.listdir(mounted), what="the new folder")
    box.client.append(quote("Нова"), None, None, text(1))
    net.wait_until(lambda: 1 in uids(mounted / "Нова"), what="its message")
    box.client.rename(quote("Нова"), quote("Стара"))
    net.wait_until(lambda: {"Стара"} == {"Нова", "Стара"} & set(os.listdir(mounted)), what="the new name")
    until_gone(mounted / "Нова")
    assert list(uids(mounted / "Стара")) == [1]
    box.client.delete(quote("Стара"))
    net.wait_until(lambda: "Стара" not in os.listdir(mounted), what="the folder to go")
    until_gone(mounted / "Стара")


def until_gone(path):
    """The kernel is told a moment after a listing shows it."""
    net.wait_until(lambda: failure(os.stat, path) == "ENOENT", what=f"{path} to go")


def test_a_folder_made_anew_under_an_old_name(mount, box):
    """It is the same directory to the kernel, and not a dead one."""
    box.client.create("Again/Below")
    box.client.append("Again/Below", None, None, text(1))
    mounted = mount(box.user, poll=LONG_S)
    assert list(uids(mounted / "Again" / "Below")) == [1]
    handles = [os.open(mounted / path, os.O_RDONLY) for path in ("Again", "Again/Below")]
    try:
        for name in ("Again/Below", "Again"):
            box.client.delete(name)
        mounted.refresh()
        assert failure(os.stat, mounted / "Again") == "ENOENT"
        box.client.create("Again/Below")
        box.client.append("Again/Below", None, None, text(2))
        mounted.refresh()
        assert os.listdir(mounted / "Again") == ["Below"]
        assert [read(path) for path in uids(mounted / "Again" / "Below").values()] == [text(2)]
    finally:
        for handle in handles:
            os.close(handle)


def test_renumbered_while_it_is_watched(mount, place, box):
    mounted = mount(box.user, poll=LONG_S)
    before = uids(mounted / "INBOX")
    assert read(before[1]) == box.content[1]
    inodes = {os.stat(path).st_ino for path in before.values()}
    until_watched(mounted)
    place.dovecot.doveadm("mailbox", "update", "-u", box.user, "--uid-validity", "777777", "INBOX")
    # Dovecot doesn't tell who idles before something comes up there.
    box.deliver(text(7))
    net.wait_until(lambda: not inodes & {os.stat(path).st_ino for path in uids(mounted / "INBOX").values()}, what="other inodes")
    assert {uid: read(path) for uid, path in uids(mounted / "INBOX").items()} == box.content | {7: text(7)}


# Connections

def test_one_connection_does_for_all(mount, box, proxy):
    line = proxy()
    mounted = mount(box.user, keys={"port": line.port, "connections": 1}, poll=LONG_S, noprefetch=True)
    paths = uids(mounted / "INBOX")
    for uid in (1, 4, 6):
        until_watched(mounted)
        with within(2):
            assert read(paths[uid]) == box.content[uid]
    until_watched(mounted)
    box.deliver(text(7))
    until_stat(mounted / "INBOX" / "7.eml", None)
    assert line.counters.most_connections == 1 and mounted.status()["counters"]["reconnects"] == 0


def test_no_more_connections_than_allowed(mount, box, proxy):
    line = proxy()
    mounted = mount(box.user, keys={"port": line.port, "connections": 2}, poll=LONG_S)
    paths = uids(mounted / "INBOX")
    until_watched(mounted)
    assert {uid: read(path) for uid, path in paths.items()} == box.content
    assert mounted.status()["watching"] == "INBOX", "nobody had to call it back"
    assert line.counters.most_connections == 2


def test_a_lost_connection_is_nobodys_error(mount, box, proxy):
    line = proxy()
    mounted = mount(box.user, keys={"port": line.port}, poll=LONG_S)
    os.listdir(mounted / "INBOX")
    for uid, reset in ((7, False), (8, True)):
        until_watched(mounted)
        line.refuse()
        line.cut_all(reset)
        net.wait_until(lambda: mounted.status()["watching"] is None, what="the loss to be noticed")
        box.deliver(text(uid))
        line.listen()
        until_stat(mounted / "INBOX" / f"{uid}.eml", None, 20)
        assert_calm(mounted)


def test_the_kernel_asks_whether_anybody_is_there(mount, box, proxy):
    """Who idles sends nothing for minutes: only TCP's keepalive finds out that the network has forgotten the connection."""
    line = proxy()
    mounted = mount(box.user, keys={"port": line.port}, poll=LONG_S)
    os.listdir(mounted / "INBOX")
    until_watched(mounted)

    def timers():
        """[(which, in how many seconds)] of the mount's connections; 2 is keepalive"""
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [row.split() for row in table][1:]
        found = [row[5].split(":") for row in rows if int(row[2].split(":")[1], 16) == line.port]
        return [(int(timer), int(when, 16) / os.sysconf("SC_CLK_TCK")) for timer, when in found]
    net.wait_until(lambda: (found := timers()) and all(timer == 2 and seconds <= 60 for timer, seconds in found), 5, "keepalive")


def test_the_server_is_restarted(place, mount, box):
    mounted = mount(box.user, poll=LONG_S)
    os.listdir(mounted / "INBOX")
    until_watched(mounted)
    place.dovecot.restart()
    box.deliver(text(7))
    until_stat(mounted / "INBOX" / "7.eml", None, 20)
    assert_calm(mounted)


def test_a_mount_that_nobody_has_used_connects_nowhere(mount, box, proxy):
    line = proxy()
    mounted = mount(box.user, keys={"port": line.port})
    time.sleep(1.5)
    assert line.counters.connections == 0 and mounted.status()["watching"] is None
    mounted.remount(offline=True)
    failure(os.listdir, mounted / "INBOX")
    time.sleep(1)
    assert line.counters.connections == 0


# Servers that behave badly while they are listened to

class Idling:
    """A handler of IDLE: what it sends after "+", and whether it then waits for DONE."""

    def __init__(self, sends, ends="done"):
        self.sends, self.ends = sends, ends
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, session, command):
        session.send(b"+ idling\r\n")
        self.begun.set()
        self.go.wait(60)
        session.send(self.sends)
        if self.ends == "close":
            session.close()
        elif self.ends == "silent":
            session.silent()
        elif session.read_line().strip().upper() == b"DONE":
            session.send(session.done(command))


@pytest.fixture
def idling(scripted, mount):
    """idling(handler, …) → (server, mount): INBOX is listed, and the first handler's IDLE has begun."""
    def do(*handlers, options=None, **keys):
        server = scripted(Model({"INBOX": [text(number) for number in range(1, 6)]}), {"IDLE": [*handlers, None]},
                          capabilities=CAPABILITIES + " IDLE")
        mounted = mount(text=server.account("work", **keys), **{"poll": LONG_S, "noprefetch": True} | (options or {}))
        assert len(uids(mounted / "INBOX")) == 5
        assert handlers[0].begun.wait(20 * net.SLOWNESS)
        return server, mounted
    return do


def remove(server, uid):
    del server.model.folders["INBOX"].messages[uid]


BAD_ENDS = {
    "BYE": (b"* BYE Connection is closed. 13\r\n", "close"),
    "token": (b"* BYE Session invalidated - AccessTokenExpired\r\n", "close"),
    "close": (b"", "close"),
    "half a line": (b"* 4 EXPU", "close"),
    "half a literal": (b"* 1 FETCH (UID 1 BODY[] {1000}\r\nhalf", "close"),
    "garbage": (b"\x00\xff* 99999999999 EXISTS\r\n)(\r\n* 1 FETCH (UID 0)\r\n", "done"),
    "a foreign tag": (b"zzz OK done\r\n", "done"),
    "another UIDVALIDITY": (b"* OK [UIDVALIDITY 5] now\r\n", "done"),
}


def test_an_expunge_is_told(idling):
    handler = Idling(b"* 2 EXPUNGE\r\n* OK Still here\r\n* 0 RECENT\r\n")
    server, mounted = idling(handler)
    path = uids(mounted / "INBOX")[2]
    remove(server, 2)
    handler.go.set()
    until_stat(path, "ENOENT")
    assert sorted(uids(mounted / "INBOX")) == [1, 3, 4, 5]


def flag(server, uid):
    messages = server.model.folders["INBOX"].messages
    messages[uid] = dataclasses.replace(messages[uid], flags="F")


def test_flags_of_what_is_new_to_the_session_that_tells(idling):
    """It was listed by another session, and its flags changed before this one told that it has come."""
    handler = Idling(b"* 6 EXISTS\r\n")
    server, mounted = idling(handler, options={"xattr": True})
    server.model.folders["INBOX"].add(as_message(6, text(6)))
    mounted.refresh()
    path = uids(mounted / "INBOX")[6]
    assert os.getxattr(path, "user.mail.flags") == b""
    flag(server, 6)
    before = len(server.lines)
    handler.go.set()
    net.wait_until(lambda: os.getxattr(path, "user.mail.flags") == b"\\Flagged", SHOWS_S, "the flags")
    asked = [line.split(None, 1)[1] for line in server.lines[before:] if b"FLAGS" in line]
    assert asked == [b"UID FETCH 6:* (UID FLAGS)"], "not those of the whole folder"


@pytest.mark.long
def test_flags_that_changed_while_nobody_listened(idling):
    """No change numbers: `poll` it is, once."""
    handler = Idling(b"", "close")
    server, mounted = idling(handler, options={"xattr": True, "poll": 1})
    path = uids(mounted / "INBOX")[3]
    handler.go.set()
    net.wait_until(lambda: mounted.status()["watching"] is None, what="the end of the first IDLE")
    flag(server, 3)
    until_watched(mounted)
    net.wait_until(lambda: os.getxattr(path, "user.mail.flags") == b"\\Flagged", 45, "the flags")


@pytest.mark.parametrize("end", BAD_ENDS)
def test_a_bad_end_is_made_good(idling, end):
    handler = Idling(*BAD_ENDS[end])
    server, mounted = idling(handler)
    paths = uids(mounted / "INBOX")
    remove(server, 2)
    server.model.folders["INBOX"].add(as_message(6, text(6)))
    handler.go.set()
    until_stat(paths[2], "ENOENT", 20)
    until_stat(mounted / "INBOX" / "6.eml", None)
    assert read(mounted / "INBOX" / "6.eml") == text(6) and read(paths[1]) == text(1)
    assert_calm(mounted)
    until_watched(mounted)


def test_a_server_that_doesnt_let_go(idling):
    """It never answers DONE, and there is no other connection: who reads is served by a new one."""
    handler = Idling(b"", "silent")
    server, mounted = idling(handler, connections=1, timeout=6)
    handler.go.set()
    with within(5):
        assert read(uids(mounted / "INBOX")[1]) == text(1)
    assert_calm(mounted)


def test_a_server_that_tells_without_end(idling):
    handler = Idling(b"* 4 EXISTS\r\n* 5 EXISTS\r\n" * 50_000)
    server, mounted = idling(handler)
    handler.go.set()
    time.sleep(3)
    assert sum(line.split()[1:2] == [b"EXAMINE"] for line in server.lines) < 10
    with within(2):
        assert read(uids(mounted / "INBOX")[1]) == text(1)


def test_a_server_that_refuses(scripted, mount):
    server = scripted(Model({"INBOX": [text(1)]}), {"IDLE": b"{tag} BAD Command Error. 12\r\n"}, capabilities=CAPABILITIES + " IDLE")
    mounted = mount(text=server.account("work"), poll=LONG_S)
    path = uids(mounted / "INBOX")[1]
    net.wait_until(lambda: any(b"IDLE" in line for line in server.lines), what="IDLE")
    time.sleep(1)
    assert sum(b"IDLE" in line for line in server.lines) == 1 and mounted.status()["watching"] is None
    assert read(path) == text(1)
    assert_calm(mounted)


def test_unmounting_doesnt_wait_for_it(idling):
    _, mounted = idling(Idling(b"", "silent"))
    with within(3):
        mounted.unmount()
    assert not mounted.is_mounted
