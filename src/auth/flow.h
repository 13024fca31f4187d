/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ways to a credential: one function a method, each in a file of its own, all blocking (for helper threads
 * and commands) and all working from a `struct auth_flow`. auth.c runs them; it knows only auth_flow_run().
 *
 * A new method is a file with a function of type auth_flow_fn and its line in the table of flow.c.
 */
#pragma once

#include "src/auth/auth.h"

/* Tokens are renewed before they expire: by a fifth of their life, at most so much. */
#define AUTH_MARGIN_MAX_S 300

struct auth_flow {
	const struct auth_config *config;
	int cancel_fd; /* readable = give up; -1 = none */
	uint32_t http_timeout_ms, command_timeout_ms;
	const struct secret *spent;   /* a token that must not be given again; NULL = none */
	const struct secret *unsaved; /* a refresh token that couldn't be stored the last time; NULL = none */
	uint64_t unsaved_stamp;       /* what the store was then: if it has changed, the store is right */
	uint32_t requests;            /* counted here: sent to an endpoint or a command */
};

struct auth_obtained {
	struct secret *secret;
	int64_t life_s;         /* from the moment before it was asked for; -1 = unknown or for ever */
	int64_t retry_after_s;  /* with ERR_UNREACHABLE: when the endpoint wants to be asked again; 0 = not told */
	struct secret *unsaved; /* a new refresh token that couldn't be stored */
	bool forgotten;         /* with ERR_SIGN_IN: the stored tokens are gone, and what was made of them goes, too */
	bool refused;           /* with ERR_SIGN_IN: an endpoint said no, so asking again soon is no use */
	uint64_t stamp;         /* auth_source_stamp() of what it was made from; 0 = the caller's own will do */
};

typedef int (*auth_flow_fn)(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err);

/* Dispatches on config->method. `obtained_out` is filled in also on errors, its secret only on success. */
int auth_flow_run(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err);

int auth_flow_client_credentials(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err);
int auth_flow_outside(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err);
int auth_flow_password(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err);
/* From the tokens that `mailtree login` stored. */
int auth_flow_stored(struct auth_flow *flow, struct auth_obtained *obtained_out, struct error *err);
