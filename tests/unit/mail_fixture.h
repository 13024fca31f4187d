/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A model on a fake source and a real cache in a folder of its own; included by the tests of src/mail. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/cache/cache.h"
#include "src/mail/mail.h"
#include "tests/unit/fake_source.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_US (20 * G_USEC_PER_SEC)

struct fixture {
	char *dir;
	struct loop *loop;
	struct cache *cache;
	struct fake_source *fake;
	struct fake_folder *inbox;
	struct mail_config config;
	struct mail *mail;
	struct mail_folder *folder; /* INBOX */
	GArray *events;             /* enum mail_event_type */
	pthread_mutex_t events_lock;
	int pid; /* of the program that asks; 0 = unknown */
};

/* A thread that waits for a park. */
struct blocked {
	struct mail_waiter waiter; /* first */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	int code;
};

static void blocked_done(struct mail_waiter *waiter, int code)
{
	struct blocked *blocked = (struct blocked *)waiter;

	pthread_mutex_lock(&blocked->lock);
	blocked->done = true;
	blocked->code = code;
	pthread_cond_signal(&blocked->changed);
	pthread_mutex_unlock(&blocked->lock);
}

typedef int (*try_fn)(void *ctx, struct mail_waiter *waiter);

/* Returns the code. */
static int fixture_wait(struct fixture *f, try_fn try, void *ctx)
{
	struct blocked blocked = {.waiter = {.done = blocked_done, .pid = f->pid},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER};
	int code = MAIL_PARKED;

	for (int parks = 0; parks < MAIL_PARKS_MAX && code == MAIL_PARKED; parks++) {
		blocked.done = false;
		code = try(ctx, &blocked.waiter);
		if (code != MAIL_PARKED)
			break;
		pthread_mutex_lock(&blocked.lock);
		while (!blocked.done)
			pthread_cond_wait(&blocked.changed, &blocked.lock);
		pthread_mutex_unlock(&blocked.lock);
		code = blocked.code ? blocked.code : MAIL_PARKED;
	}
	if (code < 0 && blocked.waiter.error.code == 0)
		blocked.waiter.error.code = code;
	return code == MAIL_PARKED ? ERR_FAILED : code;
}

static void fixture_event(void *ctx, const struct mail_event *event)
{
	struct fixture *f = ctx;
	int type = event->type;

	pthread_mutex_lock(&f->events_lock);
	g_array_append_val(f->events, type);
	pthread_mutex_unlock(&f->events_lock);
}

static inline unsigned fixture_events(struct fixture *f, enum mail_event_type type)
{
	unsigned count = 0;

	pthread_mutex_lock(&f->events_lock);
	for (guint i = 0; i < f->events->len; i++)
		count += g_array_index(f->events, int, i) == (int)type;
	pthread_mutex_unlock(&f->events_lock);
	return count;
}

/* The model as the config says, on what the cache has. */
static inline void fixture_mount(struct fixture *f)
{
	struct error err;

	assert_int_equal(0, mail_new(f->loop, &f->config, f->cache, &f->fake->source, &f->mail, &err));
	mail_set_listener(f->mail, fixture_event, f);
	loop_start(f->loop);
}

static inline void fixture_new(struct fixture *f)
{
	struct error err;

	*f = (struct fixture){0};
	f->dir = g_dir_make_tmp("test-mail-XXXXXX", NULL);
	assert_non_null(f->dir);
	f->events = g_array_new(FALSE, FALSE, sizeof(int));
	pthread_mutex_init(&f->events_lock, NULL);
	f->loop = loop_new();
	assert_int_equal(0, cache_open(f->dir, "imap.example.org", 993, "user", 0, &f->cache, &err));
	f->fake = fake_new(f->loop);
	f->inbox = fake_folder_add(f->fake, "INBOX", 7);
	f->config = (struct mail_config){
		.account = "test", .user = "user", .host = "imap.example.org", .poll_s = 0, .stale_s = -1};
}

static inline void fixture_unmount(struct fixture *f)
{
	loop_stop(f->loop);
	mail_folder_unref(f->folder);
	f->folder = NULL;
	mail_free(f->mail);
	f->mail = NULL;
	loop_free(f->loop);
}

static void fixture_remove(const char *path)
{
	GDir *dir = g_dir_open(path, 0, NULL);

	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *child = g_build_filename(path, name, NULL);

		fixture_remove(child);
	}
	if (dir)
		g_dir_close(dir);
	g_remove(path);
}

static inline void fixture_free(struct fixture *f)
{
	fixture_unmount(f);
	cache_close(f->cache);
	fixture_remove(f->dir);
	pthread_mutex_destroy(&f->events_lock);
	g_array_unref(f->events);
	g_free(f->dir);
}

/* Of a test whose state is a fixture, or NULL. */
static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	if (f)
		fixture_free(f);
	g_free(f);
	return 0;
}

/* ---- questions, waited for ---- */

struct ask {
	struct fixture *f;
	struct mail_folder *folder;
	uint32_t uid;
	uint64_t offset, expected;
	size_t length;
	struct mail_slice slice;
	uint64_t size;
	struct error err;
};

static inline int ask_tree(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_tree_fresh(ask->f->mail, false, waiter, &ask->err);
}

static inline int ask_folder(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_folder_fresh(ask->f->mail, ask->folder, false, waiter, &ask->err);
}

static inline int ask_size(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_message_size(ask->f->mail, ask->folder, ask->uid, &ask->size, waiter, &ask->err);
}

static inline int ask_read(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_read(ask->f->mail, ask->folder, ask->uid, ask->offset, ask->length, ask->expected, &ask->slice,
		waiter, &ask->err);
}

/* What was asked within one millisecond counts as one question. */
static inline void tick(void)
{
	for (uint64_t now_ms = clock_ms(); clock_ms() == now_ms;)
		g_usleep(100);
}

static inline int check_tree(struct fixture *f)
{
	struct ask ask = {.f = f};

	tick();
	return fixture_wait(f, ask_tree, &ask);
}

static inline int check_folder(struct fixture *f, struct mail_folder *folder)
{
	struct ask ask = {.f = f, .folder = folder};

	tick();
	return fixture_wait(f, ask_folder, &ask);
}

static inline struct mail_folder *child(struct fixture *f, const char *name)
{
	struct mail_folder *root = mail_root(f->mail), *found = mail_folder_child(f->mail, root, name);

	mail_folder_unref(root);
	return found;
}

/* INBOX, listed. */
static inline void open_inbox(struct fixture *f)
{
	assert_int_equal(0, check_tree(f));
	f->folder = child(f, "INBOX");
	assert_non_null(f->folder);
	assert_int_equal(0, check_folder(f, f->folder));
}

/* A piece; NULL and the code when it fails. */
static inline GBytes *read_part(struct fixture *f, uint32_t uid, uint64_t offset, size_t length, int *code_out)
{
	struct ask ask = {
		.f = f, .folder = f->folder, .uid = uid, .offset = offset, .length = length, .expected = UINT64_MAX};
	char *bytes;

	*code_out = fixture_wait(f, ask_read, &ask);
	if (*code_out)
		return NULL;
	bytes = g_malloc(ask.slice.length + 1);
	if (ask.slice.memory)
		memcpy(bytes, ask.slice.memory, ask.slice.length);
	else if (ask.slice.length)
		assert_int_equal(
			ask.slice.length, pread(ask.slice.fd, bytes, ask.slice.length, (off_t)ask.slice.fd_offset));
	length = ask.slice.length;
	mail_slice_fini(&ask.slice);
	return g_bytes_new_take(bytes, length);
}

static inline GBytes *read_all(struct fixture *f, uint32_t uid, int *code_out)
{
	return read_part(f, uid, 0, 64 << 20, code_out);
}

static inline int read_code(struct fixture *f, uint32_t uid)
{
	int code;
	GBytes *bytes = read_all(f, uid, &code);

	if (bytes)
		g_bytes_unref(bytes);
	return code;
}

/* Reads what the server holds, octet for octet. */
static inline void assert_reads(struct fixture *f, uint32_t uid, GBytes *expected)
{
	int code;
	GBytes *bytes = read_all(f, uid, &code);

	assert_int_equal(0, code);
	assert_true(g_bytes_equal(bytes, expected));
	g_bytes_unref(bytes);
}

static inline void wait_for(bool (*condition)(struct fixture *f), struct fixture *f)
{
	gint64 until = g_get_monotonic_time() + PATIENCE_US;

	while (!condition(f)) {
		assert_true(g_get_monotonic_time() < until);
		g_usleep(1000);
	}
}
