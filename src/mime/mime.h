/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mail bytes made readable. The only place that uses GMime. Hostile input: sizes and counts are
 * bounded below; whatever the bytes are, results are valid UTF-8.
 *
 * Threads: mime_init() once at the start; then every function may be called from any thread.
 */
#pragma once

#include <glib.h>
#include <stddef.h>

#define MIME_FROM_BYTES_MAX 64u   /* FROM in a message's name */
#define MIME_STEM_BYTES_MAX 178u  /* FROM_SUBJECT: what 200 bytes leave beside date, a UID of one digit and ".eml" */
#define MIME_TEXT_BYTES_MAX 4096u /* a decoded header value that we keep */

void mime_init(void);

/* Header fields that a listing needs, decoded (RFC 2047, raw 8-bit guessed) to UTF-8 without controls. */
struct mime_headers {
	char *from; /* the field as a person would read it; NULL = none */
	char *to;
	char *subject;
	char *message_id; /* without <> */
	char *stem;       /* FROM_SUBJECT of the contract, never NULL */
};
/* `bytes` is what BODY[HEADER.FIELDS (FROM TO SUBJECT MESSAGE-ID)] gave; may be empty or garbage. */
void mime_headers_parse(const char *bytes, size_t length, struct mime_headers *headers_out);
void mime_headers_fini(struct mime_headers *headers);
