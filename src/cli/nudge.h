/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling an account's live mounts that a person did something about its sign-in. */
#pragma once

#include "src/cli/command.h"

/* Each is to try again at once. Returns how many were told; what doesn't answer notices by itself, later. */
unsigned nudge_mounts(const struct call *call, const char *account);
