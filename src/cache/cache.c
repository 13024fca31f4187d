/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening, closing, figures. Where nothing can be stored, the cache works in memory and a mount comes up all the same.
 */
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/cache/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define WARN_EVERY_MS 60000

uint32_t hour_now(void)
{
	return (uint32_t)(clock_unix() / HOUR_S);
}

void cache_warn(struct cache *cache, const char *format, ...)
{
	int64_t now_ms = (int64_t)clock_ms(), before = atomic_load(&cache->warned_ms);
	g_autofree char *text = NULL;
	va_list args;

	if ((before && now_ms - before < WARN_EVERY_MS) ||
		!atomic_compare_exchange_strong(&cache->warned_ms, &before, now_ms))
		return;
	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	log_warning("%s: %s", cache->path, text);
}

/* Without one, nothing that wasn't synced is trusted by another process. */
static void boot_id_read(struct cache *cache)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, cache->boot_id, sizeof(cache->boot_id) - 1) : -1;

	if (fd >= 0)
		close(fd);
	if (got != (ssize_t)sizeof(cache->boot_id) - 1)
		snprintf(cache->boot_id, sizeof(cache->boot_id), "unknown-%08x%08x%08x", g_random_int(), g_random_int(),
			g_random_int());
}

static struct cache *cache_new(uint64_t limit_bytes)
{
	struct cache *cache = g_new0(struct cache, 1);
	pthread_condattr_t monotonic;

	cache->dir_fd = cache->lock_fd = -1;
	cache->limit_bytes = limit_bytes;
	cache->segment_bytes = limit_bytes ? CLAMP(limit_bytes / 8, SEGMENT_BYTES_MIN, CACHE_SEGMENT_BYTES)
	                                   : CACHE_SEGMENT_BYTES;
	boot_id_read(cache);
	pthread_mutex_init(&cache->gate_lock, NULL);
	pthread_cond_init(&cache->gate_cond, NULL);
	pthread_mutex_init(&cache->pool_lock, NULL);
	pthread_mutex_init(&cache->fds_lock, NULL);
	pthread_mutex_init(&cache->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&cache->work_cond, &monotonic);
	pthread_cond_init(&cache->done_cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&cache->sync_lock, NULL);
	pthread_cond_init(&cache->sync_cond, NULL);
	cache->fds = g_hash_table_new(NULL, NULL);
	g_queue_init(&cache->fds_lru);
	cache->pending = g_hash_table_new(cache_key_hash, cache_key_equal);
	cache->gone = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	cache->touched = g_hash_table_new_full(cache_key_hash, cache_key_equal, g_free, NULL);
	cache->memory = g_hash_table_new(cache_key_hash, cache_key_equal);
	cache->recent = g_hash_table_new(g_int64_hash, g_int64_equal);
	g_queue_init(&cache->memory_lru);
	cache->broken = g_hash_table_new(NULL, NULL);
	cache->retired = g_ptr_array_new();
	return cache;
}

static void cache_free(struct cache *cache)
{
	memory_clear(cache);
	recent_clear(cache);
	segment_forget(cache, 0);
	while (cache->reader_count)
		db_close(cache->readers[--cache->reader_count]);
	db_close(cache->writer_db);
	index_note_clean(cache);
	place_unlock(cache);
	if (cache->dir_fd >= 0)
		close(cache->dir_fd);
	g_ptr_array_unref(cache->retired);
	g_hash_table_unref(cache->broken);
	g_hash_table_unref(cache->memory);
	g_hash_table_unref(cache->recent);
	g_hash_table_unref(cache->touched);
	g_hash_table_unref(cache->gone);
	g_hash_table_unref(cache->pending);
	g_hash_table_unref(cache->fds);
	pthread_cond_destroy(&cache->sync_cond);
	pthread_mutex_destroy(&cache->sync_lock);
	pthread_cond_destroy(&cache->done_cond);
	pthread_cond_destroy(&cache->work_cond);
	pthread_mutex_destroy(&cache->lock);
	pthread_mutex_destroy(&cache->fds_lock);
	pthread_mutex_destroy(&cache->pool_lock);
	pthread_cond_destroy(&cache->gate_cond);
	pthread_mutex_destroy(&cache->gate_lock);
	g_free(cache->index_uri);
	g_free(cache->path);
	g_free(cache);
}

static int open_on_disk(
	struct cache *cache, const char *dir, const char *host, uint16_t port, const char *user, struct error *err)
{
	int code = place_open(cache, dir, host, port, user, err);

	if (!code)
		code = index_open(cache, err);
	if (!code)
		cleanup_leftovers(cache);
	place_unlock(cache);
	return code;
}

static int open_in_memory(struct cache *cache, struct error *err)
{
	static atomic_uint count;
	int rc;

	cache->memory_only = true;
	if (cache->dir_fd >= 0)
		close(cache->dir_fd);
	cache->dir_fd = -1;
	g_free(cache->index_uri);
	/* one database for all connections of this cache; it lives as long as the writer's */
	cache->index_uri = g_strdup_printf("file:/mailtree-%u?vfs=memdb", atomic_fetch_add(&count, 1));
	cache->writer_db = db_open(cache->index_uri, true, &rc);
	if (cache->writer_db)
		rc = schema_make(cache, cache->writer_db);
	return rc == SQLITE_OK ? 0 : error_set(err, ERR_STORAGE, "cache in memory: %s", sqlite3_errstr(rc));
}

int cache_open(const char *dir, const char *host, uint16_t port, const char *user, uint64_t limit_bytes,
	struct cache **cache_out, struct error *err)
{
	struct cache *cache = cache_new(limit_bytes);
	struct error why = {0};
	int code = open_on_disk(cache, dir, host, port, user, &why);

	if (code) {
		log_warning("no disk cache, what is read isn't kept: %s", why.text);
		code = open_in_memory(cache, err);
	}
	if (!code && !cache->memory_only)
		syncer_start(cache);
	if (!code)
		code = writer_start(cache, err);
	if (code) {
		syncer_stop(cache);
		cache_free(cache);
		return code;
	}
	*cache_out = cache;
	return 0;
}

void cache_close(struct cache *cache)
{
	if (!cache)
		return;
	writer_stop(cache);
	/* behind the writer: the last segment is full then, too */
	syncer_stop(cache);
	cache_free(cache);
}

const char *cache_path(const struct cache *cache)
{
	return cache->path;
}

void cache_stats(struct cache *cache, struct cache_stats *stats_out)
{
	struct db *db = cache_reader(cache);
	sqlite3_stmt *query = db ? db_statement(db, S_STATS) : NULL;

	*stats_out = (struct cache_stats){
		.limit_bytes = cache->limit_bytes,
		.evicted_bytes = atomic_load(&cache->evicted_bytes),
		.dropped = atomic_load(&cache->dropped),
	};
	if (query && sqlite3_step(query) == SQLITE_ROW) {
		stats_out->bytes = (uint64_t)sqlite3_column_int64(query, 0);
		stats_out->segments = (uint64_t)sqlite3_column_int64(query, 1);
		stats_out->messages = (uint64_t)sqlite3_column_int64(query, 2);
	}
	if (query)
		sqlite3_reset(query);
	if (db)
		cache_reader_done(cache, db);
	pthread_mutex_lock(&cache->lock);
	/* what has no row (yet): all there is, where there is no disk */
	stats_out->bytes += cache->memory_bytes;
	stats_out->messages += cache->memory_lru.length;
	pthread_mutex_unlock(&cache->lock);
}
