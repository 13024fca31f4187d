/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/html.h"

#include <libxml/HTMLparser.h>
#include <stdbool.h>
#include <string.h>

#include "src/base/banned.h"

#define QUOTE_DEPTH_MAX 20u
#define NAME_ENDS_MAX 512u /* in one tag: at least as many as its attributes */
#define LINK_BYTES_MAX 2048u
#define LINKS_MAX 16u /* open at once: they don't nest, but for mistakes */

struct link {
	char *target;
	size_t text_start; /* in out */
};

struct writer {
	htmlParserCtxtPtr parser;
	GString *out;
	size_t most;
	unsigned depth;
	unsigned hidden; /* open elements whose text isn't shown */
	unsigned preformatted;
	unsigned quotes;
	unsigned blank_lines; /* wanted before the next text: 0 none, 1 a new line, 2 an empty line between */
	bool space;           /* wanted before the next text on this line */
	bool line_begun;
	bool begun;
	struct link links[LINKS_MAX];
	unsigned links_count;
	bool cut;
};

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++) {
		if (*name == **names && strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

static bool is_hidden(const char *name)
{
	static const char *const names[] = {"script", "style", "title", "template", "object", "applet", "noframes",
		"iframe", "svg", "math", "select", NULL};

	return is_one_of(name, names);
}

/* Set apart by an empty line. */
static bool is_paragraph(const char *name)
{
	static const char *const names[] = {
		"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "pre", "blockquote", "table", NULL};

	return is_one_of(name, names);
}

/* On lines of its own. */
static bool is_block(const char *name)
{
	static const char *const names[] = {"div", "li", "tr", "dt", "dd", "center", "form", "address", "article",
		"section", "header", "footer", "aside", "main", "nav", "figure", "figcaption", "caption", "fieldset",
		"legend", "body", "tbody", "thead", "tfoot", "hr", NULL};

	return is_one_of(name, names);
}

/* ---- writing ---- */

static void want_lines(struct writer *writer, unsigned lines)
{
	writer->blank_lines = MAX(writer->blank_lines, lines);
	writer->space = false;
}

static void begin_line(struct writer *writer)
{
	for (unsigned i = 0; i < MIN(writer->quotes, QUOTE_DEPTH_MAX); i++)
		g_string_append(writer->out, "> ");
	writer->line_begun = true;
}

static void end_line(struct writer *writer)
{
	while (writer->out->len && writer->out->str[writer->out->len - 1] == ' ')
		g_string_truncate(writer->out, writer->out->len - 1);
	g_string_append_c(writer->out, '\n');
	writer->line_begun = false;
}

/* What was wanted before the text that comes. */
static void settle(struct writer *writer)
{
	if (writer->blank_lines && writer->begun) {
		if (writer->line_begun)
			end_line(writer);
		if (writer->blank_lines > 1) {
			begin_line(writer);
			end_line(writer);
		}
	}
	writer->blank_lines = 0;
	if (!writer->line_begun)
		begin_line(writer);
	else if (writer->space)
		g_string_append_c(writer->out, ' ');
	writer->space = false;
	writer->begun = true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static void stop_if_full(struct writer *writer)
{
	if (writer->out->len <= writer->most || writer->cut)
		return;
	writer->cut = true;
	xmlStopParser(writer->parser);
}

static void write_text(struct writer *writer, const char *text, size_t length)
{
	for (size_t i = 0; i < length && !writer->cut;) {
		size_t word = 0;

		while (i < length && is_space(text[i])) {
			if (writer->preformatted && text[i] == '\n') {
				settle(writer);
				end_line(writer);
			} else if (writer->preformatted && (text[i] == ' ' || text[i] == '\t')) {
				settle(writer);
				g_string_append_c(writer->out, text[i]);
			} else {
				writer->space |= writer->line_begun && !writer->blank_lines;
			}
			i++;
		}
		while (i + word < length && !is_space(text[i + word]))
			word++;
		if (word) {
			settle(writer);
			g_string_append_len(writer->out, text + i, (gssize)word);
		}
		i += word;
		stop_if_full(writer);
	}
}

static void write_string(struct writer *writer, const char *text)
{
	write_text(writer, text, strlen(text));
}

/* ---- elements ---- */

static const char *attribute(const xmlChar **attributes, const char *name)
{
	for (; attributes && attributes[0]; attributes += 2) {
		if (strcmp((const char *)attributes[0], name) == 0)
			return (const char *)attributes[1];
	}
	return NULL;
}

static bool is_worth_showing(const char *target)
{
	return g_ascii_strncasecmp(target, "http:", 5) == 0 || g_ascii_strncasecmp(target, "https:", 6) == 0 ||
	       g_ascii_strncasecmp(target, "mailto:", 7) == 0 || g_ascii_strncasecmp(target, "ftp:", 4) == 0 ||
	       g_ascii_strncasecmp(target, "tel:", 4) == 0;
}

static void link_begin(struct writer *writer, const xmlChar **attributes)
{
	const char *target = attribute(attributes, "href");
	struct link *link;

	if (writer->links_count == LINKS_MAX)
		return;
	link = &writer->links[writer->links_count++];
	*link = (struct link){.text_start = writer->out->len};
	if (!target || !is_worth_showing(target) || strlen(target) > LINK_BYTES_MAX)
		return;
	link->target = g_strstrip(g_strdup(target));
	for (char *at = link->target; *at; at++) {
		if (is_space(*at))
			*at = '+';
	}
}

static void link_end(struct writer *writer)
{
	struct link *link;
	const char *shown, *target;

	if (!writer->links_count)
		return;
	link = &writer->links[--writer->links_count];
	target = link->target;
	/* a link that says where it leads needn't say it twice */
	shown = target && g_ascii_strncasecmp(target, "mailto:", 7) == 0 ? target + 7 : target;
	if (target && !strstr(writer->out->str + MIN(link->text_start, writer->out->len), shown)) {
		g_autofree char *text = g_strdup_printf("<%s>", shown);

		writer->space = writer->line_begun;
		write_string(writer, text);
	}
	g_free(link->target);
}

static void on_start(void *ctx, const xmlChar *element, const xmlChar **attributes)
{
	struct writer *writer = ctx;
	const char *name = (const char *)element;
	const char *text;

	if (++writer->depth > HTML_DEPTH_MAX) {
		want_lines(writer, 2);
		write_string(writer, "[What follows is nested too deeply to be shown.]");
		writer->cut = true;
		xmlStopParser(writer->parser);
		return;
	}
	if (is_hidden(name))
		writer->hidden++;
	if (writer->hidden)
		return;
	if (is_paragraph(name))
		want_lines(writer, 2);
	else if (is_block(name))
		want_lines(writer, 1);
	if (strcmp(name, "br") == 0) {
		if (writer->blank_lines || !writer->line_begun) {
			if (writer->begun)
				want_lines(writer, 2);
		} else {
			want_lines(writer, 1);
		}
	} else if (strcmp(name, "a") == 0) {
		link_begin(writer, attributes);
	} else if (strcmp(name, "blockquote") == 0) {
		/* the empty line before it isn't quoted */
		if (writer->begun) {
			if (writer->line_begun)
				end_line(writer);
			begin_line(writer);
			end_line(writer);
			writer->blank_lines = 0;
		}
		writer->quotes++;
	} else if (strcmp(name, "pre") == 0) {
		writer->preformatted++;
	} else if (strcmp(name, "li") == 0) {
		write_string(writer, "- ");
		writer->space = true;
	} else if (strcmp(name, "hr") == 0) {
		write_string(writer, "----------");
		want_lines(writer, 1);
	} else if (strcmp(name, "td") == 0 || strcmp(name, "th") == 0) {
		writer->space = writer->line_begun && !writer->blank_lines;
	} else if (strcmp(name, "img") == 0 && (text = attribute(attributes, "alt")) && *text) {
		g_autofree char *shown = g_strdup_printf("[%s]", text);

		write_string(writer, shown);
	}
}

static void on_end(void *ctx, const xmlChar *element)
{
	struct writer *writer = ctx;
	const char *name = (const char *)element;

	if (writer->depth)
		writer->depth--;
	if (is_hidden(name)) {
		if (writer->hidden)
			writer->hidden--;
		return;
	}
	if (writer->hidden || writer->cut)
		return;
	if (strcmp(name, "a") == 0)
		link_end(writer);
	else if (strcmp(name, "blockquote") == 0 && writer->quotes) {
		if (writer->line_begun)
			end_line(writer);
		writer->quotes--;
	} else if (strcmp(name, "pre") == 0 && writer->preformatted)
		writer->preformatted--;
	if (is_paragraph(name))
		want_lines(writer, 2);
	else if (is_block(name))
		want_lines(writer, 1);
}

static void on_text(void *ctx, const xmlChar *text, int length)
{
	struct writer *writer = ctx;

	if (!writer->hidden && !writer->cut)
		write_text(writer, (const char *)text, (size_t)length);
}

static bool is_name_byte(char c)
{
	return g_ascii_isalnum(c) || c == '-' || c == '_' || c == ':' || c == '.' || (c & 0x80);
}

/*
 * The parser compares each attribute of an element with all before it. What ends a name, outside of quotes, is counted,
 * and what comes behind the last attribute that a tag may have is blanked, up to the tag's end.
 */
static void tags_tame(char *html, size_t length)
{
	for (size_t i = 0; i + 1 < length; i++) {
		unsigned ends = 0;
		char quote = '\0';

		if (html[i] != '<' || !g_ascii_isalpha(html[i + 1]))
			continue;
		for (i++; i < length && (quote || html[i] != '>'); i++) {
			if (quote) {
				if (html[i] == quote)
					quote = '\0';
			} else if ((html[i] == '"' || html[i] == '\'') && html[i - 1] == '=') {
				quote = html[i];
			} else {
				ends += !is_name_byte(html[i]);
			}
			if (ends > NAME_ENDS_MAX)
				html[i] = ' ';
		}
	}
}

void html_append(char *html, size_t length, size_t most, GString *out)
{
	struct writer writer = {.out = out, .most = most};
	xmlSAXHandler handler = {
		.startElement = on_start,
		.endElement = on_end,
		.characters = on_text,
		.ignorableWhitespace = on_text,
	};
	htmlParserCtxtPtr parser;

	length = MIN(length, HTML_BYTES_MAX);
	/* an empty buffer is no document to it */
	if (!length || !(parser = htmlNewParserCtxt()))
		return;
	tags_tame(html, length);
	writer.parser = parser;
	memcpy(parser->sax, &handler, sizeof(handler));
	parser->userData = &writer;
	htmlCtxtReadMemory(parser, html, (int)length, NULL, "UTF-8",
		HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET);
	if (parser->myDoc)
		xmlFreeDoc(parser->myDoc);
	htmlFreeParserCtxt(parser);
	while (writer.links_count)
		g_free(writer.links[--writer.links_count].target);
	if (writer.line_begun)
		end_line(&writer);
}
