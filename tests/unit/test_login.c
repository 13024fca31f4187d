/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signing in as a person: what comes back to the loopback address, the device grant, and what is stored of both. */
#include "src/auth/chance.h"
#include "src/auth/login_flow.h"
#include "src/auth/loopback.h"
#include "src/auth/redirect.h"
#include "src/auth/store.h"
#include "src/base/log.h"
#include "tests/unit/auth_fixture.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/banned.h"

#define STATE "abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE"
#define SIGNED_IN                                                                                                      \
	"{\"token_type\":\"Bearer\",\"expires_in\":3600,\"access_token\":\"token-SERIAL\",\"refresh_token\":"          \
	"\"refresh-SERIAL\"}"

/* Chance */

static void test_challenge_of_rfc_7636(void **state)
{
	struct secret *verifier = secret_new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", 43);
	g_autofree char *challenge = auth_chance_challenge(verifier);

	(void)state;
	assert_string_equal(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
	secret_unref(verifier);
}

static void test_chance_is_another_each_time(void **state)
{
	struct secret *one = NULL, *two = NULL;

	(void)state;
	assert_int_equal(auth_chance_new(&one, NULL), 0);
	assert_int_equal(auth_chance_new(&two, NULL), 0);
	assert_int_equal(secret_length(one), 43);
	assert_false(secret_equal(one, two));
	for (const char *at = secret_text(one); *at; at++)
		assert_true(g_ascii_isalnum(*at) || *at == '-' || *at == '_');
	secret_unref(one);
	secret_unref(two);
}

/* Redirects */

static enum redirect parse(const char *line, char **code_out, struct error *err)
{
	struct secret *wanted = secret_new(STATE, strlen(STATE)), *code = NULL;
	enum redirect redirect = auth_redirect_parse(line, wanted, &code, err);

	assert_int_equal(code != NULL, redirect == REDIRECT_CODE);
	*code_out = code ? g_strdup(secret_text(code)) : NULL;
	secret_unref(code);
	secret_unref(wanted);
	return redirect;
}

static void test_redirects(void **state)
{
	static const struct {
		const char *line;
		enum redirect redirect;
		const char *text; /* the code, or a part of the error */
	} cases[] = {
		{"GET /?code=1.AbC-_~&state=" STATE " HTTP/1.1", REDIRECT_CODE, "1.AbC-_~"},
		{"GET /?state=" STATE "&session_state=1&code=a%2Bb+c%2f HTTP/1.0", REDIRECT_CODE, "a+b c/"},
		{"GET /?code=x&state=" STATE "&&=&a&b= HTTP/1.1", REDIRECT_CODE, "x"},
		{"GET /?error=access_denied&error_description=AADSTS65004%3a+declined%0d%0aTrace&state=" STATE
		 " HTTP/1.1",
			REDIRECT_ERROR, "access_denied: AADSTS65004: declined"},
		{"GET /?error=x&code=y&state=" STATE " HTTP/1.1", REDIRECT_ERROR, "says x"},
		{"GET /?error=%1b[31m&state=" STATE " HTTP/1.1", REDIRECT_ERROR, "?[31m"},
		{"GET /?code=x&state=" STATE "x HTTP/1.1", REDIRECT_FOREIGN},
		{"GET /?code=x&state=" STATE "%00 HTTP/1.1", REDIRECT_BROKEN},
		{"GET /?code=x&state= HTTP/1.1", REDIRECT_FOREIGN},
		{"GET /?code=x HTTP/1.1", REDIRECT_FOREIGN},
		{"GET /?error=x HTTP/1.1", REDIRECT_FOREIGN},
		{"GET /? HTTP/1.1", REDIRECT_FOREIGN},
		{"GET /?code=&state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET /?state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET /?code=x&code=y&state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET /?code=x&state=" STATE "&state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET /?code=%zz&state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET /?code=%&state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET / HTTP/1.1", REDIRECT_BROKEN},
		{"GET /favicon.ico HTTP/1.1", REDIRECT_OTHER},
		{"GET //?code=x&state=" STATE " HTTP/1.1", REDIRECT_OTHER},
		{"GET /x?code=x&state=" STATE " HTTP/1.1", REDIRECT_OTHER},
		{"POST /?code=x&state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET http://localhost/?code=x&state=" STATE " HTTP/1.1", REDIRECT_BROKEN},
		{"GET /?code=x&state=" STATE, REDIRECT_BROKEN},
		{"GET /?code=x&state=" STATE " HTTP/2", REDIRECT_BROKEN},
		{"GET /?code=x&state=" STATE " HTTP/1.1 x", REDIRECT_BROKEN},
		{"GET ", REDIRECT_BROKEN},
		{"", REDIRECT_BROKEN},
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *code = NULL;
		struct error err = {0};

		assert_int_equal(parse(cases[i].line, &code, &err), cases[i].redirect);
		if (cases[i].redirect == REDIRECT_CODE)
			assert_string_equal(code, cases[i].text);
		else if (cases[i].text)
			assert_non_null(strstr(err.text, cases[i].text));
	}
}

static void test_redirect_cut_anywhere_is_no_code(void **state)
{
	static const char line[] = "GET /?code=1.AbC&state=" STATE " HTTP/1.1";

	(void)state;
	for (size_t length = 0; length < strlen(line); length++) {
		g_autofree char *part = g_strndup(line, length);
		g_autofree char *code = NULL;
		struct error err = {0};

		assert_int_not_equal(parse(part, &code, &err), REDIRECT_CODE);
	}
}

static void test_redirect_limits(void **state)
{
	g_autofree char *filler = g_strnfill(REDIRECT_LINE_MAX, 'a');
	g_autofree char *longest = g_strdup_printf("GET /?code=%s&state=" STATE " HTTP/1.1", filler);
	GString *many = g_string_new("GET /?state=" STATE);
	g_autofree char *code = NULL;
	struct error err = {0};

	(void)state;
	assert_int_equal(parse(longest, &code, &err), REDIRECT_BROKEN);
	for (unsigned i = 0; i < REDIRECT_PARAMETERS_MAX; i++)
		g_string_append_printf(many, "&p%u=1", i);
	g_string_append(many, "&code=x HTTP/1.1");
	assert_int_equal(parse(many->str, &code, &err), REDIRECT_BROKEN);
	g_string_free(many, TRUE);
}

/* By browser */

/* What stands in front of the screen: opens the address as a browser would, from a thread of its own. */
struct browser {
	pthread_t thread;
	bool started;
	char *url, *page;
	uint16_t port;
	const char *query; /* of the redirect; "STATE" is replaced by the real one */
	char *user_code;
};

static char *url_parameter(const char *url, const char *name)
{
	g_autofree char *wanted = g_strconcat(name, "=", NULL);
	const char *at = strchr(url, '?');

	while (at && !g_str_has_prefix(at + 1, wanted))
		at = strchr(at + 1, '&');
	assert_non_null(at);
	at += 1 + strlen(wanted);
	return g_uri_unescape_segment(at, at + strcspn(at, "&"), NULL);
}

static void *browse(void *data)
{
	struct browser *browser = data;
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(browser->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	g_autofree char *state = url_parameter(browser->url, "state");
	GString *request = g_string_new(NULL), *page = g_string_new(NULL);
	struct wire wire = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	char buffer[4096];
	ssize_t got;

	g_string_printf(request, "GET /?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", browser->query);
	g_string_replace(request, "STATE", state, 0);
	assert_int_equal(connect(wire.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	/* byte by byte: it has to wait for the whole */
	for (size_t i = 0; i < request->len; i++)
		send_all(&wire, request->str + i, 1);
	while ((got = read(wire.fd, buffer, sizeof(buffer))) > 0)
		g_string_append_len(page, buffer, got);
	close(wire.fd);
	g_string_free(request, TRUE);
	browser->page = g_string_free(page, FALSE);
	return NULL;
}

static void on_prompt(void *ctx, const struct auth_login_prompt *prompt)
{
	struct browser *browser = ctx;

	browser->url = g_strdup(prompt->url);
	browser->port = prompt->port;
	browser->user_code = g_strdup(prompt->user_code);
	browser->started = prompt->port != 0;
	if (browser->started)
		assert_int_equal(pthread_create(&browser->thread, NULL, browse, browser), 0);
}

static int sign_in(
	const struct auth_config *config, struct browser *browser, struct auth_login_result *result, struct error *err)
{
	const struct auth_login login = {.prompt = on_prompt, .ctx = browser, .cancel_fd = -1};
	int rc = auth_login(config, &login, result, err);

	if (browser->started)
		pthread_join(browser->thread, NULL);
	return rc;
}

static void browser_fini(struct browser *browser)
{
	g_free(browser->url);
	g_free(browser->page);
	g_free(browser->user_code);
}

static char *form_value(const char *request, const char *name)
{
	g_autofree char *url = g_strconcat("?", strstr(request, "\r\n\r\n") + 4, NULL);

	return url_parameter(url, name);
}

static void test_by_browser(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_AUTHORIZATION_CODE);
	struct browser browser = {.query = "code=the.code&state=STATE"};
	struct auth_login_result result;
	struct error err = {0};
	struct auth_tokens tokens;
	struct secret *verifier;
	g_autofree char *challenge = NULL;
	g_autofree char *told = NULL;
	g_autofree char *text = NULL;
	g_autofree char *redirect = NULL;

	endpoint_answer(f->endpoint, JSON_200, SIGNED_IN);
	assert_int_equal(sign_in(&config, &browser, &result, &err), 0);
	assert_true(result.renewable);
	assert_int_equal(result.life_s, 3600);
	assert_non_null(strstr(browser.page, "200 OK"));
	/* the verifier is the one that was announced, and the redirect the same */
	text = form_value(f->endpoint->request, "code_verifier");
	verifier = secret_new(text, strlen(text));
	challenge = auth_chance_challenge(verifier);
	told = url_parameter(browser.url, "code_challenge");
	assert_string_equal(challenge, told);
	redirect = url_parameter(browser.url, "redirect_uri");
	g_free(g_steal_pointer(&text));
	text = form_value(f->endpoint->request, "redirect_uri");
	assert_string_equal(redirect, text);
	assert_non_null(strstr(f->endpoint->request, "grant_type=authorization_code&code=the.code&"));
	assert_null(strstr(browser.url, secret_text(verifier)));
	assert_null(strstr(browser.page, "the.code"));
	assert_int_equal(auth_store_load(&config, &tokens, &err), 0);
	assert_string_equal(secret_text(tokens.refresh), "refresh-001");
	auth_tokens_fini(&tokens);
	secret_unref(verifier);
	browser_fini(&browser);
	auth_config_fini(&config);
}

static void test_by_browser_refused(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_AUTHORIZATION_CODE);
	struct browser declined = {.query = "error=access_denied&error_description=%3Cb%3E&state=STATE"};
	struct browser wrong = {.query = "code=echoed-by-the-server&state=STATE"};
	struct auth_login_result result;
	struct error err = {0};

	assert_int_equal(sign_in(&config, &declined, &result, &err), ERR_SIGN_IN);
	assert_non_null(strstr(declined.page, "&lt;b&gt;"));
	assert_int_equal(requests(f), 0);
	endpoint_answer(
		f->endpoint, "400 Bad Request", OAUTH_ERROR("invalid_grant", "no such code: echoed-by-the-server"));
	assert_int_equal(sign_in(&config, &wrong, &result, &err), ERR_SIGN_IN);
	assert_non_null(strstr(wrong.page, "400 Bad Request"));
	assert_null(strstr(wrong.page, "echoed-by-the-server"));
	assert_null(strstr(err.text, "echoed-by-the-server"));
	browser_fini(&declined);
	browser_fini(&wrong);
	auth_config_fini(&config);
}

static void test_given_up(void **state)
{
	struct secret *wanted = secret_new(STATE, strlen(STATE)), *code = NULL;
	struct auth_loopback *loopback;
	struct error err = {0};
	int pipes[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(auth_loopback_open(0, &loopback, &err), 0);
	assert_int_equal(auth_loopback_wait(loopback, wanted, 50, pipes[0], &code, &err), ERR_SIGN_IN);
	assert_int_equal(write(pipes[1], "", 1), 1);
	assert_int_equal(auth_loopback_wait(loopback, wanted, 20000, pipes[0], &code, &err), ERR_INTERRUPTED);
	/* its port is taken as long as it is open */
	assert_int_equal(
		auth_loopback_open(auth_loopback_port(loopback), &(struct auth_loopback *){NULL}, &err), ERR_FAILED);
	auth_loopback_close(loopback);
	close(pipes[0]);
	close(pipes[1]);
	secret_unref(wanted);
}

/* By code */

static int device_of(const char *body, struct auth_device *device, struct error *err)
{
	struct auth_http_reply reply = {.status = 200, .body = (char *)body, .length = strlen(body)};

	return auth_device_read(&reply, device, err);
}

#define DEVICE(code, user, uri, more)                                                                                  \
	"{\"device_code\":\"" code "\",\"user_code\":\"" user "\",\"" uri "\":\"https://login.example/device\"" more "}"

static void test_device_answers(void **state)
{
	static const struct {
		const char *body;
		int rc;
		uint32_t interval_s;
		int64_t expires_in_s;
	} cases[] = {
		{DEVICE("d", "ABC", "verification_uri", ""), 0, 5, 900},
		{DEVICE("d", "ABC-DEF", "verification_url", ",\"interval\":2,\"expires_in\":60"), 0, 2, 60},
		{DEVICE("d", "ABC", "verification_uri", ",\"interval\":1e9,\"expires_in\":\"1e9\""), 0, 60, 900},
		{DEVICE("d", "ABC", "verification_uri", ",\"interval\":-1,\"expires_in\":[]"), 0, 5, 900},
		{DEVICE("", "ABC", "verification_uri", ""), ERR_UNREACHABLE},
		{DEVICE("d", "", "verification_uri", ""), ERR_UNREACHABLE},
		{DEVICE("d", "A\\u001b[2J", "verification_uri", ""), ERR_UNREACHABLE},
		{DEVICE("d", "\\u202e", "verification_uri", ""), ERR_UNREACHABLE},
		{DEVICE("d", "ABC", "message", ""), ERR_UNREACHABLE},
		{"{\"device_code\":\"d\",\"user_code\":\"A\",\"verification_uri\":\"http://login.example/\"}",
			ERR_UNREACHABLE},
		{"{\"device_code\":\"d\",\"user_code\":\"A\",\"verification_uri\":\"javascript:alert(1)\"}",
			ERR_UNREACHABLE},
		{"{\"device_code\":\"d\",\"user_code\":\"A\",\"verification_uri\":\"https://a/\\u001b[2J\"}",
			ERR_UNREACHABLE},
		{"{\"device_code\":1,\"user_code\":2,\"verification_uri\":3}", ERR_UNREACHABLE},
		{"{\"error\":\"invalid_client\"}", ERR_SIGN_IN},
		{"{}", ERR_UNREACHABLE},
		{"[]", ERR_UNREACHABLE},
		{"<html>", ERR_UNREACHABLE},
		{"", ERR_UNREACHABLE},
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct auth_device device;
		struct error err = {0};

		assert_int_equal(device_of(cases[i].body, &device, &err), cases[i].rc);
		if (cases[i].rc == 0) {
			assert_int_equal(device.interval_s, cases[i].interval_s);
			assert_int_equal(device.expires_in_s, cases[i].expires_in_s);
		} else {
			assert_true(err.text[0] != '\0');
			assert_null(device.code);
		}
		auth_device_fini(&device);
	}
}

static void test_device_answer_too_long(void **state)
{
	g_autofree char *code = g_strnfill(AUTH_DEVICE_CODE_MAX + 1, 'a'),
			*user = g_strnfill(AUTH_USER_CODE_MAX + 1, 'A');
	g_autofree char *one = g_strdup_printf(
		"{\"device_code\":\"%s\",\"user_code\":\"A\",\"verification_uri\":\"https://a/\"}", code);
	g_autofree char *two = g_strdup_printf(
		"{\"device_code\":\"a\",\"user_code\":\"%s\",\"verification_uri\":\"https://a/\"}", user);
	struct auth_device device;
	struct error err = {0};

	(void)state;
	assert_int_equal(device_of(one, &device, &err), ERR_UNREACHABLE);
	assert_int_equal(device_of(two, &device, &err), ERR_UNREACHABLE);
}

static void test_by_code(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	struct browser browser = {0};
	struct auth_login_result result;
	struct error err = {0};
	struct auth_tokens tokens;

	/* the same answer serves the device endpoint and the token endpoint */
	endpoint_answer(f->endpoint, JSON_200,
		"{\"device_code\":\"the-device\",\"user_code\":\"ABC-DEF\",\"verification_uri\":\"https://a/"
		"\",\"interval\":1,"
		"\"token_type\":\"Bearer\",\"access_token\":\"token\"}");
	assert_int_equal(sign_in(&config, &browser, &result, &err), 0);
	assert_string_equal(browser.user_code, "ABC-DEF");
	assert_string_equal(browser.url, "https://a/");
	assert_int_equal(requests(f), 2);
	assert_non_null(strstr(f->endpoint->request, "device_code=the-device&client_id=the-client"));
	assert_false(result.renewable);
	assert_int_equal(auth_store_load(&config, &tokens, &err), 0);
	assert_string_equal(secret_text(tokens.access), "token");
	assert_null(tokens.refresh);
	auth_tokens_fini(&tokens);
	browser_fini(&browser);
	auth_config_fini(&config);
}

static void test_methods_without_persons(void **state)
{
	static const enum auth_method methods[] = {
		AUTH_CLIENT_CREDENTIALS, AUTH_TOKEN_COMMAND, AUTH_TOKEN_FILE, AUTH_PASSWORD};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		struct auth_config config = config_of(f, methods[i]);
		struct browser browser = {0};
		struct auth_login_result result;
		struct error err = {0};
		bool had = true;

		assert_int_equal(sign_in(&config, &browser, &result, &err), ERR_CONFIG);
		assert_int_equal(auth_logout(&config, &had, &err), ERR_CONFIG);
		assert_false(had);
		auth_config_fini(&config);
	}
}

/* The store */

static void store(struct fixture *f, const char *refresh)
{
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	struct auth_tokens tokens = {.refresh = secret_new(refresh, strlen(refresh))};

	assert_int_equal(auth_store_save(&config, &tokens, NULL), 0);
	auth_tokens_fini(&tokens);
	auth_config_fini(&config);
}

static void assert_refresh(struct fixture *f, const char *refresh)
{
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	struct auth_flow flow = {.config = &config, .cancel_fd = -1, .http_timeout_ms = 1000};
	struct auth_tokens tokens;
	int lock_fd = -1;

	assert_int_equal(auth_store_lock(&flow, &lock_fd, NULL), 0);
	assert_int_equal(auth_store_load(&config, &tokens, NULL), 0);
	assert_string_equal(secret_text(tokens.refresh), refresh);
	auth_tokens_fini(&tokens);
	auth_store_unlock(lock_fd);
	auth_config_fini(&config);
}

/* A process that is killed anywhere in auth_store_save() leaves one of these. */
static void test_store_after_a_kill(void **state)
{
	struct fixture *f = *state;
	g_autofree char *path = in_dir(f, "work.token"), *fresh = in_dir(f, "work.token.new"), *text = NULL;
	gsize length;

	store(f, "refresh-new");
	assert_true(g_file_get_contents(path, &text, &length, NULL));
	store(f, "refresh-old");
	for (gsize cut = 0; cut <= length; cut++) {
		g_autofree char *part = g_strndup(text, cut);
		bool whole = cut == length;

		g_free(file_write(f, "work.token.new", part));
		assert_refresh(f, whole ? "refresh-new" : "refresh-old");
		assert_int_equal(g_access(fresh, F_OK), -1);
	}
}

static void test_store_after_a_kill_of_another_client(void **state)
{
	struct fixture *f = *state;
	g_autofree char *fresh = NULL;

	store(f, "refresh-old");
	fresh = file_write(f, "work.token.new",
		"{\"token_url\":\"https://a/\",\"client_id\":\"b\",\"refresh_token\":\"refresh-b\"}");
	assert_refresh(f, "refresh-old");
	assert_int_equal(g_access(fresh, F_OK), -1);
}

static void test_refresh_token_that_cannot_be_stored(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	g_autofree char *fresh = in_dir(f, "work.token.new");
	struct filled filled;

	store(f, "refresh-000");
	/* what stands in the way can't be removed like a file */
	assert_int_equal(g_mkdir(fresh, 0700), 0);
	endpoint_answer(f->endpoint, JSON_200, SIGNED_IN);
	auth_begin(f, &config);
	filled = fill(f);
	assert_string_equal(filled.token, "token-001");
	assert_refresh(f, "refresh-000");
	auth_expired(f->auth, filled.generation);
	filled = fill(f);
	assert_string_equal(filled.token, "token-002");
	assert_non_null(strstr(f->endpoint->request, "refresh_token=refresh-001&"));
	assert_int_equal(g_rmdir(fresh), 0);
	auth_expired(f->auth, filled.generation);
	assert_string_equal(fill(f).token, "token-003");
	assert_non_null(strstr(f->endpoint->request, "refresh_token=refresh-002&"));
	assert_refresh(f, "refresh-003");
}

/* A sign-in meanwhile is newer than what is in memory. */
static void test_login_counts_more_than_what_was_not_stored(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	g_autofree char *fresh = in_dir(f, "work.token.new");
	struct filled filled;

	store(f, "refresh-000");
	assert_int_equal(g_mkdir(fresh, 0700), 0);
	endpoint_answer(f->endpoint, JSON_200, SIGNED_IN);
	auth_begin(f, &config);
	filled = fill(f);
	assert_int_equal(g_rmdir(fresh), 0);
	store(f, "refresh-of-login");
	auth_expired(f->auth, filled.generation);
	assert_string_equal(fill(f).token, "token-002");
	assert_non_null(strstr(f->endpoint->request, "refresh_token=refresh-of-login&"));
}

static void test_logout_ends_a_running_mounts_token(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE), other = config_of(f, AUTH_DEVICE_CODE);
	struct error err = {0};
	struct filled filled;
	bool had = false;

	store(f, "refresh-000");
	endpoint_answer(f->endpoint, JSON_200, SIGNED_IN);
	auth_begin(f, &config);
	assert_string_equal(fill(f).token, "token-001");
	assert_int_equal(auth_logout(&other, &had, &err), 0);
	assert_true(had);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_SIGN_IN);
	assert_string_equal(filled.err.hint, "run `mailtree login work`");
	assert_int_equal(requests(f), 1);
	assert_int_equal(auth_logout(&other, &had, &err), 0);
	assert_false(had);
	auth_config_fini(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_challenge_of_rfc_7636),
		cmocka_unit_test(test_chance_is_another_each_time),
		cmocka_unit_test(test_redirects),
		cmocka_unit_test(test_redirect_cut_anywhere_is_no_code),
		cmocka_unit_test(test_redirect_limits),
		TEST(test_by_browser),
		TEST(test_by_browser_refused),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_device_answers),
		cmocka_unit_test(test_device_answer_too_long),
		TEST(test_by_code),
		TEST(test_methods_without_persons),
		TEST(test_store_after_a_kill),
		TEST(test_store_after_a_kill_of_another_client),
		TEST(test_refresh_token_that_cannot_be_stored),
		TEST(test_login_counts_more_than_what_was_not_stored),
		TEST(test_logout_ends_a_running_mounts_token),
	};

	log_init(LOG_LEVEL_ERROR, LOG_TO_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
