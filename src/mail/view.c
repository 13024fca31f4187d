/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is made of messages: their text, and their attachments. Asked like bodies, from any thread: what is there is
 * answered at once; else the body is fetched first if need be, and then a worker makes it (render.c).
 */
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include "src/base/banned.h"

/* ---- lengths of texts, from memory ---- */

static gpointer length_pack(uint64_t length, bool changed)
{
	return GSIZE_TO_POINTER((gsize)(length << 1 | changed));
}

static void length_load(void *ctx, uint32_t uid, uint64_t length)
{
	g_hash_table_insert(ctx, GUINT_TO_POINTER(uid), length_pack(length, false));
}

/* `number_out`: that which the messages have now, as long as this key means this message. */
static struct cache_key key_of(
	struct mail *mail, struct mail_folder *folder, uint32_t uid, uint16_t view, uint32_t *number_out)
{
	struct cache_key key;

	pthread_rwlock_rdlock(&mail->lock);
	key = body_key(mail, folder, uid);
	*number_out = folder->message_number;
	pthread_rwlock_unlock(&mail->lock);
	key.view = view;
	return key;
}

static bool lengths_begin(struct mail *mail, const struct mail_folder *folder, uint32_t number)
{
	pthread_rwlock_rdlock(&mail->lock);
	if (number && folder->message_number == number) {
		pthread_mutex_lock(&mail->views_lock);
		return true;
	}
	pthread_rwlock_unlock(&mail->lock);
	return false;
}

static void lengths_end(struct mail *mail)
{
	pthread_mutex_unlock(&mail->views_lock);
	pthread_rwlock_unlock(&mail->lock);
}

/* Of messages that have this number; NULL: the folder's are others now. Else to be ended. */
static GHashTable *lengths_of(
	struct mail *mail, struct mail_folder *folder, const struct cache_key *key, uint32_t number)
{
	GHashTable *loaded;
	struct error err;

	if (!lengths_begin(mail, folder, number))
		return NULL;
	if (folder->texts)
		return folder->texts;
	lengths_end(mail);
	loaded = g_hash_table_new(NULL, NULL);
	if (cache_body_lengths(mail->cache, key, length_load, loaded, &err) != 0)
		log_warning("cache: %s", err.text);
	if (!lengths_begin(mail, folder, number)) {
		g_hash_table_unref(loaded);
		return NULL;
	}
	/* another thread may have been faster, and may have learned more since */
	if (folder->texts)
		g_hash_table_unref(loaded);
	else
		folder->texts = loaded;
	return folder->texts;
}

void text_lengths_forget(struct mail *mail, struct mail_folder *folder)
{
	pthread_mutex_lock(&mail->views_lock);
	if (folder->texts)
		g_hash_table_unref(folder->texts);
	folder->texts = NULL;
	pthread_mutex_unlock(&mail->views_lock);
}

void text_length_learn(
	struct mail *mail, struct mail_folder *folder, const struct cache_key *key, uint32_t number, uint64_t length)
{
	GHashTable *lengths = lengths_of(mail, folder, key, number);
	gpointer known;

	if (!lengths)
		return;
	known = g_hash_table_lookup(lengths, GUINT_TO_POINTER(key->uid));
	/* an estimate, or another length, was told before in this mount */
	if (GPOINTER_TO_SIZE(known) >> 1 != length)
		g_hash_table_insert(lengths, GUINT_TO_POINTER(key->uid), length_pack(length, true));
	lengths_end(mail);
}

/* 0 = not known: no text is empty. */
static uint64_t length_known(
	struct mail *mail, struct mail_folder *folder, const struct cache_key *key, uint32_t number, bool *changed_out)
{
	GHashTable *lengths = key->uidvalidity ? lengths_of(mail, folder, key, number) : NULL;
	gsize packed = 0;

	if (lengths) {
		packed = GPOINTER_TO_SIZE(g_hash_table_lookup(lengths, GUINT_TO_POINTER(key->uid)));
		lengths_end(mail);
	}
	*changed_out = packed & 1;
	return packed >> 1;
}

bool text_is_known(struct mail *mail, struct mail_folder *folder, const struct cache_key *key)
{
	bool changed;

	return length_known(mail, folder, key, folder->message_number, &changed) != 0;
}

uint64_t mail_text_estimate(
	struct mail *mail, struct mail_folder *folder, const struct mail_message *message, bool *exact_out)
{
	uint32_t number;
	struct cache_key key = key_of(mail, folder, message->uid, VIEW_TEXT, &number);
	GBytes *stub = NULL;
	uint64_t length;
	bool changed;

	length = length_known(mail, folder, &key, number, &changed);
	*exact_out = length != 0;
	if (length)
		return length;
	if (broken_look(mail, folder, message->uid, &stub, NULL) == 1) {
		length = g_bytes_get_size(stub);
		g_bytes_unref(stub);
		return length;
	}
	/* where the kernel doesn't ask at open, it never reads behind this */
	return mail->sizes_trusted ? mime_text_bytes_max(message->size_bytes) : message->size_bytes;
}

bool mail_text_was_told(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t size_bytes)
{
	uint32_t number;
	struct cache_key key = key_of(mail, folder, uid, VIEW_TEXT, &number);
	bool changed = false;

	return length_known(mail, folder, &key, number, &changed) == size_bytes && !changed;
}

/* ---- texts ---- */

bool view_find(struct mail *mail, const struct cache_key *key, struct cache_body **body_out)
{
	struct error err;
	int found;

	if (!key->uidvalidity)
		return false;
	if (render_find(mail, key, body_out))
		return true;
	found = cache_body_get(mail->cache, key, body_out, &err);
	if (found < 0)
		log_warning("cache: %s", err.text);
	return found == 1;
}

/* It isn't made yet: parks until it is, or until there is what it is made from. */
static int make(struct mail *mail, struct mail_folder *folder, uint32_t uid, park_fn begin, uint64_t which,
	struct mail_waiter *waiter, struct error *err)
{
	struct cache_body *raw;
	int code;

	if (begin == render_park_text)
		atomic_store(&folder->text_asked_ms, clock_ms());
	if (body_get(mail, folder, uid, &raw)) {
		cache_body_unref(raw);
		walk_hit(mail, folder, uid);
		return park_new(mail, waiter, begin, folder, uid, which, false);
	}
	code = body_absent(mail, folder, uid, err);
	return code ? code : park_new(mail, waiter, fetch_park, folder, uid, UINT64_MAX, false);
}

int mail_text_size(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t *size_out,
	struct mail_waiter *waiter, struct error *err)
{
	uint32_t number;
	struct cache_key key = key_of(mail, folder, uid, VIEW_TEXT, &number);
	struct cache_body *body;
	GBytes *stub = NULL;
	bool changed;
	int code;

	*size_out = length_known(mail, folder, &key, number, &changed);
	if (*size_out)
		return 0;
	if (view_find(mail, &key, &body)) {
		*size_out = cache_body_length(body);
		cache_body_unref(body);
		text_length_learn(mail, folder, &key, number, *size_out);
		return 0;
	}
	code = broken_look(mail, folder, uid, &stub, err);
	if (code == 1) {
		*size_out = g_bytes_get_size(stub);
		g_bytes_unref(stub);
	}
	if (code)
		return code < 0 ? code : 0;
	return make(mail, folder, uid, render_park_text, 0, waiter, err);
}

int mail_text_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t offset, size_t length,
	struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err)
{
	uint32_t number;
	struct cache_key key = key_of(mail, folder, uid, VIEW_TEXT, &number);
	struct cache_body *body;
	GBytes *stub = NULL;
	int code;

	*slice_out = (struct mail_slice){.fd = -1};
	if (view_find(mail, &key, &body)) {
		/* it may be there before the loop has heard of it: who stats after reading must see this length */
		text_length_learn(mail, folder, &key, number, cache_body_length(body));
		walk_hit(mail, folder, uid);
		/* of a walk whose texts are made ahead nothing else is seen */
		if (atomic_load_explicit(&folder->walk_active, memory_order_relaxed))
			atomic_store(&folder->text_asked_ms, clock_ms());
		body_slice(body, offset, length, slice_out);
		return 0;
	}
	code = broken_look(mail, folder, uid, &stub, err);
	if (code == 1)
		body_slice_bytes(stub, offset, length, slice_out);
	if (code)
		return code < 0 ? code : 0;
	return make(mail, folder, uid, render_park_text, 0, waiter, err);
}

/* ---- attachments ---- */

int mail_attachments(struct mail *mail, struct mail_folder *folder, uint32_t uid, GArray **list_out,
	struct mail_waiter *waiter, struct error *err)
{
	uint32_t number;
	struct cache_key key = key_of(mail, folder, uid, VIEW_LIST, &number);
	GBytes *stub = NULL;
	int code;

	*list_out = render_find_list(mail, &key);
	if (*list_out)
		return 0;
	code = broken_look(mail, folder, uid, &stub, err);
	if (code == 1) {
		/* a stub has none */
		g_bytes_unref(stub);
		*list_out = attachments_new();
	}
	if (code)
		return code < 0 ? code : 0;
	return make(mail, folder, uid, render_park_list, 0, waiter, err);
}

int mail_attachment_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, unsigned index, uint64_t offset,
	size_t length, struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err)
{
	uint32_t number;
	struct cache_key key = key_of(mail, folder, uid, (uint16_t)(VIEW_ATTACHMENTS + index), &number);
	struct cache_body *body;
	GBytes *stub = NULL;
	int code;

	*slice_out = (struct mail_slice){.fd = -1};
	if (view_find(mail, &key, &body)) {
		body_slice(body, offset, length, slice_out);
		return 0;
	}
	code = broken_look(mail, folder, uid, &stub, err);
	if (code == 1) {
		g_bytes_unref(stub);
		return error_set(err, ERR_BROKEN, "the server can't deliver the message that has this attachment");
	}
	if (code)
		return code;
	return make(mail, folder, uid, render_park_attachment, index, waiter, err);
}
