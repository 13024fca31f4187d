/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A check of one folder: what the source tells is gathered beside the listing and applied in one go, so
 * that a reader sees the folder as it was or as it is, and never half. Rows go to the index as they come, in
 * batches; the folder's own row is the last, so an interrupted listing never looks complete.
 */
#include "src/mail/sync.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <string.h>

#include "src/base/banned.h"

#define SYNC_RETRY_MS 30000u /* after a failed check the cached listing is shown for so long without another try */
#define SETTLE_LOOK_MS 5u    /* whether the index has taken over what is cached */
#define SETTLE_MS_MAX 10000u /* after that bodies are fetched again */
#define MTIME_AHEAD_MAX_S 60 /* how far ahead of the clock a folder's time may go, so that each change moves it */
/* Those that a name may show: all but keywords, which only mail_message_details() tells. */
#define FLAGS_NAMED ((uint32_t)MAIL_KEYWORDS - 1)

static void sync_start(struct mail *mail, struct mail_folder *folder, struct source_state known, uint32_t flags_from);

void sync_free(struct sync *sync)
{
	if (!sync)
		return;
	listing_free(sync->added);
	g_array_unref(sync->flags);
	imap_set_fini(&sync->gone);
	sync_named_forget(sync);
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

static bool in_set(void *ctx, uint32_t uid)
{
	return imap_set_has(ctx, uid);
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
			cache_batch_drop(sync_batch(sync), row->uid);
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
	cache_batch_adopt(sync_batch(sync), sync->state.uidvalidity, named);
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
	cache_batch_folder(sync_batch(sync), &row);
	sync_batch_submit(sync);
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

static void line_measure(const struct sync *sync)
{
	struct source_status status;

	if (!sync->listed_from_ms)
		return;
	sync->mail->source->ops->status(sync->mail->source, &status);
	walk_line_measured(sync->mail, status.bytes_in - sync->listed_from_bytes, clock_ms() - sync->listed_from_ms);
}

/* `problem` with a code that isn't 0. */
static void check_end(struct sync *sync, bool shown, bool changed, int code, const struct error *problem)
{
	struct mail *mail = sync->mail;
	/* one that is gone may be here no longer than its check */
	struct mail_folder *folder = mail_folder_ref(sync->folder);

	folder->sync = NULL;
	folder->attempt_ms = sync->started_ms;
	g_clear_pointer(&folder->failure, g_free);
	if (code)
		folder->failure = g_memdup2(problem, sizeof(*problem));
	watch_check_ended(mail, folder, !code, changed);
	parks_end(sync, shown, code, problem);
	sync_free(sync);
	park_all_again(mail, &folder->flag_parks);
	mail_folder_unref(folder);
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
		line_measure(sync);
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
		.done = on_done,
		.ctx = sync,
	};
	sync_gathers(sync);
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
