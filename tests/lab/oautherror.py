# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors in the shape that Microsoft's token endpoint gives them.

    raise aadsts(7000215, app=client_id)        # an OAuthError: .status and .body()

CODES maps each AADSTS number to HTTP status, OAuth error and text.
"""

import datetime
import uuid

CODES = {
    70000: (400, "invalid_grant", "The provided authorization code or refresh token is malformed or invalid."),
    28003: (400, "invalid_request", "Provided value for the input parameter scope cannot be empty when requesting an "
            "access token using the provided authorization code. Please specify a valid scope."),
    50011: (400, "invalid_request", "The redirect URI '{redirect}' specified in the request does not match the redirect "
            "URIs configured for the application '{app}'. Make sure the redirect URI sent in the request matches one "
            "added to your application in the Azure portal."),
    50027: (400, "invalid_request", "JWT token is invalid or malformed."),
    500112: (400, "invalid_grant", "The reply address '{given}' does not match the reply address '{wanted}' provided when "
             "requesting Authorization code."),
    501481: (400, "invalid_grant", "The Code_Verifier does not match the code_challenge supplied in the authorization "
             "request."),
    50173: (400, "invalid_grant", "The provided grant has expired due to it being revoked, a fresh auth token is needed. "
            "The user might have changed or reset their password."),
    54005: (400, "invalid_grant", "OAuth2 Authorization code was already redeemed, please retry with a new valid code or "
            "use an existing refresh token."),
    65004: (400, "access_denied", "User declined to consent to access the app."),
    70008: (400, "invalid_grant", "The provided authorization code or refresh token has expired due to inactivity. Send a "
            "new interactive authorization request for this user and resource."),
    70011: (400, "invalid_scope", "The provided value for the input parameter 'scope' is not valid. The scope '{scope}' is "
            "not valid."),
    70016: (400, "authorization_pending", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."),
    70018: (400, "bad_verification_code", "Invalid verification code due to User typing in wrong user code for device code "
            "flow."),
    70019: (400, "expired_token", "Verification code expired. Have the user retry the sign-in."),
    700005: (400, "invalid_grant", "Provided Authorization Code is intended to use against other tenant, thus rejected."),
    700021: (401, "invalid_client", "Client assertion application identifier doesn't match 'client_id' parameter."),
    700022: (400, "invalid_request", "The provided value for the input parameter 'scope' isn't valid because it contains "
             "more than one resource."),
    700023: (401, "invalid_client", "Client assertion audience claim does not match Realm issuer."),
    700024: (401, "invalid_client", "Client assertion is not within its valid time range."),
    700025: (401, "invalid_client", "Client is public so neither 'client_assertion' nor 'client_secret' should be "
             "presented."),
    700027: (401, "invalid_client", "Client assertion failed signature validation. The key was not found by thumbprint."),
    7000218: (401, "invalid_client", "The request body must contain the following parameter: 'client_assertion' or "
              "'client_secret'."),
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
