/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to an OAuth token endpoint (RFC 6749 sections 3.2, 4, 5 and 6) and what they answer. Blocking.
 * Each grant builds its form; how the answer is read and what its errors mean is the same for all.
 */
#pragma once

#include "src/auth/flow.h"
#include "src/auth/http.h"

struct cJSON;

/* A form under construction (application/x-www-form-urlencoded); it holds secrets and is wiped. */
struct auth_form;
struct auth_form *auth_form_new(void);
/* NULL adds nothing. */
void auth_form_add(struct auth_form *form, const char *name, const char *value);
void auth_form_free(struct auth_form *form);

#define AUTH_OAUTH_WORD_MAX 64u
#define AUTH_OAUTH_NAME_MAX 256u

struct auth_oauth_answer {
	struct secret *access_token;
	struct secret *refresh_token;    /* NULL = none given */
	int64_t expires_in_s;            /* -1 = not told */
	char error[AUTH_OAUTH_WORD_MAX]; /* the endpoint's `error`, "" when it gave none */
	int64_t retry_after_s;           /* 0 = not told */
	char name[AUTH_OAUTH_NAME_MAX];  /* who signed in, to be shown, never trusted; "" = not told */
};
void auth_oauth_answer_fini(struct auth_oauth_answer *answer);

/*
 * What an endpoint's answer says. 0: the object is in *json_out, to be freed by auth_oauth_json_free(). Errors as
 * auth_oauth_request() has them; `answer` gets `error` and `retry_after_s` in any case.
 */
int auth_oauth_reply_json(const struct auth_http_reply *reply, struct auth_oauth_answer *answer,
	struct cJSON **json_out, struct error *err);
/* The same for a token endpoint's: 0 = access_token is set. */
int auth_oauth_reply_token(const struct auth_http_reply *reply, struct auth_oauth_answer *answer, struct error *err);
void auth_oauth_json_free(struct cJSON *json); /* wiped; NULL is fine */
/* NULL when it is missing or not a string. */
const char *auth_oauth_text(const struct cJSON *json, const char *name);
/* A number, or a string that is one (some authorities quote it), of at least 1 and at most a year; else -1. */
int64_t auth_oauth_seconds(const struct cJSON *json, const char *name);

/*
 * Sends `form` to config->token_url. 0: access_token is set.
 * ERR_SIGN_IN: the endpoint refused (`error` says how), with a hint; ERR_UNREACHABLE: no connection, or no answer
 * that a token endpoint gives, or it asks for patience; ERR_TIMEOUT, ERR_INTERRUPTED, ERR_CONFIG as auth_http_post().
 */
int auth_oauth_request(
	struct auth_flow *flow, const struct auth_form *form, struct auth_oauth_answer *answer_out, struct error *err);

/* The request by itself: sends `form` to `url`, and hands over what comes. Errors as auth_http_post(). */
int auth_oauth_post(struct auth_flow *flow, const char *url, const struct auth_form *form,
	struct auth_http_reply *reply_out, struct error *err);

/* Adds client_id and what proves it: client_secret, a signed assertion, or nothing for a public client. */
int auth_oauth_add_client(struct auth_flow *flow, struct auth_form *form, struct error *err);
