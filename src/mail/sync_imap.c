/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The check of one folder against an IMAP server. The way depends on what the server can:
 *
 *   QRESYNC    EXAMINE with what we know answers changes, removals and nothing else (RFC 7162 3.2.5)
 *   CONDSTORE  EXAMINE tells HIGHESTMODSEQ: equal means nothing changed; else FETCH (CHANGEDSINCE)
 *   neither    equal UIDVALIDITY, UIDNEXT and EXISTS mean the same set; flags only where they are wanted
 *
 * where flags have changed it is asked whether these are the known messages still (INTERNALDATE, RFC822.SIZE),
 * then new messages from the old UIDNEXT on, and where the count doesn't add up the whole set of UIDs. A listing
 * that comes in one FETCH and fails is asked again in halves, down to single messages: one that the
 * server can't describe doesn't take the others with it.
 */
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/mail/source_imap.h"

#include <string.h>

#include "src/base/banned.h"

#define HEADER_FIELDS "BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT MESSAGE-ID)]"
#define PART_MESSAGES 512u /* asked for at once after one FETCH for all has failed */
#define SESSION_RESTARTS_MAX 3u
#define NAMED_ONLY_MAX 16u  /* so many without metadata, and none with it: the folder can't be listed */
#define BULK_MESSAGES 2000u /* a listing from here on is bulk work */

enum phase {
	PHASE_OPEN,    /* EXAMINE */
	PHASE_ALL,     /* metadata of all */
	PHASE_CHANGED, /* CHANGEDSINCE */
	PHASE_NEW,     /* metadata from the old UIDNEXT on */
	PHASE_FLAGS,   /* flags of all */
	PHASE_PROBE,   /* identity of some */
	PHASE_SET,     /* UID SEARCH ALL, or where that fails the UIDs by FETCH */
	PHASE_PART,    /* metadata of a part of `missing` */
	PHASE_BARE,    /* of one message, without its header fields */
};

struct run {
	struct source_imap *source;
	struct source_sync_job *job;
	struct imap_request request;
	GString *command;
	enum phase phase;
	struct imap_mailbox mailbox;
	bool reset; /* everything comes anew */
	bool did_changed, did_new, did_flags, did_probe, did_set, set_by_fetch;
	unsigned restarts;
	uint32_t session;               /* that of the EXAMINE: all that follows must come from it */
	unsigned described, named_only; /* messages of this check with and without metadata */
	struct error refusal;           /* of the last that has none */
	uint32_t changed[2];            /* the first and the last whose flags came with the EXAMINE; 0 = none */
	bool vanished_known;            /* QRESYNC answered: what is gone was told */
	bool fell;                      /* HIGHESTMODSEQ: a mailbox made anew, or a server that lost its numbers */
	bool doubt;                     /* what the server has can't have come of what is known */
	struct imap_set received;       /* UIDs with metadata in this phase */
	GQueue parts;                   /* struct imap_set *: still to ask for */
	struct imap_set *part;          /* under way */
	struct imap_set all;            /* the server's set, after PHASE_SET */
};

static void set_free(void *data)
{
	imap_set_fini(data);
	g_free(data);
}

static struct imap_set *set_new(void)
{
	struct imap_set *set = g_new0(struct imap_set, 1);

	imap_set_init(set);
	return set;
}

static void run_free(struct run *run)
{
	g_queue_remove(&run->source->syncs, run);
	imap_set_fini(&run->received);
	imap_set_fini(&run->all);
	g_queue_clear_full(&run->parts, set_free);
	if (run->part)
		set_free(run->part);
	g_string_free(run->command, TRUE);
	g_free(run);
}

static void run_end(struct run *run, int code, const struct error *err)
{
	struct source_sync_job *job = run->job;

	run_free(run);
	job->internal = NULL;
	job->done(job->ctx, code, err);
}

void source_imap_syncs_forget(struct source_imap *source)
{
	for (struct run *run; (run = g_queue_peek_head(&source->syncs));) {
		imap_client_cancel(source->client, &run->request);
		run_free(run);
	}
}

static void submit(struct run *run, enum phase phase)
{
	run->phase = phase;
	run->request.command = phase == PHASE_OPEN ? NULL : run->command->str;
	run->request.examine = phase == PHASE_OPEN;
	run->request.keep_session = phase == PHASE_OPEN ? 0 : run->session;
	if (phase != PHASE_OPEN) {
		run->request.uidvalidity = run->mailbox.uidvalidity;
		run->request.qresync_modseq = 0;
	}
	run->request.class = run->reset && run->mailbox.exists >= BULK_MESSAGES ? IMAP_BULK : IMAP_INTERACTIVE;
	/* who lists a large folder for the first time goes on to read it, as a rule */
	run->request.heralds_bulk = run->request.class == IMAP_BULK;
	imap_set_clear(&run->received);
	imap_client_submit(run->source->client, &run->request);
}

static void metadata_command(struct run *run, const char *uids, bool header)
{
	const char *id = source_imap_emailid_item(run->mailbox.capabilities);

	g_string_printf(run->command, "UID FETCH %s (UID FLAGS INTERNALDATE RFC822.SIZE%s%s%s)", uids, id,
		header ? " " : "", header ? HEADER_FIELDS : "");
}

/* ---- what comes ---- */

static uint32_t flags_parse(const struct imap_value *values, GString *keywords)
{
	uint32_t flags = 0;

	g_string_truncate(keywords, 0);
	for (uint32_t i = 0; values && values->type == IMAP_LIST && i < values->length; i++) {
		const struct imap_value *value = &values->items[i];
		bool found = imap_value_is(value, "\\Recent");

		for (size_t k = 0; k < G_N_ELEMENTS(mail_flag_words) && !found; k++)
			if (imap_value_is(value, mail_flag_words[k].word)) {
				flags |= mail_flag_words[k].flag;
				found = true;
			}
		if (found || value->type != IMAP_ATOM || keywords->len + value->length > LIMIT_FOLDER_NAME_BYTES ||
			!g_utf8_validate(value->text, (gssize)value->length, NULL))
			continue;
		g_string_append_printf(keywords, "%s%s", keywords->len ? " " : "", value->text);
		flags |= MAIL_KEYWORDS;
	}
	return flags;
}

static bool wants_metadata(const struct run *run)
{
	return run->phase == PHASE_ALL || run->phase == PHASE_NEW || run->phase == PHASE_PART ||
	       run->phase == PHASE_BARE;
}

/*
 * Flags of a message that the server says have changed: perhaps all of it has. A mailbox that was made anew, with the
 * numbers of the old one, looks like this.
 */
static void changed_note(struct run *run, const struct imap_fetch *fetch)
{
	if (run->phase == PHASE_CHANGED && (fetch->items & IMAP_FETCH_INTERNALDATE))
		run->job->probed(run->job->ctx, fetch->uid, fetch->internal_date, 0);
	else if (run->phase == PHASE_OPEN && !run->changed[0])
		run->changed[0] = fetch->uid;
	else if (run->phase == PHASE_OPEN)
		run->changed[1] = fetch->uid;
}

static void on_fetch(struct run *run, const struct imap_fetch *fetch)
{
	g_autoptr(GString) keywords = NULL;
	struct source_sync_job *job = run->job;
	struct source_message message = {.uid = fetch->uid};
	char emailid[SOURCE_EMAILID_BYTES];
	const uint32_t needed = IMAP_FETCH_FLAGS | IMAP_FETCH_INTERNALDATE | IMAP_FETCH_SIZE;

	if (!(fetch->items & IMAP_FETCH_UID) || !fetch->uid)
		return;
	if (run->phase == PHASE_SET && run->set_by_fetch)
		imap_set_add(&run->all, fetch->uid, fetch->uid);
	if (run->phase == PHASE_PROBE && (fetch->items & IMAP_FETCH_INTERNALDATE)) {
		job->probed(job->ctx, fetch->uid, fetch->internal_date, fetch->size_bytes);
		return;
	}
	if (!(fetch->items & IMAP_FETCH_FLAGS))
		return;
	keywords = g_string_new(NULL);
	message.flags = flags_parse(fetch->flags, keywords);
	if (!wants_metadata(run) || (fetch->items & needed) != needed ||
		(run->phase != PHASE_BARE && !(fetch->items & IMAP_FETCH_HEADER))) {
		changed_note(run, fetch);
		job->flags_of(job->ctx, fetch->uid, message.flags, keywords->len ? keywords->str : NULL);
		return;
	}
	message.keywords = keywords->len ? keywords->str : NULL;
	message.date = fetch->internal_date == INT64_MIN ? 0 : fetch->internal_date;
	message.size_bytes = fetch->size_bytes;
	if (fetch->header && fetch->header->type == IMAP_STRING) {
		message.header = fetch->header->text;
		message.header_length = fetch->header->length;
	}
	message.emailid = source_imap_emailid(fetch, emailid);
	if (run->part)
		imap_set_add(&run->received, fetch->uid, fetch->uid);
	run->described++;
	job->message(job->ctx, &message);
}

static void on_response(void *ctx, const struct imap_response *response)
{
	struct run *run = ctx;
	struct source_sync_job *job = run->job;

	switch (response->type) {
	case IMAP_FETCH:
		on_fetch(run, &response->fetch);
		break;
	case IMAP_VANISHED:
		for (guint i = 0; i < response->vanished.uids->ranges->len; i++) {
			struct imap_range range = g_array_index(response->vanished.uids->ranges, struct imap_range, i);

			job->gone(job->ctx, range.first, range.last);
		}
		break;
	case IMAP_SEARCH:
		if (run->phase == PHASE_SET)
			imap_set_add_numbers(&run->all, response->numbers, response->numbers_count);
		break;
	case IMAP_ESEARCH:
		if (run->phase == PHASE_SET && response->esearch.has_all && response->esearch.all)
			for (guint i = 0; i < response->esearch.all->ranges->len; i++) {
				struct imap_range range = g_array_index(
					response->esearch.all->ranges, struct imap_range, i);

				imap_set_add(&run->all, range.first, range.last);
			}
		break;
	default:
		break;
	}
}

static void on_examined(void *ctx, const struct imap_mailbox *mailbox)
{
	struct run *run = ctx;

	run->mailbox = *mailbox;
}

static void on_restart(void *ctx)
{
	struct run *run = ctx;

	/* results of one phase may come twice: the model takes the later ones */
	imap_set_clear(&run->received);
	if (run->phase == PHASE_SET)
		imap_set_clear(&run->all);
}

/* ---- what to ask next ---- */

/* The missing ones in parts: consecutive ranges of at most PART_MESSAGES that fit into a command. */
static void parts_make(struct run *run, const struct imap_set *missing, uint64_t most)
{
	struct imap_set *part = NULL;
	uint64_t count = 0;

	for (guint i = 0; i < missing->ranges->len; i++) {
		struct imap_range range = g_array_index(missing->ranges, struct imap_range, i);

		while (range.first <= range.last && range.first) {
			uint64_t room = most - count;
			uint32_t last = (uint32_t)MIN((uint64_t)range.last, (uint64_t)range.first + room - 1);

			if (!part)
				part = set_new();
			imap_set_add(part, range.first, last);
			count += (uint64_t)last - range.first + 1;
			/* a range takes 22 bytes at most */
			if (count >= most || part->ranges->len >= SOURCE_COMMAND_BYTES / 22 - 12) {
				g_queue_push_tail(&run->parts, part);
				part = NULL;
				count = 0;
			}
			if (last == UINT32_MAX)
				break;
			range.first = last + 1;
		}
	}
	if (part)
		g_queue_push_tail(&run->parts, part);
}

static void ask_part(struct run *run, bool header)
{
	g_autoptr(GString) uids = g_string_new(NULL);
	size_t at = 0;

	imap_set_format(run->part, &at, SOURCE_COMMAND_BYTES, uids);
	metadata_command(run, uids->str, header);
	submit(run, header ? PHASE_PART : PHASE_BARE);
}

static bool has_modseq(const struct run *run)
{
	return !run->fell && (run->mailbox.capabilities & (IMAP_CAP_CONDSTORE | IMAP_CAP_QRESYNC)) &&
	       run->job->known.highestmodseq && run->mailbox.highestmodseq;
}

static bool next_probe(struct run *run)
{
	g_autoptr(GString) uids = g_string_new(NULL);
	const struct source_sync_job *job = run->job;

	if (run->did_probe || run->reset || (!job->identify && !run->fell && !run->doubt && !run->changed[0]))
		return false;
	if (has_modseq(run) && job->known.highestmodseq == run->mailbox.highestmodseq)
		return false;
	run->did_probe = true;
	for (size_t i = 0; i < G_N_ELEMENTS(job->probes); i++)
		if (job->probes[i])
			g_string_append_printf(uids, "%s%u", uids->len ? "," : "", job->probes[i]);
	for (size_t i = 0; i < G_N_ELEMENTS(run->changed); i++)
		if (run->changed[i])
			g_string_append_printf(uids, "%s%u", uids->len ? "," : "", run->changed[i]);
	if (!uids->len)
		return false;
	g_string_printf(run->command, "UID FETCH %s (UID INTERNALDATE RFC822.SIZE)", uids->str);
	submit(run, PHASE_PROBE);
	return true;
}

static bool next_changed(struct run *run)
{
	const struct source_sync_job *job = run->job;

	if (run->did_changed || run->reset || run->vanished_known || !has_modseq(run) ||
		job->known.highestmodseq == run->mailbox.highestmodseq)
		return false;
	run->did_changed = true;
	g_string_printf(run->command, "UID FETCH 1:* (UID FLAGS INTERNALDATE) (CHANGEDSINCE %" G_GUINT64_FORMAT ")",
		job->known.highestmodseq);
	submit(run, PHASE_CHANGED);
	return true;
}

static bool next_new(struct run *run)
{
	const struct source_state *known = &run->job->known;
	g_autofree char *uids = NULL;
	uint32_t last;

	if (run->did_new || !run->mailbox.exists)
		return false;
	run->did_new = true;
	if (run->reset) {
		metadata_command(run, "1:*", true);
		submit(run, PHASE_ALL);
		return true;
	}
	if (run->mailbox.uidnext && run->mailbox.uidnext == known->uidnext)
		return false;
	/* without UIDNEXT the set has to tell */
	if (!known->uidnext)
		return false;
	/* and the last one that is known: is it still that? */
	last = run->job->probes[1] ? run->job->probes[1] : run->job->probes[0];
	uids = last && !has_modseq(run) ? g_strdup_printf("%u,%u:*", last, known->uidnext)
	                                : g_strdup_printf("%u:*", known->uidnext);
	metadata_command(run, uids, true);
	submit(run, PHASE_NEW);
	return true;
}

static bool next_flags(struct run *run)
{
	const struct source_state *known = &run->job->known;
	/* once more for what changed since the last number that there was */
	bool lost = run->fell || (known->highestmodseq && !run->mailbox.highestmodseq);
	uint32_t from = lost ? 1 : run->job->flags_from;

	if (run->did_flags || run->reset || !run->mailbox.exists || has_modseq(run))
		return false;
	/* new ones came with theirs */
	if (!from || (from > 1 && known->uidnext && from >= known->uidnext))
		return false;
	run->did_flags = true;
	g_string_printf(run->command, "UID FETCH %u:* (UID FLAGS)", from);
	submit(run, PHASE_FLAGS);
	return true;
}

static bool next_set(struct run *run)
{
	if (run->did_set || (!run->fell && run->job->count(run->job->ctx) == run->mailbox.exists))
		return false;
	run->did_set = true;
	g_string_assign(run->command,
		run->mailbox.capabilities & IMAP_CAP_ESEARCH ? "UID SEARCH RETURN (ALL) ALL" : "UID SEARCH ALL");
	submit(run, PHASE_SET);
	return true;
}

static void next(struct run *run)
{
	if (run->part) {
		set_free(run->part);
		run->part = NULL;
	}
	if (next_probe(run) || next_changed(run) || next_new(run) || next_flags(run) || next_set(run))
		return;
	run->part = g_queue_pop_head(&run->parts);
	if (run->part) {
		ask_part(run, true);
		return;
	}
	run_end(run, 0, NULL);
}

static void opened(struct run *run)
{
	struct source_sync_job *job = run->job;
	struct source_state state = {
		run->mailbox.uidvalidity, run->mailbox.uidnext, run->mailbox.exists, run->mailbox.highestmodseq};

	run->reset = !job->known.uidvalidity || job->known.uidvalidity != state.uidvalidity ||
	             (state.uidnext && job->known.uidnext > state.uidnext);
	run->fell = !run->reset && state.highestmodseq && state.highestmodseq < job->known.highestmodseq;
	run->vanished_known = !run->reset && !run->fell && run->request.qresync_modseq &&
	                      (run->mailbox.capabilities & IMAP_CAP_QRESYNC) && run->mailbox.highestmodseq;
	if (run->reset)
		imap_client_mailbox_forget(run->source->client, job->name, run->session);
	job->opened(job->ctx, &state, run->reset);
}

/*
 * A message that the server can name but not describe is still listed. One that was removed meanwhile is too, until the
 * next check. Where no message at all is described, it's not about messages: false.
 */
static bool describe_nothing(struct run *run, int code, const struct error *err)
{
	struct source_message message = {0};

	if (code)
		error_copy(&run->refusal, err);
	else
		error_set(&run->refusal, ERR_REFUSED, "the server lists messages and doesn't describe any");
	run->named_only++;
	if (!run->described && run->reset && (run->named_only >= NAMED_ONLY_MAX || g_queue_is_empty(&run->parts)))
		return false;
	for (guint i = 0; i < run->part->ranges->len; i++) {
		struct imap_range range = g_array_index(run->part->ranges, struct imap_range, i);

		for (uint64_t uid = range.first; uid <= range.last; uid++) {
			message.uid = (uint32_t)uid;
			if (!imap_set_has(&run->received, message.uid))
				run->job->message(run->job->ctx, &message);
		}
	}
	return true;
}

/* The server refused, or broke the protocol over, metadata of several: halves of what is still missing. */
static void part_failed(struct run *run)
{
	g_autoptr(GPtrArray) garbage = g_ptr_array_new_with_free_func(set_free);
	struct imap_set *missing = set_new();
	uint64_t count;

	g_ptr_array_add(garbage, missing);
	run->job->missing(run->job->ctx, run->part, missing);
	count = imap_set_count(missing);
	if (count == 1) {
		/* alone: what is it without its header? */
		imap_set_clear(run->part);
		imap_set_add(run->part, g_array_index(missing->ranges, struct imap_range, 0).first,
			g_array_index(missing->ranges, struct imap_range, 0).first);
		ask_part(run, false);
		return;
	}
	if (count)
		parts_make(run, missing, (count + 1) / 2);
	next(run);
}

static bool is_about_content(int code)
{
	return code == ERR_REFUSED || code == ERR_PROTOCOL;
}

/* A server may fall over SEARCH, session and all, for one message that it can't parse, and still count them. */
static bool set_again(struct run *run, int code, const struct error *err)
{
	if (run->set_by_fetch || !(is_about_content(code) || code == ERR_UNREACHABLE))
		return false;
	log_info("%s: SEARCH failed (%s): asking for the UIDs by FETCH", run->job->name, err->text);
	run->set_by_fetch = true;
	/* it may have ended the session: the set is complete by itself, in another one too */
	run->session = 0;
	imap_set_clear(&run->all);
	g_string_assign(run->command, "UID FETCH 1:* (UID)");
	submit(run, PHASE_SET);
	return true;
}

static void on_done(void *ctx, int code, const struct error *err)
{
	struct run *run = ctx;
	struct source_sync_job *job = run->job;
	struct error problem;
	bool other_session = !code && run->session && run->phase != PHASE_OPEN && run->request.session != run->session;

	if (run->phase == PHASE_OPEN || (!code && !run->session))
		run->session = run->request.session;
	if (code == ERR_RENUMBERED || (other_session && run->restarts < SESSION_RESTARTS_MAX)) {
		/* another folder by now, or seen by another session, which may see it otherwise: from the beginning */
		job->restart(job->ctx);
		run->request.uidvalidity = 0;
		run->request.qresync_modseq = 0;
		run->did_changed = run->did_new = run->did_flags = run->did_probe = run->did_set = run->doubt = false;
		memset(run->changed, 0, sizeof(run->changed));
		imap_set_clear(&run->all);
		g_queue_clear_full(&run->parts, set_free);
		g_queue_init(&run->parts);
		if (run->phase == PHASE_OPEN || run->restarts++ < SESSION_RESTARTS_MAX) {
			submit(run, PHASE_OPEN);
			return;
		}
	}
	switch (run->phase) {
	case PHASE_OPEN:
		if (code)
			break;
		opened(run);
		next(run);
		return;
	case PHASE_ALL:
	case PHASE_NEW:
		if (code && !is_about_content(code))
			break;
		if (code) {
			log_info("one FETCH for the whole listing failed (%s): asking in parts", err->text);
			/* `count` can't be trusted to show what is missing */
			run->did_set = true;
			g_string_assign(run->command, "UID SEARCH ALL");
			submit(run, PHASE_SET);
			return;
		}
		next(run);
		return;
	case PHASE_SET: {
		struct imap_set missing;

		if (code && set_again(run, code, err))
			return;
		if (code)
			break;
		if (imap_set_count(&run->all) > LIMIT_MESSAGES) {
			code = error_set(
				&problem, ERR_PROTOCOL, "the server counts more than %u messages", LIMIT_MESSAGES);
			run_end(run, code, &problem);
			return;
		}
		imap_set_init(&missing);
		job->complete(job->ctx, &run->all);
		job->missing(job->ctx, &run->all, &missing);
		/* one that wasn't there has a number that had been given away */
		run->doubt = !run->reset && imap_set_count(&missing) &&
		             g_array_index(missing.ranges, struct imap_range, 0).first < job->known.uidnext;
		parts_make(run, &missing, PART_MESSAGES);
		imap_set_fini(&missing);
		next(run);
		return;
	}
	case PHASE_PART:
		if (code && !is_about_content(code))
			break;
		/* answered OK, but not for all: ask for the rest in halves too */
		part_failed(run);
		return;
	case PHASE_BARE:
		if (code && !is_about_content(code))
			break;
		if (!imap_set_count(&run->received) && !describe_nothing(run, code, err)) {
			code = run->refusal.code;
			err = &run->refusal;
			break;
		}
		next(run);
		return;
	default:
		if (code)
			break;
		next(run);
		return;
	}
	problem = *err;
	run_end(run, code, &problem);
}

static const struct imap_request_ops sync_ops = {
	.examined = on_examined, .response = on_response, .restart = on_restart, .done = on_done};

void source_imap_sync(struct mail_source *base, struct source_sync_job *job)
{
	struct run *run = g_new0(struct run, 1);

	run->source = (struct source_imap *)base;
	run->job = job;
	run->command = g_string_new(NULL);
	imap_set_init(&run->received);
	imap_set_init(&run->all);
	run->request = (struct imap_request){
		.mailbox = job->name,
		.uidvalidity = job->known.highestmodseq ? job->known.uidvalidity : 0,
		.qresync_modseq = job->known.highestmodseq,
		.ops = &sync_ops,
		.ctx = run,
	};
	job->internal = run;
	g_queue_push_tail(&run->source->syncs, run);
	submit(run, PHASE_OPEN);
}
