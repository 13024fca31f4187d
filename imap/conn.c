/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/conn.h"
#include "imap/allow.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/secret.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "src/base/banned.h"

#define BUCKET_BURST_MS 250u /* what a limited connection may read at once, in time */
#define BUCKET_LEAST_BYTES 4096u

/*
 * A piece of the output queue. After STREAM_AGAIN OpenSSL wants the same bytes at the same address,
 * so chunks never move; the last one is appended to while it has room.
 */
struct chunk {
	size_t length, written;
	char bytes[STREAM_WRITE_MAX];
};

struct conn {
	struct loop *loop;
	struct stream *stream;
	struct imap_parser *parser;
	const struct conn_ops *ops;
	void *ctx;
	struct conn_bucket *bucket;
	struct conn_counters *counters;
	GQueue commands;          /* struct conn_command*, in the order of sending */
	GQueue output;            /* struct chunk* */
	struct loop_timer *again; /* goes on reading, or reports a failed write */
	uint32_t last_tag;
	uint64_t bytes_in;
	bool connected;
	bool want_write;
	bool compress; /* the stream changes when the parser has stopped */
	bool bye;
	bool failed;
	struct error write_error;   /* told when the stack is unwound and what the server said last is read */
	struct error grammar_error; /* found inside a callback of the parser */
	char bye_text[CONN_BYE_MAX];
	char buffer[CONN_READ_BYTES];
};

static void conn_fail(struct conn *conn, const struct error *err)
{
	if (conn->failed)
		return;
	conn->failed = true;
	loop_timer_cancel(conn->again);
	conn->again = NULL;
	log_debug("imap: connection ends: %s", err->text);
	conn->ops->lost(conn->ctx, err);
}

/* ---- reading ---- */

/* How much may be read now, at most `size`; 0 = wait *wait_ms_out. */
static size_t bucket_room(struct conn_bucket *bucket, size_t size, uint64_t *wait_ms_out)
{
	uint64_t now, burst, least;

	if (!bucket || !bucket->bytes_per_second)
		return size;
	now = clock_ms();
	burst = MAX(bucket->bytes_per_second * BUCKET_BURST_MS / 1000, BUCKET_LEAST_BYTES);
	least = MIN(burst, BUCKET_LEAST_BYTES);
	if (now > bucket->filled_at_ms) {
		uint64_t fresh = MIN(now - bucket->filled_at_ms, 60000) * bucket->bytes_per_second / 1000;

		if (fresh) {
			bucket->tokens = MIN(bucket->tokens + fresh, burst);
			bucket->filled_at_ms = now;
		}
	}
	if (bucket->tokens < least) {
		*wait_ms_out = (least - bucket->tokens) * 1000 / bucket->bytes_per_second + 1;
		return 0;
	}
	return MIN(size, bucket->tokens);
}

static void conn_read(struct conn *conn);

static void again_run(void *data)
{
	struct conn *conn = data;

	conn->again = NULL;
	/* the server may have said why it hung up */
	conn_read(conn);
	if (conn->write_error.code && !conn->again)
		conn_fail(conn, &conn->write_error);
}

static void again_arm(struct conn *conn, uint64_t delay_ms)
{
	if (!conn->again && !conn->failed)
		conn->again = loop_timer_add(conn->loop, delay_ms, again_run, conn);
}

static void compress_begin(struct conn *conn, const char *rest, size_t length)
{
	conn->compress = false;
	conn->stream = stream_deflate_new(conn->stream, rest, length);
	log_debug("imap: the connection is compressed from here on");
}

static void conn_read(struct conn *conn)
{
	size_t turn = CONN_TURN_BYTES;
	struct error err = {0};

	while (!conn->failed) {
		uint64_t wait_ms = 0;
		size_t room = bucket_room(conn->bucket, sizeof(conn->buffer), &wait_ms);
		ssize_t n;
		int code;

		if (!room || turn < sizeof(conn->buffer)) {
			again_arm(conn, wait_ms);
			return;
		}
		n = conn->stream->ops->read(conn->stream, conn->buffer, room, &err);
		if (n == STREAM_AGAIN)
			return;
		if (n == 0)
			n = error_set(&err, ERR_UNREACHABLE, "the server closed the connection");
		if (n < 0) {
			conn_fail(conn, &err);
			return;
		}
		turn -= (size_t)n;
		conn->bytes_in += (uint64_t)n;
		conn->counters->bytes_in += (uint64_t)n;
		if (conn->bucket && conn->bucket->bytes_per_second)
			conn->bucket->tokens -= (uint64_t)n;
		code = imap_parser_feed(conn->parser, conn->buffer, (size_t)n, &err);
		if (code == 0 && conn->grammar_error.code) {
			err = conn->grammar_error;
			code = err.code;
		}
		if (code == 0 && conn->bye)
			code = error_set(&err, ERR_UNREACHABLE, "the server ended the session: %s", conn->bye_text);
		if (code != 0) {
			conn_fail(conn, &err);
			return;
		}
		if (conn->compress && !conn->failed) {
			size_t rest = imap_parser_rest(conn->parser);

			compress_begin(conn, conn->buffer + (size_t)n - rest, rest);
		}
	}
}

/* ---- writing ---- */

static void output_append(struct conn *conn, const char *bytes, size_t length)
{
	while (length) {
		struct chunk *tail = g_queue_peek_tail(&conn->output);
		size_t n;

		if (!tail || tail->length == sizeof(tail->bytes)) {
			tail = g_new(struct chunk, 1);
			tail->length = tail->written = 0;
			g_queue_push_tail(&conn->output, tail);
		}
		n = MIN(length, sizeof(tail->bytes) - tail->length);
		memcpy(tail->bytes + tail->length, bytes, n);
		tail->length += n;
		bytes += n;
		length -= n;
	}
}

static void chunk_free(struct chunk *chunk)
{
	secret_wipe(chunk->bytes, chunk->length); /* a sign-in may have gone through it */
	g_free(chunk);
}

static void command_forget(struct conn_command *command)
{
	if (command->text)
		secret_wipe(command->text, command->length);
	g_clear_pointer(&command->text, g_free);
	command->waiting = false;
}

/* Moves what may be sent now into the output queue: up to the first literal that must wait. */
static void conn_pump(struct conn *conn)
{
	for (GList *link = conn->commands.head; link; link = link->next) {
		struct conn_command *command = link->data;

		if (command->waiting)
			return;
		if (!command->text)
			continue;
		while (command->sent < command->length) {
			size_t literal = 0;
			size_t piece = allow_piece(command->text, command->length, command->sent, &literal);

			output_append(conn, command->text + command->sent, piece);
			command->sent += piece;
			if (literal) {
				command->waiting = true;
				conn->counters->round_trips++;
				return;
			}
		}
		output_append(conn, "\r\n", 2);
		command_forget(command);
	}
}

/* The octets of the literal that "+" asked for; then the rest of the command. */
static void literal_send(struct conn *conn, struct conn_command *command)
{
	const char *digits = command->text + command->sent - 4;
	size_t length = 0, scale = 1;

	/* "{n}\r\n" stands just before: allow_command() has checked it */
	for (; g_ascii_isdigit(*digits); digits--, scale *= 10)
		length += (size_t)(*digits - '0') * scale;
	command->waiting = false;
	output_append(conn, command->text + command->sent, length);
	command->sent += length;
	conn_pump(conn);
}

void conn_flush(struct conn *conn)
{
	struct chunk *chunk;
	bool blocked = false;

	if (conn->failed || !conn->connected || conn->write_error.code)
		return;
	while (!blocked && (chunk = g_queue_peek_head(&conn->output))) {
		struct error err = {0};
		ssize_t n = conn->stream->ops->write(
			conn->stream, chunk->bytes + chunk->written, chunk->length - chunk->written, &err);

		if (n == STREAM_AGAIN) {
			blocked = true;
		} else if (n < 0) {
			/* told from the loop: our caller may be walking over its connections */
			conn->write_error = err;
			loop_timer_cancel(conn->again);
			conn->again = NULL;
			again_arm(conn, 0);
			return;
		} else {
			chunk->written += (size_t)n;
			conn->counters->bytes_out += (uint64_t)n;
			if (chunk->written == chunk->length)
				chunk_free(g_queue_pop_head(&conn->output));
		}
	}
	if (blocked != conn->want_write) {
		conn->want_write = blocked;
		conn->stream->ops->want_write(conn->stream, blocked);
	}
}

static void command_log(const struct conn_command *command, const char *text, size_t length)
{
	/* how many words of a line are no secret */
	unsigned words = g_ascii_strncasecmp(text, "AUTHENTICATE ", 13) == 0 ? 2
	                 : g_ascii_strncasecmp(text, "LOGIN ", 6) == 0       ? 1
	                                                                     : UINT_MAX;
	size_t line = 0;

	while (line < length && text[line] != '\r' && (text[line] != ' ' || --words > 0))
		line++;
	log_debug("imap: C: %s %.*s%s", command->tag, (int)MIN(line, 1000), text,
		line < length && words == 0 ? " [secret]" : "");
}

int conn_command_send(struct conn *conn, struct conn_command *command, const struct conn_command_ops *ops, void *ctx,
	const char *text, size_t length)
{
	char *copy;
	int tag_length;

	if (!allow_command(text, length, ALLOW_SESSION) || conn->commands.length >= CONN_COMMANDS_MAX)
		return ERR_INVALID;
	memset(command, 0, sizeof(*command));
	command->ops = ops;
	command->ctx = ctx;
	tag_length = g_snprintf(command->tag, sizeof(command->tag), "m%u", ++conn->last_tag);
	if (log_enabled(LOG_LEVEL_DEBUG))
		command_log(command, text, length);
	copy = g_malloc((size_t)tag_length + 1 + length + 1);
	memcpy(copy, command->tag, (size_t)tag_length);
	copy[tag_length] = ' ';
	memcpy(copy + tag_length + 1, text, length);
	copy[(size_t)tag_length + 1 + length] = '\0';
	command->text = copy;
	command->length = (size_t)tag_length + 1 + length;
	if (conn->commands.length == 0)
		conn->counters->round_trips++;
	conn->counters->commands++;
	g_queue_push_tail(&conn->commands, command);
	conn_pump(conn);
	return 0;
}

void conn_line_send(struct conn *conn, const char *text, size_t length)
{
	conn->counters->round_trips++;
	output_append(conn, text, length);
	output_append(conn, "\r\n", 2);
}

void conn_compress(struct conn *conn)
{
	conn->compress = true;
	imap_parser_stop(conn->parser);
}

void conn_logout(struct conn *conn)
{
	if (conn->failed || !conn->connected || conn->bye || conn->output.length || conn->write_error.code)
		return;
	output_append(conn, "m0 LOGOUT\r\n", 11);
	conn_flush(conn);
}

/* ---- responses ---- */

static void tagged(struct conn *conn, const struct imap_response *response)
{
	for (GList *link = conn->commands.head; link; link = link->next) {
		struct conn_command *command = link->data;

		if (strcmp(command->tag, response->tag) != 0)
			continue;
		g_queue_delete_link(&conn->commands, link);
		command_forget(command); /* refused at its literal: the rest of it isn't sent */
		command->ops->done(command, response);
		if (!conn->failed) {
			conn_pump(conn);
			conn_flush(conn);
		}
		return;
	}
	error_set(&conn->grammar_error, ERR_PROTOCOL, "the server answers a command that isn't under way (tag %.40s)",
		response->tag);
	imap_parser_stop(conn->parser);
}

static void continuation(struct conn *conn, const struct imap_response *response)
{
	for (GList *link = conn->commands.head; link; link = link->next) {
		struct conn_command *command = link->data;

		if (command->waiting) {
			literal_send(conn, command);
			conn_flush(conn);
			return;
		}
		if (command->ops->continuation && !command->text) {
			command->ops->continuation(command, response);
			conn_flush(conn);
			return;
		}
	}
	conn->ops->response(conn->ctx, response);
}

static void response_log(const struct imap_response *response)
{
	static const char *const statuses[] = {"OK", "NO", "BAD", "BYE", "PREAUTH"};

	if (!log_enabled(LOG_LEVEL_DEBUG))
		return;
	switch (response->type) {
	case IMAP_TAGGED:
	case IMAP_UNTAGGED:
		log_debug("imap: S: %s %s %s%s%s%.1000s", response->tag ? response->tag : "*",
			statuses[response->status], response->code ? "[" : "", response->code ? response->code : "",
			response->code ? " …] " : "", response->text);
		break;
	case IMAP_FETCH:
		log_debug("imap: S: * %u FETCH (UID %u …)", response->fetch.sequence, response->fetch.uid);
		break;
	case IMAP_CONTINUATION:
	case IMAP_OTHER:
		log_debug("imap: S: %s%.1000s", response->type == IMAP_CONTINUATION ? "+ " : "", response->text);
		break;
	default:
		log_debug("imap: S: response of type %d, number %u", (int)response->type, response->number);
	}
}

static void on_response(void *ctx, const struct imap_response *response)
{
	struct conn *conn = ctx;

	if (conn->failed)
		return;
	response_log(response);
	if (response->type == IMAP_TAGGED) {
		tagged(conn, response);
	} else if (response->type == IMAP_CONTINUATION) {
		continuation(conn, response);
	} else {
		if (response->type == IMAP_UNTAGGED && response->status == IMAP_BYE) {
			conn->bye = true;
			g_strlcpy(conn->bye_text, *response->text ? response->text : "BYE", sizeof(conn->bye_text));
			imap_parser_stop(conn->parser);
		}
		conn->ops->response(conn->ctx, response);
	}
}

static bool on_body_begin(void *ctx, const struct imap_literal *literal)
{
	struct conn *conn = ctx;

	return !conn->failed && conn->ops->body_begin && conn->ops->body_begin(conn->ctx, literal);
}

static int on_body_data(void *ctx, const char *bytes, size_t length)
{
	struct conn *conn = ctx;

	return conn->failed ? ERR_INTERRUPTED : conn->ops->body_data(conn->ctx, bytes, length);
}

static void on_body_end(void *ctx)
{
	struct conn *conn = ctx;

	if (!conn->failed)
		conn->ops->body_end(conn->ctx);
}

static const struct imap_parser_ops parser_ops = {
	.body_begin = on_body_begin,
	.body_data = on_body_data,
	.body_end = on_body_end,
	.response = on_response,
};

/* ---- the connection itself ---- */

static void on_ready(void *ctx)
{
	struct conn *conn = ctx;
	struct error err = {0};

	if (conn->failed)
		return;
	if (!conn->connected) {
		ssize_t code = conn->stream->ops->connect(conn->stream, &err);

		if (code == STREAM_AGAIN)
			return;
		if (code != 0) {
			conn_fail(conn, &err);
			return;
		}
		conn->connected = true;
		conn->ops->connected(conn->ctx);
	}
	conn_flush(conn);
	/* with the timer armed, reading waits on purpose */
	if (!conn->again)
		conn_read(conn);
}

struct conn *conn_new(struct loop *loop, const struct stream_factory *factory, const struct stream_target *target,
	struct conn_bucket *bucket, struct conn_counters *counters, const struct conn_ops *ops, void *ctx,
	struct error *err)
{
	struct conn *conn = g_malloc(sizeof(*conn));

	memset(conn, 0, offsetof(struct conn, buffer));
	conn->loop = loop;
	conn->ops = ops;
	conn->ctx = ctx;
	conn->bucket = bucket;
	conn->counters = counters;
	conn->stream = factory->open(factory, loop, target, on_ready, conn, err);
	if (!conn->stream) {
		g_free(conn);
		return NULL;
	}
	conn->parser = imap_parser_new(&parser_ops, conn);
	return conn;
}

void conn_abandon(struct conn *conn)
{
	conn->failed = true;
	loop_timer_cancel(conn->again);
	conn->again = NULL;
	for (GList *link = conn->commands.head; link; link = link->next)
		command_forget(link->data);
	g_queue_clear(&conn->commands);
	imap_parser_stop(conn->parser);
}

void conn_free(struct conn *conn)
{
	if (!conn)
		return;
	loop_timer_cancel(conn->again);
	conn->stream->ops->free(conn->stream);
	imap_parser_free(conn->parser);
	for (GList *link = conn->commands.head; link; link = link->next)
		command_forget(link->data);
	g_queue_clear(&conn->commands);
	g_queue_clear_full(&conn->output, (GDestroyNotify)chunk_free);
	g_free(conn);
}

void conn_set_ops(struct conn *conn, const struct conn_ops *ops, void *ctx)
{
	conn->ops = ops;
	conn->ctx = ctx;
}

uint64_t conn_bytes_in(const struct conn *conn)
{
	return conn->bytes_in;
}

size_t conn_in_flight(const struct conn *conn)
{
	return conn->commands.length;
}
