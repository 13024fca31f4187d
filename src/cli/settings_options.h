/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The string behind `-o`, as mount(8), fstab and people write it. */
#pragma once

#include "src/base/error.h"

#include <glib.h>
#include <stdbool.h>

struct settings_options {
	GHashTable *values; /* key of the table to value; a flag's is "true" */
	char *config;       /* NULL = not given */
	bool read_only;
};

/*
 * `directory` is what a relative `config=` starts from. Splits at commas (`\,` is one in a value, `\\` a backslash),
 * drops the words that mean nothing here, and lets the last of several win. ERR_CONFIG: no such option, a value
 * missing, or a secret, which every user could read in the process list.
 */
int settings_options_parse(
	const char *text, const char *directory, struct settings_options *options_out, struct error *err);
void settings_options_fini(struct settings_options *options);
