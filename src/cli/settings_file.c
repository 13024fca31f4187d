/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/settings_file.h"
#include "src/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

static char *line_id(const char *group, const char *key)
{
	return g_strdup_printf("%s\n%s", group, key);
}

static int file_open(const char *path, bool *others_read_out, size_t *length_out, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0) {
		bool missing = errno == ENOENT;

		error_set(err, ERR_CONFIG, "%s: %s", path, g_strerror(errno));
		if (missing)
			error_hint(err, "`mailtree setup EMAIL` writes one, `man mailtree-config` has an example");
		return ERR_CONFIG;
	}
	if (fstat(fd, &st) != 0)
		error_set(err, ERR_CONFIG, "%s: %s", path, g_strerror(errno));
	else if (!S_ISREG(st.st_mode))
		error_set(err, ERR_CONFIG, "%s: not a regular file", path);
	else if (st.st_size > (off_t)SETTINGS_FILE_BYTES_MAX)
		error_set(err, ERR_CONFIG, "%s: larger than %u KiB", path, SETTINGS_FILE_BYTES_MAX / 1024);
	else if (st.st_mode & S_IWOTH) {
		error_set(err, ERR_CONFIG, "%s: everybody can write this file, and it can name commands to run", path);
		error_hint(err, "chmod 600 %s", path);
	} else {
		*others_read_out = (st.st_mode & (S_IRGRP | S_IROTH)) != 0;
		*length_out = (size_t)st.st_size;
		return fd;
	}
	close(fd);
	return ERR_CONFIG;
}

static char *file_text(const char *path, bool *others_read_out, size_t *length_out, struct error *err)
{
	size_t size = 0, used = 0;
	int fd = file_open(path, others_read_out, &size, err);
	char *text;

	if (fd < 0)
		return NULL;
	text = g_malloc0(size + 1);
	while (used < size) {
		ssize_t got = read(fd, text + used, size - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	close(fd);
	*length_out = used;
	return text;
}

static bool is_key(const char *name)
{
	if (!*name)
		return false;
	for (; *name; name++)
		if (!g_ascii_isalnum(*name) && *name != '_' && *name != '-')
			return false;
	return true;
}

/* One line; `group` is the one that it stands in and changes with a `[group]`. */
static int line_check(struct settings_file *file, char *line, unsigned number, char **group, struct error *err)
{
	char *equals, *id;
	size_t length;
	unsigned first;

	if (!g_utf8_validate(line, -1, NULL))
		return error_set(err, ERR_CONFIG, "%s:%u: isn't UTF-8", file->path, number);
	g_strstrip(line);
	length = strlen(line);
	for (const char *at = line; *at; at++)
		if (g_ascii_iscntrl(*at) && *at != '\t')
			return error_set(err, ERR_CONFIG, "%s:%u: contains a control character", file->path, number);
	if (length == 0 || line[0] == '#')
		return 0;
	if (line[0] == '[') {
		if (length < 3 || line[length - 1] != ']' || strcspn(line + 1, "[]\t") != length - 2)
			return error_set(err, ERR_CONFIG, "%s:%u: a group is written [NAME]", file->path, number);
		g_free(*group);
		*group = g_strndup(line + 1, length - 2);
		return 0;
	}
	equals = strchr(line, '=');
	if (!equals) {
		error_set(err, ERR_CONFIG, "%s:%u: neither [GROUP] nor KEY = VALUE nor a comment", file->path, number);
		error_hint(err, "comments stand on lines of their own and begin with #");
		return ERR_CONFIG;
	}
	*equals = '\0';
	g_strchomp(line);
	if (!is_key(line))
		return error_set(err, ERR_CONFIG, "%s:%u: not a key before the `=`", file->path, number);
	if (!*group)
		return error_set(
			err, ERR_CONFIG, "%s:%u: %s stands before the first [GROUP]", file->path, number, line);
	first = settings_file_line(file, *group, line);
	if (first)
		return error_set(err, ERR_CONFIG, "%s:%u: [%s] %s is set twice, first in line %u", file->path, number,
			*group, line, first);
	id = line_id(*group, line);
	g_hash_table_insert(file->lines, id, GUINT_TO_POINTER(number));
	return 0;
}

/* GLib's own errors quote the line, and have no number. */
static int lines_check(struct settings_file *file, const char *text, struct error *err)
{
	g_autofree char *group = NULL;
	unsigned number = 0;
	int rc = 0;

	while (*text && rc == 0) {
		size_t length = strcspn(text, "\n");
		char *line = g_strndup(text, length);

		rc = line_check(file, line, ++number, &group, err);
		secret_wipe(line, length);
		g_free(line);
		text += length + (text[length] == '\n');
	}
	return rc;
}

int settings_file_read(const char *path, struct settings_file *file_out, struct error *err)
{
	g_autoptr(GError) parsing = NULL;
	size_t length = 0;
	const char *start;
	char *text;
	int rc;

	*file_out = (struct settings_file){0};
	text = file_text(path, &file_out->others_read, &length, err);
	if (!text)
		return ERR_CONFIG;
	file_out->path = g_strdup(path);
	file_out->directory = g_path_get_dirname(path);
	file_out->keys = g_key_file_new();
	file_out->lines = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	/* some editors begin files with a byte order mark */
	start = g_str_has_prefix(text, "\xef\xbb\xbf") ? text + 3 : text;
	if (strlen(text) != length)
		rc = error_set(err, ERR_CONFIG, "%s: contains a NUL", path);
	else
		rc = lines_check(file_out, start, err);
	/* translations kept: `user[de]` must show up as an unknown key, not vanish */
	if (rc == 0 && *start &&
		!g_key_file_load_from_data(
			file_out->keys, start, strlen(start), G_KEY_FILE_KEEP_TRANSLATIONS, &parsing))
		rc = error_set(err, ERR_CONFIG, "%s: not a key file", path);
	secret_wipe(text, length);
	g_free(text);
	if (rc != 0)
		settings_file_fini(file_out);
	return rc;
}

void settings_file_fini(struct settings_file *file)
{
	g_free(file->path);
	g_free(file->directory);
	g_clear_pointer(&file->keys, g_key_file_unref);
	g_clear_pointer(&file->lines, g_hash_table_unref);
	*file = (struct settings_file){0};
}

unsigned settings_file_line(const struct settings_file *file, const char *group, const char *key)
{
	g_autofree char *id = line_id(group, key);

	return GPOINTER_TO_UINT(g_hash_table_lookup(file->lines, id));
}
