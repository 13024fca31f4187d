/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "src/base/banned.h"

static bool parse(const char *text, size_t length, int64_t *seconds_out)
{
	/* Exactly as long as it says, no NUL behind it. */
	g_autofree char *copy = g_memdup2(text, length);

	return imap_date_parse(copy, length, seconds_out);
}

static void dates(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} cases[] = {
		{"01-Jan-1970 00:00:00 +0000", 0},
		{" 1-Jan-1970 00:00:00 +0000", 0},
		{"1-Jan-1970 00:00:00 +0000", 0},
		{"01-JAN-1970 00:00:00 -0000", 0},
		{"31-Dec-1969 23:59:59 +0000", -1},
		{"23-Nov-2026 09:15:00 +0200", 1795418100},
		{"23-nov-2026 07:15:00 +0000", 1795418100},
		{"22-Nov-2026 21:15:00 -1000", 1795418100},
		{"29-Feb-2024 12:00:00 +0000", 1709208000},
		{"29-Feb-2000 00:00:00 +0000", 951782400},
		{"31-Dec-2016 23:59:60 +0000", 1483228800}, /* a leap second is the next day's first */
		{"01-Jan-0001 00:00:00 +0000", -62135596800},
		{"31-Dec-9999 23:59:59 +0000", 253402300799},
		{"01-Jan-1970 00:00:00 +0530", -19800},
		{"19-Jan-2038 03:14:08 +0000", 2147483648},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		int64_t seconds = -7;

		assert_true(parse(cases[i].text, strlen(cases[i].text), &seconds));
		assert_int_equal(seconds, cases[i].seconds);
	}
}

static void not_dates(void **state)
{
	static const char *const cases[] = {
		"",
		"0",
		"23-Nov-2026",
		"23-Nov-2026 09:15:00",
		"23-Nov-2026 09:15:00 GMT",
		"23-Nov-2026 09:15:00 +02",
		"23-Nov-2026 09:15:00 +02000",
		"23-Nov-2026 09:15:00  0200",
		"23-Nov-2026 09:15:00 +02x0",
		"23-Nov-2026T09:15:00 +0200",
		"023-Nov-2026 09:15:00 +0200",
		"00-Nov-2026 09:15:00 +0200",
		"31-Nov-2026 09:15:00 +0200",
		"29-Feb-2026 09:15:00 +0200",
		"29-Feb-1900 09:15:00 +0200",
		"23-Nvo-2026 09:15:00 +0200",
		"23-No-02026 09:15:00 +0200",
		"23-Nov-26   09:15:00 +0200",
		"23-Nov--026 09:15:00 +0200",
		"23-Nov-2026 24:15:00 +0200",
		"23-Nov-2026 09:60:00 +0200",
		"23-Nov-2026 09:15:61 +0200",
		"23-Nov-2026 09:15:00 +2400",
		"23-Nov-2026 09:15:00 +0260",
		"-3-Nov-2026 09:15:00 +0200",
		"  -Nov-2026 09:15:00 +0200",
		" -Nov-2026 09:15:00 +0200",
		"23 Nov 2026 09:15:00 +0200",
	};
	static const char good[] = "23-Nov-2026 09:15:00 +0200";

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		int64_t seconds = -7;

		assert_false(parse(cases[i], strlen(cases[i]), &seconds));
		assert_int_equal(seconds, -7);
	}
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		char bad[sizeof(good)];
		int64_t seconds;

		assert_false(parse(good, i, &seconds)); /* cut */
		memcpy(bad, good, sizeof(good));
		bad[i] = '\0';
		assert_false(parse(bad, sizeof(good) - 1, &seconds));
		bad[i] = (char)0x80;
		assert_false(parse(bad, sizeof(good) - 1, &seconds));
	}
}

/* Against the C library's calendar. */
static void every_day(void **state)
{
	for (int64_t day = -200000; day < 400000; day += 1) {
		time_t expected = (time_t)day * 86400 + 12345;
		char text[64];
		struct tm tm;
		int64_t seconds;
		static const char months[12][4] = {
			"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

		gmtime_r(&expected, &tm);
		snprintf(text, sizeof(text), "%02d-%s-%04d %02d:%02d:%02d +0000", tm.tm_mday, months[tm.tm_mon],
			tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
		if (!imap_date_parse(text, strlen(text), &seconds) || seconds != expected)
			fail_msg("%s: %" G_GINT64_FORMAT, text, seconds);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates),
		cmocka_unit_test(not_dates),
		cmocka_unit_test(every_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
