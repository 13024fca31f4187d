# SPDX-License-Identifier: GPL-2.0-or-later
"""What other users of the machine get of a mount, and of what mailtree keeps: run as root, for that takes two users.

mailtree runs as mailtree-test, the other one is nobody; with allow_other root mounts."""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab import net  # noqa: E402
from lab.home import default_binary, is_mounted  # noqa: E402
from lab.imapmodel import Message, Model  # noqa: E402
from lab.scripted import Scripted  # noqa: E402

OWNER, OTHER = "mailtree-test", "nobody"
CONTENT = b"From: a@b.example\r\nSubject: private\r\n\r\nfor one pair of eyes\r\n"
# Each place and what the other user sees of it: "yes", or the error's name.
PROBE = """
import errno, json, os, socket, sys
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "yes"
def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
work = {"list": os.listdir, "read": lambda path: open(path, "rb").read(), "stat": os.stat, "connect": connect}
print(json.dumps({name: attempt(work[verb], path) for name, (verb, path) in json.loads(sys.argv[1]).items()}))
"""


class World:
    """A mount by `user` in a folder that everybody may walk through."""

    def __init__(self, folder, server, user, **options):
        self.folder, self.user = pathlib.Path(folder), user
        self.folder.chmod(0o755)
        self.point = self.folder / "mnt"
        for name in ("mnt", "config", "cache", "state", "run"):
            (self.folder / name).mkdir()
        (self.folder / "config" / "mailtree").mkdir()
        config = self.folder / "config" / "mailtree" / "config"
        config.write_text(server.account("work"))
        config.chmod(0o600)
        identity = pwd.getpwnam(user)
        for top, directories, names in os.walk(folder):
            for path in (top, *(os.path.join(top, name) for name in (*directories, *names))):
                os.chown(path, identity.pw_uid, identity.pw_gid)
        words = ",".join(name if value is True else f"{name}={value}" for name, value in options.items())
        # As permissive as a user may have it: what is private is made so by mailtree.
        result = subprocess.run([str(default_binary()), "mount", "work", str(self.point), *(["-o", words] if words else [])],
                                env=self.environment(), user=user, group=identity.pw_gid, extra_groups=[], umask=0,
                                capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        assert is_mounted(self.point)

    def environment(self):
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C.UTF-8",
                **{f"XDG_{name.upper()}_HOME": str(self.folder / name) for name in ("config", "cache", "state")},
                "XDG_RUNTIME_DIR": str(self.folder / "run")}

    def asks(self, user, places):
        identity = pwd.getpwnam(user)
        result = subprocess.run([sys.executable, "-c", PROBE, json.dumps({name: [verb, str(path)] for name, (verb, path) in places.items()})],
                                user=identity.pw_uid, group=identity.pw_gid, extra_groups=[], capture_output=True, text=True,
                                check=True, timeout=60)
        return json.loads(result.stdout)

    def pids(self):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.fsencode(self.point) in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def close(self):
        subprocess.run(["umount", "-l", str(self.point)], capture_output=True, timeout=30)
        net.wait_until(lambda: not self.pids(), what="the mount's process to end")


@pytest.fixture
def world():
    made, folders = [], []
    server = Scripted(Model({"INBOX": {1: Message("private", CONTENT, 1_700_000_000)}})).start()

    def make(user, **options):
        # Not pytest's: nobody may walk through those.
        folders.append(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
        made.append(World(folders[-1], server, user, **options))
        return made[-1]
    yield make
    for each in made:
        each.close()
    server.stop()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def mail_of(world):
    return {"the root": ("list", world.point), "its stat": ("stat", world.point), "a folder": ("list", world.point / "INBOX"),
            "a message": ("read", world.point / "INBOX" / "1.eml")}


def control_of(world):
    return {name: ("read", world.point / ".mailtree" / name) for name in ("status.json", "errors.log", "metrics", "refresh")}


def test_a_mount_is_its_owners_alone(world):
    made = world(OWNER)
    places = mail_of(made) | control_of(made)
    assert set(made.asks(OWNER, places).values()) == {"yes"}
    assert set(made.asks(OTHER, places).values()) == {"EACCES"}
    # Not even root's: FUSE asks for allow_root.
    assert set(made.asks("root", places).values()) == {"EACCES"}


def test_allow_other_opens_what_the_modes_say(world):
    made = world("root", allow_other=True)
    assert set(made.asks(OTHER, mail_of(made) | control_of(made)).values()) <= {"EACCES", "yes"}
    found = made.asks(OTHER, mail_of(made))
    assert found["a folder"] == found["a message"] == found["the root"] == "EACCES", "0500 and 0400"


def test_allow_other_with_a_umask_opens_the_mail_and_nothing_else(world):
    made = world("root", allow_other=True, umask="022")
    assert set(made.asks(OTHER, mail_of(made)).values()) == {"yes"}
    assert set(made.asks(OTHER, control_of(made)).values()) == {"EACCES"}
    assert set(made.asks("root", control_of(made)).values()) == {"yes"}


def test_mail_given_to_one_user(world):
    other = pwd.getpwnam(OTHER)
    made = world("root", allow_other=True, uid=other.pw_uid)
    assert set(made.asks(OTHER, mail_of(made)).values()) == {"yes"}
    assert set(made.asks(OWNER, {name: place for name, place in mail_of(made).items() if name != "its stat"}).values()) == {"EACCES"}


def test_what_is_kept_is_private_whatever_the_umask(world):
    made = world(OWNER)
    assert made.asks(OWNER, mail_of(made))["a message"] == "yes"
    places, count = {}, 0
    for top, directories, names in os.walk(made.folder):
        directories[:] = [name for name in directories if name != "mnt"]
        if "/mailtree" not in top or top.endswith("/config/mailtree"):
            continue
        for name in names:
            path = pathlib.Path(top) / name
            mode = path.lstat().st_mode
            assert stat.S_IMODE(mode) & 0o077 == 0, path
            places[str(path)] = ("connect" if stat.S_ISSOCK(mode) else "read", path)
            count += 1
        assert stat.S_IMODE(os.stat(top).st_mode) == 0o700, top
    assert count >= 4 and any(verb == "connect" for verb, _ in places.values())
    assert set(made.asks(OTHER, places).values()) == {"EACCES"}


def test_no_core_dump_and_no_look_inside(world):
    made = world(OWNER)
    [pid] = made.pids()
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    [line] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]
    inside = {"memory": ("read", f"/proc/{pid}/mem"), "environment": ("read", f"/proc/{pid}/environ"),
              "files": ("list", f"/proc/{pid}/fd"), "map": ("read", f"/proc/{pid}/maps")}
    for user in (OWNER, OTHER):
        assert set(made.asks(user, inside).values()) <= {"EACCES", "EPERM"}, user
