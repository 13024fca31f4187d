/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What src/auth makes credentials from: files, commands, stored tokens, certificates; and SASL's strings. */
#include "src/auth/aadsts.h"
#include "src/auth/assertion.h"
#include "src/auth/auth.h"
#include "src/auth/flow.h"
#include "src/auth/helper.h"
#include "src/auth/jwt.h"
#include "src/auth/store.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "tests/unit/auth_fixture.h"

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

/* Outside sources */

static void test_token_files(void **state)
{
	static const struct {
		const char *content, *token; /* NULL = an error */
	} cases[] = {
		{"abc", "abc"},
		{"abc\n", "abc"},
		{"  abc \t\r\nnext line\n", "abc"},
		{"\xef\xbb\xbf"
		 "abc\r\n",
			"abc"},
		{"", NULL},
		{"\n", NULL},
		{" \t\n", NULL},
		{"a b\n", NULL},
		{"a\001b\n", NULL},
		{"\xd1\x82\n", NULL},
		/* a JWT whose payload is {"exp":1} expired long ago; one that isn't JSON is none */
		{"e30.eyJleHAiOjF9.x\n", NULL},
		{"e30.e30.x\n", "e30.e30.x"},
		{"e30.!!!!.x\n", "e30.!!!!.x"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct auth_config config = config_of(f, AUTH_TOKEN_FILE);
		struct filled filled;

		config.token.file = file_write(f, "token", cases[i].content);
		auth_begin(f, &config);
		filled = fill(f);
		if (cases[i].token)
			assert_string_equal(filled.token, cases[i].token);
		else
			assert_int_equal(filled.code, ERR_SIGN_IN);
		auth_free(g_steal_pointer(&f->auth));
	}
}

static void test_token_file_is_read_again_when_it_changes(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_TOKEN_FILE);
	g_autofree char *path = in_dir(f, "token");
	g_autofree char *first = NULL;
	g_autofree char *second = NULL;

	config.token.file = g_strdup(path);
	auth_begin(f, &config);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	first = file_write(f, "token", "one\n");
	assert_string_equal(fill(f).token, "one");
	assert_string_equal(fill(f).token, "one");
	second = file_write(f, "token", "two\n");
	assert_string_equal(fill(f).token, "two");
	assert_int_equal(fill(f).generation, 2);
	/* the same expired token again is no use */
	auth_expired(f->auth, 2);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
}

static void test_token_that_tells_its_end(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_TOKEN_COMMAND);
	g_autofree char *claims = g_strdup_printf("{\"exp\":%" G_GINT64_FORMAT ".5}", clock_unix() + 1000);
	g_autofree char *payload = g_base64_encode((const guchar *)claims, strlen(claims));
	g_autofree char *count = in_dir(f, "count");
	g_autofree char *counted = NULL;
	struct filled filled;

	g_strdelimit(payload, "=", ' ');
	g_strchomp(payload);
	config.token.command = g_strdup_printf("echo >> %s; echo e30.%s.sig", count, payload);
	auth_begin(f, &config);
	filled = fill(f);
	assert_in_range(filled.expires_at, clock_unix() + 990, clock_unix() + 1000);
	clock_turn(700);
	assert_int_equal(fill(f).generation, 1);
	/* the margin is a fifth of its life */
	clock_turn(150);
	assert_int_equal(fill(f).generation, 2);
	assert_true(g_file_get_contents(count, &counted, NULL, NULL));
	assert_int_equal(strlen(counted), 2);
}

static struct error helper_error(const char *command, uint32_t timeout_ms, int code)
{
	struct auth_helper helper = {.command = command, .timeout_ms = timeout_ms, .cancel_fd = -1};
	struct secret *line = NULL;
	struct error err = {0};

	assert_int_equal(auth_helper_run(&helper, &line, &err), code);
	assert_null(line);
	return err;
}

static void assert_helper(const char *command, const char *argument, const char *wanted)
{
	struct auth_helper helper = {.command = command, .argument = argument, .timeout_ms = 10000, .cancel_fd = -1};
	struct secret *line = NULL;
	struct error err = {0};

	if (auth_helper_run(&helper, &line, &err) != 0)
		fail_msg("%s: %s", command, err.text);
	assert_string_equal(secret_text(line), wanted);
	secret_unref(line);
}

static void test_helpers(void **state)
{
	struct error err;
	uint64_t began_ms;

	(void)state;
	assert_helper("echo one; echo two", NULL, "one");
	assert_helper("printf 'no line end'", NULL, "no line end");
	assert_helper("printf 'dos\\r\\nx'", NULL, "dos");
	assert_helper("echo", "two  words; $(id)", "two  words; $(id)");
	assert_helper("readlink /proc/self/fd/0", NULL, "/dev/null");
	assert_helper("tty || :", NULL, "not a tty");
	assert_helper("(exec 2>/dev/null; exec 3</dev/tty) && echo tty || echo none", NULL, "none");
	/* only the three standard descriptors, and the one of the listing itself */
	assert_helper("ls /proc/self/fd | tr '\\n' ' '", NULL, "0 1 2 3 ");
	/* more than the pipe holds, read to the end */
	assert_helper("echo first; seq 1 100000; seq 1 100000 >&2", NULL, "first");
	/* what it leaves behind in the background isn't waited for */
	began_ms = clock_ms();
	assert_helper("sleep 3 & echo now", NULL, "now");
	assert_in_range(clock_ms() - began_ms, 0, 2500);
	err = helper_error("echo much >&2; echo; echo \"it's locked\" >&2; exit 3", 10000, ERR_SIGN_IN);
	assert_non_null(strstr(err.text, "exit status 3: it's locked"));
	err = helper_error("seq 1 100000 >&2; echo end >&2; exit 1", 10000, ERR_SIGN_IN);
	assert_string_equal(err.text, "exit status 1: end");
	err = helper_error("kill -9 $$", 10000, ERR_SIGN_IN);
	assert_non_null(strstr(err.text, "signal 9"));
	/* a script that traces itself shows what it prints */
	err = helper_error("set -x; echo a-token-nobody-may-see; false a-token-nobody-may-see", 10000, ERR_SIGN_IN);
	assert_string_equal(err.text, "exit status 1: + false [secret]");
	err = helper_error("true", 10000, ERR_SIGN_IN);
	assert_non_null(strstr(err.text, "printed nothing"));
	err = helper_error("head -c 40000 /dev/zero", 10000, ERR_SIGN_IN);
	assert_non_null(strstr(err.text, "longer than"));
	helper_error("no-such-command-anywhere", 10000, ERR_SIGN_IN);
	began_ms = clock_ms();
	helper_error("trap '' TERM; while :; do sleep 1; done", 200, ERR_TIMEOUT);
	helper_error("yes", 200, ERR_TIMEOUT);
	assert_in_range(clock_ms() - began_ms, 400, 5000);
}

static void test_helper_kills_the_group(void **state)
{
	struct fixture *f = *state;
	g_autofree char *path = in_dir(f, "pid");
	g_autofree char *command = g_strdup_printf("sleep 60 & echo $! > %s; wait", path);
	g_autofree char *text = NULL;
	g_autofree char *proc = NULL;

	helper_error(command, 300, ERR_TIMEOUT);
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	proc = g_strdup_printf("/proc/%s/stat", g_strchomp(text));
	for (unsigned i = 0; i < 5000; i++) {
		g_autofree char *stat = NULL;

		if (!g_file_get_contents(proc, &stat, NULL, NULL) || strstr(stat, ") Z "))
			return;
		g_usleep(1000);
	}
	fail_msg("the child of the command still runs");
}

/* Tokens of a person */

static void test_nobody_signed_in(void **state)
{
	static const enum auth_method methods[] = {AUTH_AUTHORIZATION_CODE, AUTH_DEVICE_CODE};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		struct auth_config config = config_of(f, methods[i]);
		struct filled filled;

		auth_begin(f, &config);
		filled = fill(f);
		assert_int_equal(filled.code, ERR_SIGN_IN);
		assert_string_equal(filled.err.hint, "run `mailtree login work`");
		assert_int_equal(requests(f), 0);
		auth_free(g_steal_pointer(&f->auth));
	}
}

static void tokens_store(struct fixture *f, const char *refresh)
{
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	struct auth_tokens tokens = {.refresh = secret_new(refresh, strlen(refresh))};
	struct error err = {0};

	assert_int_equal(auth_store_save(&config, &tokens, &err), 0);
	auth_tokens_fini(&tokens);
	auth_config_fini(&config);
}

static void assert_stored(struct fixture *f, const char *refresh, const char *access)
{
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	g_autofree char *path = auth_store_path(&config);
	struct auth_tokens tokens;
	struct error err = {0};
	struct stat st;

	assert_int_equal(auth_store_load(&config, &tokens, &err), 0);
	assert_string_equal(secret_text(tokens.refresh), refresh);
	assert_string_equal(secret_text(tokens.access), access);
	auth_tokens_fini(&tokens);
	auth_config_fini(&config);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

#define REFRESHED                                                                                                      \
	"{\"token_type\":\"Bearer\",\"expires_in\":3600,\"access_token\":\"token-SERIAL\",\"refresh_token\":"          \
	"\"refresh-"                                                                                                   \
	"SERIAL\"}"

static void test_refresh_and_rotation(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE), other;

	tokens_store(f, "refresh-000");
	endpoint_answer(f->endpoint, JSON_200, REFRESHED);
	auth_begin(f, &config);
	assert_string_equal(fill(f).token, "token-001");
	assert_non_null(strstr(f->endpoint->request, "grant_type=refresh_token&refresh_token=refresh-000&"));
	assert_stored(f, "refresh-001", "token-001");
	assert_string_equal(fill(f).token, "token-001");
	/* another process takes the stored access token while it is fresh */
	auth_free(g_steal_pointer(&f->auth));
	other = config_of(f, AUTH_DEVICE_CODE);
	auth_begin(f, &other);
	assert_string_equal(fill(f).token, "token-001");
	assert_int_equal(requests(f), 1);
	/* but not the rejected one */
	auth_rejected(f->auth, 1, "no");
	assert_string_equal(fill(f).token, "token-002");
	assert_non_null(strstr(f->endpoint->request, "refresh_token=refresh-001&"));
	assert_stored(f, "refresh-002", "token-002");
}

static void test_stored_token_serves_while_the_authority_is_down(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	int64_t now = clock_unix();
	struct auth_tokens tokens = {.refresh = secret_new("refresh-000", 11),
		.access = secret_new("stored", 6),
		.access_issued_at = now - 3500,
		.access_expires_at = now + 100};
	struct filled filled;

	assert_int_equal(auth_store_save(&config, &tokens, NULL), 0);
	auth_tokens_fini(&tokens);
	endpoint_answer(f->endpoint, "503 Service Unavailable", "{}");
	auth_begin(f, &config);
	filled = fill(f);
	assert_string_equal(filled.token, "stored");
	assert_in_range(filled.expires_at, now + 90, now + 101);
	assert_int_equal(requests(f), 1);
	/* but not once the server called it expired */
	auth_expired(f->auth, filled.generation);
	assert_int_equal(fill(f).code, ERR_UNREACHABLE);
}

static void test_refresh_waits_for_another_process(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE), other = config_of(f, AUTH_DEVICE_CODE);
	struct auth_flow flow = {.config = &other, .cancel_fd = -1, .http_timeout_ms = 1000};
	struct auth_tuning tuning = {.http_timeout_ms = 200};
	struct filled filled;
	int lock_fd = -1;

	tokens_store(f, "refresh-000");
	endpoint_answer(f->endpoint, JSON_200, REFRESHED);
	assert_int_equal(auth_store_lock(&flow, &lock_fd, NULL), 0);
	auth_begin(f, &config);
	auth_tune(f->auth, &tuning);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_TIMEOUT);
	assert_int_equal(requests(f), 0);
	auth_store_unlock(lock_fd);
	clock_turn(2);
	assert_string_equal(fill(f).token, "token-001");
	auth_config_fini(&other);
}

static void test_refresh_revoked_then_login(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	struct filled filled;

	tokens_store(f, "refresh-old");
	endpoint_answer(f->endpoint, "400 Bad Request", OAUTH_ERROR("invalid_grant", "AADSTS50173: revoked"));
	auth_begin(f, &config);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_SIGN_IN);
	assert_string_equal(filled.err.hint, "run `mailtree login work`");
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(requests(f), 1);
	/* `mailtree login` in another process: the running mount goes on */
	endpoint_answer(f->endpoint, JSON_200, REFRESHED);
	tokens_store(f, "refresh-new");
	assert_string_equal(fill(f).token, "token-002");
}

static void test_tokens_stay_with_their_endpoint(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);

	tokens_store(f, "refresh-000");
	g_free(config.client_id);
	config.client_id = g_strdup("another-client");
	auth_begin(f, &config);
	assert_int_equal(fill(f).code, ERR_SIGN_IN);
	assert_int_equal(requests(f), 0);
}

static void test_store_that_is_not_ours(void **state)
{
	static const char *const contents[] = {"", "{", "[]", "null", "{\"token_url\":1}"};
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_DEVICE_CODE);
	g_autofree char *path = auth_store_path(&config);
	struct auth_tokens tokens;
	struct error err = {0};

	for (size_t i = 0; i < G_N_ELEMENTS(contents); i++) {
		assert_true(
			g_file_set_contents_full(path, contents[i], -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
		assert_int_equal(auth_store_load(&config, &tokens, &err), 0);
		assert_null(tokens.refresh);
	}
	chmod(path, 0644);
	assert_int_equal(auth_store_load(&config, &tokens, &err), ERR_STORAGE);
	assert_int_equal(auth_store_forget(&config, &err), 0);
	assert_int_equal(auth_store_forget(&config, &err), 0);
	auth_config_fini(&config);
}

/* Configurations, URLs, SASL, assertions */

static void test_configs_refused(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 12; i++) {
		enum auth_method method = (enum auth_method)(i < 6 ? AUTH_CLIENT_CREDENTIALS : i - 6);
		struct auth_config config = config_of(f, method);
		struct error err = {0};
		char **victims[] = {&config.client_id, &config.scope, &config.token_url, &config.user, NULL, NULL};

		/* all else is there, and the secret of none of the methods but two */
		if (i < 4)
			g_clear_pointer(victims[i], g_free);
		if (i < 5)
			config.client_secret.value = g_strdup(SECRET);
		if (i == 4) {
			g_free(config.token_url);
			config.token_url = g_strdup("http://login.example.com/token");
		}
		if (method == AUTH_AUTHORIZATION_CODE)
			g_clear_pointer(&config.auth_url, g_free);
		if (method == AUTH_DEVICE_CODE)
			g_clear_pointer(&config.device_url, g_free);
		assert_int_equal(auth_new(f->loop, &config, &f->auth, &err), ERR_CONFIG);
		assert_true(g_str_has_prefix(err.text, "[work]: "));
		assert_null(f->auth);
	}
}

static void test_urls(void **state)
{
	static const struct {
		const char *url;
		bool allowed;
	} cases[] = {
		{"https://login.microsoftonline.com/t/oauth2/v2.0/token", true},
		{"HTTPS://example.com", true},
		{"http://127.0.0.1:8080/token", true},
		{"http://127.9.9.9/token", true},
		{"http://localhost/token", true},
		{"http://[::1]:80/token", true},
		{"http://example.com/token", false},
		{"http://127.0.0.1.example.com/token", false},
		{"http://localhost.example.com/token", false},
		{"http://127.0.0.1@example.com/token", false},
		{"http://127.0.0.1\\@example.com/token", false},
		{"http://[::2]/token", false},
		{"https://user:pass@example.com/", false},
		{"https://exa mple.com/", false},
		{"https:///token", false},
		{"https:token", false},
		{"ftp://127.0.0.1/", false},
		{"file:///etc/passwd", false},
		{"//example.com/", false},
		{"example.com/token", false},
		{"", false},
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		if ((auth_url_check(cases[i].url, NULL) == 0) != cases[i].allowed)
			fail_msg("%s", cases[i].url);
	assert_false(auth_host_is_loopback("128.0.0.1"));
	assert_false(auth_host_is_loopback("[]"));
	assert_false(auth_host_is_loopback(""));
	assert_true(auth_host_is_loopback("LocalHost"));
}

static void assert_sasl(struct secret *response, const char *plain, size_t length)
{
	gsize got = 0;
	g_autofree guchar *decoded = g_base64_decode(secret_text(response), &got);

	assert_int_equal(got, length);
	assert_memory_equal(decoded, plain, length);
	secret_unref(response);
}

static void test_sasl(void **state)
{
	static const char xoauth2[] = "user=olena@contoso.com\001auth=Bearer tok\001\001";
	static const char bearer[] = "n,a=o=2Cl=3Dena,\001host=imap.example\001port=993\001auth=Bearer tok\001\001";
	static const char plain[] = "\0olena\0tok";
	struct secret *token = secret_new("tok", 3);

	(void)state;
	assert_sasl(auth_sasl_xoauth2("olena@contoso.com", token), xoauth2, sizeof(xoauth2) - 1);
	assert_sasl(auth_sasl_oauthbearer("o,l=ena", "imap.example", 993, token), bearer, sizeof(bearer) - 1);
	assert_sasl(auth_sasl_plain("olena", token), plain, sizeof(plain) - 1);
	secret_unref(token);
}

static void test_aadsts(void **state)
{
	(void)state;
	for (uint32_t code = 0; code < 100000; code++) {
		const struct auth_aadsts *known = auth_aadsts_find(code);

		if (known)
			assert_true(known->code == code && *known->meaning && *known->fix);
	}
	/* found only if the table is sorted */
	assert_non_null(auth_aadsts_find(28002));
	assert_non_null(auth_aadsts_find(700027));
	assert_non_null(auth_aadsts_find(7000222));
	assert_non_null(auth_aadsts_find(9002332));
	assert_int_equal(auth_aadsts_parse("x AADSTS50196: y"), 50196);
	assert_int_equal(auth_aadsts_parse("AADSTS"), 0);
	assert_int_equal(auth_aadsts_parse("AADSTS99999999999999999999"), 0);
	assert_int_equal(auth_aadsts_parse(""), 0);
}

static void test_jwt(void **state)
{
	static const char *const none[] = {"", ".", "..", "a.b", "a..c", "a.b.c", "e30.e30.", "e30.eyJleHAiOiJ4In0.",
		"e30.eyJleHAiOi0xfQ.", "e30.eyJleHAiOjFlOTl9.", "EwB4A8l6BAAU"};
	int64_t expiry = 0;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(none); i++)
		assert_false(auth_jwt_expiry(none[i], &expiry));
	assert_true(auth_jwt_expiry("e30.eyJleHAiOjE3MDAwMDAwMDB9.sig", &expiry));
	assert_int_equal(expiry, 1700000000);
}

static void certificate_write(const struct fixture *f, EVP_PKEY *key)
{
	g_autofree char *certificate_path = in_dir(f, "cert.pem");
	g_autofree char *key_path = in_dir(f, "key.pem");
	X509 *certificate = X509_new();
	FILE *file;

	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	file = fopen(certificate_path, "w");
	assert_int_equal(PEM_write_X509(file, certificate), 1);
	fclose(file);
	file = fopen(key_path, "w");
	assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	X509_free(certificate);
}

static guchar *base64url_decode(const char *text, gsize *length_out)
{
	g_autofree char *padded = g_strconcat(text,
		strlen(text) % 4 == 2   ? "=="
		: strlen(text) % 4 == 3 ? "="
					: "",
		NULL);

	for (char *at = padded; *at; at++)
		*at = *at == '-' ? '+' : *at == '_' ? '/' : *at;
	return g_base64_decode(padded, length_out);
}

static void test_assertion(void **state)
{
	struct fixture *f = *state;
	EVP_PKEY *key = EVP_RSA_gen(2048);

	certificate_write(f, key);
	for (int rs256 = 0; rs256 < 2; rs256++) {
		struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);
		EVP_MD_CTX *md = EVP_MD_CTX_new();
		EVP_PKEY_CTX *options = NULL;
		struct secret *assertion = NULL;
		struct error err = {0};
		g_auto(GStrv) parts = NULL;
		g_autofree char *signed_text = NULL;
		g_autofree guchar *header = NULL;
		g_autofree guchar *claims = NULL;
		g_autofree guchar *signature = NULL;
		gsize length;

		config.certificate = in_dir(f, "cert.pem");
		config.certificate_key = in_dir(f, "key.pem");
		config.assertion_rs256 = rs256;
		assert_int_equal(auth_assertion_new(&config, &assertion, &err), 0);
		parts = g_strsplit(secret_text(assertion), ".", -1);
		assert_int_equal(g_strv_length(parts), 3);
		header = base64url_decode(parts[0], &length);
		assert_non_null(strstr((char *)header, rs256 ? "\"RS256\"" : "\"PS256\""));
		assert_non_null(strstr((char *)header, "\"x5t#S256\""));
		claims = base64url_decode(parts[1], &length);
		assert_non_null(strstr((char *)claims, config.token_url));
		signature = base64url_decode(parts[2], &length);
		signed_text = g_strconcat(parts[0], ".", parts[1], NULL);
		assert_int_equal(EVP_DigestVerifyInit(md, &options, EVP_sha256(), NULL, key), 1);
		if (!rs256) {
			EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
			EVP_PKEY_CTX_set_rsa_pss_saltlen(options, 32);
		}
		assert_int_equal(
			EVP_DigestVerify(md, signature, length, (guchar *)signed_text, strlen(signed_text)), 1);
		EVP_MD_CTX_free(md);
		secret_unref(assertion);
		auth_config_fini(&config);
	}
	EVP_PKEY_free(key);
}

static void test_certificate_instead_of_secret(void **state)
{
	struct fixture *f = *state;
	struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);
	EVP_PKEY *key = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
	g_autofree char *key_path = in_dir(f, "key.pem");
	struct filled filled;
	FILE *file;

	certificate_write(f, key);
	config.certificate = in_dir(f, "cert.pem");
	config.certificate_key = g_strdup(key_path);
	answer_token(f);
	auth_begin(f, &config);
	assert_int_equal(fill(f).code, 0);
	assert_non_null(strstr(f->endpoint->request, "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-"
						     "assertion-type%3Ajwt-bearer&client_assertion=ey"));
	/* another key than the certificate's */
	file = fopen(key_path, "w");
	assert_int_equal(PEM_write_PrivateKey(file, other, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	auth_expired(f->auth, 1);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_SIGN_IN);
	assert_non_null(strstr(filled.err.text, "isn't the key of"));
	assert_int_equal(requests(f), 1);
	/* a FIFO would hold up its reader for ever */
	g_unlink(key_path);
	assert_int_equal(mkfifo(key_path, 0600), 0);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_SIGN_IN);
	assert_non_null(strstr(filled.err.text, "not a regular file"));
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_token_files),
		TEST(test_token_file_is_read_again_when_it_changes),
		TEST(test_token_that_tells_its_end),
		TEST(test_helpers),
		TEST(test_helper_kills_the_group),
		TEST(test_nobody_signed_in),
		TEST(test_refresh_and_rotation),
		TEST(test_stored_token_serves_while_the_authority_is_down),
		TEST(test_refresh_waits_for_another_process),
		TEST(test_refresh_revoked_then_login),
		TEST(test_tokens_stay_with_their_endpoint),
		TEST(test_store_that_is_not_ours),
		TEST(test_configs_refused),
		TEST(test_urls),
		TEST(test_sasl),
		TEST(test_aadsts),
		TEST(test_jwt),
		TEST(test_assertion),
		TEST(test_certificate_instead_of_secret),
	};

	log_init(LOG_LEVEL_ERROR, LOG_TO_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
