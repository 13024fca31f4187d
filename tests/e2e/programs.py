# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that copy a mount, each as a person would use it. COPIERS: name → function(root, scratch) → the copy's top.

A backup program is a class: .backup() → what it found changed since the last time, .restore() → the copy's top.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from witness import tool

# Tools that look into config and caches find none of the user's.
PLAIN_ENV = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}


# Some mail is from the future.
UNPACK = ("tar", "--warning=no-timestamp")


def copy_tar(root, scratch):
    archive, top = scratch / "all.tar", scratch / "tar"
    top.mkdir()
    tool("tar", "-C", root, "-cf", archive, ".")
    tool(*UNPACK, "-C", top, "-xf", archive)
    archive.unlink()
    return top


def copy_tar_pipe(root, scratch):
    """To a pipe tar reads what it archives; it knows /dev/null and then doesn't."""
    top = scratch / "tar-pipe"
    top.mkdir()
    with subprocess.Popen(["tar", "-C", root, "-cf", "-", "."], stdout=subprocess.PIPE) as packing:
        tool(*UNPACK, "-C", top, "-xf", "-", stdin=packing.stdout)
    assert packing.returncode == 0
    return top


def copy_cp(root, scratch):
    top = scratch / "cp"
    tool("cp", "-a", root, top)
    return top


def copy_rsync(root, scratch):
    """Again and again: the second run may find times of directories, which aren't known before they are listed."""
    top = scratch / "rsync"
    command = ("rsync", "-a", "--itemize-changes", f"{root}/", f"{top}/")
    tool(*command)
    again = [line for line in tool(*command).splitlines() if not line.startswith(b".d..t")]
    assert again == [], f"a second rsync found {len(again)} changes: {again[:5]}"
    assert tool(*command) == b""
    return top


def copy_mmap(root, scratch):
    """In a process of its own: a page that can't be read is the end of it."""
    top = scratch / "mmap"
    tool(sys.executable, pathlib.Path(__file__).with_name("mapped_copy.py"), root, top)
    return top


COPIERS = {"tar": copy_tar, "tar to a pipe": copy_tar_pipe, "cp -a": copy_cp, "rsync -a": copy_rsync, "mmap": copy_mmap}
# For @pytest.mark.parametrize: under sanitizers two stand for all, one that reads and one that maps.
EACH_COPIER = [pytest.param(name, marks=() if name in ("tar", "mmap") else pytest.mark.variant) for name in COPIERS]


class Restic:
    def __init__(self, scratch):
        self._scratch = scratch
        self._env = PLAIN_ENV | {"HOME": str(scratch), "RESTIC_REPOSITORY": str(scratch / "restic"),
                                 "RESTIC_PASSWORD": "of no worth", "RESTIC_CACHE_DIR": str(scratch / "restic-cache")}
        self._run("init")

    def backup(self, root):
        # From within: else it also stores, and compares, the directories above.
        lines = self._run("backup", "--json", "--host", "lab", ".", cwd=root).splitlines()
        summary = json.loads(lines[-1])
        assert summary["message_type"] == "summary"
        return {name: summary[name] for name in ("files_new", "files_changed", "dirs_new", "dirs_changed") if summary[name]}

    def check(self):
        self._run("check", "--read-data")

    def restore(self):
        top = self._scratch / "restic-restored"
        self._run("restore", "latest", "--target", top)
        return top

    def _run(self, *arguments, **options):
        return tool("restic", *arguments, env=self._env, **options)


class Borg:
    def __init__(self, scratch):
        self._scratch = scratch
        self._repository = str(scratch / "borg")
        self._archives = 0
        self._env = PLAIN_ENV | {"HOME": str(scratch), "BORG_BASE_DIR": str(scratch / "borg-home"),
                                 "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        self._run("init", "--encryption=none", self._repository)

    def backup(self, root):
        """{path below root: status}: A added, M modified, C changed while it was read, E error."""
        self._archives += 1
        root = pathlib.Path(root)
        # Not "." from within: borg would make that read-only before it has extracted what is below.
        lines = self._run("create", "--list", "--filter=AMCE", f"{self._repository}::{self._archives}", root.name,
                          cwd=root.parent)
        self._name = root.name
        return {line[2:].partition("/")[2]: line[0] for line in lines.decode(errors="surrogateescape").splitlines()}

    def restore(self):
        top = self._scratch / "borg-restored"
        top.mkdir()
        self._run("extract", f"{self._repository}::{self._archives}", cwd=top)
        return top / self._name

    def _run(self, *arguments, **options):
        # borg lists on standard error.
        return tool("borg", *arguments, env=self._env, stderr=subprocess.STDOUT, **options)
