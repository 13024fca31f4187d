/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A check of one folder: sync.c begins and ends it, sync_told.c gathers what the source tells meanwhile. The loop's. */
#pragma once

#include "src/mail/internal.h"

struct flag_change {
	uint32_t uid, flags;
};

struct sync {
	struct mail *mail;
	struct mail_folder *folder;
	GQueue parks;
	struct source_sync_job job;
	struct source_state state;
	uint64_t started_ms;
	/* After a reset: when the first message came, and what the source had heard by then. 0 = none yet. */
	uint64_t listed_from_ms, listed_from_bytes;
	bool reset;
	uint32_t old_uidvalidity; /* before a reset */
	bool other;               /* known messages turned out to be others */
	bool overflow;
	struct listing *added; /* new messages; all of them after a reset */
	GArray *flags;         /* struct flag_change */
	uint32_t flags_last;   /* the highest UID whose flags were told */
	struct imap_set gone;
	struct cache_batch *batch;
	guint batch_rows;
	bool batch_cleared; /* the index was told to forget the folder */
	/* Bodies may outlive the old numbers: struct cache_named of the messages that come. NULL = there are none. */
	GArray *named;
	/* The index is taking them over; until then nobody is told that the listing is complete. */
	struct loop_timer *settling;
	uint64_t settle_mark, settle_until_ms;
};

/* The callbacks of sync->job, which gather. */
void sync_gathers(struct sync *sync);
/* What goes to the index: the batch under way, with room for a row more. */
struct cache_batch *sync_batch(struct sync *sync);
void sync_batch_submit(struct sync *sync);
void sync_named_forget(struct sync *sync);
