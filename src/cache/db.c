/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections to the index: statements, the gate of the one that writes, the pool of those that read. */
#include "src/base/block.h"
#include "src/base/log.h"
#include "src/cache/internal.h"

#include <fcntl.h>
#include <unistd.h>

#include "src/base/banned.h"

/* Where the record bears another key than the row, the row must tell by itself that it is right. */
#define BODY_IS_SOUND(b)                                                                                               \
	"(" b "origin IS NULL OR " b "sum IS row_sum(" b "folder, " b "uid, " b "uidvalidity, " b "lf, " b "origin))"

static const char *const statement_texts[S_COUNT] = {
	[S_BEGIN] = "BEGIN IMMEDIATE",
	[S_COMMIT] = "COMMIT",
	[S_ROLLBACK] = "ROLLBACK",
	[S_IDENTITY] = "SELECT identity FROM meta",
	[S_TRAIT_GET] = "SELECT value FROM trait WHERE name = ?1",
	[S_TRAIT_PUT] = "INSERT INTO trait VALUES(?1, ?2, row_sum(?1, ?2))"
			" ON CONFLICT DO UPDATE SET value = ?2, sum = row_sum(?1, ?2)",
	[S_TRAIT_DROP] = "DELETE FROM trait WHERE name = ?1",
	[S_FOLDERS] = "SELECT id, name, uidvalidity, uidnext, messages, highestmodseq, checked_at, attributes, number,"
		      " message_number, delimiter, missing, mtime, flags_mtime FROM folder ORDER BY id",
	[S_FOLDER_PUT] = "INSERT OR REPLACE INTO folder VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
			 " ?14, row_sum(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14))",
	[S_FOLDER_UNKNOWN] = "UPDATE folder SET checked_at = 0, uidnext = 0, highestmodseq = 0, sum = row_sum(id, name,"
			     " uidvalidity, 0, messages, 0, 0, attributes, number, message_number, delimiter, missing,"
			     " mtime, flags_mtime) WHERE id = ?1",
	[S_FOLDER_LISTED] = "SELECT uidvalidity FROM folder WHERE id = ?1 AND checked_at <> 0",
	[S_FOLDER_DROP] = "DELETE FROM folder WHERE id = ?1",
	[S_FOLDER_ID] = "SELECT id FROM folder_name WHERE name = ?1",
	[S_FOLDER_NAME] = "SELECT name FROM folder_name WHERE id = ?1",
	[S_FOLDER_ID_NEW] = "INSERT INTO folder_name(name) VALUES(?1)",
	[S_FOLDER_NAME_RESTORE] = "INSERT INTO folder_name VALUES(?1, ?2)",
	[S_NUMBER_OF] = "SELECT number FROM number WHERE key = ?1",
	[S_NUMBER_OWNER] = "SELECT 1 FROM number WHERE number = ?1",
	[S_NUMBER_PUT] = "INSERT INTO number VALUES(?1, ?2)",
	[S_MESSAGES] = "SELECT id, flags, size, size_exact, date, stem FROM message WHERE id BETWEEN ?1 AND ?2"
		       " ORDER BY id",
	[S_MESSAGE] = "SELECT id, flags, size, size_exact, date, stem, sender, recipient, subject, message_id,"
		      " keywords, emailid FROM message WHERE id = ?1",
	[S_MESSAGE_IDS] = "SELECT id, emailid FROM message WHERE id BETWEEN ?1 AND ?2 AND emailid IS NOT NULL",
	[S_MESSAGE_PUT] = "INSERT OR REPLACE INTO message VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,"
			  " row_sum(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12))",
	[S_MESSAGE_FLAGS] =
		"UPDATE message SET flags = ?2, keywords = ?3, sum = row_sum(id, ?2, size, size_exact, date,"
		" stem, sender, recipient, subject, message_id, ?3, emailid) WHERE id = ?1",
	[S_MESSAGE_SIZE] = "UPDATE message SET size = ?2, size_exact = 1, sum = row_sum(id, flags, ?2, 1, date, stem,"
			   " sender, recipient, subject, message_id, keywords, emailid) WHERE id = ?1",
	[S_MESSAGE_DROP] = "DELETE FROM message WHERE id = ?1",
	[S_MESSAGES_DROP] = "DELETE FROM message WHERE id BETWEEN ?1 AND ?2",
	[S_BODY] = "SELECT b.segment, b.offset, b.length, b.hour, b.checked, s.synced, s.boot, b.origin,"
		   " " BODY_IS_SOUND("b.") " FROM body b"
					   " JOIN segment s ON s.id = b.segment"
					   " WHERE b.folder = ?1 AND b.uid = ?2 AND b.uidvalidity = ?3 AND b.lf = ?4",
	[S_BODY_UIDS] = "SELECT uid FROM body WHERE folder = ?1 AND uidvalidity = ?2 AND lf = ?3 ORDER BY uid",
	[S_BODY_LENGTHS] = "SELECT uid, length FROM body WHERE folder = ?1 AND uidvalidity = ?2 AND lf = ?3",
	/* message octets alone: what is made of them is soon made again */
	[S_BODY_IDENTIFIED] = "SELECT uid, uidvalidity, lf, identity, octets, origin, " BODY_IS_SOUND(
		"") " FROM body WHERE folder = ?1 AND lf < 2 AND identity IS NOT NULL",
	[S_BODY_ANY_IDENTIFIED] = "SELECT 1 FROM body WHERE folder = ?1 AND lf < 2 AND identity IS NOT NULL LIMIT 1",
	[S_BODY_RENAME] = "UPDATE OR IGNORE body SET uid = ?5, uidvalidity = ?6, origin = ?7,"
			  " sum = row_sum(?1, ?5, ?6, ?4, ?7)"
			  " WHERE folder = ?1 AND uid = ?2 AND uidvalidity = ?3 AND lf = ?4",
	[S_BODY_PUT] = "INSERT INTO body VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, NULL, NULL)"
		       " ON CONFLICT DO NOTHING",
	/* each drop tells what it dropped, whose records then are killed */
	[S_BODY_DROP] = "DELETE FROM body WHERE folder = ?1 AND uid = ?2 AND uidvalidity = ?3 AND lf = ?4"
			" RETURNING segment, offset",
	[S_BODY_DROP_UID] = "DELETE FROM body WHERE folder = ?1 AND uid = ?2 RETURNING segment, offset",
	[S_BODY_DROP_FOLDER] = "DELETE FROM body WHERE folder = ?1 RETURNING segment, offset",
	[S_BODY_DROP_OTHERS] = "DELETE FROM body WHERE folder = ?1 AND uidvalidity <> ?2 RETURNING segment, offset",
	[S_BODY_DROP_AT] = "DELETE FROM body WHERE folder = ?1 AND uid = ?2 AND uidvalidity = ?3 AND lf = ?4"
			   " AND segment = ?5 AND offset = ?6",
	[S_BODY_DROP_SEGMENT] = "DELETE FROM body WHERE segment = ?1",
	[S_BODY_DROP_BEYOND] = "DELETE FROM body WHERE segment = ?1 AND offset >= ?2",
	[S_BODIES_CLEAR] = "DELETE FROM body",
	[S_BODY_CHECKED] = "UPDATE body SET checked = 1 WHERE folder = ?1 AND uid = ?2 AND uidvalidity = ?3"
			   " AND lf = ?4 AND segment = ?5 AND offset = ?6",
	[S_BODY_USED] = "UPDATE body SET hour = ?5 WHERE folder = ?1 AND uid = ?2 AND uidvalidity = ?3 AND lf = ?4"
			" AND hour < ?5",
	[S_BODY_MOVE] = "UPDATE body SET segment = ?5, offset = ?6, checked = 0 WHERE folder = ?1 AND uid = ?2"
			" AND uidvalidity = ?3 AND lf = ?4 AND segment = ?7 AND offset = ?8",
	[S_BODY_OF_SEGMENT] = "SELECT folder, uid, uidvalidity, lf, offset, length, origin, " BODY_IS_SOUND(
		"") " FROM body WHERE segment = ?1"
		    " AND hour >= ?2 ORDER BY offset",
	[S_SEGMENT_NEW] = "INSERT INTO segment(bytes, synced, boot, own, stamp) VALUES(?1, 0, ?2, ?3, ?4)",
	[S_SEGMENT_GROWN] = "UPDATE segment SET bytes = ?2, boot = ?3 WHERE id = ?1",
	[S_SEGMENT_SYNCED] = "UPDATE segment SET synced = ?2 WHERE id = ?1",
	[S_SEGMENT_STAMP] = "UPDATE segment SET stamp = ?2 WHERE id = ?1",
	[S_SEGMENT_DISTRUST] = "UPDATE segment SET synced = 0, boot = '', stamp = ?2 WHERE id = ?1",
	[S_BODIES_DISTRUST] = "UPDATE body SET checked = 0 WHERE segment = ?1 AND checked <> 0",
	[S_SEGMENT_DROP] = "DELETE FROM segment WHERE id = ?1",
	[S_SEGMENTS_CLEAR] = "DELETE FROM segment",
	/* what isn't synced and of another boot must keep that boot's name */
	[S_SEGMENT_ADOPTABLE] = "SELECT id FROM segment WHERE bytes < ?1 AND own = 0 AND (synced = bytes OR boot = ?2)"
				" ORDER BY bytes DESC LIMIT 8",
	[S_SEGMENT] = "SELECT bytes, synced, boot, own, EXISTS(SELECT 1 FROM body WHERE segment = ?1), stamp"
		      " FROM segment WHERE id = ?1",
	[S_SEGMENTS] = "SELECT id FROM segment",
	[S_SEGMENT_RESTORE] = "INSERT INTO segment VALUES(?1, ?2, 0, '', 1, 0)",
	/* first what is mostly dead, then the coldest on average */
	[S_EVICTABLE] = "SELECT s.id, s.bytes, IFNULL(b.live, 0) FROM segment s LEFT JOIN"
			" (SELECT segment, SUM(length + 64) AS live, AVG(hour) AS hour FROM body GROUP BY segment) b"
			" ON b.segment = s.id ORDER BY IFNULL(b.live, 0) * 4 >= s.bytes, b.hour, s.id",
	[S_BYTES] = "SELECT IFNULL(SUM(bytes), 0) FROM segment",
	[S_STATS] = "SELECT IFNULL(SUM(bytes), 0), COUNT(*), (SELECT COUNT(*) FROM body WHERE lf < 2) FROM segment",
};

/* Replaces SQLite's own checkpoints, which would make whoever commits wait for the disk. */
static int count_wal_pages(void *ctx, sqlite3 *handle, const char *name, int pages)
{
	struct db *db = ctx;

	db->wal_pages = pages;
	return SQLITE_OK;
}

struct db *db_open(const char *uri, bool create, int *rc_out)
{
	struct db *db = g_new0(struct db, 1);
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;

	if (create)
		flags |= SQLITE_OPEN_CREATE;
	if (uri[0] == '/')
		flags |= SQLITE_OPEN_NOFOLLOW;
	*rc_out = sqlite3_open_v2(uri, &db->handle, flags, NULL);
	if (*rc_out == SQLITE_OK)
		*rc_out = row_sum_register(db->handle);
	if (*rc_out == SQLITE_OK) {
		sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
		*rc_out = sqlite3_exec(db->handle,
			"PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
			"PRAGMA cell_size_check = ON; PRAGMA journal_size_limit = 16777216",
			NULL, NULL, NULL);
	}
	if (*rc_out != SQLITE_OK) {
		db_close(db);
		return NULL;
	}
	sqlite3_wal_hook(db->handle, count_wal_pages, db);
	return db;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	for (int i = 0; i < S_COUNT; i++)
		sqlite3_finalize(db->statements[i]);
	sqlite3_close(db->handle);
	g_free(db);
}

sqlite3_stmt *db_statement(struct db *db, enum statement which)
{
	sqlite3_stmt **at = &db->statements[which];

	if (!*at)
		sqlite3_prepare_v3(db->handle, statement_texts[which], -1, SQLITE_PREPARE_PERSISTENT, at, NULL);
	return *at;
}

int db_run(sqlite3_stmt *statement)
{
	int rc;

	if (!statement)
		return SQLITE_ERROR;
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		;
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int db_exec(struct db *db, enum statement which)
{
	sqlite3_stmt *statement = db_statement(db, which);

	return statement ? db_run(statement) : sqlite3_errcode(db->handle);
}

bool db_rc_is_damage(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

int cache_db_failed(struct cache *cache, int rc, struct error *err)
{
	if (db_rc_is_damage(rc) && !atomic_exchange(&cache->index_dead, true)) {
		log_warning("%s: the index is damaged; it is rebuilt at the next mount", cache->path);
		if (!cache->memory_only) {
			int fd = openat(
				cache->dir_fd, "index.suspect", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

			if (fd >= 0)
				close(fd);
		}
	}
	return error_set(err, ERR_STORAGE, "%s: index: %s", cache->path, sqlite3_errstr(rc));
}

static bool identity_is(struct cache *cache, struct db *db)
{
	sqlite3_stmt *statement = db_statement(db, S_IDENTITY);
	bool same;

	if (!statement)
		return false;
	same = sqlite3_step(statement) == SQLITE_ROW &&
	       g_strcmp0((const char *)sqlite3_column_text(statement, 0), cache->identity) == 0;
	sqlite3_reset(statement);
	return same;
}

struct db *cache_reader(struct cache *cache)
{
	struct db *db = NULL;
	int rc;

	if (atomic_load(&cache->index_dead))
		return NULL;
	block_ahead();
	pthread_mutex_lock(&cache->pool_lock);
	if (cache->reader_count)
		db = cache->readers[--cache->reader_count];
	pthread_mutex_unlock(&cache->pool_lock);
	if (db)
		return db;
	db = db_open(cache->index_uri, false, &rc);
	if (!db) {
		cache_db_failed(cache, rc, NULL);
		return NULL;
	}
	/* Another process may have rebuilt it: folder ids mean something else there. */
	if (!identity_is(cache, db)) {
		if (!atomic_exchange(&cache->index_dead, true))
			log_warning(
				"%s: the index was replaced by another process; mount again to use it", cache->path);
		db_close(db);
		return NULL;
	}
	return db;
}

void cache_reader_done(struct cache *cache, struct db *db)
{
	pthread_mutex_lock(&cache->pool_lock);
	if (cache->reader_count < READERS_MAX) {
		cache->readers[cache->reader_count++] = db;
		db = NULL;
	}
	pthread_mutex_unlock(&cache->pool_lock);
	db_close(db);
}

struct db *cache_enter(struct cache *cache, bool is_writer)
{
	if (atomic_load(&cache->index_dead))
		return NULL;
	pthread_mutex_lock(&cache->gate_lock);
	if (is_writer) {
		while (cache->gate_busy || cache->gate_callers)
			pthread_cond_wait(&cache->gate_cond, &cache->gate_lock);
	} else {
		cache->gate_callers++;
		while (cache->gate_busy)
			pthread_cond_wait(&cache->gate_cond, &cache->gate_lock);
		cache->gate_callers--;
	}
	cache->gate_busy = true;
	pthread_mutex_unlock(&cache->gate_lock);
	return cache->writer_db;
}

void cache_leave(struct cache *cache)
{
	/* what callers write one by one fills the log, too */
	bool full = !pthread_equal(pthread_self(), cache->thread) && cache->writer_db->wal_pages > 2 * WAL_PAGES_MAX;

	pthread_mutex_lock(&cache->gate_lock);
	cache->gate_busy = false;
	pthread_cond_broadcast(&cache->gate_cond);
	pthread_mutex_unlock(&cache->gate_lock);
	if (full && cache->thread_started)
		cache_queue(cache, op_new(OP_HOUSEKEEP), false);
}
