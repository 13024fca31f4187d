# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads, lists and archives a mailbox for so many minutes, with tokens of a minute and a fault of the line a second.

Every message that is read is compared with what the server has. Memory and descriptors of the mount are sampled; at the
end the last quarter is compared with the second. The exit status is 1 for wrong bytes, a hang, or growth.
"""

import argparse
import collections
import concurrent.futures
import errno
import hashlib
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab import generator, mailboxes, net  # noqa: E402
from lab.faults import Faults  # noqa: E402
from lab.home import Home  # noqa: E402
from lab.maildir import Maildir, served_bytes  # noqa: E402
from lab.place import OLENA, Place  # noqa: E402
from lab.proxy import Proxy  # noqa: E402

NAME = re.compile(r"(?:.*\.)?(\d+)\.eml")
FOLDERS = ("INBOX", "Projects/Alpha", "Архів", "Sent")
MEAN_BYTES = 16_000
LARGE_EVERY, LARGE_BYTES = 100, 1_500_000
TOKEN_LIFE_S = 60
FAULT_EVERY_S = 1.0
SAMPLE_EVERY_S = 5.0
TIMEOUT_S = 5
# One call: its own silence, and that of what stood before it.
CALL_S = 6 * TIMEOUT_S
CACHE_SIZE = "16M"
# Programs do something with what they read; and a machine has other work.
PAUSE_S = 0.02
ALLOWED = {errno.ENETUNREACH, errno.ETIMEDOUT, errno.EINTR}
RESIDENT_GROWTH_BYTES = 6 << 20
FDS_GROWTH = 8


class Soak:
    def __init__(self, options, place, home, line):
        self._options, self._place, self._line = options, place, line
        self._rng = random.Random(options.seed)
        self._ended = threading.Event()
        self.counts = collections.Counter()
        self.wrong = []
        self.samples = []
        self.truth = self._fill()
        home.set_account("soak", place.account("soak", port=line.port, timeout=TIMEOUT_S, cache_size=CACHE_SIZE, poll=20))
        self.mount = home.mount("soak", sizes="exact")

    def _fill(self):
        store, truth = Maildir(self._place.dovecot.maildir(OLENA).root), {}
        for index, folder in enumerate(FOLDERS):
            messages = [generator.make_big(LARGE_BYTES) if number % LARGE_EVERY == 0 else
                        generator.make_bulk(index, number, MEAN_BYTES)
                        for number in range(1, self._options.messages // len(FOLDERS) + 1)]
            found = mailboxes.fill_messages(store, folder, messages)
            truth[folder] = {uid: hashlib.sha256(served_bytes(message.content)).hexdigest()
                             for uid, message in found.items()}
        if os.geteuid() == 0:
            self._place.dovecot.own_mail()
        return truth

    # Work

    def run(self):
        jobs = [self._read, self._read, self._list, self._archive, self._break_line, self._sample]
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            running = [pool.submit(self._repeat, job) for job in jobs]
            self._ended.wait(self._options.minutes * 60)
            self._ended.set()
            self._line.faults = None
            self._line.listen()
            self._line.resume()
            for job in running:
                job.result()

    def _repeat(self, job):
        while not self._ended.is_set():
            try:
                job()
            except OSError as error:
                self._failed(job.__name__, error)
            except Exception as error:
                self.wrong.append(f"{job.__name__}: {error!r}")
                self._ended.set()

    def _failed(self, what, error):
        if error.errno in ALLOWED:
            self.counts[errno.errorcode[error.errno]] += 1
            # A program that fails doesn't come back in the same millisecond.
            self._ended.wait(0.05)
        else:
            self._wrong(f"{what}: {error}")

    def _wrong(self, problem):
        self.wrong.append(problem)
        print(f"{time.strftime('%H:%M:%S')} wrong: {problem}; {self.mount.errors()[-3:]}", flush=True)

    def _timed(self, function, *arguments):
        start = time.monotonic()
        try:
            return function(*arguments)
        finally:
            took = time.monotonic() - start
            if took > CALL_S * net.SLOWNESS:
                self._wrong(f"{function.__name__}{arguments} took {took:.0f} s")

    def _read(self):
        folder = self._rng.choice(FOLDERS)
        uid = self._rng.choice(sorted(self.truth[folder]))
        digest = self._timed(read_digest, self.mount / folder / f"{uid}.eml")
        self.counts["read"] += 1
        if digest != self.truth[folder][uid]:
            self._wrong(f"{folder}, UID {uid}: wrong bytes")
        self._ended.wait(PAUSE_S)

    def _list(self):
        folder = self._rng.choice(FOLDERS)
        names = self._timed(os.listdir, self.mount / folder)
        self.counts["listed"] += 1
        if {int(match[1]) for name in names if (match := NAME.fullmatch(name))} != self.truth[folder].keys():
            self._wrong(f"{folder}: an incomplete listing")
        self._ended.wait(10 * PAUSE_S)

    def _archive(self):
        result = subprocess.run(["tar", "-C", self.mount, "-cf", "-", self._rng.choice(FOLDERS)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.counts["archived" if result.returncode == 0 else "archived in part"] += 1
        self._ended.wait(10 * PAUSE_S)

    # The line

    def _break_line(self):
        self._ended.wait(FAULT_EVERY_S)
        kind = self._rng.choice(("cut", "reset", "stall", "refuse", "bytes", "bytes"))
        self.counts[f"fault: {kind}"] += 1
        if kind in ("cut", "reset"):
            self._line.cut_all(reset=kind == "reset")
        elif kind == "stall":
            self._line.stall()
            self._ended.wait(self._rng.uniform(0.1, 1.5 * TIMEOUT_S))
            self._line.resume()
        elif kind == "refuse":
            self._line.refuse()
            self._line.cut_all()
            self._ended.wait(self._rng.uniform(0.1, 2))
            self._line.listen()
        else:
            self._line.faults = Faults(self._rng.random(), stall_s=2)

    # What is watched

    def _sample(self):
        text = (self.mount / ".mailtree" / "metrics").read_text()
        found = {name: float(re.search(rf"^mailtree_{name} (\S+)$", text, re.MULTILINE)[1])
                 for name in ("resident_bytes", "open_fds", "bodies_fetched_total", "token_requests_total", "reconnects_total")}
        if len(self.samples) % 12 == 0:
            print(f"{time.strftime('%H:%M:%S')} {found['resident_bytes'] / 2**20:6.1f} MiB {found['open_fds']:4.0f} descriptors, "
                  f"{found['bodies_fetched_total']:.0f} bodies, {found['token_requests_total']:.0f} tokens, "
                  f"{found['reconnects_total']:.0f} reconnects; {dict(self.counts)}", flush=True)
        self.samples.append(found)
        self._ended.wait(SAMPLE_EVERY_S)

    def report(self):
        quarter = max(1, len(self.samples) // 4)
        for name, growth in (("resident_bytes", RESIDENT_GROWTH_BYTES), ("open_fds", FDS_GROWTH)):
            values = [sample[name] for sample in self.samples]
            before, after = statistics.median(values[quarter:2 * quarter]), statistics.median(values[-quarter:])
            print(f"{name}: median {before:.0f} in the second quarter, {after:.0f} in the last; at most {max(values):.0f}")
            if after > before + growth:
                self.wrong.append(f"{name} grows")
        print(f"{len(self.samples)} samples; {dict(self.counts)}")
        for problem in self.wrong[:20]:
            print(f"failed: {problem}")
        return 1 if self.wrong else 0


def read_digest(path):
    with open(path, "rb", buffering=0) as file:
        # Or the kernel would answer most of it.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.sha256(file.readall()).hexdigest()


def main():
    parser = argparse.ArgumentParser(prog="python3 -m soak", description=__doc__)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--seed", default=str(int(time.time())))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    folder.chmod(0o755)
    try:
        with Place(folder) as place, Proxy(place.dovecot.port) as line, Home(options.binary.absolute()) as home:
            place.authority.set_lifetime(TOKEN_LIFE_S)
            soak = Soak(options, place, home, line)
            soak.run()
            return soak.report()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
