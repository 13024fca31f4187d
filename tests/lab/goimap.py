# SPDX-License-Identifier: GPL-2.0-or-later
"""A second IMAP server of another make and without extensions: go-imap's memory backend.

    with GoImap(folder) as server:             # or GoImap(folder, certificate) for TLS
        server.fill({"INBOX": [message, …]})   # generator.Message, by APPEND
        client = server.imap()                 # imaplib, signed in; the password is GoImap.PASSWORD
        server.account("second")               # a group for mailtree's config file

It answers as it likes: headers are written anew (so RFC822.SIZE may differ from the body), a message whose
header it can't parse is left out of a FETCH that answers OK, UIDVALIDITY is always 1, mail is forgotten at
stop(). What imaplib fetches from it is the truth to compare with. Built by Debian's Go and Debian's library,
without network, into the cache folder (cache_folder()).
"""

import hashlib
import imaplib
import os
import pathlib
import re
import socket
import ssl
import subprocess

from . import net
from .place import quote

SOURCE = pathlib.Path(__file__).with_name("goimap") / "main.go"


def cache_folder():
    """Where what is expensive to get is kept between runs."""
    folder = os.environ.get("MAILTREE_TEST_DATA") or pathlib.Path.home() / ".cache" / "mailtree-tests"
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build():
    """The server's binary, built when its source has changed."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    binary = cache_folder() / f"goimap-{digest}"
    if not binary.exists():
        partial = binary.with_name(f"{binary.name}.{os.getpid()}")
        env = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOPROXY": "off",
                            "GOCACHE": str(cache_folder() / "go-build")}
        subprocess.run(["go", "build", "-o", str(partial), str(SOURCE)], env=env, check=True)
        partial.rename(binary)
    return binary


class GoImap:
    USER = "username"
    PASSWORD = "password"

    def __init__(self, folder, certificate=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate = certificate
        self.port = 0
        self._child = None

    def start(self):
        command = ["setpriv", "--pdeathsig", "TERM", str(build()), "-port", str(self.port)]
        if self.certificate:
            command += ["-cert", str(self.certificate.chain), "-key", str(self.certificate.key)]
        with open(self.folder / "goimap.log", "ab") as log:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError((self.folder / "goimap.log").read_text())
        self.port = int(line)
        return self

    def stop(self):
        net.end_child(self._child)
        if self._child:
            self._child.stdout.close()
        self._child = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def imap(self):
        if self.certificate:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client = imaplib.IMAP4_SSL(net.LOOPBACK, self.port, ssl_context=context)
        else:
            client = imaplib.IMAP4(net.LOOPBACK, self.port)
        # imaplib sends a literal and its line end apart: without this each APPEND waits 40 ms for an ACK.
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.login(self.USER, self.PASSWORD)
        return client

    def fill(self, folders):
        client = self.imap()
        for name, messages in folders.items():
            if name != "INBOX":
                client.create(quote(name))
            for message in messages:
                append(client, quote(name), message)
        client.logout()

    def account(self, group, **keys):
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.PASSWORD)
        values = {"provider": "generic", "host": net.LOOPBACK, "port": self.port,
                  "tls": "implicit" if self.certificate else "none", "user": self.USER, "auth": "password",
                  "password_file": password} | keys
        return "\n".join([f"[{group}]", *[f"{key} = {value}" for key, value in values.items() if value is not None], ""])


def append(client, mailbox, message):
    """APPENDs the message's very bytes, with its date and flags; returns imaplib's answer."""
    # imaplib rewrites line ends when it appends, unless its pattern matches nothing.
    names = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "D": "\\Draft", "T": "\\Deleted"}
    flags = " ".join(names[letter] for letter in message.flags)
    date = imaplib.Time2Internaldate(message.internal_date)
    saved, imaplib.MapCRLF = imaplib.MapCRLF, re.compile(rb"(?!)")
    try:
        return client.append(mailbox, f"({flags})" if flags else None, date, message.content)
    finally:
        imaplib.MapCRLF = saved
