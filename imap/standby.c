/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection that is kept free of bulk work has the mailbox open that the bulk work reads: whoever wants a single
 * message of it waits for one round trip, not for two.
 */
#include "imap/pool.h"

#include "src/base/banned.h"

static void on_done(void *ctx, int code, const struct error *err)
{
	((struct imap_client *)ctx)->standby.is_under_way = false;
}

static const struct imap_request_ops standby_ops = {.done = on_done};

static bool is_free(const struct member *member)
{
	return member->state == MEMBER_READY && !member->drop && !member->flight.length && !member->idle &&
	       !member->for_watch;
}

/* The mailbox that is read in bulk, or NULL: none, or one that is free has it open. */
static const char *wanted(const struct imap_client *client)
{
	const char *mailbox = NULL;

	for (guint i = 0; i < client->members->len; i++) {
		const struct member *member = client->members->pdata[i];

		if (member->bulk && member->mailbox_name && !member->examining)
			mailbox = member->mailbox_name;
	}
	for (guint i = 0; i < client->members->len && mailbox; i++) {
		const struct member *member = client->members->pdata[i];

		if (is_free(member) && g_strcmp0(member->mailbox_name, mailbox) == 0)
			return NULL;
	}
	return mailbox;
}

/* Once for each session, and only before it has opened any mailbox: who reads elsewhere keeps what he has open. */
void standby_schedule(struct imap_client *client)
{
	struct standby *standby = &client->standby;
	const char *mailbox = standby->is_under_way ? NULL : wanted(client);
	const struct member *unused = NULL;

	for (guint i = 0; i < client->members->len && mailbox; i++) {
		const struct member *member = client->members->pdata[i];

		if (is_free(member) && !member->mailbox_name && member->number > standby->session)
			unused = member;
	}
	if (!unused)
		return;
	g_free(standby->mailbox);
	standby->mailbox = g_strdup(mailbox);
	standby->session = unused->number;
	standby->is_under_way = true;
	standby->request = (struct imap_request){
		.mailbox = standby->mailbox,
		.keep_session = unused->number,
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
