/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A message as text, and its attachments: whatever it is, the text is the same twice, valid, bounded and free of
 * controls; names of attachments are safe and unique; sizes are those of what decoding gives.
 */
#include "src/mime/mime.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "src/base/banned.h"

static void check_text(const char *bytes, size_t length)
{
	g_autoptr(GBytes) text = mime_text_render(bytes, length), again = mime_text_render(bytes, length);
	gsize size;
	const char *at = g_bytes_get_data(text, &size);

	g_assert_true(g_bytes_equal(text, again));
	g_assert_cmpuint(size, >, 0);
	g_assert_cmpuint(size, <=, mime_text_bytes_max(length));
	g_assert_true(g_utf8_validate_len(at, size, NULL));
	for (gsize i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)at[i];

		g_assert_true((byte >= 0x20 && byte != 0x7F) || byte == '\t' || byte == '\n');
	}
}

static void check_name(const char *name)
{
	g_assert_true(g_utf8_validate(name, -1, NULL));
	g_assert_cmpuint(strlen(name), >, 0);
	g_assert_cmpuint(strlen(name), <=, MIME_ATTACHMENT_NAME_BYTES_MAX);
	g_assert_null(strpbrk(name, "/\\"));
	g_assert_null(strchr(".-~ ", name[0]));
	for (const char *at = name; *at; at = g_utf8_next_char(at)) {
		GUnicodeType type = g_unichar_type(g_utf8_get_char(at));

		g_assert_true(type != G_UNICODE_CONTROL && type != G_UNICODE_FORMAT);
	}
}

static bool count(void *ctx, const char *bytes, size_t length)
{
	*(uint64_t *)ctx += length;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = size ? (const char *)data : "";
	g_autoptr(GArray) list = NULL;
	g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

	mime_init();
	check_text(bytes, size);
	list = mime_attachments(bytes, size);
	g_assert_cmpuint(list->len, <=, MIME_ATTACHMENTS_MAX);
	for (guint i = 0; i < list->len; i++) {
		const struct mime_attachment *attachment = &g_array_index(list, struct mime_attachment, i);
		uint64_t got = 0;

		check_name(attachment->name);
		g_assert_true(g_hash_table_add(names, attachment->name));
		g_assert_true(mime_attachment_decode(bytes, size, i, count, &got));
		g_assert_cmpuint(got, ==, attachment->size_bytes);
		g_assert_cmpuint(got, <=, size);
	}
	return 0;
}
