/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/server.h"
#include "src/base/log.h"
#include "src/cli/sockets.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/banned.h"

#define ACCEPT_PAUSE_MS 200 /* after accept() failed: no descriptors are left, perhaps */

/* A slot; the server's thread alone takes and frees them. */
struct client {
	struct server *server;
	struct wire *wire; /* NULL = free */
	int fd;            /* the wire's */
	bool gone;         /* has hung up: no more to be watched */
	atomic_bool finished;
	struct wait wait;
	pthread_t thread;
};

struct server {
	struct mail *mail;
	struct sockets sockets;
	char *name, *mountpoint;
	bool names_uid, maildir;
	int listen_fd;
	int wake_fd; /* eventfd: stop, or a client has finished */
	atomic_bool stopping;
	pthread_t thread;
	struct client clients[SERVER_CLIENTS_MAX];
};

static void wake(struct server *server)
{
	uint64_t one = 1;
	ssize_t written = write(server->wake_fd, &one, sizeof(one));

	(void)written; /* can only fail when it has been woken often enough */
}

static bool thread_start(pthread_t *thread, void *(*run)(void *), void *data)
{
	sigset_t all, before;
	bool started;

	/* signals are for the main thread */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(thread, NULL, run, data) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return started;
}

/* ---- one client, on its own thread ---- */

static int on_record(void *ctx, const char *bytes, size_t length, struct error *err)
{
	return wire_send_record(((struct client *)ctx)->wire, bytes, length, err);
}

static void on_tick(void *ctx)
{
	/* a client that has gone is noticed by the server's thread */
	wire_send_wait(((struct client *)ctx)->wire, NULL);
}

static void serve(struct client *client)
{
	struct server *server = client->server;
	const struct work work = {&client->wait, server->mail, server->mountpoint, server->names_uid, server->maildir};
	const struct sink sink = {on_record, client};
	struct work_request request;
	struct error err = {0};
	int code = wire_receive_request(client->wire, &request, &err);

	if (code == 0) {
		code = work_run(&work, &request, &sink, &err);
		code = wire_send_done(client->wire, code, &err, &err);
	}
	if (code != 0)
		log_debug("a command's request: %s", err.text);
}

static void *client_run(void *data)
{
	struct client *client = data;

	serve(client);
	shutdown(client->fd, SHUT_RDWR);
	atomic_store(&client->finished, true);
	wake(client->server);
	return NULL;
}

/* ---- the server's thread ---- */

static void client_free(struct client *client)
{
	wait_fini(&client->wait);
	wire_free(client->wire);
	client->wire = NULL;
}

static void client_start(struct server *server, struct client *client, int fd)
{
	client->server = server;
	client->fd = fd;
	client->gone = false;
	atomic_store(&client->finished, false);
	client->wire = wire_new(fd, WIRE_REQUEST_MS, WIRE_READER_MS);
	wait_init(&client->wait, server->mail);
	client->wait.tick = on_tick;
	client->wait.tick_ctx = client;
	if (!thread_start(&client->thread, client_run, client))
		client_free(client);
}

static void client_reap(struct client *client)
{
	pthread_join(client->thread, NULL);
	client_free(client);
}

static struct client *slot_find(struct server *server)
{
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		if (!server->clients[i].wire)
			return &server->clients[i];
	return NULL;
}

static void accept_one(struct server *server)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct client *client = slot_find(server);
	struct error err;
	pid_t pid;

	if (fd < 0) {
		struct pollfd pause = {.fd = server->wake_fd, .events = POLLIN};

		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			poll(&pause, 1, ACCEPT_PAUSE_MS);
		return;
	}
	if (wire_peer(fd, &pid, &err) != 0) {
		log_warning("%s", err.text);
		close(fd);
	} else if (!client) {
		close(fd); /* it does its work itself */
	} else {
		client_start(server, client, fd);
	}
}

static void poll_once(struct server *server)
{
	struct pollfd waits[2 + SERVER_CLIENTS_MAX] = {
		{.fd = server->wake_fd, .events = POLLIN}, {.fd = server->listen_fd, .events = POLLIN}};
	uint64_t wakes;

	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++) {
		const struct client *client = &server->clients[i];

		waits[2 + i] = (struct pollfd){
			.fd = client->wire && !client->gone ? client->fd : -1, .events = POLLRDHUP};
	}
	if (poll(waits, G_N_ELEMENTS(waits), -1) < 0)
		return;
	if (waits[0].revents && read(server->wake_fd, &wakes, sizeof(wakes)) < 0)
		return;
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];

		if (client->wire && atomic_load(&client->finished)) {
			client_reap(client);
		} else if (waits[2 + i].revents) {
			client->gone = true;
			wait_cancel(&client->wait);
		}
	}
	if (waits[1].revents)
		accept_one(server);
}

static void *server_run(void *data)
{
	struct server *server = data;

	while (!atomic_load(&server->stopping))
		poll_once(server);
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];

		if (!client->wire)
			continue;
		wait_cancel(&client->wait);
		shutdown(client->fd, SHUT_RDWR);
		client_reap(client);
	}
	return NULL;
}

static void server_free(struct server *server)
{
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	if (server->wake_fd >= 0)
		close(server->wake_fd);
	if (server->name)
		sockets_unlink(&server->sockets, server->name);
	sockets_close(&server->sockets);
	g_free(server->name);
	g_free(server->mountpoint);
	g_free(server);
}

int server_start(struct mail *mail, const struct server_config *config, struct server **server_out, struct error *err)
{
	struct server *server = g_new0(struct server, 1);
	int code;

	server->mail = mail;
	server->mountpoint = g_strdup(config->mountpoint);
	server->names_uid = config->names_uid;
	server->maildir = config->maildir;
	server->listen_fd = -1;
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	code = server->wake_fd < 0 ? error_set(err, ERR_FAILED, "eventfd: %s", g_strerror(errno)) : 0;
	if (code == 0)
		code = sockets_open(config->runtime_dir, true, &server->sockets, err);
	if (code == 0)
		code = sockets_listen(&server->sockets, config->identity, &server->listen_fd, &server->name, err);
	if (code == 0 && !thread_start(&server->thread, server_run, server))
		code = error_set(err, ERR_FAILED, "threads: %s", g_strerror(EAGAIN));
	if (code != 0) {
		server_free(server);
		return code;
	}
	*server_out = server;
	return 0;
}

void server_stop(struct server *server)
{
	if (!server)
		return;
	atomic_store(&server->stopping, true);
	wake(server);
	pthread_join(server->thread, NULL);
	server_free(server);
}
