/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/command.h"
#include "src/cli/mounts.h"
#include "src/cli/output.h"
#include "src/cli/sockets.h"

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

/* ---- for a person ---- */

static char *clean(const cJSON *object, const char *key)
{
	const char *text = output_member_text(object, key);

	return output_cell(text ? text : "?", 0, false);
}

static int print_state(const cJSON *mount, struct error *err)
{
	g_autofree char *state = clean(mount, "state");
	g_autofree char *expires = clean(mount, "token_expires");
	double connections = output_member_number(mount, "connections");
	GString *line = g_string_new(state);
	int code;

	if (connections > 0)
		g_string_append_printf(line, ", %.0f connection%s", connections, connections == 1 ? "" : "s");
	if (output_member_text(mount, "token_expires"))
		g_string_append_printf(line, ", token until %s", expires);
	code = output_print(err, "  state       %s\n", line->str);
	g_string_free(line, TRUE);
	return code;
}

static int print_folders(const cJSON *mount, struct error *err)
{
	const cJSON *folder, *folders = cJSON_GetObjectItemCaseSensitive(mount, "folders");
	double messages = 0;
	int checked = 0;

	if (!folders || cJSON_IsNull(folders))
		return 0;
	cJSON_ArrayForEach(folder, folders)
	{
		messages += MAX(output_member_number(folder, "messages"), 0);
		checked += output_member_text(folder, "checked_at") != NULL;
	}
	return output_print(err, "  folders     %d, of which %d have been opened; %.0f messages are known\n",
		cJSON_GetArraySize(folders), checked, messages);
}

static int print_cache(const cJSON *mount, struct error *err)
{
	const cJSON *cache = cJSON_GetObjectItemCaseSensitive(mount, "cache");
	double limit = output_member_number(cache, "limit");
	g_autofree char *used = output_size(MAX(output_member_number(cache, "bytes"), 0));
	g_autofree char *bound = limit > 0 ? output_size(limit) : g_strdup("no limit");

	if (!cJSON_IsObject(cache))
		return 0;
	return output_print(err, "  cache       %s (limit: %s), %.0f messages\n", used, bound,
		MAX(output_member_number(cache, "messages"), 0));
}

static int print_last_error(const cJSON *mount, struct error *err)
{
	const cJSON *last = cJSON_GetObjectItemCaseSensitive(mount, "last_error");
	g_autofree char *text = clean(last, "text");
	g_autofree char *hint = clean(last, "hint");
	bool has_hint = output_member_text(last, "hint") != NULL;

	if (!cJSON_IsObject(last))
		return 0;
	return output_print(
		err, "  last error  %s%s%s%s\n", text, has_hint ? " (" : "", has_hint ? hint : "", has_hint ? ")" : "");
}

static int print_mount(const cJSON *mount, struct error *err)
{
	g_autofree char *mountpoint = clean(mount, "mountpoint");
	g_autofree char *account = clean(mount, "account");
	g_autofree char *user = clean(mount, "user");
	g_autofree char *host = clean(mount, "host");
	g_autofree char *state = clean(mount, "state");
	g_autofree char *owner = clean(mount, "owner");
	int code;

	if (strcmp(state, "no-answer") == 0)
		return output_print(err,
			"%s  %s\n  state       no answer: its program has died or hangs (mailtree umount %s)\n",
			mountpoint, account, mountpoint);
	if (strcmp(state, "other-user") == 0)
		return output_print(
			err, "%s  %s\n  state       mounted by %s, who can ask for more\n", mountpoint, account, owner);
	code = output_print(err, "%s  %s (%s at %s)\n", mountpoint, account, user, host);
	code = code ? code : print_state(mount, err);
	code = code ? code : print_folders(mount, err);
	code = code ? code : print_cache(mount, err);
	return code ? code : print_last_error(mount, err);
}

static int print_mounts(const cJSON *mounts, struct error *err)
{
	const cJSON *mount;
	bool first = true;
	int code = 0;

	if (cJSON_GetArraySize(mounts) == 0)
		return output_print(err, "Nothing is mounted.\n");
	cJSON_ArrayForEach(mount, mounts)
	{
		if (code == 0 && !first)
			code = output_write("\n", 1, err);
		first = false;
		code = code ? code : print_mount(mount, err);
	}
	return code;
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
	if (!json)
		return print_mounts(collection->mounts, err);
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
