/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One connection of the pool, from its sign-in to its loss. */
#include "imap/allow.h"
#include "imap/pool.h"
#include "imap/route.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <string.h>

#include "src/base/banned.h"

/* The network forgets idle connections without telling: after sleep, behind NAT. */
#define STALE_ANSWER_MS 10000u
#define IDLE_DOUBT_MS 5000u /* after so much idleness a connection may be dead without our knowing */

static struct job *oldest(const struct member *member)
{
	return member->flight.head ? member->flight.head->data : NULL;
}

struct conn *member_conn(const struct member *member)
{
	return member->conn ? member->conn : session_conn(member->session);
}

/* The slowness is measured anew: from the first of a pipeline, and from each answer. */
static void window_begin(struct member *member)
{
	member->progress_ms = member->window_ms = client_now(member->client);
	member->window_bytes = conn_bytes_in(member_conn(member));
}

/* ---- EXAMINE ---- */

bool member_must_examine(const struct member *member, const struct job *job)
{
	const struct imap_request *request = job->request;

	if (!request->mailbox)
		return false;
	if (!member->mailbox_name || strcmp(member->mailbox_name, request->mailbox) != 0)
		return true;
	if (request->uidvalidity && request->uidvalidity != member->mailbox.uidvalidity)
		return true;
	return request->examine && !job->examined;
}

static void command_send(struct member *member, struct job *job);

/* Returns true when the mailbox is the one that the request means; else ends the job. */
static bool mailbox_check(const struct member *member, struct job *job)
{
	uint32_t expected = job->request->uidvalidity, found = member->mailbox.uidvalidity;
	struct error err = {0};

	if (!expected || expected == found)
		return true;
	if (!found)
		error_set(&err, ERR_PROTOCOL, "the server tells no UIDVALIDITY of %s", job->request->mailbox);
	else
		error_set(&err, ERR_RENUMBERED, "%s has been renumbered: UIDVALIDITY %u, not %u", job->request->mailbox,
			found, expected);
	job_end(job, err.code, &err);
	return false;
}

/* Servers say in words that a mailbox isn't there; few have the code of RFC 5530 for it. */
static bool is_gone(const struct imap_response *tagged)
{
	static const char *const words[] = {"doesn't exist", "does not exist", "nonexistent", "non-existent",
		"no such mailbox", "no such folder", "unknown mailbox", "not found"};
	g_autofree char *text = NULL;

	if (tagged->status != IMAP_NO)
		return false;
	if (tagged->code)
		return strcmp(tagged->code, "NONEXISTENT") == 0 || strcmp(tagged->code, "TRYCREATE") == 0;
	text = g_ascii_strdown(tagged->text, -1);
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (strstr(text, words[i]))
			return true;
	return false;
}

static void refused(struct job *job, const struct imap_response *tagged, bool examine);

static void settle(struct member *member)
{
	if (member->state == MEMBER_READY && !member->flight.length)
		member->idle_since_ms = clock_ms();
	client_kick(member->client);
}

static void examine_done(struct conn_command *command, const struct imap_response *tagged)
{
	struct member *member = command->ctx;
	struct job *job = g_steal_pointer(&member->examining);

	window_begin(member);
	if (tagged->status != IMAP_OK)
		g_clear_pointer(&member->mailbox_name, g_free);
	if (!job->request) {
		job_end(job, 0, NULL);
	} else if (tagged->status != IMAP_OK) {
		refused(job, tagged, true);
	} else {
		client_success(member->client);
		if (g_hash_table_size(member->names) < CLIENT_OPENED_MAX)
			g_hash_table_add(member->names, g_strdup(job->request->mailbox));
		if (!job->request->command)
			member->client->losses = 0;
		job->examined = true;
		if (mailbox_check(member, job))
			command_send(member, job);
	}
	settle(member);
}

static const struct conn_command_ops examine_ops = {.done = examine_done};

static void examine_send(struct member *member, struct job *job)
{
	g_autoptr(GString) text = g_string_new("EXAMINE ");
	const struct imap_request *request = job->request;
	size_t length = strlen(request->mailbox);
	uint32_t can = member->capabilities;
	struct error err = {0};
	int code = 0;

	if (!imap_quote(text, request->mailbox, length)) {
		g_string_append_printf(text, "{%zu}\r\n", length);
		g_string_append_len(text, request->mailbox, (gssize)length);
	}
	if (request->examine && request->qresync_modseq && request->uidvalidity && (can & IMAP_CAP_QRESYNC))
		g_string_append_printf(
			text, " (QRESYNC (%u %" G_GUINT64_FORMAT "))", request->uidvalidity, request->qresync_modseq);
	else if ((can & IMAP_CAP_CONDSTORE) && !member->enabled)
		g_string_append(text, " (CONDSTORE)");
	if (text->len + CLIENT_TAG_BYTES > CLIENT_COMMAND_BYTES_MAX)
		code = error_set(&err, ERR_FAILED, "the mailbox's name is too long to ask for");
	else if (conn_command_send(member->conn, &member->examine, &examine_ops, member, text->str, text->len))
		code = error_set(&err, ERR_FAILED, "a mailbox of that name can't be asked for");
	if (code) {
		job_end(job, code, &err);
		return;
	}
	g_free(member->mailbox_name);
	member->mailbox_name = g_strdup(request->mailbox);
	member->mailbox = (struct imap_mailbox){.capabilities = can};
	member->examining = job;
	member->examine_told = false;
	job->sent = true;
	conn_flush(member->conn);
}

/* ---- commands ---- */

static void depth_fall(struct imap_client *client, struct job *job)
{
	log_info("%s answers BAD to a pipelined command: one at a time from here on", client->config.host);
	if (client->depth > 1)
		client->depth_before = client->depth;
	client->depth = 1;
	job->alone = true;
	job_again(job);
}

/* A NO or BAD, and what follows from it. */
static void refused(struct job *job, const struct imap_response *tagged, bool examine)
{
	struct imap_client *client = job->client;
	struct member *member = job->member;
	struct verdict verdict = verdict_of(tagged);
	bool limit = tagged->code && strcmp(tagged->code, "LIMIT") == 0;
	struct error err = {0};

	error_set(&err, examine && is_gone(tagged) ? ERR_GONE : ERR_REFUSED, "the server answered %s: %s",
		tagged->status == IMAP_NO ? "NO" : "BAD", *tagged->text ? tagged->text : "no reason given");
	switch (verdict.kind) {
	case VERDICT_TOO_MANY:
		if (!limit)
			break;
		/* fall through */
	case VERDICT_THROTTLED:
		job_again(job);
		client_pause(client, verdict.backoff_ms);
		return;
	case VERDICT_OVERQUOTA:
		job_again(job);
		client_quota(client, &err);
		return;
	case VERDICT_EXPIRED:
		auth_expired(client->auth, member->generation);
		err.code = ERR_SIGN_IN;
		member_end(member, member->served ? BLAME_NOBODY : BLAME_TRY, &err);
		return;
	case VERDICT_NOT_CONNECTED:
		err.code = ERR_SIGN_IN;
		member_end(member, BLAME_TRY, &err);
		return;
	default:
		break;
	}
	if (examine && err.code == ERR_REFUSED && !job->elsewhere &&
		g_hash_table_contains(member->names, job->request->mailbox)) {
		/* what had this name may have gone, and this session never takes what has come in its place */
		job->elsewhere = true;
		member_end(member, BLAME_NOBODY, &err);
		return;
	}
	if (tagged->status == IMAP_BAD && job->behind_done) {
		client->watch.waits_for_end = true;
		job_again(job);
		return;
	}
	if (tagged->status == IMAP_BAD && job->early) {
		client->early_off = true;
		job_again(job);
		return;
	}
	if (tagged->status == IMAP_BAD && job->pipelined && !job->alone) {
		depth_fall(client, job);
		return;
	}
	if (tagged->status == IMAP_BAD && job->alone && client->depth_before) {
		/* alone it's no better: pipelining wasn't the cause */
		client->depth = client->depth_before;
		client->depth_before = 0;
	}
	job_end(job, err.code, &err);
}

static void command_done(struct conn_command *command, const struct imap_response *tagged)
{
	struct job *job = command->ctx;
	struct member *member = job->member;
	struct imap_client *client = job->client;

	/* of what came for it something may have been left out: the connection's end has it asked again */
	if (member->drop)
		return;
	window_begin(member);
	client->losses = 0;
	if (job->behind_done)
		client->watch.ends_behind_done = 0;
	member->served |= tagged->status == IMAP_OK;
	if (!job->request && tagged->status == IMAP_OK) {
		job_end(job, 0, NULL);
	} else if (tagged->status == IMAP_OK) {
		client_success(client);
		if (job->alone)
			client->depth_before = 0;
		job_end(job, 0, NULL);
	} else {
		refused(job, tagged, false);
	}
	settle(member);
}

static const struct conn_command_ops command_ops = {.done = command_done};

static void command_send(struct member *member, struct job *job)
{
	const struct imap_request *request = job->request;
	struct error err = {0};
	size_t length;

	if (request->mailbox && request->ops->examined) {
		struct imap_mailbox mailbox = member->mailbox;

		/* the callback may cancel its own request */
		job->telling = true;
		request->ops->examined(request->ctx, &mailbox);
		job->telling = false;
		request = job->request;
	}
	if (!request || !request->command) {
		job_end(job, 0, NULL);
		return;
	}
	if (request->ops->choose)
		request->ops->choose(request->ctx, member->capabilities);
	length = strlen(request->command);
	if (length + CLIENT_TAG_BYTES > CLIENT_COMMAND_BYTES_MAX)
		error_set(&err, ERR_FAILED, "a command of %zu bytes: longer than servers take", length);
	else if (!allow_command(request->command, length, ALLOW_REQUEST))
		error_set(&err, ERR_FAILED, "a command that isn't on the list of those that only read");
	else if (conn_command_send(member_conn(member), &job->command, &command_ops, job, request->command, length))
		error_set(&err, ERR_FAILED, "too many commands in flight");
	if (err.code) {
		job_end(job, err.code, &err);
		return;
	}
	g_free(job->asked);
	job->asked = g_strdup(request->command);
	job->sent = true;
	conn_flush(member_conn(member));
}

void member_take(struct member *member, struct job *job)
{
	bool first = member->flight.length == 0;

	job_move(job, &member->flight);
	job->member = member;
	member->bulk += job->class == IMAP_BULK;
	job->pipelined = !first;
	job->behind_done = member->idle == IDLE_LEAVING;
	job->early = member->state == MEMBER_CONNECTING;
	if (first) {
		window_begin(member);
		member->was_idle = clock_ms() - member->idle_since_ms >= IDLE_DOUBT_MS;
		member->bytes_seen = conn_bytes_in(member_conn(member));
	} else {
		for (GList *link = member->flight.head; link; link = link->next)
			((struct job *)link->data)->pipelined = true;
	}
	if (member_must_examine(member, job))
		examine_send(member, job);
	else
		command_send(member, job);
	if (!member->flight.length)
		member->idle_since_ms = clock_ms();
}

void member_cancelled(struct member *member, struct job *job)
{
	if (member->state == MEMBER_ENDED || (!job->sent && !job->telling)) {
		job_end(job, 0, NULL);
		return;
	}
	if (member->body_job == job && member->body_left > CLIENT_CANCELLED_BYTES_MAX && member->flight.length == 1) {
		member->drop = true;
		client_kick(member->client);
	}
}

/* ---- what arrives ---- */

static void mailbox_code(struct member *member, const struct imap_response *response)
{
	struct imap_mailbox *mailbox = &member->mailbox;
	uint64_t number = 0;

	if (strcmp(response->code, "CLOSED") == 0) {
		member->examine_told = true;
		return;
	}
	if (strcmp(response->code, "ALERT") == 0)
		log_warning("%s says: %s", member->client->config.host, response->text);
	if (!response->code_values_count || !imap_value_number(&response->code_values[0], &number))
		return;
	if (strcmp(response->code, "UIDVALIDITY") == 0 && number <= UINT32_MAX) {
		/* renumbered in mid-session: what UIDs mean from here on is for the next EXAMINE to say */
		if (!member->examining && mailbox->uidvalidity && mailbox->uidvalidity != number) {
			member->drop = true;
			client_kick(member->client);
		}
		mailbox->uidvalidity = (uint32_t)number;
		member->examine_told = true;
	} else if (strcmp(response->code, "UIDNEXT") == 0 && number <= UINT32_MAX) {
		mailbox->uidnext = (uint32_t)number;
	} else if (strcmp(response->code, "HIGHESTMODSEQ") == 0 && member->examining) {
		mailbox->highestmodseq = number;
	}
}

static void status_untagged(struct member *member, const struct imap_response *response)
{
	struct imap_client *client = member->client;
	struct verdict verdict;

	if (response->code)
		mailbox_code(member, response);
	if (response->status == IMAP_OK || response->status == IMAP_PREAUTH)
		return;
	verdict = verdict_of(response);
	if (response->status == IMAP_BYE)
		member->bye = verdict;
	else if (verdict.kind == VERDICT_THROTTLED && verdict.backoff_ms)
		client_pause(client, verdict.backoff_ms);
}

/* The request that a response answers, cancelled or not; the oldest, where none of them asked for such. */
static struct job *addressee(const struct member *member, const struct imap_response *response)
{
	for (GList *link = member->flight.head; link; link = link->next) {
		struct job *job = link->data;

		if (route_answers(job->asked, job->command.tag, response))
			return job;
	}
	return oldest(member);
}

static struct job *addressee_of_body(const struct member *member)
{
	for (GList *link = member->flight.head; link; link = link->next) {
		struct job *job = link->data;

		if (route_wants_bodies(job->asked))
			return job;
	}
	return oldest(member);
}

/* While a mailbox is being opened, data of the new one only; and none of one that may be another by now. */
static void pass_on(struct member *member, const struct imap_response *response)
{
	struct job *job = addressee(member, response);

	if ((member->examining && !member->examine_told) || member->drop)
		return;
	if (job && job->request && job->sent && job->request->ops->response)
		job->request->ops->response(job->request->ctx, response);
}

static void on_response(void *ctx, const struct imap_response *response)
{
	struct member *member = ctx;
	struct imap_mailbox *mailbox = &member->mailbox;
	uint64_t gone;

	watch_heard(member, response);
	switch (response->type) {
	case IMAP_UNTAGGED:
		status_untagged(member, response);
		break;
	case IMAP_EXISTS:
		mailbox->exists = response->number;
		break;
	case IMAP_EXPUNGE:
		if (mailbox->exists)
			mailbox->exists--;
		pass_on(member, response);
		break;
	case IMAP_VANISHED:
		gone = response->vanished.earlier ? 0 : imap_set_count(response->vanished.uids);
		mailbox->exists -= (uint32_t)MIN(gone, mailbox->exists);
		pass_on(member, response);
		break;
	case IMAP_CAPABILITY:
	case IMAP_RECENT:
	case IMAP_FLAGS:
	case IMAP_OTHER:
	case IMAP_CONTINUATION:
		break;
	default:
		pass_on(member, response);
	}
}

static bool on_body_begin(void *ctx, const struct imap_literal *literal)
{
	struct member *member = ctx;
	struct job *job = addressee_of_body(member);

	member->body_left = literal->size_bytes;
	member->body_job = job;
	if (!job || member->examining || member->drop) {
		member->body_job = NULL;
		return false;
	}
	job->behind_done = false;
	if (!job->request) {
		member_cancelled(member, job);
		return false;
	}
	return job->request->ops->body_begin && job->request->ops->body_begin(job->request->ctx, literal);
}

static int on_body_data(void *ctx, const char *bytes, size_t length)
{
	struct member *member = ctx;
	struct job *job = member->body_job;
	int code = 0;

	member->body_left -= MIN(length, member->body_left);
	if (job && job->request && job->request->ops->body_data)
		code = job->request->ops->body_data(job->request->ctx, bytes, length);
	/* who has cancelled has no say any more */
	if (!code || !job->request)
		return 0;
	job->data_code = code;
	return code;
}

static void on_body_end(void *ctx)
{
	struct member *member = ctx;
	struct job *job = g_steal_pointer(&member->body_job);

	/* a server that closes after every few bodies is slow, not away */
	member->client->losses = 0;
	if (job && job->request && job->request->ops->body_end)
		job->request->ops->body_end(job->request->ctx);
}

/* ---- the end ---- */

/* A job whose connection was lost under it. */
static void blamed(struct job *job, enum member_blame blame, const struct error *err)
{
	bool fails = false;

	if (!job->request) {
		job_end(job, 0, NULL);
		return;
	}
	if (blame == BLAME_FAIL || job->data_code)
		fails = true;
	else if (blame == BLAME_TRY && job->sent && err->code == ERR_PROTOCOL)
		fails = ++job->garbage > 1;
	else if (blame == BLAME_TRY && job->sent)
		fails = ++job->tries >= CLIENT_TRIES;
	if (fails)
		job_end(job, err->code, err);
	else
		job_again(job);
}

void member_end(struct member *member, enum member_blame blame, const struct error *err)
{
	struct imap_client *client = member->client;
	struct job *head, *job;

	if (member->state == MEMBER_ENDED)
		return;
	member->state = MEMBER_ENDED;
	/* once it was dead; time and again the server doesn't like what comes with DONE */
	if (member->idle == IDLE_LEAVING && member->flight.length && ++client->watch.ends_behind_done > 1)
		client->watch.waits_for_end = true;
	member->examining = member->body_job = NULL;
	watch_member_ended(member);
	if (member_conn(member))
		conn_abandon(member_conn(member));
	g_ptr_array_remove(client->members, member);
	client_bury(client, member);
	/* callbacks may cancel any of them: nothing but the queues is relied on */
	head = oldest(member);
	if (head)
		job_move(head, &client->limbo);
	while (member->flight.tail) {
		job = member->flight.tail->data;
		/* not to blame, but nobody waits for a silent server time and again */
		if (job->request && blame == BLAME_FAIL && job->sent && ++job->tries >= CLIENT_TRIES) {
			job_end(job, err->code, err);
			continue;
		}
		/* its turn hadn't come: the silence of the one ahead isn't its own */
		if (blame == BLAME_FAIL)
			job->submitted_ms = client_now(client);
		job_again(job);
	}
	if (head && g_queue_find(&client->limbo, head))
		blamed(head, blame, err);
	client_kick(client);
}

/* The server hung up, or broke the protocol. */
static void on_lost(void *ctx, const struct error *err)
{
	struct member *member = ctx;
	struct imap_client *client = member->client;
	struct verdict bye = member->bye;
	enum member_blame blame = BLAME_TRY;
	bool counts = member->flight.length > 0 && !watch_is_alone(member);

	client->lost_at = client->opened;
	if (bye.kind == VERDICT_EXPIRED)
		auth_expired(client->auth, member->generation);
	if (bye.kind == VERDICT_THROTTLED)
		blame = BLAME_NOBODY;
	if (bye.kind == VERDICT_EXPIRED && member->served) {
		/* a token's end is no fault; a session that dies before its first answer is */
		blame = BLAME_NOBODY;
		counts = false;
		client->reconnects++;
	}
	if (member->was_idle && conn_bytes_in(member->conn) == member->bytes_seen) {
		/* dead since long: the first send has only found out */
		blame = BLAME_NOBODY;
		counts = false;
	}
	if (counts) {
		client->reconnects++;
		client_lost(client, err);
	}
	member_end(member, blame, err);
	if (bye.kind == VERDICT_THROTTLED)
		client_pause(client, bye.backoff_ms);
	else if (bye.kind == VERDICT_OVERQUOTA)
		client_quota(client, err);
	else if (counts)
		client_give_up(client, err);
}

static const struct conn_ops conn_ops = {
	.response = on_response,
	.body_begin = on_body_begin,
	.body_data = on_body_data,
	.body_end = on_body_end,
	.lost = on_lost,
};

void member_doubt_others(const struct member *silent, uint64_t silence_ms, const struct error *err)
{
	g_autoptr(GPtrArray) members = g_ptr_array_copy(silent->client->members, NULL, NULL);
	uint64_t now_ms = clock_ms();

	for (guint i = 0; i < members->len; i++) {
		struct member *member = members->pdata[i];

		if (member != silent && member->state == MEMBER_READY && !member->flight.length &&
			client_since(now_ms, MAX(member->idle_since_ms, member->idle_ms)) >= silence_ms)
			member_end(member, BLAME_NOBODY, err);
	}
}

static void silent(struct member *member, uint64_t since_ms, const char *how)
{
	struct imap_client *client = member->client;
	struct error err = {0};

	error_set(&err, ERR_TIMEOUT, "%s: %s for %.1f s", client->config.host, how, (double)since_ms / 1000);
	if (!watch_is_alone(member))
		client->last_error = err;
	log_info("imap: %s: closing the connection", err.text);
	member_doubt_others(member, since_ms, &err);
	member_end(member, BLAME_FAIL, &err);
}

static void slow_check(struct member *member, uint64_t now_ms, uint64_t bytes)
{
	const struct imap_client *client = member->client;
	uint64_t since_ms = client_since(now_ms, member->window_ms), window_ms = client->tuning.slow_window_ms;
	uint64_t limit = client->config.bytes_per_second;
	bool slow;

	/* our own limit would make it look slow */
	if (since_ms < window_ms || (limit && limit / client->config.connections < (uint64_t)CLIENT_SLOW_BYTES * 2))
		return;
	slow = bytes - member->window_bytes < since_ms * CLIENT_SLOW_BYTES / 1000;
	if (slow && since_ms >= client->config.timeout_ms)
		silent(member, since_ms, "next to nothing came");
	if (slow)
		return;
	member->window_ms = now_ms;
	member->window_bytes = bytes;
}

bool member_tick(struct member *member, uint64_t now_ms)
{
	uint64_t bytes, silence_ms = client_since(now_ms, member->progress_ms),
			timeout_ms = member->client->config.timeout_ms;
	struct error err = {0};
	bool is_long;

	if (member->state == MEMBER_CONNECTING)
		return session_tick(member->session, now_ms);
	bytes = conn_bytes_in(member->conn);
	if (member->idle)
		watch_tick(member);
	if (!member->flight.length)
		return false;
	if (bytes != member->bytes_seen) {
		member->bytes_seen = bytes;
		member->was_idle = false;
		member->progress_ms = now_ms;
		slow_check(member, now_ms, bytes);
		return true;
	}
	is_long = silence_ms >= MIN(timeout_ms / 3, STALE_ANSWER_MS);
	if (is_long && member->was_idle) {
		error_set(&err, ERR_UNREACHABLE, "no answer on a connection that was idle");
		log_info("imap: %s: a new one may do better", err.text);
		member_doubt_others(member, silence_ms, &err);
		member_end(member, BLAME_NOBODY, &err);
	} else if (is_long && oldest(member)->behind_done && !member->idle) {
		error_set(&err, ERR_UNREACHABLE, "no answer to what was sent with DONE");
		log_info("imap: %s: the end of IDLE is waited for from here on", err.text);
		member->client->watch.waits_for_end = true;
		member_end(member, BLAME_NOBODY, &err);
	} else if (silence_ms >= timeout_ms) {
		silent(member, silence_ms, "no answer");
	} else {
		slow_check(member, now_ms, bytes);
	}
	return false;
}

/* ---- the beginning ---- */

static void signed_in(struct member *member)
{
	member->capabilities = session_capabilities(member->session);
	member->enabled = session_is_enabled(member->session);
	member->generation = session_generation(member->session);
	if (!member->number)
		member->number = ++member->client->sessions;
	if (!member->flight.length)
		member->idle_since_ms = clock_ms();
}

static void on_early(void *ctx)
{
	struct member *member = ctx;

	signed_in(member);
	client_kick(member->client);
}

static void on_early_response(void *ctx, const struct imap_response *response)
{
	pass_on(ctx, response);
}

static void on_ready(void *ctx)
{
	struct member *member = ctx;
	struct imap_client *client = member->client;

	if (member->state == MEMBER_ENDED)
		return;
	member->state = MEMBER_READY;
	member->conn = session_take(member->session);
	conn_set_ops(member->conn, &conn_ops, member);
	if (member->flight.length)
		window_begin(member);
	signed_in(member);
	log_info("signed in to %s as %s", client->config.host, client->config.user);
	client_signed_in(client, member->capabilities);
	watch_signed_in(client, member);
}

static void on_failed(void *ctx, enum session_end end, uint32_t backoff_ms, const struct error *err)
{
	struct member *member = ctx;
	struct imap_client *client = member->client;
	struct job *early = oldest(member);

	if (member->state == MEMBER_ENDED)
		return;
	log_info("no connection to %s: %s", client->config.host, err->text);
	if (early)
		early->late = true;
	member_end(member, BLAME_NOBODY, err);
	/* it may have been the early one that the server hung up on: that's for the next session to show */
	if (early && end == SESSION_FAILED)
		client_kick(client);
	else if (member->for_watch)
		watch_unconnected(member, end, backoff_ms, err);
	else
		client_sign_in_failed(client, member, end, backoff_ms, err);
}

static const struct session_ops session_ops = {
	.early = on_early, .response = on_early_response, .ready = on_ready, .failed = on_failed};

struct member *member_open(struct imap_client *client)
{
	struct member *member = g_new0(struct member, 1);
	const struct session_env env = {
		.loop = client->loop,
		.config = &client->config,
		.auth = client->auth,
		.factory = client->factory,
		.bucket = &client->bucket,
		.counters = &client->counters,
	};

	member->client = client;
	member->opened = ++client->opened;
	member->state = MEMBER_CONNECTING;
	member->session = session_new(&env, &session_ops, member);
	member->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_ptr_array_add(client->members, member);
	return member;
}

void member_logout(struct member *member)
{
	/* while it idles no other command is understood */
	if (member->idle == IDLE_ASKED)
		return;
	if (member->idle == IDLE_ON) {
		conn_line_send(member->conn, "DONE", 4);
		conn_flush(member->conn);
	}
	conn_logout(member->conn);
}

void member_free(struct member *member)
{
	session_free(member->session);
	conn_free(member->conn);
	g_free(member->mailbox_name);
	g_hash_table_unref(member->names);
	g_free(member);
}
