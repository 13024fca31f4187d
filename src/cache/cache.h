/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is remembered of one mailbox: a SQLite index (folders, messages, sizes, traits of the
 * server) and the bodies in append-only segment files. Storage, no policy.
 *
 * One cache for each (host, port, SASL user), in a directory named by a digest of them: never by the
 * account's group name, so that a group pointed at another mailbox can't show the old one's mail.
 * Several processes may hold it at once: transactions are short, there is no lock for a lifetime,
 * and each process appends to a segment of its own.
 *
 * Bodies: a record is a header (folder, UIDVALIDITY, UID, eol, length, SHA-256) and the octets.
 * A body becomes visible when it is complete and its row is written. No fsync a body: a record
 * beyond what is known to be on disk (its segment was written under another boot and not synced
 * since), or in a segment that somebody was killed over or wrote into, is checked by length and digest
 * before it is served; one that fails is dropped, and the message is fetched again. Eviction drops whole segments, the
 * least recently used first, and carries over what was used lately; it never takes what is open (unlinked files stay
 * readable by descriptor).
 *
 * Threads: any. Writes (cache_*_put, cache_*_drop, body writers) are queued in order to one writer
 * thread, which commits them in batches; reads see what was queued by this process for bodies at
 * once, for all else after it is applied (cache_flush() waits). Nothing blocks on the network;
 * reads may wait for the disk.
 *
 * When a folder's messages are numbered anew, bodies whose identity the server told stay, hidden, until the listing is
 * complete, and go to the messages that have it then (survive.c).
 *
 * A damaged index is set aside (renamed) and rebuilt: folders and messages come again from the
 * server, bodies from scanning the segments.
 */
#pragma once

#include "src/base/error.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define CACHE_SEGMENT_BYTES (64u << 20)  /* a segment is closed at this size */
#define CACHE_OWN_FILE_BYTES (16u << 20) /* a body from here on gets a segment of its own */
#define CACHE_QUEUE_BYTES_MAX (8u << 20) /* what waits in memory for the writer; more blocks cache_body_put */

struct cache;

/* Folder 0 doesn't exist. `id` is the cache's own. */
struct cache_folder {
	uint32_t id;
	char *name;           /* server's raw name */
	uint32_t uidvalidity; /* 0 = never examined */
	uint32_t uidnext;
	uint32_t messages; /* as of checked_at */
	uint64_t highestmodseq;
	int64_t checked_at;  /* seconds since 1970 of the last complete sync; 0 = listing not complete: don't use it */
	int64_t mtime;       /* the mail module's */
	int64_t flags_mtime; /* the mail module's */
	uint32_t attributes; /* the mail module's */
	uint32_t number;     /* 31-bit directory number of inodes */
	uint32_t message_number; /* 31-bit number of its messages' inodes for this UIDVALIDITY; 0 = none yet */
	char delimiter;
	bool missing; /* absent from the last LIST, waiting for a second one to say so */
};

/* Message rows. Strings are UTF-8, borrowed, may be NULL. */
struct cache_message {
	uint32_t uid;
	uint32_t flags; /* the mail module's bits */
	uint64_t size_bytes;
	bool size_exact;
	int64_t date;
	const char *stem; /* FROM_SUBJECT, made fit for a name */
	const char *from, *to, *subject, *message_id, *keywords;
	const char *emailid;
};

/*
 * Opens or makes the cache under `dir` (made 0700). `limit_bytes` 0 = no bound. Works read-only and
 * in memory when the directory can't be written (a warning is logged), so a mount always comes up.
 */
int cache_open(const char *dir, const char *host, uint16_t port, const char *user, uint64_t limit_bytes,
	struct cache **cache_out, struct error *err);
/* Writes what is queued, syncs the segments, closes. */
void cache_close(struct cache *cache);
void cache_flush(struct cache *cache);
const char *cache_path(const struct cache *cache); /* the account's own directory */

/* Small facts: "sizes.confirmed", "sizes.host_exact", … NULL = none; g_free it. */
char *cache_trait_get(struct cache *cache, const char *name);
void cache_trait_put(struct cache *cache, const char *name, const char *value);

typedef void (*cache_folder_fn)(void *ctx, const struct cache_folder *folder);
int cache_folders_load(struct cache *cache, cache_folder_fn fn, void *ctx, struct error *err);
/* Insert or update by id (the caller gives ids: 1, 2, … unique; see cache_folder_id). */
void cache_folder_put(struct cache *cache, const struct cache_folder *folder);
/*
 * The id that belongs to this raw name, for ever and in every process: allocated in a transaction of its own. Where the
 * index can't take it: a code, and an id of this process alone, under which nothing is stored.
 */
int cache_folder_id(struct cache *cache, const char *name, uint32_t *id_out, struct error *err);
/* Forgets folder, messages and bodies. */
void cache_folder_drop(struct cache *cache, uint32_t id);

/*
 * The 31-bit inode number for `key` (a folder's path, or path and UIDVALIDITY): `wanted` (a hash) unless
 * another key has it, then the next free one, stored. Never 0.
 */
int cache_number(struct cache *cache, const char *key, uint32_t wanted, uint32_t *number_out, struct error *err);

typedef void (*cache_message_fn)(void *ctx, const struct cache_message *message);
/* In UID order; of the strings only the stem. */
int cache_messages_load(struct cache *cache, uint32_t folder, cache_message_fn fn, void *ctx, struct error *err);
/* One row with all its strings. Returns 1 = found (fn called), 0 = not there, or a code. */
int cache_message_find(
	struct cache *cache, uint32_t folder, uint32_t uid, cache_message_fn fn, void *ctx, struct error *err);
/*
 * A batch is applied in one transaction, in order with everything else queued. Rows are copied. A
 * batch may be cut into several transactions when it is large; `folder_put` at its end is applied last,
 * so an unfinished listing never looks complete.
 */
struct cache_batch;
struct cache_batch *cache_batch_new(struct cache *cache, uint32_t folder);
void cache_batch_clear(struct cache_batch *batch); /* first of all, drop this folder's messages and bodies */
/*
 * Instead of clear: the messages are numbered anew. Bodies with an identity that one message alone had are set aside,
 * where nobody reads them, until cache_batch_adopt(), or clear, is applied.
 */
void cache_batch_renumber(struct cache_batch *batch);
/*
 * The listing is complete: a body that was set aside becomes that of the message `named` (struct cache_named) of the
 * same identity, if no other has it; what isn't of this UIDVALIDITY then is dropped. Takes over `named`. With the
 * folder's row put behind it in the same transaction.
 */
void cache_batch_adopt(struct cache_batch *batch, uint32_t uidvalidity, GArray *named);
void cache_batch_put(struct cache_batch *batch, const struct cache_message *message);
void cache_batch_flags(struct cache_batch *batch, uint32_t uid, uint32_t flags, const char *keywords);
void cache_batch_size(struct cache_batch *batch, uint32_t uid, uint64_t size_bytes); /* now exact */
void cache_batch_drop(struct cache_batch *batch, uint32_t uid); /* gone on the server: row and body */
void cache_batch_folder(struct cache_batch *batch, const struct cache_folder *folder);
/* Queues it; blocks while the queue is over its bound, which always ends (see writer.c). Frees it. */
void cache_batch_submit(struct cache_batch *batch);

/* Has the writer done with all that was queued up to the mark? */
uint64_t cache_mark(struct cache *cache);
bool cache_is_applied(struct cache *cache, uint64_t mark);

#define CACHE_VIEW_MAX 0x3fffu
/* What identifies a body. What is made of a body is kept like one, and goes with it when the message goes. */
struct cache_key {
	uint32_t folder;
	uint32_t uidvalidity;
	uint32_t uid;
	bool lf;       /* CRLF turned into LF */
	uint16_t view; /* 0 = the octets themselves; else what was made of them, as the mail module numbers it */
};

/*
 * What the server itself calls a message, whatever its number, told in one response with its octets: a digest of the
 * id (EMAILID of RFC 8474, X-GM-MSGID), and how many octets came, before lines were changed. All zero = unknown.
 */
#define CACHE_ID_BYTES 16
struct cache_identity {
	uint8_t id[CACHE_ID_BYTES];
	uint64_t octets;
};
/* NULL or "" for `id`, or no octets, is unknown. */
void cache_identity_of(const char *id, uint64_t octets, struct cache_identity *identity_out);
/* A message of a listing; the octets are what the server says they are. */
struct cache_named {
	struct cache_identity identity;
	uint32_t uid;
	bool ambiguous; /* the cache's; zero it */
};

/* A complete body: memory or a place in a file. Counted; readable as long as a reference is held. */
struct cache_body;
struct cache_body *cache_body_ref(struct cache_body *body);
void cache_body_unref(struct cache_body *body);
uint64_t cache_body_length(const struct cache_body *body);
/* Copies; returns bytes read (short only at the end), or ERR_STORAGE. */
ssize_t cache_body_read(struct cache_body *body, uint64_t offset, void *buffer, size_t size, struct error *err);
/* The file that holds it and the offset of its first octet, for splice; -1 = it is in memory. Borrowed. */
int cache_body_fd(const struct cache_body *body, uint64_t *offset_out);
const void *cache_body_memory(const struct cache_body *body); /* NULL = it is in a file */

/* Returns 1 and a reference, 0 = not cached, or a code. Marks it as used (batched). */
int cache_body_get(struct cache *cache, const struct cache_key *key, struct cache_body **body_out, struct error *err);
/* Like get, without opening: is it there? For prefetch. Fills `uids_out` with the cached UIDs of the folder, sorted. */
int cache_body_uids(
	struct cache *cache, uint32_t folder, uint32_t uidvalidity, bool lf, GArray *uids_out, struct error *err);
/* Lengths of what is there of one view of the folder's messages; not of what this process has queued only. */
typedef void (*cache_length_fn)(void *ctx, uint32_t uid, uint64_t length);
int cache_body_lengths(
	struct cache *cache, const struct cache_key *key, cache_length_fn fn, void *ctx, struct error *err);
/*
 * Stores a body held in memory. The first complete one of this process stays: where one is known already it is
 * returned instead. Where another process was first its row counts from then on, for others at once. The body returned
 * can be read at once, from memory until it is written; where the disk doesn't keep up it isn't stored (internal.h,
 * STUCK_MS).
 */
struct cache_body *cache_body_put(struct cache *cache, const struct cache_key *key, GBytes *bytes);
/* The same, with what the server called it in the same breath. */
struct cache_body *cache_body_put_identified(
	struct cache *cache, const struct cache_key *key, GBytes *bytes, const struct cache_identity *identity);
/* Are there any of this folder that could outlive a renumbering? */
bool cache_body_any_identified(struct cache *cache, uint32_t folder);
void cache_body_drop(struct cache *cache, const struct cache_key *key);

/* A large body while it streams in: written to a file of its own, readable up to what has arrived. */
struct cache_stream;
/* `length` is announced; ERR_STORAGE when there is no room. */
int cache_stream_open(struct cache *cache, const struct cache_key *key, uint64_t length,
	struct cache_stream **stream_out, struct error *err);
int cache_stream_write(struct cache_stream *stream, const void *bytes, size_t length, struct error *err);
/* Any thread, while the stream is open. Reads only below what was written: returns bytes, 0 = nothing there yet. */
ssize_t cache_stream_read(struct cache_stream *stream, uint64_t offset, void *buffer, size_t size, struct error *err);
/* Before it is committed. */
void cache_stream_identify(struct cache_stream *stream, const struct cache_identity *identity);
/* Complete: becomes a cached body. Frees the stream. ERR_STORAGE when the length isn't the announced one. */
int cache_stream_commit(struct cache_stream *stream, struct cache_body **body_out, struct error *err);
void cache_stream_abort(struct cache_stream *stream); /* frees; nothing stays */

struct cache_stats {
	uint64_t bytes, limit_bytes, messages, segments, evicted_bytes, dropped;
};
void cache_stats(struct cache *cache, struct cache_stats *stats_out);
/* Reads every body and checks its digest; drops the damaged. Returns how many were damaged, or a code. */
int64_t cache_verify(struct cache *cache, uint64_t *checked_out, struct error *err);
/* Forgets all bodies (not the index of messages). */
int cache_clear(struct cache *cache, struct error *err);
