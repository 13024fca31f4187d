/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading every body against its digest; forgetting them all. */
#include "src/cache/internal.h"

#include <errno.h>

#include "src/base/banned.h"

struct stored {
	struct cache_key key;
	uint64_t offset, length, origin;
	bool sound;
};

static int collect_segments(struct cache *cache, GArray *ids, struct error *err)
{
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query = db ? db_statement(db, S_SEGMENTS) : NULL;
	int rc = SQLITE_IOERR;

	while (query && (rc = sqlite3_step(query)) == SQLITE_ROW) {
		uint32_t id = (uint32_t)sqlite3_column_int64(query, 0);

		g_array_append_val(ids, id);
	}
	if (query)
		sqlite3_reset(query);
	if (db)
		cache_reader_done(cache, db);
	return rc == SQLITE_DONE ? 0 : cache_db_failed(cache, rc, err);
}

static int collect_bodies(struct cache *cache, uint32_t segment, GArray *bodies, struct error *err)
{
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query = db ? db_statement(db, S_BODY_OF_SEGMENT) : NULL;
	int rc = SQLITE_IOERR;

	g_array_set_size(bodies, 0);
	if (query) {
		sqlite3_bind_int64(query, 1, segment);
		sqlite3_bind_int64(query, 2, 0);
	}
	while (query && (rc = sqlite3_step(query)) == SQLITE_ROW) {
		struct stored body = {.key = {.folder = (uint32_t)sqlite3_column_int64(query, 0),
					      .uid = (uint32_t)sqlite3_column_int64(query, 1),
					      .uidvalidity = (uint32_t)sqlite3_column_int64(query, 2)},
			.offset = (uint64_t)sqlite3_column_int64(query, 4),
			.length = (uint64_t)sqlite3_column_int64(query, 5),
			.origin = (uint64_t)sqlite3_column_int64(query, 6),
			.sound = sqlite3_column_int(query, 7) != 0};

		cache_key_set_form(&body.key, sqlite3_column_int(query, 3));
		g_array_append_val(bodies, body);
	}
	if (query)
		sqlite3_reset(query);
	if (db)
		cache_reader_done(cache, db);
	return rc == SQLITE_DONE ? 0 : cache_db_failed(cache, rc, err);
}

static bool body_is_whole(const struct segment *segment, const struct stored *body)
{
	struct cache_key owner = record_key(&body->key, body->origin);
	struct record record;

	return segment && body->sound && io_read(segment->fd, &record, sizeof(record), body->offset) &&
	       record_is(&record, &owner, body->length) && record_digest_matches(segment->fd, body->offset, &record);
}

/* Returns how many were damaged. */
static int64_t check_segment(struct cache *cache, uint32_t id, const GArray *bodies)
{
	struct segment *segment = segment_get(cache, id);
	int64_t damaged = 0;

	for (guint i = 0; i < bodies->len; i++) {
		const struct stored *body = &g_array_index(bodies, struct stored, i);

		if (body_is_whole(segment, body))
			continue;
		/* what was dropped or evicted meanwhile isn't damaged */
		if (!body_row_is(cache, &body->key, id, body->offset))
			continue;
		body_report_bad(cache, &body->key, id, body->offset);
		damaged++;
	}
	segment_unref(segment);
	return damaged;
}

int64_t cache_verify(struct cache *cache, uint64_t *checked_out, struct error *err)
{
	g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	g_autoptr(GArray) bodies = g_array_new(FALSE, FALSE, sizeof(struct stored));
	int64_t damaged = 0;
	int code;

	*checked_out = 0;
	if (cache->memory_only)
		return 0;
	cache_flush(cache);
	code = collect_segments(cache, ids, err);
	for (guint i = 0; i < ids->len && !code; i++) {
		uint32_t id = g_array_index(ids, uint32_t, i);

		code = collect_bodies(cache, id, bodies, err);
		*checked_out += bodies->len;
		if (!code)
			damaged += check_segment(cache, id, bodies);
	}
	cache_flush(cache);
	return code ? code : damaged;
}

static int clear_rows(struct cache *cache, struct error *err)
{
	struct db *db = cache_enter(cache, false);
	int rc;

	if (!db)
		return error_set(err, ERR_STORAGE, "%s: the index can't be used", cache->path);
	rc = db_exec(db, S_BEGIN);
	if (rc == SQLITE_OK)
		rc = db_exec(db, S_BODIES_CLEAR);
	if (rc == SQLITE_OK)
		rc = db_exec(db, S_SEGMENTS_CLEAR);
	if (rc == SQLITE_OK)
		rc = db_exec(db, S_COMMIT);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(db->handle))
		db_exec(db, S_ROLLBACK);
	cache_leave(cache);
	return rc == SQLITE_OK ? 0 : cache_db_failed(cache, rc, err);
}

int cache_clear(struct cache *cache, struct error *err)
{
	g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	int code = 0;

	cache_flush(cache);
	pthread_mutex_lock(&cache->lock);
	memory_clear(cache);
	recent_clear(cache);
	pthread_mutex_unlock(&cache->lock);
	if (cache->memory_only)
		return 0;
	code = collect_segments(cache, ids, err);
	if (!code)
		code = clear_rows(cache, err);
	/* segments that came between the two have no row now: their processes see it at their next commit */
	for (guint i = 0; i < ids->len && !code; i++)
		segment_unlink(cache, g_array_index(ids, uint32_t, i));
	segment_forget(cache, 0);
	return code;
}
