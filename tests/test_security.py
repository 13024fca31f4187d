# SPDX-License-Identifier: GPL-2.0-or-later
"""What docs/security.md names as proof is there."""

import pathlib
import re

TESTS = pathlib.Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "security.md"
FOLDERS = {"e2e": "e2e", "unit": "unit", "isolation": "isolation", "transcripts": "imap/transcripts"}


def test_every_proof_is_there():
    text = PAGE.read_text()
    named = re.findall(r"`(e2e|unit|isolation)/([\w.]+)::(\w+)`", text)
    assert len(named) > 30
    missing = [f"{folder}/{file}::{name}" for folder, file, name in named
               if not re.search(rf"\b{name}\(", read(folder, file))]
    missing += [name for name in re.findall(r"`transcripts/([\w.-]+)`", text) if not (TESTS / FOLDERS["transcripts"] / name).exists()]
    assert missing == []


def read(folder, file):
    path = TESTS / FOLDERS[folder] / file
    return path.read_text() if path.exists() else ""


def test_no_row_without_a_proof():
    rows = PAGE.read_text().split("| promise | proof |")[1].split("\n\n")[0].splitlines()[2:]
    assert rows and not [row for row in rows if "`" not in row]
