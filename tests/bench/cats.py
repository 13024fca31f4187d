# SPDX-License-Identifier: GPL-2.0-or-later
"""Single messages, read one after another: python3 -m bench.cats [--beside-tar] MOUNTPOINT UID…

A process of its own: in that of the bench the reader would wait for Python's lock, which the proxy holds most of the time.
Prints {"seconds": […], "archive_bytes": …}. With --beside-tar a tar of INBOX runs meanwhile, and only those messages count that
began and ended while it did, and that it hadn't brought already.
"""

import argparse
import json
import pathlib
import subprocess
import time

from . import measure

POLL_S = 0.005  # nothing tells when the walk begins
PAUSE_S = 0.1  # apart enough that they aren't a load of their own


def cat(mount, uid):
    begin = time.perf_counter()
    with open(mount / "INBOX" / f"{uid}.eml", "rb", buffering=0) as file:
        while file.read(1 << 16):
            pass
    return time.perf_counter() - begin


def counter(mount, name):
    return json.loads((mount / ".mailtree" / "status.json").read_text())["counters"][name]


def beside_tar(mount, uids):
    seconds = []
    with subprocess.Popen(measure.tar_command("-C", mount, "INBOX"), stderr=subprocess.PIPE) as tar:
        while tar.poll() is None and counter(mount, "bodies_prefetched") < 50:
            time.sleep(POLL_S)
        for uid in uids:
            missed = counter(mount, "cache_misses")
            took = cat(mount, uid)
            if tar.poll() is not None:
                break
            # tar has misses too, now and then: one too many counts, none is left out
            if counter(mount, "cache_misses") > missed:
                seconds.append(took)
            time.sleep(PAUSE_S)
        errors = tar.stderr.read()
    return {"seconds": seconds, "archive_bytes": measure.archive_bytes(errors)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside-tar", action="store_true")
    parser.add_argument("mount", type=pathlib.Path)
    parser.add_argument("uids", type=int, nargs="+")
    options = parser.parse_args()
    if options.beside_tar:
        found = beside_tar(options.mount, options.uids)
    else:
        found = {"seconds": [cat(options.mount, uid) for uid in options.uids], "archive_bytes": None}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
