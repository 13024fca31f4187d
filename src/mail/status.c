/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.json and metrics (contract, "JSON" and "Control files"). */
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/process.h"
#include "src/mail/internal.h"

#include <cjson/cJSON.h>
#include <time.h>

#include "src/base/banned.h"

struct asked {
	struct mail *mail;
	struct source_status status;
	char *watching; /* the folder's path; NULL = none */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
};

static void loop_ask(struct asked *asked)
{
	struct mail *mail = asked->mail;

	mail->source->ops->status(mail->source, &asked->status);
	asked->watching = asked->status.watching ? watch_path(mail) : NULL;
}

static void ask(void *data)
{
	struct asked *asked = data;

	loop_ask(asked);
	pthread_mutex_lock(&asked->lock);
	asked->done = true;
	pthread_cond_signal(&asked->changed);
	pthread_mutex_unlock(&asked->lock);
}

/*
 * The source belongs to the loop; its answer takes no network, so the wait is one turn of the loop. Returns the path of
 * the folder whose changes are told now, or NULL; g_free it.
 */
static char *source_status_now(struct mail *mail, struct source_status *status_out)
{
	struct asked asked = {.mail = mail, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

	if (loop_is_current(mail->loop)) {
		loop_ask(&asked);
	} else {
		loop_post(mail->loop, ask, &asked);
		pthread_mutex_lock(&asked.lock);
		while (!asked.done)
			pthread_cond_wait(&asked.changed, &asked.lock);
		pthread_mutex_unlock(&asked.lock);
	}
	*status_out = asked.status;
	return asked.watching;
}

static void add_time(cJSON *object, const char *key, int64_t seconds)
{
	char text[32];
	time_t at = (time_t)seconds;
	struct tm utc;

	if (seconds <= 0 || seconds == INT64_MAX || !gmtime_r(&at, &utc)) {
		cJSON_AddNullToObject(object, key);
		return;
	}
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	cJSON_AddStringToObject(object, key, text);
}

static void add_error(cJSON *object, const struct error *err)
{
	cJSON *entry;

	if (!err->code) {
		cJSON_AddNullToObject(object, "last_error");
		return;
	}
	entry = cJSON_AddObjectToObject(object, "last_error");
	cJSON_AddStringToObject(entry, "kind", error_name(err->code));
	cJSON_AddStringToObject(entry, "text", err->text);
	if (err->hint[0])
		cJSON_AddStringToObject(entry, "hint", err->hint);
}

static const char *state_name(const struct mail *mail, const struct source_status *status, const struct error *err)
{
	if (mail->config.offline)
		return "offline";
	if (status->backoff_ms)
		return "throttled";
	if (status->signed_in)
		return "connected";
	if (status->refused || err->code == ERR_SIGN_IN)
		return "sign-in-needed";
	return err->code == ERR_UNREACHABLE || err->code == ERR_TIMEOUT ? "unreachable" : "idle";
}

struct counter {
	const char *name, *help;
	uint64_t value;
};

static size_t counters_fill(
	struct mail *mail, const struct source_status *status, const struct cache_stats *stats, struct counter *out)
{
	struct counter counters[] = {
		{"bytes_in", "octets read from the server", status->bytes_in},
		{"bytes_out", "octets sent to the server", status->bytes_out},
		{"commands", "IMAP commands sent", status->commands},
		{"round_trips", "times that a command waited for the server", status->round_trips},
		{"reconnects", "connections that replaced a lost one", status->reconnects},
		{"throttled", "pauses that the server asked for", status->throttled},
		{"token_requests", "tokens asked for", status->token_requests},
		{"bodies_fetched", "messages fetched", atomic_load(&mail->fetched_messages)},
		{"body_bytes_fetched", "octets of messages fetched", atomic_load(&mail->fetched_bytes)},
		{"bodies_prefetched", "of these, ahead of a reader", atomic_load(&mail->prefetched)},
		{"views_rendered", "texts and attachments made of messages", atomic_load(&mail->rendered)},
		{"cache_hits", "reads served from the cache", atomic_load(&mail->cache_hits)},
		{"cache_misses", "reads that had to ask the server", atomic_load(&mail->cache_misses)},
		{"cache_evicted_bytes", "octets given up for room", stats->evicted_bytes},
		{"sizes_confirmed", "messages as long as the server said", atomic_load(&mail->sizes_confirmed)},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(counters); i++)
		out[i] = counters[i];
	return G_N_ELEMENTS(counters);
}

static void add_folders(struct mail *mail, cJSON *root)
{
	cJSON *folders = cJSON_AddArrayToObject(root, "folders");
	GHashTableIter iter;
	struct mail_folder *folder;
	g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)mail_folder_unref);
	void *key;

	pthread_rwlock_rdlock(&mail->lock);
	g_hash_table_iter_init(&iter, mail->by_number);
	while (g_hash_table_iter_next(&iter, &key, (void **)&folder))
		if (GPOINTER_TO_UINT(key) == folder->number)
			g_ptr_array_add(all, mail_folder_ref(folder));
	pthread_rwlock_unlock(&mail->lock);
	for (guint i = 0; i < all->len; i++) {
		struct mail_folder_info info;
		g_autofree char *path = mail_folder_path(mail, all->pdata[i]);
		cJSON *entry;

		mail_folder_info(mail, all->pdata[i], &info);
		if (info.attributes & MAIL_FOLDER_NOSELECT)
			continue;
		entry = cJSON_CreateObject();
		cJSON_AddStringToObject(entry, "path", path);
		add_time(entry, "checked_at", info.checked_at);
		cJSON_AddNumberToObject(entry, "messages", info.messages);
		cJSON_AddItemToArray(folders, entry);
	}
}

char *mail_status_json(struct mail *mail, const char *mountpoint)
{
	struct source_status status = {0};
	struct cache_stats stats;
	struct counter counters[32];
	struct error last;
	cJSON *root = cJSON_CreateObject(), *entry;
	g_autofree char *watching = source_status_now(mail, &status);
	size_t count;
	char *text;

	cache_stats(mail->cache, &stats);
	pthread_mutex_lock(&mail->errors_lock);
	last = status.last_error.code ? status.last_error : mail->last_error;
	pthread_mutex_unlock(&mail->errors_lock);

	cJSON_AddStringToObject(root, "account", mail->account);
	cJSON_AddStringToObject(root, "user", mail->user);
	cJSON_AddStringToObject(root, "host", mail->host);
	if (mountpoint)
		cJSON_AddStringToObject(root, "mountpoint", mountpoint);
	else
		cJSON_AddNullToObject(root, "mountpoint");
	cJSON_AddStringToObject(root, "state", state_name(mail, &status, &last));
	cJSON_AddNumberToObject(root, "connections", status.connections);
	cJSON_AddBoolToObject(root, "signed_in", status.signed_in);
	add_time(root, "token_expires", status.token_expires);
	add_error(root, &last);
	cJSON_AddBoolToObject(root, "sizes_trusted", mail->sizes_trusted);
	if (watching)
		cJSON_AddStringToObject(root, "watching", watching);
	else
		cJSON_AddNullToObject(root, "watching");
	add_folders(mail, root);
	entry = cJSON_AddObjectToObject(root, "cache");
	cJSON_AddNumberToObject(entry, "bytes", (double)stats.bytes);
	cJSON_AddNumberToObject(entry, "limit", (double)stats.limit_bytes);
	cJSON_AddNumberToObject(entry, "messages", (double)stats.messages);
	entry = cJSON_AddObjectToObject(root, "counters");
	count = counters_fill(mail, &status, &stats, counters);
	for (size_t i = 0; i < count; i++)
		cJSON_AddNumberToObject(entry, counters[i].name, (double)counters[i].value);
	text = cJSON_Print(root);
	cJSON_Delete(root);
	return text;
}

char *mail_metrics_text(struct mail *mail)
{
	struct source_status status = {0};
	struct cache_stats stats;
	struct counter counters[32];
	GString *text = g_string_new(NULL);
	size_t count;

	g_free(source_status_now(mail, &status));
	cache_stats(mail->cache, &stats);
	count = counters_fill(mail, &status, &stats, counters);
	for (size_t i = 0; i < count; i++)
		g_string_append_printf(text,
			"# HELP mailtree_%s_total %s\n# TYPE mailtree_%s_total counter\nmailtree_%s_total "
			"%" G_GUINT64_FORMAT "\n",
			counters[i].name, counters[i].help, counters[i].name, counters[i].name, counters[i].value);
	g_string_append_printf(text,
		"# HELP mailtree_connections signed-in connections\n# TYPE mailtree_connections "
		"gauge\nmailtree_connections %u\n"
		"# HELP mailtree_signed_in 1 when signed in\n# TYPE mailtree_signed_in gauge\nmailtree_signed_in %d\n"
		"# HELP mailtree_cache_bytes octets in the disk cache\n# TYPE mailtree_cache_bytes "
		"gauge\nmailtree_cache_bytes %" G_GUINT64_FORMAT "\n"
		"# HELP mailtree_open_fds descriptors of the process\n# TYPE mailtree_open_fds "
		"gauge\nmailtree_open_fds %" G_GUINT64_FORMAT "\n"
		"# HELP mailtree_resident_bytes memory of the process\n# TYPE mailtree_resident_bytes "
		"gauge\nmailtree_resident_bytes %" G_GUINT64_FORMAT "\n",
		status.connections, status.signed_in, stats.bytes, process_open_fds(), process_resident_bytes());
	return g_string_free(text, FALSE);
}
