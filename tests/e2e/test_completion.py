# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion in bash, zsh and fish, each run for real."""

import os
import pathlib
import pty
import re
import select
import subprocess
import time

import pytest
from lab import net
from lab.home import PROJECT

pytestmark = pytest.mark.plain
CONFIG = "[work]\nhost = a.example\n\n[work:other]\nhost = a.example\n\n[home]\nhost = b.example\n"
SCRIPTS = PROJECT / "completions"


@pytest.fixture
def shell_home(home):
    home.write_config(CONFIG)
    (home.path / "bin").mkdir()
    (home.path / "bin" / "mailtree").symlink_to(home.binary)
    (home.path / "place").mkdir()
    return home


def environment(home):
    return home.environment(PATH=f"{home.path}/bin:/usr/bin:/bin", TERM="xterm", LC_ALL="C.UTF-8")


def bash(home, line):
    """What COMPREPLY holds, with what readline keeps of the word in front of it."""
    script = f"""
        source {SCRIPTS}/mailtree.bash
        COMP_LINE={quoted(line)} COMP_POINT=${{#COMP_LINE}}
        _mailtree
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(["bash", "--norc", "-c", script], env=environment(home), cwd=home.path, capture_output=True,
                            text=True, timeout=30 * net.SLOWNESS)
    assert (result.returncode, result.stderr) == (0, ""), result
    word = line.split(" ")[-1]
    kept = word[:max(word.rfind(":"), word.rfind("=")) + 1]
    return {kept + candidate for candidate in result.stdout.split("\n") if candidate}


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def fish(home, line):
    result = subprocess.run(["fish", "--no-config", "-c", f"source {SCRIPTS}/mailtree.fish; complete -C {quoted(line)}"],
                            env=environment(home), cwd=home.path, capture_output=True, text=True, timeout=30 * net.SLOWNESS)
    assert (result.returncode, result.stderr) == (0, ""), result
    return {candidate.partition("\t")[0].rstrip("/") for candidate in result.stdout.splitlines()}


def zsh(home, lines):
    """Through a terminal, as a person: types each line, lets its completions be listed, and reads them."""
    setup = home.path / ".zshrc"
    setup.write_text(f"""
        fpath=({SCRIPTS} $fpath)
        autoload -U compinit && compinit -u -D
        PS1='READY> '; LISTMAX=1000; unsetopt zle_bracketed_paste prompt_sp
        setopt no_auto_menu no_list_ambiguous no_always_last_prompt; zstyle ':completion:*' list-colors ''
        bindkey '^T' list-choices
    """)
    main, terminal = pty.openpty()
    process = subprocess.Popen(["zsh", "-i"], env=environment(home) | {"ZDOTDIR": str(home.path), "TERM": "dumb", "COLUMNS": "100",
                                                                       "LINES": "60"},
                               cwd=home.path, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    seen = b""

    def read_until_prompt(times):
        nonlocal seen
        deadline = time.monotonic() + 30 * net.SLOWNESS
        while seen.count(b"READY> ") < times:
            assert time.monotonic() < deadline, seen
            if select.select([main], [], [], 1)[0]:
                seen += os.read(main, 4096)
    try:
        read_until_prompt(1)
        for line in lines:
            seen = b""
            # An empty line gives a fresh prompt; the listing ends with another.
            os.write(main, b"\x15\n")
            read_until_prompt(1)
            seen = b""
            os.write(main, line.encode() + b"\x14")
            read_until_prompt(1)
            shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).split("READY> ")[0].split("\n", 1)[-1]
            parts = [part.split("  -- ")[0] for part in shown.splitlines()]
            yield {word.rstrip("/") for part in parts for word in part.split()}
    finally:
        process.kill()
        process.wait()
        os.close(main)


CASES = {
    "mailtree u": {"umount"},
    "mailtree log": {"login", "logout"},
    "mailtree mount ": {"work", "work:other", "home"},
    "mailtree mount work": {"work", "work:other"},
    "mailtree mount work:": {"work:other"},
    "mailtree mount work pla": {"place"},
    "mailtree mount -o ro,names=": {"ro,names=date", "ro,names=uid"},
    "mailtree mount -o noprefetch,wri": {"noprefetch,write"},
    "mailtree cache home ": {"stats", "verify", "clear"},
    "mailtree token home --sasl x": {"xoauth2"},
}
OPTIONS = "mailtree status --"


@pytest.mark.parametrize("complete", [bash, fish])
def test_completion(shell_home, complete):
    for line, wanted in CASES.items():
        assert complete(shell_home, line) == wanted, line
    assert {"--json", "--config"} <= complete(shell_home, OPTIONS)


def test_completion_in_zsh(shell_home):
    # A single candidate is inserted, not listed.
    lines = [line for line, wanted in CASES.items() if len(wanted) > 1]
    *listed, options = zsh(shell_home, [*lines, OPTIONS])
    assert listed == [CASES[line] for line in lines]
    assert {"--json", "--config"} <= options


def test_accounts_are_those_of_the_configuration_that_is_named(shell_home):
    other = shell_home.path / "other"
    other.touch(mode=0o600)
    other.write_text("[elsewhere]\nhost = a\n")
    lines = shell_home.run("completion", "--config", other, "ls", "", check=True).stdout
    assert lines == "elsewhere\taccount\n"


def test_no_configuration_is_no_noise(home):
    result = home.run("completion", "ls", "")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_mountpoints(home):
    home.write_config("[work]\nhost = 127.0.0.1\nuser = a@b.example\nauth = password\npassword_file = pw\n")
    mount = home.mount("work", daemon=True)
    assert f"{mount}\twork\n" in home.run("completion", "umount", f"{home.path}", check=True).stdout
    mount.unmount()


def test_every_option_is_completed(home):
    """What --help lists, and nothing else."""
    commands = home.run("completion", "", check=True).stdout.splitlines()
    assert len(commands) > 10
    for command in (line.partition("\t")[0] for line in commands):
        helped = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", home.run(command, "--help", check=True).stdout, re.MULTILINE))
        known = {line.partition("\t")[0] for line in home.run("completion", command, "--", check=True).stdout.splitlines()}
        assert known == helped, command
    help_text = home.run("--help", check=True).stdout
    assert [line.partition("\t")[0] for line in commands] == re.findall(
        r"^  ([a-z]+) ", help_text.partition("Commands:")[2].partition("\n\n")[0], re.MULTILINE)


def test_scripts_are_installed_where_shells_look():
    text = pathlib.Path(SCRIPTS / "meson.build").read_text()
    for place in ("'bash-completion' / 'completions'", "'zsh' / 'site-functions'", "'fish' / 'vendor_completions.d'"):
        assert place in text
