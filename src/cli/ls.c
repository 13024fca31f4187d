/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/handoff.h"
#include "src/cli/output.h"

#include <string.h>

#include "src/base/banned.h"

#define FROM_COLUMNS 24
#define BEFORE_SUBJECT (10 + 2 + 16 + 2 + 9 + 2 + 5 + 2 + FROM_COLUMNS + 2)

/* How records become lines: JSON, a table for a person, or fields between tabs for a program. */
struct listing {
	bool json, messages;
	int columns; /* of the terminal; 0 = not one */
	int records;
};

/* ---- messages ---- */

static bool has_flag(const cJSON *object, const char *flag)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(object, "flags"))
	{
		if (cJSON_IsString(item) && strcmp(item->valuestring, flag) == 0)
			return true;
	}
	return false;
}

/* One letter each: New, Flagged, Answered, Passed on, Draft, Trashed. */
static char *flag_letters(const cJSON *object)
{
	GString *letters = g_string_new(NULL);

	g_string_append(letters, has_flag(object, "\\Seen") ? "" : "N");
	g_string_append(letters, has_flag(object, "\\Flagged") ? "F" : "");
	g_string_append(letters, has_flag(object, "\\Answered") ? "A" : "");
	g_string_append(letters, has_flag(object, "$Forwarded") ? "P" : "");
	g_string_append(letters, has_flag(object, "\\Draft") ? "D" : "");
	g_string_append(letters, has_flag(object, "\\Deleted") ? "T" : "");
	if (!letters->len)
		g_string_append_c(letters, '-');
	return g_string_free(letters, FALSE);
}

static char *cell(const cJSON *object, const char *key, int columns, bool pad)
{
	const char *text = output_member_text(object, key);

	return output_cell(text ? text : "", columns, pad);
}

static int print_message(const struct listing *listing, const cJSON *object, struct error *err)
{
	bool table = listing->columns > 0;
	int room = MAX(listing->columns - BEFORE_SUBJECT, 20);
	g_autofree char *date = cell(object, "date", 0, false);
	g_autofree char *letters = flag_letters(object);
	g_autofree char *from = cell(object, "from", table ? FROM_COLUMNS : 0, table);
	g_autofree char *subject = cell(object, "subject", table ? room : 0, false);
	double uid = output_member_number(object, "uid"), size = output_member_number(object, "size");
	g_autofree char *size_text = output_size(size);

	if (!table)
		return output_print(err, "%.0f\t%s\t%.0f\t%s\t%s\t%s\n", uid, date, size, letters, from, subject);
	/* 2026-11-23T09:15:00Z as a person writes it */
	if (strlen(date) >= 16) {
		date[10] = ' ';
		date[16] = '\0';
	}
	return output_print(err, "%10.0f  %-16s  %9s  %-5s  %s  %s\n", uid, date, size_text, letters, from, subject);
}

/* ---- folders ---- */

static char *number_text(const cJSON *object, const char *key)
{
	double number = output_member_number(object, key);

	return number < 0 ? g_strdup("-") : g_strdup_printf("%.0f", number);
}

static int print_folder(const struct listing *listing, const cJSON *object, struct error *err)
{
	bool table = listing->columns > 0;
	g_autofree char *path = cell(object, "path", 0, false);
	g_autofree char *messages = number_text(object, "messages");
	g_autofree char *unseen = number_text(object, "unseen");

	if (!table)
		return output_print(err, "%s\t%s\t%s\n", path, messages, unseen);
	return output_print(err, "%9s  %9s  %s\n", messages, unseen, path);
}

/* ---- both ---- */

static int print_head(const struct listing *listing, struct error *err)
{
	if (listing->columns <= 0)
		return 0;
	if (!listing->messages)
		return output_print(err, "%9s  %9s  %s\n", "MESSAGES", "UNREAD", "FOLDER");
	return output_print(err, "%10s  %-16s  %9s  %-5s  %-*s  %s\n", "UID", "DATE (UTC)", "SIZE", "FLAGS",
		FROM_COLUMNS, "FROM", "SUBJECT");
}

static int on_record(void *ctx, const char *bytes, size_t length, struct error *err)
{
	struct listing *listing = ctx;
	cJSON *object;
	int code = 0;

	if (listing->json) {
		code = output_print(err, "%s", listing->records++ ? ",\n" : "[\n");
		return code ? code : output_write(bytes, length, err);
	}
	object = cJSON_ParseWithLength(bytes, length);
	if (listing->records++ == 0)
		code = print_head(listing, err);
	if (code == 0)
		code = listing->messages ? print_message(listing, object, err) : print_folder(listing, object, err);
	cJSON_Delete(object);
	return code;
}

static int run(struct call *call, struct error *err)
{
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, "an array of objects", NULL},
		{NULL},
	};
	struct work_request request = {.command = WORK_LS};
	struct listing listing = {0};
	struct settings *settings;
	int code = call_parse(call, entries, err);

	if (code != 0)
		return code;
	request.folder = call_argument(call, 1);
	listing.json = json;
	listing.messages = request.folder && *request.folder;
	listing.columns = output_columns();
	code = call_settings(call, NULL, &settings, err);
	if (code == 0)
		code = handoff_run(call, settings, &request, &(struct sink){on_record, &listing}, err);
	if (code == 0 && json)
		code = output_print(err, "%s", listing.records ? "\n]\n" : "[]\n");
	return code;
}

const struct command command_ls = {
	.name = "ls",
	.arguments = "ACCOUNT [FOLDER]",
	.summary = "list folders, or the messages of a folder",
	.description = "Through a live mount of the account if there is one. FOLDER is the path as in a mount. On a "
		       "terminal the\n"
		       "lines are columns; elsewhere fields are separated by tabs. Flags: N new (unread), F flagged, A "
		       "answered,\n"
		       "P passed on, D draft, T trashed (deleted).\n\n"
		       "Example:\n"
		       "  mailtree ls work\n"
		       "  mailtree ls work Projects/Alpha --json",
	.arguments_min = 1,
	.arguments_max = 2,
	.run = run,
};
