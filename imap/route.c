/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/route.h"

#include <string.h>

#include "src/base/banned.h"

static bool begins(const char *command, const char *word)
{
	size_t length = strlen(word);

	return g_ascii_strncasecmp(command, word, length) == 0 && command[length] == ' ';
}

static bool is_fetch(const char *command)
{
	return begins(command, "UID FETCH") || begins(command, "FETCH");
}

static bool is_search(const char *command)
{
	return begins(command, "UID SEARCH") || begins(command, "SEARCH");
}

bool route_wants_bodies(const char *command)
{
	return command && is_fetch(command) && strstr(command, "BODY.PEEK[]") != NULL;
}

bool route_answers(const char *command, const char *tag, const struct imap_response *response)
{
	if (!command)
		return false;
	switch (response->type) {
	case IMAP_LIST_RESPONSE:
		return begins(command, "LIST") || begins(command, "LSUB");
	case IMAP_STATUS_RESPONSE:
		return begins(command, "LIST") || begins(command, "STATUS");
	case IMAP_SEARCH:
		return is_search(command);
	case IMAP_ESEARCH:
		return response->esearch.tag ? strcmp(response->esearch.tag, tag) == 0 : is_search(command);
	case IMAP_FETCH:
		return is_fetch(command) &&
		       route_wants_bodies(command) == ((response->fetch.items & IMAP_FETCH_BODY) != 0);
	case IMAP_VANISHED:
		return response->vanished.earlier && is_fetch(command) && !route_wants_bodies(command);
	default:
		return false;
	}
}
