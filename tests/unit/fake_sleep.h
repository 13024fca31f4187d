/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine that sleeps, as src/base/wake.c sees it: linked with --wrap, clocks and the kernel's notice are this one's.
 * One struct wake at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The machine has slept: CLOCK_BOOTTIME has gone on without CLOCK_MONOTONIC, and the kernel tells. */
void fake_sleep(uint64_t ms);
/* Somebody has set the clock: the kernel tells the same. */
void fake_clock_set(void);
/* How often the notice was asked for; each is good for one. */
unsigned fake_sleep_armed(void);
/* From now on there is no descriptor for it, or it can't be armed. */
void fake_sleep_refuse(bool descriptor, bool arming);
