/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bodies on their way. However many readers want a message, it is one `struct body`; it is carried by one
 * fetch, or by two where a reader can't wait for the bulk fetch that would bring it: the first complete one
 * stays. Bytes of two fetches are never mixed.
 *
 * A fetch that fails over its content is halved until single messages are left. One that fails alone, or is
 * answered with nothing, is asked for once more; then a check of the folder tells whether it is gone or broken.
 */
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <string.h>

#include "src/base/banned.h"

#define BULK_BEHIND_BYTES (1u << 20) /* a reader doesn't wait for more bulk bytes than this before its own */
#define ALONE_TRIES 2u
#define OFFER_BYTES_MAX (256u << 10)

/* What only a body has that doesn't come well: the others are many, and small. */
struct trouble {
	struct mail_waiter check; /* first: the folder's check, when the server gave nothing */
	struct body *body;        /* that owns it */
	struct error failure;     /* of the last fetch */
};

struct body {
	struct mail_folder *folder; /* a reference */
	uint32_t uid;
	uint64_t expected_bytes;  /* what the listing says */
	uint64_t walk_bytes;      /* the same when a walk asked for it, else 0 */
	uint64_t walk_ms;         /* … at this time */
	uint64_t announced_bytes; /* UINT64_MAX = not yet */
	unsigned carriers;        /* fetches that hold it */
	unsigned alone_tries;
	bool over;
	bool checking;
	struct fetch *receiving;
	struct trouble *trouble; /* NULL = none */
	GQueue parks;
};

struct fetch {
	struct source_fetch_job job;
	struct mail *mail;
	struct mail_folder *folder; /* a reference */
	struct imap_set uids;
	GPtrArray *bodies; /* struct body: its own hold on each */
	bool bulk;
	bool delivered;    /* something */
	uint64_t asked_ms; /* 0 = answered */
	/* the literal under way */
	struct body *now;
	uint32_t now_uid; /* 0 = not told yet */
	bool guessed;     /* the UID isn't told yet, and this fetch asked for one alone: shown to nobody until it is */
	bool swallow, octets_done;
	uint64_t length, received;
	char *memory;
	struct streaming *streaming; /* survives a restart: what comes again must be the same */
};

static void fetch_start(struct mail *mail, struct mail_folder *folder, GPtrArray *bodies, bool bulk);

/* ---- life ---- */

static struct body *body_find(const struct mail_folder *folder, uint32_t uid)
{
	return folder->bodies ? g_hash_table_lookup(folder->bodies, GUINT_TO_POINTER(uid)) : NULL;
}

static struct body *body_new(struct mail_folder *folder, uint32_t uid)
{
	struct body *body = g_new0(struct body, 1);
	const struct row *row = folder->listing ? listing_find(folder->listing, uid) : NULL;

	body->folder = mail_folder_ref(folder);
	body->uid = uid;
	body->expected_bytes = row ? row->size_bytes : 0;
	body->announced_bytes = UINT64_MAX;
	g_queue_init(&body->parks);
	if (!folder->bodies)
		folder->bodies = g_hash_table_new(NULL, NULL);
	g_hash_table_insert(folder->bodies, GUINT_TO_POINTER(uid), body);
	return body;
}

static struct trouble *trouble_of(struct body *body)
{
	if (!body->trouble) {
		body->trouble = g_new0(struct trouble, 1);
		body->trouble->body = body;
	}
	return body->trouble;
}

static void body_free_if_idle(struct body *body)
{
	if (!body->over || body->carriers || body->checking)
		return;
	mail_folder_unref(body->folder);
	g_free(body->trouble);
	g_free(body);
}

static void drop_streaming(struct fetch *fetch)
{
	if (fetch->streaming)
		body_stream_abort(fetch->mail, fetch->streaming);
	fetch->streaming = NULL;
}

static void literal_forget(struct fetch *fetch)
{
	if (fetch->now && fetch->now->receiving == fetch)
		fetch->now->receiving = NULL;
	fetch->now = NULL;
	g_free(fetch->memory);
	fetch->memory = NULL;
	fetch->octets_done = false;
}

/* Ends what readers wait for. The body leaves the folder's table: who asks from now on begins anew. */
static void body_over(struct mail *mail, struct body *body, int code, const struct error *err)
{
	struct mail_folder *folder = body->folder;

	if (body->over)
		return;
	body->over = true;
	if (body_find(folder, body->uid) == body)
		g_hash_table_remove(folder->bodies, GUINT_TO_POINTER(body->uid));
	if (body->receiving) {
		struct fetch *fetch = body->receiving;

		drop_streaming(fetch);
		literal_forget(fetch);
		fetch->swallow = true;
	}
	/* a stub is read like a body */
	if (code == ERR_BROKEN && mail->config.broken_stub)
		code = 0;
	/* who parks again from within `done` waits for another body */
	park_finish_all(&body->parks, code, err);
	if (code == 0)
		render_ahead(mail, folder, body->uid);
	if (body->walk_bytes)
		walk_arrived(mail, folder, body->walk_bytes, body->walk_ms,
			code == 0 || code == ERR_BROKEN || code == ERR_GONE);
}

static void body_release(struct body *body)
{
	body->carriers--;
	body_free_if_idle(body);
}

static void fetch_free(struct fetch *fetch)
{
	drop_streaming(fetch);
	literal_forget(fetch);
	g_ptr_array_unref(fetch->bodies);
	imap_set_fini(&fetch->uids);
	mail_folder_unref(fetch->folder);
	g_free(fetch);
}

bool fetch_is_under_way(const struct mail_folder *folder, uint32_t uid)
{
	return body_find(folder, uid) != NULL;
}

/* ---- what comes ---- */

static void sizes_told(struct fetch *fetch, struct body *body, uint64_t length)
{
	struct mail *mail = fetch->mail;
	g_autoptr(GPtrArray) ready = NULL;

	body->announced_bytes = length;
	/* as lines are changed the length is known only at the end */
	if (mail->config.eol_lf)
		return;
	body_size_learn(mail, fetch->folder, body->uid, length, true);
	ready = g_ptr_array_new();
	for (GList *at = body->parks.head; at; at = at->next)
		if (((struct park *)at->data)->need_bytes == 0)
			g_ptr_array_add(ready, at->data);
	for (guint i = 0; i < ready->len; i++)
		park_finish(ready->pdata[i], 0, NULL);
}

static void wake_followers(struct body *body, uint64_t written)
{
	g_autoptr(GPtrArray) ready = NULL;

	for (GList *at = body->parks.head; at; at = at->next) {
		if (((struct park *)at->data)->need_bytes > written)
			continue;
		if (!ready)
			ready = g_ptr_array_new();
		g_ptr_array_add(ready, at->data);
	}
	for (guint i = 0; ready && i < ready->len; i++)
		park_finish(ready->pdata[i], 0, NULL);
}

static void storage_failed(struct fetch *fetch, struct body *body, const struct error *err)
{
	mail_note_error(fetch->mail, err, "%s, UID %u", fetch->folder->raw, body->uid);
	body_over(fetch->mail, body, err->code, err);
}

/* The beginning that came before a cut must come again, octet for octet, once it was shown to a reader. */
static bool streaming_goes_on(struct fetch *fetch, const struct body *body)
{
	return fetch->streaming && fetch->streaming->uid == body->uid && fetch->streaming->length == fetch->length;
}

static void differs(struct fetch *fetch, struct body *body)
{
	struct error err;
	bool seen = fetch->streaming->handed_out;

	drop_streaming(fetch);
	error_set(&err, ERR_BROKEN, "the server gave other octets when it was asked again after a lost connection");
	if (seen)
		broken_mark(fetch->mail, fetch->folder, body->uid, &err);
	body_over(fetch->mail, body, ERR_BROKEN, &err);
}

static bool on_begin(void *ctx, uint32_t uid, uint64_t length)
{
	struct fetch *fetch = ctx;
	struct body *body;
	struct error err;

	literal_forget(fetch);
	if (fetch->asked_ms)
		walk_answered(fetch->folder, clock_ms() - fetch->asked_ms);
	fetch->asked_ms = 0;
	fetch->guessed = !uid;
	if (!uid && fetch->bodies->len == 1)
		uid = ((struct body *)fetch->bodies->pdata[0])->uid;
	body = uid ? body_find(fetch->folder, uid) : NULL;
	fetch->now_uid = uid;
	fetch->swallow = false;
	fetch->length = length;
	fetch->received = 0;
	if (uid && (!body || (body->receiving && body->receiving != fetch)))
		return false;
	/* a large one can't be held until the server says whose it is: it is asked for alone */
	if (!body && length > LIMIT_BODY_MEMORY)
		return false;
	daily_add(fetch->mail, length);
	if (body && length > LIMIT_BODY_BYTES) {
		error_set(&err, ERR_BROKEN, "the server announces %" G_GUINT64_FORMAT " bytes", length);
		broken_mark(fetch->mail, fetch->folder, uid, &err);
		body_over(fetch->mail, body, ERR_BROKEN, &err);
		return false;
	}
	if (length <= LIMIT_BODY_MEMORY) {
		fetch->memory = g_malloc(length + 1);
	} else if (!streaming_goes_on(fetch, body)) {
		if (fetch->streaming && fetch->streaming->uid == body->uid && fetch->streaming->handed_out) {
			differs(fetch, body);
			return false;
		}
		drop_streaming(fetch);
		fetch->streaming = body_stream_open(fetch->mail, fetch->folder, uid, length, fetch->guessed, &err);
		if (!fetch->streaming) {
			storage_failed(fetch, body, &err);
			return false;
		}
	}
	fetch->now = body;
	if (body) {
		body->receiving = fetch;
		/* of a small one only when it is seen to be the message, and no notice in its place */
		if (fetch->streaming && !fetch->guessed)
			sizes_told(fetch, body, length);
	}
	return true;
}

static int stream_data(struct fetch *fetch, const char *bytes, size_t length)
{
	struct body *body = fetch->now;
	struct streaming *s = fetch->streaming;
	struct error err;

	while (length && fetch->received < s->written) {
		char before[16384];
		size_t part = MIN(MIN(length, sizeof(before)), s->written - fetch->received);
		ssize_t got = cache_stream_read(s->stream, fetch->received, before, part, &err);

		if (got != (ssize_t)part || memcmp(before, bytes, part) != 0) {
			differs(fetch, body);
			return 0;
		}
		fetch->received += part;
		bytes += part;
		length -= part;
	}
	if (!length)
		return 0;
	if (body_stream_write(fetch->mail, s, bytes, length, &err) != 0) {
		storage_failed(fetch, body, &err);
		return 0;
	}
	fetch->received += length;
	if (body->parks.length && !fetch->mail->config.eol_lf && !s->hidden)
		wake_followers(body, s->written);
	return 0;
}

static int on_data(void *ctx, const char *bytes, size_t length)
{
	struct fetch *fetch = ctx;

	atomic_fetch_add(&fetch->mail->fetched_bytes, length);
	if (fetch->swallow)
		return 0;
	if (fetch->memory) {
		length = MIN(length, fetch->length - fetch->received);
		memcpy(fetch->memory + fetch->received, bytes, length);
		fetch->received += length;
		return 0;
	}
	return fetch->now && fetch->streaming ? stream_data(fetch, bytes, length) : 0;
}

/* CRLF becomes LF; a CR of its own stays. */
static size_t lines_turn(char *bytes, size_t length)
{
	size_t to = 0;

	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\r' && i + 1 < length && bytes[i + 1] == '\n')
			continue;
		bytes[to++] = bytes[i];
	}
	return to;
}

/* The kernel may have it before its reader asks. Not what is opened unseen: the reader's pace is to be known. */
static void offer_ahead(struct fetch *fetch, const struct body *body, GBytes *bytes)
{
	struct mail_folder *folder = fetch->folder;
	struct mail_event event = {.type = MAIL_EVENT_MESSAGE_BODY,
		.folder = folder,
		.message_number = folder->message_number,
		.body = bytes};
	const struct row *row = folder->listing ? listing_find(folder->listing, body->uid) : NULL;

	/* who reads texts doesn't read the octets */
	if (!body->walk_bytes || fetch->mail->sizes_trusted || body->parks.length || !row || render_is_ahead(folder) ||
		!(row->flags & ROW_SIZE_EXACT) || (row->flags & ROW_SIZE_CHANGED) ||
		row->size_bytes != g_bytes_get_size(bytes) || !row->size_bytes || row->size_bytes > OFFER_BYTES_MAX)
		return;
	event.message.uid = body->uid;
	mail_emit(fetch->mail, &event);
}

static void deliver_memory(struct fetch *fetch, struct body *body, const char *emailid)
{
	struct mail *mail = fetch->mail;
	struct cache_key key = body_key(mail, fetch->folder, body->uid);
	struct cache_body *stored;
	struct cache_identity identity;
	size_t length = fetch->length;
	GBytes *bytes;
	struct error err;

	if (broken_is_stand_in(fetch->memory, length)) {
		error_set(&err, ERR_BROKEN, "the server sent a notice that it can't convert this message");
		error_hint(&err, "open it in Outlook; mailtree tries again tomorrow");
		literal_forget(fetch);
		broken_mark(mail, fetch->folder, body->uid, &err);
		body_over(mail, body, ERR_BROKEN, &err);
		return;
	}
	sizes_told(fetch, body, length);
	cache_identity_of(emailid, length, &identity);
	if (mail->config.eol_lf)
		length = lines_turn(fetch->memory, length);
	bytes = g_bytes_new_take(g_steal_pointer(&fetch->memory), length);
	stored = cache_body_put_identified(mail->cache, &key, bytes, &identity);
	offer_ahead(fetch, body, bytes);
	g_bytes_unref(bytes);
	if (mail->config.eol_lf)
		body_size_learn(mail, fetch->folder, body->uid, cache_body_length(stored), false);
	cache_body_unref(stored);
	literal_forget(fetch);
	broken_clear(mail, fetch->folder, body->uid);
	body_over(mail, body, 0, NULL);
}

static void deliver_stream(struct fetch *fetch, struct body *body, const char *emailid)
{
	struct mail *mail = fetch->mail;
	struct streaming *s = g_steal_pointer(&fetch->streaming);
	struct error err;
	int code;

	literal_forget(fetch);
	code = body_stream_commit(mail, s, emailid, &err);
	if (code) {
		storage_failed(fetch, body, &err);
		return;
	}
	broken_clear(mail, fetch->folder, body->uid);
	body_over(mail, body, 0, NULL);
}

static void deliver(struct fetch *fetch, struct body *body, const char *emailid)
{
	atomic_fetch_add(&fetch->mail->fetched_messages, 1);
	fetch->delivered = true;
	/* whichever fetch brings it: a server may begin with the answer to a command before it has ended that to
	 * another */
	if (body->walk_bytes)
		atomic_fetch_add(&fetch->mail->prefetched, 1);
	if (fetch->memory)
		deliver_memory(fetch, body, emailid);
	else
		deliver_stream(fetch, body, emailid);
}

static void on_end(void *ctx)
{
	struct fetch *fetch = ctx;

	/* a response that goes wrong behind them tells that their number was wrong: it must end well first */
	fetch->octets_done = !fetch->swallow;
}

static bool is_told_empty(const struct mail_folder *folder, uint32_t uid)
{
	const struct row *row = folder->listing ? listing_find(folder->listing, uid) : NULL;

	return row && row->size_bytes == 0;
}

static void on_finished(void *ctx, uint32_t uid, bool has_body, const char *emailid)
{
	struct fetch *fetch = ctx;
	struct body *body = body_find(fetch->folder, uid);

	if (fetch->octets_done && fetch->now && fetch->now->uid == uid) {
		deliver(fetch, fetch->now, emailid);
		return;
	}
	if (fetch->octets_done && fetch->now) {
		/* the octets were another message's: an answer to another command, or to none */
		drop_streaming(fetch);
		literal_forget(fetch);
		return;
	}
	/* the UID came behind the octets */
	if (fetch->octets_done && !fetch->now_uid && fetch->memory) {
		if (body && !body->receiving)
			deliver(fetch, body, emailid);
		literal_forget(fetch);
		return;
	}
	/* some servers give NIL for the octets of an empty message */
	if (!has_body && body && !body->receiving && is_told_empty(fetch->folder, uid)) {
		fetch->length = 0;
		fetch->memory = g_malloc(1);
		deliver(fetch, body, emailid);
		return;
	}
	if (!has_body && body)
		error_set(&trouble_of(body)->failure, ERR_BROKEN,
			"the server has this message and gives no octets of it");
}

/* What has come isn't asked for again: a server that closes after every few messages would never come to the end. */
static void on_restart(void *ctx)
{
	struct fetch *fetch = ctx;
	struct imap_set left;

	literal_forget(fetch);
	fetch->swallow = false;
	imap_set_init(&left);
	for (guint i = 0; i < fetch->bodies->len; i++) {
		const struct body *body = fetch->bodies->pdata[i];

		if (!body->over)
			imap_set_add(&left, body->uid, body->uid);
	}
	if (imap_set_count(&left)) {
		imap_set_fini(&fetch->uids);
		fetch->uids = left;
	} else {
		imap_set_fini(&left);
	}
}

/* ---- the end of a fetch ---- */

static void body_checked(struct mail_waiter *waiter, int code)
{
	struct trouble *trouble = (struct trouble *)waiter;
	struct body *body = trouble->body;
	struct mail *mail = body->folder->mail;
	struct error err = waiter->error;
	bool there;

	body->checking = false;
	if (!body->over && code == 0) {
		there = body->folder->listing && listing_find(body->folder->listing, body->uid);
		if (there) {
			code = ERR_BROKEN;
			err = trouble->failure;
			if (err.code != ERR_BROKEN) {
				char text[ERROR_TEXT_MAX];

				g_strlcpy(text, err.text, sizeof(text));
				error_set(&err, ERR_BROKEN, "the server can't deliver this message%s%s",
					*text ? ": " : "", text);
			}
			broken_mark(mail, body->folder, body->uid, &err);
		} else {
			code = error_set(&err, ERR_GONE, "the message is gone on the server");
		}
	}
	body_over(mail, body, code, &err);
	body_free_if_idle(body);
}

static void check_folder(struct mail *mail, struct body *body)
{
	struct trouble *trouble = trouble_of(body);

	body->checking = true;
	trouble->check = (struct mail_waiter){.done = body_checked};
	park_new(mail, &trouble->check, sync_park, body->folder, 0, 0, true);
}

static bool is_about_content(int code)
{
	return code == 0 || code == ERR_REFUSED || code == ERR_PROTOCOL || code == ERR_BROKEN;
}

/* What this fetch should have brought and didn't, and no other will. */
static GPtrArray *leftovers(struct fetch *fetch)
{
	GPtrArray *left = g_ptr_array_new();

	for (guint i = 0; i < fetch->bodies->len; i++) {
		struct body *body = fetch->bodies->pdata[i];

		if (!body->over && body->carriers == 1)
			g_ptr_array_add(left, body);
	}
	return left;
}

static void halve(struct mail *mail, struct mail_folder *folder, GPtrArray *left, bool bulk)
{
	g_autoptr(GPtrArray) first = g_ptr_array_new(), rest = g_ptr_array_new();

	for (guint i = 0; i < left->len; i++)
		g_ptr_array_add(i < left->len / 2 ? first : rest, left->pdata[i]);
	fetch_start(mail, folder, first, bulk);
	fetch_start(mail, folder, rest, bulk);
}

static void content_failed(struct fetch *fetch, GPtrArray *left, int code, const struct error *err)
{
	struct mail *mail = fetch->mail;
	struct body *body = left->pdata[0];

	if (left->len > 1 && code) {
		log_info("%s: a FETCH of %u messages failed (%s): asking in halves", fetch->folder->raw, left->len,
			err->text);
		halve(mail, fetch->folder, left, fetch->bulk);
		return;
	}
	/* answered OK without them, or already alone: each by itself */
	for (guint i = 0; i < left->len; i++) {
		g_autoptr(GPtrArray) alone = g_ptr_array_new();

		body = left->pdata[i];
		if (code)
			trouble_of(body)->failure = *err;
		if (fetch->bodies->len == 1)
			body->alone_tries++;
		if (body->alone_tries >= ALONE_TRIES) {
			check_folder(mail, body);
			continue;
		}
		g_ptr_array_add(alone, body);
		fetch_start(mail, fetch->folder, alone, fetch->bulk && !body->parks.length);
	}
}

/* The way to the server failed, not the content: nothing is said of any message. */
static void way_failed(struct fetch *fetch, GPtrArray *left, int code, const struct error *err)
{
	unsigned waiting = 0;

	for (guint i = 0; i < left->len; i++)
		waiting += ((struct body *)left->pdata[i])->parks.length > 0;
	if (waiting)
		mail_note_error(fetch->mail, err, "%s, %u messages", fetch->folder->raw, waiting);
	for (guint i = 0; i < left->len; i++)
		body_over(fetch->mail, left->pdata[i], code, err);
}

static void on_done(void *ctx, int code, const struct error *err)
{
	struct fetch *fetch = ctx;
	struct mail *mail = fetch->mail;
	g_autoptr(GPtrArray) left = NULL;

	literal_forget(fetch);
	drop_streaming(fetch);
	g_queue_remove(&mail->fetches, fetch);
	left = leftovers(fetch);
	if (left->len && is_about_content(code))
		content_failed(fetch, left, code, err);
	else if (left->len && code == ERR_UNREACHABLE && fetch->delivered)
		fetch_start(mail, fetch->folder, left, fetch->bulk);
	else if (left->len)
		way_failed(fetch, left, code, err);
	for (guint i = 0; i < fetch->bodies->len; i++)
		body_release(fetch->bodies->pdata[i]);
	if (code == ERR_RENUMBERED || code == ERR_GONE)
		sync_kick(mail, fetch->folder);
	fetch_free(fetch);
}

/* ---- the beginning ---- */

static void fetch_start(struct mail *mail, struct mail_folder *folder, GPtrArray *bodies, bool bulk)
{
	struct fetch *fetch = g_new0(struct fetch, 1);

	fetch->mail = mail;
	fetch->folder = mail_folder_ref(folder);
	fetch->bodies = g_ptr_array_new();
	fetch->bulk = bulk;
	fetch->asked_ms = clock_ms();
	imap_set_init(&fetch->uids);
	for (guint i = 0; i < bodies->len; i++) {
		struct body *body = bodies->pdata[i];

		body->carriers++;
		g_ptr_array_add(fetch->bodies, body);
		imap_set_add(&fetch->uids, body->uid, body->uid);
	}
	fetch->job = (struct source_fetch_job){
		.name = folder->raw,
		.uidvalidity = folder->state.uidvalidity,
		.uids = &fetch->uids,
		.bulk = bulk,
		.begin = on_begin,
		.data = on_data,
		.end = on_end,
		.finished = on_finished,
		.restart = on_restart,
		.done = on_done,
		.ctx = fetch,
	};
	g_queue_push_tail(&mail->fetches, fetch);
	mail->source->ops->fetch(mail->source, &fetch->job);
}

void fetch_bulk(struct mail *mail, struct mail_folder *folder, const GArray *uids)
{
	g_autoptr(GPtrArray) bodies = g_ptr_array_new();
	uint64_t now_ms = clock_ms();

	for (guint i = 0; i < uids->len; i++) {
		uint32_t uid = g_array_index(uids, uint32_t, i);

		struct body *body;

		if (body_find(folder, uid))
			continue;
		body = body_new(folder, uid);
		body->walk_bytes = MAX(body->expected_bytes, 1);
		body->walk_ms = now_ms;
		g_ptr_array_add(bodies, body);
	}
	if (bodies->len)
		fetch_start(mail, folder, bodies, true);
}

static void fetch_alone(struct mail *mail, struct body *body)
{
	g_autoptr(GPtrArray) bodies = g_ptr_array_new();

	g_ptr_array_add(bodies, body);
	fetch_start(mail, body->folder, bodies, false);
}

/* Bulk bytes that come first. Those of other folders are mostly on other connections. */
static uint64_t bytes_before(const struct mail *mail, const struct body *wanted)
{
	uint64_t bytes = 0;

	for (const GList *at = mail->fetches.head; at; at = at->next) {
		const struct fetch *fetch = at->data;

		for (guint i = 0; i < fetch->bodies->len; i++) {
			const struct body *body = fetch->bodies->pdata[i];

			if (body == wanted)
				return bytes;
			if (!body->over)
				bytes += fetch->folder == wanted->folder ? body->expected_bytes
				                                         : body->expected_bytes / 4;
		}
	}
	return bytes;
}

static void want(struct mail *mail, struct park *park)
{
	struct mail_folder *folder = park->folder;
	struct body *body = body_find(folder, park->uid);
	struct error err;

	if (!body) {
		const struct row *row = folder->listing ? listing_find(folder->listing, park->uid) : NULL;
		int code = daily_check(mail, row ? row->size_bytes : 0, &err);

		if (code) {
			mail_note_error(mail, &err, "%s, UID %u", folder->raw, park->uid);
			park_finish(park, code, &err);
			return;
		}
		body = body_new(folder, park->uid);
		park_wait_in(park, &body->parks);
		fetch_alone(mail, body);
		return;
	}
	if (body->announced_bytes != UINT64_MAX && !mail->config.eol_lf && park->need_bytes == 0) {
		park_finish(park, 0, NULL);
		return;
	}
	park_wait_in(park, &body->parks);
	if (body->receiving && body->receiving->streaming && !body->receiving->streaming->hidden &&
		!mail->config.eol_lf)
		wake_followers(body, body->receiving->streaming->written);
	else if (!body->receiving && body->carriers == 1 && !body->alone_tries &&
		 bytes_before(mail, body) > BULK_BEHIND_BYTES)
		fetch_alone(mail, body);
}

void fetch_park(struct mail *mail, struct park *park)
{
	struct mail_folder *folder = park->folder;
	struct error err;
	uint32_t uid;
	int pid;

	if (folder->gone) {
		error_set(&err, ERR_GONE, "the folder is gone on the server");
		park_finish(park, ERR_GONE, &err);
		return;
	}
	/* it came, or turned out to be broken, since the reader looked: which of them, the next look tells */
	if (body_is_cached(mail, folder, park->uid) || broken_is_known(mail, folder, park->uid)) {
		park_finish(park, 0, NULL);
		return;
	}
	pid = park->waiter->pid;
	uid = park->uid;
	want(mail, park);
	walk_missed(mail, folder, uid, pid);
}

void fetch_stop_all(struct mail_folder *folder, int code, const struct error *err)
{
	struct mail *mail = folder->mail;
	g_autoptr(GHashTable) bodies = NULL;
	GHashTableIter iter;
	struct body *body;

	for (GList *at = mail->fetches.head, *next; at; at = next) {
		struct fetch *fetch = at->data;

		next = at->next;
		if (fetch->folder != folder)
			continue;
		mail->source->ops->cancel_fetch(mail->source, &fetch->job);
		g_queue_delete_link(&mail->fetches, at);
		for (guint i = 0; i < fetch->bodies->len; i++) {
			body = fetch->bodies->pdata[i];
			literal_forget(fetch);
			body_over(mail, body, code, err);
			body_release(body);
		}
		fetch_free(fetch);
	}
	/* Those whose check is under way are ended by it. Who parks again from within `done` waits for another body. */
	bodies = g_steal_pointer(&folder->bodies);
	if (!bodies)
		return;
	g_hash_table_iter_init(&iter, bodies);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&body)) {
		body->over = true;
		park_finish_all(&body->parks, code, err);
	}
}
