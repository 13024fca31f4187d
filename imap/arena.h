/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of one response: many small pieces, freed all at once. Pieces never move, so values may
 * point at each other while more is allocated. Internal to the grammar.
 *
 * Everything a server can make us keep is charged against ARENA's limit, also what lives elsewhere
 * (arena_charge()): the sum decides, not the number of mallocs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first; the oldest is kept for the next response */
	char *at, *end;             /* what is free in the newest */
	size_t charged_bytes;
	size_t limit_bytes;
};

void arena_init(struct arena *arena, size_t limit_bytes);
void arena_fini(struct arena *arena);
/* Forgets every piece; the next response gets the memory of the last one. */
void arena_reset(struct arena *arena);

/* False when the limit is reached. */
bool arena_charge(struct arena *arena, size_t size);
/* `size` bytes, uninitialised; NULL when the limit is reached. */
void *arena_bytes(struct arena *arena, size_t size);
/* A NUL-terminated copy. */
char *arena_text(struct arena *arena, const char *text, size_t length);
/* Aligned for any type. Not charged: for what was charged when it came in and now finds its place. */
void *arena_place(struct arena *arena, size_t size);
