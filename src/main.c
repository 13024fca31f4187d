/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program: what holds for every command. */
#include "src/cli/commands.h"
#include "src/cli/output.h"
#include "src/mime/mime.h"

#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "src/base/banned.h"

#define ARENAS 2

static void process_harden(void)
{
	const struct rlimit none = {0, 0};

	/* memory holds tokens and mail: no core dumps, and no other process of this user looks in */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	/* a limit on files' sizes is one more disk that is full: the write's error is enough */
	signal(SIGXFSZ, SIG_IGN);
}

/* Bodies pass from thread to thread: what they leave free in one thread's arena no other can use. */
static void memory_bound(void)
{
	mallopt(M_ARENA_MAX, ARENAS);
}

static int help_print(GOptionContext *context, struct error *err)
{
	g_autoptr(GString) list = g_string_new("Commands:\n");
	g_autofree char *help = NULL;

	for (const struct command *const *command = commands; *command; command++)
		g_string_append_printf(list, "  %-8s %s\n", (*command)->name, (*command)->summary);
	g_string_append(list,
		"\n`mailtree COMMAND --help` explains each; mailtree(1) and mailtree-config(5) tell more.\n\n"
		"Example:\n"
		"  mailtree mount work ~/Mail\n"
		"  ls ~/Mail/INBOX\n"
		"  mailtree umount ~/Mail");
	g_option_context_set_summary(context, "Mounts an IMAP mailbox as directories and message files.");
	g_option_context_set_description(context, list->str);
	help = g_option_context_get_help(context, TRUE, NULL);
	g_strchomp(help);
	return output_print(err, "%s\n", help);
}

/* Reads what stands in front of the command; `call` gets the command, or none when it has been answered already. */
static int global_parse(struct call *call, struct error *err)
{
	g_autoptr(GOptionContext) context = g_option_context_new("COMMAND …");
	g_autoptr(GError) error = NULL;
	gboolean help = FALSE, version = FALSE, verbose = FALSE;
	const GOptionEntry entries[] = {
		{"config", 0, 0, G_OPTION_ARG_FILENAME, &call->config, "the configuration file", "FILE"},
		{"verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose, "say more", NULL},
		{"version", 0, 0, G_OPTION_ARG_NONE, &version, "print the version", NULL},
		{"help", 'h', 0, G_OPTION_ARG_NONE, &help, "this text", NULL},
		{NULL},
	};
	const char *name;

	g_set_prgname("mailtree");
	g_option_context_set_help_enabled(context, FALSE);
	g_option_context_set_strict_posix(context, TRUE);
	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse_strv(context, &call->words, &error)) {
		error_set(err, ERR_USAGE, "%s", error->message);
		error_hint(err, "mailtree --help");
		return ERR_USAGE;
	}
	call->verbose = verbose;
	if (help)
		return help_print(context, err);
	if (version)
		return output_print(err, "mailtree " MAILTREE_VERSION "\n");
	name = call->words[0] ? call->words[1] : NULL;
	call->command = name ? commands_find(name) : NULL;
	if (call->command)
		return 0;
	error_set(err, ERR_USAGE, name ? "%s: no such command" : "no command is given", name);
	error_hint(err, "mailtree --help");
	return ERR_USAGE;
}

/* The program's own name is dropped: the command's takes its place. */
static void words_shift(struct call *call)
{
	g_free(call->words[0]);
	memmove(call->words, call->words + 1, g_strv_length(call->words + 1) * sizeof(char *) + sizeof(char *));
}

/* mount(8) runs mount.TYPE; both types are ours. */
static bool is_mount_helper(const char *program)
{
	g_autofree char *name = g_path_get_basename(program);

	return strcmp(name, "mount.mailtree") == 0 || strcmp(name, "mount.fuse.mailtree") == 0;
}

static int dispatch(struct call *call, struct error *err)
{
	int code;

	if (call->words[0] && is_mount_helper(call->words[0])) {
		call->command = &command_mount_helper;
	} else {
		code = global_parse(call, err);
		if (code != 0 || !call->command)
			return code;
		words_shift(call);
	}
	code = call->command->run(call, err);
	return code == COMMAND_DONE ? 0 : code;
}

int main(int argc, char **argv)
{
	struct call call = {.words = g_strdupv(argv)};
	struct error err = {0};
	int code;

	process_harden();
	memory_bound();
	/* only for the characters that a terminal shows: messages and numbers are the same everywhere */
	setlocale(LC_CTYPE, "");
	mime_init();
	code = dispatch(&call, &err);
	if (code == 0)
		code = output_flush(&err);
	else
		output_flush(NULL);
	if (code != 0)
		call_print_error(&err);
	call_fini(&call);
	return error_exit_status(code);
}
