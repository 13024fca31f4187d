/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parked waiters. A park is made by any thread, begun and finished on the loop, and finished exactly
 * once: by what it waits for, or by mail_cancel(). Its waiter's memory is the caller's and is not touched after
 * `done`; mail->park_lock makes mail_cancel() safe against a `done` under way.
 */
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include "src/base/banned.h"

static void park_unref(struct park *park)
{
	if (atomic_fetch_sub(&park->references, 1) != 1)
		return;
	mail_folder_unref(park->folder);
	g_free(park);
}

static void park_lose_patience(void *data)
{
	struct park *park = data;

	park->patience = NULL;
	park_finish(park, 0, NULL);
}

static void park_begin(void *data)
{
	struct park *park = data;

	if (park->waiter) {
		g_queue_push_tail(&park->mail->parks, park);
		if (park->patience_ms)
			park->patience = loop_timer_add(park->mail->loop, park->patience_ms, park_lose_patience, park);
		park->begin(park->mail, park);
	}
	park_unref(park);
}

static struct park *park_make(struct mail *mail, struct mail_waiter *waiter, park_fn begin)
{
	struct park *park = g_new0(struct park, 1);

	park->mail = mail;
	park->waiter = waiter;
	park->begin = begin;
	if (!waiter->since_ms)
		waiter->since_ms = clock_ms();
	park->since_ms = waiter->since_ms;
	park->patience_ms = waiter->patience_ms;
	/* one until it is finished, one for the posted beginning */
	atomic_init(&park->references, 2);
	return park;
}

static int park_post(struct park *park)
{
	pthread_mutex_lock(&park->mail->park_lock);
	park->waiter->internal = park;
	pthread_mutex_unlock(&park->mail->park_lock);
	loop_post(park->mail->loop, park_begin, park);
	return MAIL_PARKED;
}

int park_new(struct mail *mail, struct mail_waiter *waiter, park_fn begin, struct mail_folder *folder, uint32_t uid,
	uint64_t need_bytes, bool force)
{
	struct park *park = park_make(mail, waiter, begin);

	park->folder = folder ? mail_folder_ref(folder) : NULL;
	park->uid = uid;
	park->need_bytes = need_bytes;
	park->force = force;
	return park_post(park);
}

int park_new_again(struct mail *mail, struct mail_waiter *waiter, park_fn begin)
{
	struct park *park = park_make(mail, waiter, begin);

	park->again = true;
	park->force = true;
	return park_post(park);
}

int park_new_query(struct mail *mail, struct mail_waiter *waiter, park_fn begin, const struct query *query)
{
	struct park *park = park_make(mail, waiter, begin);

	park->query = query;
	return park_post(park);
}

void park_wait_in(struct park *park, GQueue *queue)
{
	if (park->queue)
		g_queue_remove(park->queue, park);
	park->queue = queue;
	g_queue_push_tail(queue, park);
}

void park_finish(struct park *park, int code, const struct error *err)
{
	struct mail *mail = park->mail;
	struct mail_waiter *waiter = park->waiter;

	if (!waiter)
		return;
	if (park->queue)
		g_queue_remove(park->queue, park);
	park->queue = NULL;
	if (park->again && code != ERR_INTERRUPTED) {
		park->begin(mail, park);
		return;
	}
	g_queue_remove(&mail->parks, park);
	loop_timer_cancel(g_steal_pointer(&park->patience));
	pthread_mutex_lock(&mail->park_lock);
	park->waiter = NULL;
	waiter->internal = NULL;
	pthread_mutex_unlock(&mail->park_lock);
	if (code && err)
		waiter->error = *err;
	else
		waiter->error = (struct error){.code = code};
	park_unref(park);
	waiter->done(waiter, code);
}

void park_finish_all(GQueue *queue, int code, const struct error *err)
{
	struct park *park;

	/* `done` may park again at once, in this queue too: only those of now are finished */
	for (guint count = queue->length; count && (park = g_queue_peek_head(queue)); count--)
		park_finish(park, code, err);
}

static void park_cancel(void *data)
{
	struct park *park = data;
	struct error err;

	error_set(&err, ERR_INTERRUPTED, "interrupted");
	park_finish(park, ERR_INTERRUPTED, &err);
	park_unref(park);
}

void mail_cancel(struct mail *mail, struct mail_waiter *waiter)
{
	struct park *park;

	pthread_mutex_lock(&mail->park_lock);
	park = waiter->internal;
	if (park)
		atomic_fetch_add(&park->references, 1);
	pthread_mutex_unlock(&mail->park_lock);
	if (park)
		loop_post(mail->loop, park_cancel, park);
}
