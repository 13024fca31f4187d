/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layout=maildir: FOLDER/{cur,new,tmp}, messages in cur with their flags in the names.
 *
 * Readers of maildirs look at the time of cur and list it only when that has changed. So whoever stats it asks for
 * changes, as whoever opens a directory of the other layout does; but the kernel stats it on the way to each file in
 * it, too, and what is cached must open while the server is silent: such a wait is short.
 */
#include "fs/ops_inside.h"

#include "fs/view.h"

#include <errno.h>

#include "src/base/banned.h"

#define OFFSET_PARTS OPS_OFFSET_DOTDOT
/* The kernel asks again as often, at most. Changes are told to it besides. */
#define CUR_CACHE_SECONDS 1.0
/* How long a stat of cur waits for a check that is due. */
#define CUR_PATIENCE_MS 2000u

bool ops_maildir_has_parts(const struct ops *ops, const struct mail_folder_info *info)
{
	return ops->maildir && info->number && !(info->attributes & MAIL_FOLDER_NOSELECT);
}

void ops_maildir_entry(
	struct ops *ops, const struct mail_folder_info *info, enum names_maildir_part part, struct ops_entry *entry_out)
{
	attr_maildir_part(&ops->attr, info, part, &entry_out->stat);
	entry_out->nodeid = entry_out->stat.st_ino;
	entry_out->entry_timeout = OPS_CACHE_SECONDS;
	entry_out->attr_timeout = OPS_CACHE_SECONDS;
	/* Loading it makes its time known without anything having changed. */
	if (part == NAMES_MAILDIR_CUR)
		entry_out->attr_timeout = info->loaded ? CUR_CACHE_SECONDS : 0;
}

int ops_maildir_lookup(struct ops *ops, const struct node *part, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out)
{
	struct node node = {.kind = NODE_MESSAGE, .folder = part->folder};
	struct mail_folder_info info;
	struct mail_message message;
	enum names_likeness likeness;
	int code;

	if (part->uid != NAMES_MAILDIR_CUR) {
		entry_out->entry_timeout = OPS_CACHE_SECONDS;
		return 0;
	}
	if (!names_maildir_parse(name, &node.uid) && !names_parse(name, &node.uid))
		return 0;
	code = mail_folder_ready(ops->mail, part->folder, waiter, NULL);
	if (code != 0)
		return ops_result(code);
	mail_folder_info(ops->mail, part->folder, &info);
	node.ino = node_message_ino(info.message_number, node.uid);
	if (!mail_message_find(ops->mail, part->folder, node.uid, &message))
		return 0;
	likeness = names_maildir_match(name, &message, info.message_number);
	if (likeness == NAMES_OTHER)
		return 0;
	if (!node_is_current(ops->mail, &node))
		return -ESTALE;
	view_mail.message_entry(ops, part->folder, info.message_number, &message, entry_out);
	/* Nobody would tell the kernel that an alias has gone. */
	if (likeness == NAMES_ALIAS)
		entry_out->entry_timeout = 0;
	return 0;
}

int ops_maildir_stat_wait(struct ops *ops, const struct node *part, struct mail_waiter *waiter)
{
	struct mail_folder_info info;

	if (part->uid != NAMES_MAILDIR_CUR)
		return 0;
	mail_folder_info(ops->mail, part->folder, &info);
	waiter->patience_ms = CUR_PATIENCE_MS;
	/* One that was never listed is listed by who opens it. */
	return info.checked_at ? ops_result(mail_folder_flags_fresh(ops->mail, part->folder, waiter, NULL)) : 0;
}

int ops_maildir_opendir(struct ops *ops, const struct node *part, struct mail_waiter *waiter, uint64_t *handle_out)
{
	struct mail_folder_info info;
	int code = 0;

	if (part->uid == NAMES_MAILDIR_CUR)
		code = mail_folder_flags_fresh(ops->mail, part->folder, waiter, NULL);
	if (code == 0 && part->uid == NAMES_MAILDIR_CUR)
		code = mail_folder_fresh(ops->mail, part->folder, false, waiter, NULL);
	if (code != 0)
		return ops_result(code);
	mail_folder_info(ops->mail, part->folder, &info);
	*handle_out = info.message_number;
	return 0;
}

int ops_maildir_readdir(struct ops *ops, const struct node *part, uint64_t handle, off_t offset, size_t expected,
	ops_dirent_fn fn, void *ctx)
{
	struct mail_folder_info info;

	mail_folder_info(ops->mail, part->folder, &info);
	if (!ops_emit_dots(part->ino, node_folder_ino(info.number), offset, fn, ctx) || part->uid != NAMES_MAILDIR_CUR)
		return 0;
	return view_emit_messages(ops, &view_mail, part->folder, handle, offset, expected, fn, ctx);
}

bool ops_maildir_emit_parts(
	struct ops *ops, const struct mail_folder_info *info, off_t offset, ops_dirent_fn fn, void *ctx)
{
	bool room = true;

	if (!ops_maildir_has_parts(ops, info))
		return true;
	for (int part = (int)MAX(offset - OFFSET_PARTS, 0) + 1; part <= NAMES_MAILDIR_PARTS && room; part++) {
		struct ops_entry entry = {0};

		ops_maildir_entry(ops, info, (enum names_maildir_part)part, &entry);
		room = fn(ctx, &(struct ops_dirent){
				       .name = names_maildir_part((enum names_maildir_part)part),
				       .stat = entry.stat,
				       .entry = &entry,
				       .next = OFFSET_PARTS + part,
			       });
	}
	return room;
}
