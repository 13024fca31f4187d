# SPDX-License-Identifier: GPL-2.0-or-later
"""App-only access: client id and secret for a token of the app itself (RFC 6749 section 4.4)."""

from ..directory import RESOURCES
from ..oautherror import aadsts
from ..tokens import Grantee

GRANT_TYPE = "client_credentials"
DEFAULT_SUFFIX = "/.default"


def answer(authority, tenant, form):
    if tenant is None:
        raise aadsts(9001023)
    for parameter in ("client_id", "scope"):
        if not form.get(parameter):
            raise aadsts(900144, parameter=parameter)
    app = tenant.apps.get(form["client_id"])
    if app is None:
        raise aadsts(700016, app=form["client_id"], tenant=tenant.name)
    check_secret(app, form)
    resource = _resource(form["scope"], tenant)
    roles = tuple(app.roles) if "graph" not in resource else ()
    grantee = Grantee(username=app.client_id, tenant_id=tenant.tenant_id, client_id=app.client_id,
                      object_id=app.object_id, mailboxes=app.mailboxes, roles=roles)
    token = authority.issue_access_token(grantee, resource)
    return {"token_type": "Bearer", "expires_in": authority.expires_in(), "ext_expires_in":
            authority.expires_in(), "access_token": token.text}


def check_secret(app, form):
    """The client proves itself by one of the app's secrets."""
    if "client_secret" not in form:
        raise aadsts(7000216)
    for secret in app.secrets:
        if secret.value == form["client_secret"]:
            if secret.is_expired():
                raise aadsts(7000222, app=app.client_id)
            return
    raise aadsts(7000215, app=app.client_id)


def _resource(scope, tenant):
    if not scope.endswith(DEFAULT_SUFFIX) or " " in scope:
        raise aadsts(1002012, scope=scope)
    resource = scope[:-len(DEFAULT_SUFFIX)]
    if resource not in RESOURCES:
        raise aadsts(500011, resource=resource, tenant=tenant.name)
    return resource
