/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/block.h"

#include <stddef.h>

#include "src/base/banned.h"

static _Thread_local struct {
	void (*fn)(void *data);
	void *data;
} hook;

void block_hook_set(void (*fn)(void *data), void *data)
{
	hook.fn = fn;
	hook.data = data;
}

void block_ahead(void)
{
	if (hook.fn)
		hook.fn(hook.data);
}
