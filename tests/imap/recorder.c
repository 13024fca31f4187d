/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/imap/recorder.h"

#include <inttypes.h>
#include <string.h>

#include "src/base/banned.h"

#define BODY_EVENT "body data "
#define ALL_POINTS_MAX 2048u /* the longest input that is cut at every point */

/* Anything but printable ASCII, and the '%' that says so, as %XX. */
static void put_text(GString *out, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c > 0x7e || c == '%')
			g_string_append_printf(out, "%%%02X", c);
		else
			g_string_append_c(out, (char)c);
	}
}

static void put_value(GString *out, const struct imap_value *value);

static void put_values(GString *out, const struct imap_value *values, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			g_string_append_c(out, ' ');
		put_value(out, &values[i]);
	}
}

static void put_value(GString *out, const struct imap_value *value)
{
	switch (value->type) {
	case IMAP_NIL:
		g_string_append(out, "NIL");
		break;
	case IMAP_ATOM:
		put_text(out, value->text, value->length);
		break;
	case IMAP_STRING:
		g_string_append_c(out, '"');
		put_text(out, value->text, value->length);
		g_string_append_c(out, '"');
		if (value->streamed_bytes > 0)
			g_string_append_printf(out, "...%" PRIu64, value->streamed_bytes);
		break;
	case IMAP_LIST:
		g_string_append_c(out, '(');
		put_values(out, value->items, value->length);
		g_string_append_c(out, ')');
		break;
	case IMAP_STREAMED:
		g_string_append_printf(out, "streamed:%" PRIu64, value->streamed_bytes);
		break;
	}
	/* Length and terminator agree in every value. */
	if (value->type == IMAP_LIST || value->type == IMAP_NIL || value->type == IMAP_STREAMED)
		g_assert_cmpstr(value->text, ==, "");
	else
		g_assert_cmpint(value->text[value->length], ==, '\0');
}

static void put_field(GString *out, const char *name, const struct imap_value *value)
{
	if (!value)
		return;
	g_string_append_printf(out, " %s=", name);
	put_value(out, value);
}

static void put_number(GString *out, const char *name, uint64_t number)
{
	g_string_append_printf(out, " %s=%" PRIu64, name, number);
}

static void put_set(GString *out, const char *name, const struct imap_set *set)
{
	size_t at = 0;

	for (guint i = 0; i < set->ranges->len; i++) {
		const struct imap_range *range = &g_array_index(set->ranges, struct imap_range, i);

		g_assert(range->first > 0 && range->first <= range->last);
		g_assert(i == 0 || range->first > (uint64_t)range[-1].last + 1); /* sorted, disjoint, not touching */
	}
	g_string_append_printf(out, " %s=", name);
	imap_set_format(set, &at, SIZE_MAX, out);
}

static void put_status_text(GString *out, const struct imap_response *r)
{
	if (r->code) {
		g_string_append(out, " code=");
		put_text(out, r->code, strlen(r->code));
		g_string_append_c(out, '(');
		put_values(out, r->code_values, r->code_values_count);
		g_string_append_c(out, ')');
	}
	g_string_append(out, " text=\"");
	put_text(out, r->text, r->text_length);
	g_string_append_c(out, '"');
}

static void put_list(GString *out, const struct imap_list *list)
{
	static const char *const names[] = {"noselect", "has-children", "has-no-children", "noinferiors", "all",
		"archive", "drafts", "flagged", "junk", "sent", "trash", "important", "nonexistent"};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (list->attributes & (1u << i))
			g_string_append_printf(out, " %s", names[i]);
	if (list->delimiter) {
		g_string_append(out, " delimiter=");
		put_text(out, &list->delimiter, 1);
	}
	g_string_append(out, " name=\"");
	put_text(out, list->name, list->name_length);
	g_string_append_c(out, '"');
}

static void put_status(GString *out, const struct imap_status_response *status)
{
	const struct {
		const char *name;
		uint64_t number;
	} items[] = {{"messages", status->messages}, {"uidnext", status->uidnext}, {"uidvalidity", status->uidvalidity},
		{"unseen", status->unseen}, {"highestmodseq", status->highestmodseq}, {"size", status->size_bytes}};

	g_string_append(out, " name=\"");
	put_text(out, status->name, status->name_length);
	g_string_append_c(out, '"');
	for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
		if (status->has & (1u << i))
			put_number(out, items[i].name, items[i].number);
	put_field(out, "mailboxid", status->mailboxid);
}

static void put_fetch(GString *out, const struct imap_fetch *fetch)
{
	if (fetch->sequence)
		put_number(out, "sequence", fetch->sequence);
	if (fetch->items & IMAP_FETCH_UID)
		put_number(out, "uid", fetch->uid);
	put_field(out, "flags", fetch->flags);
	if ((fetch->items & IMAP_FETCH_INTERNALDATE) && fetch->internal_date == INT64_MIN)
		g_string_append(out, " date=unreadable");
	else if (fetch->items & IMAP_FETCH_INTERNALDATE)
		g_string_append_printf(out, " date=%" PRId64, fetch->internal_date);
	if (fetch->items & IMAP_FETCH_SIZE)
		put_number(out, "size", fetch->size_bytes);
	if (fetch->items & IMAP_FETCH_MODSEQ)
		put_number(out, "modseq", fetch->modseq);
	put_field(out, "emailid", fetch->emailid);
	put_field(out, "body", fetch->body);
	put_field(out, "header", fetch->header);
	put_field(out, "envelope", fetch->envelope);
	put_field(out, "bodystructure", fetch->bodystructure);
}

static void put_search(GString *out, const struct imap_response *r)
{
	for (uint32_t i = 0; i < r->numbers_count; i++)
		g_string_append_printf(out, " %u", r->numbers[i]);
	if (r->modseq)
		put_number(out, "modseq", r->modseq);
}

static void put_esearch(GString *out, const struct imap_response *r)
{
	if (r->esearch.tag) {
		g_string_append(out, " tag=");
		put_text(out, r->esearch.tag, strlen(r->esearch.tag));
	}
	if (r->esearch.uid)
		g_string_append(out, " uid");
	if (r->esearch.min)
		put_number(out, "min", r->esearch.min);
	if (r->esearch.max)
		put_number(out, "max", r->esearch.max);
	put_number(out, "count", r->esearch.count);
	if (r->esearch.has_all)
		put_set(out, "all", r->esearch.all);
	if (r->esearch.modseq)
		put_number(out, "modseq", r->esearch.modseq);
}

static void put_response(GString *out, const struct imap_response *r)
{
	static const char *const statuses[] = {"OK", "NO", "BAD", "BYE", "PREAUTH"};
	static const char *const types[] = {"tagged", "untagged", "continuation", "capability", "enabled", "list",
		"status", "search", "esearch", "flags", "exists", "recent", "expunge", "vanished", "fetch", "namespace",
		"id", "quota", "quotaroot", "other"};

	g_string_append(out, types[r->type]);
	switch (r->type) {
	case IMAP_TAGGED:
		g_string_append_c(out, ' ');
		put_text(out, r->tag, strlen(r->tag));
		/* fall through */
	case IMAP_UNTAGGED:
		g_string_append_printf(out, " %s", statuses[r->status]);
		put_status_text(out, r);
		break;
	case IMAP_CONTINUATION:
	case IMAP_OTHER:
		put_status_text(out, r);
		break;
	case IMAP_LIST_RESPONSE:
		put_list(out, &r->list);
		break;
	case IMAP_STATUS_RESPONSE:
		put_status(out, &r->status_response);
		break;
	case IMAP_SEARCH:
		put_search(out, r);
		break;
	case IMAP_ESEARCH:
		put_esearch(out, r);
		break;
	case IMAP_EXISTS:
	case IMAP_RECENT:
	case IMAP_EXPUNGE:
		g_string_append_printf(out, " %u", r->number);
		break;
	case IMAP_VANISHED:
		if (r->vanished.earlier)
			g_string_append(out, " earlier");
		put_set(out, "uids", r->vanished.uids);
		break;
	case IMAP_FETCH:
		put_fetch(out, &r->fetch);
		break;
	default:
		g_string_append_c(out, ' ');
		put_values(out, r->values, r->values_count);
	}
	g_string_append_c(out, '\n');
}

static bool on_body_begin(void *ctx, const struct imap_literal *literal)
{
	struct recorder *recorder = ctx;

	g_string_append_printf(recorder->events, "body begin sequence=%u uid=%u size=%" PRIu64 "\n", literal->sequence,
		literal->uid, literal->size_bytes);
	return !recorder->script.refuse_bodies;
}

static int on_body_data(void *ctx, const char *bytes, size_t length)
{
	struct recorder *recorder = ctx;

	if (recorder->script.body_error)
		return recorder->script.body_error;
	if (!recorder->in_body)
		g_string_append(recorder->events, BODY_EVENT);
	recorder->in_body = true;
	put_text(recorder->events, bytes, length);
	return 0;
}

static void on_body_end(void *ctx)
{
	struct recorder *recorder = ctx;

	g_string_append(recorder->events, recorder->in_body ? "\nbody end\n" : "body end\n");
	recorder->in_body = false;
}

static void on_response(void *ctx, const struct imap_response *response)
{
	struct recorder *recorder = ctx;

	put_response(recorder->events, response);
	if (++recorder->responses == recorder->script.stop_after) {
		imap_parser_stop(recorder->parser);
		recorder->stopped = true;
	}
}

const struct imap_parser_ops recorder_ops = {on_body_begin, on_body_data, on_body_end, on_response};

void recorder_init(struct recorder *recorder, const struct recorder_script *script)
{
	*recorder = (struct recorder){.events = g_string_new(NULL)};
	if (script)
		recorder->script = *script;
	recorder->parser = imap_parser_new(&recorder_ops, recorder);
}

void recorder_fini(struct recorder *recorder)
{
	imap_parser_free(recorder->parser);
	if (recorder->events)
		g_string_free(recorder->events, TRUE);
}

/* What failed stays failed, with the same words. */
static void check_failed(struct recorder *recorder, int code, const struct error *first)
{
	size_t events = recorder->events->len;
	struct error again = {0};

	g_assert_cmpint(imap_parser_feed(recorder->parser, "* OK\r\n", 6, &again), ==, code);
	g_assert_cmpstr(again.text, ==, first->text);
	g_assert_cmpuint(recorder->events->len, ==, events);
}

int recorder_feed(struct recorder *recorder, const char *bytes, size_t length)
{
	struct error err = {0};

	for (;;) {
		int code = imap_parser_feed(recorder->parser, bytes, length, &err);
		size_t rest = imap_parser_rest(recorder->parser);

		if (code) {
			if (recorder->in_body)
				g_string_append_c(recorder->events, '\n');
			recorder->in_body = false;
			check_failed(recorder, code, &err);
			g_string_append_printf(recorder->events, "error: %s\n", err.text);
			return code;
		}
		g_assert_cmpuint(rest, <=, length);
		recorder->taken += length - rest;
		if (recorder->stopped)
			g_string_append_printf(recorder->events, "stop at=%zu\n", recorder->taken);
		else
			g_assert_cmpuint(rest, ==, 0);
		recorder->stopped = false;
		if (rest == 0)
			return 0;
		bytes += length - rest;
		length = rest;
	}
}

char *recorder_play(const struct recorder_script *script, const char *bytes, size_t length, size_t first, size_t piece)
{
	struct recorder recorder;
	size_t at = 0, step = MIN(first, length), room = MAX(step, piece > 0 ? MIN(piece, length) : length - step);
	/* Each piece ends where the room ends, so that a sanitizer sees a read past it. */
	g_autofree char *copy = g_malloc(room);
	char *events;
	int code = 0;

	recorder_init(&recorder, script);
	while (!code && at < length) {
		memcpy(copy + room - step, bytes + at, step);
		code = recorder_feed(&recorder, copy + room - step, step);
		at += step;
		step = piece > 0 ? MIN(piece, length - at) : length - at;
	}
	if (!code && imap_parser_mid_response(recorder.parser))
		g_string_append(recorder.events, recorder.in_body ? "\nunfinished\n" : "unfinished\n");
	events = g_string_free(g_steal_pointer(&recorder.events), FALSE);
	recorder_fini(&recorder);
	return events;
}

static void check_cut(const struct recorder_script *script, const char *bytes, size_t length, size_t first,
	size_t piece, const char *expected)
{
	g_autofree char *events = recorder_play(script, bytes, length, first, piece);

	if (strcmp(events, expected) != 0)
		g_error("cut at %zu, then each %zu octets:\n%s\ninstead of\n%s", first, piece, events, expected);
}

char *recorder_play_all_cuts(const struct recorder_script *script, const char *bytes, size_t length)
{
	static const size_t pieces[] = {1, 2, 3, 7, 61, 4093, 65537};
	size_t stride = length / ALL_POINTS_MAX + 1;
	char *expected = recorder_play(script, bytes, length, length, 0);

	for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++)
		if (stride == 1 || pieces[i] == 1 || pieces[i] > 8)
			check_cut(script, bytes, length, pieces[i], pieces[i], expected);
	/* A stride through a huge input would read it too often. */
	for (size_t first = 1; stride <= 8 && first < length; first += stride)
		check_cut(script, bytes, length, first, 0, expected);
	return expected;
}
