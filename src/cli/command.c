/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/command.h"
#include "src/base/log.h"
#include "src/cli/output.h"

#include <stdio.h>
#include <string.h>

#include "src/base/banned.h"

/* GLib's words, without line ends, as ERR_USAGE. */
static int usage_error(const struct call *call, const char *why, struct error *err)
{
	error_set(err, ERR_USAGE, "%s: %s", call->command->name, why);
	error_hint(err, "mailtree %s --help", call->command->name);
	return ERR_USAGE;
}

static int count_check(const struct call *call, struct error *err)
{
	int count = (int)g_strv_length(call->arguments);

	if (count >= call->command->arguments_min && count <= call->command->arguments_max)
		return 0;
	error_set(err, ERR_USAGE, "%s: %s", call->command->name,
		count < call->command->arguments_min ? "an argument is missing" : "too many arguments");
	error_hint(err, "mailtree %s %s", call->command->name, call->command->arguments);
	return ERR_USAGE;
}

static int help_print(GOptionContext *context, struct error *err)
{
	g_autofree char *help = g_option_context_get_help(context, TRUE, NULL);

	g_strchomp(help);
	if (output_write(help, strlen(help), err) != 0 || output_write("\n", 1, err) != 0)
		return err ? err->code : ERR_FAILED;
	return COMMAND_DONE;
}

int call_parse(struct call *call, const GOptionEntry *entries, struct error *err)
{
	g_autoptr(GOptionContext) context = g_option_context_new(call->command->arguments);
	g_autoptr(GError) error = NULL;
	g_autofree char *name = g_strconcat("mailtree ", call->command->name, NULL);
	g_autofree char *config = NULL;
	gboolean help = FALSE, verbose = FALSE;
	const GOptionEntry common[] = {
		{"config", 0, 0, G_OPTION_ARG_FILENAME, &config, "the configuration file", "FILE"},
		{"verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose, "say more", NULL},
		{"help", 'h', 0, G_OPTION_ARG_NONE, &help, "this text", NULL},
		{NULL},
	};

	g_set_prgname(name);
	g_option_context_set_help_enabled(context, FALSE);
	g_option_context_set_description(context, call->command->description);
	if (entries)
		g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_add_main_entries(context, common, NULL);
	if (!g_option_context_parse_strv(context, &call->words, &error))
		return usage_error(call, error->message, err);
	if (help)
		return help_print(context, err);
	if (config) {
		g_free(call->config);
		call->config = g_steal_pointer(&config);
	}
	call->verbose |= verbose;
	/* a "--" that GLib left between options and arguments isn't one of them */
	call->arguments = call->words + 1; /* behind what GLib takes for the program's name */
	if (*call->arguments && strcmp(*call->arguments, "--") == 0)
		call->arguments++;
	/* what goes wrong is told once, by the error that main() prints */
	log_init(call->verbose ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, LOG_TO_STDERR);
	if (count_check(call, err) != 0)
		return ERR_USAGE;
	return settings_places_find(call->config, &call->places, err);
}

void call_fini(struct call *call)
{
	g_strfreev(call->words);
	g_free(call->config);
	settings_places_fini(&call->places);
}

const char *call_argument(const struct call *call, guint index)
{
	return index < g_strv_length(call->arguments) ? call->arguments[index] : NULL;
}

int call_settings(const struct call *call, const char *options, struct settings **settings_out, struct error *err)
{
	return settings_load(&call->places, call->arguments[0], options, settings_out, err);
}

bool call_number(const char *text, uint32_t max, uint32_t *number_out)
{
	guint64 number;

	if (!g_ascii_string_to_unsigned(text, 10, 1, max, &number, NULL))
		return false;
	*number_out = (uint32_t)number;
	return true;
}

void call_print_error(const struct error *err)
{
	if (!err->text[0])
		return;
	/* texts and hints were cleaned and scrubbed when they were set; one write, so that lines don't mix */
	g_autofree char *line = g_strdup_printf(
		"mailtree: %s%s%s%s\n", err->text, err->hint[0] ? " (" : "", err->hint, err->hint[0] ? ")" : "");

	fputs(line, stderr);
}
