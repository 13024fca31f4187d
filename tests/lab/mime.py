# SPDX-License-Identifier: GPL-2.0-or-later
"""Just enough MIME writing for the generator: bytes out, CRLF line ends, no wall clock, no randomness.

Python's email package would refuse or repair much of what the generator wants to write, and is slow.
"""

import base64
import binascii
import re
import time

CRLF = b"\r\n"
ENCODED_WORD_BYTES = 42  # of content: with its frame a word stays within the 75 of RFC 2047
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def crlf(text):
    return re.sub(b"\r?\n", CRLF, text)


def encode_base64(data):
    text = base64.b64encode(data)
    return CRLF.join(text[start:start + 76] for start in range(0, len(text), 76)) + CRLF


def encode_quoted_printable(data):
    return crlf(binascii.b2a_qp(data.replace(CRLF, b"\n"), istext=True)) + CRLF


def encoded_words(text, charset="utf-8", encoding="B"):
    """`text` for a header: RFC 2047 words, cut between characters, one a line."""
    pieces, piece = [], ""
    for character in text:
        if len((piece + character).encode(charset)) > ENCODED_WORD_BYTES:
            pieces.append(piece)
            piece = ""
        piece += character
    pieces.append(piece)
    return "\r\n ".join(_encoded_word(piece, charset, encoding) for piece in pieces).encode()


def _encoded_word(text, charset, encoding):
    data = text.encode(charset)
    if encoding == "B":
        return f"=?{charset}?B?{base64.b64encode(data).decode()}?="
    quoted = "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else
                     "_" if byte == 0x20 else f"={byte:02X}" for byte in data)
    return f"=?{charset}?Q?{quoted}?="


def header_text(text, charset="utf-8", encoding="B"):
    return text.encode() if text.isascii() else encoded_words(text, charset, encoding)


def parameter_2231(name, text, charset="utf-8"):
    """filename*0*=utf-8''…; filename*1*=…: RFC 2231 with continuations."""
    quoted = "".join(chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"-._") else
                     f"%{byte:02X}" for byte in text.encode(charset))
    # Never cut inside %XX.
    pieces = re.findall(r"(?:%[0-9A-F]{2}|[^%]){1,20}", quoted)
    if len(pieces) == 1:
        return f"{name}*={charset}''{pieces[0]}".encode()
    first = f"{name}*0*={charset}''{pieces[0]}"
    rest = [f"{name}*{number}*={piece}" for number, piece in enumerate(pieces[1:], 1)]
    return ";\r\n ".join([first, *rest]).encode()


def date_header(seconds, zone_minutes=0):
    local = time.gmtime(seconds + zone_minutes * 60)
    sign, zone = ("-" if zone_minutes < 0 else "+"), abs(zone_minutes)
    return (f"{DAYS[local.tm_wday]}, {local.tm_mday:02d} {MONTHS[local.tm_mon - 1]} {local.tm_year} "
            f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} "
            f"{sign}{zone // 60:02d}{zone % 60:02d}").encode()


def part(content_type, body, encoding=None, headers=()):
    """One MIME entity without the message's own headers; `encoding`: None, base64, quoted-printable, 8bit."""
    lines = [b"Content-Type: " + content_type]
    if encoding:
        lines.append(b"Content-Transfer-Encoding: " + encoding)
    lines.extend(headers)
    if encoding == b"base64":
        body = encode_base64(body)
    elif encoding == b"quoted-printable":
        body = encode_quoted_printable(body)
    elif not body.endswith(CRLF):
        body += CRLF
    return CRLF.join(lines) + CRLF + CRLF + body


def multipart(subtype, boundary, parts, preamble=b""):
    delimiter = b"--" + boundary
    body = preamble + b"".join(delimiter + CRLF + entity for entity in parts) + delimiter + b"--" + CRLF
    return part(b"multipart/" + subtype + b'; boundary="' + boundary + b'"', body)
