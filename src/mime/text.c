/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A message as text to read and to search. */
#include "src/mime/attach.h"
#include "src/mime/charset.h"
#include "src/mime/headers.h"
#include "src/mime/html.h"

#include <string.h>

#include "src/base/banned.h"

#define LEFT_OUT "\n[The rest of this message is left out here.]\n"
#define META_BYTES_MAX 2048u /* of an HTML part, searched for its charset */

struct view {
	const GArray *parts;
	GString *out;
	size_t most;
};

static const struct part *part_at(const struct view *view, guint index)
{
	return &g_array_index(view->parts, struct part, index);
}

static bool is_full(const struct view *view)
{
	return view->out->len >= view->most;
}

/* ---- plain text ---- */

/* Controls other than tab and line end are dropped: on a terminal they are commands. CRLF and CR end a line. */
static void append_clean(GString *out, const char *text, size_t length)
{
	size_t clean = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)text[i];

		/* nearly all: these are copied line by line */
		if (byte - 0x20u < 0x7Fu - 0x20u)
			continue;
		if ((byte > 0x7F && byte != 0xC2) || byte == '\t' || byte == '\n')
			continue;
		if (byte == 0xC2 && (i + 1 == length || (unsigned char)text[i + 1] > 0xA0))
			continue;
		g_string_append_len(out, text + clean, (gssize)(i - clean));
		if (byte == '\r') {
			if (i + 1 == length || text[i + 1] != '\n')
				g_string_append_c(out, '\n');
		} else if (byte == 0xC2) {
			/* a space that doesn't break is found as a space */
			if ((unsigned char)text[++i] == 0xA0)
				g_string_append_c(out, ' ');
		}
		clean = i + 1;
	}
	g_string_append_len(out, text + clean, (gssize)(length - clean));
}

static size_t quote_depth(const char *line)
{
	return strspn(line, ">");
}

/* format=flowed (RFC 3676): lines that end with a space go on in the next one of the same depth. */
static void append_flowed(GString *out, char *text, bool is_delsp)
{
	bool flows = false;
	size_t depth = 0;

	for (char *line = text; line;) {
		char *next = strchr(line, '\n');
		size_t own = quote_depth(line), length;
		char *content;

		if (next)
			*next++ = '\0';
		content = line + own;
		if (*content == ' ')
			content++;
		length = strlen(content);
		if (flows && own != depth)
			g_string_append_c(out, '\n');
		if (!flows || own != depth) {
			for (size_t i = 0; i < own; i++)
				g_string_append_c(out, '>');
			if (own && length)
				g_string_append_c(out, ' ');
		}
		flows = length && content[length - 1] == ' ' && strcmp(content, "-- ") != 0;
		depth = own;
		g_string_append_len(out, content, (gssize)(length - (flows && is_delsp)));
		if (!flows && next)
			g_string_append_c(out, '\n');
		line = next;
	}
}

static GString *plain_text(const struct part *part, size_t most)
{
	g_autoptr(GString) raw = part_decode_some(part, most);
	g_autoptr(GString) utf8 = g_string_new(NULL);
	GString *text = g_string_new(NULL);

	charset_append(raw->str, raw->len, part->charset, most, utf8);
	append_clean(text, utf8->str, utf8->len);
	if (part->is_flowed) {
		GString *joined = g_string_new(NULL);

		append_flowed(joined, text->str, part->is_delsp);
		g_string_free(text, TRUE);
		text = joined;
	}
	return text;
}

/* ---- HTML ---- */

/* What the document itself says, where its header doesn't. */
static char *meta_charset(const GString *html)
{
	g_autofree char *head = g_ascii_strdown(html->str, (gssize)MIN(html->len, META_BYTES_MAX));
	const char *found = strstr(head, "charset=");
	size_t length = 0;

	if (!found)
		return NULL;
	found += strlen("charset=");
	found += strspn(found, "\"' ");
	while (g_ascii_isalnum(found[length]) || (found[length] && strchr("-_.:+", found[length])))
		length++;
	return length && length <= CHARSET_BYTES_MAX ? g_strndup(found, length) : NULL;
}

static GString *html_text(const struct part *part, size_t most)
{
	g_autoptr(GString) raw = part_decode_some(part, HTML_BYTES_MAX);
	g_autoptr(GString) utf8 = g_string_new(NULL);
	g_autoptr(GString) text = g_string_new(NULL);
	GString *out = g_string_new(NULL);
	g_autofree char *meta = NULL;

	for (size_t i = 0; i < raw->len; i++) {
		if (!raw->str[i])
			raw->str[i] = ' ';
	}
	if (!part->charset)
		meta = meta_charset(raw);
	charset_append(raw->str, raw->len, part->charset ? part->charset : meta, 3 * HTML_BYTES_MAX, utf8);
	html_append(utf8->str, utf8->len, most, text);
	append_clean(out, text->str, text->len);
	return out;
}

/* ---- choosing ---- */

static bool is_text_of(const struct part *part, const char *type)
{
	return part_is_type(part, type) && !part->is_attachment;
}

static bool is_blank(const struct part *part)
{
	g_autoptr(GString) some = part_decode_some(part, 4096);

	for (size_t i = 0; i < some->len; i++) {
		if ((unsigned char)some->str[i] > ' ')
			return false;
	}
	return true;
}

static bool holds(const struct view *view, guint index, const char *type)
{
	guint end = index + part_at(view, index)->descendants + 1;

	for (guint i = index; i < end; i++) {
		if (is_text_of(part_at(view, i), type) && !is_blank(part_at(view, i)))
			return true;
	}
	return false;
}

static guint next_sibling(const struct view *view, guint index)
{
	return index + part_at(view, index)->descendants + 1;
}

/* Plain text where there is some, else HTML, else what comes first. */
static guint choose(const struct view *view, guint multipart)
{
	static const char *const types[] = {"text/plain", "text/html"};
	guint end = next_sibling(view, multipart);

	for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
		for (guint child = multipart + 1; child < end; child = next_sibling(view, child)) {
			if (holds(view, child, types[i]))
				return child;
		}
	}
	return multipart + 1;
}

/* ---- a message ---- */

static void append_fields(struct view *view, const struct part *part)
{
	static const char *const names[] = {"From", "Reply-To", "To", "Cc", "Bcc", "Date", "Subject", "Message-ID"};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *value = headers_decode(part_field(part, names[i]));

		if (value)
			g_string_append_printf(view->out, "%s: %s\n", names[i], value);
	}
}

static void append_attachments(struct view *view, guint root)
{
	g_autoptr(GArray) found = attach_find(view->parts, root);
	g_autoptr(GPtrArray) names = attach_names(view->parts, found);

	if (!found->len)
		return;
	g_string_append(view->out, "\nAttachments:\n");
	for (guint i = 0; i < found->len && !is_full(view); i++) {
		const struct part *part = part_at(view, g_array_index(found, guint, i));

		g_string_append_printf(view->out, "- %s (%.*s, %" G_GUINT64_FORMAT " bytes)\n",
			(const char *)names->pdata[i], (int)PART_TEXT_BYTES_MAX, part->type, attach_size(part));
	}
}

static void append_message(struct view *view, guint root);

/* Between two texts an empty line; each ends with a line end. */
static void append_block(struct view *view, const GString *text)
{
	size_t length = text->len, room;

	while (length && strchr(" \t\n", text->str[length - 1]))
		length--;
	if (!length)
		return;
	if (!g_str_has_suffix(view->out->str, "\n\n"))
		g_string_append_c(view->out, '\n');
	room = view->most - MIN(view->most, view->out->len);
	if (length > room) {
		/* one more than fits: that the rest is left out shows at the end */
		length = room + 1;
		while (length && ((unsigned char)text->str[length] & 0xC0) == 0x80)
			length++;
	}
	g_string_append_len(view->out, text->str, (gssize)length);
	g_string_append_c(view->out, '\n');
}

static void append_leaf(struct view *view, const struct part *part)
{
	size_t most = view->most - MIN(view->most, view->out->len);
	GString *text = NULL;

	if (part->is_attachment)
		return;
	if (part_is_type(part, "text/html"))
		text = html_text(part, most);
	else if (part_is_type(part, "text/plain") || part_is_type(part, "text/enriched") ||
		 part_is_type(part, "message/delivery-status") || part_is_type(part, "text/rfc822-headers") ||
		 part_is_multipart(part))
		text = plain_text(part, most);
	if (!text)
		return;
	append_block(view, text);
	g_string_free(text, TRUE);
}

static void append_part(struct view *view, guint index)
{
	const struct part *part = part_at(view, index);
	guint end = next_sibling(view, index);

	if (is_full(view))
		return;
	if (!part->descendants) {
		append_leaf(view, part);
	} else if (part_is_message(part)) {
		g_string_append(view->out, "\n---------- Message ----------\n");
		append_message(view, index + 1);
		g_string_append(view->out, "-----------------------------\n");
	} else if (part_is_type(part, "multipart/alternative")) {
		append_part(view, choose(view, index));
	} else if (part_is_type(part, "multipart/related")) {
		append_part(view, index + 1);
	} else {
		for (guint child = index + 1; child < end; child = next_sibling(view, child))
			append_part(view, child);
	}
}

static void append_message(struct view *view, guint root)
{
	append_fields(view, part_at(view, root));
	g_string_append_c(view->out, '\n');
	append_part(view, root);
	append_attachments(view, root);
}

uint64_t mime_text_bytes_max(uint64_t length)
{
	return length < MIME_VIEW_BYTES_MAX / 3 ? 3 * length + MIME_VIEW_BYTES_LEAST : MIME_VIEW_BYTES_MAX;
}

GBytes *mime_text_render(const char *bytes, size_t length)
{
	g_autoptr(GArray) parts = parts_parse(bytes, length);
	size_t most = (size_t)mime_text_bytes_max(length) - strlen(LEFT_OUT);
	struct view view = {.parts = parts, .out = g_string_new(NULL), .most = most};

	append_message(&view, 0);
	if (view.out->len > most) {
		while (most && ((unsigned char)view.out->str[most] & 0xC0) == 0x80)
			most--;
		g_string_truncate(view.out, most);
		g_string_append(view.out, LEFT_OUT);
	}
	return g_string_free_to_bytes(view.out);
}
