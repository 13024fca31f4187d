/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the client's files share: jobs (requests under way), members (connections of the pool), and the client.
 *
 *	client.c    the public calls, deadlines, pauses, what fails everybody
 *	schedule.c  which job goes to which member, when a member is opened or closed
 *	member.c    one connection: EXAMINE, sending, routing of what arrives, its loss
 *	watch.c     which member idles (IDLE), and on what; how it is called back
 *	standby.c   what the member that is kept free of bulk work has open
 *
 * A job is in exactly one queue: waiting (by class), flight (of a member), or limbo (about to be told
 * something, while callbacks may cancel it). Members that ended wait in `graveyard` until the stack is
 * unwound: a connection can't be freed from its own callbacks.
 *
 * Time: client_now() is CLOCK_BOOTTIME without the pauses that the server asked for; deadlines live on it. Pauses
 * and backoffs themselves are measured on clock_ms().
 */
#pragma once

#include "imap/client.h"
#include "imap/conn.h"
#include "imap/session.h"
#include "imap/verdict.h"

#include <glib.h>

#define CLIENT_LOSSES_MAX 6u /* connections lost in a row without one answer: the server is as good as down */
#define CLIENT_NOT_CONNECTED_TRIES 4u
#define CLIENT_CANCELLED_BYTES_MAX (1024u * 1024u) /* more to come for a cancelled request: hang up instead */
#define CLIENT_OPENED_MAX 1000u                    /* mailboxes that a session is known to have had open */
#define CLIENT_TAG_BYTES 14u                       /* tag, space, CRLF */
#define CLIENT_SLEPT_MS 10000                      /* after so much sleep of the machine no connection is trusted */

struct job {
	struct imap_client *client;
	struct imap_request *request; /* NULL: cancelled, but on the wire */
	GQueue *queue;                /* the one that `link` is in */
	GList link;
	struct member *member; /* in flight */
	struct conn_command command;
	char *asked; /* its command as it was sent; NULL = not yet */
	enum imap_class class;
	bool sent;        /* EXAMINE or command: answers may have come */
	bool examined;    /* as the request asked, on this member */
	bool pipelined;   /* others were in flight with it */
	bool behind_done; /* sent before DONE was answered, and nothing of its answer has come */
	bool telling;     /* inside its `examined` */
	bool alone;       /* may not be pipelined again */
	bool early;       /* sent before its session was ready */
	bool late;        /* a session failed with it under way: it waits for one that is ready */
	bool elsewhere;   /* its EXAMINE was refused by a session that knew another mailbox of this name */
	unsigned tries, garbage;
	int data_code;          /* what body_data answered */
	uint64_t opened_floor;  /* `fresh`: only members opened after this one */
	uint64_t submitted_ms;  /* client_now() */
	uint64_t paused_before; /* sum of pauses when it was submitted */
};

enum member_state { MEMBER_CONNECTING, MEMBER_READY, MEMBER_ENDED };

/* IDLE (RFC 2177). Until DONE is sent a member has no jobs and takes none, and one at most until that is
 * answered. */
enum member_idle {
	IDLE_NONE,
	IDLE_ASKED, /* "+" is still to come: until then nothing may be sent */
	IDLE_ON,
	IDLE_LEAVING, /* DONE was sent */
};

struct member {
	struct imap_client *client;
	enum member_state state;
	uint64_t opened; /* which one it is of those ever opened */
	uint32_t number; /* of the session, once signed in */
	struct session *session;
	struct conn *conn; /* NULL before it is ready */
	uint32_t capabilities;
	bool enabled;
	uint32_t generation; /* of its credential */
	GQueue flight;       /* struct job, the oldest first */
	unsigned bulk;       /* of them */

	char *mailbox_name; /* examined, NULL = none */
	struct imap_mailbox mailbox;
	struct job *examining; /* the head of flight waits for its EXAMINE */
	bool examine_told;     /* what comes belongs to the new mailbox */
	struct conn_command examine;

	struct job *body_job; /* whose literal arrives */
	uint64_t body_left;
	unsigned held;     /* in this pass of the scheduler a job waits for it to run empty: 1 + its class */
	bool served;       /* it has answered a command */
	GHashTable *names; /* of mailboxes that this session has examined */
	bool drop;         /* hang up once the stack is unwound */

	/* watch.c */
	enum member_idle idle;
	bool idle_stop;   /* DONE as soon as it may be sent */
	uint64_t idle_ms; /* clock_ms() at which this phase of it began */
	struct conn_command idle_command;
	bool for_watch; /* opened with nobody waiting: that it fails concerns nobody */

	uint64_t idle_since_ms; /* clock_ms(); flight is empty */
	bool was_idle;          /* the oldest was sent after some idleness, and nothing has come since */
	uint64_t bytes_seen;
	uint64_t progress_ms;             /* client_now() of the last sign of life */
	uint64_t window_ms, window_bytes; /* since when, from where the slowness is measured */
	struct verdict bye;
};

/* Times that tests shorten. */
struct client_tuning {
	uint32_t slow_window_ms; /* over which too few bytes count as silence */
	uint32_t idle_ms;        /* a surplus connection is closed */
	uint32_t retry_ms;       /* the second reconnect, then doubling */
	uint32_t retry_max_ms;
	uint32_t down_ms;          /* how long an unreachable server isn't tried again */
	uint32_t refused_ms;       /* how long a sign-in that makes no sense isn't */
	uint32_t not_connected_ms; /* first pause before "not connected" is tried again */
	uint32_t pause_ms;         /* first pause where the server told no number, then doubling */
	uint32_t pause_max_ms;
	uint32_t limit_ms;       /* how long a learned limit of connections is believed */
	uint32_t lane_ms;        /* over which it is measured what a number of lanes brings */
	uint32_t watch_quiet_ms; /* the only free connection idles after so much rest */
	uint32_t watch_rearm_ms; /* an IDLE lasts so long at most */
	uint32_t watch_good_ms;  /* … and one that lasted so long was worth its connection */
	uint32_t watch_retry_max_ms;
};

struct watch {
	char *mailbox; /* NULL = none */
	imap_watch_fn told;
	void *ctx;
	struct member *member;       /* that examines it or idles on it; NULL = none */
	struct imap_request request; /* its EXAMINE */
	uint64_t not_before_ms;      /* clock_ms() */
	unsigned failures;           /* in a row */
	bool off;                    /* until the next sign-in, or another mailbox: trying is no use */
	bool waits_for_end;          /* nothing is sent behind DONE before that is answered: the server lost it */
	unsigned ends_behind_done;   /* in a row: connections that ended before they had answered DONE */
};

struct standby {
	uint32_t session; /* that was asked last: each is asked once */
	char *mailbox;    /* the request's */
	bool is_under_way;
	struct imap_request request;
};

/* Connections for the bulk work of one mailbox: schedule.c. */
struct lanes {
	uint32_t count;    /* at most */
	bool settled;      /* for as long as this bulk work lasts */
	bool is_running;   /* what comes since `since_ms` is measured */
	uint64_t began_ms; /* clock_ms(): of this bulk work */
	uint64_t since_ms; /* clock_ms(); 0 = no bulk work */
	uint64_t bytes;    /* that had come by then */
	uint64_t rate;     /* octets a second with one less; 0 = with one */
};

struct imap_client {
	struct loop *loop;
	struct imap_client_config config;
	struct auth *auth;
	const struct stream_factory *factory;
	struct client_tuning tuning;
	struct conn_bucket bucket;
	struct conn_counters counters;
	struct loop_timer *kick;  /* a pass of the scheduler is due */
	struct loop_timer *tick;  /* deadlines */
	struct loop_timer *grave; /* frees what has ended */
	struct loop_timer *wake;  /* the end of a pause or a backoff */
	uint64_t wake_ms;
	struct wake *resume;
	uint64_t slept_ms; /* clock_slept_ms() when it was looked at last */

	GQueue waiting[2]; /* by class */
	GQueue limbo;
	GPtrArray *members;
	GPtrArray *graveyard;

	uint64_t opened;
	uint32_t sessions;
	uint64_t reconnects, throttled;
	uint32_t capabilities;
	struct error last_error;
	uint64_t progress_ms; /* client_now() of the last sign of life of any member */

	uint32_t depth;
	uint32_t depth_before; /* while a BAD is examined: the depth to go back to if pipelining wasn't its cause; else
	                          0 */
	bool early_off;        /* nothing is sent before a session is ready: the server refused that */
	bool proven;           /* the last sign-in succeeded: several may go on at once */
	uint32_t limit;        /* learned, 0 = none */
	uint64_t limit_until_ms;

	uint64_t pause_began_ms, pause_until_ms; /* equal: no pause */
	uint64_t paused_ms;                      /* sum of those that ended */
	uint32_t pause_next_ms;                  /* without a number */

	struct watch watch;
	struct standby standby;
	struct lanes lanes;

	unsigned losses;        /* in a row without an answer */
	uint64_t lost_at;       /* `opened` when a connection was lost, idle or not */
	unsigned rejections;    /* of credentials, in a row */
	uint32_t rejected;      /* the last one's generation */
	unsigned not_connected; /* in a row */
	uint64_t open_not_before_ms;
	uint64_t down_until_ms; /* until then requests fail at once, with down_error */
	struct error down_error;
};

/* client.c */
uint64_t client_now(const struct imap_client *client);
/* 0 for what is noted after `now_ms` was taken: callbacks take time. */
static inline uint64_t client_since(uint64_t now_ms, uint64_t then_ms)
{
	return now_ms > then_ms ? now_ms - then_ms : 0;
}
bool client_is_paused(const struct imap_client *client);
/* The server wants a pause; 0 = didn't say how long. */
void client_pause(struct imap_client *client, uint32_t backoff_ms);
void client_kick(struct imap_client *client);
void client_tick_arm(struct imap_client *client);
/* Sees to it that the scheduler runs at `at_ms` (clock_ms()), if nothing happens before. */
void client_wake_at(struct imap_client *client, uint64_t at_ms);
/* A command succeeded. */
void client_success(struct imap_client *client);
void client_signed_in(struct imap_client *client, uint32_t capabilities);
void client_sign_in_failed(struct imap_client *client, const struct member *member, enum session_end end,
	uint32_t backoff_ms, const struct error *err);
/* A connection was lost with requests on it: the next one waits, a little longer each time. */
void client_lost(struct imap_client *client, const struct error *err);
/* After too many such losses in a row all that wait fail. */
void client_give_up(struct imap_client *client, const struct error *err);
/* The server lets nothing more be fetched for hours. */
void client_quota(struct imap_client *client, const struct error *err);
/* All that wait fail. With `remember_ms` so do those that come within that time. */
void client_fail_waiting(struct imap_client *client, const struct error *err, uint32_t remember_ms);
void client_tune(struct imap_client *client, const struct client_tuning *tuning);
void client_bury(struct imap_client *client, struct member *member);

/* The job's end: unlinks and frees it, then calls `done`. */
void job_end(struct job *job, int code, const struct error *err);
void job_move(struct job *job, GQueue *queue);
/* To the front of its class, told to forget what came. */
void job_again(struct job *job);

/* watch.c */
/* No job waits: what remains is the watch's. True if it wants a connection opened for it. */
bool watch_schedule(struct imap_client *client, bool may_have_more);
/* The member that idles, and could be called back; NULL = none. */
struct member *watch_idler(const struct imap_client *client);
/* Calls it back: it is free when the server has confirmed it, for a single message at once. Its mailbox is idled on
 * again later. */
void watch_leave(struct member *member);
/* Something untagged came on this member. */
void watch_heard(struct member *member, const struct imap_response *response);
/* Nothing is under way on this member but the watch's own. */
bool watch_is_alone(const struct member *member);
void watch_member_ended(struct member *member);
/* A connection that was opened for it can't be had. */
void watch_unconnected(const struct member *member, enum session_end end, uint32_t backoff_ms, const struct error *err);
void watch_signed_in(struct imap_client *client, const struct member *member);
void watch_tick(struct member *member);
void watch_fini(struct imap_client *client);

/* standby.c */
void standby_schedule(struct imap_client *client);
void standby_fini(struct imap_client *client);

/* schedule.c */
void schedule(struct imap_client *client);
uint32_t schedule_allowed(const struct imap_client *client); /* connections, now */

/* member.c */
struct member *member_open(struct imap_client *client);
/* The session's while it signs in; NULL = none yet. */
struct conn *member_conn(const struct member *member);
void member_free(struct member *member);
/* Takes the job over and sends what it needs first. */
void member_take(struct member *member, struct job *job);
/* Does this job need an EXAMINE here? Then the member must run empty first. */
bool member_must_examine(const struct member *member, const struct job *job);
/*
 * Ends it. The oldest in flight is to blame when `blame`: it fails with `err` or uses up one of its tries; the
 * others go back to waiting.
 */
enum member_blame { BLAME_NOBODY, BLAME_TRY, BLAME_FAIL };
void member_end(struct member *member, enum member_blame blame, const struct error *err);
/*
 * `silent` hasn't answered for so long. Where the network is another one by now, or has forgotten us, the others that
 * have been idle as long are as dead: whoever waits isn't to find that out of one after the other.
 */
void member_doubt_others(const struct member *silent, uint64_t silence_ms, const struct error *err);
/* Deadlines; true if there was a sign of life. */
bool member_tick(struct member *member, uint64_t now_ms);
/* Says LOGOUT where it can be said. */
void member_logout(struct member *member);
/* The job was cancelled while in flight. */
void member_cancelled(struct member *member, struct job *job);
