/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watch. It chooses a member that has nothing to do, examines the mailbox there (what an old session knows isn't
 * to be relied on, and what came between the last check and now isn't to be missed), and idles. A member that idles
 * is no place for jobs: the scheduler calls it back, and has it when the server has confirmed the end of IDLE; at once
 * for a single message of the mailbox that is open there.
 */
#include "imap/pool.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <string.h>

#include "src/base/banned.h"

#define ANSWER_MS 10000u /* to IDLE and DONE: whoever idled for long may be gone, and somebody may wait */

static void retry_later(struct imap_client *client)
{
	struct watch *watch = &client->watch;
	const struct client_tuning *tuning = &client->tuning;
	uint64_t delay_ms = MIN((uint64_t)tuning->retry_ms << MIN(watch->failures, 16), tuning->watch_retry_max_ms);

	watch->failures++;
	/* many clients lose a server at once, and nobody waits for this one */
	watch->not_before_ms = clock_ms() + delay_ms * (uint64_t)g_random_int_range(75, 151) / 100;
	client_kick(client);
}

/* ---- IDLE ---- */

static void phase(struct member *member, enum member_idle idle)
{
	member->idle = idle;
	member->idle_ms = clock_ms();
}

static void done_send(struct member *member)
{
	phase(member, IDLE_LEAVING);
	conn_line_send(member->conn, "DONE", 4);
	conn_flush(member->conn);
	client_tick_arm(member->client);
	client_kick(member->client);
}

static void idle_begun(struct conn_command *command, const struct imap_response *response)
{
	struct member *member = command->ctx;

	if (member->idle != IDLE_ASKED)
		return;
	phase(member, IDLE_ON);
	if (member->idle_stop)
		done_send(member);
	else
		client_kick(member->client);
}

static void idle_ended(struct conn_command *command, const struct imap_response *tagged)
{
	struct member *member = command->ctx;
	struct imap_client *client = member->client;
	bool asked_for = member->idle == IDLE_LEAVING, begun = member->idle != IDLE_ASKED;

	phase(member, IDLE_NONE);
	member->idle_stop = false;
	member->idle_since_ms = clock_ms();
	if (client->watch.member == member)
		client->watch.member = NULL;
	if (tagged->status != IMAP_OK && !begun) {
		log_info("imap: %s refuses IDLE: %s", client->config.host, tagged->text);
		client->watch.not_before_ms = clock_ms() + client->tuning.limit_ms;
	} else if (!asked_for) {
		retry_later(client);
	}
	client_kick(client);
}

static const struct conn_command_ops idle_ops = {.done = idle_ended, .continuation = idle_begun};

void watch_leave(struct member *member)
{
	if (member->idle == IDLE_ON)
		done_send(member);
	else if (member->idle == IDLE_ASKED)
		member->idle_stop = true;
}

struct member *watch_idler(const struct imap_client *client)
{
	struct member *member = client->watch.member;

	return member && member->idle ? member : NULL;
}

void watch_tick(struct member *member)
{
	uint64_t silence_ms = client_since(clock_ms(), member->idle_ms);
	struct error err = {0};

	if (member->idle == IDLE_ON || silence_ms < MIN(member->client->config.timeout_ms / 3, ANSWER_MS))
		return;
	error_set(&err, ERR_UNREACHABLE, "no answer while it should idle");
	log_info("imap: %s: %s: closing the connection", member->client->config.host, err.text);
	member_doubt_others(member, silence_ms, &err);
	member_end(member, BLAME_NOBODY, &err);
}

/* ---- EXAMINE ---- */

static void on_examined(void *ctx, const struct imap_mailbox *mailbox)
{
	struct imap_client *client = ctx;

	client->watch.told(client->watch.ctx, mailbox, false);
}

static void on_done(void *ctx, int code, const struct error *err)
{
	struct imap_client *client = ctx;
	struct watch *watch = &client->watch;
	struct member *member = watch->member;
	bool others_wait = client->waiting[IMAP_INTERACTIVE].length || client->waiting[IMAP_BULK].length;

	if (!code && member && member->number == watch->request.session && !member->flight.length && !others_wait &&
		conn_command_send(member->conn, &member->idle_command, &idle_ops, member, "IDLE", 4) == 0) {
		phase(member, IDLE_ASKED);
		conn_flush(member->conn);
		client_tick_arm(client);
		return;
	}
	watch->member = NULL;
	if (code) {
		log_info("imap: %s can't be watched: %s", watch->mailbox, err->text);
		watch->off = code == ERR_GONE;
		retry_later(client);
	}
	client_kick(client);
}

static const struct imap_request_ops watch_ops = {.examined = on_examined, .done = on_done};

static void begin(struct member *member)
{
	struct imap_client *client = member->client;
	struct watch *watch = &client->watch;

	watch->member = member;
	watch->request = (struct imap_request){
		.mailbox = watch->mailbox,
		.examine = true,
		.keep_session = member->number,
		.ops = &watch_ops,
		.ctx = client,
	};
	imap_client_submit(client, &watch->request);
}

/* ---- which one, and when ---- */

static struct member *choose(struct imap_client *client, unsigned *free_out)
{
	struct member *best = NULL;

	*free_out = 0;
	for (guint i = 0; i < client->members->len; i++) {
		struct member *member = client->members->pdata[i];

		if (member->state != MEMBER_READY || member->flight.length || member->idle || member->drop ||
			!(member->capabilities & IMAP_CAP_IDLE))
			continue;
		(*free_out)++;
		/* not the one whose mailbox somebody is reading, if there is another: the latest rather than the first
		 */
		if (!best || best->mailbox_name || !member->mailbox_name)
			best = member;
	}
	return best;
}

static bool lacks_idle(const struct imap_client *client)
{
	return client->capabilities && !(client->capabilities & IMAP_CAP_IDLE);
}

bool watch_schedule(struct imap_client *client, bool may_have_more)
{
	struct watch *watch = &client->watch;
	uint64_t now_ms = clock_ms();
	struct member *member;
	unsigned free;

	if (!watch->mailbox || watch->off || lacks_idle(client))
		return false;
	if (watch->member) {
		uint64_t until_ms = watch->member->idle_ms + client->tuning.watch_rearm_ms;

		if (watch->member->idle != IDLE_ON)
			return false;
		if (now_ms >= until_ms)
			watch_leave(watch->member);
		else
			client_wake_at(client, until_ms);
		return false;
	}
	if (now_ms < watch->not_before_ms) {
		client_wake_at(client, watch->not_before_ms);
		return false;
	}
	member = choose(client, &free);
	if (member && free == 1 && !may_have_more && now_ms < member->idle_since_ms + client->tuning.watch_quiet_ms) {
		client_wake_at(client, member->idle_since_ms + client->tuning.watch_quiet_ms);
		return false;
	}
	if (member && (free > 1 || member->for_watch || !may_have_more)) {
		begin(member);
		return false;
	}
	for (guint i = 0; i < client->members->len; i++)
		if (((const struct member *)client->members->pdata[i])->state == MEMBER_CONNECTING)
			return false;
	return may_have_more;
}

/* ---- what happens to its member ---- */

bool watch_is_alone(const struct member *member)
{
	const struct job *job = member->flight.head ? member->flight.head->data : NULL;

	return job && job->request == &member->client->watch.request && member->flight.length == 1;
}

void watch_heard(struct member *member, const struct imap_response *response)
{
	const struct watch *watch = &member->client->watch;
	bool flags_only = false;

	if (!watch->mailbox || member->examining || !member->mailbox_name ||
		strcmp(member->mailbox_name, watch->mailbox) != 0)
		return;
	switch (response->type) {
	case IMAP_EXISTS:
		if (response->number == member->mailbox.exists)
			return;
		break;
	case IMAP_EXPUNGE:
		break;
	case IMAP_VANISHED:
		if (response->vanished.earlier)
			return;
		break;
	case IMAP_FETCH:
		/* elsewhere it may be what somebody asked for */
		if (!member->idle)
			return;
		flags_only = true;
		break;
	default:
		return;
	}
	watch->told(watch->ctx, NULL, flags_only);
}

void watch_member_ended(struct member *member)
{
	struct imap_client *client = member->client;
	struct watch *watch = &client->watch;
	bool was_good = member->idle == IDLE_ON && clock_ms() - member->idle_ms >= client->tuning.watch_good_ms;

	if (watch->member != member)
		return;
	watch->member = NULL;
	imap_client_cancel(client, &watch->request);
	member->idle = IDLE_NONE;
	if (was_good)
		watch->failures = 0;
	retry_later(client);
}

void watch_unconnected(const struct member *member, enum session_end end, uint32_t backoff_ms, const struct error *err)
{
	struct imap_client *client = member->client;
	struct watch *watch = &client->watch;
	struct error before = client->last_error;

	/* who waits by now has begun later: the server may be back, a connection of its own will tell */
	if (end != SESSION_FAILED)
		client_sign_in_failed(client, member, end, backoff_ms, err);
	if (!client->waiting[IMAP_INTERACTIVE].length && !client->waiting[IMAP_BULK].length)
		client->last_error = before;
	/* nothing that time changes: it goes on when somebody has signed in for a reason */
	if (end == SESSION_NO_CREDENTIAL || end == SESSION_REJECTED || end == SESSION_IMPOSSIBLE ||
		end == SESSION_NOT_CONNECTED || end == SESSION_OVERQUOTA)
		watch->off = true;
	retry_later(client);
}

void watch_signed_in(struct imap_client *client, const struct member *member)
{
	if (member->for_watch)
		return;
	client->watch.off = false;
	client->watch.failures = 0;
	client->watch.not_before_ms = 0;
}

/* ---- the public call ---- */

static void forget(struct imap_client *client)
{
	struct watch *watch = &client->watch;
	struct member *member = watch->member;

	imap_client_cancel(client, &watch->request);
	watch->member = NULL;
	if (member && member->idle) {
		/* its member until the server has let it go: nobody else may take it for a free one */
		watch->member = member;
		watch_leave(member);
	}
	g_clear_pointer(&watch->mailbox, g_free);
}

void imap_client_watch(struct imap_client *client, const char *mailbox, imap_watch_fn told, void *ctx)
{
	struct watch *watch = &client->watch;

	if (mailbox && watch->mailbox && strcmp(mailbox, watch->mailbox) == 0 && told == watch->told &&
		ctx == watch->ctx)
		return;
	forget(client);
	watch->mailbox = g_strdup(mailbox);
	watch->told = told;
	watch->ctx = ctx;
	watch->failures = 0;
	watch->not_before_ms = 0;
	watch->off = false;
	client_kick(client);
}

void watch_fini(struct imap_client *client)
{
	imap_client_cancel(client, &client->watch.request);
	g_clear_pointer(&client->watch.mailbox, g_free);
}
