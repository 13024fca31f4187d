/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/notice.h"
#include "src/auth/helper.h"
#include "src/auth/task.h"
#include "src/base/log.h"

#include <glib.h>

#include "src/base/banned.h"

struct notice {
	struct auth_task **slot; /* the loop's thread only */
	char *command, *reason;
	uint32_t timeout_ms;
};

static void notice_work(void *ctx, int cancel_fd)
{
	const struct notice *notice = ctx;
	struct error err = {0};
	struct auth_helper helper = {.command = notice->command,
		.argument = notice->reason,
		.timeout_ms = notice->timeout_ms,
		.cancel_fd = cancel_fd};

	if (auth_helper_run(&helper, NULL, &err) != 0)
		log_warning("notify_command: %s", err.text);
}

static void notice_done(void *ctx)
{
	*((struct notice *)ctx)->slot = NULL;
}

static void notice_destroy(void *ctx)
{
	struct notice *notice = ctx;

	g_free(notice->command);
	g_free(notice->reason);
	g_free(notice);
}

void auth_notice_start(
	struct loop *loop, const char *command, const char *reason, uint32_t timeout_ms, struct auth_task **slot)
{
	struct notice *notice = g_new(struct notice, 1);

	*notice = (struct notice){slot, g_strdup(command), g_strdup(reason), timeout_ms};
	*slot = auth_task_start(loop, notice_work, notice_done, notice_destroy, notice);
}
