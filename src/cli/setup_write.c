/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/setup_write.h"
#include "src/base/secret.h"
#include "src/cli/settings_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

static int failed(const char *path, struct error *err)
{
	return error_set(err, ERR_FAILED, "%s: %s", path, g_strerror(errno));
}

/* What it holds now; "" where there is none. */
static int text_read(const char *path, char **text_out, struct error *err)
{
	g_autoptr(GError) error = NULL;
	struct settings_file file;

	if (access(path, F_OK) != 0 && errno == ENOENT) {
		*text_out = g_strdup("");
		return 0;
	}
	/* the bounded, strict reader first: what it refuses isn't ours to change */
	if (settings_file_read(path, &file, err) != 0)
		return ERR_CONFIG;
	settings_file_fini(&file);
	if (!g_file_get_contents(path, text_out, NULL, &error))
		return error_set(err, ERR_CONFIG, "%s: %s", path, error->message);
	return 0;
}

static int bytes_write(int fd, const char *text, const char *path, struct error *err)
{
	size_t length = strlen(text);

	while (length) {
		ssize_t written = write(fd, text, length);

		if (written < 0 && errno != EINTR)
			return failed(path, err);
		if (written > 0) {
			text += written;
			length -= (size_t)written;
		}
	}
	return fsync(fd) == 0 ? 0 : failed(path, err);
}

/* The same places with another file, in the same directory. */
static int check(const struct settings_places *places, char *file, const char *name, struct error *err)
{
	struct settings_places trial = *places;
	struct settings *settings;
	int code;

	trial.config_file = file;
	code = settings_load(&trial, name, NULL, &settings, err);
	if (code == 0)
		settings_free(settings);
	return code;
}

static int replace(
	const struct settings_places *places, const char *path, const char *name, const char *text, struct error *err)
{
	g_autofree char *new_path = g_strconcat(path, ".XXXXXX", NULL);
	int fd = mkostemp(new_path, O_CLOEXEC); /* 0600 */
	int code = fd < 0 ? failed(new_path, err) : bytes_write(fd, text, new_path, err);

	if (fd < 0)
		return code;
	close(fd);
	if (code == 0)
		code = check(places, new_path, name, err);
	if (code == 0 && rename(new_path, path) != 0)
		code = failed(path, err);
	if (code != 0)
		unlink(new_path);
	return code;
}

static void directory_sync(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

int setup_write(const struct settings_places *places, const char *name, const char *group, struct error *err)
{
	char real[PATH_MAX];
	const char *path = realpath(places->config_file, real) ? real : places->config_file;
	g_autofree char *directory = g_path_get_dirname(path);
	char *before = NULL, *after;
	int code;

	if (g_mkdir_with_parents(directory, 0700) != 0)
		return failed(directory, err);
	code = text_read(path, &before, err);
	if (code != 0)
		return code;
	after = g_strconcat(before, !*before ? "" : g_str_has_suffix(before, "\n") ? "\n" : "\n\n", group, NULL);
	code = replace(places, path, name, after, err);
	if (code == 0)
		directory_sync(directory);
	secret_free_text(before);
	secret_free_text(after);
	return code;
}
