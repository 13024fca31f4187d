/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is made of messages: their text, and their attachments. Asked like bodies, from any thread: what is there is
 * answered at once; else the body is fetched first if need be, and then a worker makes it (render.c).
 */
#include "src/base/log.h"
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

static struct cache_key key_of(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint16_t view)
{
	struct cache_key key;

	pthread_rwlock_rdlock(&mail->lock);
	key = body_key(mail, folder, uid);
	pthread_rwlock_unlock(&mail->lock);
	key.view = view;
	return key;
}

/* Of this folder as it is numbered now. Caller holds views_lock, which loading gives up meanwhile. */
static GHashTable *lengths_of(struct mail *mail, struct mail_folder *folder, const struct cache_key *key)
{
	GHashTable *loaded;
	struct error err;

	if (folder->texts && folder->texts_uidvalidity == key->uidvalidity)
		return folder->texts;
	pthread_mutex_unlock(&mail->views_lock);
	loaded = g_hash_table_new(NULL, NULL);
	if (cache_body_lengths(mail->cache, key, length_load, loaded, &err) != 0)
		log_warning("cache: %s", err.text);
	pthread_mutex_lock(&mail->views_lock);
	/* another thread may have been faster, and may have learned more since */
	if (folder->texts && folder->texts_uidvalidity == key->uidvalidity) {
		g_hash_table_unref(loaded);
		return folder->texts;
	}
	if (folder->texts)
		g_hash_table_unref(folder->texts);
	folder->texts = loaded;
	folder->texts_uidvalidity = key->uidvalidity;
	return loaded;
}

void text_length_learn(struct mail *mail, struct mail_folder *folder, const struct cache_key *key, uint64_t length)
{
	GHashTable *lengths;
	gpointer known;

	pthread_mutex_lock(&mail->views_lock);
	lengths = lengths_of(mail, folder, key);
	known = g_hash_table_lookup(lengths, GUINT_TO_POINTER(key->uid));
	/* an estimate, or another length, was told before in this mount */
	if (GPOINTER_TO_SIZE(known) >> 1 != length)
		g_hash_table_insert(lengths, GUINT_TO_POINTER(key->uid), length_pack(length, true));
	pthread_mutex_unlock(&mail->views_lock);
}

/* 0 = not known: no text is empty. */
static uint64_t length_known(
	struct mail *mail, struct mail_folder *folder, const struct cache_key *key, bool *changed_out)
{
	gsize packed;

	*changed_out = false;
	if (!key->uidvalidity)
		return 0;
	pthread_mutex_lock(&mail->views_lock);
	packed = GPOINTER_TO_SIZE(g_hash_table_lookup(lengths_of(mail, folder, key), GUINT_TO_POINTER(key->uid)));
	pthread_mutex_unlock(&mail->views_lock);
	*changed_out = packed & 1;
	return packed >> 1;
}

uint64_t mail_text_estimate(
	struct mail *mail, struct mail_folder *folder, const struct mail_message *message, bool *exact_out)
{
	struct cache_key key = key_of(mail, folder, message->uid, VIEW_TEXT);
	GBytes *stub = NULL;
	uint64_t length;
	bool changed;

	length = length_known(mail, folder, &key, &changed);
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
	struct cache_key key = key_of(mail, folder, uid, VIEW_TEXT);
	bool changed = false;

	return length_known(mail, folder, &key, &changed) == size_bytes && !changed;
}

/* ---- texts ---- */

static bool view_find(struct mail *mail, const struct cache_key *key, struct cache_body **body_out)
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
	struct cache_key key = key_of(mail, folder, uid, VIEW_TEXT);
	struct cache_body *body;
	GBytes *stub = NULL;
	bool changed;
	int code;

	*size_out = length_known(mail, folder, &key, &changed);
	if (*size_out)
		return 0;
	if (view_find(mail, &key, &body)) {
		*size_out = cache_body_length(body);
		cache_body_unref(body);
		text_length_learn(mail, folder, &key, *size_out);
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
	struct cache_key key = key_of(mail, folder, uid, VIEW_TEXT);
	struct cache_body *body;
	GBytes *stub = NULL;
	int code;

	*slice_out = (struct mail_slice){.fd = -1};
	if (view_find(mail, &key, &body)) {
		walk_hit(mail, folder, uid);
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
	struct cache_key key = key_of(mail, folder, uid, VIEW_LIST);
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
	struct cache_key key = key_of(mail, folder, uid, (uint16_t)(VIEW_ATTACHMENTS + index));
	struct cache_body *body;

	*slice_out = (struct mail_slice){.fd = -1};
	if (view_find(mail, &key, &body)) {
		body_slice(body, offset, length, slice_out);
		return 0;
	}
	return make(mail, folder, uid, render_park_attachment, index, waiter, err);
}
