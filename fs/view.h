/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Directories of folders and messages: the mail itself (view_mail), and what mirrors it below .mailtree/, messages as
 * text (view_text) and directories of attachments (attachments.h). They differ in numbers, names and what stat says. In
 * the mirrors folders hold their messages directly, whatever the layout of the mount.
 *
 * Offsets of listings come from what an entry is, in the order of listing: 1 and 2 for the dots, the next for cur, new
 * and tmp of layout=maildir, then directories by number, then messages by UID. So a reader that goes on in a listing
 * that has changed neither repeats nor skips what stayed.
 */
#pragma once

#include "fs/names.h"
#include "fs/ops.h"
#include "fs/tree.h"

#define VIEW_NAME_BYTES_MAX (NAMES_BYTES_MAX + 4u) /* with another suffix behind it */

struct view {
	/* A folder's number, and a message's, as st_ino. */
	uint64_t (*folder_ino)(uint32_t number);
	uint64_t (*message_ino)(uint32_t message_number, uint32_t uid);
	/* What a lookup gives. */
	void (*folder_entry)(struct ops *ops, struct mail_folder *folder, struct ops_entry *entry_out);
	void (*message_entry)(struct ops *ops, struct mail_folder *folder, uint32_t message_number,
		const struct mail_message *message, struct ops_entry *entry_out);
	/* `name` (of VIEW_NAME_BYTES_MAX + 1) as it is listed, from the message's name; NULL = the same. */
	void (*name)(char *name, bool is_taken);
	/* The message's name, of OPS_NAME_BYTES_MAX + 8, that `name` stands for; false = no message's. NULL = the same.
	 */
	bool (*plain)(const char *name, char *plain_out);
	uint64_t above; /* st_ino of what the root is in */
	mode_t message_type;
	bool lists_entries; /* else the kernel shall look up what it wants to know more of */
	bool has_layout;    /* with layout=maildir its messages are in cur */
	bool tells_folders; /* when there is one of a name that there wasn't, the kernel is told */
};

extern const struct view view_mail, view_text;
extern const struct tree text_tree;

int view_lookup(struct ops *ops, const struct view *view, struct mail_folder *dir, const char *name,
	struct mail_waiter *waiter, struct ops_entry *entry_out);
int view_opendir(struct ops *ops, const struct view *view, struct mail_folder *dir, struct mail_waiter *waiter,
	uint64_t *handle_out);
int view_readdir(struct ops *ops, const struct view *view, struct mail_folder *dir, uint64_t handle, off_t offset,
	size_t expected, ops_dirent_fn fn, void *ctx);
/* Its messages behind `offset`; -ESTALE as for ops_readdir(). */
int view_emit_messages(struct ops *ops, const struct view *view, struct mail_folder *dir, uint64_t handle, off_t offset,
	size_t expected, ops_dirent_fn fn, void *ctx);
