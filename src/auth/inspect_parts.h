/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the inspection share; nothing else includes it. */
#pragma once

#include "src/auth/sasl_inspect.h"

struct inspector {
	GPtrArray *layers, *faults;
	guint faults_before; /* when the current layer began */
	struct auth_evidence evidence;
	struct auth_claims claims;
	char user[AUTH_CLAIM_MAX];
	const char *mechanism; /* that the command names; NULL = none */
};

/* A fault that the bytes themselves prove. */
void inspect_fault(struct inspector *in, const char *id, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Ends a layer: it is faulty when faults were found since the last. */
void inspect_layer(struct inspector *in, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* The decoded text of a response: form, user, auth, token. */
void inspect_form(struct inspector *in, const char *text, size_t length);
/* One bearer token: its form and its claims. */
void inspect_token(struct inspector *in, const char *token, size_t length);
/* False: this isn't an HTTP request. */
bool inspect_http(struct inspector *in, const char *text, size_t length);

/* The first place of `word` in ASCII letters of any case; NULL = none. */
const char *inspect_find(const char *text, size_t length, const char *word);
bool inspect_begins(const char *text, size_t length, const char *word);
