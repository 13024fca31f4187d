/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Eviction: whole segments, on the writer thread. What is mostly dropped anyway goes first, its rest is carried
 * over; then the coldest on average, of which bodies used within the last hour are carried over when they
 * are less than a quarter. A segment that a living process appends to is locked, and left alone.
 */
#include "src/cache/internal.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/banned.h"

struct candidate {
	uint32_t id;
	uint64_t bytes, live_bytes;
};

struct moved {
	struct cache_key key;
	uint64_t offset, length, origin;
	uint32_t to_segment;
	uint64_t to_offset;
};

static uint64_t stored_bytes(struct db *db)
{
	sqlite3_stmt *query = db_statement(db, S_BYTES);
	uint64_t bytes = 0;

	if (query) {
		if (sqlite3_step(query) == SQLITE_ROW)
			bytes = (uint64_t)sqlite3_column_int64(query, 0);
		sqlite3_reset(query);
	}
	return bytes;
}

static GArray *candidates(struct db *db)
{
	GArray *found = g_array_new(FALSE, FALSE, sizeof(struct candidate));
	sqlite3_stmt *query = db_statement(db, S_EVICTABLE);

	while (query && sqlite3_step(query) == SQLITE_ROW) {
		struct candidate candidate = {(uint32_t)sqlite3_column_int64(query, 0),
			(uint64_t)sqlite3_column_int64(query, 1), (uint64_t)sqlite3_column_int64(query, 2)};

		g_array_append_val(found, candidate);
	}
	if (query)
		sqlite3_reset(query);
	return found;
}

/* Bodies of the segment used since `hour`. */
static GArray *bodies_since(struct cache *cache, uint32_t segment, uint32_t hour, uint64_t *bytes_out)
{
	GArray *found = g_array_new(FALSE, TRUE, sizeof(struct moved));
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query = db ? db_statement(db, S_BODY_OF_SEGMENT) : NULL;

	*bytes_out = 0;
	if (query) {
		sqlite3_bind_int64(query, 1, segment);
		sqlite3_bind_int64(query, 2, hour);
		while (sqlite3_step(query) == SQLITE_ROW) {
			struct moved body = {.key = {.folder = (uint32_t)sqlite3_column_int64(query, 0),
						     .uid = (uint32_t)sqlite3_column_int64(query, 1),
						     .uidvalidity = (uint32_t)sqlite3_column_int64(query, 2)},
				.offset = (uint64_t)sqlite3_column_int64(query, 4),
				.length = (uint64_t)sqlite3_column_int64(query, 5),
				.origin = (uint64_t)sqlite3_column_int64(query, 6)};

			cache_key_set_form(&body.key, sqlite3_column_int(query, 3));
			*bytes_out += body.length + sizeof(struct record);
			g_array_append_val(found, body);
		}
		sqlite3_reset(query);
	}
	if (db)
		cache_reader_done(cache, db);
	return found;
}

/* Copies; what can't be read or isn't what it should be is left out. */
static void carry(struct cache *cache, int fd, GArray *bodies)
{
	guint kept = 0;

	for (guint i = 0; i < bodies->len; i++) {
		struct moved body = g_array_index(bodies, struct moved, i);
		struct cache_key owner = record_key(&body.key, body.origin);
		struct record record;

		if (io_read(fd, &record, sizeof(record), body.offset) && record_is(&record, &owner, body.length) &&
			appender_carry(cache, fd, body.offset, &record, &body.to_segment, &body.to_offset))
			g_array_index(bodies, struct moved, kept++) = body;
	}
	g_array_set_size(bodies, kept);
}

static int run_bound(struct db *db, enum statement which, uint32_t segment)
{
	sqlite3_stmt *statement = db_statement(db, which);

	if (!statement)
		return SQLITE_ERROR;
	sqlite3_bind_int64(statement, 1, segment);
	return db_run(statement);
}

static int move_rows(struct cache *cache, struct db *db, uint32_t segment, const GArray *bodies)
{
	int rc = db_exec(db, S_BEGIN);

	if (rc == SQLITE_OK)
		rc = appenders_grow(cache, db);
	for (guint i = 0; i < bodies->len && rc == SQLITE_OK; i++) {
		const struct moved *body = &g_array_index(bodies, struct moved, i);
		sqlite3_stmt *update = db_statement(db, S_BODY_MOVE);

		if (appenders_lost(cache, body->to_segment))
			continue;
		if (!update)
			return SQLITE_ERROR;
		cache_key_bind(update, &body->key);
		sqlite3_bind_int64(update, 5, body->to_segment);
		sqlite3_bind_int64(update, 6, (int64_t)body->to_offset);
		sqlite3_bind_int64(update, 7, segment);
		sqlite3_bind_int64(update, 8, (int64_t)body->offset);
		rc = db_run(update);
		/* dropped meanwhile */
		if (rc == SQLITE_OK && sqlite3_changes(db->handle) == 0)
			segment_kill(cache, body->to_segment, body->to_offset);
	}
	if (rc == SQLITE_OK)
		rc = run_bound(db, S_BODY_DROP_SEGMENT, segment);
	if (rc == SQLITE_OK)
		rc = run_bound(db, S_SEGMENT_DROP, segment);
	return rc == SQLITE_OK ? db_exec(db, S_COMMIT) : rc;
}

/* Holds the segment's lock all the while, so that no process adopts it. */
static bool drop(struct cache *cache, const struct candidate *candidate, int fd)
{
	bool compact = candidate->live_bytes * 4 < candidate->bytes;
	uint64_t bytes;
	GArray *bodies = bodies_since(cache, candidate->id, compact ? 0 : hour_now() - 1, &bytes);
	struct db *db;
	int rc;

	if (fd < 0 || bytes * 4 >= candidate->bytes)
		g_array_set_size(bodies, 0);
	carry(cache, fd, bodies);
	db = cache_enter(cache, true);
	if (!db) {
		appenders_rewind(cache);
		g_array_unref(bodies);
		return false;
	}
	rc = move_rows(cache, db, candidate->id, bodies);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(db->handle))
		db_exec(db, S_ROLLBACK);
	cache_leave(cache);
	g_array_unref(bodies);
	if (rc != SQLITE_OK) {
		cache_db_failed(cache, rc, NULL);
		appenders_rewind(cache);
	} else {
		appenders_committed(cache);
		segment_unlink(cache, candidate->id);
	}
	appenders_settle(cache);
	return rc == SQLITE_OK;
}

/* Returns whether it is within its bound. */
static bool evict_pass(struct cache *cache)
{
	GArray *found;
	struct db *db = cache_reader(cache);
	uint64_t bytes;

	if (!db)
		return true;
	bytes = stored_bytes(db);
	if (bytes <= cache->limit_bytes) {
		cache_reader_done(cache, db);
		return true;
	}
	found = candidates(db);
	cache_reader_done(cache, db);
	for (guint i = 0; i < found->len && bytes > cache->limit_bytes; i++) {
		const struct candidate *candidate = &g_array_index(found, struct candidate, i);
		int fd = segment_lock(cache, candidate->id);

		if (fd < 0 && errno != ENOENT)
			continue;
		if (drop(cache, candidate, fd)) {
			atomic_fetch_add(&cache->evicted_bytes, candidate->bytes);
			bytes -= MIN(bytes, candidate->bytes);
		}
		if (fd >= 0)
			close(fd);
	}
	g_array_unref(found);
	return bytes <= cache->limit_bytes;
}

void evict_excess(struct cache *cache)
{
	/* what is being synced can't be taken: where that was missed it is waited for */
	if (cache->limit_bytes && !evict_pass(cache) && syncer_wait(cache))
		evict_pass(cache);
}
