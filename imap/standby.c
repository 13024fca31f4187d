/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection that is kept free of bulk work has the mailbox open that the bulk work reads: whoever wants a single
 * message of it waits for one round trip, not for two.
 */
#include "imap/pool.h"

#include <string.h>

#include "src/base/banned.h"

static void on_done(void *ctx, int code, const struct error *err)
{
	((struct imap_client *)ctx)->standby.is_under_way = false;
}

static const struct imap_request_ops standby_ops = {.done = on_done};

static bool has_open(const struct member *member, const char *mailbox)
{
	return member->mailbox_name && strcmp(member->mailbox_name, mailbox) == 0;
}

void standby_schedule(struct imap_client *client)
{
	struct standby *standby = &client->standby;
	const struct member *busy = NULL, *free = NULL;

	for (guint i = 0; i < client->members->len; i++) {
		const struct member *member = client->members->pdata[i];

		if (member->state != MEMBER_READY || member->drop)
			continue;
		if (member->bulk && member->mailbox_name && !member->examining)
			busy = member;
		else if (!member->flight.length && !member->idle)
			free = member;
	}
	if (!busy) {
		/* once for each stretch of bulk work: who reads elsewhere has the connection to himself then */
		if (!standby->is_under_way)
			g_clear_pointer(&standby->mailbox, g_free);
		return;
	}
	if (!free || standby->is_under_way || has_open(free, busy->mailbox_name) ||
		g_strcmp0(standby->mailbox, busy->mailbox_name) == 0)
		return;
	g_free(standby->mailbox);
	standby->mailbox = g_strdup(busy->mailbox_name);
	standby->is_under_way = true;
	standby->request = (struct imap_request){
		.mailbox = standby->mailbox,
		.keep_session = free->number,
		.ops = &standby_ops,
		.ctx = client,
	};
	imap_client_submit(client, &standby->request);
}

void standby_fini(struct imap_client *client)
{
	imap_client_cancel(client, &client->standby.request);
	g_clear_pointer(&client->standby.mailbox, g_free);
}
