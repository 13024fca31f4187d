/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a line is: its first words decide how it is read, and what becomes of its values. */
#include "imap/parser.h"

#include <string.h>

#include "src/base/banned.h"

struct word {
	const char *text;
	size_t length;
};

/* The next word, ended by a space, a parenthesis or a bracket; moves behind it. */
static struct word word_take(const char **at, const char *end)
{
	struct word word = {.text = *at};

	while (*at < end && **at != ' ' && **at != '(' && **at != '[')
		++*at;
	word.length = (size_t)(*at - word.text);
	return word;
}

static bool word_is(struct word word, const char *name)
{
	return word.length == strlen(name) && g_ascii_strncasecmp(word.text, name, word.length) == 0;
}

/* The human part. Nothing in it is protocol, whatever it looks like. */
static enum step text_set(struct imap_parser *p, const char *at, const char *end)
{
	p->response.text = arena_text(&p->arena, at, (size_t)(end - at));
	if (!p->response.text)
		return step_limit(p, "a response too large for memory");
	p->response.text_length = (uint32_t)(end - at);
	return STEP_END;
}

static enum step other(struct imap_parser *p, const char *at, const char *end)
{
	p->kind = LINE_TEXT;
	p->response.type = IMAP_OTHER;
	return text_set(p, at, end);
}

/*
 * "[CODE values] text". What doesn't read as a code is text: servers put brackets of their own
 * there. STEP_END: `*at` is behind the code, if there was one.
 */
static enum step code_take(struct imap_parser *p, const char **at, const char *end)
{
	const char *from = *at + 1, *to = from;
	char *code;
	enum step step;

	while (to < end && *to != ' ' && *to != ']')
		to++;
	if (to == from || to == end || memchr(from, '\0', (size_t)(to - from)))
		return STEP_END;
	code = arena_text(&p->arena, from, (size_t)(to - from));
	if (!code)
		return step_limit(p, "a response too large for memory");
	for (char *c = code; *c; c++)
		*c = g_ascii_toupper(*c);
	do {
		step = values_next(p, &to, end, 0, ']', false);
	} while (step == STEP_VALUE);
	if (step == STEP_LIMIT)
		return step;
	if (step != STEP_CLOSE) {
		p->stack_count = 0;
		p->depth = 0;
		return STEP_END;
	}
	p->response.code = code;
	p->response.code_values_count = p->stack_count;
	*at = to;
	return STEP_END;
}

static enum step status_line(
	struct imap_parser *p, enum imap_response_type type, enum imap_status status, const char *at, const char *end)
{
	p->kind = LINE_TEXT;
	p->response.type = type;
	p->response.status = status;
	at = values_skip_spaces(at, end);
	if (at < end && *at == '[') {
		enum step step = code_take(p, &at, end);

		if (step != STEP_END)
			return step;
		at = values_skip_spaces(at, end);
	}
	return text_set(p, at, end);
}

static bool status_of(struct word word, enum imap_status *status_out)
{
	static const char names[][8] = {
		[IMAP_OK] = "OK", [IMAP_NO] = "NO", [IMAP_BAD] = "BAD", [IMAP_BYE] = "BYE", [IMAP_PREAUTH] = "PREAUTH"};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (word_is(word, names[i])) {
			*status_out = (enum imap_status)i;
			return true;
		}
	return false;
}

/*
 * An untagged response that we don't know may hold literals (METADATA), and their octets must not
 * be read as protocol. So here a line may announce one: with "{n}" as a word of its own, outside a
 * quoted string.
 */
static enum step unknown_line(struct imap_parser *p, const char *at, const char *end)
{
	const char *brace = end;
	bool quoted = false;

	if (at == end || end[-1] != '}')
		return STEP_END;
	while (brace > at && brace[-1] != ' ' && brace[-1] != '(')
		brace--;
	for (; at < brace; at++) {
		if (quoted && *at == '\\')
			at++;
		else if (*at == '"')
			quoted = !quoted;
	}
	return quoted ? STEP_END : values_literal(p, brace, end);
}

static enum step unknown(struct imap_parser *p, const char *at, const char *end)
{
	enum step step = other(p, at, end);

	p->kind = LINE_UNKNOWN;
	return step == STEP_END ? unknown_line(p, at, end) : step;
}

static enum step values_line(struct imap_parser *p, const char *at, const char *end)
{
	uint32_t name_index = p->response.type == IMAP_LIST_RESPONSE     ? 2
	                      : p->response.type == IMAP_STATUS_RESPONSE ? 0
	                                                                 : UINT32_MAX;
	enum step step;

	do {
		if (p->depth == 0 && p->stack_count == name_index)
			step = mailbox_name_next(p, &at, end);
		else
			step = values_next(p, &at, end, 0, ')', true);
	} while (step == STEP_VALUE);
	return step == STEP_CLOSE ? step_broken(p, "a parenthesis closed that wasn't open") : step;
}

/* What overflows is a number all the same, one out of range. */
static bool number_of(struct word word, uint64_t *number_out)
{
	for (size_t i = 0; i < word.length; i++)
		if (!g_ascii_isdigit(word.text[i]))
			return false;
	if (!values_digits(word.text, word.length, number_out))
		*number_out = UINT64_MAX;
	return word.length > 0;
}

/* "* n WORD": about one message, or how many there are. */
static enum step numbered(struct imap_parser *p, uint64_t number, const char *line, const char *at, const char *end)
{
	struct word word = word_take(&at, end);
	struct imap_response *r = &p->response;
	bool is_uid = word_is(word, "UIDFETCH"); /* RFC 9586 */

	if (is_uid || word_is(word, "FETCH")) {
		p->kind = LINE_FETCH;
		r->type = IMAP_FETCH;
		r->fetch.internal_date = INT64_MIN;
		if (is_uid) {
			r->fetch.uid = (uint32_t)number;
			r->fetch.items = IMAP_FETCH_UID;
		} else {
			r->fetch.sequence = (uint32_t)number;
		}
	} else if (word_is(word, "EXISTS")) {
		r->type = IMAP_EXISTS;
	} else if (word_is(word, "RECENT")) {
		r->type = IMAP_RECENT;
	} else if (word_is(word, "EXPUNGE")) {
		r->type = IMAP_EXPUNGE;
	} else {
		return unknown(p, line, end);
	}
	if (number > UINT32_MAX || (number == 0 && (r->type == IMAP_FETCH || r->type == IMAP_EXPUNGE)))
		return step_broken(p, "a message number out of range");
	r->number = (uint32_t)number;
	if (p->kind == LINE_FETCH)
		return fetch_line(p, at, end);
	p->kind = LINE_TEXT;
	return STEP_END;
}

static enum step untagged(struct imap_parser *p, const char *line, const char *end)
{
	static const struct {
		const char *name;
		enum line_kind kind;
		enum imap_response_type type;
	} types[] = {
		{"LIST", LINE_VALUES, IMAP_LIST_RESPONSE},
		{"LSUB", LINE_VALUES, IMAP_LIST_RESPONSE},
		{"XLIST", LINE_VALUES, IMAP_LIST_RESPONSE},
		{"STATUS", LINE_VALUES, IMAP_STATUS_RESPONSE},
		{"SEARCH", LINE_SEARCH, IMAP_SEARCH},
		{"ESEARCH", LINE_VALUES, IMAP_ESEARCH},
		{"VANISHED", LINE_VALUES, IMAP_VANISHED},
		{"FLAGS", LINE_VALUES, IMAP_FLAGS},
		{"CAPABILITY", LINE_VALUES, IMAP_CAPABILITY},
		{"ENABLED", LINE_VALUES, IMAP_ENABLED},
		{"NAMESPACE", LINE_VALUES, IMAP_NAMESPACE},
		{"ID", LINE_VALUES, IMAP_ID},
		{"QUOTA", LINE_VALUES, IMAP_QUOTA},
		{"QUOTAROOT", LINE_VALUES, IMAP_QUOTAROOT},
	};
	const char *at = values_skip_spaces(line + 2, end);
	struct word word = word_take(&at, end);
	enum imap_status status;
	uint64_t number;

	/* "* [CODE] text": Exchange leaves out the OK. */
	if (word.length == 0 && at < end && *at == '[')
		return status_line(p, IMAP_UNTAGGED, IMAP_OK, at, end);
	if (status_of(word, &status))
		return status_line(p, IMAP_UNTAGGED, status, at, end);
	if (number_of(word, &number))
		return numbered(p, number, line, values_skip_spaces(at, end), end);
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
		if (word_is(word, types[i].name)) {
			p->kind = types[i].kind;
			p->response.type = types[i].type;
			if (types[i].type == IMAP_ESEARCH || types[i].type == IMAP_VANISHED)
				p->arena.limit_bytes = IMAP_RESPONSE_MEMORY_MAX + IMAP_SET_LINE_MAX;
			return p->kind == LINE_SEARCH ? search_line(p, at, end) : values_line(p, at, end);
		}
	return unknown(p, line, end);
}

/* "TAG OK text", or a line that is no response: "Server Unavailable. 15". */
static enum step tagged(struct imap_parser *p, const char *line, const char *end)
{
	const char *at = line;
	struct word tag = word_take(&at, end), word;
	enum imap_status status;

	if (tag.length == 0 || at == end || *at != ' ' || memchr(tag.text, '\0', tag.length))
		return other(p, line, end);
	at = values_skip_spaces(at, end);
	word = word_take(&at, end);
	if (!status_of(word, &status) || status > IMAP_BAD)
		return other(p, line, end);
	p->response.tag = arena_text(&p->arena, tag.text, tag.length);
	if (!p->response.tag)
		return step_limit(p, "a response too large for memory");
	return status_line(p, IMAP_TAGGED, status, at, end);
}

static enum step first_line(struct imap_parser *p, const char *at, const char *end)
{
	if (at == end)
		return other(p, at, end);
	if (*at == '+') {
		p->kind = LINE_TEXT;
		p->response.type = IMAP_CONTINUATION;
		return text_set(p, values_skip_spaces(at + 1, end), end);
	}
	if (*at == '[') {
		enum step step = status_line(p, IMAP_UNTAGGED, IMAP_OK, at, end);

		return step == STEP_END && !p->response.code ? other(p, at, end) : step;
	}
	if (*at == '*' && end - at > 1 && at[1] == ' ')
		return untagged(p, at, end);
	return tagged(p, at, end);
}

/* FLAGS and ID come as one list; their values are what is in it. */
static void unwrap(struct imap_response *r)
{
	if (r->values_count == 1 && r->values[0].type == IMAP_LIST) {
		r->values_count = r->values[0].length;
		r->values = r->values[0].items;
	} else if (r->values_count == 1 && r->values[0].type == IMAP_NIL) {
		r->values_count = 0;
	}
}

static enum step finish(struct imap_parser *p)
{
	struct imap_response *r = &p->response;

	if (p->kind == LINE_FETCH) {
		fetch_finish(p);
		return STEP_END;
	}
	if (r->code)
		r->code_values = p->stack;
	r->numbers = p->numbers;
	if (p->kind != LINE_VALUES)
		return STEP_END;
	r->values = p->stack;
	r->values_count = p->stack_count;
	switch (r->type) {
	case IMAP_LIST_RESPONSE:
		return mailbox_list_finish(p);
	case IMAP_STATUS_RESPONSE:
		return mailbox_status_finish(p);
	case IMAP_ESEARCH:
		return search_esearch_finish(p);
	case IMAP_VANISHED:
		return search_vanished_finish(p);
	case IMAP_FLAGS:
		unwrap(r);
		r->values_count = values_keep_words((struct imap_value *)r->values, r->values_count);
		return STEP_END;
	case IMAP_CAPABILITY:
	case IMAP_ENABLED:
		r->values_count = values_keep_words(p->stack, r->values_count);
		return STEP_END;
	case IMAP_ID:
		unwrap(r);
		return STEP_END;
	default:
		return STEP_END;
	}
}

enum step response_line(struct imap_parser *p, const char *at, const char *end)
{
	enum step step;

	switch (p->kind) {
	case LINE_FETCH:
		step = fetch_line(p, at, end);
		break;
	case LINE_VALUES:
		step = values_line(p, at, end);
		break;
	case LINE_SEARCH: /* goes on: the beginning was read before its line was over */
		step = search_line(p, at, end);
		break;
	case LINE_UNKNOWN:
		step = unknown_line(p, at, end);
		break;
	default:
		step = first_line(p, at, end);
	}
	return step == STEP_END ? finish(p) : step;
}
