/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Some threads are waited for by others who could have another thread instead. Before such a thread waits for the disk,
 * or computes for long, the code that it is in says so; it need not know whose thread it is.
 */
#pragma once

/* Of the calling thread; called by it at each block_ahead(). NULL = nothing. */
void block_hook_set(void (*hook)(void *data), void *data);
/* What follows may take long. Nothing in a thread without a hook. */
void block_ahead(void);
