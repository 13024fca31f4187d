/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state machine of src/auth: requests and answers, single flight, the life of a token, refusals. */
#include "src/auth/auth.h"
#include "src/auth/internal.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "tests/unit/auth_fixture.h"

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "src/base/banned.h"

/* Requests and answers */

static void test_success(void **state)
{
	struct fixture *f = *state;
	struct filled filled;
	struct auth_state now;

	answer_token(f);
	app_begin(f);
	filled = fill(f);
	assert_int_equal(filled.code, 0);
	assert_string_equal(filled.token, "token-001");
	assert_int_equal(filled.kind, AUTH_BEARER);
	assert_int_equal(filled.generation, 1);
	assert_in_range(filled.expires_at, clock_unix() + 3590, clock_unix() + 3600);
	assert_non_null(strstr(f->endpoint->request, "POST /t/oauth2/v2.0/token HTTP/1.1\r\n"));
	assert_non_null(strstr(f->endpoint->request, "Content-Type: application/x-www-form-urlencoded\r\n"));
	assert_string_equal(strstr(f->endpoint->request, "\r\n\r\n") + 4,
		"grant_type=client_credentials&scope=https%3A%2F%2Foutlook.office365.com%2F.default"
		"&client_id=the-client&client_secret=" SECRET_ESCAPED);
	/* the second costs nothing */
	assert_string_equal(fill(f).token, "token-001");
	auth_state(f->auth, &now);
	assert_true(now.have_token);
	assert_false(now.refused);
	assert_int_equal(now.requests, 1);
	assert_int_equal(requests(f), 1);
}

struct answer_case {
	const char *name, *head, *body;
	int code;
	const char *text, *hint; /* parts; NULL = anything */
};

static const struct answer_case answer_cases[] = {
	{"wrong secret", "401 Unauthorized",
		OAUTH_ERROR("invalid_client", "AADSTS7000215: Invalid client secret provided. Trace ID: x"),
		ERR_SIGN_IN, "invalid_client: AADSTS7000215: Invalid client secret provided.",
		"Value, not its Secret ID"},
	{"code in error_codes only", "400 Bad Request",
		"{\"error\":\"unauthorized_client\",\"error_description\":\"no\",\"error_codes\":[700016]}",
		ERR_SIGN_IN, "unauthorized_client: no", "`client_id` and `tenant`"},
	{"consent", "400 Bad Request", OAUTH_ERROR("invalid_grant", "AADSTS65001: x\\r\\nTrace ID: y"), ERR_SIGN_IN,
		"invalid_grant: AADSTS65001: x", "consent"},
	{"scope", "400 Bad Request", OAUTH_ERROR("invalid_scope", "AADSTS1002012: x"), ERR_SIGN_IN, NULL, "/.default"},
	{"unknown code", "400 Bad Request", OAUTH_ERROR("invalid_client", "AADSTS4242424: odd"), ERR_SIGN_IN,
		"AADSTS4242424: odd", "client_id"},
	{"unknown error", "400 Bad Request", OAUTH_ERROR("made_up", "why"), ERR_SIGN_IN, "made_up: why", NULL},
	{"error without a description", "400 Bad Request", "{\"error\":\"invalid_request\"}", ERR_SIGN_IN,
		"invalid_request", NULL},
	{"error of a wrong type", "400 Bad Request", "{\"error\":[1]}", ERR_SIGN_IN, "HTTP 400", NULL},
	{"description of a wrong type", "400 Bad Request",
		"{\"error\":\"invalid_client\",\"error_description\":7,\"error_codes\":\"x\",\"trace_id\":{}}",
		ERR_SIGN_IN, "invalid_client", NULL},
	{"busy", "503 Service Unavailable", OAUTH_ERROR("temporarily_unavailable", "AADSTS90033: x"), ERR_UNREACHABLE,
		"temporarily_unavailable", NULL},
	{"busy without JSON", "502 Bad Gateway\r\nContent-Type: text/html", "<html>", ERR_UNREACHABLE, "HTTP 502",
		NULL},
	{"too many requests", "429 Too Many Requests", "{}", ERR_UNREACHABLE, "HTTP 429", NULL},
	{"temporarily, with 400", "400 Bad Request", OAUTH_ERROR("temporarily_unavailable", "later"), ERR_UNREACHABLE,
		NULL, NULL},
	{"a transient code with 400", "400 Bad Request", OAUTH_ERROR("invalid_request", "AADSTS90055: x"),
		ERR_UNREACHABLE, NULL, NULL},
	{"HTML", "200 OK\r\nContent-Type: text/html", "<html><body>Hotel</body></html>", ERR_UNREACHABLE,
		"an HTML page instead of JSON", "sign-in page"},
	{"HTML that calls itself JSON", JSON_200, " \n<html>", ERR_UNREACHABLE, "an HTML page instead of JSON", NULL},
	{"HTML with 404", "404 Not Found\r\nContent-Type: text/html", "<html>", ERR_SIGN_IN, "HTTP 404", "tenant"},
	{"a redirect", "302 Found\r\nLocation: http://127.0.0.1:1/", "", ERR_UNREACHABLE, "redirected", NULL},
	{"nothing", JSON_200, "", ERR_UNREACHABLE, "an empty answer", NULL},
	{"not an object", JSON_200, "[]", ERR_UNREACHABLE, "no valid JSON", NULL},
	{"a string", JSON_200, "\"access_token\"", ERR_UNREACHABLE, "no valid JSON", NULL},
	{"something behind it", JSON_200, TOKEN("1") " {}", ERR_UNREACHABLE, "no valid JSON", NULL},
	{"cut short", JSON_200, "{\"access_token\":\"abc", ERR_UNREACHABLE, "no valid JSON", NULL},
	{"no token", JSON_200, "{}", ERR_UNREACHABLE, "no access_token", NULL},
	{"a token of a wrong type", JSON_200, "{\"access_token\":1}", ERR_UNREACHABLE, "no access_token", NULL},
	{"an empty token", JSON_200, "{\"access_token\":\"\"}", ERR_SIGN_IN, "is empty", NULL},
	{"a token with a line end in it", JSON_200, "{\"access_token\":\"a\\r\\nA1 LOGOUT\"}", ERR_SIGN_IN,
		"isn't a token", NULL},
	{"a token with a NUL in it", JSON_200, "{\"access_token\":\"\\u0000\"}", ERR_SIGN_IN, "is empty", NULL},
	{"another kind of token", JSON_200, "{\"access_token\":\"abc\",\"token_type\":\"mac\"}", ERR_SIGN_IN,
		"token_type", NULL},
	{"a token_type of a wrong type", JSON_200, "{\"access_token\":\"abc\",\"token_type\":1}", ERR_SIGN_IN,
		"token_type", NULL},
};

static void test_answers(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(answer_cases); i++) {
		const struct answer_case *c = &answer_cases[i];
		struct filled filled;

		endpoint_answer(f->endpoint, c->head, c->body);
		app_begin(f);
		filled = fill(f);
		if (filled.code != c->code || (c->text && !strstr(filled.err.text, c->text)) ||
			(c->hint && !strstr(filled.err.hint, c->hint)) || strstr(filled.err.text, "Trace ID"))
			fail_msg("%s: %d: %s (%s)", c->name, filled.code, filled.err.text, filled.err.hint);
		auth_free(g_steal_pointer(&f->auth));
	}
}

static void test_expires_in(void **state)
{
	static const struct {
		const char *body;
		int64_t life_s; /* -1 = unknown */
	} cases[] = {
		{TOKEN("3599"), 3599},
		{TOKEN("\"3599\""), 3599},
		{TOKEN("3599.9"), 3599},
		{TOKEN("1e300"), 366 * 86400},
		{TOKEN("0"), -1},
		{TOKEN("-5"), -1},
		{TOKEN("\"soon\""), -1},
		{TOKEN("\"\""), -1},
		{TOKEN("\"nan\""), -1},
		{TOKEN("null"), -1},
		{TOKEN("{}"), -1},
		{"{\"access_token\":\"token-SERIAL\"}", -1},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct filled filled;

		endpoint_answer(f->endpoint, JSON_200, cases[i].body);
		app_begin(f);
		filled = fill(f);
		assert_int_equal(filled.code, 0);
		if (cases[i].life_s < 0)
			assert_true(filled.expires_at == INT64_MAX);
		else
			assert_in_range(
				filled.expires_at, clock_unix() + cases[i].life_s - 10, clock_unix() + cases[i].life_s);
		auth_free(g_steal_pointer(&f->auth));
	}
}

static void test_huge_body(void **state)
{
	struct fixture *f = *state;
	g_autofree char *body = g_strnfill(2 * AUTH_HTTP_BODY_MAX, 'A');
	struct filled filled;

	endpoint_answer(f->endpoint, JSON_200, body);
	app_begin(f);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_UNREACHABLE);
	assert_non_null(strstr(filled.err.text, "more than 256 KiB"));
}

static void test_largest_body(void **state)
{
	struct fixture *f = *state;
	g_autofree char *padding = g_strnfill(AUTH_HTTP_BODY_MAX, ' ');
	g_autofree char *body = g_strconcat("{\"access_token\":\"abc\"}", padding, NULL);

	body[AUTH_HTTP_BODY_MAX] = '\0';
	endpoint_answer(f->endpoint, JSON_200, body);
	app_begin(f);
	assert_int_equal(fill(f).code, 0);
}

static void test_huge_token(void **state)
{
	struct fixture *f = *state;
	g_autofree char *token = g_strnfill(AUTH_TOKEN_MAX + 1, 'A');
	g_autofree char *body = g_strdup_printf("{\"access_token\":\"%s\"}", token);

	endpoint_answer(f->endpoint, JSON_200, body);
	app_begin(f);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
}

static void test_deep_json(void **state)
{
	struct fixture *f = *state;
	g_autofree char *depth = g_strnfill(100000, '[');
	g_autofree char *body = g_strdup_printf("{\"access_token\":%s", depth);

	endpoint_answer(f->endpoint, JSON_200, body);
	app_begin(f);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
}

static void test_secret_echoed(void **state)
{
	struct fixture *f = *state;
	struct filled filled;

	endpoint_answer(f->endpoint, "400 Bad Request", OAUTH_ERROR("invalid_client", "you sent " SECRET ", why?"));
	app_begin(f);
	filled = fill(f);
	assert_null(strstr(filled.err.text, SECRET));
	assert_non_null(strstr(filled.err.text, "[secret]"));
}

static void test_stall(void **state)
{
	struct auth_tuning tuning = {.http_timeout_ms = 300};
	struct fixture *f = *state;

	app_begin(f);
	auth_tune(f->auth, &tuning);
	assert_int_equal(fill(f).code, ERR_TIMEOUT);
	answer_token(f);
	clock_turn(2);
	assert_int_equal(fill(f).code, 0);
}

static void test_no_connection(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);

	g_free(config.token_url);
	config.token_url = g_strdup("http://127.0.0.1:1/token");
	config.client_secret.value = g_strdup(SECRET);
	auth_begin(f, &config);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
}

static void test_proxy_is_not_for_loopback(void **state)
{
	struct fixture *f = *state;

	g_setenv("http_proxy", "http://127.0.0.1:1/", TRUE);
	answer_token(f);
	app_begin(f);
	assert_int_equal(fill(f).code, 0);
	g_unsetenv("http_proxy");
}

static void test_ca_file_broken(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);
	struct filled filled;

	g_free(config.token_url);
	config.token_url = g_strdup_printf("https://127.0.0.1:%u/token", f->endpoint->port);
	config.client_secret.value = g_strdup(SECRET);
	config.ca_file = file_write(f, "ca.pem", "no certificate");
	auth_begin(f, &config);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_CONFIG);
	assert_non_null(strstr(filled.err.text, "ca.pem"));
}

/* TLS */

/* A key and a certificate of its own for `address`, served from now on; the path of the certificate. */
static char *tls_begin(struct fixture *f, const char *address)
{
	g_autofree char *names = g_strdup_printf("IP:%s", address);
	char *path = in_dir(f, "ca.pem");
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509 *certificate = X509_new();
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
	FILE *file = fopen(path, "w");

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_NAME_add_entry_by_txt(
		X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_add_ext(certificate, extension, -1);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(file, certificate), 1);
	fclose(file);
	f->endpoint->tls = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate(f->endpoint->tls, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(f->endpoint->tls, key), 1);
	X509_EXTENSION_free(extension);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return path;
}

static struct filled fill_by_tls(struct fixture *f, const char *ca_file)
{
	struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);
	struct filled filled;

	g_free(config.token_url);
	config.token_url = g_strdup_printf("https://127.0.0.1:%u/token", f->endpoint->port);
	config.client_secret.value = g_strdup(SECRET);
	config.ca_file = g_strdup(ca_file);
	auth_begin(f, &config);
	filled = fill(f);
	auth_free(g_steal_pointer(&f->auth));
	return filled;
}

static void test_tls_is_verified(void **state)
{
	struct fixture *f = *state;
	g_autofree char *ca = tls_begin(f, "127.0.0.1");
	struct filled filled;

	answer_token(f);
	filled = fill_by_tls(f, NULL);
	assert_int_equal(filled.code, ERR_UNREACHABLE);
	assert_non_null(strstr(filled.err.text, "certificate can't be verified"));
	assert_non_null(strstr(filled.err.hint, "ca_file"));
	/* nothing was sent */
	assert_int_equal(requests(f), 0);
	assert_string_equal(fill_by_tls(f, ca).token, "token-001");
}

static void test_tls_certificate_of_another_host(void **state)
{
	struct fixture *f = *state;
	g_autofree char *ca = tls_begin(f, "127.0.0.2");

	answer_token(f);
	assert_int_equal(fill_by_tls(f, ca).code, ERR_UNREACHABLE);
	assert_int_equal(requests(f), 0);
}

/* Single flight, cancelling, freeing */

static void test_single_flight(void **state)
{
	struct fixture *f = *state;
	struct filled filled[50] = {0};

	answer_token(f);
	app_begin(f);
	for (size_t i = 0; i < G_N_ELEMENTS(filled); i++)
		assert_non_null(auth_fill(f->auth, filled_done, &filled[i]));
	loop_run_until(f->loop, &filled[G_N_ELEMENTS(filled) - 1].done);
	for (size_t i = 0; i < G_N_ELEMENTS(filled); i++) {
		assert_int_equal(filled[i].calls, 1);
		assert_string_equal(filled[i].token, "token-001");
	}
	assert_int_equal(requests(f), 1);
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct filled kept = {0}, cancelled = {0};
	struct auth_fill *fills[2];

	answer_token(f);
	app_begin(f);
	fills[0] = auth_fill(f->auth, filled_done, &cancelled);
	fills[1] = auth_fill(f->auth, filled_done, &kept);
	assert_non_null(fills[1]);
	auth_fill_cancel(fills[0]);
	auth_fill_cancel(NULL);
	loop_run_until(f->loop, &kept.done);
	assert_false(cancelled.done);
}

static void test_free_while_a_request_stalls(void **state)
{
	struct fixture *f = *state;
	struct filled filled = {0};
	uint64_t began_ms = clock_ms();

	app_begin(f);
	assert_non_null(auth_fill(f->auth, filled_done, &filled));
	while (requests(f) == 0)
		g_usleep(1000);
	auth_free(g_steal_pointer(&f->auth));
	/* the request was given up, not waited for */
	assert_in_range(clock_ms() - began_ms, 0, 1500);
	assert_false(filled.done);
}

static void test_free_while_a_command_runs(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_TOKEN_COMMAND);
	g_autofree char *path = in_dir(f, "started");
	struct filled filled = {0};

	config.token.command = g_strdup_printf("echo > %s; sleep 60; echo token", path);
	auth_begin(f, &config);
	assert_non_null(auth_fill(f->auth, filled_done, &filled));
	while (!g_file_test(path, G_FILE_TEST_EXISTS))
		g_usleep(1000);
	auth_free(g_steal_pointer(&f->auth));
	assert_false(filled.done);
}

struct freeing {
	struct fixture *f;
	bool done;
};

static void free_auth(void *ctx, const struct credential *credential, const struct error *err)
{
	struct freeing *freeing = ctx;

	(void)err;
	assert_non_null(credential);
	auth_free(g_steal_pointer(&freeing->f->auth));
	assert_non_null(secret_text(credential->secret));
	freeing->done = true;
}

static void test_free_in_the_callback(void **state)
{
	struct fixture *f = *state;
	struct freeing freeing = {f, false};
	struct filled never = {0};

	answer_token(f);
	app_begin(f);
	auth_fill(f->auth, free_auth, &freeing);
	auth_fill(f->auth, filled_done, &never);
	loop_run_until(f->loop, &freeing.done);
	assert_false(never.done);
}

/* Life of a token */

static void test_renewed_within_the_margin(void **state)
{
	struct fixture *f = *state;

	answer_token(f);
	app_begin(f);
	assert_string_equal(fill(f).token, "token-001");
	/* min(300 s, a fifth of 3,600 s) before the end */
	clock_turn(3290);
	assert_string_equal(fill(f).token, "token-001");
	clock_turn(20);
	assert_string_equal(fill(f).token, "token-002");
	assert_int_equal(fill(f).generation, 2);
}

static void test_margin_of_a_short_life(void **state)
{
	struct fixture *f = *state;

	endpoint_answer(f->endpoint, JSON_200, TOKEN("100"));
	app_begin(f);
	assert_string_equal(fill(f).token, "token-001");
	clock_turn(75);
	assert_string_equal(fill(f).token, "token-001");
	clock_turn(10);
	assert_string_equal(fill(f).token, "token-002");
}

static void test_used_to_its_end_while_the_authority_is_down(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	answer_token(f);
	app_begin(f);
	assert_string_equal(fill(f).token, "token-001");
	endpoint_answer(f->endpoint, "503 Service Unavailable", "{}");
	clock_turn(3400);
	assert_string_equal(fill(f).token, "token-001");
	before = requests(f);
	/* a backoff: no request for each fill */
	assert_string_equal(fill(f).token, "token-001");
	assert_int_equal(requests(f), before);
	clock_turn(300);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
	answer_token(f);
	clock_turn(70);
	assert_int_equal(fill(f).code, 0);
}

static void test_a_stalling_authority_does_not_hold_up_a_good_token(void **state)
{
	struct auth_tuning tuning = {.patience_ms = 100};
	struct fixture *f = *state;
	uint64_t began_ms;

	answer_token(f);
	app_begin(f);
	auth_tune(f->auth, &tuning);
	assert_string_equal(fill(f).token, "token-001");
	endpoint_answer(f->endpoint, NULL, NULL);
	clock_turn(3400);
	began_ms = clock_ms();
	assert_string_equal(fill(f).token, "token-001");
	assert_string_equal(fill(f).token, "token-001");
	assert_in_range(clock_ms() - began_ms, 50, 3000);
}

static void test_backoff_and_recovery(void **state)
{
	struct fixture *f = *state;
	struct filled filled;

	endpoint_answer(f->endpoint, "503 Service Unavailable", "{}");
	app_begin(f);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
	assert_int_equal(requests(f), 1);
	clock_turn(2);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
	assert_int_equal(requests(f), 2);
	answer_token(f);
	clock_turn(3);
	filled = fill(f);
	assert_int_equal(filled.code, 0);
	assert_string_equal(filled.token, "token-003");
}

/* Stands still unless turned. */
static uint64_t frozen_clock(void)
{
	return atomic_load(&clock_ahead_ms) + 1;
}

static void test_backoff_doubles_up_to_a_minute(void **state)
{
	static const unsigned delays_s[] = {1, 2, 4, 8, 16, 32, 60, 60};
	struct auth_tuning tuning = {.now_ms = frozen_clock};
	struct fixture *f = *state;

	endpoint_answer(f->endpoint, "503 Service Unavailable", "{}");
	app_begin(f);
	auth_tune(f->auth, &tuning);
	for (unsigned i = 0; i < G_N_ELEMENTS(delays_s); i++) {
		assert_int_equal(fill(f).code, ERR_UNREACHABLE);
		assert_int_equal(requests(f), i + 1);
		atomic_fetch_add(&clock_ahead_ms, delays_s[i] * 1000 - 1);
		assert_int_equal(fill(f).code, ERR_UNREACHABLE);
		assert_int_equal(requests(f), i + 1);
		atomic_fetch_add(&clock_ahead_ms, 1);
	}
}

static void test_retry_after(void **state)
{
	struct fixture *f = *state;

	endpoint_answer(f->endpoint, "429 Too Many Requests\r\nRetry-After: 100", "{}");
	app_begin(f);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
	answer_token(f);
	clock_turn(90);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
	clock_turn(15);
	assert_int_equal(fill(f).code, 0);
}

static void test_expired_in_mid_session(void **state)
{
	struct fixture *f = *state;
	struct auth_state now;

	answer_token(f);
	app_begin(f);
	assert_string_equal(fill(f).token, "token-001");
	auth_accepted(f->auth, 1);
	auth_expired(f->auth, 1);
	auth_expired(f->auth, 1);
	assert_string_equal(fill(f).token, "token-002");
	/* late news of the first */
	auth_expired(f->auth, 1);
	auth_rejected(f->auth, 1, "late");
	assert_string_equal(fill(f).token, "token-002");
	auth_state(f->auth, &now);
	assert_false(now.refused);
}

/* Refusals */

static void test_rejected_once(void **state)
{
	struct fixture *f = *state;

	answer_token(f);
	app_begin(f);
	for (unsigned i = 0; i < 5; i++) {
		auth_rejected(f->auth, fill(f).generation, "AUTHENTICATE failed.");
		auth_rejected(f->auth, 1 + 2 * i, "AUTHENTICATE failed."); /* the other connections */
		assert_int_equal(fill(f).generation, 2 + 2 * i);
		auth_accepted(f->auth, 2 + 2 * i);
		auth_expired(f->auth, 2 + 2 * i);
	}
}

static void test_refusal_schedule(void **state)
{
	static const uint64_t minutes[] = {1, 5, 15, 30, 30};
	struct fixture *f = *state;
	struct auth_state now;
	struct filled filled;

	answer_token(f);
	app_begin(f);
	auth_rejected(f->auth, fill(f).generation, "AUTHENTICATE failed.");
	auth_rejected(f->auth, fill(f).generation, "AUTHENTICATE failed.");
	for (size_t i = 0; i < G_N_ELEMENTS(minutes); i++) {
		unsigned before = requests(f);

		filled = fill(f);
		assert_int_equal(filled.code, ERR_SIGN_IN);
		assert_non_null(strstr(filled.err.text, "AUTHENTICATE failed."));
		auth_state(f->auth, &now);
		assert_true(now.refused);
		clock_turn(minutes[i] * 60 - 5);
		assert_int_equal(fill(f).code, ERR_SIGN_IN);
		assert_int_equal(requests(f), before);
		clock_turn(10);
		/* one attempt, and no second one behind it */
		filled = fill(f);
		assert_int_equal(filled.code, 0);
		assert_int_equal(requests(f), before + 1);
		auth_rejected(f->auth, filled.generation, "AUTHENTICATE failed.");
	}
	auth_retry_now(f->auth);
	filled = fill(f);
	assert_int_equal(filled.code, 0);
	auth_accepted(f->auth, filled.generation);
	auth_state(f->auth, &now);
	assert_false(now.refused);
	assert_int_equal(now.last_error.code, 0);
}

static void test_refused_by_the_endpoint(void **state)
{
	struct fixture *f = *state;
	struct auth_state now;

	answer_wrong_secret(f);
	app_begin(f);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	clock_turn(50);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(requests(f), 1);
	auth_state(f->auth, &now);
	assert_true(now.refused);
	clock_turn(15);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(requests(f), 2);
	answer_token(f);
	auth_retry_now(f->auth);
	assert_int_equal(fill(f).code, 0);
}

static void test_changed_secret_file_lifts_the_refusal(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);
	g_autofree char *path = file_write(f, "secret", "wrong\r\n");
	g_autofree char *again = NULL;

	config.client_secret.file = g_strdup(path);
	answer_wrong_secret(f);
	auth_begin(f, &config);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_non_null(strstr(f->endpoint->request, "client_secret=wrong"));
	assert_null(strstr(f->endpoint->request, "client_secret=wrong%"));
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(requests(f), 1);
	answer_token(f);
	again = file_write(f, "secret", "right one\n");
	assert_int_equal(fill(f).code, 0);
	assert_non_null(strstr(f->endpoint->request, "client_secret=right%20one"));
}

static int reload(void *ctx, struct auth_config *config_out, struct error *err)
{
	struct fixture *f = ctx;
	g_autofree char *path = in_dir(f, "config");
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL) || !*text)
		return error_set(err, ERR_CONFIG, "half written");
	*config_out = config_of(f, AUTH_CLIENT_CREDENTIALS);
	config_out->client_secret.value = g_strdup(text);
	if (g_str_has_prefix(text, "another")) {
		g_free(config_out->user);
		config_out->user = g_strdup("other@contoso.com");
	}
	return 0;
}

static void test_changed_configuration_lifts_the_refusal(void **state)
{
	struct fixture *f = *state;
	g_autofree char *path = file_write(f, "config", SECRET);

	answer_wrong_secret(f);
	app_begin(f);
	auth_set_reload(f->auth, path, reload, f);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(requests(f), 1);
	answer_token(f);
	/* what can't be used, and what is for another mailbox, changes nothing */
	g_free(file_write(f, "config", ""));
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	g_free(file_write(f, "config", "another"));
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(requests(f), 1);
	g_free(file_write(f, "config", "corrected"));
	assert_string_equal(fill(f).token, "token-002");
	assert_non_null(strstr(f->endpoint->request, "client_secret=corrected"));
	assert_string_equal(auth_account(f->auth), "work");
}

static void test_refusal_of_a_configuration_that_changed_meanwhile(void **state)
{
	struct fixture *f = *state;
	g_autofree char *path = file_write(f, "config", SECRET);
	struct filled first = {0}, second = {0};

	answer_wrong_secret(f);
	app_begin(f);
	auth_set_reload(f->auth, path, reload, f);
	assert_non_null(auth_fill(f->auth, filled_done, &first));
	while (requests(f) == 0)
		g_usleep(1000);
	answer_token(f);
	g_free(file_write(f, "config", "corrected"));
	assert_non_null(auth_fill(f->auth, filled_done, &second));
	loop_run_until(f->loop, &second.done);
	assert_string_equal(first.token, "token-002");
	assert_string_equal(second.token, "token-002");
}

static void test_password_three_attempts(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_PASSWORD);
	struct filled filled;
	unsigned attempts = 0;

	config.password.value = g_strdup("correct horse");
	auth_begin(f, &config);
	assert_true(auth_is_password(f->auth));
	for (unsigned hours = 0; hours < 200; hours++) {
		filled = fill(f);
		if (filled.code == 0) {
			assert_string_equal(filled.token, "correct horse");
			assert_int_equal(filled.kind, AUTH_PASSWORD_KIND);
			auth_rejected(f->auth, filled.generation, "[AUTHENTICATIONFAILED] no");
			attempts++;
		}
		clock_turn(1800);
	}
	assert_int_equal(attempts, 3);
	assert_int_equal(requests(f), 0);
	auth_retry_now(f->auth);
	assert_int_equal(fill(f).code, 0);
}

static void test_notify_command(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);
	g_autofree char *path = in_dir(f, "notice");
	g_autofree char *text = NULL;

	config.client_secret.value = g_strdup(SECRET);
	config.notify_command = g_strdup_printf("printf '%%s\\n' >> %s", path);
	answer_wrong_secret(f);
	auth_begin(f, &config);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(fill(f).code, ERR_SIGN_IN);
		clock_turn(3600);
	}
	for (unsigned i = 0; i < 5000 && (!g_file_get_contents(path, &text, NULL, NULL) || !*text); i++) {
		g_clear_pointer(&text, g_free);
		g_usleep(1000);
	}
	assert_non_null(strstr(text, "work: "));
	assert_non_null(strstr(text, "AADSTS7000215"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_success),
		TEST(test_answers),
		TEST(test_expires_in),
		TEST(test_huge_body),
		TEST(test_largest_body),
		TEST(test_huge_token),
		TEST(test_deep_json),
		TEST(test_secret_echoed),
		TEST(test_stall),
		TEST(test_no_connection),
		TEST(test_proxy_is_not_for_loopback),
		TEST(test_ca_file_broken),
		TEST(test_tls_is_verified),
		TEST(test_tls_certificate_of_another_host),
		TEST(test_single_flight),
		TEST(test_cancel),
		TEST(test_free_while_a_request_stalls),
		TEST(test_free_while_a_command_runs),
		TEST(test_free_in_the_callback),
		TEST(test_renewed_within_the_margin),
		TEST(test_margin_of_a_short_life),
		TEST(test_used_to_its_end_while_the_authority_is_down),
		TEST(test_a_stalling_authority_does_not_hold_up_a_good_token),
		TEST(test_backoff_and_recovery),
		TEST(test_backoff_doubles_up_to_a_minute),
		TEST(test_retry_after),
		TEST(test_expired_in_mid_session),
		TEST(test_rejected_once),
		TEST(test_refusal_schedule),
		TEST(test_refused_by_the_endpoint),
		TEST(test_changed_secret_file_lifts_the_refusal),
		TEST(test_changed_configuration_lifts_the_refusal),
		TEST(test_refusal_of_a_configuration_that_changed_meanwhile),
		TEST(test_password_three_attempts),
		TEST(test_notify_command),
	};

	log_init(LOG_LEVEL_ERROR, LOG_TO_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
