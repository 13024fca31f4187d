/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of work share. */
#pragma once

#include "src/cli/work.h"

#include <cjson/cJSON.h>
#include <glib.h>

/* A question to the model, for wait_for(). */
struct work_try {
	const struct work *work;
	struct mail_folder *folder;
	bool force;
};
int work_try_tree_fresh(void *ctx, struct mail_waiter *waiter, struct error *err);
int work_try_folder_fresh(void *ctx, struct mail_waiter *waiter, struct error *err);

struct work_folder {
	char *path;
	struct mail_folder *folder; /* a reference */
};
/* A reference to the folder at `path`, asked for on the server if need be. ERR_GONE. */
int work_folder_find(const struct work *work, const char *path, struct mail_folder **folder_out, struct error *err);
/* struct work_folder: all below `parent`, in no order. Free the array with g_array_unref(). */
GArray *work_folders(struct mail *mail, struct mail_folder *parent, const char *parent_path);

/* Takes over `object`. */
int work_record_put(const struct sink *sink, cJSON *object, struct error *err);

/* The contract's object; `message->cached` is the caller's. */
cJSON *work_message_object(const struct work *work, const char *folder_path, const struct mail_folder_info *info,
	const struct mail_message *message, const struct mail_details *details);
bool work_uid_is_in(const GArray *uids, uint32_t uid); /* uint32_t, sorted */

/* work_search.c */
int work_search(const struct work *work, const char *text, const struct sink *sink, struct error *err);

/* work_warm.c */
int work_warm(const struct work *work, const char *path, const struct sink *sink, struct error *err);
