/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/handoff.h"
#include "src/cli/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define BAR_CELLS 24
#define LINE_S 5 /* between two lines where there is no terminal */

struct progress {
	bool terminal, drawn;
	double next_line_ms;
};

static char *time_text(double seconds)
{
	unsigned s = seconds < 0 || seconds > 359999 ? 359999 : (unsigned)(seconds + 0.5);

	return s >= 3600 ? g_strdup_printf("%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60)
	                 : g_strdup_printf("%u:%02u", s / 60, s % 60);
}

/* "1200 of 10000 messages, 18 MiB of 160 MiB, 12 MiB/s, 0:11 left" */
static char *line_text(const cJSON *object)
{
	double messages = output_member_number(object, "messages"),
	       done = output_member_number(object, "messages_done");
	double bytes = output_member_number(object, "bytes"), bytes_done = output_member_number(object, "bytes_done");
	double ms = MAX(output_member_number(object, "ms"), 1);
	double rate = MAX(output_member_number(object, "fetched_bytes"), 0) * 1000 / ms;
	g_autofree char *have = output_size(bytes_done), *all = output_size(bytes), *speed = output_size(rate);
	g_autofree char *left = rate > 0 ? time_text((bytes - bytes_done) / rate) : g_strdup("-:--");

	return g_strdup_printf(
		"%.0f of %.0f messages, %s of %s, %s/s, %s left", done, messages, have, all, speed, left);
}

static void draw(struct progress *progress, const cJSON *object)
{
	double messages = output_member_number(object, "messages"),
	       done = output_member_number(object, "messages_done");
	g_autofree char *line = line_text(object);
	char bar[BAR_CELLS + 1];

	for (int i = 0; i < BAR_CELLS; i++)
		bar[i] = messages > 0 && done * BAR_CELLS >= (i + 1) * messages ? '#' : '.';
	bar[BAR_CELLS] = '\0';
	fprintf(stderr, "\r[%s] %s\033[K", bar, line);
	fflush(stderr);
	progress->drawn = true;
}

static int on_record(void *ctx, const char *bytes, size_t length, struct error *err)
{
	struct progress *progress = ctx;
	cJSON *object = cJSON_ParseWithLength(bytes, length);
	bool done = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "done"));
	double ms = output_member_number(object, "ms");
	int code = 0;

	if (done) {
		g_autofree char *size = output_size(output_member_number(object, "fetched_bytes"));
		g_autofree char *all = output_size(output_member_number(object, "bytes_done"));
		g_autofree char *took = time_text(ms / 1000);

		if (progress->drawn)
			fputs("\r\033[K", stderr);
		progress->drawn = false;
		code = output_print(err, "%.0f messages (%s) are cached; %.0f (%s) were fetched in %s\n",
			output_member_number(object, "messages_done") - output_member_number(object, "failed"), all,
			output_member_number(object, "fetched"), size, took);
	} else if (progress->terminal) {
		draw(progress, object);
	} else if (ms >= progress->next_line_ms) {
		g_autofree char *line = line_text(object);

		progress->next_line_ms = ms + LINE_S * 1000;
		code = output_print(err, "%s\n", line);
		if (code == 0)
			code = output_flush(err);
	}
	cJSON_Delete(object);
	return code;
}

static int folder_run(struct call *call, const char *folder, struct progress *progress, struct error *err)
{
	struct work_request request = {.command = WORK_WARM, .folder = folder};
	struct settings *settings;
	int code = call_settings(call, NULL, &settings, err);

	if (code == 0)
		code = handoff_run(call, settings, &request, &(struct sink){on_record, progress}, err);
	if (progress->drawn)
		fputc('\n', stderr);
	progress->drawn = false;
	return code;
}

static int run(struct call *call, struct error *err)
{
	struct progress progress = {.terminal = isatty(STDERR_FILENO)};
	int code = call_parse(call, NULL, err);

	if (code != 0)
		return code;
	if (!call_argument(call, 1))
		return folder_run(call, NULL, &progress, err);
	for (guint i = 1; call_argument(call, i) && code == 0; i++)
		code = folder_run(call, call_argument(call, i), &progress, err);
	return code;
}

const struct command command_warm = {
	.name = "warm",
	.arguments = "ACCOUNT [FOLDER…]",
	.summary = "download messages into the cache",
	.description = "Of the whole account, or of the FOLDERs and what lies below them. What is cached isn't fetched "
		       "again, so it can be interrupted and run again. `cache_size` still bounds the cache.\n\n"
		       "Example:\n"
		       "  mailtree warm work INBOX Archive",
	.arguments_min = 1,
	.arguments_max = 1000,
	.run = run,
};
