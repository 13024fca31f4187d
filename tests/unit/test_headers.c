/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Header fields decoded, and FROM_SUBJECT of a message's name. */
#include "src/mime/mime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define HOSTILE_BYTES (64u * 1024u)
/* A generous bound: what is quadratic in 64 KiB takes a minute, what isn't a few milliseconds, sanitizers included. */
#define HOSTILE_SECONDS 5.0

struct header_case {
	const char *header;
	const char *from, *to, *subject, *message_id, *stem; /* NULL = none; of the stem: not compared */
};

static const struct header_case cases[] = {
	{"", NULL, NULL, NULL, NULL, "unknown_no-subject"},
	{"\r\n", NULL, NULL, NULL, NULL, "unknown_no-subject"},
	{"From: olena@contoso.com\r\nSubject: Hi\r\n\r\n", "olena@contoso.com", NULL, "Hi", NULL,
		"olena@contoso.com_Hi"},
	{"from:olena@contoso.com\nSUBJECT :Hi\n", "olena@contoso.com", NULL, "Hi", NULL, "olena@contoso.com_Hi"},
	{"Message-ID:  <a.b@c> \r\nTo: a@b,\r\n\tc@d\r\n", NULL, "a@b, c@d", NULL, "a.b@c", NULL},
	{"Message-ID: without\r\n", NULL, NULL, NULL, "without", NULL},
	{"From: Olena <olena@contoso.com>\r\n", "Olena <olena@contoso.com>", NULL, NULL, NULL,
		"olena@contoso.com_no-subject"},
	{"From: \"Doe, John\" <john@x.org>\r\n", "\"Doe, John\" <john@x.org>", NULL, NULL, NULL,
		"john@x.org_no-subject"},
	{"From: a@x.org, b@x.org\r\n", "a@x.org, b@x.org", NULL, NULL, NULL, "a@x.org_no-subject"},
	{"From: x@y.org (Name)\r\n", "x@y.org (Name)", NULL, NULL, NULL, "x@y.org_no-subject"},
	{"From: Group: a@x.org, b@x.org;\r\n", "Group: a@x.org, b@x.org;", NULL, NULL, NULL, "a@x.org_no-subject"},
	{"From: undisclosed-recipients:;\r\n", "undisclosed-recipients:;", NULL, NULL, NULL, "unknown_no-subject"},
	{"From: <>\r\nSubject: \r\n", "<>", NULL, NULL, NULL, "unknown_no-subject"},
	/* the first one that isn't empty */
	{"Subject:\r\nSubject: second\r\nSubject: third\r\n", NULL, NULL, "second", NULL, "unknown_second"},
	{"X-Subject: no\r\nSubjects: no\r\nSubject: yes\r\n", NULL, NULL, "yes", NULL, NULL},
	/* RFC 2047 */
	{"Subject: =?utf-8?B?0KDQsNGF0YPQvdC+0Lo=?=\r\n", NULL, NULL, "Рахунок", NULL, "unknown_Рахунок"},
	{"Subject: =?UTF-8?Q?=D0=A0=D0=B0=D1=85?=\r\n =?UTF-8?Q?=D1=83=D0=BD=D0=BE=D0=BA?=\r\n", NULL, NULL, "Рахунок",
		NULL, "unknown_Рахунок"},
	{"Subject: =?utf-8?Q?a?= =?utf-8?Q?b?= c =?utf-8?Q?d_e?=\r\n", NULL, NULL, "ab c d e", NULL,
		"unknown_ab-c-d-e"},
	/* a character cut in two by a careless encoder */
	{"Subject: =?utf-8?B?0KDQsNGF0Q==?= =?utf-8?B?g9C90L7Qug==?=\r\n", NULL, NULL, "Рахунок", NULL,
		"unknown_Рахунок"},
	{"Subject: =?koi8-u?B?8sHI1c7Pyw==?=\r\n", NULL, NULL, "Рахунок", NULL, NULL},
	{"Subject: =?windows-1251?Q?=D0=E0=F5=F3=ED=EE=EA?=\r\n", NULL, NULL, "Рахунок", NULL, NULL},
	{"Subject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=\r\n", NULL, NULL, "日本", NULL, NULL},
	{"From: =?koi8-u?B?7MzFzsE=?= <olena@contoso.com>\r\n", "Ллена <olena@contoso.com>", NULL, NULL, NULL,
		"olena@contoso.com_no-subject"},
	/* padded, though more follows; and cut without padding */
	{"Subject: =?utf-8?B?0KDQsA==?= =?utf-8?B?0YU=?=\r\n", NULL, NULL, "Рах", NULL, "unknown_Рах"},
	{"Subject: =?utf-8?B?0KDQs?= =?utf-8?B?NGF?=\r\n", NULL, NULL, "Рах", NULL, "unknown_Рах"},
	{"Subject: =?utf-8*uk?Q?=D0=A0?= =?windows-1251?Q?=E0?=\r\n", NULL, NULL, "Ра", NULL, "unknown_Ра"},
	{"Subject: =?x-unknown?Q?a=FFb?= =?ks_c_5601-1987?B?x9GxuQ==?=\r\n", NULL, NULL,
		"a\xEF\xBF\xBD"
		"b한국",
		NULL, NULL},
	/* broken ones stay as they are */
	{"Subject: =?utf-8?X?abc?=\r\n", NULL, NULL, "=?utf-8?X?abc?=", NULL, "unknown_=-utf-8-X-abc-="},
	{"Subject: =?utf-8?B?\r\n", NULL, NULL, "=?utf-8?B?", NULL, NULL},
	/* raw 8 bit */
	{"Subject: \xD0\xA0\xD0\xB0\xD1\x85\r\n", NULL, NULL, "Рах", NULL, "unknown_Рах"},
	{"Subject: \xD0\xE0\xF5\xF3\xED\xEE\xEA\r\n", NULL, NULL, "Рахунок", NULL, NULL},
	{"Subject: \xF2\xC1\xC8\xD5\xCE\xCF\xCB\r\n", NULL, NULL, "Рахунок", NULL, NULL},
	{"Subject: caf\xE9\r\n", NULL, NULL, "café", NULL, NULL},
	{"Subject: \x1B$BF|K\\\x1B(B\r\n", NULL, NULL, "日本", NULL, NULL},
	/* NFC: e and a combining acute */
	{"Subject: cafe\xCC\x81\r\n", NULL, NULL, "cafe\xCC\x81", NULL, "unknown_café"},
	/* what a name can't have */
	{"Subject: Re: a/b\\c  *d*?_-_\"e\" <f>|\r\n", NULL, NULL, "Re: a/b\\c  *d*?_-_\"e\" <f>|", NULL,
		"unknown_Re-a-b-c-d-e-f"},
	{"Subject: ../..\r\n", NULL, NULL, "../..", NULL, "unknown_..-.."},
	{"Subject: ___\r\n", NULL, NULL, "___", NULL, "unknown_no-subject"},
	{"Subject: a\xE2\x80\xAE"
	 "b\xE2\x80\xA8"
	 "c\xC2\xA0"
	 "d\xEF\xBB\xBF"
	 "e\xE3\x80\x80\r\n",
		NULL, NULL, NULL, NULL, "unknown_a-b-c-d-e"},
	{"Subject: =?utf-8?Q?a=00b=07c=7Fd=C2=85e?=\r\n", NULL, NULL, NULL, NULL, "unknown_a-b-c-d-e"},
	{"From: a_b-c@d.org\r\nSubject: x\r\n", "a_b-c@d.org", NULL, "x", NULL, "a_b-c@d.org_x"},
	{"From: \"a/b\"@d.org\r\n", "\"a/b\"@d.org", NULL, NULL, NULL, NULL},
};

static void assert_text(const char *header, const char *what, const char *got, const char *expected)
{
	if (g_strcmp0(got, expected) != 0)
		fail_msg("%s of {%s}: \"%s\", expected \"%s\"", what, header, got ? got : "(none)",
			expected ? expected : "(none)");
}

static void test_cases(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct header_case *c = &cases[i];
		struct mime_headers headers;

		mime_headers_parse(c->header, strlen(c->header), &headers);
		assert_text(c->header, "stem", headers.stem, c->stem ? c->stem : headers.stem);
		assert_text(c->header, "from", headers.from, c->from);
		assert_text(c->header, "to", headers.to, c->to);
		if (c->subject || !c->stem)
			assert_text(c->header, "subject", headers.subject, c->subject);
		assert_text(c->header, "message-id", headers.message_id, c->message_id);
		mime_headers_fini(&headers);
	}
}

/* Whatever the bytes are: UTF-8, one line, within the bounds, fit for a file name. */
static void assert_sane(const struct mime_headers *headers)
{
	const char *texts[] = {headers->from, headers->to, headers->subject, headers->message_id, headers->stem};

	assert_non_null(headers->stem);
	assert_true(strlen(headers->stem) > 0 && strlen(headers->stem) <= MIME_STEM_BYTES_MAX);
	assert_null(strpbrk(headers->stem, "/\\:*?\"<>|"));
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		if (!texts[i])
			continue;
		assert_true(strlen(texts[i]) <= MIME_TEXT_BYTES_MAX);
		assert_true(g_utf8_validate(texts[i], -1, NULL));
		for (const char *at = texts[i]; *at; at = g_utf8_next_char(at))
			assert_false(g_unichar_iscntrl(g_utf8_get_char(at)));
	}
}

static void parse_sane(const char *bytes, size_t length)
{
	/* exactly as long as it is, so that a sanitizer sees a read beyond */
	g_autofree char *copy = g_memdup2(bytes, length);
	struct mime_headers headers;

	mime_headers_parse(copy, length, &headers);
	assert_sane(&headers);
	mime_headers_fini(&headers);
}

static void test_cut_anywhere(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		for (size_t length = 0; length <= strlen(cases[i].header); length++)
			parse_sane(cases[i].header, length);
	}
}

static void test_any_byte(void **state)
{
	char header[] = "From: X <x@y.org>\r\nSubject: =?utf-8?Q?abc?= d\r\n";

	for (size_t at = 0; at < sizeof(header) - 1; at++) {
		char before = header[at];

		for (int byte = 0; byte < 256; byte++) {
			header[at] = (char)byte;
			parse_sane(header, sizeof(header) - 1);
		}
		header[at] = before;
	}
}

static void test_stem_cut(void **state)
{
	g_autoptr(GString) header = g_string_new("From: ");
	struct mime_headers headers;
	const char *subject;

	/* FROM: 64 bytes */
	for (int i = 0; i < 30; i++)
		g_string_append(header, "abc");
	g_string_append(header, "@x.org\r\nSubject: x");
	/* 500 bytes of two-byte characters behind an odd beginning */
	for (int i = 0; i < 250; i++)
		g_string_append(header, "ї");
	g_string_append(header, "\r\n");
	mime_headers_parse(header->str, header->len, &headers);
	assert_sane(&headers);
	subject = strchr(headers.stem, '_');
	assert_non_null(subject);
	assert_int_equal(subject - headers.stem, MIME_FROM_BYTES_MAX);
	assert_true(g_str_has_prefix(subject, "_xїї"));
	/* as much as fits: one byte more would be half a character */
	assert_int_equal(strlen(headers.stem), MIME_STEM_BYTES_MAX);
	mime_headers_fini(&headers);
}

static void test_stem_cut_inside_character(void **state)
{
	g_autoptr(GString) header = g_string_new("Subject: ");
	struct mime_headers headers;

	/* "unknown_" is 8: 170 are left, 56 characters of three bytes */
	for (int i = 0; i < 100; i++)
		g_string_append(header, "本");
	mime_headers_parse(header->str, header->len, &headers);
	assert_int_equal(strlen(headers.stem), 8 + 56 * 3);
	assert_sane(&headers);
	mime_headers_fini(&headers);
}

/* `piece` over and over in each field. */
static void hostile(const char *piece)
{
	static const char *const names[] = {"From: ", "To: ", "Subject: ", "Message-ID: "};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autoptr(GString) header = g_string_new(names[i]);
		struct timespec before, after;

		while (header->len < HOSTILE_BYTES)
			g_string_append(header, piece);
		clock_gettime(CLOCK_MONOTONIC, &before);
		parse_sane(header->str, header->len);
		clock_gettime(CLOCK_MONOTONIC, &after);
		if ((double)(after.tv_sec - before.tv_sec) > HOSTILE_SECONDS)
			fail_msg("64 KiB of \"%s\" behind %stake too long", piece, names[i]);
	}
}

static void test_hostile(void **state)
{
	static const char *const pieces[] = {"=?", "=?utf-8?B?", "=?utf-8?Q?=41?= ", "=?utf-8?Q?", "(", ")", "((a)",
		"<", "a@", "\"", "\"\\", "a:", "a:;", "a:b:", ",", "@", "[", "\r\n ", "\r\n\t=?", ";", "\\", ".",
		"\xFF", "\xD0\xE0", "<@a,@b:c@d>", "=?x?Q?=?=", "\xCC\x81", "\x1B$B", "a@b,", "\"a\" "};

	for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++)
		hostile(pieces[i]);
}

static void test_many_lines(void **state)
{
	g_autoptr(GString) header = g_string_new(NULL);

	while (header->len < HOSTILE_BYTES)
		g_string_append(header, "Subject:\r\n");
	parse_sane(header->str, header->len);
}

/* cmocka can't fail on a thread that isn't its own: returns how many went wrong. */
static void *parse_all(void *data)
{
	size_t wrong = 0;

	mime_init();
	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
			struct mime_headers headers;

			mime_headers_parse(cases[i].header, strlen(cases[i].header), &headers);
			wrong += cases[i].stem && strcmp(headers.stem, cases[i].stem) != 0;
			mime_headers_fini(&headers);
		}
	}
	return GSIZE_TO_POINTER(wrong);
}

static void test_threads(void **state)
{
	GThread *threads[4];

	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
		threads[i] = g_thread_new("parse", parse_all, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
		assert_int_equal(GPOINTER_TO_SIZE(g_thread_join(threads[i])), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_any_byte),
		cmocka_unit_test(test_stem_cut),
		cmocka_unit_test(test_stem_cut_inside_character),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_many_lines),
		cmocka_unit_test(test_threads),
	};

	mime_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
