/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mail bytes made readable. The only place that uses GMime. Hostile input: sizes and counts are
 * bounded below; whatever the bytes are, results are valid UTF-8.
 *
 * Threads: mime_init() once at the start; then every function may be called from any thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* ---- the text view ---- */

/* Another number when the same bytes may give another text: what was rendered before isn't shown any more. */
#define MIME_TEXT_VERSION 1
#define MIME_VIEW_BYTES_MAX (16u << 20)
#define MIME_VIEW_BYTES_LEAST 4096u

/* The longest text that a message of this length can have. */
uint64_t mime_text_bytes_max(uint64_t length);
/*
 * Decoded header fields, an empty line, the readable body (plain text, or HTML as text), a list of attachments;
 * messages within the message likewise. Valid UTF-8 without controls but tab and line end, never empty; the same bytes
 * always give the same text. Time is linear in `length`. g_bytes_unref() it.
 */
GBytes *mime_text_render(const char *bytes, size_t length);

/* ---- attachments ---- */

/* Another number when the same bytes may give another list, or other octets. */
#define MIME_ATTACHMENTS_VERSION 1
#define MIME_ATTACHMENT_NAME_BYTES_MAX 200u
#define MIME_ATTACHMENTS_MAX 1000u /* of one message: its parts are bounded (part.h) */

struct mime_attachment {
	char *name; /* safe as a file's, unique in its message */
	char *type;
	uint64_t size_bytes; /* decoded */
};
void mime_attachment_clear(struct mime_attachment *attachment);
/* Array of struct mime_attachment; g_array_unref it. */
GArray *mime_attachments(const char *bytes, size_t length);
/* The decoded octets of one, piece by piece; false when `sink` gave false, or there is none of that index. */
typedef bool (*mime_sink)(void *ctx, const char *bytes, size_t length);
bool mime_attachment_decode(const char *bytes, size_t length, unsigned index, mime_sink sink, void *ctx);
