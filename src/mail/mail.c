/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The account as a whole: its life, its errors, and what is said of it. */
#include "src/mail/mail.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/base/banned.h"

#define NOTED_AGAIN_MS 60000u
#define SIZES_CONFIRMED_ENOUGH 100 /* contract: `auto` trusts a host after so many, from the next mount on */

static bool sizes_trust(struct mail *mail)
{
	g_autofree char *confirmed = cache_trait_get(mail->cache, "sizes.confirmed");
	g_autofree char *lied = cache_trait_get(mail->cache, "sizes.lied");

	if (confirmed)
		atomic_store(&mail->sizes_confirmed, (unsigned)g_ascii_strtoull(confirmed, NULL, 10));
	atomic_store(&mail->sizes_lied, lied != NULL);
	/* what is read isn't what the server measures */
	if (mail->config.eol_lf || lied || mail->config.sizes == MAIL_SIZES_EXACT)
		return false;
	if (mail->config.sizes == MAIL_SIZES_TRUST)
		return true;
	return atomic_load(&mail->sizes_confirmed) >= SIZES_CONFIRMED_ENOUGH;
}

int mail_new(struct loop *loop, const struct mail_config *config, struct cache *cache, struct mail_source *source,
	struct mail **mail_out, struct error *err)
{
	struct mail *mail = g_new0(struct mail, 1);
	pthread_rwlockattr_t attributes;
	int code;

	mail->loop = loop;
	mail->cache = cache;
	mail->source = source;
	mail->config = *config;
	mail->account = g_strdup(config->account);
	mail->user = g_strdup(config->user);
	mail->host = g_strdup(config->host);
	mail->folder_globs = g_strdupv((char **)config->folders);
	mail->exclude_globs = g_strdupv((char **)config->exclude);
	/* readers come in streams: the loop must not starve behind them */
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&mail->lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	pthread_mutex_init(&mail->load_lock, NULL);
	pthread_mutex_init(&mail->park_lock, NULL);
	pthread_mutex_init(&mail->errors_lock, NULL);
	pthread_mutex_init(&mail->lies_lock, NULL);
	pthread_mutex_init(&mail->views_lock, NULL);
	render_init(mail);
	mail->lies = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	pthread_rwlock_init(&mail->streams_lock, NULL);
	pthread_rwlock_init(&mail->listener_lock, NULL);
	g_queue_init(&mail->parks);
	g_queue_init(&mail->walks);
	g_queue_init(&mail->syncs);
	g_queue_init(&mail->fetches);
	g_queue_init(&mail->streams);
	g_queue_init(&mail->held);
	g_queue_init(&mail->errors);
	g_queue_init(&mail->searches);
	g_queue_init(&mail->results);
	pthread_mutex_init(&mail->results_lock, NULL);
	mail->sizes_trusted = sizes_trust(mail);
	daily_load(mail);
	code = tree_load(mail, err);
	if (code) {
		mail_free(mail);
		return code;
	}
	*mail_out = mail;
	return 0;
}

void mail_free(struct mail *mail)
{
	struct error err;
	GHashTableIter iter;
	struct mail_folder *folder;

	if (!mail)
		return;
	error_set(&err, ERR_INTERRUPTED, "unmounted");
	for (struct park *park; (park = g_queue_peek_head(&mail->parks));) {
		park->again = false;
		park_finish(park, ERR_INTERRUPTED, &err);
	}
	render_fini(mail);
	loop_timer_cancel(mail->walk_timer);
	watch_stop(mail);
	for (struct sync *sync; (sync = g_queue_peek_head(&mail->syncs));)
		sync_free(sync);
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		walk_free(folder);
		fetch_stop_all(folder, ERR_INTERRUPTED, &err);
	}
	if (atomic_load(&mail->sizes_confirmed))
		body_sizes_save(mail);
	daily_save(mail);
	body_held_free(mail);
	mail->source->ops->free(mail->source);
	searches_free(mail);
	tree_free(mail);
	g_queue_clear_full(&mail->errors, g_free);
	pthread_rwlock_destroy(&mail->lock);
	pthread_rwlock_destroy(&mail->streams_lock);
	pthread_rwlock_destroy(&mail->listener_lock);
	pthread_mutex_destroy(&mail->load_lock);
	pthread_mutex_destroy(&mail->park_lock);
	pthread_mutex_destroy(&mail->errors_lock);
	pthread_mutex_destroy(&mail->lies_lock);
	pthread_mutex_destroy(&mail->views_lock);
	pthread_mutex_destroy(&mail->results_lock);
	g_hash_table_unref(mail->lies);
	g_strfreev(mail->folder_globs);
	g_strfreev(mail->exclude_globs);
	g_free(mail->account);
	g_free(mail->user);
	g_free(mail->host);
	g_free(mail);
}

static void retry_now(void *data)
{
	struct mail *mail = data;
	GHashTableIter iter;
	struct mail_folder *folder;

	atomic_store(&mail->tree_fresh_until_s, 0);
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		atomic_store(&folder->fresh_until_s, 0);
		atomic_store(&folder->flags_until_s, 0);
	}
	mail->source->ops->retry_now(mail->source);
}

void mail_retry_now(struct mail *mail)
{
	loop_post(mail->loop, retry_now, mail);
}

bool mail_sizes_trusted(struct mail *mail)
{
	return mail->sizes_trusted;
}

bool mail_stale_allowed(const struct mail *mail, int64_t checked_at)
{
	if (!checked_at)
		return false;
	return mail->config.stale_s < 0 || clock_unix() - checked_at < mail->config.stale_s;
}

void mail_set_listener(struct mail *mail, mail_event_fn fn, void *ctx)
{
	pthread_rwlock_wrlock(&mail->listener_lock);
	mail->listener_ctx = ctx;
	mail->listener = fn;
	atomic_store(&mail->watch.wanted, fn && !mail->config.offline);
	pthread_rwlock_unlock(&mail->listener_lock);
}

void mail_emit(struct mail *mail, const struct mail_event *event)
{
	pthread_rwlock_rdlock(&mail->listener_lock);
	if (mail->listener)
		mail->listener(mail->listener_ctx, event);
	pthread_rwlock_unlock(&mail->listener_lock);
}

void mail_note_error(struct mail *mail, const struct error *err, const char *format, ...)
{
	char what[512], when[32];
	time_t now = (time_t)clock_unix();
	struct tm utc;
	va_list args;
	char *line;
	const char *newest;
	bool repeated;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	log_clean(what);
	gmtime_r(&now, &utc);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
	line = g_strdup_printf("%s %s: %s: %s%s%s%s", when, error_name(err->code), what, err->text,
		err->hint[0] ? " (" : "", err->hint, err->hint[0] ? ")" : "");
	pthread_mutex_lock(&mail->errors_lock);
	mail->last_error = *err;
	newest = g_queue_peek_tail(&mail->errors);
	/* every program that asks meets the same fault: once a minute is enough */
	repeated = newest && clock_ms() - mail->noted_ms < NOTED_AGAIN_MS &&
	           strcmp(newest + strlen(when), line + strlen(when)) == 0;
	if (repeated) {
		g_free(line);
	} else {
		mail->noted_ms = clock_ms();
		g_queue_push_tail(&mail->errors, line);
		if (mail->errors.length > MAIL_ERRORS_MAX)
			g_free(g_queue_pop_head(&mail->errors));
	}
	pthread_mutex_unlock(&mail->errors_lock);
	if (!repeated)
		log_warning(
			"%s: %s%s%s%s", what, err->text, err->hint[0] ? " (" : "", err->hint, err->hint[0] ? ")" : "");
}

char *mail_errors_text(struct mail *mail)
{
	GString *text = g_string_new(NULL);

	pthread_mutex_lock(&mail->errors_lock);
	for (GList *at = mail->errors.head; at; at = at->next)
		g_string_append_printf(text, "%s\n", (char *)at->data);
	pthread_mutex_unlock(&mail->errors_lock);
	return g_string_free(text, FALSE);
}

void mail_quota(struct mail *mail, struct mail_quota *quota_out)
{
	struct cache_stats stats;

	/* without the server's word: what is cached */
	cache_stats(mail->cache, &stats);
	*quota_out = (struct mail_quota){.used_bytes = stats.bytes, .messages = stats.messages};
}

/* ---- refresh: every folder that was ever loaded is checked ---- */

static bool needs_check(const struct mail_folder *folder, uint64_t since_ms)
{
	return folder->checked_at && !folder->gone && !(folder->attributes & MAIL_FOLDER_NOSELECT) &&
	       folder->attempt_ms < since_ms;
}

static void refresh_begin(struct mail *mail, struct park *park)
{
	GHashTableIter iter;
	struct mail_folder *folder;

	if (mail->tree_attempt_ms < park->since_ms) {
		tree_check_begin(mail, park);
		return;
	}
	g_hash_table_iter_init(&iter, mail->by_raw);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		if (!needs_check(folder, park->since_ms))
			continue;
		mail_folder_unref(park->folder);
		park->folder = mail_folder_ref(folder);
		sync_park(mail, park);
		return;
	}
	park->again = false;
	park_finish(park, 0, NULL);
}

int mail_refresh(struct mail *mail, struct mail_waiter *waiter, char **line_out, struct error *err)
{
	unsigned checked = 0, failed = 0;
	GHashTableIter iter;
	struct mail_folder *folder;

	if (!waiter->since_ms) {
		if (mail->config.offline)
			return error_set(err, ERR_UNREACHABLE, "this mount is offline");
		/* `again` is set before the loop sees it: the park begins on the loop */
		return park_new_again(mail, waiter, refresh_begin);
	}
	pthread_rwlock_rdlock(&mail->lock);
	g_hash_table_iter_init(&iter, mail->by_number);
	while (g_hash_table_iter_next(&iter, NULL, (void **)&folder)) {
		if (!folder->checked_at)
			continue;
		if (folder->fresh_ms >= waiter->since_ms)
			checked++;
		else
			failed++;
	}
	pthread_rwlock_unlock(&mail->lock);
	if (mail->tree_fresh_ms < waiter->since_ms) {
		pthread_mutex_lock(&mail->errors_lock);
		error_copy(err, &mail->last_error);
		pthread_mutex_unlock(&mail->errors_lock);
		return err && err->code ? err->code : ERR_UNREACHABLE;
	}
	*line_out = failed ? g_strdup_printf("checked %u folders, %u could not be checked\n", checked, failed)
	                   : g_strdup_printf("checked %u folders\n", checked);
	return 0;
}
