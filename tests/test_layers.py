# SPDX-License-Identifier: GPL-2.0-or-later
"""The check of the layers finds what it is there to find."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import layers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAST = '#include "src/base/banned.h"\n'


def make_tree(root, **more):
    """A small tree that keeps every rule; then `more` files, by path."""
    files = {path: "#pragma once\n" for path in (
        *layers.PUBLIC, *layers.PUBLIC_FOR_COMPOSITION, layers.BANNED, "src/base/error.h", "src/cli/settings.h",
        "imap/parser.h", "src/cache/internal.h")}
    files |= {
        "src/main.c": '#include "src/cli/settings.h"\n#include "fs/fs.h"\n#include "src/mail/source.h"\n' + LAST,
        "src/mail/mail.c": '#include "src/mail/mail.h"\n#include "imap/client.h"\n#include <string.h>\n' + LAST,
        "fs/fuse_ops.c": "#include <fuse_lowlevel.h>\n" + LAST,
        "src/cache/cache.c": '#include <sqlite3.h>\n  #  include "src/cache/internal.h"\n' + LAST,
        "imap/stream_curl.c": "#include <curl/curl.h>\n" + LAST,
    } | more
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_project_keeps_its_layers():
    assert layers.check(ROOT) == []


def test_a_tree_that_keeps_them(tmp_path):
    make_tree(tmp_path)
    assert layers.check(tmp_path) == []


@pytest.mark.parametrize("name, line, wrong", [
    ("src/cache/x.c", '#include "imap/client.h"', "src/cache must not know imap"),
    ("imap/x.c", '#include "src/mail/mail.h"', "imap must not know src/mail"),
    ("fs/x.c", '#include "imap/grammar.h"', "fs must not know imap"),
    ("fs/x.h", '#include "src/cli/settings.h"', "fs must not know src/cli"),
    ("src/base/x.c", '#include "src/auth/auth.h"', "src/base must not know src/auth"),
    ("src/mail/x.c", '#include "imap/parser.h"', "imap/parser.h is inside imap"),
    ("src/cli/x.c", '#include "src/cache/internal.h"', "src/cache/internal.h is inside src/cache"),
    ("fs/x.c", '#include "src/mail/source.h"', "src/mail/source.h is inside src/mail"),
    ("fs/ops.c", "#include <fuse_lowlevel.h>", "FUSE has no place here"),
    ("fs/ops.c", "#include <fuse3/fuse.h>", "FUSE has no place here"),
    ("src/mail/x.c", "#include <sqlite3.h>", "SQLite has no place here"),
    ("src/mail/x.c", "\t# include <gmime/gmime.h>", "GMime has no place here"),
    ("imap/conn.c", "#include <curl/curl.h>", "libcurl has no place here"),
    ("imap/x.c", '#include "parser.h"', "paths start at the project's root"),
    ("imap/x.c", "#include HEADER", "can't be checked"),
    ("src/new/x.c", "#include <stdio.h>", "belongs to no module"),
])
def test_each_broken_rule_is_found(tmp_path, name, line, wrong):
    text = "#include <stdlib.h>\n" + line + "\n" + (LAST if name.endswith(".c") else "")
    make_tree(tmp_path, **{name: text})
    [found] = layers.check(tmp_path)
    assert found.startswith(f"{name}:") and wrong in found


@pytest.mark.parametrize("name, text, line", [
    ("imap/x.c", LAST + "#include <stdio.h>\n", 2), ("imap/x.c", "#include <stdio.h>\n", 1), ("imap/x.c", "int x;\n", 1),
    ("imap/x.h", LAST, 1),
])
def test_banned_comes_last(tmp_path, name, text, line):
    make_tree(tmp_path, **{name: text})
    [found] = layers.check(tmp_path)
    assert found.startswith(f"{name}:{line}: {layers.BANNED}")


def test_an_empty_tree_is_no_success(tmp_path):
    assert layers.check(tmp_path) != []
