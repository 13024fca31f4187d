/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/login.h"
#include "src/cli/command.h"
#include "src/cli/nudge.h"
#include "src/cli/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

struct login {
	const struct settings *settings;
	struct error *err;
	int code; /* of showing the prompt */
};

/* ---- the browser ---- */

/* In a session of its own, so that Ctrl-C here doesn't end a browser. */
static void own_session(gpointer data)
{
	(void)data;
	setsid();
}

/* The URL is a word of its own, never part of the shell's text; what the browser saves isn't ours to hide (umask). */
static void run_browser(const char *command, const char *url)
{
	g_autofree char *script = strstr(command, "%s") ? NULL : g_strconcat("umask 022; ", command, " \"$1\"", NULL);
	const char *words[] = {"/bin/sh", "-c", NULL, "sh", url, NULL};

	if (!script) {
		g_auto(GStrv) parts = g_strsplit(command, "%s", -1);
		g_autofree char *filled = g_strjoinv("\"$1\"", parts);

		script = g_strconcat("umask 022; ", filled, NULL);
	}
	words[2] = script;
	g_spawn_async("/", (char **)words, NULL, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, own_session,
		NULL, NULL, NULL);
}

static bool is_there(const char *command)
{
	g_autofree char *program = g_strndup(command, strcspn(command, " \t"));
	g_autofree char *path = *program ? g_find_program_in_path(program) : NULL;

	return path != NULL;
}

/* $BROWSER is a list; the desktop's own choice works where there is a desktop. */
static bool open_browser(const char *url)
{
	g_auto(GStrv) browsers = g_strsplit(getenv("BROWSER") ? getenv("BROWSER") : "", ":", -1);

	for (char **browser = browsers; *browser; browser++)
		if (is_there(*browser)) {
			run_browser(*browser, url);
			return true;
		}
	if ((!getenv("DISPLAY") && !getenv("WAYLAND_DISPLAY")) || !is_there("xdg-open"))
		return false;
	run_browser("xdg-open", url);
	return true;
}

/* ---- what the person is told ---- */

static int by_browser(const struct login *login, const struct auth_login_prompt *prompt)
{
	const struct settings *s = login->settings;
	bool opened = open_browser(prompt->url);

	return output_print(login->err,
		"%s, to read the mail of %s:\n\n  %s\n\n"
		"The browser then comes back to localhost:%u on this machine. If it runs on another one, forward that "
		"port\n"
		"from there first (`ssh -L %u:localhost:%u HOST`), or use `mailtree login %s --device`.\n"
		"Waiting for up to %u minutes ...\n",
		opened ? "Sign in with the browser that opens, or open this address in one"
		       : "Open this address in a browser",
		s->user, prompt->url, prompt->port, prompt->port, prompt->port, s->account,
		(unsigned)(prompt->expires_in_s / 60));
}

static int by_code(const struct login *login, const struct auth_login_prompt *prompt)
{
	return output_print(login->err,
		"To read the mail of %s, open this address in any browser, on any device:\n\n  %s\n\n"
		"and enter the code\n\n  %s\n\n"
		"Waiting for up to %u minutes ...\n",
		login->settings->user, prompt->url, prompt->user_code, (unsigned)((prompt->expires_in_s + 59) / 60));
}

static void on_prompt(void *ctx, const struct auth_login_prompt *prompt)
{
	struct login *login = ctx;

	login->code = prompt->user_code ? by_code(login, prompt) : by_browser(login, prompt);
	if (login->code == 0)
		login->code = output_flush(login->err);
}

static int print_result(
	const struct call *call, const struct settings *s, const struct auth_login_result *result, struct error *err)
{
	g_autofree char *name = output_cell(result->name, 0, false);
	int code = output_print(err, "%s: signed in%s%s\n", s->account, *name ? " as " : "", name);

	if (code == 0 && *name && g_ascii_strcasecmp(name, s->user) != 0)
		code = output_print(err, "The mailbox is %s: %s needs access to it.\n", s->user, name);
	if (code == 0 && !result->renewable)
		code = output_print(err, "The authority gave no refresh token: this sign-in ends with its access "
					 "token. Let `scope` ask for "
					 "offline_access, or for what the provider calls it.\n");
	if (code == 0)
		code = output_flush(err);
	if (nudge_mounts(call, s->account) > 0 && code == 0)
		code = output_print(err, "Its mounts go on.\n");
	return code;
}

/* ---- the command ---- */

static int sign_in(struct call *call, const struct settings *s, bool device, uint16_t port, struct error *err)
{
	struct error showing = {0};
	struct login login = {.settings = s, .err = &showing};
	const struct auth_login request = {
		.device = device, .port = port, .prompt = on_prompt, .ctx = &login, .cancel_fd = -1};
	struct auth_login_result result;
	int code = auth_login(&s->auth, &request, &result, err);

	if (code == 0)
		return print_result(call, s, &result, err);
	error_prefix(err, "login: [%s]", s->account);
	return code;
}

static int port_parse(const char *text, uint16_t *port_out, struct error *err)
{
	uint32_t port = 0;

	if (text && !call_number(text, UINT16_MAX, &port)) {
		error_set(err, ERR_USAGE, "login: --port %s: not a port", text);
		error_hint(err, "a number from 1 to 65535");
		return ERR_USAGE;
	}
	*port_out = (uint16_t)port;
	return 0;
}

static int run(struct call *call, struct error *err)
{
	gboolean device = FALSE;
	g_autofree char *port_text = NULL;
	const GOptionEntry entries[] = {
		{"device", 0, 0, G_OPTION_ARG_NONE, &device, "by a code that is entered on any device", NULL},
		{"port", 0, 0, G_OPTION_ARG_FILENAME, &port_text, "where the browser comes back to (default: any)",
			"PORT"},
		{NULL},
	};
	struct settings *settings;
	uint16_t port = 0;
	int code = call_parse(call, entries, err);

	if (code == 0)
		code = port_parse(port_text, &port, err);
	if (code == 0)
		code = call_settings(call, NULL, &settings, err);
	if (code != 0)
		return code;
	code = sign_in(call, settings, device, port, err);
	settings_free(settings);
	return code;
}

const struct command command_login = {
	.name = "login",
	.arguments = "ACCOUNT",
	.summary = "sign in as a person, in a browser or by a code",
	.description =
		"For accounts with auth = authorization-code or device-code. The address is opened by $BROWSER or\n"
		"xdg-open, and printed. The tokens are kept for mounts and commands; mounts of the account go on at "
		"once.\n\n"
		"Example:\n"
		"  mailtree login work\n"
		"  mailtree login work --device",
	.arguments_min = 1,
	.arguments_max = 1,
	.run = run,
};
