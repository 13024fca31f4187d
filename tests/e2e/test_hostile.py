# SPDX-License-Identifier: GPL-2.0-or-later
"""A server, an authority or a message that means harm: it gets no secret, no way out of the mount, no protocol of its own,
no more memory than the limits allow, and no byte onto a terminal that moves it."""

import concurrent.futures
import errno
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest
from lab import net, scripted as scripts
from lab.imapmodel import Folder, Message, Model
from lab.leaks import find_leaks
from probe import Blocked, error_lines, failure, uids, until_works, within
from witness import assert_same, read, read_or_errno, read_tree

DATE = 1_700_000_000
TIMEOUT_S = 2
SLACK_S = 4
MIB = 1 << 20
LIMIT_BODY_BYTES = 4 << 30
# What a mount of three messages takes, and the limits of one response, twice.
RESIDENT_MAX_KB = 96 << 10
NOTHING_MOVES_A_TERMINAL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


def mails(count):
    return {uid: Message("plain", b"From: Ada <ada@engine.example>\r\nSubject: mail %d\r\n\r\nbody %d\r\n" % (uid, uid), DATE + uid)
            for uid in range(1, count + 1)}


def contents(messages):
    return {uid: message.content for uid, message in messages.items()}


def peak_kb(mount):
    return int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{mount.process.pid}/status").read_text())[1])


# TLS

def signs_in(line):
    return re.search(rb"AUTHENTICATE|LOGIN", line, re.IGNORECASE)


INJECTED = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n* OK [ALERT] injected\r\n* 7 EXISTS\r\n"
STARTTLS = "IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR NAMESPACE"


def injects(place, tail):
    """STARTTLS is accepted and `tail` comes in the clear in the same packet; then real TLS."""
    def handler(session, command):
        session.send(session.done(command) + tail)
        session.starttls(place.ca.server_context(place.certificate))
    return handler


TLS_TRICKS = {
    "STARTTLS is refused": lambda place: ({"STARTTLS": b"{tag} NO not today\r\n"}, {}),
    "STARTTLS is unknown": lambda place: ({"STARTTLS": b"{tag} BAD what?\r\n"}, {}),
    "STARTTLS isn't offered": lambda place: ({}, {"capabilities": "IMAP4rev1 AUTH=PLAIN"}),
    "OK, and then no TLS": lambda place: ({"STARTTLS": b"{tag} OK\r\n* OK still in the clear\r\n"}, {}),
    "PREAUTH": lambda place: ({}, {"greeting": b"* PREAUTH welcome, no need to sign in\r\n"}),
    "PREAUTH with capabilities": lambda place: ({}, {"greeting": b"* PREAUTH [CAPABILITY IMAP4rev1] welcome\r\n"}),
    "a response injected before TLS": lambda place: ({"STARTTLS": injects(place, INJECTED)}, {}),
    "half a response injected before TLS": lambda place: ({"STARTTLS": injects(place, b"* OK ")}, {}),
    "a tagged answer injected before TLS": lambda place: ({"STARTTLS": injects(place, b"a1 OK\r\nA002 OK\r\nA003 OK\r\n")}, {}),
}


@pytest.mark.parametrize("trick", TLS_TRICKS)
def test_starttls_isnt_talked_away(place, scripted, mount, trick):
    handlers, options = TLS_TRICKS[trick](place)
    server = scripted(Model({"INBOX": mails(2)}), handlers, **({"capabilities": STARTTLS} | options))
    mounted = mount(text=server.account("work", tls="starttls", ca_file=place.ca.pem, timeout=TIMEOUT_S))
    with within(2 * TIMEOUT_S + SLACK_S):
        assert failure(os.listdir, mounted) in ("ENETUNREACH", "ETIMEDOUT", "EIO")
    assert not [line for line in server.lines if signs_in(line)], "nothing was said of who we are"
    assert not find_leaks(b"\n".join(server.lines), {"the password": server.PASSWORD})
    assert mounted.home.run("doctor", "work", timeout_s=90).returncode != 0
    assert not [line for line in server.lines if signs_in(line)]


def test_starttls_works_where_nobody_interferes(place, scripted, mount):
    server = scripted(Model({"INBOX": mails(2)}), capabilities=STARTTLS)
    server.starttls_context = place.ca.server_context(place.certificate)
    mounted = mount(text=server.account("work", tls="starttls", ca_file=place.ca.pem))
    assert_same({"INBOX": contents(mails(2))}, read_tree(mounted))


def test_a_certificate_that_changes_for_the_worse(place, unknown_ca, scripted, mount):
    server = scripted(Model({"INBOX": mails(3)}), context=place.ca.server_context(place.certificate))
    mounted = mount(text=server.account("work", ca_file=place.ca.pem, timeout=TIMEOUT_S), noprefetch=True)
    paths = uids(mounted / "INBOX")
    assert read(paths[1]) == mails(3)[1].content
    server.context = unknown_ca.server_context(unknown_ca.issue("evil"))
    before = len(server.lines)
    for session in list(server._sessions):
        session.close()
    assert failure(read, paths[2]) == "ENETUNREACH"
    assert len(server.lines) == before, "not a word"
    assert read(paths[1]) == mails(3)[1].content
    server.context = place.ca.server_context(place.certificate)
    assert until_works(read, paths[2]) == mails(3)[2].content


# Where tokens and secrets go

class Catcher(http.server.BaseHTTPRequestHandler):
    """Another host: it hears nothing."""

    heard = []

    def do_POST(self):
        self.heard.append((self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0))))
        self.send_error(404)

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_endpoint_sends_nobody_elsewhere(mount, status):
    class Redirect(Catcher):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.2:{elsewhere.server_port}/token")
            self.send_header("Content-Length", "0")
            self.end_headers()

    Catcher.heard.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.2", 0), Catcher) as elsewhere, \
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as authority:
        for server in (elsewhere, authority):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        mounted = mount(keys={"authority": f"http://127.0.0.1:{authority.server_port}", "timeout": 5})
        assert failure(os.listdir, mounted) in ("ENETUNREACH", "EACCES")
        assert "redirect" in mounted.status()["last_error"]["text"]
        for server in (elsewhere, authority):
            server.shutdown()
    assert Catcher.heard == []


REFERRAL = b"[REFERRAL imap://olena@127.0.0.1:%d/INBOX] go there"


@pytest.mark.parametrize("where, form", [
    ("greeting", b"* BYE %b\r\n"), ("AUTHENTICATE", b"{tag} NO %b\r\n"), ("AUTHENTICATE", b"{tag} OK %b\r\n"), ("EXAMINE", b"{tag} NO %b\r\n"),
    ("LIST", b"* OK %b\r\n{tag} NO %b\r\n"),
])
def test_an_imap_referral_is_followed_nowhere(scripted, mount, where, form):
    elsewhere = scripted(Model({"INBOX": mails(1)}))
    text = REFERRAL % elsewhere.port
    server = scripted(Model({"INBOX": mails(1)}), {where: form.replace(b"%b", text)})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    failure(os.listdir, mounted / "INBOX")
    assert elsewhere.connections == 0 and elsewhere.lines == []


# A server that fails at each command in turn

COMMANDS_MAX = 14
NOT_NOW = {
    "closes": lambda session, command: session.close(),
    "NO": b"{tag} NO not now\r\n",
    "BAD": b"{tag} BAD Command Error. 10\r\n",
    "BYE": lambda session, command: (session.send(b"* BYE Connection closed. 14\r\n"), session.close()),
    "half an answer": lambda session, command: (session.send(b"* 1 FETCH (UID 1 BODY[] {400}\r\nhalf"), session.close()),
    "garbage": b"\x00\xff) {{{ \"\r\n(((\r\n",
    "another's tag": b"zz9 OK done\r\n",
}
# NO to a sign-in is a refusal; the rest is the line's, or this answer's.
ALLOWED = {"ENETUNREACH", "ETIMEDOUT", "EIO", "EACCES", "ENOENT"}


def fails_at(index, answer):
    """One command fails, counted over all connections; before and after the server is honest."""
    count = 0

    def handler(session, command):
        nonlocal count
        count += 1
        if count != index:
            session.answer(command)
            return None
        return answer(session, command) and None if callable(answer) else answer
    return handler


def lists_and_reads(mounted):
    return {uid: read(path) for uid, path in uids(mounted / "INBOX").items()}


def one_failure(home, server, kind, index):
    expected = contents(mails(3))
    name = f"a{index}"
    mounted = home.mount(name, name=name)
    start = time.monotonic()
    found = failure(lists_and_reads, mounted)
    took = time.monotonic() - start
    problem = None
    if found is not None and found not in ALLOWED:
        problem = f"{found}"
    if took > (3 * TIMEOUT_S + SLACK_S) * net.SLOWNESS:
        problem = f"took {took:.1f} s"
    if found == "EACCES":
        # As after a change of the password: asked again at once.
        mounted.process.send_signal(signal.SIGHUP)
    try:
        if until_works(lists_and_reads, mounted) != expected:
            problem = "wrong bytes"
    except TimeoutError:
        problem = f"{found}, and no recovery: {mounted.errors()[-2:]}"
    mounted.unmount()
    return f"{kind} at command {index} ({server.lines[index - 1][:60] if len(server.lines) >= index else 'none'}): {problem}" if problem else None


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.variant if kind in ("NO", "BAD", "BYE") else ())
                                  for kind in NOT_NOW])
def test_a_server_that_fails_at_each_command_in_turn(scripted, home, kind):
    servers = {index: scripted(Model({"INBOX": mails(3)}), {"*": fails_at(index, NOT_NOW[kind])}) for index in range(1, COMMANDS_MAX)}
    for index, server in servers.items():
        home.set_account(f"a{index}", server.account(f"a{index}", timeout=TIMEOUT_S, user=f"user{index}@contoso.example"))
    with concurrent.futures.ThreadPoolExecutor(len(servers)) as pool:
        problems = list(pool.map(lambda index: one_failure(home, servers[index], kind, index), servers))
    assert [problem for problem in problems if problem] == []


# Names

ESCAPES = [
    b"&AC8-", b"&AC4ALg-", b"..&AC8-..&AC8-etc", b"&AAA-", b"a&AAA-b", b"&2D0-", b"&3AA-", b"&2DzcAN,-", b"&-&-&-", b"&", b"&AC8",
    b"\xc0\xaf", b"\xc0\xae\xc0\xae", b"\xe0\x80\xaf", b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"x" * 4_000, b"&BDAEMA-" * 300,
    b"....//", b"~", b"~root", b".mailtree", b".MAILTREE", b"\x1b[2J\x07", b"\x7f\x7f", b"a\tb", b"a\x0bb", b"&IC4-txt", b"&IAs-",
    b"%2E%2E", b"%2F", b"%00", b"con", b"nul.txt", b"INBOX ", b"inbox", b"-rf *", b"`id`", b"$(id)", b"a\\..\\b",
]


@pytest.mark.parametrize("delimiter", [b"/", b".", b"\\", b""], ids=["slash", "dot", "backslash", "none"])
def test_no_folders_name_leaves_the_mount(scripted, mount, delimiter):
    folders = {f"f{index}": Folder(raw, [b"Subject: x\r\n\r\n" + raw.hex().encode()], delimiter=delimiter)
               for index, raw in enumerate(ESCAPES)}
    server = scripted(Model({"INBOX": mails(1)} | folders))
    mounted = mount(text=server.account("work"))
    seen = {}
    for top, directories, names in os.walk(os.fsencode(mounted)):
        assert os.path.realpath(top).startswith(os.fsencode(mounted))
        assert b".mailtree" not in directories
        for name in (*directories, *names):
            name.decode()
            assert not NOTHING_MOVES_A_TERMINAL.search(name) and name not in (b".", b"..") and len(name) <= 255
        for name in names:
            text = read(os.path.join(top, name))
            if text.startswith(b"Subject: x"):
                seen[bytes.fromhex(text.split(b"\r\n\r\n")[1].decode())] = top
    assert len(set(seen.values())) == len(seen), "two folders in one directory"
    assert len(seen) >= len(ESCAPES) - 3, f"only {len(seen)} of {len(ESCAPES)} are there"


@pytest.mark.parametrize("depth, is_there", [(100, True), (5_000, False)])
def test_a_path_without_end(scripted, mount, depth, is_there):
    raw = b"/".join([b"d"] * depth)
    server = scripted(Model({"INBOX": mails(1), "deep": Folder(raw, mails(1), delimiter=b"/")}))
    mounted = mount(text=server.account("work"))
    listing = failure(os.listdir, mounted / "INBOX")
    found = failure(os.listdir, os.path.join(mounted, *["d"] * min(depth, 150)))
    assert listing is None and (found is None) == is_there


# Text that looks like protocol

FORGED = (b"* BYE forged\r\n* 1 EXPUNGE\r\n* OK [UIDVALIDITY 1] forged\r\n)\r\na1 OK done\r\n* 2 FETCH (UID 2 BODY[] {5}\r\nhello)\r\n+ go on\r\n"
          b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n" + b"".join(b"%x OK forged\r\n" % tag for tag in range(40)))
FORGED_HEADERS = [
    b'From: "x) UID 999 BODY[] {3}" <a@b.example>\r\nSubject: {1000}\r\n',
    b"From: a@b.example\r\nSubject: a\" RFC822.SIZE 1 UID 77 \"\r\n",
    b"From: a@b.example\r\nSubject: =?utf-8?Q?x=0d=0a*_BYE_forged?=\r\n",
    b"From: a@b.example\r\nSubject: \xff{4294967295}\x00) UID 3\r\n",
    b"From: a@b.example\r\nSubject: \\\"\\\\) (((((((\r\n",
]


def test_no_message_forges_protocol(place, fresh_user, scripted, mount):
    messages = {uid: Message("forged", headers + b"\r\n" + FORGED, DATE) for uid, headers in enumerate(FORGED_HEADERS, 1)}
    server = scripted(Model({"INBOX": messages, "{5}": messages, "a) UID 7": messages}), split=7)
    mounted = mount(text=server.account("work"))
    assert_same({"INBOX": contents(messages), "{5}": contents(messages), "a) UID 7": contents(messages)}, read_tree(mounted))
    assert not error_lines(mounted, ".")


# Numbers, sizes, endless answers

def endless(piece, opening=b"", limit=24 * MIB):
    """Sends an answer that never ends, as fast as it is taken; so much that any limit has been met."""
    def handler(session, command):
        session.send(opening)
        sent = number = 0
        while sent < limit:
            block = b"".join(piece(number + index) for index in range(5_000))
            session.send(block)
            sent += len(block)
            number += 5_000
        session.silent()
    return handler


ENDLESS = {
    "OK lines at LIST": ("LIST", endless(lambda n: b"* OK still working\r\n")),
    "folders at LIST": ("LIST", endless(lambda n: b'* LIST () "/" "folder %d"\r\n' % n)),
    "OK lines at EXAMINE": ("EXAMINE", endless(lambda n: b"* OK still working\r\n")),
    "flags at EXAMINE": ("EXAMINE", endless(lambda n: b" \\Flag%d" % n, b"* FLAGS (")),
    "capabilities": ("CAPABILITY", endless(lambda n: b" CAP%d" % n, b"* CAPABILITY IMAP4rev1")),
    "messages that nobody announced": ("UID FETCH", endless(
        lambda n: b'* %d FETCH (UID %d RFC822.SIZE 10 FLAGS () INTERNALDATE "23-Nov-2026 09:15:00 +0000")\r\n' % (n + 4, n + 4))),
    "the same message": ("UID FETCH", endless(lambda n: b"* 1 FETCH (UID 1 FLAGS ())\r\n")),
    "an envelope": ("UID FETCH", endless(lambda n: b"(NIL \"x%d\") " % n, b"* 1 FETCH (UID 1 ENVELOPE (")),
    "nesting": ("UID FETCH", endless(lambda n: b"(((((((((((", b"* 1 FETCH (UID 1 BODYSTRUCTURE ")),
    "a header literal": ("UID FETCH", endless(lambda n: b"Subject: endless\r\n" * 10, b"* 1 FETCH (UID 1 BODY[HEADER] {99999999999}\r\n")),
    "found numbers": ("UID SEARCH", endless(lambda n: b" %d" % (n + 1), b"* SEARCH")),
}


# Each is asked for again and again, ever less at a time, before it is given up.
SLOWLY_GIVEN_UP = {"an envelope", "a header literal", "UID 0"}


def some_are_long(names):
    return [pytest.param(name, marks=pytest.mark.long) if name in SLOWLY_GIVEN_UP else name for name in names]


@pytest.mark.plain
@pytest.mark.parametrize("what", some_are_long(ENDLESS))
@pytest.mark.slow
def test_an_answer_without_end(scripted, mount, what):
    where, handler = ENDLESS[what]
    server = scripted(Model({"INBOX": mails(3)}), {where: handler})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    with within(40):
        found = failure(os.listdir, mounted / "INBOX")
    assert found in ("EIO", "ENETUNREACH", "ETIMEDOUT") or (found is None and where == "UID SEARCH")
    assert peak_kb(mounted) < RESIDENT_MAX_KB
    server.handlers.clear()
    assert until_works(lists_and_reads, mounted, timeout_s=40) == contents(mails(3))


def body(size, tail=b""):
    return scripts.for_bodies(lambda session, command: (session.send(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b" % (size, tail)), session.silent()) and None)


@pytest.mark.parametrize("size", [2**63, 2**32 * 1_000, (4 << 30) + 1, 4 << 30, 3 << 30])
def test_a_body_larger_than_any_disk(scripted, mount, size):
    server = scripted(Model({"INBOX": mails(2)}), {"UID FETCH": body(size, b"x" * 1_000)})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S, cache_size="8M"))
    path = uids(mounted / "INBOX")[1]
    free = os.statvfs(mounted.home.path).f_bavail
    with within(4 * TIMEOUT_S + SLACK_S):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_or_errno, path)
            taken = 0
            while not reading.done():
                now = os.statvfs(mounted.home.path)
                taken = max(taken, (free - now.f_bavail) * now.f_frsize)
                time.sleep(0.02)
        assert isinstance(reading.result(), int)
    assert taken < 512 * MIB, "what is only announced takes no disk"
    assert peak_kb(mounted) < RESIDENT_MAX_KB * net.SLOWNESS
    server.handlers.clear()
    assert until_works(read, uids(mounted / "INBOX")[2]) == mails(2)[2].content
    if size <= LIMIT_BODY_BYTES:
        assert until_works(lists_and_reads, mounted) == contents(mails(2))
    else:
        assert reading.result() == errno.EIO, "held against this message for a day"


NUMBERS = {
    "more messages than exist": {"EXAMINE": b"* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n* OK [UIDNEXT 4294967295]\r\n{tag} OK [READ-ONLY]\r\n"},
    "UIDNEXT 0": {"EXAMINE": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n* OK [UIDNEXT 0]\r\n{tag} OK [READ-ONLY]\r\n"},
    "UIDVALIDITY 0": {"EXAMINE": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 0]\r\n* OK [UIDNEXT 4]\r\n{tag} OK [READ-ONLY]\r\n"},
    "no UIDVALIDITY": {"EXAMINE": b"* 3 EXISTS\r\n{tag} OK [READ-ONLY]\r\n"},
    "numbers that overflow": {"EXAMINE": b"* 99999999999999999999 EXISTS\r\n* OK [UIDVALIDITY 99999999999]\r\n{tag} OK\r\n"},
    "UID 0": {"UID FETCH": b"* 1 FETCH (UID 0 RFC822.SIZE 4 FLAGS ())\r\n{tag} OK\r\n"},
    "a size that overflows": {"UID FETCH": b"* 1 FETCH (UID 1 RFC822.SIZE 99999999999999999999 FLAGS ())\r\n{tag} OK\r\n"},
    "the last UID": {"UID FETCH": b"* 1 FETCH (UID 4294967295 RFC822.SIZE 4 FLAGS ())\r\n{tag} OK\r\n"},
}


@pytest.mark.parametrize("what", some_are_long(NUMBERS))
def test_numbers_that_cant_be(scripted, mount, what):
    """An error, or a listing that says nothing wrong; never a crash, and all is well afterwards."""
    server = scripted(Model({"INBOX": mails(3)}), NUMBERS[what])
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S))
    with within(20):
        try:
            names = os.listdir(mounted / "INBOX")
        except OSError as error:
            assert error.errno is not None
        else:
            assert len(names) <= 3
    assert peak_kb(mounted) < RESIDENT_MAX_KB * net.SLOWNESS
    server.handlers.clear()
    until_works(mounted.refresh)
    assert until_works(lists_and_reads, mounted) == contents(mails(3))


# Terminals

ESCAPE = b"\x1b]0;owned\x07\x1b[2J\x9b31m\xc2\x9b31m\x08\x08\r"


@pytest.mark.parametrize("where, answer", [
    ("greeting", b"* BYE %b\r\n"), ("AUTHENTICATE", b"{tag} NO %b\r\n"), ("LIST", b"* OK [ALERT] %b\r\n{tag} NO %b\r\n"),
    ("EXAMINE", b"{tag} NO %b\r\n"), ("UID FETCH", b"{tag} BAD %b\r\n"), ("NAMESPACE", b"{tag} BAD %b\r\n"),
])
def test_no_word_of_a_server_moves_a_terminal(scripted, mount, where, answer):
    server = scripted(Model({"INBOX": mails(2)}), {where: answer.replace(b"%b", ESCAPE.replace(b"\r", b""))})
    mounted = mount(text=server.account("work", timeout=TIMEOUT_S), debug=True)
    failure(lists_and_reads, mounted)
    home = mounted.home
    outputs = [home.run(*words, text=False, timeout_s=90) for words in (
        ("ls", "work"), ("ls", "work", "INBOX"), ("status",), ("status", mounted), ("status", "--json"), ("doctor", "work"))]
    said = [text for output in outputs for text in (output.stdout, output.stderr)]
    said += [(mounted / ".mailtree" / name).read_bytes() for name in ("errors.log", "status.json", "metrics")]
    said.append(home.log().encode())
    for text in said:
        assert not NOTHING_MOVES_A_TERMINAL.search(text), text[-300:]
    json.loads((mounted / ".mailtree" / "status.json").read_bytes())


def test_no_header_or_folder_moves_a_terminal(scripted, mount):
    content = b"From: " + ESCAPE.replace(b"\r", b"") + b" <a@b.example>\r\nSubject: =?utf-8?Q?=1B[2J=C2=9B31m?= " + ESCAPE.replace(b"\r", b"") + b"\r\n\r\nx"
    folder = Folder(b"f" + ESCAPE, [content])
    server = scripted(Model({"INBOX": [content], "f": folder}))
    mounted = mount(text=server.account("work"), xattr=True)
    home = mounted.home
    names = [name for top, directories, files in os.walk(os.fsencode(mounted)) for name in (*directories, *files)]
    values = [os.getxattr(path, name) for path in uids(mounted / "INBOX").values() for name in os.listxattr(path)]
    for words in (("ls", "work"), ("ls", "work", "INBOX"), ("status",)):
        values.append(home.run(*words, text=False).stdout)
    for text in (*names, *values):
        assert not NOTHING_MOVES_A_TERMINAL.search(text), text[:300]


# Its own end

def test_unmounting_never_waits_for_a_server(scripted, mount):
    """fusermount3 -u of a mount that is busy with a blocked reader says so at once; lazily it goes, and the reader ends."""
    server = scripted(Model({"INBOX": mails(3)}), {"UID FETCH": scripts.for_bodies(scripts.silent)})
    mounted = mount(text=server.account("work", timeout=600))
    path = uids(mounted / "INBOX")[1]
    with Blocked("cat", path, ready=lambda: any(b"BODY.PEEK[]" in line for line in server.lines)) as child:
        with within(3):
            busy = subprocess.run(["fusermount3", "-u", str(mounted)], capture_output=True, timeout=20)
        assert busy.returncode != 0 and mounted.is_mounted
        with within(3):
            subprocess.run(["fusermount3", "-uz", str(mounted)], check=True, capture_output=True, timeout=20)
        assert child.end(signal.SIGINT) == -signal.SIGINT
    assert mounted.process.wait(10 * net.SLOWNESS) == 0
    mounted.process = None
