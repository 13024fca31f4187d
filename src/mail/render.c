/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Workers that make texts and attachments of bodies: parsing and decoding take longer than the loop may be away.
 *
 * A making is found by its key, so that many readers of one wait for one. It is made, told and freed by the loop; a
 * worker has it in between. What it gives goes into the cache, and is kept here for a while, too: where the cache has
 * no room a reader still ends what it began.
 */
#include "src/base/limits.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/banned.h"

#define WORKERS 2u              /* the loop and the readers have work of their own */
#define MADE_MAX 16u            /* kept: descriptors, or memory up to LIMIT_BODY_MEMORY and the longest text */
#define AHEAD_MS 2000u          /* since a text of the folder was asked for */
#define AHEAD_MAX 64u           /* makings at once: each holds a body */
#define AHEAD_WAITING_MAX 8192u /* messages that wait for one: more than a walk's window has of usual mail */
#define LISTS_MAX 64u           /* of attachments, at most MIME_ATTACHMENTS_MAX names each */

enum kind { TEXT, LIST, ATTACHMENT };

struct making {
	struct mail *mail;
	struct mail_folder *folder; /* a reference */
	enum kind kind;
	struct cache_key key;
	unsigned index; /* of ATTACHMENT */
	GQueue parks;
	bool stale; /* store_lock: its key means another message now, or none */
	struct cache_body *raw;
	/* the worker's answer */
	struct cache_body *body;
	GArray *list;
	int code;
	struct error error;
};

/* A message whose text will be wanted soon. */
struct ahead {
	struct mail_folder *folder; /* a reference */
	uint32_t uid;
};

struct made {
	struct cache_key key;
	struct cache_body *body; /* or: */
	GArray *list;
};

struct renderer {
	struct mail *mail;
	pthread_mutex_t lock; /* guards the queues */
	pthread_cond_t filled;
	GQueue queue; /* struct making: to be made */
	GQueue done;  /* made, and not told yet: whoever adds the first one posts */
	bool stopping;
	pthread_t threads[WORKERS];
	unsigned threads_count;
	/* loop only */
	GHashTable *makings; /* key → struct making */
	GQueue orphans;      /* struct making: stale ones that a worker has, or that wait for one */
	GQueue ahead;        /* struct ahead */
	/* held while a worker stores what it made, so that nothing of a stale one comes behind the news */
	pthread_mutex_t store_lock;
	/* views_lock */
	GQueue made, lists; /* struct made, the newest first */
};

/* ---- what was made lately ---- */

static void made_free(void *data)
{
	struct made *made = data;

	cache_body_unref(made->body);
	if (made->list)
		g_array_unref(made->list);
	g_free(made);
}

static void made_add(struct mail *mail, GQueue *queue, guint most, struct made *made)
{
	struct made *old = NULL;

	pthread_mutex_lock(&mail->views_lock);
	g_queue_push_head(queue, made);
	if (queue->length > most)
		old = g_queue_pop_tail(queue);
	pthread_mutex_unlock(&mail->views_lock);
	if (old)
		made_free(old);
}

static bool key_equal(const struct cache_key *a, const struct cache_key *b)
{
	return a->folder == b->folder && a->uidvalidity == b->uidvalidity && a->uid == b->uid && a->lf == b->lf &&
	       a->view == b->view;
}

/* Caller holds views_lock. */
static struct made *made_find(GQueue *queue, const struct cache_key *key)
{
	for (GList *at = queue->head; at; at = at->next) {
		struct made *made = at->data;

		if (key_equal(&made->key, key))
			return made;
	}
	return NULL;
}

bool render_find(struct mail *mail, const struct cache_key *key, struct cache_body **body_out)
{
	struct made *made;

	pthread_mutex_lock(&mail->views_lock);
	made = made_find(&mail->renderer->made, key);
	*body_out = made ? cache_body_ref(made->body) : NULL;
	pthread_mutex_unlock(&mail->views_lock);
	return made != NULL;
}

GArray *render_find_list(struct mail *mail, const struct cache_key *key)
{
	struct made *made;
	GArray *list;

	pthread_mutex_lock(&mail->views_lock);
	made = made_find(&mail->renderer->lists, key);
	list = made ? g_array_ref(made->list) : NULL;
	pthread_mutex_unlock(&mail->views_lock);
	return list;
}

/* ---- a worker's work ---- */

/* A body's octets in one piece: in memory, or mapped. */
struct octets {
	const char *bytes;
	size_t length;
	void *map;
	size_t map_length;
};

static int octets_open(const struct cache_body *body, struct octets *octets_out, struct error *err)
{
	uint64_t offset = 0, length = cache_body_length(body);
	int fd = cache_body_fd(body, &offset);
	uint64_t start = offset - offset % (uint64_t)sysconf(_SC_PAGESIZE);

	*octets_out = (struct octets){.bytes = cache_body_memory(body), .length = (size_t)length};
	if (octets_out->bytes || !length) {
		if (!octets_out->bytes)
			octets_out->bytes = "";
		return 0;
	}
	octets_out->map_length = (size_t)(offset - start + length);
	octets_out->map = mmap(NULL, octets_out->map_length, PROT_READ, MAP_PRIVATE, fd, (off_t)start);
	if (octets_out->map == MAP_FAILED)
		return error_set(err, ERR_STORAGE, "a cached message can't be read");
	octets_out->bytes = (const char *)octets_out->map + (offset - start);
	return 0;
}

static void octets_close(struct octets *octets)
{
	if (octets->map && octets->map != MAP_FAILED)
		munmap(octets->map, octets->map_length);
}

GArray *attachments_new(void)
{
	GArray *list = g_array_new(FALSE, FALSE, sizeof(struct mail_attachment));

	g_array_set_clear_func(list, mail_attachment_clear);
	return list;
}

void mail_attachment_clear(void *data)
{
	g_free(((struct mail_attachment *)data)->name);
}

static void keep(struct making *making, GBytes *bytes)
{
	struct renderer *renderer = making->mail->renderer;

	pthread_mutex_lock(&renderer->store_lock);
	if (!making->stale) {
		atomic_fetch_add(&making->mail->rendered, 1); /* first: who finds it finds it counted */
		making->body = cache_body_put(making->mail->cache, &making->key, bytes);
	}
	pthread_mutex_unlock(&renderer->store_lock);
	g_bytes_unref(bytes);
}

static void make_text(struct making *making, const struct octets *octets)
{
	keep(making, mime_text_render(octets->bytes, octets->length));
}

static void make_list(struct making *making, const struct octets *octets)
{
	g_autoptr(GArray) found = mime_attachments(octets->bytes, octets->length);

	making->list = attachments_new();
	for (guint i = 0; i < found->len; i++) {
		struct mime_attachment *each = &g_array_index(found, struct mime_attachment, i);
		struct mail_attachment attachment = {
			.name = g_steal_pointer(&each->name), .size_bytes = each->size_bytes};

		g_array_append_val(making->list, attachment);
	}
}

static bool measure(void *ctx, const char *bytes, size_t length)
{
	*(uint64_t *)ctx += length;
	return true;
}

static bool gather(void *ctx, const char *bytes, size_t length)
{
	g_string_append_len(ctx, bytes, (gssize)length);
	return true;
}

struct storing {
	struct cache_stream *stream;
	struct error *error;
	int code;
};

static bool store(void *ctx, const char *bytes, size_t length)
{
	struct storing *storing = ctx;

	storing->code = cache_stream_write(storing->stream, bytes, length, storing->error);
	return storing->code == 0;
}

static int make_large(struct making *making, const struct octets *octets, uint64_t size)
{
	struct storing storing = {.error = &making->error};
	struct renderer *renderer = making->mail->renderer;
	int code = cache_stream_open(making->mail->cache, &making->key, size, &storing.stream, &making->error);

	if (code)
		return code;
	mime_attachment_decode(octets->bytes, octets->length, making->index, store, &storing);
	pthread_mutex_lock(&renderer->store_lock);
	code = storing.code;
	if (code || making->stale) {
		cache_stream_abort(storing.stream);
	} else {
		atomic_fetch_add(&making->mail->rendered, 1);
		code = cache_stream_commit(storing.stream, &making->body, &making->error);
	}
	pthread_mutex_unlock(&renderer->store_lock);
	return code;
}

static int make_attachment(struct making *making, const struct octets *octets)
{
	uint64_t size = 0;

	if (!mime_attachment_decode(octets->bytes, octets->length, making->index, measure, &size))
		return error_set(&making->error, ERR_GONE, "the message has no such attachment");
	if (size > LIMIT_BODY_MEMORY)
		return make_large(making, octets, size);

	GString *bytes = g_string_sized_new((gsize)size + 1);

	mime_attachment_decode(octets->bytes, octets->length, making->index, gather, bytes);
	keep(making, g_string_free_to_bytes(bytes));
	return 0;
}

static void work_on(struct making *making)
{
	struct octets octets;

	making->code = octets_open(making->raw, &octets, &making->error);
	if (making->code)
		return;
	if (making->kind == TEXT)
		make_text(making, &octets);
	else if (making->kind == LIST)
		make_list(making, &octets);
	else
		making->code = make_attachment(making, &octets);
	octets_close(&octets);
}

/* ---- the loop's part ---- */

static void making_free(void *data)
{
	struct making *making = data;

	cache_body_unref(making->raw);
	cache_body_unref(making->body);
	if (making->list)
		g_array_unref(making->list);
	mail_folder_unref(making->folder);
	g_free(making);
}

static void made(struct making *making)
{
	struct mail *mail = making->mail;
	struct renderer *renderer = mail->renderer;
	struct made *result;

	if (making->stale) {
		g_queue_remove(&renderer->orphans, making);
		making_free(making);
		return;
	}
	g_hash_table_steal(renderer->makings, &making->key);
	result = g_new0(struct made, 1);
	result->key = making->key;
	if (making->kind == TEXT && !making->code)
		text_length_learn(mail, making->folder, &making->key, making->folder->message_number,
			cache_body_length(making->body));
	if (making->code) {
		mail_note_error(mail, &making->error, "%s, UID %u", making->folder->raw, making->key.uid);
		g_free(result);
	} else if (making->kind == LIST) {
		result->list = g_steal_pointer(&making->list);
		atomic_fetch_add(&mail->rendered, 1);
		made_add(mail, &renderer->lists, LISTS_MAX, result);
	} else {
		result->body = g_steal_pointer(&making->body);
		made_add(mail, &renderer->made, MADE_MAX, result);
	}
	park_finish_all(&making->parks, making->code, &making->error);
	making_free(making);
}

static void ahead_go_on(struct mail *mail);

/* What readers wait for is there before: this may be told of many at once. */
static void made_all(void *data)
{
	struct mail *mail = data;
	struct renderer *renderer = mail->renderer;
	struct making *making;
	GQueue done;

	pthread_mutex_lock(&renderer->lock);
	done = renderer->done;
	g_queue_init(&renderer->done);
	pthread_mutex_unlock(&renderer->lock);
	while ((making = g_queue_pop_head(&done)))
		made(making);
	ahead_go_on(mail);
}

static void *run(void *data)
{
	struct renderer *renderer = data;

	pthread_mutex_lock(&renderer->lock);
	while (!renderer->stopping) {
		struct making *making = g_queue_pop_head(&renderer->queue);

		if (!making) {
			pthread_cond_wait(&renderer->filled, &renderer->lock);
			continue;
		}
		pthread_mutex_unlock(&renderer->lock);
		work_on(making);
		pthread_mutex_lock(&renderer->lock);
		g_queue_push_tail(&renderer->done, making);
		if (renderer->done.length == 1)
			loop_post(renderer->mail->loop, made_all, renderer->mail);
	}
	pthread_mutex_unlock(&renderer->lock);
	return NULL;
}

static bool workers_start(struct renderer *renderer)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (renderer->threads_count < WORKERS &&
		pthread_create(&renderer->threads[renderer->threads_count], NULL, run, renderer) == 0)
		pthread_setname_np(renderer->threads[renderer->threads_count++], "mailtree-text");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return renderer->threads_count > 0;
}

static guint making_hash(gconstpointer pointer)
{
	const struct cache_key *key = pointer;

	return key->folder * 2654435761u ^ key->uid * 2246822519u ^ key->view;
}

static gboolean making_equal(gconstpointer a, gconstpointer b)
{
	return key_equal(a, b);
}

/* Takes over `raw`. Before it is queued it is the caller's to fill. */
static struct making *making_start(struct mail *mail, struct mail_folder *folder, const struct cache_key *key,
	enum kind kind, struct cache_body *raw)
{
	struct making *making = g_new0(struct making, 1);

	making->mail = mail;
	making->folder = mail_folder_ref(folder);
	making->kind = kind;
	making->key = *key;
	making->raw = raw;
	g_queue_init(&making->parks);
	g_hash_table_insert(mail->renderer->makings, &making->key, making);
	return making;
}

/* What somebody waits for comes before what is made ahead. */
static void making_queue(struct renderer *renderer, struct making *making)
{
	pthread_mutex_lock(&renderer->lock);
	if (making->parks.length)
		g_queue_push_head(&renderer->queue, making);
	else
		g_queue_push_tail(&renderer->queue, making);
	pthread_cond_signal(&renderer->filled);
	pthread_mutex_unlock(&renderer->lock);
}

static void making_hurry(struct renderer *renderer, struct making *making)
{
	pthread_mutex_lock(&renderer->lock);
	if (g_queue_remove(&renderer->queue, making))
		g_queue_push_head(&renderer->queue, making);
	pthread_mutex_unlock(&renderer->lock);
}

static bool is_made(struct mail *mail, enum kind kind, const struct cache_key *key)
{
	struct cache_body *body;
	GArray *list;

	if (kind == LIST) {
		list = render_find_list(mail, key);
		if (list)
			g_array_unref(list);
		return list != NULL;
	}
	if (!view_find(mail, key, &body))
		return false;
	cache_body_unref(body);
	return true;
}

static void want(struct mail *mail, struct park *park, enum kind kind, uint16_t view)
{
	struct renderer *renderer = mail->renderer;
	struct cache_key key = body_key(mail, park->folder, park->uid);
	struct cache_body *raw = NULL;
	struct making *making;
	struct error err;

	key.view = view;
	making = g_hash_table_lookup(renderer->makings, &key);
	if (making) {
		if (!making->parks.length)
			making_hurry(renderer, making);
		park_wait_in(park, &making->parks);
		return;
	}
	/* it was made, or its body has gone, since the reader looked: it looks again */
	if (is_made(mail, kind, &key) || !body_get(mail, park->folder, park->uid, &raw)) {
		park_finish(park, 0, NULL);
		return;
	}
	if (!renderer->threads_count && !workers_start(renderer)) {
		cache_body_unref(raw);
		park_finish(park, error_set(&err, ERR_FAILED, "no thread to make it"), &err);
		return;
	}
	making = making_start(mail, park->folder, &key, kind, raw);
	making->index = (unsigned)park->need_bytes;
	park_wait_in(park, &making->parks);
	making_queue(renderer, making);
}

static void ahead_free(void *data)
{
	struct ahead *ahead = data;

	mail_folder_unref(ahead->folder);
	g_free(ahead);
}

bool render_is_ahead(struct mail_folder *folder)
{
	uint64_t asked_ms = atomic_load(&folder->text_asked_ms);

	return asked_ms && clock_ms() - asked_ms <= AHEAD_MS;
}

/* The reader may have come first. */
static void ahead_start(struct mail *mail, const struct ahead *ahead)
{
	struct renderer *renderer = mail->renderer;
	struct cache_key key = body_key(mail, ahead->folder, ahead->uid);
	struct cache_body *raw;

	key.view = VIEW_TEXT;
	if (!render_is_ahead(ahead->folder) || g_hash_table_contains(renderer->makings, &key) ||
		text_is_known(mail, ahead->folder, &key) || !body_get(mail, ahead->folder, ahead->uid, &raw))
		return;
	making_queue(renderer, making_start(mail, ahead->folder, &key, TEXT, raw));
}

static void ahead_go_on(struct mail *mail)
{
	struct renderer *renderer = mail->renderer;
	struct ahead *ahead;

	while (g_hash_table_size(renderer->makings) < AHEAD_MAX && (ahead = g_queue_pop_head(&renderer->ahead))) {
		ahead_start(mail, ahead);
		ahead_free(ahead);
	}
}

/*
 * A body has come: where somebody reads texts in this folder, this one's will be wanted soon. The reader, whose open
 * then waits for nothing, is what a walk follows (view.c).
 */
void render_ahead(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	struct renderer *renderer = mail->renderer;
	struct ahead *ahead;

	if (!renderer->threads_count || !render_is_ahead(folder) || renderer->ahead.length >= AHEAD_WAITING_MAX)
		return;
	ahead = g_new(struct ahead, 1);
	*ahead = (struct ahead){mail_folder_ref(folder), uid};
	g_queue_push_tail(&renderer->ahead, ahead);
	ahead_go_on(mail);
}

static void made_drop(GQueue *queue, uint32_t folder, GQueue *dropped)
{
	for (GList *at = queue->head, *next; at; at = next) {
		struct made *made = at->data;

		next = at->next;
		if (made->key.folder != folder)
			continue;
		g_queue_unlink(queue, at);
		g_queue_push_tail_link(dropped, at);
	}
}

void render_forget(struct mail *mail, struct mail_folder *folder, int code, const struct error *err)
{
	struct renderer *renderer = mail->renderer;
	GQueue dropped = G_QUEUE_INIT, ended = G_QUEUE_INIT;
	GHashTableIter iter;
	struct making *making;

	pthread_mutex_lock(&mail->views_lock);
	made_drop(&renderer->made, folder->cache_id, &dropped);
	made_drop(&renderer->lists, folder->cache_id, &dropped);
	pthread_mutex_unlock(&mail->views_lock);
	g_queue_clear_full(&dropped, made_free);
	pthread_mutex_lock(&renderer->store_lock);
	g_hash_table_iter_init(&iter, renderer->makings);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&making)) {
		if (making->folder != folder)
			continue;
		making->stale = true;
		g_hash_table_iter_steal(&iter);
		g_queue_push_tail(&ended, making);
		g_queue_push_tail(&renderer->orphans, making);
	}
	pthread_mutex_unlock(&renderer->store_lock);
	while ((making = g_queue_pop_head(&ended)))
		park_finish_all(&making->parks, code, err);
}

void render_park_text(struct mail *mail, struct park *park)
{
	want(mail, park, TEXT, VIEW_TEXT);
}

void render_park_list(struct mail *mail, struct park *park)
{
	want(mail, park, LIST, VIEW_LIST);
}

void render_park_attachment(struct mail *mail, struct park *park)
{
	want(mail, park, ATTACHMENT, (uint16_t)(VIEW_ATTACHMENTS + park->need_bytes));
}

/* ---- life ---- */

void render_init(struct mail *mail)
{
	struct renderer *renderer = g_new0(struct renderer, 1);

	renderer->mail = mail;
	pthread_mutex_init(&renderer->lock, NULL);
	pthread_cond_init(&renderer->filled, NULL);
	pthread_mutex_init(&renderer->store_lock, NULL);
	g_queue_init(&renderer->queue);
	g_queue_init(&renderer->done);
	g_queue_init(&renderer->orphans);
	g_queue_init(&renderer->ahead);
	g_queue_init(&renderer->made);
	g_queue_init(&renderer->lists);
	renderer->makings = g_hash_table_new_full(making_hash, making_equal, NULL, making_free);
	mail->renderer = renderer;
}

void render_fini(struct mail *mail)
{
	struct renderer *renderer = mail->renderer;

	if (!renderer)
		return;
	pthread_mutex_lock(&renderer->lock);
	renderer->stopping = true;
	pthread_cond_broadcast(&renderer->filled);
	pthread_mutex_unlock(&renderer->lock);
	for (unsigned i = 0; i < renderer->threads_count; i++)
		pthread_join(renderer->threads[i], NULL);
	/* those that were never told, too; the queues hold some of the same */
	g_hash_table_unref(renderer->makings);
	g_queue_clear_full(&renderer->orphans, making_free);
	g_queue_clear(&renderer->queue);
	g_queue_clear(&renderer->done);
	g_queue_clear_full(&renderer->ahead, ahead_free);
	g_queue_clear_full(&renderer->made, made_free);
	g_queue_clear_full(&renderer->lists, made_free);
	pthread_cond_destroy(&renderer->filled);
	pthread_mutex_destroy(&renderer->lock);
	pthread_mutex_destroy(&renderer->store_lock);
	g_free(renderer);
	mail->renderer = NULL;
}
