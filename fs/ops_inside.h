/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ops.c, ops_dir.c, ops_maildir.c and view.c share. */
#pragma once

#include "fs/node.h"
#include "fs/ops.h"

/* ops_dir.c */
/* An entry without attributes. */
bool ops_emit(ops_dirent_fn fn, void *ctx, const char *name, uint64_t ino, mode_t type, off_t next);
bool ops_emit_dots(uint64_t ino, uint64_t parent_ino, off_t offset, ops_dirent_fn fn, void *ctx);
/* Offsets up to this one are those of the dots. */
#define OPS_OFFSET_DOTDOT 2

/* ops_maildir.c */
/* Whether cur, new and tmp are in this folder's directory. */
bool ops_maildir_has_parts(const struct ops *ops, const struct mail_folder_info *info);
void ops_maildir_entry(struct ops *ops, const struct mail_folder_info *info, enum names_maildir_part part,
	struct ops_entry *entry_out);
/* In cur, new or tmp. */
int ops_maildir_lookup(struct ops *ops, const struct node *part, const char *name, struct mail_waiter *waiter,
	struct ops_entry *entry_out);
int ops_maildir_stat_wait(struct ops *ops, const struct node *part, struct mail_waiter *waiter);
int ops_maildir_opendir(struct ops *ops, const struct node *part, struct mail_waiter *waiter, uint64_t *handle_out);
int ops_maildir_readdir(struct ops *ops, const struct node *part, uint64_t handle, off_t offset, size_t expected,
	ops_dirent_fn fn, void *ctx);
/* False: no room. */
bool ops_maildir_emit_parts(
	struct ops *ops, const struct mail_folder_info *info, off_t offset, ops_dirent_fn fn, void *ctx);
