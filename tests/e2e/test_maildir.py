# SPDX-License-Identifier: GPL-2.0-or-later
"""layout=maildir: what the directories hold, and programs for maildirs beside themselves on Dovecot's own Maildir."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

import pytest
from lab import mailboxes
from lab.maildir import DIRNAME
from probe import within
from programs import PLAIN_ENV
from witness import mount_path, read, served, tool

MESSAGES = 160
NAME = re.compile(r"(\d+)\.F([0-9a-f]{8})U([1-9]\d*)\.mailtree:2,(D?F?P?R?S?T?)")
LETTERS = {"\\Draft": "D", "\\Flagged": "F", "$Forwarded": "P", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}
PARTS = ["cur", "new", "tmp"]


def where(folder):
    """Where a mailbox lies in the mount."""
    return "/".join(f"%{ord(part[0]):02X}{part[1:]}" if part in PARTS else part for part in mount_path(folder).split("/"))


def letters(flags):
    return "".join(sorted(LETTERS[flag] for flag in flags if flag in LETTERS))


def listed(folder):
    """{uid: (what stands in front of the flags, flags)} of a folder in the mount."""
    found = {}
    for name in os.listdir(folder / "cur"):
        match = NAME.fullmatch(name)
        assert match, name
        found[int(match[3])] = (name.partition(":")[0], match[4])
    return found


class Box:
    """A mailbox of its own, in the mount and as it lies on the server's disk."""

    def __init__(self, place, user):
        self.store = place.dovecot.maildir(user)
        self.truth = mailboxes.fill(self.store, MESSAGES, with_odd=False)
        self.user, self._place = user, place
        self.client = place.imap(user)

    def own(self, folder):
        return self.store.path(folder) / DIRNAME

    def change(self, folder, uid, how, flags):
        self.client.select(f'"{folder}"')
        status, _ = self.client.uid("STORE", str(uid), how, flags)
        assert status == "OK"
        self.client.unselect()


@pytest.fixture(scope="module")
def box(place, fresh_user):
    return Box(place, fresh_user())


@pytest.fixture(scope="module")
def shared(module_home, place, box):
    """No promise of its own is changed by who looks first: one mount for the tests that only read."""
    module_home.set_account("work", place.account("work", box.user))
    return module_home.mount("work", layout="maildir")


def test_the_tools_are_there():
    for program in ("neomutt", "notmuch", "mlist", "mthread", "mblaze-sort", "tmux"):
        assert shutil.which(program), program


def test_layout_maildir(place, box, shared, home):
    """Each mailbox is FOLDER/{cur,new,tmp}; names hold flags, files have the line ends of the place; aliases open."""
    content = served(box.client, box.truth)
    top = set()
    for folder, messages in box.truth.items():
        directory = pathlib.Path(shared, where(folder))
        top.add(where(folder).split("/")[0])
        assert [name for name in os.listdir(directory) if name in PARTS] == PARTS, folder
        assert os.stat(directory).st_nlink == 2 + len(os.listdir(directory))
        assert os.listdir(directory / "new") == os.listdir(directory / "tmp") == []
        found = listed(directory)
        assert {uid: flags for uid, (_, flags) in found.items()} == {
            uid: letters(flags) for uid, flags in place.flags(box.client, folder).items()}, folder
        assert {uid: int(name.partition(".")[0]) for uid, (name, _) in found.items()} == {
            uid: message.internal_date for uid, message in messages.items()}, folder
        for uid, (name, flags) in list(found.items())[:5]:
            path = directory / "cur" / f"{name}:2,{flags}"
            expected = content[mount_path(folder)][uid].replace(b"\r\n", b"\n")
            assert read(path) == expected and os.stat(path).st_size == len(expected)
            for alias in (name, f"{name}:2,", f"{name}:2,DFPRST", f"{uid}.eml"):
                assert os.stat(directory / "cur" / alias).st_ino == os.stat(path).st_ino
            for other in (f"{name}:2,SR", f"{name}:2,SS", f"{name}:1,", f"{name}x", f"1{name}:2,{flags}", f"{uid + 5000}.eml"):
                assert not (directory / "cur" / other).exists(), other
            assert not (directory / "new" / path.name).exists() and not (directory / path.name).exists()
    assert set(os.listdir(shared)) == top
    # The parts of a mailbox that holds folders only are nobody's.
    assert set(os.listdir(shared / "Projects")) == {"Alpha", "Бета"}
    assert pathlib.Path(shared, "%63ur", "cur").is_dir() and pathlib.Path(shared, "%6Eew", "cur").is_dir()
    # Names are the same in a mount with a cache of its own.
    home.set_account("work", place.account("work", box.user))
    again = home.mount("work", layout="maildir")
    assert listed(again / "INBOX") == listed(shared / "INBOX")
    rows = json.loads(home.run("ls", "work", "INBOX", "--json", check=True).stdout)
    assert len(rows) == len(box.truth["INBOX"])
    # No mount shows folders in that way: the command looks itself.
    for row in rows:
        assert row["path"].startswith("INBOX/2") and (again / "INBOX" / "cur" / f"{row['uid']}.eml").exists()
    again.unmount()
    home.set_account("work", place.account("work", box.user, layout="maildir"))
    rows = json.loads(home.run("ls", "work", "INBOX", "--json", check=True).stdout)
    assert {row["path"] for row in rows} == {f"INBOX/cur/{name}:2,{flags}" for name, flags in listed(shared / "INBOX").values()}


def test_flags_that_change_are_seen_by_who_only_looks_at_times(place, fresh_user, mount, wait_for):
    box = Box(place, fresh_user())
    mounted = mount(box.user, layout="maildir", poll=1)
    inbox = mounted / "INBOX"
    before = listed(inbox)
    uid, (name, flags) = next(item for item in before.items() if "F" not in item[1][1])
    path = inbox / "cur" / f"{name}:2,{flags}"
    held = open(path, "rb")
    assert held.read(4)
    seen = [os.stat(inbox / "cur").st_mtime]
    others = [os.stat(inbox / part).st_mtime for part in (".", "new", "tmp")]
    # Twice within a second: two other times.
    for how in ("+FLAGS", "-FLAGS"):
        box.change("INBOX", uid, how, "(\\Flagged)")
        wait_for(lambda: os.stat(inbox / "cur").st_mtime not in seen, what="another time of cur")
        seen.append(os.stat(inbox / "cur").st_mtime)
        now = listed(inbox)
        assert now == before | {uid: (name, "".join(sorted(flags + "F")) if how == "+FLAGS" else flags)}
        # The old name still opens, the file that was open still reads.
        assert path.exists() and os.pread(held.fileno(), 4, 0)
    assert [os.stat(inbox / part).st_mtime for part in (".", "new", "tmp")] == others
    # A keyword that no letter stands for changes no name.
    box.change("INBOX", uid, "+FLAGS", "(SomeKeyword)")
    time.sleep(1.2)
    assert os.stat(inbox / "cur").st_mtime == seen[-1]
    # The time survives a remount; what changed meanwhile makes it another.
    held.close()
    mounted.unmount()
    box.change("INBOX", uid, "+FLAGS", "($Forwarded)")
    mounted.remount()
    wait_for(lambda: os.stat(inbox / "cur").st_mtime not in (0, *seen), what="the time after a remount")
    assert listed(inbox)[uid] == (name, "".join(sorted(flags + "P")))
    box.client.select("INBOX")
    box.client.uid("STORE", str(uid), "+FLAGS", "(\\Deleted)")
    box.client.expunge()
    box.client.unselect()
    wait_for(lambda: uid not in listed(inbox), what="the message to go")
    assert not path.exists()


def test_what_is_cached_opens_while_the_server_is_silent(place, box, mount, proxy):
    """Programs stat cur on their way to a file: that mustn't wait for a silent server for long."""
    line = proxy()
    mounted = mount(box.user, keys={"port": line.port}, layout="maildir", poll=1)
    uid, (name, flags) = next(iter(listed(mounted / "INBOX").items()))
    path = mounted / "INBOX" / "cur" / f"{name}:2,{flags}"
    expected = read(path)
    line.stall()
    time.sleep(2.1)
    with within(6):
        assert os.stat(mounted / "INBOX" / "cur").st_mtime and read(path) == expected
    with within(1):
        assert read(path) == expected
    line.resume()


# ---- programs ----

def mblaze(scratch, folder):
    """Threads, flags, dates, people, as a person sees them. The order in a directory is nobody's."""
    script = f"mlist {shlex.quote(str(folder))} | mblaze-sort -d -S | mthread | mscan -f '%u%r%t %D %-30f %i%S'"
    environment = PLAIN_ENV | {"HOME": "/nonexistent", "TZ": "UTC", "MBLAZE": str(scratch)}
    (scratch / "seq").touch()
    listing = tool("sh", "-c", script, env=environment).decode()
    flags = {part: len(tool("mlist", part, folder, env=environment).splitlines()) for part in
             ("-D", "-F", "-R", "-S", "-T", "-s")}
    counts = tool("mlist", "-i", folder, env=environment).decode().split(str(folder))[0].split()
    return listing, flags, counts


@pytest.mark.variant
def test_mblaze(box, shared, tmp_path):
    for folder in ("INBOX", "Projects/Alpha", "Sent", "cur", "Empty"):
        mounted, own = (mblaze(tmp_path, path) for path in (pathlib.Path(shared, where(folder)), box.own(folder)))
        assert mounted == own, folder
        assert len(mounted[0].splitlines()) >= len(box.truth[folder])
    for uid, (name, flags) in list(listed(shared / "INBOX").items())[:5]:
        shown = tool("mshow", shared / "INBOX" / "cur" / f"{name}:2,{flags}", env=PLAIN_ENV)
        assert f"needle-{box.truth['INBOX'][uid].content.partition(b'needle-')[2].split()[0].decode()}".encode() in shown


class Notmuch:
    """The database lies elsewhere: the mail is read-only."""

    def __init__(self, scratch, name, root):
        self._config = scratch / f"{name}.config"
        (scratch / name).mkdir()
        self._config.write_text(f"[database]\npath={scratch / name}\nmail_root={root}\n[user]\nname=Olena\n"
                                "primary_email=olena@contoso.example\n[new]\ntags=unread;inbox\nignore=dovecot-uidlist;"
                                "dovecot-uidlist.lock;dovecot.index.log\n[maildir]\nsynchronize_flags=true\n")

    def __call__(self, *arguments):
        # It speaks of folders that aren't mail on standard error.
        result = subprocess.run(["notmuch", *arguments], env=PLAIN_ENV | {"HOME": "/nonexistent", "NOTMUCH_CONFIG": str(self._config)},
                                capture_output=True, timeout=100)
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout.decode()

    def view(self):
        """Threads as sets of Message-IDs, each with its tags."""
        threads = set()

        def walk(node, found):
            if isinstance(node, dict):
                found.add((node["id"], frozenset(node["tags"])))
            elif node:
                for below in node:
                    walk(below, found)
        for thread in json.loads(self("show", "--format=json", "--body=false", "--entire-thread=true", "*")):
            found = set()
            walk(thread, found)
            threads.add(frozenset(found))
        return threads


@pytest.mark.variant
def test_notmuch(place, fresh_user, mount, tmp_path, wait_for):
    box = Box(place, fresh_user())
    mounted = mount(box.user, layout="maildir", poll=1)
    live, own = Notmuch(tmp_path, "live", mounted), Notmuch(tmp_path, "own", box.store.root)
    assert f"Added {MESSAGES} new messages" in live("new")
    own("new")
    assert live.view() == own.view()
    for question in ("*", "tag:unread", "tag:flagged", "tag:replied", "tag:draft", "from:olena", "subject:звіт", "голка"):
        assert live("count", question) == own("count", question) != "", question
    assert int(live("count", "--output=threads", "*")) == int(own("count", "--output=threads", "*")) < MESSAGES
    needle = box.truth["INBOX"][3].content.partition(b"X-Needle: ")[2].split()[0].decode()
    # It indexes text, not the field of that name.
    assert int(live("count", f'"{needle.replace("-", " ")}"')) > 0
    wait_for(lambda: "No new mail" in live("new"), what="nothing new")
    # Flags that others change and mail that comes are found by the next runs, through the times of directories alone.
    uid = next(uid for uid, message in box.truth["INBOX"].items() if "F" not in message.flags)
    flagged = int(live("count", "tag:flagged"))
    box.change("INBOX", uid, "+FLAGS", "(\\Flagged)")
    box.client.append("INBOX", None, None, b"Message-ID: <late@lab.example>\r\nSubject: late\r\n\r\nlate\r\n")
    wait_for(lambda: live("new") and int(live("count", "id:late@lab.example")) == 1, what="the new message")
    wait_for(lambda: live("new") and int(live("count", "tag:flagged")) == flagged + 1, what="the new flag")
    assert int(live("count", "*")) == MESSAGES + 1
    own("new")
    assert live.view() == own.view()


class NeoMutt:
    """In a terminal of tmux, driven by its keys."""

    def __init__(self, scratch, name, folder, lines):
        self._socket = scratch / f"{name}.tmux"
        rc = scratch / f"{name}.rc"
        rc.write_text('set index_format="%Z %[%Y-%m-%d %H:%M] %-25.25F %s"\nset sort=threads sort_aux=date\n'
                      'set status_format="total=%m new=%n flagged=%F deleted=%d"\nset ascii_chars charset=utf-8\n'
                      "set quit=yes timeout=1 mail_check=1 delete=no move=no confirmappend=no\n"
                      "set mark_old=yes help=no collapse_unread=no sleep_time=0 wait_key=no\n"
                      f"set folder={scratch} spool_file={scratch}\n")
        command = ["neomutt", "-n", "-R", "-F", rc, "-f", folder]
        self._tmux("new-session", "-d", "-x", "150", "-y", str(lines + 4), "-s", "m", shlex.join(map(str, command)))

    def _tmux(self, *arguments):
        environment = PLAIN_ENV | {"LC_ALL": "C.UTF-8", "TERM": "screen-256color", "TZ": "UTC",
                                   "HOME": str(self._socket.parent), "SHELL": "/bin/sh"}
        return subprocess.run(["tmux", "-f", "/dev/null", "-u", "-S", self._socket, *arguments], env=environment, check=True,
                              capture_output=True, timeout=30, cwd="/").stdout.decode()

    def keys(self, *keys):
        self._tmux("send-keys", "-t", "m", *keys)

    def screen(self):
        return self._tmux("capture-pane", "-p", "-t", "m")

    def index(self):
        """The lines of messages and the line of state, once it has drawn them."""
        lines = [line.rstrip() for line in self.screen().splitlines()]
        state = [line for line in lines if line.startswith("total=")]
        return ([line for line in lines[:lines.index(state[0])] if line], state[0]) if state else None

    def close(self):
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, timeout=30)


@pytest.fixture
def neomutt(tmp_path):
    started = []

    def start(name, folder, lines):
        started.append(NeoMutt(tmp_path, name, folder, lines))
        return started[-1]
    yield start
    for program in started:
        program.close()


@pytest.mark.variant
def test_neomutt(place, fresh_user, mount, neomutt, wait_for):
    box = Box(place, fresh_user())
    mounted = mount(box.user, layout="maildir", poll=1)
    count = len(box.truth["INBOX"])
    live, own = (neomutt(name, folder, count + 4) for name, folder in (("live", mounted / "INBOX"), ("own", box.own("INBOX"))))

    def drawn(program):
        view = program.index()
        return view if view and f"total={count} " in view[1] else None
    first = wait_for(lambda: drawn(live), what="neomutt on the mount")
    assert first == wait_for(lambda: drawn(own), what="neomutt on the server's Maildir")
    assert len(first[0]) == count and any("`->" in line for line in first[0])
    # It reads a message, and sees what comes.
    live.keys("Enter")
    wait_for(lambda: "needle-" in live.screen(), what="a message")
    live.keys("q")
    wait_for(lambda: drawn(live), what="the index")
    # It doesn't count flags of what is marked as deleted.
    uid = next(uid for uid, message in box.truth["INBOX"].items() if not set("FT") & set(message.flags))
    box.change("INBOX", uid, "+FLAGS", "(\\Flagged)")
    box.client.append("INBOX", None, None, b"From: late@lab.example\r\nSubject: a late one\r\n\r\nlate\r\n")

    def changed():
        live.keys("C-l")
        view = live.index()
        return view and f"total={count + 1} " in view[1]
    wait_for(changed, what="the new message in neomutt")
    assert "a late one" in live.screen()
    # Flags that others change it takes when it opens the folder, on any Maildir that it may not write.
    again = neomutt("again", mounted / "INBOX", count + 4)
    flagged = int(re.search(r"flagged=(\d+)", first[1])[1])
    wait_for(lambda: again.index() and f"flagged={flagged + 1} " in again.index()[1], what="the flag in neomutt")
