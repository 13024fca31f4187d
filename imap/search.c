/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Responses that hold sets of messages: SEARCH, ESEARCH (RFC 4731), VANISHED (RFC 7162). */
#include "imap/parser.h"
#include "src/base/limits.h"

#include "src/base/banned.h"

#define NUMBERS_FIRST 256u

static bool number_push(struct imap_parser *p, uint32_t number)
{
	if (p->response.numbers_count == LIMIT_MESSAGES)
		return false;
	if (p->response.numbers_count == p->numbers_size) {
		p->numbers_size = MAX(2 * p->numbers_size, NUMBERS_FIRST);
		p->numbers = g_renew(uint32_t, p->numbers, p->numbers_size);
	}
	p->numbers[p->response.numbers_count++] = number;
	return true;
}

/* Numbers don't become values: a large folder has more messages than a response may have values. */
enum step search_line(struct imap_parser *p, const char *at, const char *end)
{
	for (;;) {
		uint64_t number = 0;

		at = values_skip_spaces(at, end);
		if (at == end)
			return STEP_END;
		if (*at == '(') { /* (MODSEQ n) */
			const struct imap_value *list;
			enum step step = values_next(p, &at, end, 0, ')', false);

			if (step != STEP_VALUE)
				return step;
			list = &p->stack[--p->stack_count];
			if (list->length == 2 && imap_value_is(&list->items[0], "MODSEQ") &&
				!imap_value_number(&list->items[1], &p->response.modseq))
				return step_broken(p, "a malformed MODSEQ");
			continue;
		}
		for (; at < end && g_ascii_isdigit(*at) && number <= UINT32_MAX; at++)
			number = number * 10 + (uint64_t)(*at - '0');
		/* A result with an entry missing is worse than none. */
		if (number == 0 || number > UINT32_MAX || (at < end && *at != ' ' && *at != '('))
			return step_broken(p, "a malformed SEARCH");
		if (!number_push(p, (uint32_t)number))
			return step_limit(p, "more messages than a folder may have");
	}
}

static bool number32(const struct imap_value *value, uint32_t *number_out)
{
	uint64_t number;

	if (!imap_value_number(value, &number) || number > UINT32_MAX)
		return false;
	*number_out = (uint32_t)number;
	return true;
}

/* Items come in any order; RFC 4466 lets unknown ones follow: a name and one value each. */
enum step search_esearch_finish(struct imap_parser *p)
{
	const struct imap_value *value = p->stack, *end = value + p->stack_count;

	while (value < end) {
		const struct imap_value *name = value++;
		bool good = true;

		if (name->type == IMAP_LIST) {
			if (name->length == 2 && imap_value_is(&name->items[0], "TAG") && *name->items[1].text)
				p->response.esearch.tag = name->items[1].text;
			continue;
		}
		if (imap_value_is(name, "UID")) {
			p->response.esearch.uid = true;
			continue;
		}
		if (value == end)
			return step_broken(p, "a malformed ESEARCH");
		if (imap_value_is(name, "ALL")) {
			good = value->type == IMAP_ATOM && imap_set_parse(&p->set, value->text, value->length);
			p->response.esearch.has_all = good;
			p->response.esearch.all = &p->set;
		} else if (imap_value_is(name, "MIN")) {
			good = number32(value, &p->response.esearch.min);
		} else if (imap_value_is(name, "MAX")) {
			good = number32(value, &p->response.esearch.max);
		} else if (imap_value_is(name, "COUNT")) {
			good = number32(value, &p->response.esearch.count);
		} else if (imap_value_is(name, "MODSEQ")) {
			good = imap_value_number(value, &p->response.esearch.modseq);
		}
		if (!good)
			return step_broken(p, "a malformed ESEARCH");
		value++;
	}
	return STEP_END;
}

enum step search_vanished_finish(struct imap_parser *p)
{
	const struct imap_value *value = p->stack;

	if (p->stack_count == 2 && value->type == IMAP_LIST && value->length == 1 &&
		imap_value_is(&value->items[0], "EARLIER")) {
		p->response.vanished.earlier = true;
		value++;
	} else if (p->stack_count == 1 && value->type == IMAP_LIST && value->length == 1 &&
		   imap_value_is(value->items, "EARLIER")) {
		/* Nothing has vanished, said aloud. */
		p->response.vanished.earlier = true;
		imap_set_clear(&p->set);
		p->response.vanished.uids = &p->set;
		return STEP_END;
	} else if (p->stack_count != 1) {
		return step_broken(p, "a malformed VANISHED");
	}
	if (value->type != IMAP_ATOM || !imap_set_parse(&p->set, value->text, value->length))
		return step_broken(p, "a malformed VANISHED");
	p->response.vanished.uids = &p->set;
	return STEP_END;
}
