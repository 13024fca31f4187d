# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of messages and folders: each by the rule, written here a second time, and the odd ones one by one."""

import email.header
import hashlib
import os
import re
import time
import unicodedata

import pytest
from lab import oddities
from lab.imapmodel import Folder, Message, Model
from probe import failure, snapshot, uids
from witness import read

DATE = 1_700_000_000
NAME_BYTES = 200


def clean(text, is_subject):
    pieces = [""]
    for letter in text:
        if (unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") or letter.isspace() or letter in '/\\:*?"<>|-\ufffd' or
                (is_subject and letter == "_")):
            pieces.append("")
        else:
            pieces[-1] += letter
    return "-".join(filter(None, pieces))


def cut(text, size):
    return text.encode()[:size].decode(errors="ignore")


def expected_name(uid, date, address, subject):
    sender = cut(clean(address or "", False), 64) or "unknown"
    head = time.strftime("%Y-%m-%dT%H%M_", time.gmtime(date)) + sender + "_"
    tail = f".{uid}.eml"
    subject = clean(unicodedata.normalize("NFC", subject or ""), True) or "no-subject"
    return head + cut(subject, NAME_BYTES - len((head + tail).encode())) + tail


def header(content, name):
    """A field of the generator's mail, unfolded."""
    head = content.partition(b"\r\n\r\n")[0] + b"\r\n"
    match = re.search(rb"^%s:((?:.*\r\n)(?:[ \t].*\r\n)*)" % name.encode(), head, re.MULTILINE | re.IGNORECASE)
    return re.sub(r"\r\n(?=[ \t])", "", match[1].decode()).strip()


def decoded(text):
    return str(email.header.make_header(email.header.decode_header(text)))


@pytest.fixture(scope="module")
def shared(module_home, place, truth):
    module_home.set_account("work", place.account("work"))
    return module_home.mount("work")


def by_uid(folder):
    return {uid: os.path.basename(path) for uid, path in uids(folder).items()}


# Messages

def test_every_ordinary_message_has_the_name_of_the_rule(shared, truth):
    wrong = []
    for folder, messages in truth.items():
        if folder == "Odd" or "%" in folder:
            continue
        found = by_uid(shared / folder)
        for uid, message in messages.items():
            address = re.search(r"<([^<>]*)>$", header(message.content, "From"))[1]
            name = expected_name(uid, message.internal_date, address, decoded(header(message.content, "Subject")))
            if found[uid] != name:
                wrong.append((folder, uid, found[uid], name))
    assert not wrong, f"{len(wrong)} names, the first: {wrong[:3]}"


ADA = "ada@engine.example"
ODD_NAMES = {
    "empty": (None, None), "one byte": (None, None), "only a line end": (None, None), "no headers": (None, None),
    "no headers and no empty line": (None, None), "headers only": (ADA, "no body and no empty line"),
    "no end of line at the end": (ADA, "open end"), "no date": (ADA, "no date"), "broken date": (ADA, "broken date"),
    "no from": (None, "nobody"), "empty from": (None, "empty from"), "from is a group": (None, "group"),
    "from is a group with members": (ADA, "group"), "from twice": (ADA, "two"), "from with a route and comments": ("x@y.example", "old style"),
    "from of 1,000 bytes": ("a" * 990 + "@long.example", "long from"), "no subject": (ADA, None), "empty subject": (ADA, None),
    "subject of 500 bytes, encoded": (ADA, oddities.SUBJECT_500), "subject of 500 bytes, raw utf-8": (ADA, oddities.SUBJECT_500),
    "NFC twin": (ADA, "Їжак і café"), "NFD twin": (ADA, "Їжак і café"), "folded to pieces": (ADA, "Ада"),
    "line of 48 KB": (ADA, "long line"), "header of 60 KB": (ADA, "long header"), "5,000 headers": (ADA, "many"),
    "1970": (ADA, "the epoch"), "2039": (ADA, "after 2038"), "30 messages deep": (ADA, "outer"), "mixed line ends": (ADA, "mixed"),
} | {f"hostile subject {ascii(subject)[:40]}": (ADA, subject) for subject in oddities.HOSTILE_SUBJECTS}


@pytest.mark.parametrize("kind", ODD_NAMES)
def test_an_odd_message_has_its_name(shared, truth, kind):
    uid, message = next((uid, message) for uid, message in truth["Odd"].items() if message.kind == kind)
    assert by_uid(shared / "Odd")[uid] == expected_name(uid, message.internal_date, *ODD_NAMES[kind])


def test_every_name_is_one_that_a_program_can_use(shared, truth):
    for folder in ("Odd", "INBOX", "日本語/受信"):
        names = [os.fsencode(name) for name in by_uid(shared / folder).values()]
        assert len(names) == len(set(names)) == len(truth[folder])
        for name in names:
            text = name.decode()
            assert len(name) <= NAME_BYTES and unicodedata.is_normalized("NFC", text)
            assert not [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Zs")]
            assert not set(text) & set('/\\:*?"<>|') and not text.startswith((".", "-"))
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{4}_[^_].*_[^_]+\.\d+\.eml", text), text


def test_a_subject_is_cut_between_characters_whatever_the_uids_length(scripted, mount):
    subject = "їжак🎉" * 60
    content = b"From: " + "довга-адреса".encode() * 6 + b"@x.example\r\nSubject: " + subject.encode() + b"\r\n\r\n"
    numbers = [1, 22, 333, 4_444, 1_000_000, 4_294_967_294]
    server = scripted(Model({"INBOX": {uid: Message("long", content, DATE) for uid in numbers}}))
    mounted = mount(text=server.account("work"))
    names = by_uid(mounted / "INBOX")
    for uid in numbers:
        assert names[uid] == expected_name(uid, DATE, "довга-адреса" * 6 + "@x.example", subject)
        assert NAME_BYTES - 4 < len(names[uid].encode()) <= NAME_BYTES
        assert read(mounted / "INBOX" / names[uid]) == content


# Folders

def mark(raw):
    return "~" + hashlib.sha256(raw).hexdigest()[:8]


# (raw, delimiter, path in the mount)
FOLDERS = (
    (b"INBOX", b".", ["INBOX"]),
    (b"a/b", b".", ["a%2Fb"]),
    (b"a%2Fb", b".", ["a%252Fb"]),
    (b"..", b"", ["%2E%2E"]),
    (b".", b"", ["%2E"]),
    (b"...", b"", ["..."]),
    (b".hidden", b"/", [".hidden"]),
    (b"100% &- more", b"/", ["100% & more"]),
    (b"50%ab", b"/", ["50%25ab"]),
    (b"control\x01\x1f\x7f", b"/", ["control%01%1F%7F"]),
    (b"c1 &AIU-", b"/", ["c1 %C2%85"]),
    (b" spaces ", b"/", [" spaces "]),
    (b'quote"back\\slash', b"/", ['quote"back\\slash']),
    (b"star*and%", b"/", ["star*and%"]),
    (b"-rf", b"/", ["-rf"]),
    (b"&BBIERQRWBDQEPQRW-", b"/", ["Вхідні"]),
    (b"&2Dzfiw-", b"/", ["🎋"]),
    (b"5.eml", b"/", ["5.eml" + mark(b"5.eml")]),
    (b"x.17.eml", b"/", ["x.17.eml" + mark(b"x.17.eml")]),
    (b"letters.eml", b"/", ["letters.eml"]),
    (b".mailtree", b"/", [".mailtree" + mark(b".mailtree")]),
    (b"L" * 255, b"/", ["L" * 255]),
    (b"M" * 256, b"/", ["M" * 246 + mark(b"M" * 256)]),
    (b"&" + b"BDAEMAQwBDAEMAQw" * 40 + b"-", b"/",
     ["а" * 123 + mark(b"&" + b"BDAEMAQwBDAEMAQw" * 40 + b"-")]),
    # Two that would be one: by delimiters of two namespaces.
    (b"Shared.Same", b".", ["Shared", "Same" + mark(b"Shared.Same")]),
    (b"Shared/Same", b"/", ["Shared", "Same" + mark(b"Shared/Same")]),
    # They differ for Linux.
    (b"case", b"/", ["case"]),
    (b"CASE", b"/", ["CASE"]),
    # Not what modified UTF-7 allows: shown as it was sent.
    (b"&AGE-", b"/", ["&AGE-"]),
    (b"&open", b"/", ["&open"]),
    (b"deep/er/and/deep/er", b"/", ["deep", "er", "and", "deep", "er"]),
)


@pytest.fixture(scope="module")
def odd_folders(module_home):
    from lab.scripted import Scripted
    model = Model({raw: Folder(raw, [message_of(raw)], delimiter=delimiter) for raw, delimiter, _ in FOLDERS})
    with Scripted(model) as server:
        module_home.set_account("odd", server.account("odd"))
        mounted = module_home.mount("odd")
        os.listdir(mounted)
        yield mounted
        mounted.unmount()


def message_of(raw):
    return b"From: a@b.example\r\nSubject: folder\r\n\r\n" + raw.hex().encode() + b"\r\n"


@pytest.mark.parametrize("raw, delimiter, path", FOLDERS, ids=[ascii(row[0])[:40] for row in FOLDERS])
def test_an_odd_folder_has_its_name_and_its_own_mail(odd_folders, raw, delimiter, path):
    place = os.path.join(odd_folders, *path)
    assert path[-1] in os.listdir(os.path.dirname(place))
    assert [read(file) for file in uids(place).values()] == [message_of(raw)]


def test_odd_folders_are_all_there_and_stay(odd_folders):
    first = snapshot(odd_folders)
    folders = {path for path in first if not path.endswith(".1.eml") or path.endswith(mark(b"5.eml"))} - {"."}
    assert {os.path.join(*path) for _, _, path in FOLDERS} <= folders
    assert len(folders) == len({os.path.join(*row[2][:depth]) for row in FOLDERS for depth in range(1, len(row[2]) + 1)})
    odd_folders.remount()
    assert snapshot(odd_folders) == first
    odd_folders.unmount()
    odd_folders.home.wipe_cache()
    odd_folders.start()
    assert snapshot(odd_folders) == first
    assert failure(os.stat, odd_folders / "5.eml") == "ENOENT"
    assert (odd_folders / ".mailtree" / "status.json").exists()


@pytest.mark.parametrize("raw", [b"\xff\xfe", "Папка".encode(), b"a\xc3", b"x\r\ny", b"{5}", b"(", b")", b"NIL", b"\\", b'"'])
def test_hostile_bytes_give_a_legal_name_or_an_error_but_never_another_folder(scripted, mount, raw):
    server = scripted(Model({"INBOX": [message_of(b"INBOX")], "odd": Folder(raw, [message_of(raw)])}))
    mounted = mount(text=server.account("work"))
    names = set(os.listdir(mounted)) - {"INBOX"}
    assert len(names) == 1
    name = os.fsencode(names.pop())
    name.decode()
    assert not re.search(rb"[\x00-\x1f\x7f/]", name) and name not in (b".", b"..")
    assert [read(file) for file in uids(os.path.join(mounted, os.fsdecode(name))).values()] == [message_of(raw)]
    assert [read(file) for file in uids(mounted / "INBOX").values()] == [message_of(b"INBOX")]


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_folders(scripted, mount, count):
    names = [f"Folder {number}" if number % 10 else f"Deep {number}/Sub/{number}" for number in range(count)]
    server = scripted(Model({name: [message_of(name.encode())] for name in names}))
    mounted = mount(text=server.account("work"), keys={"timeout": 120})
    tops = {name.split("/")[0] for name in names}
    assert set(os.listdir(mounted)) == tops
    inodes = {entry.name: entry.inode() for entry in os.scandir(mounted)}
    assert len(set(inodes.values())) == len(tops)
    for name in (names[0], names[1], names[-1]):
        assert [read(file) for file in uids(mounted / name).values()] == [message_of(name.encode())]
    mounted.remount()
    assert {entry.name: entry.inode() for entry in os.scandir(mounted)} == inodes
