/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors, secrets in texts, the loop, and what the process uses. */
#include "src/base/block.h"
#include "src/base/error.h"
#include "src/base/loop.h"
#include "src/base/process.h"
#include "src/base/secret.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/banned.h"

/* ---- errors ---- */

/* The contract's two columns: what a program sees, and what the command ends with. */
static void test_codes(void **unused)
{
	static const struct {
		int code, number, status;
	} table[] = {
		{ERR_SIGN_IN, EACCES, 3},
		{ERR_UNREACHABLE, ENETUNREACH, 4},
		{ERR_TIMEOUT, ETIMEDOUT, 4},
		{ERR_THROTTLED, ETIMEDOUT, 4},
		{ERR_BROKEN, EIO, 1},
		{ERR_PROTOCOL, EIO, 1},
		{ERR_GONE, ENOENT, 1},
		{ERR_READ_ONLY, EROFS, 1},
		{ERR_QUOTA, EDQUOT, 1},
		{ERR_INTERRUPTED, EINTR, 1},
		{ERR_STORAGE, EIO, 1},
		{ERR_INVALID, EINVAL, 1},
		{ERR_CONFIG, EINVAL, 5},
		{ERR_USAGE, EINVAL, 2},
		{ERR_RENUMBERED, ESTALE, 1},
		{ERR_REFUSED, EIO, 1},
		{ERR_FAILED, EIO, 1},
	};

	assert_int_equal(G_N_ELEMENTS(table), -ERR_LAST);
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		assert_int_equal(table[i].code, -(int)(i + 1));
		assert_int_equal(error_errno(table[i].code), table[i].number);
		assert_int_equal(error_exit_status(table[i].code), table[i].status);
		/* each has a name of its own */
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(error_name(table[i].code), error_name(table[k].code));
	}
	assert_int_equal(error_exit_status(0), 0);
	assert_int_equal(error_errno(ERR_LAST - 1), EIO);
	assert_int_equal(error_exit_status(ERR_LAST - 1), 1);
}

static void test_texts(void **unused)
{
	struct error err;

	assert_int_equal(error_set(&err, ERR_BROKEN, "a\033[31mred\r\n%s", "\xff"), ERR_BROKEN);
	assert_null(strpbrk(err.text, "\033\r\n"));
	assert_true(g_utf8_validate(err.text, -1, NULL));
	assert_string_equal(err.hint, "");
	error_hint(&err, "do %d", 1);
	error_prefix(&err, "box %s", "A");
	assert_memory_equal(err.text, "box A: a", 8);
	assert_string_equal(err.hint, "do 1");
	assert_int_equal(error_set(NULL, ERR_GONE, "nobody looks"), ERR_GONE);
	error_hint(NULL, "x");
	error_prefix(NULL, "x");
}

/* ---- secrets ---- */

static bool shows(const char *format_text, const char *secret)
{
	char text[2048];

	g_strlcpy(text, format_text, sizeof(text));
	secret_scrub(text, sizeof(text));
	return strstr(text, secret) != NULL;
}

static void test_scrubbing(void **unused)
{
	static const char token[] = "eyJ0.Secret+Value/with=signs-0123456789abcdef";
	struct secret *secret = secret_new(token, strlen(token));

	for (size_t before = 0; before < 4; before++) {
		g_autofree char *plain = g_strdup_printf("%.*suser=x auth=Bearer %s end", (int)before, "....", token);
		g_autofree char *base64 = g_base64_encode((const guchar *)plain, strlen(plain));
		g_autofree char *line = g_strdup_printf("BAD unknown: AUTHENTICATE XOAUTH2 %s", base64);
		g_autofree char *copy = g_strdup(line);
		g_autofree guchar *decoded = NULL;
		gsize length;

		assert_false(shows(plain, token));
		assert_true(secret_scrub(copy, strlen(copy) + 1));
		/* what is left of the base64 decodes to nothing that holds the token */
		decoded = g_base64_decode(copy + strlen("BAD unknown: AUTHENTICATE XOAUTH2 "), &length);
		assert_null(g_strstr_len((const char *)decoded, (gssize)length, token));
	}
	{
		g_autofree char *escaped = g_uri_escape_string(token, NULL, FALSE);
		g_autofree char *line = g_strdup_printf("body: client_secret=%s&x=1", escaped);

		assert_false(shows(line, escaped));
	}
	secret_unref(secret);
	/* what has gone isn't looked for any more */
	assert_true(shows(token, token));
}

static void test_secret_bounds(void **unused)
{
	struct secret *empty = secret_new("", 0), *same = secret_new("", 0);

	assert_true(secret_equal(empty, same));
	assert_int_equal(secret_length(empty), 0);
	assert_null(secret_new("x", SECRET_BYTES_MAX + 1));
	assert_null(secret_new_take(NULL));
	secret_unref(empty);
	secret_unref(same);
	secret_unref(NULL);
}

/* ---- the loop ---- */

struct posts {
	struct loop *loop;
	unsigned ran, last;
	bool in_order, done;
};

struct post {
	struct posts *posts;
	unsigned number;
};

static void on_post(void *data)
{
	struct post *post = data;

	post->posts->in_order &= post->number == post->posts->last + 1;
	post->posts->last = post->number;
	post->posts->ran++;
	assert_true(loop_is_current(post->posts->loop));
	g_free(post);
}

#define POSTS 20000u

static void *post_many(void *data)
{
	struct posts *posts = data;

	for (unsigned i = 1; i <= POSTS; i++) {
		struct post *post = g_new(struct post, 1);

		*post = (struct post){posts, i};
		loop_post(posts->loop, on_post, post);
	}
	return NULL;
}

struct chain {
	struct loop *loop;
	unsigned left, ran;
};

static void on_link(void *data)
{
	struct chain *chain = data;

	chain->ran++;
	if (chain->left && --chain->left)
		loop_post(chain->loop, on_link, chain);
}

/* Who waits for something that was posted would wait for ever. */
static void test_what_is_posted_at_the_end_runs(void **unused)
{
	for (int round = 0; round < 50; round++) {
		struct chain chain = {.loop = loop_new(), .left = 5}, endless = {.loop = chain.loop, .left = UINT_MAX};

		loop_start(chain.loop);
		loop_post(chain.loop, on_link, &chain);
		loop_stop(chain.loop);
		assert_int_equal(chain.ran, 5);
		loop_start(chain.loop);
		loop_post(chain.loop, on_link, &endless);
		loop_stop(chain.loop);
		loop_free(chain.loop);
	}
}

static void test_posts_come_once_and_in_order(void **unused)
{
	struct loop *loop = loop_new();
	struct posts posts[2] = {{.loop = loop, .in_order = true}, {.loop = loop, .in_order = true}};
	pthread_t threads[2];

	loop_start(loop);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posts[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* stopping is posted, too: all before it has run */
	loop_stop(loop);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(posts[i].ran, POSTS);
		assert_true(posts[i].in_order);
	}
	loop_free(loop);
}

static void on_never(void *data)
{
	fail_msg("a cancelled timer fired");
}

static void on_timer(void *data)
{
	*(bool *)data = true;
}

static void test_timers(void **unused)
{
	struct loop *loop = loop_new();
	bool done = false;
	uint64_t began_ms = clock_ms();

	loop_timer_cancel(loop_timer_add(loop, 0, on_never, NULL));
	loop_timer_cancel(NULL);
	loop_timer_add(loop, 20, on_timer, &done);
	loop_run_until(loop, &done);
	assert_true(clock_ms() - began_ms >= 19);
	loop_free(loop);
}

struct turns {
	struct loop *loop;
	unsigned left;
	bool gathers;
	atomic_bool over;
};

/* One turn each: what is posted in a turn comes with the next. */
static void on_turn(void *data)
{
	struct turns *turns = data;

	loop_gather(turns->loop, turns->gathers);
	if (turns->left--)
		loop_post(turns->loop, on_turn, turns);
	else
		atomic_store(&turns->over, true);
}

static int64_t turns_us(bool gathers)
{
	struct turns turns = {.loop = loop_new(), .left = 100, .gathers = gathers};
	int64_t began_us = g_get_monotonic_time();

	loop_start(turns.loop);
	loop_post(turns.loop, on_turn, &turns);
	while (!atomic_load(&turns.over))
		g_usleep(100);
	loop_stop(turns.loop);
	loop_free(turns.loop);
	return g_get_monotonic_time() - began_us;
}

static void test_turns_are_gathered(void **unused)
{
	int64_t fastest_us = INT64_MAX;

	assert_true(turns_us(true) >= 99 * LOOP_GATHER_US);
	/* it isn't always so */
	for (unsigned i = 0; i < 20; i++)
		fastest_us = MIN(fastest_us, turns_us(false));
	assert_true(fastest_us < 99 * LOOP_GATHER_US);
}

/* ---- threads that others wait for ---- */

static void count_up(void *data)
{
	++*(unsigned *)data;
}

static void *without_hook(void *data)
{
	block_ahead();
	return NULL;
}

static void test_a_thread_says_that_it_may_block(void **unused)
{
	unsigned told = 0;
	pthread_t other;

	block_ahead();
	block_hook_set(count_up, &told);
	block_ahead();
	block_ahead();
	assert_int_equal(told, 2);
	assert_int_equal(pthread_create(&other, NULL, without_hook, NULL), 0);
	pthread_join(other, NULL);
	assert_int_equal(told, 2);
	block_hook_set(NULL, NULL);
	block_ahead();
	assert_int_equal(told, 2);
}

static void test_a_process_sees_what_it_uses(void **state)
{
	uint64_t before = process_open_fds(), resident = process_resident_bytes();
	int pair[2];

	assert_true(before >= 3);
	assert_in_range(resident, 1u << 20, 8ull << 30);
	assert_int_equal(pipe(pair), 0);
	assert_int_equal(process_open_fds(), before + 2);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(process_open_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_scrubbing),
		cmocka_unit_test(test_secret_bounds),
		cmocka_unit_test(test_what_is_posted_at_the_end_runs),
		cmocka_unit_test(test_posts_come_once_and_in_order),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_turns_are_gathered),
		cmocka_unit_test(test_a_thread_says_that_it_may_block),
		cmocka_unit_test(test_a_process_sees_what_it_uses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
