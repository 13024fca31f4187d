/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which job goes where. A pass looks at all that wait, interactive ones first, each class in its order, and
 * at each member. It is cheap against what it saves; it runs from the loop, never inside a public call.
 */
#include "imap/pool.h"
#include "src/base/loop.h"

#include <string.h>

#include "src/base/banned.h"

#define ENOUGH_IN_FLIGHT 2u /* on one connection, to hide the round trip; a free connection is better than more */

#define LANE_GAIN_SHARE 8u /* a connection more has to bring so much more: an eighth */

#define LOOK_AHEAD_MAX 256u /* jobs without a place, before those behind them aren't looked at */
#define HELD_BY(class) ((unsigned)(class) + 1)

/* The smaller, the better. */
enum rank {
	RANK_SAME_IDLE, /* the mailbox is open, nothing in flight */
	RANK_SAME_FEW,
	RANK_IDLE_UNUSED, /* no mailbox open */
	RANK_IDLE,
	RANK_SAME_MANY,
	RANK_BEHIND_BULK, /* an interactive one, when there is no other way */
	RANK_NONE,
};

struct pass {
	struct imap_client *client;
	uint32_t allowed, ready, connecting, bulk;
	uint32_t free;   /* ready, without bulk work, and not idling */
	uint32_t wanted; /* connections more than there are */
	uint32_t stuck;  /* jobs that found no place */
	unsigned called; /* the member that idles is called back for one of them: 1 + its class */
};

uint32_t schedule_allowed(const struct imap_client *client)
{
	uint32_t most = CLAMP(client->config.connections, 1, CLIENT_CONNECTIONS_MAX);

	if (client->limit && clock_ms() < client->limit_until_ms)
		most = MIN(most, client->limit);
	return most;
}

static uint32_t bulk_most(const struct pass *pass)
{
	return pass->allowed > 1 ? pass->allowed - 1 : 1;
}

uint32_t imap_client_bulk_at_once(const struct imap_client *client)
{
	uint32_t ready = 0;

	if (client->depth > 1 || schedule_allowed(client) == 1)
		return UINT32_MAX;
	for (guint i = 0; i < client->members->len; i++)
		ready += ((const struct member *)client->members->pdata[i])->state == MEMBER_READY;
	/* one of several is kept free */
	return MAX(ready, 2) - 1;
}

/*
 * One connection carries as much as several where commands can be pipelined, and costs both sides less. But it may be
 * the connection that is slow, and not the line. So while bulk work goes on one more is tried, and another one for as
 * long as each brings more.
 */
static void lanes_note(struct imap_client *client, bool is_bulk_under_way)
{
	struct lanes *lanes = &client->lanes;
	uint64_t now_ms = clock_ms(), past_ms = now_ms - lanes->since_ms, rate;

	if (!is_bulk_under_way) {
		*lanes = (struct lanes){.count = 1};
		return;
	}
	if (!lanes->since_ms)
		*lanes = (struct lanes){.count = 1, .began_ms = now_ms};
	else if (past_ms < client->tuning.lane_ms)
		return;
	rate = lanes->since_ms ? (client->counters.bytes_in - lanes->bytes) * 1000 / MAX(past_ms, 1) : 0;
	/* the first stretch is that of sign-ins and small windows */
	if (lanes->is_running && rate && !lanes->settled) {
		if (rate > lanes->rate + lanes->rate / LANE_GAIN_SHARE) {
			lanes->count++;
			lanes->rate = rate;
			client_kick(client);
		} else {
			lanes->count = MAX(lanes->count - 1, 1);
			lanes->settled = true;
		}
		lanes->is_running = false;
	} else {
		lanes->is_running = lanes->since_ms != 0;
	}
	lanes->since_ms = now_ms;
	lanes->bytes = client->counters.bytes_in;
}

/* Bulk work of this mailbox has the connections that it may have. */
static bool lanes_are_full(const struct pass *pass, const struct job *job)
{
	const GPtrArray *members = pass->client->members;
	uint32_t count = 0;

	if (pass->client->depth == 1)
		return false;
	for (guint i = 0; i < members->len; i++) {
		const struct member *member = members->pdata[i];

		count += member->bulk && g_strcmp0(member->mailbox_name, job->request->mailbox) == 0;
	}
	/* a second one isn't taken from those who wait for a single message, before there is another for them */
	return count >= pass->client->lanes.count || (count && pass->free < 2 && pass->ready < pass->allowed);
}

static void pass_count(struct pass *pass)
{
	const GPtrArray *members = pass->client->members;

	pass->allowed = schedule_allowed(pass->client);
	pass->ready = pass->connecting = pass->bulk = pass->free = 0;
	for (guint i = 0; i < members->len; i++) {
		const struct member *member = members->pdata[i];

		pass->ready += member->state == MEMBER_READY;
		pass->connecting += member->state == MEMBER_CONNECTING;
		pass->bulk += member->bulk > 0;
		pass->free += member->state == MEMBER_READY && !member->bulk && !member->idle;
	}
}

static bool may_open(const struct pass *pass)
{
	const struct imap_client *client = pass->client;

	if (pass->ready + pass->connecting >= pass->allowed || clock_ms() < client->open_not_before_ms)
		return false;
	/* until a sign-in has succeeded one tries for all: a wrong password isn't sent four times */
	return client->proven || pass->connecting == 0;
}

static bool fresh_enough(const struct member *member, const struct job *job)
{
	return !job->request->fresh || member->opened > job->opened_floor;
}

/* The member that `job` insists on, NULL = none, or it is gone. */
static struct member *keeper_of(const struct pass *pass, const struct job *job)
{
	const GPtrArray *members = pass->client->members;

	for (guint i = 0; job->request->keep_session && i < members->len; i++) {
		struct member *member = members->pdata[i];

		/* one that isn't ready yet has answered what was sent early */
		if (member->state != MEMBER_ENDED && !member->drop && member->number == job->request->keep_session)
			return member;
	}
	return NULL;
}

static bool may_be_bulk(const struct pass *pass, const struct member *member, const struct job *job)
{
	return job->class != IMAP_BULK || member->bulk || (pass->bulk < bulk_most(pass) && !lanes_are_full(pass, job));
}

/*
 * Right behind DONE the server reads commands again (RFC 2177 section 3). For what somebody waits for, and a message
 * alone, which begins to come soon: a long silence then says that the server has lost it.
 */
static bool may_follow_done(const struct pass *pass, const struct member *member, const struct job *job)
{
	return member->idle == IDLE_LEAVING && !member->flight.length && job->class == IMAP_INTERACTIVE &&
	       job->request->ops->body_begin && !job->alone && pass->client->depth > 1 &&
	       !pass->client->watch.waits_for_end;
}

/*
 * The folders are asked for with the session's own first commands: who opens a mount waits a round trip less. Nothing
 * else is: the session passes on what answers LIST.
 */
static bool may_go_early(const struct pass *pass, const struct member *member, const struct job *job)
{
	return member->state == MEMBER_CONNECTING && session_takes_early(member->session) && !member->flight.length &&
	       job->class == IMAP_INTERACTIVE && job->request->command &&
	       g_str_has_prefix(job->request->command, "LIST ") && !job->late && pass->client->depth > 1 &&
	       !pass->client->early_off && fresh_enough(member, job);
}

static enum rank rank_of(const struct pass *pass, const struct member *member, const struct job *job)
{
	const struct job *head = member->flight.head ? member->flight.head->data : NULL;
	bool must_examine;

	if (may_go_early(pass, member, job))
		return RANK_IDLE;
	if (member->state != MEMBER_READY || member->held || member->drop || member->examining ||
		!fresh_enough(member, job))
		return RANK_NONE;
	if (!may_be_bulk(pass, member, job))
		return RANK_NONE;
	must_examine = member_must_examine(member, job);
	if (member->idle && (must_examine || !may_follow_done(pass, member, job)))
		return RANK_NONE;
	if (!head) {
		if (!must_examine)
			return RANK_SAME_IDLE;
		return member->mailbox_name ? RANK_IDLE : RANK_IDLE_UNUSED;
	}
	if (must_examine || job->alone || head->alone || member->flight.length >= pass->client->depth)
		return RANK_NONE;
	if (job->class == IMAP_INTERACTIVE && member->bulk)
		return RANK_BEHIND_BULK;
	return member->flight.length < ENOUGH_IN_FLIGHT ? RANK_SAME_FEW : RANK_SAME_MANY;
}

static struct member *best_for(const struct pass *pass, const struct job *job, enum rank *rank_out)
{
	const GPtrArray *members = pass->client->members;
	struct member *best = NULL, *keeper = keeper_of(pass, job);

	*rank_out = RANK_NONE;
	for (guint i = 0; i < members->len; i++) {
		struct member *member = members->pdata[i];
		enum rank rank = keeper && member != keeper ? RANK_NONE : rank_of(pass, member, job);

		if (rank < *rank_out || (best && rank == *rank_out && member->flight.length < best->flight.length)) {
			*rank_out = rank;
			best = member;
		}
	}
	return best;
}

/* Keeps the least busy member from taking more, until it is empty and `job` can have it. */
static void hold_one(const struct pass *pass, const struct job *job)
{
	const GPtrArray *members = pass->client->members;
	struct member *least = NULL;

	for (guint i = 0; i < members->len; i++) {
		struct member *member = members->pdata[i];

		if (member->state != MEMBER_READY || member->held || member->idle)
			continue;
		if (!may_be_bulk(pass, member, job))
			continue;
		if (!least || member->flight.length < least->flight.length)
			least = member;
	}
	if (least)
		least->held = HELD_BY(job->class);
}

/* A second opinion is asked for and there is no room: an idle connection makes place. */
static bool make_room(struct pass *pass, const struct job *job)
{
	const GPtrArray *members = pass->client->members;

	for (guint i = 0; i < members->len; i++) {
		struct member *member = members->pdata[i];

		if (member->state != MEMBER_READY || member->flight.length || fresh_enough(member, job))
			continue;
		member_logout(member);
		member_end(member, BLAME_NOBODY, NULL);
		pass_count(pass);
		return true;
	}
	return false;
}

static bool bulk_is_full(const struct pass *pass, const struct job *job)
{
	return pass->bulk + pass->connecting >= bulk_most(pass) || lanes_are_full(pass, job);
}

/* One idles that this job could have sooner than a new connection. Bulk work takes the new one, as long as it may. */
static bool can_call(const struct pass *pass, const struct job *job)
{
	const struct member *idler = watch_idler(pass->client);

	if (!idler || pass->called || !fresh_enough(idler, job))
		return false;
	if (job->class == IMAP_BULK)
		return !bulk_is_full(pass, job) && !may_open(pass) && !pass->connecting;
	return true;
}

/* No place for this one now. */
static void stuck(struct pass *pass, const struct job *job)
{
	struct member *keeper = keeper_of(pass, job);
	bool more;

	if (keeper) {
		keeper->held = HELD_BY(job->class);
		if (keeper->idle)
			watch_leave(keeper);
		return;
	}
	if (can_call(pass, job)) {
		struct member *idler = watch_idler(pass->client);

		/* for this one, not for who comes behind it in this pass */
		pass->called = idler->held = HELD_BY(job->class);
		watch_leave(idler);
		return;
	}
	pass->stuck++;
	if (job->request->fresh && pass->ready + pass->connecting >= pass->allowed && !pass->connecting)
		make_room(pass, job);
	more = pass->ready + pass->connecting < pass->allowed;
	if (job->class == IMAP_BULK && bulk_is_full(pass, job))
		more = false;
	if (more)
		pass->wanted = MAX(pass->wanted, pass->stuck);
	/* those that connect will take the first ones */
	if (pass->stuck > pass->connecting && (!more || !may_open(pass)))
		hold_one(pass, job);
}

/* True if one was placed: the queue may look different now. */
static bool place_one(struct pass *pass, enum imap_class class)
{
	GQueue *queue = &pass->client->waiting[class];

	pass->stuck = 0;
	if (pass->called == HELD_BY(class))
		pass->called = 0;
	for (GList *link = queue->head; link && pass->stuck < LOOK_AHEAD_MAX; link = link->next) {
		struct job *job = link->data;
		enum rank rank;
		struct member *member = best_for(pass, job, &rank);

		/* rather a new connection, if one can be had */
		if (rank == RANK_BEHIND_BULK && !job->request->keep_session &&
			(pass->connecting || may_open(pass) || can_call(pass, job)))
			member = NULL;
		if (member) {
			if (rank >= RANK_SAME_MANY && !(class == IMAP_BULK && bulk_is_full(pass, job)))
				pass->wanted = MAX(pass->wanted, 1);
			member_take(member, job);
			pass_count(pass);
			return true;
		}
		stuck(pass, job);
	}
	return false;
}

static void place_all(struct pass *pass, enum imap_class class)
{
	while (place_one(pass, class))
		for (guint i = 0; i < pass->client->members->len; i++) {
			struct member *member = pass->client->members->pdata[i];

			/* what an interactive one waits for stays out of reach for bulk work */
			if (member->held == HELD_BY(class))
				member->held = 0;
		}
}

static void drop_some(struct imap_client *client)
{
	struct error err = {0};

	error_set(&err, ERR_UNREACHABLE, "the connection was given up");
	for (guint i = client->members->len; i-- > 0;) {
		struct member *member = client->members->pdata[i];

		member->held = 0;
		if (member->drop)
			member_end(member, BLAME_TRY, &err);
	}
}

static bool heralds_bulk(const struct member *member)
{
	for (const GList *link = member->flight.head; link; link = link->next) {
		const struct job *job = link->data;

		if (job->request && job->request->heralds_bulk)
			return true;
	}
	return false;
}

static void open_some(struct pass *pass)
{
	const GPtrArray *members = pass->client->members;
	uint32_t for_bulk = pass->client->depth == 1 ? pass->allowed
	                                             : MIN(pass->allowed, pass->client->lanes.count + 1);

	for (guint i = 0; i < members->len; i++)
		if (heralds_bulk(members->pdata[i]) || (pass->bulk && pass->client->lanes.count > 1))
			pass->wanted = MAX(pass->wanted, for_bulk - MIN(for_bulk, pass->ready + pass->connecting));
	/* one is kept free of bulk work, so that who waits for a file finds it signed in */
	if (pass->ready && pass->bulk == pass->ready)
		pass->wanted = MAX(pass->wanted, 1);
	while (pass->connecting < pass->wanted && may_open(pass)) {
		member_open(pass->client);
		pass_count(pass);
	}
	if (pass->connecting < pass->wanted && pass->ready + pass->connecting < pass->allowed &&
		clock_ms() < pass->client->open_not_before_ms)
		client_wake_at(pass->client, pass->client->open_not_before_ms);
}

/* Bulk work that is soon over isn't slowed down by one more sign-in: the watch begins behind it. */
static bool may_watch(const struct pass *pass)
{
	struct imap_client *client = pass->client;
	uint64_t from_ms = client->lanes.began_ms + client->tuning.lane_ms;

	if (pass->bulk && clock_ms() < from_ms) {
		client_wake_at(client, from_ms);
		return false;
	}
	return !client->waiting[IMAP_INTERACTIVE].length && !client->waiting[IMAP_BULK].length;
}

static void open_for_watch(struct pass *pass)
{
	struct imap_client *client = pass->client;
	uint64_t from_ms = MAX(client->open_not_before_ms, client->down_until_ms);

	if (clock_ms() < from_ms)
		client_wake_at(client, from_ms);
	else if (may_open(pass))
		member_open(client)->for_watch = true;
}

void schedule(struct imap_client *client)
{
	struct pass pass = {.client = client};

	drop_some(client);
	if (client_is_paused(client)) {
		/* the server wants less of us, and what lasts isn't the line's fault */
		lanes_note(client, false);
		loop_gather(client->loop, false);
		client_wake_at(client, client->pause_until_ms);
		return;
	}
	pass_count(&pass);
	place_all(&pass, IMAP_INTERACTIVE);
	place_all(&pass, IMAP_BULK);
	open_some(&pass);
	lanes_note(client, pass.bulk > 0);
	standby_schedule(client);
	loop_gather(client->loop, pass.bulk > 0);
	if (may_watch(&pass) && watch_schedule(client, pass.ready + pass.connecting < pass.allowed))
		open_for_watch(&pass);
}
