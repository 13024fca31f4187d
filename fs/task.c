/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/task.h"

#include <errno.h>

#include "src/base/banned.h"

enum task_state {
	TRYING, /* a thread is in run() */
	PARKED, /* nobody's, until done() */
	WOKEN,  /* done() came before run() had left: run() goes on */
};

void tasks_init(struct tasks *tasks, struct mail *mail)
{
	*tasks = (struct tasks){.mail = mail};
	pthread_mutex_init(&tasks->lock, NULL);
	pthread_cond_init(&tasks->idle, NULL);
	g_queue_init(&tasks->parked);
}

void tasks_fini(struct tasks *tasks)
{
	pthread_cond_destroy(&tasks->idle);
	pthread_mutex_destroy(&tasks->lock);
}

void tasks_stop(struct tasks *tasks)
{
	atomic_store(&tasks->stopping, true);
	pthread_mutex_lock(&tasks->lock);
	/* A task leaves the list, under this lock, before it is freed. */
	for (GList *link = tasks->parked.head; link; link = link->next) {
		struct task *task = link->data;

		mail_cancel(tasks->mail, &task->waiter);
	}
	while (tasks->unfinished)
		pthread_cond_wait(&tasks->idle, &tasks->lock);
	pthread_mutex_unlock(&tasks->lock);
}

static void end(struct task *task, int result)
{
	struct tasks *tasks = task->tasks;
	bool listed = task->listed;

	if (!listed) {
		task->finish(task, result);
		return;
	}
	pthread_mutex_lock(&tasks->lock);
	g_queue_unlink(&tasks->parked, &task->link);
	pthread_mutex_unlock(&tasks->lock);
	task->finish(task, result);
	pthread_mutex_lock(&tasks->lock);
	if (--tasks->unfinished == 0)
		pthread_cond_broadcast(&tasks->idle);
	pthread_mutex_unlock(&tasks->lock);
}

static void list(struct task *task)
{
	task->link.data = task;
	pthread_mutex_lock(&task->tasks->lock);
	g_queue_push_tail_link(&task->tasks->parked, &task->link);
	task->tasks->unfinished++;
	pthread_mutex_unlock(&task->tasks->lock);
	task->listed = true;
	task->park(task);
}

/* Something that must end the wait may have come while there was none to end. */
static bool is_called_off(const struct task *task)
{
	return task->worn_out || atomic_load(&task->interrupted) || atomic_load(&task->tasks->stopping);
}

static void run(struct task *task)
{
	for (;;) {
		atomic_store(&task->state, TRYING);

		int result = task->step(task);

		if (result != MAIL_PARKED) {
			end(task, result);
			return;
		}
		task->worn_out = task->parks++ >= MAIL_PARKS_MAX;
		if (!task->listed)
			list(task);
		if (is_called_off(task))
			mail_cancel(task->tasks->mail, &task->waiter);

		int expected = TRYING;

		if (atomic_compare_exchange_strong(&task->state, &expected, PARKED))
			return;
		if (task->code != 0 || task->worn_out) {
			end(task, task->worn_out ? -EIO : -error_errno(task->code));
			return;
		}
	}
}

static void done(struct mail_waiter *waiter, int code)
{
	struct task *task = (struct task *)waiter;
	int expected = TRYING;

	task->code = code;
	if (atomic_compare_exchange_strong(&task->state, &expected, WOKEN))
		return;
	if (code != 0 || task->worn_out)
		end(task, task->worn_out ? -EIO : -error_errno(code));
	else
		run(task);
}

void task_run(struct tasks *tasks, struct task *task)
{
	task->tasks = tasks;
	task->waiter.done = done;
	run(task);
}

void task_interrupt(struct task *task)
{
	atomic_store(&task->interrupted, true);
	mail_cancel(task->tasks->mail, &task->waiter);
}
