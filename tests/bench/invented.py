# SPDX-License-Identifier: GPL-2.0-or-later
"""A server whose mail nobody has written: each message follows from its number, so a million of them take no room.

    with Invented(1_000_000, context) as server:    # one folder, INBOX; any password will do
        server.port

It knows what a listing, a look for changes and the reading of bodies take, and nothing changes in it. A real server
would be asked for hours to take a million files in.
"""

import re
import time

from lab.scripted import Model, Scripted

CAPABILITIES = "IMAP4rev1 SASL-IR AUTH=PLAIN NAMESPACE"
MODERN = CAPABILITIES + " ENABLE CONDSTORE QRESYNC ESEARCH IDLE"
UIDVALIDITY, MODSEQ = 11, 4_711
FIRST_DAY, MINUTES_A_DAY = 1_262_304_000, 1_440
BATCH = 2_000
SIZES_BYTES = range(1_024, 3_072)
LINE = b"Nothing of this has ever happened, and nobody was there to write it down.\r\n"
FILLER = LINE * (SIZES_BYTES.stop // len(LINE) + 1)


class Invented(Scripted):
    def __init__(self, messages, context, modern=True):
        super().__init__(Model({"INBOX": []}), context=context, capabilities=MODERN if modern else CAPABILITIES,
                         handlers={"EXAMINE": self._examine, "ENABLE": self._enable, "UID FETCH": self._fetch,
                                   "UID SEARCH": self._search})
        self.messages, self.modern = messages, modern

    def _examine(self, _session, _command):
        lines = [b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)", b"* %d EXISTS" % self.messages,
                 b"* OK [UIDVALIDITY %d] valid" % UIDVALIDITY, b"* OK [UIDNEXT %d] next" % (self.messages + 1)]
        if self.modern:
            lines.append(b"* OK [HIGHESTMODSEQ %d] highest" % MODSEQ)
        return b"\r\n".join(lines) + b"\r\n{tag} OK [READ-ONLY] done\r\n"

    @staticmethod
    def _enable(_session, _command):
        return b"* ENABLED CONDSTORE QRESYNC\r\n{tag} OK done\r\n"

    def _search(self, _session, _command):
        found = b"* ESEARCH UID ALL 1:%d\r\n" % self.messages if self.modern else (
            b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(1, self.messages + 1)) + b"\r\n")
        return found + b"{tag} OK done\r\n"

    def _fetch(self, session, command):
        chosen, items = command.arguments.split(None, 1)
        if b"CHANGEDSINCE" in items:
            return session.done(command)
        form = body if b"BODY.PEEK[]" in items else listed if b"HEADER.FIELDS" in items else probed
        for uids in self._choose(chosen):
            for first in range(uids.start, uids.stop, BATCH):
                session.send(b"".join(map(form, range(first, min(first + BATCH, uids.stop)))))
        return session.done(command)

    def _choose(self, chosen):
        for first, last in re.findall(rb"(\d+|\*)(?::(\d+|\*))?", chosen):
            ends = sorted(self.messages if end == b"*" else int(end) for end in (first, last or first))
            # "n:*" holds the last message in any case
            start = min(ends[0], self.messages) if b"*" in (first, last) else ends[0]
            yield range(start, min(ends[1], self.messages) + 1)


def header(uid):
    person = uid % 997
    return (b"From: Person %d <person%d@bench.example>\r\nTo: everyone@bench.example\r\n"
            b"Subject: Report %d of project %d\r\nMessage-ID: <%d@bench.example>\r\n\r\n"
            % (person, person, uid, uid % 89, uid))


def size_bytes(uid):
    return SIZES_BYTES[uid * 7_919 % len(SIZES_BYTES)]


def date(uid):
    """A message a minute."""
    day, minute = divmod(uid, MINUTES_A_DAY)
    return b"%s %02d:%02d:00 +0000" % (day_text(day), minute // 60, minute % 60)


def day_text(day, known={}):  # noqa: B006: it is meant to stay
    if day not in known:
        known[day] = time.strftime("%d-%b-%Y", time.gmtime(FIRST_DAY + day * 86_400)).encode()
    return known[day]


def probed(uid):
    return b'* %d FETCH (UID %d FLAGS (\\Seen) INTERNALDATE "%s" RFC822.SIZE %d)\r\n' % (
        uid, uid, date(uid), size_bytes(uid))


def listed(uid):
    text = header(uid)
    return (b'* %d FETCH (UID %d FLAGS (\\Seen) INTERNALDATE "%s" RFC822.SIZE %d'
            b" BODY[HEADER.FIELDS (FROM TO SUBJECT MESSAGE-ID)] {%d}\r\n%s)\r\n"
            % (uid, uid, date(uid), size_bytes(uid), len(text), text))


def body(uid):
    head, size = header(uid), size_bytes(uid)
    return b"* %d FETCH (UID %d BODY[] {%d}\r\n%s%s)\r\n" % (uid, uid, size, head, FILLER[:size - len(head)])
