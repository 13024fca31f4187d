/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A place for the authority to send the browser back to (RFC 8252 section 7.3): a listener on 127.0.0.1 and, where
 * there is one, ::1, on one port. Blocking; one thread.
 *
 * Whoever can connect is an adversary: few connections at once, each with little time, a bounded request and no
 * influence unless it knows the state. Answers hold no secret and nothing that a browser would run or load.
 */
#pragma once

#include "src/auth/redirect.h"

#include <stdint.h>

#define LOOPBACK_CONNECTIONS_MAX 8u /* browsers open some in advance */
#define LOOPBACK_REQUEST_MAX (2 * REDIRECT_LINE_MAX)
#define LOOPBACK_REQUEST_MS 10000u

struct auth_loopback;

/* `port` 0 takes any that is free. ERR_FAILED: it can't be had. */
int auth_loopback_open(uint16_t port, struct auth_loopback **loopback_out, struct error *err);
void auth_loopback_close(struct auth_loopback *loopback); /* NULL is fine */
uint16_t auth_loopback_port(const struct auth_loopback *loopback);

/*
 * Waits for the redirect with this state. ERR_SIGN_IN: the authority refused, or nobody came in time;
 * ERR_INTERRUPTED: `cancel_fd` became readable (-1 = none).
 */
int auth_loopback_wait(struct auth_loopback *loopback, const struct secret *state, uint32_t timeout_ms, int cancel_fd,
	struct secret **code_out, struct error *err);
/* Tells the person in front of the browser how it ended; NULL = well. */
void auth_loopback_answer(struct auth_loopback *loopback, const struct error *failure);
