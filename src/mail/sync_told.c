/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the source tells in a check of a folder is gathered beside the listing; rows go to the index as they come, in
 * batches. */
#include "src/base/limits.h"
#include "src/base/loop.h"
#include "src/mail/sync.h"
#include "src/mime/mime.h"

#include <string.h>

#include "src/base/banned.h"

#define SYNC_BATCH_ROWS 4000u /* rows of one batch for the index: 1 MB or so */

/* ---- to the index ---- */

void sync_batch_submit(struct sync *sync)
{
	if (sync->batch)
		cache_batch_submit(sync->batch);
	sync->batch = NULL;
	sync->batch_rows = 0;
}

struct cache_batch *sync_batch(struct sync *sync)
{
	if (sync->batch_rows >= SYNC_BATCH_ROWS)
		sync_batch_submit(sync);
	if (!sync->batch) {
		sync->batch = cache_batch_new(sync->mail->cache, sync->folder->cache_id);
		if (sync->reset && !sync->batch_cleared) {
			if (sync->named)
				cache_batch_renumber(sync->batch);
			else
				cache_batch_clear(sync->batch);
		}
		sync->batch_cleared = true;
	}
	sync->batch_rows++;
	return sync->batch;
}

/* ---- from the source ---- */

void sync_named_forget(struct sync *sync)
{
	if (sync->named)
		g_array_unref(sync->named);
	sync->named = NULL;
}

static void on_opened(void *ctx, const struct source_state *state, bool reset)
{
	struct sync *sync = ctx;

	sync->state = *state;
	sync->reset = reset;
	sync->listed_from_ms = 0;
	if (reset) {
		struct mail_folder *folder = sync->folder;
		struct cache_folder row;

		if (folder->message_number)
			sync->old_uidvalidity = folder->state.uidvalidity;
		/* they are others from now on, even if the next session tells the old UIDVALIDITY again */
		sync->job.known = (struct source_state){0};
		folder_messages_forget(sync->mail, folder, ERR_RENUMBERED, "the folder's messages were numbered anew");
		sync_named_forget(sync);
		if (state->uidvalidity && cache_body_any_identified(sync->mail->cache, folder->cache_id))
			sync->named = g_array_new(FALSE, FALSE, sizeof(struct cache_named));
		/* if this ends half-way, what the index has of it is void; it may be another one than before a restart
		 */
		sync_batch_submit(sync);
		sync->batch_cleared = false;
		sync_batch(sync);
		tree_folder_row(folder, &row);
		cache_batch_folder(sync->batch, &row);
		sync_batch_submit(sync);
		/* the same keys mean other messages: the old bodies must be gone before the first is asked for */
		if (sync->old_uidvalidity == state->uidvalidity)
			cache_flush(sync->mail->cache);
	}
}

static void identify(struct sync *sync, const struct row *row, int64_t date, uint64_t size_bytes)
{
	if (date != INT64_MIN && row->date != date)
		sync->other = true;
	if (!(row->flags & ROW_SIZE_EXACT) && size_bytes && row->size_bytes != size_bytes)
		sync->other = true;
}

/* Without change numbers other flags may be those of another message. */
static void doubt(struct sync *sync, const struct row *known, uint32_t flags)
{
	if (sync->state.highestmodseq || sync->job.identify || !((known->flags ^ flags) & ROW_MAIL_FLAGS))
		return;
	sync->job.identify = true;
	sync->job.probes[0] = known->uid;
}

/* What is still being written may keep an id that isn't RFC 8474's: it is fetched. */
static void name_add(struct sync *sync, const struct source_message *source)
{
	struct cache_named named = {.uid = source->uid};

	if (!sync->named || !source->emailid)
		return;
	if (sync->named->len >= LIMIT_MESSAGES) {
		sync->overflow = true;
		return;
	}
	cache_identity_of(source->emailid, MAX(source->size_bytes, 1), &named.identity);
	named.ambiguous = source->flags & MAIL_DRAFT;
	g_array_append_val(sync->named, named);
}

/* A listing is long enough to tell how fast the line is. */
static void listing_begins(struct sync *sync)
{
	struct source_status status;

	if (!sync->reset || sync->listed_from_ms)
		return;
	sync->mail->source->ops->status(sync->mail->source, &status);
	sync->listed_from_ms = clock_ms();
	sync->listed_from_bytes = status.bytes_in;
}

static void on_message(void *ctx, const struct source_message *source)
{
	struct sync *sync = ctx;
	struct mime_headers headers;
	struct row row = {.uid = source->uid, .date = source->date, .flags = source->flags & ROW_MAIL_FLAGS};
	struct row *known = sync->reset || !sync->folder->listing ? NULL
	                                                          : listing_find(sync->folder->listing, source->uid);
	struct cache_message message;

	listing_begins(sync);
	if (known) {
		/* asked for from UIDNEXT on, `*` gives the last one in any case; or it is to be seen whether it is that
		 */
		struct flag_change change = {source->uid, row.flags};

		/* sizes may be guesses, one time so and one time so */
		identify(sync, known, source->date ? source->date : INT64_MIN, 0);
		sync->flags_last = MAX(sync->flags_last, source->uid);
		g_array_append_val(sync->flags, change);
		cache_batch_flags(sync_batch(sync), source->uid, row.flags, source->keywords);
		return;
	}
	mime_headers_parse(
		source->header ? source->header : "", MIN(source->header_length, LIMIT_HEADER_BYTES), &headers);
	row.size_bytes = source->size_bytes;
	if (!listing_append(sync->added, &row, headers.stem))
		sync->overflow = true;
	name_add(sync, source);
	message = (struct cache_message){
		.uid = source->uid,
		.flags = row.flags,
		.size_bytes = row.size_bytes,
		.date = source->date,
		.stem = headers.stem,
		.from = headers.from,
		.to = headers.to,
		.subject = headers.subject,
		.message_id = headers.message_id,
		.keywords = source->keywords,
		.emailid = source->emailid,
	};
	cache_batch_put(sync_batch(sync), &message);
	mime_headers_fini(&headers);
}

static void on_probed(void *ctx, uint32_t uid, int64_t date, uint64_t size_bytes)
{
	struct sync *sync = ctx;
	const struct row *row = sync->folder->listing ? listing_find(sync->folder->listing, uid) : NULL;

	if (row)
		identify(sync, row, date, size_bytes);
}

/*
 * Without change numbers a check tells the flags of all, and nearly all are as they were: a million rows aren't written
 * for that each time. Which keywords a message has is in the index alone. Who was told of before, out of turn or before
 * it began anew, may have been told of otherwise.
 */
static bool flags_are_known(const struct sync *sync, const struct row *row, uint32_t flags)
{
	return !sync->state.highestmodseq && row->uid > sync->flags_last && !(flags & MAIL_KEYWORDS) &&
	       (row->flags & ROW_MAIL_FLAGS) == flags;
}

static void on_flags(void *ctx, uint32_t uid, uint32_t flags, const char *keywords)
{
	struct sync *sync = ctx;
	struct flag_change change = {uid, flags & ROW_MAIL_FLAGS};
	const struct row *known = !sync->reset && sync->folder->listing ? listing_find(sync->folder->listing, uid)
	                                                                : NULL;
	bool unchanged = known && flags_are_known(sync, known, change.flags);

	sync->flags_last = MAX(sync->flags_last, uid);
	if (unchanged)
		return;
	if (known)
		doubt(sync, known, change.flags);
	if (sync->flags->len >= LIMIT_MESSAGES) {
		sync->overflow = true;
		return;
	}
	g_array_append_val(sync->flags, change);
	cache_batch_flags(sync_batch(sync), uid, change.flags, keywords);
}

static void on_gone(void *ctx, uint32_t first, uint32_t last)
{
	imap_set_add(&((struct sync *)ctx)->gone, first, last);
}

static bool not_in_set(void *ctx, uint32_t uid)
{
	return !imap_set_has(ctx, uid);
}

static void on_complete(void *ctx, const struct imap_set *uids)
{
	struct sync *sync = ctx;
	const struct listing *listing = sync->reset ? NULL : sync->folder->listing;

	for (guint i = 0; listing && i < listing->rows->len; i++) {
		uint32_t uid = g_array_index(listing->rows, struct row, i).uid;

		if (!imap_set_has(uids, uid))
			imap_set_add(&sync->gone, uid, uid);
	}
	listing_drop(sync->added, not_in_set, (void *)uids);
}

static void on_restart(void *ctx)
{
	struct sync *sync = ctx;

	listing_free(sync->added);
	sync->added = listing_new();
	g_array_set_size(sync->flags, 0);
	imap_set_clear(&sync->gone);
	sync->other = false;
	sync_named_forget(sync);
}

static uint32_t on_count(void *ctx)
{
	struct sync *sync = ctx;
	const struct listing *listing = sync->reset ? NULL : sync->folder->listing;
	uint32_t count;

	listing_sort(sync->added);
	count = sync->added->rows->len;
	if (!listing)
		return count;
	count += listing->rows->len;
	for (guint i = 0; i < sync->gone.ranges->len; i++) {
		struct imap_range range = g_array_index(sync->gone.ranges, struct imap_range, i);

		count -= listing_after(listing, range.last) - listing_after(listing, range.first - 1);
	}
	return count;
}

/* The parts of [first, last] that `listing` lacks. */
static void gaps(const struct listing *listing, uint32_t first, uint32_t last, struct imap_set *out)
{
	uint32_t next = first;

	for (guint i = listing_after(listing, first - 1); i < listing->rows->len; i++) {
		uint32_t uid = g_array_index(listing->rows, struct row, i).uid;

		if (uid > last)
			break;
		if (uid > next)
			imap_set_add(out, next, uid - 1);
		if (uid == UINT32_MAX)
			return;
		next = uid + 1;
	}
	if (next <= last)
		imap_set_add(out, next, last);
}

static void on_missing(void *ctx, const struct imap_set *set, struct imap_set *missing_out)
{
	struct sync *sync = ctx;
	const struct listing *listing = sync->reset ? NULL : sync->folder->listing;
	struct imap_set lacking;

	listing_sort(sync->added);
	imap_set_init(&lacking);
	for (guint i = 0; i < set->ranges->len; i++) {
		struct imap_range range = g_array_index(set->ranges, struct imap_range, i);

		gaps(sync->added, range.first, range.last, listing ? &lacking : missing_out);
	}
	for (guint i = 0; i < lacking.ranges->len; i++) {
		struct imap_range range = g_array_index(lacking.ranges, struct imap_range, i);

		gaps(listing, range.first, range.last, missing_out);
	}
	imap_set_fini(&lacking);
}

void sync_gathers(struct sync *sync)
{
	struct source_sync_job *job = &sync->job;

	job->opened = on_opened;
	job->message = on_message;
	job->probed = on_probed;
	job->flags_of = on_flags;
	job->gone = on_gone;
	job->complete = on_complete;
	job->restart = on_restart;
	job->count = on_count;
	job->missing = on_missing;
}
