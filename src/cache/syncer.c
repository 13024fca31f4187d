/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segments that are full are synced to the disk here, on a thread of its own: on a slow or busy disk that takes
 * seconds, and the writer has readers behind it. Until its segment is synced a body counts as not on the disk yet, no
 * more.
 */
#include "src/cache/internal.h"

#include <signal.h>

#include "src/base/banned.h"

static void *run(void *data)
{
	struct cache *cache = data;
	struct appender *appender;

	pthread_mutex_lock(&cache->sync_lock);
	for (;;) {
		while (!(appender = g_queue_pop_head(&cache->syncs)) && !cache->sync_stop)
			pthread_cond_wait(&cache->sync_cond, &cache->sync_lock);
		if (!appender)
			break;
		cache->sync_busy = true;
		pthread_mutex_unlock(&cache->sync_lock);
		appender_end(cache, appender);
		pthread_mutex_lock(&cache->sync_lock);
		cache->sync_busy = false;
		pthread_cond_broadcast(&cache->sync_cond);
	}
	pthread_mutex_unlock(&cache->sync_lock);
	return NULL;
}

void syncer_start(struct cache *cache)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	cache->sync_started = pthread_create(&cache->sync_thread, NULL, run, cache) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (cache->sync_started)
		pthread_setname_np(cache->sync_thread, "mailtree-sync");
}

void syncer_put(struct cache *cache, struct appender *appender)
{
	/* without a thread the writer waits for the disk */
	if (!cache->sync_started) {
		appender_end(cache, appender);
		return;
	}
	pthread_mutex_lock(&cache->sync_lock);
	g_queue_push_tail(&cache->syncs, appender);
	pthread_cond_broadcast(&cache->sync_cond);
	pthread_mutex_unlock(&cache->sync_lock);
}

bool syncer_wait(struct cache *cache)
{
	bool waited = false;

	pthread_mutex_lock(&cache->sync_lock);
	while (cache->sync_busy || cache->syncs.length) {
		waited = true;
		pthread_cond_wait(&cache->sync_cond, &cache->sync_lock);
	}
	pthread_mutex_unlock(&cache->sync_lock);
	return waited;
}

void syncer_stop(struct cache *cache)
{
	if (!cache->sync_started)
		return;
	pthread_mutex_lock(&cache->sync_lock);
	cache->sync_stop = true;
	pthread_cond_broadcast(&cache->sync_cond);
	pthread_mutex_unlock(&cache->sync_lock);
	pthread_join(cache->sync_thread, NULL);
	cache->sync_started = false;
}
