/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What OAuth endpoints and browsers send: the input's first line is "STATUS CONTENT-TYPE", the rest the answer's body.
 * It is read as a token endpoint's and as a device endpoint's answer, as a token, and its first line as a redirect's.
 */
#include "src/auth/jwt.h"
#include "src/auth/login_flow.h"
#include "src/auth/oauth.h"
#include "src/auth/redirect.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/banned.h"

#define STATE "the-state"

/* Every refusal says why, in text that a terminal can show. */
static void check_error(int rc, const struct error *err)
{
	g_assert_cmpint(rc, <, 0);
	g_assert_cmpint(err->code, ==, rc);
	g_assert_true(err->text[0]);
	g_assert_true(g_utf8_validate(err->text, -1, NULL));
	g_assert_true(g_utf8_validate(err->hint, -1, NULL));
	for (const char *at = err->text; *at; at++)
		g_assert_false(g_ascii_iscntrl(*at));
}

static void check_token(const struct auth_http_reply *reply)
{
	struct auth_oauth_answer answer = {.expires_in_s = -1};
	struct error err = {0};
	int rc = auth_oauth_reply_token(reply, &answer, &err);

	if (rc == 0) {
		g_assert_cmpuint(secret_length(answer.access_token), >, 0);
		g_assert_cmpuint(secret_length(answer.access_token), <=, AUTH_TOKEN_MAX);
		for (const char *at = secret_text(answer.access_token); *at; at++)
			g_assert_true(*at > ' ' && *at <= '~');
		g_assert_true(answer.expires_in_s == -1 || answer.expires_in_s >= 1);
	} else {
		g_assert_null(answer.access_token);
		check_error(rc, &err);
	}
	auth_oauth_answer_fini(&answer);
}

static void check_device(const struct auth_http_reply *reply)
{
	struct auth_device device;
	struct error err = {0};
	int rc = auth_device_read(reply, &device, &err);

	if (rc == 0) {
		g_assert_cmpint(auth_url_check(device.url, NULL), ==, 0);
		g_assert_true(device.interval_s >= 1 && device.interval_s <= AUTH_DEVICE_INTERVAL_MAX_S);
		g_assert_true(device.expires_in_s >= 1);
		for (const char *at = device.user_code; *at; at++)
			g_assert_true(*at >= ' ' && *at <= '~');
	} else {
		check_error(rc, &err);
	}
	auth_device_fini(&device);
}

static void check_jwt(const char *text)
{
	char name[AUTH_OAUTH_NAME_MAX] = "";
	int64_t expires_at = 0;

	if (auth_jwt_expiry(text, &expires_at))
		g_assert_cmpint(expires_at, >=, 0);
	auth_jwt_name(text, name, sizeof(name));
	g_assert_true(g_utf8_validate(name, -1, NULL));
}

static void check_redirect(const char *line)
{
	struct secret *state = secret_new(STATE, strlen(STATE)), *code = NULL;
	struct error err = {0};
	enum redirect redirect = auth_redirect_parse(line, state, &code, &err);

	g_assert_cmpint(code != NULL, ==, redirect == REDIRECT_CODE);
	if (redirect == REDIRECT_CODE || redirect == REDIRECT_ERROR)
		g_assert_nonnull(strstr(line, "state="));
	if (redirect == REDIRECT_ERROR)
		check_error(ERR_SIGN_IN, &err);
	secret_unref(code);
	secret_unref(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	const uint8_t *end = memchr(data, '\n', size);
	size_t head = end ? (size_t)(end - data) : size, body = end ? head + 1 : size;
	struct auth_http_reply reply = {0};

	if (size - body > AUTH_HTTP_BODY_MAX)
		return 0;
	reply.status = strtol(text, NULL, 10) % 1000;
	reply.body = g_malloc0(size - body + 1);
	memcpy(reply.body, data + body, size - body);
	reply.length = size - body;
	text[strcspn(text, "\n")] = '\0';
	if (strchr(text, ' '))
		g_strlcpy(reply.content_type, strchr(text, ' ') + 1, sizeof(reply.content_type));
	check_token(&reply);
	check_device(&reply);
	check_jwt(reply.body);
	check_redirect(text);
	g_free(reply.body);
	return 0;
}
