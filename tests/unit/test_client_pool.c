/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client over several connections, over time, and on servers that break off, wait, or ask to wait. */
#include "tests/imap/client_world.h"

#include "src/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

static struct imap_client_state state_of(struct world *w)
{
	struct imap_client_state state;

	imap_client_state(w->client, &state);
	return state;
}

static struct ask *ask_bulk(struct world *w, const char *mailbox, const char *command)
{
	return world_ask_with(w, &(struct imap_request){.mailbox = mailbox, .command = command, .class = IMAP_BULK});
}

/* ---- connections that break ---- */

static void test_cut_in_a_literal(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2")
			BODY("1") "S: $a OK\n"
				  "S: * 2 FETCH (UID 2 BODY[] {5}\nS-hel\nX\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED("b", "2") BODY("2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;" BODY_EVENTS("1") ";ok");
		assert_events(&w.asks[1], "examined 7 3;body 5;restart;examined 7 3;" BODY_EVENTS("2") ";ok");
		assert_int_equal(w.asks[1].request.session, 2);
		assert_int_equal(state_of(&w).reconnects, 1);
		assert_int_equal(state_of(&w).last_error.code, 0);
	}
}

static void test_bye_in_a_literal(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* what looks like protocol inside a literal isn't, and its sender is gone in the middle of it */
		w.server.scripts[0] = SIGN_IN INBOX ASKED(
			"a", "1") "S: * 1 FETCH (UID 1 BODY[] {20}\nS-* BYE no\\r\\n$a \nX\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED(
			"a", "1") "S: * 1 FETCH (UID 1 BODY[] {20}\nS-* BYE no\\r\\n$a OK 1\\r\\n\n"
				  "S:  FLAGS ())\nS: $a OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;body 20;restart;examined 7 3;body 20;end 20;fetch 1;ok");
	}
}

static void test_three_tries(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* who only stood behind it isn't blamed */
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1")
			ASKED("b", "2") "S: * BYE Connection closed. 14\nX\n";
		w.server.scripts[1] = w.server.scripts[2] = w.server.scripts[0];
		w.server.scripts[3] = SIGN_IN INBOX ASKED("b", "2") BODY("2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, ERR_UNREACHABLE);
		assert_non_null(strstr(w.asks[0].err.text, "Connection closed. 14"));
		assert_int_equal(w.asks[1].code, 0);
		assert_true(g_str_has_suffix(w.asks[1].events->str, BODY_EVENTS("2") ";ok"));
		assert_int_equal(w.server.opened, 4);
	}
}

static void test_server_goes_for_good(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "X\n";
		w.server.scripts[1] = "F can't connect: refused\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;restart;unreachable");
		assert_int_equal(state_of(&w).last_error.code, ERR_UNREACHABLE);
	}
}

static void test_gives_up_in_the_end(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* each connection takes the mailbox and dies at the command: healthy requests don't wait for ever */
		for (unsigned i = 0; i < CLIENT_LOSSES_MAX; i++)
			w.server.scripts[i] = SIGN_IN INBOX "C: a *\nX\n";
		w.config.depth = 1;
		for (unsigned i = 0; i < 20; i++)
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(w.asks[i].code, ERR_UNREACHABLE);
		assert_int_equal(w.server.opened, CLIENT_LOSSES_MAX);
	}
}

static void test_garbage(void **unused)
{
	static const char *const garbage[] = {
		"S: * 1 FETCH (UID 0)\n",                              /* broken grammar */
		"S: m77 OK whose is that?\n",                          /* a tag that isn't ours */
		"S: * 1 FETCH (UID 1 FLAGS (\\Seen\n",                 /* an open parenthesis */
		"S: * 1 FETCH (UID 1 BODY[] {99999999999999999999}\n", /* no such size */
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(garbage); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *bad = g_strdup_printf(SIGN_IN INBOX ASKED("a", "1") "%s", garbage[i]);
			g_autofree char *good = g_strdup(SIGN_IN INBOX ASKED("a", "1") BODY("1") "S: $a OK\n");

			w.server.scripts[0] = bad;
			w.server.scripts[1] = good;
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
			world_run(&w);
			assert_events(&w.asks[0], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("1") ";ok");
			w.server.scripts[2] = w.server.scripts[3] = bad;
			world_ask_with(&w,
				&(struct imap_request){.mailbox = "INBOX", .command = FETCH_TEXT("1"), .fresh = true});
			world_run(&w);
			assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;protocol");
		}
}

static void test_dead_since_long(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "X\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED("a", "1") BODY("1") "S: $a OK\n";
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		((struct member *)w.client->members->pdata[0])->idle_since_ms -= 60000;
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("1") ";ok");
		/* nothing to tell anybody about */
		assert_int_equal(state_of(&w).reconnects, 0);
	}
}

/* Behind a NAT that has forgotten it: not even an error comes. */
static void test_lost_without_a_word(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 6000;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1");
		w.server.scripts[1] = SIGN_IN INBOX ASKED("a", "1") "W 2100\n" BODY("1") "S: $a OK\n";
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		((struct member *)w.client->members->pdata[0])->idle_since_ms -= 60000;
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		/* the new connection may take its time */
		assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("1") ";ok");
	}
}

static void take_time(struct ask *ask, const char *event)
{
	if (strcmp(event, "restart") == 0)
		g_usleep(3000);
}

/* What is sent again while the clock goes on has all its time. */
static void test_several_lost_without_a_word(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 3000;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2");
		w.server.scripts[1] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2")
			BODY("1") "S: $a OK\n" BODY("2") "S: $b OK\n";
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		((struct member *)w.client->members->pdata[0])->idle_since_ms -= 60000;
		world_ask(&w, "INBOX", FETCH_TEXT("1"))->on_event = take_time;
		world_ask(&w, "INBOX", FETCH_TEXT("2"))->on_event = take_time;
		world_run(&w);
		assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("1") ";ok");
		assert_events(&w.asks[2], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("2") ";ok");
	}
}

/* A session that had the mailbox open refuses the one that was made anew under its name: another one takes it. */
static void test_refused_by_a_session_that_knew_another(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX "C: e EXAMINE \"INBOX\"\nS: $e NO Mailbox was deleted under us\n";
		w.server.scripts[1] = SIGN_IN EXAMINE("\"INBOX\"", "8");
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		world_ask_with(&w, &(struct imap_request){.mailbox = "INBOX", .examine = true});
		world_run(&w);
		assert_int_equal(0, w.asks[1].code);
		assert_true(g_str_has_suffix(w.asks[1].events->str, "examined 8 3;ok"));
		assert_int_equal(2, w.server.opened);
	}
}

/* Once: what every session refuses is refused. */
static void test_refused_by_the_next_one_too(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX "C: e EXAMINE \"INBOX\"\nS: $e NO not now\n";
		w.server.scripts[1] = SIGN_IN "C: e EXAMINE \"INBOX\"\nS: $e NO not now\n";
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		world_ask_with(&w, &(struct imap_request){.mailbox = "INBOX", .examine = true});
		world_run(&w);
		assert_int_equal(ERR_REFUSED, w.asks[1].code);
	}
}

static void test_idle_connection_ends(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN NOOP "W 10\nS: * BYE Connection is closed. 13\nX\n";
		w.server.scripts[1] = SIGN_IN NOOP;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		world_run_ms(&w, 300);
		assert_int_equal(state_of(&w).connections, 0);
		assert_int_equal(w.server.opened, 1);
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[1], "ok");
	}
}

/* ---- tokens that end ---- */

static void test_token_expires(void **unused)
{
	static const char *const ends[] = {
		"S: * BYE Session invalidated - AccessTokenExpired\nX\n",
		"S: $a NO Session invalidated - AccessTokenExpired\n",
		"S: * BYE Session invalidated - AccessTokenExpired\nS: $a BAD\nX\n",
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *script = g_strdup_printf(
				SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") "%s", ends[i]);

			w.server.scripts[0] = script;
			w.server.scripts[1] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2")
				BODY("1") "S: $a OK\n" BODY("2") "S: $b OK\n";
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
			world_ask(&w, "INBOX", FETCH_TEXT("2"));
			world_run(&w);
			assert_events(&w.asks[0], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("1") ";ok");
			assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("2") ";ok");
			assert_int_equal(fake_auth.expired, 1);
			assert_int_equal(fake_auth.rejected, 0);
			assert_int_equal(fake_auth.generation, 2);
		}
}

static void test_token_expires_each_time(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		for (unsigned i = 0; i < 3; i++)
			w.server.scripts[i] = SIGN_IN INBOX ASKED("a", "1") "S: $a NO AccessTokenExpired\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, ERR_SIGN_IN);
		assert_int_equal(w.server.opened, 3);
	}
}

/* Sessions that were of use: their token's end is nobody's fault, however often it comes. */
static void test_token_expires_under_the_same_one(void **unused)
{
	static const char *const ends[] = {"S: * BYE AccessTokenExpired\nX\n", "S: $a NO AccessTokenExpired\n"};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *first = g_strconcat(SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") ASKED(
								     "c", "3") ASKED("d", "4") BODY("2") "S: $b OK\n",
				ends[i], NULL);
			g_autofree char *second = g_strconcat(SIGN_IN INBOX ASKED("a", "1") ASKED("c", "3")
								      ASKED("d", "4") BODY("3") "S: $c OK\n",
				ends[i], NULL);
			g_autofree char *third = g_strconcat(
				SIGN_IN INBOX ASKED("a", "1") ASKED("d", "4") BODY("4") "S: $d OK\n", ends[i], NULL);

			w.server.scripts[0] = first;
			w.server.scripts[1] = second;
			w.server.scripts[2] = third;
			w.server.scripts[3] = SIGN_IN INBOX ASKED("a", "1") BODY("1") "S: $a OK\n";
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
			world_ask(&w, "INBOX", FETCH_TEXT("2"));
			world_ask(&w, "INBOX", FETCH_TEXT("3"));
			world_ask(&w, "INBOX", FETCH_TEXT("4"));
			world_run(&w);
			for (unsigned n = 0; n < 4; n++)
				assert_int_equal(w.asks[n].code, 0);
			assert_int_equal(fake_auth.expired, 3);
			assert_int_equal(w.server.opened, 4);
		}
}

/* Two connections that try the same token have been refused once. */
static void test_one_token_refused_twice(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.server.scripts[0] = SIGN_IN EXAMINE("\"a\"", "1") NOOP "X\n";
		w.server.scripts[1] = w.server.scripts[2] = GREET "C: l AUTHENTICATE *\nS: $l NO no\n";
		w.server.scripts[3] = SIGN_IN EXAMINE("\"b\"", "2") "C: x NOOP\nW 80\nS: $x OK\n" EXAMINE("\"c\"", "3")
			NOOP;
		for (unsigned i = 4; i < SCRIPTS_MAX; i++)
			w.server.scripts[i] = "F can't connect\n";
		world_ask(&w, "a", "NOOP");
		world_run(&w);
		world_run_ms(&w, 20);
		world_ask(&w, "b", "NOOP");
		world_ask(&w, "c", "NOOP");
		world_run(&w);
		assert_int_equal(w.asks[1].code, 0);
		assert_int_equal(w.asks[2].code, 0);
		assert_int_equal(fake_auth.rejected, 2);
		assert_int_equal(fake_auth.generation, 2);
	}
}

/* ---- silence ---- */

static void test_silence(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 800;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") "W 20\nS: * OK still here\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED("b", "2") BODY("2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;timeout");
		assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("2") ";ok");
	}
}

static void test_silence_in_a_literal(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 400;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "S: * 1 FETCH (UID 1 BODY[] {5}\nS-hell\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;body 5;timeout");
	}
}

/* Bytes for the one ahead are a sign of life for the one behind, on the wire or not. */
static void test_slow_one_ahead(void **unused)
{
#define DRIP "W 150\nB 1000\n"
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 500;
		w.config.depth = 2;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1")
			ASKED("b", "2") "S: * 1 FETCH (UID 1 BODY[] {6000}\n" DRIP DRIP DRIP DRIP DRIP DRIP
					"S: )\nS: $a OK\n" ASKED("c", "3") "S: $b OK\nS: $c OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_ask(&w, "INBOX", FETCH_TEXT("3"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, 0);
		assert_int_equal(w.asks[1].code, 0);
		assert_int_equal(w.asks[2].code, 0);
	}
}

static void test_too_slow_is_silence(void **unused)
{
#define DROP "W 40\nB 1\n"
#define DROPS DROP DROP DROP DROP DROP DROP
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 100;
		w.tuning.slow_window_ms = 300;
		w.server.scripts[0] = SIGN_IN INBOX ASKED(
			"a", "1") "S: * 1 FETCH (UID 1 BODY[] {6000}\n" DROPS DROPS DROPS DROPS;
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;body 6000;timeout");
		assert_non_null(strstr(w.asks[0].err.text, "next to nothing"));
	}
}

/* ---- servers that ask for patience ---- */

static void test_throttled(void **unused)
{
	static const char *const answers[] = {
		"S: $a NO Request is throttled. Suggested Backoff Time: 450 milliseconds\n",
		"S: $a BAD Request is throttled. Suggested Backoff Time: 450 milliseconds\nS: * BYE Connection closed. "
		"14\nX\n",
		"S: * BYE Request is throttled. Suggested Backoff Time: 450 milliseconds\nX\n",
		"S: $a NO [UNAVAILABLE] throttled. Suggested Backoff Time: 450 milliseconds\n",
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(answers); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *script = NULL;
			uint64_t began = clock_ms();

			/* the pause is longer than the timeout, and yet nobody's fault */
			w.config.timeout_ms = 300;
			script = g_strdup_printf(SIGN_IN INBOX ASKED("a", "1") "%s%s", answers[i],
				strstr(answers[i], "BYE") ? "" : ASKED("a", "1") BODY("1") "S: $a OK\n");
			w.server.scripts[0] = script;
			w.server.scripts[1] = SIGN_IN INBOX ASKED("a", "1") BODY("1") "S: $a OK\n";
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
			world_run(&w);
			assert_events(&w.asks[0], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("1") ";ok");
			assert_true(clock_ms() - began >= 450);
			assert_int_equal(state_of(&w).throttled, 1);
		}
}

static void test_throttled_at_sign_in(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = GREET "C: l AUTHENTICATE *\nS: $l NO [THROTTLED] slow down\n";
		w.server.scripts[1] = "S: * BYE Request is throttled. Suggested Backoff Time: 30 milliseconds\nX\n";
		w.server.scripts[2] = SIGN_IN NOOP;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "ok");
		assert_int_equal(fake_auth.rejected, 0);
		assert_int_equal(state_of(&w).throttled, 2);
	}
}

static void test_throttled_too_long(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.throttle_wait_ms = 1000;
		w.server.scripts[0] = SIGN_IN INBOX ASKED(
			"a", "1") "S: $a NO Request is throttled. Suggested Backoff Time: 299961 milliseconds\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;restart;throttled");
		assert_true(state_of(&w).backoff_ms > 290000);
		/* whoever comes during the pause is told at once */
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[1], "throttled");
	}
}

static void test_throttled_again_and_again(void **unused)
{
#define AGAIN ASKED("a", "1") "S: $a NO Request is throttled. Suggested Backoff Time: 40 milliseconds\n"
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.throttle_wait_ms = 100;
		w.server.scripts[0] = SIGN_IN INBOX AGAIN AGAIN AGAIN;
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, ERR_THROTTLED);
		assert_int_equal(w.server.ended, 1);
	}
}

static void test_over_quota(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED(
			"b", "2") "S: $a NO [OVERQUOTA] Account exceeded command or bandwidth limits.\nS: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;restart;throttled");
		assert_true(*w.asks[0].err.hint);
		assert_events(&w.asks[1], "examined 7 3;ok");
	}
}

/* ---- depth ---- */

static void test_depth_falls(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") ASKED("c", "3")
			BODY("1") "S: $a OK\nS: $b BAD Command Error. 10\nS: $c BAD Command Error. 10\n" ASKED(
				"c", "3") "W 5\nS: $c OK\n" ASKED("b", "2") "W 5\nS: $b OK\n" ASKED("d",
				"4") "W 5\nS: $d OK\n" ASKED("e", "5") "S: $e OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_ask(&w, "INBOX", FETCH_TEXT("3"));
		world_run(&w);
		assert_int_equal(w.asks[1].code, 0);
		assert_int_equal(w.asks[2].code, 0);
		assert_int_equal(w.client->depth, 1);
		world_ask(&w, "INBOX", FETCH_TEXT("4"));
		world_ask(&w, "INBOX", FETCH_TEXT("5"));
		world_run(&w);
		assert_int_equal(w.server.ended, 1);
	}
}

static void test_depth_wasnt_it(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1")
			ASKED("b", "2") "S: $a OK\nS: $b BAD what?\n" ASKED("b", "2") "S: $b BAD what?\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;refused");
		assert_int_equal(w.client->depth, CLIENT_DEPTH_DEFAULT);
	}
}

/* ---- several connections ---- */

static void test_bulk_leaves_one_free(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.config.depth = 2;
		/* the bulk ones are stuck; the spare connection is there before anybody asks */
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1")
			ASKED("b", "2") "W 150\nS: $a OK\nS: $b OK\n" ASKED("c", "3") "S: $c OK\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED("x", "9") BODY("9") "S: $x OK\n";
		ask_bulk(&w, "INBOX", FETCH_TEXT("1"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("2"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("3"));
		world_until_opened(&w, 2);
		for (unsigned i = 0; i < 100 && state_of(&w).connections < 2; i++)
			world_run_ms(&w, 5);
		world_ask(&w, "INBOX", FETCH_TEXT("9"));
		world_run(&w);
		assert_events(&w.asks[3], "examined 7 3;" BODY_EVENTS("9") ";ok");
		assert_true(w.asks[3].done_at_ms <= w.asks[0].done_at_ms);
		assert_int_equal(w.server.ended, 2);
	}
}

/* The connection that is kept free has the mailbox open, and that is all that it is asked for. */
static void test_bulk_stays_on_one(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 4;
		w.config.depth = 2;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") "W 100\nS: $a OK\n" ASKED(
			"c", "3") "S: $b OK\nS: $c OK\n" ASKED("d", "4") "S: $d OK\n";
		w.server.scripts[1] = SIGN_IN INBOX;
		ask_bulk(&w, "INBOX", FETCH_TEXT("1"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("2"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("3"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("4"));
		world_run(&w);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(w.asks[i].code, 0);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(w.server.ended, 2);
	}
}

/* Bulk work that goes on gets one connection more, which isn't the one that is kept free. */
static void test_bulk_that_lasts_gets_another_lane(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 4;
		w.config.depth = 2;
		w.tuning.lane_ms = 50;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1")
			ASKED("b", "2") "W 60\n" BODY("1") "S: $a OK\n" ASKED("c", "3") "W 60\n" BODY(
				"2") "S: $b OK\n" ASKED("d", "4") "W 300\nS: $c OK\nS: $d OK\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED("e", "5") "S: $e OK\n";
		w.server.scripts[2] = w.server.scripts[3] = "W 60\n" SIGN_IN INBOX;
		ask_bulk(&w, "INBOX", FETCH_TEXT("1"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("2"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("3"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("4"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("5"));
		world_run(&w);
		assert_true(w.asks[4].done_at_ms >= w.asks[1].done_at_ms + 50);
		assert_true(w.asks[4].done_at_ms < w.asks[2].done_at_ms);
		assert_true(w.server.opened >= 3);
	}
}

/* One command at a time: what hides the round trip is another connection. */
static void test_bulk_without_pipelining_takes_all_but_one(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 3;
		w.config.depth = 1;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "W 150\nS: $a OK\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED("b", "2") "S: $b OK\n";
		w.server.scripts[2] = SIGN_IN INBOX;
		ask_bulk(&w, "INBOX", FETCH_TEXT("1"));
		assert_int_equal(1, imap_client_bulk_at_once(w.client));
		ask_bulk(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_true(w.asks[1].done_at_ms < w.asks[0].done_at_ms);
		/* of three one is kept free */
		assert_int_equal(2, imap_client_bulk_at_once(w.client));
		w.client->depth = 2;
		assert_int_equal(UINT32_MAX, imap_client_bulk_at_once(w.client));
	}
}

static void test_interactive_goes_first_on_one(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.depth = 1;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "W 60\nS: $a OK\n" EXAMINE("\"Sent\"", "8")
			ASKED("c", "3") "S: $c OK\n" INBOX ASKED("b", "2") "S: $b OK\n";
		ask_bulk(&w, "INBOX", FETCH_TEXT("1"));
		ask_bulk(&w, "INBOX", FETCH_TEXT("2"));
		world_run_ms(&w, 30);
		world_ask(&w, "Sent", FETCH_TEXT("3"));
		world_run(&w);
		assert_int_equal(w.server.ended, 1);
		assert_int_equal(UINT32_MAX, imap_client_bulk_at_once(w.client));
	}
}

static void test_first_sign_in_alone(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* four want one, and one tries: a wrong password isn't sent four times */
		w.config.connections = 4;
		w.server.scripts[0] = GREET "C: l AUTHENTICATE *\nS: $l NO no\n";
		w.server.scripts[1] = w.server.scripts[0];
		world_ask(&w, "a", NULL);
		world_ask(&w, "b", NULL);
		world_ask(&w, "c", NULL);
		world_ask(&w, "d", NULL);
		world_run(&w);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(w.asks[i].code, ERR_SIGN_IN);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(w.server.most_alive, 1);
	}
}

static void test_server_limits_connections(void **unused)
{
	static const char *const refusals[] = {
		GREET "C: l AUTHENTICATE *\nS: $l NO [ALERT] Too many simultaneous connections. (Failure)\n",
		GREET "C: l AUTHENTICATE *\nS: $l NO [LIMIT] UserConnectionLimit\n",
		"S: * BYE Maximum number of connections from user+IP exceeded\nX\n",
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++)
		FOR_EACH_CUT(w)
		{
			w.config.connections = 3;
			w.config.depth = 1;
			w.server.scripts[0] = SIGN_IN EXAMINE("\"a\"", "1") "C: x NOOP\nW 60\nS: $x OK\n" EXAMINE(
				"\"b\"", "2")
				NOOP EXAMINE("\"a\"", "1") "C: x NOOP\nW 60\nS: $x OK\n" EXAMINE("\"b\"", "2") NOOP;
			w.server.scripts[1] = refusals[i];
			world_ask(&w, "a", "NOOP");
			world_ask(&w, "b", "NOOP");
			world_run(&w);
			assert_events(&w.asks[0], "examined 1 3;ok");
			assert_events(&w.asks[1], "examined 2 3;ok");
			assert_int_equal(w.server.opened, 2);
			assert_int_equal(fake_auth.rejected, 0);
			/* and it is remembered */
			world_ask(&w, "a", "NOOP");
			world_ask(&w, "b", "NOOP");
			world_run(&w);
			assert_int_equal(w.server.opened, 2);
			assert_int_equal(w.server.ended, 2);
		}
}

static void test_no_connection_at_all(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = GREET "C: l AUTHENTICATE *\nS: $l NO Too many simultaneous connections\n";
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "unreachable");
		assert_true(*w.asks[0].err.hint);
		assert_int_equal(fake_auth.rejected, 0);
	}
}

static void test_a_second_one_fails(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* who has a connection goes on with that one */
		w.config.connections = 2;
		w.server.scripts[0] = SIGN_IN EXAMINE("\"a\"", "1") "C: x NOOP\nW 80\nS: $x OK\n" EXAMINE("\"b\"", "2")
			NOOP;
		w.server.scripts[1] = "F can't connect\n";
		for (unsigned i = 2; i < SCRIPTS_MAX; i++)
			w.server.scripts[i] = "F can't connect\n";
		world_ask(&w, "a", "NOOP");
		world_ask(&w, "b", "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "examined 1 3;ok");
		assert_events(&w.asks[1], "examined 2 3;ok");
		assert_true(w.server.opened <= 4);
	}
}

static void test_fresh(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN NOOP;
		w.server.scripts[1] = SIGN_IN NOOP NOOP;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		world_ask_with(&w, &(struct imap_request){.command = "NOOP", .fresh = true});
		world_run(&w);
		assert_int_equal(w.asks[0].request.session, 1);
		assert_int_equal(w.asks[1].request.session, 2);
		/* one that isn't fresh is content with it */
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_int_equal(w.asks[2].request.session, 2);
		assert_int_equal(w.server.most_alive, 1);
		assert_int_equal(state_of(&w).sessions, 2);
		assert_int_equal(state_of(&w).connections, 1);
		/* said where it needn't wait */
		if (!w.server.chunk)
			assert_non_null(strstr(w.server.log->str, "m0 LOGOUT\r\n"));
	}
}

static void test_fresh_waits_for_room(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN "C: x NOOP\nW 30\nS: $x OK\n";
		w.server.scripts[1] = SIGN_IN NOOP NOOP;
		world_ask(&w, NULL, "NOOP");
		world_run_ms(&w, 15);
		world_ask_with(&w, &(struct imap_request){.command = "NOOP", .fresh = true});
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_int_equal(w.asks[1].request.session, 2);
		assert_int_equal(w.asks[2].code, 0);
	}
}

static void test_surplus_closes(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 3;
		w.config.timeout_ms = 500;
		w.tuning.idle_ms = 200;
		w.server.scripts[0] = SIGN_IN EXAMINE("\"a\"", "1") "C: x NOOP\nW 60\nS: $x OK\n";
		w.server.scripts[1] = SIGN_IN EXAMINE("\"b\"", "2") NOOP;
		world_ask(&w, "a", "NOOP");
		world_ask(&w, "b", "NOOP");
		world_run(&w);
		assert_int_equal(state_of(&w).connections, 2);
		world_run_ms(&w, 400);
		assert_int_equal(state_of(&w).connections, 1);
		world_run_ms(&w, 300);
		assert_int_equal(state_of(&w).connections, 1);
	}
}

/* What nobody has asked yet is what the connection that is kept free of bulk work is there for. */
static void test_the_free_one_is_no_surplus(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.config.timeout_ms = 1000;
		w.tuning.idle_ms = 50;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "W 700\n" BODY("1") "S: $a OK\n";
		w.server.scripts[1] = SIGN_IN INBOX;
		ask_bulk(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(w.server.alive, 2);
	}
}

/* ---- cancelling, and calls from callbacks ---- */

static void test_cancel(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		struct ask *a, *b, *c;

		w.config.depth = 2;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") "W 40\n" BODY(
			"1") "S: $a OK\n" BODY("2") "S: $b OK\n" ASKED("d", "4") "S: $d OK\n";
		a = world_ask(&w, "INBOX", FETCH_TEXT("1"));
		b = world_ask(&w, "INBOX", FETCH_TEXT("2"));
		c = world_ask(&w, "INBOX", FETCH_TEXT("3"));
		for (unsigned i = 0; i < 200 && !a->events->len; i++)
			world_run_ms(&w, 2);
		imap_client_cancel(w.client, &a->request); /* on the wire */
		imap_client_cancel(w.client, &c->request); /* not yet */
		imap_client_cancel(w.client, &c->request); /* once more */
		w.answered += 2;
		world_run(&w);
		assert_events(a, "examined 7 3");
		assert_events(b, "examined 7 3;" BODY_EVENTS("2") ";ok");
		assert_events(c, "");
		imap_client_cancel(w.client, &b->request); /* done already */
		world_ask(&w, "INBOX", FETCH_TEXT("4"));
		world_run(&w);
		assert_int_equal(w.server.ended, 1);
	}
}

static void cancel_itself(struct ask *ask, const char *event)
{
	if (strcmp(event, "data") != 0)
		return;
	ask->on_event = NULL;
	imap_client_cancel(ask->world->client, &ask->request);
	ask->world->answered++;
}

static void test_cancel_much(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* 3 GB that nobody wants: hang up */
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "S: * 1 FETCH (UID 1 BODY[] {3000000000}\nB 2000\n";
		w.server.scripts[1] = SIGN_IN INBOX ASKED("b", "2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"))->on_event = cancel_itself;
		world_run_ms(&w, 50);
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;body 3000000000");
		assert_events(&w.asks[1], "examined 7 3;ok");
		assert_int_equal(w.server.opened, 2);
	}
}

static void cancel_in_examined(struct ask *ask, const char *event)
{
	if (!g_str_has_prefix(event, "examined"))
		return;
	imap_client_cancel(ask->world->client, &ask->request);
	ask->world->answered++;
	world_ask(ask->world, "INBOX", FETCH_TEXT("2"));
}

static void test_cancel_in_callback(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("b", "2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"))->on_event = cancel_in_examined;
		world_run_ms(&w, 50);
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3");
		assert_events(&w.asks[1], "examined 7 3;ok");
	}
}

/* At the first failure the others are cancelled from its callback. */
static void cancel_others(struct ask *ask, const char *event)
{
	if (strcmp(event, "unreachable") != 0 && strcmp(event, "restart") != 0)
		return;
	for (unsigned i = 0; i < ask->world->asked; i++)
		if (&ask->world->asks[i] != ask && !ask->world->asks[i].done) {
			imap_client_cancel(ask->world->client, &ask->world->asks[i].request);
			ask->world->answered++;
			ask->world->asks[i].done = true;
		}
}

static void test_cancel_others_in_callback(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = "F can't connect\n";
		for (unsigned i = 0; i < 4; i++)
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
		w.asks[0].on_event = cancel_others;
		world_run(&w);
		assert_events(&w.asks[0], "unreachable");
		assert_events(&w.asks[1], "");
		/* and while the pipeline is taken apart */
		world_run_ms(&w, 110);
		w.server.scripts[1] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") ASKED("c", "3") "X\n";
		w.server.scripts[2] = SIGN_IN INBOX ASKED("c", "3") "S: $c OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_ask(&w, "INBOX", FETCH_TEXT("3"))->on_event = cancel_others;
		world_run(&w);
		assert_events(&w.asks[4], "examined 7 3");
		assert_events(&w.asks[6], "examined 7 3;restart;examined 7 3;ok");
	}
}

static void submit_again(struct ask *ask, const char *event)
{
	if (strcmp(event, "ok") == 0 && ask->world->asked < 3)
		world_ask(ask->world, "INBOX", FETCH_TEXT("2"))->on_event = submit_again;
}

static void test_submit_in_callback(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "S: $a OK\n" ASKED("b", "2") "S: $b OK\n" ASKED(
			"b", "2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"))->on_event = submit_again;
		world_run(&w);
		while (w.answered < 3)
			world_run(&w);
		assert_int_equal(w.server.ended, 1);
	}
}

static void test_free_with_all_under_way(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 3;
		w.config.depth = 2;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1")
			ASKED("b", "1") "S: * 1 FETCH (UID 1 BODY[] {5}\nS-hel\n";
		w.server.scripts[1] = SIGN_IN INBOX "C: a *\nC: b *\n";
		w.server.scripts[2] = GREET "C: l AUTHENTICATE *\n";
		for (unsigned i = 0; i < 8; i++)
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_until_opened(&w, 3);
		world_run_ms(&w, 20);
		for (unsigned i = 0; i < 8; i++)
			assert_false(w.asks[i].done);
		/* world_fini() frees it */
	}
}

/* ---- speed ---- */

#define OFFER "C: c CAPABILITY\nS: * CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR\nS: $c OK\n"

/* Not on loopback: there nothing is compressed. */
static void config_compressed(struct imap_client_config *config)
{
	config->host = "imap.example.com";
	config->tls = STREAM_TLS_STARTTLS;
	config->compress = true;
}

static void test_compressed(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		config_compressed(&w.config);
		w.server.scripts[0] = OFFER
			"C: l AUTHENTICATE XOAUTH2 *\nS: $l OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE] in\n"
			"C: f LIST \"\" \"\"\nS: $f OK\nC: z COMPRESS DEFLATE\nS: $z OK\nD\nS: * OK now "
			"deflated\n" INBOX ASKED("a",
				"1") "S: * 1 FETCH (UID 1 BODY[] {300000}\nB 300000\nS: )\nS: $a OK\n" ASKED("b", "2")
				BODY("2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;body 300000;end 300000;fetch 1;ok");
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[1], "examined 7 3;" BODY_EVENTS("2") ";ok");
		assert_true(state_of(&w).bytes_in > 300000);
		assert_int_equal(w.server.ended, 1);
	}
}

/* What came too late to go with the first commands waits for the stream that begins behind COMPRESS. */
static void test_nothing_is_sent_behind_compress(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		config_compressed(&w.config);
		w.server.scripts[0] = OFFER
			"C: l AUTHENTICATE XOAUTH2 *\nS: $l OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE ENABLE QRESYNC "
			"NAMESPACE] in\nC: n NAMESPACE\nC: q ENABLE QRESYNC\nC: f LIST \"\" \"*\"\nS: $n OK\nS: $q OK\n"
			"C: z COMPRESS DEFLATE\nS: * LIST () \"/\" \"a\"\nS: $f OK\nW 20\nN\nS: $z OK\nD\n"
			"C: g LIST \"\" \"b\"\nS: $g OK\n";
		world_ask(&w, NULL, "LIST \"\" \"*\"");
		world_ask(&w, NULL, "LIST \"\" \"b\"");
		world_run(&w);
		assert_events(&w.asks[0], "list a;ok");
		assert_events(&w.asks[1], "ok");
		assert_string_equal("", w.server.wrong->str);
	}
}

static void test_bandwidth_limit(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		uint64_t began = clock_ms();

		w.config.bytes_per_second = 400000;
		w.server.scripts[0] = SIGN_IN INBOX ASKED(
			"a", "1") "S: * 1 FETCH (UID 1 BODY[] {200000}\nB 200000\nS: )\nS: $a OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;body 200000;end 200000;fetch 1;ok");
		/* half a second's worth, a quarter of it as a burst */
		assert_true(clock_ms() - began >= 200);
	}
}

static void test_round_trips(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		struct imap_client_state before, after;

		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2")
			ASKED("c", "3") "S: $a OK\nS: $b OK\nS: $c OK\n";
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		before = state_of(&w);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_ask(&w, "INBOX", FETCH_TEXT("3"));
		world_run(&w);
		after = state_of(&w);
		assert_int_equal(after.round_trips - before.round_trips, 1);
		assert_int_equal(after.commands - before.commands, 3);
	}
}

static int run_all(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_in_a_literal),
		cmocka_unit_test(test_bye_in_a_literal),
		cmocka_unit_test(test_three_tries),
		cmocka_unit_test(test_server_goes_for_good),
		cmocka_unit_test(test_gives_up_in_the_end),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_dead_since_long),
		cmocka_unit_test(test_lost_without_a_word),
		cmocka_unit_test(test_several_lost_without_a_word),
		cmocka_unit_test(test_refused_by_a_session_that_knew_another),
		cmocka_unit_test(test_refused_by_the_next_one_too),
		cmocka_unit_test(test_idle_connection_ends),
		cmocka_unit_test(test_token_expires),
		cmocka_unit_test(test_token_expires_each_time),
		cmocka_unit_test(test_token_expires_under_the_same_one),
		cmocka_unit_test(test_one_token_refused_twice),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_silence_in_a_literal),
		cmocka_unit_test(test_slow_one_ahead),
		cmocka_unit_test(test_too_slow_is_silence),
		cmocka_unit_test(test_throttled),
		cmocka_unit_test(test_throttled_at_sign_in),
		cmocka_unit_test(test_throttled_too_long),
		cmocka_unit_test(test_throttled_again_and_again),
		cmocka_unit_test(test_over_quota),
		cmocka_unit_test(test_depth_falls),
		cmocka_unit_test(test_depth_wasnt_it),
		cmocka_unit_test(test_bulk_leaves_one_free),
		cmocka_unit_test(test_bulk_stays_on_one),
		cmocka_unit_test(test_bulk_that_lasts_gets_another_lane),
		cmocka_unit_test(test_bulk_without_pipelining_takes_all_but_one),
		cmocka_unit_test(test_interactive_goes_first_on_one),
		cmocka_unit_test(test_first_sign_in_alone),
		cmocka_unit_test(test_server_limits_connections),
		cmocka_unit_test(test_no_connection_at_all),
		cmocka_unit_test(test_a_second_one_fails),
		cmocka_unit_test(test_fresh),
		cmocka_unit_test(test_fresh_waits_for_room),
		cmocka_unit_test(test_surplus_closes),
		cmocka_unit_test(test_the_free_one_is_no_surplus),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_much),
		cmocka_unit_test(test_cancel_in_callback),
		cmocka_unit_test(test_cancel_others_in_callback),
		cmocka_unit_test(test_submit_in_callback),
		cmocka_unit_test(test_free_with_all_under_way),
		cmocka_unit_test(test_compressed),
		cmocka_unit_test(test_nothing_is_sent_behind_compress),
		cmocka_unit_test(test_bandwidth_limit),
		cmocka_unit_test(test_round_trips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	log_init(g_getenv("MAILTREE_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, LOG_TO_STDERR);
	return world_run_cuts(run_all);
}
