/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/fake_source.h"
#include "src/mail/query.h"

#include <string.h>

#include "src/base/banned.h"

/* A fetch under way. */
struct serving {
	struct fake_source *fake;
	struct source_fetch_job *job;
	GArray *uids;
	guint at;
	bool cut, resumed; /* in the middle of a body; it goes on */
};

static struct fake_source *self(struct mail_source *source)
{
	return (struct fake_source *)source;
}

void fake_lock(struct fake_source *fake)
{
	pthread_mutex_lock(&fake->lock);
}

void fake_unlock(struct fake_source *fake)
{
	pthread_mutex_unlock(&fake->lock);
}

/* ---- what the server holds ---- */

static void message_clear(void *data)
{
	struct fake_message *message = data;

	g_bytes_unref(message->bytes);
	if (message->other)
		g_bytes_unref(message->other);
}

static void folder_free(void *data)
{
	struct fake_folder *folder = data;

	g_array_unref(folder->messages);
	g_free(folder->name);
	g_free(folder);
}

struct fake_folder *fake_folder_add(struct fake_source *fake, const char *name, uint32_t uidvalidity)
{
	struct fake_folder *folder = g_new0(struct fake_folder, 1);

	folder->name = g_strdup(name);
	folder->state = (struct source_state){.uidvalidity = uidvalidity, .uidnext = 1};
	folder->messages = g_array_new(FALSE, TRUE, sizeof(struct fake_message));
	g_array_set_clear_func(folder->messages, message_clear);
	g_ptr_array_add(fake->folders, folder);
	return folder;
}

struct fake_message *fake_add(struct fake_folder *folder, uint32_t uid, const char *bytes, size_t length)
{
	struct fake_message message = {.uid = uid, .date = 1000000 + (int64_t)uid * 60, .told_bytes = length};

	message.bytes = g_bytes_new(bytes, length);
	g_array_append_val(folder->messages, message);
	folder->state.messages = folder->messages->len;
	folder->state.uidnext = MAX(folder->state.uidnext, uid + 1);
	return &g_array_index(folder->messages, struct fake_message, folder->messages->len - 1);
}

struct fake_message *fake_add_text(struct fake_folder *folder, uint32_t uid, size_t length)
{
	g_autofree char *bytes = g_malloc(length + 1);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)('a' + (i * 7 + i / 251 + uid) % 26);
	return fake_add(folder, uid, bytes, length);
}

struct fake_message *fake_find(struct fake_folder *folder, uint32_t uid)
{
	for (guint i = 0; i < folder->messages->len; i++) {
		struct fake_message *message = &g_array_index(folder->messages, struct fake_message, i);

		if (message->uid == uid)
			return message;
	}
	return NULL;
}

void fake_remove(struct fake_folder *folder, uint32_t uid)
{
	struct fake_message *message = fake_find(folder, uid);

	g_array_remove_index(folder->messages, (guint)(message - (struct fake_message *)folder->messages->data));
	folder->state.messages = folder->messages->len;
}

void fake_clear(struct fake_folder *folder)
{
	g_array_set_size(folder->messages, 0);
	folder->state.messages = 0;
	folder->state.uidnext = 1;
}

static struct fake_folder *folder_find(struct fake_source *fake, const char *name)
{
	for (guint i = 0; i < fake->folders->len; i++) {
		struct fake_folder *folder = fake->folders->pdata[i];

		if (strcmp(folder->name, name) == 0)
			return folder;
	}
	return NULL;
}

unsigned fake_asked(struct fake_source *fake, uint32_t uid)
{
	unsigned count = 0;

	fake_lock(fake);
	for (guint i = 0; i < fake->asked->len; i++)
		count += g_array_index(fake->asked, uint32_t, i) == uid;
	fake_unlock(fake);
	return count;
}

/* ---- folders ---- */

static char **split(const char *raw, char delimiter, uint32_t **ends_out)
{
	char separator[2] = {delimiter, 0};
	char **levels = g_strsplit(raw, separator, -1);
	uint32_t end = 0;

	*ends_out = g_new0(uint32_t, g_strv_length(levels) + 1);
	for (guint i = 0; levels[i]; i++) {
		end += (uint32_t)strlen(levels[i]) + (i > 0);
		(*ends_out)[i] = end;
	}
	return levels;
}

struct posted {
	struct fake_source *fake;
	void *job;
};

static void post(struct fake_source *fake, loop_fn fn, void *job)
{
	struct posted *posted = g_new0(struct posted, 1);

	posted->fake = fake;
	posted->job = job;
	loop_post(fake->loop, fn, posted);
}

static int failed(int code, struct error *err)
{
	return code ? error_set(err, code, "as the test ordered") : 0;
}

static void serve_list(void *data)
{
	g_autofree struct posted *posted = data;
	struct fake_source *fake = posted->fake;
	struct source_list_job *job = posted->job;
	struct error err = {.code = 0};
	uint32_t session;
	bool shows;
	int code;

	fake_lock(fake);
	fake->lists++;
	code = failed(fake->list_code, &err);
	if (!fake->sessions || (job->fresh && !fake->one_session))
		fake->sessions++;
	session = fake->sessions;
	shows = job->fresh && fake->list_again_shows;
	for (guint i = 0; !code && i < fake->folders->len; i++) {
		const struct fake_folder *folder = fake->folders->pdata[i];
		struct source_folder told = {.name = folder->name, .delimiter = '/', .attributes = folder->attributes};

		if (!folder->hidden || shows)
			job->folder(job->ctx, &told);
	}
	fake_unlock(fake);
	job->done(job->ctx, session, code, &err);
}

static void list(struct mail_source *source, struct source_list_job *job)
{
	post(self(source), serve_list, job);
}

static void tell_message(
	struct fake_source *fake, const struct source_sync_job *job, const struct fake_message *message)
{
	g_autofree char *header = g_strdup_printf(
		"From: <user%u@example.org>\r\nSubject: number %u, привіт\r\n\r\n", message->uid, message->uid);
	struct source_message told = {.uid = message->uid,
		.flags = message->flags,
		.date = message->date,
		.size_bytes = message->told_bytes,
		.header = header,
		.header_length = strlen(header),
		.emailid = message->emailid};

	job->message(job->ctx, &told);
	fake->heard_bytes += fake->listed_bytes;
}

static void tell_folder(struct fake_source *fake, struct source_sync_job *job, struct fake_folder *folder)
{
	bool reset = job->known.uidvalidity != folder->state.uidvalidity || job->known.uidnext > folder->state.uidnext;
	struct imap_set all;

	imap_set_init(&all);
	job->opened(job->ctx, &folder->state, reset);
	if (job->flags_from && fake->early_uid)
		job->flags_of(job->ctx, fake->early_uid, fake->early_flags, NULL);
	for (guint i = 0; i < folder->messages->len; i++) {
		const struct fake_message *message = &g_array_index(folder->messages, struct fake_message, i);

		imap_set_add(&all, message->uid, message->uid);
		if (reset || message->uid >= job->known.uidnext)
			tell_message(fake, job, message);
		else if (job->flags_from && message->uid >= job->flags_from)
			job->flags_of(job->ctx, message->uid, message->flags, NULL);
		for (unsigned probe = 0; job->identify && probe < G_N_ELEMENTS(job->probes); probe++)
			if (job->probes[probe] == message->uid)
				job->probed(job->ctx, message->uid, message->date, message->told_bytes);
	}
	if (job->count(job->ctx) != folder->messages->len)
		job->complete(job->ctx, &all);
	imap_set_fini(&all);
}

#define SYNC_WAIT_MS 20u

static void end_sync(void *data)
{
	g_autofree struct posted *posted = data;
	struct fake_source *fake = posted->fake;
	struct source_sync_job *job = posted->job;
	struct error err = {.code = 0};

	if (fake->fetches < fake->syncs_wait_fetches) {
		loop_timer_add(fake->loop, SYNC_WAIT_MS, end_sync, g_steal_pointer(&posted));
	} else {
		int code = failed(fake->sync_end_code, &err);

		job->done(job->ctx, code, &err);
	}
}

static void serve_sync(void *data)
{
	g_autofree struct posted *posted = data;
	struct fake_source *fake = posted->fake;
	struct source_sync_job *job = posted->job;
	struct fake_folder *folder;
	struct error err = {.code = 0};
	int code;

	fake_lock(fake);
	fake->syncs++;
	folder = folder_find(fake, job->name);
	code = failed(folder ? fake->sync_code : ERR_GONE, &err);
	if (!code && folder->renumbered) {
		tell_folder(fake, job, folder);
		folder->state.uidvalidity = folder->renumbered;
		folder->renumbered = 0;
		job->restart(job->ctx);
	}
	if (!code)
		tell_folder(fake, job, folder);
	fake_unlock(fake);
	if (code)
		job->done(job->ctx, code, &err);
	else
		end_sync(g_steal_pointer(&posted));
}

static void sync_folder(struct mail_source *source, struct source_sync_job *job)
{
	post(self(source), serve_sync, job);
}

/* ---- bodies ---- */

static void serving_free(struct serving *serving)
{
	g_array_unref(serving->uids);
	g_free(serving);
}

static void give(const struct serving *serving, GBytes *bytes, size_t limit)
{
	const struct source_fetch_job *job = serving->job;
	size_t length, piece = serving->fake->piece_bytes;
	const char *data = g_bytes_get_data(bytes, &length);

	length = MIN(length, limit);
	for (size_t at = 0; at < length;) {
		size_t part = piece ? MIN(piece, length - at) : length - at;

		job->data(job->ctx, data + at, part);
		at += part;
	}
}

static void give_whole(const struct serving *serving, const struct fake_message *message, GBytes *bytes)
{
	const struct source_fetch_job *job = serving->job;
	bool last = message->trouble == FAKE_UID_LAST;

	if (job->begin(job->ctx, last ? 0 : message->uid, g_bytes_get_size(bytes))) {
		give(serving, bytes, SIZE_MAX);
		job->end(job->ctx);
	}
	job->finished(job->ctx, message->uid, true, message->emailid);
}

/* False: the rest isn't served now. */
static bool serve_message(struct serving *serving, struct fake_message *message)
{
	const struct source_fetch_job *job = serving->job;

	if (message->trouble == FAKE_OMITTED)
		return true;
	if (message->trouble == FAKE_NO_BYTES) {
		job->finished(job->ctx, message->uid, false, message->emailid);
		return true;
	}
	if (message->trouble == FAKE_CUT && !serving->resumed) {
		if (job->begin(job->ctx, message->uid, g_bytes_get_size(message->bytes)))
			give(serving, message->bytes, message->cut_at);
		serving->cut = true;
		return false;
	}
	if (message->trouble == FAKE_FOREIGN) {
		if (job->begin(job->ctx, 0, g_bytes_get_size(message->other))) {
			give(serving, message->other, SIZE_MAX);
			job->end(job->ctx);
		}
		job->finished(job->ctx, message->uid + 1000, true, NULL);
		give_whole(serving, message, message->bytes);
		return true;
	}
	if (message->trouble == FAKE_CUT)
		job->restart(job->ctx);
	give_whole(serving, message, message->other ? message->other : message->bytes);
	return true;
}

/* With the lock held. 1 = it waits, else what the fetch ends with. */
static int serve_messages(struct serving *serving, struct error *err)
{
	struct fake_source *fake = serving->fake;
	struct fake_folder *folder = folder_find(fake, serving->job->name);
	int code = fake->fetch_code;

	if (!folder)
		return failed(ERR_GONE, err);
	if (!code && serving->job->uidvalidity != folder->state.uidvalidity)
		code = ERR_RENUMBERED;
	for (; !code && serving->at < serving->uids->len; serving->at++) {
		struct fake_message *message = fake_find(folder, g_array_index(serving->uids, uint32_t, serving->at));

		if (message && message->trouble == FAKE_REFUSED)
			code = ERR_REFUSED;
		else if (message && !serve_message(serving, message))
			return 1;
	}
	return failed(code, err);
}

static void serve_waiting(void *data)
{
	g_autofree struct posted *posted = data;
	struct fake_source *fake = posted->fake;
	struct error err = {.code = 0};

	for (;;) {
		struct serving *serving;
		struct source_fetch_job *job;
		int code;

		fake_lock(fake);
		serving = fake->holds ? NULL : g_queue_peek_head(&fake->waiting);
		if (!serving || (serving->cut && !serving->resumed)) {
			fake_unlock(fake);
			return;
		}
		job = serving->job;
		code = serve_messages(serving, &err);
		if (code <= 0) {
			g_queue_remove(&fake->waiting, serving);
			serving_free(serving);
		}
		fake_unlock(fake);
		if (code > 0)
			return;
		job->done(job->ctx, code, &err);
	}
}

static void fetch(struct mail_source *source, struct source_fetch_job *job)
{
	struct fake_source *fake = self(source);
	struct serving *serving = g_new0(struct serving, 1);

	serving->fake = fake;
	serving->job = job;
	serving->uids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	for (guint i = 0; i < job->uids->ranges->len; i++) {
		struct imap_range range = g_array_index(job->uids->ranges, struct imap_range, i);

		for (uint32_t uid = range.first; uid <= range.last; uid++)
			g_array_append_val(serving->uids, uid);
	}
	fake_lock(fake);
	fake->fetches++;
	fake->bulk_fetches += job->bulk;
	g_array_append_vals(fake->asked, serving->uids->data, serving->uids->len);
	g_queue_push_tail(&fake->waiting, serving);
	fake_unlock(fake);
	post(fake, serve_waiting, NULL);
}

static void cancel_fetch(struct mail_source *source, struct source_fetch_job *job)
{
	struct fake_source *fake = self(source);

	fake_lock(fake);
	for (GList *at = fake->waiting.head, *next; at; at = next) {
		struct serving *serving = at->data;

		next = at->next;
		if (serving->job != job)
			continue;
		g_queue_delete_link(&fake->waiting, at);
		serving_free(serving);
	}
	fake_unlock(fake);
}

bool fake_is_cut(struct fake_source *fake)
{
	struct serving *serving;
	bool cut;

	fake_lock(fake);
	serving = g_queue_peek_head(&fake->waiting);
	cut = serving && serving->cut;
	fake_unlock(fake);
	return cut;
}

/* ---- the watch ---- */

static void watch(struct mail_source *source, const char *name, source_told_fn told, void *ctx)
{
	struct fake_source *fake = self(source);

	fake_lock(fake);
	g_free(fake->watched);
	fake->watched = g_strdup(name);
	fake->told = told;
	fake->told_ctx = ctx;
	fake_unlock(fake);
}

char *fake_watched(struct fake_source *fake)
{
	char *name;

	fake_lock(fake);
	name = g_strdup(fake->watched);
	fake_unlock(fake);
	return name;
}

struct telling {
	struct fake_source *fake;
	bool with_state, flags_only;
};

static void tell(void *data)
{
	g_autofree struct telling *telling = data;
	struct fake_source *fake = telling->fake;
	struct fake_folder *folder;

	fake_lock(fake);
	folder = fake->watched ? folder_find(fake, fake->watched) : NULL;
	if (folder)
		fake->told(fake->told_ctx, telling->with_state ? &folder->state : NULL, telling->flags_only);
	fake->tells++;
	fake_unlock(fake);
}

void fake_tell(struct fake_source *fake, bool with_state, bool flags_only)
{
	struct telling *telling = g_new0(struct telling, 1);

	*telling = (struct telling){fake, with_state, flags_only};
	loop_post(fake->loop, tell, telling);
}

/* ---- searches: of words and flags ---- */

static bool matches(const struct fake_message *message, const struct query *query, bool ascii_only)
{
	size_t length;
	const char *bytes = g_bytes_get_data(message->bytes, &length);
	bool all = true;

	for (guint i = 0; i < query->terms->len; i++) {
		const struct query_term *term = &g_array_index(query->terms, struct query_term, i);

		if (ascii_only && query_term_is_wide(term))
			continue;
		if (term->kind == QUERY_WORD)
			all &= memmem(bytes, length, term->text, strlen(term->text)) != NULL;
		else if (term->kind == QUERY_UNREAD)
			all &= !(message->flags & MAIL_SEEN);
		else if (term->kind == QUERY_FLAGGED)
			all &= (message->flags & MAIL_FLAGGED) != 0;
	}
	return all;
}

static bool is_narrow(const struct fake_source *fake, const struct query *query)
{
	bool wide = false;

	for (guint i = 0; i < query->terms->len; i++)
		wide |= query_term_is_wide(&g_array_index(query->terms, struct query_term, i));
	return wide && fake->ascii_only;
}

static void serve_search(void *data)
{
	g_autofree struct posted *posted = data;
	struct fake_source *fake = posted->fake;
	struct source_search_job *job = posted->job;
	struct fake_folder *folder;
	struct imap_set uids;
	struct error err = {.code = 0};
	int code;

	if (fake->holds) {
		fake_lock(fake);
		g_queue_push_tail(&fake->searching, job);
		fake_unlock(fake);
		return;
	}
	imap_set_init(&uids);
	fake_lock(fake);
	fake->searches++;
	folder = folder_find(fake, job->name);
	code = folder ? folder->search_code : ERR_GONE;
	if (!code && job->uidvalidity && job->uidvalidity != folder->state.uidvalidity)
		code = ERR_RENUMBERED;
	code = failed(code, &err);
	for (guint i = 0; !code && i < folder->messages->len; i++) {
		const struct fake_message *message = &g_array_index(folder->messages, struct fake_message, i);

		if (matches(message, job->query, fake->ascii_only))
			imap_set_add(&uids, message->uid, message->uid);
	}
	if (!code)
		job->found(job->ctx, folder->state.uidvalidity, &uids, is_narrow(fake, job->query));
	fake_unlock(fake);
	imap_set_fini(&uids);
	job->done(job->ctx, code, &err);
}

static void search(struct mail_source *source, struct source_search_job *job)
{
	post(self(source), serve_search, job);
}

void fake_release(struct fake_source *fake)
{
	fake_lock(fake);
	fake->holds = false;
	for (GList *at = fake->waiting.head; at; at = at->next)
		((struct serving *)at->data)->resumed = ((struct serving *)at->data)->cut;
	for (struct source_search_job *job; (job = g_queue_pop_head(&fake->searching));)
		post(fake, serve_search, job);
	fake_unlock(fake);
	post(fake, serve_waiting, NULL);
}

/* ---- life ---- */

static uint32_t bulk_at_once(const struct mail_source *source)
{
	return ((const struct fake_source *)source)->bulk_at_once;
}

static void status(struct mail_source *source, struct source_status *status_out)
{
	*status_out = (struct source_status){
		.signed_in = !self(source)->signed_out, .bytes_in = self(source)->heard_bytes};
}

static void retry_now(struct mail_source *source)
{
}

static void fake_free(struct mail_source *source)
{
	struct fake_source *fake = self(source);

	g_queue_clear_full(&fake->waiting, (GDestroyNotify)serving_free);
	g_queue_clear(&fake->searching);
	g_ptr_array_unref(fake->folders);
	g_array_unref(fake->asked);
	pthread_mutex_destroy(&fake->lock);
	g_free(fake->watched);
	g_free(fake);
}

static const struct mail_source_ops ops = {
	.split = split,
	.list = list,
	.sync = sync_folder,
	.fetch = fetch,
	.cancel_fetch = cancel_fetch,
	.bulk_at_once = bulk_at_once,
	.watch = watch,
	.search = search,
	.status = status,
	.retry_now = retry_now,
	.free = fake_free,
};

struct fake_source *fake_new(struct loop *loop)
{
	struct fake_source *fake = g_new0(struct fake_source, 1);
	pthread_mutexattr_t attributes;

	fake->source.ops = &ops;
	fake->loop = loop;
	fake->bulk_at_once = 4;
	/* what a job is told makes the model ask for more, at once */
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&fake->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	g_queue_init(&fake->waiting);
	g_queue_init(&fake->searching);
	fake->folders = g_ptr_array_new_with_free_func(folder_free);
	fake->asked = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	return fake;
}
