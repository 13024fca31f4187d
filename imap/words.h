/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What servers mean by the free texts of NO, BAD and BYE: Exchange and others put into words what
 * should be response codes. Pure functions; the transcripts' names tell which server says what.
 */
#pragma once

#include "imap/grammar.h"

#include <stdbool.h>
#include <stdint.h>

#define WORDS_PAUSE_DEFAULT_MS 10000u            /* "throttled", and no word of how long */
#define WORDS_PAUSE_MAX_MS (24u * 3600u * 1000u) /* longer announcements count as this */

/* The server asks us to wait: "Request is throttled. Suggested Backoff Time: 89000 milliseconds". */
bool words_throttled(const struct imap_response *response, uint64_t *pause_ms_out);
/* It refuses this connection or sign-in for now, not who we are: limits, "unavailable". */
bool words_limited(const struct imap_response *response);
/* "User is authenticated but not connected": a good token, and no mailbox behind it. */
bool words_not_connected(const struct imap_response *response);
/* "Session invalidated - AccessTokenExpired". */
bool words_token_expired(const struct imap_response *response);
/* The mailbox isn't there. */
bool words_nonexistent(const struct imap_response *response);
/* Exchange's "Command Error. 10" and 12: too many commands at once, perhaps. */
bool words_overrun(const struct imap_response *response);
