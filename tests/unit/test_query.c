/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The query language: pure. */
#include "src/mail/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

/* What it says is written in one way only. */
static void test_right_queries(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
		{"invoice", "\"invoice\""},
		{"  two   words ", "\"two\" \"words\""},
		{"\"two words\"", "\"two words\""},
		{"in:INBOX from:olena рахунок", "in:\"INBOX\" from:\"olena\" \"рахунок\""},
		{"рахунок IN:\"Sent Items\"", "in:\"Sent Items\" \"рахунок\""},
		{"in:Projects/Альфа x", "in:\"Projects/Альфа\" \"x\""},
		{"to:\"Олена Коваль\" subject:звіт", "to:\"Олена Коваль\" subject:\"звіт\""},
		{"since:2026-01-31 before:2026-02-28", "since:2026-01-31 before:2026-02-28"},
		{"since:2024-02-29", "since:2024-02-29"},
		{"is:unread is:flagged is:answered", "is:unread is:flagged is:answered"},
		{"\"from:nobody\" 12:30 №5: :", "\"from:nobody\" \"12:30\" \"№5:\" \":\""},
		{"\"a \\\"b\\\" \\\\ c\" a\\b", "\"a \\\"b\\\" \\\\ c\" \"a\\\\b\""},
		{"\"* OK\" {5} %s (x)", "\"* OK\" \"{5}\" \"%s\" \"(x)\""},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct query *query = NULL, *again = NULL;
		struct error err = {0};
		g_autofree char *text = NULL, *text_again = NULL;

		if (query_parse(cases[i].text, &query, &err) != 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		text = query_text(query);
		assert_string_equal(cases[i].canonical, text);
		assert_int_equal(0, query_parse(text, &again, &err));
		text_again = query_text(again);
		assert_string_equal(text, text_again);
		query_free(query);
		query_free(again);
	}
}

static void test_wrong_queries(void **state)
{
	g_autofree char *long_text = g_strnfill(QUERY_BYTES_MAX + 1, 'x');
	g_autofree char *many = g_strnfill(2 * (QUERY_TERMS_MAX + 1), ' ');
	const struct {
		const char *text, *reason;
	} cases[] = {
		{"", "nothing to look for"},
		{"   ", "nothing to look for"},
		{"in:INBOX", "nothing to look for"},
		{"in:INBOX in:Sent x", "another folder"},
		{"from:", "nothing stands behind"},
		{"from:\"\" x", "nothing stands behind"},
		{"\"\"", "between two quotes"},
		{"form:olena", "no such field"},
		{"https://example.org", "no such field"},
		{"is:read", "unread, flagged or answered"},
		{"since:yesterday", "not a day"},
		{"since:2026-02-29", "not a day"},
		{"since:2026-2-1", "not a day"},
		{"since:0001-01-01", "not a day"},
		{"since:2026-01-01x", "not a day"},
		{"\"open", "isn't closed"},
		{"\"ends in \\\"", "isn't closed"},
		{"\"a\"b", "behind a closing quote"},
		{"a\"b", "within a word"},
		{"a\r\nA1 DELETE INBOX", "control"},
		{"\"a\nb\"", "control"},
		{"a\tb", "control"},
		{"a\x7f", "control"},
		{"a\xc2\x85", "control"},
		{"a\xff", "UTF-8"},
		{"a\xed\xa0\x80", "UTF-8"},
		{long_text, "bytes"},
		{many, "terms"},
	};

	for (size_t i = 0; i < 2 * (QUERY_TERMS_MAX + 1); i += 2)
		many[i] = 'x';
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct query *query = NULL;
		struct error err = {0};

		assert_int_equal(ERR_INVALID, query_parse(cases[i].text, &query, &err));
		assert_null(query);
		if (!strstr(err.text, cases[i].reason))
			fail_msg("%s: %s", cases[i].text, err.text);
	}
}

static void test_what_is_matched_here(void **state)
{
	static const struct {
		const char *text;
		bool matches;
	} cases[] = {
		{"from:коваль", true},
		{"from:ОЛЕНА", true},
		{"from:тарас", false},
		{"to:коваль", false},
		{"subject:рахунок from:Коваль", true},
		{"subject:рахунок from:тарас", false},
		{"subject:їжак", true}, /* composed and not */
		{"subject:straße", true},
		/* not for us: words, and what the server can look for */
		{"голка subject:nothing", true},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct query *query = NULL;

		assert_int_equal(0, query_parse(cases[i].text, &query, NULL));
		if (query_matches_wide(query, "Олена Коваль <olena@contoso.example>", NULL,
			    "Рахунок: і\xcc\x88жак, STRASSE") != cases[i].matches)
			fail_msg("%s", cases[i].text);
		query_free(query);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right_queries),
		cmocka_unit_test(test_wrong_queries),
		cmocka_unit_test(test_what_is_matched_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
