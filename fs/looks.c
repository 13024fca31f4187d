/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/looks.h"

#include "src/base/banned.h"

void looks_init(struct looks *looks)
{
	*looks = (struct looks){0};
	pthread_mutex_init(&looks->lock, NULL);
}

void looks_fini(struct looks *looks)
{
	pthread_mutex_destroy(&looks->lock);
}

void looks_note(struct looks *looks, pid_t pid, uint64_t ino)
{
	unsigned at = (unsigned)pid % LOOKS_PLACES;

	pthread_mutex_lock(&looks->lock);
	looks->places[at].pid = pid;
	looks->places[at].ino = ino;
	pthread_mutex_unlock(&looks->lock);
}

bool looks_take(struct looks *looks, pid_t pid, uint64_t ino)
{
	unsigned at = (unsigned)pid % LOOKS_PLACES;
	bool found;

	pthread_mutex_lock(&looks->lock);
	found = looks->places[at].pid == pid && looks->places[at].ino == ino;
	if (found)
		looks->places[at].ino = 0;
	pthread_mutex_unlock(&looks->lock);
	return found;
}
