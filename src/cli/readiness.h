/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells a service manager how far a foreground mount is: the datagrams of sd_notify(3), whose manual asks for no
 * library. Without a manager nothing happens; a manager that isn't there any more is no failure.
 */
#pragma once

#include <glib.h>

/* Takes $NOTIFY_SOCKET out of the environment, so that no helper speaks for us: before any thread. NULL = no manager.
 */
char *readiness_take(void);
/* `state`: "READY=1", "STOPPING=1" … in lines. */
void readiness_tell(const char *socket_name, const char *state);
