/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/attachments.h"

#include "fs/generated.h"
#include "fs/node.h"
#include "fs/view.h"

#include <errno.h>
#include <string.h>

#include "src/base/banned.h"

#define EML ".eml"
#define WHAT_BYTES 64u
#define ENTRIES 64u /* asked of the model at once */
/* No event speaks of what is here: whatever the kernel remembers of it, it doesn't remember for long. */
#define ENTRY_SECONDS 1.0

struct attachment_node {
	struct generated_node node; /* must be first */
	struct mail_folder *folder; /* a reference */
	uint64_t ino;               /* as stat shows it */
	uint32_t number;            /* of a folder's directory, or its messages' */
	uint32_t uid;
	int64_t date;
	/* of a file */
	unsigned index;
	uint64_t size_bytes;
	/* of a message's directory; atomic; NULL = not asked yet */
	GArray *list; /* struct mail_attachment */
};

static void node_free(struct generated_node *node)
{
	struct attachment_node *self = (struct attachment_node *)node;

	mail_folder_unref(self->folder);
	if (self->list)
		g_array_unref(self->list);
	g_free(self);
}

/* ---- what it is, as number and as key ---- */

static uint64_t folder_ino(uint32_t number)
{
	char what[WHAT_BYTES];

	g_snprintf(what, sizeof(what), "attachments/%u", number);
	return number ? node_hash_ino(what) : NODE_ATTACHMENTS_ROOT;
}

static uint64_t message_ino(uint32_t number, uint32_t uid)
{
	char what[WHAT_BYTES];

	g_snprintf(what, sizeof(what), "attachments/%u/%u", number, uid);
	return node_hash_ino(what);
}

/* With name and size: a message that the server makes anew may have others. */
static uint64_t file_ino(const struct attachment_node *dir, const struct mail_attachment *attachment, unsigned index)
{
	g_autofree char *what = g_strdup_printf("attachments/%u/%u/%u/%" G_GUINT64_FORMAT "/%s", dir->number, dir->uid,
		index, attachment->size_bytes, attachment->name);

	return node_hash_ino(what);
}

/*
 * A folder that is made anew under an old name has the old one's numbers, and the kernel may still know nodes of that:
 * they are another folder's, and not to be found for this one.
 */
static struct attachment_node *node_new(
	const struct generated_kind *kind, uint64_t ino, struct mail_folder *folder, uint32_t number, uint32_t uid)
{
	struct attachment_node *self = g_new0(struct attachment_node, 1);

	self->node.kind = kind;
	self->node.key = g_strdup_printf("attachments/%" G_GINT64_MODIFIER "x/%p", ino, (void *)folder);
	self->ino = ino;
	self->folder = mail_folder_ref(folder);
	self->number = number;
	self->uid = uid;
	return self;
}

/* The message is still the one that this node was made for. */
static bool is_current(struct ops *ops, const struct attachment_node *self)
{
	struct mail_folder_info info;

	mail_folder_info(ops->mail, self->folder, &info);
	return info.message_number == self->number;
}

/* ---- a file ---- */

static void file_stat(struct ops *ops, struct generated_node *node, struct stat *stat_out, double *timeout_out)
{
	const struct attachment_node *self = (struct attachment_node *)node;

	attr_message(&ops->attr, self->ino, &(struct mail_message){.size_bytes = self->size_bytes, .date = self->date},
		stat_out);
	*timeout_out = OPS_CACHE_SECONDS;
}

static int file_open(struct ops *ops, struct generated_node *node, struct mail_waiter *waiter, uint64_t *size_out)
{
	const struct attachment_node *self = (struct attachment_node *)node;

	*size_out = self->size_bytes;
	return is_current(ops, self) ? 0 : -ESTALE;
}

static int file_read(struct ops *ops, struct generated_node *node, uint64_t offset, size_t length,
	struct mail_waiter *waiter, struct ops_data *data_out)
{
	const struct attachment_node *self = (struct attachment_node *)node;
	size_t wanted = (size_t)MIN(length, self->size_bytes - MIN(offset, self->size_bytes));
	int code;

	if (!wanted)
		return 0;
	code = mail_attachment_read(
		ops->mail, self->folder, self->uid, self->index, offset, wanted, &data_out->slice, waiter, NULL);
	if (code != 0)
		return ops_result(code);
	/* made anew, and from another body: not what its reader was told */
	if (data_out->slice.length != wanted || !is_current(ops, self)) {
		ops_data_fini(data_out);
		return -EIO;
	}
	return 0;
}

static const struct generated_kind file_kind = {
	.stat = file_stat, .open = file_open, .read = file_read, .free = node_free};

/* ---- a message's directory ---- */

static void message_stat(struct ops *ops, struct generated_node *node, struct stat *stat_out, double *timeout_out)
{
	const struct attachment_node *self = (struct attachment_node *)node;

	attr_folder(&ops->attr, &(struct mail_folder_info){.mtime = self->date}, stat_out);
	stat_out->st_ino = self->ino;
	*timeout_out = OPS_CACHE_SECONDS;
}

/* What the message has, once asked: it never changes. Borrowed as long as the node is. */
static int list_get(struct ops *ops, struct attachment_node *self, struct mail_waiter *waiter, const GArray **list_out)
{
	GArray *list;
	int code;

	if (!is_current(ops, self))
		return -ESTALE;
	*list_out = g_atomic_pointer_get(&self->list);
	if (*list_out)
		return 0;
	code = mail_attachments(ops->mail, self->folder, self->uid, &list, waiter, NULL);
	if (code != 0)
		return ops_result(code);
	if (!is_current(ops, self)) {
		g_array_unref(list);
		return -ESTALE;
	}
	if (!g_atomic_pointer_compare_and_exchange(&self->list, NULL, list))
		g_array_unref(list);
	*list_out = g_atomic_pointer_get(&self->list);
	return 0;
}

static int message_lookup(struct ops *ops, struct generated_node *node, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	struct attachment_node *self = (struct attachment_node *)node;
	const GArray *list;
	int result;

	/* no attachment has such a name: nothing is fetched to know that */
	if (name[0] == '.')
		return 0;
	result = list_get(ops, self, waiter, &list);
	if (result != 0)
		return result;
	entry_out->entry_timeout = ENTRY_SECONDS;
	for (guint i = 0; i < list->len; i++) {
		const struct mail_attachment *each = &g_array_index(list, struct mail_attachment, i);
		struct attachment_node *file;

		if (strcmp(each->name, name) != 0)
			continue;
		file = node_new(&file_kind, file_ino(self, each, i), self->folder, self->number, self->uid);
		file->date = self->date;
		file->index = i;
		file->size_bytes = each->size_bytes;
		generated_enter(ops, &file->node, entry_out);
		break;
	}
	return 0;
}

static int message_opendir(
	struct ops *ops, struct generated_node *node, struct mail_waiter *waiter, uint64_t *handle_out)
{
	const GArray *list;

	return list_get(ops, (struct attachment_node *)node, waiter, &list);
}

static int message_readdir(
	struct ops *ops, struct generated_node *node, uint64_t handle, off_t offset, ops_dirent_fn fn, void *ctx)
{
	struct attachment_node *self = (struct attachment_node *)node;
	const GArray *list = g_atomic_pointer_get(&self->list);
	struct mail_folder_info info;

	mail_folder_info(ops->mail, self->folder, &info);
	if (!list || info.message_number != self->number)
		return -ESTALE;
	if (offset < OPS_OFFSET_DOTDOT && !ops_emit_dots(self->ino, folder_ino(info.number), offset, fn, ctx))
		return 0;
	for (guint i = (guint)MAX(offset - OPS_OFFSET_DOTDOT, 0); i < list->len; i++) {
		const struct mail_attachment *each = &g_array_index(list, struct mail_attachment, i);

		if (!ops_emit(fn, ctx, each->name, file_ino(self, each, i), S_IFREG, OPS_OFFSET_DOTDOT + (off_t)i + 1))
			break;
	}
	return 0;
}

static const struct generated_kind message_kind = {
	.stat = message_stat,
	.lookup = message_lookup,
	.opendir = message_opendir,
	.readdir = message_readdir,
	.free = node_free,
};

static void message_entry(struct ops *ops, struct mail_folder *folder, uint32_t message_number,
	const struct mail_message *message, struct ops_entry *entry_out)
{
	struct attachment_node *self = node_new(
		&message_kind, message_ino(message_number, message->uid), folder, message_number, message->uid);

	self->date = message->date;
	entry_out->entry_timeout = ENTRY_SECONDS;
	generated_enter(ops, &self->node, entry_out);
}

/* ---- a folder's directory ---- */

static const struct view view_attachments;

static void folder_stat(struct ops *ops, struct generated_node *node, struct stat *stat_out, double *timeout_out)
{
	const struct attachment_node *self = (struct attachment_node *)node;
	struct mail_folder_info info;

	mail_folder_info(ops->mail, self->folder, &info);
	info.subfolders += info.messages;
	attr_folder(&ops->attr, &info, stat_out);
	stat_out->st_ino = self->ino;
	/* no event speaks of what mirrors a folder */
	*timeout_out = 0;
}

static int folder_lookup(struct ops *ops, struct generated_node *node, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	const struct attachment_node *self = (struct attachment_node *)node;

	return view_lookup(ops, &view_attachments, self->folder, name, waiter, entry_out);
}

static int folder_opendir(
	struct ops *ops, struct generated_node *node, struct mail_waiter *waiter, uint64_t *handle_out)
{
	const struct attachment_node *self = (struct attachment_node *)node;

	return view_opendir(ops, &view_attachments, self->folder, waiter, handle_out);
}

static int folder_readdir(
	struct ops *ops, struct generated_node *node, uint64_t handle, off_t offset, ops_dirent_fn fn, void *ctx)
{
	const struct attachment_node *self = (struct attachment_node *)node;

	return view_readdir(ops, &view_attachments, self->folder, handle, offset, ENTRIES, fn, ctx);
}

static const struct generated_kind folder_kind = {
	.listing_changes = true,
	.stat = folder_stat,
	.lookup = folder_lookup,
	.opendir = folder_opendir,
	.readdir = folder_readdir,
	.free = node_free,
};

static void folder_entry(struct ops *ops, struct mail_folder *folder, struct ops_entry *entry_out)
{
	struct mail_folder_info info;
	struct attachment_node *self;

	mail_folder_info(ops->mail, folder, &info);
	self = node_new(&folder_kind, folder_ino(info.number), folder, info.number, 0);
	entry_out->entry_timeout = ENTRY_SECONDS;
	generated_enter(ops, &self->node, entry_out);
}

/* "NAME" opens as "NAME.eml" does, but isn't listed: a folder may be called so. */
static bool plain_name(const char *name, char *plain_out)
{
	size_t length = strlen(name);

	memcpy(plain_out, name, length + 1);
	if (!g_str_has_suffix(name, EML))
		memcpy(plain_out + length, EML, sizeof(EML));
	return true;
}

static const struct view view_attachments = {
	.folder_ino = folder_ino,
	.message_ino = message_ino,
	.folder_entry = folder_entry,
	.message_entry = message_entry,
	.plain = plain_name,
	.above = CONTROL_DIR_INO,
	.message_type = S_IFDIR,
};

static void enter(struct ops *ops, struct ops_entry *entry_out)
{
	struct mail_folder *root = mail_root(ops->mail);

	folder_entry(ops, root, entry_out);
	mail_folder_unref(root);
}

const struct tree attachments_tree = {.name = "attachments", .ino = NODE_ATTACHMENTS_ROOT, .enter = enter};
