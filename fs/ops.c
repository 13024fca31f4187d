/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/ops_inside.h"

#include "fs/generated.h"
#include "fs/tree.h"
#include "fs/view.h"

#include <errno.h>
#include <string.h>

#include "src/base/banned.h"

#define STATFS_BLOCK_BYTES 4096u

int ops_result(int code)
{
	return code < 0 ? -error_errno(code) : code;
}

/* ---- names ---- */

bool ops_may_control(const struct ops *ops, uid_t caller)
{
	return caller == 0 || caller == ops->mounter || caller == ops->attr.uid;
}

static int lookup_control(struct ops *ops, const char *name, uid_t caller, struct ops_entry *entry_out)
{
	if (!ops_may_control(ops, caller))
		return -EACCES;
	/* Each lookup shows the present: nothing of it may be kept for the next one. */
	if (!control_lookup(ops->control, name, &ops->attr, &entry_out->nodeid, &entry_out->stat))
		return -ENOENT;
	entry_out->attr_timeout = OPS_CACHE_SECONDS;
	return 0;
}

/* ---- objects: their kind answers ---- */

static int object_lookup(
	struct ops *ops, uint64_t ino, const char *name, struct mail_waiter *waiter, struct ops_entry *entry_out)
{
	struct generated_node *object = generated_find(ops->generated, ino);
	int result;

	if (!object)
		return -ESTALE;
	result = object->kind->lookup ? object->kind->lookup(ops, object, name, waiter, entry_out) : -ENOTDIR;
	generated_unref(ops->generated, object);
	return result;
}

static int object_stat(struct ops *ops, uint64_t ino, struct stat *stat_out, double *timeout_out)
{
	struct generated_node *object = generated_find(ops->generated, ino);

	if (!object)
		return -ESTALE;
	object->kind->stat(ops, object, stat_out, timeout_out);
	generated_unref(ops->generated, object);
	return 0;
}

static int object_open(struct ops *ops, uint64_t ino, struct mail_waiter *waiter, uint64_t *size_out)
{
	struct generated_node *object = generated_find(ops->generated, ino);
	int result;

	if (!object)
		return -ESTALE;
	result = object->kind->open ? object->kind->open(ops, object, waiter, size_out) : -EISDIR;
	generated_unref(ops->generated, object);
	return result;
}

static int object_read(struct ops *ops, uint64_t ino, uint64_t offset, size_t length, struct mail_waiter *waiter,
	struct ops_data *data_out)
{
	struct generated_node *object = generated_find(ops->generated, ino);
	int result;

	if (!object)
		return -ENOENT;
	result = object->kind->read ? object->kind->read(ops, object, offset, length, waiter, data_out) : -EISDIR;
	generated_unref(ops->generated, object);
	return result;
}

int ops_readlink(struct ops *ops, uint64_t ino, char **target_out)
{
	struct generated_node *object = NULL;
	int result;

	if (!(ino & NODE_GENERATED && ino & NODE_OBJECT))
		return -EINVAL;
	object = generated_find(ops->generated, ino);
	if (!object)
		return -ESTALE;
	result = object->kind->readlink ? object->kind->readlink(ops, object, target_out) : -EINVAL;
	generated_unref(ops->generated, object);
	return result;
}

/* ---- lookup ---- */

static int lookup_in_control_dir(struct ops *ops, const char *name, uid_t caller, struct ops_entry *entry_out)
{
	for (size_t i = 0; trees[i]; i++) {
		if (strcmp(name, trees[i]->name) == 0) {
			trees[i]->enter(ops, entry_out);
			return 0;
		}
	}
	return lookup_control(ops, name, caller, entry_out);
}

static int lookup_in_folder(struct ops *ops, const struct node *dir, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	enum names_maildir_part part = ops->maildir ? names_maildir_part_find(name) : 0;
	struct mail_folder_info info;

	mail_folder_info(ops->mail, dir->folder, &info);
	if (part && ops_maildir_has_parts(ops, &info)) {
		/* No folder has such a name. */
		ops_maildir_entry(ops, &info, part, entry_out);
		return 0;
	}
	return view_lookup(ops, &view_mail, dir->folder, name, waiter, entry_out);
}

static int lookup_text(struct ops *ops, struct mail_folder *dir, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	int result = view_lookup(ops, &view_text, dir, name, waiter, entry_out);

	if (result == 0 && entry_out->nodeid && ops_stat_may_wait(ops, entry_out->nodeid, false))
		looks_note(ops->looks, waiter->pid, entry_out->nodeid);
	return result;
}

int ops_lookup(struct ops *ops, uint64_t parent, const char *name, uid_t caller, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	struct node node;
	int result;

	*entry_out = (struct ops_entry){0};
	if (strlen(name) > OPS_NAME_BYTES_MAX)
		return -ENAMETOOLONG;
	if (parent == NODE_ROOT_INO && strcmp(name, CONTROL_DIR_NAME) == 0) {
		entry_out->nodeid = CONTROL_DIR_INO;
		control_dir_stat(ops->control, &ops->attr, &entry_out->stat);
		entry_out->entry_timeout = entry_out->attr_timeout = OPS_CACHE_SECONDS;
		return 0;
	}
	if (parent == CONTROL_DIR_INO)
		return lookup_in_control_dir(ops, name, caller, entry_out);
	if (!node_resolve(ops->mail, parent, &node))
		return -ESTALE;
	if (node.kind == NODE_FOLDER)
		result = lookup_in_folder(ops, &node, name, waiter, entry_out);
	else if (node.kind == NODE_TEXT_FOLDER)
		result = lookup_text(ops, node.folder, name, waiter, entry_out);
	else if (node.kind == NODE_MAILDIR_PART)
		result = ops_maildir_lookup(ops, &node, name, waiter, entry_out);
	else
		result = node.kind == NODE_OF_TABLE ? object_lookup(ops, parent, name, waiter, entry_out) : -ENOTDIR;
	node_fini(&node);
	return result;
}

static int getattr_message(struct ops *ops, const struct node *node, struct stat *stat_out)
{
	struct mail_message message;

	if (!node_message(ops->mail, node, &message))
		return -ENOENT;
	attr_message(&ops->attr, node->ino, &message, stat_out);
	return 0;
}

static int getattr_text(struct ops *ops, const struct node *node, struct stat *stat_out, double *timeout_out)
{
	struct mail_message message;
	struct ops_entry entry = {0};

	if (!node_message(ops->mail, node, &message))
		return -ENOENT;
	view_text.message_entry(ops, node->folder, (uint32_t)((node->ino & ~NODE_GENERATED) >> 32), &message, &entry);
	*stat_out = entry.stat;
	*timeout_out = entry.attr_timeout;
	return 0;
}

int ops_getattr(struct ops *ops, uint64_t ino, struct stat *stat_out, double *timeout_out)
{
	struct node node;
	struct mail_folder_info info;
	struct ops_entry entry = {0};
	int result = 0;

	*timeout_out = OPS_CACHE_SECONDS;
	/* ESTALE makes the kernel walk the path once more: it finds what the name means now, or that it is gone. */
	if (!node_resolve(ops->mail, ino, &node))
		return -ESTALE;
	switch (node.kind) {
	case NODE_FOLDER:
		view_mail.folder_entry(ops, node.folder, &entry);
		*stat_out = entry.stat;
		*timeout_out = entry.attr_timeout;
		break;
	case NODE_MESSAGE:
		result = getattr_message(ops, &node, stat_out);
		break;
	case NODE_MAILDIR_PART:
		mail_folder_info(ops->mail, node.folder, &info);
		ops_maildir_entry(ops, &info, (enum names_maildir_part)node.uid, &entry);
		*stat_out = entry.stat;
		*timeout_out = entry.attr_timeout;
		break;
	case NODE_CONTROL_DIR:
		control_dir_stat(ops->control, &ops->attr, stat_out);
		break;
	case NODE_CONTROL_FILE:
		result = control_stat(ops->control, ino, &ops->attr, stat_out) ? 0 : -ESTALE;
		break;
	case NODE_TEXT_FOLDER:
		view_text.folder_entry(ops, node.folder, &entry);
		*stat_out = entry.stat;
		*timeout_out = entry.attr_timeout;
		break;
	case NODE_TEXT:
		result = getattr_text(ops, &node, stat_out, timeout_out);
		break;
	case NODE_OF_TABLE:
		result = object_stat(ops, ino, stat_out, timeout_out);
		break;
	}
	node_fini(&node);
	return result;
}

static bool is_text_under_trust(const struct ops *ops, uint64_t ino)
{
	return ops->sizes_trusted && ino & NODE_GENERATED && (ino & ~NODE_GENERATED) >> 32 && (uint32_t)ino;
}

bool ops_stat_may_wait(const struct ops *ops, uint64_t ino, bool is_open)
{
	return (ops->maildir && !is_open) || is_text_under_trust(ops, ino);
}

static int stat_wait_text(struct ops *ops, uint64_t ino, struct mail_folder *folder, uint32_t uid, bool is_open,
	struct mail_waiter *waiter)
{
	uint64_t size;

	/* asked for the first time, and not by a thread of another namespace */
	if (!is_open && !waiter->since_ms && (!waiter->pid || looks_take(ops->looks, waiter->pid, ino)))
		return 0;
	return ops_result(mail_text_size(ops->mail, folder, uid, &size, waiter, NULL));
}

int ops_stat_wait(struct ops *ops, uint64_t ino, bool is_open, struct mail_waiter *waiter)
{
	struct node node;
	int result = 0;

	if (!ops_stat_may_wait(ops, ino, is_open) || !node_resolve(ops->mail, ino, &node))
		return 0;
	if (node.kind == NODE_MAILDIR_PART)
		result = ops_maildir_stat_wait(ops, &node, waiter);
	else if (node.kind == NODE_TEXT)
		result = stat_wait_text(ops, ino, node.folder, node.uid, is_open, waiter);
	node_fini(&node);
	return result;
}

void ops_forget(struct ops *ops, uint64_t ino, uint64_t lookups)
{
	if (!(ino & NODE_GENERATED) || (ino & ~NODE_GENERATED) >> 32)
		return;
	if (ino & NODE_OBJECT)
		generated_forget(ops->generated, ino, lookups);
	else if (ino != CONTROL_DIR_INO)
		control_forget(ops->control, ino, lookups);
}

/* ---- content ---- */

static int open_message(struct ops *ops, const struct node *node, struct mail_waiter *waiter, uint64_t *size_out)
{
	int code = mail_message_size(ops->mail, node->folder, node->uid, size_out, waiter, NULL);

	if (code == 0 && !node_is_current(ops->mail, node))
		return -ESTALE;
	return ops_result(code);
}

static int open_text(struct ops *ops, const struct node *node, struct mail_waiter *waiter, uint64_t *size_out)
{
	int code = mail_text_size(ops->mail, node->folder, node->uid, size_out, waiter, NULL);

	if (code == 0 && !node_is_current(ops->mail, node))
		return -ESTALE;
	return ops_result(code);
}

int ops_open(struct ops *ops, uint64_t ino, uid_t caller, struct mail_waiter *waiter, uint64_t *size_out)
{
	struct node node;
	int result = -EISDIR;

	*size_out = UINT64_MAX;
	if (!node_resolve(ops->mail, ino, &node))
		return -ESTALE;
	if (node.kind == NODE_MESSAGE)
		result = open_message(ops, &node, waiter, size_out);
	else if (node.kind == NODE_TEXT)
		result = open_text(ops, &node, waiter, size_out);
	else if (node.kind == NODE_CONTROL_FILE)
		result = ops_may_control(ops, caller) ? 0 : -EACCES;
	else if (node.kind == NODE_OF_TABLE)
		result = object_open(ops, ino, waiter, size_out);
	node_fini(&node);
	return result;
}

bool ops_size_was_told(struct ops *ops, uint64_t ino, uint64_t size)
{
	struct node node;
	struct mail_message message;
	bool was_told;

	if (!node_resolve(ops->mail, ino, &node))
		return false;
	if (node.kind == NODE_TEXT)
		was_told = mail_text_was_told(ops->mail, node.folder, node.uid, size);
	else
		was_told = node.kind == NODE_MESSAGE && node_message(ops->mail, &node, &message) &&
		           message.size_exact && !message.size_changed && message.size_bytes == size;
	node_fini(&node);
	return was_told;
}

void ops_data_fini(struct ops_data *data)
{
	if (data->bytes)
		g_bytes_unref(data->bytes);
	else
		mail_slice_fini(&data->slice);
	*data = (struct ops_data){0};
}

static int read_control(struct ops *ops, uint64_t ino, uint64_t offset, size_t length, struct mail_waiter *waiter,
	struct ops_data *data_out)
{
	size_t size = 0;
	int code = control_content(ops->control, ino, waiter, &data_out->bytes, NULL);

	if (code != 0)
		return ops_result(code);
	data_out->settles = control_is_refresh(ops->control, ino);

	const char *bytes = g_bytes_get_data(data_out->bytes, &size);

	if (offset < size) {
		data_out->slice.memory = bytes + offset;
		data_out->slice.length = MIN(length, size - (size_t)offset);
	}
	return 0;
}

static int read_message(struct ops *ops, const struct node *node, uint64_t offset, size_t length, uint64_t *told_size,
	struct mail_waiter *waiter, struct ops_data *data_out)
{
	if (*told_size == UINT64_MAX) {
		struct mail_message message;

		if (!node_message(ops->mail, node, &message))
			return -ENOENT;
		*told_size = message.size_bytes;
	}
	if (offset >= *told_size)
		return 0;

	size_t wanted = (size_t)MIN(length, *told_size - offset);
	int code = mail_read(
		ops->mail, node->folder, node->uid, offset, wanted, *told_size, &data_out->slice, waiter, NULL);

	if (code != 0)
		return ops_result(code);
	/* The reader would take a short answer for the end of the file. */
	if (data_out->slice.length != wanted || !node_is_current(ops->mail, node)) {
		ops_data_fini(data_out);
		return -EIO;
	}
	return 0;
}

/* Where open isn't asked the size that was told may be an estimate, never too small: a short answer tells the end. */
static int read_text(struct ops *ops, const struct node *node, uint64_t offset, size_t length, uint64_t told_size,
	struct mail_waiter *waiter, struct ops_data *data_out)
{
	size_t wanted = told_size == UINT64_MAX ? 0 : (size_t)MIN(length, told_size - MIN(offset, told_size));
	int code;

	if (told_size != UINT64_MAX && !wanted)
		return 0;
	code = mail_text_read(
		ops->mail, node->folder, node->uid, offset, wanted ? wanted : length, &data_out->slice, waiter, NULL);
	if (code != 0)
		return ops_result(code);
	/* made anew, and from another body: not what its reader was told */
	if ((wanted && data_out->slice.length != wanted) || !node_is_current(ops->mail, node)) {
		ops_data_fini(data_out);
		return -EIO;
	}
	return 0;
}

int ops_read(struct ops *ops, uint64_t ino, uint64_t offset, size_t length, uint64_t *told_size,
	struct mail_waiter *waiter, struct ops_data *data_out)
{
	struct node node;
	int result = -EISDIR;

	*data_out = (struct ops_data){.slice = {.fd = -1}};
	if (!node_resolve(ops->mail, ino, &node))
		return -ENOENT;
	if (node.kind == NODE_MESSAGE)
		result = read_message(ops, &node, offset, length, told_size, waiter, data_out);
	else if (node.kind == NODE_TEXT)
		result = read_text(ops, &node, offset, length, *told_size, waiter, data_out);
	else if (node.kind == NODE_CONTROL_FILE)
		result = read_control(ops, ino, offset, length, waiter, data_out);
	else if (node.kind == NODE_OF_TABLE)
		result = object_read(ops, ino, offset, length, waiter, data_out);
	node_fini(&node);
	return result;
}

void ops_statfs(struct ops *ops, struct statvfs *statvfs_out)
{
	struct mail_quota quota = {0};
	uint64_t used;

	mail_quota(ops->mail, &quota);
	used = quota.used_bytes / STATFS_BLOCK_BYTES;
	*statvfs_out = (struct statvfs){
		.f_bsize = STATFS_BLOCK_BYTES,
		.f_frsize = STATFS_BLOCK_BYTES,
		.f_namemax = OPS_NAME_BYTES_MAX,
		.f_files = quota.messages,
	};
	if (quota.limit_bytes) {
		statvfs_out->f_blocks = MAX(quota.limit_bytes / STATFS_BLOCK_BYTES, used);
		statvfs_out->f_bfree = statvfs_out->f_bavail = statvfs_out->f_blocks - used;
	} else {
		statvfs_out->f_blocks = used;
	}
}
