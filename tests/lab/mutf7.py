# SPDX-License-Identifier: GPL-2.0-or-later
"""Mailbox names on the wire (RFC 3501 section 5.1.3): encode("Вхідні") → "&BBIERQRWBDQEPQRW-"."""

import base64


def encode(name):
    out, shifted = [], []

    def flush():
        if shifted:
            data = "".join(shifted).encode("utf-16-be")
            out.append("&" + base64.b64encode(data).decode().rstrip("=").replace("/", ",") + "-")
            shifted.clear()

    for character in name:
        if " " <= character <= "~":
            flush()
            out.append("&-" if character == "&" else character)
        else:
            shifted.append(character)
    flush()
    return "".join(out)


def decode(name):
    out, position = [], 0
    while position < len(name):
        if name[position] != "&":
            out.append(name[position])
            position += 1
            continue
        end = name.index("-", position)
        text = name[position + 1:end].replace(",", "/")
        out.append(base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-16-be") if text else "&")
        position = end + 1
    return "".join(out)
