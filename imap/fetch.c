/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FETCH: "(NAME value NAME value …)" in any order; unknown items are read and dropped. */
#include "imap/parser.h"

#include <string.h>

#include "src/base/banned.h"

static bool same(const char *text, size_t length, const char *name)
{
	return length == strlen(name) && g_ascii_strncasecmp(text, name, length) == 0;
}

/*
 * BODY[] and BODY[HEADER…], whole or from octet 0 on ("<0>", RFC 3501 7.4.2). Any other origin or
 * section is another item: it must never pass for the message. Spaces may stand in the brackets.
 */
static enum fetch_item body_item(const char *name, size_t length)
{
	const char *at = memchr(name, '[', length), *end = name + length, *word;

	if (length > 3 && same(end - 3, 3, "<0>"))
		end -= 3;
	if (*--end != ']')
		return ITEM_IGNORED;
	word = at = values_skip_spaces(at + 1, end);
	while (at < end && *at != ' ' && *at != '(')
		at++;
	if (at == word)
		return at == end ? ITEM_BODY : ITEM_IGNORED;
	if (same(word, (size_t)(at - word), "HEADER"))
		return values_skip_spaces(at, end) == end ? ITEM_HEADER : ITEM_IGNORED;
	/* Not HEADER.FIELDS.NOT; the list of names is what we asked for. */
	return same(word, (size_t)(at - word), "HEADER.FIELDS") ? ITEM_HEADER : ITEM_IGNORED;
}

static enum fetch_item item_of(const char *name, size_t length)
{
	static const struct {
		const char *name;
		enum fetch_item item;
	} items[] = {
		{"UID", ITEM_UID},
		{"FLAGS", ITEM_FLAGS},
		{"INTERNALDATE", ITEM_INTERNALDATE},
		{"RFC822.SIZE", ITEM_SIZE},
		{"MODSEQ", ITEM_MODSEQ},
		{"EMAILID", ITEM_EMAILID},
		{"X-GM-MSGID", ITEM_GM_MSGID},
		{"ENVELOPE", ITEM_ENVELOPE},
		{"BODYSTRUCTURE", ITEM_BODYSTRUCTURE},
	};

	if ((length > 5 && same(name, 5, "BODY[")) || (length > 10 && same(name, 10, "BODY.PEEK[")))
		return body_item(name, length);
	for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
		if (same(name, length, items[i].name))
			return items[i].item;
	return ITEM_IGNORED;
}

/* The end of an item's name: a section in brackets may hold spaces, parentheses and quoted strings. */
static const char *name_end(const char *at, const char *end)
{
	bool quoted = false;

	while (at < end && *at != ' ' && *at != '(' && *at != ')' && *at != '[' && *at != '"')
		at++;
	if (at == end || *at != '[')
		return at;
	for (at++; at < end && (quoted || *at != ']'); at++)
		if (*at == '"')
			quoted = !quoted;
	if (at == end)
		return NULL;
	if (++at < end && *at == '<') {
		while (at < end && *at != '>')
			at++;
		return at < end ? at + 1 : NULL;
	}
	return at;
}

static enum step name_take(struct imap_parser *p, const char **at, const char *end)
{
	const char *to = name_end(*at, end);

	if (!to || to == *at)
		return step_broken(p, "a malformed FETCH item");
	p->item = item_of(*at, (size_t)(to - *at));
	if (p->item == ITEM_BODY && (p->response.fetch.items & IMAP_FETCH_BODY))
		return step_broken(p, "two bodies in one FETCH");
	*at = to;
	return STEP_VALUE;
}

static enum step uid_assign(struct imap_parser *p, const struct imap_value *value)
{
	struct imap_fetch *fetch = &p->response.fetch;
	uint64_t uid;

	if (!imap_value_number(value, &uid) || uid == 0 || uid > UINT32_MAX)
		return step_broken(p, "a malformed UID");
	/* A response is about one message; two identities would put one's data under the other's name. */
	if ((fetch->items & IMAP_FETCH_UID) && fetch->uid != uid)
		return step_broken(p, "two UIDs in one FETCH");
	fetch->uid = (uint32_t)uid;
	fetch->items |= IMAP_FETCH_UID;
	return STEP_VALUE;
}

/* The item that RFC 8474 and 7162 wrap in a list of one. */
static const struct imap_value *unwrap(const struct imap_value *value)
{
	return value->type == IMAP_LIST && value->length == 1 ? value->items : value;
}

static bool is_text(const struct imap_value *value)
{
	return value->type == IMAP_ATOM || value->type == IMAP_STRING;
}

/* What an item needs to be of use; an item that isn't counts as not sent. */
static bool accept(struct imap_fetch *fetch, enum fetch_item item, struct imap_value *value)
{
	switch (item) {
	case ITEM_FLAGS:
		if (value->type != IMAP_LIST)
			return false;
		value->length = values_keep_words((struct imap_value *)value->items, value->length);
		return true;
	case ITEM_INTERNALDATE:
		if (!is_text(value) || !imap_date_parse(value->text, value->length, &fetch->internal_date))
			fetch->internal_date = INT64_MIN;
		return true;
	case ITEM_SIZE:
		return imap_value_number(value, &fetch->size_bytes);
	case ITEM_MODSEQ:
		return imap_value_number(unwrap(value), &fetch->modseq);
	case ITEM_EMAILID:
	case ITEM_GM_MSGID:
		*value = *unwrap(value);
		return is_text(value);
	case ITEM_ENVELOPE:
		return value->type == IMAP_LIST || value->type == IMAP_NIL;
	default:
		return true;
	}
}

enum step fetch_assign(struct imap_parser *p)
{
	static const uint32_t bits[ITEMS] = {
		[ITEM_FLAGS] = IMAP_FETCH_FLAGS,
		[ITEM_INTERNALDATE] = IMAP_FETCH_INTERNALDATE,
		[ITEM_SIZE] = IMAP_FETCH_SIZE,
		[ITEM_MODSEQ] = IMAP_FETCH_MODSEQ,
		[ITEM_EMAILID] = IMAP_FETCH_EMAILID,
		[ITEM_GM_MSGID] = IMAP_FETCH_EMAILID | IMAP_FETCH_GM_MSGID,
		[ITEM_BODY] = IMAP_FETCH_BODY,
		[ITEM_HEADER] = IMAP_FETCH_HEADER,
		[ITEM_ENVELOPE] = IMAP_FETCH_ENVELOPE,
		[ITEM_BODYSTRUCTURE] = IMAP_FETCH_BODYSTRUCTURE,
	};
	struct imap_fetch *fetch = &p->response.fetch;
	struct imap_value *value = &p->stack[--p->stack_count];
	enum fetch_item item = p->item;

	p->item = ITEM_NONE;
	if (item == ITEM_UID)
		return uid_assign(p, value);
	if ((item == ITEM_BODY || item == ITEM_HEADER) && (value->type == IMAP_ATOM || value->type == IMAP_LIST))
		return step_broken(p, "a message that is no string");
	if (item == ITEM_IGNORED || !accept(fetch, item, value))
		return STEP_VALUE;
	/* both identify the message: the standard's wins */
	if (item == ITEM_GM_MSGID && (fetch->items & IMAP_FETCH_EMAILID))
		return STEP_VALUE;
	if (item == ITEM_EMAILID)
		fetch->items &= ~(uint32_t)IMAP_FETCH_GM_MSGID;
	p->fetch_values[item == ITEM_GM_MSGID ? ITEM_EMAILID : item] = *value;
	fetch->items |= bits[item];
	return STEP_VALUE;
}

enum step fetch_line(struct imap_parser *p, const char *at, const char *end)
{
	if (!p->fetch_open) {
		at = values_skip_spaces(at, end);
		if (at == end || *at++ != '(')
			return step_broken(p, "a FETCH without items");
		p->fetch_open = true;
		p->list_start[p->depth++] = p->stack_count;
	}
	for (;;) {
		enum step step;

		if (p->item == ITEM_NONE && p->depth == 1) {
			at = values_skip_spaces(at, end);
			if (at < end && *at == ')') {
				p->depth--;
				return values_skip_spaces(at + 1, end) == end
				               ? STEP_END
				               : step_broken(p, "something behind a FETCH");
			}
			step = name_take(p, &at, end);
			if (step != STEP_VALUE)
				return step;
		}
		step = values_next(p, &at, end, 1, ')', true);
		if (step == STEP_CLOSE || step == STEP_END)
			return step_broken(p, "a FETCH item without a value");
		if (step == STEP_VALUE)
			step = fetch_assign(p);
		if (step != STEP_VALUE)
			return step;
	}
}

void fetch_finish(struct imap_parser *p)
{
	struct imap_fetch *fetch = &p->response.fetch;
	const struct imap_value *values = p->fetch_values;

	fetch->flags = fetch->items & IMAP_FETCH_FLAGS ? &values[ITEM_FLAGS] : NULL;
	fetch->emailid = fetch->items & IMAP_FETCH_EMAILID ? &values[ITEM_EMAILID] : NULL;
	fetch->body = fetch->items & IMAP_FETCH_BODY ? &values[ITEM_BODY] : NULL;
	fetch->header = fetch->items & IMAP_FETCH_HEADER ? &values[ITEM_HEADER] : NULL;
	fetch->envelope = fetch->items & IMAP_FETCH_ENVELOPE ? &values[ITEM_ENVELOPE] : NULL;
	fetch->bodystructure = fetch->items & IMAP_FETCH_BODYSTRUCTURE ? &values[ITEM_BODYSTRUCTURE] : NULL;
}
