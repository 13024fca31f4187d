/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/sockets.h"
#include "src/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/banned.h"

#define SUFFIX ".sock"
#define BACKLOG 8
#define CONNECT_MS 5000u

int sockets_open(const char *path, bool make, struct sockets *sockets_out, struct error *err)
{
	struct stat stat_of_it;
	int fd;

	if (make && g_mkdir_with_parents(path, 0700) != 0)
		return error_set(err, ERR_FAILED, "%s: %s", path, g_strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && !make)
		return 1;
	if (fd < 0)
		return error_set(err, ERR_FAILED, "%s: %s", path, g_strerror(errno));
	if (fstat(fd, &stat_of_it) != 0 || stat_of_it.st_uid != geteuid() || (stat_of_it.st_mode & 077)) {
		close(fd);
		error_set(err, ERR_FAILED, "%s: must be yours alone", path);
		error_hint(err, "chown and chmod 700, or remove it");
		return ERR_FAILED;
	}
	*sockets_out = (struct sockets){fd, g_strdup(path)};
	return 0;
}

void sockets_close(struct sockets *sockets)
{
	if (sockets->path)
		close(sockets->directory_fd);
	g_clear_pointer(&sockets->path, g_free);
}

/* By the directory's descriptor: an address has room for 107 bytes, and the path may be longer. */
static bool address_set(const struct sockets *sockets, const char *name, struct sockaddr_un *address_out)
{
	int length;

	*address_out = (struct sockaddr_un){.sun_family = AF_UNIX};
	length = g_snprintf(address_out->sun_path, sizeof(address_out->sun_path), "/proc/self/fd/%d/%s",
		sockets->directory_fd, name);
	return length < (int)sizeof(address_out->sun_path);
}

static int listen_under(const struct sockets *sockets, int fd, const char *name)
{
	struct sockaddr_un address;

	if (!address_set(sockets, name, &address)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	unlinkat(sockets->directory_fd, name, 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -1;
	return fchmodat(sockets->directory_fd, name, 0600, 0) != 0 ? -1 : listen(fd, BACKLOG);
}

int sockets_listen(const struct sockets *sockets, const char *identity, int *fd_out, char **name_out, struct error *err)
{
	g_autofree char *name = g_strdup_printf("%s-%d" SUFFIX, identity, (int)getpid());
	g_autofree char *early = g_strconcat(name, ".new", NULL);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* the name that others look for appears when it can be connected to: else they would take it for a dead one */
	if (fd < 0 || listen_under(sockets, fd, early) != 0 ||
		renameat(sockets->directory_fd, early, sockets->directory_fd, name) != 0) {
		error_set(err, ERR_FAILED, "%s/%s: %s", sockets->path, name, g_strerror(errno));
		if (fd >= 0)
			close(fd);
		return ERR_FAILED;
	}
	*fd_out = fd;
	*name_out = g_steal_pointer(&name);
	return 0;
}

void sockets_unlink(const struct sockets *sockets, const char *name)
{
	unlinkat(sockets->directory_fd, name, 0);
}

/* NULL = nobody answers there. */
static struct wire *wire_connect(const struct sockets *sockets, const char *name, pid_t *pid_out)
{
	const struct timeval patience = {.tv_sec = CONNECT_MS / 1000};
	struct sockaddr_un address;
	struct error err = {0};
	int fd;

	if (!address_set(sockets, name, &address))
		return NULL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && wire_peer(fd, pid_out, &err) == 0)
		return wire_new(fd, WIRE_SILENCE_MS, WIRE_REQUEST_MS);
	if (err.code)
		log_warning("%s", err.text);
	else if (errno == ECONNREFUSED)
		sockets_unlink(sockets, name);
	close(fd);
	return NULL;
}

static int names_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static GPtrArray *names_read(const struct sockets *sockets, const char *identity)
{
	g_autofree char *prefix = g_strconcat(identity ? identity : "", identity ? "-" : "", NULL);
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	int fd = openat(sockets->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (g_str_has_prefix(entry->d_name, prefix) && g_str_has_suffix(entry->d_name, SUFFIX))
			g_ptr_array_add(names, g_strdup(entry->d_name));
	if (directory)
		closedir(directory);
	else if (fd >= 0)
		close(fd);
	g_ptr_array_sort(names, names_compare);
	return names;
}

int sockets_each(const struct sockets *sockets, const char *identity, sockets_fn fn, void *ctx)
{
	g_autoptr(GPtrArray) names = names_read(sockets, identity);
	int result = 0;

	for (guint i = 0; i < names->len && result == 0; i++) {
		pid_t pid;
		struct wire *wire = wire_connect(sockets, names->pdata[i], &pid);

		if (wire)
			result = fn(ctx, wire, pid);
		wire_free(wire);
	}
	return result;
}
