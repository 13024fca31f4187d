# SPDX-License-Identifier: GPL-2.0-or-later
"""Follows one IMAP connection in both directions for the proxy and lets rules change it.

It knows just enough grammar to be safe at any cut of the stream: a response is lines with literals between
them; a literal's bytes are never looked at and pass as they are, unless a rule replaces or drops them whole.

A rule (rules.py) is an object with any of these methods; it is shared by all connections of a proxy, runs in
the proxy's event loop, and keeps what belongs to one connection in session.state[self].

    opened(session)                       a connection begins; may call session.say(), session.close()
    closed(session)                       it has ended
    command(session, command)             a client's command, before the server sees it. Returns None to let
                                          it (with a changed command.line, if wanted) through, bytes to answer
                                          instead of the server, DROP to swallow it
    text(session, text, first)            a line (or what stands before a literal) of a response; `first` when
                                          it begins one. Returns the text to pass on
    drop(session, text)                   asked at the beginning of a response: True takes it out, literals too
    literal(session, text, size)          `text` ends by announcing a literal: returns other bytes for it, or None
    message_passed(session)               a FETCH response with a body has gone by, whole
    tagged(session, command, line)        the tagged line of a command; returns the line to pass on

session.in_flight: commands by tag, oldest first. session.proxy, session.say(bytes),
session.tell(bytes), session.close().
"""

import re

DROP = object()
LITERAL_FROM_SERVER = re.compile(rb"~?\{(\d+)\}\r?\n$")
LITERAL_FROM_CLIENT = re.compile(rb"\{(\d+)\+?\}\r?\n$")
HAS_NO_LITERAL = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b|[^*]", re.IGNORECASE)
BODY = re.compile(rb"\bBODY\[\]|\bRFC822 |\bBINARY\[\]", re.IGNORECASE)


class Command:
    def __init__(self, line):
        self.line = line
        words = line.split(None, 3)
        self.tag = words[0] if words else b""
        self.name = words[1].upper().decode("latin-1") if len(words) > 1 else ""
        self.arguments = line.split(None, 2)[2].rstrip(b"\r\n") if len(words) > 2 else b""
        if self.name == "UID" and len(words) > 2:
            self.name += " " + words[2].upper().decode("latin-1")
            self.arguments = words[3].rstrip(b"\r\n") if len(words) > 3 else b""

    def wants_bodies(self):
        """Message bodies; headers alone are no bodies."""
        return self.name in ("FETCH", "UID FETCH") and re.search(
            rb"\bBODY(?:\.PEEK)?\[(?!HEADER)|\bRFC822(?![.\w])|\bBINARY(?:\.PEEK)?\[", self.arguments.upper()) is not None


class Dialogue:
    """The session that rules see."""

    def __init__(self, rules, proxy, connection):
        self.proxy = proxy
        self.state = {rule: {} for rule in rules}
        self.in_flight = {}
        self.commands = 0
        self._wants_close = False
        self._connection = connection
        self._rules = rules
        self._answers = []
        self._from_client = b""
        self._client_literal = 0
        self._client_in_command = False
        self._dropping_command = False
        self._from_server = b""
        self._literal = 0
        self._passes_literal = True
        self._at_boundary = True
        self._drops = False
        self._has_body = False
        self._waiting_text = []
        self._call("opened")

    # For rules

    def say(self, data):
        """Sends something to the client as if the server had said it, between two responses."""
        self._answers.append(data)

    def tell(self, data):
        """Sends something to the server as if the client had said it."""
        self._connection.tell_server(data)

    def close(self):
        """Ends the connection once what was said has been sent."""
        self._wants_close = True

    # For the proxy

    def closed(self):
        self._call("closed")

    def is_finished(self):
        return self._wants_close and self._at_boundary and not self._answers

    def take_answers(self):
        if not self._at_boundary or not self._answers:
            return b""
        data, self._answers = b"".join(self._answers), []
        return data

    def from_client(self, data):
        out = []
        data = self._from_client + data
        position = 0
        while position < len(data):
            if self._client_literal:
                piece = data[position:position + self._client_literal]
                self._client_literal -= len(piece)
                position += len(piece)
                if not self._dropping_command:
                    out.append(piece)
                continue
            end = data.find(b"\n", position)
            if end < 0:
                break
            line = data[position:end + 1]
            position = end + 1
            literal = LITERAL_FROM_CLIENT.search(line)
            if not self._client_in_command:
                line = self._begin_command(line)
            elif self._dropping_command:
                line = b""
            out.append(line)
            self._client_in_command = literal is not None
            self._client_literal = int(literal[1]) if literal else 0
        self._from_client = data[position:]
        return b"".join(out)

    def from_server(self, data):
        out = []
        data = self._from_server + data if self._from_server else data
        position, size = 0, len(data)
        while position < size:
            if self._literal:
                end = min(size, position + self._literal)
                self._literal -= end - position
                if self._passes_literal:
                    out.append(data[position:end])
                position = end
                continue
            end = data.find(b"\n", position)
            if end < 0:
                break
            self._server_line(data[position:end + 1], out)
            position = end + 1
            if self._at_boundary and self._answers:
                out.append(self.take_answers())
            if self.is_finished():
                position = size
        self._from_server = data[position:]
        return b"".join(out)

    # Inside

    def _call(self, name, *arguments):
        for rule in self._rules:
            method = getattr(rule, name, None)
            if method:
                method(self, *arguments)

    def _begin_command(self, line):
        self._dropping_command = False
        if any(command.name in ("AUTHENTICATE", "IDLE") for command in self.in_flight.values()):
            return line  # a continuation, or DONE
        command = Command(line)
        if not command.name:
            return line
        self.commands += 1
        for rule in self._rules:
            method = getattr(rule, "command", None)
            answer = method(self, command) if method else None
            if answer is not None:
                if answer is not DROP:
                    self.say(answer)
                self._dropping_command = True
                return b""
        self.in_flight[command.tag] = command
        return command.line

    def _server_line(self, line, out):
        first = self._at_boundary
        literal = None
        if not (first and HAS_NO_LITERAL.match(line)):
            literal = LITERAL_FROM_SERVER.search(line)
        if first:
            self._has_body = False
            self._drops = any(rule.drop(self, line) for rule in self._rules if hasattr(rule, "drop"))
            if not line.startswith((b"* ", b"+")):
                line = self._tagged(line)
        replacement = None
        if literal:
            self._has_body = self._has_body or BODY.search(line) is not None
            self._literal = int(literal[1])
            self._passes_literal = not self._drops
            if not self._drops:
                replacement = self._replacement(line, self._literal)
            if replacement is not None:
                self._passes_literal = False
                line = line[:literal.start()] + b"{%d}\r\n" % len(replacement)
        self._at_boundary = literal is None
        if not self._drops:
            for rule in self._rules:
                if hasattr(rule, "text"):
                    line = rule.text(self, line, first)
            out.append(line)
            if replacement is not None:
                out.append(replacement)
            if self._at_boundary and self._has_body:
                self._call("message_passed")

    def _replacement(self, line, size):
        for rule in self._rules:
            if hasattr(rule, "literal"):
                data = rule.literal(self, line, size)
                if data is not None:
                    return data
        return None

    def _tagged(self, line):
        command = self.in_flight.pop(line.split(None, 1)[0], None)
        if command:
            for rule in self._rules:
                if hasattr(rule, "tagged"):
                    line = rule.tagged(self, command, line)
        return line
