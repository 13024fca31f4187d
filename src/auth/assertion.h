/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Client assertions: a JWT signed with the client's certificate proves its identity (RFC 7523 section 2.2). */
#pragma once

#include "src/auth/auth.h"

/*
 * For config->client_id at config->token_url, by config->certificate and its key, PS256 or RS256, valid ten minutes.
 * ERR_SIGN_IN: the files can't be read, aren't RSA, or don't belong together.
 */
int auth_assertion_new(const struct auth_config *config, struct secret **assertion_out, struct error *err);
