/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The account's directory: found, made, checked, locked while it is opened. */
#include "src/base/loop.h"
#include "src/cache/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

#define HOST_IN_NAME_MAX 64u
#define DIGEST_IN_NAME 32
#define LOCK_POLL_US 20000
#define IDENTITY_BYTES_MAX 16384u

static int failed(struct cache *cache, struct error *err)
{
	return error_set(err, ERR_STORAGE, "%s: %s", cache->path, g_strerror(errno));
}

/* HOST-DIGEST: the host for people, the digest to tell accounts apart. */
static char *directory_name(const char *host, uint16_t port, const char *user)
{
	g_autofree char *port_text = g_strdup_printf("%u", port);
	g_autofree char *safe = g_strndup(host, HOST_IN_NAME_MAX);
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
	char *name;

	g_checksum_update(sum, (const guchar *)host, (gssize)strlen(host) + 1);
	g_checksum_update(sum, (const guchar *)port_text, (gssize)strlen(port_text) + 1);
	g_checksum_update(sum, (const guchar *)user, (gssize)strlen(user));
	g_strcanon(safe, "abcdefghijklmnopqrstuvwxyz0123456789.-", '_');
	if (safe[0] == '.')
		safe[0] = '_';
	name = g_strdup_printf("%s-%.*s", safe, DIGEST_IN_NAME, g_checksum_get_string(sum));
	g_checksum_free(sum);
	return name;
}

static int directory_open(struct cache *cache, struct error *err)
{
	struct stat st;

	if (mkdir(cache->path, 0700) != 0 && errno != EEXIST)
		return failed(cache, err);
	cache->dir_fd = open(cache->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (cache->dir_fd < 0 || fstat(cache->dir_fd, &st) != 0)
		return failed(cache, err);
	if (st.st_uid != geteuid())
		return error_set(err, ERR_STORAGE, "%s belongs to another user", cache->path);
	if (st.st_mode & 022)
		return error_set(err, ERR_STORAGE, "%s can be written by others", cache->path);
	if ((st.st_mode & 055) && fchmod(cache->dir_fd, 0700) != 0)
		return failed(cache, err);
	return 0;
}

static int lock(struct cache *cache, struct error *err)
{
	uint64_t until_ms = clock_ms() + LOCK_WAIT_MS;

	cache->lock_fd = openat(cache->dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (cache->lock_fd < 0)
		return failed(cache, err);
	while (flock(cache->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return failed(cache, err);
		if (clock_ms() >= until_ms)
			return error_set(
				err, ERR_STORAGE, "%s: another mailtree is opening it and doesn't end", cache->path);
		g_usleep(LOCK_POLL_US);
	}
	return 0;
}

void place_unlock(struct cache *cache)
{
	if (cache->lock_fd >= 0)
		close(cache->lock_fd);
	cache->lock_fd = -1;
}

static int identity_check(struct cache *cache, const char *host, uint16_t port, const char *user, struct error *err)
{
	g_autofree char *safe_host = g_strescape(host, NULL);
	g_autofree char *safe_user = g_strescape(user, NULL);
	g_autofree char *wanted = g_strdup_printf("host %s\nport %u\nuser %s\n", safe_host, port, safe_user);
	g_autofree char *file = g_build_filename(cache->path, "identity", NULL);
	g_autofree char *found = g_malloc0(IDENTITY_BYTES_MAX);
	g_autoptr(GError) error = NULL;
	int fd = openat(cache->dir_fd, "identity", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	ssize_t got;

	if (fd >= 0) {
		got = pread(fd, found, IDENTITY_BYTES_MAX - 1, 0);
		close(fd);
		if (got < 0)
			return failed(cache, err);
		if (strcmp(found, wanted) != 0)
			return error_set(err, ERR_STORAGE, "%s belongs to another account", cache->path);
		return 0;
	}
	if (errno != ENOENT)
		return failed(cache, err);
	if (!g_file_set_contents_full(file, wanted, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
		return error_set(err, ERR_STORAGE, "%s", error->message);
	return 0;
}

int place_open(
	struct cache *cache, const char *dir, const char *host, uint16_t port, const char *user, struct error *err)
{
	g_autofree char *folded = g_ascii_strdown(host, -1);
	g_autofree char *name = directory_name(folded, port, user);
	char *resolved;
	int code;

	cache->path = g_build_filename(dir, name, NULL);
	if (g_mkdir_with_parents(dir, 0700) != 0)
		return failed(cache, err);
	code = directory_open(cache, err);
	if (!code)
		code = lock(cache, err);
	if (!code)
		code = identity_check(cache, folded, port, user, err);
	if (code)
		return code;
	/* SQLite refuses every symbolic link on the way, and the way to it may well have some */
	resolved = realpath(cache->path, NULL);
	if (!resolved)
		return failed(cache, err);
	cache->index_uri = g_build_filename(resolved, "index.db", NULL);
	free(resolved);
	return 0;
}
