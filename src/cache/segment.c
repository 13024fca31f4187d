/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segment files: their names, descriptors to read them, their locks. */
#include "src/cache/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "src/base/banned.h"

char *segment_name(uint32_t id)
{
	return g_strdup_printf("seg-%08x.mt", id);
}

/* ---- reading ---- */

struct segment *segment_new(int fd, uint32_t id)
{
	struct segment *segment = g_new0(struct segment, 1);

	atomic_init(&segment->refs, 1);
	segment->fd = fd;
	segment->id = id;
	return segment;
}

struct segment *segment_ref(struct segment *segment)
{
	atomic_fetch_add(&segment->refs, 1);
	return segment;
}

void segment_unref(struct segment *segment)
{
	if (!segment || atomic_fetch_sub(&segment->refs, 1) != 1)
		return;
	close(segment->fd);
	g_free(segment);
}

/* Caller holds fds_lock. */
static struct segment *fds_take(struct cache *cache, GList *link)
{
	struct segment *segment = link->data;

	g_hash_table_remove(cache->fds, GUINT_TO_POINTER(segment->id));
	g_queue_delete_link(&cache->fds_lru, link);
	return segment;
}

struct segment *segment_get(struct cache *cache, uint32_t id)
{
	struct segment *segment = NULL, *least_used = NULL;
	GList *link;

	pthread_mutex_lock(&cache->fds_lock);
	link = g_hash_table_lookup(cache->fds, GUINT_TO_POINTER(id));
	if (link) {
		segment = segment_ref(link->data);
		if (link != cache->fds_lru.head) {
			g_queue_unlink(&cache->fds_lru, link);
			g_queue_push_head_link(&cache->fds_lru, link);
		}
	} else {
		g_autofree char *name = segment_name(id);
		int fd = openat(cache->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

		if (fd >= 0) {
			segment = segment_new(fd, id);
			g_queue_push_head(&cache->fds_lru, segment_ref(segment));
			g_hash_table_insert(cache->fds, GUINT_TO_POINTER(id), cache->fds_lru.head);
			if (cache->fds_lru.length > SEGMENT_FDS_MAX)
				least_used = fds_take(cache, cache->fds_lru.tail);
		}
	}
	pthread_mutex_unlock(&cache->fds_lock);
	segment_unref(least_used);
	return segment;
}

void segment_forget(struct cache *cache, uint32_t id)
{
	GList *link;

	pthread_mutex_lock(&cache->fds_lock);
	if (id) {
		link = g_hash_table_lookup(cache->fds, GUINT_TO_POINTER(id));
		if (link)
			segment_unref(fds_take(cache, link));
	} else {
		while (cache->fds_lru.head)
			segment_unref(fds_take(cache, cache->fds_lru.head));
	}
	pthread_mutex_unlock(&cache->fds_lock);
}

void segment_unlink(struct cache *cache, uint32_t id)
{
	g_autofree char *name = segment_name(id);

	unlinkat(cache->dir_fd, name, 0);
	segment_forget(cache, id);
	pthread_mutex_lock(&cache->lock);
	recent_drop_segment(cache, id);
	pthread_mutex_unlock(&cache->lock);
}

int segment_lock(struct cache *cache, uint32_t id)
{
	g_autofree char *name = segment_name(id);
	int fd = openat(cache->dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int error_number = errno;

		close(fd);
		errno = error_number;
		return -1;
	}
	return fd;
}

void segment_kill(struct cache *cache, uint32_t id, uint64_t offset)
{
	g_autofree char *name = segment_name(id);
	int fd = openat(cache->dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return;
	record_kill(fd, offset);
	close(fd);
}
