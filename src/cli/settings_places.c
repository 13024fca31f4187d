/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/settings.h"

#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

/* The XDG specification: what isn't absolute counts as unset. */
static const char *absolute_env(const char *name)
{
	const char *value = g_getenv(name);

	return value && g_path_is_absolute(value) ? value : NULL;
}

static char *place(const char *variable, const char *home, const char *below_home, const char *system)
{
	const char *base = absolute_env(variable);

	if (base)
		return g_build_filename(base, "mailtree", NULL);
	if (home)
		return g_build_filename(home, below_home, "mailtree", NULL);
	return g_strdup(system);
}

/* Without a session there is no XDG_RUNTIME_DIR: then where systemd would have put it, else beside the tokens. */
static char *runtime_place(const char *home, const char *state_dir)
{
	g_autofree char *run = g_strdup_printf("/run/user/%u", (unsigned)geteuid());
	struct stat st;

	if (absolute_env("XDG_RUNTIME_DIR"))
		return g_build_filename(absolute_env("XDG_RUNTIME_DIR"), "mailtree", NULL);
	if (!home)
		return g_strdup("/run/mailtree");
	if (stat(run, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		return g_build_filename(run, "mailtree", NULL);
	return g_build_filename(state_dir, "run", NULL);
}

int settings_places_find(const char *config_option, struct settings_places *places_out, struct error *err)
{
	const char *home = absolute_env("HOME"), *from_env = g_getenv("MAILTREE_CONFIG");
	g_autofree char *config_dir = NULL;

	*places_out = (struct settings_places){0};
	/* a user without HOME has one in the password database; root without it is a service */
	if (!home && geteuid() != 0)
		home = g_get_home_dir();
	if (!home && geteuid() != 0)
		return error_set(err, ERR_CONFIG, "HOME isn't set, and the user has no home directory");
	config_dir = place("XDG_CONFIG_HOME", home, ".config", "/etc/mailtree");
	if (config_option)
		places_out->config_file = g_canonicalize_filename(config_option, NULL);
	else if (from_env && *from_env)
		places_out->config_file = g_canonicalize_filename(from_env, NULL);
	else
		places_out->config_file = g_build_filename(config_dir, "config", NULL);
	places_out->cache_dir = place("XDG_CACHE_HOME", home, ".cache", "/var/cache/mailtree");
	places_out->state_dir = place("XDG_STATE_HOME", home, ".local/state", "/var/lib/mailtree");
	places_out->runtime_dir = runtime_place(home, places_out->state_dir);
	return 0;
}

void settings_places_fini(struct settings_places *places)
{
	g_free(places->config_file);
	g_free(places->cache_dir);
	g_free(places->state_dir);
	g_free(places->runtime_dir);
	*places = (struct settings_places){0};
}
