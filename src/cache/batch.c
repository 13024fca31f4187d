/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of rows as callers make them: copied into chunks that the writer applies one by one. */
#include "src/cache/internal.h"

#include <string.h>

#include "src/base/banned.h"

struct cache_batch {
	struct cache *cache;
	uint32_t folder;
	struct op *first, *last; /* chunks */
};

struct cache_batch *cache_batch_new(struct cache *cache, uint32_t folder)
{
	struct cache_batch *batch = g_new0(struct cache_batch, 1);

	batch->cache = cache;
	batch->folder = folder;
	return batch;
}

static struct op *chunk_new(struct cache_batch *batch)
{
	struct op *op = op_new(OP_ROWS);

	op->key.folder = batch->folder;
	op->units = 0;
	op->rows = g_array_new(FALSE, TRUE, sizeof(struct row_op));
	op->arena = g_byte_array_new();
	g_byte_array_append(op->arena, (const guint8 *)"", 1); /* offset 0 means NULL */
	if (batch->last)
		batch->last->next = op;
	else
		batch->first = op;
	batch->last = op;
	return op;
}

static struct row_op *row_add(struct cache_batch *batch, enum row_kind kind, uint32_t uid)
{
	struct op *op = batch->last;
	struct row_op *row;

	if (!op || op->rows->len >= CHUNK_ROWS)
		op = chunk_new(batch);
	g_array_set_size(op->rows, op->rows->len + 1);
	op->units++;
	op->bytes += sizeof(struct row_op);
	row = &g_array_index(op->rows, struct row_op, op->rows->len - 1);
	row->kind = kind;
	row->uid = uid;
	return row;
}

/* Cut at TEXT_BYTES_MAX, between characters. */
static uint32_t text_add(struct cache_batch *batch, const char *text)
{
	struct op *op = batch->last;
	uint32_t offset = op->arena->len;
	size_t length;

	if (!text)
		return 0;
	length = strnlen(text, TEXT_BYTES_MAX + 1);
	if (length > TEXT_BYTES_MAX) {
		length = TEXT_BYTES_MAX;
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	g_byte_array_append(op->arena, (const guint8 *)text, (guint)length);
	g_byte_array_append(op->arena, (const guint8 *)"", 1);
	op->bytes += length + 1;
	return offset;
}

static void clear(struct cache_batch *batch, enum row_kind kind)
{
	/* alone in front: whether a chunk clears is seen by its first row */
	if (batch->last && batch->last->rows->len)
		chunk_new(batch);
	row_add(batch, kind, 0);
}

void cache_batch_clear(struct cache_batch *batch)
{
	clear(batch, ROW_CLEAR);
}

void cache_batch_renumber(struct cache_batch *batch)
{
	clear(batch, ROW_RENUMBER);
}

void cache_batch_adopt(struct cache_batch *batch, uint32_t uidvalidity, GArray *named)
{
	struct op *op = chunk_new(batch);

	row_add(batch, ROW_ADOPT, uidvalidity);
	op->named = named;
	op->bytes += named->len * sizeof(struct cache_named);
}

void cache_batch_put(struct cache_batch *batch, const struct cache_message *message)
{
	const char *texts[ROW_TEXTS] = {message->stem, message->from, message->to, message->subject,
		message->message_id, message->keywords, message->emailid};
	struct row_op *row = row_add(batch, ROW_PUT, message->uid);

	row->flags = message->flags;
	row->size_bytes = message->size_bytes;
	row->size_exact = message->size_exact;
	row->date = message->date;
	for (int i = 0; i < ROW_TEXTS; i++)
		row->texts[i] = text_add(batch, texts[i]);
}

void cache_batch_flags(struct cache_batch *batch, uint32_t uid, uint32_t flags, const char *keywords)
{
	struct row_op *row = row_add(batch, ROW_FLAGS, uid);

	row->flags = flags;
	row->texts[0] = text_add(batch, keywords);
}

void cache_batch_size(struct cache_batch *batch, uint32_t uid, uint64_t size_bytes)
{
	row_add(batch, ROW_SIZE, uid)->size_bytes = size_bytes;
}

void cache_batch_drop(struct cache_batch *batch, uint32_t uid)
{
	row_add(batch, ROW_DROP, uid);
}

void cache_batch_folder(struct cache_batch *batch, const struct cache_folder *folder)
{
	struct op *op = batch->last ? batch->last : chunk_new(batch);

	g_free(op->folder.name);
	op->folder = *folder;
	op->folder.name = g_strdup(folder->name);
	op->has_folder = true;
	op->units++;
	/* what is added after it comes after it */
	chunk_new(batch);
}

void cache_batch_submit(struct cache_batch *batch)
{
	if (!batch)
		return;
	cache_queue(batch->cache, batch->first, true);
	g_free(batch);
}
