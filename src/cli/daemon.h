/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Going into the background: the parent stays until the child is ready or has failed, and ends with the child's words.
 * Fork first: no thread may have been started.
 */
#pragma once

#include "src/base/error.h"

#include <stdbool.h>

struct daemon {
	bool is_child;
	int report_fd;
};

/*
 * In the child: returns 0 in a session of its own, in "/". In the parent: returns when the child has reported, with
 * its code. ERR_FAILED: no child, or it died without a word.
 */
int daemon_fork(struct daemon *daemon, struct error *err);
/*
 * The child, once. 0 = it is ready: standard input, output and error go to /dev/null, the log to syslog. Returns false
 * when nobody waits for it any more.
 */
bool daemon_report(struct daemon *daemon, int code, const struct error *err);
