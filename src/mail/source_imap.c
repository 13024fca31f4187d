/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IMAP client as a source of mail: LIST and FETCH of bodies. sync_imap.c holds the check of a folder. */
#include "src/mail/source_imap.h"
#include "src/auth/auth.h"
#include "src/base/limits.h"

#include <string.h>

#include "src/base/banned.h"

/* ---- names ---- */

/* A level that can't be decoded is shown as its bytes, what isn't UTF-8 in them percent-escaped. */
static char *level_decode(const char *raw, size_t length)
{
	char *decoded = imap_utf7_decode(raw, length);
	GString *out;

	if (decoded)
		return decoded;
	if (g_utf8_validate(raw, (gssize)length, NULL))
		return g_strndup(raw, length);
	out = g_string_new(NULL);
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)raw[i] < 0x80)
			g_string_append_c(out, raw[i]);
		else
			g_string_append_printf(out, "%%%02X", (unsigned char)raw[i]);
	}
	return g_string_free(out, FALSE);
}

static char **source_split(const char *raw, char delimiter, uint32_t **ends_out)
{
	g_autoptr(GPtrArray) levels = g_ptr_array_new();
	g_autoptr(GArray) ends = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	size_t length = strlen(raw), from = 0;

	while (from <= length && length) {
		const char *found = delimiter && levels->len + 1 < LIMIT_FOLDER_DEPTH
		                            ? memchr(raw + from, delimiter, length - from)
		                            : NULL;
		uint32_t end = (uint32_t)(found ? (size_t)(found - raw) : length);

		g_ptr_array_add(levels, level_decode(raw + from, end - from));
		g_array_append_val(ends, end);
		from = (size_t)end + 1;
		if (!found)
			break;
	}
	g_ptr_array_add(levels, NULL);
	*ends_out = (uint32_t *)g_array_free(g_steal_pointer(&ends), FALSE);
	return (char **)g_ptr_array_free(g_steal_pointer(&levels), FALSE);
}

/* ---- LIST ---- */

#define LIST_PLAIN "LIST \"\" \"*\""

struct listed {
	char *raw;
	struct source_folder folder;
};

struct list_run {
	struct source_imap *source;
	struct source_list_job *job;
	struct imap_request request;
	GArray *listed;      /* struct listed */
	GHashTable *by_name; /* raw → index + 1 */
};

static void listed_clear(void *data)
{
	g_free(((struct listed *)data)->raw);
}

static uint32_t folder_attributes(uint32_t list)
{
	static const struct {
		uint32_t from, to;
	} map[] = {
		{IMAP_LIST_NOSELECT | IMAP_LIST_NONEXISTENT, MAIL_FOLDER_NOSELECT},
		{IMAP_LIST_ALL, MAIL_FOLDER_ALL},
		{IMAP_LIST_ARCHIVE, MAIL_FOLDER_ARCHIVE},
		{IMAP_LIST_DRAFTS, MAIL_FOLDER_DRAFTS},
		{IMAP_LIST_FLAGGED, MAIL_FOLDER_FLAGGED},
		{IMAP_LIST_JUNK, MAIL_FOLDER_JUNK},
		{IMAP_LIST_SENT, MAIL_FOLDER_SENT},
		{IMAP_LIST_TRASH, MAIL_FOLDER_TRASH},
	};
	uint32_t attributes = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(map); i++)
		if (list & map[i].from)
			attributes |= map[i].to;
	return attributes;
}

static struct listed *list_entry(struct list_run *run, const char *name)
{
	gpointer index = g_hash_table_lookup(run->by_name, name);

	return index ? &g_array_index(run->listed, struct listed, GPOINTER_TO_UINT(index) - 1) : NULL;
}

static void list_response(void *ctx, const struct imap_response *response)
{
	struct list_run *run = ctx;

	if (response->type == IMAP_LIST_RESPONSE) {
		const struct imap_list *list = &response->list;
		struct listed entry = {.folder = {.delimiter = list->delimiter}};

		/* a NUL can't be part of a name that we could send back */
		if (!list->name_length || memchr(list->name, 0, list->name_length) ||
			run->listed->len > LIMIT_FOLDERS || list_entry(run, list->name))
			return;
		entry.raw = g_strndup(list->name, list->name_length);
		entry.folder.attributes = folder_attributes(list->attributes);
		g_array_append_val(run->listed, entry);
		g_hash_table_insert(run->by_name, entry.raw, GUINT_TO_POINTER(run->listed->len));
	} else if (response->type == IMAP_STATUS_RESPONSE) {
		const struct imap_status_response *status = &response->status_response;
		struct listed *entry = status->name_length && !memchr(status->name, 0, status->name_length)
		                               ? list_entry(run, status->name)
		                               : NULL;
		const uint32_t needed = IMAP_STATUS_MESSAGES | IMAP_STATUS_UIDNEXT | IMAP_STATUS_UIDVALIDITY;

		if (!entry || (status->has & needed) != needed)
			return;
		entry->folder.has_status = true;
		entry->folder.messages = (uint32_t)status->messages;
		entry->folder.uidnext = (uint32_t)status->uidnext;
		entry->folder.uidvalidity = (uint32_t)status->uidvalidity;
		entry->folder.highestmodseq = status->highestmodseq;
	}
}

static void list_forget(struct list_run *run)
{
	g_hash_table_remove_all(run->by_name);
	g_array_set_size(run->listed, 0);
}

static void list_restart(void *ctx)
{
	list_forget(ctx);
}

/* What it may ask for is known only once there is a session. */
static void list_choose(void *ctx, uint32_t can)
{
	struct list_run *run = ctx;

	if (!(can & IMAP_CAP_LIST_STATUS))
		run->request.command = LIST_PLAIN;
	else if (!(can & IMAP_CAP_CONDSTORE))
		run->request.command = LIST_PLAIN " RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))";
	else if (!(can & IMAP_CAP_SPECIAL_USE))
		run->request.command = LIST_PLAIN " RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))";
	else
		run->request.command = LIST_PLAIN
			" RETURN (SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))";
}

static void list_free(struct list_run *run)
{
	g_queue_remove(&run->source->lists, run);
	g_hash_table_unref(run->by_name);
	g_array_unref(run->listed);
	g_free(run);
}

static void list_done(void *ctx, int code, const struct error *err)
{
	struct list_run *run = ctx;
	struct source_list_job *job = run->job;
	uint32_t session = run->request.session;

	if (!code) {
		for (guint i = 0; i < run->listed->len; i++) {
			struct listed *entry = &g_array_index(run->listed, struct listed, i);

			entry->folder.name = entry->raw;
			job->folder(job->ctx, &entry->folder);
		}
	}
	list_free(run);
	job->done(job->ctx, session, code, err);
}

static const struct imap_request_ops list_ops = {
	.choose = list_choose, .response = list_response, .restart = list_restart, .done = list_done};

static void source_list(struct mail_source *base, struct source_list_job *job)
{
	struct list_run *run = g_new0(struct list_run, 1);

	run->source = (struct source_imap *)base;
	run->job = job;
	run->listed = g_array_new(FALSE, FALSE, sizeof(struct listed));
	g_array_set_clear_func(run->listed, listed_clear);
	run->by_name = g_hash_table_new(g_str_hash, g_str_equal);
	run->request = (struct imap_request){
		.class = IMAP_INTERACTIVE, .fresh = job->fresh, .command = LIST_PLAIN, .ops = &list_ops, .ctx = run};
	g_queue_push_tail(&run->source->lists, run);
	imap_client_submit(run->source->client, &run->request);
}

/* ---- ids of messages ---- */

const char *source_imap_emailid_item(uint32_t capabilities)
{
	return capabilities & IMAP_CAP_OBJECTID ? " EMAILID" : capabilities & IMAP_CAP_GMAIL ? " X-GM-MSGID" : "";
}

const char *source_imap_emailid(const struct imap_fetch *fetch, char buffer[SOURCE_EMAILID_BYTES])
{
	const struct imap_value *id = fetch->emailid;
	const char *mark = fetch->items & IMAP_FETCH_GM_MSGID ? "gm:" : "";
	bool zeros = true;

	if (!id || (id->type != IMAP_ATOM && id->type != IMAP_STRING) || !id->length || id->length > 255)
		return NULL;
	for (uint32_t i = 0; i < id->length; i++) {
		if (!g_ascii_isalnum(id->text[i]) && id->text[i] != '-' && id->text[i] != '_')
			return NULL;
		zeros &= id->text[i] == '0';
	}
	/* what a server says that has to say something */
	if (zeros)
		return NULL;
	g_snprintf(buffer, SOURCE_EMAILID_BYTES, "%s%.*s", mark, (int)id->length, id->text);
	return buffer;
}

/* ---- bodies ---- */

struct fetch_run {
	struct source_imap *source;
	struct source_fetch_job *job;
	struct imap_request request;
	GString *command;
	size_t at;     /* ranges of job->uids sent so far */
	size_t length; /* of the command up to its items */
	uint32_t literal_uid;
	bool in_body;
};

static bool fetch_body_begin(void *ctx, const struct imap_literal *literal)
{
	struct fetch_run *run = ctx;

	run->literal_uid = literal->uid;
	run->in_body = run->job->begin(run->job->ctx, literal->uid, literal->size_bytes);
	return run->in_body;
}

static int fetch_body_data(void *ctx, const char *bytes, size_t length)
{
	struct fetch_run *run = ctx;

	return run->job->data(run->job->ctx, bytes, length);
}

static void fetch_body_end(void *ctx)
{
	struct fetch_run *run = ctx;

	if (run->in_body)
		run->job->end(run->job->ctx);
	run->in_body = false;
}

static void fetch_response(void *ctx, const struct imap_response *response)
{
	struct fetch_run *run = ctx;
	struct source_fetch_job *job = run->job;
	const struct imap_fetch *fetch = &response->fetch;
	char buffer[SOURCE_EMAILID_BYTES];
	const char *emailid;

	/* flags of another message, told by the way */
	if (response->type != IMAP_FETCH || !(fetch->items & IMAP_FETCH_UID) || !(fetch->items & IMAP_FETCH_BODY))
		return;
	emailid = source_imap_emailid(fetch, buffer);
	if (fetch->body->type == IMAP_STRING) {
		/* sent as a quoted string: short ones are, by some servers */
		bool has = job->begin(job->ctx, fetch->uid, fetch->body->length);

		if (has && fetch->body->length)
			has = job->data(job->ctx, fetch->body->text, fetch->body->length) == 0;
		if (has)
			job->end(job->ctx);
		job->finished(job->ctx, fetch->uid, true, emailid);
		return;
	}
	job->finished(job->ctx, fetch->uid, fetch->body->type == IMAP_STREAMED, emailid);
}

/* The id comes with the octets, so that it is known which octets the server calls so. */
static void fetch_choose(void *ctx, uint32_t capabilities)
{
	struct fetch_run *run = ctx;

	g_string_truncate(run->command, run->length);
	g_string_append_printf(run->command, " (UID%s BODY.PEEK[])", source_imap_emailid_item(capabilities));
	run->request.command = run->command->str;
}

static void fetch_command(struct fetch_run *run)
{
	static const char head[] = "UID FETCH ", tail[] = " (UID X-GM-MSGID BODY.PEEK[])";

	g_string_assign(run->command, head);
	imap_set_format(run->job->uids, &run->at, SOURCE_COMMAND_BYTES - sizeof(head) - sizeof(tail), run->command);
	run->length = run->command->len;
	fetch_choose(run, 0);
}

static void fetch_restart(void *ctx)
{
	struct fetch_run *run = ctx;

	run->in_body = false;
	run->job->restart(run->job->ctx);
	run->at = 0;
	fetch_command(run);
}

static void fetch_submit(struct fetch_run *run)
{
	fetch_command(run);
	imap_client_submit(run->source->client, &run->request);
}

static void fetch_free(struct fetch_run *run)
{
	g_string_free(run->command, TRUE);
	g_free(run);
}

static void fetch_done(void *ctx, int code, const struct error *err)
{
	struct fetch_run *run = ctx;
	struct source_fetch_job *job = run->job;

	if (!code && run->at < job->uids->ranges->len) {
		fetch_submit(run);
		return;
	}
	job->internal = NULL;
	fetch_free(run);
	job->done(job->ctx, code, err);
}

static const struct imap_request_ops fetch_ops = {
	.choose = fetch_choose,
	.response = fetch_response,
	.body_begin = fetch_body_begin,
	.body_data = fetch_body_data,
	.body_end = fetch_body_end,
	.restart = fetch_restart,
	.done = fetch_done,
};

static void source_fetch(struct mail_source *base, struct source_fetch_job *job)
{
	struct fetch_run *run = g_new0(struct fetch_run, 1);

	run->source = (struct source_imap *)base;
	run->job = job;
	run->command = g_string_new(NULL);
	run->request = (struct imap_request){
		.mailbox = job->name,
		.uidvalidity = job->uidvalidity,
		.class = job->bulk ? IMAP_BULK : IMAP_INTERACTIVE,
		.ops = &fetch_ops,
		.ctx = run,
	};
	job->internal = run;
	fetch_submit(run);
}

static void source_cancel_fetch(struct mail_source *base, struct source_fetch_job *job)
{
	struct fetch_run *run = job->internal;

	if (!run)
		return;
	job->internal = NULL;
	imap_client_cancel(run->source->client, &run->request);
	fetch_free(run);
}

/* ---- the watch ---- */

static void watch_told(void *ctx, const struct imap_mailbox *mailbox, bool flags_only)
{
	struct source_imap *source = ctx;
	struct source_state state;

	if (!mailbox) {
		source->told(source->told_ctx, NULL, flags_only);
		return;
	}
	state = (struct source_state){mailbox->uidvalidity, mailbox->uidnext, mailbox->exists, mailbox->highestmodseq};
	source->told(source->told_ctx, &state, false);
}

static void source_watch(struct mail_source *base, const char *name, source_told_fn told, void *ctx)
{
	struct source_imap *source = (struct source_imap *)base;

	source->told = told;
	source->told_ctx = ctx;
	imap_client_watch(source->client, name, watch_told, source);
}

/* ---- the rest ---- */

static void source_status(struct mail_source *base, struct source_status *status_out)
{
	struct source_imap *source = (struct source_imap *)base;
	struct imap_client_state client;
	struct auth_state auth;

	imap_client_state(source->client, &client);
	auth_state(source->auth, &auth);
	*status_out = (struct source_status){
		.signed_in = client.signed_in,
		.refused = auth.refused,
		.watching = client.watching,
		.connections = client.connections,
		.token_expires = auth.expires_at,
		.backoff_ms = client.backoff_ms,
		.bytes_in = client.bytes_in,
		.bytes_out = client.bytes_out,
		.commands = client.commands,
		.round_trips = client.round_trips,
		.reconnects = client.reconnects,
		.throttled = client.throttled,
		.token_requests = auth.requests,
		.last_error = client.last_error.code ? client.last_error : auth.last_error,
	};
}

static uint32_t source_bulk_at_once(const struct mail_source *base)
{
	return imap_client_bulk_at_once(((const struct source_imap *)base)->client);
}

static void source_retry_now(struct mail_source *base)
{
	struct source_imap *source = (struct source_imap *)base;

	auth_retry_now(source->auth);
	imap_client_retry_now(source->client);
}

static void source_free(struct mail_source *base)
{
	struct source_imap *source = (struct source_imap *)base;

	for (struct list_run *run; (run = g_queue_peek_head(&source->lists));) {
		imap_client_cancel(source->client, &run->request);
		list_free(run);
	}
	source_imap_syncs_forget(source);
	imap_client_watch(source->client, NULL, NULL, NULL);
	source_imap_searches_forget(source);
	g_free(source);
}

static const struct mail_source_ops source_imap_ops = {
	.split = source_split,
	.list = source_list,
	.sync = source_imap_sync,
	.fetch = source_fetch,
	.cancel_fetch = source_cancel_fetch,
	.bulk_at_once = source_bulk_at_once,
	.watch = source_watch,
	.search = source_imap_search,
	.status = source_status,
	.retry_now = source_retry_now,
	.free = source_free,
};

struct mail_source *mail_source_imap_new(struct imap_client *client, struct auth *auth)
{
	struct source_imap *source = g_new0(struct source_imap, 1);

	source->base.ops = &source_imap_ops;
	source->client = client;
	source->auth = auth;
	g_queue_init(&source->lists);
	g_queue_init(&source->syncs);
	g_queue_init(&source->searches);
	return &source->base;
}
