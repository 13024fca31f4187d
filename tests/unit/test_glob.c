/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `folders` and `exclude`. */
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

/* Going back for each star would take longer than anybody waits; so it is a few milliseconds. */
#define HOSTILE_MS 2000u

static void test_table(void **unused)
{
	static const struct {
		const char *glob, *path;
		char delimiter;
		bool matches;
	} table[] = {
		{"INBOX", "INBOX", '/', true},
		{"inbox", "INBOX", '/', true},
		{"Inbox", "INBOX/Sub", '/', true},
		{"INBOX", "INBOXES", '/', false},
		{"Projects", "Projects/Alpha", '/', true},
		{"Projects", "Project", '/', false},
		{"Projects/Al", "Projects/Alpha", '/', false},
		{"Projects/*", "Projects/Alpha/Deep", '/', true},
		{"Projects/*", "Projects", '/', false},
		{"*", "Projects/Alpha", '/', true},
		{"*/Deep", "Projects/Alpha/Deep", '/', false},
		{"**/Deep", "Projects/Alpha/Deep", '/', true},
		{"**/Deep", "Deep", '/', false},
		{"**", "", '/', true},
		{"*", "", '/', true},
		{"", "", '/', true},
		{"", "a", '/', false},
		{"P*s", "Projects", '/', true},
		{"P*s", "Pro/jects", '/', false},
		{"P**s", "Pro/jects", '/', true},
		{"***", "a/b", '/', true},
		{"?rojects", "Projects", '/', true},
		{"a?b", "a/b", '/', false},
		{"a.*", "a.b", '.', true},
		{"a*", "a.b/c", '.', true},
		{"a*c", "a.b/c", '.', false},
		{"a*c", "ab/c", '\0', false},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		if (tree_glob_match(table[i].glob, table[i].path, table[i].delimiter) != table[i].matches)
			fail_msg("%s and %s", table[i].glob, table[i].path);
}

static void test_a_path_made_to_be_slow(void **unused)
{
	g_autofree char *path = g_strnfill(4096, 'a');
	uint64_t began_ms = clock_ms();

	assert_false(tree_glob_match("*a*a*a*a*a*a*a*b", path, '/'));
	assert_false(tree_glob_match("**a**a**a**a**a**b", path, '/'));
	assert_true(tree_glob_match("*a*a*a*a*a*a*a*", path, '/'));
	assert_true(clock_ms() - began_ms < HOSTILE_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_a_path_made_to_be_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
