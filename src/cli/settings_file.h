/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration file: a GLib key file, with the line of each key for error messages. */
#pragma once

#include "src/base/error.h"

#include <glib.h>
#include <stdbool.h>

#define SETTINGS_FILE_BYTES_MAX (1024u * 1024u)

struct settings_file {
	char *path, *directory;
	GKeyFile *keys;
	GHashTable *lines; /* "GROUP\nKEY" to its line */
	bool others_read;  /* its mode lets others than the owner read it */
};

/*
 * ERR_CONFIG: it isn't there, isn't a regular file, is too large, isn't UTF-8, or a line (named, never quoted: it may
 * hold a secret) is neither a group, a key nor a comment, or a key stands twice in a group.
 */
int settings_file_read(const char *path, struct settings_file *file_out, struct error *err);
void settings_file_fini(struct settings_file *file);
/* 0 = not in the file. */
unsigned settings_file_line(const struct settings_file *file, const char *group, const char *key);
