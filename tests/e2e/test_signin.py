# SPDX-License-Identifier: GPL-2.0-or-later
"""Sign-in: every way that works, every cause of a refusal with its errno, its one clear line and its end without a
remount, and secrets where nobody may see them: nowhere."""

import base64
import http.server
import os
import shlex
import signal
import subprocess
import threading
import time

import pytest
from lab import net, rules, scripted as scripts
from lab.leaks import find_leaks
from lab.place import EVE, OLENA
from lab.proxy import Proxy, ProxyTls
from probe import error_lines, failure, uids, until_works, within
from witness import read

TIMEOUT_S = 2
SLACK_S = 2.5
# Other ways than the OAuth ones need nothing of these.
NO_OAUTH = {key: None for key in ("authority", "tenant", "scope", "client_id", "client_secret_file")}


def rewrite(mounted, place, **keys):
    """Another configuration of the mounted account."""
    # The file's time must differ, however fast we are.
    mounted.home.set_account("work", place.account("work", **keys))
    stamp = time.time_ns() + 1_000_000_000
    os.utime(mounted.home.config_file, ns=(stamp, stamp))


def script(home, name, text):
    path = home.path / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def secret_in(home, name, text):
    path = home.path / name
    path.touch(mode=0o600)
    path.write_text(text)
    return path


# What works

@pytest.mark.parametrize("sasl", ["auto", "xoauth2", "oauthbearer"])
def test_client_credentials(place, mount, truth, sasl):
    before = place.authority.counters().get("token:client_credentials", 0)
    mounted = mount(keys={"sasl": sasl})
    assert len(uids(mounted / "INBOX")) == len(truth["INBOX"])
    read(uids(mounted / "INBOX")[1])
    assert place.authority.counters()["token:client_credentials"] == before + 1, "one token for all connections"
    status = mounted.status()
    assert status["signed_in"] and status["token_expires"] and status["last_error"] is None


@pytest.mark.parametrize("how", ["client_secret", "client_secret_command"])
def test_client_secret_from_elsewhere(place, home, mount, how):
    value = place.app.secret if how == "client_secret" else f"cat {shlex.quote(str(place.secret_file()))}"
    assert "INBOX" in os.listdir(mount(keys={"client_secret_file": None, how: value}))


@pytest.mark.parametrize("sasl", ["auto", "plain", "login"])
@pytest.mark.parametrize("how", ["password", "password_file", "password_command"])
def test_password(place, home, mount, how, sasl):
    password = place.password(OLENA)
    file = secret_in(home, "pw", password + "\n")
    value = {"password": password, "password_file": file, "password_command": f"cat {file}"}[how]
    assert "INBOX" in os.listdir(mount(keys=NO_OAUTH | {"auth": "password", how: value, "sasl": sasl}))


def test_password_over_starttls(place, home, mount):
    keys = {"auth": "password", "password_file": secret_in(home, "pw", place.password(OLENA)), "tls": "starttls",
            "port": place.dovecot.starttls_port}
    assert "INBOX" in os.listdir(mount(keys=NO_OAUTH | keys))


@pytest.mark.parametrize("how", ["token-command", "token-file"])
def test_token_from_elsewhere(place, home, mount, how):
    file = secret_in(home, "token", place.token()["access_token"] + "\n")
    keys = {"token_file": file} if how == "token-file" else {"token_command": f"cat {file}"}
    mounted = mount(keys=NO_OAUTH | keys | {"auth": how})
    assert "INBOX" in os.listdir(mounted)
    assert mounted.status()["signed_in"]


def test_a_token_file_that_is_renewed(place, home, mount):
    file = secret_in(home, "token", "not-a-token-at-all")
    mounted = mount(keys=NO_OAUTH | {"auth": "token-file", "token_file": file})
    assert failure(os.listdir, mounted) == "EACCES"
    file.write_text(place.token()["access_token"])
    stamp = time.time_ns() + 1_000_000_000
    os.utime(file, ns=(stamp, stamp))
    assert "INBOX" in until_works(os.listdir, mounted)


def test_the_token_command_prints_what_a_program_can_use(place, home, mount):
    mount()
    token = home.run("token", "work", check=True).stdout.strip()
    place.sign_in(place.connect(), OLENA, token)
    text = home.run("token", "work", "--sasl", "xoauth2", check=True).stdout.strip()
    client = place.connect()
    assert client.authenticate("XOAUTH2", lambda _: base64.b64decode(text))[0] == "OK"


# What is refused

def expect_refusal(mounted, place, words):
    with within(10):
        assert failure(os.listdir, mounted) == "EACCES"
    status = mounted.status()
    assert status["state"] == "sign-in-needed" and not status["signed_in"]
    assert status["last_error"]["kind"] == "sign-in" and status["last_error"]["hint"]
    told = status["last_error"]["text"] + status["last_error"]["hint"]
    assert all(word in told for word in words), told
    lines = error_lines(mounted, " sign-in: ")
    assert len(lines) == 1 and all(word in lines[0] for word in words)
    assert len([line for line in mounted.home.log().splitlines() if words[0] in line]) == 1
    requests = place.authority.counters().get("token", 0)
    for _ in range(5):
        with within(1):
            assert failure(os.listdir, mounted / "INBOX") == "EACCES"
    assert place.authority.counters().get("token", 0) == requests, "it isn't tried over and over"


CONFIG_FAULTS = {
    "secret": ({"client_secret_file": None, "client_secret": "S~wrong-wrong-wrong"}, ["AADSTS7000215", "Value"]),
    "scope": ({"scope": "https://outlook.office365.com/IMAP.AccessAsApp"}, ["AADSTS1002012", "/.default"]),
    "resource": ({"scope": "https://example.com/.default"}, ["AADSTS500011"]),
    "client_id": ({"client_id": "00000000-0000-0000-0000-000000000000"}, ["AADSTS700016", "client_id"]),
    "tenant": ({"tenant": "nowhere.example"}, ["AADSTS90002", "tenant"]),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_a_wrong_configuration_and_its_correction(place, mount, fault):
    keys, words = CONFIG_FAULTS[fault]
    mounted = mount(keys=keys)
    expect_refusal(mounted, place, words)
    rewrite(mounted, place)
    assert "INBOX" in until_works(os.listdir, mounted)
    assert mounted.status()["state"] == "connected"


def test_a_wrong_secret_file_and_its_correction(place, home, mount):
    file = secret_in(home, "secret", "S~not-the-secret")
    mounted = mount(keys={"client_secret_file": file})
    expect_refusal(mounted, place, ["AADSTS7000215"])
    file.write_text(place.app.secret)
    stamp = time.time_ns() + 1_000_000_000
    os.utime(file, ns=(stamp, stamp))
    assert "INBOX" in until_works(os.listdir, mounted)


def test_an_expired_secret_and_hup(place, mount):
    place.app.secrets[0].expires_at = time.time() - 1
    try:
        mounted = mount()
        expect_refusal(mounted, place, ["AADSTS7000222"])
    finally:
        place.app.secrets[0].expires_at = None
    # Nothing here has changed: a person says that it may be tried again.
    mounted.process.send_signal(signal.SIGHUP)
    assert "INBOX" in until_works(os.listdir, mounted)


def test_a_mailbox_that_the_app_may_not_open(place, mount):
    mounted = mount(EVE)
    with within(10):
        assert failure(os.listdir, mounted) == "EACCES"
    assert EVE in mounted.status()["last_error"]["text"] + mounted.status()["last_error"].get("hint", "")
    place.app.mailboxes.add(EVE)
    try:
        mounted.process.send_signal(signal.SIGHUP)
        assert "INBOX" in until_works(os.listdir, mounted)
    finally:
        place.app.mailboxes.discard(EVE)


def test_a_wrong_password_is_tried_three_times_at_most(home, scripted, mount):
    server = scripted(check=lambda mechanism, response: b"right-Passw0rd" in response)
    file = secret_in(home, "pw", "wrong-Passw0rd")
    mounted = mount(text=server.account("work", password=None, password_file=file))
    for _ in range(10):
        assert failure(os.listdir, mounted) == "EACCES"
    tries = sum(b"AUTHENTICATE" in line or b"LOGIN" in line for line in server.lines)
    assert 1 <= tries <= 3
    file.write_text("right-Passw0rd")
    stamp = time.time_ns() + 1_000_000_000
    os.utime(file, ns=(stamp, stamp))
    assert until_works(os.listdir, mounted) == ["INBOX"]


def test_ok_to_authenticate_isnt_trusted_alone(scripted, mount):
    server = scripted(handlers={"NAMESPACE": [scripts.NOT_CONNECTED, None]})
    mounted = mount(text=server.account("work"))
    assert until_works(os.listdir, mounted) == ["INBOX"]
    server = scripted(handlers={"NAMESPACE": scripts.NOT_CONNECTED})
    mounted.unmount()
    mounted.home.set_account("work", server.account("work", timeout=20))
    mounted.start()
    with within(25):
        assert failure(os.listdir, mounted) == "EACCES"
    assert "not connected" in mounted.status()["last_error"]["text"]


# In mid-session

@pytest.mark.slow
def test_an_expired_token_in_mid_session(place, mount, truth, proxy, proxy_tls):
    place.authority.set_lifetime(4)
    lifetime = rules.SessionLifetime(1)
    mounted = mount(keys={"port": proxy(tls=proxy_tls, rules=[lifetime]).port}, poll=0, noprefetch=True)
    paths = uids(mounted / "Projects" / "Бета")
    expected = place.fetch_all(place.imap(), "Projects/Бета")
    until = time.monotonic() + 6
    found = {}
    while time.monotonic() < until or len(found) < len(expected):
        uid = next(iter(expected.keys() - found.keys()), None)
        if uid:
            found[uid] = read(paths[uid])
        os.listdir(mounted / "Projects")
        time.sleep(0.05)
    assert found == expected and lifetime.ended >= 2
    assert mounted.status()["counters"]["token_requests"] >= 2
    assert not mounted.errors()


def test_a_revoked_token_in_mid_session(place, mount, truth, proxy):
    line = proxy()
    mounted = mount(keys={"port": line.port}, noprefetch=True)
    paths = uids(mounted / "Projects" / "Бета")
    expected = place.fetch_all(place.imap(), "Projects/Бета")
    assert read(paths[1]) == expected[1]
    place.authority.revoke_all()
    line.cut_all()
    assert read(paths[2]) == expected[2], "a new token is asked for, once, without a word"
    assert mounted.status()["counters"]["token_requests"] == 2
    assert not mounted.errors()


# The authority

AUTHORITY_FAULTS = {
    "503": {"ENETUNREACH"}, "429": {"ENETUNREACH", "ETIMEDOUT"}, "stall": {"ETIMEDOUT"}, "hang-up": {"ENETUNREACH"},
    "html": {"ENETUNREACH", "EACCES", "EIO"}, "not-json": {"ENETUNREACH", "EACCES", "EIO"}, "huge": {"ENETUNREACH", "EACCES", "EIO"},
}


@pytest.mark.parametrize("fault", AUTHORITY_FAULTS)
@pytest.mark.slow
def test_an_authority_that_fails(place, mount, fault):
    place.authority.set_fault(fault)
    mounted = mount(keys={"timeout": TIMEOUT_S})
    with within(TIMEOUT_S + SLACK_S + (5 if fault == "huge" else 0)):
        assert failure(os.listdir, mounted) in AUTHORITY_FAULTS[fault]
    assert mounted.status()["last_error"]["text"]
    assert 1 <= len(mounted.errors()) <= 2
    place.authority.set_fault(None)
    if failure(os.listdir, mounted) == "EACCES":
        mounted.process.send_signal(signal.SIGHUP)
    assert "INBOX" in until_works(os.listdir, mounted, timeout_s=40)


def test_an_authority_that_isnt_there(mount, place, proxy):
    line = proxy(int(place.authority.url.rpartition(":")[2]))
    line.refuse()
    mounted = mount(keys={"authority": f"http://127.0.0.1:{line.port}"})
    with within(SLACK_S):
        assert failure(os.listdir, mounted) == "ENETUNREACH"
    assert str(line.port) in mounted.status()["last_error"]["text"]
    line.listen()
    assert "INBOX" in until_works(os.listdir, mounted)


def test_a_slow_authority(place, mount):
    place.authority.set_delay(1)
    with within(6, at_least=1):
        assert "INBOX" in os.listdir(mount())


# TLS

@pytest.mark.parametrize("cause", ["unknown", "name", "expired"])
def test_a_certificate_that_doesnt_hold(place, mount, unknown_ca, cause):
    wrong = {"unknown": lambda: unknown_ca.issue("imap"), "name": lambda: place.ca.issue("other", names=["mail.example"]),
             "expired": lambda: place.ca.issue("old", expired=True)}[cause]()
    with Proxy(place.dovecot.port, tls=ProxyTls(place.ca.server_context(wrong), place.ca.client_context())) as line:
        mounted = mount(keys={"port": line.port})
        before = line.counters.bytes_up
        with within(5):
            assert failure(os.listdir, mounted) == "ENETUNREACH"
        assert line.counters.bytes_up == before, "nothing was said to it"
        assert "certificate" in mounted.status()["last_error"]["text"].lower()
        assert len(error_lines(mounted, "(?i)certificate")) == 1
        port = line.port
    with Proxy(place.dovecot.port, port=port, tls=ProxyTls(place.ca.server_context(place.certificate), place.ca.client_context())):
        assert "INBOX" in until_works(os.listdir, mounted, timeout_s=40)
        mounted.unmount()


# Secrets

def test_a_server_that_repeats_the_token(place, mount, scripted):
    said = []

    def echo(session, command):
        response = command.line.split()[-1]
        said.append(response)
        decoded = base64.b64decode(response).replace(b"\1", b" ")
        return (b"* OK [ALERT] you said " + response + b"\r\n* NO and that is " + decoded + b"\r\n" +
                scripts.echo_authenticate(session, command))
    server = scripted(handlers={"AUTHENTICATE": echo, "LOGIN": echo}, capabilities="IMAP4rev1 SASL-IR AUTH=XOAUTH2")
    mounted = mount(keys={"port": server.port, "tls": "none"}, debug=True)
    assert failure(os.listdir, mounted) == "EACCES"
    assert said
    secrets = mounted.home.secrets() | {"the SASL response": said[0].decode()}
    for text in (mounted.home.log(), "\n".join(mounted.errors()), (mounted / ".mailtree" / "status.json").read_text(),
                 (mounted / ".mailtree" / "metrics").read_text(), mounted.home.run("status").stdout):
        assert not find_leaks(text, secrets)
    # Nor is the token's beginning there, as a cut of it would be.
    token = place.authority.tokens.texts()[-1]
    assert token[:40] not in mounted.home.log()


@pytest.mark.parametrize("debug", [False, True])
def test_a_server_that_repeats_the_password(mount, scripted, debug):
    server = scripted(handlers={"AUTHENTICATE": scripts.echo_authenticate, "LOGIN": scripts.echo_authenticate})
    mounted = mount(text=server.account("work"), debug=debug)
    assert failure(os.listdir, mounted) == "EACCES"
    for text in (mounted.home.log(), "\n".join(mounted.errors()), mounted.home.run("ls", "work").stderr,
                 (mounted / ".mailtree" / "status.json").read_text()):
        assert not find_leaks(text, {"the password": server.PASSWORD})


def test_an_authority_that_repeats_the_secret(place, mount, scripted, home):
    """The answer of a token endpoint with everything that it was sent."""
    class Echo(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            text = b'{"error": "invalid_client", "error_description": "AADSTS7000215: you sent ' + body.replace(b'"', b"'") + b'"}'
            self.send_response(401)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mounted = mount(keys={"authority": f"http://127.0.0.1:{server.server_port}"}, debug=True)
        assert failure(os.listdir, mounted) == "EACCES"
        server.shutdown()
    for text in (home.log(), "\n".join(mounted.errors()), (mounted / ".mailtree" / "status.json").read_text()):
        assert "AADSTS7000215" in text
        assert not find_leaks(text, {"the client secret": place.app.secret})


def test_children_see_no_secret(place, home, mount):
    """What a command that mailtree runs can see of it: its environment, its arguments, its open files."""
    seen, token = home.path / "seen", secret_in(home, "token", place.token()["access_token"])
    command = script(home, "helper", f"(env; tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' ' ' < /proc/$$/cmdline; ls -l /proc/$$/fd) "
                                     f"> {seen}\ncat {token}")
    mounted = mount(keys=NO_OAUTH | {"auth": "token-command", "token_command": command}, debug=True)
    assert "INBOX" in os.listdir(mounted)
    text = seen.read_text()
    assert "PATH=" in text and not find_leaks(text, home.secrets() | {"its own token": token.read_text()})
    assert "/dev/fuse" not in text and "socket:" not in text


def test_nothing_is_sent_before_tls(place, scripted, mount, home):
    """A server that offers no STARTTLS is told nothing."""
    server = scripted(capabilities="IMAP4rev1 AUTH=PLAIN")
    mounted = mount(text=server.account("work", tls="starttls"))
    assert failure(os.listdir, mounted) in ("ENETUNREACH", "EACCES", "EIO")
    assert not [line for line in server.lines if b"AUTHENTICATE" in line or b"LOGIN" in line]


# mount(8)'s helper

def test_the_mount_helper_is_the_same_binary(place, home):
    """As mount(8) calls it, but by an ordinary user, for whom fusermount3 mounts."""
    home.set_account("work", place.account("work"))
    for name in ("mount.fuse.mailtree", "mount.mailtree"):
        helper = home.path / name
        helper.symlink_to(home.binary)
        point = home.path / "mnt" / name
        point.mkdir()
        words = [str(helper), "work", str(point), "-o", f"rw,noauto,nofail,_netdev,x-systemd.automount,config={home.config_file}"]
        result = subprocess.run(words, env=home.environment(), capture_output=True, text=True, timeout=30 * net.SLOWNESS)
        assert result.returncode == 0, result.stderr
        try:
            assert "INBOX" in os.listdir(point)
            assert failure(os.mkdir, point / "x") == "EROFS"
        finally:
            home.run("umount", point)
        fake = subprocess.run([*words[:3], "-f", *words[3:]], env=home.environment(), capture_output=True, text=True, timeout=30)
        assert fake.returncode == 0 and not os.path.ismount(point)
