# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured. A Row is a line of the table; run(stage, sheet, runs) plays it."""

import contextlib
import functools
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Callable

from . import measure, rivals
from .stage import ACCOUNT, Line
from .table import BARE, LOCAL, MAILTREE, MBSYNC, MIB, RAW, Target

MEAN_BYTES = 16_384
# Of the big folder: it is listed, not read.
SMALL_BYTES = 2_048
THROTTLE_MS = 5_000
EXCHANGE_CONNECTIONS = 4
CATS_IDLE = 20
CATS_IN_BULK = 12
HUGE_WALK = 5_000


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    run: Callable  # (stage, mailbox, sheet, runs)
    target: Target = Target()
    share: float = 1.0  # of --messages
    least: int = 0      # messages
    big: bool = False   # plays on the big folder
    huge: bool = False  # … on a folder that is invented, a hundred times as large; only where it is asked for


# mailtree's own figures

class Meter:
    """What the daemon used since the last look, and what went over the wire."""

    def __init__(self, mount):
        self._mount = mount
        self._pid = mount.process.pid
        self._cpu_s = self._begin_cpu_s = measure.process_cpu_s(self._pid)
        self._counters = mount.status()["counters"]

    def facts(self):
        cpu_s = measure.process_cpu_s(self._pid)
        counters = self._mount.status()["counters"]

        def grown(*names):
            return sum(counters[name] - self._counters[name] for name in names)
        found = {"cpu_s": cpu_s - self._cpu_s, "peak_bytes": measure.process_memory_bytes(self._pid, "VmHWM"),
                 "rest_bytes": measure.process_memory_bytes(self._pid, "VmRSS"),
                 "wire_bytes": grown("bytes_in", "bytes_out"), "round_trips": grown("round_trips"),
                 "bodies_fetched": grown("bodies_fetched")}
        self._counters, self._cpu_s = counters, measure.process_cpu_s(self._pid)
        return found


def expect_archive(mailbox, archive_bytes):
    """Each message fills whole blocks behind a header, so an archive is never smaller."""
    if archive_bytes is not None and archive_bytes < mailbox.bytes + 512 * mailbox.messages:
        raise measure.Failed(f"an archive of {archive_bytes} octets from {mailbox.bytes} octets of mail")


def read_mount(mount, mailbox, program):
    seconds, archive_bytes = measure.read_all(program, mount / "INBOX")
    expect_archive(mailbox, archive_bytes)
    return seconds


def read_local(mailbox, program):
    return measure.read_all(program, mailbox.cur)[0]


# Cold

def cold(program, line, stage, mailbox, sheet, runs):
    """An empty cache, and the first walk through the folder."""
    with stage.line(line) as port:
        # The server's own caches: nobody is the first.
        rivals.bare_bodies(stage, mailbox, port)
        for _ in range(runs):
            seconds, received = rivals.bare_bodies(stage, mailbox, port)
            sheet.note(BARE, seconds, wire_bytes=received)
            with stage.mounted(mailbox, port) as mount:
                meter = Meter(mount)
                seconds = read_mount(mount, mailbox, program)
                facts = meter.facts()
                sheet.note(MAILTREE, seconds, **facts)
                expect_all(mailbox, facts)
            if MBSYNC in sheet.without:
                continue
            ran = rivals.mbsync(stage, mailbox, port)
            sheet.note(MBSYNC, ran.seconds, cpu_s=ran.cpu_s, peak_bytes=ran.peak_bytes)


def cold_text(line, stage, mailbox, sheet, runs):
    """grep -r over the texts, with an empty cache; and over the mail itself in a mount of its own."""
    with stage.line(line) as port:
        rivals.bare_bodies(stage, mailbox, port)
        for _ in range(runs):
            with stage.mounted(mailbox, port) as mount:
                sheet.note(RAW, read_mount(mount, mailbox, "grep"))
            with stage.mounted(mailbox, port) as mount:
                meter = Meter(mount)
                seconds, _ = measure.read_all("grep", mount / ".mailtree" / "text" / "INBOX")
                facts = meter.facts()
                sheet.note(MAILTREE, seconds, **facts)
                expect_all(mailbox, facts)
                made = mount.status()["counters"]["views_rendered"]
                if made != mailbox.messages:
                    raise measure.Failed(f"{made} texts made of {mailbox.messages} messages")


def expect_all(mailbox, facts):
    if not mailbox.messages <= facts["bodies_fetched"] <= 2 * mailbox.messages:
        raise measure.Failed(f"{facts['bodies_fetched']} bodies fetched of {mailbox.messages}")


def cold_exchange(program, rtt_ms, stage, mailbox, sheet, runs):
    """No extensions, wrong sizes, one command at a time, four connections, one throttling answer for mailtree alone:
    its wait is taken off the time."""
    near = Line(rtt_ms=rtt_ms, exchange=True)
    far = Line(rtt_ms=rtt_ms, exchange=True, throttle_ms=THROTTLE_MS)
    for _ in range(runs):
        with stage.line(near) as port:
            seconds, received = rivals.bare_bodies(stage, mailbox, port, EXCHANGE_CONNECTIONS)
            sheet.note(BARE, seconds, wire_bytes=received)
        with stage.line(far) as port, stage.mounted(mailbox, port) as mount:
            meter = Meter(mount)
            seconds = read_mount(mount, mailbox, program)
            facts = meter.facts()
            throttled = mount.status()["counters"]["throttled"]
            sheet.note(MAILTREE, seconds - (THROTTLE_MS / 1000 if throttled else 0), throttled=throttled, **facts)
            expect_all(mailbox, facts)


# Warm

def fill_cache(stage, home, mailbox, port, **options):
    with stage.mounted(mailbox, port, home, **options) as mount:
        read_mount(mount, mailbox, "tar")


def warm(program, sizes, stage, mailbox, sheet, runs):
    """The second walk in a mount: the bodies are in our cache, the kernel saw them once."""
    with stage.line(Line()) as port, stage.home() as home:
        fill_cache(stage, home, mailbox, port, sizes=sizes)
        read_local(mailbox, program)
        for _ in range(runs):
            sheet.note(LOCAL, read_local(mailbox, program))
            with stage.mounted(mailbox, port, home, sizes=sizes) as mount:
                read_mount(mount, mailbox, program)
                meter = Meter(mount)
                seconds = read_mount(mount, mailbox, program)
                sheet.note(MAILTREE, seconds, **meter.facts())


def from_disk(program, stage, mailbox, sheet, runs):
    """The bodies are in our cache, the mount is new, and the page cache is empty."""
    with stage.line(Line()) as port, stage.home() as home:
        fill_cache(stage, home, mailbox, port)
        for _ in range(runs):
            measure.drop_page_cache()
            sheet.note(LOCAL, read_local(mailbox, program))
            # The server's files are not ours to wait for.
            measure.drop_page_cache()
            rivals.bare(stage, mailbox, port, [rivals.EXAMINE])
            with stage.mounted(mailbox, port, home) as mount:
                meter = Meter(mount)
                seconds = read_mount(mount, mailbox, program)
                sheet.note(MAILTREE, seconds, **meter.facts())


# mailtree warm

def warm_words(stage):
    return [stage.binary, "warm", ACCOUNT, "INBOX"]


def warm_command(line, stage, mailbox, sheet, runs):
    """Without a mount, into an empty cache."""
    with stage.line(line) as port:
        rivals.bare_bodies(stage, mailbox, port)
        for _ in range(runs):
            seconds, received = rivals.bare_bodies(stage, mailbox, port)
            sheet.note(BARE, seconds, wire_bytes=received)
            with stage.home() as home:
                stage.set_account(home, mailbox, port)
                ran = measure.run_counted(warm_words(stage), env=home.environment())
                sheet.note(MAILTREE, ran.seconds, cpu_s=ran.cpu_s, peak_bytes=ran.peak_bytes)
                expect_fetched(mailbox, home, 0, 0)


def warm_resumed(line, stage, mailbox, sheet, runs):
    """Interrupted half-way, and run again: the time of both; the worst is what the interrupted one took to end."""
    with stage.line(line) as port:
        for _ in range(runs):
            seconds, received = rivals.bare_bodies(stage, mailbox, port)
            sheet.note(BARE, seconds, wire_bytes=received)
            with stage.home() as home:
                stage.set_account(home, mailbox, port)
                begin = time.perf_counter()
                ending_s = warm_interrupt(stage, home, mailbox.bytes / 2)
                expect_fetched(mailbox, home, 1, mailbox.messages - 1)
                sheet.note(MAILTREE, time.perf_counter() - begin, worst_s=ending_s)
                expect_fetched(mailbox, home, 0, 0)


def warm_interrupt(stage, home, cached_bytes):
    """As soon as its cache holds so much. Seconds that it took to end."""
    with subprocess.Popen(warm_words(stage), env=home.environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and size_of_files(home.path / "cache") < cached_bytes:
            time.sleep(measure.LOOK_S)
        asked = time.perf_counter()
        child.terminate()
        child.wait(measure.LIMIT_S)
        return time.perf_counter() - asked


def size_of_files(folder):
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def expect_fetched(mailbox, home, least, most):
    """Runs it again: what it says that it fetched."""
    said = home.run("warm", ACCOUNT, "INBOX", timeout_s=measure.LIMIT_S, check=True).stdout.splitlines()[-1]
    found = re.match(r"(\d+) messages \(.*?\) are cached; (\d+) ", said)
    if not found or int(found[1]) != mailbox.messages or not least <= int(found[2]) <= most:
        raise measure.Failed(f"warm says: {said}")


# Big folders

def list_names(directory, *words):
    return measure.run(["ls", *words, directory])


def expect_names(mailbox, ran, more=0):
    found = ran.output.count(b"\n") - more
    if found != mailbox.messages:
        raise measure.Failed(f"{found} of {mailbox.messages} names were listed")


def listing(stage, mailbox, sheet, runs):
    """The first listing of a big folder."""
    with stage.line(Line()) as port:
        rivals.bare(stage, mailbox, port, [rivals.EXAMINE, rivals.ENVELOPES])
        rivals.bare(stage, mailbox, port, [rivals.EXAMINE, rivals.METADATA])
        for _ in range(runs):
            seconds, received, _ = rivals.bare(stage, mailbox, port, [rivals.EXAMINE, rivals.ENVELOPES])
            sheet.note(BARE, seconds, wire_bytes=received)
            with stage.mounted(mailbox, port) as mount:
                meter = Meter(mount)
                ran = list_names(mount / "INBOX")
                expect_names(mailbox, ran)
                sheet.note(MAILTREE, ran.seconds, **meter.facts())


def remount(rtt_ms, stage, mailbox, sheet, runs):
    """A new mount of a folder that was listed before, and ls -l of it; nothing has changed."""
    with stage.line(Line(rtt_ms=rtt_ms)) as port, stage.home() as home:
        with stage.mounted(mailbox, port, home) as mount:
            expect_names(mailbox, list_names(mount / "INBOX"))
        list_names(mailbox.cur, "-l")
        for _ in range(runs):
            sheet.note(LOCAL, list_names(mailbox.cur, "-l").seconds)
            with stage.mounted(mailbox, port, home) as mount:
                meter = Meter(mount)
                ran = list_names(mount / "INBOX", "-l")
                expect_names(mailbox, ran, more=1)
                sheet.note(MAILTREE, ran.seconds, **meter.facts())


def memory(stage, mailbox, sheet, runs):
    """A bulk read of the big folder: what the daemon held at most."""
    with stage.line(Line()) as port:
        for _ in range(runs):
            with stage.mounted(mailbox, port) as mount:
                meter = Meter(mount)
                seconds = read_mount(mount, mailbox, "tar")
                facts = meter.facts()
                expect_all(mailbox, facts)
                sheet.note(MAILTREE, seconds, **facts)


# A huge folder

def names_count(directory, *words):
    """As many lines as ls writes."""
    ran = measure.run(["bash", "-c", 'set -o pipefail; ls "${@:2}" "$1" | wc -l', "ls", str(directory), *words])
    return ran.seconds, int(ran.output)


def note_listing(mount, mailbox, sheet, words, more):
    """`more`: lines that aren't messages."""
    meter = Meter(mount)
    seconds, lines = names_count(mount / "INBOX", *words)
    if lines != mailbox.messages + more:
        raise measure.Failed(f"{lines} lines for {mailbox.messages} messages")
    sheet.note(MAILTREE, seconds, **meter.facts())


def huge_listing(stage, mailbox, sheet, runs):
    port = stage.invented(mailbox.messages)
    for _ in range(runs):
        seconds, received, _ = rivals.bare(stage, mailbox, port, [rivals.EXAMINE, rivals.METADATA])
        sheet.note(BARE, seconds, wire_bytes=received)
        with stage.mounted(mailbox, port) as mount:
            note_listing(mount, mailbox, sheet, ["-f"], more=2)


def huge_home(stage, mailbox, port):
    """One that has listed the folder before, for all rows."""
    if "huge" not in stage.kept:
        stage.kept["huge"] = stage.home()
        with stage.mounted(mailbox, port, stage.kept["huge"]) as mount:
            names_count(mount / "INBOX", "-f")
    return stage.kept["huge"]


def huge_remount(words, more, stage, mailbox, sheet, runs):
    port = stage.invented(mailbox.messages)
    home = huge_home(stage, mailbox, port)
    for _ in range(runs):
        with stage.mounted(mailbox, port, home) as mount:
            note_listing(mount, mailbox, sheet, words, more)


def huge_walk(stage, mailbox, sheet, runs):
    """A reader begins to walk: what that takes mustn't depend on how large the folder is."""
    port = stage.invented(mailbox.messages)
    home = huge_home(stage, mailbox, port)
    for _ in range(runs):
        with stage.mounted(mailbox, port, home) as mount:
            with os.scandir(mount / "INBOX") as entries:
                names = [entry.name for entry in itertools.islice(entries, HUGE_WALK)]
            list_file = stage.new_folder("walk") / "names"
            list_file.write_text("".join(f"{name}\n" for name in names))
            meter = Meter(mount)
            ran = measure.run(measure.tar_command("-C", mount / "INBOX", "-T", list_file))
            facts = meter.facts()
            written = measure.archive_bytes(ran.errors)
            if facts["bodies_fetched"] < HUGE_WALK or written < HUGE_WALK * 1024:
                raise measure.Failed(f"{facts['bodies_fetched']} bodies fetched, {written} octets of archive")
            sheet.note(MAILTREE, ran.seconds, **facts)


# One message

def cats(mount, uids, *words):
    ran = measure.run([sys.executable, "-P", "-m", "bench.cats", *words, mount, *uids])
    return json.loads(ran.output)


def bare_cats(stage, mailbox, port, uids):
    return rivals.bare(stage, mailbox, port, [rivals.EXAMINE, *(rivals.BODIES % uid for uid in uids)])[2][1:]


def scattered(mailbox, count, seed):
    """UIDs of the folder's far half, apart from each other, in an order that is no walk."""
    half = mailbox.messages // 2
    uids = [half + (number + 1) * half // (count + 1) for number in range(count)]
    random.Random(seed).shuffle(uids)
    return uids


def note_cats(sheet, contender, seconds, facts=None):
    """Each message is a sample; the worst of a run is a fact."""
    for value in seconds:
        sheet.note(contender, value)
    found = dict(facts or {}, worst_s=max(seconds, default=None))
    for name, value in found.items():
        if value is not None:
            sheet.facts.setdefault(f"{contender}.{name}", []).append(value)


def cat_idle(rtt_ms, stage, mailbox, sheet, runs):
    with stage.line(Line(rtt_ms=rtt_ms)) as port:
        for number in range(runs):
            uids = scattered(mailbox, CATS_IDLE, number)
            note_cats(sheet, BARE, bare_cats(stage, mailbox, port, uids))
            with stage.mounted(mailbox, port) as mount:
                os.listdir(mount / "INBOX")
                cats(mount, [1])
                meter = Meter(mount)
                note_cats(sheet, MAILTREE, cats(mount, uids)["seconds"], meter.facts())


def cat_in_bulk(rtt_ms, bits_per_s, stage, mailbox, sheet, runs):
    """Single messages while tar goes through the same folder. The comparison is the bare protocol on an idle line."""
    with stage.line(Line(rtt_ms=rtt_ms, bits_per_s=bits_per_s)) as port:
        for number in range(runs):
            uids = scattered(mailbox, CATS_IN_BULK, number)
            note_cats(sheet, BARE, bare_cats(stage, mailbox, port, uids))
            with stage.mounted(mailbox, port) as mount:
                os.listdir(mount / "INBOX")
                meter = Meter(mount)
                found = cats(mount, uids, "--beside-tar")
                expect_archive(mailbox, found["archive_bytes"])
                note_cats(sheet, MAILTREE, found["seconds"], meter.facts())
    if not sheet.samples.get(MAILTREE):
        raise measure.Failed("the bulk run was over before a message could be read beside it")


# The table

def bind(function, *words):
    return functools.partial(function, *words)


FAST = Target("≤ 1.25 × bare, ≤ 0.4 × mbsync", {BARE: 1.25, MBSYNC: 0.4})
CPU = Target("≤ 1.6 × bare, < mbsync", {BARE: 1.6, MBSYNC: 1.0})
MEMORY = Target("≤ 64 MiB", facts={f"{MAILTREE}.peak_bytes": 64 * MIB})
HUGE = Target("≤ 256 MiB", facts={f"{MAILTREE}.peak_bytes": 256 * MIB})

ROWS = (
    Row("cold-tar-0", "cold tar, RTT 0", bind(cold, "tar", Line()), CPU),
    Row("cold-tar-20", "cold tar, RTT 20 ms", bind(cold, "tar", Line(20))),
    Row("cold-tar-50", "cold tar, RTT 50 ms", bind(cold, "tar", Line(50)), FAST),
    Row("cold-tar-150", "cold tar, RTT 150 ms", bind(cold, "tar", Line(150))),
    Row("cold-tar-slow", "cold tar, RTT 50 ms, 20 Mbit/s, a fifth of the messages",
        bind(cold, "tar", Line(50, 20e6)), share=0.2),
    Row("cold-tar-wire", "cold tar, RTT 50 ms, 400 Mbit/s", bind(cold, "tar", Line(50, 400e6)), FAST),
    Row("cold-grep-0", "cold grep -r, RTT 0", bind(cold, "grep", Line()), CPU),
    Row("cold-grep-50", "cold grep -r, RTT 50 ms", bind(cold, "grep", Line(50)), FAST),
    Row("cold-grep-150", "cold grep -r, RTT 150 ms", bind(cold, "grep", Line(150))),
    Row("cold-text-0", "cold grep -r of the texts, RTT 0", bind(cold_text, Line())),
    Row("cold-text-50", "cold grep -r of the texts, RTT 50 ms", bind(cold_text, Line(50))),
    Row("cold-text-wire", "cold grep -r of the texts, RTT 50 ms, 400 Mbit/s", bind(cold_text, Line(50, 400e6))),
    Row("exchange-50", "cold tar, Exchange-like, RTT 50 ms, without the wait of 5 s", bind(cold_exchange, "tar", 50),
        Target("≤ 1.5 × bare on 4 connections", {BARE: 1.5})),
    Row("warm-grep", "warm grep -r, sizes trusted", bind(warm, "grep", "trust"),
        Target("≤ 1.2 × local", {LOCAL: 1.2})),
    Row("warm-tar", "warm tar, sizes trusted", bind(warm, "tar", "trust")),
    Row("warm-grep-exact", "warm grep -r, sizes exact", bind(warm, "grep", "exact"),
        Target("≤ 4 × local", {LOCAL: 4})),
    Row("disk-grep", "grep -r, fresh mount, bodies cached, page cache dropped", bind(from_disk, "grep"),
        Target("≤ 2 × local", {LOCAL: 2})),
    Row("disk-tar", "tar, the same", bind(from_disk, "tar"), Target("≤ 2 × local", {LOCAL: 2})),
    Row("warm-0", "mailtree warm, RTT 0", bind(warm_command, Line())),
    Row("warm-50", "mailtree warm, RTT 50 ms", bind(warm_command, Line(50))),
    Row("warm-resumed", "the same, interrupted half-way and run again", bind(warm_resumed, Line(50))),
    Row("list", "cold ls of the big folder, RTT 0", listing, Target("≤ 1.5 × bare", {BARE: 1.5}), big=True),
    Row("remount", "remount, ls -l of the big folder, RTT 0", bind(remount, 0),
        Target("≤ 2 × local", {LOCAL: 2}), big=True),
    Row("remount-50", "the same at RTT 50 ms", bind(remount, 50), big=True),
    Row("memory", "tar of the big folder, RTT 0", memory, MEMORY, big=True),
    Row("cat-idle", "cat, idle, RTT 50 ms", bind(cat_idle, 50)),
    Row("cat-bulk", "cat during a tar, RTT 50 ms", bind(cat_in_bulk, 50, 0),
        Target("worst ≤ 3 round trips", facts={f"{MAILTREE}.worst_s": 3 * 0.05}), least=5_000),
    Row("million-list", "cold ls -f of a million, RTT 0", huge_listing, HUGE, huge=True),
    Row("million-remount", "remount, ls -f of a million", bind(huge_remount, ["-f"], 2), HUGE, huge=True),
    Row("million-stat", "remount, ls -l of a million", bind(huge_remount, ["-l"], 1), HUGE, huge=True),
    Row("million-walk", "remount, tar of the first 5,000 of a million", huge_walk, HUGE, huge=True),
    Row("cat-bulk-slow", "cat during a tar, RTT 50 ms, 20 Mbit/s", bind(cat_in_bulk, 50, 20e6), share=0.2),
)
