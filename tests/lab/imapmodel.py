# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders and messages as Python data, and how IMAP says them: the model behind scripted.py.

    model = Model({"INBOX": [message, …], "Sent/Ціни": {7: message, 9: b"…"}})   # a list numbers them from 1
    folder = model.folders["INBOX"]          # .messages {uid: Message}, .uidvalidity, .uidnext, .raw, .attributes
    Folder(raw=b'..', attributes=["\\\\Noselect"], delimiter=b".")          # hostile names: raw bytes as sent
    Message(kind, content, internal_date, emailid="M1")                   # its EMAILID, or X-GM-MSGID
"""

import email
import email.policy
import email.utils
import re
import time

from . import mutf7
from .generator import FIRST_DATE, Message
from .mime import MONTHS

FLAGS = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "D": "\\Draft", "T": "\\Deleted"}
ITEM = re.compile(rb"BODY(?:\.PEEK)?\[[^\]]*\](?:<\d+\.\d+>)?|[A-Z0-9.\-]+", re.IGNORECASE)


class Folder:
    def __init__(self, raw, messages=(), attributes=(), delimiter=b"/", uidvalidity=1_600_000_001):
        self.raw = raw
        self.attributes = list(attributes)
        self.delimiter = delimiter
        self.uidvalidity = uidvalidity
        pairs = messages.items() if isinstance(messages, dict) else enumerate(messages, 1)
        self.messages = {uid: as_message(uid, message) for uid, message in pairs}
        self.uidnext = max(self.messages, default=0) + 1

    def add(self, message):
        uid = self.uidnext
        self.messages[uid] = as_message(uid, message)
        self.uidnext += 1
        return uid

    def list_line(self):
        delimiter = b'"' + self.delimiter.replace(b"\\", b"\\\\") + b'"' if self.delimiter else b"NIL"
        return b"* LIST (%s) %s %s\r\n" % (" ".join(self.attributes).encode(), delimiter, atom_or_quoted(self.raw))

    def unseen(self):
        return sum("S" not in message.flags for message in self.messages.values())

    def choose(self, chosen, by_uid):
        """[(sequence number, uid)] of a set like 1:5,8,10:*."""
        uids = sorted(self.messages)
        if not uids:
            return []
        last = uids[-1] if by_uid else len(uids)
        ranges = []
        for part in chosen.split(b","):
            ends = [last if end == b"*" else int(end) for end in part.split(b":")]
            ranges.append((min(ends), max(ends)))
        return [(number, uid) for number, uid in enumerate(uids, 1)
                if any(low <= (uid if by_uid else number) <= high for low, high in ranges)]

    def fetch_line(self, number, uid, items, by_uid):
        message = self.messages[uid]
        names = [name.upper() for name in ITEM.findall(items)]
        if by_uid and b"UID" not in names:
            names.insert(0, b"UID")
        return b"* %d FETCH (%s)\r\n" % (number, b" ".join(fetch_item(name, uid, message) for name in names))


class Model:
    def __init__(self, folders):
        self.folders = {}
        for name, content in folders.items():
            self.folders[name] = content if isinstance(content, Folder) else Folder(
                mutf7.encode(name).encode(), content)

    def by_raw_name(self, raw):
        def key(name):
            return re.sub(rb"^INBOX(?=$|/)", b"INBOX", name, flags=re.IGNORECASE)
        return next((folder for folder in self.folders.values() if key(folder.raw) == key(raw)), None)


def as_message(uid, message):
    return message if isinstance(message, Message) else Message("bytes", message, FIRST_DATE + uid * 3600)


def fetch_item(name, uid, message):
    if name == b"UID":
        return b"UID %d" % uid
    if name == b"FLAGS":
        return b"FLAGS (%s)" % " ".join(FLAGS[letter] for letter in message.flags).encode()
    if name == b"RFC822.SIZE":
        return b"RFC822.SIZE %d" % len(message.content)
    if name == b"INTERNALDATE":
        date = time.gmtime(message.internal_date)
        return (f'INTERNALDATE "{date.tm_mday:2d}-{MONTHS[date.tm_mon - 1]}-{date.tm_year} '
                f'{date.tm_hour:02d}:{date.tm_min:02d}:{date.tm_sec:02d} +0000"').encode()
    if name == b"EMAILID" and message.emailid:
        return b"EMAILID (%s)" % message.emailid.encode()
    if name == b"X-GM-MSGID" and message.emailid:
        return b"X-GM-MSGID " + message.emailid.encode()
    if name == b"ENVELOPE":
        return b"ENVELOPE " + envelope(message.content)
    if name.startswith((b"BODY[", b"BODY.PEEK[")):
        return body_item(name, message.content)
    return name + b" NIL"


def body_item(name, content):
    section = re.search(rb"\[([^\]]*)\](?:<(\d+)\.(\d+)>)?", name)
    head, separator, _ = content.partition(b"\r\n\r\n")
    text = content
    if section[1].startswith(b"HEADER.FIELDS"):
        wanted = section[1].partition(b"(")[2].rstrip(b")").split()
        fields = re.findall(rb"^[^\r\n:]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", head + b"\r\n", re.MULTILINE)
        text = b"".join(field for field in fields if field.split(b":")[0].strip().upper() in wanted) + b"\r\n"
    elif section[1] == b"HEADER":
        text = head + separator
    label = b"BODY[" + section[1] + b"]"
    if section[2] is not None:
        text = text[int(section[2]):int(section[2]) + int(section[3])]
        label += b"<" + section[2] + b">"
    return label + b" {%d}\r\n" % len(text) + text


def envelope(content):
    mail = email.message_from_bytes(content, policy=email.policy.compat32)

    def text(name):
        value = mail[name]
        return nstring(None if value is None else str(value).encode("utf-8", "surrogateescape").replace(
            b"\r", b"").replace(b"\n", b""))

    def addresses(*names):
        values = [str(value) for name in names for value in mail.get_all(name, [])]
        found = [b"(%s NIL %s %s)" % (nstring(shown.encode("utf-8", "surrogateescape") or None),
                                      nstring(address.rpartition("@")[0].encode("utf-8", "surrogateescape")),
                                      nstring(address.rpartition("@")[2].encode("utf-8", "surrogateescape")))
                 for shown, address in email.utils.getaddresses(values[:1]) if address]
        return b"(" + b"".join(found) + b")" if found else b"NIL"

    sender = addresses("From")
    return b"(%s %s %s %s %s %s %s %s %s %s)" % (
        text("Date"), text("Subject"), sender, sender, sender, addresses("To"), addresses("Cc"), addresses("Bcc"),
        text("In-Reply-To"), text("Message-ID"))


def nstring(data):
    if data is None:
        return b"NIL"
    if re.search(rb"[\r\n\0\x80-\xff]", data):
        return b"{%d}\r\n%s" % (len(data), data)
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", data) + b'"'


def atom_or_quoted(data):
    if re.fullmatch(rb"[A-Za-z0-9./&,+-]+", data):
        return data
    return nstring(data)


def split_words(arguments):
    """The arguments of a command: atoms, quoted strings and literals as their values, lists as they stand."""
    words, position = [], 0
    pattern = re.compile(rb'\s*(?:"((?:\\.|[^"\\])*)"|\{(\d+)\+?\}\r\n|(\((?:"(?:\\.|[^"\\])*"|[^()"]|\([^()]*\))*\))|([^\s()"{]\S*))')
    while match := pattern.match(arguments, position):
        position = match.end()
        if match[2] is not None:
            words.append(arguments[position:position + int(match[2])])
            position += int(match[2])
        elif match[1] is not None:
            words.append(re.sub(rb"\\(.)", rb"\1", match[1]))
        else:
            words.append(match[3] if match[3] is not None else match[4])
    return words
