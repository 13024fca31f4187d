/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/verdict.h"
#include "imap/grammar.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

static const struct {
	const char *part; /* of the text, in lower case */
	enum verdict_kind kind;
} texts[] = {
	{"suggested backoff time", VERDICT_THROTTLED},
	{"request is throttled", VERDICT_THROTTLED},
	{"accesstokenexpired", VERDICT_EXPIRED},
	{"authenticated but not connected", VERDICT_NOT_CONNECTED},
	{"bandwidth limit", VERDICT_OVERQUOTA},
	{"too many simultaneous", VERDICT_TOO_MANY},
	{"too many connections", VERDICT_TOO_MANY},
	{"maximum number of connections", VERDICT_TOO_MANY},
	{"connection limit", VERDICT_TOO_MANY},
	{"connectionlimit", VERDICT_TOO_MANY},
};

static const struct {
	const char *code;
	enum verdict_kind kind;
} codes[] = {
	{"THROTTLED", VERDICT_THROTTLED},
	{"OVERQUOTA", VERDICT_OVERQUOTA},
	{"LIMIT", VERDICT_TOO_MANY},
	{"UNAVAILABLE", VERDICT_UNAVAILABLE},
	{"SERVERBUG", VERDICT_UNAVAILABLE},
};

/* "Suggested Backoff Time: 299961 milliseconds" */
static uint32_t backoff_parse(const char *text)
{
	const char *at = strstr(text, "suggested backoff time");
	uint64_t number = 0;

	if (!at)
		return 0;
	while (*at && !g_ascii_isdigit(*at))
		at++;
	for (; g_ascii_isdigit(*at) && number < VERDICT_BACKOFF_MAX_MS; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	while (*at == ' ')
		at++;
	if (g_str_has_prefix(at, "sec"))
		number *= 1000;
	return (uint32_t)MIN(number, VERDICT_BACKOFF_MAX_MS);
}

struct verdict verdict_of(const struct imap_response *response)
{
	g_autofree char *text = g_ascii_strdown(response->text, -1);
	struct verdict verdict = {VERDICT_PLAIN, 0};

	for (size_t i = 0; i < G_N_ELEMENTS(texts) && verdict.kind == VERDICT_PLAIN; i++)
		if (strstr(text, texts[i].part))
			verdict.kind = texts[i].kind;
	for (size_t i = 0; response->code && i < G_N_ELEMENTS(codes) && verdict.kind == VERDICT_PLAIN; i++)
		if (strcmp(response->code, codes[i].code) == 0)
			verdict.kind = codes[i].kind;
	/* the word alone may be a mailbox's name */
	if (verdict.kind == VERDICT_UNAVAILABLE && strstr(text, "throttled"))
		verdict.kind = VERDICT_THROTTLED;
	if (verdict.kind == VERDICT_THROTTLED)
		verdict.backoff_ms = backoff_parse(text);
	return verdict;
}
