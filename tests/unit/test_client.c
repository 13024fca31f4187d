/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One connection of the client: sign-in of each kind, requests, and what goes wrong with them. */
#include "tests/imap/client_world.h"

#include "src/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

static uint32_t capabilities(struct world *w)
{
	struct imap_client_state state;

	imap_client_state(w->client, &state);
	return state.capabilities;
}

/* ---- sign-in ---- */

static void test_xoauth2(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		struct ask *a, *b;

		fake_auth.slow = true;
		w.server.scripts[0] = SIGN_IN
			"C: a LIST \"\" \"*\"\nS: * LIST () \"/\" INBOX\nS: $a OK done\n" INBOX ASKED("b", "1")
				BODY("1") "S: $b OK done\n";
		a = world_ask(&w, NULL, "LIST \"\" \"*\"");
		world_run(&w);
		assert_events(a, "list INBOX;ok");
		assert_int_equal(a->request.session, 1);
		b = world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(b, "examined 7 3;" BODY_EVENTS("1") ";ok");
		assert_int_equal(capabilities(&w), IMAP_CAP_NAMESPACE | IMAP_CAP_UIDPLUS);
		assert_int_equal(fake_auth.accepted, 1);
		assert_int_equal(w.server.ended, 1);
	}
}

/* A whole sign-in by each mechanism, with and without an initial response, up to the first answer. */
static void test_mechanisms(void **unused)
{
#define REST "S: $l OK in\n" FIRST "C: c CAPABILITY\nS: * CAPABILITY IMAP4rev1 NAMESPACE\nS: $c OK\n" NOOP
	static const struct {
		enum auth_kind kind;
		enum imap_sasl sasl;
		const char *script;
	} cases[] = {
		{AUTH_BEARER, IMAP_SASL_AUTO,
			"S: * OK [CAPABILITY IMAP4rev1 NAMESPACE AUTH=XOAUTH2] hi\nC: l AUTHENTICATE XOAUTH2\nS: +\n"
			"C+ " XOAUTH2_LINE "\n" REST},
		{AUTH_BEARER, IMAP_SASL_AUTO,
			"S: * OK hi\nC: c CAPABILITY\nS: * CAPABILITY IMAP4rev1 NAMESPACE SASL-IR AUTH=OAUTHBEARER\nS: "
			"$c OK\n"
			"C: l AUTHENTICATE OAUTHBEARER "
			"bixhPW9sZW5hQGNvbnRvc28uZXhhbXBsZSwBaG9zdD0xMjcuMC4wLjEBcG9ydD0xNDMBYXV0aD1CZWFyZXIgRXdUb2tlbi"
			"5v"
			"Zi10aGUuYXBwAQE=\n" REST},
		{AUTH_BEARER, IMAP_SASL_OAUTHBEARER,
			"S: * OK [CAPABILITY IMAP4rev1 NAMESPACE AUTH=XOAUTH2 AUTH=OAUTHBEARER] hi\n"
			"C: l AUTHENTICATE OAUTHBEARER\nS: +\nC+ bixhPW9s*\n" REST},
		/* no mechanism named at all: tried all the same */
		{AUTH_BEARER, IMAP_SASL_AUTO,
			"S: * OK [CAPABILITY IMAP4rev1 NAMESPACE LOGINDISABLED] hi\nC: l AUTHENTICATE XOAUTH2\nS: "
			"+\nC+ *\n" REST},
		{AUTH_PASSWORD_KIND, IMAP_SASL_AUTO,
			"S: * OK [CAPABILITY IMAP4rev1 NAMESPACE SASL-IR AUTH=PLAIN] hi\n"
			"C: l AUTHENTICATE PLAIN AG9sZW5hQGNvbnRvc28uZXhhbXBsZQBFd1Rva2VuLm9mLXRoZS5hcHA=\n" REST},
		{AUTH_PASSWORD_KIND, IMAP_SASL_PLAIN,
			"S: * OK [CAPABILITY IMAP4rev1 NAMESPACE AUTH=PLAIN] hi\nC: l AUTHENTICATE PLAIN\nS: +\n"
			"C+ AG9sZW5hQGNvbnRvc28uZXhhbXBsZQBFd1Rva2VuLm9mLXRoZS5hcHA=\n" REST},
		{AUTH_PASSWORD_KIND, IMAP_SASL_AUTO,
			"S: * OK [CAPABILITY IMAP4rev1 NAMESPACE] hi\n"
			"C: l LOGIN \"olena@contoso.example\" \"EwToken.of-the.app\"\n" REST},
		{AUTH_BEARER, IMAP_SASL_AUTO,
			"S: * PREAUTH [CAPABILITY IMAP4rev1] hi\nC: f LIST \"\" \"\"\nS: * LIST () \"/\" \"\"\nS: $f "
			"OK\n" NOOP},
		/* NAMESPACE offered, but not understood */
		{AUTH_BEARER, IMAP_SASL_AUTO,
			"S: * PREAUTH [CAPABILITY NAMESPACE] hi\nC: n NAMESPACE\nS: $n BAD what?\nC: f LIST \"\" \"\"\n"
			"S: $f OK\n" NOOP},
		/* all that follows a sign-in, and a server that tells things on the way */
		{AUTH_BEARER, IMAP_SASL_AUTO,
			GREET "C: l AUTHENTICATE XOAUTH2 *\nS: * CAPABILITY IMAP4rev1 ID ENABLE QRESYNC NAMESPACE\nS: "
			      "$l OK in\n"
			      "C: n NAMESPACE\nS: * OK [ALERT] disk nearly full\nS: * 4 EXISTS\nS: $n OK\n"
			      "C: i ID (\"name\" \"mailtree\" \"version\" *)\nS: * ID NIL\nS: $i OK\n"
			      "C: q ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: $q OK\n" NOOP},
		/* who knows ENABLE takes them in one go, and may answer them in any order */
		{AUTH_BEARER, IMAP_SASL_AUTO,
			"S: * PREAUTH [CAPABILITY IMAP4rev1 ID ENABLE QRESYNC NAMESPACE] hi\nC: n NAMESPACE\n"
			"C: i ID *\nC: q ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: $q OK\nS: $n OK\nS: * ID NIL\nS: $i "
			"OK\n" NOOP},
		{AUTH_BEARER, IMAP_SASL_AUTO,
			"S: * PREAUTH [CAPABILITY IMAP4rev1 ENABLE CONDSTORE NAMESPACE] hi\nC: n NAMESPACE\n"
			"C: q ENABLE CONDSTORE\nS: $n BAD what?\nS: $q BAD no\nC: f LIST \"\" \"\"\nS: $f OK\n" NOOP},
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		FOR_EACH_CUT(w)
		{
			struct ask *a;

			fake_auth.kind = cases[i].kind;
			w.config.sasl = cases[i].sasl;
			w.server.scripts[0] = cases[i].script;
			a = world_ask(&w, NULL, "NOOP");
			world_run(&w);
			assert_string_equal(w.server.wrong->str, "");
			assert_events(a, "ok");
			assert_int_equal(w.server.ended, 1);
			assert_int_equal(fake_auth.accepted, 1);
		}
}

static void test_qresync_counts_when_enabled(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = "S: * PREAUTH [CAPABILITY QRESYNC ENABLE] hi\nC: f LIST *\nS: $f OK\n"
				      "C: q ENABLE QRESYNC\nS: $q OK but no\n"
				      "C: e EXAMINE \"INBOX\" (CONDSTORE)\nS: * OK [UIDVALIDITY 7] v\n"
				      "S: * OK [HIGHESTMODSEQ 99] m\nS: $e OK\n";
		world_ask_with(&w, &(struct imap_request){
					   .mailbox = "INBOX", .uidvalidity = 7, .examine = true, .qresync_modseq = 5});
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 0;ok");
		assert_int_equal(capabilities(&w), IMAP_CAP_CONDSTORE | IMAP_CAP_ENABLE);
	}
}

/* ---- what goes with a session's first commands ---- */

#define FIRST_COMMANDS                                                                                                 \
	"S: * PREAUTH [CAPABILITY IMAP4rev1 ENABLE QRESYNC NAMESPACE] hi\nC: n NAMESPACE\nC: q ENABLE QRESYNC\n"
#define FIRST_ANSWERS "S: * NAMESPACE NIL NIL NIL\nS: $n OK\nS: * ENABLED QRESYNC\nS: $q OK\n"
#define LIST_COMMAND "LIST \"\" \"*\""
#define LIST_ASKED "C: f " LIST_COMMAND "\n"
#define LISTED "S: * LIST () \"/\" \"a\"\nS: $f OK\n"

static void test_a_listing_goes_with_the_first_commands(void **unused)
{
	static const char *const scripts[] = {
		FIRST_COMMANDS LIST_ASKED FIRST_ANSWERS LISTED,
		/* in any order */
		FIRST_COMMANDS LIST_ASKED LISTED "W 5\n" FIRST_ANSWERS,
		FIRST_COMMANDS LIST_ASKED "S: $n OK\nS: * LIST () \"/\" \"a\"\nS: * ENABLED QRESYNC\nS: $f OK\nW "
					  "5\nS: $q OK\n",
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *script = g_strconcat(scripts[i],
				"C: e EXAMINE \"INBOX\" (QRESYNC (7 42))\nS: * OK [UIDVALIDITY 7] v\nS: $e OK\n", NULL);

			w.server.scripts[0] = script;
			world_ask(&w, NULL, LIST_COMMAND);
			world_ask_with(&w,
				&(struct imap_request){
					.mailbox = "INBOX", .uidvalidity = 7, .examine = true, .qresync_modseq = 42});
			world_run(&w);
			assert_events(&w.asks[0], "list a;ok");
			assert_events(&w.asks[1], "examined 7 0;ok");
			assert_int_equal(1, w.asks[0].request.session);
			assert_int_equal(1, w.asks[1].request.session);
			assert_int_equal(1, w.server.opened);
			assert_int_equal(1, w.server.ended);
		}
}

static void test_what_waits_for_a_ready_session(void **unused)
{
	static const struct {
		struct imap_request request;
		uint32_t depth;
	} cases[] = {
		{{.mailbox = "INBOX"}, 0},
		{{.command = LIST_COMMAND, .class = IMAP_BULK}, 0},
		{{.command = LIST_COMMAND}, 1},
		/* what answers it would be lost */
		{{.command = "NOOP"}, 0},
	};
	static const char *const ends[] = {INBOX, LIST_ASKED LISTED, LIST_ASKED LISTED, NOOP};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *script = g_strconcat(FIRST_COMMANDS "W 10\nN\n" FIRST_ANSWERS, ends[i], NULL);

			w.config.depth = cases[i].depth;
			w.server.scripts[0] = script;
			world_ask_with(&w, &cases[i].request);
			world_run(&w);
			assert_int_equal(0, w.asks[0].code);
			assert_string_equal("", w.server.wrong->str);
			assert_int_equal(1, w.server.ended);
		}
}

/* One at most: what they cost a session that can't be had is little. */
static void test_one_goes_with_the_first_commands(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED "W 10\nN\n" FIRST_ANSWERS
								"C: g LIST \"\" \"b\"\n" LISTED "S: $g OK\n";
		world_ask(&w, NULL, LIST_COMMAND);
		world_ask(&w, NULL, "LIST \"\" \"b\"");
		world_run(&w);
		assert_events(&w.asks[0], "list a;ok");
		assert_events(&w.asks[1], "ok");
		assert_string_equal("", w.server.wrong->str);
	}
}

#define LATE FIRST_COMMANDS "W 10\nN\n" FIRST_ANSWERS LIST_ASKED

/* The next time it waits for a session that is ready. */
static void test_a_session_fails_with_a_listing_under_way(void **unused)
{
	static const char *const scripts[] = {
		FIRST_COMMANDS LIST_ASKED
		"S: * LIST () \"/\" \"b\"\nS: $n BAD User is authenticated but not connected.\nX\n",
		FIRST_COMMANDS LIST_ASKED "S: $n OK\nS: * LIST () \"/\" \"b\"\nX\n",
		FIRST_COMMANDS LIST_ASKED "S: * BYE [UNAVAILABLE] later\nX\n",
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++)
		FOR_EACH_CUT(w)
		{
			w.server.scripts[0] = scripts[i];
			w.server.scripts[1] = LATE LISTED;
			world_ask(&w, NULL, LIST_COMMAND);
			world_run(&w);
			assert_events(&w.asks[0], i == 2 ? "restart;list a;ok" : "list b;restart;list a;ok");
			assert_int_equal(2, w.server.opened);
			assert_string_equal("", w.server.wrong->str);
		}
}

/* Whom the server hangs up on is asked for three times, and nobody else is to blame. */
static void test_a_listing_that_ends_its_session(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED FIRST_ANSWERS "X\n";
		for (unsigned i = 1; i < 4; i++)
			w.server.scripts[i] = LATE "X\n";
		w.server.scripts[4] = FIRST_COMMANDS FIRST_ANSWERS INBOX ASKED("a", "1") BODY("1") "S: $a OK\n";
		world_ask(&w, NULL, LIST_COMMAND);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_int_equal(ERR_UNREACHABLE, w.asks[0].code);
		assert_int_equal(0, w.asks[1].code);
		assert_in_range(w.server.opened, 4, 5);
	}
}

/* It has a connection to go on with: nobody but the listing waits for the one that can't be had. */
static void test_a_second_opinion_that_cant_be_had(void **unused)
{
	static const char *const scripts[] = {
		FIRST_COMMANDS LIST_ASKED "X\n",
		FIRST_COMMANDS LIST_ASKED "W 100000\n",
		FIRST_COMMANDS LIST_ASKED "S: $n NO User is authenticated but not connected.\nX\n",
	};
	const uint32_t timeout_ms = 600;
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++)
		FOR_EACH_CUT(w)
		{
			uint64_t began_ms;

			w.config.connections = 3;
			w.config.timeout_ms = timeout_ms;
			w.server.scripts[0] = SIGN_IN NOOP;
			w.server.scripts[1] = scripts[i];
			for (unsigned k = 2; k < SCRIPTS_MAX; k++)
				w.server.scripts[k] = i == 1 ? scripts[i] : FIRST_COMMANDS "X\n";
			world_ask(&w, NULL, "NOOP");
			world_run(&w);
			began_ms = clock_ms();
			world_ask_with(&w, &(struct imap_request){.command = LIST_COMMAND, .fresh = true});
			world_run(&w);
			assert_int_not_equal(0, w.asks[1].code);
			assert_in_range(w.server.opened, 2, 8);
			assert_true(w.asks[1].done_at_ms - began_ms < 2 * timeout_ms - 200);
		}
}

static void test_a_slow_sign_in_isnt_a_slow_answer(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 250;
		w.tuning.slow_window_ms = 200;
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED "W 180\nS: $n OK\nW 180\nS: $q OK\nW 150\n" LISTED;
		world_ask(&w, NULL, LIST_COMMAND);
		world_run(&w);
		assert_events(&w.asks[0], "list a;ok");
		assert_int_equal(1, w.server.opened);
	}
}

static void test_a_session_is_kept_before_it_is_ready(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 3;
		w.server.scripts[0] = SIGN_IN NOOP;
		w.server.scripts[1] = FIRST_COMMANDS LIST_ASKED LISTED "W 60\n" FIRST_ANSWERS INBOX;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		world_ask_with(&w, &(struct imap_request){.command = LIST_COMMAND, .fresh = true});
		world_run(&w);
		assert_int_equal(2, w.asks[1].request.session);
		world_ask_with(&w, &(struct imap_request){.mailbox = "INBOX", .keep_session = 2});
		world_run(&w);
		assert_int_equal(2, w.asks[2].request.session);
	}
}

static void test_a_listing_that_came_too_early(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.connections = 2;
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED FIRST_ANSWERS "S: $f BAD not now\n" LIST_ASKED LISTED;
		w.server.scripts[1] = FIRST_COMMANDS "W 10\nN\n" FIRST_ANSWERS LIST_ASKED LISTED;
		world_ask(&w, NULL, LIST_COMMAND);
		world_run(&w);
		assert_events(&w.asks[0], "restart;list a;ok");
		world_ask_with(&w, &(struct imap_request){.command = LIST_COMMAND, .fresh = true});
		world_run(&w);
		assert_events(&w.asks[1], "list a;ok");
		assert_string_equal("", w.server.wrong->str);
	}
	/* it wasn't that */
	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED FIRST_ANSWERS "S: $f BAD not now\n" LIST_ASKED
									      "S: $f BAD never\n";
		world_ask(&w, NULL, LIST_COMMAND);
		world_run(&w);
		assert_events(&w.asks[0], "restart;refused");
	}
}

static void test_nobody_answers_a_listing_that_went_ahead(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.timeout_ms = 150;
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED;
		world_ask(&w, NULL, LIST_COMMAND);
		world_run(&w);
		assert_int_equal(ERR_TIMEOUT, w.asks[0].code);
	}
}

static void test_a_client_goes_with_a_listing_ahead(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED;
		world_ask(&w, NULL, LIST_COMMAND);
		world_until_sent(&w, "LIST");
		assert_false(w.asks[0].done);
	}
}

static void test_a_listing_that_went_ahead_is_cancelled(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = FIRST_COMMANDS LIST_ASKED "W 200\n" FIRST_ANSWERS LISTED NOOP;
		world_ask(&w, NULL, LIST_COMMAND);
		world_until_sent(&w, "LIST");
		imap_client_cancel(w.client, &w.asks[0].request);
		w.answered++;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "");
		assert_events(&w.asks[1], "ok");
	}
}

static void test_refused_once(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* {"status":"400"} */
		w.server.scripts[0] = GREET "C: l AUTHENTICATE XOAUTH2 *\nS: + eyJzdGF0dXMiOiI0MDAifQ==\nC+ \n"
					    "S: $l NO [AUTHENTICATIONFAILED] Invalid credentials\n";
		w.server.scripts[1] = SIGN_IN NOOP;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "ok");
		assert_int_equal(fake_auth.rejected, 1);
		assert_int_equal(fake_auth.generation, 2);
		assert_string_equal(fake_auth.text, "Invalid credentials; the reason: {\"status\":\"400\"}");
		assert_int_equal(w.server.ended, 2);
	}
}

static void test_refused_twice(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.sasl = IMAP_SASL_OAUTHBEARER;
		w.server.scripts[0] = GREET "C: l AUTHENTICATE OAUTHBEARER *\nS: + eyJzdGF0dXMiOiI0MDAifQ==\n"
					    "C+ AQ==\nS: $l NO AUTHENTICATE failed.\n";
		w.server.scripts[1] = GREET "C: l AUTHENTICATE OAUTHBEARER *\nS: $l NO AUTHENTICATE failed.\n";
		world_ask(&w, NULL, "NOOP");
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		assert_events(&w.asks[0], "sign-in");
		assert_events(&w.asks[1], "sign-in");
		assert_non_null(strstr(w.asks[0].err.text, "AUTHENTICATE failed."));
		assert_int_equal(fake_auth.rejected, 2);
		assert_int_equal(w.server.opened, 2);
		assert_int_equal(fake_auth.accepted, 0);
	}
}

static void test_no_credential(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		fake_auth.refused = true;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "sign-in");
		assert_int_equal(w.server.opened, 0);
		/* and again once it is lifted by a person */
		fake_auth.refused = false;
		w.server.scripts[0] = SIGN_IN NOOP;
		imap_client_retry_now(w.client);
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[1], "ok");
	}
}

static void test_not_offered(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		fake_auth.kind = AUTH_PASSWORD_KIND;
		w.server.scripts[0] = "S: * OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED] hi\n";
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "sign-in");
		assert_non_null(strstr(w.asks[0].err.text, "XOAUTH2, and LOGIN is disabled"));
		/* nothing was sent, and nobody is to blame for it */
		assert_string_equal(w.server.log->str, "");
		assert_int_equal(fake_auth.rejected, 0);
	}
}

static void test_wrong_kind(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.sasl = IMAP_SASL_PLAIN;
		w.server.scripts[0] = GREET;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "config");
		assert_string_equal(w.server.log->str, "");
	}
}

static void test_no_secret_without_tls(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.host = "imap.example.com";
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "config");
		assert_int_equal(w.server.opened, 0);
	}
}

static void test_starttls_has_no_greeting(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.host = "imap.example.com";
		w.config.tls = STREAM_TLS_STARTTLS;
		w.server.scripts[0] = "C: c CAPABILITY\nS: * CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR\nS: $c OK\n"
				      "C: l AUTHENTICATE XOAUTH2 *\nS: $l OK [CAPABILITY IMAP4rev1] in\n"
				      "C: f LIST \"\" \"\"\nS: $f OK\n" NOOP;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "ok");
	}
}

#define NOT_CONNECTED                                                                                                  \
	GREET "C: l AUTHENTICATE XOAUTH2 *\nS: $l OK AUTHENTICATE completed.\nC: f LIST \"\" \"\"\n"                   \
	      "S: $f BAD User is authenticated but not connected.\nS: * BYE Connection closed. 14\nX\n"

static void test_not_connected_passes(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = w.server.scripts[1] = NOT_CONNECTED;
		w.server.scripts[2] = SIGN_IN NOOP;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "ok");
		assert_int_equal(fake_auth.rejected, 0);
		assert_int_equal(fake_auth.accepted, 1);
	}
}

static void test_not_connected_stays(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		for (unsigned i = 0; i < 4; i++)
			w.server.scripts[i] = NOT_CONNECTED;
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "sign-in");
		assert_non_null(strstr(w.asks[0].err.hint, "licence"));
		assert_int_equal(w.server.opened, 4);
		assert_int_equal(fake_auth.accepted, 0);
		/* not tried again at once */
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[1], "sign-in");
		assert_int_equal(w.server.opened, 4);
	}
}

static void test_not_imap(void **unused)
{
	static const struct {
		const char *script, *events;
	} cases[] = {
		{"S: HTTP/1.1 400 Bad Request\n", "protocol"},
		{"S: +OK POP3 ready\n", "protocol"},
		{"S: 220 mail.example.com ESMTP\n", "protocol"},
		{"S: * BYE go away\n", "unreachable"},
		{"X\n", "unreachable"},
		{"F can't connect: refused\n", "unreachable"},
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		FOR_EACH_CUT(w)
		{
			w.server.scripts[0] = cases[i].script;
			world_ask(&w, NULL, "NOOP");
			world_ask(&w, NULL, "NOOP");
			world_run(&w);
			assert_events(&w.asks[0], cases[i].events);
			assert_events(&w.asks[1], cases[i].events);
			assert_int_equal(w.server.opened, 1);
			/* remembered for a moment */
			world_ask(&w, NULL, "NOOP");
			world_run(&w);
			assert_events(&w.asks[2], cases[i].events);
			assert_int_equal(w.server.opened, 1);
			/* but not for ever */
			world_run_ms(&w, 120);
			w.server.scripts[1] = SIGN_IN NOOP;
			world_ask(&w, NULL, "NOOP");
			world_run(&w);
			assert_events(&w.asks[3], "ok");
		}
}

static void test_silent_sign_in(void **unused)
{
	static const char *const scripts[] = {
		"H", "W 1\n", GREET, GREET "C: l AUTHENTICATE XOAUTH2 *\nS: $l OK\nC: f LIST *\nS- * LIST\n"};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++)
		FOR_EACH_CUT(w)
		{
			uint64_t began = clock_ms();

			w.config.timeout_ms = 150;
			if (i == 2)
				w.server.scripts[0] = GREET "C: l AUTHENTICATE XOAUTH2 *\n";
			else
				w.server.scripts[0] = scripts[i];
			world_ask(&w, NULL, "NOOP");
			world_run(&w);
			assert_true(w.asks[0].code == ERR_TIMEOUT || w.asks[0].code == ERR_UNREACHABLE);
			assert_true(clock_ms() - began >= 140);
			assert_true(clock_ms() - began < 1500);
		}
}

static void test_secret_in_no_log(void **unused)
{
	struct world w;

	/* a server that echoes what it was sent */
	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = GREET "C: l AUTHENTICATE XOAUTH2 *\nS: $l BAD AUTHENTICATE XOAUTH2 " XOAUTH2_LINE
					    " what?\n";
		w.server.scripts[1] = GREET "C: l AUTHENTICATE XOAUTH2 *\nS: $l BAD token EwToken.of-the.app\n";
		world_ask(&w, NULL, "NOOP");
		world_run(&w);
		assert_events(&w.asks[0], "sign-in");
		assert_null(strstr(w.asks[0].err.text, "EwToken"));
		assert_non_null(strstr(w.asks[0].err.text, "[secret]"));
	}
}

/* ---- requests ---- */

static void test_pipelined_in_order(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		/* the second and third go out before the first is answered */
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") ASKED("c", "3")
			BODY("1") "S: $a OK\n" BODY("2") "S: $b OK\n" BODY("3") "S: $c OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_ask(&w, "INBOX", FETCH_TEXT("3"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;" BODY_EVENTS("1") ";ok");
		assert_events(&w.asks[1], "examined 7 3;" BODY_EVENTS("2") ";ok");
		assert_events(&w.asks[2], "examined 7 3;" BODY_EVENTS("3") ";ok");
	}
}

/* As Dovecot does: what answers a later command comes before an earlier one is done. */
static void test_answered_in_another_order(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED(
			"a", "1") "C: l LIST \"\" *\nC: f UID FETCH 1:* (UID FLAGS)\n"
				  "S: * LIST () \"/\" INBOX\nS: * 2 FETCH (UID 2 FLAGS ())\nS: * LIST () \"/\" "
				  "Sent\nS: $l OK\n" BODY("1") "S: * 3 FETCH (UID 3 FLAGS ())\nS: $f OK\nS: $a OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, NULL, "LIST \"\" *");
		world_ask(&w, "INBOX", "UID FETCH 1:* (UID FLAGS)");
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;" BODY_EVENTS("1") ";ok");
		assert_events(&w.asks[1], "list INBOX;list Sent;ok");
		assert_events(&w.asks[2], "examined 7 3;fetch 2;fetch 3;ok");
	}
}

static void test_depth(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.config.depth = 1;
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "W 5\nS: $a OK\n" ASKED("b", "2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[1], "examined 7 3;ok");
	}
}

/* Nobody says how many: the old servers are asked for one thing at a time. */
static void test_depth_by_what_the_server_knows(void **unused)
{
	static const char *const scripts[] = {
		SIGN_IN INBOX ASKED("a", "1") "W 10\nN\nS: $a OK\n" ASKED("b", "2") "S: $b OK\n",
		FIRST_COMMANDS FIRST_ANSWERS INBOX ASKED("a", "1") ASKED("b", "2") "S: $a OK\nS: $b OK\n",
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++)
		FOR_EACH_CUT(w)
		{
			w.config.depth = 0;
			w.server.scripts[0] = scripts[i];
			world_ask(&w, "INBOX", FETCH_TEXT("1"));
			world_ask(&w, "INBOX", FETCH_TEXT("2"));
			world_run(&w);
			assert_int_equal(0, w.asks[0].code);
			assert_int_equal(0, w.asks[1].code);
			assert_string_equal("", w.server.wrong->str);
			assert_int_equal(1, w.server.opened);
		}
}

static void test_another_mailbox_waits(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "W 5\nS: $a OK\n" EXAMINE("\"Sent\"", "8")
			ASKED("b", "2") "S: $b OK\n" INBOX ASKED("c", "3") "S: $c OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_ask(&w, "Sent", FETCH_TEXT("2"));
		/* this one could go at once, but would keep the second waiting for ever if more came */
		world_ask(&w, "INBOX", FETCH_TEXT("3"));
		world_run(&w);
		assert_events(&w.asks[1], "examined 8 3;ok");
		assert_events(&w.asks[2], "examined 7 3;ok");
	}
}

static void test_unsolicited_everywhere(void **unused)
{
#define NOISE                                                                                                          \
	"S: * 4 EXISTS\nS: * 1 RECENT\nS: * OK still here\nS: * FLAGS (\\Seen)\nS: * NO disk nearly full\n"            \
	"S: * CAPABILITY IMAP4rev1\nS: * XWHATEVER 5\nS: Server Unavailable. 15\nS: * OK [ALERT] hm\nS: * 9 FETCH "    \
	"(UID 9 FLAGS ())\n"
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = GREET NOISE
			"C: l AUTHENTICATE XOAUTH2 *\n" NOISE "S: $l OK [CAPABILITY IMAP4rev1] in\n" NOISE
			"C: f LIST \"\" \"\"\n" NOISE "S: $f OK\n" NOISE "C: e EXAMINE \"INBOX\"\n" NOISE
			"S: * OK [UIDVALIDITY 7] v\nS: $e OK\n" NOISE ASKED("a", "1") NOISE BODY("1") NOISE
			"S: $a OK\n" NOISE;
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		/* what came before the mailbox was open isn't its */
		assert_non_null(strstr(w.asks[0].events->str, "examined 7 4;"));
		assert_non_null(strstr(w.asks[0].events->str, BODY_EVENTS("1")));
		assert_true(g_str_has_suffix(w.asks[0].events->str, ";ok"));
		assert_false(g_str_has_prefix(w.asks[0].events->str, "fetch 9;fetch 9"));
	}
}

static void test_examine_again(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX
			"S: * 5 EXISTS\n" ASKED("a", "1") "S: * 2 EXPUNGE\nS: $a OK\n" INBOX;
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		world_run_ms(&w, 20);
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[1], "examined 7 5;expunge 2;ok");
		world_ask_with(&w, &(struct imap_request){.mailbox = "INBOX", .examine = true});
		world_run(&w);
		assert_events(&w.asks[2], "examined 7 3;ok");
		assert_int_equal(w.server.ended, 1);
	}
}

static void test_qresync(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] =
			"S: * PREAUTH [CAPABILITY QRESYNC ENABLE] hi\nC: f LIST *\nS: $f OK\n"
			"C: q ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: $q OK\n" INBOX
			"C: e EXAMINE \"INBOX\" (QRESYNC (7 42))\n"
			/* of the mailbox that is being left */
			"S: * 1 FETCH (UID 99 FLAGS ())\nS: * OK [CLOSED] old\n"
			"S: * 3 EXISTS\nS: * OK [UIDVALIDITY 7] v\nS: * OK [HIGHESTMODSEQ 50] m\n"
			"S: * VANISHED (EARLIER) 4:6\nS: * 1 FETCH (UID 2 FLAGS () MODSEQ (49))\nS: $e OK\n";
		world_ask(&w, "INBOX", NULL);
		world_run(&w);
		world_ask_with(
			&w, &(struct imap_request){
				    .mailbox = "INBOX", .uidvalidity = 7, .examine = true, .qresync_modseq = 42});
		world_run(&w);
		assert_events(&w.asks[1], "vanished;fetch 2;examined 7 3;ok");
	}
}

static void test_renumbered(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX INBOX;
		world_ask_with(&w, &(struct imap_request){.mailbox = "INBOX", .uidvalidity = 6, .command = "NOOP"});
		world_run(&w);
		assert_events(&w.asks[0], "renumbered");
		/* what another one opened may be old news: asked anew before it is said */
		world_ask_with(&w, &(struct imap_request){.mailbox = "INBOX", .uidvalidity = 6, .command = "NOOP"});
		world_run(&w);
		assert_events(&w.asks[1], "renumbered");
		assert_int_equal(w.server.ended, 1);
	}
}

static void test_renumbered_in_mid_session(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "S: * OK [UIDVALIDITY 8] new\n";
		w.server.scripts[1] = SIGN_IN EXAMINE("\"INBOX\"", "8");
		world_ask_with(
			&w, &(struct imap_request){.mailbox = "INBOX", .uidvalidity = 7, .command = FETCH_TEXT("1")});
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;restart;renumbered");
	}
}

static void test_examine_fails(void **unused)
{
	static const struct {
		const char *answer, *events;
	} cases[] = {
		{"NO [NONEXISTENT] Unknown Mailbox: X (Failure)", "gone"},
		{"NO X doesn't exist.", "gone"},
		{"NO Mailbox doesn't exist: X", "gone"},
		{"NO [NOPERM] Permission denied", "refused"},
		{"NO [SERVERBUG] Internal error, not found", "refused"},
		{"NO Unable to open this mailbox.", "refused"},
		{"NO no mailbox of the name throttled, hm", "refused"},
		{"BAD Command Argument Error. 11", "refused"},
	};
	struct world w;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		FOR_EACH_CUT(w)
		{
			g_autofree char *script = g_strdup_printf(
				SIGN_IN "C: e EXAMINE \"X\"\nS: $e %s\n" INBOX, cases[i].answer);

			w.server.scripts[0] = script;
			world_ask(&w, "X", FETCH_TEXT("1"));
			world_ask(&w, "INBOX", NULL);
			world_run(&w);
			assert_events(&w.asks[0], cases[i].events);
			assert_events(&w.asks[1], "examined 7 3;ok");
		}
}

static void test_refused_command(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") "S: $a NO [SERVERBUG] can't\n" ASKED(
			"b", "2") "S: $b BAD no\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;refused");
		assert_non_null(strstr(w.asks[0].err.text, "can't"));
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[1], "examined 7 3;refused");
	}
}

static void test_mailbox_names(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN
			"C: e EXAMINE \"a ?\"b??\"\nS: * OK [UIDVALIDITY 1] v\nS: $e OK\n"
			/* 8-bit: a literal, and what stands behind it waits for "+" */
			"C: e EXAMINE {10}\nS: + go on\nC+ \xd0\x9b\xd0\xb8\xd1\x81\xd1\x82\xd0\xb8\n"
			"S: * OK [UIDVALIDITY 2] v\nS: $e OK\n"
			/* refused at its literal */
			"C: e EXAMINE {4}\nS: $e NO [NONEXISTENT] no\n";
		world_ask(&w, "a \"b\\", NULL);
		world_ask(&w, "\xd0\x9b\xd0\xb8\xd1\x81\xd1\x82\xd0\xb8", NULL);
		world_ask(&w, "\xd0\x9b\xd0\xb8", NULL);
		world_run(&w);
		assert_events(&w.asks[0], "examined 1 0;ok");
		assert_events(&w.asks[1], "examined 2 0;ok");
		assert_events(&w.asks[2], "gone");
		assert_non_null(strstr(w.server.log->str, "EXAMINE \"a \\\"b\\\\\"\r\n"));
	}
}

static void test_never_sent(void **unused)
{
	static const char *const commands[] = {"UID STORE 1 +FLAGS (\\Seen)", "SELECT INBOX", "EXPUNGE", "DELETE x",
		"UID FETCH 1 (BODY[])", "UID FETCH 1 (RFC822)", "UID FETCH 1 (BODY [])", "UID FETCH 1 (BINARY[])",
		"NOOP\r\nx DELETE INBOX", "LOGOUT", "LOGIN a b", "AUTHENTICATE PLAIN", "EXAMINE INBOX", "CLOSE", ""};
	struct world w;

	FOR_EACH_CUT(w)
	{
		g_autofree char *much = g_strnfill(CLIENT_COMMAND_BYTES_MAX - 20, '1');
		g_autofree char *too_long = g_strdup_printf("UID FETCH %s (UID)", much);

		w.server.scripts[0] = SIGN_IN INBOX;
		for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
			world_ask(&w, "INBOX", commands[i]);
		world_ask(&w, NULL, too_long);
		world_run(&w);
		for (size_t i = 0; i < w.asked; i++)
			assert_int_equal(w.asks[i].code, ERR_FAILED);
		assert_int_equal(w.server.ended, 1);
	}
}

static void test_longest_command(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		g_autofree char *much = g_strnfill(CLIENT_COMMAND_BYTES_MAX - CLIENT_TAG_BYTES - 16, '1');
		g_autofree char *long_enough = g_strdup_printf("UID FETCH %s (UID)", much);
		const char *line;

		w.server.scripts[0] = SIGN_IN "C: a UID FETCH *\nS: $a OK\n";
		world_ask(&w, NULL, long_enough);
		world_run(&w);
		assert_events(&w.asks[0], "ok");
		line = strstr(w.server.log->str, " UID FETCH") - 2;
		assert_true(strlen(line) <= CLIENT_COMMAND_BYTES_MAX);
	}
}

static void test_local_failure_ends_connection(void **unused)
{
	struct world w;

	FOR_EACH_CUT(w)
	{
		w.server.scripts[0] = SIGN_IN INBOX ASKED("a", "1") ASKED("b", "2") BODY("1");
		w.server.scripts[1] = SIGN_IN INBOX ASKED("b", "2") BODY("2") "S: $b OK\n";
		world_ask(&w, "INBOX", FETCH_TEXT("1"))->data_code = ERR_STORAGE;
		world_ask(&w, "INBOX", FETCH_TEXT("2"));
		world_run(&w);
		assert_events(&w.asks[0], "examined 7 3;body 5;storage");
		assert_events(&w.asks[1], "examined 7 3;restart;examined 7 3;" BODY_EVENTS("2") ";ok");
	}
}

static int run_all(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xoauth2),
		cmocka_unit_test(test_mechanisms),
		cmocka_unit_test(test_qresync_counts_when_enabled),
		cmocka_unit_test(test_a_listing_goes_with_the_first_commands),
		cmocka_unit_test(test_what_waits_for_a_ready_session),
		cmocka_unit_test(test_one_goes_with_the_first_commands),
		cmocka_unit_test(test_a_session_fails_with_a_listing_under_way),
		cmocka_unit_test(test_a_listing_that_ends_its_session),
		cmocka_unit_test(test_a_second_opinion_that_cant_be_had),
		cmocka_unit_test(test_a_slow_sign_in_isnt_a_slow_answer),
		cmocka_unit_test(test_a_session_is_kept_before_it_is_ready),
		cmocka_unit_test(test_a_listing_that_came_too_early),
		cmocka_unit_test(test_nobody_answers_a_listing_that_went_ahead),
		cmocka_unit_test(test_a_client_goes_with_a_listing_ahead),
		cmocka_unit_test(test_a_listing_that_went_ahead_is_cancelled),
		cmocka_unit_test(test_refused_once),
		cmocka_unit_test(test_refused_twice),
		cmocka_unit_test(test_no_credential),
		cmocka_unit_test(test_not_offered),
		cmocka_unit_test(test_wrong_kind),
		cmocka_unit_test(test_no_secret_without_tls),
		cmocka_unit_test(test_starttls_has_no_greeting),
		cmocka_unit_test(test_not_connected_passes),
		cmocka_unit_test(test_not_connected_stays),
		cmocka_unit_test(test_not_imap),
		cmocka_unit_test(test_silent_sign_in),
		cmocka_unit_test(test_secret_in_no_log),
		cmocka_unit_test(test_pipelined_in_order),
		cmocka_unit_test(test_answered_in_another_order),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_depth_by_what_the_server_knows),
		cmocka_unit_test(test_another_mailbox_waits),
		cmocka_unit_test(test_unsolicited_everywhere),
		cmocka_unit_test(test_examine_again),
		cmocka_unit_test(test_qresync),
		cmocka_unit_test(test_renumbered),
		cmocka_unit_test(test_renumbered_in_mid_session),
		cmocka_unit_test(test_examine_fails),
		cmocka_unit_test(test_refused_command),
		cmocka_unit_test(test_mailbox_names),
		cmocka_unit_test(test_never_sent),
		cmocka_unit_test(test_longest_command),
		cmocka_unit_test(test_local_failure_ends_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	log_init(g_getenv("MAILTREE_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, LOG_TO_STDERR);
	return world_run_cuts(run_all);
}
