/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All commands. */
#pragma once

#include "src/cli/command.h"

/* As `mailtree --help` lists them; ended by NULL. */
extern const struct command *const commands[];
/* Also those that only programs run. NULL = no such command. */
const struct command *commands_find(const char *name);
