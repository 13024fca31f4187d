/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What readers ask: the size of a message, and its octets. Answered from the cache, from a large body while it
 * streams in, or by parking until a fetch has brought it.
 */
#include "src/base/block.h"
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <string.h>

#include "src/base/banned.h"

#define SIZES_SAVE_EACH 20u
#define HELD_BODIES                                                                                                    \
	4u /* descriptors of large bodies kept, so that a reader ends what it began though the cache is full */
#define COPY_BYTES (256u * 1024u)

struct cache_key body_key(const struct mail *mail, const struct mail_folder *folder, uint32_t uid)
{
	return (struct cache_key){.folder = folder->cache_id,
		.uidvalidity = folder->state.uidvalidity,
		.uid = uid,
		.lf = mail->config.eol_lf};
}

/* ---- sizes ---- */

void body_sizes_save(struct mail *mail)
{
	char text[16];

	g_snprintf(text, sizeof(text), "%u", atomic_load(&mail->sizes_confirmed));
	cache_trait_put(mail->cache, "sizes.confirmed", text);
}

static void size_confirmed(struct mail *mail)
{
	if (atomic_fetch_add(&mail->sizes_confirmed, 1) % SIZES_SAVE_EACH == SIZES_SAVE_EACH - 1)
		body_sizes_save(mail);
}

static void size_lied(struct mail *mail, const struct mail_folder *folder, uint32_t uid, uint64_t told, uint64_t size)
{
	if (atomic_exchange(&mail->sizes_lied, true))
		return;
	log_info("%s, UID %u: the server said %" G_GUINT64_FORMAT " bytes and sent %" G_GUINT64_FORMAT
		 ": sizes of %s are learned at open from now on",
		folder->raw, uid, told, size, mail->host);
	cache_trait_put(mail->cache, "sizes.lied", "1");
}

static uint64_t lie_key(uint32_t folder, uint32_t uid)
{
	return (uint64_t)folder << 32 | uid;
}

/*
 * Under trust programs were told a size, and the kernel with them, that isn't the true one. Whoever reads next may
 * take a part for the whole: that one read fails, whether it was itself or a prefetch that found out.
 */
static void lie_add(struct mail *mail, const struct mail_folder *folder, uint32_t uid)
{
	uint64_t *key = g_new(uint64_t, 1);

	*key = lie_key(folder->cache_id, uid);
	pthread_mutex_lock(&mail->lies_lock);
	g_hash_table_add(mail->lies, key);
	pthread_mutex_unlock(&mail->lies_lock);
}

static bool lie_take(struct mail *mail, const struct cache_key *key)
{
	uint64_t wanted = lie_key(key->folder, key->uid);
	bool found;

	if (!mail->sizes_trusted)
		return false;
	pthread_mutex_lock(&mail->lies_lock);
	found = g_hash_table_remove(mail->lies, &wanted);
	pthread_mutex_unlock(&mail->lies_lock);
	return found;
}

void body_size_learn(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t size_bytes, bool confirms)
{
	struct mail_event event = {.type = MAIL_EVENT_MESSAGE_SIZE,
		.folder = folder,
		.parent = folder->parent,
		.message_number = folder->message_number};
	struct row *row = folder->listing ? listing_find(folder->listing, uid) : NULL;
	struct cache_batch *batch;
	uint64_t told;
	bool was_exact, changed;

	if (!row || ((row->flags & ROW_SIZE_EXACT) && row->size_bytes == size_bytes))
		return;
	told = row->size_bytes;
	was_exact = row->flags & ROW_SIZE_EXACT;
	/* 0 was shown as 1 */
	changed = told != size_bytes || (!was_exact && !size_bytes);
	/* before the row tells the truth: who reads that must not be taken for one who was told it */
	if (mail->sizes_trusted && told != size_bytes)
		lie_add(mail, folder, uid);
	pthread_rwlock_wrlock(&mail->lock);
	row->size_bytes = size_bytes;
	row->flags |= ROW_SIZE_EXACT | (changed ? ROW_SIZE_CHANGED : 0);
	mail_row_message(mail, folder->listing, row, &event.message);
	pthread_rwlock_unlock(&mail->lock);
	batch = cache_batch_new(mail->cache, folder->cache_id);
	cache_batch_size(batch, uid, size_bytes);
	cache_batch_submit(batch);
	if (confirms && !was_exact) {
		if (told == size_bytes)
			size_confirmed(mail);
		else
			size_lied(mail, folder, uid, told, size_bytes);
	}
	if (changed)
		mail_emit(mail, &event);
}

struct size_note {
	struct mail_folder *folder; /* a reference */
	uint32_t uid, uidvalidity;
	uint64_t size_bytes;
	bool confirms;
};

static void size_note(void *data)
{
	struct size_note *note = data;

	if (note->folder->state.uidvalidity == note->uidvalidity)
		body_size_learn(note->folder->mail, note->folder, note->uid, note->size_bytes, note->confirms);
	mail_folder_unref(note->folder);
	g_free(note);
}

/* From any thread: the loop alone writes rows. */
static void size_tell(struct mail *mail, struct mail_folder *folder, const struct cache_key *key, uint64_t size_bytes)
{
	struct size_note *note = g_new0(struct size_note, 1);

	note->folder = mail_folder_ref(folder);
	note->uid = key->uid;
	note->uidvalidity = key->uidvalidity;
	note->size_bytes = size_bytes;
	note->confirms = !key->lf;
	loop_post(mail->loop, size_note, note);
}

/* ---- large bodies under way ---- */

struct held {
	struct cache_key key;
	struct cache_body *body;
};

static void held_free(void *data)
{
	struct held *held = data;

	cache_body_unref(held->body);
	g_free(held);
}

static void hold(struct mail *mail, const struct cache_key *key, struct cache_body *body)
{
	struct held *held = g_new0(struct held, 1), *old = NULL;

	held->key = *key;
	held->body = body;
	pthread_rwlock_wrlock(&mail->streams_lock);
	g_queue_push_head(&mail->held, held);
	if (mail->held.length > HELD_BODIES)
		old = g_queue_pop_tail(&mail->held);
	pthread_rwlock_unlock(&mail->streams_lock);
	if (old)
		held_free(old);
}

void body_held_free(struct mail *mail)
{
	g_queue_clear_full(&mail->held, held_free);
}

void body_held_drop(struct mail *mail, const struct mail_folder *folder)
{
	pthread_rwlock_wrlock(&mail->streams_lock);
	for (GList *at = mail->held.head, *next; at; at = next) {
		struct held *held = at->data;

		next = at->next;
		if (held->key.folder != folder->cache_id)
			continue;
		g_queue_delete_link(&mail->held, at);
		held_free(held);
	}
	pthread_rwlock_unlock(&mail->streams_lock);
}

static bool key_equal(const struct cache_key *a, const struct cache_key *b)
{
	return a->folder == b->folder && a->uidvalidity == b->uidvalidity && a->uid == b->uid && a->lf == b->lf;
}

static struct cache_body *held_find(struct mail *mail, const struct cache_key *key)
{
	struct cache_body *body = NULL;

	pthread_rwlock_rdlock(&mail->streams_lock);
	for (GList *at = mail->held.head; at && !body; at = at->next)
		if (key_equal(&((struct held *)at->data)->key, key))
			body = cache_body_ref(((struct held *)at->data)->body);
	pthread_rwlock_unlock(&mail->streams_lock);
	return body;
}

struct streaming *body_stream_open(
	struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t length, bool hidden, struct error *err)
{
	struct cache_key key = body_key(mail, folder, uid);
	struct streaming *s = g_new0(struct streaming, 1);

	key.lf = false;
	if (cache_stream_open(mail->cache, &key, length, &s->stream, err) != 0) {
		g_free(s);
		return NULL;
	}
	s->folder = mail_folder_ref(folder);
	s->uid = uid;
	s->length = length;
	s->hidden = hidden;
	pthread_rwlock_wrlock(&mail->streams_lock);
	g_queue_push_tail(&mail->streams, s);
	pthread_rwlock_unlock(&mail->streams_lock);
	return s;
}

int body_stream_write(struct mail *mail, struct streaming *s, const char *bytes, size_t length, struct error *err)
{
	int code = cache_stream_write(s->stream, bytes, length, err);

	if (code)
		return code;
	pthread_rwlock_wrlock(&mail->streams_lock);
	s->written += length;
	pthread_rwlock_unlock(&mail->streams_lock);
	return 0;
}

static void stream_forget(struct mail *mail, struct streaming *s)
{
	pthread_rwlock_wrlock(&mail->streams_lock);
	g_queue_remove(&mail->streams, s);
	pthread_rwlock_unlock(&mail->streams_lock);
	mail_folder_unref(s->folder);
	g_free(s);
}

void body_stream_abort(struct mail *mail, struct streaming *s)
{
	struct cache_stream *stream = s->stream;

	stream_forget(mail, s);
	cache_stream_abort(stream);
}

/* Passes `raw` on with each CRLF as LF; a CR that ends a piece waits for what follows. */
static int lines_copy(struct cache_body *raw, struct cache_stream *to, uint64_t *length_out, struct error *err)
{
	g_autofree char *buffer = g_malloc(COPY_BYTES + 1);
	uint64_t at = 0, length = cache_body_length(raw), out = 0;
	bool held_cr = false;

	while (at < length) {
		ssize_t got = cache_body_read(raw, at, buffer + 1, COPY_BYTES, err);
		size_t from = 1, end, kept = 0;

		if (got <= 0)
			return got ? (int)got : error_set(err, ERR_STORAGE, "the cache lost the end of a message");
		at += (uint64_t)got;
		end = (size_t)got + 1;
		if (held_cr)
			buffer[--from] = '\r';
		held_cr = false;
		for (; from < end; from++) {
			if (buffer[from] == '\r' && from + 1 == end && at < length) {
				held_cr = true;
				break;
			}
			if (buffer[from] == '\r' && from + 1 < end && buffer[from + 1] == '\n')
				continue;
			buffer[kept++] = buffer[from];
		}
		out += kept;
		if (to && kept) {
			int code = cache_stream_write(to, buffer, kept, err);

			if (code)
				return code;
		}
	}
	*length_out = out;
	return 0;
}

static int lines_store(struct mail *mail, const struct cache_key *key, struct cache_body *raw,
	const struct cache_identity *identity, struct cache_body **body_out, struct error *err)
{
	struct cache_stream *stream;
	uint64_t length = 0;
	int code = lines_copy(raw, NULL, &length, err);

	if (!code)
		code = cache_stream_open(mail->cache, key, length, &stream, err);
	if (code)
		return code;
	code = lines_copy(raw, stream, &length, err);
	if (code) {
		cache_stream_abort(stream);
		return code;
	}
	cache_stream_identify(stream, identity);
	return cache_stream_commit(stream, body_out, err);
}

int body_stream_commit(struct mail *mail, struct streaming *s, const char *emailid, struct error *err)
{
	struct mail_folder *folder = mail_folder_ref(s->folder);
	struct cache_key key = body_key(mail, folder, s->uid), raw_key = key;
	struct cache_body *body = NULL, *raw = NULL;
	struct cache_identity identity;
	int code;

	cache_identity_of(emailid, s->length, &identity);
	cache_stream_identify(s->stream, &identity);
	/* no reader may be in the stream while it turns into a body */
	pthread_rwlock_wrlock(&mail->streams_lock);
	g_queue_remove(&mail->streams, s);
	pthread_rwlock_unlock(&mail->streams_lock);
	code = cache_stream_commit(s->stream, &body, err);
	if (!code && key.lf) {
		raw_key.lf = false;
		raw = body;
		code = lines_store(mail, &key, raw, &identity, &body, err);
		cache_body_drop(mail->cache, &raw_key);
		cache_body_unref(raw);
	}
	if (!code) {
		body_size_learn(mail, folder, s->uid, cache_body_length(body), false);
		hold(mail, &key, body);
	}
	mail_folder_unref(s->folder);
	g_free(s);
	mail_folder_unref(folder);
	return code;
}

/* ---- questions ---- */

struct look {
	struct cache_key key;
	bool gone, listed, loaded, exact;
	uint64_t size_bytes;
};

static void look_at(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct look *look_out)
{
	const struct row *row;

	pthread_rwlock_rdlock(&mail->lock);
	row = folder->listing ? listing_find(folder->listing, uid) : NULL;
	*look_out = (struct look){
		.key = body_key(mail, folder, uid),
		.gone = folder->gone || (folder->attributes & MAIL_FOLDER_NOSELECT),
		.loaded = folder->listing != NULL,
		.listed = row != NULL,
		.exact = row && (row->flags & ROW_SIZE_EXACT),
		.size_bytes = row ? row->size_bytes : 0,
	};
	pthread_rwlock_unlock(&mail->lock);
}

/* Complete and here: 1 and a reference, or 0. */
static int find(struct mail *mail, const struct look *look, struct cache_body **body_out)
{
	struct error err;
	int found;

	if (!look->key.uidvalidity)
		return 0;
	found = cache_body_get(mail->cache, &look->key, body_out, &err);
	if (found < 0) {
		/* the disk failed us, the server may not */
		log_warning("cache: %s", err.text);
		found = 0;
	}
	if (!found && (*body_out = held_find(mail, &look->key)))
		found = 1;
	return found == 1;
}

bool body_is_cached(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	struct cache_body *body;
	struct look look;

	look_at(mail, folder, uid, &look);
	if (find(mail, &look, &body) != 1)
		return false;
	cache_body_unref(body);
	return true;
}

GArray *mail_messages_cached(struct mail *mail, struct mail_folder *folder)
{
	GArray *uids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	struct cache_key key;
	struct error err;

	pthread_rwlock_rdlock(&mail->lock);
	key = body_key(mail, folder, 0);
	pthread_rwlock_unlock(&mail->lock);
	if (key.uidvalidity && cache_body_uids(mail->cache, key.folder, key.uidvalidity, key.lf, uids, &err) != 0) {
		log_warning("cache: %s", err.text);
		g_array_set_size(uids, 0);
	}
	return uids;
}

static int not_here(struct mail *mail, const struct look *look, struct error *err)
{
	if (look->gone)
		return error_set(err, ERR_GONE, "the folder is gone on the server");
	if (look->loaded && !look->listed)
		return error_set(err, ERR_GONE, "the message is gone on the server");
	if (mail->config.offline)
		return error_set(err, ERR_UNREACHABLE, "the message isn't cached, and this mount of %s is offline",
			mail->account);
	return 0;
}

static bool stream_size(struct mail *mail, const struct look *look, uint64_t *size_out)
{
	bool found = false;

	if (look->key.lf)
		return false;
	pthread_rwlock_rdlock(&mail->streams_lock);
	for (GList *at = mail->streams.head; at && !found; at = at->next) {
		const struct streaming *s = at->data;

		found = !s->hidden && s->folder->cache_id == look->key.folder && s->uid == look->key.uid;
		if (found)
			*size_out = s->length;
	}
	pthread_rwlock_unlock(&mail->streams_lock);
	return found;
}

/* Of a body that is here although nobody has learned its size: as of now all say the same. */
static void size_park(struct mail *mail, struct park *park)
{
	struct cache_body *body;
	struct look look;

	look_at(mail, park->folder, park->uid, &look);
	if (!look.exact && find(mail, &look, &body) == 1) {
		body_size_learn(mail, park->folder, park->uid, cache_body_length(body), !look.key.lf);
		cache_body_unref(body);
	}
	park_finish(park, 0, NULL);
}

int mail_message_size(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t *size_out,
	struct mail_waiter *waiter, struct error *err)
{
	struct cache_body *body;
	GBytes *stub = NULL;
	struct look look;
	int code;

	look_at(mail, folder, uid, &look);
	if (look.exact) {
		/* it may be in the kernel's hands, who reads it then asks no more */
		walk_hit(mail, folder, uid);
		*size_out = look.size_bytes;
		return 0;
	}
	if (find(mail, &look, &body) == 1) {
		*size_out = cache_body_length(body);
		cache_body_unref(body);
		/* whoever is told this looks at the row next */
		return look.listed ? park_new(mail, waiter, size_park, folder, uid, 0, false) : 0;
	}
	if (stream_size(mail, &look, size_out))
		return 0;
	code = broken_look(mail, folder, uid, &stub, err);
	if (code == 1) {
		*size_out = g_bytes_get_size(stub);
		g_bytes_unref(stub);
	}
	if (code)
		return code < 0 ? code : 0;
	code = not_here(mail, &look, err);
	return code ? code : park_new(mail, waiter, fetch_park, folder, uid, 0, false);
}

/* What a slice keeps alive. */
struct owner {
	struct cache_body *body;
	GBytes *bytes;
	void *memory;
};

void mail_slice_fini(struct mail_slice *slice)
{
	struct owner *owner = slice->owner;

	if (owner) {
		if (owner->body)
			cache_body_unref(owner->body);
		if (owner->bytes)
			g_bytes_unref(owner->bytes);
		g_free(owner->memory);
		g_free(owner);
	}
	*slice = (struct mail_slice){.fd = -1};
}

static int expect(struct mail *mail, struct mail_folder *folder, const struct look *look, uint64_t expected,
	uint64_t size, struct error *err)
{
	struct error problem;

	if (!look->exact || look->size_bytes != size)
		size_tell(mail, folder, &look->key, size);
	if (expected == UINT64_MAX || expected == size)
		return 0;
	lie_take(mail, &look->key);
	error_set(&problem, ERR_BROKEN,
		"the message has %" G_GUINT64_FORMAT " bytes where %" G_GUINT64_FORMAT
		" were promised: the size is right from now on",
		size, expected);
	mail_note_error(mail, &problem, "%s, UID %u", folder->raw, look->key.uid);
	error_copy(err, &problem);
	return ERR_BROKEN;
}

static int lied(struct mail *mail, const struct mail_folder *folder, uint32_t uid, struct error *err)
{
	struct error problem;

	error_set(&problem, ERR_BROKEN, "the server told a wrong size of the message: it is right from now on");
	mail_note_error(mail, &problem, "%s, UID %u", folder->raw, uid);
	error_copy(err, &problem);
	return ERR_BROKEN;
}

static size_t part_of(uint64_t size, uint64_t offset, size_t length)
{
	return offset >= size ? 0 : (size_t)MIN((uint64_t)length, size - offset);
}

static void slice_body(struct cache_body *body, uint64_t offset, size_t length, struct mail_slice *slice_out)
{
	struct owner *owner = g_new0(struct owner, 1);
	const char *memory = cache_body_memory(body);
	uint64_t start = 0;

	owner->body = body;
	*slice_out = (struct mail_slice){.fd = -1, .owner = owner};
	slice_out->length = part_of(cache_body_length(body), offset, length);
	if (memory) {
		slice_out->memory = memory + MIN(offset, cache_body_length(body));
		return;
	}
	slice_out->fd = cache_body_fd(body, &start);
	slice_out->fd_offset = start + offset;
}

static void slice_bytes(GBytes *bytes, uint64_t offset, size_t length, struct mail_slice *slice_out)
{
	struct owner *owner = g_new0(struct owner, 1);
	size_t size = g_bytes_get_size(bytes);

	owner->bytes = bytes;
	*slice_out = (struct mail_slice){.fd = -1, .owner = owner};
	slice_out->length = part_of(size, offset, length);
	slice_out->memory = (const char *)g_bytes_get_data(bytes, NULL) + MIN(offset, size);
}

/* From a large body under way: 1 = done, 0 = not so far yet, or a code. */
static int slice_stream(struct mail *mail, struct mail_folder *folder, const struct look *look, uint64_t offset,
	size_t length, uint64_t expected, struct mail_slice *slice_out, struct error *err)
{
	struct streaming *s = NULL;
	struct owner *owner;
	ssize_t got = 0;
	int code = 0;

	if (look->key.lf)
		return 0;
	pthread_rwlock_rdlock(&mail->streams_lock);
	for (GList *at = mail->streams.head; at && !s; at = at->next) {
		struct streaming *each = at->data;

		if (!each->hidden && each->folder->cache_id == look->key.folder && each->uid == look->key.uid)
			s = each;
	}
	if (s) {
		code = expected == UINT64_MAX || expected == s->length ? 0 : ERR_BROKEN;
		length = part_of(s->length, offset, length);
	}
	if (s && !code && offset + length <= s->written) {
		owner = g_new0(struct owner, 1);
		owner->memory = g_malloc(length + 1);
		block_ahead();
		got = length ? cache_stream_read(s->stream, offset, owner->memory, length, err) : 0;
		*slice_out = (struct mail_slice){.memory = owner->memory, .fd = -1, .length = length, .owner = owner};
		__atomic_store_n(&s->handed_out, true, __ATOMIC_RELAXED);
		code = got == (ssize_t)length ? 1 : ERR_STORAGE;
	}
	if (code == ERR_BROKEN)
		length = s->length;
	pthread_rwlock_unlock(&mail->streams_lock);
	if (code == ERR_BROKEN)
		return expect(mail, folder, look, expected, length, err);
	if (code == ERR_STORAGE) {
		mail_slice_fini(slice_out);
		return error_set(err, ERR_STORAGE, "the cache lost a part of a message under way");
	}
	return code;
}

int mail_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t offset, size_t length,
	uint64_t expected_size, struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err)
{
	struct cache_body *body = NULL;
	GBytes *stub = NULL;
	struct look look;
	uint64_t end;
	int code;

	*slice_out = (struct mail_slice){.fd = -1};
	watch_use(mail, folder);
	look_at(mail, folder, uid, &look);
	if (!waiter->since_ms && expected_size != UINT64_MAX && lie_take(mail, &look.key))
		return lied(mail, folder, uid, err);
	if (find(mail, &look, &body) == 1) {
		if (!waiter->since_ms)
			atomic_fetch_add(&mail->cache_hits, 1);
		walk_hit(mail, folder, uid);
		code = expect(mail, folder, &look, expected_size, cache_body_length(body), err);
		if (code)
			cache_body_unref(body);
		else
			slice_body(body, offset, length, slice_out);
		return code;
	}
	code = slice_stream(mail, folder, &look, offset, length, expected_size, slice_out, err);
	if (code)
		return code < 0 ? code : 0;
	code = broken_look(mail, folder, uid, &stub, err);
	if (code == 1) {
		code = expect(mail, folder, &look, expected_size, g_bytes_get_size(stub), err);
		if (code)
			g_bytes_unref(stub);
		else
			slice_bytes(stub, offset, length, slice_out);
		return code;
	}
	if (!code)
		code = not_here(mail, &look, err);
	if (code)
		return code;
	if (!waiter->since_ms)
		atomic_fetch_add(&mail->cache_misses, 1);
	/* as far as it is known how far that is: a reader's buffer may reach behind the end */
	end = look.exact && offset + length > look.size_bytes ? look.size_bytes : offset + length;
	return park_new(mail, waiter, fetch_park, folder, uid, MAX(end, 1), false);
}

/* ---- for what is made of bodies (view.c, render.c) ---- */

bool body_get(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct cache_body **body_out)
{
	struct look look;

	look_at(mail, folder, uid, &look);
	return find(mail, &look, body_out) == 1;
}

int body_absent(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct error *err)
{
	struct look look;

	look_at(mail, folder, uid, &look);
	return not_here(mail, &look, err);
}

void body_slice(struct cache_body *body, uint64_t offset, size_t length, struct mail_slice *slice_out)
{
	slice_body(body, offset, length, slice_out);
}

void body_slice_bytes(GBytes *bytes, uint64_t offset, size_t length, struct mail_slice *slice_out)
{
	slice_bytes(bytes, offset, length, slice_out);
}
