/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A check of one folder: what the source tells is gathered beside the listing and applied in one go, so
 * that a reader sees the folder as it was or as it is, and never half. Rows go to the index as they come, in
 * batches; the folder's own row is the last, so an interrupted listing never looks complete.
 */
#include "src/base/block.h"
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"
#include "src/mime/mime.h"

#include <string.h>

#include "src/base/banned.h"

#define SYNC_RETRY_MS 30000u  /* after a failed check the cached listing is shown for so long without another try */
#define SYNC_BATCH_ROWS 4000u /* rows of one batch for the index: 1 MB or so */
#define SETTLE_LOOK_MS 5u     /* whether the index has taken over what is cached */
#define SETTLE_MS_MAX 10000u  /* after that bodies are fetched again */
#define MTIME_AHEAD_MAX_S 60  /* how far ahead of the clock a folder's time may go, so that each change moves it */
/* Those that a name may show: all but keywords, which only mail_message_details() tells. */
#define FLAGS_NAMED ((uint32_t)MAIL_KEYWORDS - 1)

struct flag_change {
	uint32_t uid, flags;
};

struct sync {
	struct mail *mail;
	struct mail_folder *folder;
	GQueue parks;
	struct source_sync_job job;
	struct source_state state;
	uint64_t started_ms;
	bool reset;
	uint32_t old_uidvalidity; /* before a reset */
	bool other;               /* known messages turned out to be others */
	bool overflow;
	struct listing *added; /* new messages; all of them after a reset */
	GArray *flags;         /* struct flag_change */
	uint32_t flags_last;   /* the highest UID whose flags were told */
	struct imap_set gone;
	struct cache_batch *batch;
	guint batch_rows;
	bool batch_cleared; /* the index was told to forget the folder */
	/* Bodies may outlive the old numbers: struct cache_named of the messages that come. NULL = there are none. */
	GArray *named;
	/* The index is taking them over; until then nobody is told that the listing is complete. */
	struct loop_timer *settling;
	uint64_t settle_mark, settle_until_ms;
};

static void sync_start(struct mail *mail, struct mail_folder *folder, struct source_state known, uint32_t flags_from);

/* ---- from the cache ---- */

static void load_row(void *ctx, const struct cache_message *message)
{
	struct row row = {.uid = message->uid,
		.size_bytes = message->size_bytes,
		.date = message->date,
		.flags = (message->flags & ROW_MAIL_FLAGS) | (message->size_exact ? ROW_SIZE_EXACT : 0)};

	listing_append(ctx, &row, message->stem ? message->stem : "unknown_no-subject");
}

bool folder_load(struct mail *mail, struct mail_folder *folder)
{
	struct listing *listing;
	struct error err;
	bool there;

	pthread_rwlock_rdlock(&mail->lock);
	there = folder->listing != NULL;
	pthread_rwlock_unlock(&mail->lock);
	if (there)
		return true;
	block_ahead();
	pthread_mutex_lock(&mail->load_lock);
	pthread_rwlock_rdlock(&mail->lock);
	there = folder->listing != NULL;
	pthread_rwlock_unlock(&mail->lock);
	if (there || !folder->checked_at || !folder->message_number) {
		pthread_mutex_unlock(&mail->load_lock);
		return there;
	}
	listing = listing_new();
	if (cache_messages_load(mail->cache, folder->cache_id, load_row, listing, &err) != 0) {
		log_warning("index: %s", err.text);
		listing_free(listing);
		pthread_mutex_unlock(&mail->load_lock);
		return false;
	}
	listing_sort(listing);
	pthread_rwlock_wrlock(&mail->lock);
	folder->listing = listing;
	if (!folder->mtime)
		folder->mtime = listing->newest == INT64_MIN ? 0 : listing->newest;
	if (!folder->flags_mtime)
		folder->flags_mtime = folder->mtime;
	pthread_rwlock_unlock(&mail->lock);
	pthread_mutex_unlock(&mail->load_lock);
	return true;
}

/* ---- what the source tells ---- */

static void batch_submit(struct sync *sync)
{
	if (sync->batch)
		cache_batch_submit(sync->batch);
	sync->batch = NULL;
	sync->batch_rows = 0;
}

static struct cache_batch *batch(struct sync *sync)
{
	if (sync->batch_rows >= SYNC_BATCH_ROWS)
		batch_submit(sync);
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

void folder_messages_forget(struct mail *mail, struct mail_folder *folder, int code, const char *why)
{
	struct mail_event event = {.type = MAIL_EVENT_FOLDER_RESET, .folder = folder};
	struct listing *old;
	struct error err;

	error_set(&err, code, "%s", why);
	walk_free(folder);
	fetch_stop_all(folder, code, &err);
	body_held_drop(mail, folder);
	render_forget(mail, folder, code, &err);
	pthread_mutex_lock(&mail->load_lock);
	pthread_rwlock_wrlock(&mail->lock);
	old = folder->listing;
	event.parent = folder->parent;
	event.message_number = folder->message_number;
	folder->listing = NULL;
	folder->message_number = 0;
	text_lengths_forget(mail, folder);
	folder->checked_at = 0;
	folder->identified = false;
	folder->state = (struct source_state){0};
	/* their UIDs may be those of others soon */
	g_clear_pointer(&folder->broken, g_hash_table_unref);
	if (event.message_number)
		g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(event.message_number));
	pthread_rwlock_unlock(&mail->lock);
	pthread_mutex_unlock(&mail->load_lock);
	listing_free(old);
	if (event.message_number)
		mail_emit(mail, &event);
}

static void named_forget(struct sync *sync)
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
	if (reset) {
		struct mail_folder *folder = sync->folder;
		struct cache_folder row;

		if (folder->message_number)
			sync->old_uidvalidity = folder->state.uidvalidity;
		/* they are others from now on, even if the next session tells the old UIDVALIDITY again */
		sync->job.known = (struct source_state){0};
		folder_messages_forget(sync->mail, folder, ERR_RENUMBERED, "the folder's messages were numbered anew");
		named_forget(sync);
		if (state->uidvalidity && cache_body_any_identified(sync->mail->cache, folder->cache_id))
			sync->named = g_array_new(FALSE, FALSE, sizeof(struct cache_named));
		/* if this ends half-way, what the index has of it is void; it may be another one than before a restart
		 */
		batch_submit(sync);
		sync->batch_cleared = false;
		batch(sync);
		tree_folder_row(folder, &row);
		cache_batch_folder(sync->batch, &row);
		batch_submit(sync);
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

static void on_message(void *ctx, const struct source_message *source)
{
	struct sync *sync = ctx;
	struct mime_headers headers;
	struct row row = {.uid = source->uid, .date = source->date, .flags = source->flags & ROW_MAIL_FLAGS};
	struct row *known = sync->reset || !sync->folder->listing ? NULL
	                                                          : listing_find(sync->folder->listing, source->uid);
	struct cache_message message;

	if (known) {
		/* asked for from UIDNEXT on, `*` gives the last one in any case; or it is to be seen whether it is that
		 */
		struct flag_change change = {source->uid, row.flags};

		/* sizes may be guesses, one time so and one time so */
		identify(sync, known, source->date ? source->date : INT64_MIN, 0);
		sync->flags_last = MAX(sync->flags_last, source->uid);
		g_array_append_val(sync->flags, change);
		cache_batch_flags(batch(sync), source->uid, row.flags, source->keywords);
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
	cache_batch_put(batch(sync), &message);
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
	cache_batch_flags(batch(sync), uid, change.flags, keywords);
}

static void on_gone(void *ctx, uint32_t first, uint32_t last)
{
	imap_set_add(&((struct sync *)ctx)->gone, first, last);
}

static bool not_in_set(void *ctx, uint32_t uid)
{
	return !imap_set_has(ctx, uid);
}

static bool in_set(void *ctx, uint32_t uid)
{
	return imap_set_has(ctx, uid);
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
	named_forget(sync);
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

/* ---- the end of it ---- */

void sync_free(struct sync *sync)
{
	if (!sync)
		return;
	listing_free(sync->added);
	g_array_unref(sync->flags);
	imap_set_fini(&sync->gone);
	named_forget(sync);
	loop_timer_cancel(sync->settling);
	if (sync->batch)
		cache_batch_submit(sync->batch);
	g_queue_clear(&sync->parks);
	g_queue_remove(&sync->mail->syncs, sync);
	mail_folder_unref(sync->folder);
	g_free(sync);
}

unsigned fresh_until(const struct mail *mail, uint64_t now_ms)
{
	uint64_t interval_s = mail->config.poll_s;

	/* who wants nothing stale has it checked as often */
	if (mail->config.stale_s >= 0)
		interval_s = MIN(interval_s, (uint64_t)mail->config.stale_s);
	return (unsigned)(now_ms / 1000 + interval_s);
}

/*
 * The messages' inode numbers come from folder and UIDVALIDITY. Where that stays, or comes back, and the messages are
 * others all the same, the time makes the numbers others too: what holds an old inode, or stores what was read for one,
 * must not meet another message.
 */
static uint32_t number_new(const struct sync *sync)
{
	struct mail *mail = sync->mail;
	const char *raw = sync->folder->raw;
	uint32_t uidvalidity = sync->state.uidvalidity, number = 0;

	if (!sync->reset || sync->old_uidvalidity != uidvalidity) {
		g_autofree char *key = g_strdup_printf("m/%u/%s", uidvalidity, raw);

		number = tree_number(mail, key);
	}
	while (!number || g_hash_table_contains(mail->shown, GUINT_TO_POINTER(number))) {
		g_autofree char *key = g_strdup_printf(
			"m/%u@%" G_GINT64_FORMAT "/%s", uidvalidity, g_get_real_time(), raw);

		number = tree_number(mail, key);
	}
	g_hash_table_add(mail->shown, GUINT_TO_POINTER(number));
	return number;
}

/* Told after the lock is gone. */
struct changes {
	struct listing *gone, *flagged; /* as they were */
	bool any;
};

/* Programs that read maildirs look for another time, not for a later second: two changes have two times. */
static int64_t mtime_next(int64_t mtime)
{
	int64_t now = clock_unix();

	return mtime >= now && mtime - now < MTIME_AHEAD_MAX_S ? mtime + 1 : now;
}

static void apply_changes(struct sync *sync, struct changes *changes)
{
	struct listing *listing = sync->folder->listing;

	for (guint i = 0; i < sync->gone.ranges->len; i++) {
		struct imap_range range = g_array_index(sync->gone.ranges, struct imap_range, i);

		for (guint at = listing_after(listing, range.first - 1); at < listing->rows->len; at++) {
			const struct row *row = &g_array_index(listing->rows, struct row, at);

			if (row->uid > range.last)
				break;
			listing_append(changes->gone, row, listing_stem(listing, row));
			cache_batch_drop(batch(sync), row->uid);
		}
	}
	if (sync->gone.ranges->len)
		listing_drop(listing, in_set, &sync->gone);
	for (guint i = 0; i < sync->flags->len; i++) {
		struct flag_change change = g_array_index(sync->flags, struct flag_change, i);
		struct row *row = listing_find(listing, change.uid);

		if (!row)
			continue;
		if ((row->flags ^ change.flags) & FLAGS_NAMED)
			listing_append(changes->flagged, row, listing_stem(listing, row));
		row->flags = (row->flags & ~(uint32_t)ROW_MAIL_FLAGS) | change.flags;
	}
	for (guint i = 0; i < sync->added->rows->len; i++) {
		const struct row *row = &g_array_index(sync->added->rows, struct row, i);

		if (!listing_append(listing, row, listing_stem(sync->added, row)))
			sync->overflow = true;
	}
	listing_sort(listing);
	changes->any = changes->gone->rows->len || sync->added->rows->len;
}

static void tell(struct sync *sync, enum mail_event_type type, const struct listing *listing, uint32_t number)
{
	struct mail_event event = {
		.type = type, .folder = sync->folder, .parent = sync->folder->parent, .message_number = number};

	for (guint i = 0; i < listing->rows->len; i++) {
		mail_row_message(sync->mail, listing, &g_array_index(listing->rows, struct row, i), &event.message);
		mail_emit(sync->mail, &event);
	}
}

/* The last of the listing's rows: bodies that were cached under the old numbers get the new ones. */
static void adopt(struct sync *sync)
{
	GArray *named = g_steal_pointer(&sync->named);
	guint kept = 0;

	for (guint i = 0; i < named->len; i++) {
		struct cache_named *each = &g_array_index(named, struct cache_named, i);

		/* it was told and is gone again */
		if (listing_find(sync->folder->listing, each->uid))
			g_array_index(named, struct cache_named, kept++) = *each;
	}
	g_array_set_size(named, kept);
	cache_batch_adopt(batch(sync), sync->state.uidvalidity, named);
}

/* True if it changed what is shown. */
static bool apply(struct sync *sync)
{
	struct mail *mail = sync->mail;
	struct mail_folder *folder = sync->folder;
	struct changes changes = {.gone = listing_new(), .flagged = listing_new()};
	struct cache_folder row;
	uint32_t number = folder->message_number;
	uint64_t now_ms = clock_ms();
	bool changed;

	listing_sort(sync->added);
	if (sync->reset || !number)
		number = number_new(sync);
	pthread_rwlock_wrlock(&mail->lock);
	if (sync->reset) {
		folder->listing = g_steal_pointer(&sync->added);
		folder->message_number = number;
		g_hash_table_insert(mail->by_number, GUINT_TO_POINTER(number), mail_folder_ref(folder));
		folder->mtime = folder->listing->newest == INT64_MIN ? 0 : folder->listing->newest;
		folder->flags_mtime = folder->mtime;
		changes.any = true;
	} else {
		apply_changes(sync, &changes);
		if (changes.any)
			folder->mtime = mtime_next(folder->mtime);
		if (changes.any || changes.flagged->rows->len)
			folder->flags_mtime = mtime_next(folder->flags_mtime);
	}
	folder->state = sync->state;
	folder->checked_at = clock_unix();
	folder->identified = true;
	tree_folder_row(folder, &row);
	pthread_rwlock_unlock(&mail->lock);
	if (sync->named) {
		adopt(sync);
		sync->settle_until_ms = now_ms + SETTLE_MS_MAX;
	}
	cache_batch_folder(batch(sync), &row);
	batch_submit(sync);
	sync->settle_mark = cache_mark(mail->cache);
	/* as of the beginning: what came to the server since may be missing */
	folder->fresh_ms = sync->started_ms;
	if (sync->job.flags_from == FLAGS_OF_ALL || sync->reset || sync->state.highestmodseq) {
		folder->flags_ms = sync->started_ms;
		atomic_store(&folder->flags_until_s, fresh_until(mail, now_ms));
	}
	atomic_store(&folder->fresh_until_s, fresh_until(mail, now_ms));

	tell(sync, MAIL_EVENT_MESSAGE_FLAGS, changes.flagged, number);
	tell(sync, MAIL_EVENT_MESSAGE_GONE, changes.gone, number);
	/* after a reset they are all new, and the folder's event says so */
	if (!sync->reset)
		tell(sync, MAIL_EVENT_MESSAGE_ADDED, sync->added, number);
	if (changes.any) {
		struct mail_event event = {.type = MAIL_EVENT_FOLDER_CHANGED,
			.folder = folder,
			.parent = folder->parent,
			.message_number = number};

		mail_emit(mail, &event);
	}
	changed = changes.any || changes.flagged->rows->len;
	listing_free(changes.gone);
	listing_free(changes.flagged);
	return changed;
}

/* Each begins anew, which may put it into `queue` again: only those of now. */
static void park_all_again(struct mail *mail, GQueue *queue)
{
	struct park *park;

	for (guint count = queue->length; count && (park = g_queue_pop_head(queue)); count--) {
		park->queue = NULL;
		sync_park(mail, park);
	}
}

/* `shown`: it failed, and what is known may be shown. That is no answer to who wants it checked. */
static void parks_end(struct sync *sync, bool shown, int code, const struct error *err)
{
	GQueue later = G_QUEUE_INIT;
	struct park *park;

	for (guint count = sync->parks.length; count && (park = g_queue_peek_head(&sync->parks)); count--) {
		/* it came while this check was under way, which may not have seen what it asks about */
		if (park->force && park->since_ms > sync->started_ms)
			park_wait_in(park, &later);
		else
			park_finish(park, shown && !park->force ? 0 : code, err);
	}
	park_all_again(sync->mail, &later);
}

/* `problem` with a code that isn't 0. */
static void check_end(struct sync *sync, bool shown, bool changed, int code, const struct error *problem)
{
	struct mail *mail = sync->mail;
	struct mail_folder *folder = sync->folder;

	folder->sync = NULL;
	folder->attempt_ms = sync->started_ms;
	g_clear_pointer(&folder->failure, g_free);
	if (code)
		folder->failure = g_memdup2(problem, sizeof(*problem));
	watch_check_ended(mail, folder, !code, changed);
	parks_end(sync, shown, code, problem);
	sync_free(sync);
	park_all_again(mail, &folder->flag_parks);
}

static void settle(void *data)
{
	struct sync *sync = data;
	struct error none = {.code = 0};

	sync->settling = NULL;
	if (!cache_is_applied(sync->mail->cache, sync->settle_mark) && clock_ms() < sync->settle_until_ms)
		sync->settling = loop_timer_add(sync->mail->loop, SETTLE_LOOK_MS, settle, sync);
	else
		check_end(sync, false, true, 0, &none);
}

static void on_done(void *ctx, int code, const struct error *err)
{
	struct sync *sync = ctx;
	struct mail *mail = sync->mail;
	struct mail_folder *folder = sync->folder;
	struct error problem = {.code = 0};
	uint64_t now_ms = clock_ms();
	bool shown = false, changed = false;
	GQueue waiting;

	if (!code && sync->overflow)
		code = error_set(&problem, ERR_PROTOCOL, "%s holds more messages than mailtree can list", folder->raw);
	else if (code)
		error_copy(&problem, err);
	else if (folder->gone || (folder->attributes & MAIL_FOLDER_NOSELECT))
		code = error_set(&problem, ERR_GONE, "the folder holds no messages any more");
	if (!code && (sync->other || (!sync->reset && !folder->listing))) {
		/* same numbers, other messages, or the listing has been forgotten meanwhile: rebuilt from nothing */
		if (sync->other)
			log_warning("%s: known messages are others now: reading the folder anew", folder->raw);
		waiting = sync->parks;
		g_queue_init(&sync->parks);
		folder->sync = NULL;
		sync_free(sync);
		sync_start(mail, folder, (struct source_state){0}, FLAGS_OF_ALL);
		folder->sync->parks = waiting;
		for (GList *at = folder->sync->parks.head; at; at = at->next)
			((struct park *)at->data)->queue = &folder->sync->parks;
		return;
	}
	if (!code) {
		changed = apply(sync);
	} else {
		mail_note_error(mail, &problem, "folder %s", folder->raw);
		shown = folder->listing && mail_stale_allowed(mail, folder->checked_at) && code != ERR_GONE;
		if (shown) {
			unsigned retry_s = (unsigned)((now_ms + SYNC_RETRY_MS + 999) / 1000);

			atomic_store(&folder->fresh_until_s, retry_s);
			atomic_store(&folder->flags_until_s, retry_s);
		}
	}
	if (sync->settle_until_ms)
		settle(sync);
	else
		check_end(sync, shown, changed, code, &problem);
}

static void sync_start(struct mail *mail, struct mail_folder *folder, struct source_state known, uint32_t flags_from)
{
	struct sync *sync = g_new0(struct sync, 1);
	const struct listing *listing;

	sync->mail = mail;
	sync->started_ms = clock_ms();
	sync->folder = mail_folder_ref(folder);
	sync->added = listing_new();
	sync->flags = g_array_new(FALSE, FALSE, sizeof(struct flag_change));
	imap_set_init(&sync->gone);
	sync->job = (struct source_sync_job){
		.name = folder->raw,
		.known = known,
		.flags_from = flags_from,
		.opened = on_opened,
		.message = on_message,
		.probed = on_probed,
		.flags_of = on_flags,
		.gone = on_gone,
		.complete = on_complete,
		.restart = on_restart,
		.count = on_count,
		.missing = on_missing,
		.done = on_done,
		.ctx = sync,
	};
	listing = folder->listing;
	if (known.uidvalidity && listing && listing->rows->len) {
		guint last = listing->rows->len - 1;

		sync->job.identify = !folder->identified;
		sync->job.probes[0] = g_array_index(listing->rows, struct row, 0).uid;
		if (last)
			sync->job.probes[1] = g_array_index(listing->rows, struct row, last).uid;
		if (last > 1)
			sync->job.probes[2] = g_array_index(listing->rows, struct row, last / 2).uid;
	}
	folder->sync = sync;
	folder->told = false;
	g_queue_push_tail(&mail->syncs, sync);
	mail->source->ops->sync(mail->source, &sync->job);
}

/* Where programs are shown flags they are asked for, too: without change numbers that is a command of its own. */
static bool flags_due(const struct mail *mail, const struct mail_folder *folder, bool force)
{
	uint64_t at_ms = folder->flags_ms;

	return mail->config.flags && (force || !at_ms || clock_ms() - at_ms >= mail->config.poll_s * 1000ull);
}

void sync_park(struct mail *mail, struct park *park)
{
	struct mail_folder *folder = park->folder;
	bool loaded;

	if (folder->gone) {
		struct error err;

		error_set(&err, ERR_GONE, "the folder is gone on the server");
		park_finish(park, ERR_GONE, &err);
		return;
	}
	if (park->want_flags ? folder->flags_ms >= park->since_ms : folder->attempt_ms >= park->since_ms) {
		/* somebody else's check ended since this one asked */
		bool shown = !park->force && folder->listing && mail_stale_allowed(mail, folder->checked_at);

		park_finish(park, folder->failure && !shown ? folder->failure->code : 0, folder->failure);
		return;
	}
	if (folder->sync && park->patience_ms && clock_ms() - folder->sync->started_ms >= park->patience_ms) {
		park_finish(park, 0, NULL);
		return;
	}
	if (folder->sync) {
		if (park->want_flags && folder->sync->job.flags_from != FLAGS_OF_ALL)
			park_wait_in(park, &folder->flag_parks);
		else
			park_wait_in(park, &folder->sync->parks);
		return;
	}
	loaded = folder_load(mail, folder);
	sync_start(mail, folder, loaded ? folder->state : (struct source_state){0},
		park->want_flags || flags_due(mail, folder, park->force) ? FLAGS_OF_ALL : 0);
	park_wait_in(park, &folder->sync->parks);
}

void sync_check(struct mail *mail, struct mail_folder *folder, uint32_t flags_from)
{
	if (!folder->gone && !folder->sync && !mail->config.offline)
		sync_start(
			mail, folder, folder_load(mail, folder) ? folder->state : (struct source_state){0}, flags_from);
}

void sync_kick(struct mail *mail, struct mail_folder *folder)
{
	atomic_store(&folder->fresh_until_s, 0);
	sync_check(mail, folder, 0);
}

/* ---- questions ---- */

static int offline_error(struct mail *mail, struct error *err)
{
	return error_set(err, ERR_UNREACHABLE, "not cached, and this mount of %s is offline", mail->account);
}

int mail_folder_ready(struct mail *mail, struct mail_folder *folder, struct mail_waiter *waiter, struct error *err)
{
	bool there, gone;

	pthread_rwlock_rdlock(&mail->lock);
	there = folder->listing || (folder->attributes & MAIL_FOLDER_NOSELECT);
	gone = folder->gone;
	pthread_rwlock_unlock(&mail->lock);
	if (gone)
		return error_set(err, ERR_GONE, "the folder is gone on the server");
	if (there || folder_load(mail, folder))
		return 0;
	if (mail->config.offline)
		return offline_error(mail, err);
	return park_new(mail, waiter, sync_park, folder, 0, 0, false);
}

static bool is_fresh(const struct mail_folder *folder, const struct mail_waiter *waiter, bool force)
{
	if (waiter->since_ms && folder->fresh_ms >= waiter->since_ms)
		return true;
	return !force && atomic_load(&folder->fresh_until_s) > clock_ms() / 1000;
}

int mail_folder_fresh(
	struct mail *mail, struct mail_folder *folder, bool force, struct mail_waiter *waiter, struct error *err)
{
	if (waiter->pid)
		atomic_store_explicit(&folder->lister, waiter->pid, memory_order_relaxed);
	if (mail->config.offline || (folder->attributes & MAIL_FOLDER_NOSELECT))
		return mail_folder_ready(mail, folder, waiter, err);
	watch_use(mail, folder);
	if (is_fresh(folder, waiter, force))
		return mail_folder_ready(mail, folder, waiter, err);
	return park_new(mail, waiter, sync_park, folder, 0, 0, force);
}

static void flags_park(struct mail *mail, struct park *park)
{
	park->want_flags = true;
	sync_park(mail, park);
}

int mail_folder_flags_fresh(
	struct mail *mail, struct mail_folder *folder, struct mail_waiter *waiter, struct error *err)
{
	if (mail->config.offline || atomic_load(&folder->flags_until_s) > clock_ms() / 1000 ||
		(waiter->since_ms && (waiter->patience_ms || folder->attempt_ms >= waiter->since_ms)))
		return mail_folder_ready(mail, folder, waiter, err);
	return park_new(mail, waiter, flags_park, folder, 0, 0, false);
}

void mail_row_message(
	const struct mail *mail, const struct listing *listing, const struct row *row, struct mail_message *message_out)
{
	message_out->uid = row->uid;
	message_out->flags = row->flags & ROW_MAIL_FLAGS;
	message_out->size_exact = row->flags & ROW_SIZE_EXACT;
	message_out->size_changed = row->flags & ROW_SIZE_CHANGED;
	/* 0 would make tar store an empty file: a message that the server calls empty is learned at open */
	message_out->size_bytes = row->size_bytes || message_out->size_exact ? row->size_bytes : 1;
	message_out->date = row->date;
	g_strlcpy(message_out->stem, listing_stem(listing, row), sizeof(message_out->stem));
}

size_t mail_messages_next(struct mail *mail, struct mail_folder *folder, uint32_t after_uid,
	struct mail_message *messages_out, size_t count)
{
	size_t filled = 0;

	pthread_rwlock_rdlock(&mail->lock);
	if (folder->listing) {
		const GArray *rows = folder->listing->rows;

		for (guint at = listing_after(folder->listing, after_uid); at < rows->len && filled < count; at++)
			mail_row_message(
				mail, folder->listing, &g_array_index(rows, struct row, at), &messages_out[filled++]);
	}
	pthread_rwlock_unlock(&mail->lock);
	return filled;
}

bool mail_message_find(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct mail_message *message_out)
{
	const struct row *row;

	pthread_rwlock_rdlock(&mail->lock);
	row = folder->listing ? listing_find(folder->listing, uid) : NULL;
	if (row)
		mail_row_message(mail, folder->listing, row, message_out);
	pthread_rwlock_unlock(&mail->lock);
	return row != NULL;
}

static void details_copy(void *ctx, const struct cache_message *message)
{
	struct mail_details *details = ctx;

	*details = (struct mail_details){g_strdup(message->from), g_strdup(message->to), g_strdup(message->subject),
		g_strdup(message->message_id), g_strdup(message->keywords)};
}

int mail_message_details(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct mail_details *details_out,
	struct error *err)
{
	int found;

	*details_out = (struct mail_details){0};
	found = cache_message_find(mail->cache, folder->cache_id, uid, details_copy, details_out, err);
	if (!found) {
		/* listed a moment ago: its row waits for the writer */
		cache_flush(mail->cache);
		found = cache_message_find(mail->cache, folder->cache_id, uid, details_copy, details_out, err);
	}
	if (found < 0)
		return found;
	return found ? 0 : error_set(err, ERR_GONE, "the message is gone");
}

void mail_details_fini(struct mail_details *details)
{
	g_free(details->from);
	g_free(details->to);
	g_free(details->subject);
	g_free(details->message_id);
	g_free(details->keywords);
	*details = (struct mail_details){0};
}
