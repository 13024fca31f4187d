# SPDX-License-Identifier: GPL-2.0-or-later
"""An OAuth authority that speaks Microsoft identity v2.0 on loopback.

    authority = Authority()                         # or Authority(certificate=…) for https
    tenant = authority.directory.add_tenant("contoso.example")
    app = tenant.add_app(mailboxes=["olena@contoso.example"])
    authority.start()                               # authority.url: http://127.0.0.1:PORT
    authority.set_lifetime(3); authority.revoke_all(); authority.set_fault("503"); authority.set_delay(2)
    authority.counters()
    authority.stop()

    authority.set_person(person)                    # who sits at the browser; None declines, "hint" (default) is login_hint
    authority.devices()[-1].decide(person)          # grants/device_code.py
    authority.sign_ins.rotation = "strict"          # people.py; .revoke_all(), .most_uses(), .counters
    authority.clock_skew_s = 240                    # its clock is so much ahead

Endpoints: GET /TENANT/oauth2/v2.0/authorize · POST /TENANT/oauth2/v2.0/{token,devicecode} · POST /introspect (RFC 7662, asked by Dovecot) ·
POST /control with `Authorization: Bearer CONTROL_SECRET` and {"action": NAME, …}: the same switches from
another process. As a program: python3 -m lab authority --help.
"""

import collections
import html
import http.server
import json
import re
import secrets
import socketserver
import ssl
import threading
import time
import urllib.parse

from . import grants, net
from .directory import Directory
from .oautherror import OAuthError, aadsts
from .people import SignIns
from .tokens import TokenStore

TENANTS_OF_ALL = ("common", "organizations", "consumers")
MAX_BODY_BYTES = 1 << 20
STALL_S = 3600.0


class Authority:
    """FAULTS for set_fault(): None, or what the token endpoint does instead of answering."""

    FAULTS = (None, "503", "429", "stall", "html", "hang-up", "huge", "not-json")

    def __init__(self, port=0, certificate=None, directory=None):
        self.directory = directory or Directory()
        self.tokens = TokenStore()
        self.sign_ins = SignIns()
        self.codes = {}
        self.clock_skew_s = 0.0
        self.device_interval_s = 1.0
        self.device_life_s = 900.0
        self.control_secret = secrets.token_urlsafe(24)
        self._certificate = certificate
        self._port = port
        self._server = None
        self._lock = threading.Lock()
        self._lifetime_s = 3600.0
        self._fault = None
        self._faults_left = None
        self._delay_s = 0.0
        self._stop = threading.Event()
        self._counters = collections.Counter()
        self._person = "hint"
        self._devices = {}
        self._seen = set()

    # Life

    def start(self):
        if self._server:
            return self
        self._stop.clear()
        self._server = _Server((net.LOOPBACK, self._port), self, self._certificate)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        """Stops listening, and ends what is under way; the port stays ours for the next start()."""
        if self._server:
            self._stop.set()
            self._server.shutdown()
            self._server.close_all()
            self._server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://{net.LOOPBACK}:{self._port}"

    # Switches

    def set_lifetime(self, seconds):
        """How long the tokens live that are issued from now on."""
        self._lifetime_s = float(seconds)

    def revoke_all(self):
        self.tokens.revoke_all()

    def set_fault(self, fault, times=None):
        """What the token endpoint does from now on, `times` times or for ever."""
        if fault not in self.FAULTS:
            raise ValueError(f"no such fault: {fault}")
        with self._lock:
            self._fault, self._faults_left = fault, times

    def set_delay(self, seconds):
        """How long the token endpoint thinks before each answer."""
        self._delay_s = float(seconds)

    def counters(self):
        """{"token": all token requests, "token:GRANT": by grant, "issued": …, "refused": …, "introspect": …}"""
        with self._lock:
            return dict(self._counters)

    def reset_counters(self):
        with self._lock:
            self._counters.clear()

    def count(self, name):
        with self._lock:
            self._counters[name] += 1

    def set_person(self, person):
        """Who is at the browser from now on: a directory.Person, None for one who declines, or "hint"."""
        self._person = person

    def devices(self):
        with self._lock:
            return list(self._devices.values())

    # What the grants use

    def now(self):
        return time.time() + self.clock_skew_s

    def person_at_browser(self, tenant, hint):
        return tenant.people.get(hint) if self._person == "hint" else self._person

    def add_device(self, device):
        with self._lock:
            self._devices[device.code] = device

    def find_device(self, code):
        with self._lock:
            return self._devices.get(code)

    def remove_device(self, device):
        with self._lock:
            del self._devices[device.code]

    def take_once(self, kind, value):
        """Whether it comes for the first time."""
        with self._lock:
            is_new = (kind, value) not in self._seen
            self._seen.add((kind, value))
        return is_new

    def expires_in(self):
        return int(self._lifetime_s)

    def issue_access_token(self, grantee, audience):
        return self.tokens.issue(grantee, audience, self._lifetime_s, self.clock_skew_s)

    # Requests: each returns (status, JSON)

    def answer_token(self, tenant_name, form):
        self.count("token")
        grant_type = form.get("grant_type", "")
        try:
            if not grant_type:
                raise aadsts(900144, parameter="grant_type")
            self.count(f"token:{grant_type}")
            tenant = self._find_tenant(tenant_name)
            grant = grants.GRANTS.get(grant_type)
            if grant is None:
                raise aadsts(70003, grant=grant_type)
            if tenant is None and grant is not grants.client_credentials:
                tenant = self._tenant_of_all(form)
            body = grant.answer(self, tenant, form)
        except OAuthError as error:
            self.count("refused")
            return error.status, error.body()
        self.count("issued")
        return 200, body

    def _find_tenant(self, name):
        tenant = self.directory.find_tenant(name)
        if tenant is None and name not in TENANTS_OF_ALL:
            raise aadsts(90002, tenant=name)
        return tenant

    def _tenant_of_all(self, form):
        """common, organizations, consumers: the one in which the app is registered."""
        for tenant in self.directory.tenants():
            if form.get("client_id") in tenant.apps:
                return tenant
        raise aadsts(700016, app=form.get("client_id"), tenant="common")

    def answer_device(self, tenant_name, form):
        self.count("device")
        try:
            tenant = self._find_tenant(tenant_name) or self._tenant_of_all(form)
            return 200, grants.device_code.begin(self, tenant, form)
        except OAuthError as error:
            self.count("refused")
            return error.status, error.body()

    def answer_authorize(self, tenant_name, query):
        """(where the browser is sent, None), or (None, what the page says)."""
        self.count("authorize")
        try:
            tenant = self._find_tenant(tenant_name) or self._tenant_of_all(query)
            return grants.authorization_code.authorize(self, tenant, query), None
        except OAuthError as error:
            self.count("refused")
            return None, error.body()["error_description"]

    def secret_texts(self):
        """Everything that it gave out and that mustn't be seen."""
        with self._lock:
            codes, devices = list(self.codes), list(self._devices)
        return self.tokens.texts() + self.sign_ins.texts() + codes + devices

    def answer_introspect(self, form):
        """`mailboxes` is a regular expression of the mailboxes that may be opened: Dovecot's oauth2 passdb
        sees one token and one answer, and compares the mailbox asked for by itself (see dovecot.py)."""
        self.count("introspect")
        token = self.tokens.find(form.get("token", ""))
        if not self.tokens.is_good_for_imap(token):
            return 200, {"active": False}
        alternatives = "|".join(re.escape(name.lower()) for name in sorted(token.grantee.mailboxes))
        return 200, {"active": True, "username": token.grantee.username, "client_id":
                     token.grantee.client_id, "exp": int(token.expires_at), "mailboxes":
                     f"^({alternatives})$", "token_type": "Bearer"}

    def answer_control(self, request):
        action = request.get("action")
        if action == "set_lifetime":
            self.set_lifetime(request["seconds"])
        elif action == "revoke_all":
            self.revoke_all()
        elif action == "set_fault":
            self.set_fault(request.get("fault"), request.get("times"))
        elif action == "set_delay":
            self.set_delay(request["seconds"])
        elif action == "reset_counters":
            self.reset_counters()
        elif action == "add_app":
            tenant = self.directory.find_tenant(request["tenant"]) or self.directory.add_tenant(
                request["tenant"])
            app = tenant.add_app(request.get("mailboxes", ()), request.get("client_id"),
                                 request.get("secret"))
            return 200, {"client_id": app.client_id, "secret": app.secret}
        elif action == "set_mailboxes":
            app = self.directory.find_tenant(request["tenant"]).apps[request["client_id"]]
            app.mailboxes.clear()
            app.mailboxes.update(request["mailboxes"])
        elif action != "counters":
            return 400, {"error": f"no such action: {action}"}
        return 200, self.counters()

    def take_fault(self):
        with self._lock:
            fault = self._fault
            if fault and self._faults_left is not None:
                self._faults_left -= 1
                if self._faults_left <= 0:
                    self._fault = None
        return fault

    def stall(self):
        self._stop.wait(STALL_S)

    def delay(self):
        self._stop.wait(self._delay_s)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    # A port that was closed a moment ago is taken again: stop() and start() keep it.
    allow_reuse_address = True

    def __init__(self, address, authority, certificate):
        self.authority = authority
        self._connections = set()
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.chain, certificate.key)
        super().__init__(address, _Handler)

    def server_bind(self):
        # Without HTTPServer's reverse look-up of our name, which can take seconds where there is no network.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def finish_request(self, request, client_address):
        if self._context:
            # Here, in the connection's own thread: a client that doesn't shake hands holds up nobody.
            request = self._context.wrap_socket(request, server_side=True)
        self._connections.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._connections.discard(request)
            if self._context:
                request.close()

    def handle_error(self, request, client_address):
        """A client that goes away isn't worth a traceback."""

    def close_all(self):
        self.server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(2)
            except OSError:
                pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Headers and body leave in one segment.
    wbufsize = 64 << 10

    def log_message(self, *_):
        """Nothing: requests carry secrets."""

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            return
        body = self.rfile.read(length)
        path = urllib.parse.urlsplit(self.path).path
        authority = self.server.authority
        token_path = re.fullmatch(r"/([^/]+)/oauth2/v2\.0/token", path)
        device_path = re.fullmatch(r"/([^/]+)/oauth2/v2\.0/devicecode", path)
        if token_path:
            authority.delay()
            if not self._play(authority.take_fault()):
                self._send(*authority.answer_token(urllib.parse.unquote(token_path[1]), _form(body)))
        elif device_path:
            authority.delay()
            if not self._play(authority.take_fault()):
                self._send(*authority.answer_device(urllib.parse.unquote(device_path[1]), _form(body)))
        elif path == "/introspect":
            self._send(*authority.answer_introspect(_form(body)))
        elif path == "/control":
            self._control(body)
        else:
            self._send(404, {"error": "not found"})

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        authorize_path = re.fullmatch(r"/([^/]+)/oauth2/v2\.0/authorize", parts.path)
        if not authorize_path:
            self._send(404, {"error": "not found"})
            return
        target, refusal = self.server.authority.answer_authorize(
            urllib.parse.unquote(authorize_path[1]), _form(parts.query.encode()))
        if target:
            self._send_bytes(302, "text/html", b"", {"Location": target})
        else:
            self._send_bytes(400, "text/html; charset=utf-8", html.escape(refusal).encode())

    def _control(self, body):
        given = self.headers.get("Authorization", "")
        if not secrets.compare_digest(given, f"Bearer {self.server.authority.control_secret}"):
            self._send(401, {"error": "wrong control secret"})
            return
        try:
            self._send(*self.server.authority.answer_control(json.loads(body)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._send(400, {"error": repr(error)})

    def _play(self, fault):
        """Does what the fault asks for; False when there is none and the request is to be answered."""
        if fault is None:
            return False
        self.server.authority.count(f"fault:{fault}")
        if fault == "503":
            self._send(503, {"error": "temporarily_unavailable", "error_description":
                             "AADSTS90033: A transient error has occurred. Please try again.",
                             "error_codes": [90033]})
        elif fault == "429":
            self._send(429, {"error": "temporarily_unavailable"}, {"Retry-After": "1"})
        elif fault == "html":
            self._send_bytes(200, "text/html", b"<html><body>Sign in to the hotel's network</body></html>")
        elif fault == "not-json":
            self._send_bytes(200, "application/json", b'{"access_token": ["\xff')
        elif fault == "huge":
            # In pieces: a client that has had enough goes long before all of it is made.
            self._send_head(200, "application/json", 64 << 20)
            self.wfile.write(b'{"access_token": "')
            for _ in range(1 << 10):
                self.wfile.write(b"A" * (64 << 10))
        else:
            if fault == "stall":
                self.server.authority.stall()
            self.close_connection = True
        return True

    def _send(self, status, value, headers=None):
        self._send_bytes(status, "application/json; charset=utf-8", json.dumps(value).encode(), headers)

    def _send_bytes(self, status, content_type, data, headers=None):
        self._send_head(status, content_type, len(data), headers)
        self.wfile.write(data)

    def _send_head(self, status, content_type, length, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store, no-cache")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()


def _form(body):
    pairs = urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return dict(pairs)


def serve_forever(authority):
    """For programs: runs until a signal ends it."""
    authority.start()
    while True:
        time.sleep(3600)
