/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an account's mail comes from, as the model sees it: a vtable, with the IMAP client behind it
 * (source_imap.c), a fake in tests, and room for another protocol.
 *
 * Everything runs on the loop's thread. A job is owned by its caller, lives at a fixed address until
 * its `done`, and is given its results through its callbacks, in any order but `done`, which comes exactly
 * once and last, unless the job is cancelled.
 */
#pragma once

#include "imap/grammar.h" /* struct imap_set: plain sets of numbers */
#include "src/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct mail_source;

/* A folder as the server lists it. Strings are borrowed during the callback. */
struct source_folder {
	const char *name;    /* raw: what identifies it on the server */
	char delimiter;      /* 0 = flat */
	uint32_t attributes; /* enum mail_folder_attributes */
	bool has_status;     /* the following were told too */
	uint32_t uidvalidity, uidnext, messages;
	uint64_t highestmodseq;
};

struct source_list_job {
	bool fresh; /* ask in a session that begins after this was submitted: a second opinion */
	void (*folder)(void *ctx, const struct source_folder *folder);
	void (*restart)(void *ctx); /* forget what came: it comes again */
	/* `session` tells which sign-in answered */
	void (*done)(void *ctx, uint32_t session, int code, const struct error *err);
	void *ctx;
	void *internal;
};

/* A message as the listing needs it. Borrowed. */
struct source_message {
	uint32_t uid;
	uint32_t flags;       /* enum mail_flags */
	const char *keywords; /* space-separated, NULL = none */
	int64_t date;
	uint64_t size_bytes; /* 0 = unknown */
	const char *header;  /* From, To, Subject, Message-ID fields as they are; may be NULL */
	size_t header_length;
	const char *emailid; /* what the server calls it for ever; NULL = it doesn't */
};

/* What is known of a folder, and after the job what the server said. */
struct source_state {
	uint32_t uidvalidity, uidnext, messages;
	uint64_t highestmodseq;
};

struct source_sync_job {
	const char *name;
	struct source_state known; /* uidvalidity 0 = nothing is known */
	uint32_t flags_from;       /* from this UID on flags as of now are wanted even where they cost; 0 = of none */
	bool identify; /* compare the identity of some known messages, unless nothing has changed; may turn true later
	                */
	uint32_t probes[3]; /* UIDs to ask for (`probed`), where the source has doubts, too; 0 = none */
	/* The state, once the mailbox is open; `reset`: what was known is void, every message will come. */
	void (*opened)(void *ctx, const struct source_state *state, bool reset);
	void (*message)(void *ctx, const struct source_message *message); /* new, with all it has */
	void (*probed)(void *ctx, uint32_t uid, int64_t date, uint64_t size_bytes);
	void (*flags_of)(void *ctx, uint32_t uid, uint32_t flags, const char *keywords);
	void (*gone)(void *ctx, uint32_t first, uint32_t last);
	/* The server's complete set: what isn't in it is gone. */
	void (*complete)(void *ctx, const struct imap_set *uids);
	void (*restart)(void *ctx); /* forget everything of this job, opened included */
	/* How many messages the model has after applying what came: decides whether `complete` is needed. */
	uint32_t (*count)(void *ctx);
	/* UIDs of `set` that the model lacks, added to `missing_out`. */
	void (*missing)(void *ctx, const struct imap_set *set, struct imap_set *missing_out);
	void (*done)(void *ctx, int code, const struct error *err);
	void *ctx;
	void *internal;
};

struct source_fetch_job {
	const char *name;
	uint32_t uidvalidity;
	const struct imap_set *uids;
	bool bulk;
	/* A body begins. `uid` 0 = not told yet. False = not wanted, skip it. */
	bool (*begin)(void *ctx, uint32_t uid, uint64_t size_bytes);
	int (*data)(void *ctx, const char *bytes, size_t length);
	/* All octets of the body have come. */
	void (*end)(void *ctx);
	/* The response that carried (or lacked) a body is over. `has_body` false = the server has the message and gave
	 * no octets. `emailid`: as in source_message, told in this very response. */
	void (*finished)(void *ctx, uint32_t uid, bool has_body, const char *emailid);
	void (*restart)(void *ctx); /* the body under way is void; `uids` may become fewer, but not none */
	void (*done)(void *ctx, int code, const struct error *err);
	void *ctx;
	void *internal;
};

/*
 * What a watch tells. With `state`: the server has the folder so, just now; compare. NULL: something there has changed
 * since, only flags if it says so.
 */
typedef void (*source_told_fn)(void *ctx, const struct source_state *state, bool flags_only);
struct query;
struct source_search_job {
	const char *name;
	uint32_t uidvalidity;      /* expected: another is ERR_RENUMBERED; 0 = any */
	const struct query *query; /* its terms; the folder in it means nothing here */
	bool bulk;
	/*
	 * All that match, once, before `done` with 0. `narrow`: the server knows no other letters than ASCII, and they
	 * match the rest of the query alone (query_term_is_wide()).
	 */
	void (*found)(void *ctx, uint32_t uidvalidity, const struct imap_set *uids, bool narrow);
	void (*done)(void *ctx, int code, const struct error *err);
	void *ctx;
};

struct source_status {
	bool signed_in, refused;
	bool watching; /* changes of the watched folder are told */
	uint32_t connections;
	int64_t token_expires;
	uint64_t backoff_ms, bytes_in, bytes_out, commands, round_trips, reconnects, throttled, token_requests;
	struct error last_error;
};

struct mail_source_ops {
	/*
	 * The levels of a raw name as valid UTF-8, NULL-terminated (g_strfreev); `ends_out` (g_free) tells for each
	 * where it ends in the raw name. Pure, any thread.
	 */
	char **(*split)(const char *raw, char delimiter, uint32_t **ends_out);
	void (*list)(struct mail_source *source, struct source_list_job *job);
	void (*sync)(struct mail_source *source, struct source_sync_job *job);
	void (*fetch)(struct mail_source *source, struct source_fetch_job *job);
	/* `done` won't come. */
	void (*cancel_fetch)(struct mail_source *source, struct source_fetch_job *job);
	/* Into how many jobs bulk work of one folder should be divided at most, as things are now; 1 and more. */
	uint32_t (*bulk_at_once)(const struct mail_source *source);
	/*
	 * From now on changes of this folder are told, and of no other; NULL = of none. As far as the server can, soon
	 * after they happen. The name is copied.
	 */
	void (*watch)(struct mail_source *source, const char *name, source_told_fn told, void *ctx);
	void (*search)(struct mail_source *source, struct source_search_job *job);
	void (*status)(struct mail_source *source, struct source_status *status_out);
	void (*retry_now)(struct mail_source *source);
	void (*free)(struct mail_source *source);
};

struct mail_source {
	const struct mail_source_ops *ops;
};

struct imap_client;
struct auth;
/* Takes over neither: both outlive the source. */
struct mail_source *mail_source_imap_new(struct imap_client *client, struct auth *auth);
