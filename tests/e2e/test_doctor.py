# SPDX-License-Identifier: GPL-2.0-or-later
"""mailtree doctor: each cause is played, by the authority with Microsoft's documented texts and by an IMAP server with
Exchange's, and stands at its rank; what a mount says to the same. No secret in anything that is printed."""

import base64
import contextlib
import errno
import http.server
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field

import pytest
from lab import net
from lab.directory import OUTLOOK
from lab.leaks import find_leaks
from lab.oautherror import OAuthError
from lab.place import OLENA, TEAM, TENANT, sasl
from lab.rules import EXCHANGE_BEFORE
from lab.scripted import NOT_CONNECTED, OK_WITHOUT_DATA, Model, Scripted, close, for_bodies, silent
from lab.tokens import Grantee

STRANGER = "eve@fabrikam.example"
GRAPH = "https://graph.microsoft.com"
STEPS = ["config", "resolve", "connect", "tls", "greeting", "token", "inspect", "authenticate", "first-command", "list",
         "fetch"]
MAIL = {"INBOX": [b"From: a@contoso.example\r\nSubject: one\r\n\r\nHello\r\n"]}

NO_MORE_BASIC = b"{tag} NO Basic authentication is disabled.\r\n"
LOGIN_FAILED = b"{tag} NO LOGIN failed.\r\n"
THROTTLED = b"{tag} BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n* BYE Connection closed. 14\r\n"
TOO_MANY = b"{tag} NO [ALERT] Too many simultaneous connections. (Failure)\r\n"
EXPIRED = b"* BYE Session invalidated - AccessTokenExpired\r\n"
NOT_IMAP = b"220 mail.contoso.example ESMTP ready\r\n"

REFUSED_APP = "wrong-object-id app-without-mailbox-permission no-mailbox imap-disabled"
OUTAGES = "too-many-connections throttled server-fault"


@dataclass
class World:
    """One test's authority, app and server; what a case changes."""

    place: object
    home: object
    unknown_ca: object
    app: object
    keys: dict = field(default_factory=dict)
    server: dict = field(default_factory=dict)  # Scripted's
    handlers: dict = field(default_factory=dict)
    secrets: dict = field(default_factory=dict)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def exchange(self, mechanism, response):
        """Opens a mailbox for a token of this authority, for Exchange, with the permission, that may open it."""
        if mechanism != "XOAUTH2":
            return True
        user, _, rest = response.partition(b"\1auth=Bearer ")
        token = self.place.authority.tokens.find(rest.rstrip(b"\1").decode())
        return (self.place.authority.tokens.is_good_for_imap(token)
                and user.decode().removeprefix("user=") in token.grantee.mailboxes)

    def token(self, user, scopes=("IMAP.AccessAsUser.All",), audience=OUTLOOK, lifetime_s=3600, mailboxes=None):
        """A person's token in a file, as another program has put it there."""
        grantee = Grantee(username=user, tenant_id=self.place.tenant.tenant_id, client_id=self.app.client_id,
                          object_id="0f0e0d0c-0000-4000-8000-000000000001", scopes=tuple(scopes),
                          mailboxes={user} if mailboxes is None else set(mailboxes))
        self.file(self.place.authority.tokens.issue(grantee, audience, lifetime_s).text)

    def file(self, text):
        path = self.home.path / "token"
        path.touch(mode=0o600)
        path.write_text(text + "\n")
        self.keys |= {"auth": "token-file", "token_file": path, "client_id": None, "client_secret": None}

    def password(self):
        self.keys |= {"auth": "password", "password": Scripted.PASSWORD, "client_id": None, "client_secret": None}

    def endpoint(self, status, body, content_type="application/json"):
        """Another token endpoint, which has this one answer."""
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        server = http.server.ThreadingHTTPServer((net.LOOPBACK, 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.stack.callback(server.server_close)
        self.stack.callback(server.shutdown)
        self.keys["token_url"] = f"http://{net.LOOPBACK}:{server.server_address[1]}/{TENANT}/oauth2/v2.0/token"

    def refuses(self, code, error, text):
        body = OAuthError(400, error, f"AADSTS{code}: {text}", [code]).body()
        self.endpoint(400, json.dumps(body).encode())

    def tls(self, authority, name="imap", provider="outlook", **options):
        certificate = authority.issue(f"{name}-{self.app.client_id}", **options)
        self.server["context"] = authority.server_context(certificate)
        self.keys |= {"tls": "implicit", "ca_file": self.place.ca.pem, "provider": provider}


def not_connected(world):
    world.handlers["NAMESPACE"] = NOT_CONNECTED


# Each changes the world in one way.

def no_network(world):
    # Nobody can be connected to there: the kernel says so at once.
    world.keys |= {"host": "224.0.0.1", "tls": "implicit", "port": 993}


def wrong_port(world):
    with socket.create_server((net.LOOPBACK, 0)) as free:
        world.keys["port"] = free.getsockname()[1]


def not_imap(world):
    world.server["greeting"] = NOT_IMAP


def wrong_name(world):
    world.tls(world.place.ca, "other", names=["mail.contoso.example"])


def intercepted(world):
    world.tls(world.unknown_ca, "intercepted")


def private_authority(world):
    world.tls(world.unknown_ca, "private", provider="generic")
    world.keys["scope"] = f"{OUTLOOK}/.default"


def expired_certificate(world):
    world.tls(world.place.ca, "expired", expired=True)


def plain_port(world):
    world.keys["tls"] = "implicit"


def greeting_bye(world):
    world.server["greeting"] = b"* BYE Too many connections from your address\r\n"


def password_retired(world):
    world.password()
    world.handlers["AUTHENTICATE"] = world.handlers["LOGIN"] = NO_MORE_BASIC


def password_failed(world):
    world.password()
    world.handlers["AUTHENTICATE"] = world.handlers["LOGIN"] = LOGIN_FAILED


def password_not_offered(world):
    world.password()
    world.server["capabilities"] = EXCHANGE_BEFORE.replace("AUTH=PLAIN ", "") + " LOGINDISABLED"


def password_wrong(world):
    world.password()
    world.keys["provider"] = "generic"
    world.handlers["AUTHENTICATE"] = b"{tag} NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"


def token_not_offered(world):
    world.server["capabilities"] = "IMAP4rev1 AUTH=PLAIN"


def wrong_secret(world):
    world.keys["client_secret"] = "wrong~Value~0123456789"


def secret_id(world):
    world.keys["client_secret"] = world.app.secrets[0].key_id


def expired_secret(world):
    world.app.secrets[0].expires_at = time.time() - 60


def unknown_app(world):
    world.keys["client_id"] = "99999999-0000-4000-8000-000000000000"


def unknown_tenant(world):
    world.keys["tenant"] = "nowhere.example"


def no_consent_app(world):
    world.app.roles.clear()


def no_consent_person(world):
    world.refuses(65001, "invalid_grant", "The user or administrator has not consented to use the application with ID "
                  "'x' named 'mail'. Send an interactive authorization request for this user and resource.")


def conditional_access(world):
    world.refuses(53003, "invalid_grant", "Access has been blocked by Conditional Access policies. The access policy "
                  "does not allow token issuance.")


def unknown_code(world):
    world.refuses(424242, "invalid_grant", "Something that no table has.")


def missing_default(world):
    world.keys["scope"] = f"{OUTLOOK}/IMAP.AccessAsApp"


def authority_down(world):
    with socket.create_server((net.LOOPBACK, 0)) as free:
        world.keys["token_url"] = f"http://{net.LOOPBACK}:{free.getsockname()[1]}/t/oauth2/v2.0/token"


def authority_page(world):
    world.endpoint(404, b"<html><body>Not found</body></html>", "text/html")


def graph_app(world):
    world.keys["scope"] = f"{GRAPH}/.default"


def graph_person(world):
    world.token(OLENA, audience=GRAPH)


def no_scope(world):
    world.token(OLENA, scopes=("Mail.Read",))


def expired_token(world):
    world.token(OLENA, lifetime_s=-4000)


def expired_lately(world):
    # Within what clocks may differ the token is tried, and a refusal may have another cause.
    world.token(OLENA, lifetime_s=-100)


def stranger(world):
    world.token(STRANGER)


def shared_mailbox(world):
    world.token(OLENA)
    world.keys["user"] = TEAM


def app_without_permission(world):
    world.app.mailboxes.clear()


def app_not_connected(world):
    not_connected(world)


def person_not_connected(world):
    world.token(OLENA)
    not_connected(world)


def shared_not_connected(world):
    world.token(OLENA, mailboxes=[TEAM])
    world.keys["user"] = TEAM
    not_connected(world)


def throttled(world):
    world.handlers["NAMESPACE"] = THROTTLED


def too_many(world):
    world.handlers["AUTHENTICATE"] = TOO_MANY


def expired_in_session(world):
    def bye(session, _command):
        session.send(EXPIRED)
        session.close()
    world.handlers["LIST"] = bye


def cut_at_sign_in(world):
    world.handlers["AUTHENTICATE"] = close


def response_as_token(world):
    world.file(base64.b64encode(sasl("XOAUTH2", OLENA, "t" * 40)).decode())


def opaque_refused(world):
    world.file("EwB" + "Q" * 700)


def token_command_fails(world):
    world.keys |= {"auth": "token-command", "token_command": "exit 7", "client_id": None, "client_secret": None}


def nobody_signed_in(world):
    world.keys |= {"auth": "device-code", "client_secret": None, "scope": None}


def without_data(world):
    world.handlers["UID FETCH"] = for_bodies(OK_WITHOUT_DATA)


# name, causes in their order ("!": certain), the step that fails, exit status, errno of a mount (None: not mounted)
CASES = [
    (no_network, "no-network firewall", "connect", 4, errno.ENETUNREACH),
    (wrong_port, "wrong-host server-down firewall", "connect", 4, errno.ENETUNREACH),
    (not_imap, "wrong-host!", "greeting", 4, None),
    (wrong_name, "wrong-host tls-intercepted", "tls", 4, errno.ENETUNREACH),
    (intercepted, "tls-intercepted missing-roots", "tls", 4, errno.ENETUNREACH),
    (private_authority, "private-authority tls-intercepted missing-roots", "tls", 4, None),
    (expired_certificate, "certificate-expired clock-wrong", "tls", 4, None),
    (plain_port, "tls-mode!", "tls", 4, None),
    (greeting_bye, "too-many-connections!", "greeting", 4, None),
    (password_retired, "basic-auth-retired!", "authenticate", 3, errno.EACCES),
    (password_failed, "basic-auth-retired wrong-password", "authenticate", 3, None),
    (password_not_offered, "basic-auth-retired!", "authenticate", 3, errno.EACCES),
    (password_wrong, "wrong-password app-password-needed basic-auth-retired imap-disabled", "authenticate", 3, None),
    (token_not_offered, "mechanism-not-offered!", "authenticate", 3, errno.EACCES),
    (wrong_secret, "wrong-client-secret!", "token", 3, errno.EACCES),
    (secret_id, "client-secret-id wrong-client-secret!", "token", 3, None),
    (expired_secret, "expired-client-secret!", "token", 3, errno.EACCES),
    (unknown_app, "app-not-in-tenant!", "token", 3, errno.EACCES),
    (unknown_tenant, "tenant-unknown!", "token", 3, None),
    (no_consent_app, "token-lacks-permission! no-admin-consent", "inspect", 3, errno.EACCES),
    (no_consent_person, "no-admin-consent!", "token", 3, errno.EACCES),
    (conditional_access, "blocked-by-policy!", "token", 3, None),
    (unknown_code, "aadsts-424242", "token", 3, errno.EACCES),
    (missing_default, "wrong-scope!", "token", 3, errno.EACCES),
    (authority_down, "authority-unreachable!", "token", 4, errno.ENETUNREACH),
    (authority_page, "wrong-authority!", "token", 3, None),
    (graph_app, "token-for-other-resource!", "inspect", 3, errno.EACCES),
    (graph_person, "token-for-other-resource!", "inspect", 3, None),
    (no_scope, "token-lacks-permission!", "inspect", 3, errno.EACCES),
    (expired_token, "token-expired!", "token", 3, errno.EACCES),
    (expired_lately, "token-expired imap-disabled no-mailbox blocked-by-policy token-revoked", "authenticate", 3, None),
    (stranger, "token-for-other-user shared-mailbox-rights", "authenticate", 3, errno.EACCES),
    (shared_mailbox, "shared-mailbox-rights token-for-other-user imap-disabled no-mailbox", "authenticate", 3, errno.EACCES),
    (app_without_permission, REFUSED_APP, "authenticate", 3, errno.EACCES),
    (app_not_connected, f"app-without-mailbox-permission wrong-object-id imap-disabled no-mailbox {OUTAGES}",
     "first-command", 3, None),
    (person_not_connected, f"imap-disabled no-mailbox {OUTAGES}", "first-command", 3, None),
    (shared_not_connected, f"shared-mailbox-rights token-for-other-user imap-disabled no-mailbox {OUTAGES}",
     "first-command", 3, None),
    (throttled, "throttled!", "first-command", 4, None),
    (too_many, "too-many-connections!", "authenticate", 4, None),
    (expired_in_session, "token-expired!", "list", 1, None),
    (cut_at_sign_in, "connection-lost server-down", "authenticate", 4, None),
    (response_as_token, "token-is-response!", "inspect", 3, None),
    (opaque_refused, "token-for-other-user token-expired token-for-other-resource token-lacks-permission imap-disabled",
     "authenticate", 3, None),
    (token_command_fails, "token-source!", "token", 3, errno.EACCES),
    (nobody_signed_in, "sign-in-needed!", "token", 3, errno.EACCES),
    (without_data, "message-broken!", "fetch", 1, None),
]
MOUNTED = [case for case in CASES if case[4]]


@pytest.fixture
def world(place, home, unknown_ca):
    app = place.tenant.add_app([OLENA])
    made = World(place, home, unknown_ca, app)
    made.keys = {
        "provider": "outlook", "host": net.LOOPBACK, "tls": "none", "authority": place.authority.url, "tenant": TENANT,
        "user": OLENA, "auth": "client-credentials", "client_id": app.client_id, "client_secret": app.secret,
    }
    made.server = {"capabilities": EXCHANGE_BEFORE, "check": made.exchange, "greeting":
                   b"* OK The Microsoft Exchange IMAP4 service is ready.\r\n"}
    with made.stack:
        yield made


def start(world, change):
    """Changes the world, starts its server, and writes the account `work`."""
    change(world)
    server = world.stack.enter_context(Scripted(Model(MAIL), world.handlers, **world.server))
    keys = {"port": server.port} | world.keys
    lines = [f"{key} = {value}" for key, value in keys.items() if value is not None]
    world.home.set_account("work", "\n".join(["[work]", *lines, ""]))
    return server


def secrets_of(world):
    secrets = dict(world.home.secrets()) | {"the app's secret": world.app.secret}
    token = world.home.path / "token"
    return secrets | ({"the token in the file": token.read_text().strip()} if token.exists() else {})


def doctor(world, *arguments, **more):
    result = world.home.run("doctor", *arguments, **more)
    assert find_leaks(result.stdout + result.stderr, secrets_of(world)) == []
    return result


def report_of(result):
    report = json.loads(result.stdout)
    assert set(report) == {"ok", "steps", "causes"}
    for step in report["steps"]:
        assert set(step) == {"name", "ok", "ms", "detail"}
    for cause in report["causes"]:
        assert set(cause) == {"id", "title", "certain", "evidence", "check", "fix"}
        assert all(cause[key] for key in ("id", "title", "evidence", "check", "fix"))
    return report


def causes_of(report):
    return " ".join(cause["id"] + "!" * cause["certain"] for cause in report["causes"])


def names(cases):
    return [case[0].__name__ for case in cases]


@pytest.mark.parametrize("change, causes, step, status, _errno", CASES, ids=names(CASES))
def test_a_cause_stands_at_its_rank(world, change, causes, step, status, _errno):
    start(world, change)
    result = doctor(world, "work", "--json")
    report = report_of(result)
    assert causes_of(report) == causes
    assert (result.returncode, result.stderr, report["ok"]) == (status, "", False)
    assert [entry["name"] for entry in report["steps"]] == STEPS
    assert next(entry["name"] for entry in report["steps"] if entry["ok"] is False) == step


@pytest.mark.parametrize("change, _causes, _step, _status, number", MOUNTED, ids=names(MOUNTED))
def test_the_same_at_a_mount(world, wait_for, change, _causes, _step, _status, number):
    start(world, change)
    mount = world.home.mount("work", timeout=5)
    with pytest.raises(OSError) as caught:
        os.listdir(mount)
    assert caught.value.errno == number
    last = wait_for(lambda: mount.status()["last_error"], what="the reason")
    assert last["text"]
    assert find_leaks((mount / ".mailtree" / "status.json").read_bytes(), secrets_of(world)) == []
    assert find_leaks((mount / ".mailtree" / "errors.log").read_bytes(), secrets_of(world)) == []
    mount.unmount()


def test_the_evidence_is_what_was_seen(world):
    start(world, app_without_permission)
    report = report_of(doctor(world, "work", "--json"))
    first = report["causes"][0]
    assert "AUTHENTICATE failed." in first["evidence"] and world.app.object_id in first["evidence"]
    assert f"New-ServicePrincipal -AppId {world.app.client_id} -ObjectId {world.app.object_id}" in first["fix"]
    assert f"Add-MailboxPermission -Identity {OLENA} -User {world.app.object_id}" in report["causes"][1]["fix"]
    again = report_of(doctor(world, "work", "--json"))
    assert again["causes"] == report["causes"], "the same texts give the same list"


def test_unknown_codes_are_shown_as_they_came(world):
    start(world, unknown_code)
    cause, = report_of(doctor(world, "work", "--json"))["causes"]
    assert "AADSTS424242: Something that no table has." in cause["evidence"]


def test_an_intercepted_certificate_is_described(world):
    start(world, intercepted)
    report = report_of(doctor(world, "work", "--json"))
    assert "nobody knows it" in report["causes"][0]["evidence"], "who issued it"


def test_a_server_that_echoes_the_token(world):
    def echo(_session, command):
        return command.tag + b" BAD Error in IMAP command: " + command.line.rstrip() + b"\r\n"
    world.handlers["AUTHENTICATE"] = echo
    start(world, lambda _: None)
    result = doctor(world, "work", "--json")
    assert result.returncode == 3 and "[secret]" in result.stdout


def test_what_comes_and_goes_is_tried_again(world):
    world.handlers["NAMESPACE"] = [NOT_CONNECTED, None]
    start(world, lambda _: None)
    report = report_of(doctor(world, "work", "--json", check=True))
    assert report["ok"] and not report["causes"]
    assert "attempt" in next(step["detail"] for step in report["steps"] if step["name"] == "first-command")


def test_everything_works(place, truth, home):
    home.set_account("work", place.account("work"))
    report = report_of(home.run("doctor", "work", "--json", check=True))
    assert report["ok"] and not report["causes"]
    assert [step["name"] for step in report["steps"] if step["ok"]] == STEPS
    details = {step["name"]: step["detail"] for step in report["steps"]}
    assert "TLSv1." in details["tls"] and "XOAUTH2" in details["greeting"]
    assert int(details["list"]) >= len(truth)
    text = home.run("doctor", "work", check=True).stdout
    assert text.count("✓") == len(STEPS) and "Everything works." in text
    assert "\033" not in text, "no colours but on a terminal"


def test_an_empty_inbox_is_no_fault(world):
    world.handlers["EXAMINE"] = b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n{tag} OK [READ-ONLY] done\r\n"
    start(world, lambda _: None)
    report = report_of(doctor(world, "work", "--json", check=True))
    assert report["ok"] and report["steps"][-1]["ok"] is None


def test_starttls(world):
    certificate = world.place.ca.issue("starttls")
    world.keys |= {"tls": "starttls", "ca_file": world.place.ca.pem}
    world.server["capabilities"] = f"{EXCHANGE_BEFORE} STARTTLS"
    start(world, lambda _: None).starttls_context = world.place.ca.server_context(certificate)
    report = report_of(doctor(world, "work", "--json", check=True))
    assert [step["name"] for step in report["steps"] if step["ok"]] == STEPS


def test_starttls_that_is_refused(world):
    world.keys |= {"tls": "starttls", "ca_file": world.place.ca.pem}
    server = start(world, lambda _: None)
    result = doctor(world, "work", "--json")
    assert (result.returncode, causes_of(report_of(result))) == (4, "tls-mode!")
    assert not any(b"AUTHENTICATE" in line for line in server.lines)


def test_a_silent_server(world):
    world.server["greeting"] = silent
    world.keys["timeout"] = 1
    start(world, lambda _: None)
    result = doctor(world, "work", "--json")
    assert (result.returncode, causes_of(report_of(result))) == (4, "tls-mode wrong-host server-down firewall")


def test_for_people(world):
    start(world, person_not_connected)
    result = doctor(world, "work")
    lines = result.stdout.splitlines()
    assert [line[0] for line in lines[:len(STEPS)]] == list("✓✓✓–✓✓✓✓✗––")
    assert "1. IMAP is switched off for this mailbox" in lines
    assert any(line.startswith("   fix:   Set-CASMailbox olena@contoso.example -ImapEnabled $true") for line in lines)
    assert "(certain)" not in result.stdout


@pytest.mark.parametrize("more, coloured", [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
                                            ({"TERM": "dumb"}, False)], ids=str)
def test_colours(home, more, coloured):
    home.write_config("[work]\nhost = 127.0.0.1\nsizs = auto\n")
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen([home.binary, "doctor", "work"], env=home.environment(LC_ALL="C.UTF-8", **more),
                                   stdin=subprocess.DEVNULL, stdout=theirs)
        os.close(theirs)
        shown = b""
        # The end of a terminal is an error.
        with contextlib.suppress(OSError):
            while data := terminal.read(4096):
                shown += data
        assert process.wait(20 * net.SLOWNESS) == 5
    assert "✗".encode() in shown and (b"\033[31m" in shown) == coloured


def test_a_wrong_configuration(home):
    home.write_config("[work]\nhost = 127.0.0.1\nsizs = auto\n")
    result = home.run("doctor", "work", "--json")
    report = report_of(result)
    assert (result.returncode, causes_of(report)) == (5, "configuration!")
    assert "config:3" in report["causes"][0]["evidence"]
    assert [step["ok"] for step in report["steps"]] == [False] + [None] * (len(STEPS) - 1)


def test_usage(home):
    for words in ([], ["--sasl", "-", "work"], ["a", "b"], ["--sasl"]):
        result = home.run("doctor", *words)
        assert (result.returncode, result.stdout) == (2, ""), words


# Initial responses of other programs

TOKEN = "EwBIA8l6BAAU" + "7rdv5wBBkz" * 60


def encode(text, times=1):
    data = text.encode()
    for _ in range(times):
        data = base64.b64encode(data)
    return data


RESPONSES = [
    ("right", encode(f"user={OLENA}\1auth=Bearer {TOKEN}\1\1"), ""),
    ("a well-known sample", encode(f"user={OLENA}\\\\1auth=Bearer {TOKEN}\\\\1\\\\1", 2),
     "encoded-twice! separator-as-text!"),
    ("\\1", encode(f"user={OLENA}\\1auth=Bearer {TOKEN}\\1\\1"), "separator-as-text!"),
    ("^A", encode(f"user={OLENA}^Aauth=Bearer {TOKEN}^A^A"), "separator-as-text!"),
    ("one terminator", encode(f"user={OLENA}\1auth=Bearer {TOKEN}\1"), "missing-terminator!"),
    ("no Bearer", encode(f"user={OLENA}\1auth={TOKEN}\1\1"), "bearer-missing!"),
    ("no user", encode(f"auth=Bearer {TOKEN}\1\1"), "user-missing!"),
    ("not encoded", f"user={OLENA}\1auth=Bearer {TOKEN}\1\1".encode(), "not-encoded"),
    ("hostile", bytes(range(256)) * 50, "broken-base64!"),
    ("an app's token and /me", None, "imap-token-for-rest! me-with-app-token!"),
]


@pytest.mark.parametrize("_name, data, causes", RESPONSES, ids=[response[0] for response in RESPONSES])
def test_responses_of_other_programs(place, home, _name, data, causes):
    token = TOKEN
    if data is None:
        token = place.token()["access_token"]
        data = ("GET /v1.0/me/messages HTTP/1.1\r\nHost: graph.microsoft.com\r\n"
                f"Authorization: Bearer {token}\r\n\r\n").encode()
    path = home.path / "response"
    path.write_bytes(data)
    results = [home.run("doctor", "--sasl", path, "--json")]
    with open(path, "rb") as file:
        results.append(home.run("doctor", "--sasl", "-", "--json", stdin=file))
    with open(path, "rb") as file:
        results.append(home.run("doctor", "--sasl", "-", stdin=file))
    for result in results:
        assert (result.returncode, result.stderr) == (1 if causes else 0, "")
        assert find_leaks(result.stdout, {"the token": token}) == []
    for result in results[:2]:
        report = report_of(result)
        assert causes_of(report) == causes
        assert report["ok"] == (not causes)


def test_what_mailtree_token_prints_is_right(place, truth, home):
    home.set_account("work", place.account("work"))
    for mechanism in ("xoauth2", "oauthbearer"):
        response = home.run("token", "work", "--sasl", mechanism, check=True).stdout
        path = home.path / "response"
        path.write_text(response)
        report = report_of(home.run("doctor", "--sasl", path, "--json", check=True))
        assert report["ok"] and [step["name"] for step in report["steps"]] == [
            "input", "base64", "form", "user", "auth", "token"]


def test_responses_that_cannot_be_read(home):
    path = pathlib.Path(home.path / "huge")
    path.write_bytes(b"A" * (300 << 10))
    for given in (path, home.path / "none", home.path):
        result = home.run("doctor", "--sasl", given)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("mailtree: ") and result.stderr.count("\n") == 1
