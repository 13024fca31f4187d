/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the grammar share. Nothing outside of imap/{grammar,values,response,fetch,mailbox,search}.c
 * includes it.
 *
 * A response is one or more lines, joined by the octets of literals:
 *
 *	* 7 FETCH (UID 9 BODY[] {3}CRLF abc FLAGS (\Seen))CRLF
 *
 * grammar.c cuts the stream into lines and literals and works on whole lines only: a line that
 * arrives in one feed is parsed where it lies, others are collected first. response.c decides by
 * a line's first words what it is; values.c makes values of its tokens; fetch.c and response.c make
 * the typed response of the values. What must survive from one line of a response to the next is
 * here: open parentheses, values so far, the FETCH item that waits for its value.
 *
 * Lone LF: ends a line as CRLF does, since a server that writes it means it. It can't end a line
 * inside a quoted string or inside parentheses: there it is an error like any other broken line.
 */
#pragma once

#include "imap/arena.h"
#include "imap/grammar.h"

/* How the lines of the current response are read. */
enum line_kind {
	LINE_NONE,   /* between responses */
	LINE_TEXT,   /* complete with this line: status, continuation, plain text */
	LINE_VALUES, /* values at the top level, interpreted when all are there */
	LINE_FETCH,
	LINE_SEARCH,
	LINE_UNKNOWN, /* an untagged response that we don't know: text, but its literals are skipped */
};

/* FETCH items by the value that they take. */
enum fetch_item {
	ITEM_NONE, /* the next token is an item's name */
	ITEM_IGNORED,
	ITEM_UID,
	ITEM_FLAGS,
	ITEM_INTERNALDATE,
	ITEM_SIZE,
	ITEM_MODSEQ,
	ITEM_EMAILID,
	ITEM_GM_MSGID,
	ITEM_BODY,
	ITEM_HEADER,
	ITEM_ENVELOPE,
	ITEM_BODYSTRUCTURE,
	ITEMS,
};

enum literal_sink { SINK_NONE, SINK_MEMORY, SINK_BODY, SINK_SKIP };

struct literal {
	enum literal_sink sink; /* SINK_NONE: no literal under way */
	uint64_t size_bytes;    /* announced */
	uint64_t left_bytes;
	char *text; /* SINK_MEMORY: `room` bytes and one for the NUL */
	uint32_t room, used;
};

/* What a step of the parser came to. */
enum step {
	STEP_VALUE,   /* one more value at the wanted level */
	STEP_CLOSE,   /* the parenthesis (or ']') that ends the wanted level */
	STEP_END,     /* the line is over; at the top level so is the response */
	STEP_LITERAL, /* the line ends by announcing parser->literal */
	STEP_BROKEN,  /* not the grammar: parser->why */
	STEP_LIMIT,   /* a limit: parser->why */
};

struct imap_parser {
	struct imap_parser_ops ops;
	void *ctx;

	/* The stream. */
	GString *line;     /* the part of a line that earlier feeds brought */
	size_t line_bytes; /* of this response so far, literals' octets not counted */
	size_t rest;
	bool stop;
	struct literal literal;
	int failed;      /* sticky */
	const char *why; /* static text */

	/* The response. */
	enum line_kind kind;
	struct arena arena;
	struct imap_value *stack; /* finished values whose list isn't closed yet, or of the top level */
	uint32_t stack_count, stack_size;
	uint32_t nodes;
	uint32_t depth;
	uint32_t list_start[IMAP_NESTING_MAX]; /* stack index where each open list began */
	uint32_t *numbers;                     /* SEARCH */
	uint32_t numbers_size;
	struct imap_set set; /* ESEARCH, VANISHED */
	enum fetch_item item;
	bool fetch_open;
	struct imap_value fetch_values[ITEMS];
	struct imap_response response;
};

static inline enum step step_broken(struct imap_parser *p, const char *why)
{
	p->why = why;
	return STEP_BROKEN;
}

static inline enum step step_limit(struct imap_parser *p, const char *why)
{
	p->why = why;
	return STEP_LIMIT;
}

/* values.c */

/*
 * Parses on until a value is complete at `level` open parentheses; it is then on top of the
 * stack. `closer` is what ends that level besides the end of the line: ')' or, in a response
 * code, ']'. Literals are only known where `literals` is set.
 */
enum step values_next(
	struct imap_parser *p, const char **at, const char *end, uint32_t level, char closer, bool literals);
/* Reads "{n}", "{n+}" or "~{n}" if that is all that is left of the line: STEP_LITERAL, else STEP_END, STEP_LIMIT. */
enum step values_literal(struct imap_parser *p, const char *at, const char *end);
enum step values_push(struct imap_parser *p, const struct imap_value *value);
enum step values_push_text(struct imap_parser *p, enum imap_value_type type, const char *text, size_t length);
/* Drops what isn't a word (NIL, lists), so that every value left has a text. Returns how many are left. */
uint32_t values_keep_words(struct imap_value *values, uint32_t count);
/* Decimal digits and nothing else, up to 2^63 - 1: what the grammar calls number64, and what every store can hold. */
bool values_digits(const char *text, size_t length, uint64_t *number_out);
static inline const char *values_skip_spaces(const char *at, const char *end)
{
	while (at < end && *at == ' ')
		at++;
	return at;
}

/* fetch.c */

enum step fetch_line(struct imap_parser *p, const char *at, const char *end);
/* All octets of a literal that stands where an item's value does have arrived: its value is on the stack. */
enum step fetch_assign(struct imap_parser *p);
/* Points the response at the values; the last step before its callback. */
void fetch_finish(struct imap_parser *p);

/* response.c */

/* One line without its end. STEP_END: the response is complete. */
enum step response_line(struct imap_parser *p, const char *at, const char *end);

/* mailbox.c: LIST and STATUS */

/* Like values_next() at the top level, for a mailbox name: takes what servers forget to quote. */
enum step mailbox_name_next(struct imap_parser *p, const char **at, const char *end);
enum step mailbox_list_finish(struct imap_parser *p);
enum step mailbox_status_finish(struct imap_parser *p);

/* search.c: SEARCH, ESEARCH and VANISHED */

enum step search_line(struct imap_parser *p, const char *at, const char *end);
enum step search_esearch_finish(struct imap_parser *p);
enum step search_vanished_finish(struct imap_parser *p);
