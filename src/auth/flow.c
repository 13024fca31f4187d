/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/flow.h"
#include "src/auth/jwt.h"
#include "src/auth/oauth.h"
#include "src/auth/source.h"
#include "src/base/loop.h"
#include "src/base/secret.h"

#include <glib.h>

#include "src/base/banned.h"

/* A token from outside that expired less than this ago may still be good where the server's clock is right. */
#define OUTSIDE_SKEW_S 300

int auth_flow_client_credentials(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err)
{
	struct auth_form *form = auth_form_new();
	struct auth_oauth_answer answer = {0};
	int rc;

	auth_form_add(form, "grant_type", "client_credentials");
	auth_form_add(form, "scope", flow->config->scope);
	rc = auth_oauth_add_client(flow, form, err);
	if (rc == 0) {
		rc = auth_oauth_request(flow, form, &answer, err);
		obtained_out->refused = rc == ERR_SIGN_IN;
		obtained_out->retry_after_s = answer.retry_after_s;
	}
	if (rc == 0) {
		obtained_out->secret = secret_ref(answer.access_token);
		obtained_out->life_s = answer.expires_in_s;
	}
	auth_oauth_answer_fini(&answer);
	auth_form_free(form);
	return rc;
}

int auth_flow_outside(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err)
{
	const char *what = flow->config->token.command ? "token_command" : "token_file";
	struct secret *raw = NULL;
	int64_t expires_at = 0, now = clock_unix();
	int rc = auth_source_read(flow, &flow->config->token, "token", &raw, err);

	if (rc == 0)
		rc = auth_source_trim_token(raw, what, &obtained_out->secret, err);
	if (rc != 0 || !auth_jwt_expiry(secret_text(obtained_out->secret), &expires_at))
		return rc;
	if (expires_at + OUTSIDE_SKEW_S <= now) {
		secret_unref(obtained_out->secret);
		obtained_out->secret = NULL;
		return error_set(
			err, ERR_SIGN_IN, "%s: its token expired %" G_GINT64_FORMAT " s ago", what, now - expires_at);
	}
	obtained_out->life_s = MAX(expires_at - now, OUTSIDE_SKEW_S / 5);
	return 0;
}

int auth_flow_password(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err)
{
	return auth_source_read(flow, &flow->config->password, "password", &obtained_out->secret, err);
}

int auth_flow_run(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err)
{
	static const auth_flow_fn flows[] = {
		[AUTH_CLIENT_CREDENTIALS] = auth_flow_client_credentials,
		[AUTH_AUTHORIZATION_CODE] = auth_flow_stored,
		[AUTH_DEVICE_CODE] = auth_flow_stored,
		[AUTH_TOKEN_COMMAND] = auth_flow_outside,
		[AUTH_TOKEN_FILE] = auth_flow_outside,
		[AUTH_PASSWORD] = auth_flow_password,
	};

	*obtained_out = (struct auth_obtained){.life_s = -1};
	return flows[flow->config->method](flow, obtained_out, err);
}
