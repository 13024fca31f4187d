/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Header fields of a message, whatever their octets: what is shown is UTF-8 without controls and bounded, the stem can
 * be a part of a file's name, and masked words keep their length. Cuts at any point are no other matter.
 */
#include "src/mime/mime.h"
#include "src/mime/words.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "src/base/banned.h"

static void check_text(const char *text)
{
	if (!text)
		return;
	g_assert_true(text[0]);
	g_assert_cmpuint(strlen(text), <=, MIME_TEXT_BYTES_MAX);
	g_assert_true(g_utf8_validate(text, -1, NULL));
	for (const char *at = text; *at; at = g_utf8_next_char(at))
		g_assert_false(g_unichar_iscntrl(g_utf8_get_char(at)));
}

/* By the contract's rule for names. */
static void check_stem(const char *stem)
{
	g_assert_true(stem[0]);
	g_assert_cmpuint(strlen(stem), <=, MIME_STEM_BYTES_MAX);
	g_assert_true(g_utf8_validate(stem, -1, NULL));
	g_assert_nonnull(strchr(stem, '_'));
	g_assert_null(strpbrk(stem, "/\\:*?\"<>|"));
	for (const char *at = stem; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		g_assert_false(g_unichar_isspace(c));
		switch (g_unichar_type(c)) {
		case G_UNICODE_CONTROL:
		case G_UNICODE_FORMAT:
		case G_UNICODE_LINE_SEPARATOR:
		case G_UNICODE_PARAGRAPH_SEPARATOR:
			g_assert_not_reached();
		default:
			break;
		}
	}
}

static void check_headers(const char *bytes, size_t length)
{
	struct mime_headers headers;

	mime_headers_parse(bytes, length, &headers);
	check_text(headers.from);
	check_text(headers.to);
	check_text(headers.subject);
	check_text(headers.message_id);
	check_stem(headers.stem);
	mime_headers_fini(&headers);
}

static void check_words(const char *bytes, size_t length)
{
	g_autofree char *text = g_utf8_make_valid(bytes, (gssize)length), *decoded = words_decode(text);
	size_t before = strlen(text);

	g_assert_true(g_utf8_validate(decoded, -1, NULL));
	words_mask(text);
	g_assert_cmpuint(strlen(text), ==, before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char subject[] = "Subject: ", from[] = "From: ";
	g_autoptr(GString) field = g_string_new(subject);

	mime_init();
	check_headers((const char *)data, size);
	/* what most inputs of a fuzzer would never have */
	g_string_append_len(field, (const char *)data, (gssize)size);
	check_headers(field->str, field->len);
	g_string_erase(field, 0, sizeof(subject) - 1);
	g_string_prepend(field, from);
	check_headers(field->str, field->len);
	check_words((const char *)data, size);
	return 0;
}
