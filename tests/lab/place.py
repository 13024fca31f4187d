# SPDX-License-Identifier: GPL-2.0-or-later
"""One folder with a certificate authority, an OAuth authority and Dovecot that trusts it: what most tests start.

    with Place(folder) as place:
        truth = mailboxes.fill(place.dovecot.maildir(OLENA), 3000)
        text = place.account("work", OLENA, port=proxy.port)     # a group for mailtree's config file
        client = place.imap(OLENA)                               # imaplib, signed in: the independent witness
        place.fetch_all(client, "INBOX")                         # {uid: bytes}
        place.authority.revoke_all()

    text = place.person_account("work", auth="device-code")  # the same for a person's sign-in: place.people[OLENA]

Mailboxes OLENA and TEAM may be opened by the app; EVE exists and may not. OLENA as a person opens TEAM, too. The password of each is
place.password(user). Keys of account() override or add; None leaves one out.
"""

import imaplib
import json
import pathlib
import re
import urllib.parse
import urllib.request

from . import mutf7, net
from .authority import Authority
from .certs import CertificateAuthority
from .dovecot import Dovecot

TENANT = "contoso.example"
OLENA = f"olena@{TENANT}"
TEAM = f"team@{TENANT}"
EVE = f"eve@{TENANT}"
SCOPE = "https://outlook.office365.com/.default"
SCOPE_OF_PERSON = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid email"

# imaplib gives up on lines longer than this; a folder of 100,000 answers SEARCH with more.
imaplib._MAXLINE = 100_000_000


class Place:
    def __init__(self, folder, authority=None, client_id=None, secret=None, **dovecot_options):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = CertificateAuthority(self.folder / "ca")
        self.authority = authority or Authority()
        self.tenant = self.authority.directory.find_tenant(TENANT) or self.authority.directory.add_tenant(TENANT)
        self.app = self.tenant.add_app([OLENA, TEAM], client_id, secret)
        self.public_app = self.tenant.add_app(is_public=True)
        self.people = {user: self.tenant.add_person(user) for user in (OLENA, TEAM, EVE)}
        self.people[OLENA].shared.add(TEAM)
        self.authority.start()
        self.certificate = self.ca.issue("imap")
        self.dovecot = Dovecot(self.folder / "dovecot", self.certificate, f"{self.authority.url}/introspect",
                               **dovecot_options)
        for user in (OLENA, TEAM, EVE):
            self.dovecot.add_password(user, self.password(user))

    def start(self):
        self.authority.start()
        self.dovecot.start()
        return self

    def stop(self):
        self.dovecot.stop()
        self.authority.stop()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @staticmethod
    def password(user):
        return f'the "password" of {user.split("@")[0]} \\1'

    # For mailtree

    def secret_file(self):
        path = self.folder / "client-secret"
        path.touch(mode=0o600)
        path.write_text(self.app.secret + "\n")
        return path

    def account(self, group, user=OLENA, **keys):
        """A group of the config file: client credentials against our Dovecot unless `keys` say otherwise."""
        values = {
            "provider": "generic", "host": net.LOOPBACK, "port": self.dovecot.port, "tls": "implicit",
            "ca_file": self.ca.pem, "authority": self.authority.url, "tenant": TENANT, "scope": SCOPE,
            "auth": "client-credentials", "client_id": self.app.client_id,
            "client_secret_file": self.secret_file(), "user": user,
        } | keys
        lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
        return "\n".join([f"[{group}]", *lines, ""])

    def person_account(self, group, user=OLENA, auth="authorization-code", **keys):
        return self.account(group, user, **({
            "auth": auth, "client_id": self.public_app.client_id, "client_secret_file": None, "scope": SCOPE_OF_PERSON} | keys))

    # The independent witness

    def token(self, **form):
        """The token endpoint's answer as JSON, errors too; None leaves a parameter out."""
        form = {"grant_type": "client_credentials", "client_id": self.app.client_id,
                "client_secret": self.app.secret, "scope": SCOPE} | form
        form = {name: value for name, value in form.items() if value is not None}
        url = f"{self.authority.url}/{TENANT}/oauth2/v2.0/token"
        try:
            with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def connect(self, port=None):
        return imaplib.IMAP4_SSL(net.LOOPBACK, port or self.dovecot.port, ssl_context=self.ca.client_context())

    def sign_in(self, client, user, token=None, mechanism="XOAUTH2"):
        text = sasl(mechanism, user, token or self.token()["access_token"], client.port)
        return client.authenticate(mechanism, lambda _: text)

    def imap(self, user=OLENA, port=None):
        client = self.connect(port)
        self.sign_in(client, user)
        return client

    @staticmethod
    def fetch_all(client, folder, items="BODY.PEEK[]"):
        """{uid: bytes} of a folder, opened by EXAMINE; asks for 200 messages at a time."""
        status, answer = client.select(quote(folder), readonly=True)
        if status != "OK":
            raise imaplib.IMAP4.error(answer)
        # Not by SEARCH: go-imap's falls over messages whose header it can't parse.
        lines = client.uid("FETCH", "1:*", "(UID)")[1] if int(answer[0]) else []
        uids = [re.search(rb"UID (\d+)", line)[1] for line in lines]
        bodies = {}
        for start in range(0, len(uids), 200):
            chosen = b",".join(uids[start:start + 200]).decode()
            status, answer = client.uid("FETCH", chosen, f"(UID {items})")
            if status != "OK":
                raise imaplib.IMAP4.error(answer)
            for before, after in zip(answer, [*answer[1:], b""]):
                if isinstance(before, tuple):
                    words = before[0] + (after if isinstance(after, bytes) else b"")
                    bodies[int(re.search(rb"\bUID (\d+)", words)[1])] = before[1]
        return bodies

    @staticmethod
    def flags(client, folder):
        """{uid: set of flags}: to see that reading changed nothing. \\Recent is the session's own."""
        client.select(quote(folder), readonly=True)
        found = {}
        for line in client.uid("FETCH", "1:*", "(UID FLAGS)")[1]:
            if line:
                uid, words = re.search(rb"UID (\d+)", line), re.search(rb"FLAGS \(([^)]*)\)", line)
                found[int(uid[1])] = set(words[1].decode().split()) - {"\\Recent"}
        return found


def sasl(mechanism, user, token, port=993, host=net.LOOPBACK):
    if mechanism == "XOAUTH2":
        return f"user={user}\1auth=Bearer {token}\1\1".encode()
    return f"n,a={user},\1host={host}\1port={port}\1auth=Bearer {token}\1\1".encode()


def quote(folder):
    """A folder's name as an IMAP quoted string."""
    return '"' + mutf7.encode(folder).replace("\\", "\\\\").replace('"', '\\"') + '"'
