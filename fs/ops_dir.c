/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listings: whose they are. Those of folders are in view.c. */
#include "fs/ops_inside.h"

#include "fs/generated.h"
#include "fs/tree.h"
#include "fs/view.h"

#include <errno.h>
#include <string.h>

#include "src/base/banned.h"

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
	int result;

	*handle_out = 0;
	if (ino == CONTROL_DIR_INO)
		return ops_may_control(ops, caller) ? 0 : -EACCES;
	if (!node_resolve(ops->mail, ino, &node))
		return -ESTALE;
	if (node.kind == NODE_FOLDER)
		result = view_opendir(ops, &view_mail, node.folder, waiter, handle_out);
	else if (node.kind == NODE_TEXT_FOLDER)
		result = view_opendir(ops, &view_text, node.folder, waiter, handle_out);
	else if (node.kind == NODE_MAILDIR_PART)
		result = ops_maildir_opendir(ops, &node, waiter, handle_out);
	else
		result = node.kind == NODE_OF_TABLE ? object_opendir(ops, ino, waiter, handle_out) : -ENOTDIR;
	node_fini(&node);
	return result;
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
		result = view_readdir(ops, &view_mail, node.folder, handle, offset, expected, fn, ctx);
	else if (node.kind == NODE_TEXT_FOLDER)
		result = view_readdir(ops, &view_text, node.folder, handle, offset, expected, fn, ctx);
	else if (node.kind == NODE_MAILDIR_PART)
		result = ops_maildir_readdir(ops, &node, handle, offset, expected, fn, ctx);
	else
		result = node.kind == NODE_OF_TABLE ? object_readdir(ops, ino, handle, offset, fn, ctx) : -ENOTDIR;
	node_fini(&node);
	return result;
}
