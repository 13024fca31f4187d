/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mountpoints, as the kernel lists them. Nothing here touches a mounted filesystem: its program may be dead or hang. */
#pragma once

#include "src/base/error.h"

#include <glib.h>

struct mounts_entry {
	char *mountpoint, *source; /* owned by the array */
};

/* Where mailtree is mounted; g_ptr_array_unref. Never NULL. */
GPtrArray *mounts_list(void);
/*
 * `path` as the kernel writes it: absolute, without symbolic links. A mountpoint itself isn't looked into: its
 * directory is resolved and its name appended.
 */
int mounts_resolve(const char *path, char **path_out, struct error *err);
const struct mounts_entry *mounts_find(const GPtrArray *mounts, const char *mountpoint);
