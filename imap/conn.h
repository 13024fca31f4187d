/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection: a stream, a parser, and the tagged commands in flight between them. It knows the
 * shape of the dialogue (tags, literals that wait for "+", BYE, COMPRESS), not what commands mean.
 *
 * Commands are written in the order of conn_command_send(), pipelined, but for a synchronizing
 * literal (RFC 3501 section 4.3): what stands behind it waits for its "+". A tagged response is
 * given to the command with that tag; everything untagged goes to the owner.
 *
 * Nothing may free a connection from inside one of its callbacks; all else is allowed there.
 */
#pragma once

#include "imap/grammar.h"
#include "imap/stream.h"
#include "src/base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define CONN_READ_BYTES (256u * 1024u)  /* read at once */
#define CONN_TURN_BYTES (1024u * 1024u) /* read before the loop's other business has its turn */
#define CONN_COMMANDS_MAX 256u          /* in flight */
#define CONN_TAG_MAX 16u
#define CONN_BYE_MAX 512u /* of the text of a BYE is kept */

struct loop;
struct conn;
struct conn_command;

struct conn_command_ops {
	/* Exactly once, unless the connection is lost or freed before. The command may be reused or freed. */
	void (*done)(struct conn_command *command, const struct imap_response *tagged);
	/* "+ text" that asks for something else than a literal; NULL where none is expected. */
	void (*continuation)(struct conn_command *command, const struct imap_response *response);
};

/* Embedded in its owner, at a fixed address until done. */
struct conn_command {
	const struct conn_command_ops *ops;
	void *ctx;
	char tag[CONN_TAG_MAX];
	/* the connection's: what isn't sent yet; wiped after use */
	char *text;
	size_t length, sent;
	bool waiting; /* for the "+" of a literal */
};

struct conn_ops {
	void (*connected)(void *ctx);
	/* All responses but tagged ones; of "+" those that no command waits for. */
	void (*response)(void *ctx, const struct imap_response *response);
	bool (*body_begin)(void *ctx, const struct imap_literal *literal);
	int (*body_data)(void *ctx, const char *bytes, size_t length);
	void (*body_end)(void *ctx);
	/* Once: end of stream, BYE, an error of stream or grammar. Commands in flight are forgotten. */
	void (*lost)(void *ctx, const struct error *err);
};

/* Bytes that may be read, for all connections of an account together. */
struct conn_bucket {
	uint64_t bytes_per_second; /* 0 = no limit */
	uint64_t tokens;
	uint64_t filled_at_ms;
};

struct conn_counters {
	uint64_t bytes_in, bytes_out, round_trips, commands;
};

/* NULL with `err` set when the stream can't even begin. `bucket` and `counters` are borrowed. */
struct conn *conn_new(struct loop *loop, const struct stream_factory *factory, const struct stream_target *target,
	struct conn_bucket *bucket, struct conn_counters *counters, const struct conn_ops *ops, void *ctx,
	struct error *err);
/* From anywhere, callbacks too: no callback comes any more. Commands in flight are forgotten. To be freed later. */
void conn_abandon(struct conn *conn);
/* Drops it as it is; never blocks. NULL is fine. */
void conn_free(struct conn *conn);
/* Another owner takes over. */
void conn_set_ops(struct conn *conn, const struct conn_ops *ops, void *ctx);

/*
 * Sends `text` with a tag in front and CRLF behind; copies it, so that a secret in it can be wiped
 * by the caller at once. A text that allow_command() refuses is a mistake of ours: returns
 * ERR_INVALID and sends nothing. Written by conn_flush().
 */
int conn_command_send(struct conn *conn, struct conn_command *command, const struct conn_command_ops *ops, void *ctx,
	const char *text, size_t length);
/* An untagged line of the client's: an answer to "+", DONE. Never logged. */
void conn_line_send(struct conn *conn, const char *text, size_t length);
void conn_flush(struct conn *conn);
/* From `done` of COMPRESS: the stream is deflated from the next byte on (RFC 4978). */
void conn_compress(struct conn *conn);
/* Says LOGOUT if nothing else waits to be written, for the free that follows. */
void conn_logout(struct conn *conn);

uint64_t conn_bytes_in(const struct conn *conn);
size_t conn_in_flight(const struct conn *conn);
