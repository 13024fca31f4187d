/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Authorization code with PKCE S256 on a loopback redirect (RFC 6749 section 4.1, RFC 7636, RFC 8252). */
#include "src/auth/chance.h"
#include "src/auth/login_flow.h"
#include "src/auth/loopback.h"
#include "src/base/loop.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

struct attempt {
	struct auth_loopback *loopback;
	char *redirect_uri;
	struct secret *state, *verifier, *code;
};

static void attempt_fini(struct attempt *attempt)
{
	auth_loopback_close(attempt->loopback);
	g_free(attempt->redirect_uri);
	secret_unref(attempt->state);
	secret_unref(attempt->verifier);
	secret_unref(attempt->code);
}

static int attempt_begin(struct attempt *attempt, uint16_t port, struct error *err)
{
	int rc = auth_loopback_open(port, &attempt->loopback, err);

	rc = rc ? rc : auth_chance_new(&attempt->state, err);
	rc = rc ? rc : auth_chance_new(&attempt->verifier, err);
	if (rc == 0)
		attempt->redirect_uri = g_strdup_printf("http://localhost:%u", auth_loopback_port(attempt->loopback));
	return rc;
}

static void query_add(GString *url, const char *name, const char *value)
{
	/* auth_url may have a query of its own, for what a provider wants besides (RFC 6749 section 3.1) */
	g_string_append_printf(url, "%c%s=", strchr(url->str, '?') ? '&' : '?', name);
	g_string_append_uri_escaped(url, value, NULL, FALSE);
}

/* The state tells one attempt from another, the challenge is a digest: both may be seen. */
static char *url_compose(const struct auth_config *config, const struct attempt *attempt)
{
	g_autofree char *challenge = auth_chance_challenge(attempt->verifier);
	GString *url = g_string_new(config->auth_url);

	query_add(url, "client_id", config->client_id);
	query_add(url, "response_type", "code");
	query_add(url, "redirect_uri", attempt->redirect_uri);
	query_add(url, "scope", config->scope);
	query_add(url, "state", secret_text(attempt->state));
	query_add(url, "code_challenge", challenge);
	query_add(url, "code_challenge_method", "S256");
	query_add(url, "login_hint", config->user);
	return g_string_free(url, FALSE);
}

static int code_exchange(struct auth_login_run *run, const struct attempt *attempt, struct error *err)
{
	struct auth_form *form = auth_form_new();
	struct auth_oauth_answer answer = {0};
	int64_t asked_at = clock_unix();
	int rc;

	auth_form_add(form, "grant_type", "authorization_code");
	auth_form_add(form, "code", secret_text(attempt->code));
	auth_form_add(form, "redirect_uri", attempt->redirect_uri);
	auth_form_add(form, "code_verifier", secret_text(attempt->verifier));
	rc = auth_oauth_add_client(&run->flow, form, err);
	rc = rc ? rc : auth_oauth_request(&run->flow, form, &answer, err);
	rc = rc ? rc : auth_login_store(run, &answer, asked_at, err);
	auth_oauth_answer_fini(&answer);
	auth_form_free(form);
	return rc;
}

static void prompt(const struct auth_login_run *run, const struct attempt *attempt)
{
	g_autofree char *url = url_compose(run->flow.config, attempt);
	const struct auth_login_prompt prompt = {
		.url = url, .port = auth_loopback_port(attempt->loopback), .expires_in_s = AUTH_LOGIN_WAIT_MS / 1000};

	run->login->prompt(run->login->ctx, &prompt);
}

int auth_login_by_browser(struct auth_login_run *run, struct error *err)
{
	const struct auth_config *config = run->flow.config;
	struct attempt attempt = {0};
	struct error own = {0};
	int rc;

	if (!config->auth_url)
		return error_set(err, ERR_CONFIG, "auth_url is missing");
	rc = attempt_begin(&attempt, run->login->port, &own);
	if (rc == 0) {
		prompt(run, &attempt);
		rc = auth_loopback_wait(
			attempt.loopback, attempt.state, AUTH_LOGIN_WAIT_MS, run->flow.cancel_fd, &attempt.code, &own);
	}
	if (rc == 0)
		rc = code_exchange(run, &attempt, &own);
	if (attempt.loopback)
		auth_loopback_answer(attempt.loopback, rc ? &own : NULL);
	if (rc != 0)
		error_copy(err, &own);
	attempt_fini(&attempt);
	return rc;
}
