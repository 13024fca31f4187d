/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Failed reads, for a moment: the kernel asks for a page once more when reading ahead has failed, within the same
 * read(2). That second request must fail like the first. It would wait for a silent server as long again; and where the
 * size that the kernel shows has just been found wrong, it would succeed with bytes that don't fit that size.
 *
 * Threads: any.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RETRY_SLOTS 64u /* remembered at once: more readers failing at the same moment wait twice */
#define RETRY_MS 1000u  /* the kernel's second request comes within microseconds */

struct retry_slot {
	uint64_t ino;
	uint64_t until_ms;
	pid_t pid;
	int error_number; /* 0 = free */
};

struct retries {
	pthread_mutex_t lock; /* guards the rest */
	struct retry_slot slots[RETRY_SLOTS];
	unsigned next;
	unsigned used;
};

void retries_init(struct retries *retries);
void retries_fini(struct retries *retries);
void retries_remember(struct retries *retries, uint64_t ino, pid_t pid, int error_number, uint64_t now_ms);
/* The errno with which this thread's read of this file has just failed; 0 = none. Asked once it is forgotten. */
int retries_take(struct retries *retries, uint64_t ino, pid_t pid, uint64_t now_ms);
