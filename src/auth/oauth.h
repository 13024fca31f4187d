/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to an OAuth token endpoint (RFC 6749 sections 3.2, 4, 5 and 6) and what they answer. Blocking.
 * Each grant builds its form; how the answer is read and what its errors mean is the same for all.
 */
#pragma once

#include "src/auth/flow.h"

/* A form under construction (application/x-www-form-urlencoded); it holds secrets and is wiped. */
struct auth_form;
struct auth_form *auth_form_new(void);
/* NULL adds nothing. */
void auth_form_add(struct auth_form *form, const char *name, const char *value);
void auth_form_free(struct auth_form *form);

#define AUTH_OAUTH_WORD_MAX 64u

struct auth_oauth_answer {
	struct secret *access_token;
	struct secret *refresh_token;    /* NULL = none given */
	int64_t expires_in_s;            /* -1 = not told */
	char error[AUTH_OAUTH_WORD_MAX]; /* the endpoint's `error`, "" when it gave none */
	int64_t retry_after_s;           /* 0 = not told */
};
void auth_oauth_answer_fini(struct auth_oauth_answer *answer);

/*
 * Sends `form` to config->token_url. 0: access_token is set.
 * ERR_SIGN_IN: the endpoint refused (`error` says how), with a hint; ERR_UNREACHABLE: no connection, or no answer
 * that a token endpoint gives, or it asks for patience; ERR_TIMEOUT, ERR_INTERRUPTED, ERR_CONFIG as auth_http_post().
 */
int auth_oauth_request(
	struct auth_flow *flow, const struct auth_form *form, struct auth_oauth_answer *answer_out, struct error *err);

/* Adds client_id and what proves it: client_secret, a signed assertion, or nothing for a public client. */
int auth_oauth_add_client(struct auth_flow *flow, struct auth_form *form, struct error *err);
