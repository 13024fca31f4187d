/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names: what decodes is UTF-8 that encodes to the name it came from, and any UTF-8 survives both ways. Dates, too. */
#include "imap/grammar.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "src/base/banned.h"

static bool has_controls(const char *raw, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (g_ascii_iscntrl(raw[i]))
			return true;
	return false;
}

static void check_decode(const char *raw, size_t length)
{
	g_autofree char *utf8 = imap_utf7_decode(raw, length), *back = NULL, *again = NULL;

	if (!utf8)
		return;
	g_assert_true(g_utf8_validate(utf8, -1, NULL));
	back = imap_utf7_encode(utf8);
	g_assert_nonnull(back);
	/* Controls may stand for themselves; all else has one form. */
	if (!has_controls(raw, length))
		g_assert_cmpmem(back, strlen(back), raw, length);
	again = imap_utf7_decode(back, strlen(back));
	g_assert_cmpstr(again, ==, utf8);
}

static void check_encode(const char *bytes, size_t length)
{
	g_autofree char *utf8 = g_strndup(bytes, length), *raw = imap_utf7_encode(utf8), *back = NULL;

	g_assert_cmpint(raw != NULL, ==, g_utf8_validate(utf8, -1, NULL));
	if (!raw)
		return;
	for (const char *at = raw; *at; at++)
		g_assert_true(*at >= 0x20 && *at <= 0x7e);
	back = imap_utf7_decode(raw, strlen(raw));
	g_assert_cmpstr(back, ==, utf8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t seconds;

	check_decode((const char *)data, size);
	check_encode((const char *)data, size);
	if (imap_date_parse((const char *)data, size, &seconds)) /* years 0 to 9999 */
		g_assert_true(seconds > -62200000000 && seconds < 253500000000);
	return 0;
}
