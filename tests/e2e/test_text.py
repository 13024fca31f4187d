# SPDX-License-Identifier: GPL-2.0-or-later
"""Mail as text, and attachments: .mailtree/text and .mailtree/attachments over a real server."""

import email
import mmap
import os
import re
import subprocess

import programs
import pytest
from lab import generator, mime
from lab.maildir import Maildir, served_bytes
from probe import failure, uids, until_works
from witness import tool

CHARSETS = ("koi8-u", "windows-1251", "iso-2022-jp", "gb18030", "utf-8")
COUNT = 120


@pytest.fixture(scope="module")
def messages():
    """UID → generator.Message: varied, with attachments."""
    return {number: generator.make_message(5, number) for number in range(1, COUNT + 1)}


@pytest.fixture
def filled(place, fresh_user, messages):
    user = fresh_user()
    with Maildir(place.dovecot.maildir(user).root).folder("INBOX") as box:
        for message in messages.values():
            box.add(message.content, message.internal_date, message.flags)
    return user


def counters(mounted):
    found = mounted.status()["counters"]
    return found["bodies_fetched"], found["views_rendered"]


def text_of(mounted):
    return mounted / ".mailtree" / "text" / "INBOX"


def attachments_of(mounted):
    return mounted / ".mailtree" / "attachments" / "INBOX"


def found_by_grep(word, root):
    result = subprocess.run(["grep", "-rlwE", word, root], capture_output=True, timeout=120)
    return {int(os.fsdecode(line).rpartition(".")[0].rpartition(".")[2]) for line in result.stdout.splitlines()}


def test_grep_finds_what_encodings_hide(mount, filled, messages):
    assert {charset for charset in CHARSETS if any(charset.encode() in m.content for m in messages.values())} == set(CHARSETS)
    mounted = mount(filled)
    tool("grep", "-rq", "nothing-has-this-word", text_of(mounted), statuses=(1,))
    fetched, rendered = counters(mounted)
    assert (fetched, rendered) == (COUNT, COUNT), "each once"
    for number in messages:
        assert found_by_grep(f"(needle|голка)-{number}", text_of(mounted)) >= {number}
        # A reply quotes the message before it: both words stand in each text of its own.
        text = (text_of(mounted) / f"{number}.txt").read_text()
        assert re.search(rf"\bneedle-{number}\b", text) and re.search(rf"\bголка-{number}\b", text)
    assert counters(mounted) == (COUNT, COUNT)


def test_looking_fetches_nothing_and_the_size_is_exact_from_open_on(mount, home, filled):
    mounted = mount(filled)
    root = text_of(mounted)
    estimates = {entry.name: entry.stat().st_size for entry in os.scandir(root)}
    assert len(estimates) == COUNT and all(size > 0 for size in estimates.values())
    assert {name.removesuffix(".txt") + ".eml" for name in estimates} == set(os.listdir(mounted / "INBOX"))
    tool("find", mounted / ".mailtree", "-printf", "%i %s %T@\n", "-path", "*/attachments/INBOX/*", "-prune")
    assert counters(mounted) == (0, 0)
    sizes = {}
    for name in estimates:
        with open(root / name, "rb") as file:
            sizes[name] = os.fstat(file.fileno()).st_size
            content = file.read()
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                assert len(content) == sizes[name] and content == mapped[:]
            assert b"\0" not in content and content.decode().endswith("\n")
        assert os.stat(root / name).st_size == sizes[name]
        assert os.stat(root / name).st_mtime == os.stat(mounted / "INBOX" / (name.removesuffix(".txt") + ".eml")).st_mtime
    mounted.unmount()
    again = home.mount("work", noprefetch=True)
    assert {entry.name: entry.stat().st_size for entry in os.scandir(text_of(again))} == sizes
    tool("cat", *(text_of(again) / name for name in sizes))
    assert counters(again) == (0, 0), "remembered"


def test_under_trust_an_estimate_is_never_too_small(mount, filled):
    mounted = mount(filled, sizes="trust")
    with open(mounted / "INBOX" / "1.eml", "rb") as file:
        file.read()  # the kernel skips open from now on
    root = text_of(mounted)
    for name in os.listdir(root):
        estimate = os.stat(root / name).st_size
        content = tool("cat", root / name)
        # Those that were made ahead of the reader have no estimate any more.
        assert len(content) <= estimate and b"\0" not in content
        assert os.stat(root / name).st_size == len(content)
    assert found_by_grep("needle-7", root) >= {7}


def test_under_trust_who_has_it_open_is_told_its_size(mount, shared):
    """The kernel doesn't ask at open. Stat fetches nothing all the same, by whatever program, and however often."""
    mounted = mount(shared, sizes="trust", noprefetch=True)
    (mounted / "INBOX" / "1.eml").read_bytes()
    before = counters(mounted)
    root = text_of(mounted)
    names = os.listdir(root)
    for _ in range(2):
        tool("ls", "-lR", root)
        tool("du", "-a", root)
        tool("find", root, "-type", "f", "-readable", "-size", "+0", "-printf", "%s %n %i\n")
        tool("sh", "-c", 'cd "$1" && for name in *; do [ -r "$name" ] && [ -s "$name" ] && [ "$name" -ef "$name" ]; done', "sh", root)
        tool("xargs", "-0", "-P8", "-n3", "stat", input="\0".join(os.path.join(root, name) for name in names * 3).encode(), stdin=None)
        for name in names:
            assert os.stat(root / name).st_size and os.access(root / name, os.R_OK)
    assert counters(mounted) == before
    ways = [lambda file: os.fstat(file.fileno()).st_size, lambda file: file.seek(0, os.SEEK_END),
            lambda file: len(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))]
    for number, name in enumerate(names):
        with open(root / name, "rb", buffering=0) as file:
            told = ways[number % len(ways)](file)
            assert told == os.fstat(file.fileno()).st_size
            file.seek(0)
            assert len(file.read()) == told == os.stat(root / name).st_size


def contents(root):
    """{path below root: octets}, of one file after the other."""
    return {os.path.relpath(os.path.join(directory, name), root): read_as_cat(os.path.join(directory, name))
            for directory, _, names in os.walk(root) for name in names}


def read_as_cat(path):
    """To the end, whatever size is told."""
    with open(path, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(128 << 10), b""))


@pytest.fixture(scope="module")
def shared(place, fresh_user, messages):
    """A mailbox that is only read."""
    user = fresh_user()
    with Maildir(place.dovecot.maildir(user).root).folder("INBOX") as box:
        for message in messages.values():
            box.add(message.content, message.internal_date, message.flags)
    return user


@pytest.fixture
def scratch(tmp_path):
    yield tmp_path
    # The copies are read-only, as the mount is.
    for directory, _, _ in os.walk(tmp_path):
        os.chmod(directory, 0o700)


@pytest.mark.parametrize("sizes", ["auto", "exact", "trust"])
@pytest.mark.parametrize("program", programs.EACH_COPIER)
@pytest.mark.parametrize("tree", ["text", "attachments"])
def test_programs_copy_what_nobody_has_read(tree, program, sizes, mount, shared, scratch):
    """tar, rsync and cp stat a file, open it, and stat it again: whoever has it open is told how long it is."""
    mounted = mount(shared, sizes=sizes)
    root = mounted / ".mailtree" / tree
    copy = programs.COPIERS[program](root, scratch)
    expected = contents(root)
    assert len(expected) > 40 and contents(copy) == expected
    fetched, _ = counters(mounted)
    assert fetched == COUNT, "each once"


@pytest.mark.parametrize("sizes", ["auto", "exact", "trust"])
def test_rsync_finds_nothing_changed_after_a_remount(sizes, mount, shared, scratch):
    mounted = mount(shared, sizes=sizes)
    command = ("rsync", "-a", "--itemize-changes", mounted / ".mailtree" / "text", mounted / ".mailtree" / "attachments", scratch)
    tool(*command)
    mounted.remount()
    # The time of a directory isn't known before it is listed.
    assert [line for line in tool(*command).splitlines() if not line.startswith(b".d..t")] == []
    assert tool(*command) == b"" and counters(mounted)[0] == 0


def test_names(mount, filled):
    mounted = mount(filled)
    for name in ("5.txt", "5.eml.txt"):
        assert os.stat(text_of(mounted) / name).st_ino == os.stat(text_of(mounted) / "5.txt").st_ino
    listed, = [name for name in os.listdir(text_of(mounted)) if name.endswith(".5.txt")]
    assert os.stat(text_of(mounted) / listed).st_ino == os.stat(text_of(mounted) / "5.txt").st_ino
    for name in ("5", "05.txt", "999.txt", "5.eml", "x.5.txt"):
        assert failure(os.stat, text_of(mounted) / name) == "ENOENT"
    assert failure(os.stat, attachments_of(mounted) / "5.txt") == "ENOENT"
    assert os.stat(attachments_of(mounted) / "5.eml").st_ino == os.stat(attachments_of(mounted) / "5").st_ino
    assert set(os.listdir(attachments_of(mounted))) == set(os.listdir(mounted / "INBOX"))


def numbers(mounted):
    found = {}
    for top in (mounted, mounted / ".mailtree" / "text", mounted / ".mailtree" / "attachments"):
        for directory, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(directory, name)
                found[os.path.relpath(path, mounted)] = os.lstat(path).st_ino
    return found


def test_inode_numbers_are_unique_and_the_same_in_every_mount(mount, home, filled):
    mounted = mount(filled)
    first = numbers(mounted)
    assert len(set(first.values())) == len(first) > 3 * COUNT
    mounted.unmount()
    again = numbers(home.mount("work", cache_dir=home.path / "another"))
    assert again == first


def test_what_is_gone_is_gone_there_too(place, mount, filled):
    mounted = mount(filled)
    assert len(os.listdir(text_of(mounted))) == COUNT
    text = text_of(mounted) / "3.txt"
    assert text.read_bytes()
    client = place.imap(filled)
    client.select("INBOX")
    client.uid("STORE", "3", "+FLAGS", r"(\Deleted)")
    client.expunge()
    client.logout()
    mounted.refresh()
    assert 3 not in {int(name.split(".")[-2]) for name in os.listdir(text_of(mounted))}
    assert failure(os.stat, text) == "ENOENT"
    assert 3 not in uids(attachments_of(mounted))


def test_a_folder_made_anew_under_an_old_name(place, mount, fresh_user):
    """As in the tree of mail itself: it is the same directory to the kernel, and not a dead one, nor that of old mail."""
    user = fresh_user()
    client = place.imap(user)

    def mail(word):
        return b"Subject: again\r\n" + mime.multipart(b"mixed", b"b", [
            mime.part(b"text/plain", b"text " + word + b"\r\n"),
            mime.part(b"text/plain", word, None, [b'Content-Disposition: attachment; filename="%s.txt"' % word])])

    client.create("Again")
    client.append("Again", None, None, mail(b"old"))
    mounted = mount(user)
    text, attachments = (mounted / ".mailtree" / name / "Again" for name in ("text", "attachments"))
    assert "text old" in (text / "1.txt").read_text() and os.listdir(attachments / "1.eml") == ["old.txt"]
    handles = [os.open(path, os.O_RDONLY) for path in (text, attachments, attachments / "1.eml")]
    try:
        client.delete("Again")
        mounted.refresh()
        client.create("Again")
        client.append("Again", None, None, mail(b"new"))
        mounted.refresh()
        assert len(os.listdir(text)) == 1 and "text new" in (text / "1.txt").read_text()
        # The kernel is told nothing of attachments, and remembers for a second.
        assert until_works((attachments / "1.eml" / "new.txt").read_bytes) == b"new"
        assert os.listdir(attachments / "1.eml") == ["new.txt"] and len(os.listdir(attachments)) == 1
    finally:
        for handle in handles:
            os.close(handle)
        client.logout()


def expected_attachments(content):
    """Octets as Python's email sees them, in order; "message", or None for what it has no octets of."""
    found = []
    message = email.message_from_bytes(content)

    def look(part):
        if part.get_content_maintype() == "multipart":
            for inner in part.get_payload():
                look(inner)
        elif part.get_content_type() == "message/rfc822":
            found.append("message")
        elif part.get_filename() or part.get_content_disposition() == "attachment" or \
                part.get_content_type() not in ("text/plain", "text/html"):
            # Of a delivery report Python makes messages, too.
            found.append(None if part.get_content_type() == "message/delivery-status" else part.get_payload(decode=True))
    look(message)
    return found


def test_attachments_are_the_decoded_octets(mount, filled, messages):
    mounted = mount(filled, noprefetch=True)
    with_some = 0
    for number, message in messages.items():
        root = attachments_of(mounted) / f"{number}.eml"
        expected = expected_attachments(served_bytes(message.content))
        names = os.listdir(root)
        with_some += bool(names)
        assert len(names) == len(expected), (number, names)
        for name, content in zip(names, expected):
            path = root / name
            assert not name.startswith((".", "-")) and "/" not in name and "\\" not in name
            with open(path, "rb") as file:
                read = file.read()
                assert os.fstat(file.fileno()).st_size == os.stat(path).st_size == len(read)
            assert os.stat(path).st_mtime == message.internal_date
            if content == "message":
                assert name.endswith(".eml") and read in served_bytes(message.content)
            elif content is not None:
                assert read == content
    assert with_some > 10


def test_a_directory_of_attachments_fetches_its_message_alone(mount, filled):
    mounted = mount(filled, noprefetch=True)
    os.listdir(attachments_of(mounted))
    assert counters(mounted)[0] == 0
    assert failure(os.stat, attachments_of(mounted) / "7.eml" / ".hidden") == "ENOENT"
    assert counters(mounted)[0] == 0
    os.listdir(attachments_of(mounted) / "7.eml")
    assert counters(mounted)[0] == 1
    assert failure(os.stat, attachments_of(mounted) / "8.eml" / "none.pdf") == "ENOENT"
    assert counters(mounted)[0] == 2


def test_a_large_attachment_is_read_in_pieces(place, mount, fresh_user):
    user = fresh_user()
    octets = bytes(range(256)) * 12_000
    content = b"Subject: large\r\n" + mime.multipart(b"mixed", b"b", [
        mime.part(b"text/plain", b"text\r\n"),
        mime.part(b"application/ms-tnef", octets, b"base64", [b'Content-Disposition: attachment; filename="winmail.dat"'])])
    with Maildir(place.dovecot.maildir(user).root).folder("INBOX") as box:
        box.add(content, 1_600_000_000, "")
    mounted = mount(user)
    path = attachments_of(mounted) / "1.eml" / "winmail.dat"
    assert os.stat(path).st_size == len(octets)
    assert path.read_bytes() == octets
    with open(path, "rb") as file:
        file.seek(2_000_000)
        assert file.read(1000) == octets[2_000_000:2_001_000]
    assert "- winmail.dat (application/ms-tnef, 3072000 bytes)\n" in (text_of(mounted) / "1.txt").read_text()
