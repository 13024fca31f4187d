/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A line of a length and a width in front of a server on loopback: what goes in comes out half of a round trip later,
 * in order. A real line costs the machine nothing, so this one is to cost little: it looks 2,000 times a second and
 * moves what has come by then at once.
 *
 *	bench-line PORT RTT_MS BITS_PER_S      0 bits: as wide as the processors let it be
 *
 * Prints the port to connect to, and ends when its standard input does. The handshake of TCP takes a round trip, too;
 * the width is shared by all connections, each way.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define PIECE_BYTES (64u << 10)
#define PIECE_BYTES_MIN 1400u
#define PIECES_A_SECOND 200u /* at least, of a line that is full: its pace is felt smoothly */
#define PIECES_A_TURN 64u    /* of one direction, before the others have their turn */
/* On the way at once: the line's own, and what queues in front of it, at most. */
#define IN_FLIGHT_BYTES (64u << 20)
#define QUEUE_BYTES (1u << 20)
#define QUEUES_A_SECOND 5u
#define TURN_NS 500000
#define CONNECTIONS_MAX 64u
#define KEPT_BYTES (256 << 20)

static const int64_t second_ns = 1000000000;

struct link {
	int64_t free_ns; /* when it has taken all that was sent so far */
};

struct piece {
	int64_t due_ns;
	size_t length, sent; /* a length of 0 is the end */
	char bytes[PIECE_BYTES];
};

struct way {
	int from, to; /* sockets */
	struct link *link;
	GQueue pieces; /* struct piece * */
	uint64_t bytes;
	bool ended; /* no more will be read */
	bool blocked;
};

struct connection {
	int64_t opens_ns; /* the server hears of it */
	bool open, over;
	struct way up, down;
};

struct line {
	int listener;
	in_port_t port; /* the server's; host order */
	int64_t rtt_ns;
	double bytes_per_s; /* 0 = unlimited */
	struct link up, down;
	GPtrArray *connections; /* struct connection *, owned */
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * second_ns + time.tv_nsec;
}

static void sleep_until(int64_t ns)
{
	const struct timespec time = {ns / second_ns, ns % second_ns};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* ---- one direction ---- */

static void way_init(struct way *way, int from, int to, struct link *link)
{
	*way = (struct way){.from = from, .to = to, .link = link};
	g_queue_init(&way->pieces);
}

static size_t piece_bytes(const struct line *line)
{
	if (!line->bytes_per_s)
		return PIECE_BYTES;
	return CLAMP((size_t)(line->bytes_per_s / PIECES_A_SECOND), PIECE_BYTES_MIN, PIECE_BYTES);
}

static uint64_t in_flight_most(const struct line *line)
{
	if (!line->bytes_per_s)
		return IN_FLIGHT_BYTES;
	return (uint64_t)(line->bytes_per_s * (double)line->rtt_ns / (double)second_ns) +
	       MIN(QUEUE_BYTES, (uint64_t)(line->bytes_per_s / QUEUES_A_SECOND));
}

static bool has_room(const struct line *line, const struct way *way)
{
	return !way->ended && (!way->bytes || way->bytes + piece_bytes(line) <= in_flight_most(line));
}

static int64_t arrival(const struct line *line, struct link *link, size_t length)
{
	int64_t sent_ns = now();

	if (line->bytes_per_s)
		sent_ns = link->free_ns = MAX(sent_ns, link->free_ns) +
		                          (int64_t)((double)length / line->bytes_per_s * (double)second_ns);
	return sent_ns + line->rtt_ns / 2;
}

/* A connection that was reset has ended, behind all that came before. */
static void take(const struct line *line, struct way *way)
{
	for (unsigned i = 0; i < PIECES_A_TURN && has_room(line, way); i++) {
		struct piece *piece = g_malloc(sizeof(*piece));
		ssize_t got = recv(way->from, piece->bytes, piece_bytes(line), 0);

		if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
			g_free(piece);
			return;
		}
		piece->length = (size_t)MAX(got, 0);
		piece->sent = 0;
		piece->due_ns = arrival(line, way->link, piece->length);
		way->bytes += piece->length;
		way->ended = got <= 0;
		g_queue_push_tail(&way->pieces, piece);
	}
}

/* False when the connection is over. */
static bool give(struct way *way)
{
	struct piece *piece;

	way->blocked = false;
	while ((piece = g_queue_peek_head(&way->pieces)) && piece->due_ns <= now()) {
		ssize_t sent = 0;

		if (piece->length)
			sent = send(way->to, piece->bytes + piece->sent, piece->length - piece->sent, MSG_NOSIGNAL);
		else
			shutdown(way->to, SHUT_WR);
		if (sent < 0) {
			way->blocked = errno == EAGAIN;
			return errno == EAGAIN || errno == EINTR;
		}
		way->bytes -= (uint64_t)sent;
		piece->sent += (size_t)sent;
		if (piece->sent < piece->length)
			continue;
		g_free(g_queue_pop_head(&way->pieces));
	}
	return true;
}

static bool is_delivered(const struct way *way)
{
	return way->ended && !way->pieces.length;
}

/* ---- connections ---- */

static int server_connect(in_port_t port)
{
	const struct sockaddr_in address = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (server >= 0 && connect(server, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return server;
	close(server);
	return -1;
}

static void socket_set(int socket)
{
	const int on = 1;

	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	g_unix_set_fd_nonblocking(socket, TRUE, NULL);
}

static void connection_free(void *data)
{
	struct connection *connection = data;

	close(connection->up.from);
	if (connection->open)
		close(connection->up.to);
	g_queue_clear_full(&connection->up.pieces, g_free);
	g_queue_clear_full(&connection->down.pieces, g_free);
	g_free(connection);
}

static void accept_one(struct line *line)
{
	int client = accept4(line->listener, NULL, NULL, SOCK_CLOEXEC);
	struct connection *connection;

	if (client < 0)
		return;
	connection = g_new0(struct connection, 1);
	connection->opens_ns = now() + line->rtt_ns;
	way_init(&connection->up, client, -1, &line->up);
	way_init(&connection->down, -1, client, &line->down);
	g_ptr_array_add(line->connections, connection);
}

static void open_now(const struct line *line, struct connection *connection)
{
	int server = server_connect(line->port);

	connection->over = server < 0;
	if (server < 0)
		return;
	connection->open = true;
	connection->up.to = connection->down.from = server;
	socket_set(connection->up.from);
	socket_set(server);
}

static void connection_turn(const struct line *line, struct connection *connection)
{
	if (!connection->open && connection->opens_ns <= now())
		open_now(line, connection);
	if (!connection->open)
		return;
	take(line, &connection->up);
	take(line, &connection->down);
	connection->over = !give(&connection->up) || !give(&connection->down) ||
	                   (is_delivered(&connection->up) && is_delivered(&connection->down));
}

/* ---- turns ---- */

static void way_watch(
	const struct line *line, const struct way *way, struct pollfd *from, struct pollfd *to, int64_t *until_ns)
{
	const struct piece *piece = way->pieces.head ? way->pieces.head->data : NULL;

	if (has_room(line, way))
		from->events |= POLLIN;
	if (way->blocked)
		to->events |= POLLOUT;
	else if (piece)
		*until_ns = MIN(*until_ns, piece->due_ns);
}

/* Waits until something can be done. */
static void wait_for_work(const struct line *line, struct pollfd *fds, nfds_t count)
{
	int64_t until_ns = INT64_MAX, for_ns;
	struct timespec time;

	for (guint i = 0; i < line->connections->len; i++) {
		const struct connection *connection = line->connections->pdata[i];
		struct pollfd *client = &fds[2 + 2 * i], *server = client + 1;

		*client = (struct pollfd){.fd = -1};
		*server = (struct pollfd){.fd = -1};
		if (!connection->open) {
			until_ns = MIN(until_ns, connection->opens_ns);
			continue;
		}
		way_watch(line, &connection->up, client, server, &until_ns);
		way_watch(line, &connection->down, server, client, &until_ns);
		/* one that is watched for nothing would only tell that it was hung up, again and again */
		client->fd = client->events ? connection->up.from : -1;
		server->fd = server->events ? connection->up.to : -1;
	}
	for_ns = MAX(until_ns - now(), 0);
	time = (struct timespec){for_ns / second_ns, for_ns % second_ns};
	ppoll(fds, count, until_ns == INT64_MAX ? NULL : &time, NULL);
}

static void run(struct line *line)
{
	struct pollfd fds[2 + 2 * CONNECTIONS_MAX] = {{.fd = STDIN_FILENO, .events = POLLIN}};

	for (;;) {
		int64_t began_ns = now();

		fds[1] = (struct pollfd){
			.fd = line->connections->len < CONNECTIONS_MAX ? line->listener : -1, .events = POLLIN};
		wait_for_work(line, fds, 2 + 2 * line->connections->len);
		if (fds[0].revents)
			return;
		sleep_until(began_ns + TURN_NS);
		if (fds[1].revents)
			accept_one(line);
		for (guint i = line->connections->len; i-- > 0;) {
			struct connection *connection = line->connections->pdata[i];

			connection_turn(line, connection);
			if (connection->over)
				g_ptr_array_remove_index(line->connections, i);
		}
	}
}

static bool line_listen(struct line *line)
{
	struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
	socklen_t length = sizeof(address);

	line->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (line->listener < 0 || bind(line->listener, (struct sockaddr *)&address, sizeof(address)) ||
		listen(line->listener, CONNECTIONS_MAX) ||
		getsockname(line->listener, (struct sockaddr *)&address, &length))
		return false;
	printf("%u\n", ntohs(address.sin_port));
	return fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
	struct line line = {0};

	if (argc != 4)
		return 2;
	line.port = (in_port_t)g_ascii_strtoull(argv[1], NULL, 10);
	line.rtt_ns = (int64_t)(g_ascii_strtod(argv[2], NULL) * 1e6);
	line.bytes_per_s = g_ascii_strtod(argv[3], NULL) / 8;
	line.connections = g_ptr_array_new_with_free_func(connection_free);
	/* what a full line holds isn't given back and asked for again all the time */
	mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
	if (!line_listen(&line)) {
		perror("bench-line");
		return 1;
	}
	run(&line);
	g_ptr_array_unref(line.connections);
	close(line.listener);
	return 0;
}
