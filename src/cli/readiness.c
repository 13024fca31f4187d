/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/readiness.h"
#include "src/base/log.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/banned.h"

char *readiness_take(void)
{
	char *name = g_strdup(g_getenv("NOTIFY_SOCKET"));

	g_unsetenv("NOTIFY_SOCKET");
	return name;
}

void readiness_tell(const char *socket_name, const char *state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = socket_name ? strlen(socket_name) : 0;
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	ssize_t sent = -1;
	int fd;

	if (length == 0)
		return;
	if (length >= sizeof(address.sun_path) || (*socket_name != '/' && *socket_name != '@')) {
		log_warning("NOTIFY_SOCKET: neither a path nor an abstract name of at most %zu bytes",
			sizeof(address.sun_path) - 1);
		return;
	}
	memcpy(address.sun_path, socket_name, length);
	if (*socket_name == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
	if (sent < 0)
		log_warning("NOTIFY_SOCKET: %s", g_strerror(errno));
	if (fd >= 0)
		close(fd);
}
