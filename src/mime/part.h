/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The structure of a message: its parts as places in its bytes (RFC 2045, 2046). Pure; nothing is copied but names.
 *
 * GMime's own parser isn't used here: it reads hostile nesting 1,024 levels deep, compares each line with each open
 * boundary, and keeps every charset name that a parameter ever had. Here each level is one search for its boundary, so
 * the time is at most PART_DEPTH_MAX times the length.
 */
#pragma once

#include <glib.h>
#include <gmime/gmime.h>
#include <stdbool.h>
#include <stddef.h>

#define PARTS_MAX 1000u                      /* of one message; what comes behind isn't looked at */
#define PART_DEPTH_MAX 32u                   /* multiparts and messages in each other; deeper ones are leaves */
#define PART_HEADER_BYTES_MAX (256u * 1024u) /* of the header of one part; what comes behind is no field */
#define PART_FIELD_BYTES_MAX (16u * 1024u)   /* of one field */
#define PART_TEXT_BYTES_MAX 512u             /* of a type, a name or another parameter */

struct part {
	const char *header, *body, *end; /* borrowed; the header ends where the body begins */
	char *type;                      /* "text/plain"; never NULL */
	char *charset;                   /* as declared, NULL = isn't */
	char *boundary;
	char *name; /* of a file, decoded to UTF-8; NULL = none */
	GMimeContentEncoding encoding;
	bool is_attachment; /* it says so itself */
	bool is_flowed, is_delsp;
	unsigned depth;
	guint parent;      /* place in the array; of the first one its own */
	guint descendants; /* the parts within it follow it */
};

/* At least one: the message itself. Array of struct part; g_array_unref it. */
GArray *parts_parse(const char *bytes, size_t length);
bool part_is_multipart(const struct part *part);
bool part_is_message(const struct part *part);
bool part_is_type(const struct part *part, const char *type);

/* The first field of that name in a header: unfolded, without NULs, not decoded. NULL = none; g_free it. */
char *part_field(const struct part *part, const char *name);
/* The decoded octets, piece by piece; false when `sink` gave false. */
typedef bool (*part_sink)(void *ctx, const char *bytes, size_t length);
bool part_decode(const struct part *part, part_sink sink, void *ctx);
/* At most `most` of them. */
GString *part_decode_some(const struct part *part, size_t most);
