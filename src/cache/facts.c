/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Traits, folders, numbers and messages: what callers read, and the ids that they are given. */
#include "src/cache/internal.h"

#include <string.h>

#include "src/base/banned.h"

#define NUMBER_MAX 0x7fffffffu
#define NUMBER_NEXT_TRIES 64u /* then anywhere: names made to collide don't cost more and more */
#define NUMBER_RANDOM_TRIES 64u

static int no_index(struct cache *cache, struct error *err)
{
	return error_set(err, ERR_STORAGE, "%s: the index can't be used", cache->path);
}

static int statement_failed(struct cache *cache, struct db *db, struct error *err)
{
	return cache_db_failed(cache, sqlite3_errcode(db->handle), err);
}

/* ---- traits ---- */

char *cache_trait_get(struct cache *cache, const char *name)
{
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query;
	char *value = NULL;

	if (!db)
		return NULL;
	query = db_statement(db, S_TRAIT_GET);
	if (query) {
		sqlite3_bind_text(query, 1, name, -1, SQLITE_STATIC);
		if (sqlite3_step(query) == SQLITE_ROW)
			value = g_strdup((const char *)sqlite3_column_text(query, 0));
		sqlite3_reset(query);
		sqlite3_clear_bindings(query);
	}
	cache_reader_done(cache, db);
	return value;
}

void cache_trait_put(struct cache *cache, const char *name, const char *value)
{
	struct op *op = op_new(OP_TRAIT);

	op->name = g_strdup(name);
	op->value = g_strdup(value);
	op->bytes = strlen(name) + (value ? strlen(value) : 0);
	cache_queue(cache, op, false);
}

/* ---- folders ---- */

static void folder_read(sqlite3_stmt *row, struct cache_folder *folder_out)
{
	const char *delimiter = (const char *)sqlite3_column_text(row, 10);

	*folder_out = (struct cache_folder){
		.id = (uint32_t)sqlite3_column_int64(row, 0),
		.name = g_strdup((const char *)sqlite3_column_text(row, 1)),
		.uidvalidity = (uint32_t)sqlite3_column_int64(row, 2),
		.uidnext = (uint32_t)sqlite3_column_int64(row, 3),
		.messages = (uint32_t)sqlite3_column_int64(row, 4),
		.highestmodseq = (uint64_t)sqlite3_column_int64(row, 5),
		.checked_at = sqlite3_column_int64(row, 6),
		.attributes = (uint32_t)sqlite3_column_int64(row, 7),
		.number = (uint32_t)sqlite3_column_int64(row, 8),
		.message_number = (uint32_t)sqlite3_column_int64(row, 9),
		.delimiter = delimiter ? delimiter[0] : '\0',
		.missing = sqlite3_column_int(row, 11) != 0,
		.mtime = sqlite3_column_int64(row, 12),
		.flags_mtime = sqlite3_column_int64(row, 13),
	};
}

/* The callback may use the cache: nothing is held while it runs. */
int cache_folders_load(struct cache *cache, cache_folder_fn fn, void *ctx, struct error *err)
{
	struct db *db = cache_reader(cache);
	GArray *folders;
	sqlite3_stmt *query;
	int code = 0, rc = SQLITE_ERROR;

	if (!db)
		return no_index(cache, err);
	folders = g_array_new(FALSE, FALSE, sizeof(struct cache_folder));
	query = db_statement(db, S_FOLDERS);
	while (query && (rc = sqlite3_step(query)) == SQLITE_ROW) {
		struct cache_folder folder;

		folder_read(query, &folder);
		g_array_append_val(folders, folder);
	}
	if (rc != SQLITE_DONE)
		code = statement_failed(cache, db, err);
	if (query)
		sqlite3_reset(query);
	cache_reader_done(cache, db);
	for (guint i = 0; i < folders->len; i++) {
		struct cache_folder *folder = &g_array_index(folders, struct cache_folder, i);

		if (!code && folder->name)
			fn(ctx, folder);
		g_free(folder->name);
	}
	g_array_unref(folders);
	return code;
}

void cache_folder_put(struct cache *cache, const struct cache_folder *folder)
{
	cache_queue(cache, op_folder_new(folder), false);
}

void cache_folder_drop(struct cache *cache, uint32_t id)
{
	struct op *op = op_new(OP_FOLDER_DROP);

	op->key.folder = id;
	cache_queue(cache, op, false);
}

/* ---- ids and numbers ---- */

/* An integer by one text. SQLITE_ROW, SQLITE_DONE or a failure. */
static int look_up(struct db *db, enum statement which, const char *text, int64_t *value_out)
{
	sqlite3_stmt *query = db_statement(db, which);
	int rc;

	if (!query)
		return SQLITE_ERROR;
	sqlite3_bind_text(query, 1, text, -1, SQLITE_STATIC);
	rc = sqlite3_step(query);
	if (rc == SQLITE_ROW)
		*value_out = sqlite3_column_int64(query, 0);
	sqlite3_reset(query);
	sqlite3_clear_bindings(query);
	return rc;
}

/* 1 = found */
static int look_up_by_reader(
	struct cache *cache, enum statement which, const char *text, int64_t *value_out, struct error *err)
{
	struct db *db = cache_reader(cache);
	int code = 0, rc;

	if (!db)
		return no_index(cache, err);
	rc = look_up(db, which, text, value_out);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		code = statement_failed(cache, db, err);
	cache_reader_done(cache, db);
	return code ? code : rc == SQLITE_ROW;
}

typedef int (*allocate_fn)(struct cache *cache, struct db *db, const char *text, uint32_t wanted, int64_t *value_out);

static int folder_id_new(struct cache *cache, struct db *db, const char *name, uint32_t wanted, int64_t *id_out)
{
	sqlite3_stmt *insert = db_statement(db, S_FOLDER_ID_NEW);
	int rc;

	if (!insert)
		return SQLITE_ERROR;
	sqlite3_bind_text(insert, 1, name, -1, SQLITE_STATIC);
	rc = db_run(insert);
	*id_out = sqlite3_last_insert_rowid(db->handle);
	return rc == SQLITE_OK && *id_out > INT32_MAX ? SQLITE_FULL : rc;
}

static int number_is_free(struct db *db, uint32_t number, bool *free_out)
{
	sqlite3_stmt *query = db_statement(db, S_NUMBER_OWNER);
	int rc;

	if (!query)
		return SQLITE_ERROR;
	sqlite3_bind_int64(query, 1, number);
	rc = sqlite3_step(query);
	*free_out = rc == SQLITE_DONE;
	sqlite3_reset(query);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int number_new(struct cache *cache, struct db *db, const char *key, uint32_t wanted, int64_t *number_out)
{
	sqlite3_stmt *insert = db_statement(db, S_NUMBER_PUT);
	uint32_t number = wanted & NUMBER_MAX;
	bool is_free = false;
	int rc = insert ? SQLITE_OK : SQLITE_ERROR;

	for (unsigned i = 0; rc == SQLITE_OK && !is_free; i++) {
		if (i > NUMBER_NEXT_TRIES + NUMBER_RANDOM_TRIES)
			return SQLITE_FULL;
		if (i > NUMBER_NEXT_TRIES)
			number = g_random_int() & NUMBER_MAX;
		else if (i)
			number = (number + 1) & NUMBER_MAX;
		if (!number)
			number = 1;
		rc = number_is_free(db, number, &is_free);
	}
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(insert, 1, number);
	sqlite3_bind_text(insert, 2, key, -1, SQLITE_STATIC);
	*number_out = number;
	return db_run(insert);
}

/* Looks again inside the transaction: another process may have been first. */
static int allocate(struct cache *cache, enum statement which, allocate_fn fn, const char *text, uint32_t wanted,
	int64_t *value_out, struct error *err)
{
	struct db *db = cache_enter(cache, false);
	int rc;

	if (!db)
		return no_index(cache, err);
	rc = db_exec(db, S_BEGIN);
	if (rc == SQLITE_OK) {
		rc = look_up(db, which, text, value_out);
		rc = rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? fn(cache, db, text, wanted, value_out) : rc;
	}
	if (rc == SQLITE_OK)
		rc = db_exec(db, S_COMMIT);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(db->handle))
		db_exec(db, S_ROLLBACK);
	cache_leave(cache);
	return rc == SQLITE_OK ? 0 : cache_db_failed(cache, rc, err);
}

int cache_folder_id(struct cache *cache, const char *name, uint32_t *id_out, struct error *err)
{
	int64_t id = 0;
	int code = look_up_by_reader(cache, S_FOLDER_ID, name, &id, err);

	if (code == 0)
		code = allocate(cache, S_FOLDER_ID, folder_id_new, name, 0, &id, err);
	*id_out = code < 0 ? FOLDER_UNSTORED + atomic_fetch_add(&cache->unstored_folders, 1) : (uint32_t)id;
	return code < 0 ? code : 0;
}

int cache_number(struct cache *cache, const char *key, uint32_t wanted, uint32_t *number_out, struct error *err)
{
	int64_t number = 0;
	int code = look_up_by_reader(cache, S_NUMBER_OF, key, &number, err);

	if (code == 0)
		code = allocate(cache, S_NUMBER_OF, number_new, key, wanted, &number, err);
	*number_out = (uint32_t)number;
	return code < 0 ? code : 0;
}

/* ---- messages ---- */

static const char *text_of(sqlite3_stmt *row, int column)
{
	return (const char *)sqlite3_column_text(row, column);
}

static void message_read(sqlite3_stmt *row, struct cache_message *message_out)
{
	*message_out = (struct cache_message){
		.uid = (uint32_t)sqlite3_column_int64(row, 0),
		.flags = (uint32_t)sqlite3_column_int64(row, 1),
		.size_bytes = (uint64_t)sqlite3_column_int64(row, 2),
		.size_exact = sqlite3_column_int(row, 3) != 0,
		.date = sqlite3_column_int64(row, 4),
		.stem = text_of(row, 5),
	};
}

int cache_messages_load(struct cache *cache, uint32_t folder, cache_message_fn fn, void *ctx, struct error *err)
{
	struct db *db = cache_reader(cache);
	uint64_t first = (uint64_t)folder << 32;
	sqlite3_stmt *query;
	int code = 0, rc = SQLITE_ERROR;

	if (!db)
		return no_index(cache, err);
	query = db_statement(db, S_MESSAGES);
	if (query) {
		sqlite3_bind_int64(query, 1, (int64_t)first);
		sqlite3_bind_int64(query, 2, (int64_t)(first | UINT32_MAX));
	}
	while (query && (rc = sqlite3_step(query)) == SQLITE_ROW) {
		struct cache_message message;

		message_read(query, &message);
		fn(ctx, &message);
	}
	if (rc != SQLITE_DONE)
		code = statement_failed(cache, db, err);
	if (query)
		sqlite3_reset(query);
	cache_reader_done(cache, db);
	return code;
}

int cache_message_find(
	struct cache *cache, uint32_t folder, uint32_t uid, cache_message_fn fn, void *ctx, struct error *err)
{
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query;
	int code = 0, rc = SQLITE_ERROR;

	if (!db)
		return no_index(cache, err);
	query = db_statement(db, S_MESSAGE);
	if (query) {
		sqlite3_bind_int64(query, 1, (int64_t)((uint64_t)folder << 32 | uid));
		rc = sqlite3_step(query);
	}
	if (rc == SQLITE_ROW) {
		struct cache_message message;

		message_read(query, &message);
		message.from = text_of(query, 6);
		message.to = text_of(query, 7);
		message.subject = text_of(query, 8);
		message.message_id = text_of(query, 9);
		message.keywords = text_of(query, 10);
		message.emailid = text_of(query, 11);
		fn(ctx, &message);
		code = 1;
	} else if (rc != SQLITE_DONE) {
		code = statement_failed(cache, db, err);
	}
	if (query)
		sqlite3_reset(query);
	cache_reader_done(cache, db);
	return code;
}
