/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

static char *decode(const char *raw, size_t length)
{
	/* Exactly as long as it says, no NUL behind it. */
	g_autofree char *copy = g_memdup2(raw, length);

	return imap_utf7_decode(copy, length);
}

static void both_ways(void **state)
{
	static const struct {
		const char *raw, *utf8;
	} cases[] = {
		{"", ""}, {"INBOX", "INBOX"}, {"a/b c~", "a/b c~"}, {"&-", "&"}, {"&-&-", "&&"}, {"R&-D", "R&D"},
		{"-&--", "-&-"},
		/* the examples of RFC 3501 5.1.3, in parts */
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"}, {"Entw&APw-rfe", "Entwürfe"},
		{"&BB0EMAQ0BFYEQQQ7BDAEPQRW-", "Надіслані"}, {"&BFc-&-&BFc-", "ї&ї"}, {"&2D3eAA-", "😀"},
		{"&2D3eANg93gE-!", "😀😁!"}, {"&2gDcAA-", "\xf2\x90\x80\x80"},     /* U+90000 */
		{"&2,,f,w-", "\xf4\x8f\xbf\xbf"},                                /* U+10FFFF */
		{"&AAE-", "\x01"}, {"&AH8-", "\x7f"}, {"&,,8-", "\xef\xbf\xbf"}, /* U+FFFF */
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *utf8 = decode(cases[i].raw, strlen(cases[i].raw)),
				*raw = imap_utf7_encode(cases[i].utf8);

		assert_non_null(utf8);
		assert_string_equal(utf8, cases[i].utf8);
		assert_non_null(raw);
		assert_string_equal(raw, cases[i].raw);
	}
}

/* Exchange sends control characters as they are. */
static void control_characters(void **state)
{
	g_autofree char *utf8 = decode("a\tb\x7f", 4);

	assert_non_null(utf8);
	assert_string_equal(utf8, "a\tb\x7f");
}

static void refused(void **state)
{
	static const struct {
		const char *raw;
		size_t length;
	} cases[] = {
#define RAW(text) {text, sizeof(text) - 1}
		RAW("&"),
		RAW("a&"),
		RAW("&BFc"), /* never closed */
		RAW("&BF c-"),
		RAW("&BFc/-"), /* UTF-7's slash isn't in this alphabet */
		RAW("&BF-"),   /* bits that make no character */
		RAW("&B-"),
		RAW("&BFcA-"),     /* a character of base64 too many */
		RAW("&BFd-"),      /* padding that isn't zero */
		RAW("&AGE-"),      /* 'a' needs no encoding: two names for one */
		RAW("&ACY-"),      /* '&' neither */
		RAW("&BFc-&BFc-"), /* two runs in place of one */
		RAW("&2D0-"),      /* half a pair */
		RAW("&3gA-"),      /* its other half */
		RAW("&2D3YPQ-"),   /* two first halves */
		RAW("&2D0BVw-"),   /* a first half, then none */
		RAW("&AAA-"),      /* NUL */
		RAW("a\0b"),       /* NUL */
		RAW("\xd1\x97"),   /* UTF-8 */
		RAW("&BFc\xd1\x97-"),
#undef RAW
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		assert_null(decode(cases[i].raw, cases[i].length));
	assert_null(imap_utf7_encode("\xff"));
	assert_null(imap_utf7_encode("\xed\xa0\x80")); /* a surrogate */
}

/* Cut anywhere, a name decodes to a beginning of what the whole decodes to, or not at all. */
static void cut_names(void **state)
{
	static const char raw[] = "a&BFcEVg-/&2D3eAA-&-z", utf8[] = "aїі/😀&z";

	for (size_t i = 0; i < sizeof(raw); i++) {
		g_autofree char *got = decode(raw, i);

		if (got)
			assert_memory_equal(got, utf8, strlen(got));
		else
			assert_true((i >= 2 && i <= 8) || (i >= 11 && i <= 17) || i == 19);
	}
}

static void every_character(void **state)
{
	for (gunichar c = 1; c <= 0x10ffff; c += c < 0x3000 ? 1 : 97) {
		char utf8[16] = "x";
		int length = 1;
		g_autofree char *raw = NULL, *back = NULL;

		if (c >= 0xd800 && c <= 0xdfff)
			continue;
		length += g_unichar_to_utf8(c, utf8 + 1);
		length += g_unichar_to_utf8(c, utf8 + length);
		utf8[length] = '\0';
		raw = imap_utf7_encode(utf8);
		assert_non_null(raw);
		back = decode(raw, strlen(raw));
		assert_non_null(back);
		assert_string_equal(back, utf8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways),
		cmocka_unit_test(control_characters),
		cmocka_unit_test(refused),
		cmocka_unit_test(cut_names),
		cmocka_unit_test(every_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
