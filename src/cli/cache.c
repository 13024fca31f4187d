/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cache/cache.h"
#include "src/cli/account.h"
#include "src/cli/command.h"
#include "src/cli/output.h"

#include <inttypes.h>
#include <string.h>

#include "src/base/banned.h"

static int print_stats(struct cache *cache, struct error *err)
{
	struct cache_stats stats;
	g_autofree char *used = NULL, *limit = NULL;

	cache_stats(cache, &stats);
	used = output_size((double)stats.bytes);
	limit = stats.limit_bytes ? output_size((double)stats.limit_bytes) : g_strdup("no limit");
	return output_print(err,
		"directory  %s\n"
		"messages   %" PRIu64 "\n"
		"size       %s (limit: %s)\n"
		"files      %" PRIu64 "\n",
		cache_path(cache), stats.messages, used, limit, stats.segments);
}

static int verify(struct cache *cache, struct error *err)
{
	uint64_t checked = 0;
	int64_t damaged = cache_verify(cache, &checked, err);

	if (damaged < 0)
		return (int)damaged;
	return output_print(err, "checked %" PRIu64 " messages: %" PRId64 " were damaged%s\n", checked, damaged,
		damaged ? " and have been dropped; they will be fetched again" : "");
}

static int clear(struct cache *cache, struct error *err)
{
	struct cache_stats before;
	int code;

	cache_stats(cache, &before);
	code = cache_clear(cache, err);
	return code ? code : output_print(err, "%" PRIu64 " messages dropped\n", before.messages);
}

static const struct {
	const char *word;
	int (*run)(struct cache *cache, struct error *err);
} actions[] = {{"stats", print_stats}, {"verify", verify}, {"clear", clear}};

static int run(struct call *call, struct error *err)
{
	struct settings *settings;
	struct cache *cache;
	size_t action = 0;
	int code = call_parse(call, NULL, err);

	if (code != 0)
		return code;
	while (action < G_N_ELEMENTS(actions) && strcmp(actions[action].word, call->arguments[1]) != 0)
		action++;
	if (action == G_N_ELEMENTS(actions)) {
		error_set(err, ERR_USAGE, "cache: %s: no such action", call->arguments[1]);
		error_hint(err, "stats, verify or clear");
		return ERR_USAGE;
	}
	code = call_settings(call, NULL, &settings, err);
	if (code != 0)
		return code;
	code = account_cache_open(settings, &cache, err);
	settings_free(settings);
	if (code != 0)
		return code;
	code = actions[action].run(cache, err);
	cache_close(cache);
	return code;
}

const struct command command_cache = {
	.name = "cache",
	.arguments = "ACCOUNT (stats|verify|clear)",
	.summary = "look at, check or empty an account's disk cache",
	.description = "stats   how much is there, and where\n"
		       "verify  reads every cached message and drops those that are damaged\n"
		       "clear   drops all cached messages; the list of messages stays\n\n"
		       "The account may be mounted meanwhile.\n\n"
		       "Example:\n"
		       "  mailtree cache work verify",
	.arguments_min = 2,
	.arguments_max = 2,
	.run = run,
};
