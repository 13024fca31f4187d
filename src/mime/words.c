/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/words.h"

#include "src/mime/charset.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "src/base/banned.h"

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
			c = (char)(g_ascii_xdigit_value(word->text[i + 1]) << 4 |
				   g_ascii_xdigit_value(word->text[i + 2]));
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
	got = g_base64_decode_step(
		word->text, word->length, (guchar *)pending->bytes->str + start, &pending->state, &pending->save);
	g_string_set_size(pending->bytes, start + got);
	if (word->length && word->text[word->length - 1] == '=')
		pending->state = 0, pending->save = 0;
}

static void replace_nuls(GString *text, size_t start)
{
	for (size_t i = start; i < text->len; i++) {
		if (!text->str[i])
			text->str[i] = ' ';
	}
}

static void flush(struct pending *pending, GString *out)
{
	size_t start = out->len;

	if (g_ascii_strcasecmp(pending->charset, "utf-8") != 0 &&
		charset_convert(pending->bytes->str, pending->bytes->len, pending->charset, "?", SIZE_MAX, out, NULL)) {
		replace_nuls(out, start);
	} else {
		g_autofree char *valid = NULL;

		replace_nuls(pending->bytes, 0);
		valid = g_utf8_make_valid(pending->bytes->str, (gssize)pending->bytes->len);
		g_string_append(out, valid);
	}
	g_string_truncate(pending->bytes, 0);
	pending->state = 0;
	pending->save = 0;
}

static void add(struct pending *pending, const struct word *word, GString *out)
{
	if (pending->bytes->len && g_ascii_strcasecmp(pending->charset, word->charset) != 0)
		flush(pending, out);
	memcpy(pending->charset, word->charset, sizeof(pending->charset));
	if (word->encoding == 'Q')
		decode_q(word, pending->bytes);
	else
		decode_b(word, pending);
}

/* Up to where an encoded word may begin: never `text` itself. */
static const char *skip_plain(const char *text)
{
	const char *next = strstr(text + 1, "=?");

	return next ? next : text + strlen(text);
}

char *words_decode(const char *text)
{
	GString *out = g_string_sized_new(strlen(text));
	struct pending pending = {.bytes = g_string_new(NULL)};
	struct word word;

	while (*text) {
		const char *next;

		if (!word_parse(text, &word)) {
			next = skip_plain(text);
			g_string_append_len(out, text, next - text);
			text = next;
			continue;
		}
		do {
			add(&pending, &word, out);
			text = word.end;
			/* White space between adjacent words isn't part of the text. */
		} while (word_parse(skip_blanks(text), &word));
		flush(&pending, out);
	}
	g_string_free(pending.bytes, TRUE);
	return g_string_free(out, FALSE);
}

void words_mask(char *text)
{
	struct word word;

	for (char *at = text; *at;) {
		bool is_word = word_parse(at, &word);
		size_t length = (size_t)((is_word ? word.end : skip_plain(at)) - at);

		if (is_word)
			memset(at, 'x', length);
		at += length;
	}
}
