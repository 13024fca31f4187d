/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `search`: what the server finds, as the message objects of `ls`. */
#include "src/cli/work_inside.h"
#include "src/mail/query.h"

#include <stdlib.h>

#include "src/base/banned.h"

struct asking {
	const struct work *work;
	const struct query *query;
	struct mail_results *results;
};

static int try_search(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	struct asking *asking = ctx;

	return mail_search(asking->work->mail, asking->query, waiter, &asking->results, err);
}

/* The folder of the hits that are being put. */
struct place {
	struct mail_folder *folder; /* the results' */
	char *path;
	struct mail_folder_info info;
	GArray *cached;
};

static void place_clear(struct place *place)
{
	g_clear_pointer(&place->path, g_free);
	g_clear_pointer(&place->cached, g_array_unref);
}

static void place_enter(struct mail *mail, struct place *place, struct mail_folder *folder)
{
	place_clear(place);
	place->folder = folder;
	place->path = mail_folder_path(mail, folder);
	place->cached = mail_messages_cached(mail, folder);
	mail_folder_info(mail, folder, &place->info);
}

static int hit_put(const struct work *work, const struct place *place, const struct mail_hit *hit,
	const struct sink *sink, struct error *err)
{
	struct mail_message message;
	struct mail_details details = {0};
	int code;

	/* gone since it was found, or another by now */
	if (!mail_message_find(work->mail, hit->folder, hit->uid, &message) ||
		place->info.message_number != hit->message_number)
		return 0;
	message.cached = work_uid_is_in(place->cached, hit->uid);
	code = mail_message_details(work->mail, hit->folder, hit->uid, &details, err);
	if (code == 0 || code == ERR_GONE)
		code = work_record_put(
			sink, work_message_object(work, place->path, &place->info, &message, &details), err);
	mail_details_fini(&details);
	return code;
}

int work_search(const struct work *work, const char *text, const struct sink *sink, struct error *err)
{
	struct query *query;
	struct asking asking = {.work = work};
	struct place place = {0};
	int code = mail_query_open(work->mail, text ? text : "", &query, err);

	if (code != 0)
		return code;
	asking.query = query;
	code = wait_for(work->wait, try_search, &asking, err);
	for (guint i = 0; code == 0 && i < mail_results_count(asking.results); i++) {
		struct mail_hit hit;

		mail_results_get(asking.results, i, &hit);
		if (hit.folder != place.folder)
			place_enter(work->mail, &place, hit.folder);
		code = hit_put(work, &place, &hit, sink, err);
	}
	place_clear(&place);
	mail_results_unref(asking.results);
	query_free(query);
	return code;
}
