/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/loop.h"

#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define STOP_TURNS_MAX 100u /* whatever posts itself again and again is dropped */

struct posted {
	loop_fn fn;
	void *data;
};

struct loop {
	GMainContext *context;
	pthread_t thread; /* the one that runs it */
	bool started;
	bool stopping;  /* the loop's own */
	bool gathering; /* the loop's own */
	int wake_fd;    /* an eventfd: written when `posted` gets its first */
	struct loop_watch *wake;
	pthread_mutex_t lock;
	GArray *posted; /* struct posted; `lock` */
	GArray *spare;  /* the loop's: emptied, for the next exchange */
};

struct loop_timer {
	GSource *source;
	loop_fn fn;
	void *data;
};

struct loop_watch {
	GSource source; /* first: GLib allocates it */
	gpointer tag;
	loop_watch_fn fn;
	void *data;
};

/* What is posted from now on comes with the next turn: sources have theirs in between. */
static void run_posted(void *data, unsigned events)
{
	struct loop *loop = data;
	GArray *batch;
	eventfd_t count;

	eventfd_read(loop->wake_fd, &count);
	pthread_mutex_lock(&loop->lock);
	batch = loop->posted;
	loop->posted = loop->spare;
	pthread_mutex_unlock(&loop->lock);
	for (guint i = 0; i < batch->len; i++) {
		struct posted posted = g_array_index(batch, struct posted, i);

		posted.fn(posted.data);
	}
	g_array_set_size(batch, 0);
	loop->spare = batch;
}

struct loop *loop_new(void)
{
	struct loop *loop = g_new0(struct loop, 1);

	loop->context = g_main_context_new();
	loop->thread = pthread_self();
	pthread_mutex_init(&loop->lock, NULL);
	loop->posted = g_array_new(FALSE, FALSE, sizeof(struct posted));
	loop->spare = g_array_new(FALSE, FALSE, sizeof(struct posted));
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		g_error("can't make an eventfd");
	loop->wake = loop_watch_add(loop, loop->wake_fd, LOOP_READ, run_posted, loop);
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	loop_watch_remove(loop->wake);
	close(loop->wake_fd);
	g_array_unref(loop->posted);
	g_array_unref(loop->spare);
	pthread_mutex_destroy(&loop->lock);
	g_main_context_unref(loop->context);
	g_free(loop);
}

/* Returns when the turn before this one is long enough ago, and what time it is then. */
static gint64 gather(gint64 before_us)
{
	gint64 past_us = g_get_monotonic_time() - before_us;

	if (past_us < LOOP_GATHER_US)
		g_usleep((gulong)(LOOP_GATHER_US - past_us));
	return g_get_monotonic_time();
}

static void *loop_thread(void *data)
{
	struct loop *loop = data;
	gint64 turn_us = 0;

	g_main_context_push_thread_default(loop->context);
	while (!loop->stopping) {
		g_main_context_iteration(loop->context, TRUE);
		if (loop->gathering)
			turn_us = gather(turn_us);
	}
	g_main_context_pop_thread_default(loop->context);
	return NULL;
}

void loop_start(struct loop *loop)
{
	sigset_t all, old;

	/* signals are for the main thread */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&loop->thread, NULL, loop_thread, loop) != 0)
		g_error("can't start a thread");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_setname_np(loop->thread, "mailtree-io");
	loop->started = true;
}

static void quit(void *data)
{
	((struct loop *)data)->stopping = true;
}

static bool has_posted(struct loop *loop)
{
	bool has;

	pthread_mutex_lock(&loop->lock);
	has = loop->posted->len > 0;
	pthread_mutex_unlock(&loop->lock);
	return has;
}

void loop_stop(struct loop *loop)
{
	if (!loop->started)
		return;
	loop_post(loop, quit, loop);
	pthread_join(loop->thread, NULL);
	loop->started = loop->stopping = false;
	loop->thread = pthread_self();
	/* what was posted behind that, and what it posts */
	for (unsigned turn = 0; has_posted(loop) && turn < STOP_TURNS_MAX; turn++)
		run_posted(loop, LOOP_READ);
}

void loop_gather(struct loop *loop, bool on)
{
	loop->gathering = on;
}

void loop_run_until(struct loop *loop, const bool *done)
{
	loop->thread = pthread_self();
	while (!*done)
		g_main_context_iteration(loop->context, TRUE);
}

bool loop_is_current(const struct loop *loop)
{
	return pthread_equal(loop->thread, pthread_self());
}

void loop_post(struct loop *loop, loop_fn fn, void *data)
{
	struct posted posted = {fn, data};
	bool first;

	pthread_mutex_lock(&loop->lock);
	first = loop->posted->len == 0;
	g_array_append_val(loop->posted, posted);
	pthread_mutex_unlock(&loop->lock);
	if (first)
		eventfd_write(loop->wake_fd, 1);
}

static gboolean timer_run(gpointer data)
{
	struct loop_timer *timer = data;
	loop_fn fn = timer->fn;
	void *ctx = timer->data;

	/* freed first: the callback may arm a new one in its place */
	g_source_unref(timer->source);
	g_free(timer);
	fn(ctx);
	return G_SOURCE_REMOVE;
}

struct loop_timer *loop_timer_add(struct loop *loop, uint64_t delay_ms, loop_fn fn, void *data)
{
	struct loop_timer *timer = g_new(struct loop_timer, 1);

	*timer = (struct loop_timer){g_timeout_source_new((guint)MIN(delay_ms, G_MAXINT)), fn, data};
	g_source_set_callback(timer->source, timer_run, timer, NULL);
	g_source_attach(timer->source, loop->context);
	return timer;
}

void loop_timer_cancel(struct loop_timer *timer)
{
	if (!timer)
		return;
	g_source_destroy(timer->source);
	g_source_unref(timer->source);
	g_free(timer);
}

static gboolean watch_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
	struct loop_watch *watch = (struct loop_watch *)source;
	GIOCondition condition = g_source_query_unix_fd(source, watch->tag);
	unsigned events = 0;

	if (condition & (G_IO_IN | G_IO_ERR | G_IO_HUP | G_IO_NVAL))
		events |= LOOP_READ;
	if (condition & (G_IO_OUT | G_IO_ERR | G_IO_HUP | G_IO_NVAL))
		events |= LOOP_WRITE;
	if (events)
		watch->fn(watch->data, events);
	return G_SOURCE_CONTINUE;
}

static gboolean watch_check(GSource *source)
{
	return g_source_query_unix_fd(source, ((struct loop_watch *)source)->tag) != 0;
}

static GSourceFuncs watch_funcs = {.check = watch_check, .dispatch = watch_dispatch};

static GIOCondition watch_condition(unsigned events)
{
	return (events & LOOP_READ ? G_IO_IN : 0) | (events & LOOP_WRITE ? G_IO_OUT : 0);
}

struct loop_watch *loop_watch_add(struct loop *loop, int fd, unsigned events, loop_watch_fn fn, void *data)
{
	struct loop_watch *watch = (struct loop_watch *)g_source_new(&watch_funcs, sizeof(*watch));

	watch->fn = fn;
	watch->data = data;
	watch->tag = g_source_add_unix_fd(&watch->source, fd, watch_condition(events));
	g_source_attach(&watch->source, loop->context);
	return watch;
}

void loop_watch_set(struct loop_watch *watch, unsigned events)
{
	g_source_modify_unix_fd(&watch->source, watch->tag, watch_condition(events));
}

void loop_watch_remove(struct loop_watch *watch)
{
	if (!watch)
		return;
	g_source_destroy(&watch->source);
	g_source_unref(&watch->source);
}

uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int64_t clock_unix(void)
{
	return (int64_t)time(NULL);
}
