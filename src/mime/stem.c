/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/stem.h"

#include "src/mime/mime.h"

#include <stdbool.h>
#include <string.h>

#include "src/base/banned.h"

/* Beyond, nothing of a subject is ever seen in a name: composing (NFC) shrinks text, but by far less than that. */
#define SUBJECT_SCANNED_MAX (16u * MIME_STEM_BYTES_MAX)

#define REPLACEMENT 0xFFFDu /* what decoding has put for invalid UTF-8 */

static bool is_replaced_ascii(unsigned char byte)
{
	return byte <= ' ' || byte == 0x7F || strchr("/\\:*?\"<>|", byte) != NULL;
}

static bool is_replaced(gunichar character)
{
	if (character == REPLACEMENT)
		return true;
	switch (g_unichar_type(character)) {
	case G_UNICODE_CONTROL:
	case G_UNICODE_FORMAT:
	case G_UNICODE_LINE_SEPARATOR:
	case G_UNICODE_PARAGRAPH_SEPARATOR:
	case G_UNICODE_SPACE_SEPARATOR: /* with Cc, Zl and Zp: all of White_Space */
		return true;
	default:
		return false;
	}
}

/*
 * Appends `text` with what a name can't have replaced by '-', runs of '-' made one, ends trimmed, cut to `room` bytes
 * on a character boundary. Returns false when nothing is left.
 */
static bool append_clean(GString *out, const char *text, bool is_subject, size_t room)
{
	size_t start = out->len;
	bool gap = false;

	for (const char *at = text; *at;) {
		unsigned char byte = (unsigned char)*at;
		gunichar character = byte < 0x80 ? byte : g_utf8_get_char_validated(at, -1);
		bool is_valid = character < (gunichar)-2;
		size_t bytes = is_valid ? (size_t)g_unichar_to_utf8(character, NULL) : 1;
		bool replaced = byte < 0x80 ? is_replaced_ascii(byte) : !is_valid || is_replaced(character);

		if (replaced || byte == '-' || (is_subject && byte == '_')) {
			/* Written only when something follows, and never first: that trims both ends. */
			gap = out->len > start;
		} else {
			if (out->len - start + gap + bytes > room) {
				if (gap && out->len - start < room)
					g_string_append_c(out, '-');
				break;
			}
			if (gap)
				g_string_append_c(out, '-');
			gap = false;
			g_string_append_len(out, at, (gssize)bytes);
		}
		at += bytes;
	}
	return out->len > start;
}

static bool is_ascii(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text >= 0x80)
			return false;
	}
	return true;
}

static bool append_subject(GString *out, const char *subject)
{
	g_autofree char *composed = NULL;
	size_t room = MIME_STEM_BYTES_MAX - out->len;

	if (!is_ascii(subject)) {
		const char *end = subject + strnlen(subject, SUBJECT_SCANNED_MAX);

		if (*end)
			end = g_utf8_find_prev_char(subject, end + 1);
		/* NULL for invalid UTF-8, which append_clean() copes with. */
		composed = g_utf8_normalize(subject, end ? end - subject : 0, G_NORMALIZE_NFC);
	}
	return append_clean(out, composed ? composed : subject, true, room);
}

char *stem_compose(const char *address, const char *subject)
{
	GString *stem = g_string_sized_new(MIME_STEM_BYTES_MAX + 1);

	if (!address || !append_clean(stem, address, false, MIME_FROM_BYTES_MAX))
		g_string_append(stem, "unknown");
	g_string_append_c(stem, '_');
	if (!subject || !append_subject(stem, subject))
		g_string_append(stem, "no-subject");
	return g_string_free(stem, FALSE);
}
