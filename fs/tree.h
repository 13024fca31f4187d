/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The trees below .mailtree/. */
#pragma once

#include "fs/ops.h"

struct tree {
	const char *name;
	uint64_t ino; /* st_ino of its root */
	/* Its root looked up once; never fails. */
	void (*enter)(struct ops *ops, struct ops_entry *entry_out);
};

extern const struct tree *const trees[]; /* NULL-terminated */
extern const struct tree tree_search;    /* search.c */
