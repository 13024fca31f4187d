/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling a person, by notify_command, that sign-in needs one. */
#pragma once

#include <stdint.h>

struct loop;
struct auth_task;

/*
 * Runs `command` with `reason` as its one argument; how it ends is only logged. `*slot` is the running notice (NULL =
 * none) and is cleared at its end: auth_task_abandon() it before `slot` goes away.
 */
void auth_notice_start(
	struct loop *loop, const char *command, const char *reason, uint32_t timeout_ms, struct auth_task **slot);
