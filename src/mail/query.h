/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a person looks for, pure: the query language of `.mailtree/search` and `mailtree search`.
 *
 *     [in:FOLDER] [from:X] [to:X] [subject:X] [since:YYYY-MM-DD] [before:YYYY-MM-DD] [is:unread|flagged|answered]
 * words…
 *
 * in any order; a message must match all of them. FOLDER is a path as in the mount, and stands once. A word or a value
 * with spaces in it is quoted: `in:"Sent Items"`, `"two words"`; within quotes `\"` is a quote and `\\` a backslash.
 * `NAME:value` with any other NAME is a mistake, not a word, unless it is quoted. The text is UTF-8 without controls:
 * no query can end a line of a protocol.
 */
#pragma once

#include "src/base/error.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define QUERY_BYTES_MAX 1000u /* of its text: with what else a command holds it fits into a line of 4096 */
#define QUERY_TERMS_MAX 16u

enum query_kind {
	QUERY_WORD, /* anywhere in the message */
	QUERY_FROM,
	QUERY_TO,
	QUERY_SUBJECT,
	QUERY_SINCE,  /* dates of arrival, as the server counts days: from the beginning of this one on */
	QUERY_BEFORE, /* before the beginning of this one */
	QUERY_UNREAD,
	QUERY_FLAGGED,
	QUERY_ANSWERED,
};

struct query_term {
	enum query_kind kind;
	char *text;                /* of WORD, FROM, TO, SUBJECT: not empty; else NULL */
	unsigned year, month, day; /* of SINCE and BEFORE */
};

struct query {
	char *folder;  /* NULL = in all */
	GArray *terms; /* struct query_term, at least one */
};

/* ERR_INVALID with what is wrong. */
int query_parse(const char *text, struct query **query_out, struct error *err);
void query_free(struct query *query);
/* It holds other letters than ASCII. */
bool query_term_is_wide(const struct query_term *term);
/*
 * Whether `from`, `to` and `subject` (UTF-8, NULL = none) of a message have what those terms say that are wide,
 * whatever the case of letters. Wide words aren't looked at.
 */
bool query_matches_wide(const struct query *query, const char *from, const char *to, const char *subject);
/* Equal texts mean equal queries; g_free it. */
char *query_text(const struct query *query);
