#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrows between modules point one way: reads the #include lines of src/, imap/ and fs/ and prints what breaks a rule.

    python3 tests/layers.py [ROOT]         exit status 1 when anything does
    check(root) → ["FILE:LINE: what is wrong", …]

- A module includes only the modules that ARROWS names, and of them only their public headers. src/main.c and
  src/cli are one module: they put the others together.
- A library that belongs to one place (LIBRARIES) is included nowhere else.
- Includes in quotes give the path from the project's root, and name a file that exists.
- src/base/banned.h comes last in each .c file, and in no header.
"""

import pathlib
import re
import sys
from dataclasses import dataclass

COMPOSITION = "src/cli"
ARROWS = {
    "src/base": (),
    "src/auth": ("src/base",),
    "src/cache": ("src/base",),
    "src/mime": ("src/base",),
    "imap": ("src/base", "src/auth"),
    "src/mail": ("src/base", "src/auth", "src/cache", "src/mime", "imap"),
    "fs": ("src/base", "src/mail"),
    COMPOSITION: ("src/base", "src/auth", "src/cache", "src/mime", "imap", "src/mail", "fs"),
}
PUBLIC = {
    "imap/grammar.h", "imap/client.h", "imap/stream.h", "src/auth/auth.h", "src/auth/login.h", "src/cache/cache.h", "src/mime/mime.h",
    "src/mail/mail.h", "src/mail/query.h", "fs/fs.h", "fs/names.h",
}
# Whoever puts a model together also says where its mail comes from, and explains what is wrong with a sign-in.
PUBLIC_FOR_COMPOSITION = {
    "src/mail/source.h", "src/auth/causes.h", "src/auth/document.h", "src/auth/sasl_inspect.h", "src/auth/secret_form.h", "imap/probe.h",
    "imap/reach.h",
}
LIBRARIES = (
    ("FUSE", re.compile(r"fuse.*\.h|linux/fuse\.h"), re.compile(r"fs/fuse_[^/]*\.[ch]")),
    ("SQLite", re.compile(r"sqlite3.*\.h"), re.compile(r"src/cache/.*")),
    ("GMime", re.compile(r"gmime/.*"), re.compile(r"src/mime/.*")),
    ("libsecret", re.compile(r"libsecret/.*"), re.compile(r"src/auth/store_secret\.c")),
    ("libcurl", re.compile(r"curl/.*"), re.compile(r"imap/stream_curl\.c|src/auth/.*")),
)
BANNED = "src/base/banned.h"
INCLUDE = re.compile(r'\s*#\s*include(?:_next)?\b\s*(?:"([^"]+)"|<([^>]+)>|(.*))')


@dataclass
class Include:
    line: int
    path: str
    is_quoted: bool


def check(root):
    root = pathlib.Path(root)
    files = sorted(path for top in ("src", "imap", "fs") for path in (root / top).rglob("*") if path.suffix in (".c", ".h"))
    if not files:
        return [f"{root}: no sources"]
    found = []
    for file in files:
        name = file.relative_to(root).as_posix()
        found += [f"{name}:{line}: {text}" for line, text in check_file(root, name, file.read_text("utf-8", "replace"))]
    return found


def check_file(root, name, text):
    module = module_of(name)
    if module is None:
        return [(1, "belongs to no module: see ARROWS in tests/layers.py")]
    found = []
    includes = []
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match and match[3] is not None:
            found.append((number, "an include that can't be checked"))
        elif match:
            includes.append(Include(number, match[1] or match[2], match[1] is not None))
    for include in includes:
        wrong = wrong_quoted(root, module, include.path) if include.is_quoted else wrong_library(name, include.path)
        if wrong:
            found.append((include.line, wrong))
    return found + wrong_banned(name, includes)


def module_of(name):
    if name == "src/main.c":
        return COMPOSITION
    folder = name.rpartition("/")[0]
    # A folder inside a module belongs to it.
    return next((module for module in ARROWS if folder == module or folder.startswith(module + "/")), None)


def wrong_quoted(root, module, path):
    if not (root / path).is_file():
        return f"{path}: no such file (paths start at the project's root)"
    other = module_of(path)
    if other is None:
        return f"{path} is outside of the modules"
    if other == module:
        return None
    if other not in ARROWS[module]:
        return f"{module} must not know {other} ({path})"
    is_public = other == "src/base" or path in PUBLIC or (module == COMPOSITION and path in PUBLIC_FOR_COMPOSITION)
    return None if is_public else f"{path} is inside {other}: not for {module}"


def wrong_library(name, path):
    for library, headers, places in LIBRARIES:
        if headers.fullmatch(path) and not places.fullmatch(name):
            return f"{library} has no place here ({path})"
    return None


def wrong_banned(name, includes):
    at = [position for position, include in enumerate(includes) if include.path == BANNED]
    if name.endswith(".h"):
        return [(includes[position].line, f"{BANNED} belongs in .c files") for position in at]
    if at != [len(includes) - 1]:
        return [(includes[-1].line if includes else 1, f"{BANNED} must be the last include")]
    return []


def main():
    found = check(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1])
    print("\n".join(found) if found else "layers: fine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
