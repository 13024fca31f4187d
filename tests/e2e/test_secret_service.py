# SPDX-License-Identifier: GPL-2.0-or-later
"""token_store = secret-service: a person's tokens in the keyring of a session bus, and what happens without one."""

import os
import socket
import subprocess
import time

import pytest
from lab import net
from lab.leaks import find_leaks
from lab.place import OLENA
from persons import Login, sign_in, token_file

SERVICE = "org.freedesktop.secrets"
ALIAS = "org.freedesktop.Secret.Service.ReadAlias"
# What a silent service may cost, SECRET_SERVICE_MS of src/auth/store_secret.h, and a little.
SILENCE_S = 10
PATIENCE_S = SILENCE_S + 5


class Session:
    """A session bus where GLib looks for one, in the runtime folder, and GNOME's keyring on it, which is unlocked."""

    def __init__(self, home):
        self._address = f"unix:path={home.path}/run/bus"
        self._environment = home.environment(DBUS_SESSION_BUS_ADDRESS=self._address, XDG_DATA_HOME=str(home.path / "data"))
        self._log = open(home.path / "session", "wb")
        self._processes = []
        self._start(["dbus-daemon", "--session", "--nofork", f"--address={self._address}"])
        net.wait_until((home.path / "run" / "bus").exists, what="the session bus")
        keyring = self._start(["gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock"])
        # A first password makes the default keyring; an empty one makes none.
        keyring.stdin.write(b"a password of the keyring\n")
        keyring.stdin.close()
        net.wait_until(lambda: "true" in self.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner",
                                                   f"string:{SERVICE}"), what="the secret service")
        net.wait_until(lambda: "/collection/" in self.call(SERVICE, "/org/freedesktop/secrets", ALIAS, "string:default"),
                       what="the keyring")

    def _start(self, words):
        process = subprocess.Popen(words, env=self._environment, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log)
        self._processes.append(process)
        return process

    def call(self, name, path, member, *arguments):
        return subprocess.run(["dbus-send", f"--bus={self._address}", "--print-reply", f"--dest={name}", path, member, *arguments],
                              env=self._environment, capture_output=True, text=True, timeout=20 * net.SLOWNESS, check=True).stdout

    def items(self):
        """What any program of the session may read of each item: attributes and label."""
        found = self.call(SERVICE, "/org/freedesktop/secrets", "org.freedesktop.Secret.Service.SearchItems",
                          "dict:string:string:xdg:schema,mailtree.Tokens")
        paths = [line.split('"')[1] for line in found.splitlines() if "object path" in line]
        return [self.call(SERVICE, path, "org.freedesktop.DBus.Properties.GetAll", "string:org.freedesktop.Secret.Item")
                for path in paths]

    def lock(self):
        self.call(SERVICE, "/org/freedesktop/secrets", "org.freedesktop.Secret.Service.Lock",
                  "array:objpath:/org/freedesktop/secrets/aliases/default")

    def end(self):
        for process in reversed(self._processes):
            process.stdin.close()
            process.terminate()
            process.wait(20 * net.SLOWNESS)
        self._processes = []
        self._log.close()


@pytest.fixture
def session(home):
    started = Session(home)
    yield started
    started.end()


@pytest.fixture
def account(home, place):
    def do(**keys):
        home.set_account("work", place.person_account("work", **{"token_store": "secret-service"} | keys))
    do()
    return do


def leaks_on_disk(home):
    """In all that mailtree and the keyring, which is encrypted, keep."""
    found = []
    for top in ("config", "state", "cache", "run", "data"):
        for folder, _, names in os.walk(home.path / top):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        found += [f"{leak}, in {path}" for leak in find_leaks(file.read(), home.secrets())]
    return found


def refreshes(place):
    return place.authority.counters().get("token:refresh_token", 0)


def stamp(home):
    status = (home.path / "state" / "mailtree" / "work.stamp").stat()
    return status.st_size, status.st_mtime_ns


def test_tokens_live_in_the_keyring(home, place, truth, account, session):
    account(auth="device-code")
    place.authority.set_lifetime(1)
    running = Login(home, "work")
    try:
        running.url()
        place.authority.devices()[-1].decide(place.people[OLENA])
        assert running.wait() == (0, "")
    finally:
        running.end()
    [item] = session.items()
    for word in ("mailtree: work", OLENA, "127.0.0.1", "state/mailtree"):
        assert word in item
    assert find_leaks(item, home.secrets()) == [] and leaks_on_disk(home) == []

    first = stamp(home)
    ends = time.time() + 1
    net.wait_until(lambda: time.time() > ends, what="the end of the token")
    place.authority.set_lifetime(3600)
    mount = home.mount("work")
    assert os.listdir(mount / "INBOX")
    assert refreshes(place) >= 1 and stamp(home) != first
    asked = refreshes(place)
    mount.remount()
    assert os.listdir(mount / "INBOX")
    assert refreshes(place) == asked, "the next process takes the token that the last one stored"
    mount.unmount()
    assert len(session.items()) == 1 and leaks_on_disk(home) == []

    last = stamp(home)
    assert home.run("logout", "work", check=True).stdout == "work: signed out\n"
    assert session.items() == [] and stamp(home) != last
    assert home.run("token", "work").returncode == 3
    assert home.run("logout", "work", check=True).stdout == "work: nobody was signed in\n"


def test_mount_goes_on_after_login(home, place, truth, account, session, wait_for):
    mount = home.mount("work", timeout=5)
    with pytest.raises(PermissionError):
        os.listdir(mount / "INBOX")
    sign_in(home)

    def reads():
        try:
            return os.listdir(mount / "INBOX")
        except PermissionError:
            return None
    wait_for(reads, what="the mount to notice")


def test_change_of_place_leaves_no_file(home, place, account, session):
    account(token_store="file")
    sign_in(home)
    assert token_file(home).exists()
    account()
    assert home.run("token", "work").returncode == 3
    sign_in(home)
    assert not token_file(home).exists() and leaks_on_disk(home) == []
    assert home.run("token", "work").returncode == 0


def test_two_accounts_keep_apart(home, place, account, session):
    home.set_account("other", place.person_account("other", token_store="secret-service"))
    sign_in(home)
    sign_in(home, "other")
    assert len(session.items()) == 2
    home.run("logout", "other", check=True)
    assert len(session.items()) == 1 and home.run("token", "work").returncode == 0


def test_locked_keyring_is_told_and_nobody_is_asked(home, place, truth, account, session):
    sign_in(home)
    session.lock()
    result = home.run("token", "work")
    assert result.returncode == 3 and "the keyring is locked (" in result.stderr
    mount = home.mount("work")
    with pytest.raises(PermissionError):
        os.listdir(mount / "INBOX")
    assert any("the keyring is locked" in line for line in mount.errors())
    mount.unmount()
    # Where no desktop is there to ask for the password, it isn't forgotten, and that is told.
    result = home.run("logout", "work")
    assert result.returncode == 3 and result.stderr.startswith("mailtree: logout: [work]: ")
    assert len(session.items()) == 1


def test_mount_outlives_its_session(home, place, truth, account, session):
    sign_in(home)
    mount = home.mount("work", poll=0)
    assert os.listdir(mount / "INBOX")
    session.end()
    assert os.listdir(mount / "INBOX") and mount.status()["signed_in"]
    mount.unmount()


def test_without_a_bus(home, place, truth, account):
    for command in (["login", "work"], ["token", "work"], ["logout", "work"]):
        result = home.run(*command, timeout_s=PATIENCE_S)
        assert result.returncode == 3, command
        assert "the desktop's secret service can't be used: " in result.stderr
        assert "token_store = file" in result.stderr and result.stderr.count("\n") == 1
    mount = home.mount("work")
    with pytest.raises(PermissionError):
        os.listdir(mount / "INBOX")
    assert any("secret service" in line for line in mount.errors())


def test_silent_bus_holds_nobody_up_for_long(home, place, account):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home.path / "run" / "bus"))
        listener.listen()
        start = time.monotonic()
        result = home.run("token", "work", timeout_s=60)
        assert time.monotonic() - start < PATIENCE_S * net.SLOWNESS
    assert result.returncode == 3 and f"no answer within {SILENCE_S} s" in result.stderr
