/* SPDX-License-Identifier: GPL-2.0-or-later */
/* src/auth against a token endpoint on loopback that answers what each test says, and a clock that tests turn. */
#include "src/auth/aadsts.h"
#include "src/auth/assertion.h"
#include "src/auth/auth.h"
#include "src/auth/helper.h"
#include "src/auth/internal.h"
#include "src/auth/jwt.h"
#include "src/auth/store.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <arpa/inet.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define SECRET "the~secret/value+of.the app"
#define SECRET_ESCAPED "the~secret%2Fvalue%2Bof.the%20app"
#define MAYBE_STALL_MS 20000

/* The endpoint */

struct endpoint {
	int listen_fd, stop_fd[2];
	uint16_t port;
	pthread_t thread;
	atomic_uint requests;
	pthread_mutex_t lock; /* guards what follows */
	char *head, *body;    /* of the answer; head NULL = stall */
	bool numbered;	      /* "%u" in the body becomes the number of the request */
	char *request;	      /* the last one */
};

static void endpoint_answer(struct endpoint *endpoint, const char *head, const char *body)
{
	pthread_mutex_lock(&endpoint->lock);
	g_free(endpoint->head);
	g_free(endpoint->body);
	endpoint->head = g_strdup(head);
	endpoint->body = g_strdup(body);
	pthread_mutex_unlock(&endpoint->lock);
}

static char *request_read(int fd)
{
	GString *request = g_string_new(NULL);
	char buffer[4096];

	for (;;) {
		ssize_t got = read(fd, buffer, sizeof(buffer));
		const char *end, *length;

		if (got <= 0)
			break;
		g_string_append_len(request, buffer, got);
		end = strstr(request->str, "\r\n\r\n");
		length = strstr(request->str, "Content-Length: ");
		if (end && length && request->len - (size_t)(end + 4 - request->str) >= g_ascii_strtoull(length + 16, NULL, 10))
			break;
	}
	return g_string_free(request, FALSE);
}

static void send_all(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		text += sent;
		length -= (size_t)sent;
	}
}

static void connection_serve(struct endpoint *endpoint, int fd)
{
	g_autofree char *request = request_read(fd);
	g_autofree char *head = NULL;
	g_autofree char *body = NULL;
	g_autofree char *number = NULL;
	unsigned serial;

	if (!strstr(request, "\r\n\r\n"))
		return;
	serial = atomic_fetch_add(&endpoint->requests, 1) + 1;
	pthread_mutex_lock(&endpoint->lock);
	g_free(endpoint->request);
	endpoint->request = g_steal_pointer(&request);
	head = g_strdup(endpoint->head);
	body = g_strdup(endpoint->body);
	pthread_mutex_unlock(&endpoint->lock);
	if (!head) {
		struct pollfd fds[] = {{.fd = endpoint->stop_fd[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};

		poll(fds, 2, MAYBE_STALL_MS);
		return;
	}
	number = g_strdup_printf("%03u", serial);
	if (strstr(body, "SERIAL")) {
		GString *text = g_string_new(body);

		g_string_replace(text, "SERIAL", number, 0);
		g_free(body);
		body = g_string_free(text, FALSE);
	}
	{
		g_autofree char *full =
			g_strdup_printf("HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", head, strlen(body));

		send_all(fd, full, strlen(full));
	}
	send_all(fd, body, strlen(body));
}

static void *endpoint_thread(void *data)
{
	struct endpoint *endpoint = data;

	for (;;) {
		struct pollfd fds[] = {
			{.fd = endpoint->stop_fd[0], .events = POLLIN}, {.fd = endpoint->listen_fd, .events = POLLIN}};
		int fd;

		poll(fds, 2, -1);
		if (fds[0].revents)
			return NULL;
		fd = accept4(endpoint->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		connection_serve(endpoint, fd);
		close(fd);
	}
}

static struct endpoint *endpoint_start(void)
{
	struct endpoint *endpoint = g_new0(struct endpoint, 1);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	pthread_mutex_init(&endpoint->lock, NULL);
	atomic_init(&endpoint->requests, 0);
	endpoint->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(endpoint->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(endpoint->listen_fd, 64), 0);
	assert_int_equal(getsockname(endpoint->listen_fd, (struct sockaddr *)&address, &length), 0);
	endpoint->port = ntohs(address.sin_port);
	assert_int_equal(pipe(endpoint->stop_fd), 0);
	pthread_create(&endpoint->thread, NULL, endpoint_thread, endpoint);
	return endpoint;
}

static void endpoint_stop(struct endpoint *endpoint)
{
	assert_int_equal(write(endpoint->stop_fd[1], "", 1), 1);
	pthread_join(endpoint->thread, NULL);
	close(endpoint->listen_fd);
	close(endpoint->stop_fd[0]);
	close(endpoint->stop_fd[1]);
	g_free(endpoint->head);
	g_free(endpoint->body);
	g_free(endpoint->request);
	g_free(endpoint);
}

/* The clock */

static atomic_ullong clock_ahead_ms;

static uint64_t test_clock(void)
{
	return clock_ms() + atomic_load(&clock_ahead_ms);
}

static void clock_turn(uint64_t seconds)
{
	atomic_fetch_add(&clock_ahead_ms, seconds * 1000);
}

/* What each test starts from */

struct fixture {
	struct loop *loop;
	struct endpoint *endpoint;
	struct auth *auth;
	char *dir;
};

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	f->loop = loop_new();
	f->endpoint = endpoint_start();
	f->dir = g_dir_make_tmp("mailtree-auth-XXXXXX", NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	GDir *dir;
	const char *name;

	auth_free(f->auth);
	endpoint_stop(f->endpoint);
	loop_free(f->loop);
	dir = g_dir_open(f->dir, 0, NULL);
	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(f->dir, name, NULL);

		g_unlink(path);
	}
	if (dir)
		g_dir_close(dir);
	g_rmdir(f->dir);
	g_free(f->dir);
	g_free(f);
	return 0;
}

static char *in_dir(const struct fixture *f, const char *name)
{
	return g_build_filename(f->dir, name, NULL);
}

static char *file_write(const struct fixture *f, const char *name, const char *text)
{
	char *path = in_dir(f, name);

	assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
	return path;
}

static struct auth_config config_of(const struct fixture *f, enum auth_method method)
{
	return (struct auth_config){
		.method = method,
		.account = g_strdup("work"),
		.user = g_strdup("olena@contoso.com"),
		.token_url = g_strdup_printf("http://127.0.0.1:%u/t/oauth2/v2.0/token", f->endpoint->port),
		.auth_url = g_strdup_printf("http://127.0.0.1:%u/t/oauth2/v2.0/authorize", f->endpoint->port),
		.device_url = g_strdup_printf("http://127.0.0.1:%u/t/oauth2/v2.0/devicecode", f->endpoint->port),
		.scope = g_strdup("https://outlook.office365.com/.default"),
		.client_id = g_strdup("the-client"),
		.state_dir = g_strdup(f->dir),
	};
}

static void auth_begin(struct fixture *f, struct auth_config *config)
{
	struct auth_tuning tuning = {.http_timeout_ms = 5000, .command_timeout_ms = 5000, .now_ms = test_clock};
	struct error err = {0};

	assert_int_equal(auth_new(f->loop, config, &f->auth, &err), 0);
	auth_tune(f->auth, &tuning);
}

/* Client credentials with a secret. */
static void app_begin(struct fixture *f)
{
	struct auth_config config = config_of(f, AUTH_CLIENT_CREDENTIALS);

	config.client_secret.value = g_strdup(SECRET);
	auth_begin(f, &config);
}

struct filled {
	bool done;
	int calls;
	int code; /* 0 = a credential came */
	char token[128];
	uint32_t generation;
	int64_t expires_at;
	enum auth_kind kind;
	struct error err;
};

static void filled_done(void *ctx, const struct credential *credential, const struct error *err)
{
	struct filled *filled = ctx;

	filled->done = true;
	filled->calls++;
	if (credential) {
		assert_null(err);
		g_strlcpy(filled->token, secret_text(credential->secret), sizeof(filled->token));
		filled->generation = credential->generation;
		filled->expires_at = credential->expires_at;
		filled->kind = credential->kind;
	} else {
		filled->code = err->code;
		filled->err = *err;
	}
}

static struct filled fill(struct fixture *f)
{
	struct filled filled = {0};

	auth_fill(f->auth, filled_done, &filled);
	loop_run_until(f->loop, &filled.done);
	assert_int_equal(filled.calls, 1);
	return filled;
}

static unsigned requests(const struct fixture *f)
{
	return atomic_load(&f->endpoint->requests);
}

#define TOKEN(life) "{\"token_type\":\"Bearer\",\"expires_in\":" life ",\"access_token\":\"token-SERIAL\"}"
#define JSON_200 "200 OK\r\nContent-Type: application/json"

static void answer_token(struct fixture *f)
{
	endpoint_answer(f->endpoint, JSON_200, TOKEN("3600"));
}

#define OAUTH_ERROR(word, text)                                                                                        \
	"{\"error\":\"" word "\",\"error_description\":\"" text                                                        \
	"\",\"trace_id\":\"t-1\",\"correlation_id\":\"c-1\"}"

static void answer_wrong_secret(struct fixture *f)
{
	endpoint_answer(f->endpoint, "401 Unauthorized\r\nContent-Type: application/json",
		OAUTH_ERROR("invalid_client",
			"AADSTS7000215: Invalid client secret provided. Trace ID: x Correlation ID: y"));
}

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
		OAUTH_ERROR("invalid_client", "AADSTS7000215: Invalid client secret provided. Trace ID: x"), ERR_SIGN_IN,
		"invalid_client: AADSTS7000215: Invalid client secret provided.", "Value, not its Secret ID"},
	{"code in error_codes only", "400 Bad Request",
		"{\"error\":\"unauthorized_client\",\"error_description\":\"no\",\"error_codes\":[700016]}", ERR_SIGN_IN,
		"unauthorized_client: no", "`client_id` and `tenant`"},
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
		"{\"error\":\"invalid_client\",\"error_description\":7,\"error_codes\":\"x\",\"trace_id\":{}}", ERR_SIGN_IN,
		"invalid_client", NULL},
	{"busy", "503 Service Unavailable", OAUTH_ERROR("temporarily_unavailable", "AADSTS90033: x"), ERR_UNREACHABLE,
		"temporarily_unavailable", NULL},
	{"busy without JSON", "502 Bad Gateway\r\nContent-Type: text/html", "<html>", ERR_UNREACHABLE, "HTTP 502", NULL},
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
	{"a token with a NUL in it", JSON_200, "{\"access_token\":\"\\u0000\"}", ERR_UNREACHABLE, NULL, NULL},
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
			assert_in_range(filled.expires_at, clock_unix() + cases[i].life_s - 10,
				clock_unix() + cases[i].life_s);
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
	"{\"token_type\":\"Bearer\",\"expires_in\":3600,\"access_token\":\"token-SERIAL\",\"refresh_token\":\"refresh-" \
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
	g_autofree char *padded = g_strconcat(text, strlen(text) % 4 == 2 ? "==" : strlen(text) % 4 == 3 ? "=" : "", NULL);

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
		assert_int_equal(EVP_DigestVerify(md, signature, length, (guchar *)signed_text, strlen(signed_text)), 1);
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
	assert_non_null(strstr(f->endpoint->request,
		"client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=ey"));
	/* another key than the certificate's */
	file = fopen(key_path, "w");
	assert_int_equal(PEM_write_PrivateKey(file, other, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	auth_expired(f->auth, 1);
	filled = fill(f);
	assert_int_equal(filled.code, ERR_SIGN_IN);
	assert_non_null(strstr(filled.err.text, "isn't the key of"));
	assert_int_equal(requests(f), 1);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
		TEST(test_retry_after),
		TEST(test_expired_in_mid_session),
		TEST(test_rejected_once),
		TEST(test_refusal_schedule),
		TEST(test_refused_by_the_endpoint),
		TEST(test_changed_secret_file_lifts_the_refusal),
		TEST(test_password_three_attempts),
		TEST(test_notify_command),
		TEST(test_token_files),
		TEST(test_token_file_is_read_again_when_it_changes),
		TEST(test_token_that_tells_its_end),
		TEST(test_helpers),
		TEST(test_helper_kills_the_group),
		TEST(test_nobody_signed_in),
		TEST(test_refresh_and_rotation),
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
