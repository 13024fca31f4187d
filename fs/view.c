/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/view.h"

#include "fs/ops_inside.h"

#include <errno.h>
#include <string.h>

#include "src/base/banned.h"

#define OFFSET_FOLDERS (1ll << 32)
#define OFFSET_MESSAGES (2ll << 32)
#define BATCH 64u /* messages asked of the model at once */
#define EML ".eml"
#define TXT ".txt"

/* ---- the mail itself ---- */

static void mail_folder_entry(struct ops *ops, struct mail_folder *folder, struct ops_entry *entry_out)
{
	struct mail_folder_info info;

	mail_folder_info(ops->mail, folder, &info);
	if (ops->maildir)
		attr_maildir_folder(&ops->attr, &info, &entry_out->stat);
	else
		attr_folder(&ops->attr, &info, &entry_out->stat);
	entry_out->nodeid = entry_out->stat.st_ino;
	entry_out->entry_timeout = OPS_CACHE_SECONDS;
	/* Loading it makes its time known without anything having changed. */
	entry_out->attr_timeout = info.loaded ? OPS_CACHE_SECONDS : 0;
}

static void mail_message_entry(struct ops *ops, struct mail_folder *folder, uint32_t message_number,
	const struct mail_message *message, struct ops_entry *entry_out)
{
	entry_out->nodeid = node_message_ino(message_number, message->uid);
	attr_message(&ops->attr, entry_out->nodeid, message, &entry_out->stat);
	entry_out->entry_timeout = entry_out->attr_timeout = OPS_CACHE_SECONDS;
}

const struct view view_mail = {
	.folder_ino = node_folder_ino,
	.message_ino = node_message_ino,
	.folder_entry = mail_folder_entry,
	.message_entry = mail_message_entry,
	.above = NODE_ROOT_INO,
	.message_type = S_IFREG,
	.lists_entries = true,
	.has_layout = true,
	.tells_folders = true,
};

/* ---- mail as text ---- */

static void text_folder_entry(struct ops *ops, struct mail_folder *folder, struct ops_entry *entry_out)
{
	struct mail_folder_info info;

	mail_folder_info(ops->mail, folder, &info);
	attr_folder(&ops->attr, &info, &entry_out->stat);
	entry_out->entry_timeout = OPS_CACHE_SECONDS;
	entry_out->nodeid = entry_out->stat.st_ino = node_text_folder_ino(info.number);
	/* no event speaks of what mirrors a folder */
	entry_out->attr_timeout = 0;
}

static void text_message_entry(struct ops *ops, struct mail_folder *folder, uint32_t message_number,
	const struct mail_message *message, struct ops_entry *entry_out)
{
	struct mail_message text = *message;
	bool exact;

	text.size_bytes = mail_text_estimate(ops->mail, folder, message, &exact);
	entry_out->nodeid = node_text_ino(message_number, message->uid);
	attr_message(&ops->attr, entry_out->nodeid, &text, &entry_out->stat);
	/* open tells the kernel to ask again; where it doesn't ask at open, it must ask each time (looks.h) */
	entry_out->entry_timeout = entry_out->attr_timeout = exact || !ops->sizes_trusted ? OPS_CACHE_SECONDS : 0;
}

/* NAME.eml is listed as NAME.txt, and as NAME.eml.txt where that is a folder. */
static void text_name(char *name, bool is_taken)
{
	char *end = name + strlen(name);

	memcpy(is_taken ? end : end - strlen(EML), TXT, sizeof(TXT));
}

static bool text_plain(const char *name, char *plain_out)
{
	size_t length = strlen(name);

	if (length < strlen(TXT) || strcmp(name + length - strlen(TXT), TXT) != 0)
		return false;
	length -= strlen(TXT);
	memcpy(plain_out, name, length);
	plain_out[length] = '\0';
	if (!g_str_has_suffix(plain_out, EML))
		memcpy(plain_out + length, EML, sizeof(EML));
	return true;
}

const struct view view_text = {
	.folder_ino = node_text_folder_ino,
	.message_ino = node_text_ino,
	.folder_entry = text_folder_entry,
	.message_entry = text_message_entry,
	.name = text_name,
	.plain = text_plain,
	.above = CONTROL_DIR_INO,
	.message_type = S_IFREG,
	.lists_entries = true,
};

static void text_enter(struct ops *ops, struct ops_entry *entry_out)
{
	struct mail_folder *root = mail_root(ops->mail);

	text_folder_entry(ops, root, entry_out);
	mail_folder_unref(root);
}

const struct tree text_tree = {.name = "text", .ino = NODE_TEXT_ROOT, .enter = text_enter};

/* ---- lookup ---- */

static bool holds_messages(const struct ops *ops, const struct view *view, const struct mail_folder_info *info)
{
	return info->number && !(info->attributes & MAIL_FOLDER_NOSELECT) && !(view->has_layout && ops->maildir);
}

/* The name that a message has among mail; false = no message's. */
static bool plain_name(const struct view *view, const char *name, char plain_out[OPS_NAME_BYTES_MAX + 8])
{
	if (view->plain)
		return view->plain(name, plain_out);
	g_strlcpy(plain_out, name, OPS_NAME_BYTES_MAX + 8);
	return true;
}

static int lookup_message(struct ops *ops, const struct view *view, struct mail_folder *dir, const char *name,
	struct mail_waiter *waiter, struct ops_entry *entry_out)
{
	char plain[OPS_NAME_BYTES_MAX + 8];
	struct mail_folder_info info;
	struct mail_message message;
	uint32_t uid, number;
	int code;

	mail_folder_info(ops->mail, dir, &info);
	if (!holds_messages(ops, view, &info) || !plain_name(view, name, plain) || !names_parse(plain, &uid))
		return 0;
	code = mail_folder_ready(ops->mail, dir, waiter, NULL);
	if (code != 0)
		return ops_result(code);
	/* New mail comes all the time: that there is none of this name isn't worth remembering. */
	entry_out->entry_timeout = 0;
	mail_folder_info(ops->mail, dir, &info);
	number = info.message_number;
	if (!mail_message_find(ops->mail, dir, uid, &message) || !names_match(plain, &message, ops->names_uid))
		return 0;
	mail_folder_info(ops->mail, dir, &info);
	if (info.message_number != number)
		return -ESTALE;
	view->message_entry(ops, dir, number, &message, entry_out);
	return 0;
}

int view_lookup(struct ops *ops, const struct view *view, struct mail_folder *dir, const char *name,
	struct mail_waiter *waiter, struct ops_entry *entry_out)
{
	struct mail_folder *child = mail_folder_child(ops->mail, dir, name);
	int code = 0;

	/*
	 * Desktops and shells look for dot files wherever they pass: that must not wake the network. Nothing is
	 * remembered of it, as the tree may not be known yet.
	 */
	if (!child && name[0] == '.')
		return 0;
	if (!child)
		code = mail_tree_ready(ops->mail, waiter, NULL);
	if (code != 0)
		return ops_result(code);
	if (!child)
		child = mail_folder_child(ops->mail, dir, name);
	if (child) {
		view->folder_entry(ops, child, entry_out);
		mail_folder_unref(child);
		return 0;
	}
	/* "No such folder" holds until an event says otherwise, if one will. */
	entry_out->entry_timeout = view->tells_folders ? OPS_CACHE_SECONDS : 0;
	return lookup_message(ops, view, dir, name, waiter, entry_out);
}

/* ---- listing ---- */

int view_opendir(struct ops *ops, const struct view *view, struct mail_folder *dir, struct mail_waiter *waiter,
	uint64_t *handle_out)
{
	struct mail_folder_info info;
	int code = mail_tree_fresh(ops->mail, false, waiter, NULL);

	mail_folder_info(ops->mail, dir, &info);
	if (code == 0 && holds_messages(ops, view, &info))
		code = mail_folder_fresh(ops->mail, dir, false, waiter, NULL);
	if (code == 0) {
		mail_folder_info(ops->mail, dir, &info);
		*handle_out = info.message_number;
	}
	return ops_result(code);
}

static uint64_t parent_ino(struct ops *ops, const struct view *view, struct mail_folder *folder)
{
	struct mail_folder *parent = mail_folder_parent(ops->mail, folder);
	struct mail_folder_info info = {0};

	if (!parent)
		return view->above;
	mail_folder_info(ops->mail, parent, &info);
	mail_folder_unref(parent);
	return view->folder_ino(info.number);
}

static bool emit_folders(
	struct ops *ops, const struct view *view, struct mail_folder *dir, off_t offset, ops_dirent_fn fn, void *ctx)
{
	uint32_t after = offset > OFFSET_FOLDERS ? (uint32_t)(offset - OFFSET_FOLDERS) : 0;
	struct mail_folder *child;
	const char *name;
	bool room = true;

	while (room && (child = mail_folder_next_child(ops->mail, dir, after, &name))) {
		struct mail_folder_info info;
		struct ops_entry entry = {0};
		struct ops_dirent dirent = {.name = name};

		mail_folder_info(ops->mail, child, &info);
		if (view->lists_entries) {
			view->folder_entry(ops, child, &entry);
			dirent.entry = &entry;
			dirent.stat = entry.stat;
		} else {
			dirent.stat = (struct stat){.st_ino = view->folder_ino(info.number), .st_mode = S_IFDIR};
		}
		dirent.next = OFFSET_FOLDERS + info.number;
		room = fn(ctx, &dirent);
		after = info.number;
		mail_folder_unref(child);
	}
	return room;
}

static bool is_folder(struct ops *ops, struct mail_folder *dir, const char *name)
{
	struct mail_folder *child = mail_folder_child(ops->mail, dir, name);

	mail_folder_unref(child);
	return child != NULL;
}

/* As it is listed: a message never has the name of a folder beside it. */
static void view_name(struct ops *ops, const struct view *view, struct mail_folder *dir, bool has_folders,
	uint32_t message_number, const struct mail_message *message, char *name_out)
{
	if (view->has_layout && ops->maildir)
		names_maildir_compose(message, message_number, name_out);
	else
		names_compose(message, ops->names_uid, name_out);
	if (!view->name)
		return;
	view->name(name_out, false);
	if (has_folders && is_folder(ops, dir, name_out)) {
		names_compose(message, ops->names_uid, name_out);
		view->name(name_out, true);
	}
}

static void emit_messages(struct ops *ops, const struct view *view, struct mail_folder *dir, uint32_t message_number,
	uint32_t after, size_t expected, ops_dirent_fn fn, void *ctx)
{
	struct mail_message messages[BATCH];
	struct mail_folder_info info;
	char name[VIEW_NAME_BYTES_MAX + 1];
	size_t wanted = CLAMP(expected, 1, BATCH);
	size_t count;

	mail_folder_info(ops->mail, dir, &info);
	do {
		count = mail_messages_next(ops->mail, dir, after, messages, wanted);
		for (size_t i = 0; i < count; i++) {
			struct ops_entry entry = {0};
			struct ops_dirent dirent = {.name = name, .next = OFFSET_MESSAGES + messages[i].uid};

			if (view->lists_entries) {
				view->message_entry(ops, dir, message_number, &messages[i], &entry);
				dirent.entry = &entry;
				dirent.stat = entry.stat;
			} else {
				dirent.stat.st_ino = view->message_ino(message_number, messages[i].uid);
				dirent.stat.st_mode = view->message_type;
			}
			view_name(ops, view, dir, info.subfolders > 0, message_number, &messages[i], name);
			if (!fn(ctx, &dirent))
				return;
			after = messages[i].uid;
		}
	} while (count == wanted);
}

/* Whether the messages of this folder are those that its reader began to list. */
static bool is_listed(struct ops *ops, struct mail_folder *dir, uint64_t handle)
{
	struct mail_folder_info info;

	mail_folder_info(ops->mail, dir, &info);
	return info.loaded && info.message_number == handle;
}

int view_emit_messages(struct ops *ops, const struct view *view, struct mail_folder *dir, uint64_t handle, off_t offset,
	size_t expected, ops_dirent_fn fn, void *ctx)
{
	if (!is_listed(ops, dir, handle))
		return -ESTALE;
	emit_messages(ops, view, dir, (uint32_t)handle,
		offset > OFFSET_MESSAGES ? (uint32_t)(offset - OFFSET_MESSAGES) : 0, expected, fn, ctx);
	return is_listed(ops, dir, handle) ? 0 : -ESTALE;
}

int view_readdir(struct ops *ops, const struct view *view, struct mail_folder *dir, uint64_t handle, off_t offset,
	size_t expected, ops_dirent_fn fn, void *ctx)
{
	struct mail_folder_info info;
	bool has_messages;

	mail_folder_info(ops->mail, dir, &info);
	has_messages = info.number && !(view->has_layout && ops->maildir);
	if (has_messages && !is_listed(ops, dir, handle))
		return -ESTALE;
	if (offset < OPS_OFFSET_DOTDOT &&
		!ops_emit_dots(view->folder_ino(info.number), parent_ino(ops, view, dir), offset, fn, ctx))
		return 0;
	if (view->has_layout && offset < OFFSET_FOLDERS && !ops_maildir_emit_parts(ops, &info, offset, fn, ctx))
		return 0;
	if (offset < OFFSET_MESSAGES && !emit_folders(ops, view, dir, offset, fn, ctx))
		return 0;
	return has_messages ? view_emit_messages(ops, view, dir, handle, offset, expected, fn, ctx) : 0;
}
