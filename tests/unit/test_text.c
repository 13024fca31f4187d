/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages as text: each NAME.eml of tests/data/text gives NAME.txt, twice, and neither time nor size explode. Names of
 * attachments.
 */
#include "src/mime/mime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/effort.h"

#include "src/base/banned.h"

#define LEAST_FILES 40u
#define HOSTILE_BYTES EFFORT(2000000u)

static void check_file(const char *folder, const char *name)
{
	g_autofree char *path = g_build_filename(folder, name, NULL);
	g_autofree char *stem = g_strndup(name, strlen(name) - strlen(".eml"));
	g_autofree char *text_name = g_strdup_printf("%s.txt", stem);
	g_autofree char *text_path = g_build_filename(folder, text_name, NULL);
	g_autofree char *message = NULL, *expected = NULL;
	g_autoptr(GBytes) text = NULL, again = NULL;
	gsize message_length, length;

	assert_true(g_file_get_contents(path, &message, &message_length, NULL));
	assert_true(g_file_get_contents(text_path, &expected, &length, NULL));
	text = mime_text_render(message, message_length);
	again = mime_text_render(message, message_length);
	assert_true(g_bytes_equal(text, again));
	if (g_bytes_get_size(text) != length || memcmp(g_bytes_get_data(text, NULL), expected, length) != 0)
		fail_msg("%s: %.*s", name, (int)g_bytes_get_size(text), (char *)g_bytes_get_data(text, NULL));
}

static void test_golden(void **state)
{
	g_autofree char *folder = g_build_filename(getenv("MAILTREE_TESTS"), "data", "text", NULL);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	unsigned files = 0;

	assert_non_null(dir);
	for (const char *name; (name = g_dir_read_name(dir));) {
		if (!g_str_has_suffix(name, ".eml"))
			continue;
		check_file(folder, name);
		files++;
	}
	assert_true(files >= LEAST_FILES);
}

/* ---- names of attachments ---- */

static char *name_of(const char *disposition)
{
	g_autofree char *message = g_strdup_printf("Content-Type: application/octet-stream\r\n"
						   "Content-Disposition: %s\r\n\r\nx",
		disposition);
	g_autoptr(GArray) list = mime_attachments(message, strlen(message));

	assert_int_equal(list->len, 1);
	return g_strdup(g_array_index(list, struct mime_attachment, 0).name);
}

static const struct {
	const char *disposition, *name;
} names[] = {
	{"attachment; filename=report.pdf", "report.pdf"},
	{"attachment; filename=\"two words.pdf\"", "two words.pdf"},
	{"attachment; filename=two words.pdf", "two words.pdf"},
	{"attachment; filename=\"a \\\"quoted\\\" one.pdf\"", "a -quoted- one.pdf"},
	{"attachment; filename=\"open end.pdf", "open end.pdf"},
	{"ATTACHMENT; FILENAME=X.PDF", "X.PDF"},
	{"inline; filename=a.png", "a.png"},
	{"attachment; filename=\"=?utf-8?B?0LfQstGW0YIucGRm?=\"", "звіт.pdf"},
	{"attachment; filename==?koi8-u?Q?=DA=D7=A6=D4.pdf?=", "звіт.pdf"},
	{"attachment; filename=\"звіт.pdf\"", "звіт.pdf"},
	{"attachment; filename=\"\xda\xd7\xa6\xd4\x20\xda\xc1\x20\xcc\xc9\xd3\xd4\xcf\xd0\xc1\xc4.pdf\"",
		"звіт за листопад.pdf"},
	{"attachment; filename*=utf-8''%D0%B7%D0%B2%D1%96%D1%82.pdf", "звіт.pdf"},
	{"attachment; filename*=koi8-u'uk'%DA%D7%A6%D4.pdf", "звіт.pdf"},
	{"attachment; filename*0*=utf-8''%D0%B7%D0; filename*1*=%B2%D1%96; filename*2=\"t.pdf\"", "звіt.pdf"},
	{"attachment; filename*1=b.pdf; filename*0=a", "ab.pdf"},
	{"attachment; filename=plain.pdf; filename*=utf-8''extended.pdf", "extended.pdf"},
	/* no path, no option, nothing hidden */
	{"attachment; filename=\"../../etc/passwd\"", "passwd"},
	{"attachment; filename=\"/etc/passwd\"", "passwd"},
	{"attachment; filename=\"C:\\\\Users\\\\ada\\\\x.doc\"", "x.doc"},
	{"attachment; filename=\"C:\\Users\\ada\\x.doc\"", "x.doc"},
	{"attachment; filename*=utf-8''..%2F..%2Fx", "x"},
	{"attachment; filename=\"..\"", "part-1.bin"},
	{"attachment; filename=\".\"", "part-1.bin"},
	{"attachment; filename=\"/\"", "part-1.bin"},
	{"attachment; filename=\"\"", "part-1.bin"},
	{"attachment; filename=\"   \"", "part-1.bin"},
	{"attachment; filename=\"-rf\"", "rf"},
	{"attachment; filename=\"~ada\"", "ada"},
	{"attachment; filename=\". -~.x\"", "x"},
	{"attachment; filename=\"ends. . \"", "ends"},
	/* nothing that shows another name than it is */
	{"attachment; filename*=utf-8''%E2%80%AEgnp.exe", "gnp.exe"},
	{"attachment; filename*=utf-8''a%E2%80%8Bb%EF%BB%BF.txt", "ab.txt"},
	{"attachment; filename*=utf-8''a%00b%07%1B%5Bc", "a-b--[c"},
	{"attachment; filename*=utf-8''a%0D%0Ab", "a--b"},
	{"attachment; filename*=utf-8''a%FF%FEb", "a--b"},
	{"attachment", "part-1.bin"},
};

static void test_names(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *name = name_of(names[i].disposition);

		if (strcmp(name, names[i].name) != 0)
			fail_msg("%s: '%s', not '%s'", names[i].disposition, name, names[i].name);
	}
}

static void test_names_are_cut_with_their_extension(void **state)
{
	g_autoptr(GString) disposition = g_string_new("attachment; filename=\"");
	g_autofree char *name = NULL;

	for (int i = 0; i < 300; i++)
		g_string_append(disposition, "ї");
	g_string_append(disposition, ".tar.gz\"");
	name = name_of(disposition->str);
	assert_true(strlen(name) <= MIME_ATTACHMENT_NAME_BYTES_MAX);
	assert_true(strlen(name) > MIME_ATTACHMENT_NAME_BYTES_MAX - 4);
	assert_true(g_utf8_validate(name, -1, NULL));
	assert_true(g_str_has_suffix(name, "ї.gz") || g_str_has_suffix(name, ".tar.gz"));
}

static void test_equal_names_are_numbered(void **state)
{
	g_autoptr(GString) message = g_string_new("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
	g_autoptr(GArray) list = NULL;

	for (int i = 0; i < 50; i++)
		g_string_append(message, "--b\r\nContent-Disposition: attachment; filename=\"x (2).txt\"\r\n\r\n1\r\n");
	g_string_append(message, "--b--\r\n");
	list = mime_attachments(message->str, message->len);
	assert_int_equal(list->len, 50);
	for (guint i = 0; i < list->len; i++)
		assert_true(g_hash_table_add(seen, g_array_index(list, struct mime_attachment, i).name));
}

/* ---- bounds ---- */

static void test_parts_are_bounded(void **state)
{
	g_autoptr(GString) message = g_string_new("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	g_autoptr(GArray) list = NULL;
	g_autoptr(GBytes) text = NULL;

	for (int i = 0; i < EFFORT(20000); i++)
		g_string_append(message, "--b\r\nContent-Disposition: attachment; filename=x\r\n\r\n1\r\n");
	list = mime_attachments(message->str, message->len);
	assert_in_range(list->len, MIME_ATTACHMENTS_MAX - 1, MIME_ATTACHMENTS_MAX);
	text = mime_text_render(message->str, message->len);
	assert_true(g_bytes_get_size(text) < 100000);
}

/* What makes a careless parser take a square of the length: all of these end at once. */
static void test_hostile_shapes_take_no_time(void **state)
{
	static const struct {
		const char *head, *again;
	} shapes[] = {
		{"Content-Type: text/html\r\n\r\n", "<b>"},
		{"Content-Type: text/html\r\n\r\n", "<a href=\"https://x.example/\">"},
		{"Content-Type: text/html\r\n\r\n", "<blockquote>"},
		{"Content-Type: text/html\r\n\r\n", "<table><tr><td>"},
		{"Content-Type: text/html\r\n\r\n<b><i><u><p>", "</s>"},
		{"Content-Type: text/html\r\n\r\n", "<!--"},
		{"Content-Type: text/html\r\n\r\n", "<script>"},
		{"Content-Type: text/html\r\n\r\n", "&amp"},
		{"Content-Type: text/html\r\n\r\n<a ", "x='y' "},
		{"Content-Type: multipart/mixed; boundary=-\r\n\r\n", "---\r\n"},
		{"Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--c\r\n"},
		{"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
			"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"},
		{"", "Content-Type: message/rfc822\r\n\r\n"},
		{"Content-Type: text/plain", "; charset*0*=a"},
		{"Subject: ", "=?utf-8?Q?="},
		{"Content-Type: text/plain; format=flowed\r\n\r\n", ">>>> \r\n"},
		{"Content-Transfer-Encoding: x-uuencode\r\n\r\n", "begin \r\n"},
	};

	/* libxml2 compares each attribute with those before it, each end with what is open */
	for (int shape = 0; shape < 2; shape++) {
		g_autoptr(GString) message = g_string_new("Content-Type: text/html\r\n\r\n");
		g_autoptr(GBytes) text = NULL;
		int64_t started = g_get_monotonic_time();

		if (shape == 0)
			g_string_append(message, "<a ");
		for (int i = 0; shape == 1 && i < 500; i++)
			g_string_append(message, "<b>");
		for (unsigned i = 0; message->len < HOSTILE_BYTES; i++)
			g_string_append_printf(message, shape == 0 ? "a%u=1 " : "</s%u>", i % 100000);
		text = mime_text_render(message->str, message->len);
		print_message("%s: %u ms\n", shape ? "ends" : "attributes",
			(unsigned)((g_get_monotonic_time() - started) / 1000));
	}
	for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
		g_autoptr(GString) message = g_string_new(shapes[i].head);
		g_autoptr(GBytes) text = NULL;
		g_autoptr(GArray) list = NULL;
		int64_t started = g_get_monotonic_time();

		while (message->len < HOSTILE_BYTES)
			g_string_append(message, shapes[i].again);
		text = mime_text_render(message->str, message->len);
		list = mime_attachments(message->str, message->len);
		assert_true(g_bytes_get_size(text) <= mime_text_bytes_max(message->len));
		print_message("%s: %u ms\n", shapes[i].again, (unsigned)((g_get_monotonic_time() - started) / 1000));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_names_are_cut_with_their_extension),
		cmocka_unit_test(test_equal_names_are_numbered),
		cmocka_unit_test(test_parts_are_bounded),
		cmocka_unit_test(test_hostile_shapes_take_no_time),
	};

	mime_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
