/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folder tree: tree.c has it, tree_check.c compares it with the server. The loop alone changes it, under the write
 * lock; what needs the lock says so.
 */
#pragma once

#include "src/mail/internal.h"

/* The folder of `raw`, which is made where there is none, and so are all above it: they are added to `made`, and aren't
 * in the tree before tree_link(). Marks them as seen. */
struct mail_folder *tree_ensure(struct mail *mail, const char *raw, char delimiter, GPtrArray *made);
/* With the write lock. */
void tree_link(struct mail *mail, GPtrArray *made);
/* With the write lock: by no number or name any more; its parent keeps it until the caller takes it out there. */
void tree_unlink(struct mail *mail, struct mail_folder *folder);

struct renamed {
	struct mail_folder *folder;
	char *name; /* before; the folder owns it, but for the empty one, which is the receiver's */
};

/* With the write lock: who has another name now is added to `renamed` (struct renamed). */
void tree_names_assign(struct mail *mail, GArray *renamed);

/* Which folders there are, in a few octets: rows that got lost, as on a full disk, don't make a tree that looks
 * complete. */
struct tree_sum {
	unsigned count;
	uint32_t sum;
};

void tree_sum_add(struct tree_sum *sum, const char *raw);
char *tree_sum_text(const struct tree_sum *sum, int64_t checked_at); /* g_free */

/* A check under way ends without a word. */
void tree_check_forget(struct mail *mail);
