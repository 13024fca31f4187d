/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Examines what another program sends to sign in: an initial response of XOAUTH2 or OAUTHBEARER (RFC 7628), with or
 * without its AUTHENTICATE command, or an HTTP request with a bearer token. Layer by layer, and it goes on behind
 * each fault as if it weren't there: all faults are listed, not the first.
 *
 * Nothing of the input is in the texts but the user's name, hosts, and what the token's claims say: never the token.
 * Pure; any bytes of any length up to AUTH_INSPECT_BYTES_MAX.
 */
#pragma once

#include "src/auth/causes.h"

#define AUTH_INSPECT_BYTES_MAX (256u * 1024u)

struct auth_layer {
	const char *name;
	bool ok;
	char *detail;
};

struct auth_inspection {
	GPtrArray *layers; /* struct auth_layer*, from the outside in; those that were reached */
	GPtrArray *faults; /* struct auth_cause*, in the order of the layers */
};

/* `now`: seconds since 1970, to tell whether the token has expired. */
void auth_inspect(const char *bytes, size_t length, int64_t now, struct auth_inspection *inspection_out);
void auth_inspection_fini(struct auth_inspection *inspection);

/* An initial response, encoded once or more often, is given out as a token. */
bool auth_token_is_response(const char *token, size_t length);
