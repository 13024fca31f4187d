/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filler stores nothing that may be read meanwhile. */
#include "fs/fill.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define PATIENCE_US 5000000
#define MOMENT_US 20000

/* A store that takes until it is let go. */
struct place {
	struct fill *fill;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	GArray *begun; /* uint64_t: inodes */
	unsigned let_go;
	bool opened;
};

static void slow_store(void *ctx, uint64_t ino, GBytes *bytes)
{
	struct place *p = ctx;
	guint number;

	pthread_mutex_lock(&p->lock);
	g_array_append_val(p->begun, ino);
	number = p->begun->len;
	pthread_cond_broadcast(&p->changed);
	while (p->let_go < number)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static void let_go(struct place *p, unsigned count)
{
	pthread_mutex_lock(&p->lock);
	p->let_go = count;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static guint begun(struct place *p)
{
	guint count;

	pthread_mutex_lock(&p->lock);
	count = p->begun->len;
	pthread_mutex_unlock(&p->lock);
	return count;
}

static void until_begun(struct place *p, guint count)
{
	for (int waited = 0; begun(p) < count && waited < PATIENCE_US; waited += 1000)
		g_usleep(1000);
	assert_int_equal(begun(p), count);
}

static void place_init(struct place *p)
{
	*p = (struct place){.begun = g_array_new(FALSE, FALSE, sizeof(uint64_t))};
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	p->fill = fill_new(slow_store, p);
	assert_true(fill_start(p->fill));
}

static void place_fini(struct place *p)
{
	let_go(p, G_MAXUINT);
	fill_stop(p->fill);
	fill_free(p->fill);
	g_array_unref(p->begun);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}

static void add(struct place *p, uint64_t ino)
{
	g_autoptr(GBytes) bytes = g_bytes_new_static("octets", 6);

	fill_add(p->fill, ino, bytes);
}

static void test_what_is_open_isnt_stored(void **unused)
{
	const uint64_t far = UINT64_C(5) << 32;
	struct place p;

	place_init(&p);
	let_go(&p, G_MAXUINT);
	fill_opened(p.fill, far + 1);
	fill_opened(p.fill, far + 1);
	fill_released(p.fill, far + 1);
	add(&p, far + 1);
	add(&p, far + 2);
	until_begun(&p, 1);
	assert_true(g_array_index(p.begun, uint64_t, 0) == far + 2);
	fill_released(p.fill, far + 1);
	add(&p, far + 1);
	until_begun(&p, 2);
	assert_true(g_array_index(p.begun, uint64_t, 1) == far + 1);
	place_fini(&p);
}

static void *open_it(void *data)
{
	struct place *p = data;

	fill_opened(p->fill, 7);
	pthread_mutex_lock(&p->lock);
	p->opened = true;
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static bool is_opened(struct place *p)
{
	bool opened;

	pthread_mutex_lock(&p->lock);
	opened = p->opened;
	pthread_mutex_unlock(&p->lock);
	return opened;
}

static void test_who_opens_waits_for_the_store(void **unused)
{
	struct place p;
	pthread_t opener;

	place_init(&p);
	add(&p, 7);
	until_begun(&p, 1);
	/* another file's doesn't */
	fill_opened(p.fill, 8);
	assert_int_equal(pthread_create(&opener, NULL, open_it, &p), 0);
	g_usleep(MOMENT_US);
	assert_false(is_opened(&p));
	let_go(&p, 1);
	pthread_join(opener, NULL);
	assert_true(is_opened(&p));
	place_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_open_isnt_stored),
		cmocka_unit_test(test_who_opens_waits_for_the_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
