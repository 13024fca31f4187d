/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tells that the machine has slept. What the client does then: test_client_watch.c. */
#include "src/base/wake.h"
#include "tests/unit/fake_sleep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define HOUR_MS (3600u * 1000)

struct bed {
	struct loop *loop;
	struct wake *wake;
	unsigned told;
	bool done;
};

static void on_wake(void *data)
{
	struct bed *bed = data;

	bed->told++;
}

static void on_time(void *data)
{
	*(bool *)data = true;
}

/* What is there to be heard is heard by then. */
static void run_a_while(struct bed *bed)
{
	bed->done = false;
	loop_timer_add(bed->loop, 20, on_time, &bed->done);
	loop_run_until(bed->loop, &bed->done);
}

static void make(struct bed *bed)
{
	*bed = (struct bed){.loop = loop_new()};
	fake_sleep_refuse(false, false);
	bed->wake = wake_new(bed->loop, on_wake, bed);
	assert_non_null(bed->wake);
}

static void clear(struct bed *bed)
{
	wake_free(bed->wake);
	loop_free(bed->loop);
}

static void test_each_sleep_is_told_once(void **unused)
{
	struct bed bed;
	uint64_t before_ms;

	make(&bed);
	before_ms = clock_slept_ms();
	for (unsigned i = 1; i <= 3; i++) {
		unsigned armed = fake_sleep_armed();

		fake_sleep(8 * HOUR_MS);
		run_a_while(&bed);
		assert_int_equal(bed.told, i);
		assert_int_equal(fake_sleep_armed(), armed + 1);
	}
	run_a_while(&bed);
	assert_int_equal(bed.told, 3);
	assert_in_range(clock_slept_ms() - before_ms, 24 * HOUR_MS - 100, 24 * HOUR_MS + 100);
	clear(&bed);
}

static void test_a_clock_that_is_set_is_no_sleep(void **unused)
{
	struct bed bed;

	make(&bed);
	for (unsigned i = 0; i < 3; i++) {
		fake_clock_set();
		run_a_while(&bed);
	}
	assert_int_equal(bed.told, 0);
	fake_sleep(HOUR_MS);
	run_a_while(&bed);
	assert_int_equal(bed.told, 1);
	fake_clock_set();
	run_a_while(&bed);
	assert_int_equal(bed.told, 1);
	clear(&bed);
}

/* It can't be asked for a second time: that sleep is told, and what is left makes no noise. */
static void test_a_notice_that_cant_be_had_again(void **unused)
{
	struct bed bed;

	make(&bed);
	fake_sleep_refuse(false, true);
	fake_sleep(HOUR_MS);
	run_a_while(&bed);
	assert_int_equal(bed.told, 1);
	fake_sleep(HOUR_MS);
	run_a_while(&bed);
	assert_int_equal(bed.told, 1);
	clear(&bed);
}

static void test_a_system_without_it(void **unused)
{
	struct loop *loop = loop_new();

	fake_sleep_refuse(true, false);
	assert_null(wake_new(loop, on_wake, NULL));
	fake_sleep_refuse(false, true);
	assert_null(wake_new(loop, on_wake, NULL));
	wake_free(NULL);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_sleep_is_told_once),
		cmocka_unit_test(test_a_clock_that_is_set_is_no_sleep),
		cmocka_unit_test(test_a_notice_that_cant_be_had_again),
		cmocka_unit_test(test_a_system_without_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
