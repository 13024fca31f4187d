/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Header fields of one message, decoded. What is plain ASCII, as most of it is, goes a short way without GMime: a
 * first listing decodes 100,000 of them.
 */
#include "src/mime/mime.h"

#include "src/mime/charset.h"
#include "src/mime/headers.h"
#include "src/mime/stem.h"
#include "src/mime/words.h"

#include <gmime/gmime.h>
#include <libxml/parser.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "src/base/banned.h"

#define FIELD_BYTES_MAX (16u * 1024u) /* raw, of one field: four times what is kept of it decoded */
#define ESCAPE '\x1B'                 /* begins a change of charset in ISO-2022-JP */
#define ADDRESSES_MAX 64u             /* looked at for the first mailbox: empty groups may stand before it */

enum field { FROM, TO, SUBJECT, MESSAGE_ID, FIELDS };

static const struct {
	const char *name;
	size_t length;
} fields[FIELDS] = {
	[FROM] = {"From", 4},
	[TO] = {"To", 2},
	[SUBJECT] = {"Subject", 7},
	[MESSAGE_ID] = {"Message-ID", 10},
};

static GMimeParserOptions *options;

static void *init_once(void *unused)
{
	g_mime_init();
	xmlInitParser();
	options = g_mime_parser_options_new();
	g_mime_parser_options_set_address_compliance_mode(options, GMIME_RFC_COMPLIANCE_LOOSE);
	return options;
}

void mime_init(void)
{
	static GOnce once = G_ONCE_INIT;

	g_once(&once, init_once, NULL);
}

/* ---- raw fields ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static enum field field_at(const char *line, size_t length, size_t *value_out)
{
	for (enum field field = 0; field < FIELDS; field++) {
		size_t at = fields[field].length;

		if (length <= at || strncasecmp(line, fields[field].name, at) != 0)
			continue;
		while (at < length && is_blank(line[at]))
			at++;
		if (at == length || line[at] != ':')
			continue;
		*value_out = at + 1;
		return field;
	}
	return FIELDS;
}

/* NULs become spaces: what follows works on strings. */
static void append_raw(GString *value, const char *bytes, size_t length)
{
	size_t room = FIELD_BYTES_MAX - MIN(value->len, FIELD_BYTES_MAX);
	size_t start = value->len;

	g_string_append_len(value, bytes, (gssize)MIN(length, room));
	for (size_t i = start; i < value->len; i++) {
		if (!value->str[i])
			value->str[i] = ' ';
	}
}

/* The first non-empty one of each field, unfolded (RFC 5322, 2.2.3). */
static void split(const char *bytes, size_t length, GString *values[FIELDS])
{
	enum field current = FIELDS;
	const char *end = bytes + length;

	for (const char *line = bytes; line < end;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *next = newline ? newline + 1 : end;
		size_t size = (size_t)((newline ? newline : end) - line);
		size_t value = 0;

		if (size && line[size - 1] == '\r')
			size--;
		if (!size)
			break;
		if (!is_blank(line[0])) {
			current = field_at(line, size, &value);
			while (value < size && is_blank(line[value]))
				value++;
			if (current != FIELDS && values[current] && values[current]->len)
				current = FIELDS;
			else if (current != FIELDS && !values[current])
				values[current] = g_string_sized_new(size);
		}
		if (current != FIELDS)
			append_raw(values[current], line + value, size - value);
		line = next;
	}
}

/* ---- characters ---- */

static bool is_plain(const char *text)
{
	for (const char *at = text; *at; at++) {
		if ((unsigned char)*at >= 0x80 || *at == ESCAPE || (*at == '=' && at[1] == '?'))
			return false;
	}
	return true;
}

/* Raw 8-bit text as UTF-8; takes `text` over. */
static char *text_to_utf8(char *text)
{
	char *converted;

	if (strstr(text, "\x1B$")) {
		converted = g_convert(text, -1, "UTF-8", "ISO-2022-JP", NULL, NULL, NULL);
		if (converted) {
			g_free(text);
			return converted;
		}
	}
	if (g_utf8_validate(text, -1, NULL))
		return text;
	/* Some of these charsets leave bytes undefined. */
	converted = g_convert_with_fallback(
		text, -1, "UTF-8", charset_guess(text, strlen(text)), "?", NULL, NULL, NULL);
	if (!converted)
		converted = g_utf8_make_valid(text, -1);
	g_free(text);
	return converted;
}

/* Controls become spaces, ends are trimmed, the length is bounded. In place; `text` is valid UTF-8. */
static char *text_clean(char *text)
{
	char *out = text;
	const char *at = text;

	while (*at) {
		unsigned char byte = (unsigned char)*at;

		if (byte < 0x20 || byte == 0x7F) {
			*out++ = ' ';
			at++;
		} else if (byte == 0xC2 && (unsigned char)at[1] < 0xA0) { /* C1 */
			*out++ = ' ';
			at += 2;
		} else {
			*out++ = *at++;
		}
	}
	*out = '\0';
	if (out - text > (ptrdiff_t)MIME_TEXT_BYTES_MAX) {
		out = text + MIME_TEXT_BYTES_MAX;
		while (out > text && ((unsigned char)*out & 0xC0) == 0x80)
			out--;
		*out = '\0';
	}
	return g_strstrip(text);
}

char *headers_decode(char *raw)
{
	char *text = raw;

	if (!text)
		return NULL;
	if (!is_plain(text)) {
		g_autofree char *utf8 = text_to_utf8(text);

		text = words_decode(utf8);
	}
	if (!*text_clean(text))
		g_clear_pointer(&text, g_free);
	return text;
}

/* ---- addresses ---- */

static bool is_atom_byte(char c)
{
	return g_ascii_isalnum(c) || (c && strchr(".!#$%&'*+-/=^_`{|}~", c) != NULL);
}

static bool is_plain_address(const char *text, size_t length)
{
	size_t at = 0;
	size_t domain;

	while (at < length && is_atom_byte(text[at]))
		at++;
	if (!at || at == length || text[at] != '@')
		return false;
	domain = ++at;
	while (at < length && (g_ascii_isalnum(text[at]) || text[at] == '.' || text[at] == '-'))
		at++;
	return at == length && at > domain;
}

/* "a@b", "Name <a@b>" and "\"Name\" <a@b>", which nearly all are. NULL: it takes a parser. */
static char *simple_address(const char *text)
{
	const char *open = strchr(text, '<');
	const char *start = open ? open + 1 : text;
	const char *end = text + strlen(text);

	while (end > start && is_blank(end[-1]))
		end--;
	if (open) {
		if (end == start || *--end != '>' || text[strcspn(text, ",:;()\\")])
			return NULL;
	}
	return is_plain_address(start, (size_t)(end - start)) ? g_strndup(start, (size_t)(end - start)) : NULL;
}

static const char *first_mailbox(InternetAddressList *list, unsigned *budget)
{
	int count = internet_address_list_length(list);

	for (int i = 0; i < count && *budget; i++) {
		InternetAddress *address = internet_address_list_get_address(list, i);
		const char *found = NULL;

		--*budget;
		if (INTERNET_ADDRESS_IS_MAILBOX(address))
			found = internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(address));
		else if (INTERNET_ADDRESS_IS_GROUP(address))
			found = first_mailbox(
				internet_address_group_get_members(INTERNET_ADDRESS_GROUP(address)), budget);
		if (found && *found)
			return found;
	}
	return NULL;
}

/* The addr-spec of the first mailbox; NULL = none. */
static char *first_address(const char *raw)
{
	g_autofree char *utf8 = NULL;
	InternetAddressList *list;
	unsigned budget = ADDRESSES_MAX;
	char *address;

	if (!raw)
		return NULL;
	address = simple_address(raw);
	if (address)
		return address;
	utf8 = text_to_utf8(g_strdup(raw));
	words_mask(utf8);
	list = internet_address_list_parse(options, utf8);
	if (!list)
		return NULL;
	address = g_strdup(first_mailbox(list, &budget));
	g_object_unref(list);
	return address;
}

/* Without its angle brackets, and without what may stand around them. */
static char *strip_brackets(char *id)
{
	char *open = id ? strchr(id, '<') : NULL;
	char *close = open ? strchr(open, '>') : NULL;

	if (close) {
		*close = '\0';
		memmove(id, open + 1, (size_t)(close - open));
	}
	if (id && !*g_strstrip(id))
		g_clear_pointer(&id, g_free);
	return id;
}

static char *take(GString *value)
{
	return value ? g_string_free(value, FALSE) : NULL;
}

void mime_headers_parse(const char *bytes, size_t length, struct mime_headers *headers_out)
{
	GString *values[FIELDS] = {NULL};
	g_autofree char *address = NULL;

	split(bytes, length, values);
	address = first_address(values[FROM] ? values[FROM]->str : NULL);
	*headers_out = (struct mime_headers){
		.from = headers_decode(take(values[FROM])),
		.to = headers_decode(take(values[TO])),
		.subject = headers_decode(take(values[SUBJECT])),
		.message_id = strip_brackets(headers_decode(take(values[MESSAGE_ID]))),
	};
	headers_out->stem = stem_compose(address, headers_out->subject);
}

void mime_headers_fini(struct mime_headers *headers)
{
	g_free(headers->from);
	g_free(headers->to);
	g_free(headers->subject);
	g_free(headers->message_id);
	g_free(headers->stem);
	*headers = (struct mime_headers){0};
}
