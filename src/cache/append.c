/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Appending: the segment that this process writes to (`open`) and those that are full and wait for the
 * commit of their rows (`retired`). Only the writer thread comes here, but for appender_end().
 */
#include "src/cache/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/base/banned.h"

#define GATHER_BODIES 64u
#define CREATE_TRIES 100 /* files without a row may stand in the way */
#define SYNC_BYTES CACHE_SEGMENT_BYTES

static struct appender *appender_new(uint32_t id, int fd, uint64_t bytes, uint64_t synced_bytes)
{
	struct appender *appender = g_new0(struct appender, 1);

	appender->id = id;
	appender->fd = fd;
	appender->end_bytes = appender->committed_bytes = bytes;
	appender->synced_bytes = synced_bytes;
	appender->named = g_hash_table_new(NULL, NULL);
	return appender;
}

static void appender_close(struct appender *appender)
{
	if (!appender)
		return;
	close(appender->fd);
	g_hash_table_unref(appender->named);
	g_free(appender);
}

static void appender_rewind(struct appender *appender)
{
	appender->end_bytes = appender->committed_bytes;
	g_hash_table_remove_all(appender->named);
	if (ftruncate(appender->fd, (off_t)appender->end_bytes) != 0)
		appender->gone = true; /* stray octets behind the end aren't appended to */
}

/* The segment's row as it is while we hold its lock. */
static struct appender *adopt(struct cache *cache, struct db *db, uint32_t id)
{
	sqlite3_stmt *row = db_statement(db, S_SEGMENT);
	int fd = segment_lock(cache, id);
	struct appender *appender = NULL;
	struct stat st;

	if (fd < 0 || !row) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	sqlite3_bind_int64(row, 1, id);
	if (sqlite3_step(row) == SQLITE_ROW) {
		uint64_t bytes = (uint64_t)sqlite3_column_int64(row, 0);
		uint64_t synced = (uint64_t)sqlite3_column_int64(row, 1);
		const char *boot = (const char *)sqlite3_column_text(row, 2);

		if ((synced == bytes || g_strcmp0(boot, cache->boot_id) == 0) && fstat(fd, &st) == 0 &&
			(uint64_t)st.st_size >= bytes && bytes < cache->segment_bytes && st.st_nlink == 1 &&
			ftruncate(fd, (off_t)bytes) == 0)
			appender = appender_new(id, fd, bytes, synced);
	}
	sqlite3_reset(row);
	if (!appender)
		close(fd);
	return appender;
}

/* Goes on with a segment that a process left half full: short commands don't leave a file each. */
static struct appender *adopt_any(struct cache *cache, struct db *db)
{
	sqlite3_stmt *candidates = db_statement(db, S_SEGMENT_ADOPTABLE);
	struct appender *appender = NULL;
	uint32_t ids[8];
	int count = 0;

	if (!candidates)
		return NULL;
	sqlite3_bind_int64(candidates, 1, (int64_t)(cache->segment_bytes / 4 * 3));
	sqlite3_bind_text(candidates, 2, cache->boot_id, -1, SQLITE_STATIC);
	while (count < 8 && sqlite3_step(candidates) == SQLITE_ROW)
		ids[count++] = (uint32_t)sqlite3_column_int64(candidates, 0);
	sqlite3_reset(candidates);
	for (int i = 0; i < count && !appender; i++)
		appender = adopt(cache, db, ids[i]);
	return appender;
}

static int64_t segment_row_new(struct cache *cache, struct db *db, bool own)
{
	sqlite3_stmt *insert = db_statement(db, S_SEGMENT_NEW);
	int rc;

	if (!insert)
		return -1;
	sqlite3_bind_int64(insert, 1, 0);
	sqlite3_bind_text(insert, 2, cache->boot_id, -1, SQLITE_STATIC);
	sqlite3_bind_int(insert, 3, own);
	sqlite3_bind_int64(insert, 4, 0);
	rc = db_run(insert);
	if (rc != SQLITE_OK) {
		cache_db_failed(cache, rc, NULL);
		return -1;
	}
	return sqlite3_last_insert_rowid(db->handle);
}

static void segment_row_drop(struct db *db, uint32_t id)
{
	sqlite3_stmt *drop = db_statement(db, S_SEGMENT_DROP);

	if (drop) {
		sqlite3_bind_int64(drop, 1, id);
		db_run(drop);
	}
}

/* The row comes first, so that nobody takes the file for a leftover. */
static struct appender *create(struct cache *cache, struct db *db, bool own)
{
	for (int tries = 0; tries < CREATE_TRIES; tries++) {
		int64_t id = segment_row_new(cache, db, own);
		g_autofree char *name = id > 0 ? segment_name((uint32_t)id) : NULL;
		int fd;

		if (id <= 0 || id > UINT32_MAX) {
			errno = EIO;
			return NULL;
		}
		fd = openat(cache->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			return appender_new((uint32_t)id, fd, 0, 0);
		segment_row_drop(db, (uint32_t)id);
		if (fd >= 0)
			close(fd);
		else if (errno != EEXIST)
			return NULL;
	}
	return NULL;
}

static struct appender *appender_create(struct cache *cache, bool own)
{
	struct db *db = cache_enter(cache, true);
	struct appender *appender = NULL;

	if (!db) {
		errno = EIO;
		return NULL;
	}
	if (!own)
		appender = adopt_any(cache, db);
	if (!appender)
		appender = create(cache, db, own);
	cache_leave(cache);
	return appender;
}

static char *folder_name_of(struct cache *cache, uint32_t folder)
{
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query = db ? db_statement(db, S_FOLDER_NAME) : NULL;
	char *name = NULL;

	if (query) {
		sqlite3_bind_int64(query, 1, folder);
		if (sqlite3_step(query) == SQLITE_ROW)
			name = g_strdup((const char *)sqlite3_column_text(query, 0));
		sqlite3_reset(query);
	}
	if (db)
		cache_reader_done(cache, db);
	return name;
}

bool append_name(struct cache *cache, int fd, uint32_t folder, uint64_t *end_bytes)
{
	struct cache_key key = {.folder = folder};
	g_autofree char *name = folder_name_of(cache, folder);
	g_autofree char *bytes = NULL;
	struct record record;
	struct digest *digest;
	uint8_t sum[32];
	size_t length;

	if (!name)
		return true;
	length = strlen(name);
	record_init(&record, &key, RECORD_NAME, length);
	digest = digest_new(&record);
	digest_add(digest, name, length);
	digest_end(digest, sum);
	record_seal(&record, sum);
	bytes = g_malloc(sizeof(record) + length);
	memcpy(bytes, &record, sizeof(record));
	memcpy(bytes + sizeof(record), name, length);
	if (!io_write(fd, bytes, sizeof(record) + length, *end_bytes))
		return false;
	*end_bytes += sizeof(record) + length;
	return true;
}

/* In front of the first body of a folder. */
static bool put_name(struct cache *cache, struct appender *appender, uint32_t folder)
{
	if (g_hash_table_contains(appender->named, GUINT_TO_POINTER(folder)))
		return true;
	if (!append_name(cache, appender->fd, folder, &appender->end_bytes))
		return false;
	g_hash_table_add(appender->named, GUINT_TO_POINTER(folder));
	return true;
}

/* ---- bodies, several in one write ---- */

struct gather {
	struct appender *appender;
	struct op *ops[GATHER_BODIES];
	struct record records[GATHER_BODIES];
	struct iovec parts[2 * GATHER_BODIES];
	unsigned count;
	uint64_t bytes;
};

static bool write_parts(int fd, struct iovec *parts, int count, uint64_t offset)
{
	while (count) {
		ssize_t put = pwritev(fd, parts, count, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			if (put == 0)
				errno = EIO;
			return false;
		}
		offset += (uint64_t)put;
		while (count && (size_t)put >= parts->iov_len) {
			put -= (ssize_t)parts->iov_len;
			parts++;
			count--;
		}
		if (count) {
			parts->iov_base = (char *)parts->iov_base + put;
			parts->iov_len -= (size_t)put;
		}
	}
	return true;
}

static bool gather_write(struct gather *gather)
{
	struct appender *appender = gather->appender;
	uint64_t offset = appender ? appender->end_bytes : 0;

	if (!gather->count)
		return true;
	if (!write_parts(appender->fd, gather->parts, (int)(2 * gather->count), offset))
		return false;
	for (unsigned i = 0; i < gather->count; i++) {
		struct op *op = gather->ops[i];

		op->segment = appender->id;
		op->offset = offset;
		op->placed = true;
		offset += sizeof(struct record) + op->body->length;
	}
	appender->end_bytes = offset;
	gather->count = 0;
	gather->bytes = 0;
	return true;
}

static void gather_add(struct gather *gather, struct op *op)
{
	struct record *record = &gather->records[gather->count];
	struct iovec *parts = &gather->parts[2 * gather->count];
	size_t length;
	const void *bytes = g_bytes_get_data(op->body->bytes, &length);
	struct digest *digest;
	uint8_t sum[32];

	record_init(record, &op->key, 0, length);
	digest = digest_new(record);
	digest_add(digest, bytes, length);
	digest_end(digest, sum);
	record_seal(record, sum);
	parts[0] = (struct iovec){record, sizeof(*record)};
	parts[1] = (struct iovec){(void *)bytes, length};
	gather->ops[gather->count++] = op;
	gather->bytes += sizeof(*record) + length;
}

static void retire(struct cache *cache, struct appender *appender)
{
	g_ptr_array_add(cache->retired, appender);
	if (cache->open == appender)
		cache->open = NULL;
}

/* The open segment, with room for `need` octets more. */
static struct appender *appender_with_room(struct cache *cache, uint64_t need)
{
	struct appender *open = cache->open;
	struct stat st;

	/* cleared away, by whatever process */
	if (open && (fstat(open->fd, &st) != 0 || st.st_nlink == 0))
		open->gone = true;
	if (open && (open->gone || (open->end_bytes && open->end_bytes + need > cache->segment_bytes))) {
		retire(cache, open);
		open = NULL;
	}
	if (!open)
		cache->open = open = appender_create(cache, false);
	return open;
}

static bool write_own(struct cache *cache, struct gather *gather, struct op *op)
{
	struct appender *appender = appender_create(cache, true);

	if (!appender)
		return false;
	retire(cache, appender);
	gather->appender = appender;
	if (!put_name(cache, appender, op->key.folder))
		return false;
	gather_add(gather, op);
	return gather_write(gather);
}

static bool write_body(struct cache *cache, struct gather *gather, struct op *op)
{
	uint64_t need = sizeof(struct record) + op->body->length;
	struct appender *open = cache->open;

	if (need >= MIN(CACHE_OWN_FILE_BYTES, cache->segment_bytes))
		return gather_write(gather) && write_own(cache, gather, op);
	if (!open || open != gather->appender || gather->count == GATHER_BODIES ||
		open->end_bytes + gather->bytes + need > cache->segment_bytes ||
		!g_hash_table_contains(open->named, GUINT_TO_POINTER(op->key.folder))) {
		if (!gather_write(gather))
			return false;
		gather->appender = appender_with_room(cache, need);
		if (!gather->appender || !put_name(cache, gather->appender, op->key.folder))
			return false;
	}
	gather_add(gather, op);
	return true;
}

void appender_write_bodies(struct cache *cache, struct op *ops)
{
	struct gather *gather = g_new0(struct gather, 1);
	bool written = true;

	for (struct op *op = ops; op && written; op = op->next)
		if (op->kind == OP_BODY && op->key.folder < FOLDER_UNSTORED)
			written = write_body(cache, gather, op);
	if (!written || !gather_write(gather)) {
		cache_warn(cache, "bodies can't be stored: %s", g_strerror(errno));
		/* drops the part that got there; the end stands behind the last complete one */
		if (gather->appender && ftruncate(gather->appender->fd, (off_t)gather->appender->end_bytes) != 0)
			gather->appender->gone = true;
	}
	g_free(gather);
}

bool appender_carry(struct cache *cache, int from_fd, uint64_t from_offset, const struct record *record,
	uint32_t *segment_out, uint64_t *offset_out)
{
	uint64_t length = GUINT64_FROM_LE(record->length);
	size_t size = sizeof(*record) + (size_t)length;
	struct appender *open = appender_with_room(cache, size);
	g_autofree char *bytes = g_try_malloc(size);
	struct digest *digest;
	uint8_t sum[32];

	if (!open || !bytes || !io_read(from_fd, bytes, size, from_offset))
		return false;
	digest = digest_new(record);
	digest_add(digest, bytes + sizeof(*record), (size_t)length);
	if (!digest_end(digest, sum) || memcmp(sum, record->digest, sizeof(sum)) != 0 ||
		!put_name(cache, open, GUINT32_FROM_LE(record->folder)) ||
		!io_write(open->fd, bytes, size, open->end_bytes))
		return false;
	*segment_out = open->id;
	*offset_out = open->end_bytes;
	open->end_bytes += size;
	return true;
}

static void appender_sync(struct cache *cache, struct appender *appender)
{
	bool synced;
	sqlite3_stmt *update;
	struct db *db;

	if (appender->gone || appender->synced_bytes == appender->committed_bytes)
		return;
	synced = fdatasync(appender->fd) == 0;
	if (!synced)
		cache_warn(cache, "bodies can't be stored: %s", g_strerror(errno));
	db = cache_enter(cache, true);
	if (!db)
		return;
	/* after a failed sync the pages may be gone although they look clean: what wasn't synced is dropped */
	update = db_statement(db, synced ? S_SEGMENT_SYNCED : S_BODY_DROP_BEYOND);
	if (update) {
		uint64_t bytes = synced ? appender->committed_bytes : appender->synced_bytes;
		int rc;

		sqlite3_bind_int64(update, 1, appender->id);
		sqlite3_bind_int64(update, 2, (int64_t)bytes);
		rc = db_run(update);
		if (rc != SQLITE_OK)
			cache_db_failed(cache, rc, NULL);
		else if (synced)
			appender->synced_bytes = bytes;
	}
	cache_leave(cache);
	if (!synced)
		appender->gone = true;
}

/* The last that is written of it: as long as it bears this stamp, nobody else wrote. */
static void appender_stamp(struct cache *cache, const struct appender *appender)
{
	struct stat st;
	struct db *db;

	if (appender->gone || !appender->committed_bytes || fstat(appender->fd, &st) != 0)
		return;
	db = cache_enter(cache, true);
	if (!db)
		return;
	segment_note_stamp(db, appender->id, segment_stamp(&st));
	cache_leave(cache);
}

/* ---- around transactions ---- */

bool appenders_lost(struct cache *cache, uint32_t segment)
{
	for (guint i = 0; i < cache->retired->len; i++) {
		const struct appender *appender = cache->retired->pdata[i];

		if (appender->id == segment)
			return appender->gone;
	}
	return !cache->open || cache->open->id != segment || cache->open->gone;
}

static int grow_row(struct cache *cache, struct db *db, struct appender *appender)
{
	sqlite3_stmt *update = db_statement(db, S_SEGMENT_GROWN);
	int rc;

	if (!update)
		return sqlite3_errcode(db->handle);
	sqlite3_bind_int64(update, 1, appender->id);
	sqlite3_bind_int64(update, 2, (int64_t)appender->end_bytes);
	sqlite3_bind_text(update, 3, cache->boot_id, -1, SQLITE_STATIC);
	rc = db_run(update);
	if (rc == SQLITE_OK && sqlite3_changes(db->handle) == 0)
		appender->gone = true;
	return rc;
}

int appenders_grow(struct cache *cache, struct db *db)
{
	int rc = SQLITE_OK;

	for (guint i = 0; i < cache->retired->len && rc == SQLITE_OK; i++)
		rc = grow_row(cache, db, cache->retired->pdata[i]);
	if (rc == SQLITE_OK && cache->open && cache->open->end_bytes != cache->open->committed_bytes)
		rc = grow_row(cache, db, cache->open);
	return rc;
}

void appenders_rewind(struct cache *cache)
{
	if (cache->open)
		appender_rewind(cache->open);
	for (guint i = 0; i < cache->retired->len; i++)
		appender_rewind(cache->retired->pdata[i]);
}

void appender_end(struct cache *cache, struct appender *appender)
{
	appender_sync(cache, appender);
	appender_stamp(cache, appender);
	if (!appender->gone && !appender->committed_bytes) {
		/* nothing got there: its row goes at the next open, like a dead process's */
		segment_unlink(cache, appender->id);
	}
	appender_close(appender);
}

void appenders_settle(struct cache *cache)
{
	for (guint i = 0; i < cache->retired->len; i++)
		syncer_put(cache, cache->retired->pdata[i]);
	g_ptr_array_set_size(cache->retired, 0);
	if (!cache->open)
		return;
	if (cache->open->gone) {
		appender_close(cache->open);
		cache->open = NULL;
	} else if (cache->open->committed_bytes - cache->open->synced_bytes >= SYNC_BYTES) {
		appender_sync(cache, cache->open);
	}
}

void appenders_committed(struct cache *cache)
{
	for (guint i = 0; i < cache->retired->len; i++) {
		struct appender *appender = cache->retired->pdata[i];

		appender->committed_bytes = appender->end_bytes;
	}
	if (cache->open)
		cache->open->committed_bytes = cache->open->end_bytes;
}

void appenders_close(struct cache *cache)
{
	if (cache->open)
		g_ptr_array_add(cache->retired, cache->open);
	cache->open = NULL;
	appenders_settle(cache);
}
