# SPDX-License-Identifier: GPL-2.0-or-later
"""A new access token for an earlier sign-in (RFC 6749 section 6); people.py has the rules of rotation."""

from .. import clients, people
from ..oautherror import aadsts

GRANT_TYPE = "refresh_token"


def answer(authority, tenant, form):
    if not form.get("refresh_token"):
        raise aadsts(900144, parameter="refresh_token")
    app = clients.find_app(tenant, form)
    clients.check_of_person(authority, tenant, app, form)
    if "scope" in form:
        people.read_scopes(form["scope"])
    family, successor = authority.sign_ins.use(form["refresh_token"], app.client_id)
    if family.tenant_id != tenant.tenant_id:
        raise aadsts(700005)
    return people.token_answer(authority, family, successor)
