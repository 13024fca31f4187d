/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream over libcurl's CONNECT_ONLY, without credentials: names, addresses, TCP and TLS are
 * libcurl's, the dialogue is ours.
 *
 * Implicit TLS and plain connections use an https:// or http:// URL without ALPN: libcurl then
 * stops after the handshake with the greeting unread. For STARTTLS it must speak some IMAP itself
 * (imap:// with USE_SSL): greeting, CAPABILITY, STARTTLS, CAPABILITY. What it learned there we ask
 * again: bytes behind its last line are lost inside libcurl, and nothing from before TLS counts.
 *
 * Each stream has a multi handle of its own, in which the easy handle stays for life:
 * curl_easy_send() fails once it is removed.
 */
#include "imap/stream.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/roots.h"

#include <curl/curl.h>
#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "src/base/banned.h"

#define KEEPALIVE_IDLE_S 60l
#define KEEPALIVE_EACH_S 15l
#define KEEPALIVE_PROBES 4
#define READ_BYTES_MAX (256l * 1024l) /* libcurl's own bound on one read */
#define TLS_READ_AHEAD_BYTES (128u * 1024u)
#define ROOTS_AFTER_MS 1u    /* when the connection is on its way */
#define SERVER_LINE_MAX 256u /* of what the server said before STARTTLS, for the error's text */

struct socket_watch {
	struct curl_stream *owner;
	curl_socket_t fd;
	struct loop_watch *watch;
};

enum state { CONNECTING, CONNECTED, FAILED };

struct curl_stream {
	struct stream stream;
	struct loop *loop;
	CURLM *multi;
	CURL *easy;
	CURLU *url;
	struct loop_timer *timer;
	struct loop_timer *roots_timer;
	GPtrArray *sockets; /* struct socket_watch*, while libcurl connects */
	struct loop_watch *watch;
	curl_socket_t fd;
	enum state state;
	bool want_write;
	bool drained; /* the last read found nothing: poll() tells the next */
	bool in_watch;
	unsigned events; /* that the watch asks for */
	enum stream_tls tls;
	char *host;
	uint16_t port;
	char *ca_file;
	bool ca_file_unreadable;
	struct error err;
	char curl_text[CURL_ERROR_SIZE];
	char server_line[SERVER_LINE_MAX];
};

static struct curl_stream *of(struct stream *s)
{
	return (struct curl_stream *)s;
}

/* ---- what went wrong ---- */

static void certificate_error(struct curl_stream *c)
{
	long verify = 0;

	curl_easy_getinfo(c->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
	/* libcurl says UNSPECIFIED until the chain is verified and the name compared */
	if (verify != X509_V_OK && verify != X509_V_ERR_UNSPECIFIED) {
		error_set(&c->err, ERR_UNREACHABLE, "%s:%u: its certificate isn't trusted: %s", c->host, c->port,
			X509_verify_cert_error_string(verify));
		if (verify == X509_V_ERR_CERT_HAS_EXPIRED || verify == X509_V_ERR_CERT_NOT_YET_VALID)
			error_hint(&c->err, "the server needs a new certificate; is this machine's clock right?");
		else
			error_hint(&c->err, "if you know this server, put its authority's certificate (PEM) into a "
					    "file and set ca_file");
		return;
	}
	error_set(&c->err, ERR_UNREACHABLE, "%s:%u: its certificate is for another name: %s", c->host, c->port,
		c->curl_text[0] ? c->curl_text : "the names don't match");
	error_hint(&c->err, "set host to a name that the certificate has");
}

static void connect_error(struct curl_stream *c, CURLcode code)
{
	const char *text = c->curl_text[0] ? c->curl_text : curl_easy_strerror(code);
	long number = 0;

	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		error_set(&c->err, ERR_UNREACHABLE, "can't find the address of %s: no answer from DNS or no such name",
			c->host);
		error_hint(&c->err, "check the network, and `host` in the configuration");
		break;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &number);
		error_set(&c->err, ERR_UNREACHABLE, "can't connect to %s:%u: %s", c->host, c->port,
			number ? g_strerror((int)number) : text);
		break;
	case CURLE_OPERATION_TIMEDOUT:
		error_set(&c->err, ERR_TIMEOUT, "no connection to %s:%u: %s", c->host, c->port, text);
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
		certificate_error(c);
		break;
	case CURLE_SSL_CACERT_BADFILE:
		if (c->ca_file_unreadable)
			error_set(&c->err, ERR_CONFIG, "ca_file = %s: no PEM certificates can be read from it",
				c->ca_file);
		else
			error_set(&c->err, ERR_UNREACHABLE, "the system's certificates can't be read: %s", text);
		break;
	case CURLE_SSL_CONNECT_ERROR:
		error_set(&c->err, ERR_UNREACHABLE, "%s:%u: the TLS handshake failed: %s", c->host, c->port, text);
		error_hint(&c->err, "does this port speak TLS from the first byte? If not, set tls = starttls");
		break;
	case CURLE_USE_SSL_FAILED:
		error_set(&c->err, ERR_UNREACHABLE, "%s:%u: STARTTLS isn't offered or was refused", c->host, c->port);
		error_hint(&c->err, "set tls = implicit and port = 993 if the server has that");
		break;
	default:
		error_set(&c->err, ERR_UNREACHABLE, "%s:%u: %s%s%s", c->host, c->port, text,
			c->server_line[0] ? "; the server said: " : "", c->server_line);
	}
}

/* ---- connecting: libcurl's multi interface on our loop ---- */

static void socket_watch_free(gpointer data)
{
	struct socket_watch *socket = data;

	loop_watch_remove(socket->watch);
	g_free(socket);
}

static void watch_update(struct curl_stream *c);

static void connect_end(struct curl_stream *c, CURLcode code)
{
	loop_timer_cancel(c->timer);
	c->timer = NULL;
	g_ptr_array_set_size(c->sockets, 0);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &c->fd);
	if (code == CURLE_OK && c->fd != CURL_SOCKET_BAD) {
		c->state = CONNECTED;
		c->drained = true;
		watch_update(c);
	} else {
		c->state = FAILED;
		connect_error(c, code);
	}
	c->stream.ready(c->stream.ctx);
}

static void connect_step(struct curl_stream *c, curl_socket_t fd, int events)
{
	int running = 0, left = 0;
	CURLMsg *message;

	curl_multi_socket_action(c->multi, fd, events, &running);
	while ((message = curl_multi_info_read(c->multi, &left)))
		if (message->msg == CURLMSG_DONE) {
			connect_end(c, message->data.result);
			return;
		}
}

static void socket_run(void *data, unsigned events)
{
	struct socket_watch *socket = data;

	connect_step(socket->owner, socket->fd,
		(events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0));
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
	struct curl_stream *c = data;
	struct socket_watch *socket = socket_data;
	unsigned events = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);

	if (c->state != CONNECTING)
		return 0;
	if (what == CURL_POLL_REMOVE) {
		if (socket)
			g_ptr_array_remove_fast(c->sockets, socket);
		curl_multi_assign(c->multi, fd, NULL);
	} else if (socket) {
		loop_watch_set(socket->watch, events);
	} else {
		socket = g_new(struct socket_watch, 1);
		*socket = (struct socket_watch){c, fd, NULL};
		socket->watch = loop_watch_add(c->loop, fd, events, socket_run, socket);
		g_ptr_array_add(c->sockets, socket);
		curl_multi_assign(c->multi, fd, socket);
	}
	return 0;
}

static void timer_run(void *data)
{
	struct curl_stream *c = data;

	c->timer = NULL;
	connect_step(c, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long timeout_ms, void *data)
{
	struct curl_stream *c = data;

	loop_timer_cancel(c->timer);
	c->timer = NULL;
	if (timeout_ms >= 0 && c->state == CONNECTING)
		c->timer = loop_timer_add(c->loop, (uint64_t)timeout_ms, timer_run, c);
	return 0;
}

/* Lines of the server before STARTTLS, for the error's text: the last that says no. */
static size_t on_header(char *bytes, size_t size, size_t count, void *data)
{
	struct curl_stream *c = data;
	size_t length = size * count;

	if (length > 2 && (g_strstr_len(bytes, (gssize)length, "BYE") || g_strstr_len(bytes, (gssize)length, "NO ") ||
				  g_strstr_len(bytes, (gssize)length, "BAD ")))
		g_snprintf(
			c->server_line, sizeof(c->server_line), "%.*s", (int)MIN(length - 2, SERVER_LINE_MAX), bytes);
	return length;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data)
{
	return size * count;
}

static struct roots_places roots_of(const struct curl_stream *c)
{
	char *bundle = NULL, *folder = NULL;

	/* where this libcurl was built to look, whatever the handle is set to */
	curl_easy_getinfo(c->easy, CURLINFO_CAINFO, &bundle);
	curl_easy_getinfo(c->easy, CURLINFO_CAPATH, &folder);
	return (struct roots_places){bundle, folder, c->ca_file};
}

/* While the server answers the connection's first packet. */
static void roots_read(void *data)
{
	struct curl_stream *c = data;
	struct roots_places places = roots_of(c);

	c->roots_timer = NULL;
	roots_read_ahead(&places);
}

static CURLcode on_tls_context(CURL *easy, void *context, void *data)
{
	struct curl_stream *c = data;
	SSL_CTX *tls = context;
	struct roots_places places = roots_of(c);
	enum roots_problem problem;

	/*
	 * Two reads a record, of header and body, would double the system calls of a bulk fetch. Not with
	 * STARTTLS: there libcurl waits on the socket for what OpenSSL has read ahead.
	 */
	if (c->tls == STREAM_TLS_IMPLICIT) {
		SSL_CTX_set_read_ahead(tls, 1);
		SSL_CTX_set_default_read_buffer_len(tls, TLS_READ_AHEAD_BYTES);
	}
	problem = roots_use(tls, &places);
	c->ca_file_unreadable = problem == ROOTS_NO_CA_FILE;
	return problem == ROOTS_FINE ? CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}

/* ---- the stream ---- */

static ssize_t curl_stream_connect(struct stream *s, struct error *err)
{
	struct curl_stream *c = of(s);

	if (c->state == CONNECTING)
		return STREAM_AGAIN;
	if (c->state == CONNECTED)
		return 0;
	error_copy(err, &c->err);
	return c->err.code;
}

static void watch_run(void *data, unsigned events);

static void watch_update(struct curl_stream *c)
{
	/* A watch that asks for nothing would still report hang-ups, again and again. */
	unsigned events = (c->drained ? LOOP_READ : 0) | (c->want_write ? LOOP_WRITE : 0);

	/* inside watch_run() only what it ends with counts */
	if (c->in_watch || events == c->events)
		return;
	c->events = events;
	if (!events) {
		loop_watch_remove(c->watch);
		c->watch = NULL;
	} else if (c->watch) {
		loop_watch_set(c->watch, events);
	} else {
		c->watch = loop_watch_add(c->loop, c->fd, events, watch_run, c);
	}
}

static void watch_run(void *data, unsigned events)
{
	struct curl_stream *c = data;

	c->drained = false;
	c->in_watch = true;
	c->stream.ready(c->stream.ctx);
	c->in_watch = false;
	/* a reader that stopped early comes back by itself; until then silence about what it knows */
	watch_update(c);
}

static ssize_t curl_stream_read(struct stream *s, void *buffer, size_t size, struct error *err)
{
	struct curl_stream *c = of(s);
	size_t got = 0;
	CURLcode code = curl_easy_recv(c->easy, buffer, size, &got);

	if (code == CURLE_OK)
		return (ssize_t)got;
	if (code == CURLE_AGAIN) {
		c->drained = true;
		watch_update(c);
		return STREAM_AGAIN;
	}
	return error_set(err, ERR_UNREACHABLE, "the connection to %s:%u broke: %s", c->host, c->port,
		c->curl_text[0] ? c->curl_text : curl_easy_strerror(code));
}

static ssize_t curl_stream_write(struct stream *s, const void *bytes, size_t length, struct error *err)
{
	struct curl_stream *c = of(s);
	size_t sent = 0;
	CURLcode code = curl_easy_send(c->easy, bytes, MIN(length, STREAM_WRITE_MAX), &sent);

	if (code == CURLE_AGAIN || (code == CURLE_OK && sent == 0))
		return STREAM_AGAIN;
	if (code == CURLE_OK)
		return (ssize_t)sent;
	return error_set(err, ERR_UNREACHABLE, "the connection to %s:%u broke: %s", c->host, c->port,
		c->curl_text[0] ? c->curl_text : curl_easy_strerror(code));
}

static void curl_stream_want_write(struct stream *s, bool want)
{
	struct curl_stream *c = of(s);

	c->want_write = want;
	if (c->state == CONNECTED)
		watch_update(c);
}

static void curl_stream_free(struct stream *s)
{
	struct curl_stream *c = of(s);

	c->state = FAILED; /* libcurl's callbacks have nothing to say any more */
	loop_timer_cancel(c->timer);
	loop_timer_cancel(c->roots_timer);
	c->timer = c->roots_timer = NULL;
	g_ptr_array_unref(c->sockets);
	loop_watch_remove(c->watch);
	if (c->multi && c->easy)
		curl_multi_remove_handle(c->multi, c->easy);
	curl_easy_cleanup(c->easy);
	curl_multi_cleanup(c->multi);
	curl_url_cleanup(c->url);
	g_free(c->host);
	g_free(c->ca_file);
	g_free(c);
}

static const struct stream_ops curl_stream_ops = {
	.connect = curl_stream_connect,
	.read = curl_stream_read,
	.write = curl_stream_write,
	.want_write = curl_stream_want_write,
	.free = curl_stream_free,
};

static int url_set(struct curl_stream *c)
{
	static const char *const schemes[] = {
		[STREAM_TLS_IMPLICIT] = "https", [STREAM_TLS_STARTTLS] = "imap", [STREAM_TLS_NONE] = "http"};
	g_autofree char *port = g_strdup_printf("%u", c->port);
	g_autofree char *literal = strchr(c->host, ':') && c->host[0] != '[' ? g_strdup_printf("[%s]", c->host) : NULL;

	c->url = curl_url();
	return c->url && !curl_url_set(c->url, CURLUPART_SCHEME, schemes[c->tls], 0) &&
	                       !curl_url_set(c->url, CURLUPART_HOST, literal ? literal : c->host, 0) &&
	                       !curl_url_set(c->url, CURLUPART_PORT, port, 0)
	               ? 0
	               : ERR_CONFIG;
}

static int on_socket_made(void *data, curl_socket_t fd, curlsocktype purpose)
{
	int probes = KEEPALIVE_PROBES;

	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	return CURL_SOCKOPT_OK;
}

static void easy_set(struct curl_stream *c)
{
	CURL *easy = c->easy;

	curl_easy_setopt(easy, CURLOPT_CURLU, c->url);
	curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1l);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->curl_text);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, READ_BYTES_MAX);
	/* one that only listens must find out, too, that there is nobody any more: within two minutes */
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1l);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_EACH_S);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	/* the environment has no say in where mail is fetched from */
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	/* an abandoned look-up must not hold up the loop when the handle goes */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1l);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_ENABLE_ALPN, 0l);
	/* on_tls_context() gives what all connections share: libcurl would read the system's for each */
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls_context);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, c);
	if (c->tls == STREAM_TLS_STARTTLS)
		curl_easy_setopt(easy, CURLOPT_USE_SSL, (long)CURLUSESSL_ALL);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
}

static struct stream *curl_stream_open(const struct stream_factory *factory, struct loop *loop,
	const struct stream_target *target, stream_ready_fn ready, void *ctx, struct error *err)
{
	static gsize once;
	struct curl_stream *c = g_new0(struct curl_stream, 1);

	if (g_once_init_enter(&once)) {
		curl_global_init(CURL_GLOBAL_DEFAULT);
		/* curl_easy_recv() may write (TLS alerts) and doesn't guard itself against SIGPIPE */
		signal(SIGPIPE, SIG_IGN);
		g_once_init_leave(&once, 1);
	}
	c->stream = (struct stream){&curl_stream_ops, ready, ctx};
	c->loop = loop;
	c->fd = CURL_SOCKET_BAD;
	c->tls = target->tls;
	c->host = g_strdup(target->host);
	c->port = target->port;
	c->ca_file = g_strdup(target->ca_file);
	c->sockets = g_ptr_array_new_with_free_func(socket_watch_free);
	c->multi = curl_multi_init();
	c->easy = curl_easy_init();
	if (!c->multi || !c->easy) {
		error_set(err, ERR_FAILED, "libcurl gives no handle");
	} else if (url_set(c)) {
		error_set(err, ERR_CONFIG, "host = %s, port = %u: not an address", c->host, c->port);
	} else {
		easy_set(c);
		/* on_timer() is called with 0: the connection begins from the loop */
		if (curl_multi_add_handle(c->multi, c->easy) == CURLM_OK) {
			if (c->tls != STREAM_TLS_NONE)
				c->roots_timer = loop_timer_add(loop, ROOTS_AFTER_MS, roots_read, c);
			return &c->stream;
		}
		error_set(err, ERR_FAILED, "libcurl takes no handle");
	}
	curl_stream_free(&c->stream);
	return NULL;
}

const struct stream_factory stream_curl_factory = {.open = curl_stream_open};
