/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

static char *text_of(const struct imap_set *set)
{
	GString *out = g_string_new(NULL);
	size_t at = 0;

	imap_set_format(set, &at, SIZE_MAX, out);
	assert_int_equal(at, set->ranges->len);
	return g_string_free(out, FALSE);
}

/* What every set keeps to: sorted, disjoint, not touching. */
static void check(const struct imap_set *set)
{
	for (guint i = 0; i < set->ranges->len; i++) {
		struct imap_range range = g_array_index(set->ranges, struct imap_range, i);

		assert_true(range.first <= range.last);
		if (i > 0)
			assert_true(
				range.first > (uint64_t)g_array_index(set->ranges, struct imap_range, i - 1).last + 1);
	}
}

static void parses(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL = no set */
		uint64_t count;
	} cases[] = {
		{"1", "1", 1},
		{"4294967295", "4294967295", 1},
		{"1:4294967295", "1:4294967295", 4294967295},
		{"1,2,3", "1:3", 3},
		{"3,2,1", "1:3", 3},
		{"5:2", "2:5", 4},
		{"1:3,2:4", "1:4", 4},
		{"1:10,3", "1:10", 10},
		{"9,1:2,4,3", "1:4,9", 5},
		{"10:20,1:5,7,6", "1:7,10:20", 18},
		{"4294967294,4294967295", "4294967294:4294967295", 2},
		{"4294967295,1,4294967294", "1,4294967294:4294967295", 3},
		{"", NULL, 0},
		{"0", NULL, 0},
		{"0:1", NULL, 0},
		{"1:0", NULL, 0},
		{"*", NULL, 0},
		{"1:*", NULL, 0},
		{"1,", NULL, 0},
		{",1", NULL, 0},
		{"1,,2", NULL, 0},
		{"1:", NULL, 0},
		{":1", NULL, 0},
		{"1:2:3", NULL, 0},
		{"1 2", NULL, 0},
		{" 1", NULL, 0},
		{"-1", NULL, 0},
		{"+1", NULL, 0},
		{"1x", NULL, 0},
		{"4294967296", NULL, 0},
		{"1:4294967296", NULL, 0},
		{"18446744073709551617", NULL, 0},
	};
	struct imap_set set;

	imap_set_init(&set);
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		/* Exactly as long as it says, no NUL behind it. */
		size_t length = strlen(cases[i].in);
		g_autofree char *copy = g_memdup2(cases[i].in, length), *out = NULL;
		bool good = imap_set_parse(&set, copy, length);

		out = text_of(&set);
		assert_string_equal(out, cases[i].out ? cases[i].out : "");
		assert_int_equal(good, cases[i].out != NULL);
		assert_int_equal(imap_set_count(&set), cases[i].count);
		check(&set);
	}
	assert_false(imap_set_parse(&set, "1\0002", 3));
	imap_set_fini(&set);
}

static void adds_like_a_bitmap(void **state)
{
	enum { NUMBERS = 64 };
	g_autoptr(GRand) random = g_rand_new_with_seed(3);

	for (int round = 0; round < 300; round++) {
		bool in[NUMBERS + 1] = {false};
		uint64_t count = 0;
		struct imap_set set;

		imap_set_init(&set);
		for (int i = 0; i < 20; i++) {
			uint32_t first = (uint32_t)g_rand_int_range(random, 1, NUMBERS - 4),
				 last = first + (uint32_t)g_rand_int_range(random, 0, 5);

			if (i % 2)
				imap_set_add(&set, first, last);
			else
				imap_set_add(&set, last, first);
			for (uint32_t n = first; n <= last; n++)
				in[n] = true;
			check(&set);
		}
		for (uint32_t n = 1; n <= NUMBERS; n++) {
			assert_int_equal(imap_set_has(&set, n), in[n]);
			count += in[n];
		}
		assert_int_equal(imap_set_count(&set), count);
		imap_set_fini(&set);
	}
}

static void adds_at_the_ends(void **state)
{
	struct imap_set set;
	g_autofree char *text = NULL;

	imap_set_init(&set);
	imap_set_add(&set, UINT32_MAX, UINT32_MAX);
	imap_set_add(&set, UINT32_MAX - 1, UINT32_MAX);
	imap_set_add(&set, 1, 1);
	imap_set_add(&set, UINT32_MAX, UINT32_MAX);
	check(&set);
	text = text_of(&set);
	assert_string_equal(text, "1,4294967294:4294967295");
	imap_set_add(&set, 1, UINT32_MAX);
	assert_int_equal(imap_set_count(&set), UINT32_MAX);
	imap_set_clear(&set);
	assert_int_equal(imap_set_count(&set), 0);
	assert_false(imap_set_has(&set, 1));
	imap_set_fini(&set);
}

static void adds_numbers(void **state)
{
	static const uint32_t numbers[] = {9, 8, 8, 1, 2, 4, 4294967295, 4294967294, 3};
	struct imap_set set;
	g_autofree char *text = NULL;

	imap_set_init(&set);
	imap_set_add_numbers(&set, numbers, 0);
	assert_int_equal(imap_set_count(&set), 0);
	imap_set_add(&set, 6, 7);
	imap_set_add_numbers(&set, numbers, G_N_ELEMENTS(numbers));
	check(&set);
	text = text_of(&set);
	assert_string_equal(text, "1:4,6:9,4294967294:4294967295");
	imap_set_fini(&set);
}

/* A million numbers in falling order, none touching: must not take quadratic time (the test's timeout would show it).
 */
static void adds_falling_numbers(void **state)
{
	enum { COUNT = 1000000 };
	g_autofree uint32_t *numbers = g_new(uint32_t, COUNT);
	struct imap_set set;

	for (uint32_t i = 0; i < COUNT; i++)
		numbers[i] = 2 * (COUNT - i);
	imap_set_init(&set);
	imap_set_add_numbers(&set, numbers, COUNT);
	check(&set);
	assert_int_equal(set.ranges->len, COUNT);
	imap_set_fini(&set);
}

static void formats_in_pieces(void **state)
{
	struct imap_set set;
	g_autoptr(GString) out = g_string_new("UID FETCH ");
	size_t at = 0;

	imap_set_init(&set);
	assert_true(imap_set_parse(&set, "1,3:4,4294967290:4294967295", 27));
	assert_int_equal(imap_set_format(&set, &at, 4, out), 1);
	assert_string_equal(out->str, "UID FETCH 1");
	assert_int_equal(imap_set_format(&set, &at, 3, out), 3);
	assert_string_equal(out->str, "UID FETCH 13:4");
	assert_int_equal(imap_set_format(&set, &at, 20, out), 0); /* too small for any */
	assert_int_equal(at, 2);
	assert_int_equal(imap_set_format(&set, &at, 21, out), 21);
	assert_int_equal(imap_set_format(&set, &at, 100, out), 0);
	assert_int_equal(at, 3);
	imap_set_fini(&set);
}

static void parse_has_a_limit(void **state)
{
	size_t ranges = IMAP_SET_LINE_MAX / 2;
	g_autoptr(GString) text = g_string_sized_new(2 * ranges + 2);
	struct imap_set set;

	for (size_t i = 0; i < ranges; i++)
		g_string_append(text, i ? ",7" : "7");
	imap_set_init(&set);
	assert_true(imap_set_parse(&set, text->str, text->len));
	assert_int_equal(set.ranges->len, 1);
	g_string_append(text, ",7");
	assert_false(imap_set_parse(&set, text->str, text->len));
	assert_int_equal(set.ranges->len, 0);
	imap_set_fini(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),
		cmocka_unit_test(adds_like_a_bitmap),
		cmocka_unit_test(adds_at_the_ends),
		cmocka_unit_test(adds_numbers),
		cmocka_unit_test(adds_falling_numbers),
		cmocka_unit_test(formats_in_pieces),
		cmocka_unit_test(parse_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
