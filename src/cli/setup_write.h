/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new group at the end of the configuration file. */
#pragma once

#include "src/cli/settings.h"

/*
 * Appends `group` ("[NAME]\nKEY = VALUE\n…") to places->config_file, made with its directory where it isn't there, and
 * checks that the whole loads as account `name` first. What the file had stays as it was, comments too; it is replaced
 * at once or not at all, with mode 0600; a symbolic link stays one. ERR_CONFIG, ERR_FAILED.
 */
int setup_write(const struct settings_places *places, const char *name, const char *group, struct error *err);
