/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/imap/stream_script.h"
#include "src/base/loop.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "src/base/banned.h"

struct script_stream {
	struct stream stream;
	struct loop *loop;
	struct script_server *server;
	unsigned number;
	char **steps;
	unsigned at;
	GString *out; /* to the client */
	size_t out_at;
	GString *in; /* from the client, not yet a line */
	char *tags['z' + 1];
	struct loop_timer *ready, *wait;
	z_stream deflater, inflater;
	bool deflated;
	bool connected, closed, want_write, breathe, ended;
};

static struct script_stream *of(struct stream *s)
{
	return (struct script_stream *)s;
}

static void ready_run(void *data)
{
	struct script_stream *s = data;

	s->ready = NULL;
	s->stream.ready(s->stream.ctx);
}

static void ready_arm(struct script_stream *s)
{
	if (!s->ready)
		s->ready = loop_timer_add(s->loop, 0, ready_run, s);
}

static void wrong(struct script_stream *s, const char *what, const char *wanted, const char *got)
{
	g_string_append_printf(
		s->server->wrong, "connection %u: %s: wanted <%s>, got <%s>\n", s->number, what, wanted, got);
	s->closed = true;
	ready_arm(s);
}

static void send_bytes(struct script_stream *s, const char *bytes, size_t length)
{
	char room[4096];

	if (!s->deflated) {
		g_string_append_len(s->out, bytes, (gssize)length);
		return;
	}
	s->deflater.next_in = (z_const Bytef *)bytes;
	s->deflater.avail_in = (uInt)length;
	do {
		s->deflater.next_out = (Bytef *)room;
		s->deflater.avail_out = sizeof(room);
		deflate(&s->deflater, Z_SYNC_FLUSH);
		g_string_append_len(s->out, room, (gssize)(sizeof(room) - s->deflater.avail_out));
	} while (!s->deflater.avail_out);
}

static void take_bytes(struct script_stream *s, const char *bytes, size_t length)
{
	char room[4096];

	if (!s->deflated) {
		g_string_append_len(s->in, bytes, (gssize)length);
		g_string_append_len(s->server->log, bytes, (gssize)length);
		return;
	}
	s->inflater.next_in = (z_const Bytef *)bytes;
	s->inflater.avail_in = (uInt)length;
	do {
		s->inflater.next_out = (Bytef *)room;
		s->inflater.avail_out = sizeof(room);
		inflate(&s->inflater, Z_SYNC_FLUSH);
		g_string_append_len(s->in, room, (gssize)(sizeof(room) - s->inflater.avail_out));
	} while (!s->inflater.avail_out);
}

static void send_text(struct script_stream *s, const char *text)
{
	g_autoptr(GString) bytes = g_string_new(NULL);

	for (; *text; text++) {
		if (text[0] == '$' && g_ascii_islower(text[1])) {
			g_string_append(bytes, s->tags[(unsigned char)text[1]] ? s->tags[(unsigned char)text[1]] : "?");
			text++;
		} else {
			g_string_append_c(bytes, *text);
		}
	}
	send_bytes(s, bytes->str, bytes->len);
}

static void script_run(struct script_stream *s);

static void wait_run(void *data)
{
	struct script_stream *s = data;

	s->wait = NULL;
	script_run(s);
}

/* A line of the client's against the step that expects it. False: no whole line yet. */
static bool line_match(struct script_stream *s, const char *step)
{
	char *end = strstr(s->in->str, "\r\n");
	g_autofree char *line = NULL;
	const char *text;

	if (!end)
		return false;
	line = g_strndup(s->in->str, (gsize)(end - s->in->str));
	g_string_erase(s->in, 0, (gssize)(end + 2 - s->in->str));
	text = line;
	if (step[1] == ':') {
		char *space = strchr(line, ' ');

		if (!space) {
			wrong(s, "no tag", step, line);
			return true;
		}
		g_free(s->tags[(unsigned char)step[3]]);
		s->tags[(unsigned char)step[3]] = g_strndup(line, (gsize)(space - line));
		text = space + 1;
		step += 2;
	}
	if (!g_pattern_match_simple(step + 3, text))
		wrong(s, "line", step + 3, text);
	return true;
}

static void script_run(struct script_stream *s)
{
	while (!s->closed && !s->wait) {
		const char *step = s->steps[s->at];

		if (!step || !*step) {
			if (!s->ended)
				s->server->ended++;
			s->ended = true;
			if (s->in->len && strstr(s->in->str, "\r\n") && !strstr(s->in->str, " LOGOUT"))
				wrong(s, "behind the end", "silence", s->in->str);
			break;
		}
		if (step[0] == 'C') {
			if (!line_match(s, step))
				break;
		} else if (step[0] == 'S' && step[1] == ':') {
			send_text(s, strlen(step) > 3 ? step + 3 : "");
			send_bytes(s, "\r\n", 2);
		} else if (step[0] == 'S') {
			g_autofree char *text = g_strcompress(step + 3);

			send_text(s, text);
		} else if (step[0] == 'B') {
			g_autofree char *much = g_strnfill((gsize)strtoul(step + 2, NULL, 10), 'x');

			send_bytes(s, much, strlen(much));
		} else if (step[0] == 'D') {
			s->deflated = true;
			deflateInit2(&s->deflater, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
			inflateInit2(&s->inflater, -15);
		} else if (step[0] == 'W') {
			s->wait = loop_timer_add(s->loop, strtoul(step + 2, NULL, 10), wait_run, s);
		} else if (step[0] == 'N') {
			if (s->in->len)
				wrong(s, "too early", "nothing yet", s->in->str);
		} else if (step[0] == 'X') {
			s->closed = true;
			if (!s->steps[s->at + 1] || !*s->steps[s->at + 1])
				s->server->ended++;
		} else {
			wrong(s, "script", "a step", step);
		}
		s->at++;
	}
	if (s->closed || s->out_at < s->out->len)
		ready_arm(s);
}

static ssize_t script_connect(struct stream *stream, struct error *err)
{
	struct script_stream *s = of(stream);
	const char *first = s->steps[0] ? s->steps[0] : "";

	if (first[0] == 'F') {
		s->server->ended++;
		return error_set(err, ERR_UNREACHABLE, "%s", first + 2);
	}
	if (first[0] == 'H')
		return STREAM_AGAIN;
	s->connected = true;
	script_run(s);
	return 0;
}

static ssize_t script_read(struct stream *stream, void *buffer, size_t size, struct error *err)
{
	struct script_stream *s = of(stream);
	size_t n = MIN(size, s->out->len - s->out_at);

	if (!n)
		return s->closed ? 0 : STREAM_AGAIN;
	if (s->server->chunk) {
		s->breathe = !s->breathe;
		if (!s->breathe) {
			ready_arm(s);
			return STREAM_AGAIN;
		}
		/* large literals would take for ever byte by byte */
		n = MIN(n, MAX(s->server->chunk, (s->out->len - s->out_at) / 512));
	}
	memcpy(buffer, s->out->str + s->out_at, n);
	s->out_at += n;
	return (ssize_t)n;
}

static ssize_t script_write(struct stream *stream, const void *bytes, size_t length, struct error *err)
{
	struct script_stream *s = of(stream);

	if (s->closed)
		return error_set(err, ERR_UNREACHABLE, "broken pipe");
	if (s->server->chunk && !s->want_write)
		return STREAM_AGAIN;
	if (s->server->chunk)
		length = MIN(length, MAX(s->server->chunk, 3));
	take_bytes(s, bytes, length);
	script_run(s);
	return (ssize_t)length;
}

static void script_want_write(struct stream *stream, bool want)
{
	struct script_stream *s = of(stream);

	s->want_write = want;
	if (want)
		ready_arm(s);
}

static void script_free(struct stream *stream)
{
	struct script_stream *s = of(stream);

	s->server->alive--;
	loop_timer_cancel(s->ready);
	loop_timer_cancel(s->wait);
	for (size_t i = 0; i < G_N_ELEMENTS(s->tags); i++)
		g_free(s->tags[i]);
	g_strfreev(s->steps);
	if (s->deflated) {
		deflateEnd(&s->deflater);
		inflateEnd(&s->inflater);
	}
	g_string_free(s->in, TRUE);
	g_string_free(s->out, TRUE);
	g_free(s);
}

static const struct stream_ops script_ops = {
	.connect = script_connect,
	.read = script_read,
	.write = script_write,
	.want_write = script_want_write,
	.free = script_free,
};

static struct stream *script_open(const struct stream_factory *factory, struct loop *loop,
	const struct stream_target *target, stream_ready_fn ready, void *ctx, struct error *err)
{
	struct script_server *server = factory->data;
	struct script_stream *s = g_new0(struct script_stream, 1);

	s->stream = (struct stream){&script_ops, ready, ctx};
	s->loop = loop;
	s->server = server;
	s->number = server->opened++;
	s->in = g_string_new(NULL);
	s->out = g_string_new(NULL);
	server->alive++;
	server->most_alive = MAX(server->most_alive, server->alive);
	if (s->number >= SCRIPTS_MAX || !server->scripts[s->number])
		g_string_append_printf(server->wrong, "connection %u isn't in the script\n", s->number);
	s->steps = g_strsplit(
		s->number < SCRIPTS_MAX && server->scripts[s->number] ? server->scripts[s->number] : "H", "\n", -1);
	ready_arm(s);
	return &s->stream;
}

void script_server_init(struct script_server *server, size_t chunk)
{
	*server = (struct script_server){
		.factory = {.open = script_open, .data = server},
		.chunk = chunk,
		.wrong = g_string_new(NULL),
		.log = g_string_new(NULL),
	};
}

void script_server_fini(struct script_server *server)
{
	g_string_free(server->wrong, TRUE);
	g_string_free(server->log, TRUE);
}
