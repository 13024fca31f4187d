/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new account, by questions and answers. */
#include "src/auth/auth.h"
#include "src/base/secret.h"
#include "src/cli/command.h"
#include "src/cli/output.h"
#include "src/cli/setup_ask.h"
#include "src/cli/setup_found.h"
#include "src/cli/setup_write.h"

#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define EMAIL_BYTES_MAX 320u /* 64 + @ + 255 */

struct setup {
	struct call *call;
	const char *email, *autoconfig, *ca_file;
	bool manual;  /* no lookups */
	char *domain; /* lower case, ASCII */
	char *name;
	struct found found;
	bool delegated; /* a person signs in by `mailtree login` */
	GString *group; /* what will be written */
};

static int say(struct error *err, const char *what)
{
	int code = output_print(err, "%s", what);

	return code ? code : output_flush(err);
}

/* ---- the address and the account's name ---- */

static int email_check(struct setup *setup, struct error *err)
{
	const char *at = strchr(setup->email, '@');
	g_autofree char *ascii = at ? g_hostname_to_ascii(at + 1) : NULL;
	bool good = at && at > setup->email && at[1] && ascii && strlen(setup->email) <= EMAIL_BYTES_MAX &&
	            g_utf8_validate(setup->email, -1, NULL);

	for (const char *c = setup->email; good && *c; c++)
		good = !g_ascii_iscntrl(*c) && *c != ' ' && (*c != '@' || c == at);
	/* it becomes part of URLs */
	for (const char *c = ascii; good && *c; c++)
		good = g_ascii_isalnum(*c) || *c == '.' || *c == '-';
	if (!good) {
		error_set(err, ERR_USAGE, "setup: %.100s: not a mail address", setup->email);
		error_hint(err, "mailtree setup olena@contoso.com");
		return ERR_USAGE;
	}
	setup->domain = g_ascii_strdown(ascii, -1);
	return 0;
}

static bool is_name(const char *name)
{
	return *name && strcspn(name, "[]:/\t") == strlen(name);
}

static bool is_taken(const struct setup *setup, const char *name)
{
	g_auto(GStrv) groups = NULL;

	if (access(setup->call->places.config_file, F_OK) == 0)
		groups = settings_groups(&setup->call->places, NULL);
	return groups && g_strv_contains((const char *const *)groups, name);
}

static int ask_name(struct setup *setup, struct error *err)
{
	g_autofree char *standard = g_strndup(setup->domain, strcspn(setup->domain, "."));
	int code = 0;

	if (is_taken(setup, standard)) {
		g_free(standard);
		standard = g_strdup(setup->domain);
	}
	while (code == 0) {
		g_autofree char *name = NULL;

		code = ask_text(
			"A short name for this account", is_taken(setup, standard) ? NULL : standard, &name, err);
		if (code == 0 && !is_name(name))
			code = output_print(err, "A name has no brackets, colons or slashes.\n");
		else if (code == 0 && is_taken(setup, name))
			code = output_print(err, "[%s] is in the configuration already, and stays as it is.\n", name);
		else if (code == 0) {
			setup->name = g_steal_pointer(&name);
			return 0;
		}
	}
	return code;
}

/* ---- the provider ---- */

static int look_up(struct setup *setup, struct error *err)
{
	struct error reason = {0};

	setup->found.provider = "generic";
	if (setup->autoconfig) {
		if (!found_by_url(setup->autoconfig, setup->ca_file, setup->email, &setup->found, &reason)) {
			error_copy(err, &reason);
			error_prefix(err, "setup: %s", setup->autoconfig);
			return reason.code;
		}
		return 0;
	}
	setup->found.provider = found_provider_of_domain(setup->domain);
	if (!setup->found.provider && !setup->manual) {
		int code = output_print(err, "Looking for the mail server of %s ...\n", setup->domain);

		code = code ? code : output_flush(err);
		if (code != 0)
			return code;
		setup->found.provider = found_by_mx(setup->domain);
		if (!setup->found.provider)
			found_by_domain(setup->domain, setup->ca_file, setup->email, &setup->found);
	}
	if (!setup->found.provider)
		setup->found.provider = "generic";
	return 0;
}

/* A preset's own host is worth no question; what the network told is. */
static int confirm_found(struct setup *setup, struct error *err)
{
	struct found *found = &setup->found;
	g_autofree char *from = found->from ? output_cell(found->from, 0, false) : NULL;
	g_autofree char *auth_url = found->auth_url ? output_cell(found->auth_url, 0, false) : NULL;
	g_autofree char *token_url = found->token_url ? output_cell(found->token_url, 0, false) : NULL;
	bool yes = false;
	int code = output_print(err, "\nFound:\n  server     %s, port %u, %s\n", found->host, found->port,
		found->tls == TLS_STARTTLS ? "STARTTLS" : "TLS");

	if (code == 0 && auth_url)
		code = output_print(err, "  sign-in    %s\n  tokens     %s\n", auth_url, token_url);
	code = code ? code : output_print(err, "  told by    %s\n", from);
	code = code ? code : ask_yes("Is that the one", true, &yes, err);
	if (code == 0 && !yes) {
		found_fini(found);
		found->provider = "generic";
	}
	return code;
}

static int confirm_provider(struct setup *setup, struct error *err)
{
	static const struct {
		const char *provider, *what;
	} names[] = {{"outlook", "Microsoft 365"}, {"outlook-personal", "Microsoft's personal mail (outlook.com)"},
		{"gmail", "Gmail, or Google Workspace"}};
	bool yes = false;

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *question = g_strdup_printf("\n%s is with %s. Right", setup->domain, names[i].what);
		int code;

		if (strcmp(names[i].provider, setup->found.provider) != 0)
			continue;
		code = ask_yes(question, true, &yes, err);
		if (code == 0 && !yes)
			setup->found.provider = "generic";
		return code;
	}
	return 0;
}

static bool is_host(const char *host)
{
	for (const char *at = host; *at; at++)
		if (!g_ascii_isalnum(*at) && !strchr(".-:[]", *at))
			return false;
	return *host != '\0';
}

static int ask_server(struct setup *setup, struct error *err)
{
	static const char *const ways[] = {"TLS from the first byte (port 993)", "STARTTLS (port 143)"};
	struct found *found = &setup->found;
	g_autofree char *guess = g_strdup_printf("imap.%s", setup->domain), *port = NULL;
	guint64 number = 0;
	size_t way = 0;
	int code = 0;

	while (code == 0 && !found->host) {
		g_autofree char *host = NULL;

		code = ask_text("\nThe IMAP server", guess, &host, err);
		if (code == 0 && is_host(host))
			found->host = g_steal_pointer(&host);
	}
	code = code ? code : ask_choice("How is it encrypted?", ways, G_N_ELEMENTS(ways), &way, err);
	found->tls = way ? TLS_STARTTLS : TLS_IMPLICIT;
	while (code == 0 && !number) {
		g_clear_pointer(&port, g_free);
		code = ask_text("Its port", way ? "143" : "993", &port, err);
		if (code == 0 && g_ascii_string_to_unsigned(port, 10, 1, 65535, &number, NULL))
			found->port = (uint16_t)number;
	}
	return code;
}

static int find_server(struct setup *setup, struct error *err)
{
	int code = look_up(setup, err);

	if (code == 0 && setup->found.host)
		code = confirm_found(setup, err);
	else if (code == 0)
		code = confirm_provider(setup, err);
	if (code == 0 && !setup->found.host && strcmp(setup->found.provider, "generic") == 0)
		code = ask_server(setup, err);
	return code;
}

/* ---- the group ---- */

static void put(struct setup *setup, const char *key, const char *value)
{
	g_string_append_printf(setup->group, "%s = %s\n", key, value);
}

static int put_answer(
	struct setup *setup, const char *key, const char *question, const char *standard, struct error *err)
{
	g_autofree char *answer = NULL;
	int code = ask_text(question, standard, &answer, err);

	if (code == 0)
		put(setup, key, answer);
	return code;
}

/* `key` is "password" or "client_secret". */
static int put_secret(struct setup *setup, const char *key, const char *what, struct error *err)
{
	const char *const ways[] = {"a command prints it, such as `pass show mail`", "it is in a file of its own",
		"I type it now; it is kept in the configuration, which only I can read"};
	static const char *const suffixes[] = {"_command", "_file", ""};
	static const char *const questions[] = {"The command", "The file", NULL};
	g_autofree char *question = g_strdup_printf("Where does the %s come from?", what);
	g_autofree char *typed = g_strdup_printf("The %s", what);
	g_autofree char *name = NULL;
	size_t way = 0;
	char *secret = NULL;
	int code = ask_choice(question, ways, G_N_ELEMENTS(ways), &way, err);

	if (code != 0)
		return code;
	name = g_strconcat(key, suffixes[way], NULL);
	if (questions[way])
		return put_answer(setup, name, questions[way], NULL, err);
	code = ask_secret(typed, &secret, err);
	if (code == 0)
		put(setup, name, secret);
	secret_free_text(secret);
	return code;
}

static void put_server(struct setup *setup)
{
	const struct found *found = &setup->found;
	bool generic = strcmp(found->provider, "generic") == 0;

	g_string_append_printf(setup->group, "[%s]\n", setup->name);
	if (!generic)
		put(setup, "provider", found->provider);
	if (generic) {
		g_autofree char *port = g_strdup_printf("%u", found->port);

		put(setup, "host", found->host);
		put(setup, "port", port);
		if (found->tls == TLS_STARTTLS)
			put(setup, "tls", "starttls");
	}
	if (setup->ca_file) {
		g_autofree char *path = g_canonicalize_filename(setup->ca_file, NULL);

		put(setup, "ca_file", path);
	}
}

static int ask_client(struct setup *setup, struct error *err)
{
	int code = say(err, "\nThe provider wants to know the program that asks: register an application of your own,\n"
			    "as `man mailtree-config` tells under REGISTERING AN APPLICATION.\n");

	return code ? code : put_answer(setup, "client_id", "The application's (client) ID", NULL, err);
}

static int ask_microsoft(struct setup *setup, struct error *err)
{
	static const char *const ways[] = {"as a person, in a browser on this machine",
		"as a person, by a code that is entered on any device",
		"as an application, without a person (servers)"};
	static const char *const methods[] = {"authorization-code", "device-code", "client-credentials"};
	bool personal = strcmp(setup->found.provider, "outlook-personal") == 0;
	size_t way = 0;
	int code = ask_choice("How do you sign in?", ways, personal ? 2 : 3, &way, err);

	if (code != 0)
		return code;
	setup->delegated = way < 2;
	put(setup, "user", setup->email);
	put(setup, "auth", methods[way]);
	code = ask_client(setup, err);
	if (code == 0 && !personal)
		code = put_answer(
			setup, "tenant", "The directory (tenant): its ID or a domain of it", setup->domain, err);
	if (code == 0 && way == 2)
		code = put_secret(setup, "client_secret", "client secret", err);
	return code;
}

static int ask_gmail(struct setup *setup, struct error *err)
{
	static const char *const ways[] = {"in a browser", "with an app password"};
	size_t way = 0;
	int code = ask_choice("How do you sign in?", ways, G_N_ELEMENTS(ways), &way, err);

	if (code != 0)
		return code;
	setup->delegated = way == 0;
	put(setup, "user", setup->email);
	put(setup, "auth", way ? "password" : "authorization-code");
	if (way)
		return put_secret(setup, "password", "app password", err);
	code = ask_client(setup, err);
	return code ? code : put_secret(setup, "client_secret", "client secret", err);
}

static int ask_generic(struct setup *setup, struct error *err)
{
	static const char *const ways[] = {"in a browser (OAuth)", "with a password"};
	const struct found *found = &setup->found;
	size_t way = 1;
	int code = put_answer(setup, "user", "\nYour user name there", found->user ? found->user : setup->email, err);

	if (code == 0 && found->auth_url)
		code = ask_choice("How do you sign in?", ways, G_N_ELEMENTS(ways), &way, err);
	if (code != 0)
		return code;
	if (way == 1) {
		put(setup, "auth", "password");
		return put_secret(setup, "password", "password", err);
	}
	setup->delegated = true;
	put(setup, "auth", "authorization-code");
	put(setup, "auth_url", found->auth_url);
	put(setup, "token_url", found->token_url);
	put(setup, "scope", found->scope);
	return ask_client(setup, err);
}

static int compose(struct setup *setup, struct error *err)
{
	put_server(setup);
	if (g_str_has_prefix(setup->found.provider, "outlook"))
		return ask_microsoft(setup, err);
	return strcmp(setup->found.provider, "gmail") == 0 ? ask_gmail(setup, err) : ask_generic(setup, err);
}

/* ---- afterwards ---- */

static int other_command(const struct setup *setup, const struct command *command, struct error *err)
{
	const char *const words[] = {command->name, "--", setup->name, NULL};
	struct call call = {
		.command = command, .words = g_strdupv((char **)words), .config = g_strdup(setup->call->config)};
	int code = command->run(&call, err);

	call_fini(&call);
	return code;
}

static int finish(const struct setup *setup, struct error *err)
{
	bool yes = false;
	int code = 0;

	if (setup->delegated)
		code = ask_yes("\nSign in now", true, &yes, err);
	if (code == 0 && setup->delegated && !yes)
		return output_print(
			err, "Later: mailtree login %s, then mailtree doctor %s\n", setup->name, setup->name);
	if (code == 0 && yes)
		code = other_command(setup, &command_login, err);
	code = code ? code : say(err, "\n");
	code = code ? code : other_command(setup, &command_doctor, err);
	return code ? code : output_print(err, "\nNow: mailtree mount %s ~/Mail\n", setup->name);
}

static int dialogue(struct setup *setup, struct error *err)
{
	const char *file = setup->call->places.config_file;
	int code = email_check(setup, err);

	/* a file that can't be read is said before the questions */
	if (code == 0 && access(file, F_OK) == 0) {
		g_auto(GStrv) groups = settings_groups(&setup->call->places, err);

		code = groups ? 0 : ERR_CONFIG;
	}
	code = code ? code : find_server(setup, err);
	code = code ? code : ask_name(setup, err);
	code = code ? code : compose(setup, err);
	code = code ? code : setup_write(&setup->call->places, setup->name, setup->group->str, err);
	code = code ? code : output_print(err, "\n[%s] is in %s now.\n", setup->name, file);
	return code ? code : finish(setup, err);
}

static int run(struct call *call, struct error *err)
{
	g_autofree char *autoconfig = NULL, *ca_file = NULL;
	gboolean manual = FALSE;
	const GOptionEntry entries[] = {
		{"autoconfig", 0, 0, G_OPTION_ARG_FILENAME, &autoconfig,
			"take the server from this mail autoconfiguration (https)", "URL"},
		{"ca-file", 0, 0, G_OPTION_ARG_FILENAME, &ca_file, "trust these certificates too, and write `ca_file`",
			"FILE"},
		{"manual", 0, 0, G_OPTION_ARG_NONE, &manual, "look nothing up: ask for the server", NULL},
		{NULL},
	};
	struct setup setup;
	int code = call_parse(call, entries, err);

	if (code != 0)
		return code;
	setup = (struct setup){.call = call,
		.email = call->arguments[0],
		.autoconfig = autoconfig,
		.ca_file = ca_file,
		.manual = manual,
		.group = g_string_sized_new(
			8192)}; /* sized at once: it may hold a secret, of which growing leaves copies */
	code = dialogue(&setup, err);
	secret_wipe(setup.group->str, setup.group->len);
	g_string_free(setup.group, TRUE);
	found_fini(&setup.found);
	g_free(setup.domain);
	g_free(setup.name);
	return code;
}

const struct command command_setup = {
	.name = "setup",
	.arguments = "EMAIL",
	.summary = "write a new account into the configuration, by questions",
	.description = "Finds the provider by the address's domain, its MX, or the autoconfiguration that the domain "
		       "publishes\n"
		       "over HTTPS; asks the rest; offers to sign in, and runs the doctor. Nobody but DNS and the "
		       "domain itself is\n"
		       "asked. What the configuration has already stays.\n\n"
		       "Example:\n"
		       "  mailtree setup olena@contoso.com",
	.arguments_min = 1,
	.arguments_max = 1,
	.run = run,
};
