/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/settings.h"
#include "src/base/secret.h"
#include "src/cli/settings_compose.h"
#include "src/cli/settings_file.h"
#include "src/cli/settings_options.h"
#include "src/cli/settings_table.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

/* One load: what was given, where. */
struct load {
	struct settings_file file;
	struct settings_options options;
	char *group;   /* owned */
	char *address; /* of GROUP:ADDRESS, owned; NULL = none */
	const struct settings_places *places;
	const char *directory; /* what relative paths in options start from */
};

static void load_fini(struct load *load)
{
	settings_options_fini(&load->options);
	settings_file_fini(&load->file);
	g_free(load->group);
	g_free(load->address);
}

static char *group_guess(const struct settings_file *file)
{
	g_auto(GStrv) groups = g_key_file_get_groups(file->keys, NULL);
	g_autofree char *list = g_strjoinv(", ", groups);

	return g_strdup_printf(*groups ? "accounts there: %.180s" : "no account is in it%s", list);
}

/* ACCOUNT is a group as it stands, else GROUP:ADDRESS at the last colon that leaves a group before it. */
static int account_split(struct load *load, const char *account, struct error *err)
{
	g_autofree char *guess = NULL;

	if (g_key_file_has_group(load->file.keys, account)) {
		load->group = g_strdup(account);
		return 0;
	}
	for (const char *colon = account + strlen(account); colon > account; colon--) {
		g_autofree char *group = g_strndup(account, (gsize)(colon - account));

		if (*colon != ':' || !g_key_file_has_group(load->file.keys, group))
			continue;
		if (!colon[1])
			return error_set(err, ERR_CONFIG, "%s: no address behind the colon", account);
		load->address = g_strdup(colon + 1);
		load->group = g_steal_pointer(&group);
		return 0;
	}
	guess = group_guess(&load->file);
	error_set(err, ERR_CONFIG, "%s: no account [%.100s]", load->file.path, account);
	error_hint(err, "%s", guess);
	return ERR_CONFIG;
}

static char *file_value(const struct load *load, const char *key)
{
	char *value = g_key_file_get_value(load->file.keys, load->group, key, NULL);

	return value ? g_strstrip(value) : NULL;
}

/* An option of a family (password, password_file, …) replaces what the file says of the family. */
static bool is_replaced(const struct load *load, const char *key)
{
	static const char *const families[] = {"client_secret", "password"};
	static const char *const suffixes[] = {"", "_file", "_command"};

	for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
		if (!g_str_has_prefix(key, families[i]))
			continue;
		for (size_t j = 0; j < G_N_ELEMENTS(suffixes); j++) {
			g_autofree char *name = g_strconcat(families[i], suffixes[j], NULL);

			if (strcmp(name, key) != 0 && g_hash_table_contains(load->options.values, name))
				return true;
		}
	}
	return false;
}

static bool is_given(const struct load *load, const char *key)
{
	return g_hash_table_contains(load->options.values, key) ||
	       g_key_file_has_key(load->file.keys, load->group, key, NULL);
}

static int file_keys_check(const struct load *load, struct error *err)
{
	g_auto(GStrv) keys = g_key_file_get_keys(load->file.keys, load->group, NULL, NULL);

	for (char **key = keys; key && *key; key++) {
		const char *guess;

		if (settings_table_find(*key))
			continue;
		guess = settings_table_guess(*key, IN_CONFIG);
		error_set(err, ERR_CONFIG, "%s:%u: [%s] %s: no such key", load->file.path,
			settings_file_line(&load->file, load->group, *key), load->group, *key);
		if (guess)
			error_hint(err, "did you mean `%s`?", guess);
		return ERR_CONFIG;
	}
	return 0;
}

/* Any group's: the file as a whole is what others read. */
static int secrecy_check(const struct load *load, struct error *err)
{
	g_auto(GStrv) groups = g_key_file_get_groups(load->file.keys, NULL);

	for (char **group = groups; load->file.others_read && *group; group++)
		for (size_t i = 0; i < settings_table_length; i++) {
			const char *key = settings_table[i].name;

			if (settings_table[i].type != SETTING_SECRET ||
				!g_key_file_has_key(load->file.keys, *group, key, NULL))
				continue;
			error_set(err, ERR_CONFIG, "%s:%u: [%s] %s: other users can read this file", load->file.path,
				settings_file_line(&load->file, *group, key), *group, key);
			error_hint(err, "chmod 600 %s", load->file.path);
			return ERR_CONFIG;
		}
	return 0;
}

/* Puts the place of the value, and the value unless it is secret, in front of what was expected. */
static int value_error(
	const struct load *load, const struct setting *setting, const char *value, bool option, struct error *err)
{
	bool shown = setting->type != SETTING_SECRET && setting->type != SETTING_URL && *value;
	g_autofree char *quoted = shown ? g_strdup_printf(" = %.100s", value) : g_strdup("");

	if (option)
		error_prefix(err, "-o %s%s", setting->name, quoted);
	else
		error_prefix(err, "%s:%u: [%s] %s%s", load->file.path,
			settings_file_line(&load->file, load->group, setting->name), load->group, setting->name,
			quoted);
	return ERR_CONFIG;
}

static int value_set(const struct load *load, const struct setting *setting, const char *provider,
	struct settings_draft *draft, struct error *err)
{
	const char *option = g_hash_table_lookup(load->options.values, setting->name), *value = option;
	bool is_user = load->address && strcmp(setting->name, "user") == 0;
	g_autofree char *given = NULL;
	int rc;

	if (is_user && option)
		return error_set(err, ERR_CONFIG, "-o user: the account names the user already: %s", load->address);
	if (is_user)
		value = load->address;
	if (!value && !is_replaced(load, setting->name))
		value = given = file_value(load, setting->name);
	if (!value)
		value = settings_preset(provider, setting->name);
	if (!value)
		value = setting->standard;
	if (!value)
		return 0;
	rc = settings_value_parse(setting, value, option ? load->directory : load->file.directory, draft, err);
	if (rc != 0 && is_user)
		error_prefix(err, "%s", load->address);
	else if (rc != 0)
		rc = value_error(load, setting, value, option != NULL, err);
	if (given && setting->type == SETTING_SECRET)
		secret_wipe(given, strlen(given));
	return rc;
}

static int values_set(const struct load *load, struct settings_draft *draft, struct error *err)
{
	const struct setting *first = settings_table_find("provider");
	int rc = value_set(load, first, "generic", draft, err);

	if (rc != 0)
		return rc;
	if (!settings_provider_known(draft->s.provider)) {
		error_set(err, ERR_CONFIG, "expected " SETTINGS_PROVIDERS);
		return value_error(
			load, first, draft->s.provider, g_hash_table_contains(load->options.values, "provider"), err);
	}
	for (size_t i = 0; i < settings_table_length && rc == 0; i++)
		if (&settings_table[i] != first)
			rc = value_set(load, &settings_table[i], draft->s.provider, draft, err);
	/* programs that read a maildir expect its line ends */
	if (draft->s.layout == LAYOUT_MAILDIR && !is_given(load, "eol"))
		draft->s.eol_lf = true;
	draft->s.uid_set = is_given(load, "uid");
	draft->s.gid_set = is_given(load, "gid");
	draft->s.umask_set = is_given(load, "umask");
	return rc;
}

static int compose(const struct load *load, struct settings_draft *draft, struct error *err)
{
	int rc;

	if (!is_given(load, "auth")) {
		rc = error_set(err, ERR_CONFIG, "auth: missing");
		error_hint(err,
			"one of client-credentials, authorization-code, device-code, token-command, token-file, "
			"password");
	} else {
		rc = settings_compose(draft, load->places, err);
	}
	if (rc != 0)
		error_prefix(err, "%s: [%s]", load->file.path, load->group);
	return rc;
}

static void draft_fini(struct settings_draft *draft)
{
	g_free(draft->authority);
	g_free(draft->tenant);
}

static int load_from(const char *directory, const struct settings_places *places, const char *account,
	const char *options, struct settings **settings_out, struct error *err)
{
	struct load load = {.places = places, .directory = directory};
	struct settings_draft draft = {0};
	struct settings *settings;
	int rc = settings_options_parse(options, directory, &load.options, err);

	if (rc == 0)
		rc = settings_file_read(
			load.options.config ? load.options.config : places->config_file, &load.file, err);
	rc = rc ? rc : account_split(&load, account, err);
	rc = rc ? rc : secrecy_check(&load, err);
	rc = rc ? rc : file_keys_check(&load, err);
	if (rc == 0) {
		draft.s.account = g_strdup(account);
		draft.s.group = g_strdup(load.group);
		draft.s.config_file = g_strdup(load.file.path);
		draft.s.options = g_strdup(options);
		draft.s.directory = g_strdup(directory);
		draft.s.state_dir = g_strdup(places->state_dir);
		draft.s.read_only = load.options.read_only;
		rc = values_set(&load, &draft, err);
	}
	rc = rc ? rc : compose(&load, &draft, err);
	settings = g_memdup2(&draft.s, sizeof(draft.s));
	draft_fini(&draft);
	load_fini(&load);
	if (rc != 0) {
		settings_free(settings);
		return rc;
	}
	*settings_out = settings;
	return 0;
}

int settings_load(const struct settings_places *places, const char *account, const char *options,
	struct settings **settings_out, struct error *err)
{
	g_autofree char *directory = g_get_current_dir();

	return load_from(directory, places, account, options, settings_out, err);
}

int settings_auth_reload(void *ctx, struct auth_config *config_out, struct error *err)
{
	const struct settings *old = ctx;
	const struct settings_places places = {
		.config_file = old->config_file, .cache_dir = old->cache_dir, .state_dir = old->state_dir};
	struct settings *settings = NULL;
	int rc = load_from(old->directory, &places, old->account, old->options, &settings, err);

	if (rc != 0)
		return rc;
	if (strcmp(settings->host, old->host) != 0 || settings->port != old->port || settings->tls != old->tls)
		rc = error_set(err, ERR_CONFIG, "another `host`, `port` or `tls` takes effect with the next mount");
	else {
		*config_out = settings->auth;
		settings->auth = (struct auth_config){0};
	}
	settings_free(settings);
	return rc;
}

void settings_free(struct settings *settings)
{
	if (!settings)
		return;
	g_free(settings->account);
	g_free(settings->group);
	g_free(settings->config_file);
	g_free(settings->options);
	g_free(settings->directory);
	g_free(settings->state_dir);
	g_free(settings->provider);
	g_free(settings->user);
	g_free(settings->host);
	g_free(settings->ca_file);
	g_strfreev(settings->folders);
	g_strfreev(settings->exclude);
	g_free(settings->cache_dir);
	g_free(settings->notify_command);
	auth_config_fini(&settings->auth);
	g_free(settings);
}

char **settings_groups(const struct settings_places *places, struct error *err)
{
	struct settings_file file;
	char **groups;

	if (settings_file_read(places->config_file, &file, err) != 0)
		return NULL;
	groups = g_key_file_get_groups(file.keys, NULL);
	settings_file_fini(&file);
	return groups;
}
