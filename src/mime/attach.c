/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/attach.h"

#include "src/mime/headers.h"

#include <string.h>

#include "src/base/banned.h"

#define EXTENSION_BYTES_MAX 16u /* kept when a name is cut */

static const char *const extensions[][2] = {
	{"application/ms-tnef", ".dat"},
	{"application/vnd.ms-tnef", ".dat"},
	{"application/pdf", ".pdf"},
	{"application/pgp-signature", ".asc"},
	{"application/pkcs7-signature", ".p7s"},
	{"application/x-pkcs7-signature", ".p7s"},
	{"application/pkcs7-mime", ".p7m"},
	{"application/zip", ".zip"},
	{"audio/mpeg", ".mp3"},
	{"image/gif", ".gif"},
	{"image/jpeg", ".jpg"},
	{"image/png", ".png"},
	{"image/svg+xml", ".svg"},
	{"message/delivery-status", ".txt"},
	{"text/calendar", ".ics"},
	{"text/csv", ".csv"},
	{"text/html", ".html"},
	{"text/plain", ".txt"},
	{"text/rfc822-headers", ".txt"},
	{"text/vcard", ".vcf"},
	{"text/x-vcard", ".vcf"},
};

/* ---- which ---- */

bool attach_is_body(const struct part *part)
{
	return !part->is_attachment && !part->name &&
	       (part_is_type(part, "text/plain") || part_is_type(part, "text/html"));
}

GArray *attach_find(const GArray *parts, guint root)
{
	GArray *found = g_array_new(FALSE, FALSE, sizeof(guint));
	guint end = root + g_array_index(parts, struct part, root).descendants + 1;

	for (guint i = root; i < end; i++) {
		const struct part *part = &g_array_index(parts, struct part, i);
		/* a multipart without parts is read as text */
		bool holds_parts = part_is_multipart(part) && part->descendants;

		if (holds_parts || attach_is_body(part) || (part_is_multipart(part) && !part->name))
			continue;
		g_array_append_val(found, i);
		i += part->descendants;
	}
	return found;
}

/* ---- names ---- */

/* Of a path, which no name may be. */
static const char *last_component(const char *name)
{
	const char *last = name;

	for (const char *at = name; *at; at++) {
		if ((*at == '/' || *at == '\\') && at[1])
			last = at + 1;
	}
	return last;
}

static bool is_dropped(gunichar character)
{
	GUnicodeType type = g_unichar_type(character);

	/* direction marks and the like make a name look like another one */
	return type == G_UNICODE_FORMAT || type == G_UNICODE_SURROGATE || type == G_UNICODE_PRIVATE_USE;
}

static bool is_replaced(gunichar character)
{
	GUnicodeType type = g_unichar_type(character);

	return type == G_UNICODE_CONTROL || type == G_UNICODE_LINE_SEPARATOR || type == G_UNICODE_PARAGRAPH_SEPARATOR ||
	       type == G_UNICODE_UNASSIGNED || character == 0xFFFD ||
	       (character < 0x80 && strchr("/\\:*?\"<>|", (int)character));
}

/* What a file may be called: no path, no controls, nothing at its ends that means something to a shell. */
static GString *clean(const char *name)
{
	g_autofree char *valid = g_utf8_make_valid(
		last_component(name), (gssize)MIN(strlen(last_component(name)), 4096));
	g_autofree char *composed = g_utf8_normalize(valid, -1, G_NORMALIZE_NFC);
	GString *out = g_string_new(NULL);

	for (const char *at = composed ? composed : valid; *at; at = g_utf8_next_char(at)) {
		gunichar character = g_utf8_get_char(at);

		if (is_dropped(character))
			continue;
		if (is_replaced(character))
			character = '-';
		else if (g_unichar_isspace(character) || g_unichar_type(character) == G_UNICODE_SPACE_SEPARATOR)
			character = ' ';
		/* at the beginning: hidden files, options, home directories */
		if (!out->len && (character == '.' || character == '-' || character == ' ' || character == '~'))
			continue;
		if (character == ' ' && out->str[out->len - 1] == ' ')
			continue;
		g_string_append_unichar(out, character);
	}
	while (out->len && strchr(". ", out->str[out->len - 1]))
		g_string_truncate(out, out->len - 1);
	return out;
}

/* The length of what stands before the extension; all of it where there is none. */
static size_t base_length(const GString *name)
{
	const char *dot = strrchr(name->str, '.');

	return dot && dot != name->str && strlen(dot) <= EXTENSION_BYTES_MAX ? (size_t)(dot - name->str) : name->len;
}

/* Cuts what stands before the extension, so that `more` bytes have room beside it. */
static void cut(GString *name, size_t more)
{
	size_t base = base_length(name), keep = MIME_ATTACHMENT_NAME_BYTES_MAX - more - (name->len - base);

	if (base <= keep)
		return;
	while (keep && ((unsigned char)name->str[keep] & 0xC0) == 0x80)
		keep--;
	g_string_erase(name, (gssize)keep, (gssize)(base - keep));
}

static GString *own_name(const GArray *parts, guint at, guint number)
{
	const struct part *part = &g_array_index(parts, struct part, at);
	GString *name = part->name ? clean(part->name) : g_string_new(NULL);

	if (!name->len && part_is_message(part) && part->descendants) {
		g_autofree char *raw = part_field(&g_array_index(parts, struct part, at + 1), "Subject");
		g_autofree char *subject = headers_decode(g_steal_pointer(&raw));

		g_string_free(name, TRUE);
		/* a subject isn't a path, though it may hold slashes */
		if (subject)
			g_strdelimit(subject, "/\\", '-');
		name = clean(subject ? subject : "message");
	}
	if (!name->len) {
		const char *extension = ".bin";

		for (size_t i = 0; i < G_N_ELEMENTS(extensions); i++) {
			if (part_is_type(part, extensions[i][0]))
				extension = extensions[i][1];
		}
		g_string_printf(name, "part-%u%s", number, part_is_message(part) ? "" : extension);
	}
	if (part_is_message(part) && !(name->len > 4 && g_ascii_strcasecmp(name->str + name->len - 4, ".eml") == 0)) {
		if (name->len > MIME_ATTACHMENT_NAME_BYTES_MAX - 4) {
			size_t keep = MIME_ATTACHMENT_NAME_BYTES_MAX - 4;

			while (keep && ((unsigned char)name->str[keep] & 0xC0) == 0x80)
				keep--;
			g_string_truncate(name, keep);
		}
		g_string_append(name, ".eml");
	}
	cut(name, 0);
	return name;
}

/* Two that a filesystem without case takes for one get numbers, too. */
static bool is_taken(GHashTable *taken, const char *name)
{
	char *folded = g_utf8_casefold(name, -1);

	if (g_hash_table_contains(taken, folded)) {
		g_free(folded);
		return true;
	}
	g_hash_table_add(taken, folded);
	return false;
}

GPtrArray *attach_names(const GArray *parts, const GArray *found)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (guint i = 0; i < found->len; i++) {
		GString *name = own_name(parts, g_array_index(found, guint, i), i + 1);

		for (unsigned number = 2; is_taken(taken, name->str); number++) {
			g_autofree char *mark = g_strdup_printf(" (%u)", number);

			g_string_free(name, TRUE);
			name = own_name(parts, g_array_index(found, guint, i), i + 1);
			cut(name, strlen(mark));
			g_string_insert(name, (gssize)base_length(name), mark);
		}
		g_ptr_array_add(names, g_string_free(name, FALSE));
	}
	return names;
}

/* ---- sizes and octets ---- */

static bool count(void *ctx, const char *bytes, size_t length)
{
	*(uint64_t *)ctx += length;
	return true;
}

uint64_t attach_size(const struct part *part)
{
	uint64_t size = 0;

	part_decode(part, count, &size);
	return size;
}

void mime_attachment_clear(struct mime_attachment *attachment)
{
	g_free(attachment->name);
	g_free(attachment->type);
}

GArray *mime_attachments(const char *bytes, size_t length)
{
	g_autoptr(GArray) parts = parts_parse(bytes, length);
	g_autoptr(GArray) found = attach_find(parts, 0);
	g_autoptr(GPtrArray) names = attach_names(parts, found);
	GArray *list = g_array_new(FALSE, FALSE, sizeof(struct mime_attachment));

	g_array_set_clear_func(list, (GDestroyNotify)mime_attachment_clear);
	for (guint i = 0; i < found->len; i++) {
		const struct part *part = &g_array_index(parts, struct part, g_array_index(found, guint, i));
		struct mime_attachment attachment = {
			.name = g_strdup(names->pdata[i]),
			.type = g_strdup(part->type),
			.size_bytes = attach_size(part),
		};

		g_array_append_val(list, attachment);
	}
	return list;
}

bool mime_attachment_decode(const char *bytes, size_t length, unsigned index, mime_sink sink, void *ctx)
{
	g_autoptr(GArray) parts = parts_parse(bytes, length);
	g_autoptr(GArray) found = attach_find(parts, 0);

	return index < found->len &&
	       part_decode(&g_array_index(parts, struct part, g_array_index(found, guint, index)), sink, ctx);
}
