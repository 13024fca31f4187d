/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes below .mailtree/ that an inode number can't describe by itself: each is an object, made when it is looked up
 * and freed when the kernel has forgotten it. What a node does stands in its kind; ops.c asks the kind.
 *
 * A node has a key; what is looked up twice is the same node and has the same number.
 *
 * Threads: any. One mutex guards the table and the counts; it is never held while a kind's function runs.
 */
#pragma once

#include "fs/ops.h"

struct generated_node;

/* What isn't there isn't of that type (-ENOTDIR, -EISDIR, -EINVAL). Results as in ops.h. */
struct generated_kind {
	void (*stat)(struct ops *ops, struct generated_node *node, struct stat *stat_out, double *timeout_out);
	/* of a directory */
	int (*lookup)(struct ops *ops, struct generated_node *node, const char *name, struct mail_waiter *waiter,
		struct ops_entry *entry_out);
	int (*opendir)(struct ops *ops, struct generated_node *node, struct mail_waiter *waiter, uint64_t *handle_out);
	int (*readdir)(struct ops *ops, struct generated_node *node, uint64_t handle, off_t offset, ops_dirent_fn fn,
		void *ctx);
	/* of a file: the size of what reading gives; and octets, fewer only at the end */
	int (*open)(struct ops *ops, struct generated_node *node, struct mail_waiter *waiter, uint64_t *size_out);
	int (*read)(struct ops *ops, struct generated_node *node, uint64_t offset, size_t length,
		struct mail_waiter *waiter, struct ops_data *data_out);
	bool listing_changes; /* and nobody tells: the kernel mustn't keep it */
	/* of a symbolic link; g_free() the target */
	int (*readlink)(struct ops *ops, struct generated_node *node, char **target_out);
	void (*free)(struct generated_node *node); /* NULL: nothing but g_free() */
};

/* The first member of what a kind makes of it. */
struct generated_node {
	const struct generated_kind *kind;
	char *key;       /* unique among all kinds; the table frees it */
	uint64_t nodeid; /* given by the table */
	uint64_t lookups;
	unsigned references;
};

struct generated *generated_new(void);
void generated_free(struct generated *generated);

/*
 * Takes over `node`, zeroed but for kind, key and what is the kind's own; gives the node of that key, which may be an
 * older one, looked up once more. A reference.
 */
struct generated_node *generated_add(struct generated *generated, struct generated_node *node);
/* A reference; NULL = forgotten. */
struct generated_node *generated_find(struct generated *generated, uint64_t nodeid);
void generated_unref(struct generated *generated, struct generated_node *node);
void generated_forget(struct generated *generated, uint64_t nodeid, uint64_t lookups);
/* Looks `node` up, as generated_add() does, and says so in *entry_out. The entry's timeout is the caller's. */
void generated_enter(struct ops *ops, struct generated_node *node, struct ops_entry *entry_out);
