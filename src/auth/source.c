/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/source.h"
#include "src/auth/helper.h"
#include "src/auth/store.h"
#include "src/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

static const char utf8_mark[] = "\xef\xbb\xbf"; /* some editors begin files with it */

bool auth_source_is_set(const struct auth_source *source)
{
	return source->value || source->file || source->command;
}

static ssize_t read_full(int fd, char *buffer, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t got = read(fd, buffer + used, size - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		used += (size_t)got;
	}
	return (ssize_t)used;
}

int auth_source_open(const char *path, const char *what, bool secret, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		rc = error_set(err, ERR_SIGN_IN, "%s: %s: %s", what, path, g_strerror(errno));
	else if (!S_ISREG(st.st_mode))
		rc = error_set(err, ERR_SIGN_IN, "%s: %s: not a regular file", what, path);
	else if (secret && (st.st_mode & (S_IRGRP | S_IROTH)))
		log_warning("%s: %s: others can read this file (chmod 600 it)", what, path);
	if (rc == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int file_first_line(const char *path, const char *what, struct secret **value_out, struct error *err)
{
	g_autofree char *buffer = NULL;
	int fd = auth_source_open(path, what, true, err), rc = 0;
	const char *start, *end;
	size_t length;
	ssize_t got;

	if (fd < 0)
		return fd;
	start = buffer = g_malloc(AUTH_TOKEN_MAX + 1);
	got = read_full(fd, buffer, AUTH_TOKEN_MAX + 1);
	if (got < 0)
		rc = error_set(err, ERR_SIGN_IN, "%s: %s: %s", what, path, g_strerror(errno));
	close(fd);
	if (rc != 0)
		return rc;
	length = (size_t)got;
	if (length >= strlen(utf8_mark) && memcmp(start, utf8_mark, strlen(utf8_mark)) == 0) {
		start += strlen(utf8_mark);
		length -= strlen(utf8_mark);
	}
	end = memchr(start, '\n', length);
	if (!end && (size_t)got > AUTH_TOKEN_MAX) {
		secret_wipe(buffer, (size_t)got);
		return error_set(err, ERR_SIGN_IN, "%s: %s: its first line is longer than %u KiB", what, path,
			AUTH_TOKEN_MAX / 1024);
	}
	length = end ? (size_t)(end - start) : length;
	while (length && start[length - 1] == '\r')
		length--;
	*value_out = secret_new(start, length);
	secret_wipe(buffer, (size_t)got);
	if (length == 0) {
		secret_unref(*value_out);
		*value_out = NULL;
		return error_set(err, ERR_SIGN_IN, "%s: %s: its first line is empty", what, path);
	}
	return 0;
}

int auth_source_read(struct auth_flow *flow, const struct auth_source *source, const char *what,
	struct secret **value_out, struct error *err)
{
	int rc;

	if (source->file)
		return file_first_line(source->file, what, value_out, err);
	if (source->command) {
		struct auth_helper helper = {.command = source->command,
			.timeout_ms = flow->command_timeout_ms,
			.cancel_fd = flow->cancel_fd};

		flow->requests++;
		rc = auth_helper_run(&helper, value_out, err);
		if (rc != 0)
			error_prefix(err, "%s_command", what);
		return rc;
	}
	if (source->value && *source->value) {
		*value_out = secret_new(source->value, strlen(source->value));
		if (*value_out)
			return 0;
	}
	return error_set(err, ERR_SIGN_IN, "%s: no value", what);
}

int auth_source_trim_token(struct secret *s, const char *what, struct secret **token_out, struct error *err)
{
	const char *text = secret_text(s);
	size_t start = 0, end = secret_length(s);

	while (start < end && g_ascii_isspace(text[start]))
		start++;
	while (end > start && g_ascii_isspace(text[end - 1]))
		end--;
	/* RFC 6749 allows the visible characters and the space; RFC 6750 no space in what goes over the wire */
	for (size_t i = start; i < end; i++) {
		if (text[i] > ' ' && text[i] <= '~')
			continue;
		secret_unref(s);
		return error_set(err, ERR_SIGN_IN,
			"%s: isn't a token: character %zu is a space, a control character or not ASCII", what, i + 1);
	}
	if (start == end || end - start > AUTH_TOKEN_MAX) {
		secret_unref(s);
		return error_set(
			err, ERR_SIGN_IN, "%s: %s", what, start == end ? "is empty" : "is too long for a token");
	}
	*token_out = secret_new(text + start, end - start);
	secret_unref(s);
	return 0;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * 0x100000001b3ull; /* FNV-1a, 64 bits at a time */
}

static uint64_t file_mix(uint64_t hash, const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return mix(hash, (uint64_t)errno);
	hash = mix(hash, (uint64_t)st.st_dev);
	hash = mix(hash, (uint64_t)st.st_ino);
	hash = mix(hash, (uint64_t)st.st_size);
	hash = mix(hash, (uint64_t)st.st_mtim.tv_sec);
	hash = mix(hash, (uint64_t)st.st_mtim.tv_nsec);
	hash = mix(hash, (uint64_t)st.st_ctim.tv_sec);
	return mix(hash, (uint64_t)st.st_ctim.tv_nsec);
}

static uint64_t stamp_of(const char *const *paths, size_t count)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < count; i++)
		if (paths[i])
			hash = file_mix(hash, paths[i]);
	return hash ? hash : 1;
}

uint64_t auth_source_stamp(const struct auth_config *config)
{
	g_autofree char *store = auth_store_path(config);
	const char *paths[] = {config->token.file, config->client_secret.file, config->password.file,
		config->certificate, config->certificate_key, store};

	return stamp_of(paths, G_N_ELEMENTS(paths));
}

uint64_t auth_source_file_stamp(const char *path)
{
	return stamp_of(&path, 1);
}
