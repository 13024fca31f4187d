# SPDX-License-Identifier: GPL-2.0-or-later
"""Every promise of docs/semantics.md: a class a heading, named by it."""

import concurrent.futures
import dataclasses
import errno
import itertools
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import sys
import tarfile
import threading

import pytest
from lab import generator, mailboxes, maildir, rules, scripted as scripts
from lab.imapmodel import Folder, Message, Model
from lab.maildir import Maildir, served_bytes
from lab.place import OLENA
from persons import sign_in
from probe import Blocked, error_lines, failure, snapshot, uids, until_works, within
from witness import assert_same, mount_path, paths, read, read_or_errno, read_tree, served, tool

SEMANTICS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "semantics.md"
DATE = 1_700_000_000
DELIVERIES = itertools.count(1)


def class_name(heading):
    words = re.sub(r"['’]", "", heading)
    return "Test" + "".join(word[0].upper() + word[1:] for word in re.findall(r"\w+", words))


def test_every_heading_has_its_tests():
    headings = re.findall(r"^## (.+)$", SEMANTICS.read_text(), re.MULTILINE)
    assert headings
    classes = [name for name, value in globals().items() if isinstance(value, type) and name.startswith("Test")]
    assert classes == [class_name(heading) for heading in headings]
    for name in classes:
        assert any(test.startswith("test_") for test in vars(globals()[name])), f"{name} tests nothing"


def mail(uid, text="text", size=0):
    head = b"From: Ada <ada@engine.example>\r\nSubject: mail %d\r\n\r\n%s\r\n" % (uid, text.encode())
    return Message("plain", head + b"x" * max(0, size - len(head)), DATE + uid * 60)


def mails(count, text="text", size=0):
    return {uid: mail(uid, text, size) for uid in range(1, count + 1)}


def deliver(place, user, content):
    inbox = place.dovecot.maildir(user).path("INBOX") / maildir.DIRNAME
    maildir.Folder.add_new(inbox, content, DATE, next(DELIVERIES))


def bodies(messages):
    return {uid: served_bytes(message.content) for uid, message in messages.items()}


@pytest.fixture(scope="module")
def shared(module_home, place, truth):
    """OLENA's mailbox for the tests that only look at it."""
    module_home.set_account("work", place.account("work"))
    return module_home.mount("work")


@pytest.fixture
def filled(place, fresh_user):
    """filled(count=30) → (address, {uid: bytes} of its INBOX)."""
    def do(count=30, uidvalidity=None, seed=1):
        user = fresh_user()
        messages = [generator.make_message(seed, number) for number in range(1, count + 1)]
        with Maildir(place.dovecot.maildir(user).root).folder("INBOX", uidvalidity) as box:
            found = {box.add(message.content, message.internal_date, message.flags): message for message in messages}
        return user, bodies(found)
    return do


@pytest.fixture
def through(proxy, proxy_tls):
    """A proxy with these rules in front of Dovecot."""
    def do(*chosen, **options):
        return proxy(tls=proxy_tls, rules=list(chosen), **options)
    return do


class TestMountingNeedsNoNetwork:
    def test_it_opens_no_connection_and_asks_for_no_token(self, place, mount, proxy):
        line = proxy()
        before = place.authority.counters().get("token", 0)
        mounted = mount(keys={"port": line.port})
        assert stat.S_ISDIR(os.stat(mounted).st_mode)
        status = mounted.status()
        assert (status["state"], status["connections"], status["signed_in"]) == ("idle", 0, False)
        assert (line.counters.connections, place.authority.counters().get("token", 0)) == (0, before)
        assert "INBOX" in os.listdir(mounted)
        assert line.counters.connections > 0 and place.authority.counters()["token"] == before + 1
        assert mounted.status()["signed_in"]

    @pytest.mark.parametrize("daemon", [False, True])
    def test_nobody_needs_to_be_there(self, mount, proxy, daemon):
        line = proxy()
        line.refuse()
        mounted = mount(keys={"port": line.port, "authority": f"http://127.0.0.1:{line.port}"}, daemon=daemon)
        assert mounted.is_mounted and failure(os.listdir, mounted) == "ENETUNREACH"

    def test_dot_files_that_shells_look_for_dont_wake_the_network(self, scripted, mount):
        server = scripted()
        mounted = mount(text=server.account("work"))
        for name in (".git", ".hidden", ".Trash-1000", ".xdg-volume-info"):
            assert failure(os.stat, mounted / name) == "ENOENT"
        assert server.connections == 0


class TestReadingChangesNothing:
    def test_flags_recent_and_files_are_as_before(self, place, mount, fresh_user):
        user = fresh_user()
        store = place.dovecot.maildir(user)
        truth = mailboxes.fill(store, 150)
        deliver(place, user, mail(1).content)
        folders = [name for name, messages in truth.items() if messages]
        client = place.imap(user)
        before = {name: place.flags(client, name) for name in folders}
        client.logout()
        files = files_below(store.root)

        mounted = mount(user, xattr=True)
        found = read_tree(mounted, readers=4)
        assert sum(map(len, found.values())) == sum(map(len, truth.values())) + 1
        tool("grep", "-rc", "needle", mounted, statuses=(0, 1))

        client = place.imap(user)
        assert {name: place.flags(client, name) for name in folders} == before
        assert files_below(store.root) == files
        client.select("INBOX")
        assert client.response("RECENT")[1] == [b"1"], "the new message is still new"

    def test_only_reading_commands_are_sent(self, place, mount, filled, through):
        user, expected = filled()
        count = rules.Count()
        mounted = mount(user, keys={"port": through(count).port}, xattr=True)
        for path in paths(mounted)["INBOX"].values():
            os.getxattr(path, "user.mail.flags")
            read(path)
        mounted.refresh()
        reading = {"CAPABILITY", "NAMESPACE", "ID", "ENABLE", "LIST", "EXAMINE", "UID FETCH", "UID SEARCH", "STATUS", "NOOP",
                   "IDLE", "UNSELECT", "LOGOUT", "AUTHENTICATE", "GETQUOTAROOT", "COMPRESS"}
        assert set(count.commands) <= reading
        assert {"EXAMINE", "UID FETCH"} <= set(count.commands)
        assert not [line for line in count.lines if re.search(rb"\bBODY\[|\bRFC822\b(?!\.SIZE)", line)]

    WRITES = {
        "create": lambda mount, path: os.open(mount / "INBOX" / "new.eml", os.O_CREAT | os.O_WRONLY),
        "create by exclusion": lambda mount, path: os.open(mount / "x", os.O_CREAT | os.O_EXCL | os.O_RDWR),
        "open for writing": lambda mount, path: os.open(path, os.O_WRONLY),
        "open for both": lambda mount, path: os.open(path, os.O_RDWR),
        "open and truncate": lambda mount, path: os.open(path, os.O_WRONLY | os.O_TRUNC),
        "append": lambda mount, path: os.open(path, os.O_WRONLY | os.O_APPEND),
        "truncate": lambda mount, path: os.truncate(path, 0),
        "unlink": lambda mount, path: os.unlink(path),
        "rename": lambda mount, path: os.rename(path, mount / "INBOX" / "other.eml"),
        "rename a folder": lambda mount, path: os.rename(mount / "Архів", mount / "Other"),
        "mkdir": lambda mount, path: os.mkdir(mount / "New"),
        "rmdir": lambda mount, path: os.rmdir(mount / "Empty"),
        "symlink": lambda mount, path: os.symlink("a", mount / "INBOX" / "link"),
        "link": lambda mount, path: os.link(path, mount / "INBOX" / "link"),
        "mkfifo": lambda mount, path: os.mkfifo(mount / "INBOX" / "fifo"),
        "chmod": lambda mount, path: os.chmod(path, 0o600),
        "chown": lambda mount, path: os.chown(path, os.getuid(), os.getgid()),
        "utime": lambda mount, path: os.utime(path),
        "setxattr": lambda mount, path: os.setxattr(path, "user.mail.flags", b"\\Seen"),
        "removexattr": lambda mount, path: os.removexattr(path, "user.mail.flags"),
    }

    @pytest.mark.parametrize("operation", WRITES)
    def test_every_change_is_erofs(self, shared, operation):
        path = uids(shared / "INBOX")[1]
        assert failure(self.WRITES[operation], shared, path) == "EROFS"


def files_below(root):
    """Messages' files by their very names, flags included."""
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file() and path.parent.name in ("cur", "new"))


class TestAFilesBytesAreTheMessagesOctets:
    def test_of_every_message(self, place, shared, truth):
        expected = served(place.imap(), truth)
        generated = {mount_path(folder): bodies(messages) for folder, messages in truth.items()}
        assert expected == generated, "the witness itself"
        expected = {folder: messages for folder, messages in expected.items() if messages}
        assert sum(map(len, expected.values())) >= mailboxes.MANY
        assert_same(expected, read_tree(shared, readers=2))

    def test_of_a_server_without_extensions(self, goimap, mount):
        expected = {mount_path(folder): messages for folder, messages in goimap.truth.items() if messages}
        found = read_tree(mount(text=goimap.account("work")), read_or_errno, readers=2)
        # It has messages that it gives to nobody: to the witness neither.
        given = {folder: {uid: content for uid, content in messages.items() if uid in expected.get(folder, {}) or
                          content != errno.EIO} for folder, messages in found.items()}
        assert_same(expected, given)

    def test_of_raw_nuls_and_whatever_else_a_literal_can_hold(self, scripted, mount):
        contents = [b"", b"\0", b"\0" * 5_000, b"\r", b"\n", b"\r\r\n\n", bytes(range(256)) * 40, b"A" * 131_072, b"B" * 131_073,
                    b")\r\n* BYE x\r\nA1 OK done\r\n"]
        server = scripted(Model({"INBOX": contents}))
        mounted = mount(text=server.account("work"))
        assert_same({"INBOX": dict(enumerate(contents, 1))}, read_tree(mounted))

    def test_with_line_feeds(self, place, mount, fresh_user):
        user = fresh_user()
        truth = mailboxes.fill_odd(place.dovecot.maildir(user))
        expected = {"Odd": {uid: content.replace(b"\r\n", b"\n") for uid, content in bodies(truth).items()}}
        mounted = mount(user, eol="lf")
        sized = {uid: read_with_size(path) for uid, path in uids(mounted / "Odd").items()}
        assert_same(expected, {"Odd": {uid: content for uid, (content, _) in sized.items()}})
        assert all(len(content) == size for content, size in sized.values())
        assert {uid: os.stat(path).st_size for uid, path in uids(mounted / "Odd").items()} == {
            uid: len(content) for uid, content in expected["Odd"].items()}

    @pytest.mark.parametrize("eol", ["crlf", "lf"])
    def test_of_30_megabytes(self, place, mount, fresh_user, eol):
        user = fresh_user()
        big = generator.make_big(30 << 20)
        mailboxes.fill_messages(place.dovecot.maildir(user), "INBOX", [big])
        expected = big.content if eol == "crlf" else big.content.replace(b"\r\n", b"\n")
        path = uids(mount(user, eol=eol) / "INBOX")[1]
        assert read(path) == expected and os.stat(path).st_size == len(expected)
        with open(path, "rb", buffering=0) as file:
            for offset in (len(expected) - 7, 12_345_678, 0, len(expected) // 2):
                assert os.pread(file.fileno(), 100_001, offset) == expected[offset:offset + 100_001]

    def test_a_read_is_short_only_at_the_end(self, shared, truth):
        uid = max(truth["INBOX"], key=lambda uid: len(truth["INBOX"][uid].content))
        expected = served_bytes(truth["INBOX"][uid].content)
        size = len(expected)
        with open(uids(shared / "INBOX")[uid], "rb", buffering=0) as file:
            for offset, length in ((0, size), (0, size + 1), (size - 1, 100), (size, 1), (size + 10_000, 5), (4_095, 2), (1, size)):
                assert os.pread(file.fileno(), length, offset) == expected[offset:offset + length]

    def test_mapped(self, shared, truth):
        program = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sys.stdout.buffer.write(m)"
        path = uids(shared / "Projects" / "Alpha")[1]
        assert tool(sys.executable, "-c", program, path) == served_bytes(truth["Projects/Alpha"][1].content)


def read_with_size(path):
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        return file.readall(), size


class TestAListingIsCompleteOrItFails:
    def test_nothing_cached_and_nobody_there(self, mount, proxy):
        line = proxy()
        line.refuse()
        mounted = mount(keys={"port": line.port})
        assert [failure(os.listdir, mounted / name) for name in (".", "INBOX", "Projects/Alpha")] == ["ENETUNREACH"] * 3
        assert [failure(os.stat, mounted / name) for name in ("INBOX", "nope", "5.eml")] == ["ENETUNREACH"] * 3
        with os.scandir(os.path.join(mounted, ".mailtree")):
            pass
        line.listen()
        assert "INBOX" in until_works(os.listdir, mounted)

    def test_a_listing_that_breaks_off(self, scripted, mount):
        def half(session, command):
            if command.wants_bodies():
                session.answer(command)
                return
            chosen, items = command.arguments.split(None, 1)
            for number, uid in session.selected.choose(chosen, True)[:5]:
                session.send(session.selected.fetch_line(number, uid, items, True))
            session.close()
        server = scripted(Model({"INBOX": mails(10)}), {"UID FETCH": half})
        mounted = mount(text=server.account("work"))
        assert failure(os.listdir, mounted / "INBOX") == "ENETUNREACH"
        assert failure(os.stat, mounted / "INBOX" / "3.eml") == "ENETUNREACH", "it is unknown, not missing"
        mounted.remount()
        assert failure(os.listdir, mounted / "INBOX") == "ENETUNREACH", "half a listing wasn't kept as a whole one"
        server.handlers.clear()
        assert sorted(uids(mounted / "INBOX")) == list(range(1, 11)) or sorted(
            until_works(uids, mounted / "INBOX")) == list(range(1, 11))

    @pytest.mark.parametrize("command", ["LIST", "EXAMINE", "UID FETCH"])
    @pytest.mark.parametrize("answer", [b"{tag} NO [SERVERBUG] Internal error\r\n", b"{tag} BAD Command Error. 10\r\n"])
    def test_a_refusal_is_an_error(self, scripted, mount, command, answer):
        server = scripted(Model({"INBOX": mails(5)}), {command: answer})
        mounted = mount(text=server.account("work"), keys={"timeout": 5})
        assert failure(os.listdir, mounted / "INBOX") == "EIO"
        assert mounted.status()["last_error"]["text"]
        server.handlers.clear()
        assert len(until_works(os.listdir, mounted / "INBOX")) == 5

    def test_what_was_listed_is_shown_while_the_server_is_away(self, place, mount, proxy, fresh_user):
        user = fresh_user()
        truth = mailboxes.fill(place.dovecot.maildir(user), 80, with_odd=False)
        line = proxy()
        mounted = mount(user, keys={"port": line.port})
        os.listdir(mounted)
        names = set(os.listdir(mounted / "INBOX"))
        assert {uid for uid in truth["INBOX"]} == set(uids(mounted / "INBOX"))
        inodes = {name: os.stat(mounted / "INBOX" / name).st_ino for name in names}
        cached = uids(mounted / "INBOX")[2]
        assert read(cached) == served_bytes(truth["INBOX"][2].content)
        line.refuse()
        line.cut_all()
        mounted.remount()
        assert set(os.listdir(mounted / "INBOX")) == names
        assert {name: os.stat(mounted / "INBOX" / name).st_ino for name in names} == inodes
        assert read(cached) == served_bytes(truth["INBOX"][2].content)
        assert failure(read, uids(mounted / "INBOX")[3]) == "ENETUNREACH"
        assert failure(os.listdir, mounted / "Sent") == "ENETUNREACH", "it was never listed"
        assert mounted.status()["last_error"]["kind"] == "unreachable"

        mounted.remount(stale=0)
        assert failure(os.listdir, mounted) == failure(os.listdir, mounted / "INBOX") == "ENETUNREACH"
        line.listen()
        assert set(until_works(os.listdir, mounted / "INBOX")) >= names

    def test_offline_shows_what_is_cached_and_fails_at_once_for_the_rest(self, mount, filled, proxy):
        user, expected = filled()
        line = proxy()
        mounted = mount(user, keys={"port": line.port}, noprefetch=True)
        read(uids(mounted / "INBOX")[1])
        mounted.unmount()
        connections = line.counters.connections
        mounted.remount(offline=True)
        with within(2):
            assert read(uids(mounted / "INBOX")[1]) == expected[1]
            assert failure(read, uids(mounted / "INBOX")[2]) == "ENETUNREACH"
        assert line.counters.connections == connections
        assert mounted.status()["state"] == "offline"
        mounted.unmount()
        mounted.home.wipe_cache()
        mounted.start()
        assert failure(os.listdir, mounted) == failure(os.listdir, mounted / "INBOX") == "ENETUNREACH"

    def test_a_listing_goes_on_where_it_was(self, mount, scripted):
        """telldir and seekdir over a folder that changes: what stayed is neither repeated nor skipped."""
        folder = Folder(b"INBOX", mails(3_000))
        server = scripted(Model({"INBOX": folder}))
        mounted = mount(text=server.account("work"))
        expected = set(os.listdir(mounted / "INBOX"))
        assert len(expected) == 3_000
        found = []
        with os.scandir(mounted / "INBOX") as entries:
            for entry in entries:
                found.append(entry.name)
                if len(found) == 50:
                    for uid in (10, 2_000, 2_999):
                        del folder.messages[uid]
                    folder.add(mail(3_001))
                    mounted.refresh()
        assert len(found) == len(set(found))
        gone = {name for name in expected if re.search(r"\.(10|2000|2999)\.eml$", name)}
        assert expected - gone <= set(found) <= expected | set(uids(mounted / "INBOX").values()) | {
            os.path.basename(path) for path in uids(mounted / "INBOX").values()}

    def test_seekdir(self, shared):
        perl = ("opendir(D, $ARGV[0]) or die; my @a; while (1) { my $p = telldir D; my $n = readdir D; last unless defined $n;"
                "push @a, [$p, $n] } for (reverse @a) { seekdir(D, $_->[0]); my $n = readdir D; die qq($n\\n) if $n ne $_->[1] }"
                "print scalar @a")
        names = os.listdir(shared / "INBOX")
        assert int(tool("perl", "-e", perl, shared / "INBOX")) == len(names) + 2


class TestFolders:
    def test_are_those_of_the_server(self, shared, truth):
        expected = set()
        for folder in truth:
            parts = mount_path(folder).split("/")
            expected |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        found = {path for path, _ in walk_folders(shared)}
        assert found == expected
        assert {os.path.join(path) for path, names in walk_folders(shared) if not names} == {"Empty/Also empty"} | {
            path for path in ("Containers/Only/Leaf",)} - {path for path, names in walk_folders(shared) if names}

    def test_one_goes_only_when_another_session_misses_it_too(self, scripted, mount):
        liar = []

        def lie(session, command):
            if not liar:
                liar.append(session)
            if session is not liar[0]:
                session.answer(command)
                return
            for name, folder in session.server.model.folders.items():
                if name != "A":
                    session.send(folder.list_line())
            session.send(session.done(command))
        server = scripted(Model({"INBOX": mails(1), "A": mails(2), "A/B": mails(3)}))
        mounted = mount(text=server.account("work"))
        assert set(os.listdir(mounted)) == {"INBOX", "A"}
        server.handlers["LIST"] = lie
        for _ in range(3):
            mounted.refresh()
            assert set(os.listdir(mounted)) == {"INBOX", "A"} and len(uids(mounted / "A")) == 2

        def last_list(session, command):
            session.answer(command)
            session.close()
        for name in ("A", "A/B"):
            del server.model.folders[name]
        server.handlers["LIST"] = last_list

        def is_gone():
            failure(mounted.refresh)
            return os.listdir(mounted) == ["INBOX"]
        until_true(is_gone)
        assert failure(os.stat, mounted / "A" / "B") == failure(os.listdir, mounted / "A") == "ENOENT"

    def test_inbox_in_any_case(self, scripted, mount):
        server = scripted(Model({"INBOX": Folder(b"inbox", mails(2)), "sub": Folder(b"inbox/Sub", mails(1))}))
        mounted = mount(text=server.account("work"))
        assert os.listdir(mounted) == ["INBOX"] and len(uids(mounted / "INBOX")) == 2
        assert read(uids(mounted / "INBOX" / "Sub")[1]) == mail(1).content

    def test_only_those_that_are_wanted(self, scripted, mount):
        names = ("INBOX", "Projects", "Projects/Alpha", "Projects/Alpha/Deep", "Projects/Secret", "Архів", "Архів/2023", "Other")
        server = scripted(Model({name: mails(1) for name in names}))
        mounted = mount(text=server.account("work", folders="INBOX;Projects;Архів/*", exclude="Projects/Sec*;**/Deep"))
        assert {path for path, _ in walk_folders(mounted)} == {"INBOX", "Projects", "Projects/Alpha", "Архів", "Архів/2023"}

    def test_new_ones_appear(self, scripted, mount):
        server = scripted(Model({"INBOX": mails(1)}))
        mounted = mount(text=server.account("work"))
        assert os.listdir(mounted) == ["INBOX"] and failure(os.stat, mounted / "Нова") == "ENOENT"
        server.model.folders["Нова"] = Folder(b"&BB0EPgQyBDA-", mails(2))
        mounted.refresh()
        assert set(os.listdir(mounted)) == {"INBOX", "Нова"} and len(uids(mounted / "Нова")) == 2


def walk_folders(root):
    """[(path, names in it)] of all folders."""
    return [(os.path.relpath(directory, root), folders + files)
            for directory, folders, files in os.walk(root, onerror=raise_error) if not os.path.samefile(directory, root)]


def raise_error(error):
    raise error


def until_true(condition, timeout_s=20):
    from lab import net
    return net.wait_until(condition, timeout_s, getattr(condition, "__name__", "a condition"), interval_s=0.05)


class TestMessageNames:
    def test_by_date_and_by_uid(self, shared, module_home, truth):
        by_uid = module_home.mount("work", names="uid")
        by_date = {int(name.rsplit(".", 2)[-2]): name for name in os.listdir(shared / "Projects" / "Alpha") if name.endswith(".eml")}
        assert sorted(by_date) == sorted(truth["Projects/Alpha"])
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d{4}_[^/]+_[^/]+\.\d+\.eml", name) for name in by_date.values())
        assert {name for name in os.listdir(by_uid / "Projects" / "Alpha") if name.endswith(".eml")} == {
            f"{uid}.eml" for uid in by_date}

    def test_a_uid_alone_always_opens(self, shared, truth):
        for uid in list(truth["Projects/Alpha"])[:20]:
            short, listed = shared / "Projects" / "Alpha" / f"{uid}.eml", uids(shared / "Projects" / "Alpha")[uid]
            assert os.stat(short).st_ino == os.stat(listed).st_ino
            assert read(short) == served_bytes(truth["Projects/Alpha"][uid].content)
            assert os.path.basename(short) not in os.listdir(shared / "Projects" / "Alpha")

    @pytest.mark.parametrize("name", ["0.eml", "01.eml", "999999.eml", "4294967296.eml", "-1.eml", "1.EML", "1", ".eml", "x.1.eml",
                                      "2020-01-01T0000_nobody_nothing.1.eml", "1.eml.eml", " 1.eml"])
    def test_no_other_name_opens(self, shared, name):
        assert failure(os.stat, shared / "INBOX" / name) == "ENOENT"


class TestNamesAndInodesAreStable:
    def test_after_a_remount_after_a_wipe_and_in_two_mounts(self, mount, home, truth):
        first = mount()
        known = snapshot(first)
        assert len(known) > mailboxes.MANY and len(set(known.values())) == len(known)
        second = home.mount("work")
        assert snapshot(second) == known
        second.unmount()
        first.remount()
        assert snapshot(first) == known
        first.unmount()
        home.wipe_cache()
        first.start()
        assert snapshot(first) == known

    def test_a_folder_that_comes_later_moves_no_other(self, scripted, mount, home):
        server = scripted(Model({f"Folder {number}": mails(2) for number in range(40)}))
        mounted = mount(text=server.account("work"))
        known = snapshot(mounted)
        for number in range(40, 80):
            server.model.folders[f"Folder {number}"] = Folder(b"Folder %d" % number, mails(2))
        mounted.refresh()
        assert known.items() <= snapshot(mounted).items()


class TestStat:
    def test_of_messages(self, shared, truth):
        for folder in ("Projects/Бета", "Odd"):
            for uid, path in uids(shared / folder).items():
                found, message = os.stat(path), truth[folder][uid]
                assert found.st_mtime == found.st_ctime == found.st_atime == message.internal_date
                assert (found.st_nlink, found.st_blocks) == (1, -(-found.st_size // 512))
                assert found.st_size == (len(served_bytes(message.content)) or 1) or found.st_size == len(served_bytes(message.content))

    def test_of_folders(self, shared, truth):
        os.listdir(shared / "Projects" / "Бета")
        found = os.stat(shared / "Projects" / "Бета")
        assert found.st_mtime == max(message.internal_date for message in truth["Projects/Бета"].values())
        assert stat.S_ISDIR(found.st_mode)

    def test_an_empty_message_has_one_byte_until_it_is_opened(self, mount, place, fresh_user):
        user = fresh_user()
        mailboxes.fill_messages(place.dovecot.maildir(user), "INBOX", [Message("empty", b"", DATE)])
        mounted = mount(user)
        path = uids(mounted / "INBOX")[1]
        assert os.stat(path).st_size == 1
        assert read_with_size(path) == (b"", 0)
        assert os.stat(path).st_size == 0
        mounted.remount()
        assert os.stat(path).st_size == 0
        assert tool("cat", path) == b""

    def test_before_and_after_an_open_and_a_remount(self, mount, filled, through):
        user, expected = filled(60)
        mounted = mount(user, keys={"port": through(rules.WrongSizes()).port}, noprefetch=True)
        before = {uid: os.stat(path).st_size for uid, path in uids(mounted / "INBOX").items()}
        assert before == {uid: rules.WrongSizes.default_lie(uid, len(content)) for uid, content in expected.items()}
        assert sum(before[uid] > len(expected[uid]) for uid in before) > 10
        assert sum(before[uid] < len(expected[uid]) for uid in before) > 10
        opened = [uid for uid in expected if uid % 2]
        for uid in opened:
            content, size = read_with_size(uids(mounted / "INBOX")[uid])
            assert content == expected[uid] and size == len(content)
        after = {uid: len(expected[uid]) if uid in opened else before[uid] for uid in expected}
        for _ in range(2):
            assert {uid: os.stat(path).st_size for uid, path in uids(mounted / "INBOX").items()} == after
            mounted.remount()

    def test_statfs_answers(self, shared):
        found = os.statvfs(shared)
        assert found.f_namemax >= 255 and found.f_bsize > 0 and found.f_flag & os.ST_RDONLY


class TestSizesUnderAutoAndExact:
    def test_auto_trusts_from_the_next_mount_on(self, mount, filled):
        user, expected = filled(130)
        mounted = mount(user)
        assert not mounted.status()["sizes_trusted"]
        assert_same({"INBOX": expected}, read_tree(mounted))
        assert not mounted.status()["sizes_trusted"], "not in this one"
        mounted.remount()
        assert mounted.status()["sizes_trusted"]
        assert_same({"INBOX": expected}, read_tree(mounted))
        assert {uid: os.stat(path).st_size for uid, path in uids(mounted / "INBOX").items()} == {
            uid: len(content) for uid, content in expected.items()}
        mounted.remount(sizes="exact")
        assert not mounted.status()["sizes_trusted"]
        assert_same({"INBOX": expected}, read_tree(mounted))

    def test_fewer_than_100_confirmed_are_not_enough(self, mount, filled):
        user, _ = filled(90)
        mounted = mount(user)
        read_tree(mounted)
        mounted.remount()
        assert not mounted.status()["sizes_trusted"]

    def test_one_lie_is_remembered(self, mount, filled, through):
        user, expected = filled(130)
        line = through(rules.WrongSizes(lambda uid, size: size + 1 if uid == 77 else size))
        mounted = mount(user, keys={"port": line.port})
        assert_same({"INBOX": expected}, read_tree(mounted))
        mounted.remount()
        assert not mounted.status()["sizes_trusted"]
        assert_same({"INBOX": expected}, read_tree(mounted))

    @pytest.mark.parametrize("sizes", ["auto", "exact"])
    @pytest.mark.parametrize("command", [("tar", "-cf-"), ("cat",), ("wc", "-c"), ("tail", "-c", "100"), ("cmp",)])
    def test_programs_see_right_sizes_of_a_lying_server(self, mount, filled, through, sizes, command):
        user, expected = filled(12)
        mounted = mount(user, keys={"port": through(rules.WrongSizes()).port}, sizes=sizes, names="uid")
        for uid, content in expected.items():
            path = mounted / "INBOX" / f"{uid}.eml"
            os.stat(path)
            if command[0] == "tar":
                with tarfile.open(fileobj=subprocess.Popen([*command, path.name], cwd=path.parent, stdout=subprocess.PIPE).stdout, mode="r|") as archive:
                    assert [archive.extractfile(member).read() for member in archive] == [content]
            elif command[0] == "cmp":
                copy = mounted.home.path / "copy"
                copy.write_bytes(content)
                tool("cmp", copy, path)
            else:
                found = tool(*command, path)
                if command[0] == "wc":
                    assert int(found.split()[0]) in (len(content), rules.WrongSizes.default_lie(uid, len(content)))
                    assert int(tool(*command, path).split()[0]) == len(content)
                else:
                    assert found == (content if command[0] == "cat" else content[-100:])


class TestSizesUnderTrust:
    def test_the_kernel_skips_open(self, mount, filled, through):
        user, expected = filled(30)
        mounted = mount(user, sizes="trust", noprefetch=True)
        status = mounted.status()
        assert status["sizes_trusted"] and status["counters"]["bodies_fetched"] == 0
        for path in uids(mounted / "INBOX").values():
            os.close(os.open(path, os.O_RDONLY))
        assert mounted.status()["counters"]["bodies_fetched"] == 0
        assert_same({"INBOX": expected}, read_tree(mounted))

    @pytest.mark.parametrize("uid", [1, 2], ids=["above", "below"])
    def test_a_lie_is_an_error_and_then_corrected(self, mount, filled, through, uid):
        user, expected = filled(9)
        mounted = mount(user, keys={"port": through(rules.WrongSizes()).port}, sizes="trust")
        path = uids(mounted / "INBOX")[uid]
        assert os.stat(path).st_size == rules.WrongSizes.default_lie(uid, len(expected[uid])) != len(expected[uid])
        result = subprocess.run(["cat", path], capture_output=True)
        assert result.returncode != 0 and os.strerror(errno.EIO) in result.stderr.decode()
        assert expected[uid].startswith(result.stdout)
        assert os.stat(path).st_size == len(expected[uid])
        assert tool("cat", path) == expected[uid]
        assert read(uids(mounted / "INBOX")[3]) == expected[3], "no lie"
        assert len(error_lines(mounted, rf"UID {uid}\b")) == 1
        mounted.remount()
        assert not mounted.status()["sizes_trusted"], "the host counts as exact from now on"
        assert_same({"INBOX": expected}, read_tree(mounted))


BROKEN = {
    "NO": lambda: rules.RefuseBodies({7: b"NO [SERVERBUG] Message is corrupt", 11: b"NO Can't be read"}),
    "BAD": lambda: rules.RefuseBodies({7: b"BAD Command Error. 12", 11: b"BAD Internal"}),
    "NO, the rest delivered": lambda: rules.RefuseBodies({7: b"NO no", 11: b"NO no"}, delivers_rest=True),
    "OK without data": lambda: rules.OmitBodies({7, 11}),
    "stand-in": lambda: rules.StandIn({7, 11}),
}


class TestAMessageThatTheServerCantDeliver:
    @pytest.mark.parametrize("how", BROKEN)
    @pytest.mark.parametrize("sizes", ["exact", "trust"])
    def test_is_an_error_for_it_alone(self, mount, filled, through, how, sizes):
        user, expected = filled(40)
        count = rules.Count()
        mounted = mount(user, keys={"port": through(BROKEN[how](), count).port}, sizes=sizes)
        found = read_tree(mounted, read_or_errno)["INBOX"]
        assert found == expected | {7: errno.EIO, 11: errno.EIO}
        for uid in (7, 11):
            assert len(error_lines(mounted, rf"INBOX, UID {uid}\b")) == 1
        asked = count.commands["UID FETCH"]
        assert failure(read, uids(mounted / "INBOX")[7]) == "EIO"
        assert count.commands["UID FETCH"] == asked, "not again today"

    def test_tar_goes_on_with_the_rest(self, mount, filled, through, tmp_path):
        user, expected = filled(40)
        mounted = mount(user, keys={"port": through(rules.RefuseBodies({7: b"NO no", 11: b"BAD no"})).port}, names="uid")
        result = subprocess.run(["tar", "-C", mounted, "-cf", tmp_path / "a.tar", "."], capture_output=True, text=True)
        assert result.returncode == 2 and {"7.eml", "11.eml"} == set(re.findall(r"(\d+\.eml): Cannot open: Input/output", result.stderr))
        with tarfile.open(tmp_path / "a.tar") as archive:
            found = {int(member.name.split("/")[-1][:-4]): archive.extractfile(member).read() for member in archive if member.isfile()}
        assert_same({"INBOX": {uid: content for uid, content in expected.items() if uid not in (7, 11)}}, {"INBOX": found})

    @pytest.mark.parametrize("how", BROKEN)
    def test_as_a_stub(self, mount, filled, through, how):
        user, expected = filled(20)
        mounted = mount(user, keys={"port": through(BROKEN[how]()).port}, broken="stub")
        found = read_tree(mounted, read_with_size)["INBOX"]
        for uid, (content, size) in found.items():
            assert len(content) == size
            if uid in (7, 11):
                assert re.search(rb"^Subject: .+\r\n", content, re.MULTILINE) and b"UID %d" % uid in content
            else:
                assert content == expected[uid]
        assert len(error_lines(mounted, r"UID (7|11)\b")) == 2

    def test_nor_even_describe_is_listed_and_takes_no_other_with_it(self, scripted, mount):
        def no_header_of_5(session, command):
            chosen = session.selected.choose(command.arguments.split(None, 1)[0], True)
            if b"HEADER" in command.arguments and any(uid == 5 for _, uid in chosen):
                return command.tag + b" NO [SERVERBUG] sorry\r\n"
            return session.answer(command)
        server = scripted(Model({"INBOX": mails(12)}), {"UID FETCH": no_header_of_5})
        mounted = mount(text=server.account("work"))
        names = {uid: os.path.basename(path) for uid, path in uids(mounted / "INBOX").items()}
        assert sorted(names) == list(range(1, 13))
        assert names[5].endswith("_unknown_no-subject.5.eml") and names[6].endswith("_ada@engine.example_mail-6.6.eml")
        assert_same({"INBOX": bodies(mails(12))}, read_tree(mounted))

    def test_a_passing_failure_isnt_held_against_it(self, scripted, mount):
        answers = [b"{tag} BAD Request is throttled. Suggested Backoff Time: 300 milliseconds\r\n", None]
        server = scripted(Model({"INBOX": mails(5)}), {"UID FETCH": [None, *answers]})
        mounted = mount(text=server.account("work"))
        assert_same({"INBOX": bodies(mails(5))}, read_tree(mounted))
        assert not error_lines(mounted, r"UID \d")


class TestBodiesAreFetchedOnce:
    def test_whoever_reads_and_how_many(self, mount, home, filled, through):
        user, expected = filled(12)
        count = rules.Count()
        mounted = mount(user, keys={"port": through(count, rtt_ms=30).port}, noprefetch=True)
        path = uids(mounted / "INBOX")[5]
        start = threading.Barrier(16)

        def reader(_):
            start.wait()
            return read(path)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert set(pool.map(reader, range(16))) == {expected[5]}
        assert count.bodies == {(folder, uid): 1 for folder, uid in count.bodies} and sum(count.bodies.values()) == 1
        assert_same({"INBOX": expected}, read_tree(mounted, readers=8))
        other = home.mount("work")
        assert_same({"INBOX": expected}, read_tree(other))
        mounted.remount()
        assert_same({"INBOX": expected}, read_tree(mounted))
        assert sorted(uid for _, uid in count.bodies) == sorted(expected) and set(count.bodies.values()) == {1}

    def test_in_bulk_too(self, mount, filled, through):
        user, expected = filled(200)
        count = rules.Count()
        mounted = mount(user, keys={"port": through(count).port})
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for found in pool.map(lambda _: read_tree(mounted), range(3)):
                assert_same({"INBOX": expected}, found)
        assert set(count.bodies.values()) == {1} and len(count.bodies) == len(expected)

    def test_two_mounts_at_once_give_the_right_bytes(self, mount, home, filled):
        user, expected = filled(150)
        mounts = [mount(user), home.mount("work")]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for found in pool.map(read_tree, mounts):
                assert_same({"INBOX": expected}, found)

    def test_a_group_pointed_at_another_mailbox_shows_that_ones_mail(self, mount, home, place, filled):
        one, first = filled(40, uidvalidity=77, seed=1)
        two, second = filled(40, uidvalidity=77, seed=2)
        assert first.keys() == second.keys() and first != second
        mounted = mount(one)
        assert_same({"INBOX": first}, read_tree(mounted))
        names = set(os.listdir(mounted / "INBOX"))
        mounted.unmount()
        home.set_account("work", place.account("work", two, port=1))
        mounted.start()
        assert failure(os.listdir, mounted / "INBOX") == "ENETUNREACH", "nothing of the first is shown"
        mounted.unmount()
        home.set_account("work", place.account("work", two))
        mounted.start()
        assert not names & set(os.listdir(mounted / "INBOX"))
        assert_same({"INBOX": second}, read_tree(mounted))
        mounted.unmount()
        home.set_account("work", place.account("work", one))
        mounted.start()
        assert_same({"INBOX": first}, read_tree(mounted))

    def test_group_and_address(self, mount, filled):
        one, first = filled(10, uidvalidity=5, seed=1)
        two, second = filled(10, uidvalidity=5, seed=2)
        assert_same({"INBOX": first}, read_tree(mount(one)))
        assert_same({"INBOX": second}, read_tree(mount(one, account=f"work:{two}")))

    def test_half_a_body_is_never_shown(self, mount, proxy, place, fresh_user):
        user = fresh_user()
        big = generator.make_big(3 << 20)
        mailboxes.fill_messages(place.dovecot.maildir(user), "INBOX", [big])
        line = proxy()
        mounted = mount(user, keys={"port": line.port})
        path = uids(mounted / "INBOX")[1]
        line.bits_per_s, before = 8e6, line.counters.bytes_down
        with Blocked("cat", path, ready=lambda: line.counters.bytes_down > before + (1 << 20)):
            mounted.process.kill()
            mounted.end()
        line.bits_per_s = None
        mounted.start()
        assert read(path) == big.content


class TestTheCacheIsBounded:
    LIMIT = 16 << 20

    @pytest.mark.slow
    def test_by_cache_size(self, mount, home, place, fresh_user, wait_for):
        user = fresh_user()
        total = mailboxes.fill_bulk(place.dovecot.maildir(user), 500, mean_bytes=128 << 10)
        assert total > 3 * self.LIMIT
        mounted = mount(user, keys={"cache_size": "16M"})
        expected = place.fetch_all(place.imap(user), "INBOX")
        with open(uids(mounted / "INBOX")[1], "rb", buffering=0) as first:
            assert first.read(100) == expected[1][:100]
            assert_same({"INBOX": expected}, read_tree(mounted))
            os.posix_fadvise(first.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert first.readall() == expected[1][100:]
        wait_for(lambda: mounted.status()["cache"]["bytes"] <= self.LIMIT, what="room in the cache")
        assert mounted.status()["cache"]["limit"] == self.LIMIT
        wait_for(lambda: disk_bytes(home.path / "cache") <= 2 * self.LIMIT, what="room on the disk")
        assert mounted.status()["counters"]["cache_evicted_bytes"] > 0
        mounted.remount()
        assert_same({"INBOX": expected}, read_tree(mounted, readers=4))

    def test_by_nothing_but_what_is_read(self, mount, filled, wait_for):
        user, expected = filled(20)
        mounted = mount(user, keys={"cache_size": "0"})
        assert_same({"INBOX": expected}, read_tree(mounted))
        wait_for(lambda: mounted.status()["cache"]["messages"] == len(expected), what="the bodies in the cache")
        status = mounted.status()["cache"]
        assert status["limit"] == 0 and status["bytes"] >= sum(map(len, expected.values()))


def disk_bytes(root):
    return sum(path.lstat().st_blocks * 512 for path in root.rglob("*"))


class TestChangesAppear:
    """More in test_watch.py and test_model.py."""

    def test_in_the_folder_in_use_by_themselves(self, place, mount, filled):
        user, expected = filled(5)
        mounted = mount(user, poll=36_000, xattr=True)
        listed = uids(mounted / "INBOX")
        until_true(lambda: mounted.status()["watching"] == "INBOX")
        deliver(place, user, mail(6).content)
        with within(4):
            until_true(lambda: failure(os.stat, mounted / "INBOX" / "6.eml") is None)
        assert sorted(uids(mounted / "INBOX")) == [1, 2, 3, 4, 5, 6]
        client = place.imap(user)
        client.select("INBOX")
        client.uid("STORE", "3", "FLAGS", "(\\Flagged)")
        client.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
        client.expunge()
        with within(4):
            until_true(lambda: failure(os.stat, listed[2]) == "ENOENT")
            until_true(lambda: os.getxattr(listed[3], "user.mail.flags") == b"\\Flagged")
        assert sorted(uids(mounted / "INBOX")) == [1, 3, 4, 5, 6]
        client.logout()

    def test_elsewhere_after_poll(self, place, mount, filled):
        user, _ = filled(2)
        mounted = mount(user, poll=1)
        os.listdir(mounted)
        client = place.imap(user)
        client.create("Later")
        client.append("Later", None, None, mail(1).content)
        until_true(lambda: "Later" in os.listdir(mounted))
        assert list(uids(mounted / "Later")) == [1]
        os.listdir(mounted / "INBOX")
        client.append("Later", None, None, mail(2).content)
        until_true(lambda: list(uids(mounted / "Later")) == [1, 2])
        client.delete("Later")
        until_true(lambda: "Later" not in os.listdir(mounted))
        # The kernel is told a moment after the listing shows it.
        until_true(lambda: failure(os.stat, mounted / "Later") == "ENOENT")
        client.logout()


class TestNumberedAnew:
    CHANGES = {
        "UIDVALIDITY has changed": lambda old: Folder(old.raw, renewed(8), uidvalidity=old.uidvalidity + 1),
        "UIDNEXT has fallen": lambda old: Folder(old.raw, renewed(4), uidvalidity=old.uidvalidity),
        "other messages have the numbers": lambda old: Folder(old.raw, renewed(8), uidvalidity=old.uidvalidity),
    }

    @pytest.mark.parametrize("change", CHANGES)
    def test_after_a_remount(self, scripted, mount, change):
        server = scripted(Model({"INBOX": mails(8, "old")}))
        mounted = mount(text=server.account("work"))
        old = set(os.listdir(mounted / "INBOX"))
        assert_same({"INBOX": bodies(mails(8, "old"))}, read_tree(mounted))
        mounted.unmount()
        new = server.model.folders["INBOX"] = self.CHANGES[change](server.model.folders["INBOX"])
        mounted.start()
        assert not old & set(os.listdir(mounted / "INBOX"))
        assert_same({"INBOX": bodies(new.messages)}, read_tree(mounted))
        assert {failure(os.open, mounted / "INBOX" / name, os.O_RDONLY) for name in old} <= {"ENOENT", "ESTALE"}

    @pytest.mark.parametrize("hidden", [set(), {"QRESYNC"}], ids=["QRESYNC", "CONDSTORE"])
    @pytest.mark.parametrize("seen", [None, "gone", "with another UIDVALIDITY"])
    def test_made_anew_with_the_same_numbers_while_it_is_mounted(self, place, fresh_user, mount, proxy, proxy_tls, hidden, seen):
        user, client = fresh_user(), None
        line = proxy(tls=proxy_tls, rules=[rules.HideCapabilities(hidden)])

        def fill(name):
            nonlocal client
            client = place.imap(user)
            client.create("Copy")
            for uid in range(1, 4):
                client.append("Copy", None, f'"{uid:02d}-Jan-20{name} 10:00:00 +0000"', mail(uid, f"of {name}").content)
            return numbers()[0]

        def numbers():
            told = client.status("Copy", "(UIDVALIDITY HIGHESTMODSEQ)")[1][0]
            return [re.search(rb"%s (\d+)" % name, told)[1].decode() for name in (b"UIDVALIDITY", b"HIGHESTMODSEQ")]
        validity = fill("11")
        mounted = mount(user, keys={"port": line.port, "poll": 0})
        assert [read(path) for path in uids(mounted / "Copy").values()] == [mail(uid, "of 11").content for uid in range(1, 4)]
        before = numbers()[1]
        inodes = {os.stat(path).st_ino for path in uids(mounted / "Copy").values()}
        client.delete("Copy")
        if seen == "gone":
            until_true(lambda: "Copy" not in os.listdir(mounted))
        fill("12")
        if seen == "with another UIDVALIDITY":
            until_true(lambda: all("2012" in name for name in os.listdir(mounted / "Copy")))
        place.dovecot.doveadm("mailbox", "update", "-u", user, "--uid-validity", validity, "Copy")
        # where this number is one that the mount has seen, too, the server says that nothing has changed
        while int(numbers()[1]) <= int(before):
            client.select("Copy")
            client.store("1", "+FLAGS", "passing")
            client.store("1", "-FLAGS", "passing")
            client.unselect()
        new = [mail(uid, "of 12").content for uid in range(1, 4)]
        until_true(lambda: "Copy" in os.listdir(mounted))
        until_true(lambda: [read_or_error(open(path, "rb")) for path in uids(mounted / "Copy").values()] == new)
        assert not inodes & {os.stat(path).st_ino for path in uids(mounted / "Copy").values()}

    @pytest.mark.parametrize("capability, ids", [("OBJECTID", "M{}"), ("X-GM-EXT-1", "1844674407370955{}"), ("ID", "")])
    @pytest.mark.parametrize("eol", ["crlf", "lf"])
    def test_bodies_follow_the_servers_ids(self, scripted, mount, capability, ids, eol):
        before = {uid: dataclasses.replace(mail(uid, f"text {uid}", uid * 400_000 if uid < 4 else 0), emailid=ids.format(uid))
                  for uid in range(1, 9)}
        server = scripted(Model({"INBOX": before}), capabilities=f"{scripts.CAPABILITIES} {capability}")
        mounted = mount(text=server.account("work", poll=0, eol=eol))

        def content(messages):
            return {uid: message.content.replace(b"\r\n", b"\n") if eol == "lf" else message.content
                    for uid, message in messages.items()}
        old = read_tree(mounted)
        assert_same({"INBOX": content(before)}, old)
        # Other numbers: some are gone, one is new, two have one id, one has none. What had none before can't be known.
        for running, order, doubtful in ((True, [8, 1, 3, 2, 5, 7], {10, 20, 30, 31}), (False, [5, 3, 2, 8, 7], {10, 16, 18, 31})):
            after = {10 + uid * 2: before[number] for uid, number in enumerate(order)}
            after[30] = dataclasses.replace(mail(30, "new"), emailid=ids.format(30))
            after[31] = dataclasses.replace(before[7], content=mail(31, "another").content)
            after[10] = dataclasses.replace(after[10], emailid="")
            box = server.model.folders["INBOX"]
            if not running:
                mounted.unmount()
            asked = len(server.lines)
            server.model.folders["INBOX"] = Folder(box.raw, after, uidvalidity=box.uidvalidity + 1)
            if running:
                mounted.refresh()
                until_true(lambda: set(uids(mounted / "INBOX")) == set(after))
            else:
                mounted.start()
            assert_same({"INBOX": content(after)}, read_tree(mounted))
            again = asked_bodies(server.lines[asked:])
            assert again == (doubtful if ids else set(after))

    @pytest.mark.parametrize("ids", [("X-GM-EXT-1", "OBJECTID", "17"), ("OBJECTID", "X-GM-EXT-1", "17"),
                                     ("OBJECTID", "OBJECTID", "000"), ("OBJECTID", "OBJECTID", '"two words"')], ids=str)
    def test_ids_that_say_nothing_of_another_listings(self, scripted, mount, ids):
        before, after, emailid = ids
        server = scripted(Model({"INBOX": [dataclasses.replace(mail(1, "one"), emailid=emailid)]}),
                          capabilities=f"{scripts.CAPABILITIES} {before}")
        mounted = mount(text=server.account("work"))
        assert_same({"INBOX": {1: mail(1, "one").content}}, read_tree(mounted))
        mounted.unmount()
        server.capabilities = f"{scripts.CAPABILITIES} {after}"
        box = server.model.folders["INBOX"]
        new = dataclasses.replace(mail(2, "two"), emailid=emailid)
        server.model.folders["INBOX"] = Folder(box.raw, {5: new}, uidvalidity=box.uidvalidity + 1)
        mounted.start()
        assert_same({"INBOX": {5: new.content}}, read_tree(mounted))

    @pytest.mark.parametrize("change", list(CHANGES)[:2])
    def test_while_it_is_mounted(self, scripted, mount, change):
        server = scripted(Model({"INBOX": mails(8, "old")}))
        mounted = mount(text=server.account("work"), keys={"poll": 0})
        old = {uid: os.path.basename(path) for uid, path in uids(mounted / "INBOX").items()}
        inode = os.stat(mounted / "INBOX" / old[1]).st_ino
        assert_same({"INBOX": bodies(mails(8, "old"))}, read_tree(mounted))
        with open(mounted / "INBOX" / old[2], "rb", buffering=0) as still_open:
            new = server.model.folders["INBOX"] = self.CHANGES[change](server.model.folders["INBOX"])
            mounted.refresh()
            until_true(lambda: not set(old.values()) & set(os.listdir(mounted / "INBOX")))
            content = read_or_error(still_open)
            assert content in (mail(2, "old").content, "ESTALE", "ENOENT", "EIO"), "never another message's bytes"
        assert_same({"INBOX": bodies(new.messages)}, read_tree(mounted))
        for name in old.values():
            assert failure(os.open, mounted / "INBOX" / name, os.O_RDONLY) in ("ENOENT", "ESTALE")
        if new.uidvalidity != 1_600_000_001:
            assert os.stat(uids(mounted / "INBOX")[1]).st_ino != inode

    # Without change numbers, under the old UIDVALIDITY: (what there was, UIDNEXT, what there is, UIDNEXT)
    ANEW = {
        "numbers come back": lambda: ({2: mails(3, "old")[2]}, 4, renewed(3), 4),
        "UIDNEXT has risen": lambda: (mails(2, "old"), 3, renewed(5), 6),
        "other flags": lambda: (mails(3, "old"), 4, renewed(3, flags="S"), 4),
    }

    @pytest.mark.parametrize("case", ANEW)
    def test_without_change_numbers_while_it_is_mounted(self, scripted, mount, case):
        old, uidnext, new, next_uidnext = self.ANEW[case]()
        server = scripted(Model({"INBOX": old}))
        folder = server.model.folders["INBOX"]
        folder.uidnext = uidnext
        mounted = mount(text=server.account("work"), keys={"poll": 0}, xattr=True)
        assert_same({"INBOX": bodies(old)}, read_tree(mounted))
        folder.messages, folder.uidnext = new, next_uidnext
        mounted.refresh()
        assert_same({"INBOX": bodies(new)}, read_tree(mounted))

    def test_what_stays_isnt_read_anew(self, scripted, mount):
        """The questions that tell one mailbox from another are no reason to list it again."""
        server = scripted(Model({"INBOX": mails(3)}))
        folder = server.model.folders["INBOX"]
        mounted = mount(text=server.account("work"), keys={"poll": 0}, xattr=True)
        assert_same({"INBOX": bodies(mails(3))}, read_tree(mounted))
        before = len(server.lines)
        folder.add(mails(4)[4])
        mounted.refresh()
        folder.messages[2] = dataclasses.replace(folder.messages[2], flags="S")
        mounted.refresh()
        assert_same({"INBOX": bodies(mails(4))}, read_tree(mounted))
        asked = [line.split(None, 1)[1] for line in server.lines[before:] if b"HEADER.FIELDS" in line]
        assert len(asked) == 1 and asked[0].startswith(b"UID FETCH 3,4:* "), asked
        assert sum(b"BODY.PEEK[]" in line for line in server.lines[before:]) == 1


def asked_bodies(lines):
    uids_asked = set()
    for line in lines:
        if b"BODY.PEEK[]" in line:
            for part in line.split()[3].split(b","):
                first, _, last = part.partition(b":")
                uids_asked.update(range(int(first), int(last or first) + 1))
    return uids_asked


def renewed(count, flags=""):
    return {uid: Message("new", b"From: new@new.example\r\nSubject: new %d\r\n\r\nnew\r\n" % uid, DATE + 5_000_000 + uid * 60, flags)
            for uid in range(1, count + 1)}


def read_or_error(file):
    try:
        return os.pread(file.fileno(), 1 << 20, 0)
    except OSError as error:
        return errno.errorcode[error.errno]


class TestErrors:
    CASES = {
        "sign-in": ({"LOGIN": b"{tag} NO [AUTHENTICATIONFAILED] no\r\n", "AUTHENTICATE": b"{tag} NO [AUTHENTICATIONFAILED] no\r\n"},
                    "EACCES", "sign-in"),
        "connection": ({"greeting": scripts.close}, "ENETUNREACH", "unreachable"),
        "silence": ({"EXAMINE": scripts.silent}, "ETIMEDOUT", "timeout"),
        "refusal": ({"EXAMINE": b"{tag} NO [SERVERBUG] no\r\n"}, "EIO", "refused"),
        "a pause that is too long": ({"EXAMINE": b"{tag} BAD Request is throttled. Suggested Backoff Time: 9000000 milliseconds\r\n"},
                                     "ETIMEDOUT", "throttled"),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_errno_and_reason(self, scripted, mount, home, case):
        handlers, expected, kind = self.CASES[case]
        server = scripted(Model({"INBOX": mails(3)}), handlers)
        mounted = mount(text=server.account("work"), keys={"timeout": 2}, timeout=2)
        assert failure(os.listdir, mounted / "INBOX") == expected
        last = mounted.status()["last_error"]
        assert last["kind"] == kind and last["text"]
        lines = error_lines(mounted, rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ {kind}: .+")
        assert 1 <= len(lines) <= 2, "one for the tree, one for the folder"
        assert all(line.partition(f" {kind}: ")[2] in home.log() for line in lines)

    def test_gone(self, scripted, mount):
        server = scripted(Model({"INBOX": mails(5)}))
        mounted = mount(text=server.account("work"))
        path = uids(mounted / "INBOX")[3]
        del server.model.folders["INBOX"].messages[3]
        assert failure(read, path) == "ENOENT", "found out when it is asked for"
        mounted.refresh()
        assert failure(os.stat, path) == "ENOENT" and sorted(uids(mounted / "INBOX")) == [1, 2, 4, 5]

    def test_daily_bytes(self, mount, filled):
        user, expected = filled(60)
        mounted = mount(user, keys={"daily_bytes": "20K"}, noprefetch=True)
        found = read_tree(mounted, read_or_errno)["INBOX"]
        assert errno.EDQUOT in found.values()
        assert all(content in (expected[uid], errno.EDQUOT) for uid, content in found.items())
        got = sum(len(content) for content in found.values() if isinstance(content, bytes))
        assert (10 << 10) < got < (20 << 10) + max(map(len, expected.values()))
        mounted.remount()
        unread = next(uid for uid, content in found.items() if content == errno.EDQUOT)
        assert failure(read, uids(mounted / "INBOX")[unread]) == "EDQUOT", "the day isn't over"
        assert read(uids(mounted / "INBOX")[1]) == expected[1], "what is cached costs nothing"

    def test_interrupted(self, scripted, mount):
        server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": scripts.for_bodies(scripts.silent)})
        mounted = mount(text=server.account("work"))
        path = uids(mounted / "INBOX")[1]
        # A handler that returns, without a restart: as programs that clean up do. Python would try again.
        perl = "$SIG{INT} = sub {}; open(F, '<', $ARGV[0]) or exit($! + 0); exit 0"
        with Blocked("perl", "-e", perl, path, ready=lambda: body_asked(server)) as child:
            assert child.end(signal.SIGINT) == errno.EINTR


def body_asked(server):
    return any(b"BODY.PEEK[]" in line for line in server.lines)


class TestSigningIn:
    """More in test_login.py and test_token_life.py."""

    def test_refused_at_once_until_somebody_signs_in(self, home, place, truth):
        home.set_account("work", place.person_account("work"))
        mount = home.mount("work")
        with within(3):
            assert failure(os.listdir, mount / "INBOX") == "EACCES"
        error = mount.status()["last_error"]
        assert (error["kind"], error["hint"]) == ("sign-in", "run `mailtree login work`")
        sign_in(home)
        assert os.listdir(mount / "INBOX")

    def test_one_token_serves_all_readers_and_connections(self, place, mount, filled, proxy):
        user, expected = filled(60)
        before = place.authority.counters().get("token", 0)
        line = proxy()
        mounted = mount(user, keys={"port": line.port})
        os.listdir(mounted / "INBOX")
        line.cut_all()
        assert_same({"INBOX": expected}, read_tree(mounted, readers=8))
        assert line.counters.connections > 1
        assert place.authority.counters()["token"] == before + 1


class TestEveryWaitCanBeInterrupted:
    WAITS = {
        "the tree's listing": ("LIST", "auto", lambda mount: ("ls", mount)),
        "a name": ("LIST", "auto", lambda mount: ("stat", mount / "INBOX")),
        "a folder's listing": ("EXAMINE", "auto", lambda mount: ("ls", mount / "INBOX")),
        "a message's name": ("EXAMINE", "auto", lambda mount: ("stat", mount / "INBOX" / "1.eml")),
        "open": ("UID FETCH", "auto", lambda mount: ("cat", mount / "INBOX" / "1.eml")),
        "read": ("UID FETCH", "trust", lambda mount: ("cat", mount / "INBOX" / "1.eml")),
        "refresh": ("LIST", "auto", lambda mount: ("cat", mount / ".mailtree" / "refresh")),
    }

    @pytest.mark.parametrize("wait", WAITS)
    def test_by_ctrl_c_and_by_kill(self, scripted, mount, wait):
        name, sizes, command = self.WAITS[wait]
        server = scripted(Model({"INBOX": mails(3)}))
        mounted = mount(text=server.account("work"), keys={"timeout": 600}, sizes=sizes)
        if name == "UID FETCH":
            os.listdir(mounted / "INBOX")
        server.handlers[name] = scripts.silent if name != "UID FETCH" else scripts.for_bodies(scripts.silent)
        for number in (signal.SIGINT, signal.SIGKILL):
            with Blocked(*command(mounted), ready=lambda: asked(server, name)) as child:
                assert child.end(number) == -number
        with within(10):
            mounted.unmount()

    def test_one_of_two_readers_of_the_same(self, scripted, mount):
        def held(session, command):
            release.wait(30)
            session.answer(command)
        release = threading.Event()
        server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": scripts.for_bodies(held)})
        mounted = mount(text=server.account("work"), keys={"timeout": 600})
        path = uids(mounted / "INBOX")[1]
        with concurrent.futures.ThreadPoolExecutor(1) as pool, Blocked("cat", path, ready=lambda: body_asked(server)) as child:
            other = pool.submit(read, path)
            assert child.end(signal.SIGINT) == -signal.SIGINT
            release.set()
            assert other.result(30) == mail(1).content


def asked(server, name):
    return any(re.match(rb"\S+ " + name.encode(), line) for line in server.lines) if name != "UID FETCH" else body_asked(server)


class TestControlFiles:
    def test_are_there_by_name_alone(self, shared):
        assert ".mailtree" not in os.listdir(shared)
        files = {"status.json", "errors.log", "metrics", "refresh"}
        assert files <= set(os.listdir(shared / ".mailtree"))
        assert stat.S_IMODE(os.stat(shared / ".mailtree").st_mode) == 0o500
        for name in files:
            found = os.stat(shared / ".mailtree" / name)
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o400, os.getuid())
        assert failure(os.stat, shared / ".mailtree" / "nope") == "ENOENT"
        assert failure(os.stat, shared / "INBOX" / ".mailtree") == "ENOENT"

    def test_status(self, shared, truth):
        os.listdir(shared / "INBOX")
        found = shared.status()
        assert (found["account"], found["user"], found["host"], found["mountpoint"]) == ("work", OLENA, "127.0.0.1", str(shared))
        assert {"state", "connections", "signed_in", "token_expires", "last_error", "folders", "cache", "counters"} <= found.keys()
        assert found["signed_in"] and found["state"] == "connected" and found["connections"] >= 1
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["token_expires"])
        folders = {folder["path"]: folder for folder in found["folders"]}
        assert folders["INBOX"]["messages"] == len(truth["INBOX"]) and folders["INBOX"]["checked_at"]
        assert {"bytes", "limit", "messages"} <= found["cache"].keys()
        # As a program that trusts the size sees it, and one that doesn't.
        path = shared / ".mailtree" / "status.json"
        assert json.loads(tool("cat", path))["account"] == json.loads(tool("head", "-c", "1000000", path))["account"] == "work"

    def test_metrics(self, shared):
        text = (shared / ".mailtree" / "metrics").read_text()
        for line in text.splitlines():
            assert re.fullmatch(r"# (HELP|TYPE) mailtree_\w+ .+|mailtree_\w+ \d+(\.\d+)?", line), line
        assert re.search(r"^mailtree_bodies_fetched_total \d+$", text, re.MULTILINE)

    def test_refresh_shows_new_mail(self, place, mount, filled):
        user, expected = filled(5)
        mounted = mount(user)
        assert sorted(uids(mounted / "INBOX")) == sorted(expected)
        deliver(place, user, mail(6).content)
        assert failure(os.stat, mounted / "INBOX" / "6.eml") == "ENOENT"
        line = mounted.refresh()
        assert line.endswith("\n") and line.count("\n") == 1
        assert sorted(uids(mounted / "INBOX")) == [*sorted(expected), 6]
        assert read(mounted / "INBOX" / "6.eml") == mail(6).content
        client = place.imap(user)
        client.select("INBOX")
        client.uid("STORE", "2,4", "+FLAGS", "(\\Deleted)")
        client.expunge()
        mounted.refresh()
        assert sorted(uids(mounted / "INBOX")) == [1, 3, 5, 6]
        assert failure(os.stat, mounted / "INBOX" / "2.eml") == "ENOENT"

    def test_new_mail_is_shown_after_poll_too(self, place, mount, filled):
        user, expected = filled(3)
        mounted = mount(user, poll=0)
        assert len(uids(mounted / "INBOX")) == 3
        deliver(place, user, mail(4).content)
        assert len(uids(mounted / "INBOX")) == 4

    def test_refresh_without_a_server_fails(self, mount, proxy, filled):
        user, _ = filled(3)
        line = proxy()
        mounted = mount(user, keys={"port": line.port})
        os.listdir(mounted / "INBOX")
        line.refuse()
        line.cut_all()
        assert failure(mounted.refresh) == "ENETUNREACH" or "fail" in mounted.refresh()


class TestMailAsText:
    """More in test_text.py."""

    def test_every_message_of_the_mailbox_has_a_text(self, shared, truth):
        root = shared / ".mailtree" / "text"
        for folder in ("INBOX", "Odd", "Projects/Бета"):
            listed = uids(shared / folder)
            texts = os.listdir(root / folder)
            names = {os.path.basename(path).removesuffix(".eml") + ".txt" for path in listed.values()}
            assert names <= set(texts)
            for uid in listed:
                text = (root / folder / f"{uid}.txt").read_bytes().decode()
                assert text.endswith("\n") and not re.search("[\0-\b\v-\x1f\x7f-\x9f]", text)

    def test_grep_finds_what_encodings_hide(self, shared):
        assert tool("grep", "-rlw", "голка-[0-9]*", shared / ".mailtree" / "text" / "INBOX")


class TestAttachments:
    """More in test_text.py."""

    def test_are_files_with_safe_names(self, shared):
        root = shared / ".mailtree" / "attachments" / "INBOX"
        found = 0
        for directory in [name for name in os.listdir(root) if name.endswith(".eml")][:100]:
            for name in os.listdir(root / directory):
                content = (root / directory / name).read_bytes()
                assert len(content) == os.stat(root / directory / name).st_size
                assert name[0] not in ".-~" and not set(name) & set("/\\:*?\"<>|")
                found += 1
        assert found


class TestExtendedAttributes:
    def test_values(self, mount, scripted):
        content = (b"From: =?utf-8?B?0J7Qu9C10L3QsA==?= <olena@contoso.example>\r\nTo: Ada <ada@engine.example>, b@c.example\r\n"
                   b"Subject: =?utf-8?B?0KbRltC90LA=?=\r\nMessage-ID: <1.2@lab.example>\r\n\r\ntext\r\n")
        model = Model({"Архів": [Message("x", content, DATE, "SF"), Message("y", b"\r\nno headers\r\n", DATE)]})
        server = scripted(model)
        mounted = mount(text=server.account("work"), xattr=True)
        path = uids(mounted / "Архів")[1]
        found = {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}
        assert set(found.pop("user.mail.flags").split()) == {"\\Seen", "\\Flagged"}
        assert "olena@contoso.example" in found["user.mail.from"] and "Олена" in found.pop("user.mail.from")
        assert "ada@engine.example" in found["user.mail.to"] and "b@c.example" in found.pop("user.mail.to")
        assert found.pop("user.mail.message-id").strip("<>") == "1.2@lab.example"
        assert found == {"user.mail.uid": "1", "user.mail.subject": "Ціна", "user.mail.date": "2023-11-14T22:13:20Z",
                         "user.mail.folder": "Архів"}
        bare = uids(mounted / "Архів")[2]
        assert {"user.mail.uid", "user.mail.date", "user.mail.folder"} <= set(os.listxattr(bare))
        assert failure(os.getxattr, bare, "user.mail.subject") == failure(os.getxattr, path, "user.nope") == "ENODATA"
        commands = len(server.lines)
        for _ in range(3):
            for name in os.listxattr(path):
                os.getxattr(path, name)
        assert len(server.lines) == commands, "from the index"

    def test_are_off_unless_asked_for(self, shared):
        path = uids(shared / "INBOX")[1]
        assert failure(os.getxattr, path, "user.mail.uid") == "ENOTSUP"

    def test_are_short_and_of_every_message(self, mount, truth):
        mounted = mount(xattr=True)
        for path in uids(mounted / "Odd").values():
            for name in os.listxattr(path):
                value = os.getxattr(path, name)
                assert len(value) <= 4_096
                value.decode()


class TestSearch:
    """More is in test_search.py."""

    def test_a_query_is_a_directory_of_links(self, place, filled, mount):
        user, expected = filled(5)
        mounted = mount(user)
        root = mounted / ".mailtree" / "search"
        client = place.imap(user)
        client.select("INBOX", readonly=True)
        client.literal = "голка-3".encode()
        found = {int(uid) for uid in client.uid("SEARCH", "CHARSET", "UTF-8", "TEXT")[1][0].split()}
        client.logout()
        links = uids(root / "in:INBOX голка-3")
        assert links.keys() == found != set()
        for uid, link in links.items():
            assert os.readlink(link) == f"../../../INBOX/{os.path.basename(link)}"
            assert read(link) == expected[uid]
        assert failure(os.stat, root / "form:x") == "EINVAL" and error_lines(mounted, "search form:x: form: no such field")
        assert failure(os.stat, root / ".git") == "ENOENT" and os.listdir(root) == []


class TestMaildirLayout:
    """The programs are in test_maildir.py."""

    def test_flags_are_in_the_names_and_times_tell_of_changes(self, place, filled, mount, wait_for):
        user, expected = filled(5)
        mounted = mount(user, layout="maildir", poll=1)
        cur = mounted / "INBOX" / "cur"
        before = {}
        for name in os.listdir(cur):
            match = re.fullmatch(r"(\d+\.F[0-9a-f]{8}U(\d+)\.mailtree):2,([A-Z]*)", name)
            before[int(match[2])] = match[1], match[3]
            assert read(cur / name) == expected[int(match[2])].replace(b"\r\n", b"\n")
        assert before.keys() == expected.keys()
        assert os.listdir(mounted / "INBOX" / "new") == os.listdir(mounted / "INBOX" / "tmp") == []
        times = os.stat(cur).st_mtime, os.stat(mounted / "INBOX").st_mtime
        client = place.imap(user)
        client.select("INBOX")
        client.uid("STORE", "2", "FLAGS", "(\\Flagged \\Answered $Forwarded)")
        client.logout()
        wait_for(lambda: os.stat(cur).st_mtime != times[0], what="another time")
        assert os.stat(mounted / "INBOX").st_mtime == times[1]
        assert f"{before[2][0]}:2,FPR" in os.listdir(cur)
        # The name of before is listed no more, and opens.
        assert read(cur / ":2,".join(before[2])) == read(cur / "2.eml")


class TestOwnersAndModes:
    def test_by_default(self, shared):
        for path, mode in ((shared, 0o500), (shared / "INBOX", 0o500), (uids(shared / "INBOX")[1], 0o400)):
            found = os.stat(path)
            assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, os.getuid(), os.getgid())
        with open("/proc/self/mountinfo") as file:
            line = next(line for line in file if f" {shared} " in line)
        assert {"ro", "nosuid", "nodev"} <= set(line.split()[5].split(",")) and "default_permissions" in line
        assert " fuse.mailtree work " in line

    def test_as_wanted(self, mount, filled):
        user, _ = filled(1)
        mounted = mount(user, uid=os.getuid(), gid=12345, umask="027")
        found = os.stat(uids(mounted / "INBOX")[1])
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o440, os.getuid(), 12345)
        assert stat.S_IMODE(os.stat(mounted / "INBOX").st_mode) == 0o550

    def test_the_kernel_enforces_them(self, mount, filled):
        user, _ = filled(1)
        mounted = mount(user, uid=54321, umask="077")
        assert os.stat(mounted).st_uid == 54321
        assert failure(os.listdir, mounted) == failure(os.stat, mounted / "INBOX" / "1.eml") == "EACCES"

    @pytest.mark.parametrize("words", [{"defaults": True, "rw": True, "_netdev": True, "nofail": True, "noatime": True,
                                        "x-systemd.automount": True, "users": True, "comment": "x"}])
    def test_words_of_fstab_mean_nothing(self, mount, filled, words):
        mounted = mount(filled(1)[0], **words)
        assert failure(os.mkdir, mounted / "x") == "EROFS"


class TestSecrets:
    """More of it in test_signin.py; every test's home looks for them in logs and arguments."""

    def test_are_in_no_file_that_others_can_read(self, mount, home, place, filled):
        user, _ = filled(3)
        mounted = mount(user, debug=True)
        read_tree(mounted)
        assert len(home.log()) > 1_000, "the debug log is there to be looked through"
        for path in home.path.rglob("*"):
            if path.is_relative_to(home.path / "mnt") or path.name.startswith(("log.", "sanitizer")):
                continue
            mode = stat.S_IMODE(path.lstat().st_mode)
            if path.is_relative_to(home.path / "cache") or path.is_relative_to(home.path / "state") or path.is_relative_to(home.path / "run"):
                assert mode & 0o077 == 0, f"{path.relative_to(home.path)} has mode {mode:o}"
        mounted.unmount()

    def test_are_in_no_environment(self, mount, filled):
        user, _ = filled(3)
        mounted = mount(user, debug=True)
        read_tree(mounted)
        from lab.leaks import find_leaks
        environment = pathlib.Path(f"/proc/{mounted.process.pid}/environ").read_bytes()
        assert environment and not find_leaks(environment, mounted.home.secrets())

    def test_the_process_is_closed_to_others_of_this_user(self, mount, filled):
        user, _ = filled(1)
        mounted = mount(user)
        os.listdir(mounted)
        assert failure(open, f"/proc/{mounted.process.pid}/mem", "rb") in ("EACCES", "EPERM")


class TestLimitsOfIMAPItself:
    def test_what_the_server_doesnt_list_isnt_reachable(self, scripted, mount):
        def without(session, command):
            for name, folder in session.server.model.folders.items():
                if name != "Recoverable Items":
                    session.send(folder.list_line())
            session.send(session.done(command))
        server = scripted(Model({"INBOX": mails(1), "Recoverable Items": mails(1)}), {"LIST": without})
        mounted = mount(text=server.account("work"))
        assert os.listdir(mounted) == ["INBOX"] and failure(os.stat, mounted / "Recoverable Items") == "ENOENT"
