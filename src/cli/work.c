/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/names.h"
#include "src/cli/work_inside.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define PIECE_BYTES (256u * 1024u) /* of a message, in one record */
#define MESSAGES_AT_ONCE 64u

static const char *const command_names[WORK_COMMANDS] = {
	"mountpoint", "status", "ls", "cat", "search", "warm", "retry"};

const char *work_command_name(enum work_command command)
{
	return command_names[command];
}

/* ---- records ---- */

int work_record_put(const struct sink *sink, cJSON *object, struct error *err)
{
	char *text = cJSON_PrintUnformatted(object);
	int code = text ? sink->record(sink->ctx, text, strlen(text), err)
	                : error_set(err, ERR_FAILED, "out of memory");

	cJSON_free(text);
	cJSON_Delete(object);
	return code;
}

static void add_text(cJSON *object, const char *key, const char *text)
{
	if (text)
		cJSON_AddStringToObject(object, key, text);
	else
		cJSON_AddNullToObject(object, key);
}

static void add_number(cJSON *object, const char *key, bool known, double number)
{
	if (known)
		cJSON_AddNumberToObject(object, key, number);
	else
		cJSON_AddNullToObject(object, key);
}

static void add_date(cJSON *object, const char *key, int64_t date)
{
	time_t seconds = (time_t)date;
	struct tm utc;
	char text[40];

	if (gmtime_r(&seconds, &utc) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc))
		cJSON_AddStringToObject(object, key, text);
	else
		cJSON_AddNullToObject(object, key);
}

/* ---- folders ---- */

int work_try_tree_fresh(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	const struct work_try *try = ctx;

	return mail_tree_fresh(try->work->mail, try->force, waiter, err);
}

static int try_tree_ready(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	return mail_tree_ready(((const struct work_try *)ctx)->work->mail, waiter, err);
}

static int try_folder_ready(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	const struct work_try *try = ctx;

	return mail_folder_ready(try->work->mail, try->folder, waiter, err);
}

int work_try_folder_fresh(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	const struct work_try *try = ctx;

	return mail_folder_fresh(try->work->mail, try->folder, try->force, waiter, err);
}

static int try_flags_fresh(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	const struct work_try *try = ctx;

	return mail_folder_flags_fresh(try->work->mail, try->folder, waiter, err);
}

/* A reference, or NULL. */
static struct mail_folder *folder_at(struct mail *mail, const char *path)
{
	g_auto(GStrv) names = g_strsplit(path, "/", -1);
	struct mail_folder *folder = mail_root(mail);

	for (char **name = names; *name && folder; name++) {
		struct mail_folder *child;

		if (!**name)
			continue;
		child = mail_folder_child(mail, folder, *name);
		mail_folder_unref(folder);
		folder = child;
	}
	return folder;
}

/* As the tree is known, and if it isn't there, as the server has it now. */
int work_folder_find(const struct work *work, const char *path, struct mail_folder **folder_out, struct error *err)
{
	struct work_try try = {.work = work, .force = true};
	int code = wait_for(work->wait, try_tree_ready, &try, err);

	*folder_out = NULL;
	if (code == 0)
		*folder_out = folder_at(work->mail, path);
	if (code != 0 || *folder_out)
		return code;
	code = wait_for(work->wait, work_try_tree_fresh, &try, err);
	if (code == 0)
		*folder_out = folder_at(work->mail, path);
	if (code != 0 || *folder_out)
		return code;
	error_set(err, ERR_GONE, "%s: no such folder", path);
	error_hint(err, "`mailtree ls ACCOUNT` lists them");
	return ERR_GONE;
}

static const char *special_use(uint32_t attributes)
{
	static const struct {
		uint32_t attribute;
		const char *name;
	} uses[] = {
		{MAIL_FOLDER_ARCHIVE, "\\Archive"},
		{MAIL_FOLDER_DRAFTS, "\\Drafts"},
		{MAIL_FOLDER_JUNK, "\\Junk"},
		{MAIL_FOLDER_SENT, "\\Sent"},
		{MAIL_FOLDER_TRASH, "\\Trash"},
		{MAIL_FOLDER_ALL, "\\All"},
		{MAIL_FOLDER_FLAGGED, "\\Flagged"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(uses); i++)
		if (attributes & uses[i].attribute)
			return uses[i].name;
	return NULL;
}

static uint32_t count_unseen(struct mail *mail, struct mail_folder *folder)
{
	struct mail_message messages[MESSAGES_AT_ONCE];
	uint32_t unseen = 0, after = 0;
	size_t count;

	while ((count = mail_messages_next(mail, folder, after, messages, MESSAGES_AT_ONCE)) > 0) {
		for (size_t i = 0; i < count; i++)
			unseen += !(messages[i].flags & MAIL_SEEN);
		after = messages[count - 1].uid;
	}
	return unseen;
}

static void entry_clear(void *data)
{
	struct work_folder *entry = data;

	g_free(entry->path);
	mail_folder_unref(entry->folder);
}

static int entry_compare(const void *a, const void *b)
{
	return strcmp(((const struct work_folder *)a)->path, ((const struct work_folder *)b)->path);
}

static void entries_collect(struct mail *mail, struct mail_folder *parent, const char *parent_path, GArray *entries)
{
	struct mail_folder *child;
	struct mail_folder_info info;
	const char *name;
	uint32_t after = 0;

	while ((child = mail_folder_next_child(mail, parent, after, &name))) {
		struct work_folder entry = {
			*parent_path ? g_strconcat(parent_path, "/", name, NULL) : g_strdup(name), child};

		mail_folder_info(mail, child, &info);
		after = info.number;
		g_array_append_val(entries, entry);
		entries_collect(mail, child, entry.path, entries); /* LIMIT_FOLDER_DEPTH */
	}
}

GArray *work_folders(struct mail *mail, struct mail_folder *parent, const char *parent_path)
{
	GArray *entries = g_array_new(FALSE, FALSE, sizeof(struct work_folder));

	g_array_set_clear_func(entries, entry_clear);
	entries_collect(mail, parent, parent_path, entries);
	return entries;
}

static cJSON *folder_object(struct mail *mail, const struct work_folder *entry)
{
	struct mail_folder_info info;
	cJSON *object = cJSON_CreateObject();
	bool known;

	mail_folder_info(mail, entry->folder, &info);
	known = info.uidvalidity != 0;
	cJSON_AddStringToObject(object, "path", entry->path);
	cJSON_AddStringToObject(object, "folder", entry->path);
	add_number(object, "messages", known, info.messages);
	/* only a listing in memory tells it; counting isn't worth fetching one */
	if (known && info.loaded)
		cJSON_AddNumberToObject(object, "unseen", count_unseen(mail, entry->folder));
	else
		cJSON_AddNullToObject(object, "unseen");
	add_number(object, "uidvalidity", known, info.uidvalidity);
	add_text(object, "special_use", special_use(info.attributes));
	return object;
}

static int list_folders(const struct work *work, const struct sink *sink, struct error *err)
{
	struct work_try try = {.work = work};
	g_autoptr(GArray) entries = NULL;
	struct mail_folder *root;
	int code = wait_for(work->wait, work_try_tree_fresh, &try, err);

	if (code != 0)
		return code;
	root = mail_root(work->mail);
	entries = work_folders(work->mail, root, "");
	mail_folder_unref(root);
	g_array_sort(entries, entry_compare);
	for (guint i = 0; i < entries->len && code == 0; i++)
		code = work_record_put(
			sink, folder_object(work->mail, &g_array_index(entries, struct work_folder, i)), err);
	return code;
}

/* ---- messages ---- */

static cJSON *flags_array(uint32_t flags, const char *keywords)
{
	g_auto(GStrv) others = g_strsplit(keywords ? keywords : "", " ", -1);
	cJSON *array = cJSON_CreateArray();

	for (size_t i = 0; i < G_N_ELEMENTS(mail_flag_words); i++)
		if (flags & mail_flag_words[i].flag)
			cJSON_AddItemToArray(array, cJSON_CreateString(mail_flag_words[i].word));
	for (char **word = others; *word; word++)
		if (**word)
			cJSON_AddItemToArray(array, cJSON_CreateString(*word));
	return array;
}

cJSON *work_message_object(const struct work *work, const char *folder_path, const struct mail_folder_info *info,
	const struct mail_message *message, const struct mail_details *details)
{
	char name[NAMES_BYTES_MAX + 1];
	g_autofree char *path = NULL;
	cJSON *object = cJSON_CreateObject();

	if (work->maildir)
		names_maildir_compose(message, info->message_number, name);
	else
		names_compose(message, work->names_uid, name);
	path = g_strconcat(folder_path, work->maildir ? "/cur/" : "/", name, NULL);
	cJSON_AddStringToObject(object, "path", path);
	cJSON_AddStringToObject(object, "folder", folder_path);
	cJSON_AddNumberToObject(object, "uid", message->uid);
	cJSON_AddNumberToObject(object, "uidvalidity", info->uidvalidity);
	cJSON_AddNumberToObject(object, "size", (double)message->size_bytes);
	cJSON_AddBoolToObject(object, "size_exact", message->size_exact);
	add_date(object, "date", message->date);
	add_text(object, "from", details->from);
	add_text(object, "to", details->to);
	add_text(object, "subject", details->subject);
	add_text(object, "message_id", details->message_id);
	cJSON_AddItemToObject(object, "flags", flags_array(message->flags, details->keywords));
	cJSON_AddBoolToObject(object, "cached", message->cached);
	return object;
}

static int uid_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

bool work_uid_is_in(const GArray *uids, uint32_t uid)
{
	return uids->len && bsearch(&uid, uids->data, uids->len, sizeof(uint32_t), uid_compare);
}

static int list_folder(const struct work *work, struct mail_folder *folder, const struct sink *sink, struct error *err)
{
	struct work_try try = {.work = work, .folder = folder};
	struct mail_folder_info info;
	struct mail_message messages[MESSAGES_AT_ONCE];
	uint32_t after = 0;
	size_t count;
	int code = wait_for(work->wait, try_flags_fresh, &try, err);
	g_autofree char *path = mail_folder_path(work->mail, folder);
	g_autoptr(GArray) cached = NULL;

	if (code != 0)
		return code;
	cached = mail_messages_cached(work->mail, folder);
	mail_folder_info(work->mail, folder, &info);
	while ((count = mail_messages_next(work->mail, folder, after, messages, MESSAGES_AT_ONCE)) > 0) {
		for (size_t i = 0; i < count && code == 0; i++) {
			struct mail_details details = {0};

			messages[i].cached = work_uid_is_in(cached, messages[i].uid);
			/* the message may have gone since: what is known without the index is shown all the same */
			code = mail_message_details(work->mail, folder, messages[i].uid, &details, err);
			if (code == 0 || code == ERR_GONE)
				code = work_record_put(
					sink, work_message_object(work, path, &info, &messages[i], &details), err);
			mail_details_fini(&details);
		}
		if (code != 0)
			return code;
		after = messages[count - 1].uid;
	}
	return 0;
}

static int list(const struct work *work, const char *path, const struct sink *sink, struct error *err)
{
	struct mail_folder *folder;
	int code;

	if (!path || !*path)
		return list_folders(work, sink, err);
	code = work_folder_find(work, path, &folder, err);
	if (code == 0)
		code = list_folder(work, folder, sink, err);
	mail_folder_unref(folder);
	return code;
}

/* ---- one message ---- */

/* In the listing as it is known, and if it isn't there, as the server has it now. */
static int message_check(
	const struct work *work, struct mail_folder *folder, uint32_t uid, const char *path, struct error *err)
{
	struct work_try try = {.work = work, .folder = folder, .force = true};
	struct mail_message message;
	int code = wait_for(work->wait, try_folder_ready, &try, err);

	if (code != 0 || mail_message_find(work->mail, folder, uid, &message))
		return code;
	code = wait_for(work->wait, work_try_folder_fresh, &try, err);
	if (code != 0 || mail_message_find(work->mail, folder, uid, &message))
		return code;
	error_set(err, ERR_GONE, "%s: no message has UID %u", path, uid);
	error_hint(err, "`mailtree ls ACCOUNT %s` lists them", path);
	return ERR_GONE;
}

struct piece {
	const struct work *work;
	struct mail_folder *folder;
	uint32_t uid;
	uint64_t offset;
	struct mail_slice slice;
};

static int try_read(void *ctx, struct mail_waiter *waiter, struct error *err)
{
	struct piece *piece = ctx;

	return mail_read(piece->work->mail, piece->folder, piece->uid, piece->offset, PIECE_BYTES, UINT64_MAX,
		&piece->slice, waiter, err);
}

static int slice_put(const struct mail_slice *slice, char *buffer, const struct sink *sink, struct error *err)
{
	size_t at = 0;

	if (slice->memory)
		return sink->record(sink->ctx, slice->memory, slice->length, err);
	while (at < slice->length) {
		ssize_t got = pread(slice->fd, buffer + at, slice->length - at, (off_t)(slice->fd_offset + at));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return error_set(err, ERR_STORAGE, "the cache: %s", got < 0 ? g_strerror(errno) : "cut short");
		at += (size_t)got;
	}
	return sink->record(sink->ctx, buffer, slice->length, err);
}

static int message_put(struct piece *piece, const struct sink *sink, struct error *err)
{
	g_autofree char *buffer = g_malloc(PIECE_BYTES);
	int code = 0;

	for (size_t length = PIECE_BYTES; length == PIECE_BYTES && code == 0;) {
		piece->slice = (struct mail_slice){0};
		code = wait_for(piece->work->wait, try_read, piece, err);
		if (code != 0)
			return code;
		length = piece->slice.length;
		if (length > 0)
			code = slice_put(&piece->slice, buffer, sink, err);
		mail_slice_fini(&piece->slice);
		piece->offset += length;
	}
	return code;
}

static int cat(const struct work *work, const struct work_request *request, const struct sink *sink, struct error *err)
{
	struct piece piece = {.work = work, .uid = request->uid};
	const char *path = request->folder ? request->folder : "";
	int code = work_folder_find(work, path, &piece.folder, err);

	if (code == 0)
		code = message_check(work, piece.folder, request->uid, path, err);
	if (code == 0)
		code = message_put(&piece, sink, err);
	mail_folder_unref(piece.folder);
	return code;
}

/* ---- the account ---- */

static int mountpoint_put(const struct work *work, const struct sink *sink, struct error *err)
{
	cJSON *object = cJSON_CreateObject();

	add_text(object, "mountpoint", work->mountpoint);
	return work_record_put(sink, object, err);
}

static int status_put(const struct work *work, const struct sink *sink, struct error *err)
{
	g_autofree char *text = mail_status_json(work->mail, work->mountpoint);

	return sink->record(sink->ctx, text, strlen(text), err);
}

int work_run(const struct work *work, const struct work_request *request, const struct sink *sink, struct error *err)
{
	switch (request->command) {
	case WORK_MOUNTPOINT:
		return mountpoint_put(work, sink, err);
	case WORK_STATUS:
		return status_put(work, sink, err);
	case WORK_LS:
		return list(work, request->folder, sink, err);
	case WORK_CAT:
		return cat(work, request, sink, err);
	case WORK_SEARCH:
		return work_search(work, request->query, sink, err);
	case WORK_WARM:
		return work_warm(work, request->folder, sink, err);
	case WORK_RETRY:
		mail_retry_now(work->mail);
		return 0;
	case WORK_COMMANDS:
		break;
	}
	return error_set(err, ERR_USAGE, "no such command");
}
