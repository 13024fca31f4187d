/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of messages and inode numbers: pure. */
#include "fs/names.h"
#include "fs/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

static struct mail_message message(uint32_t uid, int64_t date, const char *stem)
{
	struct mail_message made = {.uid = uid, .date = date};

	g_strlcpy(made.stem, stem, sizeof(made.stem));
	return made;
}

static void test_compose(void **state)
{
	struct mail_message mail = message(1234, 1795425300, "olena@contoso.com_Рахунок-за-листопад");
	char name[NAMES_BYTES_MAX + 1];
	size_t length;

	length = names_compose(&mail, false, name);
	assert_int_equal(length, strlen(name));
	assert_string_equal(name, "2026-11-23T0915_olena@contoso.com_Рахунок-за-листопад.1234.eml");
	length = names_compose(&mail, true, name);
	assert_int_equal(length, strlen(name));
	assert_string_equal(name, "1234.eml");
	mail = message(UINT32_MAX, -5, "");
	names_compose(&mail, false, name);
	assert_string_equal(name, "1970-01-01T0000_unknown_no-subject.4294967295.eml");
	mail = message(1, INT64_MAX, "a_b");
	names_compose(&mail, false, name);
	assert_string_equal(name, "9999-12-31T2359_a_b.1.eml");
	/* an index from elsewhere */
	mail = message(1, 0, "../\n/etc");
	names_compose(&mail, false, name);
	assert_string_equal(name, "1970-01-01T0000_..---etc.1.eml");
}

static void test_longest(void **state)
{
	static const uint32_t uids[] = {1, 99, 4294967295};

	for (size_t i = 0; i < G_N_ELEMENTS(uids); i++) {
		/* an odd byte in front, so that one of the lengths would cut a character in two */
		for (int odd = 0; odd < 2; odd++) {
			g_autoptr(GString) stem = g_string_new(odd ? "a" : "");
			char name[NAMES_BYTES_MAX + 1];
			struct mail_message mail;
			uint32_t uid = 0;

			while (stem->len < MAIL_STEM_MAX - 2)
				g_string_append(stem, "ї");
			mail = message(uids[i], 0, stem->str);
			names_compose(&mail, false, name);
			assert_in_range(strlen(name), NAMES_BYTES_MAX - 1, NAMES_BYTES_MAX);
			assert_true(g_utf8_validate(name, -1, NULL));
			assert_true(names_parse(name, &uid));
			assert_int_equal(uid, uids[i]);
			assert_true(names_match(name, &mail, false));
		}
	}
}

static void test_parse(void **state)
{
	static const struct {
		const char *name;
		uint32_t uid; /* 0: no message can have it */
	} cases[] = {
		{"5.eml", 5},
		{"2026-11-23T0915_a_b.5.eml", 5},
		{"2026-11-23T0915_a_b.12.5.eml", 5},
		{"4294967295.eml", UINT32_MAX},
		{"4294967296.eml", 0},
		{"99999999999999999999.eml", 0},
		{"0.eml", 0},
		{"05.eml", 0},
		{"-5.eml", 0},
		{"+5.eml", 0},
		{" 5.eml", 0},
		{".eml", 0},
		{"eml", 0},
		{"", 0},
		{"5", 0},
		{"5.EML", 0},
		{"5.eml ", 0},
		{"5.eml.eml", 0},
		{"a.eml", 0},
		{"a.5.eml", 0},
		{".5.eml", 0},
		{"._2026-11-23T0915_a_b.5.eml", 0},
		{"2026-11-23T0915_a_b5.eml", 0},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint32_t uid = 0;
		bool parsed = names_parse(cases[i].name, &uid);

		if (parsed != (cases[i].uid != 0) || (parsed && uid != cases[i].uid))
			fail_msg("\"%s\": %s %u", cases[i].name, parsed ? "uid" : "none", uid);
	}
}

static void test_match(void **state)
{
	struct mail_message mail = message(5, 0, "a_b");

	assert_true(names_match("5.eml", &mail, false));
	assert_true(names_match("5.eml", &mail, true));
	assert_true(names_match("1970-01-01T0000_a_b.5.eml", &mail, false));
	assert_false(names_match("1970-01-01T0000_a_b.5.eml", &mail, true));
	assert_false(names_match("1970-01-01T0000_a_c.5.eml", &mail, false));
	assert_false(names_match("1970-01-01T0001_a_b.5.eml", &mail, false));
	assert_false(names_match("6.eml", &mail, false));
}

static void test_maildir(void **state)
{
	static const struct {
		const char *name;
		uint32_t uid; /* 0: no message's name */
	} cases[] = {
		{"0.F00000007U1.mailtree:2,", 1},
		{"0.F00000007U1.mailtree", 1},
		{"99.F7fffffffU4294967295.mailtree:2,DFPRST", UINT32_MAX},
		{"99.F7fffffffU5.mailtree:2,RS", 5},
		{"99.F7fffffffU5.mailtree:2,SR", 0},
		{"99.F7fffffffU5.mailtree:2,SS", 0},
		{"99.F7fffffffU5.mailtree:2,Sa", 0},
		{"99.F7fffffffU5.mailtree:1,S", 0},
		{"99.F7fffffffU5.mailtree:2", 0},
		{"99.F7fffffffU5.mailtreeS", 0},
		{"99.F7fffffffU5.mailtre", 0},
		{"99.F7fffffffU4294967296.mailtree", 0},
		{"99.F7fffffffU05.mailtree", 0},
		{"99.F7fffffffU.mailtree", 0},
		{"99.F7FFFFFFFU5.mailtree", 0},
		{"99.F7ffffffU5.mailtree", 0},
		{".F7fffffffU5.mailtree", 0},
		{"99.", 0},
		{"", 0},
	};
	struct mail_message mail = message(5, 1795425300, "a_b");
	char name[NAMES_BYTES_MAX + 1];
	uint32_t uid;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		bool parsed = names_maildir_parse(cases[i].name, &uid);

		if (parsed != (cases[i].uid != 0) || (parsed && uid != cases[i].uid))
			fail_msg("\"%s\": %s %u", cases[i].name, parsed ? "uid" : "none", uid);
	}
	assert_int_equal(names_maildir_compose(&mail, 7, name), strlen("1795425300.F00000007U5.mailtree:2,"));
	assert_string_equal(name, "1795425300.F00000007U5.mailtree:2,");
	/* keywords have no letter */
	mail.flags = MAIL_SEEN | MAIL_ANSWERED | MAIL_FLAGGED | MAIL_DELETED | MAIL_DRAFT | MAIL_FORWARDED |
	             MAIL_KEYWORDS;
	names_maildir_compose(&mail, 7, name);
	assert_string_equal(name, "1795425300.F00000007U5.mailtree:2,DFPRST");
	assert_int_equal(NAMES_LISTED, names_maildir_match(name, &mail, 7));
	assert_int_equal(NAMES_OTHER, names_maildir_match(name, &mail, 8));
	assert_int_equal(NAMES_ALIAS, names_maildir_match("1795425300.F00000007U5.mailtree:2,S", &mail, 7));
	assert_int_equal(NAMES_ALIAS, names_maildir_match("1795425300.F00000007U5.mailtree", &mail, 7));
	assert_int_equal(NAMES_ALIAS, names_maildir_match("5.eml", &mail, 7));
	assert_int_equal(NAMES_OTHER, names_maildir_match("1795425301.F00000007U5.mailtree:2,S", &mail, 7));
	mail = message(1, INT64_MIN, "");
	names_maildir_compose(&mail, 7, name);
	assert_string_equal(name, "0.F00000007U1.mailtree:2,");
	assert_int_equal(NAMES_MAILDIR_TMP, names_maildir_part_find("tmp"));
	assert_int_equal(0, names_maildir_part_find("Cur"));
	assert_string_equal("new", names_maildir_part(NAMES_MAILDIR_NEW));
}

static void test_inodes(void **state)
{
	assert_int_equal(node_folder_ino(0), NODE_ROOT_INO);
	assert_int_equal(node_folder_ino(0x7FFFFFFF), 0x7FFFFFFF00000000);
	assert_int_equal(node_message_ino(0x7FFFFFFF, UINT32_MAX), 0x7FFFFFFFFFFFFFFF);
	assert_int_equal(node_message_ino(1, 1), 0x100000001);
	/* none is a generated one's */
	assert_int_equal(node_message_ino(0x7FFFFFFF, UINT32_MAX) & NODE_GENERATED, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compose),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_maildir),
		cmocka_unit_test(test_inodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
