/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A timer on the wall clock that never fires, but is cancelled when that clock jumps (TFD_TIMER_CANCEL_ON_SET): the
 * kernel counts a resume as a jump. So nobody has to wake up now and then to see whether it has slept.
 */
#include "src/base/wake.h"

#include <glib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define LEAST_MS 1000u /* we may have been interrupted between the readings of two clocks */

struct wake {
	int fd;
	struct loop_watch *watch;
	loop_fn fn;
	void *data;
	uint64_t slept_ms;
};

static uint64_t milliseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_slept_ms(void)
{
	uint64_t running = milliseconds(CLOCK_MONOTONIC), all = milliseconds(CLOCK_BOOTTIME);

	return all > running ? all - running : 0;
}

static bool arm(struct wake *wake)
{
	/* a time_t that every kernel takes, hundreds of years away */
	struct itimerspec never = {.it_value = {.tv_sec = 1ll << 33}};

	return timerfd_settime(wake->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0;
}

static void jumped(void *data, unsigned events)
{
	struct wake *wake = data;
	uint64_t expirations, slept_ms = clock_slept_ms();
	bool has_slept = slept_ms > wake->slept_ms + LEAST_MS;

	/* ECANCELED; somebody who has set the clock makes it jump, too */
	if (read(wake->fd, &expirations, sizeof(expirations)) >= 0 || !arm(wake)) {
		loop_watch_remove(wake->watch);
		wake->watch = NULL;
	}
	wake->slept_ms = slept_ms;
	if (has_slept)
		wake->fn(wake->data);
}

struct wake *wake_new(struct loop *loop, loop_fn fn, void *data)
{
	struct wake *wake = g_new0(struct wake, 1);

	*wake = (struct wake){
		.fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC),
		.fn = fn,
		.data = data,
		.slept_ms = clock_slept_ms(),
	};
	if (wake->fd < 0 || !arm(wake)) {
		wake_free(wake);
		return NULL;
	}
	wake->watch = loop_watch_add(loop, wake->fd, LOOP_READ, jumped, wake);
	return wake;
}

void wake_free(struct wake *wake)
{
	if (!wake)
		return;
	loop_watch_remove(wake->watch);
	if (wake->fd >= 0)
		close(wake->fd);
	g_free(wake);
}
