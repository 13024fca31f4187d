# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors in the shape that Microsoft's token endpoint gives them.

    raise aadsts(7000215, app=client_id)        # an OAuthError: .status and .body()

CODES maps each AADSTS number to HTTP status, OAuth error and text.
"""

import datetime
import uuid

CODES = {
    70000: (400, "invalid_grant", "The provided authorization code or refresh token is malformed or invalid."),
    70003: (400, "unsupported_grant_type", "The app requested an unsupported grant type '{grant}'."),
    90002: (400, "invalid_request", "Tenant '{tenant}' not found. Check to make sure you have the correct "
            "tenant ID and are signing into the correct cloud. Check with your subscription administrator, "
            "this may happen if there are no active subscriptions for the tenant."),
    900144: (400, "invalid_request", "The request body must contain the following parameter: '{parameter}'."),
    9001023: (400, "invalid_request", "The grant type is not supported over the /common or /consumers "
              "endpoints. Please use the /organizations or tenant-specific endpoint."),
    700016: (400, "unauthorized_client", "Application with identifier '{app}' was not found in the directory "
             "'{tenant}'. This can happen if the application has not been installed by the administrator of "
             "the tenant or consented to by any user in the tenant. You may have sent your authentication "
             "request to the wrong tenant."),
    500011: (400, "invalid_resource", "The resource principal named {resource} was not found in the tenant "
             "named {tenant}. This can happen if the application has not been installed by the administrator "
             "of the tenant or consented to by any user in the tenant. You might have sent your "
             "authentication request to the wrong tenant."),
    1002012: (400, "invalid_scope", "The provided value for scope {scope} is not valid. Client credential "
              "flows must have a scope value with /.default suffixed to the resource identifier "
              "(application ID URI)."),
    7000215: (401, "invalid_client", "Invalid client secret provided. Ensure the secret being sent in the "
              "request is the client secret value, not the client secret ID, for a secret added to app "
              "'{app}'."),
    7000216: (401, "invalid_client", "'client_assertion', 'client_secret' or 'request' is required for the "
              "'client_credentials' grant type."),
    7000222: (401, "invalid_client", "The provided client secret keys for app '{app}' are expired. Visit the "
              "Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider "
              "using certificate credentials for added security: https://aka.ms/certCreds."),
}


class OAuthError(Exception):
    def __init__(self, status, error, description, codes=()):
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description
        self.codes = list(codes)

    def body(self):
        trace_id, correlation_id = str(uuid.uuid4()), str(uuid.uuid4())
        timestamp = datetime.datetime.utcnow().strftime("%Y-%m-%d %H:%M:%SZ")
        text = (f"{self.description} Trace ID: {trace_id} Correlation ID: {correlation_id} "
                f"Timestamp: {timestamp}")
        body = {"error": self.error, "error_description": text, "error_codes": self.codes,
                "timestamp": timestamp, "trace_id": trace_id, "correlation_id": correlation_id}
        if self.codes:
            body["error_uri"] = f"https://login.microsoftonline.com/error?code={self.codes[0]}"
        return body


def aadsts(code, **words):
    status, error, text = CODES[code]
    return OAuthError(status, error, f"AADSTS{code}: {text.format(**words)}", [code])
