/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work for an account: handed to a live mount of it when there is one, else done here. */
#pragma once

#include "src/cli/command.h"
#include "src/cli/work.h"

/*
 * Takes over `settings`. A mount that dies before it has begun to answer, or has too much to do, counts as none. What
 * was worked around here (a server that can't be reached, when the folder is cached) is warned of.
 */
int handoff_run(const struct call *call, struct settings *settings, const struct work_request *request,
	const struct sink *sink, struct error *err);
