# SPDX-License-Identifier: GPL-2.0-or-later
"""What service managers, shells and monitoring see of mailtree: readiness, units, the status page, metrics."""

import json
import os
import pathlib
import pty
import re
import socket
import subprocess

import pytest
from lab import net
from lab.home import PROJECT
from lab.place import OLENA

GENERIC = "[work]\nhost = 127.0.0.1\nuser = olena@contoso.example\nauth = password\npassword_file = pw\n"
UNITS = ("user", "system")
# Nothing that implies NoNewPrivileges or a mount namespace: a new directive is looked at before it comes in here.
DIRECTIVES = {"Description", "Documentation", "Type", "ExecStartPre", "ExecStart", "ExecReload", "ExecStop", "Restart", "RestartSec",
              "RestartPreventExitStatus", "TimeoutStopSec", "UMask", "LimitCORE", "MemoryMax", "WantedBy"}


# Readiness

@pytest.fixture(params=["path", "abstract"])
def manager(request, home):
    """A service manager's socket: (value of $NOTIFY_SOCKET, function that returns the next datagram)."""
    name = f"{home.path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name if request.param == "path" else f"\0{name}")
        listener.settimeout(30 * net.SLOWNESS)
        yield name if request.param == "path" else f"@{name}", lambda: listener.recv(4096).decode()


def test_a_manager_is_told(home, manager):
    name, next_state = manager
    home.write_config(GENERIC)
    point = home.path / "mnt" / "m"
    point.mkdir()
    process = subprocess.Popen([str(home.binary), "mount", "-f", "work", str(point)],
                               env=home.environment(NOTIFY_SOCKET=name), stdin=subprocess.DEVNULL)
    try:
        assert next_state() == "READY=1"
        assert os.path.ismount(point), "ready means mounted"
        assert home.run("umount", point).returncode == 0
        assert next_state() == "STOPPING=1"
        assert process.wait(20 * net.SLOWNESS) == 0
    finally:
        process.kill()


def test_a_manager_that_isnt_there_is_no_failure(home):
    home.write_config(GENERIC)
    for name in (home.path / "nobody", "nonsense", "/" + "x" * 200, ""):
        point = home.path / "mnt" / "m"
        point.mkdir(exist_ok=True)
        assert home.run("mount", "work", point, env={"NOTIFY_SOCKET": str(name)}).returncode == 0
        assert home.run("umount", point).returncode == 0


# Units

def unit_text(kind, binary="/usr/bin"):
    text = (PROJECT / "systemd" / kind / "mailtree@.service.in").read_text()
    return text.replace("@bindir@", str(binary))


@pytest.mark.parametrize("kind", UNITS)
def test_units_verify(home, kind):
    unit = home.path / "mailtree@.service"
    unit.write_text(unit_text(kind, home.binary.parent))
    for instance in ("work", ""):
        copy = home.path / f"mailtree@{instance}.service"
        copy.write_text(unit.read_text())
        result = subprocess.run(["systemd-analyze", "verify", "--man=no", *(["--user"] if kind == "user" else []), str(copy)],
                                env=home.environment(), capture_output=True, text=True, timeout=60 * net.SLOWNESS)
        complaints = [line for line in (result.stdout + result.stderr).splitlines() if "mailtree@" in line]
        assert not complaints and result.returncode == 0, result.stderr


def test_accounts_as_instances():
    """What the manual says to type, and what %I makes of it again."""
    def escape(*words):
        return subprocess.run(["systemd-escape", *words], capture_output=True, text=True, check=True).stdout.strip()
    for account in ("work", "work:olena@my-firm.com", "work:o'neil+x@contoso.com"):
        instance = escape(account)
        assert re.fullmatch(r"[a-zA-Z0-9:_.\\]+", instance) and escape("-u", instance) == account


@pytest.mark.parametrize("kind", UNITS)
def test_units_have_what_is_promised_and_nothing_that_hides_the_mount(kind):
    lines = [line for line in unit_text(kind).splitlines() if re.match(r"\w+=", line)]
    assert {line.partition("=")[0] for line in lines} <= DIRECTIVES
    for line in ("Type=notify", "UMask=0077", "LimitCORE=0", "RestartPreventExitStatus=2 3 5", "Restart=on-failure"):
        assert line in lines
    assert any(line.startswith("ExecStop=") for line in lines) and any(line.startswith("MemoryMax=") for line in lines)


# The status page

def on_terminal(home, *words, **environment):
    """What a command writes on a terminal."""
    main, terminal = pty.openpty()
    process = subprocess.Popen([str(home.binary), *map(str, words)], env=home.environment(TERM="xterm", **environment),
                               stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    try:
        while chunk := os.read(main, 4096):
            seen += chunk
    except OSError:
        pass  # the other end is closed
    os.close(main)
    process.wait(60 * net.SLOWNESS)
    return seen.decode()


def test_status_page(mount, home, truth):
    point = mount()
    (point / "INBOX" / f"{min(truth['INBOX'])}.eml").read_bytes()
    text = home.run("status", point, check=True).stdout
    lines = dict(re.findall(r"^  (\S+(?: error)?) +(.*)$", text, re.MULTILINE))
    assert text.startswith(f"{point}  work\n") and "\x1b" not in text
    assert lines["mailbox"].startswith(f"{OLENA} at ") and lines["state"].startswith("connected, ")
    assert re.fullmatch(r"token until 20\d\d-\S+Z, \d+ min from now", lines["sign-in"])
    assert re.fullmatch(r"\[[#.]{20}\] .* \(limit: 2\.0 GiB\), \d+ messages", lines["cache"])
    assert "from the server" in lines["reads"] and "ahead of a reader" in lines["fetched"]
    assert "last error" not in lines


def test_colours_are_for_terminals_alone(mount, home, truth):
    point = mount()
    os.listdir(point / "INBOX")
    for command in (["status", point], ["doctor", "work"]):
        assert "\x1b[32m" in on_terminal(home, *command)
        assert "\x1b" not in on_terminal(home, *command, NO_COLOR="1")
        assert "\x1b" not in on_terminal(home, *command) .replace("\x1b[32m", "").replace("\x1b[1m", "").replace(
            "\x1b[2m", "").replace("\x1b[0m", "")
        assert "\x1b" not in home.run(*command, env={"TERM": "xterm"}, check=True).stdout


# Metrics: the text format as https://prometheus.io/docs/instrumenting/exposition_formats has it

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"


def parse_metrics(text):
    """{name: (type, value)}; fails on whatever the format forbids."""
    assert text.endswith("\n")
    found, helps, types = {}, set(), {}
    for line in text[:-1].split("\n"):
        if match := re.fullmatch(rf"# HELP ({NAME}) (.+)", line):
            assert match[1] not in helps and not re.search(r"\\(?![\\n])", match[2])
            helps.add(match[1])
        elif match := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", line):
            assert match[1] in helps and match[1] not in types, "its help stands in front of it, once"
            types[match[1]] = match[2]
        else:
            match = re.fullmatch(rf"({NAME}) (\d+)", line)
            assert match, line
            assert list(types)[-1] == match[1] and match[1] not in found, "each behind its own type, once"
            found[match[1]] = (types[match[1]], int(match[2]))
    assert found.keys() == helps == types.keys()
    return found


def test_metrics(mount, truth):
    point = mount()
    before = parse_metrics((point / ".mailtree" / "metrics").read_text())
    (point / "INBOX" / f"{min(truth['INBOX'])}.eml").read_bytes()
    after = parse_metrics((point / ".mailtree" / "metrics").read_text())
    assert before.keys() == after.keys()
    for name, (kind, value) in after.items():
        assert name.startswith("mailtree_") and name.endswith("_total") == (kind == "counter")
        assert kind == "gauge" or value >= before[name][1]
    assert after["mailtree_bodies_fetched_total"][1] >= 1
    counters = json.loads((point / ".mailtree" / "status.json").read_text())["counters"]
    assert {f"mailtree_{name}_total" for name in counters} <= after.keys()


# What is installed

def test_manuals_are_there_for_each_command(home):
    commands = re.findall(r"^  ([a-z]+) ", home.run("--help", check=True).stdout.partition("Commands:")[2].partition("\n\n")[0],
                          re.MULTILINE)
    page = (PROJECT / "man" / "mailtree.1").read_text()
    meson = (PROJECT / "man" / "meson.build").read_text()
    assert len(commands) > 10
    for command in commands:
        section = re.search(rf'^\.SS "?mailtree {command} .*?(?=^\.S[SH] )', page, re.MULTILINE | re.DOTALL)
        assert section and f"'{command}'" in meson, command
        text = home.run(command, "--help", check=True).stdout
        for option in re.findall(r"^  (?:-\w, )?--([\w-]+)", text, re.MULTILINE):
            wanted = page if option in ("config", "verbose", "help") else section[0]
            assert rf"\-\-{option}".replace("-", r"\-").replace(r"\\-", r"\-") in wanted, (command, option)


def test_status_codes_are_in_the_manual():
    page = (PROJECT / "man" / "mailtree.1").read_text()
    section = page.partition(".SH EXIT STATUS")[2].partition(".SH ")[0]
    assert re.findall(r"^\.B (\d)$", section, re.MULTILINE) == ["0", "1", "2", "3", "4", "5"]
    assert pathlib.Path(PROJECT / "debian" / "changelog").read_text().split()[1] == "(0.1.0)"
