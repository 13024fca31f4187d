/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * .mailtree/search/QUERY/: what the server finds, as symbolic links to the messages.
 *
 * A QUERY that is written rightly is a directory, without asking anybody; whoever opens it, or looks for a name in it,
 * lets the server search. What was found belongs to the model, which keeps it for `poll`: nothing here holds it. A
 * reader who goes on after it has gone is told so (ESTALE). The tree itself lists nothing: who walks it searches
 * nothing.
 *
 * A link is called as its message; names that clash, from several folders, all end in `~` and the folder's 8 hex
 * digits.
 */
#include "fs/generated.h"
#include "fs/ops_inside.h"
#include "fs/tree.h"
#include "src/mail/query.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "src/base/banned.h"

#define ROOT_KEY "search"
#define ABOVE "../../../" /* of a link: QUERY, search, .mailtree */
#define SUFFIX ".eml"
#define SUFFIX_BYTES (sizeof(SUFFIX) - 1)
#define MARK_BYTES 9u /* '~' and 8 hex digits */
#define LINK_NAME_BYTES (NAMES_BYTES_MAX + MARK_BYTES)
/* How long the kernel keeps links and queries: their results change with `poll`. */
#define SEARCH_CACHE_SECONDS 10.0

struct query_dir {
	struct generated_node node; /* first */
	struct query *query;
	atomic_ullong listed; /* serial of the results that were opened last, 0 = none */
};

struct link {
	struct generated_node node; /* first */
	char *target;
	uint64_t ino;
	int64_t date;
};

/* ---- names of queries ---- */

/* "%2F" is "/", "%25" is "%"; another '%' is a mistake. NULL then; g_free it. */
static char *name_decode(const char *name)
{
	GString *text = g_string_new(NULL);

	for (; *name; name++) {
		if (*name != '%') {
			g_string_append_c(text, *name);
		} else if (g_ascii_strncasecmp(name, "%2F", 3) == 0 || strncmp(name, "%25", 3) == 0) {
			g_string_append_c(text, name[2] == '5' ? '%' : '/');
			name += 2;
		} else {
			g_string_free(text, TRUE);
			return NULL;
		}
	}
	return g_string_free(text, FALSE);
}

static char *query_key(const struct query *query)
{
	g_autofree char *text = query_text(query);

	return g_strconcat(ROOT_KEY "/", text, NULL);
}

/* ---- links ---- */

static void link_stat(struct ops *ops, struct generated_node *node, struct stat *stat_out, double *timeout_out)
{
	const struct link *link = (const struct link *)node;

	attr_control(&ops->attr, link->ino, S_IFLNK, strlen(link->target), &(struct timespec){.tv_sec = link->date},
		stat_out);
	stat_out->st_mode = S_IFLNK | 0777;
	*timeout_out = SEARCH_CACHE_SECONDS;
}

static int link_readlink(struct ops *ops, struct generated_node *node, char **target_out)
{
	*target_out = g_strdup(((const struct link *)node)->target);
	return 0;
}

static void link_free(struct generated_node *node)
{
	g_free(((struct link *)node)->target);
	g_free(node);
}

static const struct generated_kind link_kind = {.stat = link_stat, .readlink = link_readlink, .free = link_free};

/* False: the message has gone since it was found, or it is another one. */
static bool hit_find(struct ops *ops, const struct mail_hit *hit, struct mail_message *message_out)
{
	struct mail_folder_info info;

	if (!mail_message_find(ops->mail, hit->folder, hit->uid, message_out))
		return false;
	mail_folder_info(ops->mail, hit->folder, &info);
	return info.message_number == hit->message_number;
}

static bool hit_is(const struct mail_hit *a, const struct mail_hit *b)
{
	return a->folder == b->folder && a->uid == b->uid;
}

/* Whether another folder's hit has the same name without a mark. */
static bool name_clashes(
	struct ops *ops, const struct mail_results *results, const struct mail_hit *hit, const char *name)
{
	struct mail_hit other;

	for (guint i = 0; mail_results_same_uid(results, hit->uid, i, &other); i++) {
		char other_name[NAMES_BYTES_MAX + 1];
		struct mail_message message;

		if (hit_is(hit, &other) || !hit_find(ops, &other, &message))
			continue;
		names_compose(&message, ops->names_uid, other_name);
		if (strcmp(name, other_name) == 0)
			return true;
	}
	return false;
}

static size_t link_name(struct ops *ops, const struct mail_results *results, const struct mail_hit *hit,
	const struct mail_message *message, char name_out[LINK_NAME_BYTES + 1])
{
	size_t length = names_compose(message, ops->names_uid, name_out);
	struct mail_folder_info info;

	if (!name_clashes(ops, results, hit, name_out))
		return length;
	mail_folder_info(ops->mail, hit->folder, &info);
	return length - SUFFIX_BYTES +
	       (size_t)g_snprintf(
		       name_out + length - SUFFIX_BYTES, MARK_BYTES + SUFFIX_BYTES + 1, "~%08x" SUFFIX, info.number);
}

/* The UID in a link's name, with or without a mark; names_parse() knows none with. */
static bool link_name_parse(const char *name, uint32_t *uid_out)
{
	size_t length = strlen(name);
	g_autofree char *plain = g_strdup(name);

	if (length > MARK_BYTES + SUFFIX_BYTES && name[length - MARK_BYTES - SUFFIX_BYTES] == '~')
		g_strlcpy(plain + length - MARK_BYTES - SUFFIX_BYTES, SUFFIX, SUFFIX_BYTES + 1);
	return names_parse(plain, uid_out);
}

static void link_enter(struct ops *ops, const struct generated_node *dir, const char *name, const struct mail_hit *hit,
	const struct mail_message *message, struct ops_entry *entry_out)
{
	struct link *link = g_new0(struct link, 1);
	g_autofree char *path = mail_folder_path(ops->mail, hit->folder);
	g_autofree char *what = g_strconcat(dir->key, "/", name, NULL);
	char file[NAMES_BYTES_MAX + 1];

	if (ops->maildir)
		names_maildir_compose(message, hit->message_number, file);
	else
		names_compose(message, ops->names_uid, file);
	link->target = g_strconcat(ABOVE, path, ops->maildir ? "/cur/" : "/", file, NULL);
	link->ino = node_hash_ino(what);
	link->date = message->date;
	link->node.kind = &link_kind;
	/* flags or a folder's name may have changed: then it is another link */
	link->node.key = g_strconcat(what, "\n", link->target, NULL);
	generated_enter(ops, &link->node, entry_out);
	entry_out->entry_timeout = SEARCH_CACHE_SECONDS;
}

/* ---- a query ---- */

static void query_dir_stat(struct ops *ops, struct generated_node *node, struct stat *stat_out, double *timeout_out)
{
	struct stat control;

	control_dir_stat(ops->control, &ops->attr, &control);
	attr_control(&ops->attr, node_hash_ino(node->key), S_IFDIR, 0, &control.st_mtim, stat_out);
	*timeout_out = OPS_CACHE_SECONDS;
}

static void results_lookup(struct ops *ops, const struct generated_node *node, const struct mail_results *results,
	const char *name, uint32_t uid, struct ops_entry *entry_out)
{
	struct mail_hit hit;

	for (guint i = 0; !entry_out->nodeid && mail_results_same_uid(results, uid, i, &hit); i++) {
		char own[LINK_NAME_BYTES + 1];
		struct mail_message message;

		if (!hit_find(ops, &hit, &message))
			continue;
		link_name(ops, results, &hit, &message, own);
		if (strcmp(name, own) == 0)
			link_enter(ops, node, name, &hit, &message, entry_out);
	}
}

static int query_dir_lookup(struct ops *ops, struct generated_node *node, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	const struct query_dir *dir = (const struct query_dir *)node;
	struct mail_results *results;
	uint32_t uid;
	int code;

	/* no message is called so: the server needn't be asked */
	if (!link_name_parse(name, &uid)) {
		entry_out->entry_timeout = OPS_CACHE_SECONDS;
		return 0;
	}
	/* whoever has listed them stats them now: that is no new question */
	results = mail_results_known(ops->mail, atomic_load(&dir->listed));
	if (results)
		results_lookup(ops, node, results, name, uid, entry_out);
	mail_results_unref(results);
	if (entry_out->nodeid)
		return 0;
	code = mail_search(ops->mail, dir->query, waiter, &results, NULL);
	if (code != 0)
		return ops_result(code);
	results_lookup(ops, node, results, name, uid, entry_out);
	mail_results_unref(results);
	return 0;
}

static int query_dir_opendir(
	struct ops *ops, struct generated_node *node, struct mail_waiter *waiter, uint64_t *handle_out)
{
	struct query_dir *dir = (struct query_dir *)node;
	struct mail_results *results;
	int code = mail_search(ops->mail, dir->query, waiter, &results, NULL);

	if (code != 0)
		return ops_result(code);
	*handle_out = mail_results_serial(results);
	atomic_store(&dir->listed, *handle_out);
	mail_results_unref(results);
	return 0;
}

static int query_dir_readdir(
	struct ops *ops, struct generated_node *node, uint64_t handle, off_t offset, ops_dirent_fn fn, void *ctx)
{
	struct mail_results *results = mail_results_known(ops->mail, handle);
	guint count;

	if (!results)
		return -ESTALE;
	count = mail_results_count(results);
	if (ops_emit_dots(node_hash_ino(node->key), NODE_SEARCH_ROOT, offset, fn, ctx)) {
		for (guint i = (guint)MAX(offset - OPS_OFFSET_DOTDOT, 0); i < count; i++) {
			char name[LINK_NAME_BYTES + 1];
			struct mail_message message;
			struct mail_hit hit;

			mail_results_get(results, i, &hit);
			if (!hit_find(ops, &hit, &message))
				continue;
			link_name(ops, results, &hit, &message, name);
			g_autofree char *what = g_strconcat(node->key, "/", name, NULL);

			if (!ops_emit(fn, ctx, name, node_hash_ino(what), S_IFLNK, OPS_OFFSET_DOTDOT + (off_t)i + 1))
				break;
		}
	}
	mail_results_unref(results);
	return 0;
}

static void query_dir_free(struct generated_node *node)
{
	query_free(((struct query_dir *)node)->query);
	g_free(node);
}

static const struct generated_kind query_dir_kind = {
	.stat = query_dir_stat,
	.lookup = query_dir_lookup,
	.opendir = query_dir_opendir,
	.readdir = query_dir_readdir,
	.listing_changes = true,
	.free = query_dir_free,
};

/* ---- the tree ---- */

static void root_stat(struct ops *ops, struct generated_node *node, struct stat *stat_out, double *timeout_out)
{
	struct stat control;

	control_dir_stat(ops->control, &ops->attr, &control);
	attr_control(&ops->attr, NODE_SEARCH_ROOT, S_IFDIR, 0, &control.st_mtim, stat_out);
	*timeout_out = OPS_CACHE_SECONDS;
}

static int root_lookup(struct ops *ops, struct generated_node *node, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	g_autofree char *text = NULL;
	struct query *query;
	struct query_dir *dir;
	int code;

	/* .git, .hidden, .directory: programs look for these wherever they are */
	if (name[0] == '.') {
		entry_out->entry_timeout = OPS_CACHE_SECONDS;
		return 0;
	}
	text = name_decode(name);
	/* as it stands, so that errors.log says what was asked */
	code = text ? mail_query_open(ops->mail, text, &query, NULL) : mail_query_misspelt(ops->mail, name);
	if (code != 0)
		return ops_result(code);
	dir = g_new0(struct query_dir, 1);
	dir->query = query;
	dir->node.kind = &query_dir_kind;
	dir->node.key = query_key(query);
	generated_enter(ops, &dir->node, entry_out);
	entry_out->entry_timeout = SEARCH_CACHE_SECONDS;
	return 0;
}

static int root_readdir(
	struct ops *ops, struct generated_node *node, uint64_t handle, off_t offset, ops_dirent_fn fn, void *ctx)
{
	ops_emit_dots(NODE_SEARCH_ROOT, CONTROL_DIR_INO, offset, fn, ctx);
	return 0;
}

static const struct generated_kind root_kind = {.stat = root_stat, .lookup = root_lookup, .readdir = root_readdir};

static void enter(struct ops *ops, struct ops_entry *entry_out)
{
	struct generated_node *node = g_new0(struct generated_node, 1);

	node->kind = &root_kind;
	node->key = g_strdup(ROOT_KEY);
	generated_enter(ops, node, entry_out);
	entry_out->entry_timeout = OPS_CACHE_SECONDS;
}

const struct tree tree_search = {.name = "search", .ino = NODE_SEARCH_ROOT, .enter = enter};
