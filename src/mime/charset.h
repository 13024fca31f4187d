/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Charsets of mail, as they are declared, mislabelled or left out, to UTF-8. Pure; linear; any thread.
 *
 * Only charsets that mail uses are opened: a sender can't make iconv load whatever it has a module for.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#define CHARSET_BYTES_MAX 40u /* the longest registered name */

/* (GIConv)-1: unknown, or none of mail's. g_iconv_close() it. */
GIConv charset_open(const char *charset);
/*
 * Appends `bytes` as UTF-8; one that means nothing in its charset becomes `replacement`. Stops when `out` is longer
 * than `most`. False: no such charset, and nothing appended. `errors_out` may be NULL.
 */
bool charset_convert(const char *bytes, size_t length, const char *charset, const char *replacement, size_t most,
	GString *out, size_t *errors_out);
/* The likeliest charset of 8-bit text that isn't UTF-8 and says nothing of its own. */
const char *charset_guess(const char *bytes, size_t length);
/*
 * Appends text of which the sender says that it is in `charset` (NULL or empty: says nothing). Where the bytes tell
 * otherwise (they are UTF-8, or invalid in that charset) they are believed. Always valid UTF-8, perhaps with NULs.
 */
void charset_append(const char *bytes, size_t length, const char *charset, size_t most, GString *out);
