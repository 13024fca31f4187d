/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a credential comes from. Knows OAuth (RFC 6749, 6750, Microsoft identity v2.0), token
 * files, outside commands and passwords; knows nothing of IMAP.
 *
 * Three verbs, as git's credential helpers have them: fill, accepted, rejected. fill is
 * asynchronous and single flight: however many ask, one request goes out. Tokens are renewed
 * before they expire with a margin of min(300 s, 20 % of their life). After a rejection the next
 * fill gets a new token once (forced); if that is rejected too, sign-in counts as refused:
 * fill fails at once with the reason until the next attempt is due (1, 5, 15, then every 30
 * minutes; passwords: 3 attempts in all, because loops lock accounts), or until auth_retry_now().
 *
 * Client-credential tokens are shared per (authority, tenant, client, scope) by being asked for once.
 *
 * Threads: auth_* are called on the loop's thread, callbacks come on it. HTTP and commands run on
 * a helper thread; nothing here blocks the loop.
 */
#pragma once

#include "src/base/error.h"
#include "src/base/secret.h"

#include <stdbool.h>
#include <stdint.h>

#define AUTH_HTTP_BODY_MAX (256u * 1024u) /* a token endpoint's answer */
#define AUTH_HTTP_TIMEOUT_MS 30000u
#define AUTH_COMMAND_TIMEOUT_MS 30000u
#define AUTH_TOKEN_MAX (32u * 1024u)

struct loop;
struct auth;

enum auth_method {
	AUTH_CLIENT_CREDENTIALS,
	AUTH_AUTHORIZATION_CODE,
	AUTH_DEVICE_CODE,
	AUTH_TOKEN_COMMAND,
	AUTH_TOKEN_FILE,
	AUTH_PASSWORD,
};

/* Where the tokens of a person's sign-in are kept. */
enum auth_token_store { AUTH_STORE_FILE, AUTH_STORE_SECRET_SERVICE };

/* A value given directly, by a file (first line), or by a command (first line of its output). */
struct auth_source {
	char *value, *file, *command; /* at most one is set */
};

struct auth_config {
	enum auth_method method;
	char *account; /* the group's name, for messages: `mailtree login ACCOUNT` */
	char *user;
	char *token_url; /* https, or http on loopback: checked by auth_new */
	char *auth_url;
	char *device_url;
	char *scope;
	char *client_id;
	struct auth_source client_secret;
	char *certificate, *certificate_key;
	bool assertion_rs256;
	struct auth_source token; /* token_command, token_file */
	struct auth_source password;
	char *ca_file;
	enum auth_token_store token_store;
	char *state_dir; /* tokens live here, 0700; with AUTH_STORE_SECRET_SERVICE their lock and a stamp alone */
	char *notify_command;
};
/* Frees and wipes what the config owns, not the struct. */
void auth_config_fini(struct auth_config *config);

enum auth_kind { AUTH_BEARER, AUTH_PASSWORD_KIND };

struct credential {
	enum auth_kind kind;
	struct secret *secret;
	int64_t expires_at;  /* seconds since 1970; INT64_MAX = unknown or never */
	uint32_t generation; /* tells one token from the next */
};
void credential_copy(struct credential *to, const struct credential *from);
void credential_fini(struct credential *credential);

/* Exactly once. `credential` is borrowed; NULL on failure, then `err` tells why. */
typedef void (*auth_fill_fn)(void *ctx, const struct credential *credential, const struct error *err);
struct auth_fill;

/* Takes over `config`'s contents. ERR_CONFIG when something needed is missing or a URL isn't allowed. */
int auth_new(struct loop *loop, struct auth_config *config, struct auth **auth_out, struct error *err);
/*
 * Reads the account's configuration again: 0 and a config to take over, or an error. Comes on the loop's thread. When
 * `config_file` has changed, the next fill works by what it says then, and refusals are forgotten. A configuration
 * that can't be used, or that is for another user or method, is logged and ignored. `ctx` outlives the auth.
 */
typedef int (*auth_reload_fn)(void *ctx, struct auth_config *config_out, struct error *err);
void auth_set_reload(struct auth *auth, const char *config_file, auth_reload_fn reload, void *ctx);
void auth_free(struct auth *auth); /* fills under way end without a callback */

/* The current credential, or a new one where it has expired or was rejected. NULL = answered already. */
struct auth_fill *auth_fill(struct auth *auth, auth_fill_fn done, void *ctx);
void auth_fill_cancel(struct auth_fill *fill); /* NULL is fine */
/* The server took it: refusals and their waiting times are forgotten. */
void auth_accepted(struct auth *auth, uint32_t generation);
/* The server refused it, in these words. Reports about an older generation than the current are ignored. */
void auth_rejected(struct auth *auth, uint32_t generation, const char *server_text);
/* Expired in mid-session: the next fill gets a new one; not a refusal. */
void auth_expired(struct auth *auth, uint32_t generation);
/* A person did something about it. */
void auth_retry_now(struct auth *auth);
bool auth_is_password(const struct auth *auth);
const char *auth_account(const struct auth *auth);

struct auth_state {
	bool have_token;
	bool refused;       /* EACCES until something changes */
	int64_t expires_at; /* 0 = none */
	uint32_t requests;  /* sent to the token endpoint or command */
	struct error last_error;
};
void auth_state(const struct auth *auth, struct auth_state *state_out);

/* AUTH_STORE_SECRET_SERVICE works in this build. */
bool auth_secret_service_is_built_in(void);

/* `localhost`, 127.0.0.0/8 or ::1 (in brackets or not), as written: names aren't looked up. */
bool auth_host_is_loopback(const char *host);
/* Secrets go to https URLs, to http only on loopback. ERR_CONFIG says what is wrong with `url`. */
int auth_url_check(const char *url, struct error *err);

/* The SASL initial responses, base64, as one secret. XOAUTH2: user=U^Aauth=Bearer T^A^A; RFC 7628. */
struct secret *auth_sasl_xoauth2(const char *user, const struct secret *token);
struct secret *auth_sasl_oauthbearer(const char *user, const char *host, uint16_t port, const struct secret *token);
struct secret *auth_sasl_plain(const char *user, const struct secret *password);
