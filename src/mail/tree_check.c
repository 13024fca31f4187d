/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A check of the folder tree: the server's LIST, and what follows from it.
 *
 * The loop alone changes it, under the write lock; `by_raw` is the loop's own. A folder that a LIST lacks stays
 * until a LIST of another session lacks it too: servers have been seen to answer half a list. One that is said to hold
 * no messages any more (it was deleted, and has children) keeps them until then, likewise.
 */
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/tree.h"

#include <string.h>

#include "src/base/banned.h"

#define TREE_RETRY_MS 30000u /* after a failed check the cached tree is shown for so long without another try */

struct listed {
	char *raw;
	struct source_folder folder; /* name is not set */
};

struct tree_check {
	struct mail *mail;
	GQueue parks;
	struct source_list_job job;
	GArray *listed; /* struct listed */
	uint64_t started_ms;
	bool too_many;
	bool missing; /* folders lack for the first time */
};

static void listed_clear(void *data)
{
	g_free(((struct listed *)data)->raw);
}

static bool wanted(const struct mail *mail, const char *raw, char delimiter)
{
	g_autofree uint32_t *ends = NULL;
	g_auto(GStrv) levels = mail->source->ops->split(raw, delimiter, &ends);
	char separator[2] = {delimiter ? delimiter : '/', 0};
	g_autofree char *path = g_strjoinv(separator, levels);
	bool found = !mail->folder_globs;

	for (char **glob = mail->folder_globs; glob && *glob && !found; glob++)
		found = tree_glob_match(*glob, path, delimiter);
	for (char **glob = mail->exclude_globs; glob && *glob && found; glob++)
		found = !tree_glob_match(*glob, path, delimiter);
	return found;
}

static void on_folder(void *ctx, const struct source_folder *source)
{
	struct tree_check *check = ctx;
	struct listed listed = {.folder = *source};

	if (!*source->name || strlen(source->name) > LIMIT_FOLDER_NAME_BYTES ||
		!wanted(check->mail, source->name, source->delimiter))
		return;
	if (check->listed->len >= LIMIT_FOLDERS) {
		check->too_many = true;
		return;
	}
	listed.raw = g_strdup(source->name);
	listed.folder.name = NULL;
	g_array_append_val(check->listed, listed);
}

static void on_restart(void *ctx)
{
	struct tree_check *check = ctx;

	g_array_set_size(check->listed, 0);
	check->too_many = false;
}

/*
 * What LIST-STATUS told is what an EXAMINE would: no check of the folder is needed where nothing changed. That holds
 * for its first check by this process alone, which would cost a round trip for each folder of a remounted account:
 * servers answer STATUS from caches that may be a little behind, so who asks again gets an EXAMINE.
 */
static bool status_unchanged(const struct mail_folder *folder, const struct source_folder *status)
{
	return status->has_status && folder->checked_at && folder->state.uidvalidity == status->uidvalidity &&
	       folder->state.uidnext == status->uidnext && folder->state.messages == status->messages &&
	       folder->state.highestmodseq == status->highestmodseq && (status->highestmodseq || folder->identified);
}

static void ancestors_seen(struct mail_folder *folder)
{
	for (struct mail_folder *at = folder->parent; at && !at->seen; at = at->parent)
		at->seen = true;
}

/* Folders that the LIST lacks: the first time they are marked, the second time, in another session, taken out. */
static bool missing_handle(struct mail *mail, uint32_t session, GPtrArray *gone)
{
	bool first = false;
	g_autoptr(GPtrArray) unseen = g_ptr_array_new();
	GHashTableIter iter;
	struct mail_folder *folder;

	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		/* it holds messages, and is known by its children only now: its own part is missing */
		bool half = folder->seen && !folder->listed && !(folder->attributes & MAIL_FOLDER_NOSELECT);

		if (folder->seen && !half) {
			folder->missing = false;
			continue;
		}
		g_ptr_array_add(unseen, folder);
	}
	for (guint i = 0; i < unseen->len; i++) {
		folder = unseen->pdata[i];
		if (folder->missing && folder->missing_session != session) {
			folder->missing = false;
			continue;
		}
		first |= !folder->missing;
		folder->missing = true;
		folder->missing_session = session;
		folder->seen = true;
		ancestors_seen(folder);
	}
	for (guint i = 0; i < unseen->len; i++) {
		folder = unseen->pdata[i];
		if (!folder->seen)
			g_ptr_array_add(gone, mail_folder_ref(folder));
	}
	return first;
}

static void folder_event(struct mail *mail, enum mail_event_type type, struct mail_folder *folder,
	struct mail_folder *parent, const char *name)
{
	struct mail_event event = {.type = type, .folder = folder, .parent = parent, .name = name};

	mail_emit(mail, &event);
}

static bool holds_no_more(const struct mail_folder *folder, const struct source_folder *told)
{
	return folder->checked_at && !(folder->attributes & MAIL_FOLDER_NOSELECT) &&
	       (told->attributes & MAIL_FOLDER_NOSELECT);
}

/* What was in it is as gone as if it weren't there at all. */
static void messages_drop(struct mail *mail, struct mail_folder *folder)
{
	struct cache_batch *batch = cache_batch_new(mail->cache, folder->cache_id);
	struct cache_folder row;

	watch_forget(mail, folder);
	folder_messages_forget(mail, folder, ERR_GONE, "the folder is gone on the server");
	cache_batch_clear(batch);
	tree_folder_row(folder, &row);
	cache_batch_folder(batch, &row);
	cache_batch_submit(batch);
}

/* What a LIST changes. */
struct changes {
	GPtrArray *made;                /* new folders: borrowed */
	GPtrArray *gone, *gone_parents; /* references; of each its parent: borrowed */
	GPtrArray *emptied;             /* that hold no messages any more: borrowed */
	GArray *renamed;                /* struct renamed */
};

static void changes_fini(struct changes *changes)
{
	g_ptr_array_unref(changes->made);
	g_ptr_array_unref(changes->gone);
	g_ptr_array_unref(changes->gone_parents);
	g_ptr_array_unref(changes->emptied);
	g_array_unref(changes->renamed);
}

static void listed_apply(struct tree_check *check, struct mail_folder *folder, const struct listed *listed)
{
	struct mail *mail = check->mail;
	uint64_t now_ms = clock_ms();
	bool unchanged;

	pthread_rwlock_wrlock(&mail->lock);
	folder->attributes = listed->folder.attributes;
	if (strcmp(folder->raw, "INBOX") == 0)
		folder->attributes |= MAIL_FOLDER_INBOX;
	unchanged = !folder->fresh_ms && mail->config.poll_s && mail->config.stale_s < 0 &&
	            status_unchanged(folder, &listed->folder);
	if (unchanged)
		folder->checked_at = clock_unix();
	pthread_rwlock_unlock(&mail->lock);
	if (!unchanged)
		return;
	folder->fresh_ms = folder->attempt_ms = check->started_ms;
	if (listed->folder.highestmodseq) {
		folder->flags_ms = check->started_ms;
		atomic_store(&folder->flags_until_s, fresh_until(mail, now_ms));
	}
	atomic_store(&folder->fresh_until_s, fresh_until(mail, now_ms));
}

/* Numbers come from the index: not under the lock. */
static void all_listed_apply(struct tree_check *check, struct changes *changes)
{
	struct mail *mail = check->mail;
	GHashTableIter iter;
	struct mail_folder *folder;

	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder))
		folder->seen = folder->listed = false;
	for (guint i = 0; i < check->listed->len; i++) {
		struct listed *listed = &g_array_index(check->listed, struct listed, i);

		folder = tree_ensure(mail, listed->raw, listed->folder.delimiter, changes->made);
		folder->listed = folder != mail->root && !holds_no_more(folder, &listed->folder);
		if (folder->listed)
			listed_apply(check, folder, listed);
	}
}

/* With the write lock. */
static void tree_change(struct tree_check *check, uint32_t session, struct changes *changes)
{
	struct mail *mail = check->mail;
	GHashTableIter iter;
	struct mail_folder *folder;

	check->missing = missing_handle(mail, session, changes->gone);
	for (guint i = 0; i < changes->gone->len; i++) {
		folder = changes->gone->pdata[i];
		tree_unlink(mail, folder);
		g_ptr_array_add(changes->gone_parents, folder->parent);
	}
	/* the children's arrays hold what keeps parents alive: last */
	for (guint i = 0; i < changes->gone->len; i++) {
		folder = changes->gone->pdata[i];
		g_ptr_array_remove(folder->parent->children, folder);
	}
	tree_link(mail, changes->made);
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder))
		if (folder->seen && !folder->listed && !folder->missing) {
			if (!(folder->attributes & MAIL_FOLDER_NOSELECT) && folder->checked_at)
				g_ptr_array_add(changes->emptied, folder);
			folder->attributes = MAIL_FOLDER_NOSELECT | (folder->attributes & MAIL_FOLDER_INBOX);
		}
	tree_names_assign(mail, changes->renamed);
	mail->tree_known = true;
}

static void tree_store(struct mail *mail)
{
	g_autofree char *known = NULL;
	struct tree_sum sum = {0};
	GHashTableIter iter;
	struct mail_folder *folder;

	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		struct cache_folder row;

		tree_folder_row(folder, &row);
		cache_folder_put(mail->cache, &row);
		tree_sum_add(&sum, folder->raw);
	}
	mail->tree_checked_at = clock_unix();
	known = tree_sum_text(&sum, mail->tree_checked_at);
	cache_trait_put(mail->cache, "tree.checked_at", known);
}

static void changes_tell(struct mail *mail, const struct changes *changes)
{
	struct mail_folder *folder;
	struct error why;

	error_set(&why, ERR_GONE, "the folder is gone on the server");
	for (guint i = 0; i < changes->gone->len; i++) {
		folder = changes->gone->pdata[i];
		watch_forget(mail, folder);
		/* the table of folders doesn't keep it any more: nothing that borrows it may go on */
		walk_free(folder);
		fetch_stop_all(folder, ERR_GONE, &why);
		body_held_drop(mail, folder);
		render_forget(mail, folder, ERR_GONE, &why);
		folder_event(mail, MAIL_EVENT_FOLDER_GONE, folder, changes->gone_parents->pdata[i], folder->name);
	}
	for (guint i = 0; i < changes->renamed->len; i++) {
		struct renamed *change = &g_array_index(changes->renamed, struct renamed, i);

		folder = change->folder;
		if (*change->name)
			folder_event(mail, MAIL_EVENT_FOLDER_GONE, folder, folder->parent, change->name);
		else
			g_free(change->name);
		folder_event(mail, MAIL_EVENT_FOLDER_ADDED, folder, folder->parent, folder->name);
	}
}

static void apply(struct tree_check *check, uint32_t session)
{
	struct mail *mail = check->mail;
	struct changes changes = {
		.made = g_ptr_array_new(),
		.gone = g_ptr_array_new_with_free_func((GDestroyNotify)mail_folder_unref),
		.gone_parents = g_ptr_array_new(),
		.emptied = g_ptr_array_new(),
		.renamed = g_array_new(FALSE, FALSE, sizeof(struct renamed)),
	};

	all_listed_apply(check, &changes);
	pthread_rwlock_wrlock(&mail->lock);
	tree_change(check, session, &changes);
	pthread_rwlock_unlock(&mail->lock);
	for (guint i = 0; i < changes.emptied->len; i++)
		messages_drop(mail, changes.emptied->pdata[i]);
	tree_store(mail);
	/* the same name may come again, with other messages under the same numbers */
	if (changes.gone->len)
		cache_flush(mail->cache);
	changes_tell(mail, &changes);
	changes_fini(&changes);
}

static void check_end(struct tree_check *check, int code, const struct error *err)
{
	check->mail->tree_check = NULL;
	park_finish_all(&check->parks, code, err);
	g_array_unref(check->listed);
	g_free(check);
}

static void on_done(void *ctx, uint32_t session, int code, const struct error *err)
{
	struct tree_check *check = ctx;
	struct mail *mail = check->mail;
	struct error problem = {.code = 0};
	uint64_t now_ms = clock_ms();

	if (code && check->job.fresh) {
		/* no second opinion to be had: the first holds, and what is missing stays for now */
		log_info("folders: no second LIST: %s", err->text);
		check_end(check, 0, NULL);
		return;
	}
	/* as of the beginning: what came to the server since may be missing */
	mail->tree_attempt_ms = check->started_ms;
	if (!code && check->too_many)
		code = error_set(&problem, ERR_PROTOCOL, "%s lists more than %u folders", mail->host, LIMIT_FOLDERS);
	else if (code)
		error_copy(&problem, err);
	mail->tree_failure = problem;
	if (!code) {
		apply(check, session);
		mail->tree_fresh_ms = check->started_ms;
		atomic_store(&mail->tree_fresh_until_s, fresh_until(mail, now_ms));
		if (check->missing && !check->job.fresh) {
			on_restart(check);
			check->job.fresh = true;
			mail->source->ops->list(mail->source, &check->job);
			return;
		}
	} else {
		mail_note_error(mail, &problem, "folders");
		if (mail_stale_allowed(mail, mail->tree_known ? mail->tree_checked_at : 0)) {
			/* what is known is shown; the reason stands in status.json */
			atomic_store(&mail->tree_fresh_until_s, (unsigned)((now_ms + TREE_RETRY_MS + 999) / 1000));
			code = 0;
		}
	}
	check_end(check, code, &problem);
}

void tree_kick(struct mail *mail)
{
	struct tree_check *check;

	if (mail->tree_check)
		return;
	check = mail->tree_check = g_new0(struct tree_check, 1);
	check->mail = mail;
	check->started_ms = clock_ms();
	check->listed = g_array_new(FALSE, FALSE, sizeof(struct listed));
	g_array_set_clear_func(check->listed, listed_clear);
	check->job = (struct source_list_job){
		.folder = on_folder, .restart = on_restart, .done = on_done, .ctx = check};
	mail->source->ops->list(mail->source, &check->job);
}

void tree_check_begin(struct mail *mail, struct park *park)
{
	if (park->force && mail->tree_attempt_ms >= park->since_ms) {
		/* what is known is no answer to who wants it checked */
		park_finish(park, mail->tree_failure.code, &mail->tree_failure);
		return;
	}
	if (!park->force && mail->tree_known && atomic_load(&mail->tree_fresh_until_s) > clock_ms() / 1000) {
		park_finish(park, 0, NULL);
		return;
	}
	if (mail->config.offline) {
		struct error err;

		error_set(&err, ERR_UNREACHABLE, "the folders of %s aren't cached and this mount is offline",
			mail->account);
		park_finish(park, mail->tree_known ? 0 : ERR_UNREACHABLE, &err);
		return;
	}
	tree_kick(mail);
	park_wait_in(park, &mail->tree_check->parks);
}

void tree_check_forget(struct mail *mail)
{
	struct tree_check *check = g_steal_pointer(&mail->tree_check);

	if (!check)
		return;
	g_queue_clear(&check->parks);
	g_array_unref(check->listed);
	g_free(check);
}

int mail_tree_ready(struct mail *mail, struct mail_waiter *waiter, struct error *err)
{
	bool known;

	pthread_rwlock_rdlock(&mail->lock);
	known = mail->tree_known;
	pthread_rwlock_unlock(&mail->lock);
	return known ? 0 : park_new(mail, waiter, tree_check_begin, NULL, 0, 0, false);
}

int mail_tree_fresh(struct mail *mail, bool force, struct mail_waiter *waiter, struct error *err)
{
	int code;

	if (!force && (mail->config.offline || atomic_load(&mail->tree_fresh_until_s) > clock_ms() / 1000)) {
		code = mail_tree_ready(mail, waiter, err);
		return code;
	}
	if (waiter->since_ms && mail->tree_fresh_ms >= waiter->since_ms)
		return 0;
	return park_new(mail, waiter, tree_check_begin, NULL, 0, 0, force);
}
