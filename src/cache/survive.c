/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bodies that outlive the numbers of their messages. When a folder is listed anew, those whose identity the server
 * told with their octets are set aside: under UIDVALIDITY 0, which no message has, so that nobody reads them. When the
 * listing is complete each goes to the message of the same identity, if that is plain: one message had it, one has it,
 * and as many octets. The rest is dropped.
 *
 * Records in segments aren't touched, they go on saying whose they were: the row keeps that as its `origin`, and a sum
 * over both, since for such a row the record alone doesn't tell that the row is right (0009). A rebuilt index doesn't
 * know identities: such bodies are dropped at the next listing. Under one UIDVALIDITY a record says one thing for ever:
 * where that stayed, a body comes back to its own UID or not at all.
 *
 * Everything here but cache_identity_of() runs inside the writer's transaction.
 */
#include "src/cache/internal.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/banned.h"

struct survivor {
	struct cache_identity identity;
	struct cache_key key;
	uint64_t origin;
	uint32_t heir; /* UID of whom it goes to; 0 = nobody */
	bool sound;
};

void cache_identity_of(const char *id, uint64_t octets, struct cache_identity *identity_out)
{
	uint8_t sum[EVP_MAX_MD_SIZE];

	*identity_out = (struct cache_identity){0};
	/* an empty message is soon fetched, and 0 is what a server says that doesn't know */
	if (!id || !*id || !octets || EVP_Digest(id, strlen(id), sum, NULL, EVP_sha256(), NULL) != 1)
		return;
	memcpy(identity_out->id, sum, sizeof(identity_out->id));
	identity_out->octets = octets;
}

bool identity_is_known(const struct cache_identity *identity)
{
	return identity->octets != 0;
}

struct cache_key record_key(const struct cache_key *key, uint64_t origin)
{
	struct cache_key found = *key;

	if (origin) {
		found.uidvalidity = (uint32_t)(origin >> 32);
		found.uid = (uint32_t)origin;
	}
	return found;
}

static uint64_t origin_of(const struct survivor *survivor)
{
	return survivor->origin ? survivor->origin : (uint64_t)survivor->key.uidvalidity << 32 | survivor->key.uid;
}

/* ---- who has which identity ---- */

static int compare_ids(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, CACHE_ID_BYTES);
}

static int compare_numbers(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_uid(const void *a, const void *b)
{
	const struct cache_named *x = a, *y = b;
	int order = compare_numbers(x->uid, y->uid);

	if (!order)
		order = compare_ids(x->identity.id, y->identity.id);
	return order ? order : compare_numbers(x->identity.octets, y->identity.octets);
}

static int by_id(const void *a, const void *b)
{
	const struct cache_named *x = a, *y = b;
	int order = compare_ids(x->identity.id, y->identity.id);

	return order ? order : compare_numbers(x->uid, y->uid);
}

static void mark(struct cache_named *from, const struct cache_named *end)
{
	for (; from < end; from++)
		from->ambiguous = true;
}

/* Sorted by id. Ambiguous is what isn't one message's alone, and what is told of a message in two ways. */
static void settle(GArray *named)
{
	struct cache_named *at = (struct cache_named *)named->data, *end = at + named->len, *next;

	g_array_sort(named, by_uid);
	for (; at < end; at = next) {
		for (next = at + 1; next < end && next->uid == at->uid; next++)
			;
		if (by_uid(at, next - 1) != 0)
			mark(at, next);
	}
	at = (struct cache_named *)named->data;
	g_array_sort(named, by_id);
	for (; at < end; at = next) {
		for (next = at + 1; next < end && compare_ids(next->identity.id, at->identity.id) == 0; next++)
			;
		if (next[-1].uid != at->uid)
			mark(at, next);
	}
}

static const struct cache_named *find(const GArray *named, const uint8_t *id)
{
	const struct cache_named *rows = (const struct cache_named *)named->data;
	guint low = 0, high = named->len;

	while (low < high) {
		guint middle = low + (high - low) / 2;

		if (compare_ids(rows[middle].identity.id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == named->len || compare_ids(rows[low].identity.id, id) != 0)
		return NULL;
	/* equal ones are of one uid, or all of them are marked; a mark of its uid may be on any */
	for (guint i = low; i < named->len && compare_ids(rows[i].identity.id, id) == 0; i++)
		if (rows[i].ambiguous)
			return NULL;
	return &rows[low];
}

static int failed(struct db *db)
{
	int rc = sqlite3_errcode(db->handle);

	return rc == SQLITE_OK ? SQLITE_ERROR : rc;
}

/* What the index says of the messages as they were. */
static int names_read(struct db *db, uint32_t folder, GArray *named)
{
	sqlite3_stmt *query = db_statement(db, S_MESSAGE_IDS);
	uint64_t first = (uint64_t)folder << 32;
	int rc;

	if (!query)
		return failed(db);
	sqlite3_bind_int64(query, 1, (int64_t)first);
	sqlite3_bind_int64(query, 2, (int64_t)(first | UINT32_MAX));
	while ((rc = sqlite3_step(query)) == SQLITE_ROW) {
		struct cache_named message = {.uid = (uint32_t)sqlite3_column_int64(query, 0)};

		/* sizes of then may have been learned since: they say nothing here */
		cache_identity_of((const char *)sqlite3_column_text(query, 1), 1, &message.identity);
		if (identity_is_known(&message.identity))
			g_array_append_val(named, message);
	}
	sqlite3_reset(query);
	settle(named);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- setting aside ---- */

/* Of all, or of those that were set aside. */
static int survivors_read(struct db *db, uint32_t folder, bool aside, GArray *survivors)
{
	sqlite3_stmt *query = db_statement(db, S_BODY_IDENTIFIED);
	int rc;

	if (!query)
		return failed(db);
	sqlite3_bind_int64(query, 1, folder);
	while ((rc = sqlite3_step(query)) == SQLITE_ROW) {
		struct survivor survivor = {.key = {.folder = folder,
						    .uid = (uint32_t)sqlite3_column_int64(query, 0),
						    .uidvalidity = (uint32_t)sqlite3_column_int64(query, 1),
						    .lf = sqlite3_column_int(query, 2) != 0},
			.origin = (uint64_t)sqlite3_column_int64(query, 5),
			.sound = sqlite3_column_int(query, 6) != 0};

		if (sqlite3_column_bytes(query, 3) != CACHE_ID_BYTES ||
			(aside && (survivor.key.uidvalidity || !survivor.origin)))
			continue;
		memcpy(survivor.identity.id, sqlite3_column_blob(query, 3), CACHE_ID_BYTES);
		survivor.identity.octets = (uint64_t)sqlite3_column_int64(query, 4);
		g_array_append_val(survivors, survivor);
	}
	sqlite3_reset(query);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int rename_row(struct db *db, const struct survivor *survivor, uint32_t uid, uint32_t uidvalidity)
{
	sqlite3_stmt *update = db_statement(db, S_BODY_RENAME);
	uint64_t origin = origin_of(survivor);

	if (!update)
		return failed(db);
	cache_key_bind(update, &survivor->key);
	sqlite3_bind_int64(update, 5, uid);
	sqlite3_bind_int64(update, 6, uidvalidity);
	if (origin != ((uint64_t)uidvalidity << 32 | uid))
		sqlite3_bind_int64(update, 7, (int64_t)origin);
	return db_run(update);
}

/* For which UIDVALIDITY the folder's rows are a complete listing; 0 = none. */
static int listed_uidvalidity(struct db *db, uint32_t folder, uint32_t *uidvalidity_out)
{
	sqlite3_stmt *query = db_statement(db, S_FOLDER_LISTED);
	int rc;

	*uidvalidity_out = 0;
	if (!query)
		return failed(db);
	sqlite3_bind_int64(query, 1, folder);
	rc = sqlite3_step(query);
	if (rc == SQLITE_ROW)
		*uidvalidity_out = (uint32_t)sqlite3_column_int64(query, 0);
	sqlite3_reset(query);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The listing told the same of it as its own fetch, and of no other message. */
static bool was_plain(const struct survivor *survivor, const GArray *named)
{
	const struct cache_named *message = find(named, survivor->identity.id);

	return survivor->sound && message && message->uid == survivor->key.uid;
}

int bodies_set_aside(struct db *db, uint32_t folder)
{
	g_autoptr(GArray) survivors = g_array_new(FALSE, FALSE, sizeof(struct survivor));
	g_autoptr(GArray) named = g_array_new(FALSE, FALSE, sizeof(struct cache_named));
	uint32_t listed = 0;
	int rc = survivors_read(db, folder, false, survivors);

	if (rc == SQLITE_OK && survivors->len)
		rc = listed_uidvalidity(db, folder, &listed);
	if (rc == SQLITE_OK && listed)
		rc = names_read(db, folder, named);
	for (guint i = 0; i < survivors->len && listed && rc == SQLITE_OK; i++) {
		const struct survivor *survivor = &g_array_index(survivors, struct survivor, i);

		if (survivor->key.uidvalidity == listed && was_plain(survivor, named))
			rc = rename_row(db, survivor, survivor->key.uid, 0);
	}
	return rc;
}

/* ---- and taking over ---- */

static int survivor_by_id(const void *a, const void *b)
{
	const struct survivor *x = a, *y = b;
	int order = compare_ids(x->identity.id, y->identity.id);

	return order ? order : compare_numbers(origin_of(x), origin_of(y));
}

static int by_key(const void *a, const void *b)
{
	const struct survivor *x = a, *y = b;
	int order = compare_numbers(x->key.uid, y->key.uid);

	return order ? order : compare_numbers(x->key.lf, y->key.lf);
}

/* To whom those of one identity go; NULL = to nobody. They may be two: one with CRLF, one with LF. */
static uint32_t heir_of(
	const struct survivor *from, const struct survivor *end, uint32_t uidvalidity, const GArray *named)
{
	const struct cache_named *message = find(named, from->identity.id);

	if (!message || (from->origin >> 32 == uidvalidity && (uint32_t)from->origin != message->uid))
		return 0;
	for (const struct survivor *at = from; at < end; at++)
		if (origin_of(at) != origin_of(from) || !at->sound || at->identity.octets != message->identity.octets)
			return 0;
	return message->uid;
}

static void heirs_find(GArray *survivors, uint32_t uidvalidity, const GArray *named)
{
	struct survivor *at = (struct survivor *)survivors->data, *end = at + survivors->len, *next;

	g_array_sort(survivors, survivor_by_id);
	for (; at < end; at = next) {
		uint32_t heir;

		for (next = at + 1; next < end && compare_ids(next->identity.id, at->identity.id) == 0; next++)
			;
		heir = heir_of(at, next, uidvalidity, named);
		for (; at < next; at++)
			at->heir = heir;
	}
	/* as the table is sorted: in any other order it takes far longer */
	g_array_sort(survivors, by_key);
}

int bodies_take_over(struct db *db, uint32_t folder, uint32_t uidvalidity, GArray *named)
{
	g_autoptr(GArray) survivors = g_array_new(FALSE, FALSE, sizeof(struct survivor));
	int rc = survivors_read(db, folder, true, survivors);

	if (rc != SQLITE_OK || !survivors->len || !uidvalidity)
		return rc;
	settle(named);
	heirs_find(survivors, uidvalidity, named);
	for (guint i = 0; i < survivors->len && rc == SQLITE_OK; i++) {
		const struct survivor *survivor = &g_array_index(survivors, struct survivor, i);

		if (survivor->heir)
			rc = rename_row(db, survivor, survivor->heir, uidvalidity);
	}
	return rc;
}
