/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/fake_sleep.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

static struct {
	int fd; /* stands for the timer; 0 = none yet */
	unsigned armed;
	bool told, no_descriptor, no_arming;
	uint64_t slept_ms;
} kernel;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);
ssize_t __wrap_read(int fd, void *buffer, size_t size);
ssize_t __real_read(int fd, void *buffer, size_t size);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int code = __real_clock_gettime(clock, now);

	if (clock == CLOCK_BOOTTIME) {
		uint64_t ns = (uint64_t)now->tv_nsec + kernel.slept_ms % 1000 * 1000000;

		now->tv_sec += (time_t)(kernel.slept_ms / 1000 + ns / 1000000000);
		now->tv_nsec = (long)(ns % 1000000000);
	}
	return code;
}

int __wrap_timerfd_create(int clock, int flags)
{
	if (kernel.no_descriptor || clock != CLOCK_REALTIME) {
		errno = EINVAL;
		return -1;
	}
	kernel.told = false;
	kernel.fd = eventfd(0, (flags & TFD_NONBLOCK ? EFD_NONBLOCK : 0) | EFD_CLOEXEC);
	return kernel.fd;
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	if (kernel.no_arming || fd != kernel.fd || flags != (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) {
		errno = EINVAL;
		return -1;
	}
	kernel.armed++;
	return 0;
}

ssize_t __wrap_read(int fd, void *buffer, size_t size)
{
	ssize_t length = __real_read(fd, buffer, size);

	if (fd != kernel.fd || !kernel.told)
		return length;
	kernel.told = false;
	errno = ECANCELED;
	return -1;
}

void fake_clock_set(void)
{
	kernel.told = true;
	(void)eventfd_write(kernel.fd, 1);
}

void fake_sleep(uint64_t ms)
{
	kernel.slept_ms += ms;
	fake_clock_set();
}

unsigned fake_sleep_armed(void)
{
	return kernel.armed;
}

void fake_sleep_refuse(bool descriptor, bool arming)
{
	kernel.no_descriptor = descriptor;
	kernel.no_arming = arming;
}
