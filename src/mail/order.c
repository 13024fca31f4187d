/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The orders in which a program may read a folder, and how it is seen which one it is. A folder may hold millions of
 * messages: what is kept for each is a few bytes, and what is asked at each miss sorts nothing.
 */
#include "src/mail/internal.h"

#include <string.h>

#include "src/base/banned.h"

void order_clear(struct order *order)
{
	g_clear_pointer(&order->places, g_array_unref);
	g_clear_pointer(&order->by_uid, g_free);
}

static int64_t minute_of(const struct row *row)
{
	return row->date / 60;
}

static const struct row *row_at(const struct listing *listing, guint index)
{
	return &g_array_index(listing->rows, struct row, index);
}

/* As the names sort that a listing shows: date to the minute, sender and subject, UID as text. */
static int by_name(const struct listing *listing, const struct row *left, const struct row *right)
{
	char left_uid[16], right_uid[16];
	int order;

	if (minute_of(left) != minute_of(right))
		return minute_of(left) < minute_of(right) ? -1 : 1;
	order = strcmp(listing_stem(listing, left), listing_stem(listing, right));
	if (order)
		return order;
	g_snprintf(left_uid, sizeof(left_uid), "%u", left->uid);
	g_snprintf(right_uid, sizeof(right_uid), "%u", right->uid);
	return strcmp(left_uid, right_uid);
}

/* ---- made ---- */

struct named {
	int32_t minute; /* as far as it fits */
	guint index;    /* of the row */
};

static gint named_compare(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct listing *listing = data;
	const struct named *left = a, *right = b;

	if (left->minute != right->minute)
		return left->minute < right->minute ? -1 : 1;
	return by_name(listing, row_at(listing, left->index), row_at(listing, right->index));
}

static GArray *sort_by_name(const struct listing *listing)
{
	GArray *sorted = g_array_sized_new(FALSE, FALSE, sizeof(struct named), listing->rows->len);

	for (guint i = 0; i < listing->rows->len; i++) {
		struct named named = {(int32_t)CLAMP(minute_of(row_at(listing, i)), INT32_MIN, INT32_MAX), i};

		g_array_append_val(sorted, named);
	}
	g_array_sort_with_data(sorted, named_compare, (gpointer)listing);
	return sorted;
}

struct order order_make(const struct listing *listing, bool names, bool down)
{
	guint count = listing->rows->len;
	struct order order = {.places = g_array_sized_new(FALSE, FALSE, sizeof(struct place), count), .down = down};
	g_autoptr(GArray) sorted = names ? sort_by_name(listing) : NULL;

	if (names)
		order.by_uid = g_new(guint, count);
	for (guint i = 0; i < count; i++) {
		guint index = down ? count - 1 - i : i;
		const struct row *row;
		struct place place;

		if (names) {
			index = g_array_index(sorted, struct named, index).index;
			order.by_uid[index] = i;
		}
		row = row_at(listing, index);
		place = (struct place){row->uid, (uint32_t)MIN(row->size_bytes, UINT32_MAX)};
		g_array_append_val(order.places, place);
	}
	return order;
}

bool order_find(const struct order *order, uint32_t uid, guint *place_out)
{
	guint count = order->places->len, low = 0, high = count;

	while (low < high) {
		guint middle = low + (high - low) / 2;
		guint at = order->by_uid ? order->by_uid[middle] : order->down ? count - 1 - middle : middle;
		uint32_t found = g_array_index(order->places, struct place, at).uid;

		if (found == uid) {
			*place_out = at;
			return true;
		}
		if (found < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* ---- seen ---- */

int order_way_by_uid(const struct listing *listing, const uint32_t recent[ORDER_RECENT])
{
	int64_t step;

	if (!recent[1])
		return 0;
	step = (int64_t)listing_after(listing, recent[0] - 1) - (int64_t)listing_after(listing, recent[1] - 1);
	if (step == 0 || step > (int64_t)ORDER_NEAR || step < -(int64_t)ORDER_NEAR)
		return 0;
	return step > 0 ? 1 : -1;
}

/* Whether so few lie between the two. */
static bool is_near(const struct listing *listing, const struct row *first, const struct row *last)
{
	unsigned between = 0;

	for (guint i = 0; i < listing->rows->len && between < ORDER_NEAR; i++) {
		const struct row *row = row_at(listing, i);

		if (minute_of(row) >= minute_of(first) && minute_of(row) <= minute_of(last) &&
			by_name(listing, first, row) < 0 && by_name(listing, row, last) < 0)
			between++;
	}
	return between < ORDER_NEAR;
}

int order_way_by_name(const struct listing *listing, const uint32_t recent[ORDER_RECENT])
{
	const struct row *rows[ORDER_RECENT];
	int way = 0;

	for (unsigned i = 0; i < ORDER_RECENT; i++) {
		rows[i] = listing_find(listing, recent[i]);
		if (!rows[i])
			return 0;
	}
	for (unsigned i = 0; i + 1 < ORDER_RECENT; i++) {
		int order = by_name(listing, rows[i], rows[i + 1]);

		if (!order || (way && (order > 0) != (way > 0)))
			return 0;
		way = order > 0 ? 1 : -1;
	}
	for (unsigned i = 0; i + 1 < ORDER_RECENT; i++)
		if (!is_near(listing, rows[way > 0 ? i + 1 : i], rows[way > 0 ? i : i + 1]))
			return 0;
	return way;
}
