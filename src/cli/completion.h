/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What may stand at the end of an unfinished command line, for the shells. */
#pragma once

#include "src/cli/command.h"

/*
 * `words`: what stands behind `mailtree`, of which the last is being written (and may be empty). A candidate a line,
 * "WORD\tWHAT IT IS"; a word may end in `=`, then its value follows. The single line "\tfiles" or "\tdirectories" means
 * paths. `mounts` is the kernel's table. g_free it.
 */
char *completion_candidates(char **words, const char *mounts);
