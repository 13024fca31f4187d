/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why there is no mail: evidence in, ranked causes out. Pure: no I/O, no clock, and the same evidence gives the same
 * list.
 *
 * `certain` is said only where the wire or the token proves it. Exchange answers several causes with the same
 * words: then the answer is all of them, the likeliest first, each with the check that would confirm it. What the
 * evidence disproves isn't listed, and where something is proven the guesses are left out.
 *
 * What is said of a cause stands in one table (causes_table.c), which cause follows from what in causes.c.
 */
#pragma once

#include "src/auth/auth.h"
#include "src/auth/claims.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define AUTH_WORDS_MAX 400u /* bytes of somebody's words in one cause's evidence */

struct auth_cause {
	char *id; /* stable: programs may branch on it; "aadsts-NUMBER" for codes without a cause of their own */
	char *title;
	bool certain;
	char *evidence; /* what was seen */
	char *check;    /* what would confirm it: a command or a page */
	char *fix;
};
void auth_cause_free(struct auth_cause *cause);

/* Where the way to the mail ended. */
enum auth_stage {
	AUTH_STAGE_MAIL, /* it didn't */
	AUTH_STAGE_CONFIG,
	AUTH_STAGE_RESOLVE,
	AUTH_STAGE_CONNECT,
	AUTH_STAGE_TLS,
	AUTH_STAGE_GREETING,
	AUTH_STAGE_SIGN_IN,
	AUTH_STAGE_FIRST, /* the first command behind a sign-in that was taken */
	AUTH_STAGE_LIST,
	AUTH_STAGE_FETCH,
};

enum auth_name_trouble { AUTH_NAME_UNKNOWN = 1, AUTH_NAME_NO_ANSWER };
enum auth_tls_trouble {
	AUTH_TLS_UNTRUSTED = 1, /* its issuer isn't known here */
	AUTH_TLS_OTHER_NAME,
	AUTH_TLS_EXPIRED, /* or not valid yet */
	AUTH_TLS_PLAIN,   /* the server doesn't speak TLS there */
	AUTH_TLS_BROKEN,  /* any other end of the handshake */
};

/*
 * Texts are borrowed, NULL where nothing is known, clean (log_clean) and free of secrets. `error` is our own sentence
 * about what ended the stage, `words` are the server's.
 */
struct auth_evidence {
	/* what is configured */
	const char *account, *user, *host, *provider, *client_id, *tenant;
	uint16_t port;
	enum auth_method method;
	bool starttls, plain; /* else TLS from the first byte */
	int64_t now;          /* seconds since 1970 */

	enum auth_stage stage;
	const char *error, *hint;

	bool offline; /* this machine has no address but its own */
	enum auth_name_trouble name;
	int connect_errno;
	enum auth_tls_trouble tls;
	const char *certificate; /* what it says: for whom, by whom, until when */

	bool offer_known;
	bool offers_bearer, offers_password;
	const char *offer;     /* "XOAUTH2, PLAIN" */
	const char *words;     /* of the answer that ended the stage */
	const char *challenge; /* what the server gave as its reason, in a challenge */
	bool no_data;          /* FETCH was answered by OK without a message */

	int token_code; /* enum error_code: why there is no credential; 0 = there is one */
	const char *token_error, *token_hint;
	bool secret_is_guid;              /* client_secret has the form of a secret's ID */
	const struct auth_claims *claims; /* NULL = there is no token */
	bool token_is_response;           /* a SASL response stands where the token should */
};

/* struct auth_cause*, the likeliest first; empty when nothing failed. Free with g_ptr_array_unref(). */
GPtrArray *auth_causes_find(const struct auth_evidence *evidence);
/* What the token itself proves, whether or not anything has failed yet. */
GPtrArray *auth_causes_of_token(const struct auth_evidence *evidence);

/*
 * Appends the cause of the table with its texts filled in, unless it is in the list already: the first finding
 * decides. `id` is one of the table's.
 */
void auth_causes_add(GPtrArray *causes, const struct auth_evidence *evidence, const char *id, bool certain,
	const char *format, ...) G_GNUC_PRINTF(5, 6);
GPtrArray *auth_causes_new(void);
