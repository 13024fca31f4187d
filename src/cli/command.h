/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command is, and how its line is read: options by GLib, the same global ones before and behind the
 * command's name, `--help` made of the command's own words.
 *
 * One file a command; commands.c lists them. A command's run() returns 0 or an error code with its detail, which
 * main() prints once and turns into the exit status. A detail without text has been said already.
 */
#pragma once

#include "src/base/error.h"
#include "src/cli/settings.h"

#include <glib.h>
#include <stdbool.h>

#define COMMAND_DONE 1 /* `--help` was answered */

struct call;

struct command {
	const char *name;
	const char *arguments;   /* "ACCOUNT [FOLDER]" */
	const char *summary;     /* one line, for `mailtree --help` */
	const char *description; /* what it does, with an example */
	int arguments_min, arguments_max;
	int (*run)(struct call *call, struct error *err);
};

/* One run of a command. */
struct call {
	const struct command *command;
	char **words; /* what stands behind the command's name; NULL-terminated, owned */
	char *config; /* --config, owned; NULL = not given */
	bool verbose;
	/* set by call_parse() */
	char **arguments; /* what isn't an option: a tail of `words` */
	struct settings_places places;
};

/*
 * Reads call->words: `entries` are the command's options (NULL = none), the global ones are added. Checks the number
 * of arguments and finds the places. COMMAND_DONE: help was asked for and printed. ERR_USAGE, ERR_CONFIG.
 */
int call_parse(struct call *call, const GOptionEntry *entries, struct error *err);
void call_fini(struct call *call);
/* NULL when there are fewer arguments. */
const char *call_argument(const struct call *call, guint index);
/* call->arguments[0] is the ACCOUNT. */
int call_settings(const struct call *call, const char *options, struct settings **settings_out, struct error *err);

/* A whole number of a command line: decimal digits, 1 to `max`. */
bool call_number(const char *text, uint32_t max, uint32_t *number_out);
/* One line on standard error. */
void call_print_error(const struct error *err);

extern const struct command command_cache, command_cat, command_doctor, command_login, command_logout, command_ls,
	command_mount, command_search, command_setup, command_status, command_token, command_umount, command_warm;
/* Not for people: the shells'. */
extern const struct command command_completion;
/* Not in the table: by the names that mount(8) looks for. */
extern const struct command command_mount_helper;
