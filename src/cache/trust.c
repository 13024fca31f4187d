/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is believed without a check, and the check.
 *
 * Bodies carry digests; to compute them at each read would cost more than the read. So a segment's row holds when the
 * file was written last: a process that was killed, or anybody who wrote into the file, leaves another time, and then
 * each body is read against its digest once more before it is served.
 *
 * SQLite sees that its pages are in order, not what they say: a size that lost a bit would cut a file short. So the
 * rows from which listings are made hold a sum of themselves, and an index that wasn't closed in order, or was written
 * into since, is read once as it is opened. (SQLite's log has checksums of its own.)
 */
#include "src/cache/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define CLEAN_BYTES_MAX 64u
#define FNV_OFFSET 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

static const char *const checks[] = {
	"SELECT 1 FROM trait WHERE sum IS NOT row_sum(name, value)",
	"SELECT 1 FROM folder WHERE sum IS NOT row_sum(id, name, uidvalidity, uidnext, messages, highestmodseq,"
	" checked_at, attributes, number, message_number, delimiter, missing, mtime, flags_mtime)",
	"SELECT 1 FROM message WHERE sum IS NOT row_sum(id, flags, size, size_exact, date, stem, sender, recipient,"
	" subject, message_id, keywords, emailid)",
};

/* ---- sums of rows ---- */

static uint64_t add(uint64_t sum, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < length; i++)
		sum = (sum ^ at[i]) * FNV_PRIME;
	return sum;
}

/* FNV-1a over types and values: against accidents, not against who can write here. */
static void row_sum(sqlite3_context *context, int count, sqlite3_value **values)
{
	uint64_t sum = FNV_OFFSET;

	for (int i = 0; i < count; i++) {
		uint8_t type = (uint8_t)sqlite3_value_type(values[i]);
		sqlite3_int64 number = sqlite3_value_int64(values[i]);

		sum = add(sum, &type, sizeof(type));
		if (type == SQLITE_INTEGER)
			sum = add(sum, &number, sizeof(number));
		else if (type != SQLITE_NULL)
			sum = add(sum, sqlite3_value_blob(values[i]), (size_t)sqlite3_value_bytes(values[i]));
	}
	sqlite3_result_int64(context, (sqlite3_int64)sum);
}

int row_sum_register(sqlite3 *handle)
{
	return sqlite3_create_function_v2(handle, "row_sum", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY,
		NULL, row_sum, NULL, NULL, NULL);
}

/* ---- the index ---- */

/* False where a log holds what the file doesn't yet. */
static bool describe(struct cache *cache, char text[CLEAN_BYTES_MAX])
{
	struct stat st;

	if (fstatat(cache->dir_fd, "index.db-wal", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0)
		return false;
	if (fstatat(cache->dir_fd, "index.db", &st, AT_SYMLINK_NOFOLLOW) != 0)
		return false;
	snprintf(text, CLEAN_BYTES_MAX, "%lld %lld.%09ld\n", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec);
	return true;
}

static bool is_clean(struct cache *cache)
{
	char wanted[CLEAN_BYTES_MAX], found[CLEAN_BYTES_MAX] = "";
	int fd = openat(cache->dir_fd, "index.clean", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd >= 0 ? pread(fd, found, sizeof(found) - 1, 0) : -1;

	if (fd >= 0)
		close(fd);
	return got > 0 && describe(cache, wanted) && strcmp(found, wanted) == 0;
}

void index_note_clean(struct cache *cache)
{
	char text[CLEAN_BYTES_MAX];
	int fd;

	if (cache->memory_only || cache->dir_fd < 0 || atomic_load(&cache->index_dead) || !describe(cache, text))
		return;
	fd = openat(cache->dir_fd, "index.clean", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	/* a part of it agrees with nothing */
	(void)io_write(fd, text, strlen(text), 0);
	close(fd);
}

/* SQLITE_DONE = no row, SQLITE_ROW = one, whose first column is `wanted` or anything if that is NULL. */
static int first_row(struct db *db, const char *sql, const char *wanted)
{
	sqlite3_stmt *query = NULL;
	int rc = sqlite3_prepare_v2(db->handle, sql, -1, &query, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(query);
	if (rc == SQLITE_ROW && wanted && g_strcmp0((const char *)sqlite3_column_text(query, 0), wanted) != 0)
		rc = SQLITE_CORRUPT;
	sqlite3_finalize(query);
	return rc;
}

int index_check(struct cache *cache, struct db *db)
{
	int rc;

	if (is_clean(cache))
		return SQLITE_OK;
	rc = first_row(db, "PRAGMA integrity_check(1)", "ok");
	if (rc != SQLITE_ROW)
		return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
	for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
		rc = first_row(db, checks[i], NULL);
		if (rc != SQLITE_DONE)
			/* a statement that can't be made: the table isn't ours */
			return rc == SQLITE_ROW || rc == SQLITE_ERROR ? SQLITE_CORRUPT : rc;
	}
	return SQLITE_OK;
}

/* ---- segments ---- */

int64_t segment_stamp(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int at_segment(struct db *db, enum statement which, uint32_t id, int64_t stamp)
{
	sqlite3_stmt *update = db_statement(db, which);

	if (!update)
		return SQLITE_ERROR;
	sqlite3_bind_int64(update, 1, id);
	if (sqlite3_bind_parameter_count(update) > 1)
		sqlite3_bind_int64(update, 2, stamp);
	return db_run(update);
}

void segment_note_stamp(struct db *db, uint32_t id, int64_t stamp)
{
	at_segment(db, S_SEGMENT_STAMP, id, stamp);
}

int segment_distrust(struct db *db, uint32_t id, int64_t stamp)
{
	int rc = db_exec(db, S_BEGIN);

	if (rc == SQLITE_OK)
		rc = at_segment(db, S_BODIES_DISTRUST, id, 0);
	if (rc == SQLITE_OK)
		rc = at_segment(db, S_SEGMENT_DISTRUST, id, stamp);
	if (rc == SQLITE_OK)
		rc = db_exec(db, S_COMMIT);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(db->handle))
		db_exec(db, S_ROLLBACK);
	return rc;
}
