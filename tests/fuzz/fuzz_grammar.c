/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parser: whatever the octets, no cut changes what comes of them, and what comes keeps the promises that
 * recorder.c checks (lengths and terminators agree, sets are sorted and disjoint, an error stays).
 * Sets: what one parses to is written and read again as the same.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/imap/recorder.h"

#include <string.h>

#include "src/base/banned.h"

static void check_cut(const struct recorder_script *script, const char *bytes, size_t length, size_t first,
	size_t piece, const char *expected)
{
	g_autofree char *events = recorder_play(script, bytes, length, first, piece);

	if (strcmp(events, expected) != 0)
		g_error("cut at %zu, then each %zu octets:\n%s\ninstead of\n%s", first, piece, events, expected);
}

static void check_grammar(const char *bytes, size_t length, uint32_t choice)
{
	const struct recorder_script script = {
		.refuse_bodies = choice % 7 == 0, .stop_after = choice % 5 == 0 ? 1 + choice % 3 : 0};
	g_autofree char *expected = recorder_play(&script, bytes, length, length, 0);

	check_cut(&script, bytes, length, 1, 1, expected);
	check_cut(&script, bytes, length, 1 + choice % 13, 2 + choice % 11, expected);
	check_cut(&script, bytes, length, length > 0 ? choice % length : 0, 0, expected);
}

static void check_set(const char *bytes, size_t length)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct imap_set set, again;
	size_t at = 0;

	imap_set_init(&set);
	imap_set_init(&again);
	if (imap_set_parse(&set, bytes, length)) {
		imap_set_format(&set, &at, SIZE_MAX, text);
		g_assert_true(imap_set_parse(&again, text->str, text->len));
		g_assert_cmpmem(set.ranges->data, set.ranges->len * sizeof(struct imap_range), again.ranges->data,
			again.ranges->len * sizeof(struct imap_range));
	} else {
		g_assert_cmpuint(set.ranges->len, ==, 0);
	}
	imap_set_fini(&set);
	imap_set_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t choice = 2166136261u;

	/* The input decides its cuts, so that a file alone reproduces what it found. */
	for (size_t i = 0; i < size; i++)
		choice = (choice ^ data[i]) * 16777619u;
	check_grammar((const char *)data, size, choice);
	check_set((const char *)data, size);
	return 0;
}
