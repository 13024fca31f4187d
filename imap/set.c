/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of message numbers: sorted, disjoint, never touching ranges, so that equal sets are equal arrays. */
#include "imap/grammar.h"

#include <stdio.h>
#include <string.h>

#include "src/base/banned.h"

#define RANGES_MAX (IMAP_SET_LINE_MAX / 2) /* "1,3,5": what fits into a line */
#define RANGE_TEXT_MAX sizeof(",4294967295:4294967295")

#define RANGE(set, i) g_array_index((set)->ranges, struct imap_range, i)

void imap_set_init(struct imap_set *set)
{
	set->ranges = g_array_new(FALSE, FALSE, sizeof(struct imap_range));
}

void imap_set_fini(struct imap_set *set)
{
	g_clear_pointer(&set->ranges, g_array_unref);
}

void imap_set_clear(struct imap_set *set)
{
	g_array_set_size(set->ranges, 0);
}

/* The first range that ends at `number` or later; ranges->len when none does. */
static guint position(const struct imap_set *set, uint32_t number)
{
	guint low = 0, high = set->ranges->len;

	while (low < high) {
		guint middle = low + (high - low) / 2;

		if (RANGE(set, middle).last < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void imap_set_add(struct imap_set *set, uint32_t first, uint32_t last)
{
	struct imap_range range = {MIN(first, last), MAX(first, last)};
	guint begin, end, len = set->ranges->len;

	if (len == 0 || (uint64_t)RANGE(set, len - 1).last + 1 < range.first) {
		g_array_append_val(set->ranges, range);
		return;
	}
	/* [begin, end) are the ranges that overlap or touch the new one: they become one. */
	begin = position(set, range.first ? range.first - 1 : 0);
	for (end = begin; end < len && RANGE(set, end).first <= (uint64_t)range.last + 1; end++)
		;
	if (begin == end) {
		g_array_insert_val(set->ranges, begin, range);
		return;
	}
	range.first = MIN(range.first, RANGE(set, begin).first);
	range.last = MAX(range.last, RANGE(set, end - 1).last);
	RANGE(set, begin) = range;
	if (end - begin > 1)
		g_array_remove_range(set->ranges, begin + 1, end - begin - 1);
}

bool imap_set_has(const struct imap_set *set, uint32_t number)
{
	guint at = position(set, number);

	return at < set->ranges->len && RANGE(set, at).first <= number;
}

uint64_t imap_set_count(const struct imap_set *set)
{
	uint64_t count = 0;

	for (guint i = 0; i < set->ranges->len; i++)
		count += (uint64_t)RANGE(set, i).last - RANGE(set, i).first + 1;
	return count;
}

/* nz-number, moves `*at` behind it; 0 when there is none. */
static uint32_t number_take(const char **at, const char *end)
{
	uint64_t number = 0;

	for (; *at < end && g_ascii_isdigit(**at); (*at)++) {
		number = number * 10 + (uint64_t)(**at - '0');
		if (number > UINT32_MAX)
			return 0;
	}
	return (uint32_t)number;
}

static gint range_compare(gconstpointer a, gconstpointer b)
{
	uint32_t x = ((const struct imap_range *)a)->first, y = ((const struct imap_range *)b)->first;

	return x < y ? -1 : x > y;
}

/* Sorting once keeps a set that comes in falling order from costing an insertion in front for each range. */
static void normalise(struct imap_set *set)
{
	guint kept = 0;

	g_array_sort(set->ranges, range_compare);
	for (guint i = 1; i < set->ranges->len; i++) {
		struct imap_range next = RANGE(set, i);

		if (next.first <= (uint64_t)RANGE(set, kept).last + 1)
			RANGE(set, kept).last = MAX(RANGE(set, kept).last, next.last);
		else
			RANGE(set, ++kept) = next;
	}
	g_array_set_size(set->ranges, kept + 1);
}

void imap_set_add_numbers(struct imap_set *set, const uint32_t *numbers, size_t count)
{
	bool sorted = true;

	for (size_t i = 0; i < count; i++) {
		guint len = set->ranges->len;
		struct imap_range *newest = len > 0 ? &RANGE(set, len - 1) : NULL;
		struct imap_range range = {numbers[i], numbers[i]};

		if (newest && (uint64_t)newest->last + 1 == numbers[i]) {
			newest->last++;
			continue;
		}
		if (newest && newest->last >= numbers[i])
			sorted = false;
		g_array_append_val(set->ranges, range);
	}
	if (!sorted)
		normalise(set);
}

bool imap_set_parse(struct imap_set *set, const char *text, size_t length)
{
	const char *at = text, *end = text + length;
	bool sorted = true;

	imap_set_clear(set);
	for (;;) {
		struct imap_range range;
		uint32_t first = number_take(&at, end), last = first;

		if (first && at < end && *at == ':') {
			at++;
			last = number_take(&at, end);
		}
		if (!first || !last || set->ranges->len == RANGES_MAX)
			break;
		range = (struct imap_range){MIN(first, last), MAX(first, last)};
		if (set->ranges->len > 0 && range.first <= (uint64_t)RANGE(set, set->ranges->len - 1).last + 1)
			sorted = false;
		g_array_append_val(set->ranges, range);
		if (at == end) {
			if (!sorted)
				normalise(set);
			return true;
		}
		if (*at++ != ',')
			break;
	}
	imap_set_clear(set);
	return false;
}

size_t imap_set_format(const struct imap_set *set, size_t *at, size_t bytes_max, GString *out)
{
	size_t before = out->len;

	for (; *at < set->ranges->len; (*at)++) {
		const struct imap_range *range = &RANGE(set, *at);
		const char *comma = out->len > before ? "," : "";
		char text[RANGE_TEXT_MAX];
		int length;

		if (range->first == range->last)
			length = snprintf(text, sizeof(text), "%s%u", comma, range->first);
		else
			length = snprintf(text, sizeof(text), "%s%u:%u", comma, range->first, range->last);
		if (out->len - before + (size_t)length > bytes_max)
			break;
		g_string_append_len(out, text, length);
	}
	return out->len - before;
}
