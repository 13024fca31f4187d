/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listings. Offsets come from what an entry is, in the order of listing: 1 and 2 for the dots, the next for cur, new
 * and tmp of layout=maildir, then directories by number, then messages by UID. So a reader that goes on in a listing
 * that has changed neither repeats nor skips what stayed.
 */
#include "fs/ops_inside.h"

#include "fs/generated.h"
#include "fs/tree.h"
#include "fs/view.h"

#include <errno.h>
#include <string.h>

#include "src/base/banned.h"

#define OFFSET_FOLDERS (1ll << 32)
#define OFFSET_MESSAGES (2ll << 32)
#define BATCH 64u /* messages asked of the model at once */

static int object_opendir(struct ops *ops, uint64_t ino, struct mail_waiter *waiter, uint64_t *handle_out)
{
	struct generated_node *object = generated_find(ops->generated, ino);
	int result = 0;

	if (!object)
		return -ESTALE;
	if (!object->kind->readdir)
		result = -ENOTDIR;
	else if (object->kind->opendir)
		result = object->kind->opendir(ops, object, waiter, handle_out);
	generated_unref(ops->generated, object);
	return result;
}

static int object_readdir(struct ops *ops, uint64_t ino, uint64_t handle, off_t offset, ops_dirent_fn fn, void *ctx)
{
	struct generated_node *object = generated_find(ops->generated, ino);
	int result;

	if (!object)
		return -ESTALE;
	result = object->kind->readdir ? object->kind->readdir(ops, object, handle, offset, fn, ctx) : -ENOTDIR;
	generated_unref(ops->generated, object);
	return result;
}

bool ops_listing_is_told(struct ops *ops, uint64_t ino)
{
	struct generated_node *object;
	bool is_told;

	if (!(ino & NODE_GENERATED && ino & NODE_OBJECT))
		return true;
	object = generated_find(ops->generated, ino);
	is_told = object && !object->kind->listing_changes;
	if (object)
		generated_unref(ops->generated, object);
	return is_told;
}

int ops_opendir(struct ops *ops, uint64_t ino, uid_t caller, struct mail_waiter *waiter, uint64_t *handle_out)
{
	struct node node;
	int code;

	*handle_out = 0;
	if (ino == CONTROL_DIR_INO)
		return ops_may_control(ops, caller) ? 0 : -EACCES;
	if (!node_resolve(ops->mail, ino, &node))
		return -ESTALE;
	if (node.kind == NODE_MAILDIR_PART) {
		int result = ops_maildir_opendir(ops, &node, waiter, handle_out);

		node_fini(&node);
		return result;
	}
	if (node.kind == NODE_TEXT_FOLDER) {
		int result = view_opendir(ops, node.folder, waiter, handle_out);

		node_fini(&node);
		return result;
	}
	if (node.kind != NODE_FOLDER) {
		node_fini(&node);
		return node.kind == NODE_OF_TABLE ? object_opendir(ops, ino, waiter, handle_out) : -ENOTDIR;
	}
	code = mail_tree_fresh(ops->mail, false, waiter, NULL);
	if (code == 0) {
		struct mail_folder_info info;

		mail_folder_info(ops->mail, node.folder, &info);
		if (ino != NODE_ROOT_INO && !ops->maildir && !(info.attributes & MAIL_FOLDER_NOSELECT))
			code = mail_folder_fresh(ops->mail, node.folder, false, waiter, NULL);
	}
	if (code == 0) {
		struct mail_folder_info info;

		mail_folder_info(ops->mail, node.folder, &info);
		*handle_out = info.message_number;
	}
	node_fini(&node);
	return ops_result(code);
}

bool ops_emit(ops_dirent_fn fn, void *ctx, const char *name, uint64_t ino, mode_t type, off_t next)
{
	struct ops_dirent dirent = {.name = name, .stat = {.st_ino = ino, .st_mode = type}, .next = next};

	return fn(ctx, &dirent);
}

bool ops_emit_dots(uint64_t ino, uint64_t parent_ino, off_t offset, ops_dirent_fn fn, void *ctx)
{
	if (offset < OPS_OFFSET_DOT && !ops_emit(fn, ctx, ".", ino, S_IFDIR, OPS_OFFSET_DOT))
		return false;
	return offset >= OPS_OFFSET_DOTDOT || ops_emit(fn, ctx, "..", parent_ino, S_IFDIR, OPS_OFFSET_DOTDOT);
}

static int readdir_control(off_t offset, ops_dirent_fn fn, void *ctx)
{
	if (!ops_emit_dots(CONTROL_DIR_INO, NODE_ROOT_INO, offset, fn, ctx))
		return 0;
	for (off_t file = MAX(offset - OPS_OFFSET_DOTDOT, 0); file < CONTROL_FILES; file++) {
		enum control_file which = (enum control_file)file;

		if (!ops_emit(fn, ctx, control_name(which), control_ino(which), S_IFREG, OPS_OFFSET_DOTDOT + file + 1))
			return 0;
	}
	for (off_t tree = MAX(offset - OPS_OFFSET_DOTDOT - CONTROL_FILES, 0); trees[tree]; tree++) {
		if (!ops_emit(fn, ctx, trees[tree]->name, trees[tree]->ino, S_IFDIR,
			    OPS_OFFSET_DOTDOT + CONTROL_FILES + tree + 1))
			return 0;
	}
	return 0;
}

static uint64_t parent_ino(struct ops *ops, struct mail_folder *folder)
{
	struct mail_folder *parent = mail_folder_parent(ops->mail, folder);
	struct mail_folder_info info = {0};

	if (parent)
		mail_folder_info(ops->mail, parent, &info);
	mail_folder_unref(parent);
	return node_folder_ino(info.number);
}

static bool emit_folders(struct ops *ops, struct mail_folder *folder, off_t offset, ops_dirent_fn fn, void *ctx)
{
	uint32_t after = offset > OFFSET_FOLDERS ? (uint32_t)(offset - OFFSET_FOLDERS) : 0;
	struct mail_folder *child;
	const char *name;
	bool room = true;

	while (room && (child = mail_folder_next_child(ops->mail, folder, after, &name))) {
		struct mail_folder_info info;
		struct ops_entry entry = {.entry_timeout = OPS_CACHE_SECONDS};

		mail_folder_info(ops->mail, child, &info);
		if (ops->maildir)
			attr_maildir_folder(&ops->attr, &info, &entry.stat);
		else
			attr_folder(&ops->attr, &info, &entry.stat);
		entry.nodeid = entry.stat.st_ino;
		entry.attr_timeout = info.loaded ? OPS_CACHE_SECONDS : 0;
		room = fn(ctx, &(struct ops_dirent){
				       .name = name,
				       .stat = entry.stat,
				       .entry = &entry,
				       .next = OFFSET_FOLDERS + info.number,
			       });
		after = info.number;
		mail_folder_unref(child);
	}
	return room;
}

static void emit_messages(struct ops *ops, struct mail_folder *folder, uint32_t message_number, uint32_t after,
	size_t expected, ops_dirent_fn fn, void *ctx)
{
	struct mail_message messages[BATCH];
	char name[NAMES_BYTES_MAX + 1];
	size_t wanted = CLAMP(expected, 1, BATCH);
	size_t count;

	do {
		count = mail_messages_next(ops->mail, folder, after, messages, wanted);
		for (size_t i = 0; i < count; i++) {
			struct ops_entry entry = {
				.nodeid = node_message_ino(message_number, messages[i].uid),
				.entry_timeout = OPS_CACHE_SECONDS,
				.attr_timeout = OPS_CACHE_SECONDS,
			};

			attr_message(&ops->attr, entry.nodeid, &messages[i], &entry.stat);
			if (ops->maildir)
				names_maildir_compose(&messages[i], message_number, name);
			else
				names_compose(&messages[i], ops->names_uid, name);
			if (!fn(ctx, &(struct ops_dirent){
					     .name = name,
					     .stat = entry.stat,
					     .entry = &entry,
					     .next = OFFSET_MESSAGES + messages[i].uid,
				     }))
				return;
			after = messages[i].uid;
		}
	} while (count == wanted);
}

/* Whether the messages of this folder are those that its reader began to list. */
static bool is_listed(struct ops *ops, const struct node *node, uint64_t handle)
{
	struct mail_folder_info info;

	mail_folder_info(ops->mail, node->folder, &info);
	return info.loaded && info.message_number == handle;
}

int ops_emit_messages(struct ops *ops, const struct node *node, uint64_t handle, off_t offset, size_t expected,
	ops_dirent_fn fn, void *ctx)
{
	if (!is_listed(ops, node, handle))
		return -ESTALE;
	emit_messages(ops, node->folder, (uint32_t)handle,
		offset > OFFSET_MESSAGES ? (uint32_t)(offset - OFFSET_MESSAGES) : 0, expected, fn, ctx);
	return is_listed(ops, node, handle) ? 0 : -ESTALE;
}

static int readdir_folder(struct ops *ops, const struct node *node, uint64_t handle, off_t offset, size_t expected,
	ops_dirent_fn fn, void *ctx)
{
	bool has_messages = node->ino != NODE_ROOT_INO && !ops->maildir;
	struct mail_folder_info info;

	if (has_messages && !is_listed(ops, node, handle))
		return -ESTALE;
	mail_folder_info(ops->mail, node->folder, &info);
	if (offset < OPS_OFFSET_DOTDOT && !ops_emit_dots(node->ino, parent_ino(ops, node->folder), offset, fn, ctx))
		return 0;
	if (offset < OFFSET_FOLDERS && !ops_maildir_emit_parts(ops, &info, offset, fn, ctx))
		return 0;
	if (offset < OFFSET_MESSAGES && !emit_folders(ops, node->folder, offset, fn, ctx))
		return 0;
	return has_messages ? ops_emit_messages(ops, node, handle, offset, expected, fn, ctx) : 0;
}

int ops_readdir(
	struct ops *ops, uint64_t ino, uint64_t handle, off_t offset, size_t expected, ops_dirent_fn fn, void *ctx)
{
	struct node node;
	int result;

	if (offset < 0)
		return -EINVAL;
	if (ino == CONTROL_DIR_INO)
		return readdir_control(offset, fn, ctx);
	if (!node_resolve(ops->mail, ino, &node))
		return -ENOENT;
	if (node.kind == NODE_FOLDER)
		result = readdir_folder(ops, &node, handle, offset, expected, fn, ctx);
	else if (node.kind == NODE_TEXT_FOLDER)
		result = view_readdir(ops, &view_text, node.folder, handle, offset, expected, fn, ctx);
	else if (node.kind == NODE_MAILDIR_PART)
		result = ops_maildir_readdir(ops, &node, handle, offset, expected, fn, ctx);
	else
		result = node.kind == NODE_OF_TABLE ? object_readdir(ops, ino, handle, offset, fn, ctx) : -ENOTDIR;
	node_fini(&node);
	return result;
}
