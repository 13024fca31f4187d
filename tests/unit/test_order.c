/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The orders of a walk: pure. */
#include "src/mail/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define ROWS 500u
#define GAP 3u /* between UIDs */

/* The place that row `index` has by name: dates have nothing to do with UIDs. */
static uint32_t place_of(uint32_t index)
{
	return index * 203 % ROWS;
}

static uint32_t uid_of(uint32_t index)
{
	return (index + 1) * GAP;
}

/* The row at that place. */
static uint32_t row_of(uint32_t place)
{
	for (uint32_t index = 0; index < ROWS; index++)
		if (place_of(index) == place)
			return index;
	abort();
}

static struct listing *listing_of(int64_t (*date)(uint32_t index))
{
	struct listing *listing = listing_new();

	for (uint32_t index = 0; index < ROWS; index++) {
		struct row row = {.uid = uid_of(index), .size_bytes = 1000 + index, .date = date(index)};

		assert_true(listing_append(listing, &row, "same"));
	}
	listing_sort(listing);
	return listing;
}

static int64_t date_by_place(uint32_t index)
{
	return (int64_t)place_of(index) * 60;
}

static void assert_order(const struct order *order, uint32_t (*row)(uint32_t place), bool down)
{
	guint at;

	assert_int_equal(ROWS, order->places->len);
	for (uint32_t place = 0; place < ROWS; place++) {
		uint32_t index = row(down ? ROWS - 1 - place : place);
		const struct place *found = &g_array_index(order->places, struct place, place);

		assert_int_equal(uid_of(index), found->uid);
		assert_int_equal(1000 + index, found->bytes);
		assert_true(order_find(order, uid_of(index), &at));
		assert_int_equal(place, at);
		assert_false(order_find(order, uid_of(index) + 1, &at));
	}
	assert_false(order_find(order, 0, &at));
	assert_false(order_find(order, UINT32_MAX, &at));
}

static uint32_t same(uint32_t place)
{
	return place;
}

static void test_each_order_finds_its_messages(void **state)
{
	struct listing *listing = listing_of(date_by_place);

	for (int down = 0; down < 2; down++) {
		struct order by_uid = order_make(listing, false, down);
		struct order by_name = order_make(listing, true, down);

		assert_order(&by_uid, same, down);
		assert_order(&by_name, row_of, down);
		order_clear(&by_uid);
		order_clear(&by_name);
	}
	listing_free(listing);
}

static void test_an_empty_folder_has_an_order(void **state)
{
	struct listing *listing = listing_new();
	const uint32_t recent[ORDER_RECENT] = {1, 2, 3};
	struct order order = order_make(listing, true, true);
	guint at;

	assert_false(order_find(&order, 1, &at));
	assert_int_equal(0, order_way_by_uid(listing, recent));
	assert_int_equal(0, order_way_by_name(listing, recent));
	order_clear(&order);
	listing_free(listing);
}

static uint32_t order_uid(const struct order *order, guint place)
{
	return g_array_index(order->places, struct place, place).uid;
}

/* Within a minute it is the name that counts, and its UID is text. */
static void test_names_of_a_minute_sort_as_text(void **state)
{
	static const struct {
		uint32_t uid;
		int64_t date;
		const char *stem;
	} rows[] = {{9, 59, "b"}, {10, 0, "b"}, {11, 30, "a"}, {12, 60, "a"}, {100, 1, "b"}};
	static const uint32_t expected[] = {11, 10, 100, 9, 12};
	struct listing *listing = listing_new();
	struct order order;

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		struct row row = {.uid = rows[i].uid, .date = rows[i].date};

		assert_true(listing_append(listing, &row, rows[i].stem));
	}
	order = order_make(listing, true, false);
	for (guint i = 0; i < G_N_ELEMENTS(expected); i++)
		assert_int_equal(expected[i], order_uid(&order, i));
	order_clear(&order);
	listing_free(listing);
}

/* Minutes of which the lower half alone would sort the other way. */
static int64_t date_far_away(uint32_t index)
{
	int64_t minute = index % 2 ? -(1ll << 32) + ROWS + place_of(index) : place_of(index);

	return minute * 60;
}

static void test_dates_of_another_age_sort_too(void **state)
{
	struct listing *listing = listing_of(date_far_away);
	struct order order = order_make(listing, true, false);

	for (guint i = 1; i < ROWS; i++)
		assert_true(listing_find(listing, order_uid(&order, i - 1))->date <=
			    listing_find(listing, order_uid(&order, i))->date);
	order_clear(&order);
	listing_free(listing);
}

static void test_the_way_by_name_is_seen(void **state)
{
	/* places by name, the newest first; the way */
	static const struct {
		uint32_t places[ORDER_RECENT];
		int way;
	} cases[] = {
		{{12, 11, 10}, 1},
		{{10, 11, 12}, -1},
		{{12 + 2 * ORDER_NEAR, 12 + ORDER_NEAR, 12}, 1},
		{{12, 12 + ORDER_NEAR, 12 + 2 * ORDER_NEAR}, -1},
		{{12 + ORDER_NEAR + 2, 13, 12}, 0},
		{{14 + ORDER_NEAR, 13 + ORDER_NEAR, 12}, 0},
		{{12, 13, 14 + ORDER_NEAR}, 0},
		{{12, 13, 12}, 0},
		{{13, 12, 14}, 0},
		{{12, 12, 11}, 0},
		{{ROWS - 1, ROWS - 2, ROWS - 3}, 1},
		{{0, 1, 2}, -1},
		{{400, 20, 250}, 0},
	};
	struct listing *listing = listing_of(date_by_place);

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint32_t recent[ORDER_RECENT];

		for (unsigned k = 0; k < ORDER_RECENT; k++)
			recent[k] = uid_of(row_of(cases[i].places[k]));
		assert_int_equal(cases[i].way, order_way_by_name(listing, recent));
		recent[1]++;
		assert_int_equal(0, order_way_by_name(listing, recent));
		recent[1] = 0;
		assert_int_equal(0, order_way_by_name(listing, recent));
	}
	listing_free(listing);
}

static void test_the_way_by_uid_is_seen(void **state)
{
	static const struct {
		uint32_t newest, before;
		int way;
	} cases[] = {{12, 11, 1}, {11, 12, -1}, {12 + ORDER_NEAR, 12, 1}, {12, 12 + ORDER_NEAR, -1},
		{13 + ORDER_NEAR, 12, 0}, {12, 13 + ORDER_NEAR, 0}, {12, 12, 0}};
	struct listing *listing = listing_of(date_by_place);

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const uint32_t recent[ORDER_RECENT] = {uid_of(cases[i].newest), uid_of(cases[i].before), 0};
		const uint32_t one[ORDER_RECENT] = {recent[0], 0, 0};

		assert_int_equal(cases[i].way, order_way_by_uid(listing, recent));
		assert_int_equal(0, order_way_by_uid(listing, one));
	}
	listing_free(listing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_order_finds_its_messages),
		cmocka_unit_test(test_an_empty_folder_has_an_order),
		cmocka_unit_test(test_names_of_a_minute_sort_as_text),
		cmocka_unit_test(test_dates_of_another_age_sort_too),
		cmocka_unit_test(test_the_way_by_name_is_seen),
		cmocka_unit_test(test_the_way_by_uid_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
