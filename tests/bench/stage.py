# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bench plays on: Dovecot, mailboxes, lines of a length and a width, homes for mailtree.

    with Stage(folder, binary, line_binary) as stage:
        box = stage.mailbox(10_000, 16_384)        # before start(): .user, .messages, .bytes, .cur (its files)
        stage.start()
        with stage.line(Line(rtt_ms=50)) as port: …            # through line.c; RTT 0 goes to Dovecot itself
        with stage.mounted(box, port, "sizes=…") as mount: …

Caches and Maildirs of all runs stay until the stage ends: deleting 10,000 files makes the next creations slow for
a while on ext4.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab import mailboxes, rules  # noqa: E402
from lab.certs import CertificateAuthority  # noqa: E402
from lab.dovecot import Dovecot  # noqa: E402
from lab.home import Home  # noqa: E402
from lab.maildir import DIRNAME  # noqa: E402
from lab.proxy import Proxy, ProxyTls  # noqa: E402

from .invented import Invented  # noqa: E402

PASSWORD = "pass-7431-of-the-bench"
ACCOUNT = "bench"


@dataclass(frozen=True)
class Line:
    rtt_ms: float = 0
    bits_per_s: float = 0
    exchange: bool = False  # the server is Exchange-like: see rules.exchange_like()
    throttle_ms: int = 0


@dataclass(frozen=True)
class Mailbox:
    user: str
    messages: int
    bytes: int
    cur: pathlib.Path


class Stage:
    def __init__(self, folder, binary, line_binary):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        # The server's user must get to its mail.
        self.folder.chmod(0o755)
        # The system lets go of it when the bench ends, however that is.
        self._lock = open(self.folder / "lock", "w", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"scripts/bench: another bench works in {self.folder}")
        self.runs = self.folder / "runs"
        self._forget_runs()
        self.runs.mkdir()
        self.binary = pathlib.Path(binary).resolve()
        self.line_binary = pathlib.Path(line_binary).resolve()
        self.ca = CertificateAuthority(self.folder / "ca")
        self.certificate = self.ca.issue("imap")
        # Nobody signs in by token here.
        self.dovecot = Dovecot(self.folder / "dovecot", self.certificate, "http://127.0.0.1:9/introspect")
        self._made = 0
        self._invented = None
        self.kept = {}  # name → home that several rows share

    def start(self):
        self.dovecot.start()
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for home in self.kept.values():
            home.close()
        if self._invented:
            self._invented.stop()
        self.dovecot.stop()
        self._forget_runs()

    def _forget_runs(self):
        # Of a bench that was killed. Nothing is removed through a mount.
        for path in mounts_below(self.runs):
            subprocess.run(["fusermount3", "-uz", path], check=True)
        shutil.rmtree(self.runs, ignore_errors=True)

    def new_folder(self, name):
        self._made += 1
        path = self.runs / f"{name}{self._made}"
        path.mkdir()
        return path

    # Mail

    def mailbox(self, messages, mean_bytes):
        """Messages 1…N in INBOX; made once in a folder, also over several runs of the bench."""
        user = f"u{messages}x{mean_bytes}@bench.example"
        self.dovecot.add_password(user, PASSWORD)
        note = self.folder / f"{user}.json"
        if not note.exists():
            self.dovecot.forget_mail(user)
            total = mailboxes.fill_bulk(self.dovecot.maildir(user), messages, mean_bytes=mean_bytes)
            note.write_text(json.dumps(total))
        cur = self.dovecot.maildir(user).path("INBOX") / DIRNAME / "cur"
        return Mailbox(user, messages, json.loads(note.read_text()), cur)

    def invented(self, messages):
        """The port of a server with so many messages in INBOX; nobody has to write them."""
        if not self._invented:
            self._invented = Invented(messages, self.ca.server_context(self.certificate)).start()
        return self._invented.port

    # Lines

    @contextlib.contextmanager
    def line(self, line):
        """The port to connect to."""
        if line == Line():
            # Not even a line without delay: it would share the processor with those who are measured.
            yield self.dovecot.port
            return
        with contextlib.ExitStack() as stack:
            far = self.dovecot.port
            if line.exchange:
                tls = ProxyTls(self.ca.server_context(self.certificate), self.ca.client_context())
                lies = rules.exchange_like(throttle_ms=line.throttle_ms or None)
                far = stack.enter_context(Proxy(far, tls=tls, rules=lies)).port
            yield stack.enter_context(self._distance(far, line))

    @contextlib.contextmanager
    def _distance(self, port, line):
        with subprocess.Popen([self.line_binary, str(port), str(line.rtt_ms), str(line.bits_per_s)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                yield int(process.stdout.readline())
            finally:
                process.stdin.close()

    # mailtree

    def home(self):
        """A fresh one, that is an empty cache."""
        before = tempfile.tempdir
        tempfile.tempdir = str(self.runs)
        try:
            return Home(self.binary, keep=True, secrets={"the password": PASSWORD})
        finally:
            tempfile.tempdir = before

    def set_account(self, home, mailbox, port):
        keys = {"provider": "generic", "host": "127.0.0.1", "port": port, "tls": "implicit", "ca_file": self.ca.pem,
                "auth": "password", "user": mailbox.user, "password": PASSWORD, "cache_size": 0}
        lines = [f"{key} = {value}" for key, value in keys.items()]
        home.set_account(ACCOUNT, "\n".join([f"[{ACCOUNT}]", *lines, ""]))

    def mount(self, home, mailbox, port, **options):
        self.set_account(home, mailbox, port)
        return home.mount(ACCOUNT, timeout_s=60, **options)

    @contextlib.contextmanager
    def mounted(self, mailbox, port, home=None, **options):
        """A mount in the foreground, of a fresh home or of one that is kept for the next."""
        with contextlib.ExitStack() as stack:
            # Leaving it looks for what was left behind.
            here = home or stack.enter_context(self.home())
            mount = self.mount(here, mailbox, port, **options)
            try:
                yield mount
                mount.unmount(60)
            finally:
                mount.end()


def mounts_below(folder):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split()[4] for line in file]
    return [point for point in points if point.startswith(f"{folder}/")]


def default_folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="mtb-", dir=os.environ.get("TMPDIR") or "/var/tmp"))
