/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mountpoints, as the kernel lists them. Nothing here touches a mounted filesystem: its program may be dead or hang. */
#pragma once

#include "src/base/error.h"

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#define MOUNTS_TABLE "/proc/self/mounts"

struct mounts_entry {
	char *mountpoint, *source; /* owned by the array */
	uid_t uid;                 /* who mounted it */
};

/* Where mailtree is mounted, by any user; g_ptr_array_unref. Never NULL. `table` is MOUNTS_TABLE but in tests. */
GPtrArray *mounts_list(const char *table);
/* What other users have mounted is their affair; root's are all. */
bool mounts_concern(const struct mounts_entry *entry, uid_t uid);
/*
 * `path` as the kernel writes it: absolute, without symbolic links. A mountpoint itself isn't looked into: its
 * directory is resolved and its name appended.
 */
int mounts_resolve(const char *path, char **path_out, struct error *err);
const struct mounts_entry *mounts_find(const GPtrArray *mounts, const char *mountpoint);
