/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening the index: making it, setting a damaged one aside, filling a new one from the segments; and
 * clearing up after processes that died. All of it under the directory's lock.
 */
#include "src/base/log.h"
#include "src/cache/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

#define NAME_BYTES_MAX 65536u /* of a folder, in a record */

static const char schema[] =
	"CREATE TABLE meta(identity TEXT NOT NULL);"
	"CREATE TABLE trait(name TEXT PRIMARY KEY, value TEXT NOT NULL, sum) WITHOUT ROWID;"
	"CREATE TABLE folder_name(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);"
	"CREATE TABLE folder(id INTEGER PRIMARY KEY, name TEXT NOT NULL, uidvalidity, uidnext, messages,"
	" highestmodseq, checked_at, attributes, number, message_number, delimiter, missing, mtime,"
	" flags_mtime, sum);"
	"CREATE TABLE number(number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);"
	/* id = folder << 32 | uid: one tree, appended to in order, without an index beside it */
	"CREATE TABLE message(id INTEGER PRIMARY KEY, flags, size, size_exact, date, stem, sender, recipient,"
	" subject, message_id, keywords, emailid, sum);"
	"CREATE TABLE segment(id INTEGER PRIMARY KEY AUTOINCREMENT, bytes, synced, boot, own, stamp);"
	"CREATE TABLE body(folder INTEGER, uid INTEGER, uidvalidity INTEGER, lf INTEGER, segment INTEGER,"
	" offset INTEGER, length INTEGER, hour INTEGER, checked INTEGER, identity BLOB, octets INTEGER,"
	" origin INTEGER, sum INTEGER,"
	" PRIMARY KEY(folder, uid, uidvalidity, lf)) WITHOUT ROWID;"
	"CREATE INDEX body_segment ON body(segment);";

/* ---- the schema ---- */

static int64_t pragma_number(struct db *db, const char *sql, int *rc_out)
{
	sqlite3_stmt *query = NULL;
	int64_t value = 0;

	*rc_out = sqlite3_prepare_v2(db->handle, sql, -1, &query, NULL);
	if (*rc_out == SQLITE_OK) {
		*rc_out = sqlite3_step(query);
		if (*rc_out == SQLITE_ROW) {
			value = sqlite3_column_int64(query, 0);
			*rc_out = SQLITE_OK;
		}
	}
	sqlite3_finalize(query);
	return value;
}

int schema_make(struct cache *cache, struct db *db)
{
	g_autofree char *version = NULL;
	unsigned char noise[16];
	int rc;

	if (getrandom(noise, sizeof(noise), 0) != (ssize_t)sizeof(noise))
		return SQLITE_IOERR;
	for (size_t i = 0; i < sizeof(noise); i++)
		snprintf(cache->identity + 2 * i, 3, "%02x", noise[i]);
	version = g_strdup_printf(
		"INSERT INTO meta VALUES('%s'); PRAGMA user_version = %d; COMMIT", cache->identity, SCHEMA_VERSION);
	rc = sqlite3_exec(db->handle, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db->handle, schema, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db->handle, version, NULL, NULL, NULL);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(db->handle))
		sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

/* Reads the identity; a file that holds something else counts as damaged. */
static int schema_read(struct cache *cache, struct db *db)
{
	sqlite3_stmt *query = db_statement(db, S_IDENTITY);
	int rc;

	if (!query)
		return sqlite3_errcode(db->handle) == SQLITE_ERROR ? SQLITE_CORRUPT : sqlite3_errcode(db->handle);
	rc = sqlite3_step(query);
	if (rc == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(query, 0);

		rc = text && strlen(text) == sizeof(cache->identity) - 1 ? SQLITE_OK : SQLITE_CORRUPT;
		if (rc == SQLITE_OK)
			memcpy(cache->identity, text, sizeof(cache->identity));
	} else if (rc == SQLITE_DONE) {
		rc = SQLITE_CORRUPT;
	}
	sqlite3_reset(query);
	return rc;
}

/* ---- from the segments ---- */

static bool segment_id_of(const char *name, uint32_t *id_out)
{
	char *end;
	guint64 id;

	if (strlen(name) != strlen("seg-00000000.mt") || !g_str_has_prefix(name, "seg-") ||
		!g_str_has_suffix(name, ".mt"))
		return false;
	id = g_ascii_strtoull(name + 4, &end, 16);
	*id_out = (uint32_t)id;
	return end == name + 12 && id;
}

static GPtrArray *files_of(struct cache *cache)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	int fd = openat(cache->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!listing) {
		if (fd >= 0)
			close(fd);
		return names;
	}
	while ((entry = readdir(listing)))
		g_ptr_array_add(names, g_strdup(entry->d_name));
	closedir(listing);
	return names;
}

/* The id means this name here; false = it means another one already. */
static bool name_restore(struct db *db, uint32_t folder, const char *name)
{
	sqlite3_stmt *by_name = db_statement(db, S_FOLDER_ID), *insert = db_statement(db, S_FOLDER_NAME_RESTORE);
	bool same = false;

	if (!by_name || !insert)
		return false;
	sqlite3_bind_text(by_name, 1, name, -1, SQLITE_STATIC);
	if (sqlite3_step(by_name) == SQLITE_ROW) {
		same = sqlite3_column_int64(by_name, 0) == folder;
		sqlite3_reset(by_name);
		return same;
	}
	sqlite3_reset(by_name);
	sqlite3_bind_int64(insert, 1, folder);
	sqlite3_bind_text(insert, 2, name, -1, SQLITE_STATIC);
	return db_run(insert) == SQLITE_OK;
}

static bool name_scan(struct db *db, int fd, uint64_t offset, const struct record *record)
{
	uint64_t length = GUINT64_FROM_LE(record->length);
	g_autofree char *name = NULL;

	if (length > NAME_BYTES_MAX || !record_digest_matches(fd, offset, record))
		return false;
	name = g_malloc0(length + 1);
	return io_read(fd, name, length, offset + sizeof(*record)) &&
	       name_restore(db, GUINT32_FROM_LE(record->folder), name);
}

static int body_scan(struct db *db, uint32_t segment, uint64_t offset, const struct record *record)
{
	struct cache_key key = {.folder = GUINT32_FROM_LE(record->folder),
		.uidvalidity = GUINT32_FROM_LE(record->uidvalidity),
		.uid = GUINT32_FROM_LE(record->uid),
		.lf = (GUINT16_FROM_LE(record->flags) & RECORD_LF) != 0,
		.view = GUINT16_FROM_LE(record->flags) >> RECORD_VIEW_SHIFT};
	bool inserted;

	return index_body_put(db, &key, segment, offset, GUINT64_FROM_LE(record->length), NULL, &inserted);
}

/* Up to the first header that isn't one. The octets are checked when they are read. */
static int segment_scan(struct db *db, int fd, uint32_t segment, uint64_t size)
{
	GHashTable *known = g_hash_table_new(NULL, NULL);
	sqlite3_stmt *restore = db_statement(db, S_SEGMENT_RESTORE);
	uint64_t offset = 0;
	int rc = SQLITE_OK;

	while (rc == SQLITE_OK && offset + sizeof(struct record) <= size) {
		struct record record;
		uint64_t length;
		gpointer folder;

		if (!io_read(fd, &record, sizeof(record), offset) || !record_valid(&record))
			break;
		length = GUINT64_FROM_LE(record.length);
		if (length > size - offset - sizeof(record))
			break;
		folder = GUINT_TO_POINTER(GUINT32_FROM_LE(record.folder));
		if (GUINT16_FROM_LE(record.flags) & RECORD_NAME) {
			if (name_scan(db, fd, offset, &record))
				g_hash_table_add(known, folder);
			else
				g_hash_table_remove(known, folder);
		} else if (GUINT32_FROM_LE(record.magic) == RECORD_MAGIC && g_hash_table_contains(known, folder)) {
			rc = body_scan(db, segment, offset, &record);
		}
		offset += sizeof(record) + length;
	}
	g_hash_table_unref(known);
	if (rc != SQLITE_OK || !restore)
		return rc == SQLITE_OK ? SQLITE_ERROR : rc;
	sqlite3_bind_int64(restore, 1, segment);
	sqlite3_bind_int64(restore, 2, (int64_t)offset);
	return db_run(restore);
}

static int rebuild(struct cache *cache, struct db *db)
{
	g_autoptr(GPtrArray) names = files_of(cache);
	int rc = db_exec(db, S_BEGIN);

	for (guint i = 0; i < names->len && rc == SQLITE_OK; i++) {
		uint32_t id;
		struct stat st;
		int fd;

		if (!segment_id_of(names->pdata[i], &id))
			continue;
		fd = segment_lock(cache, id);
		/* one that a living process appends to belongs to the index that this process has */
		if (fd < 0)
			continue;
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			rc = segment_scan(db, fd, id, (uint64_t)st.st_size);
		close(fd);
	}
	if (rc == SQLITE_OK)
		rc = db_exec(db, S_COMMIT);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(db->handle))
		db_exec(db, S_ROLLBACK);
	return rc;
}

/* ---- a damaged one ---- */

static void set_aside(struct cache *cache, const char *why)
{
	g_autoptr(GPtrArray) names = files_of(cache);
	static const char *const parts[] = {"", "-wal", "-shm"};
	unsigned last = 0;

	for (guint i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];

		if (!g_str_has_prefix(name, "index.damaged-"))
			continue;
		last = MAX(last, (unsigned)g_ascii_strtoull(name + strlen("index.damaged-"), NULL, 10) % 1000000);
		unlinkat(cache->dir_fd, name, 0);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
		g_autofree char *from = g_strconcat("index.db", parts[i], NULL);
		g_autofree char *to = g_strdup_printf("index.damaged-%u%s", last + 1, parts[i]);

		renameat(cache->dir_fd, from, cache->dir_fd, to);
	}
	unlinkat(cache->dir_fd, "index.suspect", 0);
	log_warning("%s: %s; it was set aside as index.damaged-%u and is rebuilt", cache->path, why, last + 1);
}

static int failed(struct cache *cache, int rc, struct error *err)
{
	return error_set(err, ERR_STORAGE, "%s: index: %s", cache->path, sqlite3_errstr(rc));
}

/* SQLITE_CORRUPT = set it aside. */
static int try_open(struct cache *cache, struct db **db_out)
{
	struct db *db;
	int64_t version;
	int rc;

	/* made by us, so that it has our mode, which SQLite gives to the files beside it */
	int fd = openat(cache->dir_fd, "index.db", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return SQLITE_CANTOPEN;
	close(fd);
	db = db_open(cache->index_uri, false, &rc);
	if (!db)
		return rc;
	version = pragma_number(db, "PRAGMA user_version", &rc);
	if (rc == SQLITE_OK && version == 0 && pragma_number(db, "SELECT COUNT(*) FROM sqlite_schema", &rc) == 0 &&
		rc == SQLITE_OK) {
		rc = schema_make(cache, db);
		if (rc == SQLITE_OK)
			rc = rebuild(cache, db);
	} else if (rc == SQLITE_OK) {
		rc = version == SCHEMA_VERSION ? schema_read(cache, db) : SQLITE_CORRUPT;
		if (rc == SQLITE_OK)
			rc = index_check(cache, db);
	}
	if (rc != SQLITE_OK) {
		db_close(db);
		return rc;
	}
	*db_out = db;
	return SQLITE_OK;
}

int index_open(struct cache *cache, struct error *err)
{
	int rc;

	if (faccessat(cache->dir_fd, "index.suspect", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		set_aside(cache, "the index was found damaged");
	rc = try_open(cache, &cache->writer_db);
	if (db_rc_is_damage(rc)) {
		set_aside(cache, "the index is damaged or of another version");
		rc = try_open(cache, &cache->writer_db);
	}
	return rc == SQLITE_OK ? 0 : failed(cache, rc, err);
}

/* ---- leftovers ---- */

static void row_drop(struct cache *cache, uint32_t id)
{
	static const enum statement drops[] = {S_BODY_DROP_SEGMENT, S_SEGMENT_DROP};
	bool done = db_exec(cache->writer_db, S_BEGIN) == SQLITE_OK;

	for (size_t i = 0; i < G_N_ELEMENTS(drops) && done; i++) {
		sqlite3_stmt *drop = db_statement(cache->writer_db, drops[i]);

		if (drop)
			sqlite3_bind_int64(drop, 1, id);
		done = db_run(drop) == SQLITE_OK;
	}
	db_exec(cache->writer_db, done ? S_COMMIT : S_ROLLBACK);
}

/* What is known of a segment whose lock we hold. */
static bool row_read(
	struct cache *cache, uint32_t id, bool *known_out, bool *live_out, uint64_t *bytes_out, int64_t *stamp_out)
{
	sqlite3_stmt *query = db_statement(cache->writer_db, S_SEGMENT);
	int rc;

	if (!query)
		return false;
	sqlite3_bind_int64(query, 1, id);
	rc = sqlite3_step(query);
	*known_out = rc == SQLITE_ROW;
	*bytes_out = *known_out ? (uint64_t)sqlite3_column_int64(query, 0) : 0;
	*live_out = *known_out && sqlite3_column_int(query, 4);
	*stamp_out = *known_out ? sqlite3_column_int64(query, 5) : 0;
	sqlite3_reset(query);
	return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

static void segment_tidy(struct cache *cache, const char *name, uint32_t id)
{
	int fd = segment_lock(cache, id);
	bool known, live;
	uint64_t bytes;
	int64_t stamp;
	struct stat st;

	if (fd < 0)
		return;
	if (row_read(cache, id, &known, &live, &bytes, &stamp)) {
		if (!live) {
			if (known)
				row_drop(cache, id);
			unlinkat(cache->dir_fd, name, 0);
		} else if (fstat(fd, &st) == 0) {
			bool same = segment_stamp(&st) == stamp;

			if ((uint64_t)st.st_size > bytes && ftruncate(fd, (off_t)bytes) != 0)
				cache_warn(cache, "%s: %s", name, g_strerror(errno));
			if (!same && (fstat(fd, &st) != 0 ||
					     segment_distrust(cache->writer_db, id, segment_stamp(&st)) != SQLITE_OK))
				cache->distrusts_all = true;
		}
	}
	close(fd);
}

static void stream_tidy(struct cache *cache, const char *name)
{
	int fd = openat(cache->dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(cache->dir_fd, name, 0);
	close(fd);
}

static void rows_without_file(struct cache *cache)
{
	g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	sqlite3_stmt *query = db_statement(cache->writer_db, S_SEGMENTS);

	while (query && sqlite3_step(query) == SQLITE_ROW) {
		uint32_t id = (uint32_t)sqlite3_column_int64(query, 0);

		g_array_append_val(ids, id);
	}
	if (query)
		sqlite3_reset(query);
	for (guint i = 0; i < ids->len; i++) {
		uint32_t id = g_array_index(ids, uint32_t, i);
		g_autofree char *name = segment_name(id);

		if (faccessat(cache->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
			row_drop(cache, id);
	}
}

void cleanup_leftovers(struct cache *cache)
{
	g_autoptr(GPtrArray) names = files_of(cache);

	rows_without_file(cache);
	for (guint i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];
		uint32_t id;

		if (g_str_has_prefix(name, "tmp-"))
			stream_tidy(cache, name);
		else if (segment_id_of(name, &id))
			segment_tidy(cache, name, id);
	}
}
