/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What servers put into words, as the transcripts have it. */
#include "imap/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

enum meaning {
	THROTTLED = 1 << 0,
	LIMITED = 1 << 1,
	NOT_CONNECTED = 1 << 2,
	TOKEN_EXPIRED = 1 << 3,
	NONEXISTENT = 1 << 4,
	OVERRUN = 1 << 5,
};

static const struct {
	const char *line;
	unsigned meanings;
	uint64_t pause_ms;
} cases[] = {
	{"A1 BAD Request is throttled. Suggested Backoff Time: 89000 milliseconds", THROTTLED, 89000},
	{"A1 NO Request is throttled. Suggested Backoff Time:300000 milliseconds", THROTTLED, 300000},
	{"* BYE Request is throttled. Suggested Backoff Time: 5000 milliseconds", THROTTLED, 5000},
	{"A1 NO Suggested Backoff Time: 0 milliseconds", THROTTLED, 1000},
	{"A1 NO Suggested Backoff Time: -1 milliseconds", THROTTLED, 1000},
	{"A1 NO Suggested Backoff Time: soon", THROTTLED, 1000},
	{"A1 NO Suggested Backoff Time:", THROTTLED, 1000},
	{"A1 NO Suggested Backoff Time: 99999999999999999999999", THROTTLED, WORDS_PAUSE_MAX_MS},
	{"A1 NO [THROTTLED] slower, please", THROTTLED, WORDS_PAUSE_DEFAULT_MS},
	{"A1 NO [LIMIT] enough", THROTTLED | LIMITED, WORDS_PAUSE_DEFAULT_MS},
	{"A1 OK Suggested Backoff Time: 5000 milliseconds", 0, 0},
	{"+ throttled", 0, 0},
	{"A1 NO [ALERT] Too many simultaneous connections. (Failure)", LIMITED, 0},
	{"* BYE Maximum number of connections from user+IP exceeded", LIMITED, 0},
	{"A1 NO [UNAVAILABLE] Temporary authentication failure.", LIMITED, 0},
	{"A1 NO too many folders", 0, 0},
	{"A1 BAD User is authenticated but not connected.", NOT_CONNECTED, 0},
	{"A1 OK User is authenticated but not connected.", 0, 0},
	{"* BYE Session invalidated - AccessTokenExpired", TOKEN_EXPIRED, 0},
	{"A1 NO [NONEXISTENT] gone", NONEXISTENT, 0},
	{"A1 NO [TRYCREATE] gone", NONEXISTENT, 0},
	{"A1 NO Mailbox doesn't exist: x", NONEXISTENT, 0},
	{"A1 NO [SERVERBUG] no such mailbox", 0, 0}, /* a code says more than words */
	{"A1 BAD Command Error. 10", OVERRUN, 0},
	{"A1 BAD Command Error. 12", OVERRUN, 0},
	{"A1 BAD Command Argument Error. 11", 0, 0},
	{"A1 BAD Command Error. 100", 0, 0},
	{"A1 BAD Command Error. 1", 0, 0},
	{"A1 NO Command Error. 10", 0, 0},
	{"A1 NO AUTHENTICATE failed.", 0, 0},
	{"A1 NO", 0, 0},
};

struct heard {
	unsigned meanings;
	uint64_t pause_ms;
};

static void listen_to(void *ctx, const struct imap_response *response)
{
	struct heard *heard = ctx;

	heard->meanings = (words_throttled(response, &heard->pause_ms) ? THROTTLED : 0) |
	                  (words_limited(response) ? LIMITED : 0) |
	                  (words_not_connected(response) ? NOT_CONNECTED : 0) |
	                  (words_token_expired(response) ? TOKEN_EXPIRED : 0) |
	                  (words_nonexistent(response) ? NONEXISTENT : 0) | (words_overrun(response) ? OVERRUN : 0);
}

static void meanings(void **state)
{
	static const struct imap_parser_ops ops = {.response = listen_to};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct heard heard = {.meanings = UINT_MAX};
		struct imap_parser *parser = imap_parser_new(&ops, &heard);

		assert_int_equal(imap_parser_feed(parser, cases[i].line, strlen(cases[i].line), NULL), 0);
		assert_int_equal(imap_parser_feed(parser, "\r\n", 2, NULL), 0);
		if (heard.meanings != cases[i].meanings ||
			((heard.meanings & THROTTLED) && heard.pause_ms != cases[i].pause_ms))
			fail_msg("%s: %#x, %" G_GUINT64_FORMAT " ms", cases[i].line, heard.meanings, heard.pause_ms);
		imap_parser_free(parser);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(meanings)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
