# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages that break clients: odd_messages() gives each once, its .kind says what is odd about it.

All of them can lie in a Maildir. What Dovecot serves differs from .content where that has bare LFs or NULs:
maildir.served_bytes().
"""

import unicodedata

from . import mime
from .generator import FIRST_DATE, Message

DATE = b"Date: Wed, 01 Jan 2020 00:00:00 +0000\r\n"
FROM = b"From: Ada <ada@engine.example>\r\n"
SUBJECT_500 = "Дуже довга тема: " + "її не можна обрізати посеред літери 🎉 " * 7
HOSTILE_SUBJECTS = (
    "../../etc/passwd", "/etc/passwd", "..", ".", "-rf *", "a\x00b", "\x1b]0;owned\x07\x1b[31mred",
    "x\r\nBcc: eve@evil.example", "CON", "a/b\\c:d*e?f\"g<h>i|j", "\u202egnp.exe", "\u200b\u200b", "   ",
    "_-_-_", "%2e%2e%2f", "~root", "$(reboot)`reboot`", "report.7.eml", "\ud7ff\ufeff", "a" * 400,
    "\U0001f469\u200d\U0001f467" * 30, "e" + "\u0301" * 60,
)


def odd_messages():
    found = []

    def add(kind, content, date=None, flags=""):
        number = len(found)
        found.append(Message(kind, content, FIRST_DATE + number * 60 if date is None else date, flags))

    text = b"\r\ntext\r\n"
    add("empty", b"")
    add("one byte", b"x")
    add("only a line end", b"\r\n")
    add("no headers", b"\r\nThis message begins with its body.\r\n")
    add("no headers and no empty line", b"just some text that was never mail\r\nand a second line\r\n")
    add("headers only", DATE + FROM + b"Subject: no body and no empty line\r\n")
    add("no end of line at the end", DATE + FROM + b"Subject: open end\r\n\r\nlast")
    add("no date", FROM + b"Subject: no date\r\n" + text)
    add("broken date", b"Date: yesterday, more or less\r\n" + FROM + b"Subject: broken date\r\n" + text)
    add("no from", DATE + b"Subject: nobody\r\n" + text)
    add("empty from", DATE + b"From:\r\nSubject: empty from\r\n" + text)
    add("from is a group", DATE + b"From: undisclosed:;\r\nSubject: group\r\n" + text)
    add("from is a group with members", DATE + b"From: team: ada@engine.example, b@c.example;\r\nSubject: group\r\n" + text)
    add("from twice", DATE + FROM + b"From: second@engine.example\r\nSubject: two\r\n" + text)
    add("from with a route and comments", DATE + b"From: (a (nested) one) \"q\\\"uote\" <@relay.example:x@y.example>\r\n"
        b"Subject: old style\r\n" + text)
    add("from of 1,000 bytes", DATE + b"From: <" + b"a" * 990 + b"@long.example>\r\nSubject: long from\r\n" + text)
    add("no subject", DATE + FROM + text)
    add("empty subject", DATE + FROM + b"Subject:\r\n" + text)
    add("subject of 500 bytes, encoded", DATE + FROM + b"Subject: " + mime.encoded_words(SUBJECT_500) + b"\r\n" + text)
    add("subject of 500 bytes, raw utf-8", DATE + FROM + b"Subject: " + SUBJECT_500.encode() + b"\r\n" + text)
    add("subject in raw koi8-u", DATE + FROM + b"Subject: " + "Привіт, світе".encode("koi8-u") + b"\r\n" + text)
    add("subject with invalid utf-8", DATE + FROM + b"Subject: a\xff\xfe\xc3(b\xed\xa0\x80\r\n" + text)
    add("encoded word with a wrong charset", DATE + FROM + b"Subject: =?x-nobody-knows?B?0YLQtdGB0YI=?=\r\n" + text)
    add("encoded word cut in a character", DATE + FROM + b"Subject: =?utf-8?B?0YI=?= =?utf-8?B?0A==?=\r\n =?utf-8?B?sQ==?=\r\n" + text)
    add("encoded word left open", DATE + FROM + b"Subject: =?utf-8?B?0YLQtdGB\r\n" + text)
    for form in ("NFC", "NFD"):
        subject = unicodedata.normalize(form, "Їжак і café")
        add(f"{form} twin", DATE + FROM + b"Subject: " + mime.encoded_words(subject) + b"\r\n" + text, FIRST_DATE)
    for subject in HOSTILE_SUBJECTS:
        add(f"hostile subject {ascii(subject)[:40]}",
            DATE + FROM + b"Subject: " + mime.encoded_words(subject) + b"\r\n" + text)
    add("hostile from", DATE + b"From: <../../../tmp/x/\x1b[2J@evil.example>\r\nSubject: from\r\n" + text)
    add("bare CR", DATE + FROM + b"Subject: bare CR\r\n\r\none\rtwo\r\r\nthree\r")
    add("bare LF", DATE + FROM + b"Subject: bare LF\n\nunix\nlines\n")
    add("mixed line ends", DATE + FROM + b"Subject: mixed\r\n\r\na\nb\r\nc\rd\n\r\n\n")
    add("NUL", DATE + FROM + b"Subject: nul\r\n\r\na\0b\0\0\r\n")
    add("every byte", DATE + FROM + b"Subject: every byte\r\n\r\n" + bytes(range(256)) * 3 + b"\r\n")
    add("forged protocol", DATE + FROM + b"Subject: forged\r\n\r\n)\r\n* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n"
        b"A001 OK done\r\n* BYE gone\r\n{5}\r\nM0001 OK FETCH completed\r\n+ go on\r\n")
    add("mbox line first", b"From ada@engine.example Wed Jan  1 00:00:00 2020\r\n" + DATE + FROM + b"Subject: mbox\r\n" + text)
    add("space before the colon", DATE + FROM + b"Subject : spaced\r\n" + text)
    add("folded to pieces", DATE + b"From:\r\n Ada\r\n\t<ada@engine.example>\r\nSubject:\r\n =?utf-8?Q?=D0=90?=\r\n\t=?utf-8?Q?=D0=B4=D0=B0?=\r\n" + text)
    add("line of 48 KB", DATE + FROM + b"Subject: long line\r\n\r\n" + b"x" * 48_000 + b"\r\n")
    add("header of 60 KB", DATE + FROM + b"X-Long: " + b"y" * 60_000 + b"\r\nSubject: long header\r\n" + text)
    add("5,000 headers", DATE + FROM + b"".join(b"X-%d: v\r\n" % n for n in range(5_000)) + b"Subject: many\r\n" + text)
    nested = b"innermost\r\n"
    for depth in range(100):
        nested = mime.multipart(b"mixed", b"deep%d" % depth, [nested if depth else mime.part(b"text/plain", nested)])
    add("100 multiparts deep", DATE + FROM + b"Subject: deep\r\nMIME-Version: 1.0\r\n" + nested)
    inside = FROM + b"Subject: innermost\r\n" + text
    for _ in range(30):
        inside = FROM + b"Subject: outer\r\n" + mime.part(b"message/rfc822", inside)
    add("30 messages deep", inside)
    add("multipart without an end", DATE + FROM + b"Subject: cut\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\ncut off here")
    add("multipart without a boundary", DATE + FROM + b"Subject: unbounded\r\nContent-Type: multipart/mixed\r\n" + text)
    add("cut base64", DATE + FROM + b"Subject: b64\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n0J/RgNC40LLRlg\r\n!!!\r\n")
    add("unknown charset and encoding", DATE + FROM + b"Subject: unknown\r\nContent-Type: text/plain; charset=klingon\r\nContent-Transfer-Encoding: x-uuencode-ish\r\n" + text)
    add("1970", DATE + FROM + b"Subject: the epoch\r\n" + text, 0)
    add("2039", DATE + FROM + b"Subject: after 2038\r\n" + text, 2_180_000_000)
    add("flagged, answered, draft", DATE + FROM + b"Subject: flags\r\n" + text, None, "DFRS")
    return found
