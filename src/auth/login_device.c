/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device authorization grant (RFC 8628): a code is shown here and entered on another device. */
#include "src/auth/login_flow.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <string.h>

#include "src/base/banned.h"

#define GRANT_TYPE "urn:ietf:params:oauth:grant-type:device_code"
#define SLOW_DOWN_S 5 /* RFC 8628 section 3.5 */

void auth_device_fini(struct auth_device *device)
{
	secret_unref(device->code);
	g_free(device->url);
	*device = (struct auth_device){0};
}

/* Both are shown on a terminal, and the URL is opened by a person who trusts us. */
static bool user_code_is_plain(const char *code)
{
	for (const char *at = code; *at; at++)
		if (*at < ' ' || *at > '~')
			return false;
	return *code && strlen(code) <= AUTH_USER_CODE_MAX;
}

static int device_take(const cJSON *json, struct auth_device *device, struct error *err)
{
	const char *code = auth_oauth_text(json, "device_code"), *user_code = auth_oauth_text(json, "user_code");
	const char *url = auth_oauth_text(json, "verification_uri");
	int64_t interval_s = auth_oauth_seconds(json, "interval"),
		expires_in_s = auth_oauth_seconds(json, "expires_in");

	/* an older name, which Google still uses */
	url = url ? url : auth_oauth_text(json, "verification_url");
	if (!code || !*code || strlen(code) > AUTH_DEVICE_CODE_MAX || !user_code || !url)
		return error_set(err, ERR_UNREACHABLE, "the answer has no device_code, user_code or verification_uri");
	if (!user_code_is_plain(user_code))
		return error_set(err, ERR_UNREACHABLE, "the answer's user_code can't be shown");
	if (auth_url_check(url, err) != 0) {
		error_prefix(err, "the answer's verification_uri");
		return err ? (err->code = ERR_UNREACHABLE) : ERR_UNREACHABLE;
	}
	device->code = secret_new(code, strlen(code));
	g_strlcpy(device->user_code, user_code, sizeof(device->user_code));
	device->url = g_strdup(url);
	device->interval_s = interval_s < 0 ? AUTH_DEVICE_INTERVAL_S
	                                    : (uint32_t)MIN(interval_s, AUTH_DEVICE_INTERVAL_MAX_S);
	device->expires_in_s = expires_in_s < 0 ? AUTH_LOGIN_WAIT_MS / 1000
	                                        : MIN(expires_in_s, AUTH_LOGIN_WAIT_MS / 1000);
	return 0;
}

int auth_device_read(const struct auth_http_reply *reply, struct auth_device *device_out, struct error *err)
{
	struct auth_oauth_answer answer = {0};
	cJSON *json = NULL;
	int rc = auth_oauth_reply_json(reply, &answer, &json, err);

	*device_out = (struct auth_device){0};
	if (rc == 0)
		rc = device_take(json, device_out, err);
	auth_oauth_json_free(json);
	return rc;
}

static int device_ask(struct auth_login_run *run, struct auth_device *device, struct error *err)
{
	const char *url = run->flow.config->device_url;
	struct auth_form *form = auth_form_new();
	struct auth_http_reply reply = {0};
	int rc = auth_oauth_add_client(&run->flow, form, err);

	auth_form_add(form, "scope", run->flow.config->scope);
	if (rc == 0) {
		rc = auth_oauth_post(&run->flow, url, form, &reply, err);
		rc = rc ? rc : auth_device_read(&reply, device, err);
		if (rc != 0)
			error_prefix(err, "device endpoint %.200s", url);
	}
	auth_http_reply_fini(&reply);
	auth_form_free(form);
	return rc;
}

/* Nobody has decided yet. */
#define PENDING 1

static int ended(const char *word, struct error *err)
{
	static const struct {
		const char *word, *text;
	} ends[] = {
		{"expired_token", "nobody entered the code in time"},
		{"access_denied", "the sign-in was declined"},
		{"authorization_declined", "the sign-in was declined"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++)
		if (strcmp(ends[i].word, word) == 0)
			return error_set(err, ERR_SIGN_IN, "%s", ends[i].text);
	return 0;
}

/* One poll: 0 with the answer, PENDING, or an error for good. `interval_s` grows as the authority, or its silence,
 * asks. */
static int poll_once(struct auth_login_run *run, const struct auth_device *device, uint32_t *interval_s,
	struct auth_oauth_answer *answer, struct error *err)
{
	struct auth_form *form = auth_form_new();
	int rc;

	*answer = (struct auth_oauth_answer){0};
	auth_form_add(form, "grant_type", GRANT_TYPE);
	auth_form_add(form, "device_code", secret_text(device->code));
	rc = auth_oauth_add_client(&run->flow, form, err);
	if (rc != 0)
		goto out;
	rc = auth_oauth_request(&run->flow, form, answer, err);
	if (rc == 0)
		goto out;
	if (strcmp(answer->error, "slow_down") == 0) {
		*interval_s += SLOW_DOWN_S;
		rc = PENDING;
	} else if (strcmp(answer->error, "authorization_pending") == 0) {
		rc = PENDING;
	} else if (rc == ERR_UNREACHABLE || rc == ERR_TIMEOUT) {
		/* RFC 8628 section 3.5: the person may be signing in all the while */
		log_info("%s", err->text);
		*interval_s = MAX(*interval_s, MIN(*interval_s * 2, AUTH_DEVICE_INTERVAL_MAX_S));
		*interval_s = MAX(*interval_s, (uint32_t)MIN(answer->retry_after_s, AUTH_DEVICE_INTERVAL_MAX_S));
		rc = PENDING;
	} else if (ended(answer->error, err) != 0) {
		rc = ERR_SIGN_IN;
	}
out:
	auth_form_free(form);
	return rc;
}

/* True when it was cancelled. */
static bool pause_cancelled(int cancel_fd, uint64_t ms)
{
	struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};
	uint64_t until_ms = clock_ms() + ms, now;

	while ((now = clock_ms()) < until_ms)
		if (poll(&cancel, 1, (int)(until_ms - now)) > 0)
			return true;
	return false;
}

static int wait_for_person(struct auth_login_run *run, const struct auth_device *device, struct error *err)
{
	uint64_t until_ms = clock_ms() + (uint64_t)device->expires_in_s * 1000;
	uint32_t interval_s = device->interval_s;
	struct auth_oauth_answer answer = {0};
	int rc;

	for (;;) {
		int64_t asked_at;

		if (clock_ms() + interval_s * 1000ull >= until_ms)
			return ended("expired_token", err);
		if (pause_cancelled(run->flow.cancel_fd, interval_s * 1000ull))
			return error_set(err, ERR_INTERRUPTED, "given up");
		asked_at = clock_unix();
		rc = poll_once(run, device, &interval_s, &answer, err);
		if (rc == 0)
			rc = auth_login_store(run, &answer, asked_at, err);
		auth_oauth_answer_fini(&answer);
		if (rc != PENDING)
			return rc;
	}
}

int auth_login_by_code(struct auth_login_run *run, struct error *err)
{
	struct auth_device device = {0};
	int rc;

	if (!run->flow.config->device_url) {
		error_set(err, ERR_CONFIG, "device_url is missing");
		error_hint(err, "give it, or `authority` and `tenant`, or `provider`");
		return ERR_CONFIG;
	}
	rc = auth_url_check(run->flow.config->device_url, err);
	rc = rc ? rc : device_ask(run, &device, err);
	if (rc == 0) {
		const struct auth_login_prompt prompt = {
			.url = device.url, .user_code = device.user_code, .expires_in_s = device.expires_in_s};

		run->login->prompt(run->login->ctx, &prompt);
		rc = wait_for_person(run, &device, err);
	}
	auth_device_fini(&device);
	return rc;
}
