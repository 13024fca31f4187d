/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/limits.h"
#include "src/mail/internal.h"

#include <string.h>

#include "src/base/banned.h"

struct listing *listing_new(void)
{
	struct listing *listing = g_new0(struct listing, 1);

	listing->rows = g_array_new(FALSE, FALSE, sizeof(struct row));
	listing->arena = g_string_new(NULL);
	listing->newest = INT64_MIN;
	return listing;
}

void listing_free(struct listing *listing)
{
	if (!listing)
		return;
	g_array_unref(listing->rows);
	g_string_free(listing->arena, TRUE);
	g_free(listing);
}

bool listing_append(struct listing *listing, const struct row *row, const char *stem)
{
	struct row copy = *row;
	size_t length = strlen(stem);

	if (listing->rows->len >= LIMIT_MESSAGES || listing->arena->len + length + 1 > UINT32_MAX)
		return false;
	copy.stem = (uint32_t)listing->arena->len;
	g_string_append_len(listing->arena, stem, (gssize)length + 1);
	g_array_append_val(listing->rows, copy);
	listing->newest = MAX(listing->newest, row->date);
	return true;
}

static int row_compare(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	if (left->uid != right->uid)
		return left->uid < right->uid ? -1 : 1;
	/* the later one came later: its stem lies behind */
	return left->stem < right->stem ? -1 : left->stem > right->stem;
}

void listing_sort(struct listing *listing)
{
	struct row *rows = (struct row *)listing->rows->data;
	guint count = listing->rows->len, kept = 0;
	bool sorted = true;

	for (guint i = 1; i < count && sorted; i++)
		sorted = rows[i - 1].uid < rows[i].uid;
	if (sorted)
		return;
	qsort(rows, count, sizeof(*rows), row_compare);
	for (guint i = 0; i < count; i++) {
		if (i + 1 < count && rows[i + 1].uid == rows[i].uid)
			continue;
		rows[kept++] = rows[i];
	}
	g_array_set_size(listing->rows, kept);
}

guint listing_after(const struct listing *listing, uint32_t after)
{
	const struct row *rows = (const struct row *)listing->rows->data;
	guint low = 0, high = listing->rows->len;

	while (low < high) {
		guint middle = low + (high - low) / 2;

		if (rows[middle].uid <= after)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct row *listing_find(const struct listing *listing, uint32_t uid)
{
	guint at;

	if (uid == 0)
		return NULL;
	at = listing_after(listing, uid - 1);
	if (at < listing->rows->len && g_array_index(listing->rows, struct row, at).uid == uid)
		return &g_array_index(listing->rows, struct row, at);
	return NULL;
}

const char *listing_stem(const struct listing *listing, const struct row *row)
{
	return listing->arena->str + row->stem;
}

void listing_drop(struct listing *listing, bool (*gone)(void *ctx, uint32_t uid), void *ctx)
{
	struct row *rows = (struct row *)listing->rows->data;
	guint kept = 0;

	for (guint i = 0; i < listing->rows->len; i++)
		if (!gone(ctx, rows[i].uid))
			rows[kept++] = rows[i];
	g_array_set_size(listing->rows, kept);
}
