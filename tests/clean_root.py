#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Does the Debian package work where nothing else is? As root, on Debian:

    python3 tests/clean_root.py [--package FILE] [--root DIRECTORY]

Makes a fresh Debian of the smallest kind by debootstrap, from the mirror that this machine uses, installs the package
there with apt, and as an ordinary user of that system follows the README's section "A real account" against the
lab's servers: its configuration (with the lab's address, and secrets that a command prints), and its commands one by
one. In between each message is compared with the server's. Takes minutes; scripts/test --long runs it.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import mailboxes, net  # noqa: E402
from lab.place import OLENA, TENANT, SCOPE, Place  # noqa: E402

PROJECT = pathlib.Path(__file__).resolve().parents[1]
USER = "olena"
HOME = f"/home/{USER}"
MESSAGES = 300


def run(*words, **options):
    result = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, **options)
    if result.returncode != 0:
        raise SystemExit(f"{shlex.join(map(str, words))[:300]} ended with {result.returncode}:\n{result.stdout[-4000:]}")
    return result.stdout


class Root:
    """The fresh system; what is mounted in it is unmounted at the end."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def make(self):
        if not (self.path / "usr" / "bin" / "apt-get").exists():
            release = dict(re.findall(r'^(\w+)="?([^"\n]*)', pathlib.Path("/etc/os-release").read_text(), re.MULTILINE))
            mirror = run("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").split()[0]
            run("debootstrap", "--variant=minbase", release["VERSION_CODENAME"], self.path, mirror)
        shutil.copy("/etc/resolv.conf", self.path / "etc" / "resolv.conf")
        # What boots a system makes this; fusermount3 wants it.
        mtab = self.path / "etc" / "mtab"
        if not mtab.is_symlink():
            mtab.symlink_to("../proc/self/mounts")

    def enter(self, *words, user=None):
        """The output of a command in there."""
        identity = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": f"/home/{user}" if user else "/root", "LC_ALL": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive"}
        return run("chroot", self.path, *identity, *words, env=env)

    def shell(self, line):
        print(f"$ {line}", flush=True)
        output = self.enter("sh", "-c", f"cd && {line}", user=USER)
        print(output, end="", flush=True)
        return output

    def __enter__(self):
        self.make()
        fuse = self.path / "dev" / "fuse"
        fuse.touch()
        run("mount", "-t", "proc", "proc", self.path / "proc")
        run("mount", "--bind", "/dev/fuse", fuse)
        return self

    def __exit__(self, *_):
        for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()):
            point = line.split()[4]
            if point.startswith(f"{self.path}/"):
                subprocess.run(["umount", "-l", point], check=False)


def readme():
    """(the configuration, the commands) of the section."""
    section = (PROJECT / "README.md").read_text().partition("## A real account")[2].partition("\n## ")[0]
    config = re.search(r"```ini\n(\[work\].*?)```", section, re.DOTALL)[1]
    commands = re.search(r"```\n(mkdir -p ~/Mail\n.*?)```", section, re.DOTALL)[1]
    return config, commands.splitlines()


def config_for(place, config):
    """The README's, with the lab's addresses in place of Microsoft's."""
    values = {"user": OLENA, "tenant": TENANT, "client_id": place.app.client_id, "client_secret_command": f"cat {HOME}/secret"}
    for key, value in values.items():
        config, count = re.subn(rf"^{key} = .*$", lambda _: f"{key} = {value}", config, flags=re.MULTILINE)
        assert count == 1, key
    return config + (f"host = {net.LOOPBACK}\nport = {place.dovecot.port}\nca_file = {HOME}/ca.pem\n"
                     f"authority = {place.authority.url}\nscope = {SCOPE}\n")


def give(root, name, content):
    """A file of the user's, for him alone."""
    path = root.path / HOME[1:] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)
    root.enter("chown", "-R", f"{USER}:{USER}", HOME)


def compare(root, place):
    client = place.imap(OLENA)
    count = 0
    for folder in ("INBOX", "Projects/Alpha", "Sent"):
        for uid, body in Place.fetch_all(client, folder).items():
            # Outside, as root, the mount can't be entered: as its owner.
            result = subprocess.run(["chroot", root.path, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "cat",
                                     f"{HOME}/Mail/{folder}/{uid}.eml"], capture_output=True, check=True)
            assert result.stdout == body, f"{folder}, UID {uid}"
            count += 1
    client.logout()
    print(f"{count} messages are the server's, byte by byte", flush=True)
    assert count > 50


def follow(root, place):
    config, commands = readme()
    if not (root.path / HOME[1:]).exists():
        root.enter("useradd", "--create-home", USER)
    give(root, "ca.pem", place.ca.pem.read_text())
    give(root, "secret", place.app.secret + "\n")
    give(root, ".config/mailtree/config", config_for(place, config))
    (root.path / HOME[1:] / ".config").chmod(0o700)
    assert root.shell("mailtree doctor work").endswith("Everything works.\n")
    for command in commands:
        output = root.shell(command)
        if command.startswith("mailtree mount"):
            compare(root, place)
        if command == "mailtree status":
            assert OLENA in output and "connected" in output
    assert "Nothing is mounted." in root.shell("mailtree status")


def main():
    parser = argparse.ArgumentParser(description="Tries the Debian package in a fresh system: see the top of this file.")
    parser.add_argument("--package", type=pathlib.Path, help="default: scripts/deb builds it")
    parser.add_argument("--root", type=pathlib.Path, help="where the system is, or is made, and stays (default: a temporary folder)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("only root can")
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="mt-", dir="/tmp") as folder:
        package = options.package
        if not package:
            packages = run(PROJECT / "scripts" / "deb", f"{folder}/deb").split()
            package = pathlib.Path(next(path for path in packages if path.endswith(".deb") and "/mailtree_" in path))
        pathlib.Path(folder).chmod(0o755)
        place = Place(f"{folder}/lab")
        # Before it starts: then the files become those of Dovecot's user.
        mailboxes.fill(place.dovecot.maildir(OLENA), MESSAGES)
        with Root(options.root or f"{folder}/root") as root, place:
            shutil.copy(package, root.path / "tmp" / "mailtree.deb")
            root.enter("apt-get", "-q", "update")
            root.enter("apt-get", "-q", "install", "-y", "--no-install-recommends", "--reinstall", "/tmp/mailtree.deb")
            print(root.enter("dpkg-query", "-W", "mailtree"), end="", flush=True)
            follow(root, place)
            root.enter("apt-get", "-q", "purge", "-y", "mailtree")
    print("the package works in a fresh system")
    return 0


if __name__ == "__main__":
    sys.exit(main())
