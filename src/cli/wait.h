/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting for the model on a thread of its own, with the reason of a failure, and with an end when nobody is
 * interested any more.
 */
#pragma once

#include "src/mail/mail.h"

#include <pthread.h>

#define WAIT_TICK_MS 3000u /* between two calls of `tick` */

typedef int (*wait_try_fn)(void *ctx, struct mail_waiter *waiter, struct error *err);

struct wait {
	struct mail_waiter waiter; /* first */
	struct mail *mail;
	int pid;                 /* told as that of the program that waits; 0 = unknown */
	void (*tick)(void *ctx); /* now and then while it waits, on the waiting thread; may be NULL */
	void *tick_ctx;
	pthread_mutex_t lock; /* guards the following */
	pthread_cond_t changed;
	bool done, cancelled;
	int code;
};

void wait_init(struct wait *wait, struct mail *mail);
void wait_fini(struct wait *wait);
/* Calls `try_fn` until it answers; not on the loop's thread. One at a time. */
int wait_for(struct wait *wait, wait_try_fn try_fn, void *ctx, struct error *err);
/* Any thread. This wait and all later ones end with ERR_INTERRUPTED. */
void wait_cancel(struct wait *wait);
