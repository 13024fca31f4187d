# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts messages into the Maildirs of Dovecot (layout as dovecot.py sets it) without asking Dovecot.

    store = Maildir(dovecot.maildir("olena@contoso.example"))
    folder = store.folder("Projects/Альфа")          # made with its parents' directories
    folder.add(content, internal_date=1700000000, flags="S")
    folder.close()                                    # or `with store.folder(…) as folder:`

Names carry S= and W= (size, and size with CRLF), so Dovecot needn't read a message to know its size; the
file's mtime is the INTERNALDATE; the UID list is written too, so UIDs are 1, 2, 3 … in the order of add().
What FETCH returns is `content` with each bare LF as CRLF and each NUL as 0x80: served_bytes(). Write into
a folder before Dovecot first opens it, or with add_new() afterwards.
"""

import hashlib
import os
import pathlib
import re

from . import mutf7

# The directory inside a mailbox that holds cur, new and tmp: so a mailbox may be called "cur".
DIRNAME = "mail.d"
UIDLIST = "dovecot-uidlist"


class Maildir:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def path(self, name):
        return self.root.joinpath(*[mutf7.encode(part) for part in name.split("/")])

    def add_parent(self, name):
        """A folder that can hold folders only: \\Noselect."""
        self.path(name).mkdir(parents=True, exist_ok=True)

    def folder(self, name, uidvalidity=None):
        return Folder(self.path(name) / DIRNAME, name, uidvalidity)


class Folder:
    def __init__(self, path, name, uidvalidity):
        self.path = path
        for directory in ("cur", "new", "tmp"):
            (path / directory).mkdir(parents=True, exist_ok=True)
        seed = hashlib.sha256(name.encode()).digest()
        self.uidvalidity = uidvalidity or 1_500_000_000 + int.from_bytes(seed[:3], "big")
        self._cur = str(path / "cur")
        self._lines = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def add(self, content, internal_date, flags=""):
        """Adds one message; returns the UID that it has once close() has written the list."""
        uid = len(self._lines) + 1
        base = _file_name(f"{int(internal_date)}.M{uid}P1.lab", content)
        path = f"{self._cur}/{base}:2,{flags}"
        with open(path, "wb", buffering=0) as file:
            file.write(content)
        os.utime(path, (internal_date, internal_date))
        self._lines.append(f"{uid} :{base}\n")
        return uid

    def close(self):
        guid = hashlib.md5(str(self.path).encode()).hexdigest()
        header = f"3 V{self.uidvalidity} N{len(self._lines) + 1} G{guid}\n"
        (self.path / UIDLIST).write_text(header + "".join(self._lines))
        os.utime(self._cur)

    @staticmethod
    def add_new(folder_path, content, internal_date, unique):
        """Delivers one message into a folder that Dovecot may have open; it gives the UID."""
        name = _file_name(f"{int(internal_date)}.M{unique}P2.lab", content)
        temporary = folder_path / "tmp" / name
        temporary.write_bytes(content)
        os.utime(temporary, (internal_date, internal_date))
        temporary.rename(folder_path / "new" / name)


def served_bytes(content):
    """What Dovecot's BODY.PEEK[] of a file with this content is."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", content).replace(b"\0", b"\x80")


def _file_name(base, content):
    bare = content.count(b"\n") - content.count(b"\r\n")
    return f"{base},S={len(content)},W={len(content) + bare}"
