/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server means by a refusal: the few texts and codes (RFC 3501 7.1, RFC 5530, and what Exchange and
 * Gmail write) after which the client does something else than tell its user about it.
 */
#pragma once

#include <stdint.h>

#define VERDICT_BACKOFF_MAX_MS (24u * 3600u * 1000u) /* an announced pause that is longer counts as this */

enum verdict_kind {
	VERDICT_PLAIN,         /* just a refusal */
	VERDICT_THROTTLED,     /* wait: backoff_ms, 0 = without a number */
	VERDICT_OVERQUOTA,     /* so much has been fetched that waiting takes hours */
	VERDICT_TOO_MANY,      /* connections */
	VERDICT_EXPIRED,       /* the access token, in mid-session */
	VERDICT_NOT_CONNECTED, /* Exchange: signed in, but not to a mailbox */
	VERDICT_UNAVAILABLE,   /* something behind the server is down */
};

struct verdict {
	enum verdict_kind kind;
	uint32_t backoff_ms;
};

struct imap_response;

/* Of a NO, BAD or BYE. */
struct verdict verdict_of(const struct imap_response *response);
