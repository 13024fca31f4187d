# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo mailbox: authority and Dovecot in the background, as scripts/demo starts and stops them.

    python3 -m lab demo --dir DIR start      starts them unless they run; fills the mailbox at the first start;
                                             writes DIR/config for mailtree, with the group [demo]
    python3 -m lab demo --dir DIR stop       ends exactly what start started; the mail stays
    python3 -m lab demo --dir DIR status     one line

One process, "serve", holds the authority and has Dovecot as its child. DIR/state.json has its pid with its
start time (so that a pid that was given to another process is left alone), ports, and the app's identity:
all kept over a restart, so that a mounted demo finds its server again.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

from . import mailboxes, net
from .authority import Authority
from .place import OLENA, Place

MESSAGES = 3_000
START_TIMEOUT_S = 120
CONFIG_HEAD = """\
# Written by scripts/demo. A real account has fewer lines: see the README.
"""


class Demo:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._state_file = self.folder / "state.json"

    # Commands

    def start(self):
        if self._running():
            return self.status()
        if os.geteuid() == 0:
            check_reachable(self.folder)
        with open(self.folder / "demo.log", "ab") as log:
            child = subprocess.Popen([sys.executable, "-m", "lab", "demo", "--dir", str(self.folder), "serve"],
                                     cwd=pathlib.Path(__file__).resolve().parents[1], stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=log, start_new_session=True)
        net.wait_until(lambda: child.poll() is not None or self._running(), START_TIMEOUT_S, "the demo's servers")
        if child.poll() is not None:
            raise SystemExit(f"the demo's servers didn't start: see {self.folder}/demo.log")
        return self.status()

    def stop(self):
        state = self._running()
        if not state:
            return "the demo's servers aren't running"
        os.kill(state["pid"], signal.SIGTERM)
        net.wait_until(lambda: not self._running(), 30, "the demo's servers to end")
        return "the demo's servers have ended"

    def status(self):
        state = self._running()
        if not state:
            return "the demo's servers aren't running"
        return (f"IMAP on 127.0.0.1:{state['imap_port']} (TLS), authority on 127.0.0.1:{state['authority_port']}, "
                f"config {self.folder}/config")

    def serve(self):
        """The background process itself."""
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        # As root Dovecot is another user.
        os.umask(0o022 if os.geteuid() == 0 else 0o077)
        state = self._state()
        authority = Authority(port=port_or_free(state.get("authority_port")))
        place = Place(self.folder / "servers", authority, state.get("client_id"), state.get("secret"),
                      port=port_or_free(state.get("imap_port")), starttls_port=port_or_free(state.get("starttls_port")))
        self._fill(place)
        with place:
            self._write(self.folder / "config", CONFIG_HEAD + place.account("demo", OLENA))
            self._write(self._state_file, json.dumps({
                "pid": os.getpid(), "started": start_time(os.getpid()), "client_id": place.app.client_id,
                "secret": place.app.secret, "imap_port": place.dovecot.port, "starttls_port":
                place.dovecot.starttls_port, "authority_port": int(authority.url.rpartition(":")[2]),
                "control_secret": authority.control_secret}, indent=1))
            ended.wait()

    # Inside

    def _fill(self, place):
        marker = self.folder / "servers" / "filled"
        if not marker.exists():
            place.dovecot.forget_mail(OLENA)
            mailboxes.fill(place.dovecot.maildir(OLENA), MESSAGES)
            marker.touch()

    def _state(self):
        try:
            return json.loads(self._state_file.read_text())
        except (OSError, ValueError):
            return {}

    def _running(self):
        state = self._state()
        return state if state and start_time(state["pid"]) == state["started"] else None

    @staticmethod
    def _write(path, text):
        partial = path.with_name(path.name + ".new")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        partial.rename(path)


def start_time(pid):
    """In clock ticks after boot; None when there is no such process, or it has ended and isn't waited for."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def port_or_free(port):
    """The port of the last start unless somebody has it now."""
    if port:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((net.LOOPBACK, port))
                return port
            except OSError:
                pass
    return net.free_port()


def check_reachable(folder):
    """As root Dovecot runs as another user, which must get into `folder`."""
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            raise SystemExit(f"{folder} can't be reached by other users ({parent} is closed): choose another folder")
