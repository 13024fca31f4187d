/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time for a program of one thread whose peers are in the program: clocks stand while it runs, and where it would wait
 * they go on at once by as much. Deadlines end in their order whatever the machine is doing, and nobody waits for them.
 * Linked in, this stands before the C library's; GLib asks it too.
 */
#include <glib.h>
#include <poll.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

enum { NS_IN_S = 1000000000 };

static const clockid_t standing[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
static struct timespec began[G_N_ELEMENTS(standing)];
static int64_t skipped_ns;

/* All of them at one moment: what is between two clocks is a machine's sleep. */
static void begin(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(standing); i++)
		(void)syscall(SYS_clock_gettime, standing[i], &began[i]);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	size_t i = 0;

	if (!began[0].tv_sec)
		begin();
	while (i < G_N_ELEMENTS(standing) && standing[i] != clock)
		i++;
	if (i == G_N_ELEMENTS(standing))
		return (int)syscall(SYS_clock_gettime, clock, now);
	*now = began[i];
	now->tv_sec += skipped_ns / NS_IN_S;
	now->tv_nsec += skipped_ns % NS_IN_S;
	if (now->tv_nsec >= NS_IN_S) {
		now->tv_sec++;
		now->tv_nsec -= NS_IN_S;
	}
	return 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct timespec at_once = {0};
	long ready = syscall(SYS_ppoll, fds, count, timeout_ms < 0 ? NULL : &at_once, NULL, 0);

	if (ready == 0)
		skipped_ns += (int64_t)timeout_ms * 1000000;
	return (int)ready;
}

int nanosleep(const struct timespec *time, struct timespec *rest)
{
	skipped_ns += (int64_t)time->tv_sec * NS_IN_S + time->tv_nsec;
	return 0;
}
