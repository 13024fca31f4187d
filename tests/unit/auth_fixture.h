/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of src/auth share: a token endpoint on loopback that answers what each test says, a clock that tests
 * turn, and a fixture that holds both. A header, because each test is one source file.
 */
#pragma once

#include "src/auth/auth.h"
#include "src/auth/internal.h"
#include "src/base/loop.h"

#include <arpa/inet.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SECRET "the~secret/value+of.the app"
#define SECRET_ESCAPED "the~secret%2Fvalue%2Bof.the%20app"
#define MAYBE_STALL_MS 20000

/* The endpoint */

struct endpoint {
	int listen_fd, stop_fd[2];
	uint16_t port;
	pthread_t thread;
	SSL_CTX *tls; /* NULL = plain HTTP; set before the first request */
	atomic_uint requests;
	pthread_mutex_t lock; /* guards what follows */
	char *head, *body;    /* of the answer; head NULL = stall */
	char *request;        /* the last one */
};

static inline void endpoint_answer(struct endpoint *endpoint, const char *head, const char *body)
{
	pthread_mutex_lock(&endpoint->lock);
	g_free(endpoint->head);
	g_free(endpoint->body);
	endpoint->head = g_strdup(head);
	endpoint->body = g_strdup(body);
	pthread_mutex_unlock(&endpoint->lock);
}

/* One connection; `ssl` is NULL for plain HTTP. */
struct wire {
	int fd;
	SSL *ssl;
};

static inline ssize_t wire_read(const struct wire *wire, char *buffer, size_t size)
{
	return wire->ssl ? SSL_read(wire->ssl, buffer, (int)size) : read(wire->fd, buffer, size);
}

static inline char *request_read(const struct wire *wire)
{
	GString *request = g_string_new(NULL);
	char buffer[4096];

	for (;;) {
		ssize_t got = wire_read(wire, buffer, sizeof(buffer));
		const char *end, *length;

		if (got <= 0)
			break;
		g_string_append_len(request, buffer, got);
		end = strstr(request->str, "\r\n\r\n");
		length = strstr(request->str, "Content-Length: ");
		if (end && length &&
			request->len - (size_t)(end + 4 - request->str) >= g_ascii_strtoull(length + 16, NULL, 10))
			break;
	}
	return g_string_free(request, FALSE);
}

static inline void send_all(const struct wire *wire, const char *text, size_t length)
{
	while (length) {
		ssize_t sent = wire->ssl ? SSL_write(wire->ssl, text, (int)length)
		                         : send(wire->fd, text, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		text += sent;
		length -= (size_t)sent;
	}
}

static inline void connection_serve(struct endpoint *endpoint, const struct wire *wire)
{
	g_autofree char *request = request_read(wire);
	g_autofree char *head = NULL;
	g_autofree char *body = NULL;
	g_autofree char *number = NULL;
	g_autofree char *full = NULL;
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
		struct pollfd fds[] = {
			{.fd = endpoint->stop_fd[0], .events = POLLIN}, {.fd = wire->fd, .events = POLLIN}};

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
	full = g_strdup_printf(
		"HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", head, strlen(body), body);
	send_all(wire, full, strlen(full));
}

static inline void connection_accept(struct endpoint *endpoint, int fd)
{
	struct wire wire = {.fd = fd};

	if (endpoint->tls) {
		wire.ssl = SSL_new(endpoint->tls);
		SSL_set_fd(wire.ssl, fd);
		if (SSL_accept(wire.ssl) == 1) {
			connection_serve(endpoint, &wire);
			SSL_shutdown(wire.ssl);
		}
		SSL_free(wire.ssl);
	} else {
		connection_serve(endpoint, &wire);
	}
	close(fd);
}

static inline void *endpoint_thread(void *data)
{
	struct endpoint *endpoint = data;
	sigset_t pipe_signal;

	/* a client that refuses our certificate is gone before OpenSSL has written all */
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
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
		connection_accept(endpoint, fd);
	}
}

static inline struct endpoint *endpoint_start(void)
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

static inline void endpoint_stop(struct endpoint *endpoint)
{
	assert_int_equal(write(endpoint->stop_fd[1], "", 1), 1);
	pthread_join(endpoint->thread, NULL);
	close(endpoint->listen_fd);
	close(endpoint->stop_fd[0]);
	close(endpoint->stop_fd[1]);
	SSL_CTX_free(endpoint->tls);
	g_free(endpoint->head);
	g_free(endpoint->body);
	g_free(endpoint->request);
	g_free(endpoint);
}

/* The clock */

static atomic_ullong clock_ahead_ms;

static inline uint64_t test_clock(void)
{
	return clock_ms() + atomic_load(&clock_ahead_ms);
}

static inline void clock_turn(uint64_t seconds)
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

static inline int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	f->loop = loop_new();
	f->endpoint = endpoint_start();
	f->dir = g_dir_make_tmp("mailtree-auth-XXXXXX", NULL);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
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

static inline char *in_dir(const struct fixture *f, const char *name)
{
	return g_build_filename(f->dir, name, NULL);
}

static inline char *file_write(const struct fixture *f, const char *name, const char *text)
{
	char *path = in_dir(f, name);

	assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
	return path;
}

static inline struct auth_config config_of(const struct fixture *f, enum auth_method method)
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

static inline void auth_begin(struct fixture *f, struct auth_config *config)
{
	struct auth_tuning tuning = {.http_timeout_ms = 5000, .command_timeout_ms = 5000, .now_ms = test_clock};
	struct error err = {0};

	assert_int_equal(auth_new(f->loop, config, &f->auth, &err), 0);
	auth_tune(f->auth, &tuning);
}

/* Client credentials with a secret. */
static inline void app_begin(struct fixture *f)
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

static inline void filled_done(void *ctx, const struct credential *credential, const struct error *err)
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

static inline struct filled fill(struct fixture *f)
{
	struct filled filled = {0};

	auth_fill(f->auth, filled_done, &filled);
	loop_run_until(f->loop, &filled.done);
	assert_int_equal(filled.calls, 1);
	return filled;
}

static inline unsigned requests(const struct fixture *f)
{
	return atomic_load(&f->endpoint->requests);
}

#define TOKEN(life) "{\"token_type\":\"Bearer\",\"expires_in\":" life ",\"access_token\":\"token-SERIAL\"}"
#define JSON_200 "200 OK\r\nContent-Type: application/json"

static inline void answer_token(struct fixture *f)
{
	endpoint_answer(f->endpoint, JSON_200, TOKEN("3600"));
}

#define OAUTH_ERROR(word, text)                                                                                        \
	"{\"error\":\"" word "\",\"error_description\":\"" text "\",\"trace_id\":\"t-1\",\"correlation_id\":\"c-1\"}"

static inline void answer_wrong_secret(struct fixture *f)
{
	endpoint_answer(f->endpoint, "401 Unauthorized\r\nContent-Type: application/json",
		OAUTH_ERROR("invalid_client",
			"AADSTS7000215: Invalid client secret provided. Trace ID: x Correlation ID: y"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
