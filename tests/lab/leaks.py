# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks for secrets where they mustn't be.

    find_leaks(text, {"the client secret": "S~…"}) → ["the client secret, in base64", …]

A secret counts as found raw, percent-encoded (either case of the digits), as C or JSON would escape it, and in
base64, standard or URL-safe, at any of the three places in which it can stand in what was encoded: SASL
strings hold it in their middle.
"""

import base64
import json
import urllib.parse

# What shorter ones have in common with any text would be found everywhere.
SECRET_BYTES_MIN = 6


def find_leaks(text, secrets):
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return [f"{name}, {form}" for name, secret in secrets.items() for form, needle in forms(secret) if needle in data]


def forms(secret):
    """(how it is written, bytes) for each way of writing the secret; a way that changes nothing isn't repeated."""
    data = secret if isinstance(secret, bytes) else secret.encode()
    if len(data) < SECRET_BYTES_MIN:
        raise ValueError("a secret too short to be looked for")
    quoted = urllib.parse.quote_from_bytes(data, safe="").encode()
    found = {data: "raw"}
    for needle in (quoted, urllib.parse.quote_plus(data).encode(), _lower_escapes(quoted)):
        found.setdefault(needle, "percent-encoded")
    found.setdefault(json.dumps(data.decode("utf-8", "replace"))[1:-1].encode(), "escaped")
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + data)
        # The first characters also hold bits of what stands before, the last ones of what follows.
        first, last = (0, 2, 3)[offset], len(data) + offset
        middle = encoded[first:last // 3 * 4 + (0, 1, 2)[last % 3]]
        for needle in (middle, middle.translate(bytes.maketrans(b"+/", b"-_"))):
            found.setdefault(needle, "in base64")
    return [(form, needle) for needle, form in found.items()]


def _lower_escapes(quoted):
    pieces = quoted.split(b"%")
    return b"%".join([pieces[0], *[piece[:2].lower() + piece[2:] for piece in pieces[1:]]])
