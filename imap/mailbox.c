/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LIST (LSUB, XLIST) and STATUS: responses about a mailbox, and how real servers write its name. */
#include "imap/parser.h"

#include <string.h>

#include "src/base/banned.h"

/*
 * LIST-EXTENDED data behind a name, `("CHILDINFO" ("SUBSCRIBED"))`: a tag and a list. Looks only at
 * the beginning and the last octets, so that a long hostile name costs one pass.
 */
static bool is_extended_data(const char *at, const char *end)
{
	if (end - at < 4 || at[0] != '(' || end[-1] != ')' || end[-2] != ')')
		return false;
	at++;
	if (*at == '"')
		at++;
	while (at < end && (g_ascii_isalnum(*at) || *at == '-' || *at == '.'))
		at++;
	if (at < end && *at == '"')
		at++;
	return end - at >= 2 && at[0] == ' ' && at[1] == '(';
}

/* Whether what follows a name, from a space on, is what the grammar has there. */
static bool is_behind_name(const struct imap_parser *p, const char *at, const char *end)
{
	at = values_skip_spaces(at, end);
	if (p->response.type == IMAP_STATUS_RESPONSE)
		return at < end && *at == '(';
	return at == end || is_extended_data(at, end);
}

/*
 * A name that isn't quoted goes on to the end of the line (LIST) or to its items (STATUS), although
 * an atom could hold neither: Exchange doesn't quote names with TAB and other control characters.
 * And NIL is a mailbox's name like any other. A quoted name must be followed by a space, else it is
 * something that we misread, and some other mailbox.
 */
enum step mailbox_name_next(struct imap_parser *p, const char **at, const char *end)
{
	const char *from = values_skip_spaces(*at, end), *to;
	enum step step;

	*at = from;
	if (from == end)
		return STEP_END;
	if (*from == '"') {
		step = values_next(p, at, end, 0, ')', true);
		if (step == STEP_VALUE && *at < end && **at != ' ')
			return step_broken(p, "a malformed mailbox name");
		return step;
	}
	step = values_literal(p, from, end);
	if (step != STEP_END)
		return step;
	if (end - from > 1 && from[0] == '{' && g_ascii_isdigit(from[1]))
		return step_broken(p, "a malformed literal");
	for (to = from; to < end && !(*to == ' ' && is_behind_name(p, to, end));) {
		for (to++; to < end && to[-1] == ' ' && *to == ' '; to++) /* one look a run of spaces */
			;
	}
	*at = to;
	return values_push_text(p, IMAP_STRING, from, (size_t)(to - from));
}

static uint32_t attribute_of(const struct imap_value *value)
{
	static const struct {
		const char *name;
		uint32_t bits;
	} attributes[] = {
		{"\\Noselect", IMAP_LIST_NOSELECT},
		{"\\NonExistent", IMAP_LIST_NOSELECT | IMAP_LIST_NONEXISTENT},
		{"\\HasChildren", IMAP_LIST_HAS_CHILDREN},
		{"\\HasNoChildren", IMAP_LIST_HAS_NO_CHILDREN},
		{"\\Noinferiors", IMAP_LIST_NOINFERIORS},
		{"\\All", IMAP_LIST_ALL},
		{"\\Archive", IMAP_LIST_ARCHIVE},
		{"\\Drafts", IMAP_LIST_DRAFTS},
		{"\\Flagged", IMAP_LIST_FLAGGED},
		{"\\Junk", IMAP_LIST_JUNK},
		{"\\Sent", IMAP_LIST_SENT},
		{"\\Trash", IMAP_LIST_TRASH},
		{"\\Important", IMAP_LIST_IMPORTANT},
		/* XLIST's names for the same. */
		{"\\AllMail", IMAP_LIST_ALL},
		{"\\Starred", IMAP_LIST_FLAGGED},
		{"\\Spam", IMAP_LIST_JUNK},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(attributes); i++)
		if (imap_value_is(value, attributes[i].name))
			return attributes[i].bits;
	return 0;
}

enum step mailbox_list_finish(struct imap_parser *p)
{
	const struct imap_value *values = p->stack;
	struct imap_list *list = &p->response.list;

	if (p->stack_count < 3 || (values[0].type != IMAP_LIST && values[0].type != IMAP_NIL))
		return step_broken(p, "a malformed LIST");
	for (uint32_t i = 0; i < values[0].length; i++)
		list->attributes |= attribute_of(&values[0].items[i]);
	if (values[1].type == IMAP_LIST || values[1].length > 1)
		return step_broken(p, "a malformed delimiter");
	list->delimiter = values[1].text[0];
	list->name = values[2].text;
	list->name_length = values[2].length;
	return STEP_END;
}

enum step mailbox_status_finish(struct imap_parser *p)
{
	struct imap_status_response *status = &p->response.status_response;
	const struct {
		const char *name;
		uint32_t bit;
		uint64_t *number_out;
	} items[] = {
		{"MESSAGES", IMAP_STATUS_MESSAGES, &status->messages},
		{"UIDNEXT", IMAP_STATUS_UIDNEXT, &status->uidnext},
		{"UIDVALIDITY", IMAP_STATUS_UIDVALIDITY, &status->uidvalidity},
		{"UNSEEN", IMAP_STATUS_UNSEEN, &status->unseen},
		{"HIGHESTMODSEQ", IMAP_STATUS_HIGHESTMODSEQ, &status->highestmodseq},
		{"SIZE", IMAP_STATUS_SIZE, &status->size_bytes},
	};
	const struct imap_value *list;

	if (p->stack_count != 2 || p->stack[1].type != IMAP_LIST)
		return step_broken(p, "a malformed STATUS");
	status->name = p->stack[0].text;
	status->name_length = p->stack[0].length;
	list = &p->stack[1];
	for (uint32_t i = 0; i + 1 < list->length; i += 2) {
		const struct imap_value *name = &list->items[i], *value = name + 1;
		uint64_t number;

		if (imap_value_is(name, "MAILBOXID")) {
			if (value->type == IMAP_LIST && value->length == 1)
				value = value->items;
			if (value->type == IMAP_ATOM || value->type == IMAP_STRING)
				status->mailboxid = value;
			continue;
		}
		for (size_t j = 0; j < G_N_ELEMENTS(items); j++)
			if (imap_value_is(name, items[j].name) && imap_value_number(value, &number)) {
				*items[j].number_out = number;
				status->has |= items[j].bit;
			}
	}
	return STEP_END;
}
