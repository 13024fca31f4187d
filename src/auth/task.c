/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/task.h"
#include "src/base/loop.h"

#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define ABANDON_WAIT_S 2

struct auth_task {
	atomic_uint references; /* the owner's and the thread's */
	pthread_t thread;
	int done_fd, cancel_fd;
	struct loop_watch *watch; /* loop's thread only */
	auth_task_work_fn work;
	auth_task_fn done, destroy;
	void *ctx;
};

static void task_unref(struct auth_task *task)
{
	if (atomic_fetch_sub(&task->references, 1) != 1)
		return;
	task->destroy(task->ctx);
	if (task->done_fd >= 0)
		close(task->done_fd);
	if (task->cancel_fd >= 0)
		close(task->cancel_fd);
	g_free(task);
}

static void fd_signal(int fd)
{
	const uint64_t one = 1;
	/* a counter at 0 always takes one more */
	ssize_t written = write(fd, &one, sizeof(one));

	(void)written;
}

static void *task_thread(void *data)
{
	struct auth_task *task = data;

	task->work(task->ctx, task->cancel_fd);
	fd_signal(task->done_fd);
	task_unref(task);
	return NULL;
}

static void task_ready(void *data, unsigned events)
{
	struct auth_task *task = data;

	(void)events;
	loop_watch_remove(task->watch);
	task->watch = NULL;
	pthread_join(task->thread, NULL);
	task->done(task->ctx);
	task_unref(task);
}

struct auth_task *auth_task_start(
	struct loop *loop, auth_task_work_fn work, auth_task_fn done, auth_task_fn destroy, void *ctx)
{
	struct auth_task *task = g_new(struct auth_task, 1);
	sigset_t all, old;
	int rc;

	*task = (struct auth_task){.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.work = work,
		.done = done,
		.destroy = destroy,
		.ctx = ctx};
	atomic_init(&task->references, 2);
	if (task->done_fd < 0 || task->cancel_fd < 0) {
		atomic_store(&task->references, 1);
		task_unref(task);
		return NULL;
	}
	task->watch = loop_watch_add(loop, task->done_fd, LOOP_READ, task_ready, task);
	/* signals are for the main thread */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&task->thread, NULL, task_thread, task);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		loop_watch_remove(task->watch);
		atomic_store(&task->references, 1);
		task_unref(task);
		return NULL;
	}
	return task;
}

void auth_task_abandon(struct auth_task *task)
{
	struct timespec until;

	if (!task)
		return;
	loop_watch_remove(task->watch);
	fd_signal(task->cancel_fd);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ABANDON_WAIT_S;
	if (pthread_timedjoin_np(task->thread, NULL, &until) != 0)
		pthread_detach(task->thread);
	task_unref(task);
}
