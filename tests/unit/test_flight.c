/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much a walk has under way, on lines that are only arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/mail/flight.h"

#include <glib.h>

#include "src/base/banned.h"

#define MESSAGE_BYTES (16u << 10)

/* A line that brings one message after the other, and a walk that always asks for as much as it may. */
struct line {
	struct flight flight;
	double now_ms, round_trip_ms, bytes_per_ms;
	double free_ms; /* until then it brings what was asked for before */
	GQueue asked;   /* double *: when, one a message */
};

static void line_begin(struct line *line, double round_trip_ms, double bytes_per_s)
{
	*line = (struct line){.round_trip_ms = round_trip_ms, .bytes_per_ms = bytes_per_s / 1000};
	g_queue_init(&line->asked);
	flight_begin(&line->flight, 0);
	flight_answered(&line->flight, (uint64_t)round_trip_ms);
}

static void line_ask(struct line *line)
{
	while ((uint64_t)line->asked.length * MESSAGE_BYTES < line->flight.most_bytes)
		g_queue_push_tail(&line->asked, g_memdup2(&line->now_ms, sizeof(line->now_ms)));
}

/* Runs so long; the octets that came. */
static uint64_t line_run(struct line *line, double ms)
{
	double until_ms = line->now_ms + ms;
	uint64_t bytes = 0;

	for (line_ask(line);; line_ask(line)) {
		double *asked_ms = line->asked.head->data;
		double comes_ms = MAX(line->free_ms, *asked_ms + line->round_trip_ms) +
		                  MESSAGE_BYTES / line->bytes_per_ms;

		if (comes_ms > until_ms)
			break;
		line->now_ms = line->free_ms = comes_ms;
		flight_arrived(&line->flight, MESSAGE_BYTES, (uint64_t)(comes_ms - *asked_ms));
		g_free(g_queue_pop_head(&line->asked));
		bytes += MESSAGE_BYTES;
	}
	line->now_ms = until_ms;
	return bytes;
}

static void line_end(struct line *line)
{
	g_queue_clear_full(&line->asked, g_free);
}

static void test_a_fast_line_is_soon_full(void **state)
{
	struct line line;

	/* 150 MB/s carry 7.5 MB in a round trip: threefold growth has passed that after the second */
	line_begin(&line, 50, 150e6);
	line_run(&line, 200);
	assert_true(line_run(&line, 1000) > 145000000);
	assert_int_equal(FLIGHT_BYTES_MAX, line.flight.most_bytes);
	line_end(&line);
}

static void test_a_long_line_is_full_too(void **state)
{
	struct line line;

	line_begin(&line, 150, 100e6);
	line_run(&line, 700);
	assert_true(line_run(&line, 1000) > 95000000);
	line_end(&line);
}

/* Full, with half a second of queue at most in front of whoever asks next. */
static void test_a_slow_line_isnt_filled(void **state)
{
	struct line line;

	line_begin(&line, 50, 2.5e6);
	line_run(&line, 3000);
	assert_true(line_run(&line, 4000) > 9800000);
	assert_in_range(line.flight.most_bytes, 400000, 2500000 / 2);
	line_end(&line);
}

static void test_a_line_that_became_slow_is_let_empty(void **state)
{
	struct line line;

	line_begin(&line, 50, 100e6);
	line_run(&line, 2000);
	line.bytes_per_ms = 1000;
	/* all that was under way has come, and as much again */
	line_run(&line, 45000);
	assert_in_range(line.flight.most_bytes, FLIGHT_BYTES_MIN, 1000000 / 2);
	line_end(&line);
}

static void test_a_silence_is_recovered_from(void **state)
{
	struct line line;

	line_begin(&line, 50, 100e6);
	line_run(&line, 2000);
	line.free_ms = line.now_ms + 5000;
	line_run(&line, 6000);
	line_run(&line, 500);
	assert_true(line_run(&line, 1000) > 95000000);
	line_end(&line);
}

static void test_begins_with_what_the_line_is_known_to_bring(void **state)
{
	static const struct {
		uint64_t rate_bytes, most_bytes;
	} cases[] = {
		{0, FLIGHT_BYTES_FIRST},
		{2500000, FLIGHT_BYTES_FIRST},
		{10000000, 10000000ull * FLIGHT_MS / 1000},
		{100000000, FLIGHT_BYTES_FIRST_MAX},
		{UINT64_MAX, FLIGHT_BYTES_FIRST_MAX},
	};
	struct flight flight;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		flight_begin(&flight, cases[i].rate_bytes);
		assert_int_equal(cases[i].most_bytes, flight.most_bytes);
	}
}

static void test_bounds(void **state)
{
	struct flight flight;

	flight_begin(&flight, 0);
	flight_arrived(&flight, UINT64_MAX, 0);
	assert_int_equal(FLIGHT_BYTES_MAX, flight.most_bytes);
	flight_arrived(&flight, UINT64_MAX, UINT32_MAX);
	assert_int_equal(FLIGHT_BYTES_MIN, flight.most_bytes);
	flight_arrived(&flight, 0, 0);
	assert_int_equal(FLIGHT_BYTES_MIN, flight.most_bytes);
	/* in between it stays as it is */
	flight_answered(&flight, 50);
	flight_arrived(&flight, 1 << 20, 400);
	assert_int_equal(FLIGHT_BYTES_MIN, flight.most_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fast_line_is_soon_full),
		cmocka_unit_test(test_a_long_line_is_full_too),
		cmocka_unit_test(test_a_slow_line_isnt_filled),
		cmocka_unit_test(test_a_line_that_became_slow_is_let_empty),
		cmocka_unit_test(test_a_silence_is_recovered_from),
		cmocka_unit_test(test_begins_with_what_the_line_is_known_to_bring),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
