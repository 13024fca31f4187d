/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mail/query.h"

#include <stdbool.h>
#include <string.h>

#include "src/base/banned.h"

#define YEAR_MIN 1900u
#define YEAR_MAX 9999u

static const struct {
	const char *name;
	enum query_kind kind;
} fields[] = {
	{"from", QUERY_FROM},
	{"to", QUERY_TO},
	{"subject", QUERY_SUBJECT},
	{"since", QUERY_SINCE},
	{"before", QUERY_BEFORE},
};

static const struct {
	const char *name;
	enum query_kind kind;
} states[] = {
	{"unread", QUERY_UNREAD},
	{"flagged", QUERY_FLAGGED},
	{"answered", QUERY_ANSWERED},
};

static void term_clear(void *data)
{
	g_free(((struct query_term *)data)->text);
}

void query_free(struct query *query)
{
	if (!query)
		return;
	g_free(query->folder);
	g_array_unref(query->terms);
	g_free(query);
}

/* ---- values ---- */

static bool date_read(const char *text, struct query_term *term_out)
{
	static const char pattern[] = "dddd-dd-dd";

	if (strlen(text) != sizeof(pattern) - 1)
		return false;
	for (size_t i = 0; i < sizeof(pattern) - 1; i++)
		if (pattern[i] == 'd' ? !g_ascii_isdigit(text[i]) : text[i] != pattern[i])
			return false;
	term_out->year = (unsigned)g_ascii_strtoull(text, NULL, 10);
	term_out->month = (unsigned)g_ascii_strtoull(text + 5, NULL, 10);
	term_out->day = (unsigned)g_ascii_strtoull(text + 8, NULL, 10);
	return term_out->year >= YEAR_MIN && term_out->year <= YEAR_MAX &&
	       g_date_valid_dmy((GDateDay)term_out->day, (GDateMonth)term_out->month, (GDateYear)term_out->year);
}

static int term_add(struct query *query, enum query_kind kind, const char *name, const char *value, struct error *err)
{
	struct query_term term = {.kind = kind};

	if (query->terms->len == QUERY_TERMS_MAX)
		return error_set(err, ERR_INVALID, "a query has at most %u terms", QUERY_TERMS_MAX);
	if (kind == QUERY_SINCE || kind == QUERY_BEFORE) {
		if (!date_read(value, &term))
			return error_set(err, ERR_INVALID, "%s:%s: not a day; YYYY-MM-DD is expected", name, value);
	} else if (kind <= QUERY_SUBJECT) {
		term.text = g_strdup(value);
	}
	g_array_append_val(query->terms, term);
	return 0;
}

static int field_add(struct query *query, const char *name, const char *value, struct error *err)
{
	if (!*value)
		return error_set(err, ERR_INVALID, "%s: nothing stands behind it", name);
	for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
		if (strcmp(name, fields[i].name) == 0)
			return term_add(query, fields[i].kind, name, value, err);
	if (strcmp(name, "in") == 0) {
		if (query->folder)
			return error_set(err, ERR_INVALID, "in:%s: another folder is given before", value);
		query->folder = g_strdup(value);
		return 0;
	}
	if (strcmp(name, "is") == 0) {
		for (size_t i = 0; i < G_N_ELEMENTS(states); i++)
			if (strcmp(value, states[i].name) == 0)
				return term_add(query, states[i].kind, name, value, err);
		return error_set(err, ERR_INVALID, "is:%s: unread, flagged or answered is expected", value);
	}
	error_set(err, ERR_INVALID, "%s: no such field; in, from, to, subject, since, before and is are", name);
	error_hint(err, "put \"%s:%s\" in quotes to look for these words", name, value);
	return ERR_INVALID;
}

/* ---- words ---- */

/* The text from the quote at *at on, without quotes; moves behind it. NULL: it doesn't end. */
static char *quoted_take(const char **at)
{
	GString *text = g_string_new(NULL);
	const char *from = *at + 1;

	for (; *from && *from != '"'; from++) {
		if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
			from++;
		g_string_append_c(text, *from);
	}
	if (!*from) {
		g_string_free(text, TRUE);
		return NULL;
	}
	*at = from + 1;
	return g_string_free(text, FALSE);
}

/* Letters in front of a colon that something follows. 0: it's a word. */
static size_t name_length(const char *at)
{
	size_t length = 0;

	while (g_ascii_isalpha(at[length]))
		length++;
	return at[length] == ':' ? length : 0;
}

static int token_take(struct query *query, const char **at, struct error *err)
{
	size_t length = name_length(*at);
	g_autofree char *name = g_ascii_strdown(*at, (gssize)length);
	g_autofree char *value = NULL;

	if (length)
		*at += length + 1;
	if (**at == '"') {
		value = quoted_take(at);
		if (!value)
			return error_set(err, ERR_INVALID, "a quote isn't closed");
		if (**at && **at != ' ')
			return error_set(err, ERR_INVALID, "a space is expected behind a closing quote");
	} else {
		size_t end = strcspn(*at, " ");

		if (memchr(*at, '"', end))
			return error_set(err, ERR_INVALID, "a quote stands within a word");
		value = g_strndup(*at, end);
		*at += end;
	}
	if (length)
		return field_add(query, name, value, err);
	return *value ? term_add(query, QUERY_WORD, NULL, value, err)
	              : error_set(err, ERR_INVALID, "nothing stands between two quotes");
}

static int text_check(const char *text, struct error *err)
{
	size_t length = strlen(text);

	if (length > QUERY_BYTES_MAX)
		return error_set(err, ERR_INVALID, "a query has at most %u bytes", QUERY_BYTES_MAX);
	if (!g_utf8_validate(text, (gssize)length, NULL))
		return error_set(err, ERR_INVALID, "it isn't UTF-8");
	for (const char *at = text; *at; at = g_utf8_next_char(at))
		if (g_unichar_iscntrl(g_utf8_get_char(at)))
			return error_set(err, ERR_INVALID, "it holds a control character");
	return 0;
}

int query_parse(const char *text, struct query **query_out, struct error *err)
{
	struct query *query;
	int code = text_check(text, err);

	*query_out = NULL;
	if (code != 0)
		return code;
	query = g_new0(struct query, 1);
	query->terms = g_array_new(FALSE, FALSE, sizeof(struct query_term));
	g_array_set_clear_func(query->terms, term_clear);
	for (const char *at = text + strspn(text, " "); *at && code == 0; at += strspn(at, " "))
		code = token_take(query, &at, err);
	/* "in:INBOX" alone may be the whole mailbox: nobody means that */
	if (code == 0 && !query->terms->len)
		code = error_set(err, ERR_INVALID, "it says nothing to look for");
	if (code != 0) {
		query_free(query);
		return code;
	}
	*query_out = query;
	return 0;
}

/* ---- matching here ---- */

bool query_term_is_wide(const struct query_term *term)
{
	return term->text && !g_str_is_ascii(term->text);
}

/* As letters are compared: composed, without case. */
static char *folded(const char *text)
{
	g_autofree char *composed = g_utf8_normalize(text, -1, G_NORMALIZE_ALL_COMPOSE);

	return g_utf8_casefold(composed ? composed : text, -1);
}

static bool contains(const char *text, const char *part)
{
	g_autofree char *in = folded(text ? text : "");
	g_autofree char *wanted = folded(part);

	return strstr(in, wanted) != NULL;
}

bool query_matches_wide(const struct query *query, const char *from, const char *to, const char *subject)
{
	for (guint i = 0; i < query->terms->len; i++) {
		const struct query_term *term = &g_array_index(query->terms, struct query_term, i);

		if (!query_term_is_wide(term) || term->kind == QUERY_WORD)
			continue;
		if (!contains(term->kind == QUERY_FROM ? from : term->kind == QUERY_TO ? to : subject, term->text))
			return false;
	}
	return true;
}

/* ---- as text ---- */

static void quoted_append(GString *out, const char *text)
{
	g_string_append_c(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			g_string_append_c(out, '\\');
		g_string_append_c(out, *text);
	}
	g_string_append_c(out, '"');
}

char *query_text(const struct query *query)
{
	GString *out = g_string_new(NULL);

	if (query->folder) {
		g_string_append(out, "in:");
		quoted_append(out, query->folder);
	}
	for (guint i = 0; i < query->terms->len; i++) {
		const struct query_term *term = &g_array_index(query->terms, struct query_term, i);

		if (out->len)
			g_string_append_c(out, ' ');
		for (size_t k = 0; k < G_N_ELEMENTS(fields); k++)
			if (fields[k].kind == term->kind)
				g_string_append_printf(out, "%s:", fields[k].name);
		for (size_t k = 0; k < G_N_ELEMENTS(states); k++)
			if (states[k].kind == term->kind)
				g_string_append_printf(out, "is:%s", states[k].name);
		if (term->text)
			quoted_append(out, term->text);
		else if (term->year)
			g_string_append_printf(out, "%04u-%02u-%02u", term->year, term->month, term->day);
	}
	return g_string_free(out, FALSE);
}
