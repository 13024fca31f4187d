# SPDX-License-Identifier: GPL-2.0-or-later
"""An IMAP server that does what a test says: real enough to mount, wrong where the test wants it.

    model = Model({"INBOX": [message, b"Subject: x\\r\\n\\r\\ny"], "A/Б": []})     # generator.Message or bytes
    with Scripted(model) as server:                       # plain; TLS: context=ca.server_context(certificate)
        text = server.account("one")                      # a group for mailtree's config: password, tls = none
        server.lines                                      # every command line received
        server.connections

Handlers replace the answer to a command, by its name ("UID FETCH", "LIST", "greeting"; "*" is asked first):

    Scripted(model, {"UID FETCH": b"{tag} NO [SERVERBUG] sorry\\r\\n"})       # {tag} is filled in
    Scripted(model, {"NOOP": [b"* BYE bye\\r\\n", None]})       # in turn, the last for ever; None: the model's own
    def handler(session, command):                              # .tag .name .arguments .line (bytes)
        session.send(b"* 5 EXPUNGE\\r\\n"); session.answer(command)       # …then as the model would
        # or return bytes; also session.close(), session.silent(), session.read_line()

options: capabilities, split=1 (each byte its own packet), check(mechanism, response) → accepted?
Ready-made handlers are at the end: silent, close, NOT_CONNECTED, echo_authenticate, bye_in_literal, …
for_bodies(handler) keeps one to the fetches of bodies.
"""

import base64
import re
import socket
import threading
import time

from . import net
from .dialogue import Command
from .imapmodel import Folder, Model, atom_or_quoted, split_words

__all__ = ["Folder", "Model", "Scripted"]

CAPABILITIES = "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 NAMESPACE"
MAX_LITERAL_BYTES = 64 << 20
LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")


class Scripted:
    PASSWORD = "scripted-Passw0rd"

    def __init__(self, model=None, handlers=None, context=None, capabilities=CAPABILITIES, split=None, check=None,
                 greeting=b"* OK ready\r\n", port=0):
        self.model = model or Model({"INBOX": []})
        self.handlers = dict(handlers or {})
        self.context = context
        self.capabilities = capabilities
        self.split = split
        self.check = check or (lambda mechanism, response: True)
        self.greeting = greeting
        self.port = port
        self.lines = []
        self.connections = 0
        self.lock = threading.Lock()
        self._listener = None
        self._sessions = set()

    def start(self):
        self._listener = socket.create_server((net.LOOPBACK, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self):
        if self._listener:
            # close() alone would leave accept() waiting.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for session in list(self._sessions):
            session.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def account(self, group, **keys):
        values = {"provider": "generic", "host": net.LOOPBACK, "port": self.port, "user": "olena@contoso.example",
                  "tls": "implicit" if self.context else "none", "auth": "password", "password": self.PASSWORD} | keys
        return "\n".join([f"[{group}]", *[f"{key} = {value}" for key, value in values.items() if value is not None], ""])

    def take_handler(self, name):
        """What to do for this name now: a list gives one element at a time."""
        with self.lock:
            handler = self.handlers.get(name)
            if isinstance(handler, list):
                return handler.pop(0) if len(handler) > 1 else handler[0]
            return handler

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        session = None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            session = Session(self, connection)
            with self.lock:
                self.connections += 1
                self._sessions.add(session)
            session.run()
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._sessions.discard(session)
            if session:
                session.close()
            connection.close()


class Session:
    def __init__(self, server, connection):
        self.server = server
        self.selected = None
        self.signed_in = False
        self.state = {}
        self._connection = connection
        self._file = connection.makefile("rb", buffering=1 << 16)
        self._is_open = True

    # For handlers

    def send(self, data):
        size = self.server.split or max(1, len(data))
        for start in range(0, len(data), size):
            self._connection.sendall(data[start:start + size])

    def answer(self, command):
        """As the model does."""
        method = getattr(self, "_do_" + command.name.lower().replace(" ", "_"), None)
        if method is None:
            self.send(command.tag + b" BAD Command unknown\r\n")
            return
        data = method(command)
        self.send(data if data is not None else self.done(command))

    @staticmethod
    def done(command, text=b"completed"):
        return command.tag + b" OK " + text + b"\r\n"

    def read_line(self):
        line = self._file.readline(1 << 20)
        if not line:
            raise EOFError
        return line

    def silent(self):
        """Says nothing more, and keeps the connection open."""
        while self._is_open:
            time.sleep(0.05)
        raise EOFError

    def close(self):
        self._is_open = False
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def starttls(self, context):
        self._connection = context.wrap_socket(self._connection, server_side=True)
        self._file = self._connection.makefile("rb", buffering=1 << 16)

    # Inside

    def run(self):
        self._play(self.server.take_handler("greeting") or self.server.greeting, Command(b"* greeting\r\n"))
        while self._is_open:
            command = self._read_command()
            with self.server.lock:
                self.server.lines.append(command.line.rstrip(b"\r\n"))
            handler = self.server.take_handler("*") or self.server.take_handler(command.name)
            if handler is None:
                self.answer(command)
            else:
                self._play(handler, command)

    def _play(self, handler, command):
        data = handler(self, command) if callable(handler) else handler
        if data:
            self.send(data.replace(b"{tag}", command.tag))

    def _read_command(self):
        line = self.read_line()
        while literal := LITERAL.search(line):
            if int(literal[1]) > MAX_LITERAL_BYTES:
                raise ValueError("literal too long")
            if not literal[2]:
                self.send(b"+ go on\r\n")
            line += self._file.read(int(literal[1])) + self.read_line()
        return Command(line)

    def _do_capability(self, command):
        return b"* CAPABILITY " + self.server.capabilities.encode() + b"\r\n" + self.done(command)

    def _do_noop(self, command):
        return None

    _do_check = _do_subscribe = _do_unsubscribe = _do_noop

    def _do_logout(self, command):
        self.send(b"* BYE bye\r\n" + self.done(command))
        raise EOFError

    def _do_id(self, command):
        return b"* ID NIL\r\n" + self.done(command)

    def _do_namespace(self, command):
        return b'* NAMESPACE (("" "/")) NIL NIL\r\n' + self.done(command)

    def _do_enable(self, command):
        return b"* ENABLED\r\n" + self.done(command)

    def _do_starttls(self, command):
        context = getattr(self.server, "starttls_context", None)
        if context is None:
            return command.tag + b" BAD no TLS\r\n"
        self.send(self.done(command))
        self.starttls(context)
        return b""

    def _do_login(self, command):
        words = split_words(command.arguments)
        return self._signed_in(command, "LOGIN", b"\0".join(words[:2]))

    def _do_authenticate(self, command):
        words = command.arguments.split()
        if len(words) > 1:
            response = words[1]
        else:
            self.send(b"+ \r\n")
            response = self.read_line().strip()
        return self._signed_in(command, words[0].decode().upper(), base64.b64decode(response + b"==="))

    def _signed_in(self, command, mechanism, response):
        if not self.server.check(mechanism, response):
            return command.tag + b" NO AUTHENTICATE failed.\r\n"
        self.signed_in = True
        return self.done(command)

    def _do_list(self, command):
        words = split_words(command.arguments)
        pattern = (words[0] + words[1]).decode("utf-8", "replace") if len(words) > 1 else ""
        if not pattern:
            return b'* LIST (\\Noselect) "/" ""\r\n' + self.done(command)
        expression = "".join(".*" if letter == "*" else "[^/]*" if letter == "%" else re.escape(letter)
                             for letter in pattern)
        out = [folder.list_line() for folder in self.server.model.folders.values()
               if re.fullmatch(expression, folder.raw.decode("utf-8", "replace"), re.DOTALL)]
        return b"".join(out) + self.done(command)

    _do_lsub = _do_list

    def _folder(self, word):
        return self.server.model.by_raw_name(word)

    def _do_examine(self, command):
        self.selected = None
        folder = self._folder(split_words(command.arguments)[0])
        if folder is None or "\\Noselect" in folder.attributes:
            return command.tag + b" NO [NONEXISTENT] No such mailbox\r\n"
        self.selected = folder
        lines = [b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)", b"* %d EXISTS" % len(folder.messages),
                 b"* 0 RECENT", b"* OK [UIDVALIDITY %d] valid" % folder.uidvalidity,
                 b"* OK [UIDNEXT %d] next" % folder.uidnext]
        access = b"[READ-ONLY]" if command.name == "EXAMINE" else b"[READ-WRITE]"
        return b"\r\n".join(lines) + b"\r\n" + self.done(command, access + b" selected")

    _do_select = _do_examine

    def _do_unselect(self, command):
        self.selected = None

    _do_close = _do_unselect

    def _do_status(self, command):
        words = split_words(command.arguments)
        folder = self._folder(words[0])
        if folder is None:
            return command.tag + b" NO [NONEXISTENT] No such mailbox\r\n"
        values = {b"MESSAGES": len(folder.messages), b"UIDNEXT": folder.uidnext, b"RECENT": 0,
                  b"UIDVALIDITY": folder.uidvalidity, b"UNSEEN": folder.unseen()}
        wanted = words[1].strip(b"()").upper().split()
        text = b" ".join(b"%s %d" % (name, values[name]) for name in wanted if name in values)
        return b"* STATUS " + atom_or_quoted(folder.raw) + b" (" + text + b")\r\n" + self.done(command)

    def _do_uid_fetch(self, command):
        return self._fetch(command, by_uid=True)

    def _do_fetch(self, command):
        return self._fetch(command, by_uid=False)

    def _fetch(self, command, by_uid):
        if self.selected is None:
            return command.tag + b" BAD No mailbox selected\r\n"
        chosen, items = command.arguments.split(None, 1)
        out = [self.selected.fetch_line(number, uid, items, by_uid)
               for number, uid in self.selected.choose(chosen, by_uid)]
        return b"".join(out) + self.done(command)

    def _do_uid_search(self, command):
        if self.selected is None:
            return command.tag + b" BAD No mailbox selected\r\n"
        words = command.arguments.upper().split()
        chosen = next((word for word in words if re.fullmatch(rb"[\d:,*]+", word)), b"1:*")
        found = b"".join(b" %d" % uid for _, uid in self.selected.choose(chosen, True))
        return b"* SEARCH" + found + b"\r\n" + self.done(command)

    def _do_idle(self, command):
        self.send(b"+ idling\r\n")
        self.read_line()


# Ready-made handlers

def silent(session, _command):
    session.silent()


def close(session, _command):
    session.close()


def endless_line(session, _command):
    while True:
        session.send(b"x" * 65_536)


def echo_authenticate(_session, command):
    """A server that repeats the line that it didn't like, with the token in it."""
    return command.tag + b" BAD Error in IMAP command received by server: " + command.line.rstrip(b"\r\n") + b"\r\n"


def bye_in_literal(session, _command):
    """Announces a body, sends some of it, says goodbye in its middle and closes."""
    session.send(b"* 1 FETCH (UID 1 BODY[] {1000}\r\nSubject: cut\r\n\r\nhalf a line\r\n* BYE Connection closed. 14\r\n")
    session.close()


def wrong_literal(difference):
    """Bodies whose announced length is this much more than what is sent (less than, if negative)."""
    def handler(session, command):
        folder = session.selected
        for number, uid in folder.choose(command.arguments.split(None, 1)[0], True):
            content = folder.messages[uid].content
            session.send(b"* %d FETCH (UID %d BODY[] {%d}\r\n%b)\r\n" % (
                number, uid, max(0, len(content) + difference), content))
        session.send(session.done(command))
    return for_bodies(handler)


def for_bodies(handler):
    """The handler where message bodies are asked for; the model's own answer elsewhere."""
    def choose(session, command):
        if not command.wants_bodies():
            session.answer(command)
            return None
        return handler(session, command) if callable(handler) else handler
    return choose


THROTTLED = b"{tag} BAD Request is throttled. Suggested Backoff Time: 500 milliseconds\r\n"
NOT_CONNECTED = b"{tag} BAD User is authenticated but not connected.\r\n* BYE Connection closed. 14\r\n"
OK_WITHOUT_DATA = b"{tag} OK FETCH completed.\r\n"
