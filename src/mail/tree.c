/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The folder tree as it is known: read from the cache at the start, changed by tree_check.c. */
#include "src/mail/tree.h"
#include "src/base/log.h"

#include <string.h>

#include "src/base/banned.h"

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
struct mail_folder *tree_ensure(struct mail *mail, const char *raw, char delimiter, GPtrArray *made)
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

void tree_names_assign(struct mail *mail, GArray *renamed)
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

void tree_link(struct mail *mail, GPtrArray *made)
{
	for (guint i = 0; i < made->len; i++)
		((struct mail_folder *)made->pdata[i])->parent->unsorted = true;
	link_made(mail, made);
}

void tree_unlink(struct mail *mail, struct mail_folder *folder)
{
	folder->gone = true;
	g_hash_table_remove(mail->by_raw, folder->raw);
	g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(folder->number));
	if (folder->message_number)
		g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(folder->message_number));
	cache_folder_drop(mail->cache, folder->cache_id);
}

void tree_sum_add(struct tree_sum *sum, const char *raw)
{
	sum->count++;
	sum->sum += g_str_hash(raw);
}

char *tree_sum_text(const struct tree_sum *sum, int64_t checked_at)
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
	struct mail_folder *folder = tree_ensure(loading->mail, row->name, row->delimiter, loading->made);

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
	tree_link(mail, made);
	for (guint i = 0; i < made->len; i++) {
		struct mail_folder *folder = made->pdata[i];

		if (folder->message_number) {
			number_add(mail, folder->message_number, folder);
			g_hash_table_add(mail->shown, GUINT_TO_POINTER(folder->message_number));
		}
	}
	tree_names_assign(mail, renamed);
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
	tree_check_forget(mail);
	g_hash_table_unref(mail->by_raw);
	g_hash_table_unref(mail->by_number);
	g_hash_table_unref(mail->shown);
	mail_folder_unref(mail->root);
}

/* ---- questions ---- */

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
