# SPDX-License-Identifier: GPL-2.0-or-later
"""What the authority knows: tenants, the apps registered in them, the people, and who may open which mailbox.

    directory = Directory()
    tenant = directory.add_tenant("contoso.example")
    app = tenant.add_app(mailboxes=["olena@contoso.example"])      # app.client_id, app.secret
    person = tenant.add_person("olena@contoso.example", "password", shared=["team@contoso.example"])

Everything may be changed while the authority runs (a secret expires, consent is withdrawn, …):
assign to the attributes.
"""

import secrets
import time
import uuid
from dataclasses import dataclass, field

OUTLOOK = "https://outlook.office365.com"
RESOURCES = (OUTLOOK, "https://outlook.office.com", "https://ps.outlook.com", "https://graph.microsoft.com")


@dataclass
class Secret:
    value: str
    key_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    expires_at: float | None = None

    def is_expired(self):
        return self.expires_at is not None and self.expires_at <= time.time()


@dataclass
class App:
    client_id: str
    object_id: str
    secrets: list
    mailboxes: set
    roles: list
    # PEM certificates whose keys may sign client assertions, redirect URIs, and whether a client without
    # a secret may use the interactive grants.
    certificates: list = field(default_factory=list)
    redirect_uris: list = field(default_factory=lambda: ["http://localhost"])
    is_public: bool = False

    @property
    def secret(self):
        return self.secrets[0].value


@dataclass
class Person:
    address: str
    password: str
    object_id: str
    shared: set

    @property
    def mailboxes(self):
        return {self.address} | self.shared


class Tenant:
    def __init__(self, name):
        self.name = name
        self.tenant_id = str(uuid.uuid4())
        self.apps = {}
        self.people = {}

    def add_app(self, mailboxes=(), client_id=None, secret=None, roles=("IMAP.AccessAsApp",), **more):
        app = App(client_id=client_id or str(uuid.uuid4()), object_id=str(uuid.uuid4()),
                  secrets=[Secret(secret or "S~" + secrets.token_urlsafe(30))],
                  mailboxes=set(mailboxes), roles=list(roles), **more)
        self.apps[app.client_id] = app
        return app

    def add_person(self, address, password=None, shared=()):
        person = Person(address, password or secrets.token_urlsafe(12), str(uuid.uuid4()), set(shared))
        self.people[address] = person
        return person


class Directory:
    def __init__(self):
        self._tenants = {}

    def add_tenant(self, name):
        tenant = Tenant(name)
        self._tenants[name.lower()] = tenant
        self._tenants[tenant.tenant_id] = tenant
        return tenant

    def find_tenant(self, name):
        return self._tenants.get(name.lower())

    def tenants(self):
        return set(self._tenants.values())
