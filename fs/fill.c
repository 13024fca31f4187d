/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/fill.h"

#include <pthread.h>
#include <signal.h>

#include "src/base/banned.h"

#define FILL_GATHER_US 500u

struct body {
	uint64_t ino;
	GBytes *bytes;
};

struct fill {
	fill_store_fn store;
	void *ctx;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t filled;
	GQueue bodies; /* struct body * */
	size_t queued_bytes;
	bool stopping;
	GHashTable *open;      /* inode → how often it is open */
	uint64_t storing;      /* 0 = none */
	pthread_cond_t stored; /* `storing` has become 0 */
};

struct fill *fill_new(fill_store_fn store, void *ctx)
{
	struct fill *fill = g_new0(struct fill, 1);

	fill->store = store;
	fill->ctx = ctx;
	pthread_mutex_init(&fill->lock, NULL);
	pthread_cond_init(&fill->filled, NULL);
	pthread_cond_init(&fill->stored, NULL);
	fill->open = g_hash_table_new(NULL, NULL);
	g_queue_init(&fill->bodies);
	return fill;
}

static void body_free(void *data)
{
	struct body *body = data;

	g_bytes_unref(body->bytes);
	g_free(body);
}

void fill_free(struct fill *fill)
{
	if (!fill)
		return;
	g_queue_clear_full(&fill->bodies, body_free);
	g_hash_table_unref(fill->open);
	pthread_cond_destroy(&fill->stored);
	pthread_cond_destroy(&fill->filled);
	pthread_mutex_destroy(&fill->lock);
	g_free(fill);
}

void fill_add(struct fill *fill, uint64_t ino, GBytes *bytes)
{
	size_t length = g_bytes_get_size(bytes);
	struct body *body = NULL;

	pthread_mutex_lock(&fill->lock);
	if (fill->started && !fill->stopping && fill->queued_bytes + length <= FILL_QUEUE_BYTES_MAX) {
		body = g_new(struct body, 1);
		*body = (struct body){.ino = ino, .bytes = g_bytes_ref(bytes)};
		g_queue_push_tail(&fill->bodies, body);
		fill->queued_bytes += length;
		if (fill->bodies.length == 1)
			pthread_cond_signal(&fill->filled);
	}
	pthread_mutex_unlock(&fill->lock);
}

void fill_opened(struct fill *fill, uint64_t ino)
{
	void *key = GSIZE_TO_POINTER(ino);

	pthread_mutex_lock(&fill->lock);
	g_hash_table_insert(
		fill->open, key, GUINT_TO_POINTER(GPOINTER_TO_UINT(g_hash_table_lookup(fill->open, key)) + 1));
	while (fill->storing == ino)
		pthread_cond_wait(&fill->stored, &fill->lock);
	pthread_mutex_unlock(&fill->lock);
}

void fill_released(struct fill *fill, uint64_t ino)
{
	void *key = GSIZE_TO_POINTER(ino);
	guint count;

	pthread_mutex_lock(&fill->lock);
	count = GPOINTER_TO_UINT(g_hash_table_lookup(fill->open, key));
	if (count > 1)
		g_hash_table_insert(fill->open, key, GUINT_TO_POINTER(count - 1));
	else
		g_hash_table_remove(fill->open, key);
	pthread_mutex_unlock(&fill->lock);
}

/* Called and returns with the lock. */
static void store(struct fill *fill, const struct body *body)
{
	if (g_hash_table_contains(fill->open, GSIZE_TO_POINTER(body->ino)))
		return;
	fill->storing = body->ino;
	pthread_mutex_unlock(&fill->lock);
	fill->store(fill->ctx, body->ino, body->bytes);
	pthread_mutex_lock(&fill->lock);
	fill->storing = 0;
	pthread_cond_broadcast(&fill->stored);
}

/* Bodies come in bursts: waking for each costs more than storing it. */
static void gather(struct fill *fill)
{
	if (fill->stopping)
		return;
	pthread_mutex_unlock(&fill->lock);
	g_usleep(FILL_GATHER_US);
	pthread_mutex_lock(&fill->lock);
}

static void *run(void *data)
{
	struct fill *fill = data;

	pthread_mutex_lock(&fill->lock);
	while (!fill->stopping) {
		struct body *body = g_queue_pop_head(&fill->bodies);

		if (!body) {
			pthread_cond_wait(&fill->filled, &fill->lock);
			gather(fill);
			continue;
		}
		store(fill, body);
		fill->queued_bytes -= g_bytes_get_size(body->bytes);
		body_free(body);
	}
	pthread_mutex_unlock(&fill->lock);
	return NULL;
}

bool fill_start(struct fill *fill)
{
	sigset_t all, before;
	bool started;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&fill->lock);
	started = fill->started = pthread_create(&fill->thread, NULL, run, fill) == 0;
	pthread_mutex_unlock(&fill->lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		pthread_setname_np(fill->thread, "mailtree-fill");
	return started;
}

void fill_stop(struct fill *fill)
{
	bool joins;

	pthread_mutex_lock(&fill->lock);
	joins = fill->started && !fill->stopping;
	fill->stopping = true;
	pthread_cond_signal(&fill->filled);
	pthread_mutex_unlock(&fill->lock);
	if (joins)
		pthread_join(fill->thread, NULL);
}
