/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Searches: a query asked of every folder that it means, a few folders at a time, and what came of it, kept for `poll`.
 *
 * A part is one folder's share. What the server finds is told by UIDs; a folder whose listing lacks one of them is
 * checked, so that every hit has a name. Searches run on the loop; results are immutable and any thread's.
 */
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"
#include "src/mail/query.h"

#include <string.h>

#include "src/base/banned.h"

#define SEARCHES_AT_ONCE 2u    /* further ones wait: each may ask hundreds of folders */
#define PARTS_AT_ONCE 8u       /* folders of one search that are asked at once: some for each connection */
#define INTERACTIVE_FOLDERS 4u /* more are bulk work, which leaves a connection to who reads */
#define ASKED_AGAIN_MAX 2u     /* of a folder that is numbered anew while it is searched */
#define MATCHED_AT_ONCE 200u   /* messages that are matched here before the loop's other business has its turn */

struct search {
	struct mail *mail;
	char *text;
	struct query *query;
	GQueue parks;
	uint64_t started_ms; /* 0: it waits for its turn */
	GPtrArray *folders;  /* struct mail_folder, references: to be asked, by number */
	guint next;          /* of them */
	GQueue parts;        /* struct part: under way */
	unsigned asked, refused;
	struct error error; /* code 0 = none; then no further folder is asked */
	struct error refusal;
	struct mail_results *results;
};

struct part {
	struct mail_waiter waiter; /* must be first */
	struct search *search;
	struct mail_folder *folder; /* a reference */
	struct source_search_job job;
	struct imap_set uids, matching;
	uint32_t uidvalidity;
	unsigned asked;
	bool checked;     /* its listing is as new as the search */
	bool narrow;      /* what isn't ASCII in the query is to be matched here */
	uint32_t matched; /* up to this UID */
};

/* ---- a search under way ---- */

static void search_go_on(struct search *search);
static void start_next(struct mail *mail);

static void part_free(struct part *part)
{
	g_queue_remove(&part->search->parts, part);
	imap_set_fini(&part->uids);
	imap_set_fini(&part->matching);
	mail_folder_unref(part->folder);
	g_free(part);
}

static void search_free(struct search *search)
{
	while (search->parts.head)
		part_free(search->parts.head->data);
	g_queue_remove(&search->mail->searches, search);
	g_queue_clear(&search->parks);
	if (search->folders)
		g_ptr_array_unref(search->folders);
	mail_results_unref(search->results);
	query_free(search->query);
	g_free(search->text);
	g_free(search);
}

void searches_free(struct mail *mail)
{
	while (mail->searches.head)
		search_free(mail->searches.head->data);
	g_queue_clear_full(&mail->results, (GDestroyNotify)mail_results_unref);
}

static void part_end(struct part *part)
{
	struct search *search = part->search;

	part_free(part);
	search_go_on(search);
}

static void part_fail(struct part *part, int code, const struct error *err)
{
	struct search *search = part->search;
	g_autofree char *path = mail_folder_path(search->mail, part->folder);
	struct error problem = {0};

	error_copy(&problem, err);
	problem.code = code;
	error_prefix(&problem, "%s", path);
	if (code == ERR_REFUSED || code == ERR_PROTOCOL) {
		search->refused++;
		search->refusal = problem;
		mail_note_error(search->mail, &problem, "search %s", search->text);
	} else if (code != ERR_GONE && !search->error.code) {
		search->error = problem;
	}
	part_end(part);
}

static void part_ask(struct part *part)
{
	struct mail *mail = part->search->mail;

	part->asked++;
	part->matched = 0;
	imap_set_clear(&part->matching);
	part->job.uidvalidity = part->folder->state.uidvalidity;
	imap_set_clear(&part->uids);
	mail->source->ops->search(mail->source, &part->job);
}

static bool is_listed(const struct part *part)
{
	const struct listing *listing = part->folder->listing;

	if (!listing || part->folder->state.uidvalidity != part->uidvalidity)
		return false;
	for (guint i = 0; i < part->uids.ranges->len; i++) {
		struct imap_range range = g_array_index(part->uids.ranges, struct imap_range, i);
		uint64_t there = listing_after(listing, range.last) - listing_after(listing, range.first - 1);

		if (there != (uint64_t)range.last - range.first + 1)
			return false;
	}
	return true;
}

/* What the check of the listing doesn't know has gone since it was found. */
static void part_collect(struct part *part)
{
	struct search *search = part->search;
	struct mail_results *results = search->results;
	const struct mail_folder *folder = part->folder;
	const struct listing *listing = folder->listing;
	struct found found = {.folder = results->folders->len};
	guint before = results->found->len;

	if (!listing || folder->state.uidvalidity != part->uidvalidity)
		return;
	for (guint i = 0; i < part->uids.ranges->len; i++) {
		struct imap_range range = g_array_index(part->uids.ranges, struct imap_range, i);

		for (guint at = listing_after(listing, range.first - 1); at < listing->rows->len; at++) {
			found.uid = g_array_index(listing->rows, struct row, at).uid;
			if (found.uid > range.last)
				break;
			if (results->found->len == MAIL_SEARCH_FOUND_MAX) {
				error_set(&search->error, ERR_INVALID, "it finds more than %u messages",
					MAIL_SEARCH_FOUND_MAX);
				error_hint(&search->error, "in:FOLDER or since:YYYY-MM-DD makes it find less");
				return;
			}
			g_array_append_val(results->found, found);
		}
	}
	if (results->found->len == before)
		return;
	g_ptr_array_add(results->folders, mail_folder_ref(part->folder));
	g_array_append_val(results->numbers, folder->message_number);
}

/* Takes those that don't match what the server couldn't look for out of what it found, some at a time. */
static void part_match(void *data)
{
	struct part *part = data;
	struct search *search = part->search;
	struct listing *listing = part->folder->listing;
	unsigned left = MATCHED_AT_ONCE;
	guint at = listing ? listing_after(listing, part->matched) : 0;

	for (; listing && at < listing->rows->len && left; at++) {
		uint32_t uid = g_array_index(listing->rows, struct row, at).uid;
		struct mail_details details = {0};

		part->matched = uid;
		if (!imap_set_has(&part->uids, uid))
			continue;
		left--;
		if (mail_message_details(search->mail, part->folder, uid, &details, NULL) == 0 &&
			query_matches_wide(search->query, details.from, details.to, details.subject))
			imap_set_add(&part->matching, uid, uid);
		mail_details_fini(&details);
	}
	if (listing && at < listing->rows->len && !search->error.code) {
		loop_post(search->mail->loop, part_match, part);
		return;
	}
	imap_set_fini(&part->uids);
	part->uids = part->matching;
	imap_set_init(&part->matching);
	part_collect(part);
	part_end(part);
}

static void part_take(struct part *part)
{
	if (part->narrow && part->uids.ranges->len) {
		part_match(part);
		return;
	}
	part_collect(part);
	part_end(part);
}

static void part_checked(struct part *part, int code)
{
	if (code) {
		part_fail(part, code, &part->waiter.error);
		return;
	}
	part->checked = true;
	if (part->folder->state.uidvalidity != part->uidvalidity && part->asked < ASKED_AGAIN_MAX) {
		part_ask(part);
		return;
	}
	part_take(part);
}

static void on_checked(struct mail_waiter *waiter, int code)
{
	part_checked((struct part *)waiter, code);
}

static void part_check(struct part *part)
{
	int code;

	part->waiter = (struct mail_waiter){.done = on_checked};
	code = mail_folder_fresh(part->search->mail, part->folder, true, &part->waiter, &part->waiter.error);
	if (code != MAIL_PARKED)
		part_checked(part, code);
}

static void on_found(void *ctx, uint32_t uidvalidity, const struct imap_set *uids, bool narrow)
{
	struct part *part = ctx;

	part->narrow = narrow;

	part->uidvalidity = uidvalidity;
	for (guint i = 0; i < uids->ranges->len; i++) {
		struct imap_range range = g_array_index(uids->ranges, struct imap_range, i);

		imap_set_add(&part->uids, range.first, range.last);
	}
}

static bool has_wide_word(const struct query *query)
{
	for (guint i = 0; i < query->terms->len; i++) {
		const struct query_term *term = &g_array_index(query->terms, struct query_term, i);

		if (term->kind == QUERY_WORD && query_term_is_wide(term))
			return true;
	}
	return false;
}

static void on_done(void *ctx, int code, const struct error *err)
{
	struct part *part = ctx;

	if (code == ERR_RENUMBERED && part->asked < ASKED_AGAIN_MAX) {
		part->uidvalidity = 0;
		part_check(part);
		return;
	}
	if (code) {
		part_fail(part, code, err);
		return;
	}
	if (part->narrow && has_wide_word(part->search->query)) {
		struct search *search = part->search;

		if (!search->error.code) {
			error_set(&search->error, ERR_INVALID, "the server looks for words in ASCII only");
			error_hint(&search->error,
				"from:, to: and subject: find other letters, and so does grep in .mailtree/text");
		}
		part_end(part);
		return;
	}
	if (part->uids.ranges->len)
		folder_load(part->search->mail, part->folder);
	if (part->uids.ranges->len && !part->checked && !is_listed(part)) {
		part_check(part);
		return;
	}
	part_take(part);
}

static void part_start(struct search *search, struct mail_folder *folder)
{
	struct part *part = g_new0(struct part, 1);

	part->search = search;
	part->folder = mail_folder_ref(folder);
	imap_set_init(&part->uids);
	imap_set_init(&part->matching);
	part->job = (struct source_search_job){
		.name = folder->raw,
		.query = search->query,
		.bulk = search->folders->len > INTERACTIVE_FOLDERS,
		.found = on_found,
		.done = on_done,
		.ctx = part,
	};
	search->asked++;
	g_queue_push_tail(&search->parts, part);
	part_ask(part);
}

static void search_end(struct search *search)
{
	struct mail *mail = search->mail;
	struct error err = search->error;
	GQueue parks = search->parks;

	if (!err.code && search->refused && search->refused == search->asked)
		err = search->refusal;
	else if (err.code && err.code != ERR_INTERRUPTED)
		mail_note_error(mail, &err, "search %s", search->text);
	if (!err.code) {
		results_sort(search->results);
		results_keep(mail, g_steal_pointer(&search->results));
	}
	g_queue_init(&search->parks);
	search_free(search);
	for (struct park *park; (park = g_queue_pop_head(&parks));) {
		park->queue = NULL;
		park_finish(park, err.code, &err);
	}
	start_next(mail);
}

static void search_go_on(struct search *search)
{
	/* nobody waits for it any more */
	if (!search->parks.length && !search->error.code)
		error_set(&search->error, ERR_INTERRUPTED, "interrupted");
	while (!search->error.code && search->next < search->folders->len && search->parts.length < PARTS_AT_ONCE)
		part_start(search, search->folders->pdata[search->next++]);
	if (!search->parts.length)
		search_end(search);
}

/* ---- which folders ---- */

/* A reference, or NULL. */
static struct mail_folder *folder_at(struct mail *mail, const char *path)
{
	g_auto(GStrv) names = g_strsplit(path, "/", -1);
	struct mail_folder *folder = mail_root(mail);

	for (char **name = names; *name && folder; name++) {
		struct mail_folder *child;

		if (!**name)
			continue;
		child = mail_folder_child(mail, folder, *name);
		if (!child && folder == mail->root && g_ascii_strcasecmp(*name, "INBOX") == 0)
			child = mail_folder_child(mail, folder, "INBOX");
		mail_folder_unref(folder);
		folder = child;
	}
	return folder;
}

static int folder_check(struct mail *mail, const struct query *query, struct error *err)
{
	struct mail_folder *folder = query->folder ? folder_at(mail, query->folder) : NULL;

	if (query->folder && !folder)
		return error_set(err, ERR_GONE, "in:%s: no such folder", query->folder);
	mail_folder_unref(folder);
	return 0;
}

static int by_number(gconstpointer a, gconstpointer b)
{
	const struct mail_folder *left = *(struct mail_folder *const *)a, *right = *(struct mail_folder *const *)b;

	return left->number < right->number ? -1 : left->number > right->number;
}

static GPtrArray *folders_of(struct mail *mail, const struct query *query)
{
	GPtrArray *folders = g_ptr_array_new_with_free_func((GDestroyNotify)mail_folder_unref);
	struct mail_folder *top = folder_at(mail, query->folder ? query->folder : "");
	struct mail_folder *folder;
	GHashTableIter iter;

	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		const struct mail_folder *at = folder;

		while (at && at != top)
			at = at->parent;
		if (at && top && !(folder->attributes & MAIL_FOLDER_NOSELECT))
			g_ptr_array_add(folders, mail_folder_ref(folder));
	}
	mail_folder_unref(top);
	g_ptr_array_sort(folders, by_number);
	return folders;
}

/* ---- the beginning ---- */

static void start_next(struct mail *mail)
{
	unsigned running = 0;

	for (GList *link = mail->searches.head; link && running < SEARCHES_AT_ONCE; link = link->next, running++) {
		struct search *search = link->data;

		if (search->started_ms)
			continue;
		search->started_ms = clock_ms();
		search->folders = folders_of(mail, search->query);
		search->results = results_new(search->text, search->started_ms);
		/* it may end at once, and take its place in the queue with it: it goes on with the next one then */
		search_go_on(search);
		return;
	}
}

static void search_park(struct mail *mail, struct park *park)
{
	g_autofree char *text = query_text(park->query);
	struct mail_results *known = results_find(mail, text, park->since_ms);
	struct search *search = NULL;

	if (known) {
		mail_results_unref(known);
		park_finish(park, 0, NULL);
		return;
	}
	for (GList *link = mail->searches.head; link && !search; link = link->next) {
		struct search *other = link->data;

		/* one that was called off, or has failed and only runs empty, is no answer */
		if (strcmp(other->text, text) == 0 && !other->error.code)
			search = other;
	}
	if (search) {
		park_wait_in(park, &search->parks);
		return;
	}
	search = g_new0(struct search, 1);
	search->mail = mail;
	/* can't fail: that text is a query's */
	query_parse(text, &search->query, NULL);
	search->text = g_steal_pointer(&text);
	g_queue_push_tail(&mail->searches, search);
	park_wait_in(park, &search->parks);
	start_next(mail);
}

int mail_query_open(struct mail *mail, const char *text, struct query **query_out, struct error *err)
{
	struct error problem = {0};
	int code = query_parse(text, query_out, &problem);

	if (code) {
		mail_note_error(mail, &problem, "search %s", text);
		error_copy(err, &problem);
	}
	return code;
}

int mail_query_misspelt(struct mail *mail, const char *name)
{
	struct error problem = {0};

	error_set(&problem, ERR_INVALID, "%% is written %%25, and / %%2F");
	mail_note_error(mail, &problem, "search %s", name);
	return ERR_INVALID;
}

int mail_search(struct mail *mail, const struct query *query, struct mail_waiter *waiter,
	struct mail_results **results_out, struct error *err)
{
	g_autofree char *text = NULL;
	int code = mail_tree_fresh(mail, false, waiter, err);

	*results_out = NULL;
	if (code == 0)
		code = folder_check(mail, query, err);
	if (code != 0)
		return code;
	text = query_text(query);
	*results_out = results_find(mail, text, waiter->since_ms);
	if (*results_out)
		return 0;
	if (mail->config.offline)
		return error_set(err, ERR_UNREACHABLE, "a search asks the server, and this mount of %s is offline",
			mail->account);
	return park_new_query(mail, waiter, search_park, query);
}
