/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IMAP client: a pool of connections to one server as one user, which runs requests.
 *
 * A request is one command (or just an EXAMINE) on one mailbox. The client connects when the first
 * request comes, signs in (AUTHENTICATE XOAUTH2, OAUTHBEARER, PLAIN, or LOGIN; RFC 3501, 4959,
 * 7628), trusts the sign-in only after a first command (with which a LIST may go), reads the capabilities again,
 * examines the mailbox that a request needs, pipelines requests up to the depth that the server stands (one where it
 * doesn't know ENABLE), and sends what arrives to the request that asked. It only ever EXAMINEs (never SELECTs), and
 * refuses a command that is not on its list of reading commands.
 *
 * Interactive requests never queue behind bulk ones: with two or more connections one is kept
 * free of bulk work; with one connection they go ahead of the bulk requests not yet sent. The bulk requests of
 * one mailbox share a connection where commands can be pipelined, more where each brings more.
 *
 * Failure: a lost connection is replaced (backoff with jitter) and requests in flight are sent
 * again after `restart`, at most CLIENT_TRIES times; a request fails with ERR_TIMEOUT after
 * timeout_ms of silence counted from the last byte that served it or one ahead of it (less than
 * CLIENT_SLOW_BYTES over a minute is silence too), with ERR_UNREACHABLE when no connection can be
 * had, ERR_SIGN_IN when sign-in is refused, ERR_THROTTLED when the server asks for more than
 * throttle_wait_ms, ERR_RENUMBERED when the mailbox has another UIDVALIDITY than expected,
 * ERR_REFUSED for NO/BAD (an EXAMINE by two sessions, if the first had the mailbox open before), ERR_GONE when the
 * mailbox can't be examined because it isn't there, ERR_PROTOCOL for a broken answer. "Request is throttled. Suggested
 * Backoff Time: N milliseconds" (and [THROTTLED], [LIMIT], BYE with it) pauses the whole client and isn't an error of
 * the request. When the machine has slept, connections are opened anew and requests sent again, with all of their time
 * before them.
 *
 * Threads: everything runs on the loop's thread. Callbacks may submit and cancel requests.
 */
#pragma once

#include "imap/grammar.h"
#include "imap/stream.h"
#include "src/base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define CLIENT_TRIES 3u                /* sends of one request over fresh connections */
#define CLIENT_DEPTH_DEFAULT 8u        /* commands in flight on one connection, where the server knows ENABLE; else 1 */
#define CLIENT_COMMAND_BYTES_MAX 4096u /* one command line: Exchange refuses longer ones */
#define CLIENT_SLOW_BYTES 1024u        /* fewer bytes than this over a minute count as silence */
#define CLIENT_CONNECTIONS_MAX 32u

struct auth;
struct loop;
struct imap_client;
struct imap_request;

enum imap_sasl { IMAP_SASL_AUTO, IMAP_SASL_XOAUTH2, IMAP_SASL_OAUTHBEARER, IMAP_SASL_PLAIN, IMAP_SASL_LOGIN };

struct imap_client_config {
	const char *host;
	uint16_t port;
	enum stream_tls tls;
	const char *ca_file;
	const char *user; /* SASL user: the mailbox to open */
	enum imap_sasl sasl;
	uint32_t connections; /* at most */
	uint32_t timeout_ms;
	uint32_t throttle_wait_ms;
	uint32_t depth;            /* 0 = by what the server knows: CLIENT_DEPTH_DEFAULT, or 1 */
	uint64_t bytes_per_second; /* bwlimit; 0 = none */
	bool compress;             /* COMPRESS=DEFLATE where offered (not on loopback) */
};

/* Capabilities that decide something for us; read after sign-in. */
enum imap_capability {
	IMAP_CAP_UIDPLUS = 1 << 0,
	IMAP_CAP_CONDSTORE = 1 << 1,
	IMAP_CAP_QRESYNC = 1 << 2,
	IMAP_CAP_ESEARCH = 1 << 3,
	IMAP_CAP_LIST_STATUS = 1 << 4,
	IMAP_CAP_LIST_EXTENDED = 1 << 5,
	IMAP_CAP_SPECIAL_USE = 1 << 6,
	IMAP_CAP_COMPRESS = 1 << 7,
	IMAP_CAP_IDLE = 1 << 8,
	IMAP_CAP_OBJECTID = 1 << 9,
	IMAP_CAP_GMAIL = 1 << 10, /* X-GM-EXT-1 */
	IMAP_CAP_QUOTA = 1 << 11,
	IMAP_CAP_NAMESPACE = 1 << 12,
	IMAP_CAP_ID = 1 << 13,
	IMAP_CAP_ENABLE = 1 << 14,
	IMAP_CAP_UNSELECT = 1 << 15,
};

/* The mailbox as EXAMINE described it. */
struct imap_mailbox {
	uint32_t uidvalidity;
	uint32_t uidnext; /* 0 = not told */
	uint32_t exists;
	uint64_t highestmodseq; /* 0 = NOMODSEQ or no CONDSTORE */
	uint32_t capabilities;  /* enum imap_capability of this session */
};

enum imap_class { IMAP_INTERACTIVE, IMAP_BULK };

struct imap_request_ops {
	/*
	 * The mailbox is examined, the command is about to go. Comes before each (re)send, with
	 * the state as of the EXAMINE or as updated since. May be NULL.
	 */
	void (*examined)(void *ctx, const struct imap_mailbox *mailbox);
	/* The last moment to change `command`, by what this session can. Comes before each (re)send. May be NULL. */
	void (*choose)(void *ctx, uint32_t capabilities);
	/*
	 * Untagged data of a kind that this request asked for, or that none in flight asked for while this one was
	 * the oldest on its connection, and that isn't the client's own business: FETCH, LIST, STATUS, SEARCH,
	 * ESEARCH, VANISHED, … FETCH responses can be unsolicited (flags): look at items. May be NULL.
	 */
	void (*response)(void *ctx, const struct imap_response *response);
	/* Literals of BODY[], as in grammar.h. May be NULL: then they are skipped. */
	bool (*body_begin)(void *ctx, const struct imap_literal *literal);
	int (*body_data)(void *ctx, const char *bytes, size_t length);
	void (*body_end)(void *ctx);
	/* The connection was lost with answers half read: forget partial results, it is sent again. May be NULL. */
	void (*restart)(void *ctx);
	/*
	 * Exactly once, unless cancelled: 0 = tagged OK; else the code, with the server's words in
	 * err->text. The request is free for reuse when this is called.
	 */
	void (*done)(void *ctx, int code, const struct error *err);
};

/*
 * Zero it, fill it, submit it. Owned by the caller, at a fixed address until done or cancelled;
 * strings are borrowed for as long.
 */
struct imap_request {
	const char *mailbox;     /* server's raw name, NULL = no mailbox needed */
	uint32_t uidvalidity;    /* expected, 0 = any */
	bool examine;            /* EXAMINE anew although it may be the one examined: fresh EXISTS, UIDNEXT, MODSEQ */
	uint64_t qresync_modseq; /* with examine and QRESYNC: `EXAMINE box (QRESYNC (uidvalidity modseq))`; VANISHED and
	                            FETCH of it come to `response` */
	enum imap_class class;
	/*
	 * For what belongs together: on this session, as long as it lives, else on any (see `session`). Sessions may
	 * differ in what they see of one mailbox. 0 = any.
	 */
	uint32_t keep_session;
	bool heralds_bulk; /* while it is under way connections for bulk work are opened ahead */
	bool fresh;        /* on a connection that is opened after this was submitted: a second opinion */
	/* Without tag and CRLF; NULL = just the EXAMINE. ERR_FAILED if too long or not on the list of what reads. */
	const char *command;
	const struct imap_request_ops *ops;
	void *ctx;
	uint32_t session; /* out, set before `done`: which session answered (1, 2, … in this client), 0 = none */
	void *internal;   /* the client's */
};

/* Copies the config. `auth` and `loop` are borrowed and outlive the client. No I/O yet. */
struct imap_client *imap_client_new(struct loop *loop, const struct imap_client_config *config, struct auth *auth,
	const struct stream_factory *factory);
/* Drops connections (with a LOGOUT where it doesn't wait); requests under way are forgotten without `done`. */
void imap_client_free(struct imap_client *client);

void imap_client_submit(struct imap_client *client, struct imap_request *request);
/* `done` won't be called. What is already on the wire is read and dropped. NULL-safe for finished requests. */
void imap_client_cancel(struct imap_client *client, struct imap_request *request);
/*
 * The mailbox has turned out to be another one: sessions but `keep_session` that have it open may still see the old
 * one, and open it anew before they are used for it. What they have in flight is sent again.
 */
void imap_client_mailbox_forget(struct imap_client *client, const char *mailbox, uint32_t keep_session);
/*
 * Forget own backoffs, remembered errors and learned limits: a person did something about it (login,
 * SIGHUP). A pause that the server asked for lasts on.
 */
void imap_client_retry_now(struct imap_client *client);

/*
 * One mailbox is watched: a connection of its own idles on it (IDLE, RFC 2177) where the server offers that and the
 * limit leaves room, else one that has nothing to do, which is called back when a request needs it. The IDLE is begun
 * anew every 9 minutes, by an EXAMINE: a server that has gone, or has stopped telling, is found out. A connection that
 * is lost is replaced (backoff with jitter) without being anybody's error.
 */
/*
 * With `mailbox`: its state as an EXAMINE told it just now, compare it with what you know. NULL: something has
 * changed since; `flags_only` if the server spoke of flags alone. May come often; may not free the client.
 */
typedef void (*imap_watch_fn)(void *ctx, const struct imap_mailbox *mailbox, bool flags_only);
/* From now on this one, no other any more; NULL = none. The name is copied. */
void imap_client_watch(struct imap_client *client, const char *mailbox, imap_watch_fn told, void *ctx);

struct imap_client_state {
	uint32_t connections; /* signed in */
	uint32_t connecting;
	bool signed_in;
	bool watching;         /* the server tells of changes of the watched mailbox */
	uint32_t capabilities; /* of the last session; 0 before the first */
	uint64_t backoff_ms;   /* the server's pause that still lasts */
	uint64_t bytes_in, bytes_out, round_trips, commands, reconnects, throttled;
	uint64_t sessions;       /* signed in since the beginning */
	struct error last_error; /* code 0 = none since the last success */
};
void imap_client_state(const struct imap_client *client, struct imap_client_state *state_out);
/*
 * Into how many requests bulk work of one mailbox should be divided at most: where the server takes one at a time, as
 * many as there are connections for it now. UINT32_MAX = any number: they are pipelined, or whoever waits for a single
 * message has no other connection, and waits for the end of one of them.
 */
uint32_t imap_client_bulk_at_once(const struct imap_client *client);
