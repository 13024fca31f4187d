/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folder tree: read from the cache at the start, compared with the server's LIST from then on.
 *
 * The loop alone changes it, under the write lock; `by_raw` is the loop's own. A folder that a LIST lacks stays
 * until a LIST of another session lacks it too: servers have been seen to answer half a list. One that is said to hold
 * no messages any more (it was deleted, and has children) keeps them until then, likewise.
 */
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <stdlib.h>
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

static uint32_t hash31(const char *key)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	guint8 digest[32];
	gsize length = sizeof(digest);

	g_checksum_update(sum, (const guchar *)key, -1);
	g_checksum_get_digest(sum, digest, &length);
	return ((uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 | digest[3]) &
	       0x7fffffff;
}

uint32_t tree_number(struct mail *mail, const char *key)
{
	uint32_t number = 0, wanted = hash31(key);
	struct error err;

	if (cache_number(mail->cache, key, wanted ? wanted : 1, &number, &err) != 0) {
		log_warning("index: %s", err.text);
		number = wanted ? wanted : 1;
	}
	return number;
}

static struct mail_folder *folder_new(struct mail *mail, const char *raw, const char *component, char delimiter)
{
	struct mail_folder *folder = g_new0(struct mail_folder, 1);

	atomic_init(&folder->references, 1);
	folder->mail = mail;
	folder->raw = g_strdup(raw);
	folder->component = g_strdup(component);
	folder->name = g_strdup("");
	folder->delimiter = delimiter;
	folder->children = g_ptr_array_new_with_free_func((GDestroyNotify)mail_folder_unref);
	g_queue_init(&folder->flag_parks);
	return folder;
}

struct mail_folder *mail_folder_ref(struct mail_folder *folder)
{
	atomic_fetch_add(&folder->references, 1);
	return folder;
}

void mail_folder_unref(struct mail_folder *folder)
{
	if (!folder || atomic_fetch_sub(&folder->references, 1) != 1)
		return;
	listing_free(folder->listing);
	if (folder->by_name)
		g_hash_table_unref(folder->by_name);
	if (folder->broken)
		g_hash_table_unref(folder->broken);
	if (folder->bodies)
		g_hash_table_unref(folder->bodies);
	if (folder->texts)
		g_hash_table_unref(folder->texts);
	g_free(folder->failure);
	g_ptr_array_unref(folder->children);
	g_slist_free_full(folder->old_names, g_free);
	g_free(folder->name);
	g_free(folder->raw);
	g_free(folder->component);
	g_free(folder);
}

void tree_folder_row(const struct mail_folder *folder, struct cache_folder *row_out)
{
	*row_out = (struct cache_folder){
		.id = folder->cache_id,
		.name = folder->raw,
		.uidvalidity = folder->state.uidvalidity,
		.uidnext = folder->state.uidnext,
		.messages = folder->state.messages,
		.highestmodseq = folder->state.highestmodseq,
		.checked_at = folder->checked_at,
		.mtime = folder->mtime,
		.flags_mtime = folder->flags_mtime,
		.attributes = folder->attributes,
		.number = folder->number,
		.message_number = folder->message_number,
		.delimiter = folder->delimiter,
		.missing = folder->missing,
	};
}

static void number_add(struct mail *mail, uint32_t number, struct mail_folder *folder)
{
	g_hash_table_insert(mail->by_number, GUINT_TO_POINTER(number), mail_folder_ref(folder));
}

static int by_number(gconstpointer a, gconstpointer b)
{
	const struct mail_folder *left = *(struct mail_folder *const *)a, *right = *(struct mail_folder *const *)b;

	return left->number < right->number ? -1 : left->number > right->number;
}

/* Makes the folder of `raw` and all above it; not linked into the tree yet. */
static struct mail_folder *ensure(struct mail *mail, const char *raw, char delimiter, GPtrArray *made)
{
	g_autofree uint32_t *ends = NULL;
	g_auto(GStrv) levels = mail->source->ops->split(raw, delimiter, &ends);
	struct mail_folder *parent = mail->root, *folder = mail->root;

	for (guint i = 0; levels[i]; i++) {
		g_autofree char *prefix = g_strndup(raw, ends[i]);

		if (i == 0 && g_ascii_strcasecmp(prefix, "INBOX") == 0)
			memcpy(prefix, "INBOX", 5);
		folder = g_hash_table_lookup(mail->by_raw, prefix);
		if (!folder) {
			g_autofree char *key = g_strconcat("d/", prefix, NULL);
			struct error err;

			folder = folder_new(
				mail, prefix, strcmp(prefix, "INBOX") == 0 ? "INBOX" : levels[i], delimiter);
			folder->number = tree_number(mail, key);
			folder->attributes = MAIL_FOLDER_NOSELECT;
			if (strcmp(prefix, "INBOX") == 0)
				folder->attributes |= MAIL_FOLDER_INBOX;
			if (cache_folder_id(mail->cache, prefix, &folder->cache_id, &err) != 0)
				log_warning("index: %s", err.text);
			folder->parent = parent;
			g_hash_table_insert(mail->by_raw, folder->raw, folder);
			g_ptr_array_add(made, folder);
		}
		folder->seen = true;
		parent = folder;
	}
	return folder;
}

struct renamed {
	struct mail_folder *folder;
	char *name;
};

/* Gives every child of `parent` its name: unique, whatever the server calls them. */
static void names_assign(struct mail_folder *parent, GArray *renamed)
{
	g_autoptr(GHashTable) uses = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	GHashTable *taken = g_hash_table_new(g_str_hash, g_str_equal);
	bool maildir = parent->mail->config.maildir;

	for (guint i = 0; i < parent->children->len; i++) {
		struct mail_folder *child = parent->children->pdata[i];
		char *plain = folder_name_make(child->component, child->raw, maildir, false);
		guint count = GPOINTER_TO_UINT(g_hash_table_lookup(uses, plain));

		g_hash_table_replace(uses, plain, GUINT_TO_POINTER(count + 1));
	}
	for (guint i = 0; i < parent->children->len; i++) {
		struct mail_folder *child = parent->children->pdata[i];
		char *name = folder_name_make(child->component, child->raw, maildir, false);

		if (GPOINTER_TO_UINT(g_hash_table_lookup(uses, name)) > 1) {
			g_free(name);
			name = folder_name_make(child->component, child->raw, maildir, true);
		}
		/* somebody made a name that ends in another's mark: the number is unique */
		if (g_hash_table_contains(taken, name)) {
			char *longer = g_strdup_printf("%.200s~%08x", name, child->number);

			g_free(name);
			name = longer;
		}
		if (strcmp(name, child->name) == 0) {
			g_free(name);
		} else {
			struct renamed change = {child, child->name};

			if (*child->name)
				child->old_names = g_slist_prepend(child->old_names, child->name);
			child->name = name;
			g_array_append_val(renamed, change);
		}
		g_hash_table_insert(taken, child->name, child);
	}
	if (parent->by_name)
		g_hash_table_unref(parent->by_name);
	parent->by_name = taken;
}

static void names_assign_all(struct mail *mail, GArray *renamed)
{
	GHashTableIter iter;
	struct mail_folder *folder;

	names_assign(mail->root, renamed);
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder))
		if (folder->children->len || folder->by_name)
			names_assign(folder, renamed);
}

static void link_made(struct mail *mail, GPtrArray *made)
{
	for (guint i = 0; i < made->len; i++) {
		struct mail_folder *folder = made->pdata[i];

		/* the parent's array owns the first reference */
		g_ptr_array_add(folder->parent->children, folder);
		number_add(mail, folder->number, folder);
	}
	for (guint i = 0; i < made->len; i++) {
		struct mail_folder *parent = ((struct mail_folder *)made->pdata[i])->parent;

		if (!parent->unsorted)
			continue;
		g_ptr_array_sort(parent->children, by_number);
		parent->unsorted = false;
	}
}

static void link_all(struct mail *mail, GPtrArray *made)
{
	for (guint i = 0; i < made->len; i++)
		((struct mail_folder *)made->pdata[i])->parent->unsorted = true;
	link_made(mail, made);
}

/* Which folders there are, in a few octets: rows that got lost, as on a full disk, don't make a tree that looks
 * complete. */
struct tree_sum {
	unsigned count;
	uint32_t sum;
};

static void tree_sum_add(struct tree_sum *sum, const char *raw)
{
	sum->count++;
	sum->sum += g_str_hash(raw);
}

static char *tree_sum_text(const struct tree_sum *sum, int64_t checked_at)
{
	return g_strdup_printf("%" G_GINT64_FORMAT " %u %08x", checked_at, sum->count, sum->sum);
}

struct loading {
	struct mail *mail;
	GPtrArray *made;
	struct tree_sum sum;
};

static void load_folder(void *ctx, const struct cache_folder *row)
{
	struct loading *loading = ctx;
	struct mail_folder *folder = ensure(loading->mail, row->name, row->delimiter, loading->made);

	tree_sum_add(&loading->sum, row->name);
	if (folder == loading->mail->root)
		return;
	folder->attributes = row->attributes;
	folder->state = (struct source_state){row->uidvalidity, row->uidnext, row->messages, row->highestmodseq};
	folder->checked_at = row->checked_at;
	folder->mtime = row->mtime;
	folder->flags_mtime = row->flags_mtime;
	folder->message_number = row->message_number;
	folder->missing = row->missing;
}

int tree_load(struct mail *mail, struct error *err)
{
	g_autoptr(GPtrArray) made = g_ptr_array_new();
	g_autoptr(GArray) renamed = g_array_new(FALSE, FALSE, sizeof(struct renamed));
	g_autofree char *known = cache_trait_get(mail->cache, "tree.checked_at");
	g_autofree char *found = NULL;
	struct loading loading = {.mail = mail, .made = made};
	int64_t checked_at;
	int code;

	mail->by_raw = g_hash_table_new(g_str_hash, g_str_equal);
	mail->by_number = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)mail_folder_unref);
	mail->shown = g_hash_table_new(NULL, NULL);
	mail->root = folder_new(mail, "", "", '/');
	mail->root->attributes = MAIL_FOLDER_NOSELECT;
	if (!known)
		return 0;
	code = cache_folders_load(mail->cache, load_folder, &loading, err);
	link_all(mail, made);
	for (guint i = 0; i < made->len; i++) {
		struct mail_folder *folder = made->pdata[i];

		if (folder->message_number) {
			number_add(mail, folder->message_number, folder);
			g_hash_table_add(mail->shown, GUINT_TO_POINTER(folder->message_number));
		}
	}
	names_assign_all(mail, renamed);
	/* the empty ones that they had before */
	for (guint i = 0; i < renamed->len; i++)
		g_free(g_array_index(renamed, struct renamed, i).name);
	if (code)
		return code;
	checked_at = g_ascii_strtoll(known, NULL, 10);
	found = tree_sum_text(&loading.sum, checked_at);
	if (strcmp(found, known) != 0)
		return 0;
	mail->tree_known = true;
	mail->tree_checked_at = checked_at;
	return 0;
}

void tree_free(struct mail *mail)
{
	if (mail->tree_check) {
		g_queue_clear(&mail->tree_check->parks);
		g_array_unref(mail->tree_check->listed);
		g_free(mail->tree_check);
	}
	g_hash_table_unref(mail->by_raw);
	g_hash_table_unref(mail->by_number);
	g_hash_table_unref(mail->shown);
	mail_folder_unref(mail->root);
}

/* ---- LIST ---- */

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

static void folder_unlink(struct mail *mail, struct mail_folder *folder)
{
	folder->gone = true;
	g_hash_table_remove(mail->by_raw, folder->raw);
	g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(folder->number));
	if (folder->message_number)
		g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(folder->message_number));
	cache_folder_drop(mail->cache, folder->cache_id);
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

static void apply(struct tree_check *check, uint32_t session)
{
	struct mail *mail = check->mail;
	g_autoptr(GPtrArray) made = g_ptr_array_new();
	g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func((GDestroyNotify)mail_folder_unref);
	g_autoptr(GPtrArray) gone_parents = g_ptr_array_new();
	g_autoptr(GPtrArray) emptied = g_ptr_array_new();
	g_autoptr(GArray) renamed = g_array_new(FALSE, FALSE, sizeof(struct renamed));
	uint64_t now_ms = clock_ms();
	GHashTableIter iter;
	struct mail_folder *folder;
	g_autofree char *known = NULL;
	struct tree_sum sum = {0};
	struct error why;

	error_set(&why, ERR_GONE, "the folder is gone on the server");
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder))
		folder->seen = folder->listed = false;
	/* numbers come from the index: not under the lock */
	for (guint i = 0; i < check->listed->len; i++) {
		struct listed *listed = &g_array_index(check->listed, struct listed, i);
		bool unchanged;

		folder = ensure(mail, listed->raw, listed->folder.delimiter, made);
		folder->listed = folder != mail->root && !holds_no_more(folder, &listed->folder);
		if (!folder->listed)
			continue;
		pthread_rwlock_wrlock(&mail->lock);
		folder->attributes = listed->folder.attributes;
		if (strcmp(folder->raw, "INBOX") == 0)
			folder->attributes |= MAIL_FOLDER_INBOX;
		unchanged = !folder->fresh_ms && mail->config.poll_s && mail->config.stale_s < 0 &&
		            status_unchanged(folder, &listed->folder);
		if (unchanged)
			folder->checked_at = clock_unix();
		pthread_rwlock_unlock(&mail->lock);
		if (unchanged) {
			folder->fresh_ms = folder->attempt_ms = check->started_ms;
			if (listed->folder.highestmodseq) {
				folder->flags_ms = check->started_ms;
				atomic_store(&folder->flags_until_s, fresh_until(mail, now_ms));
			}
			atomic_store(&folder->fresh_until_s, fresh_until(mail, now_ms));
		}
	}
	pthread_rwlock_wrlock(&mail->lock);
	check->missing = missing_handle(mail, session, gone);
	for (guint i = 0; i < gone->len; i++) {
		folder = gone->pdata[i];
		folder_unlink(mail, folder);
		g_ptr_array_add(gone_parents, folder->parent);
	}
	/* the children's arrays hold what keeps parents alive: last */
	for (guint i = 0; i < gone->len; i++) {
		folder = gone->pdata[i];
		g_ptr_array_remove(folder->parent->children, folder);
	}
	link_all(mail, made);
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder))
		if (folder->seen && !folder->listed && !folder->missing) {
			if (!(folder->attributes & MAIL_FOLDER_NOSELECT) && folder->checked_at)
				g_ptr_array_add(emptied, folder);
			folder->attributes = MAIL_FOLDER_NOSELECT | (folder->attributes & MAIL_FOLDER_INBOX);
		}
	names_assign_all(mail, renamed);
	mail->tree_known = true;
	pthread_rwlock_unlock(&mail->lock);

	for (guint i = 0; i < emptied->len; i++)
		messages_drop(mail, emptied->pdata[i]);
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		struct cache_folder row;

		tree_folder_row(folder, &row);
		cache_folder_put(mail->cache, &row);
		tree_sum_add(&sum, folder->raw);
	}
	/* the same name may come again, with other messages under the same numbers */
	if (gone->len)
		cache_flush(mail->cache);
	mail->tree_checked_at = clock_unix();
	known = tree_sum_text(&sum, mail->tree_checked_at);
	cache_trait_put(mail->cache, "tree.checked_at", known);

	for (guint i = 0; i < gone->len; i++) {
		folder = gone->pdata[i];
		watch_forget(mail, folder);
		/* the table of folders doesn't keep it any more: nothing that borrows it may go on */
		walk_free(folder);
		fetch_stop_all(folder, ERR_GONE, &why);
		body_held_drop(mail, folder);
		render_forget(mail, folder, ERR_GONE, &why);
		folder_event(mail, MAIL_EVENT_FOLDER_GONE, folder, gone_parents->pdata[i], folder->name);
	}
	for (guint i = 0; i < renamed->len; i++) {
		struct renamed *change = &g_array_index(renamed, struct renamed, i);

		if (*change->name)
			folder_event(
				mail, MAIL_EVENT_FOLDER_GONE, change->folder, change->folder->parent, change->name);
		else
			g_free(change->name);
		folder_event(
			mail, MAIL_EVENT_FOLDER_ADDED, change->folder, change->folder->parent, change->folder->name);
	}
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

/* ---- questions ---- */

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

struct mail_folder *mail_root(struct mail *mail)
{
	return mail_folder_ref(mail->root);
}

struct mail_folder *mail_folder_child(struct mail *mail, struct mail_folder *folder, const char *name)
{
	struct mail_folder *found = NULL;

	pthread_rwlock_rdlock(&mail->lock);
	if (folder->by_name && (found = g_hash_table_lookup(folder->by_name, name)))
		mail_folder_ref(found);
	pthread_rwlock_unlock(&mail->lock);
	return found;
}

struct mail_folder *mail_folder_by_number(struct mail *mail, uint32_t number, bool *is_message_number_out)
{
	struct mail_folder *folder;

	pthread_rwlock_rdlock(&mail->lock);
	folder = g_hash_table_lookup(mail->by_number, GUINT_TO_POINTER(number));
	if (folder) {
		mail_folder_ref(folder);
		if (is_message_number_out)
			*is_message_number_out = folder->number != number;
	}
	pthread_rwlock_unlock(&mail->lock);
	return folder;
}

struct mail_folder *mail_folder_parent(struct mail *mail, struct mail_folder *folder)
{
	struct mail_folder *parent;

	pthread_rwlock_rdlock(&mail->lock);
	parent = folder->gone || !folder->parent ? NULL : mail_folder_ref(folder->parent);
	pthread_rwlock_unlock(&mail->lock);
	return parent;
}

char *mail_folder_path(struct mail *mail, struct mail_folder *folder)
{
	GString *path = g_string_new(NULL);

	pthread_rwlock_rdlock(&mail->lock);
	for (const struct mail_folder *at = folder; at && at != mail->root && !at->gone; at = at->parent) {
		if (path->len)
			g_string_prepend_c(path, '/');
		g_string_prepend(path, at->name);
	}
	pthread_rwlock_unlock(&mail->lock);
	return g_string_free(path, FALSE);
}

struct mail_folder *mail_folder_next_child(
	struct mail *mail, struct mail_folder *folder, uint32_t after_number, const char **name_out)
{
	struct mail_folder *found = NULL;
	guint low = 0, high;

	pthread_rwlock_rdlock(&mail->lock);
	high = folder->children->len;
	while (low < high) {
		guint middle = low + (high - low) / 2;

		if (((struct mail_folder *)folder->children->pdata[middle])->number <= after_number)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < folder->children->len) {
		found = mail_folder_ref(folder->children->pdata[low]);
		*name_out = found->name;
	}
	pthread_rwlock_unlock(&mail->lock);
	return found;
}

void mail_folder_info(struct mail *mail, struct mail_folder *folder, struct mail_folder_info *info_out)
{
	pthread_rwlock_rdlock(&mail->lock);
	*info_out = (struct mail_folder_info){
		.number = folder->number,
		.message_number = folder->message_number,
		.attributes = folder->attributes,
		.subfolders = folder->children->len,
		.messages = folder->listing ? folder->listing->rows->len : folder->state.messages,
		.uidvalidity = folder->state.uidvalidity,
		.mtime = folder->mtime,
		.flags_mtime = folder->flags_mtime,
		.checked_at = folder->checked_at,
		.loaded = folder->listing != NULL || (folder->attributes & MAIL_FOLDER_NOSELECT),
	};
	pthread_rwlock_unlock(&mail->lock);
}
