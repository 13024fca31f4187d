/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The watch: which connection idles, what it tells, how it is called back, begun anew and lost. */
#include "tests/imap/client_world.h"
#include "tests/unit/fake_sleep.h"

#include "src/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define ON                                                                                                             \
	GREET "C: l AUTHENTICATE XOAUTH2 " XOAUTH2_LINE "\nS: $l OK [CAPABILITY IMAP4rev1 NAMESPACE UIDPLUS IDLE] "    \
	      "in\n" FIRST
#define IDLE "C: i IDLE\nS: + idling\n"
#define DONE "C+ DONE\nS: $i OK done\n"

/* What the watch told: "state 7 3 10", "changed", "flags". */
static GString *told;

static void on_told(void *ctx, const struct imap_mailbox *mailbox, bool flags_only)
{
	const char *before = told->len ? ";" : "";

	if (mailbox)
		g_string_append_printf(
			told, "%sstate %u %u %u", before, mailbox->uidvalidity, mailbox->exists, mailbox->uidnext);
	else
		g_string_append_printf(told, "%s%s", before, flags_only ? "flags" : "changed");
}

static int setup(void **state)
{
	told = g_string_new(NULL);
	return 0;
}

static int teardown(void **state)
{
	g_string_free(told, TRUE);
	return 0;
}

static struct imap_client_state state_of(struct world *w)
{
	struct imap_client_state state;

	imap_client_state(w->client, &state);
	return state;
}

static void watch(struct world *w, const char *mailbox)
{
	g_string_truncate(told, 0);
	world_start(w);
	imap_client_watch(w->client, mailbox, on_told, NULL);
}

/* Until so many scripts have come to their end. */
static void until_ended(struct world *w, unsigned scripts)
{
	for (unsigned i = 0; i < 1000 && w->server.ended < scripts; i++)
		world_run_ms(w, 5);
	assert_string_equal(w->server.wrong->str, "");
	assert_int_equal(w->server.ended, scripts);
	world_run_ms(w, 10);
}

static void until_watching(struct world *w)
{
	for (unsigned i = 0; i < 2000 && !state_of(w).watching; i++)
		world_run_ms(w, 2);
	assert_string_equal(w->server.wrong->str, "");
	assert_true(state_of(w).watching);
}

/* Somebody has used the mailbox, then it is watched. */
static void use_and_watch(struct world *w)
{
	world_ask(w, "INBOX", NULL);
	world_run(w);
	watch(w, "INBOX");
}

/* ---- what it tells ---- */

static void test_idles_on_a_connection_of_its_own(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 3;
		w.server.scripts[0] = ON INBOX ASKED("a", "1") BODY("1") "S: $a OK\n";
		w.server.scripts[1] = ON INBOX IDLE "W 20\nS: * 4 EXISTS\nS: * 1 RECENT\n";
		use_and_watch(&w);
		world_run_ms(&w, 50);
		/* nobody who asks for something has to call it back */
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[1].code, 0);
		until_ended(&w, 2);
		assert_string_equal(told->str, "state 7 3 10;changed");
		assert_int_equal(w.server.opened, 2);
		assert_true(state_of(&w).watching);
	}
}

static void test_what_is_a_change(void **unused)
{
	static const struct {
		const char *lines, *told;
	} cases[] = {
		{"S: * 3 EXISTS\nS: * OK Still here\nS: * 0 RECENT\nS: * FLAGS (\\Seen)\n", ""},
		{"S: * 2 EXPUNGE\n", ";changed"},
		{"S: * VANISHED 5:7\n", ";changed"},
		{"S: * VANISHED (EARLIER) 5:7\n", ""},
		{"S: * 2 FETCH (FLAGS (\\Seen))\n", ";flags"},
		{"S: * 5 EXISTS\nS: * 5 FETCH (FLAGS ())\nS: * 1 EXPUNGE\n", ";changed;flags;changed"},
		{BODY("2"), ";flags"}, /* nobody asked; nobody is given it */
		{"S: + go on\nS: * LIST () \"/\" x\nS: * SEARCH 1\n", ""},
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *script = g_strconcat(ON INBOX IDLE, cases[i].lines, NULL);
			g_autofree char *expected = g_strconcat("state 7 3 10", cases[i].told, NULL);

			w.server.scripts[0] = script;
			watch(&w, "INBOX");
			for (unsigned n = 0; n < 1000 && told->len < strlen(expected); n++)
				world_run_ms(&w, 5);
			until_ended(&w, 1);
			assert_string_equal(told->str, expected);
		}
}

/* Whatever asks for something on that mailbox hears of changes too. */
static void test_told_beside_an_answer(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "S: * 4 EXISTS\nS: * 2 EXPUNGE\n" BODY(
			"1") "S: $a OK\n" EXAMINE("\"b\"", "9") "C: o NOOP\nS: * 9 EXISTS\nS: $o OK\n";
		watch(&w, "INBOX");
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		world_ask(&w, "b", "NOOP");
		world_run(&w);
		assert_string_equal(told->str, "changed;changed");
	}
}

static void test_a_server_without_idle(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 4;
		w.server.scripts[0] = SIGN_IN INBOX;
		use_and_watch(&w);
		world_run_ms(&w, 60);
		assert_int_equal(w.server.opened, 1);
		assert_false(state_of(&w).watching);
		assert_string_equal(told->str, "");
	}
}

/* ---- one connection for all ---- */

static void test_called_back(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX INBOX IDLE DONE ASKED("a", "1")
			BODY("1") "S: $a OK\n" EXAMINE("\"INBOX\"", "7") IDLE;
		use_and_watch(&w);
		until_watching(&w);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[1].code, 0);
		until_ended(&w, 1);
		assert_int_equal(w.server.most_alive, 1);
		assert_string_equal(told->str, "state 7 3 10;state 7 3 10");
	}
}

/* Before "+" nothing may be sent. */
static void test_called_back_at_once(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX "C: i IDLE\nW 60\nS: + idling\n" DONE ASKED("a", "1")
			BODY("1") "S: $a OK\n";
		watch(&w, "INBOX");
		for (unsigned i = 0; i < 1000 && !strstr(w.server.log->str, "IDLE"); i++)
			world_run_ms(&w, 2);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, 0);
	}
}

/* Who wants what is open there doesn't wait for the server's word that IDLE has ended. */
static void test_asked_right_behind_done(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE
			"C+ DONE\n" ASKED("a", "1") "S: * 4 EXISTS\nS: $i OK done\n" BODY("1") "S: $a OK\n";
		watch(&w, "INBOX");
		until_watching(&w);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, 0);
		assert_string_equal(told->str, "state 7 3 10;changed");
		imap_client_watch(w.client, NULL, NULL, NULL);
	}
}

/* What is asked next comes when the server has confirmed the end of IDLE, and no sooner. */
#define IDLE_WAITED_FOR IDLE "C+ DONE\nW 50\nN\nS: $i OK done\n"

static void ask_while_idling(struct world *w, const struct imap_request *like)
{
	struct ask *ask;

	until_watching(w);
	ask = world_ask_with(w, like);
	world_run(w);
	assert_int_equal(ask->code, 0);
	imap_client_watch(w->client, NULL, NULL, NULL);
}

/* Bulk work has time, and the silence before a search's answer would look like a lost command. */
static void test_all_else_waits_for_the_end_of_idle(void **unused)
{
	struct world w;

	for (unsigned i = 0; i < 2; i++)
		FOR_EACH_CUT(w)
		{
			w.server.scripts[0] = ON INBOX IDLE_WAITED_FOR ASKED("a", "1") BODY("1") "S: $a OK\n";
			watch(&w, "INBOX");
			ask_while_idling(&w, &(struct imap_request){.mailbox = "INBOX",
						     .command = FETCH_TEXT("1"),
						     .class = i == 0 ? IMAP_BULK : IMAP_INTERACTIVE,
						     .ops = i == 0 ? NULL : &world_ops_without_bodies});
		}
}

static void ask_and_watch(struct world *w)
{
	watch(w, "INBOX");
	until_watching(w);
	world_ask(w, "INBOX", FETCH_TEXT("1"));
	world_run(w);
	assert_int_equal(w->asks[0].code, 0);
}

/* A server that loses what comes with DONE isn't asked so again, */
static void test_what_came_with_done_is_lost(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 600;
		w.server.scripts[0] = ON INBOX IDLE "C+ DONE\n" ASKED("a", "1") "S: $i OK done\n";
		w.server.scripts[1] = ON INBOX ASKED("a", "1")
			BODY("1") "S: $a OK\n" INBOX IDLE_WAITED_FOR ASKED("b", "2") BODY("2") "S: $b OK\n";
		ask_and_watch(&w);
		ask_while_idling(&w, &(struct imap_request){.mailbox = "INBOX", .command = FETCH_TEXT("2")});
	}
}

/* nor one that doesn't understand it, */
static void test_what_came_with_done_is_bad(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE
			"C+ DONE\n" ASKED("a", "1") "S: $i OK done\nS: $a BAD what?\n" ASKED("b", "1")
				BODY("1") "S: $b OK\n" INBOX IDLE_WAITED_FOR ASKED("c", "2") BODY("2") "S: $c OK\n";
		ask_and_watch(&w);
		ask_while_idling(&w, &(struct imap_request){.mailbox = "INBOX", .command = FETCH_TEXT("2")});
	}
}

/* nor one that hangs up: the first time the connection may have been dead. */
static void test_what_came_with_done_ends_the_connection(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE "C+ DONE\n" ASKED("a", "1") "X\n";
		w.server.scripts[1] = ON INBOX ASKED("a", "1") BODY("1") "S: $a OK\n" INBOX IDLE
									 "C+ DONE\n" ASKED("b", "2") "X\n";
		w.server.scripts[2] = ON INBOX ASKED("b", "2")
			BODY("2") "S: $b OK\n" INBOX IDLE_WAITED_FOR ASKED("c", "3") BODY("3") "S: $c OK\n";
		ask_and_watch(&w);
		until_watching(&w);
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_int_equal(w.asks[1].code, 0);
		ask_while_idling(&w, &(struct imap_request){.mailbox = "INBOX", .command = FETCH_TEXT("3")});
	}
}

/* Who has called it back has it, whoever could go on sooner. */
static void test_who_called_comes_first(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE DONE EXAMINE("\"Sent\"", "9") ASKED("a", "2")
			BODY("2") "S: $a OK\n" INBOX ASKED("b", "1") BODY("1") "S: $b OK\n";
		watch(&w, "INBOX");
		until_watching(&w);
		world_ask(&w, "Sent", FETCH_TEXT("2"));
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, 0);
		assert_int_equal(w.asks[1].code, 0);
		imap_client_watch(w.client, NULL, NULL, NULL);
	}
}

/* Who has called it back has it before bulk work of the same moment. */
static void test_bulk_work_stays_behind_who_called(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE "C+ DONE\n" ASKED("a", "1") "S: $i OK done\n" BODY(
			"1") "S: $a OK\n" ASKED("b", "2") BODY("2") "S: $b OK\n";
		watch(&w, "INBOX");
		until_watching(&w);
		world_ask_with(
			&w, &(struct imap_request){.mailbox = "INBOX", .command = FETCH_TEXT("2"), .class = IMAP_BULK});
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, 0);
		assert_int_equal(w.asks[1].code, 0);
		imap_client_watch(w.client, NULL, NULL, NULL);
	}
}

/* The octets behind that may be those of another message. */
static void test_renumbered_at_the_end_of_idle(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE "C+ DONE\n" ASKED(
			"a", "1") "S: * OK [UIDVALIDITY 8] anew\nS: $i OK done\n" BODY("1") "S: $a OK\n";
		w.server.scripts[1] = ON EXAMINE("\"INBOX\"", "8");
		watch(&w, "INBOX");
		until_watching(&w);
		world_ask_with(
			&w, &(struct imap_request){.mailbox = "INBOX", .uidvalidity = 7, .command = FETCH_TEXT("1")});
		world_run(&w);
		assert_int_equal(w.asks[0].code, ERR_RENUMBERED);
		assert_null(strstr(w.asks[0].events->str, "body"));
		assert_null(strstr(w.asks[0].events->str, "fetch"));
		imap_client_watch(w.client, NULL, NULL, NULL);
	}
}

/* What ends IDLE is told of the mailbox that is open: no other is opened before. */
static void test_another_mailbox_waits_for_the_end_of_idle(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 600;
		w.server.scripts[0] = ON INBOX IDLE "C+ DONE\n";
		w.server.scripts[1] = ON EXAMINE("\"Sent\"", "9") ASKED("a", "1") BODY("1") "S: $a OK\n";
		watch(&w, "INBOX");
		until_watching(&w);
		world_ask(&w, "Sent", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[0].code, 0);
		imap_client_watch(w.client, NULL, NULL, NULL);
	}
}

/* It makes room for an interactive request while the others have bulk work. */
static void test_called_back_from_among_busy_ones(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.server.scripts[0] = ON INBOX ASKED("a", "1") "W 300\n" BODY("1") "S: $a OK\n";
		w.server.scripts[1] = ON INBOX IDLE DONE ASKED("b", "2") BODY("2") "S: $b OK\n" INBOX IDLE;
		use_and_watch(&w);
		until_watching(&w);
		world_ask_with(
			&w, &(struct imap_request){.mailbox = "INBOX", .command = FETCH_TEXT("1"), .class = IMAP_BULK});
		world_run_ms(&w, 10);
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_true(w.asks[2].done_at_ms < w.asks[1].done_at_ms);
	}
}

/* Bulk work leaves it alone. */
static void test_bulk_doesnt_call_it(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.config.depth = 1;
		w.server.scripts[0] = ON INBOX ASKED("a", "1") "W 20\n" BODY("1") "S: $a OK\n" ASKED("b", "2")
			BODY("2") "S: $b OK\n";
		w.server.scripts[1] = ON INBOX IDLE;
		use_and_watch(&w);
		until_watching(&w);
		for (unsigned i = 0; i < 2; i++)
			world_ask_with(&w, &(struct imap_request){.mailbox = "INBOX",
						   .command = i ? FETCH_TEXT("2") : FETCH_TEXT("1"),
						   .class = IMAP_BULK});
		world_run(&w);
		assert_true(state_of(&w).watching);
	}
}

/* ---- its life ---- */

/* Bulk work that is soon over isn't slowed down by one more sign-in; where it lasts the watch isn't put off. */
static void test_begins_while_bulk_lasts(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 3;
		w.config.depth = 2;
		w.tuning.lane_ms = 100;
		w.server.scripts[0] = ON INBOX ASKED("a", "1") "W 600\n" BODY("1") "S: $a OK\n";
		w.server.scripts[1] = ON INBOX;
		w.server.scripts[2] = ON INBOX IDLE;
		world_ask_with(
			&w, &(struct imap_request){.mailbox = "INBOX", .command = FETCH_TEXT("1"), .class = IMAP_BULK});
		watch(&w, "INBOX");
		world_run_ms(&w, 50);
		assert_int_equal(w.server.opened, 2);
		until_watching(&w);
		assert_int_equal(w.asks[0].done_at_ms, 0);
		assert_int_equal(w.server.opened, 3);
		world_run(&w);
	}
}

static void test_begun_anew(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.tuning.watch_rearm_ms = 60;
		w.server.scripts[0] = ON INBOX IDLE DONE
			"C: e EXAMINE \"INBOX\"\nS: * 5 EXISTS\nS: * OK [UIDVALIDITY 7] v\nS: * OK [UIDNEXT 12] n\n"
			"S: $e OK [READ-ONLY] done\n" IDLE DONE INBOX IDLE;
		watch(&w, "INBOX");
		until_ended(&w, 1);
		assert_string_equal(told->str, "state 7 3 10;state 7 5 12;state 7 3 10");
		assert_int_equal(w.server.opened, 1);
	}
}

static void test_nothing_any_more(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE DONE EXAMINE("\"b\"", "9") IDLE DONE NOOP;
		watch(&w, "INBOX");
		world_run_ms(&w, 60);
		watch(&w, "b");
		world_run_ms(&w, 60);
		assert_string_equal(told->str, "state 9 3 10");
		imap_client_watch(w.client, NULL, NULL, NULL);
		world_run_ms(&w, 60);
		assert_false(state_of(&w).watching);
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
	}
}

static void test_refused(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX "C: i IDLE\nS: $i BAD what?\n" NOOP;
		watch(&w, "INBOX");
		world_run_ms(&w, 100);
		assert_false(state_of(&w).watching);
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
	}
}

static void test_a_mailbox_that_is_gone(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON "C: e EXAMINE \"INBOX\"\nS: $e NO [NONEXISTENT] no\n" NOOP;
		watch(&w, "INBOX");
		world_run_ms(&w, 100);
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_string_equal(told->str, "");
	}
}

/* ---- a server that ends, or says nothing, or nonsense ---- */

static void test_lost_while_it_idles(void **unused)
{
	static const char *const ends[] = {
		"X\n",
		"S: * BYE Connection is closed. 13\nX\n",
		"S: * 1 FETCH (UID 0)\n",
		"S: m77 OK whose is that?\n",
		"S: * OK [UIDVALIDITY 8] another one\n",
		"S: $i OK I don't want to any more\nX\n",
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *script = g_strconcat(ON INBOX IDLE, ends[i], NULL);

			w.server.scripts[0] = script;
			w.server.scripts[1] = ON EXAMINE("\"INBOX\"", "8") IDLE;
			watch(&w, "INBOX");
			for (unsigned n = 0; n < 1000 && !strstr(told->str, "state 8"); n++)
				world_run_ms(&w, 2);
			until_watching(&w);
			assert_string_equal(told->str, "state 7 3 10;state 8 3 10");
			/* nobody's error */
			assert_int_equal(state_of(&w).reconnects, 0);
			assert_int_equal(state_of(&w).last_error.code, 0);
		}
}

static void test_lost_again_and_again(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		uint64_t began_ms = clock_ms();

		for (unsigned i = 0; i < 5; i++)
			w.server.scripts[i] = ON INBOX IDLE "X\n";
		w.server.scripts[5] = ON INBOX IDLE;
		watch(&w, "INBOX");
		world_until_opened(&w, 6);
		/* 10, 20, 40, 50, 50 ms, each at least three quarters */
		assert_true(clock_ms() - began_ms >= 127);
		world_run_ms(&w, 30);
	}
}

static void test_it_cant_connect(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = w.server.scripts[1] = "F can't connect: refused\n";
		w.server.scripts[2] = ON INBOX IDLE;
		watch(&w, "INBOX");
		world_until_opened(&w, 2);
		assert_int_equal(state_of(&w).last_error.code, 0);
		until_watching(&w);
	}
}

/* A password that is wrong isn't tried again and again for its sake. */
static void test_sign_in_refused(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX "W 20\nX\n";
		w.server.scripts[1] = GREET "C: l AUTHENTICATE *\nS: $l NO no\n";
		w.server.scripts[2] = ON NOOP INBOX IDLE;
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		world_run_ms(&w, 60);
		watch(&w, "INBOX");
		world_run_ms(&w, 200);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(state_of(&w).last_error.code, 0);
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[1], "ok");
		until_watching(&w);
	}
}

/* There is no second connection to be had: the first does for all. */
static void test_too_many_connections(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 4;
		w.server.scripts[0] = ON INBOX INBOX IDLE;
		w.server.scripts[1] = "S: * BYE Too many simultaneous connections. (Failure)\nX\n";
		use_and_watch(&w);
		until_watching(&w);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(state_of(&w).last_error.code, 0);
	}
}

/* The server reads no commands before the end of IDLE is behind it, or says nothing any more. */
static void test_silent_when_called_back(void **unused)
{
	struct world w;

	for (unsigned depth = 0; depth < 2; depth++)
		FOR_EACH_CUT(w)
		{
			w.config.timeout_ms = 600;
			w.config.depth = depth ? depth : CLIENT_DEPTH_DEFAULT;
			w.server.scripts[0] = depth == 1 ? ON INBOX IDLE "C+ DONE\n"
			                                 : ON INBOX IDLE "C+ DONE\n" ASKED("a", "1");
			w.server.scripts[1] = ON INBOX ASKED("a", "1") BODY("1") "S: $a OK\n";
			watch(&w, "INBOX");
			until_watching(&w);
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
			world_run(&w);
			assert_int_equal(w.asks[0].code, 0);
			assert_int_equal(state_of(&w).last_error.code, 0);
			imap_client_watch(w.client, NULL, NULL, NULL);
		}
}

/* The network has changed under all of them: who waits for the first doesn't wait for the second, too. */
static void test_dead_ones_are_given_up_together(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.config.timeout_ms = 1500;
		w.server.scripts[0] = ON INBOX ASKED("a", "1") BODY("1") "S: $a OK\n" ASKED("b", "2");
		w.server.scripts[1] = ON INBOX IDLE;
		w.server.scripts[2] = ON INBOX ASKED("b", "2") BODY("2") "S: $b OK\n";
		w.server.scripts[3] = "H\n"; /* for the watch */
		use_and_watch(&w);
		until_watching(&w);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		/* less than a sleep, and time enough to be in doubt */
		fake_sleep(CLIENT_SLEPT_MS - 1000);
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_int_equal(w.asks[2].code, 0);
		assert_null(strstr(w.server.log->str, "DONE"));
		assert_int_equal(state_of(&w).last_error.code, 0);
		imap_client_watch(w.client, NULL, NULL, NULL);
	}
}

#define EARLY                                                                                                          \
	"S: * PREAUTH [CAPABILITY IMAP4rev1 ENABLE QRESYNC NAMESPACE] hi\nC: n NAMESPACE\nC: q ENABLE QRESYNC\n"       \
	"C: f LIST \"\" \"*\"\n"

/* While a session is signing in, with a request sent behind its own commands. */
static void test_sleep_while_signing_in(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = EARLY "W 5000\n";
		w.server.scripts[1] = EARLY "W 100\nS: $n OK\nS: $q OK\nS: * LIST () \"/\" \"a\"\nS: $f OK\n";
		world_ask(&w, NULL, "LIST \"\" \"*\"");
		world_until_sent(&w, "LIST");
		fake_sleep(CLIENT_SLEPT_MS + 1000);
		world_run(&w);
		assert_events(&w.asks[0], "restart;list a;ok");
		assert_int_equal(2, w.server.opened);
	}
}

static void test_silent_at_idle(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 600;
		w.server.scripts[0] = ON INBOX "C: i IDLE\n";
		w.server.scripts[1] = ON INBOX IDLE;
		watch(&w, "INBOX");
		until_watching(&w);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(state_of(&w).last_error.code, 0);
	}
}

static void test_silent_at_examine(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 300;
		w.server.scripts[0] = ON "C: e EXAMINE *\n";
		w.server.scripts[1] = ON INBOX IDLE;
		watch(&w, "INBOX");
		until_watching(&w);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(state_of(&w).last_error.code, 0);
	}
}

/* Sessions that may still see the old mailbox don't go on idling on it. */
static void test_renumbered(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.server.scripts[0] = ON INBOX;
		w.server.scripts[1] = ON INBOX IDLE DONE EXAMINE("\"INBOX\"", "8") IDLE;
		use_and_watch(&w);
		until_watching(&w);
		imap_client_mailbox_forget(w.client, "INBOX", 1);
		until_ended(&w, 2);
		assert_string_equal(told->str, "state 7 3 10;state 8 3 10");
	}
}

/* … and aren't asked for a message of it. */
static void test_renumbered_and_asked(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX INBOX IDLE DONE EXAMINE("\"INBOX\"", "7") ASKED("a", "1")
			BODY("1") "S: $a OK\n";
		use_and_watch(&w);
		until_watching(&w);
		imap_client_mailbox_forget(w.client, "INBOX", 0);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(w.asks[1].code, 0);
		imap_client_watch(w.client, NULL, NULL, NULL);
	}
}

/* ---- a machine that sleeps ---- */

static void test_idling_while_the_machine_slept(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = ON INBOX IDLE;
		w.server.scripts[1] = ON EXAMINE("\"INBOX\"", "8") IDLE;
		watch(&w, "INBOX");
		until_watching(&w);
		fake_sleep(CLIENT_SLEPT_MS / 2);
		world_run_ms(&w, 20);
		assert_int_equal(w.server.opened, 1);
		/* nothing but the notice makes it look */
		for (unsigned i = 0; i < 1000 && w.client->tick; i++)
			world_run_ms(&w, 2);
		fake_sleep(CLIENT_SLEPT_MS);
		until_ended(&w, 2);
		assert_string_equal(told->str, "state 7 3 10;state 8 3 10");
		assert_int_equal(state_of(&w).last_error.code, 0);
	}
}

/* Whoever waited goes on waiting, for an answer of a new connection. */
static void test_waiting_while_the_machine_slept(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 800;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2");
		w.server.scripts[1] = SIGN_IN INBOX ASKED("a", "1")
			ASKED("b", "2") "W 500\n" BODY("1") "S: $a OK\n" BODY("2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		for (unsigned i = 0; i < 1000 && !w.server.ended; i++)
			world_run_ms(&w, 2);
		world_run_ms(&w, 400);
		fake_sleep(8 * 3600 * 1000);
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("1") ";ok");
		assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("2") ";ok");
		assert_int_equal(state_of(&w).last_error.code, 0);
	}
}

static void test_connecting_while_the_machine_slept(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = "H\n";
		w.server.scripts[1] = SIGN_IN NOOP;
		world_ask(&w, NULL, "NOOP");
		world_until_opened(&w, 1);
		fake_sleep(60000);
		world_run(&w);
		assert_events(&w.asks[0], "ok");
	}
}

/* ---- changes of mind in callbacks ---- */

static struct world *minded;
static const char *next_mailbox;

static void on_told_change(void *ctx, const struct imap_mailbox *mailbox, bool flags_only)
{
	on_told(ctx, mailbox, flags_only);
	imap_client_watch(minded->client, next_mailbox, on_told, NULL);
}

static void test_another_one_from_within(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		g_string_truncate(told, 0);
		minded = &w;
		next_mailbox = "b";
		w.server.scripts[0] = ON INBOX EXAMINE("\"b\"", "9") IDLE;
		world_start(&w);
		imap_client_watch(w.client, "INBOX", on_told_change, NULL);
		until_ended(&w, 1);
		assert_string_equal(told->str, "state 7 3 10;state 9 3 10");
	}
}

static int run_all(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_idles_on_a_connection_of_its_own),
		TEST(test_what_is_a_change),
		TEST(test_told_beside_an_answer),
		TEST(test_a_server_without_idle),
		TEST(test_called_back),
		TEST(test_called_back_at_once),
		TEST(test_asked_right_behind_done),
		TEST(test_what_came_with_done_is_lost),
		TEST(test_what_came_with_done_is_bad),
		TEST(test_what_came_with_done_ends_the_connection),
		TEST(test_who_called_comes_first),
		TEST(test_all_else_waits_for_the_end_of_idle),
		TEST(test_bulk_work_stays_behind_who_called),
		TEST(test_renumbered_at_the_end_of_idle),
		TEST(test_another_mailbox_waits_for_the_end_of_idle),
		TEST(test_called_back_from_among_busy_ones),
		TEST(test_bulk_doesnt_call_it),
		TEST(test_begins_while_bulk_lasts),
		TEST(test_begun_anew),
		TEST(test_nothing_any_more),
		TEST(test_refused),
		TEST(test_a_mailbox_that_is_gone),
		TEST(test_lost_while_it_idles),
		TEST(test_lost_again_and_again),
		TEST(test_it_cant_connect),
		TEST(test_sign_in_refused),
		TEST(test_too_many_connections),
		TEST(test_silent_when_called_back),
		TEST(test_dead_ones_are_given_up_together),
		TEST(test_sleep_while_signing_in),
		TEST(test_silent_at_idle),
		TEST(test_silent_at_examine),
		TEST(test_renumbered),
		TEST(test_renumbered_and_asked),
		TEST(test_idling_while_the_machine_slept),
		TEST(test_waiting_while_the_machine_slept),
		TEST(test_connecting_while_the_machine_slept),
		TEST(test_another_one_from_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	log_init(g_getenv("MAILTREE_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, LOG_TO_STDERR);
	return world_run_cuts(run_all);
}
