/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/nudge.h"
#include "src/cli/output.h"
#include "src/cli/sockets.h"

#include <string.h>

#include "src/base/banned.h"

struct nudge {
	const char *account;
	GArray *pids; /* of its mounts */
	unsigned told;
};

static int on_status(void *ctx, const char *bytes, size_t length, struct error *err)
{
	cJSON *status = cJSON_ParseWithLength(bytes, length);
	const char *account = output_member_text(status, "account");
	bool same = account && strcmp(account, ctx) == 0;

	cJSON_Delete(status);
	return same ? 0 : error_set(err, ERR_FAILED, "another account");
}

static int on_nothing(void *ctx, const char *bytes, size_t length, struct error *err)
{
	(void)ctx, (void)bytes, (void)length, (void)err;
	return 0;
}

static int ask(struct wire *wire, enum work_command command, const struct sink *sink)
{
	const struct work_request request = {.command = command};
	struct error err = {0};
	bool answered;
	int code = wire_send_request(wire, &request, &err);

	return code ? code : wire_receive(wire, sink, &answered, &err);
}

static int collect(void *ctx, struct wire *wire, pid_t pid)
{
	struct nudge *nudge = ctx;

	if (ask(wire, WORK_STATUS, &(struct sink){on_status, (void *)nudge->account}) == 0)
		g_array_append_val(nudge->pids, pid);
	return 0;
}

static int tell(void *ctx, struct wire *wire, pid_t pid)
{
	struct nudge *nudge = ctx;

	for (guint i = 0; i < nudge->pids->len; i++)
		if (g_array_index(nudge->pids, pid_t, i) == pid)
			nudge->told += ask(wire, WORK_RETRY, &(struct sink){on_nothing, NULL}) == 0;
	return 0;
}

unsigned nudge_mounts(const struct call *call, const char *account)
{
	struct nudge nudge = {.account = account};
	struct sockets sockets;

	if (sockets_open(call->places.runtime_dir, false, &sockets, NULL) != 0)
		return 0;
	nudge.pids = g_array_new(FALSE, FALSE, sizeof(pid_t));
	sockets_each(&sockets, NULL, collect, &nudge);
	sockets_each(&sockets, NULL, tell, &nudge);
	g_array_unref(nudge.pids);
	sockets_close(&sockets);
	return nudge.told;
}
