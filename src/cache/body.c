/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies: counted places in memory or in a file; get and put. */
#include "src/base/block.h"
#include "src/cache/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/banned.h"

guint cache_key_hash(gconstpointer pointer)
{
	const struct cache_key *key = pointer;
	uint64_t hash = ((uint64_t)key->folder << 33 | (uint64_t)key->uid << 1 | key->lf) ^ (uint64_t)key->view << 50 ^
	                (uint64_t)key->uidvalidity << 20;

	return (guint)((hash * 0x9e3779b97f4a7c15ull) >> 32);
}

gboolean cache_key_equal(gconstpointer a, gconstpointer b)
{
	const struct cache_key *x = a, *y = b;

	return x->folder == y->folder && x->uidvalidity == y->uidvalidity && x->uid == y->uid && x->lf == y->lf &&
	       x->view == y->view;
}

struct cache_body *body_from_bytes(GBytes *bytes)
{
	struct cache_body *body = g_new0(struct cache_body, 1);

	atomic_init(&body->refs, 1);
	body->length = g_bytes_get_size(bytes);
	body->bytes = g_bytes_ref(bytes);
	return body;
}

struct cache_body *body_from_file(struct segment *segment, uint64_t offset, uint64_t length)
{
	struct cache_body *body = g_new0(struct cache_body, 1);

	atomic_init(&body->refs, 1);
	body->length = length;
	body->segment = segment;
	body->offset = offset;
	return body;
}

struct cache_body *cache_body_ref(struct cache_body *body)
{
	atomic_fetch_add(&body->refs, 1);
	return body;
}

void cache_body_unref(struct cache_body *body)
{
	if (!body || atomic_fetch_sub(&body->refs, 1) != 1)
		return;
	if (body->bytes)
		g_bytes_unref(body->bytes);
	segment_unref(body->segment);
	g_free(body);
}

uint64_t cache_body_length(const struct cache_body *body)
{
	return body->length;
}

ssize_t cache_body_read(struct cache_body *body, uint64_t offset, void *buffer, size_t size, struct error *err)
{
	if (offset >= body->length)
		return 0;
	size = (size_t)MIN(MIN(size, body->length - offset), (uint64_t)SSIZE_MAX);
	if (body->bytes)
		memcpy(buffer, (const char *)g_bytes_get_data(body->bytes, NULL) + offset, size);
	else if (!io_read(body->segment->fd, buffer, size, body->offset + offset))
		return error_set(err, ERR_STORAGE, "cached message: %s", g_strerror(errno));
	return (ssize_t)size;
}

int cache_body_fd(const struct cache_body *body, uint64_t *offset_out)
{
	if (body->bytes)
		return -1;
	*offset_out = body->offset;
	return body->segment->fd;
}

const void *cache_body_memory(const struct cache_body *body)
{
	/* an empty GBytes has no address; NULL would say "in a file" */
	return !body->bytes ? NULL : body->length ? g_bytes_get_data(body->bytes, NULL) : "";
}

/* ---- bodies without a disk ---- */

struct memory_entry {
	struct cache_key key;
	struct cache_body *body;
};

static void memory_remove(struct cache *cache, GList *link)
{
	struct memory_entry *entry = link->data;

	g_hash_table_remove(cache->memory, &entry->key);
	g_queue_delete_link(&cache->memory_lru, link);
	cache->memory_bytes -= entry->body->length;
	cache_body_unref(entry->body);
	g_free(entry);
}

void memory_put(struct cache *cache, const struct cache_key *key, struct cache_body *body)
{
	struct memory_entry *entry;

	/* a file that has lost its name costs disk, not memory, but is bounded all the same */
	if (body->length > MEMORY_BYTES_MAX / 2 || g_hash_table_contains(cache->memory, key))
		return;
	entry = g_new0(struct memory_entry, 1);
	entry->key = *key;
	entry->body = cache_body_ref(body);
	cache->memory_bytes += body->length;
	g_queue_push_head(&cache->memory_lru, entry);
	g_hash_table_insert(cache->memory, &entry->key, cache->memory_lru.head);
	while (cache->memory_bytes > MEMORY_BYTES_MAX || cache->memory_lru.length > SEGMENT_FDS_MAX * 64u)
		memory_remove(cache, cache->memory_lru.tail);
}

struct cache_body *memory_find(struct cache *cache, const struct cache_key *key)
{
	GList *link = g_hash_table_lookup(cache->memory, key);

	if (!link)
		return NULL;
	g_queue_unlink(&cache->memory_lru, link);
	g_queue_push_head_link(&cache->memory_lru, link);
	return ((struct memory_entry *)link->data)->body;
}

void memory_drop(struct cache *cache, uint32_t folder, uint32_t uid)
{
	for (GList *link = cache->memory_lru.head, *next; link; link = next) {
		const struct memory_entry *entry = link->data;

		next = link->next;
		if (entry->key.folder == folder && (!uid || entry->key.uid == uid))
			memory_remove(cache, link);
	}
}

void memory_clear(struct cache *cache)
{
	while (cache->memory_lru.head)
		memory_remove(cache, cache->memory_lru.head);
}

/* ---- get ---- */

struct body_row {
	uint32_t segment, hour;
	uint64_t offset, length, origin;
	bool trusted, sound;
};

int cache_key_form(const struct cache_key *key)
{
	return key->lf | key->view << 1;
}

void cache_key_set_form(struct cache_key *key, int form)
{
	key->lf = form & 1;
	key->view = (uint16_t)(form >> 1);
}

void cache_key_bind(sqlite3_stmt *statement, const struct cache_key *key)
{
	sqlite3_bind_int64(statement, 1, key->folder);
	sqlite3_bind_int64(statement, 2, key->uid);
	sqlite3_bind_int64(statement, 3, key->uidvalidity);
	sqlite3_bind_int64(statement, 4, cache_key_form(key));
}

static bool row_find(struct cache *cache, const struct cache_key *key, struct body_row *row_out)
{
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query;
	bool found = false;
	int rc;

	if (!db)
		return false;
	query = db_statement(db, S_BODY);
	if (!query) {
		cache_db_failed(cache, sqlite3_errcode(db->handle), NULL);
	} else {
		cache_key_bind(query, key);
		rc = sqlite3_step(query);
		found = rc == SQLITE_ROW;
		if (found) {
			row_out->segment = (uint32_t)sqlite3_column_int64(query, 0);
			row_out->offset = (uint64_t)sqlite3_column_int64(query, 1);
			row_out->length = (uint64_t)sqlite3_column_int64(query, 2);
			row_out->hour = (uint32_t)sqlite3_column_int64(query, 3);
			/* synced, or of this boot (the page cache outlives a process), or checked since */
			row_out->trusted = !cache->distrusts_all &&
			                   (sqlite3_column_int(query, 4) ||
						   row_out->offset + sizeof(struct record) + row_out->length <=
							   (uint64_t)sqlite3_column_int64(query, 5) ||
						   g_strcmp0((const char *)sqlite3_column_text(query, 6),
							   cache->boot_id) == 0);
			row_out->origin = (uint64_t)sqlite3_column_int64(query, 7);
			row_out->sound = sqlite3_column_int(query, 8) != 0;
		} else if (rc != SQLITE_DONE) {
			cache_db_failed(cache, rc, NULL);
		}
		sqlite3_reset(query);
	}
	cache_reader_done(cache, db);
	return found;
}

static void report_row(struct cache *cache, enum op_kind kind, const struct cache_key *key, const struct body_row *row)
{
	struct op *op = op_new(kind);

	op->key = *key;
	op->segment = row->segment;
	op->offset = row->offset;
	cache_queue(cache, op, false);
}

bool body_row_is(struct cache *cache, const struct cache_key *key, uint32_t segment, uint64_t offset)
{
	struct body_row row;

	return row_find(cache, key, &row) && row.segment == segment && row.offset == offset;
}

void body_report_bad(struct cache *cache, const struct cache_key *key, uint32_t segment, uint64_t offset)
{
	struct body_row row = {.segment = segment, .offset = offset};

	atomic_fetch_add(&cache->dropped, 1);
	report_row(cache, OP_RECORD_BAD, key, &row);
}

/* The row says where; the record there says whose it is. */
static struct cache_body *row_open(struct cache *cache, const struct cache_key *key, const struct body_row *row)
{
	struct segment *segment = segment_get(cache, row->segment);
	struct cache_key owner = record_key(key, row->origin);
	struct cache_body *body;
	struct record record;
	struct stat st;

	if (!segment) {
		/* evicted by another process, or no descriptors left, which says nothing about it */
		if (errno == ENOENT)
			report_row(cache, OP_RECORD_BAD, key, row);
		return NULL;
	}
	if (!row->sound || !io_read(segment->fd, &record, sizeof(record), row->offset) ||
		!record_is(&record, &owner, row->length) || fstat(segment->fd, &st) != 0 ||
		row->offset + sizeof(record) + row->length > (uint64_t)st.st_size ||
		(!row->trusted && !record_digest_matches(segment->fd, row->offset, &record))) {
		body_report_bad(cache, key, row->segment, row->offset);
		segment_unref(segment);
		return NULL;
	}
	if (!row->trusted)
		report_row(cache, OP_RECORD_GOOD, key, row);
	body = body_from_file(segment, row->offset + sizeof(record), row->length);
	body->origin = row->origin;
	return body;
}

/* Caller holds cache->lock. True = the index needn't be asked. */
static bool find_in_memory(struct cache *cache, const struct cache_key *key, struct cache_body **body_out)
{
	const struct op *op = g_hash_table_lookup(cache->pending, key);
	struct cache_body *body = op ? op->body : memory_find(cache, key);
	uint64_t folder = (uint64_t)key->folder << 32, message = folder | key->uid;

	*body_out = body ? cache_body_ref(body) : NULL;
	return body || cache->memory_only ||
	       (g_hash_table_size(cache->gone) &&
		       (g_hash_table_contains(cache->gone, &folder) || g_hash_table_contains(cache->gone, &message)));
}

/* Neither cleared away nor dropped by another process since. */
static bool is_in_place(const struct cache_body *body, const struct cache_key *key)
{
	struct cache_key owner = record_key(key, body->origin);
	struct record record;
	struct stat st;

	block_ahead();
	return fstat(body->segment->fd, &st) == 0 && st.st_nlink &&
	       io_read(body->segment->fd, &record, sizeof(record), body->offset - sizeof(record)) &&
	       record_is(&record, &owner, body->length);
}

/* True = the index needn't be asked. `drops_out`: for recent_put(). */
static bool find_without_index(
	struct cache *cache, const struct cache_key *key, struct cache_body **body_out, uint64_t *drops_out)
{
	struct cache_body *recent = NULL;
	bool answered, used = false;

	pthread_mutex_lock(&cache->lock);
	answered = find_in_memory(cache, key, body_out);
	if (!answered && (recent = recent_find(cache, key, &used)))
		*body_out = cache_body_ref(recent);
	*drops_out = cache->recent_drops;
	pthread_mutex_unlock(&cache->lock);
	if (recent && !is_in_place(*body_out, key)) {
		cache_body_unref(*body_out);
		*body_out = recent = NULL;
	}
	if (recent && used)
		cache_touch(cache, key, hour_now());
	return answered || recent;
}

int cache_body_get(struct cache *cache, const struct cache_key *key, struct cache_body **body_out, struct error *err)
{
	struct body_row row;
	uint64_t drops;

	if (find_without_index(cache, key, body_out, &drops))
		return *body_out ? 1 : 0;
	/* An index that can't be read is no reason not to read mail: the body then counts as not cached. */
	if (!row_find(cache, key, &row))
		return 0;
	*body_out = row_open(cache, key, &row);
	if (!*body_out)
		return 0;
	if (row.hour < hour_now())
		cache_touch(cache, key, hour_now());
	pthread_mutex_lock(&cache->lock);
	/* not what was dropped meanwhile: the number may be another message's next */
	if (drops == cache->recent_drops)
		recent_put(cache, key, *body_out, hour_now());
	pthread_mutex_unlock(&cache->lock);
	return 1;
}

void cache_body_drop(struct cache *cache, const struct cache_key *key)
{
	struct op *op = op_new(OP_BODY_DROP);

	op->key = *key;
	cache_queue(cache, op, false);
}

static bool fits(const struct cache *cache, uint64_t length)
{
	return !cache->limit_bytes || length + sizeof(struct record) <= cache->limit_bytes;
}

struct cache_body *cache_body_put(struct cache *cache, const struct cache_key *key, GBytes *bytes)
{
	return cache_body_put_identified(cache, key, bytes, &(struct cache_identity){0});
}

struct cache_body *cache_body_put_identified(
	struct cache *cache, const struct cache_key *key, GBytes *bytes, const struct cache_identity *identity)
{
	struct cache_body *body, *there;
	struct op *op;
	uint64_t drops;

	/* The index isn't asked: who fetches has looked, and a row of another process stays when ours comes second. */
	find_without_index(cache, key, &there, &drops);
	if (there)
		return there;
	body = body_from_bytes(bytes);
	pthread_mutex_lock(&cache->lock);
	if (cache->memory_only)
		memory_put(cache, key, body);
	if (cache->memory_only || !fits(cache, body->length)) {
		pthread_mutex_unlock(&cache->lock);
		return body;
	}
	if (!queue_wait(cache, body->length + BODY_OVERHEAD_BYTES)) {
		memory_put(cache, key, body);
		pthread_mutex_unlock(&cache->lock);
		return body;
	}
	op = g_hash_table_lookup(cache->pending, key);
	if (op) {
		cache_body_unref(body);
		body = cache_body_ref(op->body);
	} else {
		op = op_new(OP_BODY);
		op->key = *key;
		op->body = cache_body_ref(body);
		op->identity = *identity;
		op->bytes = body->length + BODY_OVERHEAD_BYTES;
		queue_body(cache, op);
	}
	pthread_mutex_unlock(&cache->lock);
	return body;
}

/* ---- which are there ---- */

static int compare_uids(gconstpointer a, gconstpointer b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool add_if_same(const struct cache_key *key, const struct cache_key *wanted, GArray *uids)
{
	if (key->folder != wanted->folder || key->uidvalidity != wanted->uidvalidity || key->lf != wanted->lf ||
		key->view != wanted->view)
		return false;
	g_array_append_val(uids, key->uid);
	return true;
}

static bool is_gone(gconstpointer table, uint32_t folder, uint32_t uid)
{
	uint64_t message = (uint64_t)folder << 32 | uid;

	return g_hash_table_contains((GHashTable *)table, &message);
}

/* What this process has queued, in either sense. Caller holds cache->lock. */
static void overlay(struct cache *cache, const struct cache_key *wanted, GArray *uids)
{
	GHashTableIter iter;
	gpointer key;
	bool added = false;
	guint kept = 0;

	if (g_hash_table_size(cache->gone)) {
		if (is_gone(cache->gone, wanted->folder, 0))
			g_array_set_size(uids, 0);
		for (guint i = 0; i < uids->len; i++) {
			uint32_t uid = g_array_index(uids, uint32_t, i);

			if (!is_gone(cache->gone, wanted->folder, uid))
				g_array_index(uids, uint32_t, kept++) = uid;
		}
		g_array_set_size(uids, kept);
	}
	g_hash_table_iter_init(&iter, cache->pending);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		added |= add_if_same(key, wanted, uids);
	for (GList *link = cache->memory_lru.head; link; link = link->next)
		added |= add_if_same(&((struct memory_entry *)link->data)->key, wanted, uids);
	if (!added)
		return;
	g_array_sort(uids, compare_uids);
	kept = 0;
	for (guint i = 0; i < uids->len; i++)
		if (!kept || g_array_index(uids, uint32_t, i) != g_array_index(uids, uint32_t, kept - 1))
			g_array_index(uids, uint32_t, kept++) = g_array_index(uids, uint32_t, i);
	g_array_set_size(uids, kept);
}

int cache_body_uids(
	struct cache *cache, uint32_t folder, uint32_t uidvalidity, bool lf, GArray *uids_out, struct error *err)
{
	struct cache_key wanted = {.folder = folder, .uidvalidity = uidvalidity, .lf = lf};
	struct db *db = cache->memory_only ? NULL : cache_reader(cache);
	sqlite3_stmt *query = db ? db_statement(db, S_BODY_UIDS) : NULL;
	int code = 0, rc;

	g_array_set_size(uids_out, 0);
	if (query) {
		sqlite3_bind_int64(query, 1, folder);
		sqlite3_bind_int64(query, 2, uidvalidity);
		sqlite3_bind_int64(query, 3, lf);
		while ((rc = sqlite3_step(query)) == SQLITE_ROW) {
			uint32_t uid = (uint32_t)sqlite3_column_int64(query, 0);

			g_array_append_val(uids_out, uid);
		}
		if (rc != SQLITE_DONE)
			code = cache_db_failed(cache, rc, err);
		sqlite3_reset(query);
	}
	if (db)
		cache_reader_done(cache, db);
	pthread_mutex_lock(&cache->lock);
	overlay(cache, &wanted, uids_out);
	pthread_mutex_unlock(&cache->lock);
	return code;
}

bool cache_body_any_identified(struct cache *cache, uint32_t folder)
{
	struct db *db;
	sqlite3_stmt *query;
	GHashTableIter iter;
	gpointer op;
	bool found;

	if (cache->memory_only)
		return false;
	pthread_mutex_lock(&cache->lock);
	/* what it is doing with them isn't in the index yet */
	found = is_gone(cache->gone, folder, 0);
	g_hash_table_iter_init(&iter, cache->pending);
	while (!found && g_hash_table_iter_next(&iter, NULL, &op))
		found = ((struct op *)op)->key.folder == folder && identity_is_known(&((struct op *)op)->identity);
	pthread_mutex_unlock(&cache->lock);
	db = found ? NULL : cache_reader(cache);
	query = db ? db_statement(db, S_BODY_ANY_IDENTIFIED) : NULL;
	if (query) {
		sqlite3_bind_int64(query, 1, folder);
		found = sqlite3_step(query) == SQLITE_ROW;
		sqlite3_reset(query);
	}
	if (db)
		cache_reader_done(cache, db);
	return found;
}

int cache_body_lengths(
	struct cache *cache, const struct cache_key *key, cache_length_fn fn, void *ctx, struct error *err)
{
	struct db *db = cache->memory_only ? NULL : cache_reader(cache);
	sqlite3_stmt *query = db ? db_statement(db, S_BODY_LENGTHS) : NULL;
	int code = 0, rc;

	if (query) {
		sqlite3_bind_int64(query, 1, key->folder);
		sqlite3_bind_int64(query, 2, key->uidvalidity);
		sqlite3_bind_int64(query, 3, cache_key_form(key));
		while ((rc = sqlite3_step(query)) == SQLITE_ROW)
			fn(ctx, (uint32_t)sqlite3_column_int64(query, 0), (uint64_t)sqlite3_column_int64(query, 1));
		if (rc != SQLITE_DONE)
			code = cache_db_failed(cache, rc, err);
		sqlite3_reset(query);
	}
	if (db)
		cache_reader_done(cache, db);
	return code;
}
