/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UID SEARCH (RFC 3501 6.4.4), with RETURN (ALL) where the server has ESEARCH (RFC 4731).
 *
 * What isn't ASCII goes in literals, with CHARSET UTF-8. Exchange knows ASCII alone ("NO [BADCHARSET (US-ASCII)]"), and
 * finds nothing for such octets without a charset: a server that refuses is asked for what is ASCII in the query, and
 * the job is told that the rest is its own affair.
 */
#include "src/base/log.h"
#include "src/mail/query.h"
#include "src/mail/source_imap.h"

#include <string.h>

#include "src/base/banned.h"

struct search_run {
	struct source_imap *source;
	struct source_search_job *job;
	struct imap_request request;
	GString *command;
	struct imap_set uids;
	uint32_t uidvalidity, capabilities;
	bool wide;            /* the query has more than ASCII */
	bool narrow;          /* only what is ASCII in it is asked for */
	struct error refusal; /* of the rest */
};

static bool is_wide(const struct query *query)
{
	for (guint i = 0; i < query->terms->len; i++)
		if (query_term_is_wide(&g_array_index(query->terms, struct query_term, i)))
			return true;
	return false;
}

/* No text ends a line: query_parse() lets no control through, and allow_command() looks once more. */
static void string_append(GString *command, const char *text)
{
	size_t length = strlen(text);

	if (!imap_quote(command, text, length))
		g_string_append_printf(command, "{%zu}\r\n%s", length, text);
}

static void term_append(GString *command, const struct query_term *term)
{
	static const char *const keys[] = {
		[QUERY_WORD] = "TEXT ",
		[QUERY_FROM] = "FROM ",
		[QUERY_TO] = "TO ",
		[QUERY_SUBJECT] = "SUBJECT ",
		[QUERY_SINCE] = "SINCE ",
		[QUERY_BEFORE] = "BEFORE ",
		[QUERY_UNREAD] = "UNSEEN",
		[QUERY_FLAGGED] = "FLAGGED",
		[QUERY_ANSWERED] = "ANSWERED",
	};
	static const char months[][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

	g_string_append_printf(command, " %s", keys[term->kind]);
	if (term->text)
		string_append(command, term->text);
	else if (term->kind == QUERY_SINCE || term->kind == QUERY_BEFORE)
		g_string_append_printf(command, "%u-%s-%04u", term->day, months[term->month - 1], term->year);
}

static void command_make(struct search_run *run)
{
	const struct query *query = run->job->query;
	bool any = false;

	g_string_assign(run->command, "UID SEARCH");
	if (run->capabilities & IMAP_CAP_ESEARCH)
		g_string_append(run->command, " RETURN (ALL)");
	if (run->wide && !run->narrow)
		g_string_append(run->command, " CHARSET UTF-8");
	for (guint i = 0; i < query->terms->len; i++) {
		const struct query_term *term = &g_array_index(query->terms, struct query_term, i);

		if (run->narrow && query_term_is_wide(term))
			continue;
		term_append(run->command, term);
		any = true;
	}
	if (!any)
		g_string_append(run->command, " ALL");
	run->request.command = run->command->str;
}

static void on_examined(void *ctx, const struct imap_mailbox *mailbox)
{
	((struct search_run *)ctx)->uidvalidity = mailbox->uidvalidity;
}

static void on_choose(void *ctx, uint32_t capabilities)
{
	struct search_run *run = ctx;

	run->capabilities = capabilities;
	command_make(run);
}

static void on_response(void *ctx, const struct imap_response *response)
{
	struct search_run *run = ctx;

	if (response->type == IMAP_SEARCH)
		imap_set_add_numbers(&run->uids, response->numbers, response->numbers_count);
	if (response->type != IMAP_ESEARCH || !response->esearch.has_all || !response->esearch.all)
		return;
	for (guint i = 0; i < response->esearch.all->ranges->len; i++) {
		struct imap_range range = g_array_index(response->esearch.all->ranges, struct imap_range, i);

		imap_set_add(&run->uids, range.first, range.last);
	}
}

static void on_restart(void *ctx)
{
	imap_set_clear(&((struct search_run *)ctx)->uids);
}

static void run_free(struct search_run *run)
{
	g_queue_remove(&run->source->searches, run);
	imap_set_fini(&run->uids);
	g_string_free(run->command, TRUE);
	g_free(run);
}

static void on_done(void *ctx, int code, const struct error *err)
{
	struct search_run *run = ctx;
	struct source_search_job *job = run->job;
	struct error problem = {0};

	if (code == ERR_REFUSED && run->wide && !run->narrow) {
		log_info("the server refuses to search for other letters than ASCII (%s)", err->text);
		run->refusal = *err;
		run->narrow = true;
		imap_set_clear(&run->uids);
		command_make(run);
		imap_client_submit(run->source->client, &run->request);
		return;
	}
	/* from now on that is the first try */
	if (!code && run->narrow)
		run->source->search_ascii = true;
	if (code) {
		error_copy(&problem, run->refusal.code && code == ERR_REFUSED ? &run->refusal : err);
		problem.code = code;
	} else {
		job->found(job->ctx, run->uidvalidity, &run->uids, run->narrow);
	}
	run_free(run);
	job->done(job->ctx, code, &problem);
}

static const struct imap_request_ops search_ops = {
	.examined = on_examined, .choose = on_choose, .response = on_response, .restart = on_restart, .done = on_done};

void source_imap_search(struct mail_source *base, struct source_search_job *job)
{
	struct search_run *run = g_new0(struct search_run, 1);

	run->source = (struct source_imap *)base;
	run->job = job;
	run->command = g_string_new(NULL);
	imap_set_init(&run->uids);
	run->wide = is_wide(job->query);
	run->narrow = run->wide && run->source->search_ascii;
	run->request = (struct imap_request){
		.mailbox = job->name,
		.uidvalidity = job->uidvalidity,
		.class = job->bulk ? IMAP_BULK : IMAP_INTERACTIVE,
		.ops = &search_ops,
		.ctx = run,
	};
	command_make(run);
	g_queue_push_tail(&run->source->searches, run);
	imap_client_submit(run->source->client, &run->request);
}

void source_imap_searches_forget(struct source_imap *source)
{
	for (struct search_run *run; (run = g_queue_peek_head(&source->searches));) {
		imap_client_cancel(source->client, &run->request);
		run_free(run);
	}
}
