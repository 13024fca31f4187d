/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * .mailtree/: status.json, errors.log, metrics, refresh.
 *
 * A file's content is made at each lookup and belongs to the inode number that this lookup gives out, until the
 * kernel forgets it. So the size that stat shows is the size of what reading gives, pages that the kernel keeps of
 * one lookup are never shown to the next, and all of it works alike where the kernel doesn't ask us at open.
 * st_ino stays the same throughout. `refresh` is the exception: its line exists only when it has been read.
 *
 * Threads: any. One mutex guards the table; it is never held while the model is asked.
 */
#pragma once

#include "fs/attr.h"
#include "fs/node.h"
#include "src/mail/mail.h"

#define CONTROL_DIR_NAME ".mailtree"
#define CONTROL_DIR_INO (NODE_GENERATED | 1)

enum control_file { CONTROL_STATUS, CONTROL_ERRORS, CONTROL_METRICS, CONTROL_REFRESH, CONTROL_FILES };

struct control;

/* `mail` and `mountpoint` are borrowed. */
struct control *control_new(struct mail *mail, const char *mountpoint);
void control_free(struct control *control);

const char *control_name(enum control_file file);
uint64_t control_ino(enum control_file file); /* st_ino */
void control_dir_stat(struct control *control, const struct attr_config *config, struct stat *stat_out);

/* A new snapshot, looked up once. False: no such file. */
bool control_lookup(struct control *control, const char *name, const struct attr_config *config, uint64_t *nodeid_out,
	struct stat *stat_out);
bool control_stat(struct control *control, uint64_t nodeid, const struct attr_config *config, struct stat *stat_out);
void control_forget(struct control *control, uint64_t nodeid, uint64_t lookups);
bool control_is_refresh(struct control *control, uint64_t nodeid);
/* A reference to its content. 0, MAIL_PARKED (refresh), or a negative error code. */
int control_content(
	struct control *control, uint64_t nodeid, struct mail_waiter *waiter, GBytes **content_out, struct error *err);
