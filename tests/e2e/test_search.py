# SPDX-License-Identifier: GPL-2.0-or-later
"""Searches: .mailtree/search and `mailtree search` find what imaplib's own UID SEARCH finds, on several servers."""

import json
import os
import re
import signal
import subprocess

import pytest
from lab import generator, mailboxes, net
from lab.imapmodel import Model
from lab.maildir import served_bytes
from lab.place import quote
from probe import Blocked, error_lines, failure, uids, within
from witness import mount_path, read

NEEDLES_OF = ("Архів", "Projects/Alpha")  # small ones: Dovecot reads each message of a folder for a word in it


def text(number, cyrillic):
    return f"голка-{number}" if cyrillic else f"needle-{number}"


def imap_search(client, folders, *keys, literal=None):
    """{(path in the mount, uid)} as imaplib finds them; a key that isn't ASCII is given as the literal of the last key."""
    found = set()
    for folder in folders:
        status, _ = client.select(quote(folder), readonly=True)
        if status != "OK":
            continue
        if literal:
            client.literal = literal.encode()
        words = ("CHARSET", "UTF-8", *keys) if literal else keys
        status, answer = client.uid("SEARCH", *words)
        assert status == "OK", answer
        found |= {(mount_path(folder), int(uid)) for uid in answer[0].split()}
    return found


def links(mounted, query, name=None):
    """{(folder, uid)} of the links; each leads to its message."""
    directory = mounted / ".mailtree" / "search" / (name or query.replace("%", "%25").replace("/", "%2F"))
    found = set()
    for link in os.listdir(directory):
        target = os.readlink(directory / link)
        assert target.startswith("../../../")
        folder, _, file = target[len("../../../"):].rpartition("/")
        uid = os.stat(directory / link).st_ino & 0xFFFFFFFF
        assert os.stat(mounted / folder / file).st_ino == os.stat(directory / link).st_ino
        assert link == file or re.sub(r"~[0-9a-f]{8}(?=\.eml$)", "", link) == file
        assert (folder, uid) not in found
        found.add((folder, uid))
    return found


@pytest.fixture(scope="module")
def shared(module_home, place, truth):
    module_home.set_account("work", place.account("work"))
    return module_home.mount("work")


@pytest.fixture(scope="module")
def selectable(truth):
    return [folder for folder in truth if folder not in ("Projects", "日本語")]


def test_the_servers_own_search_says_the_same(place, truth, shared, selectable):
    client = place.imap()
    for folder in NEEDLES_OF:
        number, uid = uid_of(truth[folder][5]), 5
        for word in (text(number, False), text(number, True)):
            inside = [name for name in selectable if name == folder or name.startswith(folder + "/")]
            expected = imap_search(client, inside, "TEXT", literal=word)
            assert (folder, uid) in expected and links(shared, f'in:"{folder}" {word}') == expected, word
    # Everywhere, once: servers without an index of words read all mail for it.
    word = text(17, True)
    assert links(shared, word) == imap_search(client, selectable, "TEXT", literal=word)
    for query, keys, literal in (
            ("from:olena", ("FROM", "olena"), None), ("subject:рахунок", ("SUBJECT",), "рахунок"),
            ("to:\"Олена Коваль\"", ("TO",), "Олена Коваль"), ("is:flagged", ("FLAGGED",), None),
            ("is:unread since:2015-06-01 before:2015-09-01", ("UNSEEN", "SINCE", "1-Jun-2015", "BEFORE", "1-Sep-2015"), None),
            ("is:answered from:olena subject:звіт", ("ANSWERED", "FROM", "olena", "SUBJECT"), "звіт"),
            ("subject:nothing-has-this-word", ("SUBJECT", "nothing-has-this-word"), None)):
        assert links(shared, query) == imap_search(client, selectable, *keys, literal=literal), query
    for folder in ("INBOX", "Архів", "Sent Items", "a%2Fb"):
        inside = [name for name in selectable if name == folder or name.startswith(folder + "/")]
        query = f'in:"{mount_path(folder)}" from:olena'
        assert links(shared, query) == imap_search(client, inside, "FROM", "olena") != set(), query
    assert failure(os.listdir, shared / ".mailtree" / "search" / "in:Nowhere x") == "ENOENT"
    client.logout()


@pytest.mark.long
def test_every_needle(place, truth, shared, selectable):
    """Of every message, in its folder: as many searches as messages."""
    for folder in selectable:
        for uid, message in truth[folder].items():
            if not uid_of(message):
                continue
            for cyrillic in (False, True):
                word = text(uid_of(message), cyrillic)
                assert (mount_path(folder), uid) in links(shared, f"in:{quoted(mount_path(folder))} {word}"), word


def quoted(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def uid_of(message):
    """The number of a generated message, which stands in its needles."""
    match = re.search(rb"^X-Needle: needle-(\d+)\r$", message.content, re.MULTILINE)
    return int(match[1]) if match else None


def test_a_server_without_extensions(home, goimap, wait_for):
    home.set_account("go", goimap.account("go"))
    mounted = home.mount("go")
    client = goimap.imap()
    # Its SEARCH falls over messages whose header it can't parse.
    folders = [folder for folder in goimap.truth if folder in ("INBOX", "Архів", "Projects/Alpha", "Sent")]
    for folder in folders:
        query = f'in:"{mount_path(folder)}" needle-17'
        inside = [name for name in goimap.truth if name == folder or name.startswith(folder + "/")]
        assert links(mounted, query) == imap_search(client, inside, "TEXT", "needle-17"), folder
    # What it thinks of letters is its own affair: we find what it finds.
    assert links(mounted, "in:Sent голка-17") == imap_search(client, ["Sent"], "TEXT", literal="голка-17")
    client.logout()


def searches(server):
    return [line for line in server.lines if b" UID SEARCH " in line and not line.rstrip().endswith(b" ALL")]


def test_a_server_that_knows_ascii_only(scripted, mount):
    """Exchange: it answers so to CHARSET, and finds nothing for other octets than ASCII without."""
    def refuse(session, command):
        if b"CHARSET" in command.line or re.search(rb"[\x80-\xff]", command.line):
            return command.tag + b" NO [BADCHARSET (US-ASCII)] The specified charset is not supported.\r\n"
        return session.answer(command)
    mails = ["=?utf-8?B?0KDQsNGF0YPQvdC+0Lo=?= 1", "Рахунок 2", "invoice 3"]
    model = Model({"INBOX": [f"From: Олена <olena@contoso.example>\r\nSubject: {subject}\r\n\r\ny".encode() for subject in mails],
                   "Sent": []})
    server = scripted(model, {"UID SEARCH": refuse})
    mounted = mount(text=server.account("work"))
    # Fields are in the index: what the server can't look for is matched here.
    assert links(mounted, "subject:рахунок from:contoso") == {("INBOX", 1), ("INBOX", 2)}
    asked = searches(server)
    assert [line.split(b" ", 1)[1] for line in asked if b"CHARSET" not in line] == [b'UID SEARCH FROM "contoso"'] * 2
    # From then on it is asked so at once.
    assert links(mounted, "from:олена") == {("INBOX", 1), ("INBOX", 2), ("INBOX", 3)}
    assert not [line for line in server.lines[server.lines.index(asked[-1]) + 1:] if b"CHARSET" in line]
    # Words aren't: to find nothing would be wrong.
    assert failure(os.listdir, mounted / ".mailtree" / "search" / "рахунок") == "EINVAL"
    assert error_lines(mounted, 'search "рахунок": the server looks for words in ASCII only .*mailtree/text')
    assert links(mounted, "invoice") == {("INBOX", 1), ("INBOX", 2), ("INBOX", 3)}


def test_a_folder_that_cant_be_searched(scripted, mount):
    def refuse(session, command):
        if session.selected.raw == b"Odd":
            return command.tag + b" NO [SERVERBUG] I fell over a message\r\n"
        return session.answer(command)
    one = b"Subject: x\r\n\r\ny"
    mounted = mount(text=scripted(Model({"INBOX": [one], "Odd": [one], "Odd/Inside": [one]}), {"UID SEARCH": refuse}).account("work"))
    assert links(mounted, "word") == {("INBOX", 1), ("Odd/Inside", 1)}
    assert error_lines(mounted, 'search "word": Odd: .*fell over a message')
    assert links(mounted, "in:Odd word") == {("Odd/Inside", 1)}


HOSTILE = ('" (', 'x" TEXT "y', "a\\", '{5}', "{3+}", "* OK", ") DELETED", "A1 LOGOUT", "%n%s", "'; drop", "\\Deleted")


def test_no_query_is_a_command(scripted, mount):
    """Whatever stands in a query is one string to the server; what could end a line is refused."""
    server = scripted(Model({"INBOX": [b"Subject: x\r\n\r\ny"]}))
    mounted = mount(text=server.account("work"), poll=0)
    root = mounted / ".mailtree" / "search"
    for number, word in enumerate(HOSTILE):
        quoted = '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
        assert len(os.listdir(root / quoted.replace("%", "%25").replace("/", "%2F"))) == 1
        line = searches(server)[-1]
        assert len(searches(server)) == number + 1
        assert line.split(b" ", 1)[1] == b"UID SEARCH TEXT " + quoted.encode()
    for name in ("a\r\nA1 DELETE INBOX", "a\nb", "a\rb", "a\x01", "a\x7f"):
        assert failure(os.listdir, root / name) == "EINVAL"
    assert failure(os.listdir, os.fsencode(root) + b"/a\xff") == "EINVAL"
    # Letters travel in a literal whose length is told: octets, not characters.
    os.listdir(root / '"ї\\" DELETED"')
    assert searches(server)[-1].endswith('CHARSET UTF-8 TEXT {11}\r\nї" DELETED'.encode())
    assert not [line for line in server.lines if re.search(rb"^\S+ (UID )?(STORE|EXPUNGE|DELETE|COPY|MOVE|SELECT)", line)]


def test_names_that_search_nothing(scripted, mount):
    server = scripted(Model({"INBOX": [b"Subject: x\r\n\r\ny"]}))
    mounted = mount(text=server.account("work"))
    root = mounted / ".mailtree" / "search"
    assert os.listdir(root) == []
    for name in (".git", ".hidden", ".directory", ".DS_Store"):
        assert failure(os.stat, root / name) == "ENOENT"
    for name, reason in (("form:x", "no such field"), ("in:INBOX", "nothing to look for"), ("since:now", "not a day"),
                         ("100%", "%25"), ('"open', "closed")):
        assert failure(os.stat, root / name) == "EINVAL"
        assert error_lines(mounted, f"invalid: search .*{re.escape(reason)}"), name
    # Right ones are there, and what programs look for in a directory isn't a message: nobody is asked.
    for name in ("desktop.ini", "is:unread", "a%2Fb"):
        assert os.path.isdir(root / name)
        for inside in (".hidden", "desktop.ini", "folder.jpg", "Makefile"):
            assert failure(os.stat, root / name / inside) == "ENOENT"
    assert searches(server) == []
    # Nobody who walks everything searches.
    assert "status.json" in [name for _, _, names in os.walk(mounted / ".mailtree") for name in names]
    assert searches(server) == []
    # A name in a query that nobody listed is looked for.
    link = os.listdir(mounted / "INBOX")[0]
    assert read(root / "a%2Fb" / link) == read(mounted / "INBOX" / link)
    assert len(searches(server)) == 1 and b'TEXT "a/b"' in searches(server)[0]


def test_results_expire_after_poll(scripted, mount, wait_for):
    model = Model({"INBOX": [b"Subject: x\r\n\r\ny"]})
    server = scripted(model)
    mounted = mount(text=server.account("work"), poll=2)
    for _ in range(3):
        assert links(mounted, "word") == {("INBOX", 1)}
        assert links(mounted, '"word"') == {("INBOX", 1)}
    assert len(searches(server)) == 1
    model.folders["INBOX"].add(b"Subject: z\r\n\r\nz")
    wait_for(lambda: links(mounted, "word") == {("INBOX", 1), ("INBOX", 2)}, what="the new message")
    assert len(searches(server)) == 2


def test_waits_end(scripted, mount):
    server = scripted(Model({"INBOX": [b"Subject: x\r\n\r\ny"]}), {"UID SEARCH": [lambda session, _: session.silent()]})
    mounted = mount(text=server.account("work", timeout=2))
    directory = mounted / ".mailtree" / "search" / "word"
    with Blocked("ls", directory, ready=lambda: searches(server)) as child:
        assert child.end(signal.SIGINT) == -signal.SIGINT
    with within(12):
        assert failure(os.listdir, directory) == "ETIMEDOUT"
    offline = mount(text=server.account("work"), offline=True)
    assert failure(os.listdir, offline / ".mailtree" / "search" / "word") == "ENETUNREACH"


def test_clashing_names_and_another_layout(scripted, mount):
    one = b"Subject: x\r\nFrom: ada@engine.example\r\n\r\ny"
    server = scripted(Model({"INBOX": [one], "Copies": [one], "Copies/Further": [one, b"Subject: z\r\n\r\nz"]}))
    mounted = mount(text=server.account("work"))
    expected = {("INBOX", 1), ("Copies", 1), ("Copies/Further", 1), ("Copies/Further", 2)}
    assert links(mounted, "word") == expected
    names = sorted(os.listdir(mounted / ".mailtree" / "search" / "word"))
    assert sum("~" in name for name in names) == 3
    mounted.remount()
    assert sorted(os.listdir(mounted / ".mailtree" / "search" / "word")) == names
    mounted.remount(names="uid")
    assert links(mounted, "word") == expected
    mounted.remount(names="date", layout="maildir")
    directory = mounted / ".mailtree" / "search" / "word"
    assert sorted(os.listdir(directory)) == names
    for name in names:
        target = os.readlink(directory / name)
        assert re.fullmatch(r"\.\./\.\./\.\./(INBOX|Copies|Copies/Further)/cur/[^/]+:2,[A-Z]*", target)
        assert os.path.exists(directory / name)


# ---- mailtree search ----

def test_command(place, truth, shared, module_home, selectable, home):
    client = place.imap()
    word = "subject:рахунок"
    expected = imap_search(client, selectable, "SUBJECT", literal="рахунок")
    client.logout()
    through_mount = module_home.run("search", "work", word, check=True).stdout.splitlines()
    assert {(os.path.dirname(path), os.stat(shared / path).st_ino & 0xFFFFFFFF) for path in through_mount} == expected
    home.set_account("work", place.account("work"))
    assert home.run("search", "work", word, check=True).stdout.splitlines() == through_mount
    rows = json.loads(module_home.run("search", "work", word, "--json", check=True).stdout)
    assert [row["path"] for row in rows] == through_mount
    listed = json.loads(module_home.run("ls", "work", "INBOX", "--json", check=True).stdout)
    chosen = {row["uid"] for row in rows if row["folder"] == "INBOX"}
    assert chosen and [row for row in rows if row["folder"] == "INBOX"] == [row for row in listed if row["uid"] in chosen]
    assert json.loads(module_home.run("search", "work", "subject:nothing-has-it", "--json", check=True).stdout) == []
    several = module_home.run("search", "work", "in:INBOX", "from:olena", "is:flagged", check=True).stdout.splitlines()
    assert several and several == module_home.run("search", "work", "in:INBOX from:olena is:flagged", check=True).stdout.splitlines()


def test_command_fails(scripted, place, home):
    server = scripted(Model({"INBOX": []}))
    home.set_account("work", server.account("work", timeout=2))
    for words, status, reason in ((("work", "form:x"), 2, "no such field"), (("work", "in:INBOX"), 2, "nothing to look for"),
                                  (("work",), 2, "QUERY"), (("work", "in:Nowhere", "x"), 1, "in:Nowhere: no such folder")):
        result = home.run("search", *words)
        assert result.returncode == status and reason in result.stderr, result.stderr
        assert len(result.stderr.splitlines()) == 1 and result.stdout == ""
    server.stop()
    result = home.run("search", "work", "x")
    assert result.returncode == 4 and result.stdout == ""
    help_text = home.run("search", "--help", check=True).stdout
    assert "Example:" in help_text and "in:FOLDER" in help_text


# ---- programs that walk everything ----

def test_a_walker_doesnt_stall_others(place, fresh_user, mount, proxy):
    """rg reads all mail over a slow line; who wants one message has it soon, and a thumbnailer pulls no folder."""
    user = fresh_user()
    store = place.dovecot.maildir(user)
    mailboxes.fill_bulk(store, 500, "Big", mean_bytes=60_000)
    expected = mailboxes.fill_messages(store, "INBOX", [generator.make_message(1, number) for number in range(1, 9)])
    line = proxy(bits_per_s=16e6, rtt_ms=20)
    mounted = mount(user, keys={"port": line.port})
    big, small = uids(mounted / "Big"), uids(mounted / "INBOX")
    # Three pictures of a file manager's window: that's no walk.
    before = line.counters.bytes_down
    for uid in (400, 30, 250):
        with open(big[uid], "rb", buffering=0) as file:
            assert file.read(4096)
    assert line.counters.bytes_down - before < 3 * 250_000 + 1_500_000
    before = line.counters.bytes_down
    with subprocess.Popen(["rg", "-c", "needle", mounted / "Big"], stdout=subprocess.DEVNULL) as walker:
        try:
            net.wait_until(lambda: line.counters.bytes_down - before > 1_000_000, what="the walk")
            for uid, message in expected.items():
                with within(3):
                    assert read(small[uid]) == served_bytes(message.content)
            with within(3):
                assert len(os.listdir(mounted / "INBOX")) == len(expected)
            assert walker.poll() is None, "it was over too early to be in anybody's way"
        finally:
            walker.kill()
