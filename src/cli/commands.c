/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/commands.h"

#include <string.h>

#include "src/base/banned.h"

const struct command *const commands[] = {
	&command_setup,
	&command_mount,
	&command_umount,
	&command_ls,
	&command_cat,
	&command_search,
	&command_status,
	&command_login,
	&command_logout,
	&command_token,
	&command_doctor,
	&command_warm,
	&command_cache,
	NULL,
};

const struct command *commands_find(const char *name)
{
	for (const struct command *const *command = commands; *command; command++)
		if (strcmp((*command)->name, name) == 0)
			return *command;
	return strcmp(name, command_completion.name) == 0 ? &command_completion : NULL;
}
