/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the cache share.
 *
 * One write connection to the index, entered through a gate (db.c): by the writer thread for its
 * transactions, and by callers of cache_folder_id(), cache_number() and cache_clear() for theirs; the
 * writer lets those go first. Reads use connections of a pool. Whatever is queued carries a sequence number;
 * `applied_seq` is the last one done with.
 *
 * Locks: cache->lock, cache->fds_lock, pool->lock, the gate. None is taken while another is held, but
 * for those of the pool inside the gate's holder. None is held while a callback of a caller runs.
 *
 * Files of an account's directory:
 *   identity           host, port and user, for people and against a clash of digests
 *   lock               held while a process opens the cache, never longer
 *   index.db           SQLite; -wal, -shm
 *   index.suspect      damage was seen while running: the next open rebuilds
 *   index.clean        size and time of index.db when the last process closed it: as long as they agree, it
 *                      needn't be checked
 *   index.damaged-N    the last damaged one
 *   seg-XXXXXXXX.mt    bodies; an exclusive flock() means that a living process appends
 *   tmp-…              a body that streams in; locked likewise
 */
#pragma once

#include "src/cache/cache.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

#define SCHEMA_VERSION 4
#define FOLDER_UNSTORED 0x80000000u  /* ids from here on are in no index: stored ones end at INT32_MAX */
#define TEXT_BYTES_MAX 4096u         /* one text field of a row */
#define BATCH_UNITS_MAX 2000u        /* rows and bodies of one transaction */
#define BATCH_BYTES_MAX (4u << 20)   /* bodies of one transaction */
#define BODY_OVERHEAD_BYTES 1024u    /* what a queued body takes beside its octets, with the change of its row */
#define STUCK_MS 2000                /* a caller waits so long for room in the queue */
#define BATCH_WAIT_MS 100            /* how long the writer gathers */
#define CHUNK_ROWS 1000u             /* a caller's batch is cut into pieces of so many rows */
#define BUSY_TIMEOUT_MS 5000         /* for another process's transaction */
#define SEGMENT_BYTES_MIN (1u << 20) /* of a cache with a small limit */
#define SEGMENT_FDS_MAX 64u          /* segments kept open for reading */
#define MEMORY_BYTES_MAX (32u << 20) /* bodies kept in memory where the disk fails */
#define TOUCHED_MAX 1024u            /* uses remembered before they are written */
#define READERS_MAX 8u               /* idle connections kept */
#define WAL_PAGES_MAX 1000           /* then a checkpoint is made */
#define LOCK_WAIT_MS 20000           /* for another process that opens the cache, perhaps rebuilds it */
#define HOUR_S 3600

/* ---- records of a segment (segment.c, records.c) ---- */

#define RECORD_MAGIC 0x3152544du      /* "MTR1" */
#define RECORD_MAGIC_DEAD 0x3044544du /* "MTD0": dropped; a rebuild passes over it */
#define RECORD_VERSION 1
enum record_flags {
	RECORD_LF = 1,
	RECORD_NAME = 2,       /* octets are the folder's raw name */
	RECORD_VIEW_SHIFT = 2, /* above: the key's view */
};

/* Little-endian. `magic` stands outside of checksum and digest, so that a record is killed by writing it. */
struct record {
	uint32_t magic;
	uint32_t checksum; /* of all from `version` on */
	uint16_t version;
	uint16_t flags;
	uint32_t folder;
	uint32_t uidvalidity;
	uint32_t uid;
	uint64_t length;
	uint8_t digest[32]; /* SHA-256 of [version, digest) and the octets: whose they are is part of it */
};
G_STATIC_ASSERT(sizeof(struct record) == 64);

/* A segment's descriptor for reading, shared by the bodies in it. */
struct segment {
	atomic_int refs;
	uint32_t id; /* 0 = a file without a name */
	int fd;
};

/* The segment that this process appends to. */
struct appender {
	uint32_t id;
	int fd; /* holds the lock */
	uint64_t end_bytes;
	uint64_t committed_bytes; /* what the index knows of */
	uint64_t synced_bytes;
	bool gone;         /* another process cleared it away */
	GHashTable *named; /* folders whose name it holds */
};

struct digest;
struct digest *digest_new(const struct record *record);
void digest_add(struct digest *digest, const void *bytes, size_t length);
/* Frees. False = it couldn't be made: it matches nothing. */
bool digest_end(struct digest *digest, uint8_t out[32]);
void digest_free(struct digest *digest);

void record_init(struct record *record, const struct cache_key *key, uint16_t flags, uint64_t length);
void record_seal(struct record *record, const uint8_t digest[32]);
bool record_valid(const struct record *record); /* shape and checksum; alive or dead */
bool record_is(const struct record *record, const struct cache_key *key, uint64_t length);
bool record_digest_matches(int fd, uint64_t offset, const struct record *record);
/* Overwrites the magic of a record at `offset`: a rebuild won't bring it back. */
void record_kill(int fd, uint64_t offset);

/* Whole transfers; false with errno. */
bool io_read(int fd, void *buffer, size_t size, uint64_t offset);
bool io_write(int fd, const void *buffer, size_t size, uint64_t offset);

/* ---- the index (db.c) ---- */

enum statement {
	S_BEGIN,
	S_COMMIT,
	S_ROLLBACK,
	S_IDENTITY,
	S_TRAIT_GET,
	S_TRAIT_PUT,
	S_TRAIT_DROP,
	S_FOLDERS,
	S_FOLDER_PUT,
	S_FOLDER_UNKNOWN,
	S_FOLDER_LISTED,
	S_FOLDER_DROP,
	S_FOLDER_ID,
	S_FOLDER_NAME,
	S_FOLDER_ID_NEW,
	S_FOLDER_NAME_RESTORE,
	S_NUMBER_OF,
	S_NUMBER_OWNER,
	S_NUMBER_PUT,
	S_MESSAGES,
	S_MESSAGE,
	S_MESSAGE_IDS,
	S_MESSAGE_PUT,
	S_MESSAGE_FLAGS,
	S_MESSAGE_SIZE,
	S_MESSAGE_DROP,
	S_MESSAGES_DROP,
	S_BODY,
	S_BODY_UIDS,
	S_BODY_LENGTHS,
	S_BODY_IDENTIFIED,
	S_BODY_ANY_IDENTIFIED,
	S_BODY_RENAME,
	S_BODY_PUT,
	S_BODY_DROP,
	S_BODY_DROP_UID,
	S_BODY_DROP_FOLDER,
	S_BODY_DROP_OTHERS,
	S_BODY_DROP_AT,
	S_BODY_DROP_SEGMENT,
	S_BODY_DROP_BEYOND,
	S_BODIES_CLEAR,
	S_BODY_CHECKED,
	S_BODY_USED,
	S_BODY_MOVE,
	S_BODY_OF_SEGMENT,
	S_SEGMENT_NEW,
	S_SEGMENT_GROWN,
	S_SEGMENT_SYNCED,
	S_SEGMENT_STAMP,
	S_SEGMENT_DISTRUST,
	S_BODIES_DISTRUST,
	S_SEGMENT_DROP,
	S_SEGMENTS_CLEAR,
	S_SEGMENT_ADOPTABLE,
	S_SEGMENT,
	S_SEGMENTS,
	S_SEGMENT_RESTORE,
	S_EVICTABLE,
	S_BYTES,
	S_STATS,
	S_COUNT
};

struct db {
	sqlite3 *handle;
	sqlite3_stmt *statements[S_COUNT];
	int wal_pages;
};

/* Opens `uri`; NULL with SQLite's code in rc_out. */
struct db *db_open(const char *uri, bool create, int *rc_out);
void db_close(struct db *db);
/* Prepared at first use, reset, nothing bound. NULL = it can't be (damage, memory). */
sqlite3_stmt *db_statement(struct db *db, enum statement which);
/* Runs a statement that gives no rows and has been bound; resets it. SQLITE_OK or the code. */
int db_run(sqlite3_stmt *statement);
int db_exec(struct db *db, enum statement which);
bool db_rc_is_damage(int rc);

/* The pool of readers. NULL = the index can't be read. */
struct db *cache_reader(struct cache *cache);
void cache_reader_done(struct cache *cache, struct db *db);
/* The write connection, all one's own until cache_leave. NULL = there is none. */
struct db *cache_enter(struct cache *cache, bool is_writer);
void cache_leave(struct cache *cache);
/* Notes what SQLite said; damage ends the use of the index for this process. Returns ERR_STORAGE. */
int cache_db_failed(struct cache *cache, int rc, struct error *err);

/* ---- the queue (writer.c) ---- */

enum op_kind {
	OP_TRAIT,
	OP_FOLDER,
	OP_FOLDER_DROP,
	OP_ROWS,     /* a chunk of a batch */
	OP_BODY,     /* from memory */
	OP_STREAMED, /* a complete file of its own */
	OP_BODY_DROP,
	OP_RECORD_BAD,  /* the row points to what isn't the body */
	OP_RECORD_GOOD, /* checked by digest */
	OP_HOUSEKEEP,   /* nothing but what follows each transaction */
};

enum row_kind { ROW_CLEAR, ROW_RENUMBER, ROW_ADOPT, ROW_PUT, ROW_FLAGS, ROW_SIZE, ROW_DROP };

#define ROW_TEXTS 7
/* Texts are offsets into the chunk's arena; 0 = NULL. */
struct row_op {
	enum row_kind kind;
	uint32_t uid; /* ROW_ADOPT: UIDVALIDITY */
	uint32_t flags;
	bool size_exact;
	uint64_t size_bytes;
	int64_t date;
	uint32_t texts[ROW_TEXTS]; /* stem, from, to, subject, message_id, keywords, emailid */
};

struct op {
	struct op *next;
	enum op_kind kind;
	uint64_t seq;
	size_t bytes;   /* of memory that it holds */
	unsigned units; /* rows */
	/* what of this is used depends on the kind */
	struct cache_key key; /* .folder for OP_FOLDER_DROP and OP_ROWS */
	char *name, *value;
	struct cache_folder folder;
	bool has_folder;
	GArray *rows;
	GByteArray *arena;
	GArray *named; /* of its ROW_ADOPT */
	struct cache_body *body;
	struct cache_identity identity;
	uint32_t segment; /* where it is now */
	uint64_t offset;  /* of the record */
	int file_fd;      /* OP_STREAMED: holds the lock until the row is there; -1 = none */
	uint64_t file_bytes;
	char *file_name;
	bool placed;                /* OP_BODY: its octets are written */
	bool stored;                /* its row is */
	bool second;                /* … but another process's was first: its record is the one that counts */
	struct cache_body *written; /* OP_BODY: where it is now */
};

struct op *op_new(enum op_kind kind);
void op_free(struct op *op);
struct op *op_folder_new(const struct cache_folder *folder);
/* Takes over a list. With `wait`, blocks while the queue is over its bound. */
void cache_queue(struct cache *cache, struct op *ops, bool wait);
/* The same in parts; caller holds cache->lock, which waiting gives up meanwhile. */
/* False: the disk doesn't keep up; what isn't queued now needn't be stored. */
bool queue_wait(struct cache *cache, size_t bytes);
void queue_append(struct cache *cache, struct op *op);
/* Makes a body visible before it is in the index; takes over op. Caller holds cache->lock. */
void queue_body(struct cache *cache, struct op *op);
int writer_start(struct cache *cache, struct error *err);
void writer_stop(struct cache *cache);
/* Notes a use; caller holds nothing. */
void cache_touch(struct cache *cache, const struct cache_key *key, uint32_t hour);

/* Rows of a transaction (index.c). An SQLite code; bad input is cut, never refused. */
int index_apply(struct cache *cache, struct db *db, struct op *op);
/* `identity` NULL = unknown */
int index_body_put(struct db *db, const struct cache_key *key, uint32_t segment, uint64_t offset, uint64_t length,
	const struct cache_identity *identity, bool *inserted_out);
void cache_key_bind(sqlite3_stmt *statement, const struct cache_key *key); /* parameters 1 to 4 */
/* lf and view as one number: in the index, and in a record's flags. */
int cache_key_form(const struct cache_key *key);
void cache_key_set_form(struct cache_key *key, int form);
uint16_t record_flags_of(const struct cache_key *key);

/* ---- bodies whose messages get other numbers (survive.c) ---- */

bool identity_is_known(const struct cache_identity *identity);
/* Whose the record says that it is: `origin` (UIDVALIDITY << 32 | UID), where a row has one. */
struct cache_key record_key(const struct cache_key *key, uint64_t origin);
/* In a transaction. An SQLite code. What isn't set aside, or taken over, is left as it is. */
int bodies_set_aside(struct db *db, uint32_t folder);
int bodies_take_over(struct db *db, uint32_t folder, uint32_t uidvalidity, GArray *named);

/* ---- segments (segment.c) ---- */

char *segment_name(uint32_t id);
/* A descriptor to read segment `id`, from those kept open. NULL with errno. */
struct segment *segment_get(struct cache *cache, uint32_t id);
struct segment *segment_new(int fd, uint32_t id);
struct segment *segment_ref(struct segment *segment);
void segment_unref(struct segment *segment);
void segment_forget(struct cache *cache, uint32_t id); /* 0 = all */
/* Unlinks the file, which readers may go on reading. */
void segment_unlink(struct cache *cache, uint32_t id);
void segment_kill(struct cache *cache, uint32_t id, uint64_t offset);
/* Opens and locks segment `id` for writing; -1: errno EWOULDBLOCK = a living process appends. */
int segment_lock(struct cache *cache, uint32_t id);

/* ---- appending (append.c); the writer thread's ---- */

/* Writes the octets of the bodies in `ops` (a list). What could be written is marked as placed. */
void appender_write_bodies(struct cache *cache, struct op *ops);
/* Writes the folder's name, if known, as a record at *end_bytes: for a rebuild, ids alone say nothing. Any thread. */
bool append_name(struct cache *cache, int fd, uint32_t folder, uint64_t *end_bytes);
/* Copies a record from another segment to the open one. */
bool appender_carry(struct cache *cache, int from_fd, uint64_t from_offset, const struct record *record,
	uint32_t *segment_out, uint64_t *offset_out);
/* In a transaction: tells the index how far segments reach, and finds those that were cleared away. */
int appenders_grow(struct cache *cache, struct db *db);
bool appenders_lost(struct cache *cache, uint32_t segment); /* found so */
/* After it: it was committed, or not. Then what is full is synced and closed. */
void appenders_committed(struct cache *cache);
void appenders_rewind(struct cache *cache);
void appenders_settle(struct cache *cache);
void appenders_close(struct cache *cache);
/* Syncs it, tells the index so, closes it. Any thread that has it for itself. */
void appender_end(struct cache *cache, struct appender *appender);

/* Ends full segments, in the background (syncer.c). */
void syncer_start(struct cache *cache);
void syncer_put(struct cache *cache, struct appender *appender);
bool syncer_wait(struct cache *cache); /* until all are ended; false: they were */
void syncer_stop(struct cache *cache); /* when all are ended */

/* ---- bodies (body.c) ---- */

struct cache_body {
	atomic_int refs;
	uint64_t length;
	GBytes *bytes; /* or: */
	struct segment *segment;
	uint64_t offset; /* of the first octet */
	uint64_t origin; /* of its row: see record_key() */
};
struct cache_body *body_from_bytes(GBytes *bytes);
/* Takes over the reference. */
struct cache_body *body_from_file(struct segment *segment, uint64_t offset, uint64_t length);
guint cache_key_hash(gconstpointer key);
gboolean cache_key_equal(gconstpointer a, gconstpointer b);
/* Bodies in memory, for where the disk fails. Caller holds cache->lock. */
void memory_put(struct cache *cache, const struct cache_key *key, struct cache_body *body);
struct cache_body *memory_find(struct cache *cache, const struct cache_key *key); /* borrowed */
void memory_drop(struct cache *cache, uint32_t folder, uint32_t uid);             /* uid 0 = all of the folder */
void memory_clear(struct cache *cache);

/* Where stored bodies are that were used lately (recent.c). Caller holds cache->lock. */
void recent_put(struct cache *cache, const struct cache_key *key, struct cache_body *body, uint32_t hour);
/* Borrowed. `used_out`: the index is to be told of this use. */
struct cache_body *recent_find(struct cache *cache, const struct cache_key *key, bool *used_out);
void recent_drop(struct cache *cache, uint32_t folder, uint32_t uid); /* uid 0 = all of the folder */
void recent_drop_segment(struct cache *cache, uint32_t segment);
void recent_clear(struct cache *cache);

/* The row of `key` still points there. */
bool body_row_is(struct cache *cache, const struct cache_key *key, uint32_t segment, uint64_t offset);
void body_report_bad(struct cache *cache, const struct cache_key *key, uint32_t segment, uint64_t offset);

/* ---- housekeeping ---- */

/* Directory (place.c): path, dir_fd, index_uri, and its lock, held until place_unlock. A failure means: work in memory.
 */
int place_open(
	struct cache *cache, const char *dir, const char *host, uint16_t port, const char *user, struct error *err);
void place_unlock(struct cache *cache);
/* Opens the index, makes or rebuilds it (rebuild.c). */
int index_open(struct cache *cache, struct error *err);
int schema_make(struct cache *cache, struct db *db);
/* ---- what is believed without a check (trust.c) ---- */

/* The SQL function row_sum(…): what a row holds tells whether it still does. An SQLite code. */
int row_sum_register(sqlite3 *handle);
/* SQLITE_OK, SQLITE_CORRUPT, or why it can't be told. Reads all of an index that wasn't closed by its last user. */
int index_check(struct cache *cache, struct db *db);
void index_note_clean(struct cache *cache); /* after the last connection was closed */
/* When the file was written last: who wrote since wasn't us, or was killed before the row was told. */
int64_t segment_stamp(const struct stat *st);
void segment_note_stamp(struct db *db, uint32_t id, int64_t stamp);
/* Each body of the segment is read against its digest before it is served. */
int segment_distrust(struct db *db, uint32_t id, int64_t stamp);

/* Clears up after processes that died. */
void cleanup_leftovers(struct cache *cache);
/* Writer thread (evict.c). */
void evict_excess(struct cache *cache);
/* At most one warning a minute. */
void cache_warn(struct cache *cache, const char *format, ...) G_GNUC_PRINTF(2, 3);
uint32_t hour_now(void);

struct cache {
	/* fixed after cache_open */
	char *path, *index_uri;
	int dir_fd;  /* -1 = in memory */
	int lock_fd; /* while it is being opened */
	bool memory_only;
	bool distrusts_all; /* what isn't to be trusted couldn't be written down */
	uint64_t limit_bytes, segment_bytes;
	char boot_id[37];
	char identity[33]; /* of the index: a rebuilt one is another */

	/* the gate */
	pthread_mutex_t gate_lock;
	pthread_cond_t gate_cond;
	bool gate_busy;
	unsigned gate_callers;
	struct db *writer_db; /* by the gate's holder */
	atomic_bool index_dead;
	atomic_uint unstored_folders;

	/* readers */
	pthread_mutex_t pool_lock;
	struct db *readers[READERS_MAX];
	unsigned reader_count;

	/* segments open for reading */
	pthread_mutex_t fds_lock;
	GHashTable *fds; /* id → GList link */
	GQueue fds_lru;

	/* the queue */
	pthread_mutex_t lock;
	pthread_cond_t work_cond, done_cond;
	struct op *first, *last;
	unsigned queued_units;
	size_t queued_bytes; /* incl. what the writer is at */
	uint64_t queued_seq, applied_seq;
	unsigned flushers;
	bool stuck; /* the writer hasn't come back for too long: nobody waits for it until it has */
	bool stop;
	pthread_t thread;
	bool thread_started;
	GHashTable *pending; /* cache_key → struct op whose body isn't in the index yet */
	GHashTable *gone;    /* folder << 32 | uid (0 = all) → seq of the drop that isn't in the index yet */
	GHashTable *touched; /* cache_key → hour */
	GHashTable *memory;  /* cache_key → GList link */
	GQueue memory_lru;
	size_t memory_bytes;
	GHashTable *recent;    /* folder << 32 | uid → GList link */
	GQueue recent_lru;     /* struct recent */
	uint64_t recent_drops; /* counts what was dropped: what was looked up before may be it */

	/* the writer thread's */
	struct appender *open;
	GPtrArray *retired; /* full, not closed yet */
	GHashTable *broken; /* folders of which something was lost: closed to changes until cleared */
	bool failing;

	/* the syncer */
	pthread_mutex_t sync_lock;
	pthread_cond_t sync_cond;
	GQueue syncs; /* struct appender */
	pthread_t sync_thread;
	bool sync_started, sync_busy, sync_stop;

	atomic_ullong evicted_bytes, dropped;
	_Atomic int64_t warned_ms;
};
