/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The byte stream below an IMAP connection, as a vtable: libcurl for real (stream_curl.c), a
 * script for tests (stream_script.c), and a deflate layer over another (stream_deflate.c, RFC 4978).
 *
 * Non-blocking and single-threaded: all calls come from the I/O loop. A stream announces itself by
 * its `ready` callback; it may then be read or written. Reading must go on until it gives
 * STREAM_AGAIN (TLS holds bytes that poll() doesn't see); the callback comes again when there is more.
 */
#pragma once

#include "src/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STREAM_AGAIN ((ssize_t)-1000) /* nothing now; `ready` will be called */

struct loop;
struct stream;

/* With STARTTLS the stream begins behind it: the greeting is read already, capabilities are to be asked for. */
enum stream_tls { STREAM_TLS_IMPLICIT, STREAM_TLS_STARTTLS, STREAM_TLS_NONE };

struct stream_target {
	const char *host; /* name or address; certificates are checked against it */
	uint16_t port;
	enum stream_tls tls;
	const char *ca_file; /* added to the system's roots; NULL = none */
};

typedef void (*stream_ready_fn)(void *ctx);

struct stream_ops {
	/* 0 = connected (and TLS verified), STREAM_AGAIN = still under way, else an error code. */
	ssize_t (*connect)(struct stream *s, struct error *err);
	/* Bytes read (> 0), 0 = end of stream, STREAM_AGAIN, or an error code. */
	ssize_t (*read)(struct stream *s, void *buffer, size_t size, struct error *err);
	/*
	 * Bytes taken (> 0), STREAM_AGAIN or an error code. After STREAM_AGAIN the next write must
	 * begin with the same bytes at the same address (OpenSSL); at most STREAM_WRITE_MAX at once.
	 */
	ssize_t (*write)(struct stream *s, const void *bytes, size_t length, struct error *err);
	/* Asks to be told when writing is possible too (after a write gave STREAM_AGAIN). */
	void (*want_write)(struct stream *s, bool want);
	void (*free)(struct stream *s); /* closes; never blocks */
};
#define STREAM_WRITE_MAX (16u * 1024u)

struct stream {
	const struct stream_ops *ops;
	stream_ready_fn ready;
	void *ctx;
};

/* Makes a stream that begins to connect at once; `ready` is called from the loop. */
struct stream_factory {
	struct stream *(*open)(const struct stream_factory *factory, struct loop *loop,
		const struct stream_target *target, stream_ready_fn ready, void *ctx, struct error *err);
	void *data;
};

extern const struct stream_factory stream_curl_factory;

/* Takes over `below`; `rest` are bytes already read that belong to the compressed stream. */
struct stream *stream_deflate_new(struct stream *below, const void *rest, size_t rest_length);
