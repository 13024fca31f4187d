# SPDX-License-Identifier: GPL-2.0-or-later
"""How a client proves who it is at the token endpoint: a secret, a signed assertion, or nothing where it is public.

An assertion (RFC 7523; Microsoft's rules for certificates) is checked to the letter: its algorithm and the
certificate's SHA-256 thumbprint in the header, the signature, audience, issuer, subject, its time, and that its
jti comes once.
"""

import base64
import binascii
import json

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from .oautherror import OAuthError, aadsts

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFE_S_MAX = 600
# What Microsoft allows clocks to differ.
LEEWAY_S = 300
PADDINGS = {
    "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32),
    "RS256": padding.PKCS1v15(),
}


def find_app(tenant, form):
    if not form.get("client_id"):
        raise aadsts(900144, parameter="client_id")
    app = tenant.apps.get(form["client_id"])
    if app is None:
        raise aadsts(700016, app=form["client_id"], tenant=tenant.name)
    return app


def check(authority, tenant, app, form, missing=7000216):
    """An app that isn't public has to prove itself; `missing` is the error where it doesn't try."""
    if "client_assertion" in form:
        check_assertion(authority, tenant, app, form)
    elif "client_secret" in form:
        check_secret(app, form)
    else:
        raise aadsts(missing)


def check_of_person(authority, tenant, app, form):
    """In the grants of persons: a public client proves nothing, and must not try."""
    if not app.is_public:
        check(authority, tenant, app, form, missing=7000218)
    elif "client_secret" in form or "client_assertion" in form:
        raise aadsts(700025)


def check_secret(app, form):
    for secret in app.secrets:
        if secret.value == form["client_secret"]:
            if secret.is_expired():
                raise aadsts(7000222, app=app.client_id)
            return
    raise aadsts(7000215, app=app.client_id)


def check_assertion(authority, tenant, app, form):
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise aadsts(900144, parameter="client_assertion_type")
    signed, header, claims, signature = _parse(form["client_assertion"])
    if header.get("alg") not in PADDINGS or header.get("typ") != "JWT":
        raise aadsts(50027)
    _check_signature(app, header, signed, signature)
    if claims.get("iss") != app.client_id or claims.get("sub") != app.client_id:
        raise aadsts(700021)
    audiences = {f"{authority.url}/{name}/oauth2/v2.0/token" for name in (tenant.name, tenant.tenant_id)}
    if claims.get("aud") not in audiences:
        raise aadsts(700023)
    now = authority.now()
    begin, end = claims.get("nbf"), claims.get("exp")
    if not isinstance(begin, int) or not isinstance(end, int) or not 0 < end - begin <= LIFE_S_MAX:
        raise aadsts(50027)
    if now < begin - LEEWAY_S or now >= end + LEEWAY_S:
        raise aadsts(700024)
    if not claims.get("jti") or not authority.take_once("jti", claims["jti"]):
        raise OAuthError(401, "invalid_client", "The assertion's jti was used before.")


def _check_signature(app, header, signed, signature):
    for pem in app.certificates:
        certificate = x509.load_pem_x509_certificate(pem)
        thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
        if header.get("x5t#S256") == thumbprint:
            try:
                certificate.public_key().verify(signature, signed, PADDINGS[header["alg"]], hashes.SHA256())
                return
            except InvalidSignature:
                break
    raise aadsts(700027)


def _parse(text):
    try:
        header, claims, signature = text.split(".")
        signed = f"{header}.{claims}".encode()
        header, claims = json.loads(_unbase64(header)), json.loads(_unbase64(claims))
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise aadsts(50027)
        return signed, header, claims, _unbase64(signature)
    except (ValueError, binascii.Error):
        raise aadsts(50027) from None


def _unbase64(text):
    if "=" in text:
        raise ValueError("base64url in a JWT has no padding")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
