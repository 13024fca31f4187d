# SPDX-License-Identifier: GPL-2.0-or-later
"""What `meson install` and scripts/deb put where. Raises PackageError; see suite.py, which counts."""

import os
import pathlib
import re
import subprocess

PROJECT = pathlib.Path(__file__).resolve().parents[1]
COMMANDS = ("setup", "mount", "umount", "ls", "cat", "search", "status", "login", "logout", "token", "doctor", "warm", "cache")
# Below the prefix, which is /usr for the package.
INSTALLED = {
    "bin/mailtree", "sbin/mount.mailtree", "sbin/mount.fuse.mailtree", "lib/systemd/user/mailtree@.service",
    "lib/systemd/system/mailtree@.service", "share/bash-completion/completions/mailtree", "share/zsh/site-functions/_mailtree",
    "share/fish/vendor_completions.d/mailtree.fish", "share/man/man1/mailtree.1", "share/man/man5/mailtree-config.5",
    "share/man/man8/mount.mailtree.8", "share/man/man8/mount.fuse.mailtree.8", "share/doc/mailtree/README.md",
    *(f"share/man/man1/mailtree-{command}.1" for command in COMMANDS),
}
# Debian's own ways.
MOVED = {"share/zsh/site-functions/_mailtree": "share/zsh/vendor-completions/_mailtree"}
# A package to look at, not to run.
QUICK = {"DEB_BUILD_OPTIONS": "noopt noautodbgsym nocheck", "DEB_CFLAGS_APPEND": "-g0"}


class PackageError(Exception):
    """Its text says what is wrong."""


def run(*words, **options):
    result = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, **options)
    if result.returncode != 0:
        raise PackageError(f"{words[0]} ended with {result.returncode}: {(result.stdout + result.stderr)[-2000:]}")
    return result.stdout


def check_install(build, folder):
    """Of a built tree, into a folder; nothing outside the prefix, and the program of the links is there."""
    run("meson", "install", "-C", build, "--no-rebuild", "--destdir", folder)
    prefix = run("meson", "introspect", "--buildoptions", build)
    prefix = re.search(r'"name": "prefix", "value": "([^"]+)"', prefix)[1]
    root = pathlib.Path(folder) / prefix[1:]
    found = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    missing = INSTALLED - found
    if missing:
        raise PackageError(f"not installed: {', '.join(sorted(missing))}")
    outside = [str(path) for path in pathlib.Path(folder).rglob("*") if not path.is_dir() and root not in path.parents]
    if outside:
        raise PackageError(f"outside the prefix: {', '.join(outside)}")
    strange = [name for name in found - INSTALLED if not name.startswith("share/doc/mailtree/")]
    if strange:
        raise PackageError(f"nobody expects {', '.join(sorted(strange))}")
    for kind in ("user", "system"):
        unit = (root / "lib" / "systemd" / kind / "mailtree@.service").read_text()
        if f"ExecStart=:{prefix}/bin/mailtree mount" not in unit:
            raise PackageError(f"the {kind} unit runs another program")


def check_deb(folder):
    """Builds the package, and looks at what is in it and what it needs."""
    paths = run(PROJECT / "scripts" / "deb", folder, env=os.environ | QUICK).split()
    package = next(path for path in paths if "/mailtree_" in path)
    listed = {line.split()[5][2:].removesuffix("/") for line in run("dpkg-deb", "-c", package).splitlines()}
    for name in INSTALLED:
        place = f"usr/{MOVED.get(name, name)}"
        if place not in listed and f"{place}.gz" not in listed:
            raise PackageError(f"{place} isn't in the package")
    fields = dict(re.findall(r"^(\S+): (.*)$", run("dpkg-deb", "-f", package), re.MULTILINE))
    version = re.search(r"version: '([^']+)'", (PROJECT / "meson.build").read_text())[1]
    if fields["Version"] != version:
        raise PackageError(f"the package is of version {fields['Version']}, the program of {version}")
    needs = {word.split()[0] for word in fields["Depends"].split(", ")}
    # The first is fusermount3; the others are what dpkg-shlibdeps found.
    for need in ("fuse3", "libc6", "libfuse3-3", "libcurl4", "libsqlite3-0", "libgmime-3.0-0"):
        if need not in needs:
            raise PackageError(f"the package doesn't depend on {need}")
    run("lintian", "--fail-on", "error,warning", package)
