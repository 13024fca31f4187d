/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/loop.h"
#include "src/cli/command.h"
#include "src/cli/mounts.h"
#include "src/cli/output.h"
#include "src/cli/sockets.h"
#include "src/cli/status_page.h"
#include "src/cli/style.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

struct collection {
	const char *mountpoint; /* only this one; NULL = all */
	cJSON *mounts;
};

/* ---- what is mounted ---- */

static int on_status(void *ctx, const char *bytes, size_t length, struct error *err)
{
	struct collection *collection = ctx;
	cJSON *object = cJSON_ParseWithLength(bytes, length);
	const char *mountpoint = output_member_text(object, "mountpoint");

	if (mountpoint && (!collection->mountpoint || strcmp(mountpoint, collection->mountpoint) == 0))
		cJSON_AddItemToArray(collection->mounts, object);
	else
		cJSON_Delete(object);
	return 0;
}

static int ask_status(void *ctx, struct wire *wire, pid_t pid)
{
	const struct work_request request = {.command = WORK_STATUS};
	const struct sink sink = {on_status, ctx};
	struct error err;
	bool answered;

	/* one that doesn't answer is found in the kernel's table */
	if (wire_send_request(wire, &request, &err) == 0)
		wire_receive(wire, &sink, &answered, &err);
	return 0;
}

static bool is_collected(const struct collection *collection, const char *mountpoint)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, collection->mounts)
	{
		const char *known = output_member_text(item, "mountpoint");

		if (known && strcmp(known, mountpoint) == 0)
			return true;
	}
	return false;
}

/* A number where the user has no name. */
static char *user_name(uid_t uid)
{
	const struct passwd *user = getpwuid(uid);

	return user ? g_strdup(user->pw_name) : g_strdup_printf("%u", (unsigned)uid);
}

/* Mounted, but by another user, or its program has died or hangs. */
static void add_silent(struct collection *collection)
{
	static const char *const unknown[] = {
		"connections", "signed_in", "token_expires", "last_error", "folders", "cache", "counters"};
	g_autoptr(GPtrArray) mounts = mounts_list(MOUNTS_TABLE);

	for (guint i = 0; i < mounts->len; i++) {
		const struct mounts_entry *entry = mounts->pdata[i];
		g_autofree char *owner = user_name(entry->uid);
		cJSON *object;

		if (collection->mountpoint ? strcmp(collection->mountpoint, entry->mountpoint) != 0
					   : !mounts_concern(entry, geteuid()))
			continue;
		if (is_collected(collection, entry->mountpoint))
			continue;
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "account", entry->source);
		cJSON_AddNullToObject(object, "user");
		cJSON_AddNullToObject(object, "host");
		cJSON_AddStringToObject(object, "mountpoint", entry->mountpoint);
		cJSON_AddStringToObject(object, "state", entry->uid == geteuid() ? "no-answer" : "other-user");
		cJSON_AddStringToObject(object, "owner", owner);
		for (size_t j = 0; j < G_N_ELEMENTS(unknown); j++)
			cJSON_AddNullToObject(object, unknown[j]);
		cJSON_AddItemToArray(collection->mounts, object);
	}
}

static int collect(const struct call *call, struct collection *collection, struct error *err)
{
	struct sockets sockets;
	int code = sockets_open(call->places.runtime_dir, false, &sockets, err);

	if (code < 0)
		return code;
	if (code == 0) {
		sockets_each(&sockets, NULL, ask_status, collection);
		sockets_close(&sockets);
	}
	add_silent(collection);
	return 0;
}

/* ---- the command ---- */

static int print_json(const cJSON *item, struct error *err)
{
	char *text = cJSON_Print(item);
	int code = output_print(err, "%s\n", text);

	cJSON_free(text);
	return code;
}

static int print_all(const struct collection *collection, bool json, struct error *err)
{
	const cJSON *only = collection->mountpoint ? cJSON_GetArrayItem(collection->mounts, 0) : NULL;

	if (collection->mountpoint && !only)
		return error_set(err, ERR_FAILED, "%s: no mail is mounted there", collection->mountpoint);
	if (!json) {
		g_autofree char *page = status_page(collection->mounts, style_wanted(), clock_unix());

		return output_write(page, strlen(page), err);
	}
	return print_json(only ? only : collection->mounts, err);
}

static int run(struct call *call, struct error *err)
{
	gboolean json = FALSE;
	g_autofree char *mountpoint = NULL;
	const GOptionEntry entries[] = {
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, "an object for MOUNTPOINT, else an array of them", NULL},
		{NULL},
	};
	struct collection collection;
	int code = call_parse(call, entries, err);

	if (code == 0 && call_argument(call, 0))
		code = mounts_resolve(call_argument(call, 0), &mountpoint, err);
	if (code != 0)
		return code;
	collection = (struct collection){mountpoint, cJSON_CreateArray()};
	code = collect(call, &collection, err);
	if (code == 0)
		code = print_all(&collection, json, err);
	cJSON_Delete(collection.mounts);
	return code;
}

const struct command command_status = {
	.name = "status",
	.arguments = "[MOUNTPOINT]",
	.summary = "what is mounted, and how it is",
	.description =
		"Connection and sign-in, the cache, the last error, and with --json all counters. Shows your own\n"
		"mounts; root sees everybody's.\n\n"
		"Example:\n"
		"  mailtree status\n"
		"  mailtree status ~/Mail --json",
	.arguments_min = 0,
	.arguments_max = 1,
	.run = run,
};
