/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/arena.h"

#include <glib.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "src/base/banned.h"

#define CHUNK_BYTES (32u * 1024u) /* holds the usual response: flags, dates and a few KiB of header fields */

struct arena_chunk {
	struct arena_chunk *older;
	size_t size;
	max_align_t bytes[];
};

static void chunk_add(struct arena *arena, size_t size)
{
	size_t room = MAX(size, CHUNK_BYTES);
	struct arena_chunk *chunk = g_malloc(sizeof(*chunk) + room);

	chunk->older = arena->chunks;
	chunk->size = room;
	arena->chunks = chunk;
	arena->at = (char *)chunk->bytes;
	arena->end = arena->at + room;
}

void arena_init(struct arena *arena, size_t limit_bytes)
{
	*arena = (struct arena){.limit_bytes = limit_bytes};
	chunk_add(arena, 0);
}

void arena_fini(struct arena *arena)
{
	while (arena->chunks) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->older;
		g_free(chunk);
	}
}

void arena_reset(struct arena *arena)
{
	while (arena->chunks->older) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->older;
		g_free(chunk);
	}
	arena->at = (char *)arena->chunks->bytes;
	arena->end = arena->at + arena->chunks->size;
	arena->charged_bytes = 0;
}

bool arena_charge(struct arena *arena, size_t size)
{
	if (size > arena->limit_bytes - arena->charged_bytes)
		return false;
	arena->charged_bytes += size;
	return true;
}

static char *take(struct arena *arena, size_t size)
{
	char *piece;

	if (size > (size_t)(arena->end - arena->at))
		chunk_add(arena, size);
	piece = arena->at;
	arena->at += size;
	return piece;
}

void *arena_bytes(struct arena *arena, size_t size)
{
	return arena_charge(arena, size) ? take(arena, size) : NULL;
}

char *arena_text(struct arena *arena, const char *text, size_t length)
{
	char *copy = arena_bytes(arena, length + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

void *arena_place(struct arena *arena, size_t size)
{
	size_t skew = -(uintptr_t)arena->at & (_Alignof(max_align_t) - 1);

	if (skew + size > (size_t)(arena->end - arena->at)) {
		chunk_add(arena, size);
		skew = 0;
	}
	return take(arena, skew + size) + skew;
}
