/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daily_bytes: how much was fetched on this day (UTC), kept over restarts as a trait of the cache. Loop only. */
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include "src/base/banned.h"

#define DAY_S 86400
#define SAVE_BYTES (4u << 20) /* what a crash may forget */
#define TRAIT "daily"         /* "DAY BYTES" */

void daily_load(struct mail *mail)
{
	g_autofree char *text = cache_trait_get(mail->cache, TRAIT);
	char *rest = NULL;

	mail->daily_day = clock_unix() / DAY_S;
	if (!text || g_ascii_strtoll(text, &rest, 10) != mail->daily_day || *rest != ' ')
		return;
	mail->daily_used = mail->daily_saved = g_ascii_strtoull(rest + 1, NULL, 10);
}

static void day_turn(struct mail *mail)
{
	int64_t day = clock_unix() / DAY_S;

	if (day == mail->daily_day)
		return;
	mail->daily_day = day;
	mail->daily_used = mail->daily_saved = 0;
}

int daily_check(struct mail *mail, uint64_t bytes, struct error *err)
{
	if (!mail->config.daily_bytes)
		return 0;
	day_turn(mail);
	if (mail->daily_used + bytes <= mail->config.daily_bytes)
		return 0;
	error_set(err, ERR_QUOTA, "%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes were fetched today",
		mail->daily_used, mail->config.daily_bytes);
	error_hint(err, "it goes on after midnight UTC; `daily_bytes` is the limit");
	return ERR_QUOTA;
}

void daily_save(struct mail *mail)
{
	g_autofree char *text = NULL;

	if (mail->daily_used == mail->daily_saved)
		return;
	text = g_strdup_printf("%" G_GINT64_FORMAT " %" G_GUINT64_FORMAT, mail->daily_day, mail->daily_used);
	cache_trait_put(mail->cache, TRAIT, text);
	mail->daily_saved = mail->daily_used;
}

void daily_add(struct mail *mail, uint64_t bytes)
{
	if (!mail->config.daily_bytes)
		return;
	day_turn(mail);
	mail->daily_used += bytes;
	if (mail->daily_used - mail->daily_saved >= SAVE_BYTES)
		daily_save(mail);
}
