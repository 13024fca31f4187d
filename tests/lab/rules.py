# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lying, limited or failing server does, one class each, for Proxy(rules=[…]); see dialogue.py.

    HideCapabilities({"CONDSTORE", "QRESYNC"})    WrongSizes()             DepthLimit(1)
    Exchange()  the capabilities of Exchange      ConnectionLimit(4)       CommandLimit(4096)
    RefuseBodies({7: b"NO [SERVERBUG] …"})        OmitBodies({7})          ReplaceBodies({7: b"…"}), StandIn({7})
    Throttle(after=20, backoff_ms=5000)           CloseAfter(messages=50)  SessionLifetime(3)
    Count()     which bodies were sent, and how often; which commands

    exchange_like() is a list of these that together behave as Exchange Online is reported to.

A rewriting proxy can't follow a compressed stream, so every rule here hides COMPRESS=DEFLATE.
"""

import collections
import re
import time

from .dialogue import DROP

QUOTED_OR_ITEM = re.compile(rb'"(?:\\.|[^"\\])*"|\bRFC822\.SIZE (\d+)')
UID = re.compile(rb'"(?:\\.|[^"\\])*"|\bUID (\d+)')
CAPABILITY = re.compile(rb"(\* CAPABILITY|\[CAPABILITY)([^\]\r\n]*)", re.IGNORECASE)
MESSAGE = re.compile(rb"\* \d+ FETCH ", re.IGNORECASE)

EXCHANGE_BEFORE = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
EXCHANGE_AFTER = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
STAND_IN = (b"From: Microsoft Exchange Server\r\nTo: olena@contoso.example\r\n"
            b"Subject: Retrieval using the IMAP4 protocol failed for the following message: %d\r\n"
            b"Content-Type: text/plain; charset=us-ascii\r\n\r\n"
            b"The server couldn't retrieve the following message:\r\n\r\nSubject: \"unknown\"\r\n\r\n"
            b"The message hasn't been deleted. You might be able to view it using either Outlook or\r\n"
            b"Outlook Web App. You can also contact the sender to find out what the message says.\r\n")


def uid_of(text):
    """The UID in this piece of a response, outside of quoted strings."""
    for match in UID.finditer(text):
        if match[1]:
            return int(match[1])
    return None


class Rule:
    """The base of all: no COMPRESS."""

    def text(self, _session, text, first):
        if first and b"CAPABILITY" in text.upper():
            return CAPABILITY.sub(self._rewrite, text)
        return text

    def _rewrite(self, match):
        words = [word for word in match[2].decode().split() if self.keeps(word.upper())]
        return match[1] + b" " + " ".join(words).encode()

    def keeps(self, word):
        return word != "COMPRESS=DEFLATE"

    def command(self, _session, command):
        if command.name == "COMPRESS":
            return command.tag + b" BAD Error in IMAP command COMPRESS: Unknown command.\r\n"
        return None


class HideCapabilities(Rule):
    """Takes words out; a trailing * hides all that begin so. Commands that need them are not refused."""

    def __init__(self, words):
        self._words = {word.upper() for word in words}

    def keeps(self, word):
        hidden = word in self._words or any(
            name.endswith("*") and word.startswith(name[:-1]) for name in self._words)
        return super().keeps(word) and not hidden


class Exchange(Rule):
    """Exchange's capabilities, and its answer to a command or an item that it doesn't know."""

    UNKNOWN_COMMANDS = {"ENABLE", "NOTIFY", "COMPRESS", "GETQUOTAROOT", "GETQUOTA", "SORT", "THREAD", "UID SORT"}
    UNKNOWN_WORDS = re.compile(rb"\bRETURN \(|\(CONDSTORE|\(QRESYNC|CHANGEDSINCE|MODSEQ|\bEMAILID\b|X-GM-|\bPREVIEW\b",
                               re.IGNORECASE)

    def text(self, session, text, first):
        if first and b"CAPABILITY" in text.upper():
            words = EXCHANGE_AFTER if session.state[self].get("signed_in") else EXCHANGE_BEFORE
            text = CAPABILITY.sub(lambda match: match[1] + b" " + words.encode(), text)
        return text

    def drop(self, session, text):
        # A token that is refused: other servers say why in a challenge, Exchange says NO at once.
        is_challenge = text.startswith(b"+ ") and len(text) > 4 and any(
            command.name == "AUTHENTICATE" for command in session.in_flight.values())
        if is_challenge:
            session.tell(b"\r\n")
        return is_challenge

    def tagged(self, session, command, line):
        if command.name in ("AUTHENTICATE", "LOGIN") and line.split()[1:2] == [b"OK"]:
            session.state[self]["signed_in"] = True
            # Exchange doesn't send its list here: a client has to ask.
            line = command.tag + b" OK " + command.name.encode() + b" completed.\r\n"
        elif command.name == "AUTHENTICATE" and line.split()[1:2] == [b"NO"]:
            line = command.tag + b" NO AUTHENTICATE failed.\r\n"
        return line

    def command(self, _session, command):
        known = command.name not in self.UNKNOWN_COMMANDS
        if known and command.name not in ("AUTHENTICATE", "LOGIN") and not self.UNKNOWN_WORDS.search(command.line):
            return None
        if command.name in ("AUTHENTICATE", "LOGIN"):
            return None
        return command.tag + b" BAD Command Argument Error. 11\r\n" if known else \
            command.tag + b" BAD Command Error. 12\r\n"


class WrongSizes(Rule):
    """RFC822.SIZE above the truth for a third of the messages, below it for another, by UID alone; never 0
    for what isn't empty. Bodies are untouched. `lie(uid, size)` may be given."""

    def __init__(self, lie=None):
        self._lie = lie or self.default_lie

    @staticmethod
    def default_lie(uid, size):
        if uid % 3 == 0:
            return size
        if uid % 3 == 1:
            return size + size // 7 + 1 + uid % 50
        return max(1, size - size // 5 - uid % 30)

    def text(self, session, text, first):
        text = super().text(session, text, first)
        state = session.state[self]
        if first:
            state["uid"] = None
        if first and not MESSAGE.match(text):
            return text
        state["uid"] = uid_of(text) or state["uid"]

        def rewrite(match):
            if match[1] is None or state["uid"] is None:
                return match[0]
            return b"RFC822.SIZE %d" % self._lie(state["uid"], int(match[1]))
        return QUOTED_OR_ITEM.sub(rewrite, text) if b"RFC822.SIZE" in text else text


class RefuseBodies(Rule):
    """Fails each body fetch that comes to one of these UIDs: the tagged answer is its text, `NO …` or `BAD …`;
    members before it in the set are delivered, it and those after it are not (`delivers_rest`: they are)."""

    def __init__(self, answers, delivers_rest=False):
        self.answers = dict(answers)
        self._delivers_rest = delivers_rest

    def drop(self, session, text):
        # By the command that asked for it: a server may answer several at a time.
        uid = uid_of(text) if MESSAGE.match(text) else None
        command = _asking_for(session, uid) if uid else None
        if command is None:
            return False
        failures = session.state[self]
        if uid in self.answers:
            failures.setdefault(command.tag, self.answers[uid])
            return True
        return command.tag in failures and not self._delivers_rest

    def tagged(self, session, command, line):
        failure = session.state[self].pop(command.tag, None)
        return line if failure is None else command.tag + b" " + failure + b"\r\n"


class OmitBodies(Rule):
    """OK without data for these UIDs."""

    def __init__(self, uids):
        self.uids = set(uids)

    def drop(self, session, text):
        return bool(MESSAGE.match(text)) and _oldest_wants_bodies(session) and uid_of(text) in self.uids


class ReplaceBodies(Rule):
    """Other bytes for these UIDs' bodies."""

    def __init__(self, bodies):
        self.bodies = dict(bodies)

    def literal(self, session, text, _size):
        return self.bodies.get(uid_of(text)) if _oldest_wants_bodies(session) else None


class StandIn(ReplaceBodies):
    """The message that Exchange sends instead of one that it can't produce."""

    def __init__(self, uids):
        super().__init__({uid: STAND_IN % uid for uid in uids})


class DepthLimit(Rule):
    """More commands in flight than this are answered BAD Command Error. 10."""

    def __init__(self, depth=1):
        self._depth = depth
        self.refused = 0

    def command(self, session, command):
        if len(session.in_flight) >= self._depth:
            self.refused += 1
            return command.tag + b" BAD Command Error. 10\r\n"
        return super().command(session, command)


class CommandLimit(Rule):
    def __init__(self, limit_bytes=4096, answer=b"BAD Command Error. 12"):
        self._limit_bytes = limit_bytes
        self._answer = answer
        self.refused = 0

    def command(self, session, command):
        if len(command.line) > self._limit_bytes and command.name not in ("AUTHENTICATE", "LOGIN"):
            self.refused += 1
            return command.tag + b" " + self._answer + b"\r\n"
        return super().command(session, command)


class ConnectionLimit(Rule):
    """More connections than this: after the sign-in the first command is answered as Exchange does."""

    def __init__(self, limit, greeting=None):
        self._limit = limit
        self._greeting = greeting  # b"BYE …": said at once, instead
        self._now = 0
        self.refused = 0

    def opened(self, session):
        self._now += 1
        session.state[self]["refused"] = self._now > self._limit
        if self._now > self._limit:
            self.refused += 1
            if self._greeting:
                session.say(b"* " + self._greeting + b"\r\n")
                session.close()

    def closed(self, _session):
        self._now -= 1

    def command(self, session, command):
        if session.state[self]["refused"] and command.name not in ("CAPABILITY", "AUTHENTICATE", "LOGIN", "ID", "LOGOUT"):
            session.say(command.tag + b" BAD User is authenticated but not connected.\r\n")
            session.say(b"* BYE Connection closed. 14\r\n")
            session.close()
            return DROP
        return super().command(session, command)


class Throttle(Rule):
    """The command after `after` commands, and all within backoff_ms, on any connection, are told to wait;
    `times` such spells, each after so many more commands. With `bye` the connection is closed, too.
    `ignored` counts commands sent during a spell beyond the first: a client that obeys sends none."""

    def __init__(self, after=20, backoff_ms=5000, times=1, bye=False):
        self._after, self._backoff_ms, self._times, self._bye = after, backoff_ms, times, bye
        self._commands = 0
        self._until = 0.0
        self.spells = 0
        self.ignored = 0

    def command(self, session, command):
        now = time.monotonic()
        if command.name in ("AUTHENTICATE", "LOGIN", "CAPABILITY", "LOGOUT"):
            return super().command(session, command)
        if now < self._until:
            self.ignored += 1
            return self._answer(session, command, self._until - now)
        self._commands += 1
        if self._commands > self._after and self.spells < self._times:
            self._commands = 0
            self.spells += 1
            self._until = now + self._backoff_ms / 1000
            return self._answer(session, command, self._until - now)
        return super().command(session, command)

    def _answer(self, session, command, wait_s):
        session.say(command.tag + b" BAD Request is throttled. Suggested Backoff Time: %d milliseconds\r\n" %
                    int(wait_s * 1000))
        if self._bye:
            session.say(b"* BYE Connection closed. 14\r\n")
            session.close()
        return DROP


class CloseAfter(Rule):
    """Closes each connection after so many bodies, at the end of one."""

    def __init__(self, messages, bye=b"* BYE Connection closed. 14\r\n"):
        self._messages, self._bye = messages, bye

    def message_passed(self, session):
        state = session.state[self]
        state["passed"] = state.get("passed", 0) + 1
        if state["passed"] >= self._messages:
            session.say(self._bye)
            session.close()


class SessionLifetime(Rule):
    """A session dies this long after its sign-in, as when its token has expired."""

    def __init__(self, seconds, bye=b"* BYE Session invalidated - AccessTokenExpired\r\n"):
        self._seconds, self._bye = seconds, bye
        self.ended = 0

    def tagged(self, session, command, line):
        if command.name in ("AUTHENTICATE", "LOGIN") and line.split()[1:2] == [b"OK"]:
            session.state[self]["until"] = time.monotonic() + self._seconds
        return line

    def command(self, session, command):
        if time.monotonic() >= session.state[self].get("until", float("inf")):
            self.ended += 1
            session.say(self._bye)
            session.close()
            return DROP
        return super().command(session, command)


class Count(Rule):
    """Which message bodies were sent, by (tag's session, folder as sent, UID), and the commands by name."""

    def __init__(self):
        self.bodies = collections.Counter()
        self.commands = collections.Counter()
        self.lines = []

    def command(self, session, command):
        self.commands[command.name] += 1
        if command.name not in ("AUTHENTICATE", "LOGIN"):
            self.lines.append(command.line.rstrip(b"\r\n"))
        return super().command(session, command)

    def tagged(self, session, command, line):
        if command.name in ("SELECT", "EXAMINE") and line.split()[1:2] == [b"OK"]:
            session.state[self]["folder"] = re.match(rb'"(?:\\.|[^"\\])*"|\S+', command.arguments)[0].decode()
        return line

    def literal(self, session, text, _size):
        if _oldest_wants_bodies(session):
            self.bodies[session.state[self].get("folder"), uid_of(text)] += 1
        return None


def exchange_like(connections=4, throttle_ms=None, throttle_after=40):
    """No extensions, wrong sizes, one command at a time, few connections; a throttling answer if asked for."""
    found = [Exchange(), WrongSizes(), DepthLimit(1), CommandLimit(4096), ConnectionLimit(connections)]
    if throttle_ms:
        found.append(Throttle(after=throttle_after, backoff_ms=throttle_ms))
    return found


def _oldest_wants_bodies(session):
    """Whether the command that is being answered, the oldest in flight that fetches, asked for bodies."""
    for command in session.in_flight.values():
        if command.name in ("FETCH", "UID FETCH"):
            return command.wants_bodies()
    return False


def _asking_for(session, uid):
    """The oldest command in flight that asks for the body of this UID, or None."""
    for command in session.in_flight.values():
        if command.name == "UID FETCH" and command.wants_bodies():
            for part in command.arguments.split(None, 1)[0].split(b","):
                first, _, last = part.partition(b":")
                if int(first) <= uid <= int(last or first):
                    return command
    return None
