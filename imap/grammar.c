/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stream: cuts bytes into lines and literals, passes bodies on, and calls back. */
#include "imap/grammar.h"
#include "imap/parser.h"

#include <string.h>

#include "src/base/banned.h"

#define KEEP_LINE_BYTES (64u * 1024u) /* buffers of a rare long response are given back after it */
#define KEEP_VALUES 4096u
#define STACK_FIRST 64u
#define NUMBER_BYTES_MAX 64              /* with more digits it is no number of a message */
#define SEARCH_PIECE_BYTES (64u * 1024u) /* of a SEARCH's line so much is collected before its numbers are read */

struct imap_parser *imap_parser_new(const struct imap_parser_ops *ops, void *ctx)
{
	struct imap_parser *p = g_new0(struct imap_parser, 1);

	p->ops = *ops;
	p->ctx = ctx;
	p->line = g_string_new(NULL);
	p->stack_size = STACK_FIRST; /* there from the start: an empty response's values are no NULL either */
	p->stack = g_new(struct imap_value, p->stack_size);
	arena_init(&p->arena, IMAP_RESPONSE_MEMORY_MAX);
	imap_set_init(&p->set);
	p->response.text = "";
	return p;
}

void imap_parser_free(struct imap_parser *p)
{
	if (!p)
		return;
	g_string_free(p->line, TRUE);
	arena_fini(&p->arena);
	imap_set_fini(&p->set);
	g_free(p->stack);
	g_free(p->numbers);
	g_free(p);
}

/* A line is parsed, its values are copies. */
static void line_reset(struct imap_parser *p)
{
	if (p->line->allocated_len > KEEP_LINE_BYTES) {
		g_string_free(p->line, TRUE);
		p->line = g_string_new(NULL);
	}
	g_string_truncate(p->line, 0);
}

/* Between responses. */
static void response_reset(struct imap_parser *p)
{
	p->kind = LINE_NONE;
	p->line_bytes = 0;
	p->stack_count = 0;
	p->nodes = 0;
	p->depth = 0;
	p->item = ITEM_NONE;
	p->fetch_open = false;
	memset(&p->response, 0, sizeof(p->response));
	p->response.text = "";
	arena_reset(&p->arena);
	p->arena.limit_bytes = IMAP_RESPONSE_MEMORY_MAX;
	if (p->stack_size > KEEP_VALUES) {
		p->stack_size = STACK_FIRST;
		p->stack = g_renew(struct imap_value, p->stack, p->stack_size);
	}
	if (p->numbers_size > KEEP_VALUES) {
		g_clear_pointer(&p->numbers, g_free);
		p->numbers_size = 0;
	}
	if (p->set.ranges->len > KEEP_VALUES) {
		imap_set_fini(&p->set);
		imap_set_init(&p->set);
	}
}

static void fail(struct imap_parser *p, int code, const char *why)
{
	p->failed = code;
	p->why = why;
}

static bool is_item_value(const struct imap_parser *p)
{
	return p->kind == LINE_FETCH && p->depth == 1;
}

static enum step literal_end(struct imap_parser *p)
{
	struct literal literal = p->literal;
	enum step step;

	p->literal.sink = SINK_NONE;
	if (p->kind == LINE_UNKNOWN)
		return STEP_VALUE;
	if (literal.sink == SINK_MEMORY) {
		literal.text[literal.used] = '\0';
		step = values_push(
			p, &(struct imap_value){.type = IMAP_STRING,
				   .length = literal.used,
				   .streamed_bytes = literal.size_bytes > literal.used ? literal.size_bytes : 0,
				   .text = literal.text});
	} else {
		if (literal.sink == SINK_BODY && p->ops.body_end)
			p->ops.body_end(p->ctx);
		step = values_push(p,
			&(struct imap_value){.type = IMAP_STREAMED, .streamed_bytes = literal.size_bytes, .text = ""});
	}
	return step == STEP_VALUE && is_item_value(p) ? fetch_assign(p) : step;
}

/* The line announced p->literal: where do its octets go? */
static enum step literal_begin(struct imap_parser *p)
{
	struct literal *literal = &p->literal;
	const struct imap_literal body = {p->response.fetch.sequence, p->response.fetch.uid, literal->size_bytes};

	if (is_item_value(p) && p->item == ITEM_BODY) {
		literal->sink = p->ops.body_begin && p->ops.body_begin(p->ctx, &body) ? SINK_BODY : SINK_SKIP;
	} else if (literal->size_bytes > IMAP_LITERAL_MEMORY_MAX && p->kind != LINE_FETCH) {
		return step_limit(p, "a literal too large for memory");
	} else if (p->kind == LINE_UNKNOWN) {
		literal->sink = SINK_SKIP;
	} else {
		/*
		 * Whoever sends a mail decides how long its header fields are. That must not end
		 * the session, so of a FETCH only the beginning is kept.
		 */
		literal->sink = SINK_MEMORY;
		literal->room = (uint32_t)MIN(literal->size_bytes, IMAP_LITERAL_MEMORY_MAX);
		literal->text = arena_bytes(&p->arena, literal->room + 1);
		if (!literal->text)
			return step_limit(p, "a response too large for memory");
	}
	return literal->left_bytes == 0 ? literal_end(p) : STEP_VALUE;
}

static size_t literal_take(struct imap_parser *p, const char *at, size_t length)
{
	struct literal *literal = &p->literal;
	size_t take = (size_t)MIN(literal->left_bytes, length);

	if (literal->sink == SINK_MEMORY) {
		size_t kept = MIN(take, literal->room - literal->used);

		memcpy(literal->text + literal->used, at, kept);
		literal->used += (uint32_t)kept;
	} else if (literal->sink == SINK_BODY && p->ops.body_data) {
		int code = p->ops.body_data(p->ctx, at, take);

		if (code) {
			fail(p, code, "the message can't be stored");
			return take;
		}
	}
	literal->left_bytes -= take;
	if (literal->left_bytes == 0 && literal_end(p) != STEP_VALUE)
		fail(p, ERR_PROTOCOL, p->why);
	return take;
}

/* A whole line, its LF left out. */
static void line_parse(struct imap_parser *p, const char *at, size_t length)
{
	const char *end = at + length;
	enum step step;

	if (length > 0 && end[-1] == '\r')
		end--;
	step = response_line(p, at, end);
	line_reset(p);
	if (step == STEP_LITERAL)
		step = literal_begin(p);
	if (step == STEP_BROKEN || step == STEP_LIMIT) {
		fail(p, ERR_PROTOCOL, p->why);
	} else if (step == STEP_END) {
		p->ops.response(p->ctx, &p->response);
		response_reset(p);
	}
}

static bool line_is(const char *at, size_t length, const char *start)
{
	return length >= strlen(start) && g_ascii_strncasecmp(at, start, strlen(start)) == 0;
}

/* How long the line may become that is p->line so far and goes on at `at`. */
static size_t line_max(const struct imap_parser *p, const char *at, size_t length)
{
	char start[16];
	size_t used = MIN(p->line->len, sizeof(start)), more = MIN(length, sizeof(start) - used);

	memcpy(start, p->line->str, used);
	memcpy(start + used, at, more);
	if (p->kind == LINE_SEARCH || (p->kind == LINE_NONE && line_is(start, used + more, "* SEARCH ")))
		return IMAP_SEARCH_LINE_MAX;
	if (p->kind == LINE_NONE &&
		(line_is(start, used + more, "* ESEARCH ") || line_is(start, used + more, "* VANISHED ")))
		return IMAP_SET_LINE_MAX;
	return IMAP_LINE_MAX;
}

/* A SEARCH that isn't over yet? */
static bool is_search(const struct imap_parser *p)
{
	return p->kind == LINE_SEARCH || (p->kind == LINE_NONE && line_is(p->line->str, p->line->len, "* SEARCH "));
}

/* Reads the whole numbers that p->line holds of it. What a parenthesis opens waits for the line's end. */
static void search_drain(struct imap_parser *p)
{
	const char *from = p->line->str, *open = memchr(from, '(', p->line->len);
	const char *end = open ? open : from + p->line->len, *to = end;
	enum step step;

	while (to > from && to[-1] != ' ')
		to--;
	if (to == from) {
		if (end - from > NUMBER_BYTES_MAX)
			fail(p, ERR_PROTOCOL, "a malformed SEARCH");
		else if (p->line->len > IMAP_LINE_MAX)
			fail(p, ERR_PROTOCOL, "a response too long");
		return;
	}
	step = response_line(p, from, to);
	if (step == STEP_BROKEN || step == STEP_LIMIT)
		fail(p, ERR_PROTOCOL, p->why);
	g_string_erase(p->line, 0, to - from);
}

static size_t line_take(struct imap_parser *p, const char *at, size_t length)
{
	const char *lf = memchr(at, '\n', length);
	size_t take = lf ? (size_t)(lf - at) + 1 : length;

	if (p->line_bytes + take > IMAP_LINE_MAX && p->line_bytes + take > line_max(p, at, take)) {
		fail(p, ERR_PROTOCOL, "a response too long");
		return take;
	}
	p->line_bytes += take;
	if (lf && p->line->len == 0) {
		line_parse(p, at, take - 1);
		return take;
	}
	g_string_append_len(p->line, at, (gssize)take);
	if (lf)
		line_parse(p, p->line->str, p->line->len - 1);
	else if (p->line->len >= SEARCH_PIECE_BYTES && is_search(p))
		search_drain(p);
	return take;
}

int imap_parser_feed(struct imap_parser *p, const char *bytes, size_t length, struct error *err)
{
	size_t at = 0;

	p->rest = 0;
	while (!p->failed && at < length) {
		if (p->literal.sink != SINK_NONE)
			at += literal_take(p, bytes + at, length - at);
		else
			at += line_take(p, bytes + at, length - at);
		if (p->stop && !imap_parser_mid_response(p)) {
			p->stop = false;
			break;
		}
	}
	if (p->failed)
		return error_set(err, p->failed, "the server's answer: %s", p->why);
	p->rest = length - at;
	return 0;
}

void imap_parser_stop(struct imap_parser *p)
{
	p->stop = true;
}

size_t imap_parser_rest(const struct imap_parser *p)
{
	return p->rest;
}

bool imap_parser_mid_response(const struct imap_parser *p)
{
	return p->kind != LINE_NONE || p->line->len > 0;
}
