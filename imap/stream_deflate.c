/* SPDX-License-Identifier: GPL-2.0-or-later */
/* COMPRESS=DEFLATE (RFC 4978): raw deflate both ways over another stream. */
#include "imap/stream.h"

#include <glib.h>
#include <string.h>
#include <zlib.h>

#include "src/base/banned.h"

#define INPUT_BYTES (64u * 1024u)
/* What 16 KiB become at worst: stored blocks of 5 bytes more each, and the flush's empty block. */
#define OUTPUT_BYTES (STREAM_WRITE_MAX + 1024u)
#define WINDOW_BITS (-15) /* raw: no header, no checksum */

struct deflate_stream {
	struct stream stream;
	struct stream *below;
	z_stream in, out;
	bool ended;
	size_t taken;          /* of the caller's bytes, that stand compressed in output */
	size_t output_written; /* of output */
	size_t output_length;
	size_t rest_length, rest_at; /* bytes that were read before we began */
	Bytef *rest;
	Bytef input[INPUT_BYTES];
	Bytef output[OUTPUT_BYTES];
};

static struct deflate_stream *of(struct stream *s)
{
	return (struct deflate_stream *)s;
}

static ssize_t deflate_connect(struct stream *s, struct error *err)
{
	return 0;
}

/* More compressed bytes: 1 = there are some, else what the stream below says. */
static ssize_t input_fill(struct deflate_stream *d, struct error *err)
{
	ssize_t n;

	if (d->rest_at < d->rest_length) {
		n = (ssize_t)MIN(d->rest_length - d->rest_at, INPUT_BYTES);
		memcpy(d->input, d->rest + d->rest_at, (size_t)n);
		d->rest_at += (size_t)n;
	} else {
		n = d->below->ops->read(d->below, d->input, INPUT_BYTES, err);
		if (n <= 0)
			return n;
	}
	d->in.next_in = d->input;
	d->in.avail_in = (uInt)n;
	return 1;
}

static ssize_t deflate_read(struct stream *s, void *buffer, size_t size, struct error *err)
{
	struct deflate_stream *d = of(s);

	size = MIN(size, G_MAXINT);
	d->in.next_out = buffer;
	d->in.avail_out = (uInt)size;
	while (!d->ended) {
		/* first what zlib still holds back from a full buffer, then new bytes */
		int code = inflate(&d->in, Z_SYNC_FLUSH);
		ssize_t n;

		if (code == Z_STREAM_END)
			d->ended = true;
		else if (code != Z_OK && code != Z_BUF_ERROR)
			return error_set(err, ERR_PROTOCOL, "the compressed stream is broken: %s",
				d->in.msg ? d->in.msg : "inflate failed");
		if (d->in.avail_out < size)
			return (ssize_t)(size - d->in.avail_out);
		if (d->ended)
			break;
		n = input_fill(d, err);
		if (n <= 0)
			return n;
	}
	return 0;
}

static ssize_t deflate_write(struct stream *s, const void *bytes, size_t length, struct error *err)
{
	struct deflate_stream *d = of(s);

	if (!d->taken) {
		length = MIN(length, STREAM_WRITE_MAX);
		d->out.next_in = (z_const Bytef *)bytes;
		d->out.avail_in = (uInt)length;
		d->out.next_out = d->output;
		d->out.avail_out = OUTPUT_BYTES;
		if (deflate(&d->out, Z_SYNC_FLUSH) != Z_OK || d->out.avail_in || !d->out.avail_out)
			return error_set(err, ERR_FAILED, "deflate failed");
		d->taken = length;
		d->output_written = 0;
		d->output_length = OUTPUT_BYTES - d->out.avail_out;
	}
	while (d->output_written < d->output_length) {
		ssize_t n = d->below->ops->write(d->below, d->output + d->output_written,
			MIN(d->output_length - d->output_written, STREAM_WRITE_MAX), err);

		if (n < 0) /* STREAM_AGAIN too: the caller comes back with the same bytes, which we have */
			return n;
		d->output_written += (size_t)n;
	}
	length = d->taken;
	d->taken = 0;
	return (ssize_t)length;
}

static void deflate_want_write(struct stream *s, bool want)
{
	struct deflate_stream *d = of(s);

	d->below->ops->want_write(d->below, want);
}

static void deflate_free(struct stream *s)
{
	struct deflate_stream *d = of(s);

	d->below->ops->free(d->below);
	inflateEnd(&d->in);
	deflateEnd(&d->out);
	g_free(d->rest);
	g_free(d);
}

static const struct stream_ops deflate_ops = {
	.connect = deflate_connect,
	.read = deflate_read,
	.write = deflate_write,
	.want_write = deflate_want_write,
	.free = deflate_free,
};

struct stream *stream_deflate_new(struct stream *below, const void *rest, size_t rest_length)
{
	struct deflate_stream *d = g_new0(struct deflate_stream, 1);

	/* The stream below goes on telling its owner directly: readiness is the same for both. */
	d->stream = (struct stream){&deflate_ops, below->ready, below->ctx};
	d->below = below;
	d->rest = g_memdup2(rest, rest_length);
	d->rest_length = rest_length;
	if (inflateInit2(&d->in, WINDOW_BITS) != Z_OK ||
		deflateInit2(&d->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		g_error("zlib: out of memory");
	return &d->stream;
}
