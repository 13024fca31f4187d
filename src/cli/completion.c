/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/completion.h"
#include "src/cli/commands.h"
#include "src/cli/mounts.h"
#include "src/cli/output.h"
#include "src/cli/settings_table.h"

#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

/* What a word is. */
enum kind { NOTHING, ACCOUNT, DIRECTORY, MOUNTPOINT, FILE_PATH, CHOICE, MOUNT_OPTIONS };

#define CHOICES_MAX 5

struct argument {
	enum kind kind;
	const char *choices[CHOICES_MAX + 1];
};

struct option {
	const char *command; /* NULL = of all */
	const char *name, *summary;
	struct argument value; /* NOTHING = a flag */
};

/* A test compares these with what `--help` says. */
static const struct option options[] = {
	{NULL, "--config", "the configuration file", {FILE_PATH}},
	{NULL, "--verbose", "say more"},
	{NULL, "--help", "explain"},
	{"mount", "--foreground", "stay in the foreground"},
	{"mount", "--debug", "log everything (never secrets)"},
	{"mount", "--options", "mount options", {MOUNT_OPTIONS}},
	{"mount", "-o", "mount options", {MOUNT_OPTIONS}},
	{"ls", "--json", "for programs"},
	{"search", "--json", "for programs"},
	{"status", "--json", "for programs"},
	{"doctor", "--json", "for programs"},
	{"doctor", "--sasl", "what another program sends", {FILE_PATH}},
	{"login", "--device", "by a code on any device"},
	{"login", "--port", "where the browser comes back to"},
	{"token", "--sasl", "the initial response instead", {CHOICE, {"xoauth2", "oauthbearer"}}},
	{"setup", "--autoconfig", "where the provider's settings are"},
	{"setup", "--manual", "look nothing up"},
	{"setup", "--ca-file", "certificates to trust", {FILE_PATH}},
};

/* `--port` and `--autoconfig` take a value that nobody can guess. */
static bool takes_value(const struct option *option)
{
	return option->value.kind != NOTHING || strcmp(option->name, "--port") == 0 ||
	       strcmp(option->name, "--autoconfig") == 0;
}

static const struct {
	const char *command;
	struct argument arguments[2];
} arguments[] = {
	{"mount", {{ACCOUNT}, {DIRECTORY}}},
	{"umount", {{MOUNTPOINT}}},
	{"ls", {{ACCOUNT}}},
	{"cat", {{ACCOUNT}}},
	{"warm", {{ACCOUNT}}},
	{"search", {{ACCOUNT}}},
	{"status", {{MOUNTPOINT}}},
	{"login", {{ACCOUNT}}},
	{"logout", {{ACCOUNT}}},
	{"token", {{ACCOUNT}}},
	{"doctor", {{ACCOUNT}}},
	{"cache", {{ACCOUNT}, {CHOICE, {"stats", "verify", "clear"}}}},
};

struct completion {
	const char *word; /* that is being written */
	const char *config, *mounts;
	GString *out;
};

static void candidate(struct completion *c, const char *word, const char *what)
{
	/* a name with a line end would be two candidates */
	if (g_str_has_prefix(word, c->word) && !strpbrk(word, "\t\n\r"))
		g_string_append_printf(c->out, "%s\t%s\n", word, what);
}

/* ---- words of each kind ---- */

static void accounts_list(struct completion *c)
{
	struct settings_places places;
	g_auto(GStrv) groups = NULL;

	if (settings_places_find(c->config, &places, NULL) != 0)
		return;
	groups = settings_groups(&places, NULL);
	for (char **group = groups; group && *group; group++)
		candidate(c, *group, "account");
	settings_places_fini(&places);
}

static void mountpoints_list(struct completion *c)
{
	g_autoptr(GPtrArray) mounts = mounts_list(c->mounts);

	for (guint i = 0; i < mounts->len; i++) {
		const struct mounts_entry *entry = mounts->pdata[i];

		if (mounts_concern(entry, geteuid()))
			candidate(c, entry->mountpoint, entry->source);
	}
}

/* The last of `a,b=1,c`, with what stands before it in front of each candidate. */
static void mount_options_list(struct completion *c)
{
	const char *comma = strrchr(c->word, ','), *last = comma ? comma + 1 : c->word;
	g_autofree char *before = g_strndup(c->word, (gsize)(last - c->word));
	g_autofree char *name = g_strndup(last, strcspn(last, "="));
	const struct setting *setting = strchr(last, '=') ? settings_table_find(name) : NULL;

	for (size_t i = 0; i < settings_table_length; i++) {
		const struct setting *each = &settings_table[i];
		g_autofree char *word = g_strconcat(before, each->name, each->type == SETTING_FLAG ? "" : "=", NULL);

		if ((each->places & IN_OPTIONS) && !strchr(last, '='))
			candidate(c, word, "mount option");
	}
	for (const struct setting_word *value = setting ? setting->words : NULL; value && value->word; value++) {
		g_autofree char *word = g_strconcat(before, name, "=", value->word, NULL);

		candidate(c, word, "value");
	}
}

static void argument_list(struct completion *c, const struct argument *argument)
{
	switch (argument->kind) {
	case NOTHING:
		return;
	case ACCOUNT:
		accounts_list(c);
		return;
	case MOUNTPOINT:
		mountpoints_list(c);
		return;
	case DIRECTORY:
		g_string_append(c->out, "\tdirectories\n");
		return;
	case FILE_PATH:
		g_string_append(c->out, "\tfiles\n");
		return;
	case CHOICE:
		for (size_t i = 0; argument->choices[i]; i++)
			candidate(c, argument->choices[i], "");
		return;
	case MOUNT_OPTIONS:
		mount_options_list(c);
		return;
	}
}

static void options_list(struct completion *c, const char *command)
{
	for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
		if (!options[i].command || (command && strcmp(options[i].command, command) == 0))
			candidate(c, options[i].name, options[i].summary);
	if (!command)
		candidate(c, "--version", "print the version");
}

static void commands_list(struct completion *c)
{
	for (const struct command *const *command = commands; *command; command++)
		candidate(c, (*command)->name, (*command)->summary);
}

/* ---- where the line stands ---- */

static const struct option *option_find(const char *command, const char *word)
{
	for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
		if (strcmp(options[i].name, word) == 0 &&
			(!options[i].command || (command && strcmp(options[i].command, command) == 0)))
			return &options[i];
	return NULL;
}

static void positional_list(struct completion *c, const char *command, size_t position)
{
	for (size_t i = 0; i < G_N_ELEMENTS(arguments); i++)
		if (strcmp(arguments[i].command, command) == 0 && position < G_N_ELEMENTS(arguments[i].arguments))
			argument_list(c, &arguments[i].arguments[position]);
}

char *completion_candidates(char **words, const char *mounts)
{
	struct completion c = {.mounts = mounts, .out = g_string_new(NULL), .word = ""};
	const struct option *pending = NULL;
	const char *command = NULL;
	size_t position = 0;

	for (; *words; words++) {
		const struct option *option = pending ? NULL : option_find(command, *words);

		c.word = *words;
		if (!words[1])
			break;
		if (pending && strcmp(pending->name, "--config") == 0)
			c.config = *words;
		if (!pending && !option && **words != '-') {
			position += command != NULL;
			command = command ? command : *words;
		}
		pending = option && takes_value(option) ? option : NULL;
	}
	if (pending)
		argument_list(&c, &pending->value);
	else if (*c.word == '-')
		options_list(&c, command);
	else if (!command)
		commands_list(&c);
	else
		positional_list(&c, command, position);
	return g_string_free(c.out, FALSE);
}

/* ---- the command, which the installed shell scripts run ---- */

static int run(struct call *call, struct error *err)
{
	/* not call_parse(): options among the words are part of somebody's unfinished line */
	g_autofree char *text = completion_candidates(call->words + 1, MOUNTS_TABLE);

	return output_write(text, strlen(text), err);
}

const struct command command_completion = {
	.name = "completion",
	.arguments = "WORD…",
	.summary = "what may follow on an unfinished command line, for shells",
	.run = run,
};
