/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/handoff.h"
#include "src/cli/output.h"
#include "src/mail/query.h"

#include <string.h>

#include "src/base/banned.h"

struct printing {
	bool json;
	int records;
};

static int on_record(void *ctx, const char *bytes, size_t length, struct error *err)
{
	struct printing *printing = ctx;
	cJSON *object;
	const char *path;
	int code;

	if (printing->json) {
		code = output_print(err, "%s", printing->records++ ? ",\n" : "[\n");
		return code ? code : output_write(bytes, length, err);
	}
	object = cJSON_ParseWithLength(bytes, length);
	path = output_member_text(object, "path");
	code = path ? output_print(err, "%s\n", path) : 0;
	cJSON_Delete(object);
	return code;
}

/* What is wrong with it is said before anybody is asked. */
static int query_check(const char *text, struct error *err)
{
	struct query *query;
	int code = query_parse(text, &query, err);

	if (code == 0) {
		query_free(query);
		return 0;
	}
	if (!*err->hint)
		error_hint(err, "mailtree search --help");
	error_prefix(err, "search");
	err->code = ERR_USAGE;
	return ERR_USAGE;
}

static int run(struct call *call, struct error *err)
{
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, "an array of objects, as `mailtree ls` has them", NULL},
		{NULL},
	};
	struct work_request request = {.command = WORK_SEARCH};
	struct printing printing = {0};
	g_autofree char *text = NULL;
	struct settings *settings;
	int code = call_parse(call, entries, err);

	if (code != 0)
		return code;
	printing.json = json;
	text = g_strjoinv(" ", call->arguments + 1);
	request.query = text;
	code = query_check(text, err);
	if (code == 0)
		code = call_settings(call, NULL, &settings, err);
	if (code == 0)
		code = handoff_run(call, settings, &request, &(struct sink){on_record, &printing}, err);
	if (code == 0 && json)
		code = output_print(err, "%s", printing.records ? "\n]\n" : "[]\n");
	return code;
}

const struct command command_search = {
	.name = "search",
	.arguments = "ACCOUNT QUERY…",
	.summary = "let the server search, and print the paths of what it finds",
	.description =
		"Paths are relative to the mount. Through a live mount of the account if there is one. A message must "
		"match all of\n"
		"QUERY, in any order:\n\n"
		"  in:FOLDER                      there, and in the folders in it; else everywhere\n"
		"  from:X to:X subject:X          in that field\n"
		"  since:YYYY-MM-DD               arrived on that day or later\n"
		"  before:YYYY-MM-DD              arrived before that day\n"
		"  is:unread|flagged|answered\n"
		"  words                          anywhere in the message\n\n"
		"Values and words with spaces stand in double quotes, which the shell must leave alone.\n\n"
		"Example:\n"
		"  mailtree search work from:olena since:2026-01-01 subject:рахунок\n"
		"  mailtree search work 'in:\"Sent Items\" \"three words together\"' --json",
	.arguments_min = 2,
	.arguments_max = 1000,
	.run = run,
};
