/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/part.h"

#include "src/mime/params.h"

#include <string.h>
#include <strings.h>

#include "src/base/banned.h"

#define PIECE_BYTES (64u * 1024u)

/* ---- lines and fields ---- */

static const char *line_end(const char *line, const char *end)
{
	const char *newline = memchr(line, '\n', (size_t)(end - line));

	return newline ? newline + 1 : end;
}

static bool is_blank_line(const char *line, const char *next)
{
	return next - line <= 2 && (*line == '\n' || (*line == '\r' && (next - line == 1 || line[1] == '\n')));
}

/* Where the body begins. A line that is no field and no continuation ends the header, too. */
static const char *header_end(const char *bytes, const char *end)
{
	const char *line = bytes;
	const char *limit = bytes + MIN((size_t)(end - bytes), PART_HEADER_BYTES_MAX);

	/* mbox's line of its own */
	if (end - line > 5 && memcmp(line, "From ", 5) == 0)
		line = line_end(line, end);
	while (line < limit) {
		const char *next = line_end(line, end);

		if (is_blank_line(line, next))
			return next;
		if (*line != ' ' && *line != '\t') {
			const char *at = line;

			while (at<next && * at> ' ' && *at != ':' && *at != 0x7F)
				at++;
			while (at < next && (*at == ' ' || *at == '\t'))
				at++;
			if (at == line || at == next || *at != ':')
				return line;
		}
		line = next;
	}
	return line;
}

char *part_field(const struct part *part, const char *name)
{
	size_t length = strlen(name);
	g_autoptr(GString) value = NULL;

	for (const char *line = part->header; line < part->body;) {
		const char *next = line_end(line, part->body);
		const char *at = line, *stop = next;

		while (stop > line && (stop[-1] == '\n' || stop[-1] == '\r'))
			stop--;
		if (value) {
			if (*line != ' ' && *line != '\t')
				break;
		} else if ((size_t)(stop - line) > length && strncasecmp(line, name, length) == 0) {
			at += length;
			while (at < stop && (*at == ' ' || *at == '\t'))
				at++;
			if (at < stop && *at == ':') {
				value = g_string_new(NULL);
				at++;
			}
		}
		if (value && value->len < PART_FIELD_BYTES_MAX)
			g_string_append_len(value, at, MIN(stop - at, (gssize)(PART_FIELD_BYTES_MAX - value->len)));
		line = next;
	}
	if (!value)
		return NULL;
	for (size_t i = 0; i < value->len; i++) {
		if (!value->str[i])
			value->str[i] = ' ';
	}
	return g_strstrip(g_strdup(value->str));
}

/* ---- one part ---- */

static void part_clear(void *data)
{
	struct part *part = data;

	g_free(part->type);
	g_free(part->charset);
	g_free(part->boundary);
	g_free(part->name);
}

static GMimeContentEncoding encoding_of(const struct part *part)
{
	g_autofree char *field = part_field(part, "Content-Transfer-Encoding");

	/* a comment or a parameter behind it is no part of the word */
	if (field)
		field[strcspn(field, " \t;(")] = '\0';
	return field ? g_mime_content_encoding_from_string(field) : GMIME_CONTENT_ENCODING_DEFAULT;
}

static void describe(struct part *part, const char *default_type)
{
	g_autofree char *type_field = part_field(part, "Content-Type");
	g_autofree char *disposition_field = part_field(part, "Content-Disposition");
	g_autofree char *disposition = params_value(disposition_field ? disposition_field : "");
	g_autofree char *format = NULL, *delsp = NULL;

	part->type = params_type(type_field, default_type);
	part->encoding = encoding_of(part);
	part->is_attachment = g_ascii_strcasecmp(disposition, "attachment") == 0;
	if (disposition_field)
		part->name = params_get(disposition_field, "filename");
	if (type_field) {
		if (!part->name)
			part->name = params_get(type_field, "name");
		part->charset = params_get(type_field, "charset");
		if (part_is_multipart(part))
			part->boundary = params_get(type_field, "boundary");
		format = params_get(type_field, "format");
		delsp = params_get(type_field, "delsp");
		part->is_flowed = format && g_ascii_strcasecmp(format, "flowed") == 0;
		part->is_delsp = delsp && g_ascii_strcasecmp(delsp, "yes") == 0;
	}
}

bool part_is_type(const struct part *part, const char *type)
{
	return strcmp(part->type, type) == 0;
}

bool part_is_multipart(const struct part *part)
{
	return g_str_has_prefix(part->type, "multipart/");
}

/* What is encoded is a file that holds a message: nothing in it is at a place of ours. */
bool part_is_message(const struct part *part)
{
	return (part_is_type(part, "message/rfc822") || part_is_type(part, "message/global") ||
		       part_is_type(part, "message/news")) &&
	       part->encoding != GMIME_CONTENT_ENCODING_BASE64 &&
	       part->encoding != GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE &&
	       part->encoding != GMIME_CONTENT_ENCODING_UUENCODE;
}

/* ---- the tree ---- */

static void parse_entity(
	GArray *parts, const char *bytes, const char *end, guint parent, unsigned depth, const char *default_type);

/* A delimiter line at or behind `at`: its place, and whether it is the last one. NULL = none. */
static const char *find_delimiter(const char *at, const char *start, const char *end, const char *boundary,
	const char **next_out, bool *is_last_out)
{
	size_t length = strlen(boundary);

	while (at < end) {
		const char *found = memmem(at, (size_t)(end - at), "--", 2);
		const char *behind;

		if (!found)
			return NULL;
		at = found + 1;
		if (found != start && found[-1] != '\n') {
			/* the next chance is the next line */
			at = memchr(found, '\n', (size_t)(end - found));
			if (!at)
				return NULL;
			continue;
		}
		behind = found + 2;
		if ((size_t)(end - behind) < length || memcmp(behind, boundary, length) != 0)
			continue;
		behind += length;
		*is_last_out = end - behind >= 2 && behind[0] == '-' && behind[1] == '-';
		if (*is_last_out)
			behind += 2;
		while (behind < end && (*behind == ' ' || *behind == '\t' || *behind == '\r'))
			behind++;
		/* a longer boundary that begins with this one is another's */
		if (behind < end && *behind != '\n')
			continue;
		*next_out = behind < end ? behind + 1 : end;
		return found;
	}
	return NULL;
}

static void parse_multipart(GArray *parts, guint self, unsigned depth)
{
	struct part part = g_array_index(parts, struct part, self);
	const char *child_type = part_is_type(&part, "multipart/digest") ? "message/rfc822" : "text/plain";
	g_autofree char *boundary = g_strdup(part.boundary); /* the array moves */
	const char *next = part.body, *found;
	bool is_last = false;

	found = find_delimiter(part.body, part.body, part.end, boundary, &next, &is_last);
	while (found && !is_last && parts->len < PARTS_MAX) {
		const char *start = next, *stop;

		found = find_delimiter(start, part.body, part.end, boundary, &next, &is_last);
		stop = found ? found : part.end;
		/* the line end before a delimiter is its own (RFC 2046, 5.1.1) */
		if (found && stop > start && stop[-1] == '\n')
			stop--;
		if (found && stop > start && stop[-1] == '\r')
			stop--;
		parse_entity(parts, start, stop, self, depth + 1, child_type);
	}
}

static void parse_entity(
	GArray *parts, const char *bytes, const char *end, guint parent, unsigned depth, const char *default_type)
{
	struct part part = {.header = bytes, .body = header_end(bytes, end), .end = end, .depth = depth};
	guint self = parts->len;

	describe(&part, default_type);
	part.parent = self ? parent : 0;
	g_array_append_val(parts, part);
	if (depth < PART_DEPTH_MAX && part.boundary && *part.boundary)
		parse_multipart(parts, self, depth);
	else if (depth < PART_DEPTH_MAX && part_is_message(&part) && parts->len < PARTS_MAX)
		parse_entity(parts, part.body, end, self, depth + 1, "text/plain");
	g_array_index(parts, struct part, self).descendants = parts->len - self - 1;
}

GArray *parts_parse(const char *bytes, size_t length)
{
	GArray *parts = g_array_new(FALSE, FALSE, sizeof(struct part));

	g_array_set_clear_func(parts, part_clear);
	parse_entity(parts, bytes, bytes + length, 0, 0, "text/plain");
	return parts;
}

/* ---- content ---- */

static bool is_encoded(GMimeContentEncoding encoding)
{
	return encoding == GMIME_CONTENT_ENCODING_BASE64 || encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE ||
	       encoding == GMIME_CONTENT_ENCODING_UUENCODE;
}

/* Behind the line "begin MODE NAME", which GMime's decoder leaves to its caller. */
static const char *uu_begin(const struct part *part)
{
	for (const char *line = part->body; line < part->end; line = line_end(line, part->end)) {
		if (part->end - line > 6 && memcmp(line, "begin ", 6) == 0)
			return line_end(line, part->end);
	}
	return part->end;
}

bool part_decode(const struct part *part, part_sink sink, void *ctx)
{
	g_autofree char *piece = NULL;
	const char *start = part->encoding == GMIME_CONTENT_ENCODING_UUENCODE ? uu_begin(part) : part->body;
	GMimeEncoding state;
	bool goes_on = true;

	if (part->end == start)
		return true;
	if (!is_encoded(part->encoding))
		return sink(ctx, part->body, (size_t)(part->end - part->body));
	g_mime_encoding_init_decode(&state, part->encoding);
	piece = g_malloc(g_mime_encoding_outlen(&state, PIECE_BYTES));
	for (const char *at = start; at < part->end && goes_on; at += PIECE_BYTES) {
		size_t size = MIN((size_t)(part->end - at), PIECE_BYTES);
		size_t got = g_mime_encoding_step(&state, at, size, piece);

		goes_on = !got || sink(ctx, piece, got);
		if ((size_t)(part->end - at) <= PIECE_BYTES)
			break;
	}
	return goes_on;
}

struct gather {
	GString *bytes;
	size_t most;
};

static bool gather(void *ctx, const char *bytes, size_t length)
{
	struct gather *to = ctx;

	g_string_append_len(to->bytes, bytes, (gssize)MIN(length, to->most - to->bytes->len));
	return to->bytes->len < to->most;
}

GString *part_decode_some(const struct part *part, size_t most)
{
	struct gather to = {.bytes = g_string_new(NULL), .most = most};

	part_decode(part, gather, &to);
	return to.bytes;
}
