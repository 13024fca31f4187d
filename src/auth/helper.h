/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Outside commands: run by /bin/sh -c in a session of their own, without a terminal (standard input is
 * /dev/null), with a deadline; then the whole process group is killed. Blocking: for helper threads.
 */
#pragma once

#include "src/base/error.h"
#include "src/base/secret.h"

#include <stdint.h>

struct auth_helper {
	const char *command;
	const char *argument; /* appended as one more word; NULL = none */
	uint32_t timeout_ms;
	int cancel_fd; /* readable = give up; -1 = none */
};

/*
 * Runs it. `line_out` gets the first line of its output without the line end; NULL = the output is thrown away.
 * ERR_SIGN_IN: it failed (the text ends in its last words on standard error), or printed nothing or too much;
 * ERR_TIMEOUT; ERR_INTERRUPTED: cancelled; ERR_FAILED: it couldn't be started.
 */
int auth_helper_run(const struct auth_helper *helper, struct secret **line_out, struct error *err);
