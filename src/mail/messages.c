/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder's messages as they are known: loaded from the index, asked about, forgotten. sync.c checks them. */
#include "src/base/block.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <string.h>

#include "src/base/banned.h"

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

/* ---- the end of them ---- */

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
