/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `warm`: a reader that never tires. It reads the last octet of each message in UID order, and the model's
 * prefetch streams what follows ahead of it; what is cached costs a look. So it can be ended at any time and begun
 * again.
 */
#include "src/base/loop.h"
#include "src/cli/work_inside.h"

#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define MESSAGES_AT_ONCE 64u
#define REPORT_MS 200u

struct warm {
	const struct work *work;
	const struct sink *sink;
	const char *path;         /* of the folder in work */
	uint64_t messages, bytes; /* to do in all, as far as listed */
	uint64_t messages_done, bytes_done, fetched, fetched_bytes, failed;
	uint64_t started_ms, reported_ms;
	struct error failure; /* the first message that failed */
	/* the message in work */
	struct mail_folder *folder;
	uint32_t uid;
	uint64_t size_bytes;
};

static int report(struct warm *warm, bool done, struct error *err)
{
	uint64_t now_ms = clock_ms();
	cJSON *object;

	if (!done && now_ms - warm->reported_ms < REPORT_MS)
		return 0;
	warm->reported_ms = now_ms;
	object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "folder", warm->path);
	cJSON_AddNumberToObject(object, "messages", (double)warm->messages);
	cJSON_AddNumberToObject(object, "bytes", (double)warm->bytes);
	cJSON_AddNumberToObject(object, "messages_done", (double)warm->messages_done);
	cJSON_AddNumberToObject(object, "bytes_done", (double)warm->bytes_done);
	cJSON_AddNumberToObject(object, "fetched", (double)warm->fetched);
	cJSON_AddNumberToObject(object, "fetched_bytes", (double)warm->fetched_bytes);
	cJSON_AddNumberToObject(object, "failed", (double)warm->failed);
	cJSON_AddNumberToObject(object, "ms", (double)(now_ms - warm->started_ms));
	cJSON_AddBoolToObject(object, "done", done);
	return work_record_put(warm->sink, object, err);
}

static int try_size(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	struct warm *warm = ctx;

	return mail_message_size(warm->work->mail, warm->folder, warm->uid, &warm->size_bytes, waiter, err);
}

static int try_end(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	struct warm *warm = ctx;
	struct mail_slice slice;
	int code = mail_read(warm->work->mail, warm->folder, warm->uid, warm->size_bytes ? warm->size_bytes - 1 : 0, 1,
		UINT64_MAX, &slice, waiter, err);

	if (code == 0)
		mail_slice_fini(&slice);
	return code;
}

/* What concerns this message alone doesn't end the run. */
static bool is_of_message(int code)
{
	return code == ERR_BROKEN || code == ERR_GONE || code == ERR_REFUSED || code == ERR_PROTOCOL;
}

static int message_warm(struct warm *warm, const struct mail_message *message, bool cached, struct error *err)
{
	int code = 0;

	warm->uid = message->uid;
	if (!cached) {
		code = wait_for(warm->work->wait, try_size, warm, err);
		if (code == 0)
			code = wait_for(warm->work->wait, try_end, warm, err);
		if (code == 0) {
			warm->fetched++;
			warm->fetched_bytes += warm->size_bytes;
		}
	}
	if (code != 0 && !is_of_message(code))
		return code;
	/* gone since it was listed: nothing is missing */
	if (code != 0 && code != ERR_GONE && !warm->failed++)
		error_copy(&warm->failure, err);
	warm->messages_done++;
	warm->bytes_done += message->size_bytes;
	return report(warm, false, err);
}

static int folder_warm(struct warm *warm, const struct work_folder *entry, struct error *err)
{
	struct mail *mail = warm->work->mail;
	g_autoptr(GArray) cached = mail_messages_cached(mail, entry->folder);
	struct mail_message messages[MESSAGES_AT_ONCE];
	uint32_t after = 0;
	guint next = 0;
	size_t count;
	int code = 0;

	warm->folder = entry->folder;
	warm->path = entry->path;
	while (code == 0 && (count = mail_messages_next(mail, entry->folder, after, messages, MESSAGES_AT_ONCE)) > 0) {
		for (size_t i = 0; i < count && code == 0; i++) {
			while (next < cached->len && g_array_index(cached, uint32_t, next) < messages[i].uid)
				next++;
			code = message_warm(warm, &messages[i],
				next < cached->len && g_array_index(cached, uint32_t, next) == messages[i].uid, err);
		}
		after = messages[count - 1].uid;
	}
	return code;
}

static bool holds_messages(struct mail *mail, struct mail_folder *folder)
{
	struct mail_folder_info info;

	mail_folder_info(mail, folder, &info);
	return !(info.attributes & MAIL_FOLDER_NOSELECT);
}

/* Lists the folder, and counts what there is to do. */
static int folder_count(struct warm *warm, const struct work_folder *entry, struct error *err)
{
	struct work_try try = {.work = warm->work, .folder = entry->folder};
	struct mail_message messages[MESSAGES_AT_ONCE];
	uint32_t after = 0;
	size_t count;
	int code = wait_for(warm->work->wait, work_try_folder_fresh, &try, err);

	if (code != 0)
		return code;
	while ((count = mail_messages_next(warm->work->mail, entry->folder, after, messages, MESSAGES_AT_ONCE)) > 0) {
		for (size_t i = 0; i < count; i++) {
			warm->messages++;
			warm->bytes += messages[i].size_bytes;
		}
		after = messages[count - 1].uid;
	}
	warm->path = entry->path;
	return report(warm, false, err);
}

static int entry_compare(const void *a, const void *b)
{
	return strcmp(((const struct work_folder *)a)->path, ((const struct work_folder *)b)->path);
}

static int folders_warm(struct warm *warm, GArray *folders, struct error *err)
{
	int code = 0;

	g_array_sort(folders, entry_compare);
	for (guint i = folders->len; i-- > 0;)
		if (!holds_messages(warm->work->mail, g_array_index(folders, struct work_folder, i).folder))
			g_array_remove_index(folders, i);
	for (guint i = 0; i < folders->len && code == 0; i++)
		code = folder_count(warm, &g_array_index(folders, struct work_folder, i), err);
	for (guint i = 0; i < folders->len && code == 0; i++)
		code = folder_warm(warm, &g_array_index(folders, struct work_folder, i), err);
	if (code == 0) {
		warm->path = "";
		code = report(warm, true, err);
	}
	if (code == 0 && warm->failed) {
		code = error_set(err, ERR_BROKEN, "%" G_GUINT64_FORMAT " messages couldn't be fetched: %s",
			warm->failed, warm->failure.text);
		error_hint(err, "errors.log of a mount names each");
	}
	return code;
}

int work_warm(const struct work *work, const char *path, const struct sink *sink, struct error *err)
{
	struct work_try try = {.work = work};
	struct warm warm = {.work = work, .sink = sink, .path = "", .started_ms = clock_ms()};
	g_autoptr(GArray) folders = NULL;
	struct mail_folder *top = NULL;
	int code;

	/* who lists a folder and begins with its first message reads all of it: one miss is enough to see that */
	work->wait->pid = getpid();
	code = wait_for(work->wait, work_try_tree_fresh, &try, err);
	if (code == 0 && path && *path)
		code = work_folder_find(work, path, &top, err);
	else if (code == 0)
		top = mail_root(work->mail);
	if (code == 0) {
		struct work_folder own = {g_strdup(path ? path : ""), mail_folder_ref(top)};

		folders = work_folders(work->mail, top, own.path);
		g_array_append_val(folders, own);
		code = folders_warm(&warm, folders, err);
	}
	mail_folder_unref(top);
	return code;
}
