/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parser. What single servers send is in tests/imap/transcripts/; here are the rules, the limits and the calls. */
#include "src/base/limits.h"
#include "tests/imap/recorder.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

static void expect(const struct recorder_script *script, const char *in, size_t length, const char *expected)
{
	g_autofree char *events = recorder_play_all_cuts(script, in, length);

	assert_string_equal(events, expected);
}

static void responses(void **state)
{
	static const struct {
		const char *in, *events;
	} cases[] = {
		{"", ""},
		{"* OK IMAP4rev1 Service Ready\r\n", "untagged OK text=\"IMAP4rev1 Service Ready\"\n"},
		{"a002 NO [NONEXISTENT] no such mailbox\r\n",
			"tagged a002 NO code=NONEXISTENT() text=\"no such mailbox\"\n"},
		{"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", "capability IMAP4rev1 AUTH=PLAIN\n"},
		{"* capability imap4REV1\r\n", "capability imap4REV1\n"},
		{"+ idling\r\n", "continuation text=\"idling\"\n"},
		{"* LIST (\\Noselect) \"/\" ~/Mail/foo\r\n", "list noselect delimiter=/ name=\"~/Mail/foo\"\n"},
		{"* STATUS blurdybloop (MESSAGES 231 UIDNEXT 44292)\r\n",
			"status name=\"blurdybloop\" messages=231 uidnext=44292\n"},
		{"* SEARCH 2 3 6\r\n", "search 2 3 6\n"},
		{"* FLAGS (\\Answered \\Draft)\r\n", "flags \\Answered \\Draft\n"},
		{"* 23 EXISTS\r\n* 5 RECENT\r\n* 44 EXPUNGE\r\n", "exists 23\nrecent 5\nexpunge 44\n"},
		{"* VANISHED (EARLIER) 41,43:116\r\n", "vanished earlier uids=41,43:116\n"},
		{"* ESEARCH (TAG \"h\") UID COUNT 17 ALL 4:18,21,28\r\n",
			"esearch tag=h uid count=17 all=4:18,21,28\n"},
		{"* ENABLED CONDSTORE\r\n", "enabled CONDSTORE\n"},
		{"* ID (\"name\" \"Cyrus\" \"os\" NIL)\r\n", "id \"name\" \"Cyrus\" \"os\" NIL\n"},
		{"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n", "namespace ((\"\" \"/\")) NIL NIL\n"},
		{"* 12 FETCH (FLAGS (\\Seen) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 4286)\r\n",
			"fetch sequence=12 flags=(\\Seen) date=837596665 size=4286\n"},
		{"* 12 FETCH (BODY[HEADER] {6}\r\nA: b\r\n UID 3)\r\n",
			"fetch sequence=12 uid=3 header=\"A: b%0D%0A\"\n"},
		{"* 12 FETCH (BODY (\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 3028 92) UID 3)\r\n",
			"fetch sequence=12 uid=3\n"},
		{"* 1 FETCH ()\r\n", "fetch sequence=1\n"},
		{"* 1 FETCH (UID 2 X-UNKNOWN (a (b {3}\r\n)\r\n) c) MODSEQ (5))\r\n",
			"fetch sequence=1 uid=2 modseq=5\n"},
		{"* 1 FETCH (UID 7 UID 7)\r\n", "fetch sequence=1 uid=7\n"},
		{"* 1 FETCH (BODY[] {3}\r\nabc",
			"body begin sequence=1 uid=0 size=3\nbody data abc\nbody end\nunfinished\n"},
		{"* 1 FETCH (BODY[] {3}\r\n", "body begin sequence=1 uid=0 size=3\nunfinished\n"},
		{"* 1 FETCH (BODY[] {4294967296}\r\n", "body begin sequence=1 uid=0 size=4294967296\nunfinished\n"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		expect(NULL, cases[i].in, strlen(cases[i].in), cases[i].events);
}

/* Every octet, and the ends of lines in every order, arrive as they are. */
static void body_octets(void **state)
{
	g_autoptr(GString) in = g_string_new("* 1 FETCH (UID 5 BODY[] {1030}\r\n"), expected = g_string_new(NULL);

	g_string_append(expected, "body begin sequence=1 uid=5 size=1030\nbody data ");
	for (int i = 0; i < 1030; i++) {
		char octet = (char)(i < 1024 ? i * 7 : "\n\r\n\r\r\n"[i - 1024]);

		g_string_append_c(in, octet);
		if (octet >= 0x20 && octet <= 0x7e && octet != '%')
			g_string_append_c(expected, octet);
		else
			g_string_append_printf(expected, "%%%02X", (unsigned char)octet);
	}
	g_string_append(in, ")\r\n* 2 EXISTS\r\n");
	g_string_append(expected, "\nbody end\nfetch sequence=1 uid=5 body=streamed:1030\nexists 2\n");
	expect(NULL, in->str, in->len, expected->str);
}

static void refused_body(void **state)
{
	static const char in[] = "* 1 FETCH (BODY[] {9}\r\n* BYE\r\n)\r UID 5)\r\n* 2 FETCH (UID 6 BODY[] {0}\r\n)\r\n";
	const struct recorder_script script = {.refuse_bodies = true};

	expect(&script, in, sizeof(in) - 1,
		"body begin sequence=1 uid=0 size=9\nfetch sequence=1 uid=5 body=streamed:9\n"
		"body begin sequence=2 uid=6 size=0\nfetch sequence=2 uid=6 body=streamed:0\n");
}

static void body_that_cannot_be_stored(void **state)
{
	static const char in[] = "* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n* 2 EXISTS\r\n";
	const struct recorder_script script = {.body_error = ERR_STORAGE};
	struct recorder recorder;

	recorder_init(&recorder, &script);
	assert_int_equal(recorder_feed(&recorder, in, sizeof(in) - 1), ERR_STORAGE);
	recorder_fini(&recorder);
	expect(&script, in, sizeof(in) - 1,
		"body begin sequence=1 uid=5 size=3\nerror: the server's answer: the message can't be stored\n");
}

static void count_response(void *ctx, const struct imap_response *response)
{
	unsigned *count = ctx;

	assert_int_equal(response->fetch.body->type, IMAP_STREAMED);
	++*count;
}

static void nobody_wants_bodies(void **state)
{
	static const char in[] = "* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n";
	const struct imap_parser_ops ops = {.response = count_response};
	unsigned count = 0;
	struct imap_parser *parser = imap_parser_new(&ops, &count);

	assert_int_equal(imap_parser_feed(parser, in, sizeof(in) - 1, NULL), 0);
	assert_int_equal(count, 1);
	imap_parser_free(parser);
	imap_parser_free(NULL);
}

/* Of a FETCH's long literal the beginning is kept, and the session goes on. */
static void long_header_is_cut(void **state)
{
	static const size_t sizes[] = {
		IMAP_LITERAL_MEMORY_MAX, IMAP_LITERAL_MEMORY_MAX + 1, 3 * IMAP_LITERAL_MEMORY_MAX};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_autoptr(GString) in = g_string_new(NULL), expected = g_string_new("fetch sequence=1 uid=5 header=\"");

		g_string_printf(in, "* 1 FETCH (BODY[HEADER] {%zu}\r\n", sizes[i]);
		for (size_t at = 0; at < sizes[i]; at++)
			g_string_append_c(in, (char)('a' + at % 26));
		g_string_append_len(expected, strchr(in->str, '\n') + 1, IMAP_LITERAL_MEMORY_MAX);
		g_string_append_c(expected, '"');
		if (sizes[i] > IMAP_LITERAL_MEMORY_MAX)
			g_string_append_printf(expected, "...%zu", sizes[i]);
		g_string_append(expected, "\nexists 2\n");
		g_string_append(in, " UID 5)\r\n* 2 EXISTS\r\n");
		expect(NULL, in->str, in->len, expected->str);
	}
}

/* Literals that are fine one by one come to too much. */
static void many_long_literals(void **state)
{
	g_autoptr(GString) in = g_string_new("* 1 FETCH (UID 5 ENVELOPE (NIL");
	size_t fits = IMAP_RESPONSE_MEMORY_MAX / (IMAP_LITERAL_MEMORY_MAX + 1);
	g_autofree char *octets = g_strnfill(IMAP_LITERAL_MEMORY_MAX, 'x'), *fine = NULL, *broken = NULL;

	for (size_t i = 0; i < fits; i++)
		g_string_append_printf(in, " {%u}\r\n%s", IMAP_LITERAL_MEMORY_MAX, octets);
	fine = recorder_play(NULL, in->str, in->len, 100000, 100000);
	assert_string_equal(fine, "unfinished\n");
	g_string_append_printf(in, " {%u}\r\n", IMAP_LITERAL_MEMORY_MAX);
	broken = recorder_play(NULL, in->str, in->len, 100000, 100000);
	assert_string_equal(broken, "error: the server's answer: a response too large for memory\n");
}

/* A response of many values, nested and long, and the next one, in the memory that is left of it. */
static void large_responses(void **state)
{
	g_autoptr(GString) in = g_string_new(NULL), expected = g_string_new(NULL);

	for (int i = 0; i < 3; i++) {
		g_string_append(in, "* 1 FETCH (FLAGS (\\Seen) BODYSTRUCTURE (");
		g_string_append(expected, "fetch sequence=1 flags=(\\Seen) bodystructure=(");
		for (int j = 0; j < 9000; j++) {
			g_string_append(in, j % 100 ? "(a)b " : "(a) ");
			g_string_append(expected, j % 100 ? "(a) b " : "(a) ");
		}
		g_string_append(in, "\"\\\"\\\\\"))\r\n* 2 EXISTS\r\n");
		g_string_append(expected, "\"\"\\\")\nexists 2\n");
	}
	expect(NULL, in->str, in->len, expected->str);
}

static void stops_behind_a_response(void **state)
{
	static const char in[] = "* 1 EXISTS\r\nA1 OK begin TLS\r\n\x16\x03\x01* 2 EXISTS\r\n";
	const struct recorder_script script = {.stop_after = 2};
	struct recorder recorder;
	struct error err;

	expect(&script, in, sizeof(in) - 1,
		"exists 1\ntagged A1 OK text=\"begin TLS\"\nstop at=29\nother text=\"%16%03%01* 2 EXISTS\"\n");

	recorder_init(&recorder, &script);
	assert_int_equal(imap_parser_feed(recorder.parser, in, sizeof(in) - 1, &err), 0);
	assert_int_equal(imap_parser_rest(recorder.parser), sizeof(in) - 1 - 29);
	assert_false(imap_parser_mid_response(recorder.parser));
	/* The stream is another now; what it brings is read from its beginning. */
	assert_int_equal(imap_parser_feed(recorder.parser, "* 3 EXISTS\r\n", 12, &err), 0);
	assert_int_equal(imap_parser_rest(recorder.parser), 0);
	assert_string_equal(recorder.events->str, "exists 1\ntagged A1 OK text=\"begin TLS\"\nexists 3\n");
	recorder_fini(&recorder);
}

static void knows_where_it_is(void **state)
{
	static const char in[] = "* 1 FETCH (BODY[] {2}\r\nab BODY[HEADER] {1}\r\nc)\r\n";
	struct recorder recorder;

	recorder_init(&recorder, NULL);
	assert_false(imap_parser_mid_response(recorder.parser));
	for (size_t i = 0; i < sizeof(in) - 1; i++) {
		assert_int_equal(recorder_feed(&recorder, in + i, 1), 0);
		assert_int_equal(imap_parser_mid_response(recorder.parser), i + 1 < sizeof(in) - 1);
	}
	recorder_fini(&recorder);
}

/* "* SEARCH" with `count` numbers from 1 on, or "* ESEARCH" and "* VANISHED" with ranges that don't touch. */
static GString *long_line(const char *start, uint32_t count, uint32_t step, char separator)
{
	GString *in = g_string_new(start);

	for (uint32_t i = 0; i < count; i++)
		g_string_append_printf(in, "%c%u", i || separator == ' ' ? separator : ' ', 1000000 + i * step);
	return in;
}

struct numbers {
	struct imap_set set;
	uint64_t modseq;
	unsigned responses, numbers;
};

static void take_numbers(void *ctx, const struct imap_response *response)
{
	struct numbers *numbers = ctx;

	numbers->responses++;
	numbers->numbers = response->numbers_count;
	numbers->modseq = response->modseq;
	imap_set_add_numbers(&numbers->set, response->numbers, response->numbers_count);
}

static void search_of_a_large_folder(void **state)
{
	static const size_t pieces[] = {1, 1000, 65536, 262144, SIZE_MAX};
	static const struct imap_parser_ops ops = {.response = take_numbers};
	enum { COUNT = 400000 };
	g_autoptr(GString) in = long_line("* SEARCH", COUNT, 2, ' ');

	g_string_append(in, " (MODSEQ 12)\r\n* SEARCH\r\n");
	assert_true(in->len > 3 * IMAP_LINE_MAX);
	for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
		struct numbers numbers = {.responses = 0};
		struct imap_parser *parser = imap_parser_new(&ops, &numbers);

		imap_set_init(&numbers.set);
		for (size_t at = 0, step; at < in->len - 10; at += step) {
			step = MIN(pieces[i], in->len - 10 - at);
			assert_int_equal(imap_parser_feed(parser, in->str + at, step, NULL), 0);
		}
		assert_int_equal(numbers.responses, 1);
		assert_int_equal(numbers.numbers, COUNT);
		assert_int_equal(numbers.modseq, 12);
		assert_int_equal(imap_set_count(&numbers.set), COUNT);
		assert_int_equal(g_array_index(numbers.set.ranges, struct imap_range, COUNT - 1).first, 1799998);
		assert_int_equal(imap_parser_feed(parser, in->str + in->len - 10, 10, NULL), 0);
		assert_int_equal(numbers.responses, 2);
		assert_int_equal(numbers.numbers, 0);
		imap_set_fini(&numbers.set);
		imap_parser_free(parser);
	}
}

/* Feeds `text` `times` over, as a hostile server would; the events. */
static char *flood(const char *start, const char *text, uint64_t times)
{
	g_autoptr(GString) piece = g_string_new(NULL);
	struct recorder recorder;
	size_t text_length = strlen(text);
	int code;
	char *events;

	while (piece->len < 1u << 16)
		g_string_append(piece, text);
	recorder_init(&recorder, NULL);
	code = recorder_feed(&recorder, start, strlen(start));
	for (uint64_t left = times * text_length; !code && left > 0; left -= MIN(left, piece->len))
		code = recorder_feed(&recorder, piece->str, MIN(left, piece->len));
	events = g_string_free(g_steal_pointer(&recorder.events), FALSE);
	recorder_fini(&recorder);
	return events;
}

static void floods(void **state)
{
	static const struct {
		const char *start, *text;
		uint64_t most; /* so many times over is still fine */
		const char *error;
	} cases[] = {
		{"* SEARCH", " 7", LIMIT_MESSAGES,
			"error: the server's answer: more messages than a folder may have\n"},
		{"* SEARCH ", " ", IMAP_SEARCH_LINE_MAX - 9, "error: the server's answer: a response too long\n"},
		{"* SEARCH (", "x", IMAP_LINE_MAX - 1, "error: the server's answer: a response too long\n"},
		{"* SEARCH ", "1", (1u << 16) - 10, "error: the server's answer: a malformed SEARCH\n"},
		{"* ESEARCH ALL 7", ",7", (IMAP_SET_LINE_MAX - 15) / 2,
			"error: the server's answer: a response too long\n"},
		{"* VANISHED 7", ",7", (IMAP_SET_LINE_MAX - 12) / 2,
			"error: the server's answer: a response too long\n"},
		{"", "x", IMAP_LINE_MAX, "error: the server's answer: a response too long\n"},
		{"* 1 FETCH (FLAGS (", "y ", (IMAP_LINE_MAX - 18) / 2,
			"error: the server's answer: a response too long\n"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *fine = flood(cases[i].start, cases[i].text, cases[i].most);
		g_autofree char *broken = flood(cases[i].start, cases[i].text, cases[i].most + (1u << 16));

		assert_string_equal(fine, "");
		assert_string_equal(broken, cases[i].error);
	}
}

static void take_set(void *ctx, const struct imap_response *response)
{
	const struct imap_set *set = response->type == IMAP_ESEARCH ? response->esearch.all : response->vanished.uids;

	*(uint64_t *)ctx = imap_set_count(set);
}

static void sets_of_a_large_folder(void **state)
{
	static const char *const starts[] = {"* ESEARCH (TAG \"a\") UID ALL", "* VANISHED (EARLIER)"};
	static const struct imap_parser_ops ops = {.response = take_set};
	enum { COUNT = 900000 };

	for (size_t i = 0; i < G_N_ELEMENTS(starts); i++) {
		g_autoptr(GString) in = long_line(starts[i], COUNT, 2, ',');
		uint64_t count = 0;
		struct imap_parser *parser = imap_parser_new(&ops, &count);

		g_string_append(in, "\r\n");
		assert_true(in->len > 6 * IMAP_LINE_MAX && in->len < IMAP_SET_LINE_MAX);
		for (size_t at = 0; at < in->len; at += 100000)
			assert_int_equal(imap_parser_feed(parser, in->str + at, MIN(100000, in->len - at), NULL), 0);
		assert_int_equal(count, COUNT);
		imap_parser_free(parser);
	}
}

static void values(void **state)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t number;
	} cases[] = {
		{"0", true, 0},
		{"007", true, 7},
		{"9223372036854775807", true, INT64_MAX},
		{"9223372036854775808", false, 0},
		{"18446744073709551616", false, 0},
		{"", false, 0},
		{"-1", false, 0},
		{"1 ", false, 0},
		{"0x1", false, 0},
	};
	const struct imap_value nil = {.type = IMAP_NIL, .text = ""}, list = {.type = IMAP_LIST, .text = ""},
				nul = {.type = IMAP_STRING, .length = 4, .text = "abc"};
	uint64_t number;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct imap_value value = {
			.type = IMAP_ATOM, .length = (uint32_t)strlen(cases[i].text), .text = cases[i].text};

		number = 0;
		assert_int_equal(imap_value_number(&value, &number), cases[i].good);
		assert_int_equal(number, cases[i].number);
		assert_true(imap_value_is(&value, cases[i].text));
	}
	assert_false(imap_value_number(&nil, &number));
	assert_false(imap_value_number(&list, &number));
	assert_false(imap_value_is(&nil, ""));
	assert_false(imap_value_is(&list, ""));
	assert_false(imap_value_is(&nul, "abc")); /* "abc" and a NUL */
	assert_true(imap_value_is(&(struct imap_value){.type = IMAP_STRING, .length = 3, .text = "aBc"}, "AbC"));
}

static void quotes(void **state)
{
	static const struct {
		const char *text;
		size_t length;
		const char *quoted; /* NULL: it takes a literal */
	} cases[] = {
		{"", 0, "\"\""},
		{"a b", 3, "\"a b\""},
		{"a\"b\\", 4, "\"a\\\"b\\\\\""},
		{"\t\x7f", 2, "\"\t\x7f\""},
		{"a\0b", 3, NULL},
		{"a\r", 2, NULL},
		{"\n", 1, NULL},
		{"\xd1\x97", 2, NULL},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GString) out = g_string_new("EXAMINE ");
		bool good = imap_quote(out, cases[i].text, cases[i].length);

		assert_int_equal(good, cases[i].quoted != NULL);
		assert_string_equal(out->str + 8, cases[i].quoted ? cases[i].quoted : "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(responses),
		cmocka_unit_test(body_octets),
		cmocka_unit_test(refused_body),
		cmocka_unit_test(body_that_cannot_be_stored),
		cmocka_unit_test(nobody_wants_bodies),
		cmocka_unit_test(long_header_is_cut),
		cmocka_unit_test(many_long_literals),
		cmocka_unit_test(large_responses),
		cmocka_unit_test(stops_behind_a_response),
		cmocka_unit_test(knows_where_it_is),
		cmocka_unit_test(search_of_a_large_folder),
		cmocka_unit_test(floods),
		cmocka_unit_test(sets_of_a_large_folder),
		cmocka_unit_test(values),
		cmocka_unit_test(quotes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
