/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signing in as a person, for `mailtree login`: by a browser that comes back to this machine (authorization code with
 * PKCE, RFC 7636 and 8252), or by a code that is entered elsewhere (RFC 8628). What comes of it is stored for mounts
 * and commands (store.h). Blocking, and never at mount time: it waits for a person.
 */
#pragma once

#include "src/auth/auth.h"

#define AUTH_LOGIN_WAIT_MS (15u * 60u * 1000u) /* for the person */
#define AUTH_DEVICE_CODE_MAX 4096u
#define AUTH_USER_CODE_MAX 64u
#define AUTH_DEVICE_INTERVAL_S 5u      /* where the authority names none */
#define AUTH_DEVICE_INTERVAL_MAX_S 60u /* it asks for more: that much is enough */

/* What the person has to be told. */
struct auth_login_prompt {
	const char *url;       /* to be opened in a browser; holds no secret */
	uint16_t port;         /* by browser: where this machine listens; 0 = by code */
	const char *user_code; /* by code: to be entered there; NULL = by browser */
	int64_t expires_in_s;
};

struct auth_login {
	bool device;                                                       /* by code, whatever config->method says */
	uint16_t port;                                                     /* to listen on; 0 = any */
	void (*prompt)(void *ctx, const struct auth_login_prompt *prompt); /* must not wait */
	void *ctx;
	int cancel_fd; /* readable = give up; -1 = none */
};

struct auth_login_result {
	char name[256]; /* who signed in, as the authority tells it, not verified; "" = it doesn't */
	bool renewable; /* a refresh token came */
	int64_t life_s; /* of the access token; -1 = not told */
};

/* `authorization-code` or `device-code`: who signs in is a person. */
bool auth_login_is_for(enum auth_method method);
/*
 * ERR_CONFIG: the method needs no person, or lacks a URL; ERR_SIGN_IN: refused, declined, or nobody came;
 * ERR_UNREACHABLE, ERR_TIMEOUT: the authority; ERR_FAILED: the port; ERR_STORAGE: the tokens can't be stored.
 */
int auth_login(const struct auth_config *config, const struct auth_login *login, struct auth_login_result *result_out,
	struct error *err);
/* Forgets the tokens. `*had_out`: there were some. ERR_CONFIG as above, ERR_STORAGE, ERR_TIMEOUT. */
int auth_logout(const struct auth_config *config, bool *had_out, struct error *err);
