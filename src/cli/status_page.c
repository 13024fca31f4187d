/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/status_page.h"
#include "src/cli/output.h"
#include "src/cli/style.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define LABEL_COLUMNS 11
#define BAR_COLUMNS 20

struct page {
	GString *text;
	bool colours;
	int64_t now;
};

/* Texts come from a server or another program: without controls. */
static char *clean(const cJSON *object, const char *key)
{
	const char *text = output_member_text(object, key);

	return output_cell(text ? text : "?", 0, false);
}

static void line(struct page *page, const char *label, const char *value)
{
	g_autofree char *cell = output_cell(label, LABEL_COLUMNS, true);
	g_autofree char *painted = style_paint(page->colours, STYLE_DIM, cell);

	g_string_append_printf(page->text, "  %s %s\n", painted, value);
}

static double number(const cJSON *object, const char *key)
{
	return MAX(output_member_number(object, key), 0);
}

/* "43 min" */
static char *duration(int64_t seconds)
{
	if (seconds < 120)
		return g_strdup_printf("%d s", (int)seconds);
	if (seconds < 120 * 60)
		return g_strdup_printf("%d min", (int)(seconds / 60));
	return g_strdup_printf("%d h", (int)MIN(seconds / 3600, 99999));
}

static void put_state(struct page *page, const cJSON *mount)
{
	g_autofree char *state = clean(mount, "state");
	bool good = strcmp(state, "connected") == 0, calm = strcmp(state, "idle") == 0 || strcmp(state, "offline") == 0;
	g_autofree char *painted = calm ? g_strdup(state)
	                                : style_paint(page->colours, good ? STYLE_GOOD : STYLE_BAD, state);
	double connections = output_member_number(mount, "connections");
	g_autofree char *value = connections > 0 ? g_strdup_printf("%s, %.0f connection%s", painted, connections,
							   connections == 1 ? "" : "s")
	                                         : g_strdup(painted);

	line(page, "state", value);
}

static void put_sign_in(struct page *page, const cJSON *mount)
{
	const char *expires = output_member_text(mount, "token_expires");
	g_autoptr(GDateTime) at = expires ? g_date_time_new_from_iso8601(expires, NULL) : NULL;
	g_autofree char *left = NULL, *value = NULL, *when = NULL;
	int64_t seconds;

	if (!at)
		return;
	seconds = g_date_time_to_unix(at) - page->now;
	when = output_cell(expires, 0, false);
	left = duration(ABS(seconds));
	value = g_strdup_printf(seconds >= 0 ? "token until %s, %s from now" : "token ended %s, %s ago", when, left);
	line(page, "sign-in", value);
}

static void put_folders(struct page *page, const cJSON *mount)
{
	const cJSON *folder, *folders = cJSON_GetObjectItemCaseSensitive(mount, "folders");
	g_autofree char *value = NULL;
	double messages = 0;
	int checked = 0;

	if (!cJSON_IsArray(folders))
		return;
	cJSON_ArrayForEach(folder, folders)
	{
		messages += number(folder, "messages");
		checked += output_member_text(folder, "checked_at") != NULL;
	}
	value = g_strdup_printf("%d, of which %d have been opened; %.0f messages are known",
		cJSON_GetArraySize(folders), checked, messages);
	line(page, "folders", value);
}

static void put_cache(struct page *page, const cJSON *mount)
{
	const cJSON *cache = cJSON_GetObjectItemCaseSensitive(mount, "cache");
	double bytes = number(cache, "bytes"), limit = number(cache, "limit");
	g_autofree char *used = output_size(bytes), *bound = limit > 0 ? output_size(limit) : g_strdup("no limit");
	g_autofree char *value = NULL, *bar = NULL;
	int full;

	if (!cJSON_IsObject(cache))
		return;
	full = limit > 0 ? (int)(BAR_COLUMNS * MIN(bytes / limit, 1)) : 0;
	bar = g_strnfill(BAR_COLUMNS, '.');
	memset(bar, '#', (size_t)full);
	value = g_strdup_printf("%s%s%s%s (limit: %s), %.0f messages", limit > 0 ? "[" : "", limit > 0 ? bar : "",
		limit > 0 ? "] " : "", used, bound, number(cache, "messages"));
	line(page, "cache", value);
}

static void put_reads(struct page *page, const cJSON *mount)
{
	const cJSON *counters = cJSON_GetObjectItemCaseSensitive(mount, "counters");
	double hits = number(counters, "cache_hits"), misses = number(counters, "cache_misses");
	g_autofree char *fetched = output_size(number(counters, "body_bytes_fetched")), *value = NULL, *traffic = NULL;

	if (!cJSON_IsObject(counters))
		return;
	value = g_strdup_printf("%.0f from the cache, %.0f from the server", hits, misses);
	line(page, "reads", value);
	traffic = g_strdup_printf("%.0f messages (%s), %.0f of them ahead of a reader",
		number(counters, "bodies_fetched"), fetched, number(counters, "bodies_prefetched"));
	line(page, "fetched", traffic);
}

static void put_last_error(struct page *page, const cJSON *mount)
{
	const cJSON *last = cJSON_GetObjectItemCaseSensitive(mount, "last_error");
	g_autofree char *text = clean(last, "text"), *hint = clean(last, "hint");
	bool has_hint = output_member_text(last, "hint") != NULL;
	g_autofree char *value = g_strconcat(
		text, has_hint ? " (" : "", has_hint ? hint : "", has_hint ? ")" : "", NULL);
	g_autofree char *painted = style_paint(page->colours, STYLE_BAD, value);

	if (cJSON_IsObject(last))
		line(page, "last error", painted);
}

/* Found in the kernel's table alone. True = nothing more is known. */
static bool put_silent(struct page *page, const cJSON *mount)
{
	g_autofree char *mountpoint = clean(mount, "mountpoint"), *owner = clean(mount, "owner");
	g_autofree char *state = clean(mount, "state"), *value = NULL;

	if (strcmp(state, "no-answer") == 0)
		value = g_strdup_printf("no answer: its program has died or hangs (mailtree umount %s)", mountpoint);
	else if (strcmp(state, "other-user") == 0)
		value = g_strdup_printf("mounted by %s, who can ask for more", owner);
	if (value)
		line(page, "state", value);
	return value != NULL;
}

static void put_mount(struct page *page, const cJSON *mount)
{
	g_autofree char *mountpoint = clean(mount, "mountpoint"), *account = clean(mount, "account");
	g_autofree char *user = clean(mount, "user"), *host = clean(mount, "host");
	g_autofree char *strong = style_paint(page->colours, STYLE_STRONG, mountpoint);
	g_autofree char *mailbox = g_strdup_printf("%s at %s", user, host);

	g_string_append_printf(page->text, "%s  %s\n", strong, account);
	if (put_silent(page, mount))
		return;
	line(page, "mailbox", mailbox);
	put_state(page, mount);
	put_sign_in(page, mount);
	put_folders(page, mount);
	put_cache(page, mount);
	put_reads(page, mount);
	put_last_error(page, mount);
}

char *status_page(const cJSON *mounts, bool colours, int64_t now)
{
	struct page page = {g_string_new(NULL), colours, now};
	const cJSON *mount;

	cJSON_ArrayForEach(mount, mounts)
	{
		if (page.text->len)
			g_string_append_c(page.text, '\n');
		put_mount(&page, mount);
	}
	if (!page.text->len)
		g_string_append(page.text, "Nothing is mounted.\n");
	return g_string_free(page.text, FALSE);
}
