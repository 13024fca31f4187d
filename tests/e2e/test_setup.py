# SPDX-License-Identifier: GPL-2.0-or-later
"""`mailtree setup`: from an address to a mount, by questions; the provider's autoconfiguration over HTTPS on loopback."""

import http.server
import os
import pty
import subprocess
import threading
import time

import pytest
from lab import net
from lab.place import OLENA, SCOPE_OF_PERSON, TENANT
from persons import BROWSER

SERVER = """<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1"><emailProvider id="{tenant}">
  <domain>{tenant}</domain>
  <incomingServer type="pop3"><hostname>pop.example</hostname><port>995</port><socketType>SSL</socketType></incomingServer>
  <incomingServer type="imap"><hostname>plain.example</hostname><port>143</port><socketType>plain</socketType></incomingServer>
  <incomingServer type="imap"><hostname>127.0.0.1</hostname><port>{port}</port><socketType>SSL</socketType>
    <username>%EMAILADDRESS%</username><authentication>password-cleartext</authentication></incomingServer>
  <incomingServer type="imap"><hostname>second.example</hostname><port>993</port><socketType>SSL</socketType></incomingServer>
</emailProvider>{more}</clientConfig>"""


class Autoconfig:
    """answers[path] is a document, or ("302", where)."""

    def __init__(self, place):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                answer = outer.answers.get(self.path)
                if answer is None:
                    self.send_error(404)
                    return
                self.send_response(302 if isinstance(answer, tuple) else 200)
                if isinstance(answer, tuple):
                    self.send_header("Location", answer[1])
                self.end_headers()
                self.wfile.write(answer.encode() if isinstance(answer, str) else b"")

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer((net.LOOPBACK, 0), Handler)
        context = place.ca.server_context(place.certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://{net.LOOPBACK}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def autoconfig(place):
    made = Autoconfig(place)
    made.answers["/c"] = SERVER.format(tenant=TENANT, port=place.dovecot.port, more="")
    yield made
    made.server.shutdown()
    made.server.server_close()


def ask(home, *words, answers=(), **environment):
    return subprocess.run([str(home.binary), "setup", *map(str, words)], env=home.environment(**environment),
                          input="".join(f"{answer}\n" for answer in answers), capture_output=True, text=True,
                          timeout=60 * net.SLOWNESS)


def password_file(home, place):
    path = home.path / "pw"
    path.touch(mode=0o600)
    path.write_text(place.password(OLENA) + "\n")
    return path


def test_from_an_address_to_a_mount(home, place, truth, autoconfig):
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/c", "--ca-file", place.ca.pem,
                   answers=["yes", "home", "", "2", password_file(home, place)])
    assert result.returncode == 0, result.stdout + result.stderr
    for shown in (f"127.0.0.1, port {place.dovecot.port}, TLS", f"{autoconfig.url}/c", "Everything works."):
        assert shown in result.stdout
    assert home.config_file.stat().st_mode & 0o777 == 0o600 and home.config_file.parent.stat().st_mode & 0o777 == 0o700
    assert home.config_file.read_text() == (
        f"[home]\nhost = 127.0.0.1\nport = {place.dovecot.port}\nca_file = {place.ca.pem}\nuser = {OLENA}\n"
        f"auth = password\npassword_file = {home.path}/pw\n")
    mount = home.mount("home")
    assert len(os.listdir(mount / "INBOX")) > 0


def test_a_person_signs_in_by_what_the_domain_publishes(home, place, truth, autoconfig):
    base = f"{place.authority.url}/{TENANT}/oauth2/v2.0"
    more = (f"<oAuth2><issuer>x</issuer><scope>{SCOPE_OF_PERSON}</scope><authURL>{base}/authorize</authURL>"
            f"<tokenURL>{base}/token</tokenURL></oAuth2>")
    autoconfig.answers["/c"] = SERVER.format(tenant=TENANT, port=place.dovecot.port, more=more)
    browser = home.path / "browser"
    browser.write_text(BROWSER.format(out=str(home.path / "page")))
    browser.chmod(0o700)
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/c", "--ca-file", place.ca.pem,
                   answers=["", "", "", "1", place.public_app.client_id, "yes"], BROWSER=str(browser))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{base}/token" in result.stdout and "REGISTERING AN APPLICATION" in result.stdout
    assert f"signed in as {OLENA}" in result.stdout and "Everything works." in result.stdout


def test_what_the_configuration_has_stays(home, place, autoconfig):
    before = "# mine\n\n[contoso]\nhost = a.example\n# a comment\nuser=x\nauth = password\npassword_file = p"
    home.write_config(before)
    dotfile = home.path / "dotfile"
    home.config_file.rename(dotfile)
    home.config_file.symlink_to(dotfile)
    dotfile.chmod(0o644)
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/c", "--ca-file", place.ca.pem,
                   answers=["y", "contoso", "a/b", "second", "", "1", "cat pw"])
    assert "[contoso] is in the configuration already" in result.stdout and "no brackets" in result.stdout
    assert "\n[second] is in " in result.stdout, result.stdout + result.stderr
    text = dotfile.read_text()
    assert text.startswith(before + "\n\n[second]\n") and text.endswith("password_command = cat pw\n")
    assert home.config_file.is_symlink() and dotfile.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in dotfile.parent.glob("dotfile*")] == ["dotfile"], "no temporary file is left"


@pytest.mark.parametrize("answers", [[], ["yes"], ["yes", "home", "", "2"], ["maybe"] * 9, ["yes", "home", "a\x1bb"]], ids=repr)
def test_nothing_is_written_before_the_last_answer(home, place, autoconfig, answers):
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/c", "--ca-file", place.ca.pem, answers=answers)
    assert result.returncode == 1 and "no more answers" in result.stderr
    assert not home.config_file.exists()


def test_a_configuration_that_is_wrong_is_said_first(home):
    home.write_config("[a]\nno key\n")
    result = ask(home, OLENA, "--manual")
    assert result.returncode == 5 and "config:2" in result.stderr and result.stdout == ""


def test_by_hand(home, place, truth):
    result = ask(home, OLENA, "--manual", "--ca-file", place.ca.pem, answers=[
        net.LOOPBACK, "1", "x", place.dovecot.port, "home", "", "2", password_file(home, place)])
    assert result.returncode == 0 and "Everything works." in result.stdout, result.stdout + result.stderr


def test_no_stays_no(home, place, autoconfig):
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/c", "--ca-file", place.ca.pem, answers=[
        "no", net.LOOPBACK, "1", net.free_port(), "home", "", "1", "echo x"])
    assert result.returncode == 4, result.stderr
    assert str(place.dovecot.port) not in home.config_file.read_text()


@pytest.mark.parametrize("kind, method", [("1", "authorization-code"), ("2", "device-code"), ("3", "client-credentials")])
def test_microsoft(home, kind, method):
    """Without a network: the group is what counts."""
    more = ["2", "secret-file"] if kind == "3" else ["no"]
    result = ask(home, "olena@firma.onmicrosoft.com", answers=["yes", "work", kind, "some-client-id", "", *more],
                   https_proxy=f"http://127.0.0.1:{net.free_port()}")
    assert result.returncode == (4 if kind == "3" else 0), result.stderr
    text = home.config_file.read_text()
    assert text.startswith(f"[work]\nprovider = outlook\nuser = olena@firma.onmicrosoft.com\nauth = {method}\n"
                           "client_id = some-client-id\ntenant = firma.onmicrosoft.com\n")
    if kind == "3":
        assert text.endswith("client_secret_file = secret-file\n")
    else:
        assert "Later: mailtree login work" in result.stdout


def test_redirects_are_shown_and_lead_to_https_only(home, place, autoconfig):
    autoconfig.answers["/there"] = ("302", f"{autoconfig.url}/c")
    autoconfig.answers["/plain"] = ("302", f"http://{net.LOOPBACK}:{autoconfig.server.server_port}/c")
    autoconfig.answers["/loop"] = ("302", f"{autoconfig.url}/loop")
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/there", "--ca-file", place.ca.pem)
    assert f"told by    {autoconfig.url}/c" in result.stdout
    for path, status in (("/plain", 4), ("/loop", 1), ("/none", 1)):
        result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}{path}", "--ca-file", place.ca.pem)
        assert result.returncode == status and path in result.stderr, (result.returncode, result.stderr)
    assert autoconfig.asked.count("/loop") == 4


@pytest.mark.parametrize("document", [
    "", "not xml", "<clientConfig>", "<a>" * 40, "<clientConfig><incomingServer type='imap'/></clientConfig>",
    SERVER.format(tenant="x", port=99999, more="").replace("second.example", "a b"),
    "x" * 300_000,
], ids=lambda text: text[:12] or "empty")
def test_documents_that_name_no_server(home, place, autoconfig, document):
    autoconfig.answers["/c"] = document
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/c", "--ca-file", place.ca.pem)
    assert result.returncode in (1, 4) and result.stderr.count("\n") == 1, result.stderr
    assert not home.config_file.exists()


def test_a_certificate_that_nobody_knows_is_refused(home, autoconfig):
    result = ask(home, OLENA, "--autoconfig", f"{autoconfig.url}/c")
    assert result.returncode == 4 and "certificate" in result.stderr and autoconfig.asked == []


@pytest.mark.parametrize("email", ["olena", "@contoso.com", "olena@", "a@b@c", "o\x1blena@contoso.com", "o@con/toso.com"])
def test_what_isnt_an_address(home, email):
    assert ask(home, email, "--manual").returncode == 2


def test_a_typed_password_isnt_shown(home, place, autoconfig):
    """On a terminal: it isn't echoed, and the terminal shows again what is typed afterwards."""
    main, terminal = pty.openpty()
    process = subprocess.Popen([str(home.binary), "setup", OLENA, "--autoconfig", f"{autoconfig.url}/c", "--ca-file",
                                str(place.ca.pem)], env=home.environment(TERM="xterm"), stdin=terminal, stdout=terminal,
                               stderr=terminal, start_new_session=True)
    os.close(terminal)
    seen = bytearray()

    def answer(prompt, text):
        deadline = time.monotonic() + 30 * net.SLOWNESS
        while prompt not in seen.decode(errors="replace"):
            assert time.monotonic() < deadline, seen
            seen.extend(os.read(main, 4096))
        os.write(main, text.encode() + b"\n")
    answer("Is that the one", "yes")
    answer("short name", "home")
    answer("user name", "")
    answer("Number", "3")
    answer("The password", place.password(OLENA))
    try:
        while chunk := os.read(main, 4096):
            seen.extend(chunk)
    except OSError:
        pass  # the terminal's other end is closed
    os.close(main)
    assert process.wait(30 * net.SLOWNESS) == 0, seen
    assert place.password(OLENA) not in seen.decode()
    assert f"password = {place.password(OLENA)}\n" in home.config_file.read_text()
    assert "Everything works." in seen.decode()
