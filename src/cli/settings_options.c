/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/settings_options.h"
#include "src/cli/settings_table.h"

#include <string.h>

#include "src/base/banned.h"

/* What mount(8) and fstab add or other mounters need. `rw`: mount(8) adds it unasked; default_permissions is always on.
 */
static const char *const ignored[] = {"rw", "defaults", "_netdev", "nofail", "noauto", "auto", "user", "users",
	"nouser", "owner", "noowner", "group", "nogroup", "exec", "noexec", "dev", "nodev", "suid", "nosuid", "atime",
	"noatime", "relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "nodiratime", "lazytime",
	"nolazytime", "async", "sync", "dirsync", "default_permissions"};

static bool is_ignored(const char *name, bool has_value)
{
	if (g_str_has_prefix(name, "x-") || g_str_has_prefix(name, "X-"))
		return true;
	if (strcmp(name, "comment") == 0)
		return true;
	/* `user` alone is mount(8)'s, `user=ADDRESS` is ours */
	if (has_value)
		return false;
	for (size_t i = 0; i < G_N_ELEMENTS(ignored); i++)
		if (strcmp(ignored[i], name) == 0)
			return true;
	return false;
}

/* The next word, unescaped; `at` moves behind its comma. */
static char *word_next(const char **at)
{
	GString *word = g_string_new(NULL);

	for (; **at && **at != ','; (*at)++) {
		if (**at == '\\' && ((*at)[1] == ',' || (*at)[1] == '\\'))
			(*at)++;
		g_string_append_c(word, **at);
	}
	if (**at)
		(*at)++;
	return g_string_free(word, FALSE);
}

static int unknown(const char *name, struct error *err)
{
	const char *guess = settings_table_guess(name, IN_OPTIONS);

	error_set(err, ERR_CONFIG, "-o %.60s: no such mount option", name);
	if (guess)
		error_hint(err, "did you mean `%s`?", guess);
	return ERR_CONFIG;
}

static int option_add(struct settings_options *options, char *word, const char *directory, struct error *err)
{
	char *value = strchr(word, '=');
	const struct setting *setting;

	if (value)
		*value++ = '\0';
	g_strstrip(word);
	if (!*word)
		return value ? error_set(err, ERR_CONFIG, "-o: a value without a name") : 0;
	if (!value && strcmp(word, "ro") == 0) {
		options->read_only = true;
		return 0;
	}
	if (is_ignored(word, value != NULL))
		return 0;
	if (value && strcmp(word, "config") == 0) {
		g_free(options->config);
		options->config = g_canonicalize_filename(value, directory);
		return 0;
	}
	setting = settings_table_find(word);
	if (!setting)
		return unknown(word, err);
	if (!(setting->places & IN_OPTIONS)) {
		if (value)
			memset(value, '*', strlen(value));
		error_set(err, ERR_CONFIG, "-o %s: every user could read it in the list of processes", word);
		error_hint(err, "put it into the configuration, or use %s_file or %s_command", word, word);
		return ERR_CONFIG;
	}
	if (!value && setting->type != SETTING_FLAG)
		return error_set(err, ERR_CONFIG, "-o %s: needs a value: %s=…", word, word);
	g_hash_table_replace(options->values, g_strdup(word), g_strstrip(g_strdup(value ? value : "true")));
	return 0;
}

int settings_options_parse(
	const char *text, const char *directory, struct settings_options *options_out, struct error *err)
{
	int rc = 0;

	*options_out = (struct settings_options){0};
	options_out->values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	while (text && *text && rc == 0) {
		g_autofree char *word = word_next(&text);

		rc = option_add(options_out, word, directory, err);
	}
	if (rc != 0)
		settings_options_fini(options_out);
	return rc;
}

void settings_options_fini(struct settings_options *options)
{
	g_clear_pointer(&options->values, g_hash_table_unref);
	g_clear_pointer(&options->config, g_free);
	options->read_only = false;
}
