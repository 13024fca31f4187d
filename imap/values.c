/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tokens become values: atoms, strings, literals and lists of them. No recursion: the depth is the server's choice. */
#include "imap/parser.h"
#include "src/base/limits.h"

#include <string.h>

#include "src/base/banned.h"

enum step values_push(struct imap_parser *p, const struct imap_value *value)
{
	if (++p->nodes > IMAP_NODES_MAX)
		return step_limit(p, "a response of too many values");
	if (!arena_charge(&p->arena, sizeof(*value)))
		return step_limit(p, "a response too large for memory");
	if (p->stack_count == p->stack_size) {
		p->stack_size *= 2;
		p->stack = g_renew(struct imap_value, p->stack, p->stack_size);
	}
	p->stack[p->stack_count++] = *value;
	return STEP_VALUE;
}

enum step values_push_text(struct imap_parser *p, enum imap_value_type type, const char *text, size_t length)
{
	char *copy = arena_text(&p->arena, text, length);

	if (!copy)
		return step_limit(p, "a response too large for memory");
	return values_push(p, &(struct imap_value){.type = type, .length = (uint32_t)length, .text = copy});
}

static enum step list_open(struct imap_parser *p)
{
	if (p->depth == IMAP_NESTING_MAX)
		return step_limit(p, "parentheses nested too deep");
	p->list_start[p->depth++] = p->stack_count;
	return STEP_VALUE;
}

/* The values since the list was opened move out of the stack to their final, contiguous place. */
static enum step list_close(struct imap_parser *p)
{
	uint32_t start = p->list_start[--p->depth], count = p->stack_count - start;
	struct imap_value list = {.type = IMAP_LIST, .length = count, .text = ""};

	if (count > 0) {
		struct imap_value *items = arena_place(&p->arena, count * sizeof(*items));

		memcpy(items, p->stack + start, count * sizeof(*items));
		list.items = items;
	}
	p->stack_count = start;
	return values_push(p, &list);
}

static enum step quoted_take(struct imap_parser *p, const char **at, const char *end)
{
	const char *from = *at + 1, *quote = from;
	bool escaped = false;
	char *copy, *to;

	for (; quote < end && *quote != '"'; quote++) {
		if (*quote == '\\') {
			escaped = true;
			if (++quote == end)
				break;
		}
		if (*quote == '\r')
			return step_broken(p, "a line end inside a quoted string");
	}
	if (quote >= end)
		return step_broken(p, "a line end inside a quoted string");
	*at = quote + 1;
	if (!escaped)
		return values_push_text(p, IMAP_STRING, from, (size_t)(quote - from));
	copy = arena_bytes(&p->arena, (size_t)(quote - from) + 1);
	if (!copy)
		return step_limit(p, "a response too large for memory");
	for (to = copy; from < quote; *to++ = *from++)
		if (*from == '\\')
			from++;
	*to = '\0';
	return values_push(p, &(struct imap_value){.type = IMAP_STRING, .length = (uint32_t)(to - copy), .text = copy});
}

/*
 * Servers put 8-bit and control characters into atoms, and brackets into flags; so only what
 * gives structure ends one.
 */
static enum step atom_take(struct imap_parser *p, const char **at, const char *end, char closer)
{
	const char *from = *at, *to = from;
	size_t length;

	for (; to < end && *to != ' ' && *to != '(' && *to != ')' && *to != '"' && *to != closer; to++)
		if (*to == '\r')
			return step_broken(p, "a lone CR");
	*at = to;
	length = (size_t)(to - from);
	if (length == 3 && g_ascii_strncasecmp(from, "NIL", 3) == 0)
		return values_push(p, &(struct imap_value){.type = IMAP_NIL, .text = ""});
	return values_push_text(p, IMAP_ATOM, from, length);
}

enum step values_literal(struct imap_parser *p, const char *at, const char *end)
{
	uint64_t size = 0;
	const char *digits;

	if (at < end && *at == '~') /* literal8: the same octets for us */
		at++;
	if (end - at < 3 || *at++ != '{' || *--end != '}')
		return STEP_END;
	if (end[-1] == '+')
		end--;
	for (digits = at; at < end && g_ascii_isdigit(*at); at++)
		if (size <= LIMIT_BODY_BYTES)
			size = size * 10 + (uint64_t)(*at - '0');
	if (at == digits || at < end)
		return STEP_END;
	if (size > LIMIT_BODY_BYTES)
		return step_limit(p, "a literal too large for any message");
	p->literal = (struct literal){.size_bytes = size, .left_bytes = size};
	return STEP_LITERAL;
}

enum step values_next(
	struct imap_parser *p, const char **at, const char *end, uint32_t level, char closer, bool literals)
{
	for (;;) {
		enum step step;

		*at = values_skip_spaces(*at, end);
		if (*at == end)
			return p->depth > level ? step_broken(p, "a line end inside parentheses") : STEP_END;
		if (p->depth == level && **at == closer) {
			++*at;
			return STEP_CLOSE;
		}
		switch (**at) {
		case '(':
			++*at;
			step = list_open(p);
			break;
		case ')':
			if (p->depth == level)
				return step_broken(p, "a parenthesis closed that wasn't open");
			++*at;
			step = list_close(p);
			break;
		case '"':
			step = quoted_take(p, at, end);
			break;
		case '{':
		case '~':
			step = literals ? values_literal(p, *at, end) : STEP_END;
			if (step == STEP_LITERAL)
				*at = end;
			if (step != STEP_END)
				return step;
			/* What looks like a literal must be one: its octets would be read as protocol. */
			if (literals && (**at == '{' || (end - *at > 1 && (*at)[1] == '{')))
				return step_broken(p, "a malformed literal");
			step = atom_take(p, at, end, p->depth == level ? closer : ')');
			break;
		default:
			step = atom_take(p, at, end, p->depth == level ? closer : ')');
		}
		if (step != STEP_VALUE || p->depth == level)
			return step;
	}
}

uint32_t values_keep_words(struct imap_value *values, uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++)
		if (values[i].type == IMAP_ATOM || values[i].type == IMAP_STRING)
			values[kept++] = values[i];
	return kept;
}

bool values_digits(const char *text, size_t length, uint64_t *number_out)
{
	uint64_t number = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned digit = (unsigned char)text[i] - '0';

		if (digit > 9 || number > (INT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*number_out = number;
	return length > 0;
}

bool imap_value_is(const struct imap_value *value, const char *atom)
{
	size_t length = strlen(atom);

	return (value->type == IMAP_ATOM || value->type == IMAP_STRING) && value->length == length &&
	       g_ascii_strncasecmp(value->text, atom, length) == 0;
}

bool imap_value_number(const struct imap_value *value, uint64_t *number_out)
{
	return (value->type == IMAP_ATOM || value->type == IMAP_STRING) &&
	       values_digits(value->text, value->length, number_out);
}

bool imap_quote(GString *out, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] == '\0' || text[i] == '\r' || text[i] == '\n' || (text[i] & 0x80))
			return false;
	g_string_append_c(out, '"');
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '"' || text[i] == '\\')
			g_string_append_c(out, '\\');
		g_string_append_c(out, text[i]);
	}
	g_string_append_c(out, '"');
	return true;
}
