/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a queued change does to the index. Everything here runs inside the writer's transaction. */
#include "src/cache/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define KILL_FDS_MAX 64u

static int64_t message_id(uint32_t folder, uint32_t uid)
{
	return (int64_t)((uint64_t)folder << 32 | uid);
}

static int failed(struct db *db)
{
	int rc = sqlite3_errcode(db->handle);

	return rc == SQLITE_OK ? SQLITE_ERROR : rc;
}

/* ---- bodies ---- */

int index_body_put(struct db *db, const struct cache_key *key, uint32_t segment, uint64_t offset, uint64_t length,
	const struct cache_identity *identity, bool *inserted_out)
{
	sqlite3_stmt *insert = db_statement(db, S_BODY_PUT);
	int rc;

	if (!insert)
		return failed(db);
	cache_key_bind(insert, key);
	sqlite3_bind_int64(insert, 5, segment);
	sqlite3_bind_int64(insert, 6, (int64_t)offset);
	sqlite3_bind_int64(insert, 7, (int64_t)length);
	sqlite3_bind_int64(insert, 8, hour_now());
	if (identity && identity_is_known(identity)) {
		sqlite3_bind_blob(insert, 9, identity->id, sizeof(identity->id), SQLITE_STATIC);
		sqlite3_bind_int64(insert, 10, (int64_t)identity->octets);
	}
	rc = db_run(insert);
	*inserted_out = rc == SQLITE_OK && sqlite3_changes(db->handle) == 1;
	return rc;
}

static void kill_at(struct cache *cache, GHashTable *fds, uint32_t segment, uint64_t offset)
{
	gpointer fd = g_hash_table_lookup(fds, GUINT_TO_POINTER(segment));

	if (!fd) {
		g_autofree char *name = segment_name(segment);
		int opened = openat(cache->dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

		if (opened < 0)
			return;
		if (g_hash_table_size(fds) >= KILL_FDS_MAX)
			g_hash_table_remove_all(fds);
		fd = GINT_TO_POINTER(opened);
		g_hash_table_insert(fds, GUINT_TO_POINTER(segment), fd);
	}
	record_kill(GPOINTER_TO_INT(fd), offset);
}

static void close_value(gpointer fd)
{
	close(GPOINTER_TO_INT(fd));
}

/*
 * Runs a DELETE that returns places, and kills the records there: else a rebuild of the index would bring
 * back what was dropped, perhaps because it is another mailbox's. Before the commit: should that fail, the rows
 * point to dead records, and the bodies are fetched again.
 */
static int drop_bodies(struct cache *cache, struct db *db, sqlite3_stmt *statement)
{
	GHashTable *fds;
	int rc;

	if (!statement)
		return failed(db);
	fds = g_hash_table_new_full(NULL, NULL, NULL, close_value);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		if (!cache->memory_only)
			kill_at(cache, fds, (uint32_t)sqlite3_column_int64(statement, 0),
				(uint64_t)sqlite3_column_int64(statement, 1));
	sqlite3_reset(statement);
	g_hash_table_unref(fds);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int bodies_drop_folder(struct cache *cache, struct db *db, uint32_t folder)
{
	sqlite3_stmt *drop = db_statement(db, S_BODY_DROP_FOLDER);

	if (drop)
		sqlite3_bind_int64(drop, 1, folder);
	return drop_bodies(cache, db, drop);
}

static int bodies_drop_others(struct cache *cache, struct db *db, uint32_t folder, uint32_t uidvalidity)
{
	sqlite3_stmt *drop = db_statement(db, S_BODY_DROP_OTHERS);

	if (drop) {
		sqlite3_bind_int64(drop, 1, folder);
		sqlite3_bind_int64(drop, 2, uidvalidity);
	}
	return drop_bodies(cache, db, drop);
}

static int bodies_drop_uid(struct cache *cache, struct db *db, uint32_t folder, uint32_t uid)
{
	sqlite3_stmt *drop = db_statement(db, S_BODY_DROP_UID);

	if (drop) {
		sqlite3_bind_int64(drop, 1, folder);
		sqlite3_bind_int64(drop, 2, uid);
	}
	return drop_bodies(cache, db, drop);
}

static int body_drop(struct cache *cache, struct db *db, const struct cache_key *key)
{
	sqlite3_stmt *drop = db_statement(db, S_BODY_DROP);

	if (drop)
		cache_key_bind(drop, key);
	return drop_bodies(cache, db, drop);
}

static int at_place(struct db *db, enum statement which, const struct op *op)
{
	sqlite3_stmt *statement = db_statement(db, which);

	if (!statement)
		return failed(db);
	cache_key_bind(statement, &op->key);
	sqlite3_bind_int64(statement, 5, op->segment);
	sqlite3_bind_int64(statement, 6, (int64_t)op->offset);
	return db_run(statement);
}

static int body_put(struct cache *cache, struct db *db, struct op *op)
{
	bool inserted;
	int rc = index_body_put(db, &op->key, op->segment, op->offset, op->body->length, &op->identity, &inserted);

	/* another process was first */
	op->second = rc == SQLITE_OK && !inserted;
	if (op->second)
		segment_kill(cache, op->segment, op->offset);
	return rc;
}

/* A stream's file becomes a segment of its own. */
static int body_streamed(struct cache *cache, struct db *db, struct op *op)
{
	sqlite3_stmt *insert = db_statement(db, S_SEGMENT_NEW);
	sqlite3_stmt *drop = db_statement(db, S_SEGMENT_DROP);
	g_autofree char *name = NULL;
	struct stat st = {0};
	bool inserted;
	int rc;

	if (!insert || !drop)
		return failed(db);
	(void)fstat(op->file_fd, &st);
	sqlite3_bind_int64(insert, 1, (int64_t)op->file_bytes);
	sqlite3_bind_text(insert, 2, cache->boot_id, -1, SQLITE_STATIC);
	sqlite3_bind_int(insert, 3, 1);
	sqlite3_bind_int64(insert, 4, segment_stamp(&st));
	rc = db_run(insert);
	if (rc != SQLITE_OK)
		return rc;
	op->segment = (uint32_t)sqlite3_last_insert_rowid(db->handle);
	rc = index_body_put(db, &op->key, op->segment, op->offset, op->body->length, &op->identity, &inserted);
	if (rc != SQLITE_OK)
		return rc;
	name = segment_name(op->segment);
	if (inserted && renameat2(cache->dir_fd, op->file_name, cache->dir_fd, name, RENAME_NOREPLACE) == 0)
		return SQLITE_OK;
	/* already cached, or no file: what was streamed lives as long as its readers */
	unlinkat(cache->dir_fd, op->file_name, 0);
	if (inserted)
		rc = at_place(db, S_BODY_DROP_AT, op);
	sqlite3_bind_int64(drop, 1, op->segment);
	return rc == SQLITE_OK ? db_run(drop) : rc;
}

/* ---- messages ---- */

static void bind_text(sqlite3_stmt *statement, int at, const GByteArray *arena, uint32_t offset)
{
	if (offset)
		sqlite3_bind_text(statement, at, (const char *)arena->data + offset, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(statement, at);
}

static int message_put(struct db *db, const struct op *op, const struct row_op *row)
{
	sqlite3_stmt *insert = db_statement(db, S_MESSAGE_PUT);

	if (!insert)
		return failed(db);
	sqlite3_bind_int64(insert, 1, message_id(op->key.folder, row->uid));
	sqlite3_bind_int64(insert, 2, row->flags);
	sqlite3_bind_int64(insert, 3, (int64_t)row->size_bytes);
	sqlite3_bind_int64(insert, 4, row->size_exact);
	sqlite3_bind_int64(insert, 5, row->date);
	for (int i = 0; i < ROW_TEXTS; i++)
		bind_text(insert, 6 + i, op->arena, row->texts[i]);
	return db_run(insert);
}

static int message_change(struct db *db, const struct op *op, const struct row_op *row)
{
	enum statement which = row->kind == ROW_FLAGS  ? S_MESSAGE_FLAGS
	                       : row->kind == ROW_SIZE ? S_MESSAGE_SIZE
	                                               : S_MESSAGE_DROP;
	sqlite3_stmt *statement = db_statement(db, which);

	if (!statement)
		return failed(db);
	sqlite3_bind_int64(statement, 1, message_id(op->key.folder, row->uid));
	if (row->kind == ROW_FLAGS) {
		sqlite3_bind_int64(statement, 2, row->flags);
		bind_text(statement, 3, op->arena, row->texts[0]);
	} else if (row->kind == ROW_SIZE) {
		sqlite3_bind_int64(statement, 2, (int64_t)row->size_bytes);
	}
	return db_run(statement);
}

static int by_folder(struct db *db, enum statement which, uint32_t folder)
{
	sqlite3_stmt *statement = db_statement(db, which);

	if (!statement)
		return failed(db);
	sqlite3_bind_int64(statement, 1, folder);
	return db_run(statement);
}

/* Messages and bodies go, but for what is set aside, and until the next folder_put the listing counts as unknown. */
static int folder_clear(struct cache *cache, struct db *db, uint32_t folder, bool renumber)
{
	sqlite3_stmt *drop = db_statement(db, S_MESSAGES_DROP);
	int rc;

	if (!drop)
		return failed(db);
	rc = renumber ? bodies_set_aside(db, folder) : SQLITE_OK;
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(drop, 1, message_id(folder, 0));
	sqlite3_bind_int64(drop, 2, message_id(folder, UINT32_MAX));
	rc = db_run(drop);
	if (rc == SQLITE_OK)
		rc = renumber ? bodies_drop_others(cache, db, folder, 0) : bodies_drop_folder(cache, db, folder);
	return rc == SQLITE_OK ? by_folder(db, S_FOLDER_UNKNOWN, folder) : rc;
}

static int folder_put(struct db *db, const struct cache_folder *folder)
{
	sqlite3_stmt *insert = db_statement(db, S_FOLDER_PUT);
	const char delimiter[2] = {folder->delimiter, '\0'};

	if (!insert)
		return failed(db);
	sqlite3_bind_int64(insert, 1, folder->id);
	sqlite3_bind_text(insert, 2, folder->name ? folder->name : "", -1, SQLITE_STATIC);
	sqlite3_bind_int64(insert, 3, folder->uidvalidity);
	sqlite3_bind_int64(insert, 4, folder->uidnext);
	sqlite3_bind_int64(insert, 5, folder->messages);
	sqlite3_bind_int64(insert, 6, (int64_t)folder->highestmodseq);
	sqlite3_bind_int64(insert, 7, folder->checked_at);
	sqlite3_bind_int64(insert, 8, folder->attributes);
	sqlite3_bind_int64(insert, 9, folder->number);
	sqlite3_bind_int64(insert, 10, folder->message_number);
	sqlite3_bind_text(insert, 11, delimiter, -1, SQLITE_TRANSIENT);
	sqlite3_bind_int(insert, 12, folder->missing);
	sqlite3_bind_int64(insert, 13, folder->mtime);
	sqlite3_bind_int64(insert, 14, folder->flags_mtime);
	return db_run(insert);
}

static int rows_apply(struct cache *cache, struct db *db, const struct op *op)
{
	int rc = SQLITE_OK;

	for (guint i = 0; i < op->rows->len && rc == SQLITE_OK; i++) {
		const struct row_op *row = &g_array_index(op->rows, struct row_op, i);

		switch (row->kind) {
		case ROW_CLEAR:
		case ROW_RENUMBER:
			rc = folder_clear(cache, db, op->key.folder, row->kind == ROW_RENUMBER);
			break;
		case ROW_ADOPT:
			rc = bodies_take_over(db, op->key.folder, row->uid, op->named);
			if (rc == SQLITE_OK)
				rc = bodies_drop_others(cache, db, op->key.folder, row->uid);
			break;
		case ROW_PUT:
			rc = message_put(db, op, row);
			break;
		case ROW_DROP:
			rc = bodies_drop_uid(cache, db, op->key.folder, row->uid);
			if (rc == SQLITE_OK)
				rc = message_change(db, op, row);
			break;
		case ROW_FLAGS:
		case ROW_SIZE:
			rc = message_change(db, op, row);
			break;
		}
	}
	if (rc == SQLITE_OK && op->has_folder)
		rc = folder_put(db, &op->folder);
	return rc;
}

static int trait_put(struct db *db, const struct op *op)
{
	sqlite3_stmt *statement = db_statement(db, op->value ? S_TRAIT_PUT : S_TRAIT_DROP);

	if (!statement)
		return failed(db);
	sqlite3_bind_text(statement, 1, op->name, -1, SQLITE_STATIC);
	if (op->value)
		sqlite3_bind_text(statement, 2, op->value, -1, SQLITE_STATIC);
	return db_run(statement);
}

int index_apply(struct cache *cache, struct db *db, struct op *op)
{
	int rc;

	switch (op->kind) {
	case OP_TRAIT:
		return trait_put(db, op);
	case OP_FOLDER:
		return folder_put(db, &op->folder);
	case OP_FOLDER_DROP:
		rc = folder_clear(cache, db, op->key.folder, false);
		return rc == SQLITE_OK ? by_folder(db, S_FOLDER_DROP, op->key.folder) : rc;
	case OP_ROWS:
		return rows_apply(cache, db, op);
	case OP_BODY:
		return body_put(cache, db, op);
	case OP_STREAMED:
		return body_streamed(cache, db, op);
	case OP_BODY_DROP:
		return body_drop(cache, db, &op->key);
	case OP_RECORD_BAD:
		return at_place(db, S_BODY_DROP_AT, op);
	case OP_RECORD_GOOD:
		return at_place(db, S_BODY_CHECKED, op);
	case OP_HOUSEKEEP:
		return SQLITE_OK;
	}
	return SQLITE_OK;
}
