/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One conversation with a server for a diagnosis: the steps of a session (session.h) one by one, each telling what
 * the server said in its own words. No pool, no retries, no policy. Reads only: EXAMINE and BODY.PEEK.
 *
 * Blocking: each step runs the loop until its answer is there, the connection is lost, or the server has been silent
 * for the configuration's timeout. On the loop's thread.
 */
#pragma once

#include "imap/client.h"
#include "src/auth/auth.h"

#include <stdbool.h>
#include <stdint.h>

#define PROBE_WORDS_MAX 400u
#define PROBE_PATIENCE 10u /* a step may take so many times the timeout, while something comes */

struct probe;

/* What came of a step; texts are clean and without secrets. */
struct probe_answer {
	struct error err;                /* code 0 = it went well */
	char words[PROBE_WORDS_MAX];     /* the server's, of the answer that ended the step; "" = it said nothing */
	char challenge[PROBE_WORDS_MAX]; /* its reason for a refusal, where it gives one in a challenge */
};

/* What the server offered before the sign-in. */
struct probe_offer {
	bool bearer, password;
	char mechanisms[PROBE_WORDS_MAX];
};

struct probe_message {
	uint32_t exists; /* in INBOX; 0: there is no message to fetch */
	uint32_t uid;
	uint64_t size_bytes;
	bool no_data; /* OK, and no message */
};

/* Copies nothing: `config` and `factory` are borrowed. No I/O yet. */
struct probe *probe_new(
	struct loop *loop, const struct imap_client_config *config, const struct stream_factory *factory);
void probe_free(struct probe *probe); /* NULL is fine; says LOGOUT */

/* Each after the one before it has succeeded; all return answer_out->err.code. */
int probe_greet(struct probe *probe, struct probe_offer *offer_out, struct probe_answer *answer_out);
int probe_sign_in(struct probe *probe, const struct credential *credential, struct probe_answer *answer_out);
/* The command that shows whether there is a mailbox behind the sign-in. */
int probe_first(struct probe *probe, struct probe_answer *answer_out);
int probe_list(struct probe *probe, uint32_t *folders_out, struct probe_answer *answer_out);
/* The smallest of the newest few messages of INBOX. */
int probe_fetch(struct probe *probe, struct probe_message *message_out, struct probe_answer *answer_out);
