/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stream over libcurl, against a server thread on loopback: plain, TLS from the first byte, STARTTLS. */
#include "imap/stream.h"
#include "src/base/loop.h"

#include <arpa/inet.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define MUCH (8u * 1024u * 1024u)
#define PATIENCE_MS 10000u

struct peer {
	int listen_fd, fd;
	uint16_t port;
	SSL_CTX *context; /* NULL = no TLS */
	SSL *ssl;
	bool starttls;
	void (*talk)(struct peer *peer);
	pthread_t thread;
	uint64_t received;
	bool in_order;
};

static struct {
	char *folder, *ours, *other; /* certificates: for 127.0.0.1, for another name */
	EVP_PKEY *key;
	X509 *certificate, *other_certificate;
} files;

/* ---- the server ---- */

static void peer_send(struct peer *peer, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length) {
		ssize_t n = peer->ssl ? SSL_write(peer->ssl, at, (int)MIN(length, 1u << 20))
		                      : send(peer->fd, at, length, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		at += n;
		length -= (size_t)n;
	}
}

static ssize_t peer_receive(struct peer *peer, void *bytes, size_t size)
{
	return peer->ssl ? SSL_read(peer->ssl, bytes, (int)size) : recv(peer->fd, bytes, size, 0);
}

static void peer_say(struct peer *peer, const char *text)
{
	peer_send(peer, text, strlen(text));
}

static void peer_line(struct peer *peer)
{
	char c = 0;

	while (c != '\n' && peer_receive(peer, &c, 1) == 1)
		;
}

static void cork(struct peer *peer, int on)
{
	setsockopt(peer->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

static void tls_begin(struct peer *peer)
{
	SSL *ssl = SSL_new(peer->context);

	SSL_set_fd(ssl, peer->fd);
	if (SSL_accept(ssl) == 1) {
		peer->ssl = ssl;
		return;
	}
	SSL_free(ssl);
}

static void starttls_talk(struct peer *peer)
{
	peer_say(peer, "* OK hello\r\n");
	peer_line(peer);
	peer_say(peer, "* CAPABILITY IMAP4rev1 STARTTLS\r\nA001 OK\r\n");
	peer_line(peer);
	peer_say(peer, "A002 OK begin\r\n");
	/* session tickets and answer in one segment: whoever waits on the socket for the second waits for ever */
	cork(peer, 1);
	tls_begin(peer);
	if (!peer->ssl)
		return;
	peer_line(peer);
	peer_say(peer, "* CAPABILITY IMAP4rev1\r\n");
	peer_say(peer, "A003 OK\r\n");
	cork(peer, 0);
}

static void *peer_run(void *data)
{
	struct peer *peer = data;

	peer->fd = accept(peer->listen_fd, NULL, NULL);
	if (peer->fd < 0)
		return NULL;
	if (peer->starttls)
		starttls_talk(peer);
	else if (peer->context)
		tls_begin(peer);
	if (peer->talk && (peer->ssl || !peer->context))
		peer->talk(peer);
	if (peer->ssl) {
		SSL_shutdown(peer->ssl);
		SSL_free(peer->ssl);
	}
	close(peer->fd);
	return NULL;
}

static void peer_start(struct peer *peer)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	signal(SIGPIPE, SIG_IGN);
	peer->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(peer->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(peer->listen_fd, 1), 0);
	getsockname(peer->listen_fd, (struct sockaddr *)&address, &length);
	peer->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&peer->thread, NULL, peer_run, peer), 0);
}

static void peer_end(struct peer *peer)
{
	shutdown(peer->listen_fd, SHUT_RDWR);
	pthread_join(peer->thread, NULL);
	close(peer->listen_fd);
	SSL_CTX_free(peer->context);
}

static SSL_CTX *context_new(X509 *certificate)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, files.key), 1);
	return context;
}

/* ---- the client ---- */

struct caller {
	struct loop *loop;
	struct stream *stream;
	struct error err;
	ssize_t outcome; /* of connect, then of the last read */
	bool connected, stop, overdue;
	uint64_t received, sent, to_send;
	bool in_order, want_write;
	GString *text; /* the first bytes that came */
	unsigned char room[16384];
};

static unsigned char pattern(uint64_t at)
{
	return (unsigned char)(at * 131 + (at >> 13));
}

static void caller_write(struct caller *caller)
{
	struct error err = {0};

	while (caller->sent < caller->to_send) {
		ssize_t n;

		for (size_t i = 0; i < sizeof(caller->room); i++)
			caller->room[i] = pattern(caller->sent + i);
		n = caller->stream->ops->write(
			caller->stream, caller->room, MIN(sizeof(caller->room), caller->to_send - caller->sent), &err);
		if (n == STREAM_AGAIN)
			break;
		if (n < 0) {
			caller->outcome = n;
			caller->stop = true;
			return;
		}
		caller->sent += (uint64_t)n;
	}
	if (caller->want_write != (caller->sent < caller->to_send)) {
		caller->want_write = !caller->want_write;
		caller->stream->ops->want_write(caller->stream, caller->want_write);
	}
}

static void caller_read(struct caller *caller)
{
	unsigned char bytes[32768];
	ssize_t n;

	while ((n = caller->stream->ops->read(caller->stream, bytes, sizeof(bytes), &caller->err)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			caller->in_order = caller->in_order && bytes[i] == pattern(caller->received + (uint64_t)i);
		if (caller->text->len < 100)
			g_string_append_len(caller->text, (const char *)bytes, MIN(n, 100));
		caller->received += (uint64_t)n;
	}
	if (n == STREAM_AGAIN)
		return;
	caller->outcome = n;
	caller->stop = true;
}

static void on_ready(void *ctx)
{
	struct caller *caller = ctx;

	if (!caller->connected) {
		caller->outcome = caller->stream->ops->connect(caller->stream, &caller->err);
		if (caller->outcome == STREAM_AGAIN)
			return;
		if (caller->outcome < 0) {
			caller->stop = true;
			return;
		}
		caller->connected = true;
	}
	caller_write(caller);
	if (!caller->stop)
		caller_read(caller);
}

static void overdue(void *data)
{
	struct caller *caller = data;

	caller->overdue = caller->stop = true;
}

static void call(struct caller *caller, const struct stream_target *target, uint64_t to_send)
{
	struct loop_timer *guard;

	*caller = (struct caller){.loop = loop_new(), .to_send = to_send, .in_order = true, .text = g_string_new(NULL)};
	caller->stream = stream_curl_factory.open(
		&stream_curl_factory, caller->loop, target, on_ready, caller, &caller->err);
	assert_non_null(caller->stream);
	guard = loop_timer_add(caller->loop, PATIENCE_MS, overdue, caller);
	loop_run_until(caller->loop, &caller->stop);
	assert_false(caller->overdue);
	loop_timer_cancel(guard);
	caller->stream->ops->free(caller->stream);
	loop_free(caller->loop);
}

static void caller_fini(struct caller *caller)
{
	g_string_free(caller->text, TRUE);
}

/* ---- tests ---- */

static void say_hello(struct peer *peer)
{
	peer_say(peer, "* OK hello\r\n");
}

static void send_much(struct peer *peer)
{
	g_autofree unsigned char *bytes = g_malloc(MUCH);

	for (uint64_t i = 0; i < MUCH; i++)
		bytes[i] = pattern(i);
	peer_send(peer, bytes, MUCH);
}

static void receive_much(struct peer *peer)
{
	unsigned char room[16384];
	ssize_t n;

	peer->in_order = true;
	while (peer->received < MUCH && (n = peer_receive(peer, room, sizeof(room))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			peer->in_order = peer->in_order && room[i] == pattern(peer->received + (uint64_t)i);
		peer->received += (uint64_t)n;
	}
}

/* First it sends, though the other side sends too and nobody reads yet. */
static void send_and_receive(struct peer *peer)
{
	send_much(peer);
	receive_much(peer);
}

/* Silent until it is spoken to. */
static void receive_and_send(struct peer *peer)
{
	receive_much(peer);
	send_much(peer);
}

static void test_much_both_ways(void **unused)
{
	for (int tls = 0; tls < 2; tls++) {
		struct peer peer = {.talk = send_and_receive, .context = tls ? context_new(files.certificate) : NULL};
		struct caller caller;

		peer_start(&peer);
		call(&caller,
			&(struct stream_target){
				"127.0.0.1", peer.port, tls ? STREAM_TLS_IMPLICIT : STREAM_TLS_NONE, files.ours},
			MUCH);
		peer_end(&peer);
		assert_int_equal(caller.outcome, 0); /* end of stream */
		assert_int_equal(caller.received, MUCH);
		assert_true(caller.in_order);
		assert_int_equal(peer.received, MUCH);
		assert_true(peer.in_order);
		caller_fini(&caller);
	}
}

static void test_starttls(void **unused)
{
	struct peer peer = {.talk = receive_and_send, .context = context_new(files.certificate), .starttls = true};
	struct caller caller;

	peer_start(&peer);
	call(&caller, &(struct stream_target){"127.0.0.1", peer.port, STREAM_TLS_STARTTLS, files.ours}, MUCH);
	peer_end(&peer);
	assert_int_equal(caller.outcome, 0);
	assert_int_equal(caller.received, MUCH);
	assert_true(caller.in_order);
	assert_true(peer.in_order);
	caller_fini(&caller);
}

static void test_refusals(void **unused)
{
	const struct {
		X509 *certificate; /* NULL = no TLS there */
		const char *ca_file, *host;
		int code;
		const char *text, *hint;
	} cases[] = {
		{files.certificate, NULL, "127.0.0.1", ERR_UNREACHABLE, "isn't trusted", "ca_file"},
		{files.certificate, files.other, "127.0.0.1", ERR_UNREACHABLE, "isn't trusted", "ca_file"},
		{files.other_certificate, files.other, "127.0.0.1", ERR_UNREACHABLE, "for another name", "host"},
		{NULL, files.ours, "127.0.0.1", ERR_UNREACHABLE, "TLS handshake failed", "starttls"},
		{files.certificate, "/nonexistent", "127.0.0.1", ERR_CONFIG, "ca_file = /nonexistent", ""},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct peer peer = {
			.talk = say_hello, .context = cases[i].certificate ? context_new(cases[i].certificate) : NULL};
		struct caller caller;

		peer_start(&peer);
		call(&caller, &(struct stream_target){cases[i].host, peer.port, STREAM_TLS_IMPLICIT, cases[i].ca_file},
			0);
		peer_end(&peer);
		assert_int_equal(caller.outcome, cases[i].code);
		assert_int_equal(caller.err.code, cases[i].code);
		assert_non_null(strstr(caller.err.text, cases[i].text));
		assert_non_null(strstr(caller.err.hint, cases[i].hint));
		assert_int_equal(caller.received, 0);
		caller_fini(&caller);
	}
}

static void test_nobody_there(void **unused)
{
	struct peer peer = {.talk = say_hello};
	struct caller caller;

	/* a port that was just free */
	peer_start(&peer);
	peer_end(&peer);
	call(&caller, &(struct stream_target){"127.0.0.1", peer.port, STREAM_TLS_NONE, NULL}, 0);
	assert_int_equal(caller.outcome, ERR_UNREACHABLE);
	assert_non_null(strstr(caller.err.text, "refused"));
	caller_fini(&caller);
}

/* Neither the environment's proxies nor a netrc have a say. */
static void test_environment(void **unused)
{
	static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"};
	struct peer peer = {.talk = say_hello};
	struct caller caller;

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		g_setenv(names[i], "http://127.0.0.1:1", TRUE);
	peer_start(&peer);
	call(&caller, &(struct stream_target){"127.0.0.1", peer.port, STREAM_TLS_NONE, NULL}, 0);
	peer_end(&peer);
	assert_int_equal(caller.outcome, 0);
	assert_string_equal(caller.text->str, "* OK hello\r\n");
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		g_unsetenv(names[i]);
	caller_fini(&caller);
}

/* ---- certificates ---- */

static X509 *certificate_make(const char *names, const char *path)
{
	X509 *certificate = X509_new();
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
	FILE *file = fopen(path, "w");

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_NAME_add_entry_by_txt(
		X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)names, -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_add_ext(certificate, extension, -1);
	X509_set_pubkey(certificate, files.key);
	assert_true(X509_sign(certificate, files.key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(file, certificate), 1);
	fclose(file);
	X509_EXTENSION_free(extension);
	return certificate;
}

static int files_make(void **unused)
{
	files.folder = g_dir_make_tmp("mailtree-stream-XXXXXX", NULL);
	files.ours = g_build_filename(files.folder, "ours.pem", NULL);
	files.other = g_build_filename(files.folder, "other.pem", NULL);
	files.key = EVP_RSA_gen(2048);
	files.certificate = certificate_make("IP:127.0.0.1", files.ours);
	files.other_certificate = certificate_make("DNS:imap.example.com", files.other);
	return 0;
}

static int files_remove(void **unused)
{
	g_unlink(files.ours);
	g_unlink(files.other);
	g_rmdir(files.folder);
	X509_free(files.certificate);
	X509_free(files.other_certificate);
	EVP_PKEY_free(files.key);
	g_free(files.ours);
	g_free(files.other);
	g_free(files.folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_much_both_ways),
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_environment),
	};

	return cmocka_run_group_tests(tests, files_make, files_remove);
}
