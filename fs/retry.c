/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/retry.h"

#include "src/base/banned.h"

void retries_init(struct retries *retries)
{
	*retries = (struct retries){0};
	pthread_mutex_init(&retries->lock, NULL);
}

void retries_fini(struct retries *retries)
{
	pthread_mutex_destroy(&retries->lock);
}

void retries_remember(struct retries *retries, uint64_t ino, pid_t pid, int error_number, uint64_t now_ms)
{
	pthread_mutex_lock(&retries->lock);
	struct retry_slot *slot = &retries->slots[retries->next++ % RETRY_SLOTS];

	retries->used += !slot->error_number;
	*slot = (struct retry_slot){
		.ino = ino, .pid = pid, .error_number = error_number, .until_ms = now_ms + RETRY_MS};
	pthread_mutex_unlock(&retries->lock);
}

int retries_take(struct retries *retries, uint64_t ino, pid_t pid, uint64_t now_ms)
{
	int found = 0;

	pthread_mutex_lock(&retries->lock);
	for (unsigned i = 0; i < RETRY_SLOTS && retries->used && !found; i++) {
		struct retry_slot *slot = &retries->slots[i];

		if (!slot->error_number || slot->ino != ino || slot->pid != pid)
			continue;
		if (now_ms < slot->until_ms)
			found = slot->error_number;
		slot->error_number = 0;
		retries->used--;
	}
	pthread_mutex_unlock(&retries->lock);
	return found;
}
