# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person's sign-in leads to: scopes, tokens that speak for a person, and refresh tokens with rotation.

A refresh token has a family: all that came of one sign-in. Each use gives a successor. The old one stays good
until its successor is used, because an answer may be lost on its way; then it is spent, and whoever shows it again
ends the whole family, as a thief might have it (`rotation = "strict"`: a refresh token is good for one use).
"""

import base64
import collections
import json
import secrets
import threading
import time
from dataclasses import dataclass, field

from .directory import RESOURCES
from .oautherror import aadsts
from .tokens import Grantee

OPENID_SCOPES = {"openid", "email", "profile", "offline_access"}
IMAP_SCOPE = "IMAP.AccessAsUser.All"


@dataclass(frozen=True)
class Scopes:
    resource: str
    names: tuple       # of the resource
    openid: frozenset  # those of OPENID_SCOPES that were asked for


def read_scopes(text):
    resource, names, openid = None, [], set()
    if not text.split():
        raise aadsts(28003)
    for word in text.split():
        if word in OPENID_SCOPES:
            openid.add(word)
            continue
        prefix, _, name = word.rpartition("/")
        if prefix not in RESOURCES or not name:
            raise aadsts(70011, scope=word)
        if resource not in (None, prefix):
            raise aadsts(700022)
        resource = prefix
        names.append(name)
    if resource is None:
        raise aadsts(70011, scope=text)
    return Scopes(resource, tuple(names), frozenset(openid))


@dataclass
class Family:
    tenant_id: str
    client_id: str
    person: object
    scopes: Scopes
    is_revoked: bool = False


@dataclass
class RefreshToken:
    text: str
    family: Family
    successor: "RefreshToken | None" = None
    uses: int = 0


@dataclass
class SignIns:
    """Every person's sign-in that the authority remembers."""

    rotation: str = "overlap"
    counters: collections.Counter = field(default_factory=collections.Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tokens: dict = field(default_factory=dict)

    def begin(self, tenant, app, person, scopes):
        return Family(tenant.tenant_id, app.client_id, person, scopes)

    def add_refresh_token(self, family):
        token = RefreshToken("R." + secrets.token_urlsafe(240), family)
        with self._lock:
            self._tokens[token.text] = token
        return token

    def use(self, text, client_id):
        """The family and the next refresh token, or the authority's refusal."""
        with self._lock:
            token = self._tokens.get(text)
            if token is None or token.family.client_id != client_id:
                raise aadsts(70000)
            if token.family.is_revoked:
                raise aadsts(50173)
            spent = token.uses > 0 if self.rotation == "strict" else token.successor is not None and token.successor.uses > 0
            if spent:
                token.family.is_revoked = True
                self.counters["reused"] += 1
                raise aadsts(70000)
            if token.uses:
                self.counters["used again"] += 1
            token.uses += 1
            token.successor = RefreshToken("R." + secrets.token_urlsafe(240), token.family)
            self._tokens[token.successor.text] = token.successor
            return token.family, token.successor

    def revoke_all(self):
        with self._lock:
            for token in self._tokens.values():
                token.family.is_revoked = True

    def texts(self):
        with self._lock:
            return list(self._tokens)

    def most_uses(self):
        """How often the refresh token was shown that was shown most often."""
        with self._lock:
            return max((token.uses for token in self._tokens.values()), default=0)


def token_answer(authority, family, refresh_token=None):
    """The token endpoint's JSON. Without `refresh_token` a sign-in that asked for one gets its first."""
    scopes, person = family.scopes, family.person
    granted = scopes.names if "graph" not in scopes.resource else ()
    grantee = Grantee(username=person.address, tenant_id=family.tenant_id, client_id=family.client_id,
                      object_id=person.object_id, mailboxes=person.mailboxes, scopes=granted)
    token = authority.issue_access_token(grantee, scopes.resource)
    body = {"token_type": "Bearer", "scope": " ".join(f"{scopes.resource}/{name}" for name in scopes.names),
            "expires_in": authority.expires_in(), "ext_expires_in": authority.expires_in(), "access_token": token.text}
    if "offline_access" in scopes.openid:
        body["refresh_token"] = (refresh_token or authority.sign_ins.add_refresh_token(family)).text
    if "openid" in scopes.openid:
        body["id_token"] = _id_token(family)
    return body


def _id_token(family):
    now = int(time.time())
    claims = {"aud": family.client_id, "iat": now, "nbf": now, "exp": now + 3600, "tid": family.tenant_id,
              "oid": family.person.object_id, "preferred_username": family.person.address, "ver": "2.0"}
    parts = [json.dumps({"typ": "JWT", "alg": "RS256"}).encode(), json.dumps(claims).encode(), secrets.token_bytes(256)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
