/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which program looked which text up last: how an open file is known where the kernel doesn't ask us at open.
 *
 * Neither the name nor the attributes of a text whose length isn't known are kept by the kernel. So stat(2) of a path
 * is a lookup and one question for attributes; open(2) is the same, as the kernel checks the permissions; and what
 * fstat(2) asks then follows no lookup. Whoever asks that has the file open, and must be told how long it is.
 *
 * Threads: any.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Programs that share a place and look at the same moment make one text that nobody opened. */
#define LOOKS_PLACES 1024u

struct looks {
	pthread_mutex_t lock; /* guards the rest */
	struct {
		uint64_t ino; /* 0 = free */
		pid_t pid;
	} places[LOOKS_PLACES];
};

void looks_init(struct looks *looks);
void looks_fini(struct looks *looks);
void looks_note(struct looks *looks, pid_t pid, uint64_t ino);
/* Whether this thread looked it up since it last asked. */
bool looks_take(struct looks *looks, pid_t pid, uint64_t ino);
