/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/mounts.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define FS_TYPE "fuse.mailtree"
#define LINE_BYTES (4 * PATH_MAX + 4096) /* each octet of a path may be written as \ooo */

static void entry_free(void *data)
{
	struct mounts_entry *entry = data;

	g_free(entry->mountpoint);
	g_free(entry->source);
	g_free(entry);
}

/* As the kernel tells of every FUSE mount; root's where it doesn't. */
static uid_t entry_uid(const struct mntent *entry)
{
	const char *option = hasmntopt(entry, "user_id");
	unsigned long uid = 0;

	if (option && option[strlen("user_id")] == '=')
		uid = strtoul(option + strlen("user_id="), NULL, 10);
	return (uid_t)uid;
}

/* The table's, by place: what was mounted later hides what was before. */
static GPtrArray *table_read(const char *path, bool (*wanted)(const struct mntent *entry))
{
	GPtrArray *mounts = g_ptr_array_new_with_free_func(entry_free);
	FILE *table = setmntent(path, "re");
	g_autofree char *line = g_malloc(LINE_BYTES);
	struct mntent entry;

	while (table && getmntent_r(table, &entry, line, LINE_BYTES)) {
		struct mounts_entry *found;

		for (guint i = mounts->len; i > 0; i--) {
			found = mounts->pdata[i - 1];
			if (strcmp(found->mountpoint, entry.mnt_dir) == 0)
				g_ptr_array_remove_index(mounts, i - 1);
		}
		if (!wanted(&entry))
			continue;
		found = g_new(struct mounts_entry, 1);
		*found = (struct mounts_entry){g_strdup(entry.mnt_dir), g_strdup(entry.mnt_fsname), entry_uid(&entry)};
		g_ptr_array_add(mounts, found);
	}
	if (table)
		endmntent(table);
	return mounts;
}

static bool is_ours(const struct mntent *entry)
{
	return strcmp(entry->mnt_type, FS_TYPE) == 0;
}

static bool is_any(const struct mntent *entry)
{
	return true;
}

GPtrArray *mounts_list(const char *table)
{
	return table_read(table, is_ours);
}

bool mounts_concern(const struct mounts_entry *entry, uid_t uid)
{
	return uid == 0 || entry->uid == uid;
}

const struct mounts_entry *mounts_find(const GPtrArray *mounts, const char *mountpoint)
{
	for (guint i = 0; i < mounts->len; i++) {
		const struct mounts_entry *entry = mounts->pdata[i];

		if (strcmp(entry->mountpoint, mountpoint) == 0)
			return entry;
	}
	return NULL;
}

/* Its directory resolved, its own name as it is; NULL when it has none, or its directory doesn't exist. */
static char *resolve_directory(const char *path)
{
	g_autofree char *absolute = g_canonicalize_filename(path, NULL);
	g_autofree char *directory = g_path_get_dirname(absolute);
	g_autofree char *name = g_path_get_basename(absolute);
	char real[PATH_MAX];

	if (strcmp(absolute, "/") == 0 || !realpath(directory, real))
		return NULL;
	return g_build_filename(real, name, NULL);
}

int mounts_resolve(const char *path, char **path_out, struct error *err)
{
	g_autofree char *unfollowed = resolve_directory(path);
	g_autoptr(GPtrArray) all = table_read(MOUNTS_TABLE, is_any);
	char real[PATH_MAX];

	if (unfollowed && mounts_find(all, unfollowed)) {
		*path_out = g_steal_pointer(&unfollowed);
		return 0;
	}
	if (!realpath(path, real)) {
		int cause = errno;

		error_set(err, ERR_FAILED, "%s: %s", path, g_strerror(cause));
		if (cause == ENOENT)
			error_hint(err, "mkdir -p %s", path);
		return ERR_FAILED;
	}
	*path_out = g_strdup(real);
	return 0;
}
