/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/wait.h"

#include <errno.h>
#include <time.h>

#include "src/base/banned.h"

static void on_done(struct mail_waiter *waiter, int code)
{
	struct wait *wait = (struct wait *)waiter;

	pthread_mutex_lock(&wait->lock);
	wait->done = true;
	wait->code = code;
	pthread_cond_signal(&wait->changed);
	pthread_mutex_unlock(&wait->lock);
}

void wait_init(struct wait *wait, struct mail *mail)
{
	pthread_condattr_t attributes;

	*wait = (struct wait){.mail = mail};
	pthread_mutex_init(&wait->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&wait->changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

void wait_fini(struct wait *wait)
{
	pthread_cond_destroy(&wait->changed);
	pthread_mutex_destroy(&wait->lock);
}

static int interrupted(struct error *err)
{
	return error_set(err, ERR_INTERRUPTED, "interrupted");
}

/* A new operation. False = cancelled before. */
static bool begin(struct wait *wait)
{
	bool cancelled;

	pthread_mutex_lock(&wait->lock);
	wait->waiter = (struct mail_waiter){.done = on_done, .pid = wait->pid};
	cancelled = wait->cancelled;
	pthread_mutex_unlock(&wait->lock);
	return !cancelled;
}

static void tick(struct wait *wait)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_TICK_MS / 1000;
	if (pthread_cond_timedwait(&wait->changed, &wait->lock, &until) != ETIMEDOUT || !wait->tick)
		return;
	pthread_mutex_unlock(&wait->lock);
	wait->tick(wait->tick_ctx);
	pthread_mutex_lock(&wait->lock);
}

/* It is parked. */
static int until_done(struct wait *wait)
{
	pthread_mutex_lock(&wait->lock);
	/* a cancellation before the park found nothing to call off */
	if (wait->cancelled)
		mail_cancel(wait->mail, &wait->waiter);
	while (!wait->done)
		tick(wait);
	wait->done = false;
	pthread_mutex_unlock(&wait->lock);
	return wait->code;
}

int wait_for(struct wait *wait, wait_try_fn try_fn, void *ctx, struct error *err)
{
	if (!begin(wait))
		return interrupted(err);
	for (int parks = 0; parks < MAIL_PARKS_MAX; parks++) {
		int code = try_fn(ctx, &wait->waiter, err);

		if (code != MAIL_PARKED)
			return code;
		code = until_done(wait);
		if (code == ERR_INTERRUPTED)
			return interrupted(err);
		if (code < 0) {
			error_copy(err, &wait->waiter.error);
			if (err)
				err->code = code;
			return code;
		}
	}
	return error_set(err, ERR_FAILED, "it changes faster than it can be read");
}

void wait_cancel(struct wait *wait)
{
	pthread_mutex_lock(&wait->lock);
	wait->cancelled = true;
	mail_cancel(wait->mail, &wait->waiter);
	pthread_mutex_unlock(&wait->lock);
}
