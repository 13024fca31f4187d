/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words of a sign-in: AUTHENTICATE by XOAUTH2, OAUTHBEARER or PLAIN (RFC 3501, 4959, 7628), or LOGIN. */
#pragma once

#include "imap/client.h"
#include "imap/offer.h"

#include <glib.h>
#include <stdbool.h>

struct sign_in {
	enum imap_sasl sasl;
	bool response_sent; /* in the command itself (SASL-IR, LOGIN); else it answers the first "+" */
};

/*
 * The command by the best way that is offered and wanted, without its tag; NULL with ERR_SIGN_IN or ERR_CONFIG of
 * offer_choose(). It has the secret in it: sign_in_wipe() it.
 */
GString *sign_in_command(const struct offer *offer, const struct imap_client_config *config,
	const struct credential *credential, struct sign_in *sign_in_out, struct error *err);
void sign_in_wipe(GString *command);
/*
 * The line that answers a "+". The first without a response in the command gets that; any other says no, in a
 * challenge of RFC 7628 section 3.2.2 or XOAUTH2's like, and gets what ends the exchange.
 */
struct secret *sign_in_answer(
	struct sign_in *sign_in, const struct imap_client_config *config, const struct credential *credential);
/* What a challenge says, decoded and fit to be printed. */
void sign_in_challenge_read(const char *base64, char *out, size_t size);
