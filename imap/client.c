/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's public calls, its clock, and what concerns all requests at once. */
#include "imap/client.h"
#include "imap/pool.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/wake.h"

#include <string.h>

#include "src/base/banned.h"

#define TICK_MIN_MS 10u
#define TICK_MAX_MS 1000u

static const struct client_tuning tuning_default = {
	.slow_window_ms = 60000,
	.idle_ms = 60000,
	.retry_ms = 500,
	.retry_max_ms = 30000,
	.down_ms = 1000,
	.refused_ms = 30000,
	.not_connected_ms = 1000,
	.pause_ms = 5000,
	.pause_max_ms = 60000,
	.limit_ms = 600000,
	.lane_ms = 3000,
	.watch_quiet_ms = 1000,
	.watch_rearm_ms = 9 * 60 * 1000, /* NATs and Exchange forget a silent connection after 10 */
	.watch_good_ms = 10000,
	.watch_retry_max_ms = 60000,
};

/* ---- jobs ---- */

/* NULL: out of all queues. */
void job_move(struct job *job, GQueue *queue)
{
	g_queue_unlink(job->queue, &job->link);
	if (job->member && job->queue == &job->member->flight) {
		job->member->bulk -= job->class == IMAP_BULK;
		job->member = NULL;
	}
	job->queue = queue;
	if (queue)
		g_queue_push_tail_link(queue, &job->link);
}

void job_end(struct job *job, int code, const struct error *err)
{
	static const struct error none;
	struct imap_request *request = job->request;
	uint32_t session = job->member ? job->member->number : 0;

	job_move(job, NULL);
	g_free(job->asked);
	g_free(job);
	if (!request)
		return;
	request->internal = NULL;
	request->session = session;
	request->ops->done(request->ctx, code, code ? err : &none);
}

void job_again(struct job *job)
{
	struct imap_request *request = job->request;
	GQueue *queue = &job->client->waiting[job->class];
	bool sent = job->sent;

	if (!request) {
		job_end(job, 0, NULL);
		return;
	}
	job_move(job, queue);
	g_queue_unlink(queue, &job->link);
	g_queue_push_head_link(queue, &job->link);
	job->sent = job->examined = job->pipelined = job->behind_done = false;
	g_clear_pointer(&job->asked, g_free);
	/* the silence so far was about another connection; but a sign-in that fails is waited for as by all that wait
	 */
	if (!job->early || !job->late)
		job->submitted_ms = client_now(job->client);
	client_kick(job->client);
	if (sent && request->ops->restart)
		request->ops->restart(request->ctx);
}

/* ---- time ---- */

static uint64_t paused_sum(const struct imap_client *client)
{
	return client->paused_ms + MIN(clock_ms(), client->pause_until_ms) - client->pause_began_ms;
}

uint64_t client_now(const struct imap_client *client)
{
	return clock_ms() - paused_sum(client);
}

bool client_is_paused(const struct imap_client *client)
{
	return clock_ms() < client->pause_until_ms;
}

void client_pause(struct imap_client *client, uint32_t backoff_ms)
{
	uint64_t now = clock_ms();
	bool paused = client_is_paused(client);

	client->throttled++;
	/* commands that were in flight together are refused together: that counts once */
	if (!backoff_ms && paused)
		return;
	if (!backoff_ms) {
		backoff_ms = client->pause_next_ms;
		client->pause_next_ms = MIN(backoff_ms * 2, client->tuning.pause_max_ms);
	}
	if (!paused) {
		client->paused_ms = paused_sum(client);
		client->pause_began_ms = client->pause_until_ms = now;
	}
	client->pause_until_ms = MAX(client->pause_until_ms, now + backoff_ms);
	error_set(&client->last_error, ERR_THROTTLED, "%s asks for a pause of %.1f s", client->config.host,
		(double)(client->pause_until_ms - now) / 1000);
	log_info("imap: %s", client->last_error.text);
	client_kick(client);
}

/* ---- all at once ---- */

void client_fail_waiting(struct imap_client *client, const struct error *err, uint32_t remember_ms)
{
	/* a copy: it may be one of ours, which callbacks can change */
	struct error why = *err;

	client->last_error = why;
	if (remember_ms) {
		client->down_until_ms = clock_ms() + remember_ms;
		client->down_error = why;
	}
	for (size_t class = 0; class < G_N_ELEMENTS(client->waiting); class ++)
		while (client->waiting[class].head)
			job_move(client->waiting[class].head->data, &client->limbo);
	while (client->limbo.head)
		job_end(client->limbo.head->data, why.code, &why);
}

/* Those for whom the pause takes longer than they may wait for one. */
static void throttle_check(struct imap_client *client)
{
	uint64_t now = clock_ms(), sum = paused_sum(client);
	struct error err = {0};

	if (!client_is_paused(client))
		return;
	for (size_t class = 0; class < G_N_ELEMENTS(client->waiting); class ++)
		for (GList *link = client->waiting[class].head, *next; link; link = next) {
			struct job *job = link->data;

			next = link->next;
			if (sum - job->paused_before + client->pause_until_ms - now > client->config.throttle_wait_ms)
				job_move(job, &client->limbo);
		}
	error_set(&err, ERR_THROTTLED, "%s asks for a pause of %.0f s more", client->config.host,
		(double)(client->pause_until_ms - now) / 1000);
	error_hint(&err, "throttle_wait allows %.0f s", (double)client->config.throttle_wait_ms / 1000);
	while (client->limbo.head)
		job_end(client->limbo.head->data, err.code, &err);
}

static uint32_t members_in(const struct imap_client *client, enum member_state state)
{
	uint32_t count = 0;

	for (guint i = 0; i < client->members->len; i++)
		count += ((const struct member *)client->members->pdata[i])->state == state;
	return count;
}

void client_success(struct imap_client *client)
{
	client->last_error = (struct error){0};
	client->pause_next_ms = client->tuning.pause_ms;
}

void client_signed_in(struct imap_client *client, uint32_t capabilities)
{
	client->capabilities = capabilities;
	/* the old ones, of which some take no command before the last one is answered, don't know ENABLE (RFC 5161) */
	if (!client->config.depth && !(capabilities & IMAP_CAP_ENABLE))
		client->depth = 1;
	client->proven = true;
	client->rejections = client->not_connected = 0;
	client->down_until_ms = 0;
	client->progress_ms = client_now(client);
	client_success(client);
	client_kick(client);
}

static void backoff(struct imap_client *client, unsigned step)
{
	uint64_t delay_ms = MIN((uint64_t)client->tuning.retry_ms << MIN(step, 16), client->tuning.retry_max_ms);

	client->open_not_before_ms = clock_ms() + delay_ms * (uint64_t)g_random_int_range(75, 126) / 100;
}

void client_lost(struct imap_client *client, const struct error *err)
{
	client->last_error = *err;
	/* the first time at once */
	if (client->losses++)
		backoff(client, client->losses - 2);
}

void client_give_up(struct imap_client *client, const struct error *err)
{
	if (client->losses < CLIENT_LOSSES_MAX || members_in(client, MEMBER_READY))
		return;
	client->losses = 0;
	client_fail_waiting(client, err, client->tuning.down_ms);
}

void client_quota(struct imap_client *client, const struct error *err)
{
	struct error why = *err;

	why.code = ERR_THROTTLED;
	error_hint(&why, "the limit ends after some hours; daily_bytes keeps below it");
	client->throttled++;
	client_fail_waiting(client, &why, client->tuning.refused_ms);
}

/* No connection could be had. Whoever has another one goes on with that. */
static void sign_in_gave_up(struct imap_client *client, const struct error *err, uint32_t remember_ms)
{
	if (members_in(client, MEMBER_READY)) {
		client->open_not_before_ms = clock_ms() + MAX(remember_ms, client->tuning.retry_ms);
		client_kick(client);
	} else if (!members_in(client, MEMBER_CONNECTING)) {
		client_fail_waiting(client, err, remember_ms);
	}
}

void client_sign_in_failed(struct imap_client *client, const struct member *member, enum session_end end,
	uint32_t backoff_ms, const struct error *err)
{
	const struct client_tuning *tuning = &client->tuning;
	uint32_t ready = members_in(client, MEMBER_READY);
	uint32_t generation = session_generation(member->session);

	client->last_error = *err;
	client->proven = false;
	client_kick(client);
	switch (end) {
	case SESSION_REJECTED:
	case SESSION_EXPIRED:
		/* auth gives a new one once; from then on it says no by itself. Several may have tried the old one. */
		if (client->rejected == generation)
			return;
		client->rejected = generation;
		if (++client->rejections < 2)
			return;
		client->rejections = 0;
		sign_in_gave_up(client, err, tuning->down_ms);
		return;
	case SESSION_NOT_CONNECTED:
		if (++client->not_connected < CLIENT_NOT_CONNECTED_TRIES) {
			client->open_not_before_ms = clock_ms() + ((uint64_t)tuning->not_connected_ms
									  << (client->not_connected - 1));
			return;
		}
		client->not_connected = 0;
		sign_in_gave_up(client, err, tuning->refused_ms);
		return;
	case SESSION_TOO_MANY:
		if (ready) {
			log_info("imap: %s takes %u connections", client->config.host, ready);
			client->limit = ready;
			client->limit_until_ms = clock_ms() + tuning->limit_ms;
			client->proven = true;
			return;
		}
		sign_in_gave_up(client, err, tuning->down_ms);
		return;
	case SESSION_THROTTLED:
		client_pause(client, backoff_ms);
		return;
	case SESSION_OVERQUOTA:
		client_fail_waiting(client, err, tuning->refused_ms);
		return;
	case SESSION_IMPOSSIBLE:
		sign_in_gave_up(client, err, tuning->refused_ms);
		return;
	case SESSION_FAILED:
		/* begun before others were lost: what ended them may be over */
		if (member->opened <= client->lost_at)
			return;
		sign_in_gave_up(client, err, tuning->down_ms);
		return;
	case SESSION_NO_CREDENTIAL:
		sign_in_gave_up(client, err, tuning->down_ms);
		return;
	}
}

/* ---- timers ---- */

static void kick_run(void *data);

void client_kick(struct imap_client *client)
{
	if (!client->kick)
		client->kick = loop_timer_add(client->loop, 0, kick_run, client);
}

static void wake_run(void *data)
{
	struct imap_client *client = data;

	client->wake = NULL;
	client_kick(client);
}

void client_wake_at(struct imap_client *client, uint64_t at_ms)
{
	uint64_t now = clock_ms();

	if (client->wake && client->wake_ms <= at_ms)
		return;
	loop_timer_cancel(client->wake);
	client->wake_ms = at_ms;
	client->wake = loop_timer_add(client->loop, at_ms > now ? at_ms - now : 0, wake_run, client);
}

static void grave_run(void *data)
{
	struct imap_client *client = data;

	client->grave = NULL;
	g_ptr_array_set_size(client->graveyard, 0);
}

void client_bury(struct imap_client *client, struct member *member)
{
	g_ptr_array_add(client->graveyard, member);
	if (!client->grave)
		client->grave = loop_timer_add(client->loop, 0, grave_run, client);
}

static void waiting_tick(struct imap_client *client, uint64_t now_ms)
{
	uint32_t timeout_ms = client->config.timeout_ms;
	struct error err = {0};

	for (size_t class = 0; class < G_N_ELEMENTS(client->waiting); class ++)
		for (GList *link = client->waiting[class].head, *next; link; link = next) {
			struct job *job = link->data;

			next = link->next;
			if (client_since(now_ms, MAX(job->submitted_ms, client->progress_ms)) >= timeout_ms)
				job_move(job, &client->limbo);
		}
	if (!client->limbo.head)
		return;
	if (client->last_error.code && client->last_error.code != ERR_THROTTLED && !client->members->len)
		err = client->last_error;
	else
		error_set(
			&err, ERR_TIMEOUT, "%s: no answer for %.1f s", client->config.host, (double)timeout_ms / 1000);
	while (client->limbo.head)
		job_end(client->limbo.head->data, err.code, &err);
}

static uint32_t members_at_work(const struct imap_client *client)
{
	return members_in(client, MEMBER_READY) - (watch_idler(client) != NULL);
}

/* The last connection stays, beside the one that idles: it lapses when the server wants. */
static void surplus_close(struct imap_client *client)
{
	uint32_t ready = members_at_work(client), kept = 1;
	uint64_t now = clock_ms();

	/* one stays free beside bulk work */
	for (guint i = 0; i < client->members->len; i++)
		kept += ((const struct member *)client->members->pdata[i])->bulk > 0;
	for (guint i = client->members->len; i-- > 0 && ready > kept;) {
		struct member *member = client->members->pdata[i];

		if (member->state != MEMBER_READY || member->flight.length || member->idle ||
			now - member->idle_since_ms < client->tuning.idle_ms)
			continue;
		member_logout(member);
		member_end(member, BLAME_NOBODY, NULL);
		ready--;
	}
}

/*
 * The server has given up a client that slept, or the network is another one by now. All connections are opened anew,
 * and what was under way is sent again: its silence was ours.
 */
static void slept_check(struct imap_client *client)
{
	uint64_t slept_ms = clock_slept_ms(), now = client_now(client);
	/* two clocks are never read at once: the difference may be less than it was */
	bool long_enough = (int64_t)(slept_ms - client->slept_ms) >= CLIENT_SLEPT_MS;
	g_autoptr(GPtrArray) members = NULL;
	struct error err = {0};

	client->slept_ms = slept_ms;
	if (!long_enough)
		return;
	error_set(&err, ERR_UNREACHABLE, "the machine slept");
	log_info("imap: the machine slept: connections are opened anew");
	members = g_ptr_array_copy(client->members, NULL, NULL);
	for (guint i = 0; i < members->len; i++)
		member_end(members->pdata[i], BLAME_NOBODY, &err);
	for (size_t class = 0; class < G_N_ELEMENTS(client->waiting); class ++)
		for (GList *link = client->waiting[class].head; link; link = link->next)
			((struct job *)link->data)->submitted_ms = now;
	client->open_not_before_ms = client->down_until_ms = 0;
	client->watch.not_before_ms = client->watch.failures = 0;
}

static void on_resume(void *data)
{
	client_kick(data);
}

static void tick_run(void *data)
{
	struct imap_client *client = data;
	g_autoptr(GPtrArray) members = NULL;
	uint64_t now;

	client->tick = NULL;
	slept_check(client);
	now = client_now(client);
	members = g_ptr_array_copy(client->members, NULL, NULL);
	/* what ends in here is buried, not freed */
	for (guint i = 0; i < members->len; i++) {
		struct member *member = members->pdata[i];

		if (member->state != MEMBER_ENDED && member_tick(member, now))
			client->progress_ms = now;
	}
	waiting_tick(client, now);
	surplus_close(client);
	client_tick_arm(client);
}

void client_tick_arm(struct imap_client *client)
{
	bool needed = client->waiting[0].length || client->waiting[1].length || members_at_work(client) > 1;

	for (guint i = 0; i < client->members->len && !needed; i++) {
		const struct member *member = client->members->pdata[i];

		needed = member->state == MEMBER_CONNECTING || member->flight.length || member->idle == IDLE_ASKED ||
		         member->idle == IDLE_LEAVING;
	}
	if (needed && !client->tick)
		client->tick = loop_timer_add(client->loop,
			CLAMP(client->config.timeout_ms / 10, TICK_MIN_MS, TICK_MAX_MS), tick_run, client);
}

static void kick_run(void *data)
{
	struct imap_client *client = data;

	client->kick = NULL;
	slept_check(client);
	if (clock_ms() < client->down_until_ms &&
		(client->waiting[IMAP_INTERACTIVE].length || client->waiting[IMAP_BULK].length)) {
		struct error err = client->down_error;

		client_fail_waiting(client, &err, 0);
	}
	throttle_check(client);
	schedule(client);
	client_tick_arm(client);
}

/* ---- the public calls ---- */

struct imap_client *imap_client_new(struct loop *loop, const struct imap_client_config *config, struct auth *auth,
	const struct stream_factory *factory)
{
	struct imap_client *client = g_new0(struct imap_client, 1);

	client->loop = loop;
	client->config = *config;
	client->config.host = g_strdup(config->host);
	client->config.ca_file = g_strdup(config->ca_file);
	client->config.user = g_strdup(config->user);
	client->config.connections = CLAMP(config->connections, 1, CLIENT_CONNECTIONS_MAX);
	client->lanes.count = 1;
	client->depth = config->depth ? MIN(config->depth, CONN_COMMANDS_MAX / 2) : CLIENT_DEPTH_DEFAULT;
	client->auth = auth;
	client->factory = factory;
	client->tuning = tuning_default;
	client->pause_next_ms = client->tuning.pause_ms;
	client->bucket.bytes_per_second = config->bytes_per_second;
	client->members = g_ptr_array_new();
	client->graveyard = g_ptr_array_new_with_free_func((GDestroyNotify)member_free);
	client->resume = wake_new(loop, on_resume, client);
	client->slept_ms = clock_slept_ms();
	return client;
}

void client_tune(struct imap_client *client, const struct client_tuning *tuning)
{
	client->tuning = *tuning;
	client->pause_next_ms = tuning->pause_ms;
}

static void queue_forget(GQueue *queue)
{
	while (queue->head) {
		struct job *job = queue->head->data;

		if (job->request)
			job->request->internal = NULL;
		job->request = NULL;
		job_end(job, 0, NULL);
	}
}

void imap_client_free(struct imap_client *client)
{
	if (!client)
		return;
	loop_gather(client->loop, false);
	/* they may ask for a pass of the scheduler */
	watch_fini(client);
	standby_fini(client);
	loop_timer_cancel(client->kick);
	loop_timer_cancel(client->tick);
	loop_timer_cancel(client->grave);
	loop_timer_cancel(client->wake);
	wake_free(client->resume);
	queue_forget(&client->waiting[IMAP_INTERACTIVE]);
	queue_forget(&client->waiting[IMAP_BULK]);
	queue_forget(&client->limbo);
	for (guint i = 0; i < client->members->len; i++) {
		struct member *member = client->members->pdata[i];

		if (member->state == MEMBER_READY)
			member_logout(member);
		if (member_conn(member))
			conn_abandon(member_conn(member)); /* its commands lie in the jobs */
		queue_forget(&member->flight);
		member_free(member);
	}
	g_ptr_array_unref(client->members);
	g_ptr_array_unref(client->graveyard);
	g_free((char *)client->config.host);
	g_free((char *)client->config.ca_file);
	g_free((char *)client->config.user);
	g_free(client);
}

void imap_client_submit(struct imap_client *client, struct imap_request *request)
{
	struct job *job = g_new0(struct job, 1);

	job->client = client;
	job->request = request;
	job->class = request->class;
	job->link.data = job;
	job->queue = &client->waiting[job->class];
	job->opened_floor = client->opened;
	job->submitted_ms = client_now(client);
	job->paused_before = paused_sum(client);
	request->internal = job;
	request->session = 0;
	g_queue_push_tail_link(job->queue, &job->link);
	client_kick(client);
}

void imap_client_cancel(struct imap_client *client, struct imap_request *request)
{
	struct job *job = request->internal;

	if (!job)
		return;
	request->internal = NULL;
	job->request = NULL;
	if (job->member)
		member_cancelled(job->member, job);
	else
		job_end(job, 0, NULL);
	client_kick(client);
}

void imap_client_mailbox_forget(struct imap_client *client, const char *mailbox, uint32_t keep_session)
{
	for (guint i = 0; i < client->members->len; i++) {
		struct member *member = client->members->pdata[i];

		if (member->number == keep_session || !member->mailbox_name ||
			strcmp(member->mailbox_name, mailbox) != 0)
			continue;
		if (member->flight.length) {
			member->drop = true;
			continue;
		}
		if (member->idle)
			watch_leave(member);
		g_clear_pointer(&member->mailbox_name, g_free);
	}
	client_kick(client);
}

void imap_client_retry_now(struct imap_client *client)
{
	client->down_until_ms = client->open_not_before_ms = 0;
	client->losses = client->rejections = client->not_connected = 0;
	client->limit = 0;
	client->watch.not_before_ms = client->watch.failures = client->watch.ends_behind_done = 0;
	client->watch.off = client->watch.waits_for_end = false;
	client_kick(client);
}

void imap_client_state(const struct imap_client *client, struct imap_client_state *state_out)
{
	uint64_t now = clock_ms();

	*state_out = (struct imap_client_state){
		.connections = members_in(client, MEMBER_READY),
		.connecting = members_in(client, MEMBER_CONNECTING),
		.signed_in = members_in(client, MEMBER_READY) > 0,
		.watching = watch_idler(client) && watch_idler(client)->idle == IDLE_ON,
		.capabilities = client->capabilities,
		.backoff_ms = client_is_paused(client) ? client->pause_until_ms - now : 0,
		.bytes_in = client->counters.bytes_in,
		.bytes_out = client->counters.bytes_out,
		.round_trips = client->counters.round_trips,
		.commands = client->counters.commands,
		.reconnects = client->reconnects,
		.throttled = client->throttled,
		.sessions = client->sessions,
		.last_error = client->last_error,
	};
}
