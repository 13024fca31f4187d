# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to a token. Each module has GRANT_TYPE and answer(authority, tenant, form) → the JSON of success;
it raises OAuthError otherwise. tenant is a directory.Tenant, or None for common, organizations, consumers."""

from . import authorization_code, client_credentials, device_code, refresh_token

GRANTS = {module.GRANT_TYPE: module for module in (authorization_code, client_credentials, device_code, refresh_token)}
