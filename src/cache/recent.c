/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where bodies are that were stored or read lately: a reader who follows the writer, or who reads a file in pieces,
 * needn't ask the index for each, which costs a transaction with its locks. Whether the record still lives, its own
 * header and its file's name tell (body.c); what only the index knows is obeyed within a minute.
 *
 * One entry for a message: its other form (lf) takes its place. All functions: caller holds cache->lock.
 */
#include "src/base/loop.h"
#include "src/cache/internal.h"

#include "src/base/banned.h"

#define RECENT_MAX 8192u /* about 150 bytes each */
#define BELIEVED_MS 60000u

struct recent {
	uint64_t message; /* folder << 32 | uid */
	struct cache_key key;
	struct cache_body *body;
	uint32_t hour; /* of the last use that was told */
	uint64_t until_ms;
};

static void recent_remove(struct cache *cache, GList *link)
{
	struct recent *entry = link->data;

	g_hash_table_remove(cache->recent, &entry->message);
	g_queue_delete_link(&cache->recent_lru, link);
	cache_body_unref(entry->body);
	g_free(entry);
}

static GList *find(struct cache *cache, uint32_t folder, uint32_t uid)
{
	uint64_t message = (uint64_t)folder << 32 | uid;

	return g_hash_table_lookup(cache->recent, &message);
}

void recent_put(struct cache *cache, const struct cache_key *key, struct cache_body *body, uint32_t hour)
{
	GList *link = find(cache, key->folder, key->uid);
	struct recent *entry;

	if (link)
		recent_remove(cache, link);
	entry = g_new0(struct recent, 1);
	entry->message = (uint64_t)key->folder << 32 | key->uid;
	entry->key = *key;
	entry->body = cache_body_ref(body);
	entry->hour = hour;
	entry->until_ms = clock_ms() + BELIEVED_MS;
	g_queue_push_head(&cache->recent_lru, entry);
	g_hash_table_insert(cache->recent, &entry->message, cache->recent_lru.head);
	if (cache->recent_lru.length > RECENT_MAX)
		recent_remove(cache, cache->recent_lru.tail);
}

struct cache_body *recent_find(struct cache *cache, const struct cache_key *key, bool *used_out)
{
	GList *link = find(cache, key->folder, key->uid);
	struct recent *entry = link ? link->data : NULL;

	*used_out = false;
	if (!entry || !cache_key_equal(&entry->key, key))
		return NULL;
	if (clock_ms() >= entry->until_ms) {
		recent_remove(cache, link);
		return NULL;
	}
	*used_out = entry->hour < hour_now();
	if (*used_out)
		entry->hour = hour_now();
	return entry->body;
}

void recent_drop(struct cache *cache, uint32_t folder, uint32_t uid)
{
	GList *link = uid ? find(cache, folder, uid) : cache->recent_lru.head;

	cache->recent_drops++;
	if (uid) {
		if (link)
			recent_remove(cache, link);
		return;
	}
	for (GList *next; link; link = next) {
		const struct recent *entry = link->data;

		next = link->next;
		if (entry->key.folder == folder)
			recent_remove(cache, link);
	}
}

void recent_drop_segment(struct cache *cache, uint32_t segment)
{
	for (GList *link = cache->recent_lru.head, *next; link; link = next) {
		const struct recent *entry = link->data;

		next = link->next;
		if (entry->body->segment && entry->body->segment->id == segment)
			recent_remove(cache, link);
	}
}

void recent_clear(struct cache *cache)
{
	cache->recent_drops++;
	while (cache->recent_lru.head)
		recent_remove(cache, cache->recent_lru.head);
}
