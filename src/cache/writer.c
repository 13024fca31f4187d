/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The queue and the one thread that empties it.
 *
 * The thread waits for the disk, for other processes' transactions (BUSY_TIMEOUT_MS) and for nothing
 * else, never for the I/O loop: so a caller that it makes wait (more than CACHE_QUEUE_BYTES_MAX) goes on, be it the
 * loop itself, and after STUCK_MS in any case: then bodies aren't stored until the disk is back. Where the disk or the
 * index fails, what was queued is let go: bodies stay in memory as far as MEMORY_BYTES_MAX reaches, and a folder that
 * lost a change takes no more until it is cleared, so that its rows are always a state that once was complete, only
 * older.
 */
#include "src/base/block.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/cache/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define TRIES 3
#define TRY_AGAIN_US 100000

struct op *op_new(enum op_kind kind)
{
	struct op *op = g_new0(struct op, 1);

	op->kind = kind;
	op->units = 1;
	op->file_fd = -1;
	return op;
}

struct op *op_folder_new(const struct cache_folder *folder)
{
	struct op *op = op_new(OP_FOLDER);

	op->folder = *folder;
	op->folder.name = g_strdup(folder->name);
	op->key.folder = folder->id;
	op->has_folder = true;
	op->bytes = strlen(folder->name ? folder->name : "");
	return op;
}

void op_free(struct op *op)
{
	g_free(op->name);
	g_free(op->value);
	g_free(op->folder.name);
	g_free(op->file_name);
	if (op->rows)
		g_array_unref(op->rows);
	if (op->arena)
		g_byte_array_unref(op->arena);
	if (op->named)
		g_array_unref(op->named);
	if (op->file_fd >= 0) {
		/* readers' descriptors are duplicates, which would keep the lock */
		flock(op->file_fd, LOCK_UN);
		close(op->file_fd);
	}
	cache_body_unref(op->body);
	cache_body_unref(op->written);
	g_free(op);
}

/* ---- queueing; all with cache->lock held ---- */

static struct timespec time_after(uint32_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ms % 1000 * 1000000l;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000l;
	until.tv_nsec %= 1000000000l;
	return until;
}

bool queue_wait(struct cache *cache, size_t bytes)
{
	struct timespec until = time_after(STUCK_MS);

	while (!cache->stuck && cache->queued_bytes && cache->queued_bytes + bytes > CACHE_QUEUE_BYTES_MAX)
		cache->stuck = pthread_cond_timedwait(&cache->done_cond, &cache->lock, &until) == ETIMEDOUT;
	return !cache->stuck;
}

static void gone_add(struct cache *cache, uint32_t folder, uint32_t uid, uint64_t seq)
{
	int64_t *message = g_new(int64_t, 1);

	*message = (int64_t)((uint64_t)folder << 32 | uid);
	g_hash_table_replace(cache->gone, message, GSIZE_TO_POINTER(seq));
}

static bool gone_by(struct cache *cache, uint32_t folder, uint32_t uid, uint64_t seq)
{
	uint64_t message = (uint64_t)folder << 32 | uid;

	return GPOINTER_TO_SIZE(g_hash_table_lookup(cache->gone, &message)) == seq;
}

static void gone_done(struct cache *cache, uint32_t folder, uint32_t uid, uint64_t seq)
{
	uint64_t message = (uint64_t)folder << 32 | uid;

	if (gone_by(cache, folder, uid, seq))
		g_hash_table_remove(cache->gone, &message);
}

/* Calls fn for each (folder, uid) that the op drops; uid 0 = the folder's all. */
static bool clears(enum row_kind kind)
{
	return kind == ROW_CLEAR || kind == ROW_RENUMBER;
}

static unsigned for_each_drop(struct cache *cache, const struct op *op,
	void (*fn)(struct cache *cache, uint32_t folder, uint32_t uid, uint64_t seq))
{
	unsigned count = 0;

	if (op->kind == OP_FOLDER_DROP || op->kind == OP_BODY_DROP) {
		fn(cache, op->key.folder, op->key.uid, op->seq);
		return 1;
	}
	for (guint i = 0; op->rows && i < op->rows->len; i++) {
		const struct row_op *row = &g_array_index(op->rows, struct row_op, i);

		if (!clears(row->kind) && row->kind != ROW_DROP)
			continue;
		fn(cache, op->key.folder, clears(row->kind) ? 0 : row->uid, op->seq);
		count++;
	}
	return count;
}

static void drop_in_memory(struct cache *cache, uint32_t folder, uint32_t uid, uint64_t seq)
{
	gone_add(cache, folder, uid, seq);
	memory_drop(cache, folder, uid);
	recent_drop(cache, folder, uid);
}

struct drop {
	struct cache *cache;
	uint64_t seq;
};

static gboolean pending_is_gone(gpointer pointer, gpointer value, gpointer data)
{
	const struct cache_key *key = pointer;
	const struct drop *drop = data;

	return gone_by(drop->cache, key->folder, 0, drop->seq) ||
	       gone_by(drop->cache, key->folder, key->uid, drop->seq);
}

/* Reads stop seeing what this op drops. */
static void hide_dropped(struct cache *cache, struct op *op)
{
	struct drop drop = {cache, op->seq};

	if (for_each_drop(cache, op, drop_in_memory))
		g_hash_table_foreach_remove(cache->pending, pending_is_gone, &drop);
}

void queue_append(struct cache *cache, struct op *op)
{
	bool was_idle = !cache->first;

	op->next = NULL;
	op->seq = ++cache->queued_seq;
	if (cache->last)
		cache->last->next = op;
	else
		cache->first = op;
	cache->last = op;
	cache->queued_units += op->units;
	cache->queued_bytes += op->bytes;
	hide_dropped(cache, op);
	/* while it gathers, only a full batch wakes the writer: a switch of threads for each body costs more than the
	 * body */
	if (was_idle || cache->queued_units >= BATCH_UNITS_MAX || cache->queued_bytes >= BATCH_BYTES_MAX)
		pthread_cond_signal(&cache->work_cond);
}

void queue_body(struct cache *cache, struct op *op)
{
	queue_append(cache, op);
	g_hash_table_replace(cache->pending, &op->key, op);
}

void cache_queue(struct cache *cache, struct op *ops, bool wait)
{
	pthread_mutex_lock(&cache->lock);
	for (struct op *op = ops, *next; op; op = next) {
		next = op->next;
		if (wait)
			queue_wait(cache, op->bytes);
		queue_append(cache, op);
	}
	pthread_mutex_unlock(&cache->lock);
}

void cache_touch(struct cache *cache, const struct cache_key *key, uint32_t hour)
{
	pthread_mutex_lock(&cache->lock);
	if (g_hash_table_size(cache->touched) < 2 * TOUCHED_MAX)
		g_hash_table_replace(cache->touched, g_memdup2(key, sizeof(*key)), GUINT_TO_POINTER(hour));
	if (g_hash_table_size(cache->touched) == TOUCHED_MAX)
		pthread_cond_signal(&cache->work_cond);
	pthread_mutex_unlock(&cache->lock);
}

void cache_flush(struct cache *cache)
{
	uint64_t seq;

	block_ahead();
	pthread_mutex_lock(&cache->lock);
	seq = cache->queued_seq;
	cache->flushers++;
	pthread_cond_signal(&cache->work_cond);
	while (cache->applied_seq < seq)
		pthread_cond_wait(&cache->done_cond, &cache->lock);
	cache->flushers--;
	pthread_mutex_unlock(&cache->lock);
}

uint64_t cache_mark(struct cache *cache)
{
	uint64_t mark;

	pthread_mutex_lock(&cache->lock);
	mark = cache->queued_seq;
	pthread_mutex_unlock(&cache->lock);
	return mark;
}

bool cache_is_applied(struct cache *cache, uint64_t mark)
{
	bool applied;

	pthread_mutex_lock(&cache->lock);
	applied = cache->applied_seq >= mark;
	pthread_mutex_unlock(&cache->lock);
	return applied;
}

/* ---- one transaction ---- */

static bool clears_folder(const struct op *op)
{
	return op->kind == OP_FOLDER_DROP ||
	       (op->kind == OP_ROWS && op->rows->len && clears(g_array_index(op->rows, struct row_op, 0).kind));
}

/* A folder that lost a change stays as it is until it is cleared. */
static bool passes(struct cache *cache, const struct op *op)
{
	if (op->kind == OP_BODY && (!op->placed || appenders_lost(cache, op->segment)))
		return false;
	if (op->kind == OP_TRAIT || op->kind == OP_HOUSEKEEP)
		return true;
	if (op->key.folder >= FOLDER_UNSTORED)
		return false;
	if (clears_folder(op)) {
		g_hash_table_remove(cache->broken, GUINT_TO_POINTER(op->key.folder));
		return true;
	}
	return !g_hash_table_contains(cache->broken, GUINT_TO_POINTER(op->key.folder));
}

static int write_touched(struct db *db, GHashTable *touched)
{
	GHashTableIter iter;
	gpointer key, hour;
	int rc = SQLITE_OK;

	g_hash_table_iter_init(&iter, touched);
	while (rc == SQLITE_OK && g_hash_table_iter_next(&iter, &key, &hour)) {
		sqlite3_stmt *update = db_statement(db, S_BODY_USED);

		if (!update)
			return sqlite3_errcode(db->handle);
		cache_key_bind(update, key);
		sqlite3_bind_int64(update, 5, GPOINTER_TO_UINT(hour));
		rc = db_run(update);
	}
	return rc;
}

static void undo(struct cache *cache, struct db *db, struct op *ops)
{
	if (!sqlite3_get_autocommit(db->handle))
		db_exec(db, S_ROLLBACK);
	for (struct op *op = ops; op; op = op->next) {
		if (op->kind == OP_STREAMED && op->stored) {
			g_autofree char *name = segment_name(op->segment);

			renameat(cache->dir_fd, name, cache->dir_fd, op->file_name);
		}
		op->stored = false;
	}
}

static int transact(struct cache *cache, struct op *ops, GHashTable *touched)
{
	struct db *db = cache_enter(cache, true);
	int rc;

	if (!db)
		return SQLITE_IOERR;
	rc = db_exec(db, S_BEGIN);
	if (rc == SQLITE_OK)
		rc = appenders_grow(cache, db);
	for (struct op *op = ops; op && rc == SQLITE_OK; op = op->next) {
		if (passes(cache, op)) {
			rc = index_apply(cache, db, op);
			op->stored = rc == SQLITE_OK;
		}
	}
	if (rc == SQLITE_OK)
		rc = write_touched(db, touched);
	if (rc == SQLITE_OK)
		rc = db_exec(db, S_COMMIT);
	if (rc != SQLITE_OK)
		undo(cache, db, ops);
	cache_leave(cache);
	return rc;
}

/* ---- what follows ---- */

static void lost(struct cache *cache, struct op *ops, int rc)
{
	cache_db_failed(cache, rc, NULL);
	cache_warn(cache, "the index can't be written: %s", sqlite3_errstr(rc));
	for (struct op *op = ops; op; op = op->next)
		if (op->kind == OP_ROWS || op->kind == OP_FOLDER || op->kind == OP_FOLDER_DROP)
			g_hash_table_add(cache->broken, GUINT_TO_POINTER(op->key.folder));
	appenders_rewind(cache);
}

static void checkpoint(struct cache *cache)
{
	struct db *db;

	if (!cache->writer_db || cache->memory_only)
		return;
	db = cache_enter(cache, true);
	if (!db)
		return;
	if (db->wal_pages <= WAL_PAGES_MAX) {
		cache_leave(cache);
		return;
	}
	db->wal_pages = 0;
	cache_leave(cache);
	/* by a reader's connection, so that the gate stays open while the disk works */
	db = cache_reader(cache);
	if (db) {
		sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
		cache_reader_done(cache, db);
	}
}

/* Readers are sent to the segment when it can be opened; else they ask the index. */
static void find_written(struct cache *cache, struct op *ops)
{
	for (struct op *op = ops; op; op = op->next) {
		struct segment *segment;

		if (op->kind != OP_BODY || !op->stored || op->second)
			continue;
		segment = segment_get(cache, op->segment);
		if (segment)
			op->written = body_from_file(segment, op->offset + sizeof(struct record), op->body->length);
	}
}

/* Tells the readers; frees. */
static void finish(struct cache *cache, struct op *ops)
{
	struct op *done = ops;

	find_written(cache, ops);
	pthread_mutex_lock(&cache->lock);
	for (struct op *op = ops; op; op = op->next) {
		if (g_hash_table_lookup(cache->pending, &op->key) == op) {
			g_hash_table_remove(cache->pending, &op->key);
			/* who reads what this process fetched goes on with that */
			if (op->written)
				recent_put(cache, &op->key, op->written, hour_now());
			else if (!op->stored || op->second)
				memory_put(cache, &op->key, op->body);
		}
		if (op->kind == OP_STREAMED && !op->stored)
			unlinkat(cache->dir_fd, op->file_name, 0);
		/* the drop of what couldn't be dropped stays in force for this process */
		if (op->stored)
			for_each_drop(cache, op, gone_done);
		cache->queued_bytes -= op->bytes;
		cache->applied_seq = op->seq;
	}
	cache->stuck = false;
	pthread_cond_broadcast(&cache->done_cond);
	pthread_mutex_unlock(&cache->lock);
	while (done) {
		struct op *next = done->next;

		op_free(done);
		done = next;
	}
}

static void apply(struct cache *cache, struct op *ops, GHashTable *touched)
{
	int tries = cache->failing ? 1 : TRIES, rc;

	if (!cache->memory_only && !atomic_load(&cache->index_dead))
		appender_write_bodies(cache, ops);
	do {
		rc = transact(cache, ops, touched);
		if (rc == SQLITE_OK || db_rc_is_damage(rc) || --tries <= 0)
			break;
		g_usleep(TRY_AGAIN_US);
	} while (!atomic_load(&cache->index_dead));
	cache->failing = rc != SQLITE_OK;
	if (cache->failing)
		lost(cache, ops, rc);
	else
		appenders_committed(cache);
	finish(cache, ops);
	if (cache->memory_only)
		return;
	appenders_settle(cache);
	if (!cache->failing) {
		evict_excess(cache);
		checkpoint(cache);
	}
}

/* ---- the thread ---- */

/* Caller holds cache->lock. Cuts off what makes one transaction. */
static struct op *take(struct cache *cache)
{
	struct op *ops = cache->first, *last = ops;
	unsigned units = 0;
	size_t bytes = 0, bytes_max = (size_t)MIN(BATCH_BYTES_MAX, cache->segment_bytes);

	for (struct op *op = ops; op; op = op->next) {
		units += op->units;
		bytes += op->bytes;
		if (op != ops && (units > BATCH_UNITS_MAX || bytes > bytes_max))
			break;
		last = op;
		cache->queued_units -= op->units;
	}
	if (last) {
		cache->first = last->next;
		if (!cache->first)
			cache->last = NULL;
		last->next = NULL;
	}
	return ops;
}

static void gather(struct cache *cache)
{
	struct timespec until = time_after(BATCH_WAIT_MS);

	while (!cache->stop && !cache->flushers && cache->queued_units < BATCH_UNITS_MAX &&
		cache->queued_bytes < BATCH_BYTES_MAX)
		if (pthread_cond_timedwait(&cache->work_cond, &cache->lock, &until) != 0)
			break;
}

static GHashTable *touched_new(void)
{
	return g_hash_table_new_full(cache_key_hash, cache_key_equal, g_free, NULL);
}

static void *run(void *data)
{
	struct cache *cache = data;

	pthread_mutex_lock(&cache->lock);
	for (;;) {
		GHashTable *touched;
		struct op *ops;

		while (!cache->first && !cache->stop && g_hash_table_size(cache->touched) < TOUCHED_MAX)
			pthread_cond_wait(&cache->work_cond, &cache->lock);
		if (!cache->first && !g_hash_table_size(cache->touched))
			break;
		gather(cache);
		ops = take(cache);
		touched = cache->touched;
		cache->touched = touched_new();
		pthread_mutex_unlock(&cache->lock);
		apply(cache, ops, touched);
		g_hash_table_unref(touched);
		pthread_mutex_lock(&cache->lock);
	}
	pthread_mutex_unlock(&cache->lock);
	appenders_close(cache);
	return NULL;
}

int writer_start(struct cache *cache, struct error *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&cache->thread, NULL, run, cache);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return error_set(err, ERR_FAILED, "cache: no thread: %s", g_strerror(rc));
	pthread_setname_np(cache->thread, "mailtree-cache");
	cache->thread_started = true;
	return 0;
}

void writer_stop(struct cache *cache)
{
	if (!cache->thread_started)
		return;
	pthread_mutex_lock(&cache->lock);
	cache->stop = true;
	pthread_cond_broadcast(&cache->work_cond);
	pthread_mutex_unlock(&cache->lock);
	pthread_join(cache->thread, NULL);
	cache->thread_started = false;
}
