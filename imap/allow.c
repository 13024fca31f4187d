/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/allow.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

static const struct {
	const char *name;
	enum allow_who who;
} commands[] = {
	{"UID FETCH ", ALLOW_REQUEST},
	{"UID SEARCH ", ALLOW_REQUEST},
	{"LIST ", ALLOW_REQUEST},
	{"LSUB ", ALLOW_REQUEST},
	{"STATUS ", ALLOW_REQUEST},
	{"NOOP", ALLOW_REQUEST},
	{"GETQUOTAROOT ", ALLOW_REQUEST},
	{"NAMESPACE", ALLOW_REQUEST},
	{"ID ", ALLOW_REQUEST},
	{"CAPABILITY", ALLOW_REQUEST},
	{"EXAMINE ", ALLOW_SESSION},
	{"AUTHENTICATE ", ALLOW_SESSION},
	{"LOGIN ", ALLOW_SESSION},
	{"ENABLE ", ALLOW_SESSION},
	{"IDLE", ALLOW_SESSION},
	{"COMPRESS DEFLATE", ALLOW_SESSION},
	{"LOGOUT", ALLOW_SESSION},
};

static bool begins(const char *text, size_t length, const char *word)
{
	size_t n = strlen(word);

	return length >= n && g_ascii_strncasecmp(text, word, n) == 0;
}

/* The body items that a FETCH may ask for leave \Seen alone. */
static bool fetch_peeks(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		const char *at = text + i;
		size_t rest = length - i;
		size_t after = 0;

		if (begins(at, rest, "BODY.PEEK[") || begins(at, rest, "BINARY.PEEK[") ||
			begins(at, rest, "BINARY.SIZE[") || begins(at, rest, "RFC822.SIZE") ||
			begins(at, rest, "BODYSTRUCTURE"))
			continue;
		if (begins(at, rest, "RFC822"))
			return false;
		if (begins(at, rest, "BODY"))
			after = strlen("BODY");
		else if (begins(at, rest, "BINARY"))
			after = strlen("BINARY");
		else
			continue;
		if (after < rest && at[after] != ' ' && at[after] != ')')
			return false;
		/* a lenient server might overlook a space */
		while (after < rest && at[after] == ' ')
			after++;
		if (after < rest && at[after] == '[')
			return false;
	}
	return true;
}

size_t allow_piece(const char *text, size_t length, size_t at, size_t *literal_out)
{
	const char *end = text + at, *digits;
	size_t left = length - at, n = 0;

	*literal_out = 0;
	while (left && *end != '\r' && *end != '\n') {
		end++;
		left--;
	}
	if (!left)
		return length - at;
	if (left < 2 || end[0] != '\r' || end[1] != '\n' || end == text + at || end[-1] != '}')
		return 0;
	for (digits = end - 1; digits > text + at && g_ascii_isdigit(digits[-1]); digits--)
		;
	if (digits == end - 1 || digits == text + at || digits[-1] != '{' || end - digits > 8)
		return 0;
	for (; digits < end - 1; digits++)
		n = n * 10 + (size_t)(*digits - '0');
	if (n == 0 || n > left - 2)
		return 0;
	*literal_out = n;
	return (size_t)(end + 2 - (text + at));
}

bool allow_command(const char *command, size_t length, enum allow_who who)
{
	size_t at = 0, literal;

	if (memchr(command, '\0', length))
		return false;
	while (at < length) {
		size_t piece = allow_piece(command, length, at, &literal);

		if (!piece)
			return false;
		at += piece + literal;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		size_t n = strlen(commands[i].name);

		if (commands[i].who > who || !begins(command, length, commands[i].name))
			continue;
		/* a word without arguments must end there */
		if (commands[i].name[n - 1] != ' ' && length != n)
			return false;
		return i != 0 || fetch_peeks(command + n, length - n);
	}
	return false;
}
