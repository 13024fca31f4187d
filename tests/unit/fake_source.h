/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mail_source whose server is data: folders and messages that a test changes as it likes, and troubles that it
 * orders. Jobs are served on the loop, never from within the call that brought them.
 *
 * What the server holds is changed between fake_lock() and fake_unlock(); the functions here do so themselves.
 */
#pragma once

#include "src/base/loop.h"
#include "src/mail/mail.h"
#include "src/mail/source.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

enum fake_trouble {
	FAKE_FINE,
	FAKE_REFUSED,  /* a command that asks for it is answered NO; what stands before it is delivered */
	FAKE_OMITTED,  /* OK without a word of it */
	FAKE_NO_BYTES, /* the server has it, and gives no octets */
	FAKE_UID_LAST, /* its UID is told behind its octets */
	FAKE_FOREIGN,  /* before it come the octets of another message, which says so behind them */
	FAKE_CUT,      /* the connection ends at `cut_at`; the next one brings it again, or `other` instead */
};

struct fake_message {
	uint32_t uid, flags;
	int64_t date;
	uint64_t told_bytes; /* RFC822.SIZE */
	GBytes *bytes, *other;
	const char *emailid; /* NULL = the server gives none */
	enum fake_trouble trouble;
	size_t cut_at;
};

struct fake_folder {
	char *name;
	uint32_t attributes;
	struct source_state state;
	GArray *messages;    /* struct fake_message, by uid */
	uint32_t renumbered; /* in the middle of the next check its session is lost, and it has this UIDVALIDITY; 0 = no
	                      */
	atomic_bool hidden;  /* LIST doesn't show it */
	atomic_int search_code;
};

struct fake_source {
	struct mail_source source; /* first */
	struct loop *loop;
	pthread_mutex_t lock;
	GPtrArray *folders;
	atomic_int list_code, sync_code, fetch_code; /* what each fails with; 0 = it doesn't */
	atomic_int sync_end_code;                    /* a check fails with it when all but its end has come */
	atomic_bool one_session;                     /* a second LIST comes in the session of the first */
	atomic_bool list_again_shows;                /* what is hidden is shown to the second session */
	atomic_bool ascii_only;                      /* searches look at nothing else of a query */
	atomic_bool holds;                           /* fetches and searches wait for fake_release() */
	atomic_uint early_uid, early_flags; /* what a check tells first of all of this one's flags; 0 = nothing */
	atomic_uint syncs_wait_fetches;     /* checks end only after so many fetches */
	size_t piece_bytes;                 /* octets come so many at a time; 0 = all at once */
	uint64_t listed_bytes, heard_bytes; /* what a message costs in a listing; what has come so */
	uint32_t bulk_at_once;
	atomic_uint sessions, lists, syncs, fetches, bulk_fetches, searches;
	char *watched; /* the folder's name; NULL = none */
	source_told_fn told;
	void *told_ctx;
	unsigned tells; /* that have come */
	atomic_bool signed_out;
	GArray *asked;    /* uint32_t: every UID that was asked for, in order */
	GQueue waiting;   /* struct serving * */
	GQueue searching; /* struct source_search_job * */
};

struct fake_source *fake_new(struct loop *loop);
void fake_lock(struct fake_source *fake);
void fake_unlock(struct fake_source *fake);
/* With the lock held, or before the model knows it. */
struct fake_folder *fake_folder_add(struct fake_source *fake, const char *name, uint32_t uidvalidity);
struct fake_message *fake_add(struct fake_folder *folder, uint32_t uid, const char *bytes, size_t length);
/* A text of this length that is this UID's own. */
struct fake_message *fake_add_text(struct fake_folder *folder, uint32_t uid, size_t length);
struct fake_message *fake_find(struct fake_folder *folder, uint32_t uid);
void fake_remove(struct fake_folder *folder, uint32_t uid);
void fake_clear(struct fake_folder *folder);
/* How often a body was asked for. */
unsigned fake_asked(struct fake_source *fake, uint32_t uid);
/* Serves what waits, and from now on at once. */
void fake_release(struct fake_source *fake);
/* The folder that is watched, g_free it; NULL = none. */
char *fake_watched(struct fake_source *fake);
/* The server tells of a change in it; `with_state`: as it is now. */
void fake_tell(struct fake_source *fake, bool with_state, bool flags_only);
/* A message that was cut waits here until then. */
bool fake_is_cut(struct fake_source *fake);
