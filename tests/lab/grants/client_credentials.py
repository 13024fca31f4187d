# SPDX-License-Identifier: GPL-2.0-or-later
"""App-only access: client id and a secret or an assertion for a token of the app itself (RFC 6749 section 4.4)."""

from .. import clients
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
    app = clients.find_app(tenant, form)
    clients.check(authority, tenant, app, form)
    resource = _resource(form["scope"], tenant)
    roles = tuple(app.roles) if "graph" not in resource else ()
    grantee = Grantee(username=app.client_id, tenant_id=tenant.tenant_id, client_id=app.client_id,
                      object_id=app.object_id, mailboxes=app.mailboxes, roles=roles)
    token = authority.issue_access_token(grantee, resource)
    return {"token_type": "Bearer", "expires_in": authority.expires_in(), "ext_expires_in":
            authority.expires_in(), "access_token": token.text}


def _resource(scope, tenant):
    if not scope.endswith(DEFAULT_SUFFIX) or " " in scope:
        raise aadsts(1002012, scope=scope)
    resource = scope[:-len(DEFAULT_SUFFIX)]
    if resource not in RESOURCES:
        raise aadsts(500011, resource=resource, tenant=tenant.name)
    return resource
