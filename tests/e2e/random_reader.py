# SPDX-License-Identifier: GPL-2.0-or-later
"""A reader or a lister in a process of its own: python3 random_reader.py EXPECTED SEED COUNT [list]

EXPECTED is a JSON file {path: SHA-256 of its content}. A reader opens COUNT of them at random, whole or a piece at a time;
a lister lists all their directories COUNT times, and expects exactly them. Prints each thing wrong as a line, and
ends with 1 then.
"""

import collections
import hashlib
import json
import os
import random
import sys


def read_pieces(path, rng):
    """All of the file, in pieces of odd sizes and in no order."""
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        step = max(1, size // rng.randint(1, 9))
        pieces = {}
        for offset in rng.sample(range(0, size, step), len(range(0, size, step))):
            pieces[offset] = os.pread(file, min(step, size - offset), offset)
        return b"".join(pieces[offset] for offset in sorted(pieces))
    finally:
        os.close(file)


def read_at_random(expected, rng, count):
    wrong = []
    for path in rng.choices(sorted(expected), k=count):
        try:
            if rng.random() < 0.5:
                content = read_pieces(path, rng)
            else:
                with open(path, "rb") as file:
                    content = file.read()
        except OSError as error:
            wrong.append(f"{os.path.basename(path)[-12:]}: {error.strerror}")
            continue
        if hashlib.sha256(content).hexdigest() != expected[path]:
            wrong.append(f"{os.path.basename(path)[-12:]}: {len(content)} wrong bytes")
    return wrong


def list_again_and_again(expected, count):
    wrong = []
    wanted = collections.defaultdict(set)
    for path in expected:
        wanted[os.path.dirname(path)].add(os.path.basename(path))
    for _ in range(count):
        for directory, names in wanted.items():
            try:
                with os.scandir(directory) as entries:
                    found = {entry.name for entry in entries if entry.is_file() and entry.stat().st_ino}
            except OSError as error:
                wrong.append(f"a listing: {error.strerror}")
                continue
            if found != names:
                wrong.append(f"a listing has {len(found)} of {len(names)} names")
    return wrong


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        expected = json.load(file)
    if sys.argv[4:] == ["list"]:
        wrong = list_again_and_again(expected, int(sys.argv[3]))
    else:
        wrong = read_at_random(expected, random.Random(int(sys.argv[2])), int(sys.argv[3]))
    for line in wrong[:20]:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
