/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/words.h"

#include <errno.h>
#include <gmime/gmime.h>
#include <stdbool.h>
#include <string.h>

#include "src/base/banned.h"

#define CHARSET_BYTES_MAX 40u /* the longest registered name */

struct word {
	char charset[CHARSET_BYTES_MAX + 1];
	char encoding; /* 'B' or 'Q' */
	const char *text;
	size_t length;
	const char *end;
};

/* What is decoded, but not converted yet: a character may be spread over adjacent words of one charset. */
struct pending {
	char charset[CHARSET_BYTES_MAX + 1];
	GString *bytes;
	gint state; /* of base64, which some mailers cut between words too */
	guint save;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *at)
{
	while (is_blank(*at))
		at++;
	return at;
}

/* =?charset[*language]?encoding?text?= */
static bool word_parse(const char *at, struct word *word_out)
{
	size_t length = 0;

	if (at[0] != '=' || at[1] != '?')
		return false;
	at += 2;
	while (g_ascii_isalnum(at[length]) || (at[length] && strchr("-_.:+", at[length])))
		length++;
	if (!length || length > CHARSET_BYTES_MAX)
		return false;
	memcpy(word_out->charset, at, length);
	word_out->charset[length] = '\0';
	at += length;
	if (*at == '*') {
		while (g_ascii_isalnum(*++at) || *at == '-')
			continue;
	}
	word_out->encoding = at[0] == '?' ? g_ascii_toupper(at[1]) : '\0';
	if ((word_out->encoding != 'B' && word_out->encoding != 'Q') || at[2] != '?')
		return false;
	word_out->text = at + 3;
	/* To the next question mark: so each byte is looked at once, whatever stands there. */
	word_out->length = strcspn(word_out->text, "?");
	at = word_out->text + word_out->length;
	word_out->end = at + 2;
	return at[0] == '?' && at[1] == '=';
}

static void decode_q(const struct word *word, GString *bytes)
{
	for (size_t i = 0; i < word->length; i++) {
		char c = word->text[i];

		if (c == '=' && word->length - i > 2 && g_ascii_isxdigit(word->text[i + 1]) &&
			g_ascii_isxdigit(word->text[i + 2])) {
			c = (char)(g_ascii_xdigit_value(word->text[i + 1]) << 4 | g_ascii_xdigit_value(word->text[i + 2]));
			i += 2;
		} else if (c == '_') {
			c = ' ';
		}
		g_string_append_c(bytes, c);
	}
}

static void decode_b(const struct word *word, struct pending *pending)
{
	size_t start = pending->bytes->len;
	size_t got;

	g_string_set_size(pending->bytes, start + word->length / 4 * 3 + 6);
	got = g_base64_decode_step(word->text, word->length, (guchar *)pending->bytes->str + start, &pending->state,
		&pending->save);
	g_string_set_size(pending->bytes, start + got);
	if (word->length && word->text[word->length - 1] == '=')
		pending->state = 0, pending->save = 0;
}

/* Appends the bytes as UTF-8; one that means nothing in its charset becomes '?'. False: no such charset. */
static bool convert(const GString *bytes, const char *charset, GString *out)
{
	GIConv converter = g_iconv_open("UTF-8", g_mime_charset_iconv_name(charset));
	char *from = bytes->str;
	gsize left = bytes->len;

	if (converter == (GIConv)-1)
		return false;
	while (left) {
		char buffer[256], *to = buffer;
		gsize room = sizeof(buffer);
		gsize result = g_iconv(converter, &from, &left, &to, &room);
		int cause = errno;

		g_string_append_len(out, buffer, (gssize)(sizeof(buffer) - room));
		if (result != (gsize)-1 || cause == E2BIG)
			continue;
		g_string_append_c(out, '?');
		if (cause == EINVAL) /* the end is half a character */
			break;
		from++;
		left--;
	}
	g_iconv_close(converter);
	return true;
}

static void flush(struct pending *pending, GString *out)
{
	GString *bytes = pending->bytes;
	size_t start = out->len;
	bool is_utf8 = g_ascii_strcasecmp(pending->charset, "utf-8") == 0 || g_utf8_validate(bytes->str, (gssize)bytes->len, NULL);
	bool is_stateful = memchr(bytes->str, 0x1B, bytes->len) != NULL;

	if ((is_utf8 && !is_stateful) || !convert(bytes, pending->charset, out)) {
		g_autofree char *valid = g_utf8_make_valid(bytes->str, (gssize)bytes->len);

		g_string_append(out, valid);
	}
	for (size_t i = start; i < out->len; i++) {
		if (!out->str[i])
			out->str[i] = ' ';
	}
	g_string_truncate(bytes, 0);
	pending->state = 0;
	pending->save = 0;
}

char *words_decode(const char *text)
{
	GString *out = g_string_sized_new(strlen(text));
	struct pending pending = {.bytes = g_string_new(NULL)};
	struct word word;

	while (*text) {
		const char *next;

		if (!word_parse(text, &word)) {
			const char *more = strchr(text + 1, '=');

			next = more ? more : text + strlen(text);
			g_string_append_len(out, text, next - text);
			text = next;
			continue;
		}
		if (pending.bytes->len && g_ascii_strcasecmp(pending.charset, word.charset) != 0)
			flush(&pending, out);
		memcpy(pending.charset, word.charset, sizeof(pending.charset));
		if (word.encoding == 'Q')
			decode_q(&word, pending.bytes);
		else
			decode_b(&word, &pending);
		/* White space between adjacent words isn't part of the text. */
		next = skip_blanks(word.end);
		text = word_parse(next, &word) ? next : word.end;
		if (text != next || *text != '=' )
			flush(&pending, out);
	}
	flush(&pending, out);
	g_string_free(pending.bytes, TRUE);
	return g_string_free(out, FALSE);
}
