# SPDX-License-Identifier: GPL-2.0-or-later
"""The access tokens that the authority has given out.

Their text has the shape of Microsoft's: a JWT of well over 1,000 characters, whose claims a person can
read and whose signature is random. What counts is the table here, never the text: a token that was
altered, that has expired or was revoked isn't in it.
"""

import base64
import json
import secrets
import threading
import time
import uuid
from dataclasses import dataclass

from .directory import RESOURCES


@dataclass(frozen=True)
class Grantee:
    """Whom a token speaks for: an app by itself (`username` is then its client id) or a person."""

    username: str
    tenant_id: str
    client_id: str
    object_id: str
    mailboxes: set      # the live set of the directory: taking a mailbox out works at once
    roles: tuple = ()   # application permissions
    scopes: tuple = ()  # delegated permissions

    def may_use_imap(self):
        return "IMAP.AccessAsApp" in self.roles or "IMAP.AccessAsUser.All" in self.scopes


@dataclass
class Token:
    text: str
    grantee: Grantee
    audience: str
    expires_at: float
    is_revoked: bool = False


class TokenStore:
    def __init__(self):
        self._lock = threading.Lock()
        self._tokens = {}

    def issue(self, grantee, audience, lifetime_s, skew_s=0):
        """`skew_s`: so much is the clock ahead by which the claims are written."""
        now = int(time.time() + skew_s)
        claims = {
            "aud": audience, "iss": f"https://sts.windows.net/{grantee.tenant_id}/",
            "iat": now, "nbf": now, "exp": now + int(lifetime_s),
            "aio": secrets.token_urlsafe(48), "appid": grantee.client_id, "appidacr": "1",
            "idp": f"https://sts.windows.net/{grantee.tenant_id}/", "oid": grantee.object_id,
            "rh": secrets.token_urlsafe(96), "sid": str(uuid.uuid4()), "sub": grantee.object_id,
            "tid": grantee.tenant_id, "uti": secrets.token_urlsafe(16), "ver": "1.0",
            "wids": [str(uuid.uuid4()) for _ in range(3)], "xms_ftd": secrets.token_urlsafe(64),
        }
        if grantee.scopes:
            claims |= {"scp": " ".join(grantee.scopes), "upn": grantee.username,
                       "unique_name": grantee.username, "idtyp": "user"}
        else:
            claims |= {"idtyp": "app"}
            if grantee.roles:
                claims["roles"] = list(grantee.roles)
        header = {"typ": "JWT", "nonce": secrets.token_urlsafe(32), "alg": "RS256",
                  "x5t": secrets.token_urlsafe(20), "kid": secrets.token_urlsafe(20)}
        text = ".".join((_b64url(json.dumps(header).encode()), _b64url(json.dumps(claims).encode()),
                         _b64url(secrets.token_bytes(256))))
        token = Token(text, grantee, audience, time.time() + lifetime_s)
        with self._lock:
            self._tokens[text] = token
        return token

    def find(self, text):
        with self._lock:
            return self._tokens.get(text)

    def revoke_all(self):
        with self._lock:
            for token in self._tokens.values():
                token.is_revoked = True

    def texts(self):
        """Every token ever issued: for the tests that look for them where they mustn't be."""
        with self._lock:
            return list(self._tokens)

    def is_good_for_imap(self, token):
        mail_resources = [name for name in RESOURCES if "outlook" in name]
        return (token is not None and not token.is_revoked and token.expires_at > time.time()
                and token.audience in mail_resources and token.grantee.may_use_imap())


def _b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
