/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A credential from a person's earlier sign-in: the stored access token, or a new one by its refresh token. */
#include "src/auth/flow.h"
#include "src/auth/oauth.h"
#include "src/auth/source.h"
#include "src/auth/store.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

static int login_needed(
	struct auth_flow *flow, const struct auth_tokens *tokens, struct auth_obtained *obtained, struct error *err)
{
	obtained->refused = true;
	obtained->forgotten = !tokens->access;
	error_set(err, ERR_SIGN_IN, "%s",
		tokens->access ? "the sign-in has ended: the authority gave no refresh token"
			       : "nobody has signed in yet");
	error_hint(err, "run `mailtree login %s`", flow->config->account);
	return ERR_SIGN_IN;
}

/* Renewing may wait while the authority is out of reach. */
static bool access_is_usable(const struct auth_flow *flow, const struct auth_tokens *tokens, int64_t now)
{
	return tokens->access && !secret_equal(tokens->access, flow->spent) && tokens->access_issued_at <= now &&
	       now < tokens->access_expires_at;
}

/* Another process may have refreshed it meanwhile. */
static bool access_is_fresh(const struct auth_flow *flow, const struct auth_tokens *tokens, int64_t now)
{
	int64_t life = tokens->access_expires_at - tokens->access_issued_at;

	return access_is_usable(flow, tokens, now) &&
	       now < tokens->access_expires_at - MIN(AUTH_MARGIN_MAX_S, life / 5);
}

static int refresh(
	struct auth_flow *flow, struct auth_tokens *tokens, struct auth_obtained *obtained, struct error *err)
{
	struct auth_form *form = auth_form_new();
	struct auth_oauth_answer answer = {0};
	struct error saving = {0};
	int64_t now = clock_unix();
	int rc;

	auth_form_add(form, "grant_type", "refresh_token");
	auth_form_add(form, "refresh_token", secret_text(tokens->refresh));
	auth_form_add(form, "scope", flow->config->scope);
	rc = auth_oauth_add_client(flow, form, err);
	if (rc == 0) {
		rc = auth_oauth_request(flow, form, &answer, err);
		obtained->refused = rc == ERR_SIGN_IN;
		obtained->retry_after_s = answer.retry_after_s;
		if (rc == ERR_SIGN_IN && strcmp(answer.error, "invalid_grant") == 0)
			error_hint(err, "run `mailtree login %s`", flow->config->account);
	}
	if (rc == 0) {
		secret_unref(tokens->access);
		tokens->access = secret_ref(answer.access_token);
		tokens->access_issued_at = now;
		tokens->access_expires_at = answer.expires_in_s >= 0 ? now + answer.expires_in_s : 0;
		if (answer.refresh_token) {
			secret_unref(tokens->refresh);
			tokens->refresh = secret_ref(answer.refresh_token);
		}
		/* before the token is used; on a full disk they still serve this process */
		if (auth_store_save(flow->config, tokens, &saving) != 0) {
			log_error("%s: the new tokens can't be stored: %s", flow->config->account, saving.text);
			obtained->unsaved = secret_ref(tokens->refresh);
		}
		obtained->life_s = answer.expires_in_s;
	}
	auth_oauth_answer_fini(&answer);
	auth_form_free(form);
	return rc;
}

static int tokens_load(struct auth_flow *flow, struct auth_tokens *tokens, struct error *err)
{
	int rc = auth_store_load(flow->config, tokens, err);

	if (rc != 0 || !flow->unsaved || auth_source_stamp(flow->config) != flow->unsaved_stamp)
		return rc;
	secret_unref(tokens->refresh);
	tokens->refresh = secret_ref((struct secret *)flow->unsaved);
	return 0;
}

int auth_flow_stored(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err)
{
	struct auth_tokens tokens = {0};
	int64_t now = clock_unix();
	int lock_fd = -1;
	int rc = auth_store_lock(flow, &lock_fd, err);

	if (rc == 0)
		rc = tokens_load(flow, &tokens, err);
	if (rc == 0 && !access_is_fresh(flow, &tokens, now))
		rc = tokens.refresh ? refresh(flow, &tokens, obtained_out, err)
		                    : login_needed(flow, &tokens, obtained_out, err);
	else if (rc == 0)
		obtained_out->life_s = tokens.access_expires_at - now;
	if ((rc == ERR_UNREACHABLE || rc == ERR_TIMEOUT) && access_is_usable(flow, &tokens, now)) {
		obtained_out->life_s = tokens.access_expires_at - now;
		rc = 0;
	}
	if (rc == 0)
		obtained_out->secret = secret_ref(tokens.access);
	/* it waits for a disk that takes it, or for its successor */
	if (!obtained_out->unsaved && flow->unsaved && secret_equal(tokens.refresh, flow->unsaved))
		obtained_out->unsaved = secret_ref(tokens.refresh);
	/* under the lock: what a `login` writes from now on is news */
	obtained_out->stamp = auth_source_stamp(flow->config);
	auth_tokens_fini(&tokens);
	auth_store_unlock(lock_fd);
	return rc;
}
