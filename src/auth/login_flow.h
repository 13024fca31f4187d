/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two ways of login.h, each in a file of its own, and what they share. */
#pragma once

#include "src/auth/http.h"
#include "src/auth/login.h"
#include "src/auth/oauth.h"

struct auth_login_run {
	struct auth_flow flow;
	const struct auth_login *login;
	struct auth_login_result *result;
};

/* Stores what the token endpoint gave, asked for at `asked_at` (seconds since 1970). ERR_STORAGE, ERR_TIMEOUT. */
int auth_login_store(
	struct auth_login_run *run, const struct auth_oauth_answer *answer, int64_t asked_at, struct error *err);

int auth_login_by_browser(struct auth_login_run *run, struct error *err);
int auth_login_by_code(struct auth_login_run *run, struct error *err);

/* What a device authorization endpoint answers (RFC 8628 section 3.2). */
struct auth_device {
	struct secret *code;
	char user_code[AUTH_USER_CODE_MAX + 1];
	char *url;
	int64_t expires_in_s;
	uint32_t interval_s;
};
/* ERR_SIGN_IN, ERR_UNREACHABLE as auth_oauth_reply_json(), and when something is missing or can't be shown. */
int auth_device_read(const struct auth_http_reply *reply, struct auth_device *device_out, struct error *err);
void auth_device_fini(struct auth_device *device);
