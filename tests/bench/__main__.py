# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures mailtree beside the bare protocol, mbsync and a local Maildir, and prints one table."""

import argparse
import fnmatch
import json
import os
import pathlib
import platform
import shutil
import signal
import sys
import time

from . import rows, table
from .measure import Failed
from .stage import Mailbox, Stage, default_folder

MESSAGES, MESSAGES_QUICK = 10_000, 1_000
BIG, HUGE = 10, 100


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--line", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rows", metavar="NAME,…",
                        help="only these; * and ? match; see --list (all but those of a million messages)")
    parser.add_argument("--messages", type=int, metavar="N",
                        help=f"in the folder that is read ({MESSAGES}); the big folder has {BIG} times as many, and "
                             f"the huge one {HUGE} times")
    parser.add_argument("--runs", type=int, metavar="N", help="of each; the median counts (5)")
    parser.add_argument("--without-mbsync", action="store_true",
                        help="it syncs each message to the disk, and takes most of the time")
    parser.add_argument("--quick", action="store_true",
                        help=f"one run, {MESSAGES_QUICK} messages: to see that it works")
    parser.add_argument("--json", metavar="FILE", help="all samples, too")
    parser.add_argument("--dir", metavar="DIR", help="keep the generated mail here, for the next time")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    options = parser.parse_args(arguments)
    options.messages = options.messages or (MESSAGES_QUICK if options.quick else MESSAGES)
    options.runs = options.runs or (1 if options.quick else 5)
    if options.messages < 100:
        parser.error("a folder of less than 100 messages says nothing")
    return options


def choose(names):
    if not names:
        return [row for row in rows.ROWS if not row.huge]
    patterns = names.split(",")
    for pattern in patterns:
        if not any(fnmatch.fnmatch(row.name, pattern) for row in rows.ROWS):
            sys.exit(f"scripts/bench: no row {pattern} (see --list)")
    return [row for row in rows.ROWS if any(fnmatch.fnmatch(row.name, pattern) for pattern in patterns)]


def play(stage, row, mailbox, runs, without):
    sheet = table.Sheet(row.name, row.title, row.target, without)
    begin = time.monotonic()
    try:
        row.run(stage, mailbox, sheet, runs)
    except (Failed, AssertionError, OSError) as error:
        sheet.error = str(error) or type(error).__name__
    print(f"{table.short(sheet)} [{time.monotonic() - begin:.0f} s]", file=sys.stderr)
    return sheet


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{os.cpu_count()} processors, {memory} GiB, Linux {platform.release()}"


def run(options, folder):
    chosen = choose(options.rows)
    with Stage(folder, options.binary, options.line) as stage:
        boxes = {}
        for row in chosen:
            if row.huge:
                boxes[row.name] = Mailbox("huge@bench.example", options.messages * HUGE, 0, None)
                continue
            shape = (options.messages * BIG, rows.SMALL_BYTES) if row.big else (
                max(int(options.messages * row.share), row.least), rows.MEAN_BYTES)
            if shape not in boxes:
                print(f"writing {shape[0]} messages", file=sys.stderr)
                boxes[shape] = stage.mailbox(*shape)
            boxes[row.name] = boxes[shape]
        stage.start()
        without = (table.MBSYNC,) if options.without_mbsync else ()
        sheets = [play(stage, row, boxes[row.name], options.runs, without) for row in chosen]
    print(f"\n{options.messages} messages of {rows.MEAN_BYTES} octets on average; the big folder: "
          f"{options.messages * BIG} of {rows.SMALL_BYTES}. Medians of {options.runs}. {machine()}.\n")
    print(table.render(sheets))
    if options.json:
        data = {"messages": options.messages, "runs": options.runs, "machine": machine(),
                "rows": [sheet.data() for sheet in sheets]}
        pathlib.Path(options.json).write_text(json.dumps(data, indent=1) + "\n")
    return 1 if any(sheet.error for sheet in sheets) else 0


def main():
    options = options_of(sys.argv[1:])
    if options.list:
        for row in rows.ROWS:
            print(f"{row.name:16} {row.title}")
        return 0
    if os.geteuid() != 0:
        sys.exit("scripts/bench: must run as root: the page cache is emptied between runs")
    # What was started is ended, also then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("scripts/bench: ended by a signal"))
    folder = pathlib.Path(options.dir).resolve() if options.dir else default_folder()
    try:
        return run(options, folder)
    finally:
        if not options.dir:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
