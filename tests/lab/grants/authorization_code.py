# SPDX-License-Identifier: GPL-2.0-or-later
"""Authorization code with PKCE (RFC 6749 section 4.1, RFC 7636).

authorize() is the page that the browser opens. Who sits in front of it is authority.person_at_browser(): by default the one
whom login_hint names, at once and with consent. Codes are good once, for ten minutes, for the client and the redirect
URI that they were made for.
"""

import base64
import hashlib
import re
import secrets
import urllib.parse
from dataclasses import dataclass

from .. import clients, people
from ..oautherror import OAuthError, aadsts

GRANT_TYPE = "authorization_code"
CODE_LIFE_S = 600
# 32 bytes in base64url; a shorter challenge isn't S256.
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
STATE_CHARS_MIN = 22


@dataclass
class Code:
    family: people.Family
    redirect_uri: str
    challenge: str
    expires_at: float
    is_redeemed: bool = False


def authorize(authority, tenant, query):
    """Where the browser is sent: a URL; or an OAuthError where it must not be sent anywhere."""
    app = clients.find_app(tenant, query)
    redirect_uri = query.get("redirect_uri", "")
    if not is_registered(redirect_uri, app.redirect_uris):
        raise aadsts(50011, redirect=redirect_uri, app=app.client_id)
    try:
        parameters = {"code": _code_for(authority, tenant, app, query, redirect_uri)}
    except OAuthError as error:
        parameters = {"error": error.error, "error_description": error.body()["error_description"]}
    if "state" in query:
        parameters["state"] = query["state"]
    # A redirect URI without a path comes back with one, as Microsoft does it.
    parts = urllib.parse.urlsplit(redirect_uri)
    return urllib.parse.urlunsplit(parts._replace(path=parts.path or "/", query=urllib.parse.urlencode(parameters)))


def is_registered(redirect_uri, registered):
    """The port of localhost is ignored, nothing else."""
    given = urllib.parse.urlsplit(redirect_uri)
    for text in registered:
        wanted = urllib.parse.urlsplit(text)
        same_host = given.netloc == wanted.netloc or (given.hostname == wanted.hostname == "localhost")
        if (given.scheme, given.path) == (wanted.scheme, wanted.path) and same_host and not given.query + given.fragment:
            return True
    return False


def _code_for(authority, tenant, app, query, redirect_uri):
    if query.get("response_type") != "code":
        raise OAuthError(400, "unsupported_response_type", "AADSTS700054: response_type isn't enabled for the application.")
    if query.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(query.get("code_challenge", "")):
        raise OAuthError(400, "invalid_request", "Proof Key for Code Exchange is required: code_challenge, S256.")
    if len(query.get("state", "")) < STATE_CHARS_MIN:
        raise OAuthError(400, "invalid_request", "A state that can't be guessed is required.")
    scopes = people.read_scopes(query.get("scope", ""))
    person = authority.person_at_browser(tenant, query.get("login_hint"))
    if person is None:
        raise aadsts(65004)
    authority.count("authorized")
    text = "1.A." + secrets.token_urlsafe(600)
    authority.codes[text] = Code(authority.sign_ins.begin(tenant, app, person, scopes), redirect_uri,
                                 query["code_challenge"], authority.now() + CODE_LIFE_S)
    return text


def answer(authority, tenant, form):
    for parameter in ("code", "redirect_uri"):
        if not form.get(parameter):
            raise aadsts(900144, parameter=parameter)
    app = clients.find_app(tenant, form)
    clients.check_of_person(authority, tenant, app, form)
    code = authority.codes.get(form["code"])
    if code is None or code.family.client_id != app.client_id:
        raise aadsts(70000)
    if code.family.tenant_id != tenant.tenant_id:
        raise aadsts(700005)
    if code.is_redeemed:
        # Somebody else has it, too: what came of it ends (RFC 6749 section 4.1.2).
        code.family.is_revoked = True
        raise aadsts(54005)
    code.is_redeemed = True
    if authority.now() >= code.expires_at:
        raise aadsts(70008)
    if form["redirect_uri"] != code.redirect_uri:
        raise aadsts(500112, given=form["redirect_uri"], wanted=code.redirect_uri)
    verifier = form.get("code_verifier", "")
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    if not VERIFIER.fullmatch(verifier) or not secrets.compare_digest(digest, code.challenge):
        raise aadsts(501481)
    return people.token_answer(authority, code.family)
