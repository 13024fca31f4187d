/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The beginning of a connection: credential, connect, greeting, sign-in, first command, capabilities, ID, ENABLE,
 * COMPRESS. At its end the connection is handed over, ready for requests. Until the sign-in has succeeded nothing is
 * pipelined: a challenge would take the next line for its answer. Behind it, where the server stands that, a request
 * that needs no mailbox goes with the first commands: `early`.
 *
 * Credentials go over TLS, or to a loopback address.
 */
#pragma once

#include "imap/client.h"
#include "imap/conn.h"
#include "imap/offer.h"
#include "imap/verdict.h"

#include <stdbool.h>
#include <stdint.h>

#define SESSION_CONNECT_MS 20000u /* over all addresses; less if the client's timeout is less */
#define SESSION_LONGER_MS 60000u  /* a whole sign-in may take so much more than the timeout */
#define SESSION_CHALLENGES_MAX 3u /* "+" in one AUTHENTICATE */

enum session_end {
	SESSION_FAILED,        /* not reached, lost, not understood */
	SESSION_NO_CREDENTIAL, /* auth has none */
	SESSION_REJECTED,      /* credential refused; auth knows */
	SESSION_EXPIRED,       /* taken at first, then called expired; auth knows */
	SESSION_IMPOSSIBLE,    /* trying again changes nothing: mechanism not offered, no TLS */
	SESSION_NOT_CONNECTED, /* signed in, but no mailbox behind it */
	SESSION_TOO_MANY,      /* connections */
	SESSION_THROTTLED,
	SESSION_OVERQUOTA,
};

struct session;

struct session_ops {
	/* session_takes_early() has become true. May be NULL. */
	void (*early)(void *ctx);
	/* LIST and STATUS responses before `ready`: of what was sent early. May be NULL. */
	void (*response)(void *ctx, const struct imap_response *response);
	/* Either of these, once. `session` may not be freed from within. */
	void (*ready)(void *ctx);
	void (*failed)(void *ctx, enum session_end end, uint32_t backoff_ms, const struct error *err);
};

struct session_env {
	struct loop *loop;
	const struct imap_client_config *config;
	struct auth *auth;
	const struct stream_factory *factory;
	struct conn_bucket *bucket;
	struct conn_counters *counters;
};

/* Begins from the loop. All is borrowed. */
struct session *session_new(const struct session_env *env, const struct session_ops *ops, void *ctx);
void session_free(struct session *session); /* NULL is fine */
/* The deadlines; `now_ms` is a clock that stands still while the client may not send. True if something came since. */
bool session_tick(struct session *session, uint64_t now_ms);

/* Commands may be sent behind the session's own; what it is isn't known for sure before `ready`. */
bool session_takes_early(const struct session *session);
struct conn *session_conn(const struct session *session); /* borrowed; NULL = none yet, or taken */
/* When ready: the connection is the caller's from here on. */
struct conn *session_take(struct session *session);
uint32_t session_capabilities(const struct session *session);
bool session_is_enabled(const struct session *session);     /* QRESYNC or CONDSTORE by ENABLE */
uint32_t session_generation(const struct session *session); /* of the credential */
