/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/words.h"

#include <string.h>

#include "src/base/banned.h"

static const char *find(const struct imap_response *response, const char *words)
{
	return strcasestr(response->text, words);
}

static bool code_is(const struct imap_response *response, const char *code)
{
	return response->code && g_ascii_strcasecmp(response->code, code) == 0;
}

static bool complains(const struct imap_response *response)
{
	return (response->type == IMAP_TAGGED || response->type == IMAP_UNTAGGED) &&
	       (response->status == IMAP_NO || response->status == IMAP_BAD || response->status == IMAP_BYE);
}

bool words_throttled(const struct imap_response *response, uint64_t *pause_ms_out)
{
	static const char suggested[] = "Suggested Backoff Time:";
	const char *at;
	guint64 number;

	if (!complains(response))
		return false;
	*pause_ms_out = WORDS_PAUSE_DEFAULT_MS;
	at = find(response, suggested);
	if (at) {
		at += strlen(suggested);
		while (*at == ' ')
			at++;
		number = g_ascii_isdigit(*at) ? g_ascii_strtoull(at, NULL, 10) : 0; /* saturates */
		/* 0 or nonsense: a second all the same, so that no server makes us spin */
		*pause_ms_out = CLAMP(number, 1000, WORDS_PAUSE_MAX_MS);
		return true;
	}
	return find(response, "throttled") || code_is(response, "THROTTLED") || code_is(response, "LIMIT");
}

bool words_limited(const struct imap_response *response)
{
	bool much, what;

	if (!complains(response))
		return false;
	if (code_is(response, "UNAVAILABLE") || code_is(response, "LIMIT") || code_is(response, "INUSE"))
		return true;
	much = find(response, "too many") || find(response, "maximum number") || find(response, "exceeded") ||
	       find(response, "limit reached");
	what = find(response, "connection") || find(response, "session") || find(response, "simultaneous") ||
	       find(response, "logins");
	return much && what;
}

bool words_not_connected(const struct imap_response *response)
{
	return complains(response) && find(response, "authenticated but not connected");
}

bool words_token_expired(const struct imap_response *response)
{
	return complains(response) && find(response, "AccessTokenExpired");
}

bool words_nonexistent(const struct imap_response *response)
{
	if (!complains(response))
		return false;
	if (response->code)
		return code_is(response, "NONEXISTENT") || code_is(response, "TRYCREATE");
	return find(response, "doesn't exist") || find(response, "does not exist") || find(response, "not found") ||
	       find(response, "no such") || find(response, "unknown mailbox") || find(response, "nonexistent") ||
	       find(response, "non-existent");
}

bool words_overrun(const struct imap_response *response)
{
	const char *at;

	if (!complains(response) || response->status != IMAP_BAD)
		return false;
	at = find(response, "Error. 1");
	return at && (at[8] == '0' || at[8] == '2') && !g_ascii_isdigit(at[9]);
}
