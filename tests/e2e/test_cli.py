# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands: their lines, exit statuses and messages, and what they print, with a live mount and without one."""

import base64
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from lab import maildir, net
from lab.place import OLENA, TEAM, sasl

COMMANDS = ("setup", "search", "warm", "doctor", "mount", "umount", "login", "logout", "ls", "cat", "status", "token", "cache")
GENERIC = "[work]\nhost = 127.0.0.1\nuser = olena@contoso.example\nauth = password\npassword_file = pw\n"


def one_line(result):
    assert result.stderr.startswith("mailtree: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def is_of(home, entry):
    """Whether a mount of `status --json` is one of this test."""
    return entry["mountpoint"].startswith(f"{home.path}/")


# The command line

def test_version(home):
    result = home.run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split()[0] == "mailtree"


def test_help_lists_every_command(home):
    result = home.run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert set(COMMANDS) <= set(result.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(home, command):
    result = home.run(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage:" in result.stdout
    assert f"mailtree {command}" in result.stdout.partition("Example:")[2]


@pytest.mark.parametrize("words", [
    ["-v"], ["nope"], ["--nope"], ["--config"], ["ls"], ["ls", "--nope", "work"], ["ls", "a", "b", "c"], ["mount", "work"],
    ["umount"], ["cat", "work", "INBOX"], ["cat", "work", "INBOX", "x"], ["cat", "work", "INBOX", "0"],
    ["cat", "work", "INBOX", "4294967296"], ["cat", "work", "INBOX", "-1"], ["cache", "work"],
    ["cache", "work", "burn"], ["token", "work", "--sasl", "plain"], ["status", "a", "b"], ["setup"], ["setup", "nobody"],
], ids=" ".join)
def test_usage_errors_exit_2(home, words):
    home.write_config(GENERIC)
    result = home.run(*words, cwd=home.path)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert one_line(result).endswith(")\n"), "it says what to do"


def test_global_options_stand_in_front_or_behind(home):
    other = home.path / "elsewhere"
    other.touch(mode=0o600)
    other.write_text(GENERIC.replace("[work]", "[other]"))
    for words in (["--config", other, "cache", "other", "stats"], ["cache", "other", "stats", "--config", other]):
        assert home.run(*words).returncode == 0
    assert home.run("cache", "other", "stats", env={"MAILTREE_CONFIG": str(other)}).returncode == 0
    assert home.run("cache", "other", "stats").returncode == 5


# Configuration errors

@pytest.mark.parametrize("text, words", [
    (None, ["config"]),
    ("", ["config", "work"]),
    ("[other]\nhost = a\n", ["config", "work", "other"]),
    (GENERIC + "sizs = auto\n", ["config:6", "sizs", "sizes"]),
    (GENERIC + "port = many\n", ["config:6", "port"]),
    (GENERIC + "port = 0\n", ["config:6", "port"]),
    (GENERIC + "timeout = -1\n", ["config:6", "timeout"]),
    (GENERIC + "sizes = some\n", ["config:6", "sizes"]),
    (GENERIC + "auth = password\n", ["config:6", "auth"]),
    (GENERIC + "tls = none\nhost = mail.example\n", ["config:7", "host"]),
    (GENERIC.replace("host = 127.0.0.1", "host = mail.example") + "tls = none\n", ["config", "tls"]),
    (GENERIC.replace("host = 127.0.0.1\n", ""), ["config", "host"]),
    (GENERIC.replace("password_file = pw\n", ""), ["config", "password"]),
    (GENERIC.replace("auth = password", "auth = magic"), ["config:4", "auth"]),
    ("no group\n", ["config:1"]),
    (GENERIC + "write = true\n", ["write"]),
], ids=repr)
def test_configuration_errors_exit_5_and_name_the_place(home, text, words):
    if text is not None:
        home.write_config(text)
    point = home.path / "mnt"
    result = home.run("mount", "work", point)
    assert result.returncode == 5, result.stderr
    for word in words:
        assert word in one_line(result)
    assert not os.path.ismount(point)


def test_a_configuration_that_others_can_read_keeps_no_secret(home):
    home.write_config(GENERIC.replace("password_file = pw", "password = Xq7-secret-value"))
    home.config_file.chmod(0o644)
    result = home.run("ls", "work")
    assert result.returncode == 5 and "chmod 600" in one_line(result)
    assert "Xq7-secret-value" not in result.stderr


# mount and umount

def test_mount_needs_no_server_and_returns_when_it_is_ready(home):
    home.write_config(GENERIC)
    mount = home.mount("work", daemon=True)
    assert mount.is_mounted
    mount.unmount()
    assert not list((home.path / "run" / "mailtree").iterdir())


def test_what_cannot_be_mounted(home):
    home.write_config(GENERIC)
    file = home.path / "file"
    file.write_text("")
    for point, words in ((file, "not a directory"), (home.path / "none", "No such file"), ("/proc/self", "")):
        result = home.run("mount", "work", point)
        assert result.returncode == 1 and words in one_line(result)


def test_a_place_is_mounted_once(home):
    home.write_config(GENERIC)
    mount = home.mount("work", daemon=True)
    for options in ([], ["-f"]):
        result = home.run("mount", "work", mount, *options)
        assert result.returncode == 1 and "already" in one_line(result)
    assert mount.is_mounted
    mount.unmount()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_unmount(home, number):
    home.write_config(GENERIC)
    mount = home.mount("work")
    mount.process.send_signal(number)
    assert mount.process.wait(20 * net.SLOWNESS) == 0
    assert not mount.is_mounted


def test_hangup_doesnt_end_a_mount(home, wait_for):
    home.write_config(GENERIC)
    mount = home.mount("work", debug=True)
    mount.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "trying again" in home.log())
    assert mount.is_mounted
    mount.unmount()


def test_umount_of_what_isnt_mounted(home):
    for place in (home.path, home.path / "none", "/"):
        result = home.run("umount", place)
        assert result.returncode == 1
        one_line(result)


def test_umount_while_busy_says_how_to_find_who(home):
    home.write_config(GENERIC)
    mount = home.mount("work", daemon=True)
    with open(mount / ".mailtree" / "status.json"):
        result = home.run("umount", mount)
        assert result.returncode == 1 and "busy" in one_line(result) and "fuser" in result.stderr
    mount.unmount()


def test_a_mount_whose_process_was_killed_is_cleared_away(home, wait_for):
    home.write_config(GENERIC)
    mount = home.mount("work")
    wait_for(lambda: list((home.path / "run").glob("mailtree/*")), 10, "its socket")
    mount.process.kill()
    mount.process.wait()
    mount.process = None
    status = [entry for entry in json.loads(home.run("status", "--json", check=True).stdout) if is_of(home, entry)]
    assert [(entry["mountpoint"], entry["state"]) for entry in status] == [(str(mount.path), "no-answer")]
    assert "has died or hangs" in home.run("status", mount, check=True).stdout
    assert not list((home.path / "run").glob("mailtree/*")), "the dead socket was removed"
    result = home.run("mount", "work", mount)
    assert result.returncode == 1 and "died" in one_line(result)
    assert home.run("umount", mount).returncode == 0
    mount.start()
    mount.unmount()


def test_umount_ends_when_a_remount_can_begin(home):
    home.write_config(GENERIC)
    mount = home.mount("work", daemon=True)
    for _ in range(3):
        assert home.run("umount", mount).returncode == 0
        assert not home.processes(mount), "its process has ended"
        mount.start()
    mount.unmount()


def test_umount_by_a_symbolic_link_and_from_elsewhere(home):
    home.write_config(GENERIC)
    mount = home.mount("work", daemon=True)
    link = home.path / "link"
    link.symlink_to(mount.path)
    assert home.run("umount", "./link/", cwd=home.path).returncode == 0
    assert not mount.is_mounted


# status

def test_status_of_nothing(home):
    """What other tests of this user have mounted meanwhile is shown, and no matter here."""
    entries = json.loads(home.run("status", "--json", check=True).stdout)
    assert not [entry for entry in entries if is_of(home, entry)]
    assert str(home.path) not in home.run("status", check=True).stdout
    assert home.run("status", home.path).returncode == 1


def test_status_of_two_mounts(mount, home):
    first, second = mount(), mount()
    os.listdir(first / "INBOX")
    everything = json.loads(home.run("status", "--json", check=True).stdout)
    assert {entry["mountpoint"] for entry in everything} >= {str(first), str(second)}
    one = json.loads(home.run("status", first, "--json", check=True).stdout)
    assert {"account", "user", "host", "mountpoint", "state", "connections", "signed_in", "token_expires", "last_error",
            "folders", "cache", "counters"} <= set(one)
    assert (one["account"], one["user"], one["mountpoint"], one["state"]) == ("work", OLENA, str(first), "connected")
    assert one["counters"].keys() == first.status()["counters"].keys()
    text = home.run("status", first, check=True).stdout
    assert str(first) in text and OLENA in text and "connected" in text


# ls and cat

@pytest.fixture(params=["mounted", "alone"])
def account(request, home, place, truth, mount):
    """The account's name, mounted or not: what the commands print is the same."""
    if request.param == "mounted":
        mount()
    else:
        home.set_account("work", place.account("work"))
    return "work"


def test_ls_of_folders(account, home, truth):
    folders = json.loads(home.run("ls", account, "--json", check=True).stdout)
    assert set(folders[0]) >= {"path", "folder", "messages", "unseen", "uidvalidity", "special_use"}
    paths = [folder["path"] for folder in folders]
    assert paths == sorted(paths, key=lambda path: path.encode())
    assert {"INBOX", "INBOX/Підтека", "Projects/Alpha", "Архів/2023/Січень", "Empty"} <= set(paths)
    lines = home.run("ls", account, check=True).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == paths


def test_ls_of_a_folder(account, home, truth):
    messages = json.loads(home.run("ls", account, "Projects/Alpha", "--json", check=True).stdout)
    expected = truth["Projects/Alpha"]
    assert [message["uid"] for message in messages] == sorted(expected)
    for message in messages:
        known = expected[message["uid"]]
        assert set(message) >= {"path", "folder", "uid", "uidvalidity", "size", "size_exact", "date", "from", "to",
                                "subject", "message_id", "flags", "cached"}
        assert message["folder"] == "Projects/Alpha"
        assert message["path"].startswith("Projects/Alpha/") and message["path"].endswith(f".{message['uid']}.eml")
        assert ("\\Seen" in message["flags"]) == ("S" in known.flags)
        assert ("\\Flagged" in message["flags"]) == ("F" in known.flags)
        assert message["from"] and message["message_id"] and message["date"].endswith("Z")
    lines = home.run("ls", account, "Projects/Alpha", check=True).stdout.splitlines()
    assert [int(line.split("\t")[0]) for line in lines] == sorted(expected)


def test_paths_of_ls_are_those_of_the_mount(mount, home, truth):
    point = mount()
    messages = json.loads(home.run("ls", "work", "Odd", "--json", check=True).stdout)
    assert {os.path.basename(message["path"]) for message in messages} == {
        entry.name for entry in os.scandir(point / "Odd") if entry.is_file()}


def test_ls_never_writes_controls(account, home, truth):
    text = home.run("ls", account, "Odd", check=True, text=False).stdout.decode()
    assert not [c for c in text if c not in "\t\n" and not c.isprintable() and (c < " " or "\x7f" <= c < "\xa0")]


def test_cat_gives_the_octets(account, home, truth):
    for folder in ("Projects/Alpha", "Odd"):
        for uid in sorted(truth[folder])[:5] + sorted(truth[folder])[-5:]:
            result = home.run("cat", account, folder, uid, text=False)
            assert result.returncode == 0, result.stderr
            assert result.stdout == maildir.served_bytes(truth[folder][uid].content)


def test_what_isnt_there(account, home, truth):
    for words in (["ls", account, "No/Such"], ["cat", account, "INBOX", 4_000_000_000], ["cat", account, "None", 1]):
        result = home.run(*words)
        assert (result.returncode, result.stdout) == (1, "")
        assert "no " in one_line(result)


def test_an_empty_folder_is_an_empty_array(account, home, truth):
    assert json.loads(home.run("ls", account, "Empty", "--json", check=True).stdout) == []


def commands_at_rest(point):
    """When what the first access has begun is over: the connection that is kept free, the watch."""
    sent, before = point.status()["counters"]["commands"], None
    while sent != before:
        time.sleep(net.SLOWNESS)
        sent, before = point.status()["counters"]["commands"], sent
    return sent


def test_commands_use_the_mount(mount, home, place, truth):
    point = mount()
    os.listdir(point / "INBOX")
    before = commands_at_rest(point), len(place.authority.tokens.texts())
    home.run("ls", "work", "INBOX", "--json", check=True)
    assert point.status()["counters"]["commands"] - before[0] <= 2
    assert len(place.authority.tokens.texts()) == before[1], "no sign-in of its own"


def test_a_mount_of_another_mailbox_isnt_asked(mount, home, place, truth):
    mount()
    home.set_account("work", place.account("work", TEAM))
    folders = json.loads(home.run("ls", "work", "--json", check=True).stdout)
    assert "Projects/Alpha" not in {folder["path"] for folder in folders}


def test_group_and_address(home, place, truth):
    home.set_account("work", place.account("work", TEAM))
    folders = json.loads(home.run("ls", f"work:{OLENA}", "--json", check=True).stdout)
    assert "Projects/Alpha" in {folder["path"] for folder in folders}


@pytest.mark.slow
def test_a_mount_that_hangs_is_worked_around(mount, home, truth):
    point = mount()
    os.listdir(point / "INBOX")
    point.process.send_signal(signal.SIGSTOP)
    try:
        uids = [entry["uid"] for entry in json.loads(home.run("ls", "work", "Sent", "--json", check=True).stdout)]
    finally:
        point.process.send_signal(signal.SIGCONT)
    assert uids == sorted(truth["Sent"])


def test_a_reader_that_goes_away_ends_it_quietly(account, home, truth):
    process = subprocess.Popen([str(home.binary), "ls", account, "INBOX", "--json"], env=home.environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60 * net.SLOWNESS) == 1
    process.stderr.close()


def test_a_full_disk_is_an_error(account, home, truth):
    with open("/dev/full", "wb") as full:
        result = subprocess.run([str(home.binary), "cat", account, "Sent", str(min(truth["Sent"]))],
                                env=home.environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 1 and "No space" in one_line(result)


# Failures of sign-in and network

def test_exit_3_when_sign_in_is_refused(home, place):
    wrong = home.path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not-the-secret\n")
    home.set_account("work", place.account("work", client_secret_file=wrong))
    for words in (["ls", "work"], ["token", "work"]):
        result = home.run(*words)
        assert (result.returncode, result.stdout) == (3, "")
        one_line(result)


def test_exit_4_when_the_server_cant_be_reached(home, place):
    home.set_account("work", place.account("work", port=net.free_port()))
    result = home.run("ls", "work")
    assert (result.returncode, result.stdout) == (4, "")
    one_line(result)


def test_exit_4_when_the_authority_cant_be_reached(home, place):
    home.set_account("work", place.account("work", authority=f"http://127.0.0.1:{net.free_port()}"))
    result = home.run("token", "work")
    assert (result.returncode, result.stdout) == (4, "")
    one_line(result)


def test_ls_and_cat_tell_why_the_mount_cant(mount, home, place):
    mount(keys={"port": net.free_port()})
    result = home.run("ls", "work")
    assert (result.returncode, result.stdout) == (4, "")
    one_line(result)


# token

def test_token(home, place):
    home.set_account("work", place.account("work"))
    token = home.run("token", "work", check=True).stdout.strip()
    client = place.connect()
    assert place.sign_in(client, OLENA, token)[0] == "OK"
    client.logout()
    for mechanism in ("XOAUTH2", "OAUTHBEARER"):
        text = base64.b64decode(home.run("token", "work", "--sasl", mechanism.lower(), check=True).stdout)
        fresh = text.split(b"auth=Bearer ")[1].rstrip(b"\1").decode()
        assert text == sasl(mechanism, OLENA, fresh, place.dovecot.port)


def test_a_password_gives_no_token(home):
    home.write_config(GENERIC)
    assert home.run("token", "work").returncode == 5


# cache

def test_cache(mount, home, truth):
    point = mount()
    for uid in truth["Sent"]:
        (point / "Sent" / f"{uid}.eml").read_bytes()
    point.unmount()
    count = len(truth["Sent"])
    assert f"messages   {count}\n" in home.run("cache", "work", "stats", check=True).stdout
    assert f"checked {count} messages: 0 " in home.run("cache", "work", "verify", check=True).stdout
    assert f"{count} messages" in home.run("cache", "work", "clear", check=True).stdout
    assert "messages   0\n" in home.run("cache", "work", "stats", check=True).stdout


# For mount(8)

@pytest.mark.parametrize("name", ["mount.mailtree", "mount.fuse.mailtree"])
def test_mount_helper(home, name):
    """As mount(8) runs it: its own options, and words that mean nothing to us."""
    home.write_config(GENERIC)
    helper = pathlib.Path(home.path) / name
    helper.symlink_to(home.binary)
    point = home.path / "mnt" / "helper"
    point.mkdir()

    def run(*words):
        return subprocess.run([str(helper), "work", str(point), *words], env=home.environment(), capture_output=True,
                              text=True, timeout=60 * net.SLOWNESS)
    result = run("-f", "-o", "rw")
    assert (result.returncode, result.stderr) == (0, "") and not os.path.ismount(point), "only pretended"
    assert run("-o", "rw,nonsense=1").returncode == 5
    result = run("-sn", "-o", "rw,noauto,nofail,_netdev,x-systemd.automount,names=uid", "-t", "fuse.mailtree")
    assert (result.returncode, result.stderr) == (0, "")
    assert os.path.ismount(point)
    assert home.run("umount", point).returncode == 0
