/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The notifier: changes of the model become invalidations of what the kernel keeps, sent from one thread of its own.
 *
 * No other thread may send them: the kernel takes a directory's lock for an entry, and waits for pages being read for
 * an inode; the thread that must answer the lookup or the read that holds these would wait for itself for ever.
 *
 * The queue is bounded: a folder with too many changes at once is invalidated as a whole. That costs a program that
 * stands in it its getcwd() until somebody looks the folder up again, so it is the exception.
 */
#pragma once

#include "src/mail/mail.h"

#include <stdbool.h>
#include <stdint.h>

#define NOTIFY_QUEUE_MAX 32768u /* changes of messages, about 200 bytes each; beyond, whole folders */
#define NOTIFY_SIZES_MS 1000u   /* a size that was learned is told after once or twice that; an open tells it at once */
#define NOTIFY_FOLDERS_MAX 200000u /* and changes of folders: twice LIMIT_FOLDERS */

/* How an invalidation reaches the kernel. Called from the notifier's thread only; failures mean "not kept". */
struct notify_sink {
	void (*attributes)(void *ctx, uint64_t ino);
	void (*content)(void *ctx, uint64_t ino); /* attributes too; of a directory: its listing */
	void (*entry)(void *ctx, uint64_t parent, const char *name);
	void (*deleted)(void *ctx, uint64_t parent, uint64_t child, const char *name);
};

struct fill;
struct notify;

/* All are borrowed; `fill` gets the bodies that come ahead of their readers. */
struct notify *notify_new(
	struct mail *mail, bool names_uid, bool maildir, const struct notify_sink *sink, struct fill *fill, void *ctx);
/* Starts the thread and listens to the model. */
bool notify_start(struct notify *notify);
/* Drops what is queued, ends the thread. While it runs, requests must be answered still. */
void notify_stop(struct notify *notify);
void notify_free(struct notify *notify);

/* From now on what mirrors the tree as text (view.h) is invalidated like the tree. Any thread. */
void notify_mirror_texts(struct notify *notify);
/* Its size, if it was learned lately, has just been told by other means. Any thread. */
void notify_size_told(struct notify *notify, uint64_t ino);
/*
 * Calls when all changes until now (but for sizes) have reached the kernel, from the notifier's thread: it must not
 * wait. False = they have, or nobody will tell it of them any more: not called. Any thread.
 */
typedef void (*notify_call_fn)(void *ctx);
bool notify_then(struct notify *notify, notify_call_fn call, void *ctx);
/* All changes until now, but for sizes, have reached the kernel. */
bool notify_is_idle(struct notify *notify);
