/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/params.h"

#include "src/mime/charset.h"
#include "src/mime/part.h"
#include "src/mime/words.h"

#include <stdbool.h>
#include <string.h>

#include "src/base/banned.h"

struct param {
	const char *name;
	size_t name_length;
	GString *value;
};

static const char *skip_space(const char *at)
{
	while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
		at++;
	return at;
}

char *params_value(const char *field)
{
	char *value = g_strndup(field, strcspn(field, ";"));

	return g_strstrip(value);
}

char *params_type(const char *field, const char *default_type)
{
	g_autofree char *value = field ? params_value(field) : NULL;
	size_t length = 0;
	bool slash = false;

	if (!value)
		return g_strdup(default_type);
	while (value[length] && (g_ascii_isalnum(value[length]) || strchr("!#$&-^_.+/", value[length])))
		slash |= value[length++] == '/';
	value[MIN(length, PART_TEXT_BYTES_MAX)] = '\0';
	return slash ? g_ascii_strdown(value, -1) : g_strdup(default_type);
}

/* To what follows the value. Quotes may be missing at the end, and stand in the middle. */
static const char *read_value(const char *at, GString *value)
{
	if (*at != '"') {
		size_t length = strcspn(at, ";");

		g_string_append_len(value, at, (gssize)MIN(length, PART_TEXT_BYTES_MAX * 8));
		while (value->len && strchr(" \t\r\n", value->str[value->len - 1]))
			g_string_truncate(value, value->len - 1);
		return at + length;
	}
	for (at++; *at && *at != '"'; at++) {
		/* Windows paths have single backslashes in quotes */
		if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
			at++;
		g_string_append_c(value, *at);
	}
	return *at ? at + 1 : at;
}

/* Calls fn for each parameter until it gives false. */
static void for_each(const char *field, bool (*fn)(void *ctx, const struct param *param), void *ctx)
{
	const char *at = field + strcspn(field, ";");

	while (*at) {
		struct param param;
		g_autoptr(GString) value = NULL;

		at = skip_space(at + 1);
		param.name = at;
		at += strcspn(at, "=;");
		param.name_length = (size_t)(at - param.name);
		while (param.name_length && strchr(" \t\r\n", param.name[param.name_length - 1]))
			param.name_length--;
		if (*at != '=')
			continue;
		value = g_string_new(NULL);
		at = read_value(skip_space(at + 1), value);
		at += strcspn(at, ";");
		param.value = value;
		if (param.name_length && !fn(ctx, &param))
			return;
	}
}

struct search {
	const char *name;
	size_t length;
	GString *plain;
	GString *pieces[PARAMS_PIECES_MAX];
	bool is_extended[PARAMS_PIECES_MAX];
};

static bool collect(void *ctx, const struct param *param)
{
	struct search *search = ctx;
	const char *star = param->name + search->length;
	size_t left = param->name_length - search->length;
	guint64 number = 0;
	bool extended;

	if (param->name_length < search->length || g_ascii_strncasecmp(param->name, search->name, search->length) != 0)
		return true;
	if (!left) {
		if (!search->plain)
			search->plain = g_string_new_len(param->value->str, (gssize)param->value->len);
		return true;
	}
	if (*star != '*')
		return true;
	extended = star[left - 1] == '*' || left == 1;
	for (size_t i = 1; i < left && g_ascii_isdigit(star[i]) && number < PARAMS_PIECES_MAX; i++)
		number = number * 10 + (guint64)(star[i] - '0');
	if (number >= PARAMS_PIECES_MAX || search->pieces[number])
		return true;
	search->pieces[number] = g_string_new_len(param->value->str, (gssize)param->value->len);
	search->is_extended[number] = extended;
	return true;
}

static void append_percent(GString *bytes, const char *text)
{
	for (; *text; text++) {
		if (*text == '%' && g_ascii_isxdigit(text[1]) && g_ascii_isxdigit(text[2])) {
			g_string_append_c(
				bytes, (char)(g_ascii_xdigit_value(text[1]) << 4 | g_ascii_xdigit_value(text[2])));
			text += 2;
		} else {
			g_string_append_c(bytes, *text);
		}
	}
}

/* As a string: a NUL becomes another control, which is no more welcome in a name. */
static char *utf8_string(const GString *bytes, const char *charset)
{
	GString *text = g_string_new(NULL);

	charset_append(bytes->str, bytes->len, charset, PART_TEXT_BYTES_MAX * 8, text);
	for (size_t i = 0; i < text->len; i++) {
		if (!text->str[i])
			text->str[i] = '\x01';
	}
	return g_string_free(text, FALSE);
}

/* charset'language'text, perhaps over several pieces. */
static char *join(const struct search *search)
{
	g_autoptr(GString) bytes = g_string_new(NULL);
	g_autofree char *charset = NULL;

	for (unsigned i = 0; i < PARAMS_PIECES_MAX && search->pieces[i]; i++) {
		const char *piece = search->pieces[i]->str;

		if (!i && search->is_extended[0]) {
			const char *quote = strchr(piece, '\'');
			const char *second = quote ? strchr(quote + 1, '\'') : NULL;

			if (second) {
				charset = g_strndup(piece, (gsize)(quote - piece));
				piece = second + 1;
			}
		}
		if (search->is_extended[i])
			append_percent(bytes, piece);
		else
			g_string_append(bytes, piece);
	}
	return utf8_string(bytes, charset);
}

char *params_get(const char *field, const char *name)
{
	struct search search = {.name = name, .length = strlen(name)};
	g_autofree char *raw = NULL;
	char *found = NULL;

	for_each(field, collect, &search);
	if (search.pieces[0]) {
		found = join(&search);
	} else if (search.plain) {
		raw = utf8_string(search.plain, NULL);
		found = words_decode(raw);
	}
	for (unsigned i = 0; i < PARAMS_PIECES_MAX; i++) {
		if (search.pieces[i])
			g_string_free(search.pieces[i], TRUE);
	}
	if (search.plain)
		g_string_free(search.plain, TRUE);
	return found;
}
