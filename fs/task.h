/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A request that may have to wait for the model: step, park, step again, finish exactly once.
 *
 * step() runs on the thread that brought the request and, after a wait, on the thread that ended it. While a task is
 * parked no thread belongs to it. Whichever comes first ends the wait: the model's answer, its deadline, or
 * task_interrupt(). finish() is called exactly once, by the thread that has the result, and may free the task.
 *
 * park() is called once, before the first wait can end: there the owner arranges for task_interrupt() to be called.
 * finish() must undo that before it frees the task, and must not be entered by then: see fuse_ops.c.
 */
#pragma once

#include "src/mail/mail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* All tasks of a mount: what is parked can be called off when it ends. */
struct tasks {
	struct mail *mail;
	pthread_mutex_t lock; /* guards `parked` and `unfinished` */
	pthread_cond_t idle;
	GQueue parked;       /* struct task: those that tasks_stop() must call off */
	unsigned unfinished; /* have parked and not returned from finish() yet */
	atomic_bool stopping;
};

struct task {
	struct mail_waiter waiter; /* must be first: the model gives it back */
	struct tasks *tasks;
	int (*step)(struct task *task); /* 0, MAIL_PARKED, or -errno */
	void (*park)(struct task *task);
	void (*finish)(struct task *task, int result); /* 0 or -errno */

	GList link; /* in tasks->parked */
	bool listed;
	bool worn_out;
	unsigned parks;
	int code; /* what the wait ended with */
	atomic_int state;
	atomic_bool interrupted;
};

void tasks_init(struct tasks *tasks, struct mail *mail);
void tasks_fini(struct tasks *tasks); /* none is parked */
/* Ends every wait with EINTR, now and from now on; returns when all parked tasks have finished. Not the loop's thread.
 */
void tasks_stop(struct tasks *tasks);

/* `task` is zeroed but for step, park, finish and waiter.pid. It isn't the caller's any more. */
void task_run(struct tasks *tasks, struct task *task);
/* Any thread, while the task can't be freed. Ends its wait with EINTR. */
void task_interrupt(struct task *task);
