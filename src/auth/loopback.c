/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/loopback.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/banned.h"

#define BACKLOG 16
#define PORT_ATTEMPTS 16 /* a port that is free on 127.0.0.1 may be taken on ::1 */
#define ANSWER_MS 2000

struct visitor {
	int fd; /* -1 = a free slot */
	uint64_t until_ms;
	size_t used;
	char request[LOOPBACK_REQUEST_MAX + 1];
};

struct auth_loopback {
	int listen_fds[2]; /* 127.0.0.1, ::1; -1 = none */
	uint16_t port;
	int bringer_fd; /* who brought the code or the refusal, and waits for an answer; -1 = none */
	struct visitor visitors[LOOPBACK_CONNECTIONS_MAX];
};

static int socket_listen(int family, const void *address, socklen_t length)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), saved;
	const int on = 1;

	if (fd < 0)
		return -1;
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	/* the sign-in before may have left connections in TIME_WAIT */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, address, length) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int listen_v4(uint16_t port, uint16_t *port_out)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket_listen(AF_INET, &address, length);

	if (fd >= 0 && getsockname(fd, (struct sockaddr *)&address, &length) == 0)
		*port_out = ntohs(address.sin_port);
	return fd;
}

static int listen_v6(uint16_t port)
{
	struct sockaddr_in6 address = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	return socket_listen(AF_INET6, &address, sizeof(address));
}

/* Browsers try ::1 for `localhost` first: a stranger who listens there would see the code. */
static bool listen_both(struct auth_loopback *loopback, uint16_t port)
{
	loopback->listen_fds[0] = listen_v4(port, &loopback->port);
	if (loopback->listen_fds[0] < 0)
		return false;
	loopback->listen_fds[1] = listen_v6(loopback->port);
	if (loopback->listen_fds[1] >= 0 || errno != EADDRINUSE)
		return true;
	close(loopback->listen_fds[0]);
	loopback->listen_fds[0] = -1;
	errno = EADDRINUSE;
	return false;
}

int auth_loopback_open(uint16_t port, struct auth_loopback **loopback_out, struct error *err)
{
	struct auth_loopback *loopback = g_new0(struct auth_loopback, 1);
	bool open = false;

	loopback->listen_fds[0] = loopback->listen_fds[1] = loopback->bringer_fd = -1;
	for (size_t i = 0; i < LOOPBACK_CONNECTIONS_MAX; i++)
		loopback->visitors[i].fd = -1;
	for (int attempt = 0; !open && attempt < (port ? 1 : PORT_ATTEMPTS); attempt++)
		open = listen_both(loopback, port);
	if (!open) {
		error_set(err, ERR_FAILED, "can't listen on localhost:%u: %s", port, g_strerror(errno));
		g_free(loopback);
		return ERR_FAILED;
	}
	*loopback_out = loopback;
	return 0;
}

static void visitor_drop(struct visitor *visitor)
{
	if (visitor->fd >= 0)
		close(visitor->fd);
	secret_wipe(visitor->request, visitor->used);
	visitor->fd = -1;
	visitor->used = 0;
}

void auth_loopback_close(struct auth_loopback *loopback)
{
	if (!loopback)
		return;
	for (size_t i = 0; i < LOOPBACK_CONNECTIONS_MAX; i++)
		visitor_drop(&loopback->visitors[i]);
	for (size_t i = 0; i < G_N_ELEMENTS(loopback->listen_fds); i++)
		if (loopback->listen_fds[i] >= 0)
			close(loopback->listen_fds[i]);
	if (loopback->bringer_fd >= 0)
		close(loopback->bringer_fd);
	g_free(loopback);
}

uint16_t auth_loopback_port(const struct auth_loopback *loopback)
{
	return loopback->port;
}

/* Pages */

static void page_send(int fd, const char *status, const char *title, const char *text)
{
	g_autofree char *escaped = g_markup_escape_text(text, -1);
	g_autofree char *body = g_strdup_printf(
		"<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n"
		"<title>mailtree: %s</title>\n<h1>mailtree: %s</h1>\n<p>%s</p></html>\n",
		title, title, escaped);
	g_autofree char *page = g_strdup_printf("HTTP/1.1 %s\r\nContent-Type: text/html; "
						"charset=utf-8\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
						"Content-Security-Policy: default-src 'none'; frame-ancestors "
						"'none'\r\nReferrer-Policy: no-referrer\r\n"
						"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n%s",
		status, strlen(body), body);
	size_t left = strlen(page);
	const char *at = page;
	uint64_t until_ms = clock_ms() + ANSWER_MS;

	while (left) {
		struct pollfd wait = {.fd = fd, .events = POLLOUT};
		ssize_t sent = send(fd, at, left, MSG_NOSIGNAL);

		if (sent > 0) {
			at += sent;
			left -= (size_t)sent;
			continue;
		}
		if ((errno != EAGAIN && errno != EINTR) || clock_ms() >= until_ms)
			break;
		poll(&wait, 1, ANSWER_MS);
	}
	shutdown(fd, SHUT_WR);
}

void auth_loopback_answer(struct auth_loopback *loopback, const struct error *failure)
{
	if (loopback->bringer_fd < 0)
		return;
	if (failure)
		page_send(loopback->bringer_fd, "400 Bad Request", "sign-in failed", failure->text);
	else
		page_send(loopback->bringer_fd, "200 OK", "signed in", "You can close this window.");
	close(loopback->bringer_fd);
	loopback->bringer_fd = -1;
}

/* Visitors */

static void visitor_welcome(struct auth_loopback *loopback, int listen_fd)
{
	struct visitor *slot = &loopback->visitors[0];
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (size_t i = 0; i < LOOPBACK_CONNECTIONS_MAX && slot->fd >= 0; i++)
		if (loopback->visitors[i].fd < 0 || loopback->visitors[i].until_ms < slot->until_ms)
			slot = &loopback->visitors[i];
	visitor_drop(slot); /* who was there the longest has had his chance */
	slot->fd = fd;
	slot->until_ms = clock_ms() + LOOPBACK_REQUEST_MS;
}

/* Its head is complete. True when the redirect has come, with the code or in `err`. */
static bool visitor_serve(struct auth_loopback *loopback, struct visitor *visitor, const struct secret *state,
	struct secret **code_out, struct error *err)
{
	enum redirect redirect;

	visitor->request[strcspn(visitor->request, "\r\n")] = '\0';
	redirect = auth_redirect_parse(visitor->request, state, code_out, err);
	switch (redirect) {
	case REDIRECT_CODE:
	case REDIRECT_ERROR:
		loopback->bringer_fd = visitor->fd;
		visitor->fd = -1;
		break;
	case REDIRECT_FOREIGN:
		log_warning("a browser came back with the state of another sign-in: ignored");
		page_send(visitor->fd, "400 Bad Request", "not this sign-in",
			"This page belongs to another sign-in, or to an older one.");
		break;
	case REDIRECT_OTHER:
		page_send(visitor->fd, "404 Not Found", "nothing here", "Only the sign-in comes here.");
		break;
	case REDIRECT_BROKEN:
		page_send(visitor->fd, "400 Bad Request", "not understood", "This isn't how a sign-in comes back.");
		break;
	}
	visitor_drop(visitor);
	return redirect == REDIRECT_CODE || redirect == REDIRECT_ERROR;
}

/* Reads what is there. True when the redirect has come. */
static bool visitor_hear(struct auth_loopback *loopback, struct visitor *visitor, const struct secret *state,
	struct secret **code_out, struct error *err)
{
	ssize_t got = recv(visitor->fd, visitor->request + visitor->used, LOOPBACK_REQUEST_MAX - visitor->used, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0 || memchr(visitor->request + visitor->used, '\0', (size_t)got)) {
		visitor_drop(visitor);
		return false;
	}
	visitor->used += (size_t)got;
	visitor->request[visitor->used] = '\0';
	/* all of the head: closing with something unread would tear the answer down */
	if (strstr(visitor->request, "\r\n\r\n") || strstr(visitor->request, "\n\n"))
		return visitor_serve(loopback, visitor, state, code_out, err);
	if (visitor->used == LOOPBACK_REQUEST_MAX)
		visitor_drop(visitor);
	return false;
}

static int wait_once(struct auth_loopback *loopback, int cancel_fd, int timeout_ms, struct pollfd *fds)
{
	fds[0] = (struct pollfd){.fd = cancel_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = loopback->listen_fds[0], .events = POLLIN};
	fds[2] = (struct pollfd){.fd = loopback->listen_fds[1], .events = POLLIN};
	for (size_t i = 0; i < LOOPBACK_CONNECTIONS_MAX; i++)
		fds[3 + i] = (struct pollfd){.fd = loopback->visitors[i].fd, .events = POLLIN};
	return poll(fds, 3 + LOOPBACK_CONNECTIONS_MAX, timeout_ms);
}

int auth_loopback_wait(struct auth_loopback *loopback, const struct secret *state, uint32_t timeout_ms, int cancel_fd,
	struct secret **code_out, struct error *err)
{
	uint64_t until_ms = clock_ms() + timeout_ms, now;
	struct pollfd fds[3 + LOOPBACK_CONNECTIONS_MAX];

	while ((now = clock_ms()) < until_ms) {
		int ready = wait_once(loopback, cancel_fd, (int)MIN(until_ms - now, 1000), fds);

		if (ready > 0 && fds[0].revents)
			return error_set(err, ERR_INTERRUPTED, "given up");
		for (size_t i = 0; i < LOOPBACK_CONNECTIONS_MAX; i++) {
			struct visitor *visitor = &loopback->visitors[i];

			if (ready > 0 && fds[3 + i].revents && visitor_hear(loopback, visitor, state, code_out, err))
				return *code_out ? 0 : ERR_SIGN_IN;
			if (visitor->fd >= 0 && clock_ms() >= visitor->until_ms)
				visitor_drop(visitor);
		}
		for (size_t i = 1; ready > 0 && i < 3; i++)
			if (fds[i].revents)
				visitor_welcome(loopback, loopback->listen_fds[i - 1]);
	}
	return error_set(err, ERR_SIGN_IN, "nobody signed in within %u minutes", timeout_ms / 60000);
}
