/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages that the server can't deliver. Each is EIO, or a stub under `broken = stub`, for a day; then it is
 * tried again. Kept in memory: a new mount tries again too.
 */
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <string.h>
#include <time.h>

#include "src/base/banned.h"

#define AGAIN_S 86400u
#define STAND_IN_BYTES_MAX (64u * 1024u)
#define BROKEN_MAX 100000u /* of one folder */

struct broken {
	uint64_t until_s; /* clock_ms() / 1000 */
	GBytes *stub;
	struct error error;
};

static void broken_free(void *data)
{
	struct broken *broken = data;

	if (broken->stub)
		g_bytes_unref(broken->stub);
	g_free(broken);
}

static bool contains(const char *bytes, size_t length, const char *text)
{
	return memmem(bytes, length, text, strlen(text)) != NULL;
}

/* Exchange answers for an item that it can't convert with a message of its own, in these words. */
bool broken_is_stand_in(const char *bytes, size_t length)
{
	static const char subject[] = "Subject: Retrieval using the IMAP4 protocol failed";
	const char *end;

	if (length > STAND_IN_BYTES_MAX)
		return false;
	end = memmem(bytes, length, "\r\n\r\n", 4);
	return end && contains(bytes, (size_t)(end - bytes), subject) &&
	       contains(end, length - (size_t)(end - bytes), "retrieve the following message");
}

static GBytes *stub_make(struct mail *mail, struct mail_folder *folder, uint32_t uid, const struct error *err)
{
	g_autoptr(GString) text = g_string_new(NULL);
	g_autofree char *path = mail_folder_path(mail, folder);
	const struct row *row = folder->listing ? listing_find(folder->listing, uid) : NULL;
	time_t date = row ? (time_t)row->date : 0;
	const char *end = mail->config.eol_lf ? "\n" : "\r\n";
	char when[64] = "";
	struct tm utc;

	if (gmtime_r(&date, &utc))
		strftime(when, sizeof(when), "%a, %d %b %Y %H:%M:%S +0000", &utc);
	g_string_append_printf(text, "Date: %s%s", when, end);
	g_string_append_printf(text, "From: mailtree <mailtree@localhost>%s", end);
	g_string_append_printf(text, "Subject: The server could not deliver this message%s", end);
	g_string_append_printf(text, "MIME-Version: 1.0%sContent-Type: text/plain; charset=utf-8%s", end, end);
	g_string_append_printf(text, "Content-Transfer-Encoding: 8bit%s%s", end, end);
	g_string_append_printf(text, "This stands in for message UID %u of folder %s.%s", uid, path, end);
	g_string_append_printf(text, "%s%s", err->text, end);
	return g_string_free_to_bytes(g_steal_pointer(&text));
}

void broken_mark(struct mail *mail, struct mail_folder *folder, uint32_t uid, const struct error *err)
{
	struct broken *broken = g_new0(struct broken, 1);
	uint64_t stub_size = 0;

	broken->until_s = clock_ms() / 1000 + AGAIN_S;
	broken->error = *err;
	broken->error.code = ERR_BROKEN;
	if (mail->config.broken_stub) {
		broken->stub = stub_make(mail, folder, uid, err);
		stub_size = g_bytes_get_size(broken->stub);
	}
	pthread_rwlock_wrlock(&mail->lock);
	if (!folder->broken)
		folder->broken = g_hash_table_new_full(NULL, NULL, NULL, broken_free);
	if (g_hash_table_size(folder->broken) >= BROKEN_MAX)
		g_hash_table_remove_all(folder->broken);
	g_hash_table_replace(folder->broken, GUINT_TO_POINTER(uid), broken);
	pthread_rwlock_unlock(&mail->lock);
	mail_note_error(mail, err, "%s, UID %u", folder->raw, uid);
	if (stub_size)
		body_size_learn(mail, folder, uid, stub_size, false);
}

void broken_clear(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	if (!folder->broken)
		return;
	pthread_rwlock_wrlock(&mail->lock);
	g_hash_table_remove(folder->broken, GUINT_TO_POINTER(uid));
	pthread_rwlock_unlock(&mail->lock);
}

static const struct broken *broken_now(const struct mail_folder *folder, uint32_t uid)
{
	const struct broken *broken = folder->broken ? g_hash_table_lookup(folder->broken, GUINT_TO_POINTER(uid))
	                                             : NULL;

	return broken && broken->until_s > clock_ms() / 1000 ? broken : NULL;
}

bool broken_is_known(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	bool known;

	pthread_rwlock_rdlock(&mail->lock);
	known = broken_now(folder, uid) != NULL;
	pthread_rwlock_unlock(&mail->lock);
	return known;
}

int broken_look(struct mail *mail, struct mail_folder *folder, uint32_t uid, GBytes **stub_out, struct error *err)
{
	const struct broken *broken;
	int code = 0;

	pthread_rwlock_rdlock(&mail->lock);
	broken = broken_now(folder, uid);
	if (broken) {
		code = broken->stub ? 1 : ERR_BROKEN;
		if (broken->stub)
			*stub_out = g_bytes_ref(broken->stub);
		else
			error_copy(err, &broken->error);
	}
	pthread_rwlock_unlock(&mail->lock);
	return code;
}
