/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filler: bodies that came ahead of their reader are put into the kernel's page cache, from one thread of its own,
 * so that who reads them asks for nothing.
 *
 * No other thread may do it: the kernel waits for a page that is being read, and whoever must answer that read would
 * wait for itself for ever. Not the notifier either: requests look whether that is idle.
 *
 * And not while it may be read: whoever is killed while the kernel waits in his name doesn't end, holds the connection,
 * and with it the reader, whom nobody answers any more. What is open isn't stored, and an OPEN is answered when the
 * store of its file, which waits for nobody then, has ended.
 *
 * What doesn't fit into the queue is left to its reader. Pages can be stored late, never wrongly: an inode's octets
 * don't change (node.h).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define FILL_QUEUE_BYTES_MAX (4u << 20)

/* Octets of a file from its beginning; failures mean "not kept". Called from the filler's thread only. */
typedef void (*fill_store_fn)(void *ctx, uint64_t ino, GBytes *bytes);

struct fill;

struct fill *fill_new(fill_store_fn store, void *ctx);
bool fill_start(struct fill *fill);
/* Takes a reference. Any thread, never waits; after fill_stop() it does nothing. */
void fill_add(struct fill *fill, uint64_t ino, GBytes *bytes);
/* OPEN has come, not answered yet: waits for a store of this one. Once fill_released(), it may be stored again. */
void fill_opened(struct fill *fill, uint64_t ino);
/* RELEASE, or an OPEN that failed. */
void fill_released(struct fill *fill, uint64_t ino);
/* Drops what is queued, ends the thread. While it runs, requests must be answered still. */
void fill_stop(struct fill *fill);
void fill_free(struct fill *fill); /* NULL is fine */
