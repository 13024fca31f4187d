/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plays tests/imap/transcripts/: see its README.md. */
#include "tests/imap/recorder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define FILES_MIN 50u /* a directory that wasn't found must not look like success */

static void put_octets(GString *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '%') {
			assert_true(g_ascii_isxdigit(text[1]) && g_ascii_isxdigit(text[2]));
			g_string_append_c(
				out, (char)(g_ascii_xdigit_value(text[1]) << 4 | g_ascii_xdigit_value(text[2])));
			text += 2;
		} else {
			g_string_append_c(out, *text);
		}
	}
}

/* "S: text", "S+: text", "S*N: text" */
static void put_server_line(GString *out, const char *line)
{
	const char *text = strstr(line, ": ");
	guint64 times = line[1] == '*' ? g_ascii_strtoull(line + 2, NULL, 10) : 1;

	assert_non_null(text);
	assert_in_range(times, 1, 1u << 24);
	while (times--)
		put_octets(out, text + 2);
	if (line[1] == ':')
		g_string_append(out, "\r\n");
}

static void play(void **state)
{
	const char *path = *state;
	g_autofree char *content = NULL, *events = NULL, *name = g_path_get_basename(path);
	g_autoptr(GString) server = g_string_new(NULL), expected = g_string_new(NULL);
	g_auto(GStrv) lines = NULL;
	const char *error;

	assert_true(g_file_get_contents(path, &content, NULL, NULL));
	lines = g_strsplit(content, "\n", -1);
	for (char **line = lines; *line; line++) {
		if (**line == 'S')
			put_server_line(server, *line);
		else if (g_str_has_prefix(*line, "E: "))
			g_string_append_printf(expected, "%s\n", *line + 3);
		else
			assert_true(**line == '\0' || **line == '#' || g_str_has_prefix(*line, "C: "));
	}
	assert_true(expected->len > 0);
	events = recorder_play_all_cuts(NULL, server->str, server->len);
	assert_string_equal(events, expected->str);
	error = strstr(events, "error: ");
	assert_int_equal(error && (error == events || error[-1] == '\n'), g_str_has_prefix(name, "should-fail-"));
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(void)
{
	g_autofree char *folder = g_build_filename(g_getenv("MAILTREE_TESTS"), "imap", "transcripts", NULL);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GArray) tests = g_array_new(FALSE, TRUE, sizeof(struct CMUnitTest));
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);

	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		char *path;

		if (!g_str_has_suffix(name, ".imap"))
			continue;
		path = g_build_filename(folder, name, NULL);
		g_ptr_array_add(names, path);
		g_array_append_val(
			tests, ((struct CMUnitTest){.name = path, .test_func = play, .initial_state = path}));
	}
	if (tests->len < FILES_MIN) {
		fprintf(stderr, "only %u transcripts in %s\n", tests->len, folder);
		return EXIT_FAILURE;
	}
	qsort(tests->data, tests->len, sizeof(struct CMUnitTest), compare);
	return _cmocka_run_group_tests("transcripts", (struct CMUnitTest *)tests->data, tests->len, NULL, NULL);
}
