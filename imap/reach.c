/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/reach.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/banned.h"

#define ADDRESSES_MAX 16u

void reach_init(struct reach *reach)
{
	*reach = (struct reach){.fd = -1};
}

void reach_fini(struct reach *reach)
{
	if (reach->found)
		freeaddrinfo(reach->found);
	if (reach->fd >= 0)
		close(reach->fd);
	reach_init(reach);
}

/* ---- the name ---- */

static bool is_offline(void)
{
	struct ifaddrs *all = NULL;
	bool offline = true;

	if (getifaddrs(&all) != 0)
		return false;
	for (const struct ifaddrs *one = all; one; one = one->ifa_next)
		if (one->ifa_addr && (one->ifa_flags & IFF_UP) && !(one->ifa_flags & IFF_LOOPBACK) &&
			(one->ifa_addr->sa_family == AF_INET || one->ifa_addr->sa_family == AF_INET6))
			offline = false;
	freeifaddrs(all);
	return offline;
}

/* getaddrinfo() on a thread of its own: it knows no deadline. Whoever comes last frees it. */
struct lookup {
	char *host, *port;
	pthread_mutex_t lock; /* guards the following */
	pthread_cond_t changed;
	bool done, abandoned;
	int code;
	struct addrinfo *found;
};

static void lookup_free(struct lookup *lookup)
{
	if (lookup->found)
		freeaddrinfo(lookup->found);
	pthread_cond_destroy(&lookup->changed);
	pthread_mutex_destroy(&lookup->lock);
	g_free(lookup->host);
	g_free(lookup->port);
	g_free(lookup);
}

static void *lookup_run(void *data)
{
	struct lookup *lookup = data;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
	int code = getaddrinfo(lookup->host, lookup->port, &hints, &found);
	bool abandoned;

	pthread_mutex_lock(&lookup->lock);
	lookup->done = true;
	lookup->code = code;
	lookup->found = code == 0 ? found : NULL;
	abandoned = lookup->abandoned;
	pthread_cond_signal(&lookup->changed);
	pthread_mutex_unlock(&lookup->lock);
	if (abandoned)
		lookup_free(lookup);
	return NULL;
}

static struct lookup *lookup_start(const struct stream_target *target)
{
	struct lookup *lookup = g_new0(struct lookup, 1);
	size_t length = strlen(target->host);
	pthread_condattr_t clock;
	pthread_t thread;

	/* an address in brackets, as URLs have it */
	lookup->host = target->host[0] == '[' && target->host[length - 1] == ']'
	                       ? g_strndup(target->host + 1, length - 2)
	                       : g_strdup(target->host);
	lookup->port = g_strdup_printf("%u", target->port);
	pthread_mutex_init(&lookup->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&lookup->changed, &clock);
	pthread_condattr_destroy(&clock);
	if (pthread_create(&thread, NULL, lookup_run, lookup) != 0) {
		lookup_free(lookup);
		return NULL;
	}
	pthread_detach(thread);
	return lookup;
}

/* EAI_INPROGRESS when the time is over; the look-up is then left to itself. */
static int lookup_wait(struct lookup *lookup, uint32_t timeout_ms, struct addrinfo **found_out)
{
	struct timespec until;
	int code = EAI_INPROGRESS, rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	pthread_mutex_lock(&lookup->lock);
	while (!lookup->done && rc == 0)
		rc = pthread_cond_timedwait(&lookup->changed, &lookup->lock, &until);
	if (lookup->done) {
		code = lookup->code;
		*found_out = g_steal_pointer(&lookup->found);
	} else {
		lookup->abandoned = true;
	}
	pthread_mutex_unlock(&lookup->lock);
	if (code != EAI_INPROGRESS)
		lookup_free(lookup);
	return code;
}

int reach_resolve(struct reach *reach, const struct stream_target *target, uint32_t timeout_ms, struct error *err)
{
	struct lookup *lookup = lookup_start(target);
	int code = lookup ? lookup_wait(lookup, timeout_ms, &reach->found) : EAI_SYSTEM;

	reach->offline = is_offline();
	reach->name_unknown = code == EAI_NONAME || code == EAI_NODATA;
	for (const struct addrinfo *one = reach->found; one; one = one->ai_next)
		reach->addresses++;
	if (code == EAI_INPROGRESS)
		return error_set(err, ERR_TIMEOUT, "no answer about %s within %u s", target->host, timeout_ms / 1000);
	if (code != 0)
		return error_set(err, ERR_UNREACHABLE, "no address of %s: %s", target->host, gai_strerror(code));
	return 0;
}

/* ---- the connection ---- */

static int connect_one(const struct addrinfo *address, uint64_t until_ms)
{
	int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
	struct pollfd wait = {.fd = fd, .events = POLLOUT};
	int problem = 0;
	socklen_t size = sizeof(problem);

	if (fd < 0)
		return -1;
	if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		return fd;
	problem = errno;
	while (problem == EINPROGRESS || problem == EINTR) {
		uint64_t now = clock_ms();
		int ready = now < until_ms ? poll(&wait, 1, (int)(until_ms - now)) : 0;

		if (ready == 0)
			problem = ETIMEDOUT;
		else if (ready < 0)
			problem = errno;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size) == 0 && problem == 0)
			return fd;
	}
	close(fd);
	errno = problem;
	return -1;
}

int reach_connect(struct reach *reach, const struct stream_target *target, uint32_t timeout_ms, struct error *err)
{
	uint64_t until = clock_ms() + timeout_ms;
	unsigned left = MIN(reach->addresses, ADDRESSES_MAX);

	for (const struct addrinfo *one = reach->found; one && left && reach->fd < 0; one = one->ai_next, left--) {
		uint64_t now = clock_ms(), share = now < until ? (until - now) / left : 0;

		reach->fd = connect_one(one, now + share);
		if (reach->fd < 0)
			reach->connect_errno = errno;
		getnameinfo(
			one->ai_addr, one->ai_addrlen, reach->address, sizeof(reach->address), NULL, 0, NI_NUMERICHOST);
	}
	if (reach->fd >= 0) {
		reach->connect_errno = 0;
		return 0;
	}
	return error_set(err, reach->connect_errno == ETIMEDOUT ? ERR_TIMEOUT : ERR_UNREACHABLE,
		"no connection to %s:%u (%s): %s", target->host, target->port, reach->address,
		g_strerror(reach->connect_errno));
}
